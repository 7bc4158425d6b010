"""Every registered op, on every sample it gives of itself, against every claim."""

import itertools
import os

import checks
import digits
import numpy as np
import pytest
from checks import DIFFERENTIABLE, cotangents, is_elementwise_binary, recorded

import minigrad as mg
from minigrad.op import NUMPY, OPS, draw_samples
from minigrad.tensor import apply
from minigrad.testing import check_op
from minigrad.testing.stage import ORACLES

binary = pytest.mark.parametrize(
    "op", [op for op in DIFFERENTIABLE if is_elementwise_binary(op)], ids=lambda op: op.name
)


@pytest.fixture(autouse=True)
def _no_silent_floating_point_errors():
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        yield


@pytest.mark.parametrize("op", checks.CHECKED, ids=lambda op: op.name)
def test_every_claim(op):
    """Derivatives of order 1 and 2 by an exact method: none of an op of ours is held against
    extrapolated differences alone.

    With more points: ``SEEDS=100 python -m pytest -n 2 tests/test_ops.py -k every_claim``.
    """
    for seed in range(int(os.environ.get("SEEDS", "1"))):
        report = check_op(op, seed=seed)
        assert not report.refused
        assert set(report.oracle.split(", ")) <= set(ORACLES[:-1]) or op.name in digits.EXACT, (
            f"{op.name} is held against {report.oracle}: give analytic=True or samples away from its kinks "
            "or, where forward is a library's, a function of mpmath's numbers in tests/digits.py")


@binary
def test_operands_that_do_not_fit_are_told_by_their_shapes(op):
    for shapes in (((2, 3), (2,)), ((3,), (2, 1, 4)), ((0,), (2, 3))):
        xs = [op.domains[min(i, len(op.domains) - 1)].draw(checks.rng_of(op), s) for i, s in enumerate(shapes)]
        with pytest.raises(mg.errors.ShapeError) as caught:
            apply(op, tuple(xs))
        assert all(str(s) in str(caught.value) for s in shapes)


def test_the_binary_ops_are_found():
    found = {op.name for op in DIFFERENTIABLE if is_elementwise_binary(op)}
    assert {"add", "subtract", "multiply", "divide", "pow", "maximum", "minimum"} <= found
    assert "matmul" not in found


@binary
def test_both_operands_may_be_one_tensor(op):
    x = op.domains[0].draw(checks.rng_of(op, 10), (2, 3))
    leaf = mg.tensor(x, requires_grad=True)
    seed = np.arange(1.0, 7).reshape(2, 3)
    y = apply(op, (leaf, leaf))
    y.backward(seed)
    leaves, ys = recorded(op, (x, x), {})
    left, right = cotangents(leaves, ys, [seed])
    np.testing.assert_array_equal(leaf.grad.data, left + right)


@binary
def test_a_python_number_is_weak_and_a_wide_array_is_not(op):
    x = op.domains[0].draw(checks.rng_of(op, 11), (2, 3)).astype(np.float32)
    for other, dtype in ((2.0, np.float32), (2, np.float32), (np.float32(2), np.float32),
                         (np.full(3, 2.0), np.float64), (np.float64(2), np.float64)):  # fmt: skip
        for swap in (False, True):
            leaf = mg.tensor(x, requires_grad=True)
            y = apply(op, (other, leaf) if swap else (leaf, other))
            assert y.dtype == dtype
            y.sum().backward()
            assert leaf.grad.dtype == np.float32


@pytest.mark.parametrize("op", [op for op in OPS.values() if not op.differentiable],
                         ids=lambda op: op.name)  # fmt: skip
def test_an_op_without_rules_gives_a_constant(op):
    for inputs, params in draw_samples(op, checks.rng_of(op)):
        args = [mg.tensor(x, requires_grad=np.asarray(x).dtype.kind == "f") for x in inputs]
        try:
            want = op.forward(*inputs, **params)
        except ValueError:  # argmax of an empty array
            with pytest.raises(mg.errors.DomainError):
                apply(op, tuple(args), params)
            continue
        y = apply(op, tuple(args), params)
        assert not y.requires_grad
        np.testing.assert_array_equal(y.data, want)


def is_one_to_one(counterpart):
    """Takes what its op takes, and means the same (eigh fixes the signs that LAPACK leaves)."""
    op = getattr(counterpart.function, "op", None)
    return op is not None and not op.variadic and not op.name.startswith("linalg.")


@pytest.mark.parametrize("function", [f for f, ours in NUMPY.items() if is_one_to_one(ours)],
                         ids=lambda f: f.__name__)  # fmt: skip
def test_numpy_function_is_answered_by_a_tensor(function):
    """Each NumPy function in the table gives, on tensors, what it gives on arrays."""
    op = NUMPY[function].function.op
    inputs, params = next(draw_samples(op, checks.rng_of(op)))
    want = function(*inputs, **params)
    got = function(*(mg.tensor(x) for x in inputs), **params)
    if not isinstance(want, (tuple, list)):
        want, got = (want,), (got,)
    for a, b in zip(got, want, strict=True):
        assert isinstance(a, mg.Tensor)
        np.testing.assert_array_equal(a.data, np.asarray(b))


