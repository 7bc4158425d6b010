"""Modules and their parameters; optimisers against PyTorch's, digit for digit."""

from collections import namedtuple

import numpy as np
import pytest

import minigrad as mg
from minigrad.nn import Embedding, Linear, Module, Parameter
from minigrad.optim import SGD, Adam, AdamW, RMSprop, clip_grad_norm

Pair = namedtuple("Pair", "left right")


class Net(Module):
    def __init__(self):
        rng = np.random.default_rng(0)
        self.first = Linear(3, 4, dtype=np.float64, rng=rng)
        self.rest = [Linear(4, 4, dtype=np.float64, rng=rng), (Linear(4, 2, bias=False, dtype=np.float64, rng=rng),)]
        self.table = {"scale": Parameter(np.ones(2)), "fixed": mg.tensor(np.ones(2))}
        self.pair = Pair(Parameter(np.array(1.5)), "not a parameter")

    def forward(self, x):
        x = mg.tanh(self.rest[0](mg.tanh(self.first(x))))
        return self.rest[1][0](x) * self.table["scale"] * self.table["fixed"] * self.pair.left


NAMES = ["first.weight", "first.bias", "rest.0.weight", "rest.0.bias", "rest.1.0.weight", "table.scale", "pair.0"]
X = np.arange(6.0).reshape(2, 3) / 5


def test_parameters_by_dotted_name():
    net = Net()
    assert list(net.named_parameters()) == NAMES
    assert all(a is b for a, b in zip(net.parameters(), net.named_parameters().values(), strict=True))
    assert len(list(net.modules())) == 4


def test_training_and_evaluation_reach_the_whole_tree():
    net = Net()
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    net.train()
    assert all(m.training for m in net.modules())


