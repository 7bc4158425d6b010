"""Eigenvalues and singular values.

Each result is made a function of its input: signs that LAPACK leaves open are fixed.  Where a
factor is no function (vectors of equal values), asking for its derivative is a `DomainError`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, DomainError, lesson
from ..op import NUMPY, Counterpart, Op, declare, publish
from ..tensor import apply, as_tensor
from ._matrices import real, refuse_matrices, spectral, symmetric, untouched, which
from .contraction import product


def _symmetric_samples(rng: np.random.Generator) -> Any:
    for n, *batch in ((3,), (3, 2), (1,), (0,)):
        v = np.linalg.qr(rng.normal(size=(*batch, n, n)))[0]
        noise = rng.normal(size=v.shape) * 0.1
        yield ((v * (np.arange(n) - 0.8)) @ v.mT + noise - noise.mT,), {}


# --- eigenvalues -------------------------------------------------------------------------


def _over_gaps(a: Any, w: Any, /, *, of: str = "eigh") -> Any:
    gaps = w[..., None, :] - w[..., :, None]
    n = w.shape[-1]
    off = ~np.eye(n, dtype=bool)
    noise = n * np.finfo(w.real.dtype).eps * np.max(np.abs(w), axis=-1, initial=0)[..., None, None]
    closed = off & (np.abs(gaps) <= noise)
    if np.any(closed & (a != 0)):
        what = "eigen" if of == "eigh" else "singular "
        raise DomainError(lesson(
            f"linalg.{of}", f"two {what}values are equal in {which((closed & (a != 0)).any(axis=(-2, -1)))}, so "
            f"their vectors have no derivative", f"a loss that uses the vectors needs distinct {what}values",
            f"use the {what}values alone, or a symmetric function such as a matrix power"))  # fmt: skip
    open_ = off & ~closed
    return np.where(open_, a / np.where(open_, gaps, 1), 0)


def _gap_samples(rng: np.random.Generator) -> Any:
    yield (rng.normal(size=(3, 3)), np.array([-1.0, 0.3, 2.0])), {}
    yield (rng.normal(size=(2, 3, 3)), np.array([[-1.0, 0.3, 2.0], [0.1, 0.7, 3.0]])), {"of": "svd"}


def _gap_rule_w(g: Any, y: Any, a: Any, w: Any, *, of: str = "eigh") -> Any:
    h = over_gaps(g * y, w, of=of)  # ∂/∂gap of a / gap is −(a / gap) / gap
    return np.sum(h, axis=-1) - np.sum(h, axis=-2)


over_gaps: Op = declare(
    "linalg.over_gaps", _over_gaps, lambda g, y, a, w, *, of="eigh": over_gaps(g, w, of=of), _gap_rule_w,
    analytic=True, samples=_gap_samples, caption="aᵢⱼ / (wⱼ − wᵢ), 0 on the diagonal")  # fmt: skip


def _eigh_rule(g: Any, y: Any, x: Any) -> Any:
    (gw, gv), (w, v) = g, y
    vt = v.mT
    inner = over_gaps(product(vt, gv), w) + np.eye(w.shape[-1], dtype=w.dtype) * gw[..., None, :]
    return symmetric(product(product(v, inner), vt))


def _sign(v: Any) -> Any:
    """±1 for each column, so that its largest component becomes positive."""
    if not v.size:
        return np.ones((*v.shape[:-2], 1, v.shape[-1]), v.dtype)
    largest = np.take_along_axis(v, np.argmax(np.abs(v), axis=-2, keepdims=True), axis=-2)
    return np.where(largest < 0, -1, 1).astype(v.dtype)


def _eigh_forward(x: Any, /) -> Any:
    w, v = np.linalg.eigh(symmetric(real(x, "linalg.eigh")))
    # LAPACK's sign of an eigenvector may flip between neighbouring matrices; fix it, so that
    # the vectors are a function: the component of largest magnitude is positive.
    return w, v * _sign(v)


_eigh = declare("linalg.eigh", _eigh_forward, _eigh_rule, complain=refuse_matrices("linalg.eigh", True),
                caption="eigenvalues w and eigenvectors V of ½(x + xᵀ)", samples=_symmetric_samples)  # fmt: skip


def _eigvalsh_rule(g: Any, y: Any, x: Any) -> Any:
    _, v = _eigh(x)
    return product(v * g[..., None, :], v.mT)


_eigvalsh = declare(
    "linalg.eigvalsh", lambda x, /: np.linalg.eigvalsh(symmetric(real(x, "linalg.eigvalsh"))), _eigvalsh_rule,
    complain=refuse_matrices("linalg.eigvalsh", True), samples=_symmetric_samples,
    caption="eigenvalues of ½(x + xᵀ), ascending")  # fmt: skip


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


def eigvalsh(x: Any, /) -> Any:
    """Eigenvalues, ascending, of the symmetric part of `x`."""
    return apply(_eigvalsh, (x,))


def _from_triangle(a: Any, UPLO: Any) -> Any:
    """The symmetric matrix of which NumPy reads one triangle; None: the symmetric part."""
    if UPLO is None:
        return a
    a = as_tensor(a)
    if not isinstance(UPLO, str) or UPLO.upper() not in ("L", "U"):
        raise ArgumentError(lesson("linalg.eigh", f"UPLO={UPLO!r}", "'L' or 'U'"))
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        return a  # the op refuses it
    strict = np.tri(a.shape[-1], k=-1, dtype=a.dtype)
    half = a * (strict if UPLO.upper() == "L" else strict.T)
    return half + half.mT + a * np.eye(a.shape[-1], dtype=a.dtype)


for _numpy, _ours in ((np.linalg.eigh, eigh), (np.linalg.eigvalsh, eigvalsh)):
    NUMPY[_numpy] = Counterpart(
        lambda a, UPLO=None, _ours=_ours: _ours(_from_triangle(a, UPLO)), 99, (), {})  # fmt: skip


# --- singular values -----------------------------------------------------------------------


def _over_values(a: Any, s: Any, /) -> Any:
    lost = s <= s.shape[-1] * np.finfo(s.dtype).eps * np.max(s, axis=-1, initial=0, keepdims=True)
    lost = lost[..., None, :]
    used = lost & (a != 0)
    if np.any(used):
        raise DomainError(lesson(
            "linalg.svd", f"a singular value is 0 in {which(used.any(axis=(-2, -1)))}, so its vectors have "
            "no derivative", "a loss that uses the vectors needs full rank"))  # fmt: skip
    return np.where(lost, 0, a / np.where(lost, 1, s[..., None, :]))


over_values: Op = declare(
    "linalg.over_values", _over_values, lambda g, y, a, s: over_values(g, s),
    lambda g, y, a, s: -np.sum(over_values(g * y, s), axis=-2),
    samples=lambda rng: iter([((rng.normal(size=(3, 2)), np.array([2.0, 0.6])), {}),
                              ((rng.normal(size=(2, 3, 2)), np.array([[2.0, 0.6], [1.0, 0.5]])), {})]),
    analytic=True, caption="aᵢⱼ / sⱼ")  # fmt: skip


def _svd_forward(x: Any, /, *, full_matrices: bool = True) -> Any:
    u, s, vh = np.linalg.svd(real(x, "linalg.svd"), full_matrices=full_matrices)
    sign = _sign(u)  # a left vector's largest component is positive; its right vector follows
    k = s.shape[-1]
    vh = np.concatenate([vh[..., :k, :] * sign[..., :k].mT, vh[..., k:, :]], axis=-2)
    return u * sign, s, vh


def _svd_rule(g: Any, y: Any, x: Any, *, full_matrices: bool = True) -> Any:
    (gu, gs, gvh), (u, s, vh) = g, y
    m, n = x.shape[-2:]
    k = min(m, n)
    if full_matrices and m != n:
        untouched(gu[..., k:] if m > n else gvh[..., k:, :], of="svd", what="singular vectors without a value")
        gu, u, gvh, vh = gu[..., :k], u[..., :k], gvh[..., :k, :], vh[..., :k, :]
    ut, v, gv = u.mT, vh.mT, gvh.mT
    row, column = s[..., None, :], s[..., :, None]
    left, right = product(ut, gu), product(vh, gv)
    total = row + column  # 1 / (sⱼ² − sᵢ²) is 1 / (sⱼ − sᵢ) / (sⱼ + sᵢ): no cancellation
    total = np.where(total == 0, 1, total)
    inner = (over_gaps(left - left.mT, s, of="svd") / total * row
             + column * over_gaps(right - right.mT, s, of="svd") / total
             + np.eye(k, dtype=s.dtype) * gs[..., None, :])  # fmt: skip
    c = product(product(u, inner), vh)
    if m > k:  # what moves out of the span of the k vectors
        c = c + product(over_values(gu - product(u, left), s), vh)
    if n > k:
        c = c + product(u, over_values(gv - product(v, right), s).mT)
    return c


def _svd_samples(rng: np.random.Generator) -> Any:
    for m, n, *batch in ((3, 3), (4, 2), (2, 3), (3, 2, 2), (0, 2)):
        yield (spectral(rng, m, n, *batch),), {"full_matrices": False}
    yield (spectral(rng, 2, 2),), {"full_matrices": True}


_svd = declare("linalg.svd", _svd_forward, _svd_rule, complain=refuse_matrices("linalg.svd", False),
               caption="U, s, Vᵀ with x = U diag(s) Vᵀ", samples=_svd_samples)  # fmt: skip


def _svdvals_rule(g: Any, y: Any, x: Any) -> Any:
    u, _, vh = _svd(x, full_matrices=False)
    return product(u * g[..., None, :], vh)


_svdvals = declare(
    "linalg.svdvals", lambda x, /: np.linalg.svd(real(x, "linalg.svdvals"), compute_uv=False), _svdvals_rule,
    complain=refuse_matrices("linalg.svdvals", False), caption="singular values, descending",
    samples=lambda rng: (((inputs, {})) for inputs, _ in _svd_samples(rng)))  # fmt: skip


class SVDResult(NamedTuple):
    U: Any
    S: Any
    Vh: Any


def svd(x: Any, /, *, full_matrices: bool = True) -> SVDResult:
    """Singular values S, descending, and vectors: x = U diag(S) Vh.

    The largest component of each left vector is positive.  The vectors have a derivative where
    the values differ, and differ from 0 unless `x` is square; otherwise the reverse pass raises
    `DomainError` if they are used.  The vectors that ``full_matrices=True`` adds have none.
    """
    return SVDResult(*apply(_svd, (x,), {"full_matrices": full_matrices}))


def svdvals(x: Any, /) -> Any:
    """Singular values, descending.  They have a derivative where they differ from each other and
    from 0; elsewhere only symmetric functions of them do."""
    return apply(_svdvals, (x,))


def _np_svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    return svd(a, full_matrices=full_matrices) if compute_uv else svdvals(a)


for _name, _function, _op, _counterpart in (
    ("eigh", eigh, _eigh, None), ("eigvalsh", eigvalsh, _eigvalsh, None),
    ("svd", svd, _svd, None), ("svdvals", svdvals, _svdvals, np.linalg.svdvals),
):  # fmt: skip
    _function.op = _op  # type: ignore[union-attr]
    publish(f"linalg.{_name}", _function, numpy={_counterpart: {}} if _counterpart else None)
NUMPY[np.linalg.svd] = Counterpart(_np_svd, 99, (), {})
