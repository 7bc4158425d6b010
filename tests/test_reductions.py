"""Reductions, running totals and products, norms, statistics, sorting and searching.

The registry's claims (test_ops.py) cover orders 1 and 2 of every op; here stand the higher
orders at singular points, ties with uneven cotangents, agreement with NumPy, and errors.
"""

import inspect
import itertools
import math

import checks
import numpy as np
import pytest

import minigrad as mg
from minigrad.op import OPS
from minigrad.testing import check_op


@pytest.fixture(autouse=True)
def _no_silent_floating_point_errors():
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        yield


def along(f, u):
    """The derivative of a scalar function in direction u."""
    return lambda x: mg.sum(mg.grad(f)(x) * u)


def gradient(f, x, seed=None):
    leaf = mg.tensor(x, requires_grad=True)
    y = f(leaf)
    y.backward(seed if seed is not None else np.ones(y.shape, y.dtype))
    return leaf.grad.data


# --- the standard's signatures ---------------------------------------------------------------

SIGNATURES = {
    "sum": "(x, /, *, axis=None, dtype=None, keepdims=False)",
    "prod": "(x, /, *, axis=None, dtype=None, keepdims=False)",
    "mean": "(x, /, *, axis=None, keepdims=False)",
    "var": "(x, /, *, axis=None, correction=0.0, keepdims=False)",
    "std": "(x, /, *, axis=None, correction=0.0, keepdims=False)",
    "max": "(x, /, *, axis=None, keepdims=False)",
    "min": "(x, /, *, axis=None, keepdims=False)",
    "argmax": "(x, /, *, axis=None, keepdims=False)",
    "argmin": "(x, /, *, axis=None, keepdims=False)",
    "any": "(x, /, *, axis=None, keepdims=False)",
    "all": "(x, /, *, axis=None, keepdims=False)",
    "count_nonzero": "(x, /, *, axis=None, keepdims=False)",
    "cumulative_sum": "(x, /, *, axis=None, dtype=None, include_initial=False)",
    "cumulative_prod": "(x, /, *, axis=None, dtype=None, include_initial=False)",
    "diff": "(x, /, *, axis=-1, n=1, prepend=None, append=None)",
    "sort": "(x, /, *, axis=-1, descending=False, stable=True)",
    "argsort": "(x, /, *, axis=-1, descending=False, stable=True)",
    "searchsorted": "(x1, x2, /, *, side='left', sorter=None)",
    "nonzero": "(x, /)",
    "unique_all": "(x, /)",
    "unique_counts": "(x, /)",
    "unique_inverse": "(x, /)",
    "unique_values": "(x, /)",
    "linalg.vector_norm": "(x, /, *, axis=None, keepdims=False, ord=2)",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name):
    function = mg.linalg.vector_norm if name.startswith("linalg.") else getattr(mg, name)
    parameters = inspect.signature(function).parameters.values()
    bare = inspect.Signature([p.replace(annotation=p.empty) for p in parameters])
    assert str(bare) == SIGNATURES[name]


# --- NumPy's functions on tensors ------------------------------------------------------------

X = np.random.default_rng(0).normal(size=(3, 4, 5))
W = np.random.default_rng(1).uniform(0.1, 1.0, size=(3, 4, 5))

