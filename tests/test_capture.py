"""Capture: recorded once, replayed to the same bits, and nothing frozen that should live."""

import gc
import re

import numpy as np
import pytest

import minigrad as mg
from minigrad import capture
from minigrad.capture.memory import aligned
from minigrad.capture.passes import EXACT, alive, folded, forwarded, shared
from minigrad.capture.recorder import record
from minigrad.capture.replay import Replay
from minigrad.op import OPS, draw_samples
from minigrad.testing.programs import draw_program
from minigrad.tree import flatten
from models import LSTM, LSTMCell


def same_bits(a, b):
    a, b = flatten(a)[0], flatten(b)[0]
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        x, y = (v.data if isinstance(v, mg.Tensor) else np.asarray(v) for v in (x, y))
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert x.tobytes() == y.tobytes()


@pytest.mark.parametrize("named", [False, True])
def test_a_training_step_of_the_lstm_is_replayed_to_the_same_bits(rng, named):
    lstm = LSTM(3, 4, layers=2, rng=rng)

    def step(model, x, target):
        return mg.value_and_grad(lambda m, x: mg.squared_error(m(x, named=named)[0], target))(model, x)

    captured = capture(step, exact=True)
    for _ in range(3):
        x, target = rng.normal(size=(5, 2, 3)).astype("f4"), rng.normal(size=(5, 2, 4)).astype("f4")
        same_bits(captured(lstm, x, target), step(lstm, x, target))
    assert len(captured.known) == 1
    assert len(captured.optimized.steps) < len(captured.program.steps)


def test_random_programs_are_replayed_to_the_same_bits_with_dead_buffers_spoiled():
    seen = 0
    for seed in range(400):
        program = draw_program(np.random.default_rng((11, seed)))
        leaves = program.leaves()

        def f(*xs, program=program):
            y, pull = mg.vjp(program, *xs)
            return y, pull(mg.tensor(np.ones(y.shape, y.dtype)))

        traced = [mg.tensor(x, requires_grad=True) for x in leaves]
        try:
            recorded, result, _ = record(f, tuple(traced), {}, traced)
        except mg.errors.DomainError:  # a loss that has no derivative
            continue
        want = [t.data for t in flatten(result)[0]]
        for each in EXACT:
            recorded = each(recorded)
        for replay in (Replay(recorded, poison=True), Replay(recorded)):
            for buffer in replay.buffers:
                buffer.fill(np.nan if buffer.dtype.kind == "f" else 1)
            for _ in range(2):  # the second time on buffers that hold the first one's numbers
                same_bits(list(replay.run(*leaves)), want)
            seen += len(replay.buffers)
    assert seen > 400


def test_parameters_are_read_at_each_call_and_gradients_left(rng):
    cell = LSTMCell(2, 3, dtype=np.float64, rng=rng)
    optimizer = mg.optim.SGD(cell.parameters(), lr=0.1)
    a0 = c0 = np.zeros((3, 2))

    def step(x):
        a, _ = cell(x, (a0, c0))
        loss = mg.sum(a * a)
        loss.backward()
        return loss

    captured = capture(step, exact=True)
    twin = LSTMCell(2, 3, dtype=np.float64)
    for _ in range(4):
        twin.state = cell.state
        x = rng.normal(size=(2, 2))
        optimizer.zero_grad()
        loss = captured(x)
        a, _ = twin(x, (a0, c0))
        want = mg.sum(a * a)
        want.backward()
        same_bits(loss, want)
        for p, q in zip(cell.parameters(), twin.parameters(), strict=True):
            same_bits(p.grad, q.grad)
            q.grad = None
        optimizer.step()
    assert len(captured.known) == 1


def test_random_masks_are_drawn_anew(rng):
    def f(x):
        return mg.dropout(x, 0.5, rng=rng)

    captured, x = capture(f), np.ones(40)
    drawn = [captured(x).data for _ in range(4)]
    assert len({d.tobytes() for d in drawn}) == 4
    rng.bit_generator.state = (state := rng.bit_generator.state)
    again = captured(x).data
    rng.bit_generator.state = state
    same_bits(again, f(mg.tensor(x)))


