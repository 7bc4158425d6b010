"""Matrices: products and decompositions."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..define import define
from ..errors import DomainError, DtypeError, ShapeError, lesson
from ..op import OPS, Op, declare, publish
from ..tensor import apply


def _matmul(x1: Any, x2: Any, /) -> Any:
    # .dot reaches BLAS with half the overhead of np.matmul, and means the same up to 2-d
    return x1.dot(x2) if 0 < x1.ndim < 3 and 0 < x2.ndim < 3 else np.matmul(x1, x2)


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
    for a, b in (((2, 3), (3, 4)), ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((5, 2, 3), (3, 4)),
                 ((2, 3), (5, 3, 4)), ((5, 2, 3), (5, 3, 4)), ((2, 1, 2, 3), (5, 3, 2)), ((5, 2, 3), (3,)),
                 ((3,), (5, 3, 2)), ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((1, 1), (1, 1))):  # fmt: skip
        yield (rng.normal(size=a), rng.normal(size=b)), {}


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


matmul = define("matmul", _matmul, _left, _right, broadcasts=True, linear="each", analytic=True,
                samples=_matmul_samples, complain=_refuse_matmul, numpy={np.matmul: {}},
                notation="{} @ {}", caption="x₁ x₂")  # fmt: skip
product = OPS["matmul"]


# --- eigenvalues -------------------------------------------------------------------------


def _over_gaps(a: Any, w: Any, /) -> Any:
    gaps = w[..., None, :] - w[..., :, None]
    off = ~np.eye(w.shape[-1], dtype=bool)
    if np.any((gaps == 0) & off & (a != 0)):
        raise DomainError(lesson(
            "eigh", "two eigenvalues are equal, so their eigenvectors have no derivative",
            "a loss that uses the vectors needs distinct eigenvalues",
            "use the eigenvalues alone, or a symmetric function such as a matrix power"))  # fmt: skip
    return np.where(off & (gaps != 0), a / np.where(gaps == 0, 1, gaps), 0)


def _gap_samples(rng: np.random.Generator) -> Any:
    yield (rng.normal(size=(3, 3)), np.array([-1.0, 0.3, 2.0])), {}
    yield (rng.normal(size=(2, 3, 3)), np.array([[-1.0, 0.3, 2.0], [0.1, 0.7, 3.0]])), {}


def _gap_rule_w(g: Any, y: Any, a: Any, w: Any) -> Any:
    h = over_gaps(g * y, w)  # ∂/∂gap of a / gap is −(a / gap) / gap
    return np.sum(h, axis=-1) - np.sum(h, axis=-2)


over_gaps: Op = declare("over_gaps", _over_gaps, lambda g, y, a, w: over_gaps(g, w), _gap_rule_w,
                    analytic=True, samples=_gap_samples,
                    caption="aᵢⱼ / (wⱼ − wᵢ), 0 on the diagonal")  # fmt: skip


def _symmetric(x: Any) -> Any:
    return 0.5 * (x + x.mT)


def _eigh_rule(g: Any, y: Any, x: Any) -> Any:
    (gw, gv), (w, v) = g, y
    vt = v.mT
    inner = over_gaps(product(vt, gv), w) + np.eye(w.shape[-1], dtype=w.dtype) * gw[..., None, :]
    return _symmetric(product(product(v, inner), vt))


def _eigh_forward(x: Any, /) -> Any:
    if x.dtype.kind == "c":
        raise DtypeError(lesson("eigh", f"dtype {x.dtype}", "real symmetric matrices"))
    w, v = np.linalg.eigh(_symmetric(x))
    # LAPACK's sign of an eigenvector may flip between neighbouring matrices; fix it, so that
    # the vectors are a function: the component of largest magnitude is positive.
    if not v.size:
        return w, v
    largest = np.take_along_axis(v, np.argmax(np.abs(v), axis=-2, keepdims=True), axis=-2)
    return w, v * np.where(largest < 0, -1, 1).astype(v.dtype)


def _refuse_square(inputs: Any, params: dict[str, Any]) -> Exception | None:
    shape = np.shape(inputs[0])
    if len(shape) < 2 or shape[-1] != shape[-2]:
        return ShapeError(lesson("eigh", f"an array of shape {shape}", "square matrices (..., n, n)"))
    return None


_eigh = declare("linalg.eigh", _eigh_forward, _eigh_rule, complain=_refuse_square,
    caption="eigenvalues w and eigenvectors V of ½(x + xᵀ)",
    samples=lambda rng: iter([((rng.normal(size=(3, 3)),), {}), ((rng.normal(size=(2, 3, 3)),), {})]))  # fmt: skip


class EighResult(NamedTuple):
    eigenvalues: Any
    eigenvectors: Any


def eigh(x: Any, /) -> EighResult:
    """Eigenvalues, ascending, and eigenvectors (columns) of the symmetric part of `x`.

    Each eigenvector is given the sign that makes its largest component positive.  The
    vectors have a derivative only where the eigenvalues differ (`DomainError` otherwise,
    raised by the reverse pass if the vectors are used).
    """
    return EighResult(*apply(_eigh, (x,)))


eigh.op = _eigh  # type: ignore[attr-defined]
publish("linalg.eigh", eigh, numpy={np.linalg.eigh: {}})
