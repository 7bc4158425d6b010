"""The derivatives of the determinant, of every order, at every matrix.

|x| is a polynomial, so it has derivatives where x is singular too; x⁻¹ |x| is only one way to
write them, which fails there.  The op here is closed under differentiation:

    cofactor(x, h₁, …, hₖ) = ∂/∂x of the coefficient of t₁…tₖ in |x + t₁ h₁ + … + tₖ hₖ|

is linear and symmetric in the h, and its cotangents are again cofactors.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..op import Op, declare
from ._matrices import spectral

CONDITION = 1e4
"""Up to here |x| x⁻ᵀ keeps twelve digits in double precision."""


def _cofactor(x: Any, *h: Any) -> Any:
    n = x.shape[-1]
    if not x.size or len(h) >= n:
        return np.zeros(x.shape, x.dtype)  # the polynomial has degree n
    with np.errstate(all="ignore"):
        try:
            inverse = np.linalg.inv(x)
        except np.linalg.LinAlgError:
            inverse = None
        if inverse is not None and np.all(_size(x) * _size(inverse) < CONDITION):
            return _from_inverse(np.linalg.det(x), inverse, h)
    return _from_values(x, h)


def _size(x: Any) -> Any:
    return np.max(np.sum(np.abs(x), axis=-1), axis=-1)


@cache
def _subsets(k: int) -> list[tuple[int, list[int]]]:
    """The subsets of k things as bit masks, with their members."""
    return [(s, [i for i in range(k) if s >> i & 1]) for s in range(1 << k)]


def _from_inverse(det: Any, inverse: Any, h: Any) -> Any:
    """|X| X⁻ᵀ with X = x + Σ tᵢ hᵢ, each tᵢ² = 0: the coefficient of t₁…tₖ."""
    moves = [inverse @ m for m in h]
    # (1 + Σ tᵢ mᵢ)⁻¹ and its determinant, a coefficient for each subset of the t
    series: list[Any] = []
    dets: list[Any] = []
    for mask, members in _subsets(len(h)):
        if not mask:
            series.append(np.eye(inverse.shape[-1], dtype=inverse.dtype))
            dets.append(np.ones((), inverse.dtype))
            continue
        series.append(-sum(moves[i] @ series[mask ^ 1 << i] for i in members))
        last = members[-1]  # ∂ₜ |X| = |X| tr(X⁻¹ h)
        below = mask ^ 1 << last
        dets.append(sum(dets[below ^ s] * np.trace(series[s] @ moves[last], axis1=-2, axis2=-1)
                        for s, _ in _subsets(len(h)) if s & below == s))  # fmt: skip
    full = (1 << len(h)) - 1
    total = sum(np.asarray(dets[full ^ s])[..., None, None] * series[s] for s, _ in _subsets(len(h)))
    return np.asarray(det)[..., None, None] * (total @ inverse).mT


def _from_values(x: Any, h: Any) -> Any:
    """Through x = U diag(s) Vᴴ: nothing is divided by a small s."""
    u, s, vh = np.linalg.svd(x)
    turn = (np.linalg.det(u) * np.linalg.det(vh))[..., None, None]
    uh, v = u.conj().mT, vh.conj().mT
    c = _of_diagonal(s, [uh @ m @ v for m in h])
    return (turn * (u.conj() @ c @ vh.conj())).astype(x.dtype)


def _of_diagonal(s: Any, h: Any) -> Any:
    n = s.shape[-1]
    if not h:  # the products of all s but one
        before = np.cumprod(np.concatenate([np.ones_like(s[..., :1]), s[..., :-1]], axis=-1), axis=-1)
        after = np.cumprod(np.concatenate([np.ones_like(s[..., :1]), s[..., :0:-1]], axis=-1), axis=-1)
        return (before * after[..., ::-1])[..., None, :] * np.eye(n, dtype=s.dtype)
    # A polynomial of degree d is the mean of its values at d + 1 equal steps around a circle.
    # Only the small s are moved, so that d is their number and the circle is never close to 0.
    largest = np.max(s, axis=-1, keepdims=True)
    small = s <= 0.1 * largest
    radius = np.where(largest > 0, largest, 1)
    count = min(int(np.max(np.sum(small, axis=-1), initial=0)), n - 1 - len(h)) + 1
    angles = 2 * np.pi * (np.arange(count) + 0.25) / count
    circle = np.exp(1j * angles).reshape(count, *(1,) * s.ndim)
    moved = s + small * radius * circle
    inverse = (1 / moved)[..., None, :] * np.eye(n)
    values = np.mean(_from_inverse(np.prod(moved, axis=-1), inverse, h), axis=0)
    return values if np.iscomplexobj(h[0]) else values.real


def _rule(c: Any, y: Any, i: int, x: Any, *h: Any) -> Any:
    return cofactor(x, *h, c) if i == 0 else cofactor(x, *h[: i - 1], *h[i:], c)


def _samples(rng: np.random.Generator) -> Any:
    lost = spectral(rng, 4, 4)
    lost[..., 0] = lost[..., 1] + lost[..., 2]
    very = spectral(rng, 4, 4)
    very[:, 2:] = very[:, :2]
    for x in (spectral(rng, 3, 3), spectral(rng, 2, 2, 3), lost, very, np.zeros((3, 3)), np.ones((1, 1)),
              np.stack([lost, spectral(rng, 4, 4)])):  # fmt: skip
        for k in range(3):
            yield (x, *(rng.normal(size=x.shape) for _ in range(k))), {}


cofactor: Op = declare("linalg.cofactor", _cofactor, _rule, variadic=True, samples=_samples,
                       caption="∂|x| / ∂x, its minors; with h: their derivatives along h")  # fmt: skip
