"""Shapes: the same numbers laid out anew, so the cotangent is laid out back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backward import cast
from ..broadcast import sum_to
from ..define import define
from ..errors import DtypeError, ShapeError, lesson
from ..op import NUMPY, Counterpart, declare, publish
from ..tensor import Tensor, apply, tensor
from ._axes import refuse_axis

Shape = int | tuple[int, ...]


def _reshape(x: Any, /, shape: Shape, *, copy: bool | None = None) -> Any:
    return x.reshape(shape) if copy is None else np.reshape(x, shape, copy=copy)


def _refuse_reshape(inputs: Any, params: dict[str, Any]) -> Exception:
    size, shape = np.size(inputs[0]), params.get("shape")
    return ShapeError(lesson("reshape", f"{size} elements of shape {np.shape(inputs[0])} into {shape}",
                             "the sizes must multiply to the same number; one may be -1"))  # fmt: skip


def _reshape_samples(rng: np.random.Generator) -> Any:
    x = rng.normal(size=(2, 6))
    for shape in ((3, 4), (12,), (-1, 3), 12, (2, 1, 6), (2, 6)):
        yield (x,), {"shape": shape}
    yield (rng.normal(size=(1, 1)),), {"shape": ()}
    yield (np.zeros((0, 3)),), {"shape": (3, 0)}
    yield (rng.normal(size=(4, 3)).T,), {"shape": (2, 6)}


reshape = define("reshape", _reshape,
    lambda g, y, x, *, shape, copy=None: g.reshape(x.shape),
    linear="jointly", analytic=True, samples=_reshape_samples, complain=_refuse_reshape, numpy={np.reshape: {}},
    caption="x in another shape")  # fmt: skip


def _permute_dims(x: Any, /, axes: tuple[int, ...]) -> Any:
    return x.transpose(axes)


def _unpermute(g: Any, y: Any, x: Any, *, axes: tuple[int, ...]) -> Any:
    back = sorted(range(len(axes)), key=lambda k: axes[k] % len(axes))
    return g.transpose(tuple(back))


def _permutations(rng: np.random.Generator) -> Any:
    x = rng.normal(size=(2, 3, 4))
    for axes in ((0, 1, 2), (1, 2, 0), (-1, 0, 1)):
        yield (x,), {"axes": axes}
    yield (rng.normal(size=()),), {"axes": ()}


permute_dims = define("permute_dims", _permute_dims, _unpermute, linear="jointly", analytic=True, samples=_permutations,
    caption="x with its axes in another order")  # fmt: skip


def transpose(x: Any, /, axes: Sequence[int] | None = None) -> Any:
    """`x` with its axes in another order; without `axes`, in reverse order (NumPy's name)."""
    x = x if isinstance(x, Tensor) else tensor(x)
    return permute_dims(x, tuple(range(x.ndim))[::-1] if axes is None else tuple(axes))


publish("transpose", transpose, numpy={np.transpose: {}})


def _matrices(rng: np.random.Generator) -> Any:
    for shape in ((2, 3), (4, 2, 3), (0, 3)):
        yield (rng.normal(size=shape),), {}


def _refuse_vector(inputs: Any, params: dict[str, Any]) -> Exception | None:
    if np.ndim(inputs[0]) < 2:
        return ShapeError(lesson("matrix_transpose", f"an array of shape {np.shape(inputs[0])}",
                                 "at least two axes", "use [:, None] to make a column"))  # fmt: skip
    return None


matrix_transpose = define("matrix_transpose", lambda x, /: x.mT,
    lambda g, y, x: g.mT, linear="jointly", analytic=True, samples=_matrices, complain=_refuse_vector,
    numpy={np.matrix_transpose: {}}, notation="{}ᵀ", caption="xᵀ (the last two axes)")  # fmt: skip


def _broadcast_to(x: Any, /, shape: tuple[int, ...]) -> Any:
    return np.broadcast_to(x, shape)


def _broadcast_samples(rng: np.random.Generator) -> Any:
    for small, large in (((3,), (2, 3)), ((), (2, 3)), ((2, 1), (4, 2, 3)), ((1,), (0,)), ((3,), (3,))):
        yield (rng.normal(size=small),), {"shape": large}


def _refuse_broadcast(inputs: Any, params: dict[str, Any]) -> Exception:
    return ShapeError(lesson("broadcast_to", f"shape {np.shape(inputs[0])} to {params.get('shape')}",
                             "aligned from the right, sizes must be equal or 1"))  # fmt: skip


broadcast_to = define("broadcast_to", _broadcast_to,
    lambda g, y, x, *, shape: sum_to(g, shape=x.shape), linear="jointly", analytic=True, samples=_broadcast_samples,
    complain=_refuse_broadcast, numpy={np.broadcast_to: {}}, caption="x repeated along new axes")  # fmt: skip


def _normal(rng: np.random.Generator, *shapes: tuple[int, ...]) -> tuple[Any, ...]:
    return tuple(rng.normal(size=s) for s in shapes)


# --- several arrays to one ---------------------------------------------------------------


def _cut(g: Any, y: Any, i: int, *xs: Any, axis: int | None = 0) -> Any:
    """The part of concat's cotangent that belongs to input i."""
    if axis is None:
        start = sum([x.size for x in xs[:i]])
        return g[start : start + xs[i].size].reshape(xs[i].shape)
    start = sum([x.shape[axis] for x in xs[:i]])
    here = slice(start, start + xs[i].shape[axis])
    return g[here] if axis == 0 else g[(slice(None),) * (axis % g.ndim) + (here,)]


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
    "concat", lambda *xs, axis=0: np.concatenate(xs, axis), _cut, variadic=True, linear="jointly", analytic=True,
    complain=_refuse_parts("concat", same=False), caption="[x₁, x₂, …]",
    samples=lambda rng: iter([
        (_normal(rng, (2, 3), (1, 3)), {}), (_normal(rng, (2, 3), (2, 1), (2, 2)), {"axis": -1}),
        (_normal(rng, (2,), (0,)), {}), (_normal(rng, (2, 2), (3,)), {"axis": None})]),
)  # fmt: skip


