"""Derivatives in two hundred digits, where no forward function of ours can be differentiated exactly:
SciPy's functions and LAPACK's factors, written once more in mpmath, without a rule.

A central difference of step 1e-25 leaves fifty digits, a second one too.
"""

from __future__ import annotations

import itertools

import mpmath
import numpy as np
from checks import active, contract, cotangents, recorded, tupled

from minigrad.testing.arithmetic import REFERENCES

DIGITS, STEP = 200, 25
mp = mpmath.mp
number = np.frompyfunc(lambda x: mp.mpf(float(x)), 1, 1)


def elementwise(name):
    function = REFERENCES.get(name) or (lambda _, *xs: getattr(mp, name)(*xs))
    return lambda *xs, **params: np.frompyfunc(lambda *at: function(mp, *at, **params), len(xs), 1)(*xs)


def of_matrices(function):
    """`function` of each matrix of a batch, each result an array."""

    def over_batch(*xs, **params):
        batch = np.broadcast_shapes(*(x.shape[:-2] for x in xs))
        found = [tupled(function(*(np.broadcast_to(x, batch + x.shape[-2:])[k] for x in xs), **params))
                 for k in np.ndindex(batch)]  # fmt: skip
        return tuple(np.array(each, dtype=object).reshape(batch + np.shape(each[0])) for each in zip(*found, strict=True))

    return over_batch


def array(matrix):
    return np.array(matrix.tolist(), dtype=object).reshape(matrix.rows, matrix.cols)


def matrix(x):
    return mp.matrix(x.tolist()) if x.size else mp.matrix(*x.shape)


def symmetric(x):
    return (x + x.T) / 2


def eigh(x):
    """Vectors by their definition: (x − w) v = 0, |v| = 1, the largest component positive."""
    w, v = mp.eigsy(matrix(symmetric(x)))
    v = array(v)
    return array(w)[:, 0], v * upright(v)


def upright(v):
    """The signs that make the largest component of each column positive."""
    return np.array([1 if max(column, key=abs) > 0 else -1 for column in v.T], dtype=object)


def svd(x, *, full_matrices=False):
    u, s, vh = map(array, mp.svd_r(matrix(x)))
    sign = upright(u)
    return u * sign, s[:, 0], sign[:, None] * vh


def qr(x, *, mode="reduced"):
    """By Gram and Schmidt: Q's columns are the first ones of x, each without those before it."""
    columns = []
    for a in x.T[: min(x.shape)]:
        for q in columns:
            a = a - (q @ a) * q
        columns.append(a / mp.sqrt(a @ a))
    q = np.array(columns, dtype=object).T
    return q, np.array([[q[:, i] @ x[:, j] if i <= j else mp.mpf(0) for j in range(x.shape[1])] for i in range(q.shape[1])])


def cholesky(x, *, upper=False):
    low = array(mp.cholesky(matrix(symmetric(x))))
    return low.T if upper else low


def det(x):
    """By Leibniz: the sum over all permutations."""
    n = len(x)
    sign = lambda p: (-1) ** sum(p[i] > p[j] for i, j in itertools.combinations(range(n), 2))  # noqa: E731
    return sum((sign(p) * mp.fprod(x[i, p[i]] for i in range(n)) for p in itertools.permutations(range(n))), mp.mpf(0))


def cofactor(x, *h):
    """The slope of |x| by each element, moved along each h."""
    if h:
        step = mp.mpf(10) ** -STEP
        return (cofactor(x + step * h[-1], *h[:-1]) - cofactor(x - step * h[-1], *h[:-1])) / (2 * step)
    minor = lambda i, j: np.delete(np.delete(x, i, 0), j, 1)  # noqa: E731
    return np.array([[(-1) ** (i + j) * det(minor(i, j)) for j in range(len(x))] for i in range(len(x))], dtype=object)


def inverse(x):
    return array(matrix(x) ** -1)


