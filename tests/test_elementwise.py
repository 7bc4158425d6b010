"""Elementwise functions: their names, their singular points, their tails, to order four.

What holds for every op is in test_ops; here stands what is special to these.
"""

import inspect
import sys
from fractions import Fraction

import checks
import digits
import numpy as np
import pytest

import minigrad as mg
from minigrad.op import NUMPY, OPS
from minigrad.ops.activation import ALPHA, SCALE
from minigrad.tensor import apply

mp = pytest.importorskip("mpmath", reason="the oracle mpmath is not installed")

FAMILIES = ("activation", "arithmetic", "comparison", "elementwise", "rounding", "special", "trigonometry")
MODULES = [sys.modules[f"minigrad.ops.{family}"] for family in FAMILIES]
MINE = [op for op in OPS.values() if any(op is value or op is getattr(value, "op", None)
                                         for module in MODULES for value in vars(module).values())]  # fmt: skip



def derivative(f, order):
    for _ in range(order):
        f = mg.grad(f)
    return f


def call(name):
    return lambda *xs, **params: apply(OPS[name], xs, params)


# --- names ----------------------------------------------------------------------------------

UNARY = [
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "bitwise_invert", "ceil", "conj", "cos", "cosh",
    "exp", "expm1", "floor", "imag", "isfinite", "isinf", "isnan", "log", "log1p", "log2", "log10",
    "logical_not", "negative", "positive", "real", "reciprocal", "round", "sign", "signbit", "sin", "sinh",
    "square", "sqrt", "tan", "tanh", "trunc",
]  # fmt: skip
BINARY = [
    "add", "atan2", "bitwise_and", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift", "bitwise_xor",
    "copysign", "divide", "equal", "floor_divide", "greater", "greater_equal", "hypot", "less", "less_equal",
    "logaddexp", "logical_and", "logical_or", "logical_xor", "maximum", "minimum", "multiply", "nextafter",
    "not_equal", "pow", "remainder", "subtract",
]  # fmt: skip


def test_the_standards_elementwise_functions_have_its_signatures():
    for name in UNARY:
        assert str(inspect.signature(getattr(mg, name))) == "(x, /)", name
    for name in BINARY:
        assert str(inspect.signature(getattr(mg, name))) == "(x1, x2, /)", name
    assert [(p.name, p.kind.name, p.default) for p in inspect.signature(mg.clip).parameters.values()] == [
        ("x", "POSITIONAL_ONLY", inspect.Parameter.empty), ("min", "POSITIONAL_OR_KEYWORD", None),
        ("max", "POSITIONAL_OR_KEYWORD", None)]  # fmt: skip


FLOAT_NAMES = [
    "absolute", "arccos", "arcsin", "arcsinh", "arctan", "arctanh", "cbrt", "cos", "cosh", "deg2rad",
    "degrees", "exp", "exp2", "expm1", "fabs", "fix", "log", "log10", "log1p", "log2", "negative", "positive",
    "rad2deg", "radians", "reciprocal", "rint", "round", "around", "sign", "sin", "sinc", "sinh", "sqrt",
    "square", "tan", "tanh", "trunc", "floor", "ceil", "nan_to_num", "real", "imag", "conj", "conjugate",
]  # fmt: skip
PAIR_NAMES = [
    "add", "arctan2", "copysign", "divide", "true_divide", "floor_divide", "fmax", "fmin", "fmod",
    "heaviside", "hypot", "logaddexp", "logaddexp2", "maximum", "minimum", "mod", "multiply", "nextafter",
    "power", "remainder", "subtract",
]  # fmt: skip


@pytest.mark.parametrize("name", FLOAT_NAMES + PAIR_NAMES)
def test_numpy_function_of_a_tensor_is_recorded(name):
    f = getattr(np, name)
    xs = [np.array([0.25, 0.5, 0.75]), np.array([0.4, 0.5, 0.6])][: 1 + (name in PAIR_NAMES)]
    y = f(*(mg.tensor(x, requires_grad=True) for x in xs))
    assert y.requires_grad
    np.testing.assert_array_equal(y.data, f(*xs))


