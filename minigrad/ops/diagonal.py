"""The diagonal of a matrix, its sum, and their adjoint."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..define import define
from ..errors import ArgumentError, ShapeError, lesson
from ..op import NUMPY, OPS, Counterpart, Op, declare, publish
from ._axes import refuse_axis
from .contraction import as_tensors


def _onto(d: Any, /, *, offset: int, shape: tuple[int, ...]) -> Any:
    out = np.zeros(shape, d.dtype)
    rows = np.arange(d.shape[-1])
    out[..., rows + max(0, -offset), rows + max(0, offset)] = d
    return out


def _onto_samples(rng: np.random.Generator) -> Any:
    for offset, shape in ((0, (3, 3)), (1, (2, 3)), (-2, (4, 3)), (5, (2, 3)), (0, (2, 3, 2))):
        d = np.linalg.diagonal(rng.normal(size=shape), offset=offset)
        yield (np.array(d),), {"offset": offset, "shape": shape}


def _diagonal_samples(rng: np.random.Generator) -> Any:
    for _, params in _onto_samples(rng):
        yield (rng.normal(size=params["shape"]),), {"offset": params["offset"]}


def _refuse_flat(name: str) -> Any:
    def complain(inputs: Any, params: dict[str, Any]) -> Exception | None:
        if np.ndim(inputs[0]) < 2:
            return ShapeError(lesson(name, f"an array of shape {np.shape(inputs[0])}",
                                     "matrices: at least two axes"))  # fmt: skip
        return ArgumentError(lesson(name, f"offset={params.get('offset')!r}", "an integer"))

    return complain


def _diagonal(x: Any, /, *, offset: int = 0) -> Any:
    return np.linalg.diagonal(x, offset=offset)


def _trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    return np.linalg.trace(x, offset=offset, dtype=dtype)


def _trace_rule(g: Any, y: Any, x: Any, *, offset: int = 0, dtype: Any = None) -> Any:
    rows, columns = x.shape[-2:]
    count = max(0, min(rows + min(0, offset), columns - max(0, offset)))
    return onto_offset(np.broadcast_to(g[..., None], (*g.shape, count)), offset=offset, shape=x.shape)


onto_offset: Op = declare(
    "onto_offset", _onto, lambda h, y, d, *, offset, shape: OPS["linalg.diagonal"](h, offset=offset),
    linear="jointly", analytic=True, samples=_onto_samples, caption="zeros, with d on a diagonal")  # fmt: skip

matrix_diagonal = define("linalg.diagonal", _diagonal,
    lambda g, y, x, *, offset=0: onto_offset(g, offset=offset, shape=x.shape),
    linear="jointly", analytic=True, samples=_diagonal_samples, complain=_refuse_flat("linalg.diagonal"),
    numpy={np.linalg.diagonal: {}}, caption="xᵢ ᵢ₊ₖ of the last two axes")  # fmt: skip
matrix_trace = define("linalg.trace", _trace, _trace_rule,
    linear="jointly", analytic=True, samples=_diagonal_samples, complain=_refuse_flat("linalg.trace"),
    numpy={np.linalg.trace: {}}, caption="Σ xᵢ ᵢ₊ₖ of the last two axes")  # fmt: skip


def _with_axes_last(x: Any, axis1: int, axis2: int, name: str) -> Any:
    (x,) = as_tensors(x)
    for axis in (axis1, axis2):
        bad = refuse_axis(name)([x], {"axis": axis})
        if isinstance(bad, Exception):
            raise bad
    last = axis1 % x.ndim, axis2 % x.ndim
    if last[0] == last[1]:
        raise ShapeError(lesson(name, f"axis1={axis1} and axis2={axis2} are one axis"))
    order = (*(k for k in range(x.ndim) if k not in last), *last)
    return x if order == tuple(range(x.ndim)) else x.transpose(order)


def diagonal(x: Any, /, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """NumPy's diagonal: of the first two axes, or of `axis1` and `axis2`."""
    return matrix_diagonal(_with_axes_last(x, axis1, axis2, "diagonal"), offset=offset)


def trace(x: Any, /, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Any:
    """NumPy's trace: over the first two axes, or over `axis1` and `axis2`."""
    return matrix_trace(_with_axes_last(x, axis1, axis2, "trace"), offset=offset, dtype=dtype)


publish("diagonal", diagonal)
publish("trace", trace)
NUMPY[np.diagonal] = Counterpart(lambda a, *args, **kw: diagonal(a, *args, **kw), 99, (), {})
NUMPY[np.trace] = Counterpart(lambda a, *args, **kw: trace(a, *args, **kw), 99, (), {})