CALLS = [
    lambda x: np.prod(x), lambda x: np.prod(x, 1), lambda x: np.prod(x, axis=(0, 2), keepdims=True),
    lambda x: np.multiply.reduce(x, 1), lambda x: np.amax(x, 1), lambda x: np.amin(x, (0, 1)),
    lambda x: np.var(x), lambda x: np.var(x, 1), lambda x: np.var(x, axis=(0, 1), ddof=1), lambda x: np.var(x, correction=1),
    lambda x: np.std(x), lambda x: np.std(x, axis=-1, keepdims=True, ddof=2), lambda x: np.ptp(x), lambda x: np.ptp(x, 1),
    lambda x: np.cumsum(x), lambda x: np.cumsum(x, 1), lambda x: np.cumprod(x), lambda x: np.cumprod(x, axis=-1),
    lambda x: np.cumulative_sum(x, axis=1, include_initial=True), lambda x: np.cumulative_prod(x, axis=2),
    lambda x: np.diff(x), lambda x: np.diff(x, 2), lambda x: np.diff(x, n=1, axis=0), lambda x: np.diff(x, prepend=0.5),
    lambda x: np.diff(x, axis=1, append=x[:, :2], prepend=X[:, 1:]), lambda x: np.trapezoid(x),
    lambda x: np.trapezoid(x, dx=0.3, axis=1), lambda x: np.trapezoid(x, np.array([0.0, 1, 3, 4]), axis=1),
    lambda x: np.trapezoid(x, W), lambda x: np.median(x), lambda x: np.median(x, 0), lambda x: np.median(x, axis=(1, 2), keepdims=True),
    lambda x: np.quantile(x, 0.3), lambda x: np.quantile(x, 0.8, axis=1), lambda x: np.quantile(x, [0.1, 0.5, 1.0], 0, keepdims=True),
    lambda x: np.quantile(x, np.array([0.0, 0.25]), axis=(0, -1)), lambda x: np.percentile(x, 37, axis=1),
    lambda x: np.average(x), lambda x: np.average(x, 1), lambda x: np.average(x, axis=1, weights=W),
    lambda x: np.average(x, axis=1, weights=[1.0, 2, 3, 4]), lambda x: np.average(x, axis=(2, 0), weights=W[:, 0].T, keepdims=True),
    lambda x: np.cov(x[0]), lambda x: np.cov(x[0], rowvar=False, ddof=0), lambda x: np.cov(x[0, 0]),
    lambda x: np.nansum(x, 1), lambda x: np.nanmean(x, axis=(0, 1)),
    lambda x: np.linalg.norm(x), lambda x: np.linalg.norm(x[0]), lambda x: np.linalg.norm(x[0], "fro"),
    lambda x: np.linalg.norm(x[0, 0], 1), lambda x: np.linalg.norm(x, 3, axis=1), lambda x: np.linalg.norm(x, axis=(0, 1)),
    lambda x: np.linalg.norm(x, -np.inf, 0, True), lambda x: np.linalg.norm(x, "fro", (0, 2), True),
    lambda x: np.linalg.vector_norm(x, axis=(0, 1), ord=np.inf), lambda x: np.linalg.vector_norm(x, ord=0.5, keepdims=True),
    lambda x: np.sort(x), lambda x: np.sort(x, 0), lambda x: np.sort(x, axis=None), lambda x: np.sort(x, kind="stable"),
]  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=map(str, range(len(CALLS))))
def test_numpy_function(call):
    """The value is NumPy's, and the gradient is that of the function that NumPy computes."""
    want = call(X)
    leaf = mg.tensor(X, requires_grad=True)
    got = call(leaf)
    assert isinstance(got, mg.Tensor)
    assert got.shape == np.shape(want)
    np.testing.assert_allclose(got.data, want, rtol=1e-13, atol=1e-14)
    seed = np.asarray(np.random.default_rng(2).normal(size=got.shape))
    got.backward(seed)
    u = np.random.default_rng(3).normal(size=X.shape)
    h = 1e-5  # every choice that an op takes is the same this near
    slope = np.sum(seed * (8 * (call(X + h * u) - call(X - h * u)) - (call(X + 2 * h * u) - call(X - 2 * h * u)))) / (12 * h)
    assert np.sum(leaf.grad.data * u) == pytest.approx(slope, rel=1e-7, abs=1e-7)


WITHOUT_GRADIENT = [
    lambda x: np.count_nonzero(x), lambda x: np.count_nonzero(x, axis=(0, 1), keepdims=True), lambda x: np.argsort(x, 0),
    lambda x: np.argsort(x, axis=None, kind="stable"), lambda x: np.argsort(x, kind="stable"), lambda x: np.argwhere(x),
    lambda x: np.nonzero(x), lambda x: np.searchsorted(np.arange(3), x), lambda x: np.searchsorted([0, 1, 1, 2], x, "right"),
    lambda x: np.searchsorted(x[0, 0], [1, 2], sorter=np.argsort(x[0, 0])),
    lambda x: np.unique(x, return_index=True, return_inverse=True, return_counts=True)[1:], lambda x: np.unique_all(x)[1:],
    lambda x: np.unique_counts(x)[1], lambda x: np.unique_inverse(x)[1],
]  # fmt: skip


@pytest.mark.parametrize("call", WITHOUT_GRADIENT, ids=map(str, range(len(WITHOUT_GRADIENT))))
def test_numpy_function_without_gradient(call):
    x = np.random.default_rng(4).integers(-1, 2, (3, 4, 5)).astype(float)
    x.flat[1::7] = x.flat[2::7]
    want, got = call(x), call(mg.tensor(x, requires_grad=True))
    for a, b in zip(checks.tupled(got), checks.tupled(want), strict=True):
        assert isinstance(a, mg.Tensor)
        assert not a.requires_grad
        assert a.dtype.kind == "i"
        if call is not WITHOUT_GRADIENT[2]:  # equal elements: NumPy's order is its own
            np.testing.assert_array_equal(a.data, b)
        else:
            np.testing.assert_array_equal(a.data, np.argsort(x, 0, kind="stable"))