def test_zero_grad():
    net = Net()
    mg.sum(net(X)).backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_state_round_trip():
    a, b = Net(), Net()
    for p in a.parameters():
        p.data = p.data + 1.0
    b.state = a.state
    np.testing.assert_array_equal(a(X).data, b(X).data)
    assert not any(np.shares_memory(p.data, q.data) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    b.state = {name: array.astype(np.float32) for name, array in a.state.items()}
    assert all(p.dtype == np.float64 for p in b.parameters())


@pytest.mark.parametrize(("change", "message"), [
    (lambda s: s.pop("first.bias"), r"missing 'first.bias'"),
    (lambda s: s.update(extra=np.ones(2)), r"unknown 'extra'"),
    (lambda s: s.update({"pair.0": np.ones(2)}), r"'pair.0' is float64 of shape \(2,\), needs float64 of shape \(\)"),
    (lambda s: s.update({"pair.0": np.array("a")}), r"'pair.0' is <U1 of shape \(\)"),
    (lambda s: s.update({"pair.0": np.array(1j)}), r"'pair.0' is complex128"),
    (lambda s: (s.pop("first.bias"), s.update(extra=1)), r"missing 'first.bias'; unknown 'extra'; nothing was loaded"),
])  # fmt: skip
def test_state_is_loaded_whole_or_not_at_all(change, message):
    net = Net()
    before = {name: p._node for name, p in net.named_parameters().items()}
    state = {name: array + 1 for name, array in net.state.items()}
    change(state)
    with pytest.raises(ValueError, match=message):
        net.state = state
    assert all(p._node is before[name] for name, p in net.named_parameters().items())


def test_state_of_a_replaced_parameter_is_not_loaded_in_part():
    net = Net()
    net.pair = Pair(net.pair.left * 2.0, None)
    before = net.first.weight.data
    with pytest.raises(ValueError, match=r"'pair.0' was computed"):
        net.state = {name: array + 1 for name, array in net.state.items()}
    assert net.first.weight.data is before


def test_a_replaced_parameter_is_differentiated():
    net, w = Net(), mg.tensor(np.full((4, 3), 0.1), requires_grad=True)
    net.first.weight = w * 2.0
    assert "first.weight" in net.named_parameters()
    mg.sum(net(X)).backward()
    with_leaf = Net()
    with_leaf.first.weight.data = np.full((4, 3), 0.2)
    mg.sum(with_leaf(X)).backward()
    np.testing.assert_allclose(w.grad.data, 2 * with_leaf.first.weight.grad.data, rtol=1e-14)


def test_with_parameters_makes_a_clone():
    net = Net()
    new = mg.tensor(np.array(3.0), requires_grad=True)
    clone = net.with_parameters({"pair.0": new})
    assert clone.pair.left is new
    assert isinstance(clone.pair, Pair)
    assert clone.first.weight is net.first.weight
    np.testing.assert_allclose(clone(X).data, 2 * net(X).data)


def test_a_shared_parameter_counts_once():
    net = Net()
    net.again = net.first
    assert list(net.named_parameters()) == NAMES
    w = net.first.weight
    before = w.numpy()
    mg.sum(w).backward()
    SGD(net.parameters(), lr=0.5).step()
    np.testing.assert_array_equal(w.data, before - 0.5)
    g = mg.grad(lambda m: mg.sum(m.first.weight * 2.0 + m.again.weight))(net)
    np.testing.assert_array_equal(g["first.weight"].data, np.full((4, 3), 3.0))


def test_the_tree_can_be_read():
    net = Net()
    net.me, net.act = net, [mg.relu]
    assert repr(net) == """\
Net, 47 parameters  table.scale (2,), table.fixed (2,), pair.0 ()
  first: Linear  weight (4, 3), bias (4,)
  rest.0: Linear  weight (4, 4), bias (4,)
  rest.1.0: Linear  weight (2, 4)
  act.0: relu"""
    assert net.num_parameters() == sum(p.size for p in net.parameters()) == 47
    assert list(net.named_modules()) == ["", "first", "rest.0", "rest.1.0"]
    assert repr(mg.nn.Sequential(mg.nn.Sequential(Linear(1, 1), mg.tanh))) == """\
Sequential, 2 parameters
  0: Sequential
    0: Linear  weight (1, 1), bias (1,)
    1: tanh"""


def test_a_module_without_forward_says_so():
    class Empty(Module):
        pass

    with pytest.raises(mg.errors.ArgumentError, match=r"^Empty: it is called and has no forward; class Empty: def forward"):
        Empty()(X)


def test_embedding_adds_rows_up():
    e = Embedding(4, 2, dtype=np.float64, rng=np.random.default_rng(0))
    e([[1, 1], [3, -1]]).backward(np.ones((2, 2, 2)))
    np.testing.assert_array_equal(e.weight.grad.data, [[0, 0], [2, 2], [0, 0], [2, 2]])
    with pytest.raises(mg.errors.ArgumentError, match="positive sizes"):
        Embedding(0, 2)


def test_linear_agrees_with_torch(torch):
    ours = Linear(3, 4, dtype=np.float64, rng=np.random.default_rng(1))
    theirs = torch.nn.Linear(3, 4, dtype=torch.float64)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(ours.weight.numpy()))
        theirs.bias.copy_(torch.tensor(ours.bias.numpy()))
    np.testing.assert_allclose(ours(X).data, theirs(torch.tensor(X)).detach().numpy(), rtol=1e-14)


# --- optimisers -----------------------------------------------------------------------------

OPTIMISERS = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.1, "nesterov": True}),
    ("SGD", {"lr": 0.05, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.02}),
    ("Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.02}),
    ("AdamW", {"lr": 0.02, "weight_decay": 0.3, "betas": (0.5, 0.9)}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {"lr": 0.02, "amsgrad": True, "betas": (0.5, 0.9)}),
    ("Adam", {"lr": 0.02, "maximize": True, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.02, "amsgrad": True, "maximize": True, "betas": (0.5, 0.6)}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.8, "eps": 1e-3, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "centered": True}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "centered": True, "momentum": 0.7, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9, "maximize": True}),
    ("Adagrad", {"lr": 0.05}),
    ("Adagrad", {"lr": 0.05, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.3, "eps": 1e-3}),
    ("Adagrad", {"lr": 0.05, "initial_accumulator_value": 0.1, "maximize": True}),
]


