"""Products of arrays: of matrices, of vectors, over any axes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from string import ascii_letters
from typing import Any

import numpy as np

from ..define import define
from ..errors import ArgumentError, ShapeError, lesson
from ..op import OPS, publish
from ..tensor import as_tensor
from ._axes import refuse_axis
from .einsum import einsum_rule
from .shape import matrix_transpose

Axes = int | Sequence[Sequence[int]]


def _pairs(rng: np.random.Generator, *shapes: Any, **params: Any) -> Any:
    """Samples of two operands; each of `shapes` is a pair."""
    for a, b in shapes:
        yield (np.asarray(rng.normal(size=a)), np.asarray(rng.normal(size=b))), params


# --- matrices ----------------------------------------------------------------------------


def _matmul(x1: Any, x2: Any, /) -> Any:
    # .dot reaches BLAS with half the overhead of np.matmul, and means the same up to 2-d
    return x1.dot(x2) if 0 < x1.ndim < 3 and 0 < x2.ndim < 3 else np.matmul(x1, x2)


def _matmul_into(x1: Any, x2: Any, /, *, out: Any) -> Any:
    if 0 < x1.ndim < 3 and 0 < x2.ndim < 3 and out.flags.c_contiguous:
        return x1.dot(x2, out)
    return np.matmul(x1, x2, out=out)


def _left(g: Any, y: Any, a: Any, b: Any) -> Any:
    """∂/∂A of A B is G Bᵀ, with NumPy's reading of vectors as a row and a column."""
    if b.ndim == 1:
        return g[..., None] * b if a.ndim > 1 else g * b
    if a.ndim == 1:
        return product(b, g) if b.ndim == 2 else product(b, g[..., None])[..., 0]
    return product(g, b.mT)


def _right(g: Any, y: Any, a: Any, b: Any) -> Any:
    """∂/∂B of A B is Aᵀ G."""
    if a.ndim == 1:
        return g * a if b.ndim == 1 else a[:, None] * g[..., None, :]
    if b.ndim == 1:
        return product(g, a) if a.ndim == 2 else product(a.mT, g[..., None])[..., 0]
    if b.ndim == 2 and a.ndim > 2:  # one product over all batches, not a sum of many
        k, n = b.shape
        rows = prod(a.shape[:-1])
        return product(a.reshape(rows, k).mT, g.reshape(rows, n))
    return product(a.mT, g)


def _matmul_samples(rng: np.random.Generator) -> Any:
    return _pairs(rng, ((2, 3), (3, 4)), ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((5, 2, 3), (3, 4)),
                  ((2, 3), (5, 3, 4)), ((5, 2, 3), (5, 3, 4)), ((2, 1, 2, 3), (5, 3, 2)), ((5, 2, 3), (3,)),
                  ((3,), (5, 3, 2)), ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((1, 1), (1, 1)))  # fmt: skip


def _refuse_matmul(inputs: Any, params: dict[str, Any]) -> Exception | None:
    a, b = map(np.shape, inputs)
    for k, shape in enumerate((a, b)):
        if not shape:
            return ShapeError(lesson("matmul", f"operand {k + 1} is a scalar", "", "use *"))
    inner = a[-1], b[-2] if len(b) > 1 else b[0]
    if inner[0] != inner[1]:
        hint = "use .T on one of them" if len(b) > 1 and inner[0] == b[-1] else ""
        return ShapeError(lesson("matmul", f"shapes {a} and {b}: inner sizes {inner[0]} and {inner[1]} "
                                 "differ", "", hint))  # fmt: skip
    return ShapeError(lesson("matmul", f"cannot broadcast the batch axes of {a} with {b}"))


matmul = define("matmul", _matmul, _left, _right, broadcasts=True, linear="each", analytic=True, into=_matmul_into,
                aliases=("linalg.matmul",), samples=_matmul_samples, complain=_refuse_matmul,
                numpy={np.matmul: {}, np.linalg.matmul: {}}, notation="{} @ {}", caption="x₁ x₂")  # fmt: skip
product = OPS["matmul"]
publish("linalg.matrix_transpose", matrix_transpose, numpy={np.linalg.matrix_transpose: {}})


# --- any axes ----------------------------------------------------------------------------


def _tensordot(x1: Any, x2: Any, /, *, axes: Axes = 2) -> Any:
    contract: Any = np.tensordot
    return contract(x1, x2, axes=axes)


def _axis_lists(axes: Any, a: int, b: int) -> tuple[list[int], list[int]]:
    """The contracted axes of each operand, from 0 on."""
    if isinstance(axes, (int, np.integer)):
        return list(range(a - int(axes), a)), list(range(int(axes)))
    left, right = ([int(k)] if isinstance(k, (int, np.integer)) else list(k) for k in axes)
    return [k % a for k in left], [k % b for k in right]