def test_methods():
    x = mg.tensor(X, requires_grad=True)
    for name, args in (("prod", (1,)), ("var", (0,)), ("std", ()), ("cumsum", (1,)), ("cumprod", ()), ("argsort", (0,))):
        np.testing.assert_allclose(getattr(x, name)(*args).data, getattr(X, name)(*args), rtol=1e-13)
    assert [k.data.tolist() for k in mg.tensor([0, 3, 0, 1]).nonzero()] == [[1, 3]]
    assert mg.tensor([1, 3, 5]).searchsorted([3, 4]).data.tolist() == [1, 2]


# --- products: any number of zeros, every order ------------------------------------------------


def multilinear(running, x, directions):
    """The derivative of (running) products in several directions, exactly: x + Σ eₖ uₖ with eₖ² = 0,
    one coefficient for each set of directions."""
    subsets = range(2 ** len(directions))
    products = [dict.fromkeys(subsets, 0) | {0: 1}]
    for i in range(len(x)):
        factor = {0: int(x[i])} | {2**k: int(u[i]) for k, u in enumerate(directions)}
        products.append({s: sum(products[-1][s ^ t] * f for t, f in factor.items() if s & t == t) for s in subsets})
    top = [p[2 ** len(directions) - 1] for p in products[1:]]
    return np.array(top if running else top[-1], float)


@pytest.mark.parametrize("zeros", range(5))
@pytest.mark.parametrize("name", ["prod", "cumulative_prod"])
def test_products_with_zeros_to_order_four(name, zeros):
    rng = np.random.default_rng(zeros)
    for order in range(1, 5):
        x = rng.choice([-2.0, -1, 1, 2, 3], 6)
        x[rng.choice(6, zeros, replace=False)] = 0
        w = rng.choice([-2.0, -1, 1, 3], 6 if name == "cumulative_prod" else ())
        us = [rng.integers(-2, 3, 6).astype(float) for _ in range(order)]
        f = lambda x, w=w: mg.sum(w * getattr(mg, name)(x))  # noqa: E731
        for u in us:
            f = along(f, u)
        want = np.sum(w * multilinear(name != "prod", x, us))
        assert f(x).item() == want


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 1), (2, 0), (0, 1, 2), ()])
@pytest.mark.parametrize("keepdims", [False, True])
def test_prod_over_every_axis_with_zeros(axis, keepdims):
    rng = np.random.default_rng(6)
    x = rng.integers(-1, 3, (2, 3, 4)).astype(float)
    leaf = mg.tensor(x, requires_grad=True)
    y = mg.prod(leaf, axis=axis, keepdims=keepdims)
    seed = np.asarray(rng.integers(-3, 4, y.shape).astype(float))
    y.backward(seed)
    for index in np.ndindex(x.shape):  # linear in each element: a difference is exact
        up = x.copy()
        up[index] += 1
        slope = np.prod(up, axis=axis, keepdims=keepdims) - np.prod(x, axis=axis, keepdims=keepdims)
        assert leaf.grad.data[index] == np.sum(seed * slope)


@pytest.mark.parametrize("x", [[1e200, 1e200, 1e-200], [1e-300, 1e-300, 1e300], [1e-160, 1e-160, 2.0], [0.0, 1e200, 1e-300]])
def test_the_product_of_the_others_does_not_leave_the_range(x):
    with np.errstate(over="ignore", under="ignore"):
        got = gradient(mg.prod, x)
        want = [math.prod(b for k, b in enumerate(x) if k != i) for i in range(3)]
    np.testing.assert_allclose(got, want, rtol=1e-14)


def test_a_running_product_that_overflows_where_nothing_looks():
    with np.errstate(over="ignore"):
        got = gradient(lambda x: mg.cumulative_prod(x)[3], np.full(3000, 2.0))
    np.testing.assert_array_equal(got, [8.0] * 4 + [0.0] * 2996)


@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 64, 100, 1000, 1025])
@pytest.mark.parametrize("reverse", [False, True])
def test_recurrence_is_the_loop(n, reverse):
    rng = np.random.default_rng(n)
    a = rng.choice([-1.0, 0, 1, 1, -1], (2, n, 3))
    b = rng.integers(-4, 5, (2, n, 3)).astype(float)
    want, s = np.zeros(b.shape), np.zeros((2, 3))
    for k in reversed(range(n)) if reverse else range(n):
        s = want[:, k] = a[:, k] * s + b[:, k]
    np.testing.assert_array_equal(OPS["recurrence"](a, b, axis=1, reverse=reverse), want)