def test_normal_numbers_are_drawn_anew_and_once_more_by_a_checkpoint(rng):
    twin = np.random.default_rng()
    twin.bit_generator.state = rng.bit_generator.state
    captured = capture(lambda x: x + mg.normal((2, 3), dtype=np.float32, rng=rng))
    for _ in range(3):
        same_bits(captured(np.zeros((2, 3), "f")), twin.normal(size=(2, 3)).astype("f"))

    def noisy(x):
        return mg.sum(mg.checkpoint(lambda x: mg.square(x) * mg.normal(3, rng=rng))(x))

    twin.bit_generator.state = rng.bit_generator.state
    np.testing.assert_allclose(mg.grad(noisy)(np.arange(3.0)).data, 2 * np.arange(3) * twin.normal(size=3), rtol=1e-15)
    with pytest.raises(mg.errors.ArgumentError, match=r"^normal: rng=7; a numpy\.random\.Generator"):
        mg.normal(3, rng=7)
    with pytest.raises(mg.errors.DtypeError, match=r"^normal: dtype int64; a float dtype"):
        mg.normal(3, dtype=int, rng=rng)


def test_other_shapes_dtypes_layouts_and_numbers_are_recorded_anew():
    captured = capture(lambda x, k: np.sum(x * k, axis=0))
    for x in (np.ones((2, 3)), np.ones((3, 2)), np.ones((2, 3), "f4"), np.asfortranarray(np.ones((2, 3)))):
        for k in (2, 3, 2.0):
            same_bits(captured(x, k), np.sum(mg.tensor(x) * k, axis=0))
    assert len(captured.known) == 12
    captured(np.ones((2, 3)), 3)
    assert len(captured.known) == 12


def test_what_comes_out_is_nobodys_buffer():
    captured = capture(lambda x: (x, x.T, x + 1, (x + 1)[0]))
    x = np.arange(6.0).reshape(2, 3)
    captured(x)
    first = [t.data for t in captured(x)]
    kept = [a.copy() for a in first]
    captured(x * 100)
    same_bits(first, kept)
    assert not any(np.shares_memory(a, x) for a in first)


def test_a_branch_on_a_value_is_an_error():
    with pytest.raises(mg.errors.ModeError, match=r"a branch on a traced value.*mg\.where"):
        capture(lambda x: x if x > 0 else -x)(np.array(1.0))


def test_verify_finds_a_constant_that_changes(rng):
    with pytest.raises(mg.errors.ModeError, match=r"a constant of shape \(3,\) differs between two"):
        capture(lambda x: x * mg.tensor(rng.normal(size=3)), verify=True)(np.ones(3))
    drawn = iter([1, 2])
    with pytest.raises(mg.errors.ModeError, match="two recordings of the same call did different things"):
        capture(lambda x: mg.tanh(x) if next(drawn) == 1 else x, verify=True)(np.ones(3))
    same_bits(capture(lambda x: x * mg.tensor(np.arange(3.0)), verify=True)(np.ones(3)), np.arange(3.0))


def test_a_captured_function_inside_another_is_a_part_of_it():
    inner = capture(mg.tanh)
    outer = capture(lambda x: mg.grad(lambda x: mg.sum(inner(x) ** 2))(x))
    x = np.array([0.3, -1.0])
    for _ in range(2):
        same_bits(outer(x), mg.grad(lambda x: mg.sum(mg.tanh(x) ** 2))(x))


def test_a_transform_differentiates_through_a_captured_function():
    captured = capture(lambda x: mg.sum(mg.tanh(x) ** 3))
    x = np.array([0.3, -1.0, 2.0])
    captured(x), captured(x)
    for transform in (mg.grad, mg.hessian):
        want = transform(lambda x: mg.sum(mg.tanh(x) ** 3))(x)
        assert np.any(want.data)
        same_bits(transform(captured)(x), want)
    same_bits(mg.jvp(captured, (x,), (x,)), mg.jvp(captured.f, (x,), (x,)))


def test_a_modules_mode_belongs_to_the_signature_and_buffers_are_read_at_each_call(rng):
    class Net(mg.nn.Module):
        def __init__(self):
            self.weight = mg.nn.Parameter(np.ones(4))
            self.scale = mg.nn.Buffer(np.full(4, 2.0))

        def forward(self, x):
            return x * self.weight * self.scale * (1.0 if self.training else 10.0)

    net, x = Net(), rng.normal(size=4)
    captured = capture(lambda net, x: net(x))
    for change in (lambda: None, net.eval, lambda: setattr(net.scale, "data", np.full(4, 3.0)), net.train):
        change()
        for _ in range(2):
            same_bits(captured(net, x), net(x))
    assert len(captured.known) == 2


