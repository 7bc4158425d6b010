"""The passes that may reassociate: what each does to a program, and that only rounding changes."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import capture
from minigrad.capture import stages
from minigrad.capture.passes import EXACT, FAST, run_passes
from minigrad.capture.program import Step, Value
from minigrad.capture.recorder import record
from minigrad.capture.replay import Replay
from minigrad.capture.rewriting import Writer, in_order
from minigrad.op import BUILT_IN, OPS, draw_samples
from minigrad.tensor import apply
from minigrad.testing.programs import draw_program
from minigrad.tree import flatten
from models import LSTM, LSTMCell

T, B, N_X, N_A = 5, 3, 2, 4


def by_columns(cell, x):
    a = c = mg.tensor(np.zeros((N_A, B)))
    out = []
    for t in range(T):
        a, c = cell(x[t].T, (a, c))
        out.append(a.T)
    return mg.stack(out)


def by_vectors(cell, x):
    a = c = mg.tensor(np.zeros(N_A))
    out = []
    for t in range(T):
        a, c = cell(x[t, 0], (a, c))
        out.append(a)
    return mg.stack(out)


def by_rows(cell, x):
    """Rows of a batch, and the input's weights apart from those of the state."""
    W = {g: getattr(cell, f"W_{g}").T for g in "fuco"}
    b = {g: getattr(cell, f"b_{g}") for g in "fuco"}
    a = c = mg.tensor(np.zeros((B, N_A)))
    out = []
    for t in range(T):
        s = {g: a @ W[g][:N_A] + x[t] @ W[g][N_A:] + b[g] for g in "fuco"}
        c = c * mg.sigmoid(s["f"]) + mg.sigmoid(s["u"]) * mg.tanh(s["c"])
        a = mg.tanh(c) * mg.sigmoid(s["o"])
        out.append(a)
    return mg.stack(out)


def of(name, program):
    return [step for step in program.steps if step.op.name == name]


@pytest.mark.parametrize("run", [by_columns, by_vectors, by_rows, lambda cell, x: cell(x)[0]])
def test_a_recurrent_cell_keeps_its_numbers(rng, run):
    cell = LSTMCell(N_X, N_A, dtype=np.float64, rng=rng) if run.__name__ != "<lambda>" else LSTM(
        N_X, N_A, layers=2, dtype=np.float64, rng=rng)  # fmt: skip

    def step(cell, x, seed):
        y, pull = mg.vjp(run, cell, x)
        return y, pull(seed)

    fast = capture(step)
    for _ in range(3):
        x = rng.normal(size=(T, B, N_X))
        seed = rng.normal(size=(T, N_A) if run is by_vectors else (T, B, N_A))
        got, want = flatten(fast(cell, x, seed))[0], flatten(step(cell, x, seed))[0]
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-13)
    assert len(fast.known) == 1


def test_the_gates_become_one_product_and_so_do_the_time_steps(rng):
    n_x, n_a, batch = 8, 12, 20  # wide enough that laying operands out pays
    cell = LSTMCell(n_x, n_a, dtype=np.float64, rng=rng)

    def last(cell, x):
        a = c = mg.tensor(np.zeros((n_a, batch)))
        for t in range(T):
            a, c = cell(x[t], (a, c))
        return a

    fast = capture(lambda cell, x: mg.vjp(last, cell, x)[1](np.ones((n_a, batch))))
    fast(cell, rng.normal(size=(T, n_x, batch)))
    assert len(of("matmul", fast.program)) == 4 * T * 3
    assert len(of("matmul", fast.optimized)) == T + T + 1  # forward, δz, and one for all weights
    assert len(of("sum_to", fast.optimized)) == 4  # a bias is summed over all time steps at once
    # whatever a product reads is written where it lies: nothing is laid out twice
    parts = [x for step in of("concat", fast.optimized) for x in step.reads]
    assert len(parts) == len(set(parts))


def test_the_input_of_all_time_steps_is_one_product(rng):
    W, x = rng.normal(size=(N_X, 20)), rng.normal(size=(T, B, N_X))
    fast = capture(lambda W, x: [x[t] @ W for t in range(T)])
    for _ in range(2):
        for y, x_t in zip(fast(W, x), x, strict=True):
            np.testing.assert_allclose(y.data, x_t @ W, rtol=1e-13)
    assert len(of("matmul", fast.optimized)) == 1


def test_products_that_need_each_other_stay_apart(rng):
    W, x = rng.normal(size=(20, 20)), rng.normal(size=(20, 20))

    def f(W, x):
        a = x
        for _ in range(3):
            a = mg.tanh(a @ W)
        return a, x @ W

    fast = capture(f)
    for _ in range(2):
        for got, want in zip(fast(W, x), f(W, mg.tensor(x)), strict=True):
            np.testing.assert_allclose(got.data, want.data, rtol=1e-12)
    assert len(of("matmul", fast.optimized)) == 3  # x @ W was there already


