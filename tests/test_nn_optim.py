"""Modules and their parameters; optimisers against PyTorch's, digit for digit."""

from collections import namedtuple

import numpy as np
import pytest

import minigrad as mg
from minigrad.nn import Embedding, Linear, Module, Parameter
from minigrad.optim import SGD, Adam, AdamW, clip_grad_norm

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
    before = {name: p.data for name, p in net.named_parameters().items()}
    state = {name: array + 1 for name, array in net.state.items()}
    change(state)
    with pytest.raises(ValueError, match=message):
        net.state = state
    assert all(p.data is before[name] for name, p in net.named_parameters().items())


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
]


@pytest.mark.parametrize(("kind", "options"), OPTIMISERS, ids=[f"{k} {sorted(o)}" for k, o in OPTIMISERS])
def test_optimiser_agrees_with_torch(torch, kind, options):
    """100 steps; the second parameter has no gradient in some of them, the first one included."""
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=(3, 2)), rng.normal(size=4), np.asarray(rng.normal())]
    ours = [mg.tensor(s, requires_grad=True) for s in starts]
    theirs = [torch.tensor(s, requires_grad=True) for s in starts]
    a = {"SGD": SGD, "Adam": Adam, "AdamW": AdamW}[kind](ours, **options)
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
    cls = {"SGD": SGD, "Adam": Adam, "AdamW": AdamW}[kind]

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
    for cls in (SGD, Adam, AdamW):
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
    (lambda w: Adam([w], lr=float("nan")), "Adam: lr=nan"), (lambda w: SGD([w], nesterov=True), "nesterov=True; momentum"),
])  # fmt: skip
def test_impossible_settings(call, message):
    with pytest.raises(mg.errors.ArgumentError, match=message):
        call(mg.tensor(1.0, requires_grad=True))
