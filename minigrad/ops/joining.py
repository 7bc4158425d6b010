"""Joining and cutting: several arrays to one, one to several; each is the other's adjoint."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from ..define import define
from ..errors import ArgumentError, ShapeError, lesson
from ..op import Op, declare
from ..tensor import Tensor, apply, as_tensor
from ._axes import refuse_axis
from ._public import checked_axes, parts_of, public
from .shape import atleast_1d, atleast_2d, atleast_3d, reshape


def _normal(rng: np.random.Generator, *shapes: tuple[int, ...]) -> tuple[Any, ...]:
    return tuple(rng.normal(size=s) for s in shapes)


# --- several arrays to one ---------------------------------------------------------------


def _parts(g: Any, y: Any, i: int, *xs: Any, axis: int | None = 0) -> Any:
    """concat's cotangent, cut where the inputs meet: of few inputs the part that is asked for,
    of many all parts at once."""
    if len(xs) < 5 and axis is not None:
        start = 0
        for x in xs[:i]:
            start += x.shape[axis]
        here = slice(start, start + xs[i].shape[axis])
        return g[here] if axis == 0 else g[(*(slice(None),) * (axis % g.ndim), here)]
    along = 0 if axis is None else axis
    sizes = [x.size if axis is None else x.shape[axis] for x in xs]
    parts = cut(g, indices_or_sections=tuple(accumulate(sizes[:-1])), axis=along)
    return parts if axis is not None else tuple(part.reshape(x.shape) for part, x in zip(parts, xs, strict=True))


def _refuse_parts(name: str, same: bool) -> Any:
    def complain(inputs: Any, params: dict[str, Any]) -> Exception | None:
        if not inputs:
            return ShapeError(lesson(name, "no arrays", "at least one"))
        shapes = [np.shape(x) for x in inputs]
        axis = params.get("axis", 0)
        if len({len(s) for s in shapes}) > 1 or same and len(set(shapes)) > 1:
            return ShapeError(lesson(name, f"shapes {', '.join(map(str, shapes))}",
                                     "all the same" if same else "the same number of axes"))  # fmt: skip
        bad = refuse_axis(name)([np.empty((*shapes[0], 1) if same else shapes[0])], params)
        if bad is None and isinstance(axis, int):
            bad = ShapeError(lesson(name, f"shapes {', '.join(map(str, shapes))} along axis {axis}",
                                    "sizes may differ only along that axis"))  # fmt: skip
        return bad if isinstance(bad, Exception) else None

    return complain


_concat = declare(
    "concat", lambda *xs, axis=0: np.concatenate(xs, axis), _parts, variadic=True, linear="jointly", analytic=True,
    complain=_refuse_parts("concat", same=False), caption="[x₁, x₂, …]",
    samples=lambda rng: iter([
        (_normal(rng, (2, 3), (1, 3)), {}), (_normal(rng, (2, 3), (2, 1), (2, 2)), {"axis": -1}),
        (_normal(rng, (2,), (0,)), {}), (_normal(rng, (2, 2), (3,), ()), {"axis": None}),
        (_normal(rng, (1, 2), (1, 0), (1, 1), (1, 3), (1, 1)), {"axis": 1}),
        (_normal(rng, (1,), (0,), (2,), (1,), (3,), (1,)), {})]),
)  # fmt: skip


@public("concat", _concat, aliases=("concatenate",), numpy={np.concatenate: {}})
def concat(arrays: Sequence[Any], /, *, axis: int | None = 0) -> Any:
    """Join arrays along an axis they have.

    Parameters
    ----------
    arrays : sequence of Tensor or array_like
        Equal shapes but for `axis`.
    axis : int or None
        None joins the flattened arrays.
    """
    return apply(_concat, parts_of("concat", arrays), {"axis": axis})


_stack = declare(
    "stack", lambda *xs, axis=0: np.stack(xs, axis), lambda g, y, i, *xs, axis=0: rows(g, axis=axis),
    variadic=True, linear="jointly", analytic=True, complain=_refuse_parts("stack", same=True), caption="x₁, x₂, … stacked",
    samples=lambda rng: iter([
        (_normal(rng, (2, 3), (2, 3)), {}), (_normal(rng, (2, 3), (2, 3), (2, 3)), {"axis": -1}),
        (_normal(rng, (), ()), {}), (_normal(rng, (0, 2), (0, 2)), {"axis": 1})]),
)  # fmt: skip


@public("stack", _stack, numpy={np.stack: {}})
def stack(arrays: Sequence[Any], /, *, axis: int = 0) -> Any:
    """Join arrays of one shape along a new axis.

    Parameters
    ----------
    arrays : sequence of Tensor or array_like
    axis : int
        Where the new axis stands in the result.
    """
    return apply(_stack, parts_of("stack", arrays), {"axis": axis})


def _lifted(name: str, arrays: Any, lift: Any) -> list[Any]:
    parts = parts_of(name, arrays)
    if not parts:
        raise ShapeError(lesson(name, "no arrays", "at least one"))
    return [lift(as_tensor(x)) for x in parts]


@public("hstack", numpy={np.hstack: {"tup": "arrays"}})
def hstack(arrays: Sequence[Any], /) -> Any:
    """Join along axis 1; vectors and scalars along axis 0 (NumPy's name)."""
    parts = _lifted("hstack", arrays, atleast_1d)
    return concat(parts, axis=0 if parts[0].ndim == 1 else 1)


@public("vstack", numpy={np.vstack: {"tup": "arrays"}})
def vstack(arrays: Sequence[Any], /) -> Any:
    """Join along axis 0, a vector being one row (NumPy's name)."""
    return concat(_lifted("vstack", arrays, atleast_2d))


@public("dstack", numpy={np.dstack: {"tup": "arrays"}})
def dstack(arrays: Sequence[Any], /) -> Any:
    """Join along axis 2, which is added where it is missing (NumPy's name)."""
    return concat(_lifted("dstack", arrays, atleast_3d), axis=2)


@public("column_stack", numpy={np.column_stack: {"tup": "arrays"}})
def column_stack(arrays: Sequence[Any], /) -> Any:
    """Join along axis 1, a vector being one column (NumPy's name)."""
    return concat(_lifted("column_stack", arrays, lambda x: x if x.ndim > 1 else reshape(x, (x.size, 1))), axis=1)


# --- one array to several ----------------------------------------------------------------


def _split(x: Any, /, indices_or_sections: Any, *, axis: int = 0) -> tuple[Any, ...]:
    n, ends = x.shape[axis], indices_or_sections
    if isinstance(ends, (int, np.integer)):
        if ends < 1 or n % ends:
            raise ValueError
        ends = range(n // ends, n, n // ends) if n else (0,) * (ends - 1)
    lead = (slice(None),) * (axis % x.ndim)
    parts, start = [], 0
    for end in (*ends, n):
        parts.append(x[(*lead, slice(start, end))])
        start = end
    if sum(part.shape[axis] for part in parts) != n:
        raise ShapeError(lesson("split", f"positions {indices_or_sections}", "ascending positions"))
    return tuple(parts)


def _refuse_split(inputs: Any, params: dict[str, Any]) -> Exception | None:
    if "indices_or_sections" not in params:
        return ArgumentError(lesson("split", "into how many parts?", "the call is split(x, n) or split(x, [position, ...])"))
    axis, shape = params.get("axis", 0), np.shape(inputs[0])
    if not shape:
        return ShapeError(lesson("split", "a scalar", "at least one axis"))
    bad = refuse_axis("split")(inputs, {"axis": axis})
    return bad or ShapeError(lesson("split", f"size {shape[axis]} into {params['indices_or_sections']} equal parts",
                                    "a divisor of the size, or a list of positions"))  # fmt: skip


split = define("split", _split,
    lambda g, y, x, *, indices_or_sections, axis=0: np.concatenate(g, axis=axis),
    linear="jointly", analytic=True, complain=_refuse_split, numpy={np.split: {}}, caption="x cut into parts",
    samples=lambda rng: iter([
        (_normal(rng, (4, 3)), {"indices_or_sections": 2}),
        (_normal(rng, (2, 5)), {"indices_or_sections": [1, 3], "axis": -1}),
        (_normal(rng, (3,)), {"indices_or_sections": (0, 3)})]))  # fmt: skip
cut: Op = split.op


@public("array_split", numpy={np.array_split: {}})
def array_split(x: Any, /, indices_or_sections: int | Sequence[int], *, axis: int = 0) -> tuple[Tensor, ...]:
    """`x` cut into parts; where the sizes cannot be equal, the first are longer by one."""
    x, positions = as_tensor(x), indices_or_sections
    if isinstance(positions, (int, np.integer)):
        if positions < 1:
            raise ShapeError(lesson("array_split", f"into {positions} parts", "at least one"))
        small, longer = divmod(x.shape[checked_axes("array_split", axis, x.shape)[0]], int(positions))
        positions = tuple(accumulate(small + (k < longer) for k in range(int(positions) - 1)))
    return split(x, positions, axis=axis)  # type: ignore[no-any-return]


def _split_along(name: str, needed: int, pick_axis: Any) -> Any:
    def split_along(x: Any, /, indices_or_sections: int | Sequence[int]) -> tuple[Tensor, ...]:
        x = as_tensor(x)
        if x.ndim < needed:
            raise ShapeError(lesson(name, f"an array of shape {x.shape}", f"at least {needed} axes"))
        return split(x, indices_or_sections, axis=pick_axis(x))  # type: ignore[no-any-return]

    split_along.__doc__ = f"`x` cut into parts along one axis; see `split` (NumPy's name {name})."
    return public(name, numpy={getattr(np, name): {}})(split_along)


hsplit = _split_along("hsplit", 1, lambda x: int(x.ndim > 1))
vsplit = _split_along("vsplit", 2, lambda x: 0)
dsplit = _split_along("dsplit", 3, lambda x: 2)


def _unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    return tuple(x if axis == 0 and x.ndim else np.moveaxis(x, axis, 0))


def _refuse_unstack(inputs: Any, params: dict[str, Any]) -> Exception | None:
    if not np.ndim(inputs[0]):
        return ShapeError(lesson("unstack", "a scalar", "at least one axis"))
    return refuse_axis("unstack")(inputs, params)  # type: ignore[no-any-return]


unstack = define("unstack", _unstack,
    lambda g, y, x, *, axis=0: np.stack(g, axis=axis),
    linear="jointly", analytic=True, complain=_refuse_unstack, caption="the rows of x, one by one",
    numpy={np.unstack: {}} if hasattr(np, "unstack") else {},
    samples=lambda rng: iter([
        (_normal(rng, (3, 2)), {}), (_normal(rng, (2, 3, 2)), {"axis": -2})]))  # fmt: skip
rows: Op = unstack.op