def test_numpy_functions_of_several_arrays():
    a, b = np.arange(6.0).reshape(2, 3), np.ones((2, 3))
    x = mg.tensor(a, requires_grad=True)
    for got, want in (
        (np.concatenate([x, b], 1), np.concatenate([a, b], 1)),
        (np.stack([b, x], axis=-1), np.stack([b, a], axis=-1)),
        (np.where(a > 2, x, b), np.where(a > 2, a, b)),
        (np.astype(x, np.float32), a.astype(np.float32)),
        (np.sum(x, 0), a.sum(0)), (np.add.reduce(x), np.add.reduce(a)),
        (np.transpose(x, (1, 0)), a.T), (b + x, b + a), (b @ x.T, b @ a.T), (np.max(x, 1), a.max(1)),
    ):  # fmt: skip
        assert isinstance(got, mg.Tensor)
        assert got.requires_grad
        np.testing.assert_array_equal(got.data, want)


# --- matmul: every pair of shapes -----------------------------------------------------------

MATMUL_SHAPES = [(), (1,), (3,), (2,), (2, 3), (3, 2), (3, 3), (1, 3), (0, 3), (3, 0), (4, 2, 3), (4, 3, 2),
                 (1, 3, 3), (5, 1, 2, 3), (0, 3, 2)]  # fmt: skip


@pytest.mark.parametrize("a", MATMUL_SHAPES, ids=str)
def test_matmul_shapes(a):
    rng = np.random.default_rng(2)
    for b in MATMUL_SHAPES:
        x, w = np.asarray(rng.normal(size=a)), np.asarray(rng.normal(size=b))
        try:
            want = np.matmul(x, w)
        except ValueError:
            with pytest.raises(mg.errors.ShapeError, match="matmul"):
                mg.tensor(x) @ mg.tensor(w)
            continue
        leaves, (y,) = recorded(OPS["matmul"], (x, w), {})
        np.testing.assert_allclose(y.data, want, rtol=1e-13, atol=1e-13)
        seed = np.asarray(rng.normal(size=want.shape))
        got = cotangents(leaves, [y], [seed])
        # bilinear: the cotangent of an element is the product with a one-hot operand
        for i, (g, z) in enumerate(zip(got, (x, w), strict=True)):
            assert g.shape == z.shape
            for k in np.ndindex(z.shape):
                e = np.zeros(z.shape)
                e[k] = 1
                one = np.matmul(e, w) if i == 0 else np.matmul(x, e)
                assert abs(g[k] - np.sum(seed * one)) < 1e-12


def test_matmul_of_integers_is_exact():
    rng = np.random.default_rng(3)
    a, b, g = (rng.integers(-9, 10, s).astype(float) for s in ((4, 2, 3), (3, 5), (4, 2, 5)))
    leaves, ys = recorded(OPS["matmul"], (a, b), {})
    left, right = cotangents(leaves, ys, [g])
    np.testing.assert_array_equal(left, np.einsum("bik,jk->bij", g, b))
    np.testing.assert_array_equal(right, np.einsum("bij,bik->jk", a, g))


def test_a_product_with_its_own_transpose():
    x = mg.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    g = np.array([[1.0, 2], [3, 4]])
    (x @ x.T).backward(g)
    np.testing.assert_array_equal(x.grad.data, (g + g.T) @ x.data)


# --- reductions: every axis -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min"])
def test_reduction_over_every_axis(name):
    rng = np.random.default_rng(4)
    x = rng.permutation(24).reshape(2, 3, 4).astype(float)
    axes = [None, *range(-3, 3), *(t for n in (0, 2, 3) for t in itertools.permutations(range(3), n)), (-1, 0)]
    for axis, keepdims in itertools.product(axes, (False, True)):
        leaf = mg.tensor(x, requires_grad=True)
        y = getattr(mg, name)(leaf, axis=axis, keepdims=keepdims)
        want = getattr(np, name)(x, axis=axis, keepdims=keepdims)
        np.testing.assert_array_equal(y.data, want)
        seed = np.asarray(rng.normal(size=want.shape))
        y.backward(seed)
        kept = seed.reshape(getattr(np, name)(x, axis=axis, keepdims=True).shape)
        if name in ("sum", "mean"):
            count = x.size / max(want.size, 1) if name == "mean" else 1
            expected = np.broadcast_to(kept, x.shape) / count
        else:
            expected = np.where(x == getattr(np, name)(x, axis=axis, keepdims=True), kept, 0)
        np.testing.assert_allclose(leaf.grad.data, expected, rtol=1e-15)


@pytest.mark.parametrize("name", ["sum", "max", "min"])
def test_a_scalar_is_reduced_over_axis_0_as_numpy_does_it(name):
    x = mg.tensor(2.0, requires_grad=True)
    getattr(mg, name)(x, axis=0).backward(3.0)
    assert x.grad.item() == 3.0