@pytest.mark.parametrize("name", ["arccosh", "bitwise_xor", "left_shift", "right_shift", "signbit", "isclose"])
def test_numpy_function_without_a_gradient(name):
    xs = {"arccosh": [[1.5, 2.0]], "signbit": [[-0.0, 0.0, -1.0]], "isclose": [[1.0, 2.0], [1.0, 2.1]]}.get(
        name, [[1, 2, 12], [3, 1, 2]])  # fmt: skip
    f = getattr(np, name)
    y = f(*map(mg.tensor, xs))
    assert isinstance(y, mg.Tensor)
    np.testing.assert_array_equal(y.data, f(*xs))


def test_aliases_are_the_same_function():
    for alias, name in (("arcsin", "asin"), ("arctan2", "atan2"), ("power", "pow"), ("absolute", "abs"),
                        ("rint", "round"), ("mod", "remainder"), ("conjugate", "conj"), ("left_shift", "bitwise_left_shift"),
                        ("expit", "sigmoid"), ("log_sigmoid", "logsigmoid"), ("lgamma", "gammaln"), ("swish", "silu"),
                        ("radians", "deg2rad"), ("psi", "digamma"), ("bitwise_not", "bitwise_invert")):  # fmt: skip
        assert getattr(mg, alias) is getattr(mg, name)


