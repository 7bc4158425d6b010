"""The checkers, above all: that they see what is wrong, and nothing else."""

import checks
import numpy as np
import pytest

import minigrad as mg
from minigrad.tensor import apply
from minigrad.testing import GradientError, check_grads, check_vjp


def test_a_right_gradient_is_reported_with_what_would_have_shown(rng):
    def f(x, W):
        return np.sum(np.tanh(x @ W) * mg.sigmoid(x @ W)), mg.softmax(x)

    report = check_grads(f, rng.normal(size=(2, 3)), rng.normal(size=(3, 4)), order=3)
    assert report.ok
    assert report.smallest_detectable <= 1e-10
    assert "complex step" in report.oracle
    only_analytic = check_grads(lambda x: np.tanh(x) ** 2, rng.normal(size=4))
    assert only_analytic.smallest_detectable <= 1e-13
    assert only_analytic.oracle == "complex step in extended precision"
    assert check_grads(f, *(rng.normal(size=s).astype(np.float32) for s in ((2, 3), (3, 4)))).ok


def test_an_error_of_1e_13_in_a_rule_is_found_in_the_midst_of_a_program(rng, user_op):
    slightly = user_op("slightly_wrong", np.tanh, lambda g, y, x: g * (1 - y * y) * (1 + 1e-13), analytic=True)
    with pytest.raises(GradientError) as caught:
        check_grads(lambda x, W: np.exp(slightly(x @ W)).sum(), rng.normal(size=(2, 3)), rng.normal(size=(3, 4)))
    census = caught.value.census
    assert [c.argument for c in census] == ["argument 0", "argument 1"]
    assert (census[0].order, census[0].wrong, census[0].total) == (1, 6, 6)
    assert census[0].stages == ("the rule of 'slightly_wrong' for input 0 is wrong by itself",)
    assert "seed 0" in str(caught.value)
    place, want, got = census[0].worst[0]
    assert 1e-14 < abs(got / want - 1) < 1e-12
    assert len(place) == 2


def test_an_error_of_second_order_only_is_found_at_second_order(rng, user_op):
    cut = user_op("cut_off", np.tanh, lambda g, y, x: g * (1 - (y._node.value if hasattr(y, "_node") else y) ** 2),
                  analytic=True)  # fmt: skip
    assert check_grads(cut, rng.normal(size=3), order=1).ok
    with pytest.raises(GradientError, match="derivative of order 2"):
        check_grads(cut, rng.normal(size=3))


def test_a_kink_is_reported_and_not_judged():
    report = check_grads(lambda x: mg.relu(x) * x, np.array([1.0, 0.0, -1.0]))
    assert report.ok
    assert report.kinks == ("'relu'",)
    assert "at a kink: 'relu'" in str(report)
    near = check_grads(lambda x: mg.relu(x) * x, np.array([1e-5, 1.0]))
    assert not near.kinks


def test_differences_are_exact_where_a_function_is_straight_or_quadratic_and_only_there(rng, user_op):
    def oracle(name, forward, slope, x, **traits):
        report = check_grads(user_op(name, forward, lambda g, y, x: g * slope(x), **traits), x, order=1)
        with pytest.raises(GradientError):
            check_grads(user_op(name, forward, lambda g, y, x: g * slope(x) * (1 + 1e-9), **traits), x, order=1)
        return report.oracle.removesuffix(" in extended precision")

    x = np.where(rng.normal(size=(2, 3)) > 0, 1.0, -1.0) * rng.uniform(1e-3, 2, (2, 3))  # one a thousandth from the kink
    x[0, 0] = 1e-3
    for straight in ((lambda x, /: np.where(x > 0, 3 * x, x), lambda x: np.where(x > 0, 3.0, 1.0)),
                     (lambda x, /: x * np.abs(x), lambda x: 2 * np.abs(x))):  # fmt: skip
        assert oracle("straight", *straight, x, branch=np.sign) == "exact differences"
    for bent in ((lambda x, /: x + 1e-9 * x**3, lambda x: 1 + 3e-9 * x**2), (lambda x, /: np.sin(x), np.cos)):
        assert oracle("bent", *bent, x) == "differences"
    doubled = user_op("straight", lambda x, /: np.where(x > 0, 3 * x, x),
                      lambda g, y, x: np.where(x > 0, 3 * g, g) * (1 + 1e-13), branch=np.sign)  # fmt: skip
    with pytest.raises(GradientError):
        check_grads(doubled, rng.uniform(0.5, 2, 4), order=1)


