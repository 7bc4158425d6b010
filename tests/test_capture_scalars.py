"""Programs of numbers as straight-line Python: what the engine computes, for any numbers."""

import importlib
import math

import numpy as np
import pytest

import minigrad as mg
from minigrad.capture.passes import EXACT, run_passes
from minigrad.capture.recorder import record
from minigrad.capture.replay import Replay
from minigrad.op import OPS, draw_samples
from minigrad.tensor import apply
from minigrad.tree import flatten

scalars = importlib.import_module("minigrad.capture.scalars")
Scalars = scalars.Scalars


def compiled(captured):
    return captured._newest().replayed


def assert_close(got, want, rtol=2e-15, atol=0.0):
    got, want = flatten(got)[0], flatten(want)[0]
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert (g.shape, g.dtype) == (w.shape, w.dtype)
        np.testing.assert_allclose(g.data, w.data, rtol=rtol, atol=atol)


SMOOTH = (mg.tanh, mg.sin, mg.cos, mg.sigmoid, mg.exp, mg.square, mg.softplus, mg.relu, mg.abs, mg.atan, mg.expm1,
          lambda x: mg.log(x * x + 0.5), lambda x: mg.sqrt(x * x + 0.1), lambda x: 1.5 - x, lambda x: x**3, lambda x: -x,
          lambda x: 2.0 / (1.0 + x * x), lambda x: mg.where(x > 0.2, x * 0.5, mg.tanh(x)), lambda x: mg.clip(x, -0.8, 0.9),
          lambda x: (x * x + 1) ** -0.5)  # fmt: skip
PAIRS = (mg.add, mg.subtract, mg.multiply, mg.maximum, mg.minimum, mg.hypot, mg.atan2,
         lambda a, b: a / (b * b + 1), lambda a, b: (a * a + 0.3) ** b)  # fmt: skip


def draw(seed, length=25):
    """A random function of three numbers, the same for a seed."""
    rng = np.random.default_rng((5, seed))
    plan = [(int(rng.integers(2)), int(rng.integers(100)), *rng.integers(0, 1000, 2)) for _ in range(length)]

    def f(x, y, z):
        made = [x, y, z]
        for pair, k, i, j in plan:
            a, b = made[-1 - i % 6 % len(made)], made[-1 - j % 6 % len(made)]
            made.append(mg.tanh(PAIRS[k % len(PAIRS)](a, b)) if pair else SMOOTH[k % len(SMOOTH)](a) * 0.7)
        return made[-1] * made[-2] + made[-3] * (x * x * y * y * z * z)

    return f, rng


@pytest.mark.parametrize("seed", range(25))
def test_random_programs_and_their_derivatives_are_the_eager_engines(seed):
    f, rng = draw(seed)
    step = mg.value_and_grad(f, argnums=(0, 1, 2))
    second = mg.grad(lambda x, y, z: sum(g * (k + 1) for k, g in enumerate(mg.grad(f, argnums=(0, 1, 2))(x, y, z))))
    for function in (step, second):
        captured = mg.capture(function)
        for _ in range(4):
            at = [np.float64(v) for v in rng.normal(size=3)]
            got, want = captured(*at), function(*map(mg.tensor, at))
            scale = max(1.0, *(abs(w.item()) for w in flatten(want)[0]))
            assert_close(got, want, rtol=1e-13, atol=1e-14 * scale)
        assert type(compiled(captured)) is Scalars


def points(op):
    """Samples that are numbers."""
    return [(inputs, params) for inputs, params in draw_samples(op, np.random.default_rng(7))
            if inputs and all(np.shape(x) == () and np.asarray(x).dtype == np.float64 for x in inputs)]  # fmt: skip


def is_written(op):
    try:
        scalars._Sheet(op, ("number",) * op.arity, points(op)[0][1])
    except (scalars.UnwritableError, IndexError, ImportError):
        return False
    return True


WRITTEN = [name for name, op in OPS.items() if op.elementwise and is_written(op)]


def test_most_functions_of_numbers_are_written():
    assert len(WRITTEN) > 60


@pytest.mark.parametrize("name", WRITTEN)
def test_every_op_that_can_be_written_is_written_right(name):
    """Also at 0, −0, infinities and NaN, by itself and where Python has an exception."""
    op, rng = OPS[name], np.random.default_rng(7)
    samples = points(op)
    params = samples[0][1]
    edges = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 800.0, -800.0, np.inf, -np.inf, np.nan)
    tried = [inputs for inputs, _ in samples] + [tuple(rng.choice(edges, op.arity)) for _ in range(40)]
    with np.errstate(all="ignore"):
        traced = [mg.tensor(x) for x in tried[0]]
        program, _, _ = record(lambda *xs: apply(op, xs, params), tuple(traced), {}, traced)
        written = scalars.as_scalars(program)
        for inputs in tried:
            with np.errstate(all="ignore"):
                want = op.forward(*map(np.float64, inputs), **params)
            got = written.run(*inputs)[0]
            np.testing.assert_allclose(np.float64(got), np.float64(want), rtol=4e-15, atol=1e-15, err_msg=f"{name}{inputs}")


