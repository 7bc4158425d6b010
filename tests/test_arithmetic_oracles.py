"""Oracles in rational and fifty-digit arithmetic, and the benchmark of checkers."""

import dataclasses
from fractions import Fraction

import mpmath
import numpy as np
import pytest

import minigrad as mg
from benchmarks import checker
from minigrad.op import OPS
from minigrad.tensor import apply
from minigrad.testing import GradientError, check_grads, evaluate_in, ulp_ledger
from minigrad.testing.arithmetic import table


def leaves(*values):
    return [mg.tensor(v, requires_grad=True) for v in values]


def applied(op, *xs):
    return apply(op, xs, {})


def with_rule(op, rule):
    return dataclasses.replace(op, rules=(rule, *op.rules[1:]))


# --- rational -----------------------------------------------------------------------------------


def polynomial(x, W, c):
    """Broadcasting, a fork, a product, several outputs, an index, a choice, quotients."""
    h = (x @ W + c) ** 3
    first, second = mg.split(h, 2, axis=1)
    picked = np.where(x[0, 0] > 100, first, second / (1 + mg.square(first))) * x[:, :1]
    return mg.maximum(picked, first).sum(axis=0) + mg.mean(h) - mg.cumulative_sum(h, axis=1)[0, :2]


def test_a_gradient_of_fractions_is_that_of_the_engine_to_the_last_digit(rng):
    x, W, c = leaves(rng.normal(size=(3, 2)), rng.normal(size=(2, 4)), rng.normal(size=4))
    v = rng.normal(size=2)
    y = polynomial(x, W, c)
    exact = evaluate_in(Fraction, y, (x, W, c), cotangent=v)
    assert all(type(n) is Fraction for n in (*exact.value, *(n for g in exact.gradients for n in g.ravel())))
    np.testing.assert_allclose(exact.value.astype(float), y.data, rtol=1e-13)
    y.backward(v)
    for leaf, g in zip((x, W, c), exact.gradients, strict=True):
        assert g.shape == leaf.shape
        np.testing.assert_allclose(g.astype(float), leaf.grad.data, rtol=1e-12)


def test_integers_leave_no_tolerance(rng):
    A, B, v = (rng.integers(-9, 9, size=s).astype(float) for s in ((3, 4), (4, 5), (3, 5)))
    a, b = leaves(A, B)
    exact = evaluate_in(Fraction, mg.einsum("ij,jk->ik", a, b) ** 2, (a, b), cotangent=v)
    G = 2 * (A @ B) * v
    assert np.array_equal(exact.gradients[0], G @ B.T)
    assert np.array_equal(exact.gradients[1], A.T @ G)
    third = evaluate_in(Fraction, (a / 3).sum(), (a,)).gradients[0]
    assert set(third.ravel()) == {Fraction(1, 3)}  # which no double is


def test_a_rule_that_is_a_rounding_off_is_seen():
    """No float sees it: the gradient is the same double."""
    x = mg.tensor([3.0], requires_grad=True)
    right = evaluate_in(Fraction, mg.square(x), (x,)).gradients[0][0]
    assert right == 6
    wrong = with_rule(mg.square.op, lambda g, y, x: g * x * 2 * (1 + 2.0**-52))
    assert evaluate_in(Fraction, applied(wrong, x), (x,)).gradients[0][0] - 6 == Fraction(6, 2**52)


@pytest.mark.parametrize(("f", "stage"), [
    (lambda x: np.exp(x * 2).sum(), "exp"), (lambda x: x**0.5, "power_scalar"), (lambda x: np.tanh(np.sqrt(x)), "sqrt"),
    (lambda x: mg.norm(x), r"linalg\.vector_norm"), (lambda x: x / (x - x), "divide")])  # fmt: skip
def test_the_first_stage_that_is_not_rational_is_named(f, stage):
    (x,) = leaves(np.array([1.0, 2.0]))
    with np.errstate(all="ignore"):
        y = f(x)
    with pytest.raises(mg.errors.GraphError, match=rf"'{stage}.* does not give a fraction"):
        evaluate_in(Fraction, y, (x,))


