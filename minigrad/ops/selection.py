"""Choosing elements, and writing or adding at chosen places: NumPy's assignments as functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from ..broadcast import sum_to
from ..define import define
from ..errors import ArgumentError, DtypeError, IndexingError, ShapeError, lesson
from ..op import Op, declare
from ..tensor import Tensor, apply, as_tensor
from ._axes import refuse_axis
from ._public import checked_axes, parts_of, public
from .indexing import (
    ARRAY,
    fill,
    getitem,
    index_samples,
    index_tensor,
    parse_index,
    refuse_index,
    scatter,
    where,
)
from .joining import stack
from .shape import broadcast_arrays, ravel

# --- along an axis -----------------------------------------------------------------------


def _take_along(x: Any, indices: Any, /, *, axis: int | None = -1) -> Any:
    return np.take_along_axis(x, indices, axis)


def _add_along(g: Any, indices: Any, /, *, axis: int | None = -1, shape: tuple[int, ...]) -> Any:
    """Each cotangent is added at the element that was read: positions in memory, so that one
    fast addition serves every axis, broadcast or not."""
    places = np.take_along_axis(np.arange(np.prod(shape, dtype=np.intp)).reshape(shape), indices, axis)
    out = np.zeros(np.prod(shape, dtype=np.intp), g.dtype)
    np.add.at(out, places.reshape(-1), g.reshape(-1))
    return out.reshape(shape)


def _along_samples(rng: np.random.Generator) -> Any:
    x = rng.normal(size=(3, 4))
    yield (x, np.array([[2, 0, 2, 1]])), {"axis": 0}
    yield (x, np.array([[1, -1], [0, 0], [3, 3]])), {"axis": -1}
    yield (x, np.array([[1, 1]])), {"axis": 1}
    yield (rng.normal(size=(1, 4)), np.array([[0, 3], [1, 1]])), {"axis": 1}
    yield (x, np.array([5, 5, -12])), {"axis": None}
    yield (x, np.zeros((3, 0), np.int64)), {}
    yield (np.zeros((0, 2)), np.zeros((0, 1), np.int64)), {}


def _add_along_samples(rng: np.random.Generator) -> Any:
    for (x, indices), params in _along_samples(rng):
        y = _take_along(x, indices, **params)
        yield (rng.normal(size=y.shape), indices), {**params, "shape": x.shape}


def _refuse_along(inputs: Any, params: dict[str, Any]) -> Exception | None:
    x, indices = inputs
    axis = params.get("axis", -1)
    if np.asarray(indices).dtype.kind not in "iu":
        return DtypeError(lesson("take_along_axis", f"indices of dtype {np.asarray(indices).dtype}", "integers"))
    bad = refuse_axis("take_along_axis")(inputs, {"axis": axis})
    if bad is not None:
        return bad  # type: ignore[no-any-return]
    if np.ndim(indices) != (1 if axis is None else np.ndim(x)):
        return ShapeError(lesson("take_along_axis", f"indices of shape {np.shape(indices)} for an array of shape "
                                 f"{np.shape(x)}", "as many axes", "np.expand_dims(indices, axis) adds one"))  # fmt: skip
    n = np.size(x) if axis is None else np.shape(x)[axis]
    wrong = np.asarray(indices)[(indices < -n) | (indices >= n)]
    if wrong.size:
        return IndexingError(lesson("take_along_axis", f"index {wrong[0]} of an axis of size {n}", f"{-n} to {n - 1}"))
    return ShapeError(lesson("take_along_axis", f"indices of shape {np.shape(indices)} for an array of shape {np.shape(x)}",
                             "sizes that are equal or 1 on the other axes"))  # fmt: skip


take_along_axis = define("take_along_axis", _take_along,
    lambda g, y, x, indices, *, axis=-1: add_along_axis(g, indices, axis=axis, shape=x.shape), None,
    linear="jointly", analytic=True, samples=_along_samples, complain=_refuse_along, numpy={np.take_along_axis: {}},
    caption="x[indices] along an axis, line by line")  # fmt: skip

add_along_axis: Op = declare("add_along_axis", _add_along,
    lambda h, y, g, indices, *, axis=-1, shape: take_along(h, indices, axis=axis), None,
    linear="jointly", analytic=True, samples=_add_along_samples, caption="zeros, with g added at the indices, line by line")  # fmt: skip
take_along: Op = take_along_axis.op


# --- writing and adding at an index --------------------------------------------------------


def _checked(x: Any, values: Any, name: str) -> Any:
    if values.dtype.kind == "c" and x.dtype.kind == "f":
        return x.astype(np.result_type(x, values), order="C")
    if not np.can_cast(values.dtype, x.dtype, "same_kind"):
        raise DtypeError(lesson(name, f"{values.dtype} values into {x.dtype}", "the result keeps the dtype of x",
                                "convert x first: x.astype(values.dtype)"))  # fmt: skip
    return np.array(x, order="C")  # a 0-d value may be a NumPy scalar


def _index_add(x: Any, values: Any, *arrays: Any, index: tuple[Any, ...]) -> Any:
    out = _checked(x, values, "index_add")
    if any(a.dtype.kind in "iu" for a in arrays):
        places = np.shape(np.broadcast_to(np.int8(), x.shape)[fill(index, arrays)])
        out += scatter.forward(np.broadcast_to(values, places), *arrays, index=index, shape=x.shape)
    else:
        out[fill(index, arrays)] += values
    return out


def _index_update(x: Any, values: Any, *arrays: Any, index: tuple[Any, ...]) -> Any:
    out = _checked(x, values, "index_update")
    if any(a.dtype.kind in "iu" for a in arrays):
        places = np.arange(x.size).reshape(x.shape)[fill(index, arrays)]
        last = _last(places, x.size)
        out.reshape(-1)[places[last]] = np.broadcast_to(values, places.shape)[last]
    else:
        out[fill(index, arrays)] = values
    return out


def _last(places: Any, size: int) -> Any:
    """Of the places written to more than once, which write stands: the last."""
    turn = np.arange(places.size).reshape(places.shape)
    latest = np.full(size, -1)
    np.maximum.at(latest, places.reshape(-1), turn.reshape(-1))
    return latest[places] == turn


def _last_written(*arrays: Any, index: tuple[Any, ...], shape: tuple[int, ...]) -> Any:
    places = np.arange(np.prod(shape, dtype=np.intp)).reshape(shape)[fill(index, arrays)]
    return _last(places, int(np.prod(shape)))


# Which elements of x[index] = values are not overwritten by a later one: no derivative.
last_written = declare("last_written", _last_written, variadic=True, caption="true where no later write follows",
    samples=lambda rng: iter([((np.array([1, 0, 1]),), {"index": (ARRAY,), "shape": (3,)})]))  # fmt: skip


def _index_add_rule(g: Any, y: Any, i: int, x: Any, values: Any, *arrays: Any, index: tuple[Any, ...]) -> Any:
    return g if i == 0 else sum_to(getitem(g, *arrays, index=index), shape=values.shape)


def _index_update_rule(g: Any, y: Any, i: int, x: Any, values: Any, *arrays: Any, index: tuple[Any, ...]) -> Any:
    if i == 0:
        return index_update_op(g, np.zeros((), g.dtype), *arrays, index=index)
    read = getitem(g, *arrays, index=index)
    if any(a.dtype.kind in "iu" for a in arrays):
        read = np.where(last_written(*arrays, index=index, shape=x.shape), read, 0)
    return sum_to(read, shape=values.shape)


def _writing_samples(rng: np.random.Generator) -> Any:
    for inputs, params in index_samples(rng):
        x, *arrays = inputs
        shape = np.shape(x[fill(params["index"], arrays)])
        yield (x, rng.normal(size=shape), *arrays), params
        if len(shape) > 1:
            yield (x, rng.normal(size=shape[1:]), *arrays), params
        yield (x, rng.normal(size=()), *arrays), params


def _refuse_writing(name: str) -> Any:
    def complain(inputs: Any, params: dict[str, Any]) -> Exception | None:
        x, values, *arrays = inputs
        try:
            shape = np.shape(x[fill(params["index"], arrays)])
        except IndexError:
            return refuse_index(name, (x, *arrays), params)
        return ShapeError(lesson(name, f"values of shape {np.shape(values)} for x[index] of shape {shape}",
                                 "values that broadcast to it"))  # fmt: skip

    return complain


index_add_op = declare("index_add", _index_add, _index_add_rule, variadic=True, linear="jointly", analytic=True,
    samples=_writing_samples, complain=_refuse_writing("index_add"), caption="x, with values added at [index]")  # fmt: skip
index_update_op: Op = declare("index_update", _index_update, _index_update_rule, variadic=True, linear="jointly", analytic=True,
    samples=_writing_samples, complain=_refuse_writing("index_update"), caption="x, with values written at [index]")  # fmt: skip


@public("index_add", index_add_op)
def index_add(x: Any, index: Any, values: Any, /) -> Any:
    """A copy of `x` with `values` added at ``x[index]``: a scatter-add.

    Parameters
    ----------
    x : Tensor or array_like
        Its dtype is that of the result.
    index
        Every index that NumPy knows.  An element that it names twice is added to twice.
    values : Tensor or array_like
        Broadcast to the shape of ``x[index]``.
    """
    template, arrays = parse_index(index, "index_add")
    return apply(index_add_op, (x, values, *arrays), {"index": template})


@public("index_update", index_update_op)
def index_update(x: Any, index: Any, values: Any, /) -> Any:
    """A copy of `x` with `values` written at ``x[index]``: an assignment that stays on the graph.

    Parameters
    ----------
    x : Tensor or array_like
        Its dtype is that of the result.
    index
        Every index that NumPy knows.  Of an element that it names twice the last value stands,
        in the order of ``x[index]``, and alone has a gradient.
    values : Tensor or array_like
        Broadcast to the shape of ``x[index]``.
    """
    template, arrays = parse_index(index, "index_update")
    return apply(index_update_op, (x, values, *arrays), {"index": template})


# --- by a condition ------------------------------------------------------------------------


def _numbers(a: Any, /, *, n: int, mode: str) -> Any:
    if mode == "wrap":
        return np.remainder(a, n)
    if mode == "clip":
        return np.clip(a, 0, n - 1)
    wrong = a[(a < 0) | (a >= n)]
    if wrong.size:
        raise IndexingError(lesson("choose", f"choice {wrong[0]} of {n}", f"0 to {n - 1}", "or mode='clip' or 'wrap'"))
    return a


_numbers_op: Op = declare("choice_numbers", _numbers, caption="the numbers of choices, none beyond them",
    samples=lambda rng: iter([((np.array([[0, 2], [1, 1]]),), {"n": 3, "mode": "raise"}),
                              ((np.array([-4, 7, 1]),), {"n": 3, "mode": "wrap"})]))  # fmt: skip


@public("choose", numpy={np.choose: {}})
def choose(a: Any, choices: Sequence[Any], /, *, mode: Literal["raise", "clip", "wrap"] = "raise") -> Any:
    """Of several arrays the elements that `a` numbers: ``choices[a[k]][k]``, all broadcast.

    Parameters
    ----------
    a : Tensor or array_like of integers
    choices : sequence of Tensor or array_like
    mode : {"raise", "clip", "wrap"}
        What a number outside 0 to ``len(choices) - 1`` means: an error, the nearest, modulo.
    """
    if mode not in ("raise", "clip", "wrap"):
        raise ArgumentError(lesson("choose", f"mode={mode!r}", "'raise', 'clip' or 'wrap'"))
    parts = parts_of("choose", choices)
    a, n = a if isinstance(a, Tensor) else np.asarray(a), len(parts)
    if a.dtype.kind not in "iu" or not n:
        raise DtypeError(lesson("choose", f"{n} arrays by numbers of dtype {a.dtype}", "integers, and at least one array",
                                "write mg.where(mask, x1, x2) for a choice of two"))  # fmt: skip
    number, *same = broadcast_arrays(apply(_numbers_op, (a,), {"n": n, "mode": mode}), *parts)
    return take_along_axis(stack(same), number[None], axis=0)[0]


@public("select", numpy={np.select: {}})
def select(condlist: Sequence[Any], choicelist: Sequence[Any], /, default: Any = 0) -> Any:
    """Of several arrays the first whose condition holds, else `default`, elementwise.

    Parameters
    ----------
    condlist : sequence of bool arrays
    choicelist : sequence of Tensor or array_like
        One for each condition.
    default : Tensor or array_like
    """
    conditions, choices = parts_of("select", condlist), parts_of("select", choicelist)
    if len(conditions) != len(choices) or not choices:
        raise ShapeError(lesson("select", f"{len(conditions)} conditions for {len(choices)} arrays", "one for each"))
    out = default
    for condition, choice in zip(conditions[::-1], choices[::-1], strict=True):
        condition = condition if isinstance(condition, Tensor) else np.asarray(condition)
        if condition.dtype.kind != "b":
            raise DtypeError(lesson("select", f"a condition of dtype {condition.dtype}", "bool", "compare: x > 0"))
        out = where(condition, choice, out)
    return out


@public("compress", numpy={np.compress: {"a": "x"}})
def compress(condition: Any, x: Any, /, *, axis: int | None = None) -> Any:
    """The slices of `x` along `axis` for which the condition, a vector, holds.

    Parameters
    ----------
    condition : 1-d array of bool
        May be shorter than the axis: what is missing counts as false.
    x : Tensor or array_like
    axis : int, optional
        Without it, of the flattened array.
    """
    x = ravel(x) if axis is None else as_tensor(x)
    along = checked_axes("compress", 0 if axis is None else axis, x.shape)[0]
    condition = condition if isinstance(condition, Tensor) else np.asarray(condition)
    condition = condition if condition.dtype.kind == "b" else condition != 0
    if condition.ndim != 1 or condition.size > x.shape[along]:
        raise ShapeError(lesson("compress", f"a condition of shape {condition.shape} for an axis of size {x.shape[along]}",
                                "a vector, at most that long"))  # fmt: skip
    lead = (slice(None),) * along
    return index_tensor(x[(*lead, slice(condition.size))], (*lead, condition))


@public("extract", numpy={np.extract: {}})
def extract(condition: Any, x: Any, /) -> Any:
    """The elements of `x` where the condition holds, in one row."""
    return compress(ravel(condition), x)