@pytest.mark.parametrize(("kind", "options"), OPTIMISERS, ids=[f"{k} {sorted(o)}" for k, o in OPTIMISERS])
def test_optimiser_agrees_with_torch(torch, kind, options):
    """100 steps; the second parameter has no gradient in some of them, the first one included."""
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=(3, 2)), rng.normal(size=4), np.asarray(rng.normal())]
    ours = [mg.tensor(s, requires_grad=True) for s in starts]
    theirs = [torch.tensor(s, requires_grad=True) for s in starts]
    a = getattr(mg.optim, kind)(ours, **options)
    b = getattr(torch.optim, kind)(theirs, **options)
    for step in range(100):
        a.zero_grad()
        b.zero_grad(set_to_none=True)
        for k, (p, q) in enumerate(zip(ours, theirs, strict=True)):
            if k == 1 and step % 3 == 0:
                continue
            g = rng.normal(size=p.shape)
            p.grad, q.grad = mg.tensor(g), torch.tensor(g)
        if step % 2:
            assert clip_grad_norm(ours, 1.0) == pytest.approx(
                float(torch.nn.utils.clip_grad_norm_(theirs, 1.0)), rel=1e-13)  # fmt: skip
        if step == 50:
            a.lr = b.param_groups[0]["lr"] = options["lr"] / 3
        a.step()
        b.step()
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("kind", "options"), OPTIMISERS, ids=[f"{k} {sorted(o)}" for k, o in OPTIMISERS])
def test_an_optimiser_goes_on_from_its_state_to_the_bit(kind, options):
    cls = getattr(mg.optim, kind)

    def steps(optimizer, w, n, start=0):
        for k in range(start, start + n):
            w.grad = mg.tensor(np.sin(w.data * (k + 1)))
            optimizer.step()

    whole = mg.tensor(np.arange(4.0), requires_grad=True)
    steps(cls([whole], **options), whole, 20)
    half = mg.tensor(np.arange(4.0), requires_grad=True)
    first = cls([half], **options)
    steps(first, half, 10)
    saved = first.state
    steps(first, mg.tensor(np.ones(4), requires_grad=True), 0)
    other = mg.tensor(half.data, requires_grad=True)
    second = cls([other], **{**options, "lr": 99.0})
    second.state = saved
    steps(second, other, 10, start=10)
    assert other.data.tobytes() == whole.data.tobytes()


def test_a_saved_state_does_not_change_with_the_optimiser():
    w = mg.tensor(np.ones(2), requires_grad=True)
    opt = Adam([w])
    w.grad = mg.tensor(np.ones(2))
    opt.step()
    saved = opt.state
    before = saved["memory"]["first"][0].copy()
    opt.step()
    np.testing.assert_array_equal(saved["memory"]["first"][0], before)
    with pytest.raises(ValueError, match="saved for other parameters"):
        Adam([mg.tensor(np.ones(3), requires_grad=True)]).state = saved


def test_steps_keep_the_dtype_and_skip_missing_gradients():
    for cls in (SGD, Adam, AdamW, RMSprop, mg.optim.Adagrad):
        w, idle = (mg.tensor(np.ones(2, np.float32), requires_grad=True) for _ in range(2))
        opt = cls([w, idle], lr=np.float64(0.1).item())
        w.grad = mg.tensor(np.ones(2, np.float32))
        before = idle.data
        opt.step()
        assert w.dtype == np.float32
        assert idle.data is before
        assert not w.data.flags.writeable


