"""Equations and invariants of matrices: inverse, solve, determinant, norms, powers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..define import define
from ..errors import ArgumentError, DomainError, DtypeError, ShapeError, lesson
from ..op import OPS, PUBLIC, Kink, Op, declare, publish
from ..tensor import apply, as_tensor
from ._matrices import failing, refuse_matrices, spectral, which
from .contraction import product
from .determinant import cofactor
from .eigen import svdvals

# --- equations ---------------------------------------------------------------------------


def _singular(name: str, x: Any) -> Exception:
    return DomainError(lesson(
        name, f"{which(failing(x, np.linalg.inv))} is singular", "",
        "use mg.linalg.pinv for a least-squares solution, or add a little to its diagonal"))  # fmt: skip


def _inv(x: Any, /) -> Any:
    try:
        return np.linalg.inv(x)
    except np.linalg.LinAlgError:
        if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
            raise
        raise _singular("linalg.inv", x) from None


def _inv_rule(g: Any, y: Any, x: Any) -> Any:
    yt = y.mT
    return -product(product(yt, g), yt)


def _squares(rng: np.random.Generator) -> Any:
    for n, *batch in ((3,), (2, 4), (1,), (0,)):
        yield (spectral(rng, n, n, *batch),), {}


inv = define("linalg.inv", _inv, _inv_rule, analytic=True, samples=_squares,
             complain=refuse_matrices("linalg.inv", True), numpy={np.linalg.inv: {}}, caption="x⁻¹")  # fmt: skip


def _solve(x1: Any, x2: Any, /) -> Any:
    try:
        return np.linalg.solve(x1, x2)
    except np.linalg.LinAlgError:
        if np.ndim(x1) < 2 or x1.shape[-1] != x1.shape[-2]:
            raise
        raise _singular("linalg.solve", x1) from None


def _solve_right(g: Any, y: Any, a: Any, b: Any) -> Any:
    if b.ndim == 1 and g.ndim > 1:  # one vector, a batch of matrices
        return solve_op(a.mT, g[..., None])[..., 0]
    return solve_op(a.mT, g)


def _solve_left(g: Any, y: Any, a: Any, b: Any) -> Any:
    h = _solve_right(g, y, a, b)
    return -(h[..., :, None] * y[..., None, :]) if b.ndim == 1 else -product(h, y.mT)


def _solve_samples(rng: np.random.Generator) -> Any:
    for n, left, right in ((3, (), (3,)), (3, (), (3, 2)), (3, (2,), (3,)), (2, (4,), (2, 3)), (2, (), (4, 2, 2)),
                           (2, (2, 1), (3, 2, 2)), (0, (), (0, 2))):  # fmt: skip
        yield (spectral(rng, n, n, *left), rng.normal(size=right)), {}


def _refuse_solve(inputs: Any, params: dict[str, Any]) -> Exception | None:
    bad = refuse_matrices("linalg.solve", True)(inputs, params)
    if isinstance(bad, Exception):
        return bad
    a, b = map(np.shape, inputs)
    rows = (b[-1] if len(b) == 1 else b[-2]) if b else None
    if rows != a[-1]:
        hint = "write b[..., None] for a batch of vectors" if len(b) > 1 and b[-1] == a[-1] else ""
        return ShapeError(lesson("linalg.solve", f"matrices {a} and right sides {b}",
                                 f"a vector ({a[-1]},) or matrices (..., {a[-1]}, k)", hint))  # fmt: skip
    return ShapeError(lesson("linalg.solve", f"cannot broadcast the batch axes of {a} with {b}"))


solve = define("linalg.solve", _solve, _solve_left, _solve_right, broadcasts=True, analytic=True,
               samples=_solve_samples, complain=_refuse_solve, numpy={np.linalg.solve: {}},
               caption="x₁⁻¹ x₂")  # fmt: skip
solve_op = OPS["linalg.solve"]


# --- determinants ------------------------------------------------------------------------

det = define("linalg.det", lambda x, /: np.linalg.det(x),
             lambda g, y, x: g[..., None, None] * cofactor(x), analytic=True, samples=_squares,
             complain=refuse_matrices("linalg.det", True), numpy={np.linalg.det: {}}, caption="|x|")  # fmt: skip

_slogdet = declare(
    "linalg.slogdet", lambda x, /: tuple(np.linalg.slogdet(x)),
    lambda g, y, x: g[1][..., None, None] * inv.op(x).mT, samples=_squares,
    complain=refuse_matrices("linalg.slogdet", True), caption="sign and logarithm of |x|")  # fmt: skip


class SlogdetResult(NamedTuple):
    sign: Any
    logabsdet: Any


def slogdet(x: Any, /) -> SlogdetResult:
    """The sign of the determinant, and the logarithm of its absolute value (−∞ where `x` is
    singular; the reverse pass raises `DomainError` there)."""
    return SlogdetResult(*apply(_slogdet, (x,)))


slogdet.op = _slogdet  # type: ignore[attr-defined]
publish("linalg.slogdet", slogdet, numpy={np.linalg.slogdet: {}})


# --- the inverse of a matrix of any shape -------------------------------------------------


def _pinv(x: Any, /, *, rtol: Any = None) -> Any:
    if x.dtype.kind == "c":
        raise DtypeError(lesson("linalg.pinv", f"dtype {x.dtype}", "real matrices"))
    return np.linalg.pinv(x, rtol=rtol)


def _pinv_rule(g: Any, y: Any, x: Any, *, rtol: Any = None) -> Any:
    """Golub and Pereyra's derivative, which holds where the rank stays the same."""
    yt, gt = y.mT, g.mT
    left = gt - product(x, product(y, gt))  # (1 − x y) gᵀ
    right = gt - product(product(gt, y), x)  # gᵀ (1 − y x)
    return product(left, product(y, yt)) + product(product(yt, y), right) - product(product(yt, g), yt)