def test_a_sum_of_rows_is_a_stack(rng):
    x = rng.normal(size=(4, 3))
    fast = capture(lambda x: mg.grad(lambda x: sum(mg.sum(mg.sin(x[k]) * (k + 1.0)) for k in (0, 1, 3, 1)))(x))
    want = np.cos(x) * np.array([[1], [4], [0], [4]])
    for _ in range(2):
        np.testing.assert_allclose(fast(x).data, want, rtol=1e-14)
    assert [len(of(name, fast.optimized)) for name in ("scatter", "stack")] == [0, 1]


def test_rows_that_nobody_reads_are_not_computed(rng):
    A, B = rng.normal(size=(9, 4)), rng.normal(size=(4, 5))

    def f(A, B):
        y = A @ B
        return mg.sin(y[2:4]), mg.cos(y[4:7])

    fast = capture(f)
    for _ in range(2):
        for got, want in zip(fast(A, B), f(A, mg.tensor(B)), strict=True):
            np.testing.assert_allclose(got.data, want.data, rtol=1e-13)
    assert of("matmul", fast.optimized)[0].output.like.shape == (5, 5)


def test_a_small_product_is_cut(rng):
    A, B = rng.normal(size=(256, 130)).astype("f4"), rng.normal(size=(130, 40)).astype("f4")
    fast = capture(lambda A, B: A @ B + 1)
    for _ in range(2):
        np.testing.assert_allclose(fast(A, B).data, A @ B + 1, rtol=1e-4, atol=1e-4)
    assert of("matmul", fast.optimized)[0].output.like.shape == (2, 128, 40)


def test_a_stage_of_all_gates_or_time_steps_is_one_call(rng):
    cell, x = LSTMCell(8, 12, dtype=np.float64, rng=rng), rng.normal(size=(12, 8, 20))

    def last(cell, x):
        a = c = mg.tensor(np.zeros((12, 20)))
        for x_t in mg.unstack(x):
            a, c = cell(x_t, (a, c))
        return a

    fast = capture(lambda cell, x: mg.vjp(last, cell, x)[1](np.ones((12, 20))))
    fast(cell, x)
    assert [len(of("sigmoid", p)) for p in (fast.program, fast.optimized)] == [36, 12]
    assert [len(of("subtract", p)) for p in (fast.program, fast.optimized)] == [60, 2]  # 1 − Γ of all gates, 1 − tanh² of both
    for step in of("subtract", fast.optimized):
        assert step.output.like.size <= stages.IN_CACHE


def test_stages_of_other_constants_or_in_need_of_each_other_stay_apart(rng):
    x = rng.normal(size=(4, 3))

    def f(x):
        y = x
        for _ in range(3):
            y = mg.exp(y * 0.5)
        return [y, *((row * (k + 1.0)) for k, row in enumerate(mg.unstack(x)))]

    fast = capture(f)
    for _ in range(2):
        for got, want in zip(fast(x), f(mg.tensor(x)), strict=True):
            np.testing.assert_allclose(got.data, want.data, rtol=1e-14)
    assert len(of("exp", fast.optimized)) == 3
    assert len(of("multiply", fast.optimized)) == 3 + 4


def test_random_programs_change_by_rounding_alone():
    changed = 0
    for seed in range(90):
        program = draw_program(np.random.default_rng((13, seed)))
        leaves = program.leaves()
        traced = [mg.tensor(x, requires_grad=True) for x in leaves]

        def f(*xs, program=program):
            y, pull = mg.vjp(lambda *xs: sum(program(*xs) * k for k in (1.0, 2.0, 3.0)), *xs)
            return y, pull(mg.tensor(np.ones(y.shape, y.dtype)))

        try:
            recorded, result, _ = record(f, tuple(traced), {}, traced)
        except mg.errors.DomainError:
            continue
        exact, fast = run_passes(recorded, EXACT), run_passes(recorded, FAST)
        changed += len(exact.steps) != len(fast.steps)
        replay = Replay(fast, exact=False, poison=True)
        for _ in range(2):
            for got, want in zip(replay.run(*leaves), flatten(result)[0], strict=True):
                scale = np.max(np.abs(want.data), initial=1e-300)
                np.testing.assert_allclose(got, want.data, rtol=1e-9, atol=1e-9 * scale)
    assert changed > 5


def test_steps_come_in_an_order_that_works():
    x = mg.tensor(np.ones(2), requires_grad=True)
    program, _, _ = record(lambda x: mg.exp(mg.sin(x)), (x,), {}, [x])
    made = Writer(program).made
    sin, exp = program.steps
    assert in_order([exp, sin], made) == [sin, exp]
    circle = Step(OPS["sin"], (exp.output,), {}, sin.output)
    with pytest.raises(ValueError, match="need each other"):
        in_order([circle, exp], made | {sin.output: circle})