def test_what_a_replay_would_not_do_again_is_refused(rng):
    cell = LSTMCell(2, 3, dtype=np.float64, rng=rng)
    before = cell.state

    def step(x):
        a, _ = cell(x, (np.zeros((3, 1)), np.zeros((3, 1))))
        mg.sum(a * a).backward()
        for p in cell.parameters():
            p.data = p.data - 0.1 * p.grad.data

    with pytest.raises(mg.errors.ModeError, match=r"^\.data: the value of a tensor inside a captured function; a replay would not look again; .*p.detach\(\) - lr"):
        capture(step)(np.ones((2, 1)))
    same_bits(list(cell.state.values()), list(before.values()))
    assert all(p.grad is None for p in cell.parameters())


@pytest.mark.parametrize(("where", "look"), [
    (".data", lambda t: t.data), ("numpy()", lambda t: t.numpy()), ("item()", lambda t: t.item()),
    ("np.asarray", np.asarray), (".data", lambda t: mg.percentile(np.arange(3.0), t))])  # fmt: skip
def test_a_value_that_would_be_frozen_does_not_come_out(where, look):
    w, state = mg.tensor(2.0, requires_grad=True), mg.nn.Buffer(np.array(4.0))
    w.grad = mg.tensor(3.0)
    before = (w * 2).detach()
    for traced in (lambda x: x, lambda x: x * before, lambda x: w.detach(), lambda x: w.grad, lambda x: state):
        with pytest.raises(mg.errors.ModeError, match=rf"^{re.escape(where)}: the value of a tensor inside a captured function"):
            capture(lambda x, traced=traced: look(traced(x)) * x)(np.array(1.0))

    def known(x):  # and what does not change may
        assert (x.shape, x.dtype, x.ndim, len(repr(x)) > 0) == ((), np.float64, 0, True)
        return look(mg.tensor(5.0)) * look(before) * x

    assert capture(known)(np.array(1.5)).item() == known(mg.tensor(1.5)).item()


def test_numbers_that_choose_are_checked_at_each_replay():
    chosen = capture(lambda a, x, y: mg.choose(a, [x, y]))
    one, two = np.zeros(3), np.ones(3)
    assert chosen(np.array([0, 1, 1]), one, two).data.tolist() == [0, 1, 1]
    assert chosen(np.array([1, 0, 1]), one, two).data.tolist() == [1, 0, 1]
    for wrong in (-1, 2):
        with pytest.raises(mg.errors.IndexingError, match=f"choose: choice {wrong} of 2; 0 to 1"):
            chosen(np.array([1, wrong, 0]), one, two)


def test_the_program_can_be_read():
    W = mg.tensor(np.ones((2, 3)), requires_grad=True, name="W")
    captured = capture(lambda x: mg.tanh(W @ x).named("h").sum())
    with pytest.raises(mg.errors.ModeError, match="call the captured function once"):
        _ = captured.program
    captured(np.ones(3))
    assert str(captured.program) == """\
%0 <- argument 0  float64[3]
%1 <- parameter W  float64[2, 3]
%2 = matmul(%1, %0)  float64[2]
%3 = tanh(%2)  float64[2]  # h
%4 = sum(%3)  float64[]
return %4"""
    assert "def run(a0, a1):" in captured.source
    assert re.search(r"\(b\d+, out=b\d+\)  # %3 = tanh, float64\[2\]", captured.source)


def test_each_pass_does_one_thing():
    c = np.array([1.0, 2.0])
    x = mg.tensor(np.array([3.0, 4.0]), requires_grad=True)

    def f(x):
        twice = mg.exp(x) + mg.exp(x)
        mg.sin(x)
        return twice * mg.exp(mg.tensor(c)), mg.grad(lambda x: mg.sum(x * 1.0))(x)

    program, _, _ = record(f, (x,), {}, [x])

    def names(p):
        return [step.op.name for step in p.steps]

    assert "alias" in names(program)
    assert "alias" not in names(forwarded(program))
    assert names(program).count("exp") == 3
    assert names(shared(program)).count("exp") == 2
    assert names(folded(program)).count("exp") == 2
    assert "sin" in names(program)
    assert "sin" not in names(alive(program))


def test_a_replay_allocates_nothing_that_stays(rng):
    lstm = LSTM(3, 4, rng=rng)
    captured = capture(lambda m, x: mg.value_and_grad(lambda m: mg.sum(m(x)[0] ** 2))(m))
    x = rng.normal(size=(4, 2, 3)).astype("f4")
    captured(lstm, x)
    gc.collect()
    gc.disable()
    try:
        captured(lstm, x)
        before = len(gc.get_objects())
        for _ in range(50):
            captured(lstm, x)
        assert len(gc.get_objects()) - before < 20
    finally:
        gc.enable()


