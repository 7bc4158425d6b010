"""The LSTM from ops against the hand derivation, the complex step and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.errors import MinigradError
from minigrad.graph import evaluate, named, stages
from minigrad.tensor import pull
from models import LSTM, LSTMCell, lstm_manual

N_X, N_A = 3, 4
NAMES = (*lstm_manual.WEIGHTS, *lstm_manual.BIASES)
PLACES = {"every step": lambda T, rng: np.ones(T), "last step": lambda T, rng: np.eye(T)[-1],
          "masked": lambda T, rng: np.concatenate([[1.0], rng.integers(0, 2, T - 1)])}


def problem(T, B, random_state, place, seed=0, n_x=N_X, n_a=N_A):
    """Parameters, arrays, and the weight of each step's Error."""
    rng = np.random.default_rng(seed)
    k = 1 / np.sqrt(n_a)
    params = {n: rng.uniform(-k, k, (n_a, n_a + n_x) if n[0] == "W" else n_a) for n in NAMES}
    state = rng.normal(size=(2, B, n_a)) if random_state else np.zeros((2, B, n_a))
    arrays = {**params, "a<0>": state[0], "c<0>": state[1], "x": rng.normal(size=(T, B, n_x))}
    target = rng.uniform(-1, 1, (T, B, n_a))
    return arrays, target, PLACES[place](T, rng)[:, None, None] * rng.uniform(0.5, 2, (T, 1, 1))


def engine(arrays, target, mask, named):
    """Leaves and the recorded Error of the LSTM from ops."""
    n_a, n_x = arrays["b_f"].size, arrays["x"].shape[2]
    lstm = LSTM(n_x, n_a, dtype=np.float64)
    lstm.cells[0].state = {n: arrays[n] for n in NAMES}
    leaves = {**lstm.cells[0].named_parameters(),
              **{n: mg.tensor(arrays[n], requires_grad=True) for n in ("a<0>", "c<0>", "x")}}
    outputs, _ = lstm(leaves["x"], (leaves["a<0>"], leaves["c<0>"]), named=named)
    return leaves, (mask * (0.5 * mg.square(target - outputs))).sum()


def by_hand(arrays, target, mask, batched=False):
    forward, backward = ((lstm_manual.forward_batched, lstm_manual.backward_batched) if batched
                         else (lstm_manual.forward, lstm_manual.backward))
    cache = forward({n: arrays[n] for n in NAMES}, arrays["x"], arrays["a<0>"], arrays["c<0>"])
    return backward(cache, mask * (cache["outputs"] - target))


def assert_agree(got, want, name, tolerance=1e-13, floor=None):
    scale = (np.abs(want).max() or 1.0) if floor is None else max(np.abs(want).max(), floor)
    assert got.shape == want.shape, name
    assert np.abs(got - want).max() <= tolerance * scale, (name, np.abs(got - want).max() / scale)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("random_state", [False, True], ids=["zero state", "random state"])
@pytest.mark.parametrize("B", [1, 3, N_A])
@pytest.mark.parametrize("T", [1, 2, 3, 10, 100])
def test_three_witnesses(T, B, random_state, place):
    arrays, target, mask = problem(T, B, random_state, place)
    hand = by_hand(arrays, target, mask)
    batched = by_hand(arrays, target, mask, batched=True)
    for names in (False, True):
        leaves, error = engine(arrays, target, mask, names)
        error.backward(retain_graph=True)
        for name, leaf in leaves.items():
            assert_agree(leaf.grad.numpy(), hand[name], name)
            assert_agree(batched[name], hand[name], name)
    rng = np.random.default_rng(1)
    for name, leaf in leaves.items():  # exact, and it knows no derivative
        for _ in range(2):
            v = rng.normal(size=leaf.shape)
            step = evaluate(error._node, {leaf._node: arrays[name] + 1e-30j * v}).imag / 1e-30
            got, size = np.vdot(hand[name], v), np.abs(hand[name] * v).sum()
            assert abs(step - got) <= 1e-13 * (size or 1.0), name


@settings(max_examples=40, deadline=None)
@given(T=st.integers(1, 6), B=st.integers(1, 5), n_x=st.integers(1, 5), n_a=st.integers(1, 5),
       place=st.sampled_from(sorted(PLACES)), random_state=st.booleans(), seed=st.integers(0, 99))