def test_running_product_of_a_long_line():
    rng = np.random.default_rng(8)
    x = rng.uniform(0.9, 1.1, (3, 500))
    seed = rng.normal(size=x.shape)
    y = np.cumprod(x, 1)
    want = np.cumsum((seed * y)[:, ::-1], 1)[:, ::-1] / x
    np.testing.assert_allclose(gradient(lambda x: mg.cumulative_prod(x, axis=1), x, seed), want, rtol=1e-11)


def test_include_initial_and_dtype():
    for name, initial in (("cumulative_sum", 0), ("cumulative_prod", 1)):
        f = getattr(mg, name)
        x = mg.tensor(np.array([1.5, 2, 3], np.float32), requires_grad=True)
        y = f(x, include_initial=True, dtype=np.float64)
        assert y.dtype == np.float64
        assert y.data[0] == initial
        np.testing.assert_array_equal(y.data[1:], getattr(np, name)(x.data))
        y.backward(np.array([5.0, 1, 2, 4]))
        assert x.grad.dtype == np.float32
        want = [7, 6, 4] if name == "cumulative_sum" else [1 + 2 * 2 + 4 * 6, 2 * 1.5 + 4 * 4.5, 4 * 3]
        assert x.grad.data.tolist() == want
    x = mg.tensor(np.full(3, 1e30, np.float32), requires_grad=True)
    y = mg.prod(x, dtype=np.float64)
    assert y.item() == pytest.approx(1e90)
    mg.multiply(y, 1e-60).backward()
    np.testing.assert_allclose(x.grad.data, 1.0, rtol=1e-6)
    with pytest.raises(mg.errors.ShapeError):
        mg.cumulative_sum(np.ones((2, 2)))
    assert mg.cumsum(mg.tensor(2.0)).shape == (1,)
    assert mg.tensor([True, False, True]).sum().item() == 2


# --- smooth functions of all elements, to order four -------------------------------------------


def derivative(f, x, u, order, radius=0.15, points=64):
    """d^order f(x + t u) / dt^order at 0, by Cauchy's integral: as exact as f."""
    t = radius * np.exp(2j * np.pi * np.arange(points) / points)
    return np.mean([f(x + s * u) / s**order for s in t]).real * math.factorial(order)


SMOOTH = {
    "var": (lambda x: mg.var(x, correction=1), lambda z: np.sum((z - np.mean(z)) ** 2) / 3),
    "std": (lambda x: mg.std(x, correction=0.5), lambda z: np.sqrt(np.sum((z - np.mean(z)) ** 2) / 3.5)),
    "logsumexp": (mg.logsumexp, lambda z: np.log(np.sum(np.exp(z)))),
    "norm": (mg.norm, lambda z: np.sqrt(np.sum(z * z))),
    "norm 4": (lambda x: mg.norm(x, ord=4), lambda z: np.sum(z**4) ** 0.25),
    "norm 3": (lambda x: mg.norm(x[1:], ord=3), lambda z: np.sum((z[1:] * np.sign(z[1:].real)) ** 3) ** (1 / 3)),
    "norm 1.5": (lambda x: mg.norm(x[1:], ord=1.5), lambda z: np.sum((z[1:] * np.sign(z[1:].real)) ** 1.5) ** (1 / 1.5)),
    "norm -2": (lambda x: mg.norm(x[1:], ord=-2), lambda z: np.sum(z[1:] ** -2.0) ** -0.5),
}


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_smooth_functions_to_order_four(name, order):
    f, of_complex = SMOOTH[name]
    x, u = np.array([0.0, 1.1, -0.7, 2.3]), np.array([0.7, -0.3, 0.2, 0.5])  # one element is 0
    for _ in range(order):
        f = along(f, u)
    assert f(x).item() == pytest.approx(derivative(of_complex, x, u, order), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("value", [0.1, 2.0, 1e-8, 1e8, 0.0, 1 / 3])
def test_a_constant_has_no_deviation(value, dtype):
    x = np.full((2, 10), value, dtype)
    x[1, 3] += 1
    y = mg.std(x, axis=1)
    assert y.data[0] == 0
    assert y.data[1] > 0 or value == 1e8
    assert not gradient(lambda x: mg.std(x, axis=1), x)[0].any()
    f, u = lambda x: mg.std(x), np.arange(10.0)
    for _ in range(4):
        f = along(f, u)
        assert f(x[0].astype(float)).item() == 0


def test_a_small_deviation_is_not_taken_for_none():
    x = 1.0 + np.array([0, 1, 2]) * 1e-9
    assert mg.std(x).item() == pytest.approx(np.std(x))
    np.testing.assert_allclose(gradient(mg.std, x), (x - x.mean()) / (3 * np.std(x)))


def test_variance_of_too_few_is_not_a_number():
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning):
        y = mg.var(np.array([1.0]), correction=1)
    assert np.isnan(y.item())