def solve(a, b):
    each = of_matrices(lambda a, b: inverse(a) @ b)
    return each(a, b)[0] if b.ndim > 1 else each(a, b[:, None])[0][..., 0]


def pinv(x, *, rtol=None):
    """Of full rank, by the normal equations."""
    return inverse(x.T @ x) @ x.T if x.shape[0] >= x.shape[1] else x.T @ inverse(x @ x.T)


EXACT = {
    **{name: elementwise(name) for name in (
        "gelu", "erf", "erfc", "erfinv", "ndtr", "ndtri", "log_ndtr", "hazard", "gammaln", "digamma", "polygamma",
        "hypot", "atan2", "logaddexp", "logaddexp2")},
    **{f"linalg.{name}": of_matrices(function) for name, function in {
        "eigh": eigh, "eigvalsh": lambda x: eigh(x)[0], "svd": svd, "svdvals": lambda x: svd(x)[1], "qr": qr,
        "cholesky": cholesky, "slogdet": lambda x: (mp.sign(det(x)), mp.log(abs(det(x)))), "det": det,
        "cofactor": cofactor, "pinv": pinv, "inv": inverse, "triangular": lambda r, b: inverse(r) @ b}.items()},
    "linalg.solve": solve,
}  # fmt: skip
"""Ops by functions of arrays of mpmath's numbers."""


def held(op, inputs, params, rng):
    """Value, first and second derivative in the engine and in two hundred digits: for each of the three
    how far they are apart, relative to the terms of the sum.

    The first is <v, f′(x) u>, the second <v, f″(x) u t>, where u and t lean on the gradients, so that nothing
    cancels."""
    places = active(op, inputs)
    draw = lambda like: np.asarray(rng.uniform(0.25, 2, np.shape(like)) * rng.choice([-1.0, 1.0], np.shape(like)))  # noqa: E731
    leaves, ys = recorded(op, inputs, params)
    vs = [draw(y.data) for y in ys]
    first = cotangents(leaves, ys, vs, record=True)
    us = [np.copysign(draw(g.data), g.data) for g in first]
    second = _pulled(first, us, leaves)
    ts = [np.copysign(draw(h), h) for h in second]
    got = [[(v, y.data) for v, y in zip(vs, ys, strict=True)], [(u, g.data) for u, g in zip(us, first, strict=True)],
           list(zip(ts, second, strict=True))]  # fmt: skip

    with mp.workdps(DIGITS):
        h = mp.mpf(10) ** -STEP
        at = [number(x) for x in inputs]

        def value(a, b):
            """<v, f(x + a h u + b h t)>"""
            moved = list(at)
            for i, u, t in zip(places, us, ts, strict=True):
                moved[i] = at[i] + h * (a * number(u) + b * number(t))
            return contract([number(v) for v in vs], tupled(EXACT[op.name](*moved, **params)))

        want = [value(0, 0), (value(1, 0) - value(-1, 0)) / (2 * h),
                sum(a * b * value(a, b) for a in (1, -1) for b in (1, -1)) / (4 * h * h)]  # fmt: skip
        return [float(abs(w - sum(mp.mpf(float(n)) for a, b in pairs for n in np.ravel(a * b))))
                / (0.1 + sum(float(np.sum(np.abs(a * b))) for a, b in pairs)) for w, pairs in zip(want, got, strict=True)]  # fmt: skip


def _pulled(first, us, leaves):
    """The gradient of <u, first>: zeros where nothing of it is recorded."""
    from minigrad import Tensor
    from minigrad.tensor import pull

    live = [(g, u) for g, u in zip(first, us, strict=True) if isinstance(g, Tensor) and g.requires_grad]
    found = pull([g for g, _ in live], [u for _, u in live], wanted={x._node for x in leaves}) if live else {}
    return [np.asarray(found[x._node][0]) if x._node in found else np.zeros(x.shape) for x in leaves]