def _pinv_samples(rng: np.random.Generator) -> Any:
    for m, n, *batch in ((3, 3), (4, 2), (2, 3, 2), (0, 2)):
        yield (spectral(rng, m, n, *batch),), {}


pinv = define("linalg.pinv", _pinv, _pinv_rule, samples=_pinv_samples, numpy={np.linalg.pinv: {}},
              complain=refuse_matrices("linalg.pinv", False), caption="x⁺ (Moore and Penrose)")  # fmt: skip


def _rank(x: Any, /, *, rtol: Any = None) -> Any:
    return np.asarray(np.linalg.matrix_rank(x, rtol=rtol))


def _refuse_rank(inputs: Any, params: dict[str, Any]) -> Exception | None:
    return refuse_matrices("linalg.matrix_rank", False)(inputs, params)  # type: ignore[no-any-return]


matrix_rank = define("linalg.matrix_rank", _rank, complain=_refuse_rank, numpy={np.linalg.matrix_rank: {}},
    samples=lambda rng: iter([((rng.normal(size=(3, 2)),), {}), ((np.ones((2, 3, 3)),), {})]),
    caption="the number of singular values above rtol · the largest")  # fmt: skip


# --- powers ------------------------------------------------------------------------------


def _power(x: Any, /, *, n: int) -> Any:
    if isinstance(n, (bool, np.bool_)) or not isinstance(n, (int, np.integer)):
        raise ArgumentError(lesson("linalg.matrix_power", f"n={n!r}", "an integer"))
    try:
        return np.linalg.matrix_power(x, n) if x.size else x
    except np.linalg.LinAlgError:
        if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
            raise
        raise _singular("linalg.matrix_power", x) from None


def _power_rule(g: Any, y: Any, x: Any, *, n: int) -> Any:
    """The derivative of f in direction G stands in the corner of f([[X, G], [0, X]])."""
    xt, k = x.mT, x.shape[-1]
    zero = np.zeros(x.shape, x.dtype)
    top, bottom = np.concatenate([xt, g], axis=-1), np.concatenate([zero, xt], axis=-1)
    return matrix_power_op(np.concatenate([top, bottom], axis=-2), n=n)[..., :k, k:]


def _power_samples(rng: np.random.Generator) -> Any:
    for n in (0, 1, 2, 3, 5, -1, -2):
        yield (spectral(rng, 2, 2) * 0.7,), {"n": n}
    yield (spectral(rng, 2, 2, 3),), {"n": 3}
    yield (np.zeros((0, 0)),), {"n": 2}


matrix_power_op: Op = declare(
    "linalg.matrix_power", _power, _power_rule, analytic=True, samples=_power_samples,
    complain=refuse_matrices("linalg.matrix_power", True), caption="xⁿ, n an integer")  # fmt: skip


def matrix_power(x: Any, n: int, /) -> Any:
    """The `n`-th power of square matrices; a negative `n` inverts them."""
    return apply(matrix_power_op, (x,), {"n": n})


matrix_power.op = matrix_power_op  # type: ignore[attr-defined]
publish("linalg.matrix_power", matrix_power, numpy={np.linalg.matrix_power: {}})