def concat(arrays: Sequence[Any], /, *, axis: int | None = 0) -> Any:
    """Join arrays along an axis they have.

    Parameters
    ----------
    arrays : sequence of Tensor or array_like
        Equal shapes but for `axis`.
    axis : int or None
        None joins the flattened arrays.
    """
    return apply(_concat, tuple(arrays), {"axis": axis})


_stack = declare(
    "stack", lambda *xs, axis=0: np.stack(xs, axis),
    lambda g, y, i, *xs, axis=0: g[(slice(None),) * (axis % g.ndim) + (i,)],
    variadic=True, linear="jointly", analytic=True, complain=_refuse_parts("stack", same=True), caption="x₁, x₂, … stacked",
    samples=lambda rng: iter([
        (_normal(rng, (2, 3), (2, 3)), {}), (_normal(rng, (2, 3), (2, 3), (2, 3)), {"axis": -1}),
        (_normal(rng, (), ()), {}), (_normal(rng, (0, 2), (0, 2)), {"axis": 1})]),
)  # fmt: skip


def stack(arrays: Sequence[Any], /, *, axis: int = 0) -> Any:
    """Join arrays of one shape along a new axis.

    Parameters
    ----------
    arrays : sequence of Tensor or array_like
    axis : int
        Where the new axis stands in the result.
    """
    return apply(_stack, tuple(arrays), {"axis": axis})


# --- one array to several ----------------------------------------------------------------


def _split(x: Any, /, indices_or_sections: Any, *, axis: int = 0) -> tuple[Any, ...]:
    parts = tuple(np.split(x, indices_or_sections, axis))
    if sum(part.shape[axis] for part in parts) != x.shape[axis]:
        raise ShapeError(lesson("split", f"positions {indices_or_sections}", "ascending positions"))
    return parts


def _refuse_split(inputs: Any, params: dict[str, Any]) -> Exception | None:
    bad = refuse_axis("split")(inputs, {"axis": params.get("axis", 0)})
    if bad is None:
        n, parts = np.shape(inputs[0])[params.get("axis", 0)], params.get("indices_or_sections")
        return ShapeError(lesson("split", f"size {n} into {parts} equal parts",
                                 "a divisor of the size, or a list of positions"))  # fmt: skip
    return bad if isinstance(bad, Exception) else None


split = define("split", _split,
    lambda g, y, x, *, indices_or_sections, axis=0: np.concatenate(g, axis=axis),
    linear="jointly", analytic=True, complain=_refuse_split, numpy={np.split: {}}, caption="x cut into parts",
    samples=lambda rng: iter([
        (_normal(rng, (4, 3)), {"indices_or_sections": 2}),
        (_normal(rng, (2, 5)), {"indices_or_sections": [1, 3], "axis": -1})]))  # fmt: skip


def _unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    return tuple(np.moveaxis(x, axis, 0))


unstack = define("unstack", _unstack,
    lambda g, y, x, *, axis=0: np.stack(g, axis=axis),
    linear="jointly", analytic=True, complain=refuse_axis("unstack"), caption="the rows of x, one by one",
    numpy={np.unstack: {}} if hasattr(np, "unstack") else {},
    samples=lambda rng: iter([
        (_normal(rng, (3, 2)), {}), (_normal(rng, (2, 3, 2)), {"axis": -2})]))  # fmt: skip

for _op, _wrapper, _aliases, _numpy in (
    (_concat, concat, ("concatenate",), np.concatenate),
    (_stack, stack, (), np.stack),
):
    _wrapper.op = _op  # type: ignore[attr-defined]
    publish(_op.name, _wrapper, aliases=_aliases, numpy={_numpy: {}})


# --- dtype -------------------------------------------------------------------------------


def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    """`x` in another dtype; differentiable between float dtypes.

    A tensor that requires a gradient cannot become integer or bool on the graph: detach it.
    """
    x, dtype = x if isinstance(x, Tensor) else tensor(x), np.dtype(dtype)
    if x.requires_grad and dtype.kind != "f":
        raise DtypeError(lesson("astype", f"a tensor that requires a gradient to {dtype}",
                                "no gradient passes through integers",
                                "write x.detach().astype(dtype)"))  # fmt: skip
    return apply(cast, (x,), {"dtype": dtype})


publish("astype", astype, numpy={np.astype: {}})


# --- questions that NumPy asks about any array ---------------------------------------------

for _question, _answer in (
    (np.shape, lambda x: x.shape),
    (np.ndim, lambda x: x.ndim),
    (np.size, lambda x, axis=None: x.size if axis is None else x.shape[axis]),
):
    NUMPY[_question] = Counterpart(_answer, 2, (), {})