def test_a_number_never_becomes_a_float_unseen():
    (x,) = leaves(np.array([1.5]))
    hidden = with_rule(dataclasses.replace(mg.square.op, forward=lambda x, /: np.asarray(x, float) ** 2),
                       mg.square.op.rules[0])  # fmt: skip
    with pytest.raises(mg.errors.GraphError):
        evaluate_in(Fraction, applied(hidden, x))


def test_infinity_is_no_fraction():
    (x,) = leaves(np.array([1.0, np.inf]))
    with pytest.raises(mg.errors.GraphError, match="inf is not rational"):
        evaluate_in(Fraction, mg.square(x))


# --- fifty digits, and extended precision -------------------------------------------------------


def test_fifty_digits_and_extended_precision(rng):
    x, W = leaves(rng.normal(size=(2, 3)), rng.normal(size=(3, 2)))
    y = mg.sum(mg.softplus(x @ W) * np.tanh(x[:, :2])) + mg.elu(x).mean()
    many = evaluate_in(mpmath.mpf, y, (x, W))
    wide = evaluate_in(np.longdouble, y, (x, W))
    assert wide.gradients[0].dtype == np.longdouble
    for a, b in zip((many.value, *many.gradients), (wide.value, *wide.gradients), strict=True):
        digits = [np.longdouble(mpmath.nstr(n, 30)) for n in a.ravel()]
        np.testing.assert_allclose(digits, b.ravel(), rtol=1e4 * np.finfo(np.longdouble).eps)
    with mpmath.workdps(50):
        assert abs(evaluate_in(mpmath.mpf, np.exp(mg.tensor(1.0, requires_grad=True))).value.item() - mpmath.e) < 1e-49


def test_arithmetic_that_is_none():
    (x,) = leaves(np.ones(2))
    with pytest.raises(mg.MinigradError, match=r"longdouble, fractions\.Fraction or mpmath\.mpf"):
        evaluate_in(int, x * 2)
    with pytest.raises(mg.MinigradError, match="recorded graph"):
        evaluate_in(Fraction, np.ones(2))


# --- the ledger ---------------------------------------------------------------------------------

LOOSE = {
    # value, derivative; the rest is within 8 units.  Where the exact result passes through 0, the
    # units shrink and the error does not.
    "gammaln": "0 at 1 and 2",
    "log_ndtr": "SciPy", "hazard": "two SciPy functions and a difference",
    "gelu": "its derivative is 0 near -0.75", "silu": "its derivative is 0 at -1.28", "mish": "at -1.19",
    "tanh": "1 - y² far out", "sigmoid": "1 - y far out", "tanh_softplus": "1 - y² far out",
    "tanhshrink": "x - tanh x near 0", "sinc": "0 at integers", "sinc_derivative": "0 between them",
    "logaddexp2": "0 where 2^x + 2^y is 1", "logaddexp": "0 where e^x + e^y is 1", "digamma": "0 at 1.46",
    "softplus": "x * beta is rounded, in float32 too",
    "ndtr": "SciPy, far to the left",
}  # fmt: skip
NEITHER = {"nextafter"}


def test_every_elementwise_op_is_exact_to_a_few_units():
    entries = list(ulp_ledger(points=12, seed=5))
    assert {e.op for e in entries} | {"cast"} == {o.name for o in OPS.values() if o.elementwise and o.differentiable}
    assert {e.op for e in entries if not e.oracle} == NEITHER
    off = {e.op for e in entries if e.oracle and not max(e.value, e.derivative) <= 8}
    assert off <= set(LOOSE)
    assert all(e.points for e in entries if e.oracle)
    # where it is loose it is not wrong either
    assert all(max(e.value, e.derivative) < 1e7 for e in entries if e.oracle and e.dtype == "float64")