def test_sums_of_many_half_floats():
    x = np.full(70000, 2.0, np.float16)
    x[::2] = -2.0
    assert mg.var(x).item() == 4
    assert mg.logsumexp(x).item() == pytest.approx(np.log(35000 * (np.exp(2) + np.exp(-2))), rel=1e-3)
    assert gradient(mg.median, np.ones(70000, np.float16)).sum(dtype=np.float64) == pytest.approx(1, rel=3e-3)


# --- infinities and zeros ----------------------------------------------------------------------

INF = np.inf


@pytest.mark.parametrize(("x", "y", "slope"), [
    ([-INF, -INF], -INF, [0, 0]), ([-INF, 2.0], 2.0, [0, 1]), ([INF, 2.0], INF, [1, 0]),
    ([INF, INF, -INF, 0], INF, [0.5, 0.5, 0, 0]), ([1000.0, 1000.0], 1000 + np.log(2), [0.5, 0.5]),
    ([-1000.0, -1000.0], -1000 + np.log(2), [0.5, 0.5]), ([710.0, -INF, -800.0], 710.0, [1, 0, 0]),
])  # fmt: skip
def test_logsumexp_at_infinities(x, y, slope):
    for dtype in (np.float64, np.float32):
        for wide in (np.array(x, dtype), np.array([x, [0.0] * len(x)], dtype)):
            leaf = mg.tensor(wide, requires_grad=True)
            got = mg.logsumexp(leaf, axis=-1)
            np.testing.assert_allclose(got.data.reshape(-1)[0], y, rtol=1e-6)
            got.backward(np.full(got.shape, 3.0, dtype))
            np.testing.assert_allclose(leaf.grad.data.reshape(-1, len(x))[0], 3 * np.array(slope), atol=1e-6)
    u = np.arange(1.0, len(x) + 1)
    assert np.isfinite(along(along(mg.logsumexp, u), u)(np.array(x)).item())
    assert mg.logsumexp(np.zeros((2, 0)), axis=1).data.tolist() == [-INF, -INF]


def test_norm_at_zero():
    x, u = np.zeros(3), np.array([1.0, 2.0, -1.0])
    for ord in (1, 2, 3, 4, 2.5, INF, -INF):
        assert not gradient(lambda x, ord=ord: mg.norm(x, ord=ord), x).any()
    assert along(along(mg.norm, u), u)(x).item() == 0
    squared = lambda x: mg.norm(x) ** 2  # noqa: E731
    assert along(squared, u)(x).item() == 0
    assert along(along(squared, u), u)(x).item() == 0  # as documented: the chain rule has 0 · ∞ here
    assert along(along(lambda x: mg.sum(x * x), u), u)(x).item() == 12
    rows = np.array([[0.0, 0.0], [3.0, 4.0]])
    np.testing.assert_allclose(gradient(lambda x: mg.norm(x, axis=1), rows), [[0, 0], [0.6, 0.8]])


@pytest.mark.parametrize("ord", [0, 1, 2, 3, 0.5, -1, INF, -INF, 2.0, np.float64(3), np.int64(4)])
def test_vector_norm_is_numpys(ord):
    for dtype in (np.float64, np.float32, np.complex128, np.int64):
        x = (X * 9 + (2j * X[::-1] if dtype is np.complex128 else 0)).astype(dtype)
        x += (x == 0).astype(dtype)
        for axis in (None, 0, (1, 2)):
            got, want = mg.linalg.vector_norm(x, ord=ord, axis=axis), np.linalg.vector_norm(x, ord=ord, axis=axis)
            np.testing.assert_allclose(got.data, want, rtol=1e-5 if dtype is np.float32 else 1e-13)
            assert got.dtype == (dtype if dtype is np.float32 else np.float64)


# --- ranks, ties, orders -------------------------------------------------------------------------