def test_what_the_usual_functions_are_made_of_is_written():
    names = {"add", "subtract", "multiply", "divide", "negative", "pow", "power_scalar", "exp", "log", "log1p", "tanh", "sqrt",
             "square", "sigmoid", "logistic", "softplus", "relu", "leaky_relu", "maximum", "minimum", "where", "clip", "greater",
             "less", "zero_law", "copy", "alias", "sin", "cos", "abs", "sign", "silu", "elu", "mish"}  # fmt: skip
    for name in names & OPS.keys():
        op = OPS[name]
        params = {"p": 3} if name == "power_scalar" else {}
        kinds = ("truth", "number", "number") if name == "where" else ("number",) * op.arity
        scalars._Sheet(op, kinds, params)  # raises if it cannot be written


@pytest.mark.parametrize(("f", "usual", "unusual"), [
    (mg.exp, 1.0, 1000.0), (mg.log, 1.0, 0.0), (mg.log, 1.0, -1.0), (lambda x: 1.0 / x, 2.0, 0.0), (mg.sin, 1.0, np.inf),
    (lambda x: mg.pow(x, 0.5), 2.0, -1.0), (lambda x: x ** -2, 2.0, 0.0), (mg.sqrt, 1.0, -1.0), (mg.cosh, 1.0, -2000.0),
    (lambda x: mg.log(x) * 0.0, 2.0, 0.0),
])  # fmt: skip
def test_where_python_raises_the_numbers_are_numpys(f, usual, unusual):
    step = mg.value_and_grad(f)
    captured = mg.capture(step)
    for x in (usual, usual, unusual, usual, unusual):
        with np.errstate(all="ignore"):
            assert_close(captured(np.float64(x)), step(np.float64(x)))
        assert x == usual or "unusual" in vars(compiled(captured))
    captured = mg.capture(step)
    captured(np.float64(usual)), captured(np.float64(usual))
    assert "unusual" not in vars(compiled(captured))  # the usual path pays nothing for it


def test_infinities_and_nan_go_through():
    def f(x, y):
        return mg.value_and_grad(lambda x, y: mg.tanh(x * y) + mg.maximum(x, y) * y - mg.minimum(x, 1.0), argnums=(0, 1))(x, y)

    captured = mg.capture(f)
    for x in (1.0, np.inf, -np.inf, np.nan, -0.0, 1e308):
        for y in (2.0, -np.inf, np.nan, 1e308):
            with np.errstate(all="ignore"):
                assert_close(captured(np.float64(x), np.float64(y)), f(np.float64(x), np.float64(y)))


def test_what_is_no_program_of_doubles_stays_with_numpy(user_op, rng):
    x = np.float64(0.3)
    odd = user_op("odd_branch", lambda x, /: x if x > 0 else -x, lambda g, y, x: g)
    for f, args in (
        (mg.tanh, (np.float32(0.3),)),  # a rounding of its own
        (lambda x: x.astype(np.float32) * 2, (x,)),
        (lambda x: mg.sum(x * np.ones(3)), (x,)),
        (lambda x: mg.dropout(x, 0.5, rng=rng), (x,)),
        (odd, (x,)),
        (lambda x, k: x * k, (x, np.int64(3))),
    ):
        captured = mg.capture(f)
        captured(*args)
        assert type(compiled(captured)) is Replay
        again = captured(*args)
        if "dropout" not in getattr(f, "__code__", odd.__code__).co_names:
            assert_close(again, f(*map(mg.tensor, args)))
    exact = mg.capture(mg.tanh, exact=True)
    exact(x)
    assert type(compiled(exact)) is Replay


def test_an_op_of_the_users_is_written_from_its_forward(user_op):
    swish = user_op("swish_", lambda x, /, *, k=1.0: np.where(x > -30, x / (1 + np.exp(-k * x)), 0),
                    lambda g, y, x, *, k=1.0: g * (k * y + (1 - k * y / np.where(x == 0, 1, x)) / (1 + np.exp(-k * x))))  # fmt: skip
    step = mg.value_and_grad(lambda x: swish(x, k=2.0) * 3)
    captured = mg.capture(step)
    for v in (0.5, -1.0, 2.0):
        assert_close(captured(np.float64(v)), step(np.float64(v)), rtol=1e-15)
    assert type(compiled(captured)) is Scalars
    assert "exp(" in compiled(captured).source