def test_any_size(T, B, n_x, n_a, place, random_state, seed):
    arrays, target, mask = problem(T, B, random_state, place, seed, n_x, n_a)
    hand = by_hand(arrays, target, mask)
    leaves, error = engine(arrays, target, mask, False)
    error.backward()
    for name, leaf in leaves.items():
        # a sum over few terms may cancel to almost nothing: hence the floor
        assert_agree(leaf.grad.numpy(), hand[name], name, floor=1.0)


def test_every_named_adjoint_is_the_hand_derivation():
    arrays, target, mask = problem(4, 3, True, "every step")
    hand = by_hand(arrays, target, mask)
    _, error = engine(arrays, target, mask, True)
    nodes = {n: node for n, node in named(error._node).items() if node.requires_grad}
    found = pull([error], [None], wanted=set(nodes.values()))
    per_step = [n for n in nodes if "<" in n and not n.endswith("<0>")]
    assert len(per_step) == 4 * 13
    for name in per_step:
        assert_agree(found[nodes[name]][0], hand[name], name)


@pytest.mark.parametrize(("B", "count"), [(None, 18), (3, 22)])
def test_s1_the_block_has_the_papers_stages(B, count):
    batch = () if B is None else (B,)
    a, _ = LSTMCell(N_X, N_A)(np.ones((N_X, *batch), "f"), (np.ones((N_A, *batch), "f"),) * 2, t=1)
    block = [node.op.name for node in stages(a._node)]
    gate = ["matmul", "reshape", "add"] if B else ["matmul", "add"]
    assert sorted(block) == sorted(["concat", *gate * 4, *["sigmoid"] * 3, "tanh",
                                    "multiply", "multiply", "add", "tanh", "multiply"])
    assert len(block) == count
    serials = [node.serial for node in stages(a._node)]
    assert serials == sorted(serials)


def test_names_exist_only_when_asked_for():
    lstm = LSTM(N_X, N_A, layers=2)
    x = np.ones((2, 3, N_X), "f")
    out, _ = lstm(x, named=True)
    assert {"layer1/c<2>", "layer0/Γ_f<1>", "layer0/a<0>", "layer1/c\u0303<1>"} <= set(named(out.sum()._node))
    quiet, _ = lstm(x)
    assert not [n for n in named(quiet.sum()._node) if "<" in n]
    np.testing.assert_allclose(quiet.numpy(), out.numpy(), rtol=2e-6, atol=1e-7)


def test_b1_zero_state_makes_exact_zeros():
    arrays, target, mask = problem(1, 2, False, "every step")
    leaves, error = engine(arrays, target, mask, True)
    error.backward()
    assert not leaves["W_f"].grad.numpy().any()
    assert not leaves["W_o"].grad.numpy()[:, :N_A].any()
    assert leaves["W_o"].grad.numpy()[:, N_A:].all()


def test_b2_trained_initial_state_is_shared_by_the_batch():
    lstm = LSTM(N_X, N_A, layers=2, initial="trained", dtype=np.float64, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(3, 5, N_X))
    (lstm(x)[0] ** 2).sum().backward()
    zeros = mg.tensor(np.zeros((2, 5, N_A)), requires_grad=True)
    (lstm(x, (zeros, zeros.detach()))[0] ** 2).sum().backward()
    np.testing.assert_allclose(lstm.a_0.grad.numpy(), zeros.grad.numpy().sum(axis=1), rtol=1e-12)


def test_b3_noisy_state_is_seeded_and_off_in_evaluation():
    def outputs(training, seed, noise=0.3):
        lstm = LSTM(N_X, N_A, initial="noisy", noise=noise, rng=np.random.default_rng(seed))
        lstm.train(training)
        return lstm(np.ones((2, 2, N_X), "f"))[0].numpy()

    assert (outputs(True, 0) == outputs(True, 0)).all()
    assert (outputs(True, 0) != outputs(False, 0)).any()
    assert (outputs(True, 0, noise=0.0) == outputs(False, 0)).all()


def test_b8_gradients_are_linear_in_the_error():
    arrays, target, mask = problem(3, 2, True, "every step")
    grads = []
    for factor in (1.0, 2.0):
        leaves, error = engine(arrays, target, factor * mask, False)
        error.backward()
        grads.append({n: leaf.grad.numpy() for n, leaf in leaves.items()})
    for name in grads[0]:
        np.testing.assert_array_equal(grads[1][name], 2 * grads[0][name])