@pytest.mark.parametrize(("f", "x", "slope"), [
    (mg.median, [3.0, 1, 2], [0, 0, 1]), (mg.median, [4.0, 2, 1, 3], [0, 0.5, 0, 0.5]),
    (mg.median, [1.0, 2, 2, 5], [0, 0.5, 0.5, 0]), (mg.median, [2.0, 2, 2, 5], [1 / 3, 1 / 3, 1 / 3, 0]),
    (mg.median, [0.0, 1, 1, 2, 2, 3], [0, 0.25, 0.25, 0.25, 0.25, 0]), (mg.median, [7.0], [1]),
    (mg.median, [1.0, np.nan, 2], [0, 1, 0]), (mg.median, [INF, 0, INF], [0.5, 0, 0.5]),
    (lambda x: mg.quantile(x, 0.25), [0.0, 4, 8], [0.5, 0.5, 0]), (lambda x: mg.quantile(x, 1.0), [3.0, 1, 3], [0.5, 0, 0.5]),
    (lambda x: mg.quantile(x, 0.3), [np.nan, np.nan, 1], [0.5, 0.5, 0]), (mg.ptp, [3.0, 1, 3], [0.5, -1, 0.5]),
    (lambda x: mg.percentile(x, 75), [0.0, 4, 8], [0, 0.5, 0.5]), (lambda x: mg.quantile(x, 0), [2.0], [1]),
])  # fmt: skip
def test_slopes_by_rank(f, x, slope):
    for dtype in (np.float64, np.float32, np.float16):
        got = gradient(f, np.array(x, dtype))
        assert got.dtype == dtype
        np.testing.assert_allclose(got, slope, rtol=1e-3 if dtype is np.float16 else 1e-6)


def test_quantile_of_infinities():
    assert mg.quantile([INF, INF, INF], 0.4).item() == INF
    assert mg.quantile([-INF, -INF, 1.0], [0.2, 1]).data.tolist() == [-INF, 1]
    assert mg.quantile([1, 2, 4], 0.75).item() == 3
    assert mg.median([1, 2]).item() == 1.5


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("shape", [(5, 4, 3), (2, 60, 40), (0, 2, 3)])
def test_sort_moves_the_cotangent_along_the_stable_order(axis, descending, shape):
    rng = np.random.default_rng(9)
    x = rng.integers(0, 4 if shape[1] == 4 else 60, shape).astype(float)
    order = np.argsort(-x if descending else x, axis=axis, kind="stable")
    np.testing.assert_array_equal(mg.argsort(x, axis=axis, descending=descending).data, order)
    leaf = mg.tensor(x, requires_grad=True)
    y = mg.sort(leaf, axis=axis, descending=descending)
    np.testing.assert_array_equal(y.data, np.take_along_axis(x, order, axis))
    seed = rng.normal(size=shape)
    y.backward(seed)
    want = np.zeros(shape)
    np.put_along_axis(want, order, seed, axis)
    np.testing.assert_array_equal(leaf.grad.data, want)


def test_sort_with_nan_and_without_stability():
    x = np.array([2.0, np.nan, 1, np.nan, 0])
    assert mg.argsort(x).data.tolist() == [4, 2, 0, 1, 3]
    wide = np.tile(x, 100)
    np.testing.assert_array_equal(mg.argsort(wide).data, np.argsort(wide, kind="stable"))
    np.testing.assert_array_equal(mg.sort(wide).data, np.sort(wide))
    y = np.random.default_rng(0).normal(size=400)
    y[::7] = np.nan
    np.testing.assert_array_equal(mg.argsort(y).data, np.argsort(y, kind="stable"))
    assert mg.topk(y, 3).indices.data.tolist() == mg.argsort(y, descending=True).data[:3].tolist() == [0, 7, 14]
    np.testing.assert_array_equal(mg.argsort(y, stable=False).data, np.argsort(y))
    f = lambda x: mg.sum(mg.sort(x) ** 3 * np.array([1.0, 2, 5]))  # noqa: E731
    assert along(along(f, np.array([1.0, 0, 0])), np.array([1.0, 0, 0]))(np.array([3.0, 1, 2])).item() == 90


@pytest.mark.parametrize("largest", [True, False])
def test_topk(largest):
    rng = np.random.default_rng(10)
    for n, k, values in ((5, 2, 3), (5, 5, 9), (5, 0, 9), (200, 7, 20), (200, 50, 500), (64, 16, 2), (300, 1, 1000)):
        for axis in (0, 1, -1):
            shape = [3, 3, 3]
            shape[axis] = n
            x = rng.integers(0, values, shape).astype(float)
            want = np.argsort(-x if largest else x, axis=axis, kind="stable").take(range(k), axis)
            leaf = mg.tensor(x, requires_grad=True)
            top = mg.topk(leaf, k, axis=axis, largest=largest)
            np.testing.assert_array_equal(top.indices.data, want)
            np.testing.assert_array_equal(top.values.data, np.take_along_axis(x, want, axis))
            assert not top.indices.requires_grad
            seed = rng.normal(size=top.values.shape)
            top.values.backward(seed)
            scattered = np.zeros(x.shape)
            np.put_along_axis(scattered, want, seed, axis)
            np.testing.assert_array_equal(leaf.grad.data, scattered)
    assert mg.topk([1.0, np.nan, 3.0], 2).indices.data.tolist() == [1, 2]