def test_parameters_are_read_and_gradients_left(rng):
    class Neuron(mg.nn.Module):
        def __init__(self):
            self.w = [mg.nn.Parameter(v) for v in rng.normal(size=4)]
            self.b = mg.nn.Parameter(0.1)

        def forward(self, xs):
            return mg.tanh(sum((w * x for w, x in zip(self.w, xs, strict=True)), self.b))

    net = Neuron()

    def by_effect(xs):
        y = net(xs) ** 2
        y.backward()
        return y

    with_grad = mg.value_and_grad(lambda net, xs: net(xs) ** 2)
    left, returned = mg.capture(by_effect), mg.capture(with_grad)
    for _ in range(3):
        xs = [np.float64(v) for v in rng.normal(size=4)]
        net.zero_grad()
        y = left(xs)
        value, grads = returned(net, xs)
        want, want_grads = with_grad(net, xs)
        assert_close(y, want)
        assert_close(value, want)
        for name, p in net.named_parameters().items():
            assert_close(grads[name], want_grads[name])
            assert_close(p.grad, want_grads[name])
            p.data = p.numpy() * 0.9
    assert {type(compiled(c)) for c in (left, returned)} == {Scalars}


@pytest.mark.parametrize("chunk", [1, 3, 10])
def test_functions_of_any_length_give_the_same_bits(chunk, monkeypatch):
    for seed in range(6):
        f, rng = draw(seed)
        leaves = [mg.tensor(v, requires_grad=True) for v in rng.normal(size=3)]
        program, _, _ = record(mg.value_and_grad(f, argnums=(0, 1, 2)), tuple(leaves), {}, leaves)
        program = run_passes(program, EXACT)
        at = rng.normal(size=3)
        whole = scalars.as_scalars(program).run(*at)
        with monkeypatch.context() as patch:
            patch.setattr(scalars, "CHUNK", chunk)
            short = scalars.as_scalars(program)
        assert short.run(*at) == whole
        assert len(short.texts) >= math.ceil(len(program.steps) / chunk)


def test_a_long_program_is_cut_into_functions_of_bounded_length():
    def f(w, b):
        x = b
        for _ in range(4000):
            x = x * w + b
        return x

    captured = mg.capture(mg.value_and_grad(f, argnums=(0, 1)))
    at = np.float64(0.99), np.float64(0.1)
    captured(*at)
    assert_close(captured(*at), mg.value_and_grad(f, argnums=(0, 1))(*at), rtol=1e-12)
    texts = compiled(captured).texts
    assert len(texts) > 4
    assert max(text.count("\n") for text in texts) <= 1.6 * scalars.CHUNK


def test_what_is_used_twice_is_computed_once_and_what_is_used_once_has_no_name():
    captured = mg.capture(lambda x, y: mg.tanh(x * y) * mg.tanh(x * y) + (x - (y - x)))
    captured(np.float64(0.2), np.float64(0.3))
    source = compiled(captured).source
    assert source.count("tanh(") == 1
    assert " - (" in source  # brackets where the order of rounding asks for them
    assert source.count("=") <= 5


def test_an_op_says_for_numpy_floats_what_its_forward_says():
    """Registry-driven: `scalar` has the bits of `forward`."""
    rng = np.random.default_rng(3)
    edges = [0.0, -0.0, 1.0, -1.5, 3.0, np.inf, -np.inf, np.nan, 1e300, 1e-300]
    seen = 0
    for op in OPS.values():
        if op.scalar is None:
            continue
        for kind in (np.float64, np.float32):
            for _ in range(60):
                with np.errstate(all="ignore"):
                    at = [kind(v) for v in rng.choice([*edges, *rng.normal(size=10)], op.arity)]
                    got, want = op.scalar(*at), op.forward(*at)
                assert type(got) is type(want), op
                assert got.tobytes() == want.tobytes() or got != got, (op, at)
                seen += 1
    assert seen > 1000


def test_a_captured_program_of_numbers_makes_no_cycle():
    import gc
    import weakref

    gc.collect()
    gc.disable()
    try:
        captured = mg.capture(mg.value_and_grad(lambda x: mg.tanh(x) * x))
        captured(np.float64(0.3))
        gone = weakref.ref(compiled(captured))
        del captured
        assert gone() is None
    finally:
        gc.enable()