def test_a_stage_written_in_numpy_is_laid_open_and_shared_with_its_rule(rng):
    def f(x):
        return mg.value_and_grad(lambda x: mg.sum(mg.layer_norm(x, axis=0) ** 3))(x)

    x = rng.normal(size=(5, 4))
    captured = capture(f, exact=True)
    for _ in range(2):
        for got, want in zip(captured(x), f(mg.tensor(x)), strict=True):
            assert got.data.tobytes() == want.data.tobytes()
    assert of("standardize", captured.program)
    assert not of("standardize", captured.optimized)
    # of x, of its square, and in the rule two more; without sharing there would be six
    assert len(of("mean", captured.optimized)) == 4


def test_a_stage_that_asks_for_a_value_stays_closed(user_op):
    odd = user_op("odd_sign", lambda x, /: np.exp(x) if x.sum() > 0 else np.exp(-x), lambda g, y, x: g)
    captured = capture(lambda x: odd(x))
    for x in (np.ones(2), -np.ones(2), np.ones(2)):
        assert captured(x).data.tolist() == odd(mg.tensor(x)).data.tolist()
    assert [s.op.name for s in captured.optimized.steps] == ["odd_sign"]


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.name in BUILT_IN and op.into is None], ids=lambda op: op.name)
def test_what_a_stage_is_made_of_holds_for_other_numbers(op, rng):
    """No value of the recording may be frozen in what a stage is laid open to."""
    with np.errstate(all="ignore"):
        for inputs, params in draw_samples(op, rng):
            if any(isinstance(v, np.random.Generator) for v in params.values()) or not inputs:
                continue
            other = [np.flip(x).copy() if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in inputs]
            captured = capture(lambda *xs, params=params: apply(op, xs, params), exact=True)
            try:
                wants = [op.forward(*xs, **params) for xs in (inputs, other)]
                captured(*inputs)
            except (mg.MinigradError, np.linalg.LinAlgError, ValueError):  # what some op minds, eager too
                continue
            for xs, want in zip((inputs, other), wants, strict=True):
                for a, b in zip(flatten(captured(*xs))[0], want if type(want) is tuple else (want,), strict=True):
                    assert np.asarray(a.data).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("f", [
    lambda x, y: (mg.tanh(x[:2]), mg.tanh(y[:2])),
    lambda x, y: x @ x.T + (y @ y.T) + (y[::-1] @ y.T) + y @ y[::-1].T + x @ x.T,
    lambda x, y: x.reshape(12) + y.reshape(12) + y[::-1].reshape(12) + x[::-1].reshape(12),
    lambda x, y: (x @ mg.ones((4, 20), dtype=np.float32), y @ mg.ones((4, 20), dtype=np.float32)),
    lambda x, y: sum(mg.sum(mg.square(a @ np.ones((4, 3), np.float32))) for a in (x, y, x * 2, y * 3)),
])
def test_dtypes_stay_apart(rng, f):
    x, y = rng.normal(size=(3, 4)).astype("f4"), rng.normal(size=(3, 4))
    fast = capture(f)
    for _ in range(2):
        for a, b in zip(flatten(fast(x, y))[0], flatten(f(mg.tensor(x), mg.tensor(y)))[0], strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a.data, b.data, rtol=1e-6 if b.dtype == np.float32 else 1e-7)


@pytest.mark.parametrize(("f", "xs"), [
    (lambda x: [mg.tanh(x[k]) for k in range(4)], np.ones((4, 3, 0))),
    (lambda x: [x[k] @ np.ones((5, 20)) for k in range(4)], np.ones((4, 0, 5))),
    (lambda x: (x[0:2] * np.array(1.0), x[2:4] * np.array(1 + 4e-9)), np.ones(4)),
])
def test_nothing_and_almost_the_same_stay_what_they_are(f, xs):
    fast = capture(f)
    for _ in range(2):
        for a, b in zip(fast(xs), f(mg.tensor(xs)), strict=True):
            assert a.data.tobytes() == b.data.tobytes()


def test_a_user_s_forward_may_read_what_it_likes(user_op):
    odd = user_op("odd_peak", lambda x, /: np.exp(x) * np.max(np.asarray(x)), lambda g, y, x: g * y)
    captured = capture(lambda x: odd(x), exact=True)
    for x in (np.array([1.0, 2.0]), np.array([5.0, -2.0])):
        assert captured(x).data.tobytes() == odd(mg.tensor(x)).data.tobytes()


@pytest.mark.parametrize("transform", [mg.jacobian, mg.hessian])
def test_a_jacobian_inside_is_replayed(rng, transform):
    def f(x):
        return transform(lambda x: mg.tanh(x) * x[0] if transform is mg.jacobian else mg.sum(mg.tanh(x) ** 2))(x)

    captured = capture(f, exact=True)
    for _ in range(3):
        x = rng.normal(size=3)
        np.testing.assert_allclose(captured(x).data, f(mg.tensor(x)).data, rtol=1e-14)


@pytest.mark.parametrize("shape", [(), (0, 3), (3, 0)])
def test_a_stage_of_nothing_or_of_one_number_has_no_rows(shape):
    x, y = (Value(k, np.ones(shape)) for k in range(2))
    assert not stages._rows_alike(Step(OPS["exp"], (x,), {}, y))
