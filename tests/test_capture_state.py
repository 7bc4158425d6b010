"""Capture of what a function reads and replaces: parameters, gradients, buffers, an optimiser's memory."""

import pickle
import signal
import weakref

import numpy as np
import pytest

import minigrad as mg
from minigrad.mode import get_mode
from minigrad.optim import SGD, Adagrad, Adam, AdamW, RMSprop, clip_grad_norm, clip_grad_value
from models import LSTM

OPTIMISERS = [
    (SGD, {"lr": 0.05}),
    (SGD, {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    (SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "maximize": True}),
    (Adam, {"lr": 0.02, "weight_decay": 0.1}),
    (Adam, {"lr": 0.02, "amsgrad": True, "betas": (0.5, 0.9)}),
    (AdamW, {"lr": 0.02, "weight_decay": 0.3}),
    (RMSprop, {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}),
    (RMSprop, {"lr": 0.02, "centered": True, "alpha": 0.9, "maximize": True}),
    (Adagrad, {"lr": 0.05, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.1}),
]


class Task:
    """A network, its optimiser, and a step that uses both."""

    def __init__(self, kind=Adam, options=None, dtype=np.float64, seed=3, norm_type=2.0):
        self.net = LSTM(3, 4, layers=2, dtype=dtype, rng=np.random.default_rng(seed))
        self.optimizer = kind(self.net.parameters(), **(options or {"lr": 0.02}))
        self.norm_type = norm_type
        self.runs = 0

    def step(self, x, target, state):
        self.runs += 1
        y, (a, c) = self.net(x, state)
        loss = mg.squared_error(y, target)
        self.optimizer.zero_grad()
        loss.backward()
        norm = clip_grad_norm(self.optimizer.params, 0.5, self.norm_type)
        self.optimizer.step()
        return loss, norm, (a.detach(), c.detach())

    def bits(self):
        state = self.optimizer.state
        memory = [a.tobytes() for name in sorted(state["memory"]) for a in state["memory"][name]]
        return [a.tobytes() for a in self.net.state.values()], memory, state["steps"], state["lr"]


def data(k, dtype=np.float64):
    rng = np.random.default_rng((5, k))
    return rng.normal(size=(4, 2, 3)).astype(dtype), rng.normal(size=(4, 2, 4)).astype(dtype)


def run(task, step, count, state=None, start=0, dtype=np.float64):
    """Some steps; losses and norms, and the state at the end."""
    seen = []
    state = (np.zeros((2, 2, 4), dtype),) * 2 if state is None else state
    for k in range(start, start + count):
        task.optimizer.lr = 0.02 / (1 + k)  # a schedule
        loss, norm, state = step(*data(k, dtype), state)
        seen.append((float(loss.item()), float(norm if isinstance(norm, float) else norm.item())))
    return seen, state


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("kind", "options"), OPTIMISERS, ids=[f"{k.__name__} {sorted(o)}" for k, o in OPTIMISERS])
def test_a_captured_training_is_the_eager_one_bit_for_bit(kind, options, dtype):
    eager, replayed = Task(kind, options, dtype), Task(kind, options, dtype)
    captured = mg.capture(replayed.step, exact=True)
    for start in (0, 3, 6):
        assert run(eager, eager.step, 3, start=start, dtype=dtype)[0] == run(replayed, captured, 3, start=start, dtype=dtype)[0]
        assert eager.bits() == replayed.bits()
    for p, q in zip(eager.net.parameters(), replayed.net.parameters(), strict=True):
        assert p.grad.data.tobytes() == q.grad.data.tobytes()
    assert replayed.runs <= 2  # the second for gradients that lie there before the call


@pytest.mark.parametrize("norm_type", [1.0, np.inf])
def test_other_norms_and_clipped_values_are_replayed(norm_type):
    eager, replayed = Task(norm_type=norm_type), Task(norm_type=norm_type)
    assert run(eager, eager.step, 4)[0] == run(replayed, mg.capture(replayed.step, exact=True), 4)[0]
    assert eager.bits() == replayed.bits()
    w = mg.tensor(np.array([1.0, -3.0]), requires_grad=True)

    def clipped(x):
        w.grad = None
        mg.sum(w * x).backward()
        clip_grad_value(w, 0.5)

    captured = mg.capture(clipped)
    for k in range(3):
        captured(np.array([0.1, 7.0]) * (k - 1))
        assert w.grad.data.tolist() == [0.1 * (k - 1), np.clip(7.0 * (k - 1), -0.5, 0.5)]