def test_the_complex_step_goes_through_functions_of_real_numbers_and_stops_at_kinks(rng):
    def f(x, y):
        return np.hypot(x, y) * np.std(y) + np.abs(x * y) * np.logaddexp(x, y) + np.cbrt(x) * np.arctan2(x, y) + mg.norm(x)

    x, y = rng.normal(size=(2, 2, 3))
    report = check_grads(f, x, y, order=1)
    assert report.oracle == "linear, complex step, exact differences in extended precision"
    assert report.smallest_detectable < 1e-13
    assert check_grads(mg.elu, np.array([0.0, 1.0])).kinks == ("'elu'",)
    assert check_grads(np.hypot, np.zeros(2), np.array([0.0, 1.0])).kinks == ("'hypot'",)
    assert not check_grads(np.hypot, np.zeros(2), np.array([1e-3, 1.0])).kinks
    assert check_grads(np.arctan2, np.array([0.0, 1e-3]), np.array([-2.0, 2.0])).ok  # on the cut


def test_a_gradient_that_is_zero_by_mistake_is_found_however_small_it_should_be(rng, user_op):
    flat = user_op("forgotten", lambda x, /: x * 1e-9, lambda g, y, x: g * 0.0, analytic=True)
    with pytest.raises(GradientError):
        check_grads(flat, rng.normal(size=3))
    assert check_grads(lambda x: np.sum(mg.softmax(x)), rng.normal(size=5)).ok  # truly zero


def test_a_users_op_does_not_take_numpys_function_away(user_op):
    user_op("my_tanh", np.tanh, lambda g, y, x: g * 0)
    assert np.tanh(mg.tensor(1.0, requires_grad=True))._node.op.name == "tanh"


def test_nothing_to_check_is_an_error():
    with pytest.raises(mg.MinigradError, match="no argument has a float dtype"):
        check_grads(np.exp, np.arange(3))
    with pytest.raises(mg.MinigradError, match="depends on no argument"):
        check_grads(lambda x: x.detach(), np.ones(3))


# --- gradients of others ---------------------------------------------------------------------


def dense(a, b):
    return np.tanh(a @ b)


def dense_vjp(v, a, b, factor=1.0):
    y = np.tanh(a @ b)
    d = v * (1 - y * y) * factor
    return d @ b.T, a.T @ d


def test_a_hand_written_backward_in_plain_numpy(rng):
    a, b = rng.normal(size=(3, 4)), rng.normal(size=(4, 2))
    report = check_vjp(dense, dense_vjp, a, b)
    assert report.smallest_detectable < 1e-13
    assert report.oracle == "complex step of the whole function"
    with pytest.raises(GradientError, match=r"relative error 1\.0e-13"):
        check_vjp(dense, lambda v, a, b: dense_vjp(v, a, b, 1 + 1e-13), a, b)

    def one_entry(v, a, b):
        d_a, d_b = dense_vjp(v, a, b)
        d_b[1, 1] *= -1
        return d_a, d_b

    with pytest.raises(GradientError, match="gradient of b is wrong in 1 of 8 entries") as caught:
        check_vjp(dense, one_entry, a, b, names="ab")
    assert [place for place, *_ in caught.value.census[0].worst] == [(1, 1)]


def test_a_backward_that_only_works_in_double_precision(rng):
    def solve(a, b):
        return np.linalg.solve(np.asarray(a, np.complex128 if np.iscomplexobj(a) else np.float64), b)

    def solve_vjp(v, a, b, factor=1.0):
        w = np.linalg.solve(np.asarray(a, np.float64).T, np.asarray(v, np.float64)) * factor
        return -np.outer(w, solve(a, b)), w

    a, b = rng.normal(size=(4, 4)) + 4 * np.eye(4), rng.normal(size=4)
    assert check_vjp(solve, solve_vjp, a, b).smallest_detectable < 1e-11
    with pytest.raises(GradientError):
        check_vjp(solve, lambda v, a, b: solve_vjp(v, a, b, 1 + 1e-11), a, b)


