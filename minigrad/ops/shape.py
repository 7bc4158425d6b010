"""Shapes: the same numbers laid out anew, so the cotangent is laid out back."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from ..backward import cast
from ..broadcast import sum_to
from ..define import define
from ..errors import ArgumentError, DtypeError, ShapeError, lesson
from ..op import NUMPY, Counterpart, publish
from ..tensor import Tensor, apply, as_tensor
from ._axes import refuse_axis
from ._public import checked_axes, public

Shape = int | tuple[int, ...]


def _reshape(x: Any, /, shape: Shape, *, copy: bool | None = None) -> Any:
    return x.reshape(shape) if copy is None else np.reshape(x, shape, copy=copy)


def _refuse_reshape(inputs: Any, params: dict[str, Any]) -> Exception:
    if "shape" not in params:
        return ArgumentError(lesson("reshape", "no shape", "the call is reshape(x, shape)",
                                    "write reshape(x, -1) for one axis"))  # fmt: skip
    size, shape = np.size(inputs[0]), params["shape"]
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


def _refuse_permutation(inputs: Any, params: dict[str, Any]) -> Exception | None:
    if "axes" not in params:
        return ArgumentError(lesson("permute_dims", "no axes", "the call is permute_dims(x, axes)",
                                    "write transpose(x) to reverse them all"))  # fmt: skip
    return ShapeError(lesson("permute_dims", f"axes={params['axes']} of an array of shape {np.shape(inputs[0])}",
                             "every axis once"))  # fmt: skip


permute_dims = define("permute_dims", _permute_dims, _unpermute, linear="jointly", analytic=True, samples=_permutations,
    complain=_refuse_permutation, caption="x with its axes in another order")  # fmt: skip


@public("transpose", numpy={np.transpose: {}})
def transpose(x: Any, /, axes: Sequence[int] | None = None) -> Any:
    """`x` with its axes in another order; without `axes`, in reverse order (NumPy's name)."""
    x = as_tensor(x)
    return permute_dims(x, tuple(range(x.ndim))[::-1] if axes is None else tuple(axes))


@public("moveaxis", numpy={np.moveaxis: {}})
def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int], /) -> Any:
    """`x` with its axes `source` at the places `destination`, the others in their order."""
    x = as_tensor(x)
    start = checked_axes("moveaxis", source, x.shape)
    end = checked_axes("moveaxis", destination, x.shape)
    if len(start) != len(end):
        raise ShapeError(lesson("moveaxis", f"{len(start)} axes to {len(end)} places", "as many places as axes"))
    order = [a for a in range(x.ndim) if a not in start]
    for place, axis in sorted(zip(end, start, strict=True)):
        order.insert(place, axis)
    return permute_dims(x, tuple(order))


@public("swapaxes", numpy={np.swapaxes: {}})
def swapaxes(x: Any, axis1: int, axis2: int, /) -> Any:
    """`x` with two axes exchanged."""
    x = as_tensor(x)
    a, b = (checked_axes("swapaxes", axis, x.shape)[0] for axis in (axis1, axis2))
    order = list(range(x.ndim))
    order[a], order[b] = b, a
    return permute_dims(x, tuple(order))


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


def _as_broadcast(name: str, arrays: tuple[Any, ...]) -> list[Any]:
    """The arrays, stretched to their common shape."""
    tensors = [as_tensor(x) for x in arrays]
    shapes = [x.shape for x in tensors]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(lesson(name, f"cannot broadcast {' with '.join(map(str, shapes))}",
                                "aligned from the right, sizes must be equal or 1")) from None  # fmt: skip
    return [x if x.shape == shape else broadcast_to(x, shape) for x in tensors]


@public("broadcast_arrays", numpy={np.broadcast_arrays: {}})
def broadcast_arrays(*arrays: Any) -> list[Tensor]:
    """The arrays, each stretched to the shape that they have together."""
    return _as_broadcast("broadcast_arrays", arrays)


@public("meshgrid")
def meshgrid(*arrays: Any, indexing: Literal["xy", "ij"] = "xy") -> list[Tensor]:
    """The coordinates of a grid: one array for each axis, all of the grid's shape.

    Parameters
    ----------
    *arrays : Tensor or array_like
        The coordinates along each axis, 1-d or scalars.
    indexing : {"xy", "ij"}
        "xy": the first array runs along axis 1, the second along axis 0, as in a picture.
    """
    return _as_broadcast("meshgrid", tuple(_sparse_grid(*arrays, indexing=indexing)))


def _sparse_grid(*arrays: Any, indexing: str = "xy") -> list[Tensor]:
    """The same with size 1 where the coordinates do not change."""
    if indexing not in ("xy", "ij"):
        raise ArgumentError(lesson("meshgrid", f"indexing={indexing!r}", "'xy' or 'ij'"))
    tensors = [as_tensor(x) for x in arrays]
    for x in tensors:
        if x.ndim > 1:
            raise ShapeError(lesson("meshgrid", f"coordinates of shape {x.shape}", "1-d arrays"))
    n = len(tensors)
    places = [1, 0, *range(2, n)] if indexing == "xy" and n > 1 else range(n)
    return [reshape(x, tuple(x.size if a == place else 1 for a in range(n)))
            for x, place in zip(tensors, places, strict=True)]  # fmt: skip