def test_operators_of_python():
    a, b = mg.tensor([7.0, -7.0], requires_grad=True), mg.tensor([3.0, 3.0], requires_grad=True)
    (a % b).backward(np.array([1.0, 10.0]))
    assert (a % b).data.tolist() == [1.0, 2.0]
    assert (a.grad.data.tolist(), b.grad.data.tolist()) == ([1.0, 10.0], [-2.0, 30.0])
    assert (a // b).data.tolist() == [2.0, -3.0]
    assert (7.0 // b).data.tolist() == [2.0, 2.0]
    assert (7.0 % b).data.tolist() == [1.0, 1.0]
    n = mg.tensor([6, 5])
    assert [(n ^ 3).data.tolist(), (n << 1).data.tolist(), (n >> 1).data.tolist(), (1 << n).data.tolist()] == [
        [5, 6], [12, 10], [3, 2], [64, 32]]  # fmt: skip
    assert np.asarray([6, 5]).__xor__(3).tolist() == (3 ^ n).data.tolist()


def test_methods_and_properties_of_numpy():
    x = mg.tensor([-1.4, 0.5, 2.6], requires_grad=True)
    for y in (x.clip(-1, 1), x.clip(min=-1.0, max=1.0), x.clip(-1, max=1)):
        assert y.data.tolist() == [-1.0, 0.5, 1.0]
    assert x.round().data.tolist() == [-1.0, 0.0, 3.0]
    assert np.round(x, 1).data.tolist() == [-1.4, 0.5, 2.6]
    z = mg.tensor([1 + 2j, 3 - 1j])
    assert z.real.data.tolist() == [1.0, 3.0]
    assert z.imag.data.tolist() == [2.0, -1.0]
    assert z.conj().data.tolist() == [1 - 2j, 3 + 1j]
    (x.real * 3.0 + x.imag + x.conj()).sum().backward()
    assert x.grad.data.tolist() == [4.0] * 3


# --- order four against mpmath --------------------------------------------------------------


def _sigmoid(x):
    return 1 / (1 + mp.exp(-x))


POINTS = (-3.0, -0.3, 0.0, 0.3, 3.0)
BESIDE = (-3.0, -0.3, 0.3, 3.0)
INSIDE = (-0.9, -0.3, 0.0, 0.3, 0.9)
RIGHT = (0.1, 0.7, 1.0, 3.0, 40.0)
ORACLES = {
    "exp": (mp.exp, POINTS), "exp2": (lambda x: mp.mpf(2) ** x, POINTS), "expm1": (mp.expm1, (*POINTS, -40.0)),
    "log": (mp.log, RIGHT), "log1p": (mp.log1p, (*INSIDE, 40.0)), "log2": (lambda x: mp.log(x, 2), RIGHT),
    "log10": (mp.log10, RIGHT), "sqrt": (mp.sqrt, RIGHT), "rsqrt": (lambda x: 1 / mp.sqrt(x), RIGHT),
    "cbrt": (mp.cbrt, RIGHT), "reciprocal": (lambda x: 1 / x, (*RIGHT, -0.3)), "square": (lambda x: x * x, POINTS),
    "sin": (mp.sin, POINTS), "cos": (mp.cos, POINTS), "tan": (mp.tan, POINTS), "asin": (mp.asin, INSIDE),
    "acos": (mp.acos, INSIDE), "atan": (mp.atan, (*POINTS, 1e3)), "sinh": (mp.sinh, POINTS), "cosh": (mp.cosh, POINTS),
    "tanh": (mp.tanh, POINTS), "asinh": (mp.asinh, (*POINTS, 1e3)), "acosh": (mp.acosh, (1.1, 2.0, 40.0)),
    "atanh": (mp.atanh, INSIDE), "sigmoid": (_sigmoid, (*POINTS, -30.0)),
    "logistic": (_sigmoid, (*POINTS, -30.0, 30.0, 88.0)),
    "softplus": (lambda x: mp.log1p(mp.exp(x)), (*POINTS, -88.0, -30.0, 30.0, 88.0)),
    "logsigmoid": (lambda x: -mp.log1p(mp.exp(-x)), (*POINTS, -88.0, -30.0, 30.0, 88.0)),
    "silu": (lambda x: x * _sigmoid(x), (*POINTS, -30.0)),
    "elu": (lambda x: x if x > 0 else mp.expm1(x), BESIDE), "celu": (lambda x: x if x > 0 else mp.expm1(x), BESIDE),
    "selu": (lambda x: SCALE * (x if x > 0 else ALPHA * mp.expm1(x)), BESIDE),
    "softsign": (lambda x: x / (1 + abs(x)), BESIDE),
    "mish": (lambda x: x * mp.tanh(mp.log1p(mp.exp(x))), (*POINTS, -30.0)),
    "tanhshrink": (lambda x: x - mp.tanh(x), (-3.0, 0.5, 3.0)),
    "sinc": (lambda x: mp.sinc(mp.pi * x), (-2.3, -0.4, 0.0, 1e-9, 1e-4, 0.05, 0.31, 0.33, 0.6, 0.64, 0.95, 1.27, 7.7)),
    "logit": (lambda x: mp.log(x / (1 - x)), (1e-9, 0.1, 0.3, 0.9)),
    "gelu": (lambda x: x * mp.ncdf(x), POINTS), "erf": (mp.erf, POINTS), "erfc": (mp.erfc, POINTS),
    "erfinv": (mp.erfinv, (-0.7, 0.2, 0.9)), "ndtr": (mp.ncdf, POINTS),
    "ndtri": (lambda p: mp.sqrt(2) * mp.erfinv(2 * p - 1), (0.01, 0.2, 0.9)),
    "log_ndtr": (lambda x: mp.log(mp.ncdf(x)), POINTS), "gammaln": (mp.loggamma, RIGHT),
    "digamma": (mp.digamma, RIGHT),
}  # fmt: skip
ULPS = {"asin": 40, "acos": 40, "atanh": 30, "tanh": 40, "mish": 100, "ndtr": 24, "gelu": 24, "log_ndtr": 20000,
        "tanhshrink": 40, "silu": 24, "log1p": 24, "ndtri": 60, "erfinv": 40, "sinc": 200, "logit": 24, "acosh": 40}  # fmt: skip


def taylor(f, x, order):
    """The exact derivative: a difference of a function in 160 digits, good to twenty."""
    with mp.workdps(160):
        return f(mp.mpf(x)) if order == 0 else mp.diff(f, mp.mpf(x), order, h=mp.mpf(10) ** -29)


@pytest.mark.parametrize("name", ORACLES)
def test_derivatives_to_order_four(name):
    """Off by at most 16 units in the last place of the result, or as `ULPS` says; next to a zero,
    of the next derivative's size."""
    f, points = ORACLES[name]
    for x in points:
        want = [taylor(f, x, k) for k in range(5)]
        for order in range(5):
            got = derivative(call(name), order)(x).item()
            scale = abs(want[order]) if abs(want[order]) > 1e-20 else mp.mpf(1)
            error = abs(got - want[order]) / scale / mp.mpf(2) ** -52
            assert error <= ULPS.get(name, 16), f"{name} order {order} at {x}: {got} is off by {float(error):.0f} ulp"


@pytest.mark.parametrize("name", ["asin", "acos", "atanh"])
def test_slopes_beside_a_pole(name):
    for x in (1 - 2.0**-30, -1 + 2.0**-40):
        with mp.workdps(40):
            square = 1 - mp.mpf(x) ** 2
        want = 1 / (square if name == "atanh" else mp.sqrt(square)) * (-1 if name == "acos" else 1)
        assert abs(mg.grad(getattr(mg, name))(x).item() / want - 1) < 4 * 2.0**-52


def test_every_smooth_function_has_an_oracle():
    """An op whose forward is complex differentiable is held against mpmath, is arithmetic, or part of one that is."""
    arithmetic = {"add", "subtract", "multiply", "divide", "negative", "positive", "xlogy", "xlog1py", "pow",
                  "power_scalar", "sinc_derivative", "tanh_softplus"}  # fmt: skip
    assert {op.name for op in MINE if op.analytic} - arithmetic <= {*ORACLES, *digits.EXACT}
    assert len(MINE) > 100


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_polygamma(n):
    x = np.array([0.2, 1.0, 2.5, 30.0])
    for order in range(3):
        f = lambda v: mg.polygamma(n, v)  # noqa: E731
        for v in x:
            want = mp.polygamma(n + order, v)
            assert abs(derivative(f, order)(v).item() - want) < 1e-14 * abs(want)


# --- singular points ------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0, 1, 2, 3, 4, 0.0, 1.0, 2.0, 3.0, 2.5, 3.5, 4.5, np.array(2.0), np.array(3.0),
                               np.array(0.0), np.array(1.0)], ids=str)  # fmt: skip
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_powers_at_zero_to_order_four(p, zero):
    """A plain number and an array as the exponent agree, and a pole shows only where there is one."""
    for order in range(5):
        factor = np.prod([float(p) - k for k in range(order)])
        want = factor if float(p) == order else 0.0
        if float(p) % 1 and order > p:
            want = np.inf * factor
        with np.errstate(divide="ignore"):
            got = derivative(lambda x: mg.pow(x, p), order)(zero).item()
        assert got == want, f"x ** {p}, order {order}: {got}, wanted {want}"


