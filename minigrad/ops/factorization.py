"""QR and Cholesky: triangular factors, with signs that make them functions of the matrix."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from ..errors import ArgumentError, DomainError, lesson
from ..op import NUMPY, Counterpart, Op, declare, publish
from ..tensor import apply
from ._matrices import failing, real, refuse_matrices, spectral, symmetric, untouched, which
from .contraction import product

# --- QR ----------------------------------------------------------------------------------


def _regular(r: Any, /) -> Any:
    d = np.abs(np.linalg.diagonal(r))
    lost = d <= d.shape[-1] * np.finfo(d.dtype).eps * np.max(d, axis=-1, initial=0, keepdims=True)
    if np.any(lost):
        raise DomainError(lesson("linalg.qr", f"{which(lost.any(axis=-1))} has dependent columns, so Q "
                                 "and R have no derivative", "the first min(m, n) columns independent"))  # fmt: skip
    return r


regular = declare(
    "linalg.regular", _regular, lambda g, y, r: g, caption="r itself, if no diagonal element is 0",
    samples=lambda rng: iter([((np.triu(rng.normal(size=(3, 3))) + 3 * np.eye(3),), {})]))  # fmt: skip


def _qr_forward(x: Any, /, *, mode: Literal["reduced", "complete"] = "reduced") -> Any:
    if mode not in ("reduced", "complete"):
        raise ArgumentError(lesson("linalg.qr", f"mode={mode!r}", "'reduced' or 'complete'"))
    q, r = np.linalg.qr(real(x, "linalg.qr"), mode)
    d = np.linalg.diagonal(r)
    k = d.shape[-1]
    sign = np.where(d < 0, -1, 1).astype(r.dtype)  # R's diagonal is not negative: Q and R are functions
    q = np.concatenate([q[..., :k] * sign[..., None, :], q[..., k:]], axis=-1)
    return q, np.concatenate([r[..., :k, :] * sign[..., None], r[..., k:, :]], axis=-2)


def _qr_rule(g: Any, y: Any, x: Any, *, mode: str = "reduced") -> Any:
    (gq, gr), (q, r) = g, y
    m, n = x.shape[-2:]
    k = min(m, n)
    if q.shape[-1] > k:
        untouched(gq[..., k:], of="qr", what="columns of Q beyond R's")
        gq, q, gr, r = gq[..., :k], q[..., :k], gr[..., :k, :], r[..., :k, :]
    if n > k:  # x is [a, b]: a = Q R₁, and R₂ = Qᵀ b
        gq = gq + product(x[..., k:], gr[..., k:].mT)
        rest = product(q, gr[..., k:])
        return np.concatenate([_qr_square(gq, gr[..., :k], q, r[..., :k]), rest], axis=-1)
    return _qr_square(gq, gr, q, r)


def _qr_square(gq: Any, gr: Any, q: Any, r: Any) -> Any:
    """The cotangent of Q R with R square: (Ḡ_Q + Q sym(R Ḡ_Rᵀ − Ḡ_Qᵀ Q)) R⁻ᵀ, sym of the lower triangle."""
    low = np.tri(r.shape[-1], dtype=r.dtype)
    inner = product(r, gr.mT) - product(gq.mT, q)
    half = inner * low
    both = half + (inner * (low - np.eye(r.shape[-1], dtype=r.dtype))).mT
    return triangular(regular(r), (gq + product(q, both)).mT).mT


def _triangular(r: Any, b: Any, /) -> Any:
    return np.linalg.solve(r, b)


triangular: Op = declare(
    "linalg.triangular", _triangular,
    lambda g, y, r, b: -product(triangular(r.mT, g), y.mT), lambda g, y, r, b: triangular(r.mT, g),
    analytic=True, caption="r⁻¹ b",
    samples=lambda rng: iter([((np.triu(rng.normal(size=(3, 3))) + 3 * np.eye(3), rng.normal(size=(3, 2))), {})]))  # fmt: skip


_qr = declare("linalg.qr", _qr_forward, _qr_rule, complain=refuse_matrices("linalg.qr", False),
    caption="x = Q R, Qᵀ Q = 1, R upper triangular",
    samples=lambda rng: iter([((spectral(rng, 3, 3),), {}), ((spectral(rng, 4, 2),), {}), ((spectral(rng, 2, 3),), {}),
                              ((spectral(rng, 3, 2, 2),), {"mode": "reduced"}), ((spectral(rng, 2, 4, 2),), {"mode": "complete"}),
                              ((np.zeros((0, 2)),), {})]))  # fmt: skip


class QRResult(NamedTuple):
    Q: Any
    R: Any


def qr(x: Any, /, *, mode: Literal["reduced", "complete"] = "reduced") -> QRResult:
    """Orthonormal Q and upper triangular R with x = Q R; R's diagonal is not negative.

    They have a derivative where the first min(m, n) columns are independent; the columns
    that ``mode="complete"`` adds to Q have none.
    """
    return QRResult(*apply(_qr, (x,), {"mode": mode}))


def _np_qr(a: Any, mode: Any = "reduced") -> Any:
    return qr(a).R if mode == "r" else qr(a, mode=mode)


# --- Cholesky ----------------------------------------------------------------------------


def _cholesky(x: Any, /, *, upper: bool = False) -> Any:
    x = symmetric(real(x, "linalg.cholesky"))
    try:
        return np.linalg.cholesky(x).mT if upper else np.linalg.cholesky(x)
    except np.linalg.LinAlgError:
        if x.shape[-1] != x.shape[-2] or not np.isfinite(x).all():
            raise
        raise DomainError(lesson(
            "linalg.cholesky", f"{which(failing(x, np.linalg.cholesky))} is not positive definite", "",
            "add a little to its diagonal: x + 1e-6 * np.eye(n)")) from None  # fmt: skip


def _cholesky_rule(g: Any, y: Any, x: Any, *, upper: bool = False) -> Any:
    if upper:
        g, y = g.mT, y.mT
    n = x.shape[-1]
    half = np.tri(n, dtype=x.dtype) - np.eye(n, dtype=x.dtype) * 0.5
    inner = product(y.mT, g) * half.astype(x.dtype)
    lt = y.mT
    once = triangular(lt, symmetric(inner))  # L⁻ᵀ S L⁻¹, S symmetric
    return triangular(lt, once.mT)


def _positive_samples(rng: np.random.Generator) -> Any:
    for n, *batch in ((3,), (3, 2), (1,), (0,)):
        x = spectral(rng, n, n, *batch)
        noise = rng.normal(size=x.shape) * 0.1
        yield (x @ x.mT + np.eye(n) + noise - noise.mT,), {}
        yield (x @ x.mT + np.eye(n),), {"upper": True}


_cholesky_op = declare(
    "linalg.cholesky", _cholesky, _cholesky_rule, complain=refuse_matrices("linalg.cholesky", True),
    caption="L lower triangular with L Lᵀ = ½(x + xᵀ)", samples=_positive_samples)  # fmt: skip


def cholesky(x: Any, /, *, upper: bool = False) -> Any:
    """The lower triangular L with L Lᵀ = ½(x + xᵀ), or with `upper` its transpose."""
    return apply(_cholesky_op, (x,), {"upper": upper})


for _name, _function, _op in (("qr", qr, _qr), ("cholesky", cholesky, _cholesky_op)):
    _function.op = _op  # type: ignore[union-attr]
    publish(f"linalg.{_name}", _function)
NUMPY[np.linalg.qr] = Counterpart(_np_qr, 99, (), {})
NUMPY[np.linalg.cholesky] = Counterpart(cholesky, 1, (), {})