def _numpys_grid(*arrays: Any, copy: bool = True, sparse: bool = False, indexing: Any = "xy") -> list[Tensor]:
    return (_sparse_grid if sparse else meshgrid)(*arrays, indexing=indexing)


NUMPY[np.meshgrid] = Counterpart(_numpys_grid, sys.maxsize, (), {})


# --- axes of size 1 ----------------------------------------------------------------------


def _expand_samples(rng: np.random.Generator) -> Any:
    for axis in (0, -1, 1, (0, 2), (-1, 0)):
        yield (rng.normal(size=(2, 3)),), {"axis": axis}
    yield (rng.normal(size=()),), {"axis": 0}
    yield (np.zeros((0, 2)),), {"axis": 1}


def _refuse_expand(inputs: Any, params: dict[str, Any]) -> Exception | None:
    axis, shape = params.get("axis", 0), np.shape(inputs[0])
    extra = len(axis) if isinstance(axis, (tuple, list)) else 1
    return refuse_axis("expand_dims")([np.empty((1,) * (len(shape) + extra))], {"axis": axis})  # type: ignore[no-any-return]


expand_dims = define("expand_dims", lambda x, /, axis: np.expand_dims(x, axis),
    lambda g, y, x, *, axis: g.reshape(x.shape), linear="jointly", analytic=True, samples=_expand_samples,
    complain=_refuse_expand, numpy={np.expand_dims: {}}, caption="x with new axes of size 1")  # fmt: skip


def _squeeze(x: Any, /, axis: int | tuple[int, ...]) -> Any:
    return x.squeeze(axis)


def _squeeze_samples(rng: np.random.Generator) -> Any:
    x = rng.normal(size=(1, 3, 1, 2))
    for axis in (0, -2, (0, 2), (-2, 0), ()):
        yield (x,), {"axis": axis}
    yield (rng.normal(size=(1, 1)),), {"axis": (0, 1)}


def _refuse_squeeze(inputs: Any, params: dict[str, Any]) -> Exception | None:
    shape = np.shape(inputs[0])
    ones = tuple(a for a, n in enumerate(shape) if n == 1)
    if "axis" not in params:
        return ArgumentError(lesson("squeeze", "no axis", "which axes of size 1 to take away",
                                    f"write squeeze(x, axis={ones})"))  # fmt: skip
    bad = refuse_axis("squeeze")(inputs, params)
    return bad or ShapeError(lesson("squeeze", f"axis {params['axis']} of an array of shape {shape}",
                                    "an axis of size 1", f"those are {ones}" if ones else "it has none"))  # fmt: skip


squeeze = define("squeeze", _squeeze, lambda g, y, x, *, axis: g.reshape(x.shape), linear="jointly", analytic=True,
    samples=_squeeze_samples, complain=_refuse_squeeze, caption="x without axes of size 1")  # fmt: skip


def _squeeze_all(x: Any, axis: Any = None) -> Any:
    """NumPy's spelling: without an axis, all that have size 1."""
    return squeeze(x, tuple(a for a, n in enumerate(x.shape) if n == 1) if axis is None else axis)


NUMPY[np.squeeze] = Counterpart(_squeeze_all, 2, ("a", "axis"), {})


@public("ravel", aliases=("flatten",), numpy={np.ravel: {"a": "x"}})
def ravel(x: Any, /) -> Any:
    """`x` as one axis, the last of its axes running fastest."""
    return reshape(x, -1)


def _at_least(name: str, lift: Any) -> Any:
    def at_least(*arrays: Any) -> Any:
        if not arrays:
            raise ArgumentError(lesson(name, "no arrays", "at least one"))
        lifted = tuple(lift(as_tensor(x)) for x in arrays)
        return lifted[0] if len(lifted) == 1 else lifted

    n = name[-2]
    at_least.__doc__ = f"Each array with {n} axes at least, as NumPy adds them; several give a tuple."
    return public(name, numpy={getattr(np, name): {}})(at_least)


atleast_1d = _at_least("atleast_1d", lambda x: x if x.ndim else reshape(x, (1,)))
atleast_2d = _at_least("atleast_2d", lambda x: x if x.ndim > 1 else reshape(x, (1, x.size)))
atleast_3d = _at_least("atleast_3d", lambda x: x if x.ndim > 2 else reshape(x, {
    0: (1, 1, 1), 1: (1, *x.shape, 1), 2: (*x.shape, 1)}[x.ndim]))  # fmt: skip


# --- dtype -------------------------------------------------------------------------------


def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Any:
    """`x` in another dtype; differentiable between float dtypes.

    A tensor that requires a gradient cannot become integer or bool on the graph: detach it.
    """
    x, dtype = as_tensor(x), np.dtype(dtype)
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