EXPONENTS = BASES = (-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 2.0)


@pytest.mark.parametrize("b", EXPONENTS)
@pytest.mark.parametrize("a", BASES)
def test_pow_over_the_grid(a, b):
    """Value, both slopes, and the mixed derivative, against calculus where it is finite."""
    with np.errstate(all="ignore"):
        value = np.power(a, b)
        in_a = 0.0 if b == 0 else b * np.power(a, b - 1)
        # 0 ** b is 0 for b > 0 and infinite for b < 0; a negative base has no neighbours in b
        in_b = value * np.log(a) if a > 0 else np.nan if a < 0 else 0.0 if b >= 0 else value * -np.inf
        x, p = mg.tensor(a, requires_grad=True), mg.tensor(b, requires_grad=True)
        y = mg.pow(x, p)
        y.backward()
        np.testing.assert_array_equal(y.data, value)
        np.testing.assert_allclose(x.grad.data, in_a, rtol=1e-15)
        np.testing.assert_allclose(p.grad.data, in_b, rtol=1e-15)
        if a > 0:
            mixed = mg.grad(lambda q: mg.grad(lambda v: mg.pow(v, q))(a))(b).item()
            other = mg.grad(lambda v: mg.grad(lambda q: mg.pow(v, q))(b))(a).item()
            want = np.power(a, b - 1) * (1 + b * np.log(a))
            np.testing.assert_allclose([mixed, other], want, rtol=1e-14)
        plain = mg.grad(lambda v: mg.pow(v, b))(a).item()
        np.testing.assert_array_equal(plain, in_a)


@pytest.mark.parametrize("name", ["logaddexp", "logaddexp2"])
@pytest.mark.parametrize("at", [-np.inf, -1000.0, 0.0, 2.5, 1000.0, np.inf])
def test_logaddexp_at_equality_to_order_four(name, at):
    f = call(name)
    k = np.log(2) if name == "logaddexp2" else 1.0
    # σ at 0, and its derivatives
    want = [0.5, k * 0.25, 0.0, k**3 * -0.125]
    for order, w in enumerate(want, 1):
        assert derivative(lambda x: f(x, at), order)(at).item() == pytest.approx(w, abs=1e-15)
        assert derivative(lambda x: f(at, x), order)(at).item() == pytest.approx(w, abs=1e-15)
    mixed = mg.grad(lambda v: mg.grad(lambda x: f(x, v))(at))(at).item()
    assert mixed == pytest.approx(-want[1], abs=1e-15)
    assert mg.grad(lambda x: f(x, x))(at).item() == 1.0