def test_unique():
    x = mg.tensor([[3.0, 1, 3], [2, 1, np.nan]], requires_grad=True)
    for f in (mg.unique_all, mg.unique_counts, mg.unique_inverse):
        got, want = f(x), getattr(np, f.__name__)(x.numpy())
        assert got._fields == want._fields
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a.data, b)
    values = mg.unique_values(x)
    values.backward(np.array([1.0, 2, 3, 4]))
    assert x.grad.data.tolist() == [[3, 1, 0], [2, 0, 4]]
    y = np.array([np.nan, 1, np.nan])
    assert mg.unique_values(y).shape == (3,)
    np.testing.assert_array_equal(mg.unique(y).data, np.unique(y))
    np.testing.assert_array_equal(mg.unique(y, return_counts=True)[1].data, [1, 2])


# --- what is built from other ops: gradients of the further arguments ---------------------------


def test_gradients_of_the_other_arguments():
    rng = np.random.default_rng(11)
    x, w, p = rng.normal(size=(3, 4)), rng.uniform(0.5, 1, 4), np.cumsum(rng.uniform(0.1, 1, 4))
    for f, at in (
        (lambda w: mg.sum(mg.average(x, axis=1, weights=w) ** 2), w),
        (lambda p: mg.sum(mg.trapezoid(x, x=p, axis=1) ** 2), p),
        (lambda d: mg.sum(mg.trapezoid(x, dx=d) ** 2), np.array(0.3)),
        (lambda a: mg.sum(mg.diff(x, prepend=a, append=2.0, n=2) ** 2), rng.normal(size=(3, 2))),
        (lambda a: mg.sum(mg.diff(x, append=a, axis=0) ** 2), np.array(0.7)),
        (lambda x: mg.sum(mg.cov(x) ** 2), x),
    ):
        u = rng.normal(size=at.shape)
        value = lambda t, f=f, at=at, u=u: f(at + t * u).item()  # noqa: E731
        h = 1e-3
        slope = (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h)
        assert np.sum(gradient(f, at) * u) == pytest.approx(slope, rel=1e-7)


def test_nan_is_left_out():
    x = np.array([[1.0, np.nan, 3], [np.nan, 5, 6]], np.float32)
    for name, want in (("nansum", [[1, 0, 1], [0, 1, 1]]), ("nanmean", [[0.5, 0, 0.5], [0, 0.5, 0.5]])):
        f = lambda x, name=name: getattr(mg, name)(x, axis=1)  # noqa: E731
        np.testing.assert_allclose(f(x).data, getattr(np, name)(x, axis=1))
        got = gradient(f, x)
        assert got.dtype == np.float32
        assert got.tolist() == want


# --- every axis ----------------------------------------------------------------------------------

REDUCTIONS = {"prod": np.prod, "var": np.var, "std": np.std, "median": np.median, "count_nonzero": np.count_nonzero,
              "logsumexp": lambda x, **p: np.log(np.sum(np.exp(x), **p)), "ptp": np.ptp}  # fmt: skip


@pytest.mark.parametrize("name", REDUCTIONS)
def test_every_axis(name):
    x = np.random.default_rng(12).normal(size=(2, 3, 4))
    axes = [None, *range(-3, 3), *(t for n in (2, 3) for t in itertools.permutations(range(3), n)), (-1, 0)]
    for axis, keepdims in itertools.product(axes, (False, True)):
        got = getattr(mg, name)(x, axis=axis, keepdims=keepdims)
        want = REDUCTIONS[name](x, axis=axis, keepdims=keepdims)
        assert got.shape == np.shape(want)
        np.testing.assert_allclose(got.data, want, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, np.bool_, np.complex64])
def test_mean_is_numpys(dtype):
    x = (X * 3).astype(dtype)
    for axis in (None, 0, -1, (0, 2), ()):
        got, want = mg.mean(x, axis=axis), np.mean(x, axis=axis)
        assert checks.same_bits(got.data, want)


def test_an_op_that_is_wrong_is_caught():
    """The claims, run on a rule that forgets what a recurrence carries."""
    op = OPS["cumulative_prod"]
    fields = {name: getattr(op, name) for name in op.__slots__}
    wrong = type(op)(**{**fields, "rules": (lambda g, y, x, **params: g * y / np.where(x == 0, 1, x),)})
    with pytest.raises(AssertionError):
        check_op(wrong)