def test_clip_grad_norm():
    a, b = mg.tensor([3.0], requires_grad=True), mg.tensor([1.0], requires_grad=True)
    a.grad, b.grad = mg.tensor([3.0]), mg.tensor([4.0])
    assert clip_grad_norm([a, b], 10.0) == 5.0
    assert a.grad.item() == 3.0
    assert clip_grad_norm([a, b], 1.0) == 5.0
    assert np.hypot(a.grad.item(), b.grad.item()) == pytest.approx(1.0, rel=1e-5)
    a.grad = mg.tensor([np.inf])
    assert clip_grad_norm([a, b], 1.0) == np.inf
    assert b.grad.item() == pytest.approx(0.8, rel=1e-5)
    assert clip_grad_norm([mg.tensor([1.0], requires_grad=True)], 1.0) == 0.0


@pytest.mark.parametrize(("call", "message"), [
    (lambda w: SGD([]), "SGD: no parameters"), (lambda w: Adam([w], lr=-1.0), "Adam: lr=-1.0"),
    (lambda w: Adam([w], lr=float("nan")), "Adam: lr=nan"), (lambda w: RMSprop([w], alpha=1.0), "RMSprop: alpha=1.0"),
    (lambda w: mg.optim.Adagrad([w], lr_decay=-1), "Adagrad: lr_decay=-1"), (lambda w: SGD([w], nesterov=True), "nesterov=True; momentum"),
])  # fmt: skip
def test_impossible_settings(call, message):
    with pytest.raises(mg.errors.ArgumentError, match=message):
        call(mg.tensor(1.0, requires_grad=True))


def test_a_steady_gradient_has_no_negative_variance(rng):
    """Where rounding takes PyTorch's centered RMSprop to NaN."""
    w = mg.tensor(np.zeros(200), requires_grad=True)
    opt, steady = RMSprop([w], alpha=0.5, centered=True, eps=1e-3), rng.normal(size=200)
    for _ in range(200):
        w.grad = mg.tensor(steady)
        opt.step()
    assert np.isfinite(w.data).all()


# --- schedules of the learning rate ---------------------------------------------------------

schedules = mg.optim.lr_scheduler
SCHEDULES = [
    ("LambdaLR", {"lr_lambda": lambda epoch: 1 / (1 + epoch)}),
    ("ConstantLR", {"factor": 0.3, "total_iters": 7}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.1, "total_iters": 61}),
    ("PolynomialLR", {"total_iters": 70, "power": 1.7}),
    ("ExponentialLR", {"gamma": 0.97}),
    ("StepLR", {"step_size": 13, "gamma": 0.7}),
    ("MultiStepLR", {"milestones": [60, 5, 5, 30], "gamma": 0.5}),
    ("CosineAnnealingLR", {"T_max": 100}),
    ("CosineAnnealingLR", {"T_max": 17, "eta_min": 0.003}),
    ("CosineAnnealingWarmRestarts", {"T_0": 9, "eta_min": 0.003}),
    ("CosineAnnealingWarmRestarts", {"T_0": 6, "T_mult": 2}),
]
LEAF = mg.tensor(1.0, requires_grad=True)


def both(torch):
    """An optimizer of each kind, with the same rate."""
    return SGD([LEAF], lr=0.05), torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.05)


def follow(ours, theirs, a, b, steps=100, metrics=None):
    """Each takes its steps; the rates are the same before every one."""
    for k in range(steps):
        assert a.lr == pytest.approx(b.param_groups[0]["lr"], rel=1e-12, abs=1e-17), k
        b.step()
        for schedule in (ours, theirs):
            schedule.step(*([] if metrics is None else [metrics[k]]))


@pytest.mark.parametrize(("kind", "options"), SCHEDULES, ids=[f"{k} {list(o)}" for k, o in SCHEDULES])
def test_schedule_agrees_with_torch(torch, kind, options):
    a, b = both(torch)
    follow(getattr(schedules, kind)(a, **options), getattr(torch.optim.lr_scheduler, kind)(b, **options), a, b)