def test_a_norm_that_is_not_finite_leaves_the_gradients_alone():
    w = mg.tensor(np.ones(2), requires_grad=True)

    def norm(x):
        w.grad = None
        mg.sum(w * x).backward()
        return clip_grad_norm([w], 1.0)

    captured = mg.capture(norm)
    for x, length, grad in (([3.0, 4.0], 5.0, [0.6, 0.8]), ([0.3, 0.4], 0.5, [0.3, 0.4]), ([np.inf, 1.0], np.inf, [np.inf, 1.0])):
        assert captured(np.array(x)).item() == pytest.approx(length)
        np.testing.assert_allclose(w.grad.data, grad, rtol=1e-5)


def test_the_fast_passes_train_to_the_same_within_rounding():
    eager, fast = Task(), Task()
    a, _ = run(eager, eager.step, 20)
    b, _ = run(fast, mg.capture(fast.step), 20)
    np.testing.assert_allclose(a, b, rtol=1e-9)
    for p, q in zip(eager.net.parameters(), fast.net.parameters(), strict=True):
        np.testing.assert_allclose(p.data, q.data, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("stop", [0, 1, 2, 5])
def test_a_captured_training_goes_on_from_its_state_to_the_byte(stop, tmp_path):
    whole = Task()
    run(whole, mg.capture(whole.step), 8)
    first = Task()
    _, state = run(first, mg.capture(first.step), stop)
    mg.save(tmp_path / "saved", {"net": first.net.state, "optimizer": first.optimizer.state, "state": list(state)})
    saved, _ = mg.load(tmp_path / "saved")
    second = Task(seed=9)
    captured = mg.capture(second.step)
    run(second, captured, 2)  # what it has captured before does not matter
    second.net.state, second.optimizer.state = saved["net"], saved["optimizer"]
    run(second, captured, 8 - stop, state=tuple(saved["state"]), start=stop)
    assert second.bits() == whole.bits()


def test_parameters_without_a_gradient_and_several_steps_in_one_call():
    def task():
        a, b = (mg.tensor(np.arange(3.0) + k, requires_grad=True) for k in range(2))
        return a, b, SGD([a, b], lr=0.1, momentum=0.9, dampening=0.5)

    def f(a, b, optimizer, x):
        for k in range(3):
            optimizer.zero_grad()
            loss = mg.sum((a * x) ** 2) + (mg.sum(b * x * a) if k == 1 else 0.0)
            loss.backward()
            optimizer.step()
        return loss

    one, two = task(), task()
    captured = mg.capture(lambda x: f(*two, x), exact=True)
    for k in range(4):
        x = np.array([0.5, -1.0, 0.1 * k])
        assert f(*one, mg.tensor(x)).data.tobytes() == captured(x).data.tobytes()
        for p, q in zip(one[:2], two[:2], strict=True):
            assert p.data.tobytes() == q.data.tobytes()
            assert (p.grad is None) == (q.grad is None)
        assert one[2].state["steps"] == two[2].state["steps"] == [3 * (k + 1), k + 1]


def test_gradients_add_up_over_calls_and_the_optimiser_may_be_captured_alone():
    w = mg.tensor(np.ones(3), requires_grad=True)
    captured = mg.capture(lambda x: mg.sum(w * x).backward())
    optimizer = Adam([w], lr=0.1)
    step = mg.capture(optimizer.step)
    other = mg.tensor(np.ones(3), requires_grad=True)
    eager = Adam([other], lr=0.1)
    for k in range(4):
        w.grad = other.grad = None
        for x in (np.arange(3.0), np.full(3, k - 1.5)):
            captured(x)
            mg.sum(other * x).backward()
        assert w.grad.data.tobytes() == other.grad.data.tobytes()
        step()
        eager.step()
        assert w.data.tobytes() == other.data.tobytes()
    assert sum(map(len, captured.known.values())) == 2  # with a gradient before, and without


def test_a_leaf_among_the_arguments_is_that_leaf():
    def f(net, w, optimizer):
        optimizer.zero_grad()
        w.grad = None
        loss = mg.sum((net(np.eye(2)) * w) ** 2)
        loss.backward()
        optimizer.step()
        w.data = w.detach() - 0.1 * w.grad
        return loss

    made = []
    for capturing in (False, True):
        net = mg.nn.Linear(2, 2, dtype=np.float64, rng=np.random.default_rng(0))
        optimizer = Adam(net.parameters(), lr=0.1)
        step = (lambda net, w, o=optimizer: f(net, w, o))  # noqa: E731
        step = mg.capture(step, exact=True) if capturing else step
        ws = [mg.tensor(np.array([1.0, k]), requires_grad=True) for k in range(3)]
        losses = [step(net, w).item() for w in ws for _ in range(2)]
        made.append((losses, [(w.data.tolist(), w.grad.data.tolist()) for w in ws], [p.data.tolist() for p in net.parameters()]))
    assert made[0] == made[1]
    assert len(step.known) == 1


def test_a_leaf_that_is_given_twice_is_one():
    captured = mg.capture(lambda a, b: mg.sum(a * b * b).backward())
    for shared in (True, False, True):
        a, b = (mg.tensor(np.full(2, v), requires_grad=True) for v in (2.0, 3.0))
        b = a if shared else b
        captured(a, b)
        assert a.grad.data.tolist() == ([12.0] * 2 if shared else [9.0] * 2)
        assert b.grad.data.tolist() == [12.0] * 2


def test_settings_that_change_are_seen():
    w = mg.tensor(np.ones(2), requires_grad=True)
    optimizer = SGD([w], lr=1.0, momentum=0.5)
    drop = mg.nn.Dropout(0.5, rng=np.random.default_rng(0))

    def f(x):
        w.grad = None
        mg.sum(w * drop(x)).backward()
        optimizer.step()
        return w.grad

    captured = mg.capture(f)
    masks = {captured(np.ones(2)).data.tobytes() for _ in range(20)}
    assert len(masks) == 4  # drawn anew
    drop.eval()
    optimizer.momentum = 0.0
    before = w.data
    for _ in range(2):
        assert captured(np.ones(2)).data.tolist() == [1.0, 1.0]
    np.testing.assert_array_equal(w.data, before - 2.0)
    drop.train()
    assert len({captured(np.ones(2)).data.tobytes() for _ in range(20)}) == 4


def test_running_statistics_are_kept_in_a_capture():
    made = []
    for capturing in (False, True):
        net = mg.nn.Sequential(mg.nn.BatchNorm1d(3, dtype=np.float64), mg.nn.Linear(3, 1, dtype=np.float64, rng=np.random.default_rng(0)))
        optimizer = SGD(net.parameters(), lr=0.1)

        def f(x, net=net, optimizer=optimizer):
            net.zero_grad()
            loss = mg.mean(net(x) ** 2)
            loss.backward()
            optimizer.step()
            return loss

        step, rng = mg.capture(f, exact=True) if capturing else f, np.random.default_rng(1)
        losses = [step(rng.normal(size=(5, 3)) + 2).item() for _ in range(5)]
        made.append((losses, {name: a.tobytes() for name, a in net.state.items()}))
        evaluated = mg.capture(lambda x, net=net: net(x))
        x = rng.normal(size=(2, 3))
        evaluated(x)
        net.eval()
        for _ in range(2):
            np.testing.assert_allclose(evaluated(x).data, net(x).data)
    assert made[0] == made[1]


def test_a_buffer_is_the_users_own_state_too():
    count, shadow = mg.nn.Buffer(np.array(0)), mg.nn.Buffer(np.zeros(2))
    w = mg.tensor(np.array([1.0, 2.0]), requires_grad=True)

    def f():
        count.data = count + 1
        shadow.data = 0.5 * shadow + 0.5 * w.detach()
        return shadow * 1.0 + count

    captured = mg.capture(f)
    first = captured()
    kept = shadow.data
    assert captured().data.tolist() == [2.75, 3.5]
    assert (first.data.tolist(), kept.tolist(), count.item()) == ([1.5, 2.0], [0.5, 1.0], 2)
    w.data = np.zeros(2)
    shadow.data = np.ones(2)
    assert captured().data.tolist() == [3.5, 3.5]
    assert sum(line.startswith("unnamed.data <- %") for line in str(captured.program).splitlines()) == 2


@pytest.mark.parametrize("attribute", ["data", "grad"])
def test_an_array_from_outside_the_graph_is_refused_and_nothing_is_left(attribute):
    w = mg.tensor(np.ones(2), requires_grad=True)
    optimizer = SGD([w], lr=0.1, momentum=0.5)

    def f(x):
        mg.sum(w * x).backward()
        optimizer.step()
        setattr(w, attribute, mg.tensor(np.zeros(2)))

    with pytest.raises(mg.errors.ModeError, match=r"computed outside the graph.*replay would not compute it again.*tensors"):
        mg.capture(f)(np.ones(2))
    assert (w.data.tolist(), w.grad, optimizer.state["steps"]) == ([1.0, 1.0], None, [0])
    assert not any(np.any(a) for a in optimizer.state["memory"]["velocity"])
    with pytest.raises(mg.errors.ModeError, match=r"lr: it is assigned inside a captured function.*before the call"):
        mg.capture(lambda: setattr(optimizer, "lr", 0.5))()


def test_verify_takes_one_step():
    one, two = Task(), Task()
    run(one, mg.capture(one.step), 3)
    run(two, mg.capture(two.step, verify=True), 3)
    assert one.bits() == two.bits()


def test_what_a_call_left_is_not_overwritten_by_the_next():
    task = Task()
    captured = mg.capture(task.step)
    run(task, captured, 2)
    p = task.net.parameters()[0]
    y = mg.sum(p * p)  # a graph of before the call
    held = [a for t in task.net.parameters() for a in (t.data, t.grad.data)]
    held += [b.data for buffers in task.optimizer.memory.values() for b in buffers]
    kept = [a.copy() for a in held]
    before = p.data
    run(task, captured, 2)
    for a, b in zip(held, kept, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not a.flags.writeable
    now = [t.data for t in task.net.parameters()]
    assert not any(np.shares_memory(a, b) for a in now for b in (*captured._newest().replayed.buffers, *held))
    p.grad = None
    y.backward()
    np.testing.assert_array_equal(p.grad.data, 2 * before)


def test_an_exception_in_the_middle_of_a_replay_leaves_everything_as_it_was(user_op):
    fail = [None]

    def forward(x, /):
        if fail[0] is not None:
            raise fail[0]
        return x * 1.0

    op = user_op("fragile", forward, lambda g, y, x: g)
    w = mg.tensor(np.ones(2), requires_grad=True)
    optimizer = Adam([w], lr=0.1)

    def f(x):
        w.grad = None
        mg.sum(w * x).backward()
        optimizer.step()
        return op(w.detach())  # after the step

    captured = mg.capture(f)
    captured(np.ones(2)), captured(np.ones(2))
    before = w.data, w.grad, optimizer.state
    for fail[0] in (KeyboardInterrupt(), ValueError("x")):
        with pytest.raises(type(fail[0])):
            captured(np.ones(2))
        assert w.data is before[0]
        assert w.grad is before[1]
        assert optimizer.state["steps"] == before[2]["steps"]
        assert all(a is b for a, b in zip(optimizer.state["memory"]["first"], before[2]["memory"]["first"], strict=True))
    fail[0] = None
    captured(np.ones(2))
    assert optimizer.state["steps"] == [3]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer that interrupts")
def test_ctrl_c_at_any_moment_leaves_a_whole_step_or_none():
    ws = [mg.tensor(np.zeros(3), requires_grad=True) for _ in range(40)]
    optimizer = SGD(ws, lr=1.0)

    def f(x):
        optimizer.zero_grad()
        mg.sum(mg.stack(ws) * x).backward()
        optimizer.step()

    captured = mg.capture(f)
    captured(np.ones(3)), captured(np.ones(3))
    usual = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        stopped = 0
        for k in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-5 + k * 3e-6)
                for _ in range(5):
                    captured(np.ones(3))
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                stopped += 1
            assert {w.data[0] for w in ws} == {-float(n) for n in optimizer.state["steps"]}
        assert stopped > 50
        assert get_mode().record is None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)