@pytest.mark.parametrize(("a", "b"), [(0.0, -40.0), (-40.0, 0.0), (0.0, -np.inf), (-np.inf, 3.0), (800.0, -800.0)])
def test_logaddexp_far_apart(a, b):
    left, right = (mg.tensor(v, requires_grad=True) for v in (a, b))
    mg.logaddexp(left, right).backward()
    for leaf, other in ((left, b), (right, a)):
        want = float(_sigmoid(mp.mpf(leaf.item()) - mp.mpf(other))) if np.isfinite(a + b) else float(leaf.item() > other)
        assert leaf.grad.item() == pytest.approx(want, rel=1e-14, abs=0)


@pytest.mark.parametrize(("f", "root"), [(mg.xlogy, 0.0), (mg.xlog1py, -1.0)])
def test_xlogy_where_the_first_factor_is_zero(f, root):
    y = f(np.array([0.0, 0.0, 0.0, -2.0]), np.array([root, np.inf, np.nan, root + 1]))
    np.testing.assert_array_equal(y.data, [0.0, 0.0, np.nan, 0.0])
    # the mixed derivative is 1 / y, there too
    assert mg.grad(lambda b: mg.grad(lambda a: f(a, b))(0.0))(root + 4.0).item() == 0.25
    assert mg.grad(lambda a: mg.grad(lambda b: f(a, b))(root + 4.0))(0.0).item() == 0.25
    # the entropy p ln p and its slope beside 0
    x = mg.tensor([0.0, 0.5], requires_grad=True)
    f(np.array([0.0, 0.5]), x + root).sum().backward()
    assert x.grad.data.tolist() == [0.0, 1.0]


def test_hypot_and_atan2_at_the_origin_and_far_out():
    assert mg.grad(lambda a: mg.hypot(a, 0.0) ** 2)(0.0).item() == 0.0
    for scale in (1e-200, 1.0, 1e200):
        a, b = (mg.tensor(v * scale, requires_grad=True) for v in (3.0, 4.0))
        mg.hypot(a, b).backward()
        assert (a.grad.item(), b.grad.item()) == pytest.approx((0.6, 0.8), rel=1e-15)
        a.grad = b.grad = None
        mg.atan2(a, b).backward()
        assert (a.grad.item() * scale, b.grad.item() * scale) == pytest.approx((0.16, -0.12), rel=1e-15)
    angle = lambda t: mg.atan2(mg.sin(t), mg.cos(t))  # noqa: E731
    for t in (0.0, 1.0, -2.0, 3.0):
        assert derivative(angle, 1)(t).item() == pytest.approx(1.0, abs=1e-15)
        assert derivative(angle, 2)(t).item() == pytest.approx(0.0, abs=1e-15)


def test_a_mask_keeps_a_pole_from_the_gradient():
    x = mg.tensor([0.0, 4.0], requires_grad=True)
    for name in ("sqrt", "cbrt", "rsqrt", "log", "log2", "log10", "reciprocal", "gammaln", "digamma"):
        x.grad = None
        with np.errstate(all="ignore"):
            mg.where(x > 1, getattr(mg, name)(x), 0.0).sum().backward()
        assert x.grad.data[0] == 0.0, name
        assert np.isfinite(x.grad.data[1])


# --- tails ----------------------------------------------------------------------------------

SATURATING = ["sigmoid", "softplus", "logsigmoid", "tanh", "silu", "mish", "elu", "celu", "selu", "softsign",
              "tanh_softplus", "tanhshrink", "erf", "erfc", "ndtr", "logistic", "relu", "hardswish", "atan", "asinh"]  # fmt: skip


@pytest.mark.parametrize("name", SATURATING)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_far_out_nothing_overflows(name, dtype):
    """Values and gradients finite, of the dtype, without a warning."""
    points = np.array([v for v in (0, 3, 20, 88, 709, 1000) for _ in "12"], dtype) * np.tile([1, -1], 6).astype(dtype)
    if dtype == np.float16:
        points = points[np.abs(points) < (250 if name in ("atan", "asinh", "softsign", "erf", "erfc", "ndtr") else 2e3)]
    leaf = mg.tensor(points, requires_grad=True)
    with np.errstate(all="raise", under="ignore"):
        y = call(name)(leaf)
        y.backward(np.ones_like(points))
    assert y.dtype == leaf.grad.dtype == dtype
    assert np.all(np.isfinite(y.data))
    assert np.all(np.isfinite(leaf.grad.data))