def multi_dot(arrays: Any, /) -> Any:
    """The product of several matrices (the first and the last may be vectors), in the order
    that takes the fewest multiplications."""
    arrays = list(arrays)
    if len(arrays) < 2:
        raise ArgumentError(lesson("linalg.multi_dot", f"{len(arrays)} arrays", "at least two"))
    arrays = [as_tensor(x) for x in arrays]
    size = [*(x.shape[0] if x.ndim > 1 else 1 for x in arrays), arrays[-1].shape[-1] if arrays[-1].ndim > 1 else 1]
    if arrays[-1].ndim == 1:
        size[-2] = arrays[-1].shape[0]
    best: dict[tuple[int, int], tuple[int, Any]] = {(k, k): (0, k) for k in range(len(arrays))}
    for span in range(1, len(arrays)):
        for i in range(len(arrays) - span):
            j = i + span
            best[i, j] = min((best[i, k][0] + best[k + 1, j][0] + size[i] * size[k + 1] * size[j + 1], k)
                             for k in range(i, j))  # fmt: skip

    def chain(i: int, j: int) -> Any:
        return arrays[i] if i == j else chain(i, best[i, j][1]) @ chain(best[i, j][1] + 1, j)

    return chain(0, len(arrays) - 1)


publish("linalg.multi_dot", multi_dot, numpy={np.linalg.multi_dot: {}})


# --- norms -------------------------------------------------------------------------------


def _frobenius(x: Any, /, *, keepdims: bool = False) -> Any:
    # scaled by the largest element, so that squares neither overflow nor vanish
    largest = np.max(np.abs(x), axis=(-2, -1), keepdims=True, initial=0)
    scale = np.where((largest > 0) & np.isfinite(largest), largest, 1)
    y = scale * np.sqrt(np.sum(np.square(np.abs(x / scale)), axis=(-2, -1), keepdims=True))
    y = y.astype(x.dtype) if x.dtype.kind == "f" else y
    return y if keepdims else y[..., 0, 0]


def _frobenius_rule(g: Any, y: Any, x: Any, *, keepdims: bool = False) -> Any:
    if not keepdims:
        g, y = g[..., None, None], y[..., None, None]
    return g * (x / np.where(y == 0, 1, y))  # 0 at x = 0, as for |x|


frobenius: Op = declare(
    "linalg.frobenius", _frobenius, _frobenius_rule, analytic=True, complain=refuse_matrices("linalg.matrix_norm", False),
    caption="√(Σ x²) of the last two axes", branch=lambda x, /, *, keepdims=False: np.any(x != 0, axis=(-2, -1)),
    kinks=[Kink("x = 0", (np.zeros((2, 3)),), (np.zeros((2, 3)),))],
    samples=lambda rng: iter([((rng.normal(size=(2, 3)),), {}), ((rng.normal(size=(2, 3, 2)),), {"keepdims": True}),
                              ((rng.normal(size=(2, 2, 2)),), {}), ((np.zeros((0, 2)),), {})]))  # fmt: skip


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """The norm of matrices: the last two axes.

    Parameters
    ----------
    x : Tensor or array_like
    keepdims : bool
        Leave two axes of size 1.
    ord : {'fro', 'nuc', 1, -1, 2, -2, inf, -inf}
        'fro': √(Σ x²); 'nuc': the sum of the singular values; ±2: the largest or smallest of
        them; ±1: the largest or smallest sum of absolute values of a column; ±inf: of a row.

    Notes
    -----
    Where the norm is not differentiable: 0 at the zero matrix; equal columns, rows or singular
    values that tie share the gradient evenly.
    """
    x = as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(lesson("linalg.matrix_norm", f"an array of shape {x.shape}", "matrices (..., m, n)"))
    if isinstance(ord, str) and ord == "fro":
        return apply(frobenius, (x,), {"keepdims": keepdims})
    total, largest, smallest = PUBLIC["sum"], PUBLIC["max"], PUBLIC["min"]
    if ord in ("nuc", 2, -2):
        s = abs(svdvals(x))  # |s|: a singular value of 0 is a kink, with slope 0
        y = {"nuc": total, 2: largest, -2: smallest}[ord](s, axis=-1)
    elif ord in (1, -1, np.inf, -np.inf):
        sums = total(abs(x), axis=-2 if ord in (1, -1) else -1)
        y = (largest if ord > 0 else smallest)(sums, axis=-1)
    else:
        raise ArgumentError(lesson("linalg.matrix_norm", f"ord={ord!r}", "'fro', 'nuc', 1, -1, 2, -2, inf or -inf"))
    return y.reshape((*y.shape, 1, 1)) if keepdims else y


publish("linalg.matrix_norm", matrix_norm, numpy={np.linalg.matrix_norm: {}})