def test_an_optimiser_is_pickled_with_its_parameters():
    task = Task(SGD, {"lr": 0.1, "momentum": 0.9})
    run(task, mg.capture(task.step), 2)
    again = pickle.loads(pickle.dumps(task))
    assert again.bits() == task.bits()
    assert run(again, mg.capture(again.step), 2, start=2)[0] == run(task, mg.capture(task.step), 2, start=2)[0]
    assert again.bits() == task.bits()


def test_what_was_recorded_is_let_go_of():
    kept = []

    def f(x):
        y = mg.tanh(x) * 2.0
        kept.append(weakref.ref(y._node))
        return [y, (y * y,)]

    captured = mg.capture(f)
    captured(np.ones((3, 4)))
    assert kept[0]() is None
    for program in (captured.program, captured.optimized):
        for step in program.steps:
            assert step.output.like.shape == (3, 4)
            assert not any(step.output.like.strides)


def test_detached_values_and_copies_go_on_in_a_capture():
    captured = mg.capture(lambda x: (x.detach() * 2, mg.tensor(x * 1.0), mg.tensor(x, dtype=np.float32)))
    for x in (np.ones(2), np.array([3.0, 4.0])):
        assert [t.data.tolist() for t in captured(x)] == [(x * 2).tolist(), x.tolist(), x.tolist()]