def test_kinks_and_functions_that_take_no_complex_numbers():
    relu, relu_vjp = (lambda x: np.maximum(x, 0)), (lambda v, x: v * (x > 0))
    assert check_vjp(relu, relu_vjp, np.array([1.0, -1.0, 0.5])).ok
    assert check_vjp(relu, relu_vjp, np.array([1.0, -1.0, 0.0])).kinks
    with pytest.raises(GradientError):
        check_vjp(relu, lambda v, x: v * (x > -2), np.array([1.0, -1.0, 0.5]))
    magnitude = lambda x: np.abs(np.asarray(x, float)) ** 3  # noqa: E731
    assert "differences" in check_vjp(magnitude, lambda v, x: v * 3 * x * np.abs(x), np.array([1.0, -2.0])).oracle


def test_backward_of_torch(torch, rng):
    def f(x):
        return torch.tanh(x) * x

    def vjp(v, x, factor=1.0):
        x = x.clone().requires_grad_()
        f(x).backward(v)
        return x.grad * factor

    x = torch.tensor(rng.normal(size=(3, 2)))
    assert check_vjp(f, vjp, x).smallest_detectable < 1e-12
    with pytest.raises(GradientError):
        check_vjp(f, lambda v, x: vjp(v, x, 1 + 1e-11), x)


def test_a_backward_of_the_wrong_form_is_told_so(rng):
    a, b = rng.normal(size=(3, 4)), rng.normal(size=(4, 2))
    with pytest.raises(mg.MinigradError, match=r"cotangent of argument 1 has shape \(2, 4\)"):
        check_vjp(dense, lambda v, a, b: (dense_vjp(v, a, b)[0], dense_vjp(v, a, b)[1].T), a, b)
    with pytest.raises(mg.MinigradError, match="returned 1 cotangents; 2"):
        check_vjp(dense, lambda v, a, b: dense_vjp(v, a, b)[:1], a, b)


# --- every rule of the registry, sabotaged -------------------------------------------------


def as_function(op, inputs, params):
    """The op as a function of its active inputs, at one of its samples."""
    places = checks.active(op, inputs)

    def f(*xs):
        full = list(inputs)
        for i, x in zip(places, xs, strict=True):
            full[i] = x
        return apply(op, tuple(full), params)

    return f, [inputs[i] for i in places]


@pytest.mark.parametrize("op", checks.CHECKED, ids=lambda op: op.name)
def test_no_false_alarm_and_no_error_of_1e_13_missed(op):
    """For every rule: right, it passes; off by 1e-13 (1e-9 where only differences apply), it fails."""
    seen, moved = set(), set()
    for inputs, params in checks.samples_of(op):
        f, point = as_function(op, inputs, params)
        assert check_grads(f, *point).ok
        gradients = mg.vjp(f, *point)[1](_uneven(f(*point)))
        sized = [i for i, g in zip(checks.active(op, inputs), gradients, strict=True)
                 if np.max(np.abs(g.data), initial=0) > 1e-12]  # fmt: skip
        report = check_grads(f, *point, order=1)
        if len(sized) < len(gradients) and report.smallest_detectable > 1:
            continue  # what is zero but for rounding is as right when multiplied
        error = 1e-13 if report.smallest_detectable < 5e-14 else 1e-9
        assert report.smallest_detectable < error / 2
        for i in sized:
            rule = 0 if op.variadic else i
            moved.add(rule)
            if rule not in seen and not report.kinks:
                seen.add(rule)
                wrong, point = as_function(checks.slightly_off(op, i, 1 + error), inputs, params)
                with pytest.raises(GradientError):
                    check_grads(wrong, *point, order=1)
    assert seen == moved
    rules = {0} if op.variadic else {i for i, rule in enumerate(op.rules) if rule is not None}
    assert moved == rules or op.name in FLAT


def _uneven(y):
    return tuple(map(_uneven, y)) if isinstance(y, tuple) else np.arange(1.0, y.size + 1).reshape(y.shape)


# their derivative by an input is 0
FLAT = {"heaviside", "sign", "copysign", "imag", "floor", "ceil", "trunc", "round", "around", "floor_divide", "nextafter"}