@pytest.mark.parametrize("name", ["logsigmoid", "softplus"])
def test_float32_tails_keep_their_digits(name):
    sign = 1 if name == "softplus" else -1
    x = np.array([-80.0, -20.0, -8.0], np.float32)
    leaf = mg.tensor(sign * x, requires_grad=True)
    y = getattr(mg, name)(leaf)
    y.sum().backward()
    np.testing.assert_allclose(y.data, sign * np.log1p(np.exp(x.astype(float))), rtol=4e-7)
    e = np.exp(x.astype(float))
    np.testing.assert_allclose(leaf.grad.data, e / (1 + e), rtol=4e-7)


def _ordinary(op):
    return [s for s in checks.samples_of(op) if all(np.all(np.isfinite(x)) for x in s[0])]


@pytest.mark.parametrize("op", [op for op in MINE if op.differentiable], ids=lambda op: op.name)
def test_ordinary_inputs_raise_no_floating_point_flag(op):
    for inputs, params in _ordinary(op):
        with np.errstate(all="raise"):
            leaves, ys = checks.recorded(op, inputs, params)
            checks.cotangents(leaves, ys, [np.ones_like(y.data) for y in ys], record=True)


# --- clip and the choice between operands ---------------------------------------------------


def test_clip_in_every_spelling():
    x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    t = mg.tensor(x)
    for got, want in (
        (mg.clip(t), x), (mg.clip(t, -1), np.clip(x, -1, None)), (mg.clip(t, None, 1), np.clip(x, None, 1)),
        (mg.clip(t, max=1.0), np.clip(x, None, 1)), (mg.clip(t, min=-1, max=1), np.clip(x, -1, 1)),
        (np.clip(t, -1, 1), np.clip(x, -1, 1)), (np.clip(t, a_min=-1, a_max=None), np.clip(x, -1, None)),
        (np.clip(t, min=0), np.clip(x, 0, None)), (mg.clip(x, mg.tensor(0.0), np.arange(5.0)), np.clip(x, 0, np.arange(5.0))),
        (mg.clip(t, 1, -1), np.clip(x, 1, -1)),
    ):  # fmt: skip
        assert isinstance(got, mg.Tensor)
        np.testing.assert_array_equal(got.data, want)


