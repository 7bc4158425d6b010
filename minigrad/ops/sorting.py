"""Sorting and searching: an order is a decision, the values move with it and keep their slope."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from ..define import define
from ..errors import ArgumentError, ShapeError, lesson
from ..op import NUMPY, PUBLIC, Counterpart, Kink, Op, Sample, declare, publish
from ..tensor import apply, as_tensor
from ._axes import refuse_axis

# --- where each value goes -----------------------------------------------------------------


def _argsort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    if descending:  # backwards twice: equal values keep their order
        order = _argsort(np.flip(x, axis), axis=axis, stable=stable)
        return x.shape[axis] - 1 - np.flip(order, axis)
    if not stable or x.size < 256:
        return np.argsort(x, axis=axis, kind="stable" if stable else None)
    # NumPy's stable sort takes twice as long; it is needed only for lines with equal elements.
    lines = np.moveaxis(x, axis, -1)
    order = np.argsort(lines, axis=-1)
    y = np.take_along_axis(lines, order, -1)
    again = (y[..., 1:] == y[..., :-1]).any(-1) | np.isnan(y[..., -1])
    if again.any():
        order[again] = np.argsort(lines[again], axis=-1, kind="stable")
    return np.moveaxis(order, -1, axis)


def _argtopk(x: Any, /, *, k: int, axis: int = -1, largest: bool = True) -> Any:
    n = x.shape[axis]
    if not 0 <= k <= n:
        raise ValueError("k")
    if 0 < k <= n // 4 and n >= 64 and not np.isnan(x).any():
        lines = np.moveaxis(x, axis, -1)
        last = n - k if largest else k - 1
        bound = np.partition(lines, last, axis=-1)[..., [last]]
        chosen = lines >= bound if largest else lines <= bound
        if (np.count_nonzero(chosen, axis=-1) > k).any():  # of those at the bound, the first ones
            inside = lines != bound
            inside &= chosen
            free = k - np.count_nonzero(inside, axis=-1, keepdims=True)
            chosen &= inside | (np.cumsum(chosen & ~inside, axis=-1) <= free)
        places = np.nonzero(chosen)[-1].reshape((*lines.shape[:-1], k))
        order = _argsort(np.take_along_axis(lines, places, -1), descending=largest)
        return np.moveaxis(np.take_along_axis(places, order, -1), -1, axis)
    order = _argsort(x, axis=axis, descending=largest)
    return np.array(order[(*(slice(None),) * (axis % x.ndim), slice(k))])


def _refuse(name: str) -> Any:
    complain = refuse_axis(name)
    return lambda inputs, params: complain(inputs, {"axis": -1, **params})


def _refuse_k(inputs: Any, params: dict[str, Any]) -> Exception | None:
    bad = _refuse("topk")(inputs, params)
    if bad is not None:
        return bad  # type: ignore[no-any-return]
    k, n = params["k"], np.shape(inputs[0])[params.get("axis", -1)]
    return ArgumentError(lesson("topk", f"k={k!r} of an axis of size {n}", f"an integer from 0 to {n}"))


def _axis_samples(rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.permutation(24).reshape(2, 3, 4) / 7.0
    for axis in (-1, 0, 1):
        for descending in (False, True):
            yield (x,), {"axis": axis, "descending": descending}
    yield (rng.normal(size=(5,)),), {}
    yield (np.zeros((0, 3)),), {"axis": 0}


argsort = define("argsort", _argsort, samples=_axis_samples, complain=_refuse("argsort"),
                 caption="where the sorted x stand; equal ones in their order")  # fmt: skip
argtopk = declare("argtopk", _argtopk, complain=_refuse_k, caption="where the k largest x stand",
                  samples=lambda rng: iter([((rng.normal(size=(3, 4)),), {"k": 2})]))  # fmt: skip

# --- the values, moved ---------------------------------------------------------------------


def _pick(x: Any, order: Any, /, *, axis: int = -1) -> Any:
    return np.take_along_axis(x, order, axis)


def _put(g: Any, order: Any, /, *, axis: int, size: int) -> Any:
    out = np.zeros((*g.shape[: axis % g.ndim], size, *g.shape[axis % g.ndim + 1:]), g.dtype)
    np.put_along_axis(out, order, g, axis)
    return out


def _pick_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for shape, axis, k in (((4,), 0, 4), ((3, 4), -1, 2), ((3, 4), 0, 1), ((2, 3), 1, 0), ((2, 0), 1, 0)):
        x = rng.normal(size=shape)
        yield (x, _argtopk(x, k=k, axis=axis)), {"axis": axis}


def _put_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for (x, order), params in _pick_samples(rng):
        yield (rng.normal(size=order.shape), order), {**params, "size": x.shape[params["axis"]]}


_topk: Op = declare("topk", _pick,
    lambda g, y, x, order, *, axis=-1: put_ranked(g, order, axis=axis, size=x.shape[axis]), None,
    linear="jointly", analytic=True, samples=_pick_samples,
    branch=lambda x, order, /, *, axis=-1: _argtopk(x, k=order.shape[axis], axis=axis),
    kinks=[Kink("two tie for the last place", (np.array([0.0, 1.0, 1.0]), np.array([1])),
                (np.array([0.0, 1.0, 0.0]), None),
                why="the first of them is taken: the order is the stable one")],
    caption="the k largest x: x at their places")  # fmt: skip
put_ranked: Op = declare("put_ranked", _put,
    lambda h, y, g, order, *, axis, size: _topk(h, order, axis=axis), None,
    linear="jointly", analytic=True, samples=_put_samples,
    caption="zeros, with g put at the places, all different")  # fmt: skip


def _sort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    if x.ndim and type(axis) is not int:
        raise TypeError("an axis is an integer")
    y = np.sort(x, axis=axis)
    return np.flip(y, axis) if descending else y


def _sort_rule(g: Any, y: Any, x: Any, *, axis: int = -1, descending: bool = False,
               stable: bool = True) -> Any:  # fmt: skip
    order = argsort.op(x, axis=axis, descending=descending)
    return put_ranked(g, order, axis=axis, size=x.shape[axis])


sort = define("sort", _sort, _sort_rule, samples=_axis_samples, complain=_refuse("sort"),
    branch=_argsort,
    kinks=[Kink("two are equal", (np.array([1.0, 0.0, 1.0]),), (np.ones(3),),
                why="the order is the stable one: of equal x the first goes first, and takes the "
                    "cotangent of the first of their places")],
    caption="x in ascending order")  # fmt: skip


class TopK(NamedTuple):
    values: Any
    indices: Any


def topk(x: Any, /, k: int, axis: int = -1, *, largest: bool = True) -> TopK:
    """The `k` largest values along `axis`, largest first, and where they stand.

    Of equal values the first is taken.  `largest=False` gives the smallest, smallest first.
    The values have a gradient.
    """
    x = as_tensor(x)
    order = apply(argtopk, (x,), {"k": k, "axis": axis, "largest": largest})
    return TopK(apply(_topk, (x, order), {"axis": axis}), order)


topk.op = _topk  # type: ignore[attr-defined]
publish("topk", topk)


# NumPy's own arguments: `kind` names an algorithm, and axis=None flattens.
def _numpy_sort(x: Any, /, *, axis: int | None = -1, kind: Any = None, order: Any = None,
                stable: Any = None) -> Any:  # fmt: skip
    return sort(x.reshape(-1)) if axis is None else sort(x, axis=axis)


def _numpy_argsort(x: Any, /, *, axis: int | None = -1, kind: Any = None, order: Any = None,
                   stable: Any = None) -> Any:  # fmt: skip
    return argsort(x.reshape(-1)) if axis is None else argsort(x, axis=axis)


for _function, _answer in ((np.sort, _numpy_sort), (np.argsort, _numpy_argsort)):
    _names: Any = ("a", "axis", "kind", "order")
    NUMPY[_function] = Counterpart(_answer, 1, _names, {})


# --- where values would go -----------------------------------------------------------------


def _searchsorted(x1: Any, x2: Any, /, *, side: Literal["left", "right"] = "left") -> Any:
    return np.asarray(np.searchsorted(x1, x2, side=side))


def _refuse_search(inputs: Any, params: dict[str, Any]) -> Exception | None:
    if np.ndim(inputs[0]) != 1:
        return ShapeError(lesson("searchsorted", f"x1 of shape {np.shape(inputs[0])}", "one axis, ascending"))
    return ArgumentError(lesson("searchsorted", f"side={params.get('side')!r}", "'left' or 'right'"))


_search = declare("searchsorted", _searchsorted, complain=_refuse_search,
    samples=lambda rng: iter([((np.sort(rng.normal(size=5)), rng.normal(size=(2, 3))), {"side": "right"})]),
    caption="where each x₂ would go into the ascending x₁")  # fmt: skip


def searchsorted(x1: Any, x2: Any, /, *, side: Literal["left", "right"] = "left", sorter: Any = None) -> Any:
    """Where each of `x2` would go into `x1`, so that `x1` stays in ascending order.

    Parameters
    ----------
    side : {"left", "right"}
        Before or behind equal elements.
    sorter : array_like or Tensor of int, optional
        Indices that put `x1` into ascending order, such as `argsort` gives.
    """
    if sorter is not None:
        x1 = PUBLIC["getitem"](as_tensor(x1), sorter)
    return apply(_search, (x1, x2), {"side": side})


searchsorted.op = _search  # type: ignore[attr-defined]
publish("searchsorted", searchsorted, numpy={np.searchsorted: {}})