def test_an_op_may_hand_on_its_input_for_some_numbers(user_op, monkeypatch):
    """As `zero_law` does; what it handed on must not be overwritten, nor taken for a view."""
    monkeypatch.setattr(np, "empty_like", np.zeros_like)  # or what a buffer happens to hold decides
    odd = user_op("odd_ones", lambda x, /: np.where(x < 0, 0, x) if (x < 0).any() else x, lambda g, y, x: g)

    def f(x):
        y = odd(x + 1)
        z = mg.exp(mg.sin(x)) * mg.cos(x)
        return y * z

    some, none = np.array([-3.0, 1.0]), np.array([2.0, 1.0])
    for recorded, other in ((some, none), (none, some)):
        captured = capture(f)
        captured(recorded)
        same_bits(captured(other), f(mg.tensor(other)))
        assert any(v is odd.op.forward for v in captured._newest().replayed.space.values())  # asked anew each time


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.into is not None and op.into is not op.forward], ids=lambda op: op.name)
def test_what_is_written_into_an_array_has_the_same_bits(op, rng):
    seen = 0
    with np.errstate(all="ignore"):
        for inputs, params in draw_samples(op, rng):
            for dtype in (np.float64, np.float32):
                given = [x.astype(dtype) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in inputs]
                want = op.forward(*given, **params)
                if type(want) is np.ndarray:
                    out = np.full_like(want, 7)
                    op.into(*given, out=out, **params)
                    assert out.tobytes() == want.tobytes()
                    seen += 1
    assert seen


def test_the_zero_law_is_live():
    def f(x):
        return mg.grad(lambda x: mg.sum(mg.where(x > 0, mg.sqrt(x * 1.0), x)))(x)

    captured = capture(f)
    for x in ([1.0, 2.0], [0.0, 3.0], [4.0, 0.0]):
        same_bits(captured(np.array(x)), f(mg.tensor(x)))


def test_the_fast_passes_change_nothing_but_rounding(rng):
    lstm = LSTM(3, 4, layers=2, dtype=np.float64, rng=rng)

    def step(model, x, target):
        return mg.value_and_grad(lambda m: mg.squared_error(m(x)[0], target))(model)

    fast, exact = capture(step), capture(step, exact=True)
    for _ in range(2):
        x, target = rng.normal(size=(5, 2, 3)), rng.normal(size=(5, 2, 4))
        (a, da), (b, db) = fast(lstm, x, target), exact(lstm, x, target)
        np.testing.assert_allclose(a.data, b.data, rtol=1e-15)
        for name in db:
            np.testing.assert_allclose(da[name].data, db[name].data, rtol=1e-12, atol=1e-14)
    products = [sum(s.op.name == "matmul" for s in c.optimized.steps) for c in (fast, exact)]
    assert products[0] == products[1] - 2 * 4  # five products for each layer's weights became one


def test_a_parameter_that_is_given_and_read_from_elsewhere_is_two_things():
    b, d = mg.nn.Parameter(np.ones(3)), mg.nn.Parameter(np.full(3, 5.0))
    captured = capture(lambda w, x: w * b * x)
    for w in (b, d, b):
        same_bits(captured(w, np.ones(3)), w.data * b.data)


def test_zeros_of_either_sign_and_arrays_that_are_handed_out():
    captured = capture(lambda x, s: (mg.atan2(x * 0 + s, x), np.zeros(2)))
    for s in (0.0, -0.0):
        angle, zeros = captured(np.array([-1.0]), s)
        assert angle.item() == np.arctan2(s, -1.0)
        zeros[:] = 7
    assert captured(np.array([-1.0]), 0.0)[1].tolist() == [0, 0]


def test_buffers_begin_with_a_line_of_the_cache_in_the_layout_they_stand_for():
    for like in (np.zeros(3), np.zeros((5, 4), np.float32), np.zeros((5, 4)).T, np.zeros((0, 2)), np.zeros(())):
        buffer = aligned(like)
        assert (buffer.shape, buffer.dtype, buffer.strides) == (like.shape, like.dtype, np.empty_like(like).strides)
        assert buffer.ctypes.data % 64 == 0
        assert buffer.flags.writeable