def test_clip_hands_the_gradient_to_the_one_that_is_taken():
    x = mg.tensor([-2.0, -1.0, 0.5, 1.0, 2.0], requires_grad=True)
    low, high = mg.tensor(-1.0, requires_grad=True), mg.tensor(1.0, requires_grad=True)
    seed = np.array([1.0, 10.0, 100.0, 1000.0, 10000.0])
    mg.clip(x, low, high).backward(seed)
    assert x.grad.data.tolist() == [0.0, 0.0, 100.0, 0.0, 0.0]
    assert low.grad.item() == 11.0
    assert high.grad.item() == 11000.0
    for f in (lambda v: mg.clip(v, 0, None), lambda v: mg.clip(v, 0.0, 5.0), lambda v: mg.maximum(v, 0), mg.relu,
              lambda v: mg.where(v > 0, v, 0.0), mg.relu6):  # fmt: skip
        assert mg.grad(f)(0.0).item() == 0.0
    f32 = mg.clip(mg.tensor(np.ones(2, np.float32)), 0, 0.5)
    assert f32.dtype == np.float32
    # all three together: whatever is taken, it is one of them
    rng = np.random.default_rng(0)
    leaves = [mg.tensor(rng.integers(-2, 3, 200).astype(float), requires_grad=True) for _ in range(3)]
    mg.clip(*leaves).sum().backward()
    total = sum(leaf.grad.data for leaf in leaves)
    assert np.all(total == 1)
    composed = mg.minimum(mg.maximum(*leaves[:2]), leaves[2])
    before = [leaf.grad.data for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    composed.sum().backward()
    for leaf, g in zip(leaves, before, strict=True):
        np.testing.assert_array_equal(leaf.grad.data, g)


def test_fmax_takes_the_number():
    a = mg.tensor([1.0, np.nan, 3.0, np.nan], requires_grad=True)
    b = mg.tensor([np.nan, 2.0, 3.0, np.nan], requires_grad=True)
    for f in (mg.fmax, mg.fmin):
        a.grad = b.grad = None
        f(a, b).backward(np.arange(1.0, 5))
        assert a.grad.data.tolist() == [1.0, 0.0, 0.0, 0.0]
        assert b.grad.data.tolist() == [0.0, 2.0, 3.0, 4.0]


# --- remainders, exactly --------------------------------------------------------------------


def test_remainders_in_exact_arithmetic():
    rng = np.random.default_rng(1)
    a = np.concatenate([rng.normal(size=50) * 10, [1.0, 0.3, -0.3, 6.0, -6.0, np.nextafter(3.0, 0), -np.nextafter(3.0, 0)]])
    b = np.concatenate([rng.uniform(0.05, 3, 50) * rng.choice([-1, 1], 50), [0.1, 0.1, 0.1, 3.0, 3.0, 1.0, 1.0]])
    for name, quotient in (("remainder", lambda q: q.__floor__()), ("fmod", lambda q: q.__trunc__())):
        x, y = mg.tensor(a, requires_grad=True), mg.tensor(b, requires_grad=True)
        getattr(mg, name)(x, y).sum().backward()
        want = [-float(quotient(Fraction(p) / Fraction(q))) for p, q in zip(a, b, strict=True)]
        np.testing.assert_array_equal(x.grad.data, 1.0)
        np.testing.assert_array_equal(y.grad.data, want)


# --- special functions without SciPy; errors ------------------------------------------------


def test_without_scipy_the_rest_works_and_these_say_what_to_do(python):
    program = """
import sys
sys.modules["scipy"] = None
import minigrad as mg
x = mg.tensor([0.5, 0.25], requires_grad=True)
mg.gelu(x, approximate="tanh").sum().backward()
mg.logit(x) + mg.xlogy(x, x) + mg.softplus(x)
for f in (mg.erf, mg.gelu, mg.gammaln, mg.log_ndtr, lambda v: mg.polygamma(1, v)):
    try:
        f(x)
    except ImportError as error:
        assert isinstance(error, mg.MinigradError)
        print(error)
"""
    lines = python(program).splitlines()
    assert len(lines) == 5
    assert all("SciPy is not installed" in line and "pip install scipy" in line for line in lines)
    assert lines[0].startswith("erf: ")
    assert "approximate='tanh'" in lines[1]


ERRORS = [
    (lambda: mg.gelu(1.0, approximate="erf"), TypeError, r"^gelu: approximate='erf'; 'none' or 'tanh'"),
    (lambda: mg.celu(1.0, alpha=0.0), TypeError, r"^celu: alpha=0.0; alpha > 0"),
    (lambda: mg.softplus(1.0, beta=-1), TypeError, r"^softplus: beta=-1; beta > 0"),
    (lambda: mg.hardtanh(1.0, min_val=2.0), TypeError, r"^hardtanh: min_val=2.0, max_val=1.0; min_val < max_val"),
    (lambda: mg.polygamma(-1, 2.0), TypeError, r"^polygamma: n=-1"),
    (lambda: mg.tensor([2, 3]) ** -1, ValueError, r"^pow: an int64 to the power -1; .*astype"),
    (lambda: mg.tensor([2, 3]) ** np.array([-1, 1]), ValueError, r"^pow: an int64 to the power -1"),
    (lambda: mg.tensor([0.5]) & mg.tensor([True]), TypeError, r"^bitwise_and: dtype float64; masks or integers; compare"),
    (lambda: mg.tensor([0.5]) << 1, TypeError, r"^bitwise_left_shift: dtype float64"),
    (lambda: ~mg.tensor([0.5]), TypeError, r"^bitwise_invert: dtype float64"),
    (lambda: mg.floor(mg.tensor([1j])), TypeError, r"^floor: dtype complex128; real numbers; take mg.real"),
    (lambda: mg.hypot(1j, mg.tensor(1.0)), TypeError, r"^hypot: dtype complex128"),
    (lambda: mg.atan2(mg.tensor([1.0, 2.0]), np.ones(3)), ValueError, r"^atan2: cannot broadcast \(2,\) with \(3,\)"),
    (lambda: mg.clip(mg.tensor([1.0, 2.0]), np.zeros(3), 1.0), ValueError, r"^clip: cannot broadcast"),
    (lambda: mg.leaky_relu(1.0, slope=0.1), TypeError, r"^leaky_relu: unknown keyword 'slope'; did you mean 'negative_slope'"),
    (lambda: mg.threshold(1.0), TypeError, r"^threshold: .*threshold"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "builtin", "message"), ERRORS, ids=[m for _, _, m in ERRORS])
def test_errors_teach(call, builtin, message):
    with pytest.raises(mg.MinigradError, match=message) as caught:
        call()
    assert isinstance(caught.value, builtin)


def test_integers_and_masks_are_welcome_as_constants():
    n = mg.tensor([1, 2])
    assert mg.sigmoid(n).dtype == np.float64
    for name in ("softplus", "gelu", "silu", "mish", "erf", "gammaln", "sinc", "logsigmoid", "elu"):
        np.testing.assert_array_equal(getattr(mg, name)(n).data, getattr(mg, name)(np.array([1.0, 2.0])).data)
    assert mg.floor(n).data.tolist() == [1, 2]
    assert (mg.reciprocal(mg.tensor(2.0)) + True).item() == 1.5


def test_float_names_are_in_the_table_once():
    assert NUMPY[np.power].function is mg.pow
    assert NUMPY[np.clip].function is mg.clip


# --- PyTorch --------------------------------------------------------------------------------

TORCH = [  # celu's α and hardsigmoid's 1/6 are float32 there
    ("softplus", {"beta": 2.0}), ("softplus", {"beta": 2.0, "threshold": 1.0}), ("softplus", {}), ("relu", {}), ("leaky_relu", {"negative_slope": 0.2}),
    ("leaky_relu", {}), ("elu", {"alpha": 0.7}), ("selu", {}), ("celu", {"alpha": 0.5}),
    ("gelu", {}), ("gelu", {"approximate": "tanh"}), ("silu", {}), ("mish", {}),
    ("logsigmoid", {}), ("softsign", {}), ("hardtanh", {}), ("hardtanh", {"min_val": -2.0, "max_val": 0.5}),
    ("hardsigmoid", {}), ("hardswish", {}), ("relu6", {}), ("threshold", {"threshold": 0.3, "value": 7.0}),
    ("softshrink", {"lambd": 0.4}), ("hardshrink", {"lambd": 0.4}), ("tanhshrink", {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "params"), TORCH, ids=[f"{n} {p}" for n, p in TORCH])
def test_activation_is_pytorchs(torch, name, params):
    """Values and gradients of the same call, at kinks too."""
    x = np.concatenate([np.random.default_rng(2).normal(size=40) * 4, [0.0, 6.0, 1.0, -1.0, 0.4, -0.4, -2.0, 0.5]])
    seed = np.random.default_rng(3).normal(size=x.shape)
    theirs = torch.tensor(x, requires_grad=True)
    want = getattr(torch.nn.functional, name)(theirs, **params)
    want.backward(torch.tensor(seed))
    ours = mg.tensor(x, requires_grad=True)
    got = getattr(mg, name)(ours, **params)
    got.backward(seed)
    np.testing.assert_allclose(got.data, want.detach().numpy(), rtol=1e-13, atol=3e-15)
    np.testing.assert_allclose(ours.grad.data, theirs.grad.numpy(), rtol=4e-8 if name == "hardsigmoid" else 1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["erf", "erfc", "erfinv", "digamma", "lgamma", "logit", "sinc", "xlogy", "logaddexp",
                                  "hypot", "atan2", "copysign", "fmod", "remainder", "fmax", "fmin", "rsqrt", "exp2"])  # fmt: skip
def test_function_is_pytorchs(torch, name):
    rng = np.random.default_rng(4)
    pair = name in ("xlogy", "logaddexp", "hypot", "atan2", "copysign", "fmod", "remainder", "fmax", "fmin")
    xs = [rng.uniform(0.1, 0.9, 30), rng.uniform(0.1, 0.9, 30)][: 1 + pair]
    seed = rng.normal(size=30)
    theirs = [torch.tensor(x, requires_grad=True) for x in xs]
    want = getattr(torch, name)(*theirs)
    want.backward(torch.tensor(seed))
    ours = [mg.tensor(x, requires_grad=True) for x in xs]
    got = getattr(mg, name)(*ours)
    got.backward(seed)
    np.testing.assert_allclose(got.data, want.detach().numpy(), rtol=1e-12)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad.data, b.grad.numpy(), rtol=1e-9 if name == "digamma" else 1e-11, atol=1e-13)