@pytest.mark.parametrize("options", [
    {}, {"mode": "max"}, {"factor": 0.5, "patience": 2, "cooldown": 3}, {"patience": 0, "min_lr": 0.004},
    {"patience": 1, "threshold": 0.3, "threshold_mode": "abs"}, {"patience": 1, "eps": 0.01},
    {"mode": "max", "patience": 3, "threshold": 0.2}, {"mode": "max", "patience": 1, "threshold_mode": "abs"},
], ids=str)  # fmt: skip
def test_reduce_on_plateau_agrees_with_torch(torch, options, rng):
    for metrics in (rng.normal(size=100), 3 + np.exp(-np.arange(100) / 9) * (1 + rng.normal(size=100)),
                    np.where(rng.random(100) < 0.1, np.nan, rng.normal(size=100))):  # fmt: skip
        a, b = both(torch)
        follow(schedules.ReduceLROnPlateau(a, **options), torch.optim.lr_scheduler.ReduceLROnPlateau(b, **options),
               a, b, metrics=metrics)  # fmt: skip
    assert options or a.lr < 0.05  # something happened


@pytest.mark.filterwarnings("ignore:.*epoch parameter")  # PyTorch's own, in its SequentialLR
def test_a_warm_up_and_what_follows_agree_with_torch(torch):
    a, b = both(torch)

    def warm_up(library, optimizer):
        return library.SequentialLR(optimizer, [
            library.LinearLR(optimizer, start_factor=0.1, total_iters=10),
            library.CosineAnnealingLR(optimizer, T_max=50, eta_min=0.001),
            library.ExponentialLR(optimizer, gamma=0.9)], milestones=[10, 60])  # fmt: skip

    follow(warm_up(schedules, a), warm_up(torch.optim.lr_scheduler, b), a, b)


@pytest.mark.parametrize("make", [lambda o: schedules.CosineAnnealingLR(o, 30),
                                  lambda o: schedules.ReduceLROnPlateau(o, patience=2)])  # fmt: skip
def test_a_schedule_goes_on_from_its_state(make, rng):
    figures = rng.normal(size=30)

    def rates(schedule, among):
        for k in among:
            schedule.step(*([figures[k]] if isinstance(schedule, schedules.ReduceLROnPlateau) else []))
            yield schedule.optimizer.lr

    whole, first, second = (make(SGD([LEAF], lr=lr)) for lr in (0.1, 0.1, 7.0))
    expected = list(rates(whole, range(30)))
    found = list(rates(first, range(12)))
    second.state = first.state
    assert found + list(rates(second, range(12, 30))) == expected
    assert len(set(expected)) > 2


@pytest.mark.parametrize(("call", "message"), [
    (lambda o: schedules.StepLR(o, 0), "StepLR: step_size=0; an integer, at least 1"),
    (lambda o: schedules.CosineAnnealingLR(o, 2.5), "CosineAnnealingLR: T_max=2.5"),
    (lambda o: schedules.ExponentialLR([LEAF], 0.9), "ExponentialLR: optimizer=.*; an Optimizer"),
    (lambda o: schedules.ReduceLROnPlateau(o, "least"), "mode='least'"),
    (lambda o: schedules.ReduceLROnPlateau(o, factor=1.0), "factor=1.0"),
    (lambda o: schedules.SequentialLR(o, [schedules.ExponentialLR(o, 0.9)], [3]), "1 schedulers and milestones"),
    (lambda o: schedules.SequentialLR(o, [schedules.ReduceLROnPlateau(o)], []), "a ReduceLROnPlateau; .*no metrics"),
    (lambda o: schedules.SequentialLR(o, [schedules.ConstantLR(SGD([LEAF]))], []), "of another optimizer"),
])  # fmt: skip
def test_impossible_schedules(call, message):
    with pytest.raises(mg.errors.ArgumentError, match=message):
        call(SGD([LEAF], lr=0.1))