# --- errors ----------------------------------------------------------------------------------------


def T(*shape):
    return mg.tensor(np.ones(shape), requires_grad=True)


ERRORS = [
    (lambda: mg.prod(T(2, 3), axis=2), IndexError, r"^prod: axis 2 of an array with 2 axes"),
    (lambda: mg.var(T(2, 3), axis=(0, 0)), ValueError, r"^var: axis=\(0, 0\) names an axis twice"),
    (lambda: mg.std(T(2), ddof=1), TypeError, r"^std: unknown keyword 'ddof'"),
    (lambda: mg.mean(T(2), axis=1), IndexError, r"^mean: axis 1 of an array with 1 axes"),
    (lambda: mg.mean(T(2), axis=True), TypeError, r"^mean: axis=True"),
    (lambda: mg.cumulative_sum(T(2, 3)), ValueError, r"^cumulative_sum: axis=None and an array of shape \(2, 3\).*reshape"),
    (lambda: mg.cumulative_prod(T()), ValueError, r"^cumulative_prod: a scalar; at least one axis"),
    (lambda: mg.cumulative_sum(T(2, 3), axis=(0, 1)), TypeError, r"^cumulative_sum: axis=\(0, 1\); one axis"),
    (lambda: mg.cumulative_sum(T(2, 3), axis=2), IndexError, r"^cumulative_sum: axis 2"),
    (lambda: mg.cumulative_sum(T(2, 3), axis="a"), TypeError, r"^cumulative_sum: axis='a'"),
    (lambda: mg.diff(T(3), n=-1), TypeError, r"^diff: n=-1; an integer, 0 or more"),
    (lambda: mg.diff(T()), ValueError, r"^diff: a scalar"),
    (lambda: mg.diff(T(3), axis=1), IndexError, r"^diff: axis 1"),
    (lambda: mg.median(T(0)), ValueError, r"^median: axis 0 has size 0 and median has no identity"),
    (lambda: mg.quantile(T(0, 2), 0.5, axis=0), ValueError, r"^quantile: axis 0 has size 0"),
    (lambda: mg.quantile(T(3), 1.5), ValueError, r"^quantile: q=1.5; 0 <= q <= 1"),
    (lambda: mg.quantile(T(3), [[0.5]]), ValueError, r"^quantile: q of shape \(1, 1\)"),
    (lambda: mg.median(T(3), axis=1), IndexError, r"^median: axis 1"),
    (lambda: mg.linalg.vector_norm(T(3), ord="fro"), TypeError, r"^linalg.vector_norm: ord='fro'; a number"),
    (lambda: mg.linalg.vector_norm(T(3), axis=1), IndexError, r"^linalg.vector_norm: axis 1"),
    (lambda: mg.linalg.vector_norm(T(0), ord=INF), ValueError, r"^linalg.vector_norm: ord=inf of no elements"),
    (lambda: mg.norm(T(2, 2, 2), ord=1), TypeError, r"^norm: ord=1 of an array of shape \(2, 2, 2\); an axis"),
    (lambda: mg.sort(T()), IndexError, r"^sort: axis -1 of an array with 0 axes"),
    (lambda: mg.sort(T(2), axis=None), TypeError, r"^sort: "),
    (lambda: mg.argsort(T(2), axis=2), IndexError, r"^argsort: axis 2"),
    (lambda: mg.topk(T(3), 4), TypeError, r"^topk: k=4 of an axis of size 3; an integer from 0 to 3"),
    (lambda: mg.topk(T(3), 1.0), TypeError, r"^topk: k=1.0"),
    (lambda: mg.topk(T(3), 1, axis=1), IndexError, r"^topk: axis 1"),
    (lambda: mg.searchsorted(T(2, 2), 1.0), ValueError, r"^searchsorted: x1 of shape \(2, 2\); one axis"),
    (lambda: mg.searchsorted(T(2), 1.0, side="middle"), TypeError, r"^searchsorted: side='middle'"),
    (lambda: mg.nonzero(T()), ValueError, r"^nonzero: a scalar"),
    (lambda: mg.average(T(2, 3), axis=1, weights=T(2)), ValueError, r"^average: weights of shape \(2,\)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "builtin", "message"), ERRORS, ids=[m for _, _, m in ERRORS])
def test_error(call, builtin, message):
    with pytest.raises(mg.MinigradError, match=message) as caught:
        call()
    assert isinstance(caught.value, builtin)