def _tensordot_rule(i: int) -> Any:
    def rule(g: Any, y: Any, a: Any, b: Any, *, axes: Axes = 2) -> Any:
        left, right = _axis_lists(axes, a.ndim, b.ndim)
        first, second = list(ascii_letters[: a.ndim]), list(ascii_letters[26 : 26 + b.ndim])
        for p, q in zip(left, right, strict=True):
            second[q] = first[p]
        out = [c for p, c in enumerate(first) if p not in left] + [
            c for q, c in enumerate(second) if q not in right]  # fmt: skip
        subscripts = f"{''.join(first)},{''.join(second)}->{''.join(out)}"
        return einsum_rule(g, y, i, a, b, subscripts=subscripts)

    return rule


def _tensordot_samples(rng: np.random.Generator) -> Any:
    yield from _pairs(rng, ((2, 3, 4), (3, 4, 2)), ((3, 2), (3, 2)))
    yield from _pairs(rng, ((2, 3), (3, 4)), ((3,), (3,)), ((2, 2, 3), (3, 1, 2)), axes=1)
    yield from _pairs(rng, ((2,), (3, 2)), ((), (2, 3)), ((0,), (2,)), axes=0)
    yield from _pairs(rng, ((2, 3, 4), (4, 2, 2)), axes=((0, -1), (1, 0)))
    yield from _pairs(rng, ((2, 3), (2, 3)), axes=([-1], [-1]))


def _refuse_tensordot(inputs: Any, params: dict[str, Any]) -> Exception | None:
    a, b = map(np.shape, inputs)
    axes = params.get("axes", 2)
    wanted = "an integer, or two equally long sequences of axes, one for each operand"
    try:
        left, right = _axis_lists(axes, len(a) or 1, len(b) or 1)
    except (TypeError, ValueError):
        return ArgumentError(lesson("tensordot", f"axes={axes!r}", wanted))
    if len(left) != len(right):
        return ArgumentError(lesson("tensordot", f"axes={axes!r}", wanted))
    for k, (shape, used) in enumerate(((a, left), (b, right))):
        if len(used) > len(shape) or any(not 0 <= p < len(shape) for p in used):
            return ShapeError(lesson("tensordot", f"axes={axes!r} and operand {k + 1} of shape {shape}",
                                     "axes that it has"))  # fmt: skip
    for p, q in zip(left, right, strict=True):
        if a[p] != b[q]:
            return ShapeError(lesson("tensordot", f"axis {p} of {a} has size {a[p]}, axis {q} of {b} has "
                                     f"size {b[q]}", "contracted axes have equal sizes"))  # fmt: skip
    return None


tensordot = define("tensordot", _tensordot, _tensordot_rule(0), _tensordot_rule(1), linear="each",
    analytic=True, aliases=("linalg.tensordot",), samples=_tensordot_samples, complain=_refuse_tensordot,
    numpy={np.tensordot: {}, np.linalg.tensordot: {}}, caption="Σ x₁ x₂ over pairs of axes")  # fmt: skip


# --- vectors -----------------------------------------------------------------------------


def _aligned(name: str, x1: Any, x2: Any, axis: int) -> None:
    for k, x in enumerate((x1, x2)):
        if not np.ndim(x):
            raise ShapeError(lesson(name, f"operand {k + 1} is a scalar", "vectors", "use *"))
    if axis >= 0 and np.ndim(x1) != np.ndim(x2):
        raise ShapeError(lesson(name, f"axis={axis} of shapes {np.shape(x1)} and {np.shape(x2)}",
                                "with different numbers of axes, it counts from the right",
                                "write axis=-1"))  # fmt: skip


def _vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    _aligned("vecdot", x1, x2, axis)
    multiply: Any = np.vecdot
    return multiply(x1, x2, axis=axis)


def _refuse_vectors(name: str, size: int | None = None) -> Any:
    """A `complain`: `axis` must be there, of one size in both operands (`size` if given)."""

    def complain(inputs: Any, params: dict[str, Any]) -> Exception | None:
        params = {"axis": params.get("axis", -1)}
        for x in inputs:
            bad = refuse_axis(name)([x], params)
            if isinstance(bad, Exception):
                return bad
        a, b = (np.shape(x)[params["axis"]] for x in inputs)
        if a != b or size not in (None, a):
            return ShapeError(lesson(name, f"vectors of {a} and {b} elements along axis {params['axis']}",
                                     "equal sizes" if size is None else f"{size} elements each"))  # fmt: skip
        return None  # then the other axes do not broadcast: the engine says so

    return complain


