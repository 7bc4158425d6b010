"""What the families of matrices share: refusing, naming one of a batch, drawing samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DomainError, DtypeError, ShapeError, lesson
from ..op import declare


def which(bad: Any) -> str:
    """The first matrix of a batch that `bad` marks, in words."""
    if bad.ndim == 0:
        return "the matrix"
    place = np.unravel_index(int(np.argmax(bad)), bad.shape)
    return f"matrix [{', '.join(str(int(k)) for k in place)}] of a batch of shape {bad.shape}"


def failing(x: Any, function: Any) -> Any:
    """Which matrices of `x` LAPACK's `function` refuses."""
    bad = np.zeros(x.shape[:-2], bool)
    for k in np.ndindex(bad.shape):
        try:
            function(x[k])
        except np.linalg.LinAlgError:
            bad[k] = True
    return bad


def refuse_matrices(name: str, square: bool) -> Any:
    """A `complain` for the op `name`: shapes, dtype, NaN."""

    def complain(inputs: Any, params: dict[str, Any]) -> Exception | None:
        x = np.asarray(inputs[0])
        if x.ndim < 2 or square and x.shape[-1] != x.shape[-2]:
            needed = "square matrices (..., n, n)" if square else "matrices (..., m, n)"
            return ShapeError(lesson(name, f"an array of shape {x.shape}", needed))
        if x.dtype == np.float16:
            return DtypeError(lesson(name, "dtype float16", "float32 or float64", "write x.astype(np.float32)"))
        bad = ~np.isfinite(x).all(axis=(-2, -1))
        if np.any(bad):
            return DomainError(lesson(name, f"{which(bad)} holds NaN or infinity"))
        return None

    return complain


def real(x: Any, name: str) -> Any:
    if x.dtype.kind == "c":
        raise DtypeError(lesson(name, f"dtype {x.dtype}", "real matrices"))
    return x


def symmetric(x: Any) -> Any:
    return 0.5 * (x + x.mT)


def spectral(rng: np.random.Generator, m: int, n: int, *batch: int) -> Any:
    """Matrices with singular values 0.7, 1.4, 2.1 …, apart enough for difference quotients."""
    u, v = (np.linalg.qr(rng.normal(size=(*batch, k, k)))[0] for k in (m, n))
    k = min(m, n)
    return (u[..., :k] * (0.7 * np.arange(1, k + 1))) @ v[..., :k].mT


def _untouched(g: Any, /, *, of: str, what: str) -> Any:
    if np.any(g):
        raise DomainError(lesson(f"linalg.{of}", f"the loss uses {what}, which the matrix does not determine",
                                 "they have no derivative", "leave them out"))  # fmt: skip
    return np.zeros((), bool)


untouched = declare("linalg.untouched", _untouched, caption="refuses a cotangent that is not 0",
                    samples=lambda rng: iter([((np.zeros((2, 3)),), {"of": "svd", "what": "x"})]))  # fmt: skip