@pytest.mark.parametrize("name", ["exp", "softsign", "logaddexp", "erf"])
def test_the_ledger_sees_a_thousandth_of_a_billionth(name):
    right = OPS[name]
    (clean, *_) = ulp_ledger(right, points=20, dtypes=[np.float64])
    assert max(clean.value, clean.derivative) < 8
    rule = right.rules[0]
    wrong = with_rule(right, lambda g, y, *xs: rule(g, y, *xs) * (1 + 1e-14))
    (entry,) = ulp_ledger(wrong, points=20, dtypes=[np.float64])
    assert entry.derivative > 20
    assert entry.value == clean.value
    rough = dataclasses.replace(right, forward=lambda *xs: right.forward(*xs) * (1 + 1e-14))
    (entry,) = ulp_ledger(rough, points=20, dtypes=[np.float64])
    assert entry.value > 20 or entry.oracle == "formula"  # a formula is its own witness


def test_the_table_and_the_command(python):
    lines = list(table(ulp_ledger("nextafter", points=2)))
    assert "not compared" in lines[1]
    out = python("import minigrad.__main__ as m; m.main(['ulps', 'exp', 'pow', '--points', '3'])")
    assert len(out.splitlines()) == 5
    assert "mpmath" in out
    with pytest.raises(mg.MinigradError, match="not elementwise"):
        list(ulp_ledger("sum"))


# --- no false alarm, and what other checkers see ------------------------------------------------


@pytest.mark.parametrize(("f", "x"), [
    (lambda x: OPS["others"](x), [0.6802811]),
    (lambda x: mg.tanhshrink(x), -0.0036927061),
    (lambda x: mg.sinc(x), -0.00148684),
    (lambda x: mg.std(x, axis=0, keepdims=True), [[0.31, -1.81140144], [0.02, -1.81176708]]),
], ids=["a derivative of 0", "cancellation in a stage", "a power series", "a jump within the steps"])  # fmt: skip
def test_rounding_is_no_false_alarm(f, x):
    for seed in range(20):
        assert check_grads(f, np.asarray(x), seed=seed).ok


def test_where_rounding_is_measured_errors_are_still_seen():
    wrong = with_rule(OPS["tanhshrink"], lambda g, y, x: g * np.square(np.tanh(x)) * (1 + 1e-12))
    with pytest.raises(GradientError):
        check_grads(lambda x: applied(wrong, x), np.asarray(-0.0036927061))


@pytest.mark.parametrize("name", checker.PROGRAMS)
def test_the_benchmark_finds_what_this_checker_sees(name):
    program = checker.PROGRAMS[name]
    point = checker.points(program)
    assert 0 < checker.smallest(checker.minigrad, program, point) <= 1e-13
    assert not checker.minigrad(program, 0.0, point)
    assert "written_out" not in OPS


def test_an_all_zero_backward_is_reported_however_flat_the_function():
    assert checker.minigrad(checker.FLAT, -1.0, checker.points(checker.FLAT))
    assert not checker.minigrad(checker.FLAT, 0.0, checker.points(checker.FLAT))


def test_peers_run_the_same_programs(torch):
    for name, program in checker.PROGRAMS.items():
        assert not checker.torch(program, 0.0, checker.points(program)), name
        assert checker.torch(program, 0.5, checker.points(program)), name


def test_the_campaign_counts_an_alarm(monkeypatch):
    op, inputs, params, seed = checker.case(7, 3)
    again = checker.case(7, 3)
    assert (op, params, seed) == (again[0], again[2], again[3])
    assert all(np.array_equal(a, b) for a, b in zip(inputs, again[1], strict=True))
    assert checker.check_case(7, 3)[0] in ("right", "kink")
    wrong = with_rule(OPS["exp"], lambda g, y, x: g * y * (1 + 1e-12))
    monkeypatch.setattr(checker, "case", lambda *_: (wrong, (np.ones(3),), {}, 5))
    verdict, text = checker.check_case(7, 3)
    assert verdict == "alarm"
    assert "case 3 of --seed 7: exp((3,)) {}, check_grads seed 5" in text