def _over(g: Any, like: Any, axis: int) -> Any:
    """A cotangent of `vecdot`, with the axis that was summed put back as 1."""
    shape = list(g.shape)
    shape.insert(axis if axis >= 0 else len(shape) + 1 + axis, 1)
    return g.reshape(tuple(shape)) * like


def _vector_samples(rng: np.random.Generator) -> Any:
    yield from _pairs(rng, ((3,), (3,)), ((2, 3), (3,)), ((2, 1, 3), (4, 3)), ((0, 3), (3,)))
    yield from _pairs(rng, ((3, 2), (3, 2)), axis=0)
    yield from _pairs(rng, ((2, 3, 1), (3, 4)), axis=-2)


vecdot = define("vecdot", _vecdot,
    lambda g, y, a, b, *, axis=-1: _over(g, b, axis), lambda g, y, a, b, *, axis=-1: _over(g, a, axis),
    broadcasts=True, linear="each", aliases=("linalg.vecdot",), samples=_vector_samples,
    complain=_refuse_vectors("vecdot"), numpy={np.vecdot: {}, np.linalg.vecdot: {}},
    caption="Σ x₁ ⊙ x₂ along an axis (x₁ conjugate, if complex)")  # fmt: skip


def _cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    _aligned("linalg.cross", x1, x2, axis)
    return np.linalg.cross(x1, x2, axis=axis)


cross = define("linalg.cross", _cross,
    lambda g, y, a, b, *, axis=-1: OPS["linalg.cross"](b, g, axis=axis),
    lambda g, y, a, b, *, axis=-1: OPS["linalg.cross"](g, a, axis=axis),
    broadcasts=True, linear="each", analytic=True, aliases=("cross",), samples=_vector_samples,
    complain=_refuse_vectors("linalg.cross", 3), numpy={np.cross: {}, np.linalg.cross: {}},
    caption="x₁ × x₂, of vectors of three")  # fmt: skip


outer = define("outer", lambda x1, x2, /: np.outer(x1, x2),
    lambda g, y, a, b: product(g, b.reshape(-1)).reshape(a.shape),
    lambda g, y, a, b: product(a.reshape(-1), g).reshape(b.shape),
    linear="each", analytic=True, aliases=("linalg.outer",), numpy={np.outer: {}, np.linalg.outer: {}}, notation="{} ⊗ {}",
    samples=lambda rng: _pairs(rng, ((3,), (2,)), ((2, 3), (2,)), ((), (3,)), ((0,), (2,))),
    caption="x₁ x₂ᵀ, of flattened arrays")  # fmt: skip


def _kron_rule(i: int) -> Any:
    def rule(g: Any, y: Any, a: Any, b: Any) -> Any:
        n = max(a.ndim, b.ndim)
        first, second = ((1,) * (n - x.ndim) + x.shape for x in (a, b))
        pairs = tuple(size for both in zip(first, second, strict=True) for size in both)
        other = (b if i == 0 else a).reshape(second if i == 0 else first)
        # the axes of g are, by turns, those of a and of b: tensordot with the other's
        theirs = tuple(range(1 - i, 2 * n, 2))
        c = OPS["tensordot"](g.reshape(pairs), other, axes=(theirs, tuple(range(n))))
        return c.reshape((a if i == 0 else b).shape)

    return rule


kron = define("kron", lambda x1, x2, /: np.kron(x1, x2), _kron_rule(0), _kron_rule(1), linear="each",
    analytic=True, numpy={np.kron: {}}, caption="x₁ ⊗ x₂ (Kronecker's product)",
    samples=lambda rng: _pairs(rng, ((2, 3), (2, 2)), ((2,), (3,)), ((2, 1, 2), (2, 3)), ((), (2,)), ((0, 2), (2, 1))))  # fmt: skip


def as_tensors(*xs: Any) -> list[Any]:
    return [as_tensor(x) for x in xs]


def dot(x1: Any, x2: Any, /) -> Any:
    """NumPy's dot: `multiply` with a scalar, else the last axis of `x1` with the last but one
    (or only) axis of `x2`; up to two axes, a matrix product."""
    a, b = as_tensors(x1, x2)
    if not a.ndim or not b.ndim:
        return a * b
    return a @ b if a.ndim < 3 and b.ndim < 3 else tensordot(a, b, axes=((-1,), (-min(2, b.ndim),)))


def inner(x1: Any, x2: Any, /) -> Any:
    """NumPy's inner: the last axis of `x1` with the last axis of `x2`."""
    a, b = as_tensors(x1, x2)
    return tensordot(a, b, axes=((-1,), (-1,))) if a.ndim and b.ndim else a * b


publish("dot", dot, numpy={np.dot: {}})
publish("inner", inner, numpy={np.inner: {}})