def test_an_update_keeps_the_recorded_graph():  # E14: Mazur's blog updated too early
    arrays, target, mask = problem(3, 2, True, "every step")
    leaves, error = engine(arrays, target, mask, False)
    for leaf in leaves.values():
        leaf.data = leaf.data + 1.0
    error.backward()
    hand = by_hand(arrays, target, mask)
    for name, leaf in leaves.items():
        assert_agree(leaf.grad.numpy(), hand[name], name)


def test_a_parameter_may_be_a_traced_tensor():
    cell = LSTMCell(N_X, N_A, dtype=np.float64)
    scale = mg.tensor(2.0, requires_grad=True)
    W = cell.W_f
    cell.W_f = W * scale
    a, _ = cell(np.ones(N_X), (np.ones(N_A), np.ones(N_A)))
    a.sum().backward()
    np.testing.assert_allclose(scale.grad.item(), (W.grad.numpy() * W.numpy()).sum() / 2, rtol=1e-12)


@pytest.mark.parametrize("call", [
    lambda: LSTMCell(3, 4)(np.ones((3, 2), "f"), (np.ones((4, 1), "f"), np.ones((4, 2), "f"))),
    lambda: LSTMCell(3, 4)(np.ones((2, 3), "f"), (np.ones((4, 2), "f"),) * 2),
    lambda: LSTMCell(0, 4),
    lambda: LSTM(3, 4)(np.ones((5, 3), "f")),
    lambda: LSTM(3, 4)(np.ones((5, 2, 2), "f")),
    lambda: LSTM(3, 4)(np.ones((5, 2, 3), "f"), (np.ones((3, 4), "f"),) * 2),
    lambda: LSTM(3, 4, layers=0),
    lambda: LSTM(3, 4, initial="ones"),
])
def test_wrong_shapes_teach(call):
    with pytest.raises(MinigradError, match=r"LSTM"):
        call()


@pytest.mark.parametrize("layers", [1, 2])
def test_against_torch(torch, layers):
    rng = np.random.default_rng(0)
    lstm = LSTM(N_X, N_A, layers=layers, dtype=np.float64, rng=rng)
    theirs = torch.nn.LSTM(N_X, N_A, layers).double()
    for k, cell in enumerate(lstm.cells):  # PyTorch's gate order is u, f, c, o
        W = np.concatenate([getattr(cell, f"W_{g}").numpy() for g in "ufco"])
        b = np.concatenate([getattr(cell, f"b_{g}").numpy() for g in "ufco"])
        for name, value in (("weight_hh", W[:, :N_A]), ("weight_ih", W[:, N_A:]),
                            ("bias_ih", b), ("bias_hh", 0 * b)):
            getattr(theirs, f"{name}_l{k}").data = torch.tensor(value)
    x, seed = rng.normal(size=(5, 2, N_X)), rng.normal(size=(5, 2, N_A))
    a0, c0 = rng.normal(size=(2, layers, 2, N_A))
    ours = [mg.tensor(v, requires_grad=True) for v in (x, a0, c0)]
    torchs = [torch.tensor(v, requires_grad=True) for v in (x, a0, c0)]
    out, (a_T, c_T) = lstm(ours[0], (ours[1], ours[2]))
    want, (h_T, k_T) = theirs(torchs[0], (torchs[1], torchs[2]))
    for got, ref in ((out, want), (a_T, h_T), (c_T, k_T)):
        np.testing.assert_allclose(got.numpy(), ref.detach().numpy(), rtol=1e-12, atol=1e-14)
    ((out * seed).sum() + (c_T * 0.3).sum()).backward()
    ((want * torch.tensor(seed)).sum() + (k_T * 0.3).sum()).backward()
    for got, ref in zip(ours, torchs, strict=True):
        np.testing.assert_allclose(got.grad.numpy(), ref.grad.numpy(), rtol=1e-11, atol=1e-13)
    for k, cell in enumerate(lstm.cells):
        W = np.concatenate([getattr(cell, f"W_{g}").grad.numpy() for g in "ufco"])
        np.testing.assert_allclose(W[:, :N_A], getattr(theirs, f"weight_hh_l{k}").grad.numpy(), rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(W[:, N_A:], getattr(theirs, f"weight_ih_l{k}").grad.numpy(), rtol=1e-11, atol=1e-13)