def test_ties_of_many_equal_values_are_counted_as_integers():
    for dtype in (np.float32, np.float16):
        x = mg.tensor(np.ones(100_000, dtype), requires_grad=True)
        x.max().backward(np.asarray(512, dtype))
        assert np.all(x.grad.data == np.asarray(512 / 100_000, dtype))
        assert np.all(x.grad.data > 0)


# --- empty, 0-d -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)], ids=str)
@pytest.mark.parametrize("op", [op for op in DIFFERENTIABLE if op.samples is None], ids=lambda op: op.name)
def test_empty(op, shape):
    xs = tuple(np.zeros(shape) for _ in range(op.arity))
    leaves, ys = recorded(op, xs, {})
    for g in cotangents(leaves, ys, [np.zeros(y.shape) for y in ys]):
        assert g.shape == shape


@pytest.mark.parametrize("op", [op for op in DIFFERENTIABLE if op.samples is None and None not in op.rules],
                         ids=lambda op: op.name)  # fmt: skip
def test_zero_dimensional(op):
    xs = tuple(np.asarray(op.domains[min(i, len(op.domains) - 1)].draw(checks.rng_of(op, 12), ()))
               for i in range(op.arity))  # fmt: skip
    leaves = [mg.tensor(x, requires_grad=True) for x in xs]
    y = apply(op, tuple(leaves))
    assert isinstance(y.data, np.ndarray)
    assert y.shape == ()
    y.backward()
    for leaf in leaves:
        assert isinstance(leaf.grad, mg.Tensor)
        assert isinstance(leaf.grad.data, np.ndarray)
        assert leaf.grad.shape == ()
        assert not leaf.grad.data.flags.writeable


# --- accuracy at the edges ------------------------------------------------------------------


@pytest.mark.parametrize("x", [0.0, 20.0, 88.0, 89.0, 700.0, 710.0, 1000.0, np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_sigmoid_and_tanh_stay_quiet_and_right_far_out(x, dtype):
    with np.errstate(over="ignore"):
        x = dtype(x)
    for sign in (1, -1):
        for name, limit in (("sigmoid", (1 + sign) / 2), ("tanh", float(sign))):
            leaf = mg.tensor(sign * x, requires_grad=True)
            y = getattr(mg, name)(leaf)
            y.backward()
            if x == 0:
                assert y.item() == {"sigmoid": 0.5, "tanh": 0.0}[name]
                assert leaf.grad.item() == {"sigmoid": 0.25, "tanh": 1.0}[name]
            else:
                assert abs(y.item() - limit) < 3e-9
                assert 0 <= leaf.grad.item() < 3e-9


def test_sigmoid_keeps_its_left_tail():
    leaf = mg.tensor([-30.0, -300.0, -700.0], requires_grad=True)
    y = mg.sigmoid(leaf)
    y.sum().backward()
    np.testing.assert_allclose(y.data, np.exp(leaf.data) / (1 + np.exp(leaf.data)), rtol=1e-15)
    np.testing.assert_allclose(leaf.grad.data, np.exp(leaf.data), rtol=1e-12)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_does_not_see_a_shift(name):
    f = getattr(mg, name)
    x = np.random.default_rng(0).integers(-8, 8, (3, 5)).astype(float)
    for shift in (0.0, 1e3, -1e3, 2.0**40):
        leaf = mg.tensor(x + shift, requires_grad=True)
        y = f(leaf)
        np.testing.assert_array_equal(y.data, f(x).data)
        y.backward(np.arange(15.0).reshape(3, 5))
        np.testing.assert_allclose(leaf.grad.data.sum(-1), 0, atol=1e-13)


@pytest.mark.parametrize("p", [0, 1, 2, 3, 4, 0.0, 1.0, 2.0])
def test_derivatives_of_powers_at_zero_to_order_four(p):
    f = lambda x: x**p  # noqa: E731
    for order in range(5):
        want = 0.0 if p != order else [1, 1, 2, 6, 24][order]
        with np.errstate(divide="ignore", invalid="ignore"):
            assert f(mg.tensor(0.0)).item() == want if p == order or order else True
        f = mg.grad(f)


@pytest.mark.parametrize(("f", "want"), [
    (lambda x: x * x, 2.0), (lambda x: x**2.0, 2.0),
    (lambda x: mg.square(x), 2.0), (lambda x: mg.exp(x) * mg.cos(x), 0.0),
    (lambda x: mg.sin(x) * mg.sin(x), 2.0), (lambda x: mg.log(1 + x * x), 2.0),
    (lambda x: mg.sqrt(1 + x * x), 1.0), (lambda x: mg.sigmoid(x) * (1 - mg.sigmoid(x)), -0.125),
    (lambda x: mg.tanh(x) ** 2, 2.0), (lambda x: 1 / (1 + x * x), -2.0), (lambda x: 2.0**x, np.log(2) ** 2),
    (lambda x: (1 + x) ** (1 + x), 2.0), (lambda x: mg.max(mg.stack([x * x, x - 1])), 2.0),
])  # fmt: skip
def test_second_derivatives_at_zero(f, want):
    assert mg.grad(mg.grad(f))(0.0).item() == pytest.approx(want, abs=1e-14)
