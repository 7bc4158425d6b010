"""What recurrent nets can be asked for: layers, directions, lengths, projections, dropouts, states."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.errors import MinigradError
from minigrad.graph import named
from minigrad.testing import check_grads
from models import (
    GRU,
    LSTM,
    RNN,
    GRUCell,
    LSTMCell,
    Recurrent,
    detached,
    init_chrono,
    init_forget_bias,
    lstm_manual,
    variants,
)

KINDS = ("LSTM", "GRU", "RNN tanh", "RNN relu")
f8 = np.float64


def near(got, want, what, tolerance=1e-12):
    got, want = (np.asarray(v.data if isinstance(v, mg.Tensor) else v) for v in (got, want))
    assert got.shape == want.shape, (what, got.shape, want.shape)
    scale = max(1.0, np.abs(want).max(initial=0))
    assert np.abs(got - want).max(initial=0) <= tolerance * scale, (what, np.abs(got - want).max() / scale)


def make(kind, n_x, n_a, **options):
    rng = np.random.default_rng(options.pop("seed", 0))
    if kind.startswith("RNN"):
        return RNN(n_x, n_a, nonlinearity=kind[4:], dtype=f8, rng=rng, **options)
    return {"LSTM": LSTM, "GRU": GRU}[kind](n_x, n_a, dtype=f8, rng=rng, **options)


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def joined(arrays):
    arrays = list(arrays)
    return tuple(arrays) if len(arrays) > 1 else arrays[0]


# --- against PyTorch ----------------------------------------------------------------------

GATES = {"LSTM": "ufco", "GRU": "rzn", "RNN": "a"}  # in PyTorch's order


def in_torch_layout(kind, cell, take):
    """PyTorch's arrays of a cell: its parameters, or with `take` anything that belongs to them."""
    gates, n_out = GATES[kind[:4].strip()], next(iter(cell.sizes.values()))
    W = np.concatenate([take(getattr(cell, f"W_{g}")) for g in gates])
    b = np.concatenate([take(getattr(cell, f"b_{g}")) for g in gates])
    arrays = {"weight_hh": W[:, :n_out], "weight_ih": W[:, n_out:], "bias_ih": b}
    if kind == "GRU":
        arrays["bias_hh"] = np.concatenate([0 * b[: 2 * cell.n_a], take(cell.b_hn)])
    elif kind == "LSTM" and cell.projection:
        arrays["weight_hr"] = take(cell.W_p)
    return arrays


def cells_of(net):
    return {f"_l{k}{way}": cell for cells, way in ((net.cells, ""), (net.back_cells, "_reverse"))
            for k, cell in enumerate(cells)}  # fmt: skip


def twin(torch, kind, net, **options):
    """PyTorch's net with the parameters of ours."""
    if kind.startswith("RNN"):
        options["nonlinearity"] = kind[4:]
    theirs = getattr(torch.nn, kind[:4].strip())(net.n_x, net.n_a, len(net.cells), bidirectional=bool(net.back_cells),
                                                 batch_first=net.batch_first, **options).double()  # fmt: skip
    with torch.no_grad():
        for suffix, cell in cells_of(net).items():
            for name in ("bias_hh", "bias_ih"):
                getattr(theirs, name + suffix).zero_()
            for name, array in in_torch_layout(kind, cell, lambda p: p.numpy()).items():
                getattr(theirs, name + suffix).copy_(torch.tensor(array))
    return theirs


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(KINDS), layers=st.integers(1, 3), bidirectional=st.booleans(), batch_first=st.booleans(),
       projected=st.booleans(), with_lengths=st.booleans(), with_state=st.booleans(), T=st.integers(1, 6),
       B=st.integers(1, 4), n_x=st.integers(1, 4), n_a=st.integers(2, 5), seed=st.integers(0, 10_000))  # fmt: skip
def test_any_configuration_agrees_with_torch(torch, kind, layers, bidirectional, batch_first, projected, with_lengths,
                                             with_state, T, B, n_x, n_a, seed):  # fmt: skip
    rng = np.random.default_rng(seed)
    own, options = {}, {}
    if kind == "LSTM" and projected:
        own["projection"] = options["proj_size"] = int(rng.integers(1, n_a))
    net = make(kind, n_x, n_a, layers=layers, bidirectional=bidirectional, batch_first=batch_first, seed=rng, **own)
    theirs = twin(torch, kind, net, **options)
    lengths = rng.integers(1, T + 1, B) if with_lengths else None
    arrays = [rng.normal(size=(B, T, n_x) if batch_first else (T, B, n_x))]
    if with_state:
        arrays += [rng.normal(size=(layers * (1 + bidirectional), B, n)) for n in net.sizes.values()]
    ours, torchs = ([leaf(a) for a in arrays] for leaf in (
        lambda a: mg.tensor(a, requires_grad=True), lambda a: torch.tensor(a, requires_grad=True)))  # fmt: skip

    outputs, state = net(ours[0], joined(ours[1:]) if with_state else None, lengths=lengths)
    read = torchs[0]
    if with_lengths:
        pack = torch.nn.utils.rnn.pack_padded_sequence
        read = pack(read, torch.tensor(lengths), batch_first=batch_first, enforce_sorted=False)
    want, want_state = theirs(read, joined(torchs[1:]) if with_state else None)
    if with_lengths:
        want, _ = torch.nn.utils.rnn.pad_packed_sequence(want, batch_first=batch_first, total_length=T)

    got, ref = [outputs, *parts(state)], [want, *parts(want_state)]
    seeds = [rng.normal(size=g.shape) for g in got]
    for g, r in zip(got, ref, strict=True):
        near(g, r.detach().numpy(), "value")
    sum((g * s).sum() for g, s in zip(got, seeds, strict=True)).backward()
    sum((r * torch.tensor(s)).sum() for r, s in zip(ref, seeds, strict=True)).backward()
    for g, r in zip(ours, torchs, strict=True):
        near(g.grad, r.grad.numpy(), "inputs and initial state")
    for suffix, cell in cells_of(net).items():
        for name, array in in_torch_layout(kind, cell, lambda p: p.grad.numpy()).items():
            if name == "bias_hh":  # only the last third of it is ours
                array[: 2 * n_a] = getattr(theirs, name + suffix).grad.numpy()[: 2 * n_a]
            near(array, getattr(theirs, name + suffix).grad.numpy(), name + suffix)


# --- without PyTorch: every option against a loop over one sequence at a time, in NumPy ------


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def layer_norm(v, scale, shift):
    return (v - v.mean()) / np.sqrt(v.var() + 1e-5) * scale + shift


def np_lstm(p, x, s, seen):
    z, c = np.concatenate([seen, x]), s[1]
    f, u, o = (sigmoid(p[f"W_{g}"] @ z + p[f"b_{g}"]) for g in "fuo")
    c = f * c + u * np.tanh(p["W_c"] @ z + p["b_c"])
    a = o * np.tanh(c)
    return (p["W_p"] @ a if "W_p" in p else a), c


def np_gru(p, x, s, seen):
    (a,), z, n_a = s, np.concatenate([seen, x]), s[0].size
    r, keep = (sigmoid(p[f"W_{g}"] @ z + p[f"b_{g}"]) for g in "rz")
    n = np.tanh(p["W_n"][:, n_a:] @ x + p["b_n"] + r * (p["W_n"][:, :n_a] @ seen + p["b_hn"]))
    return (n + keep * (a - n),)


def np_rnn(p, x, s, seen):
    return (np.tanh(p["W_a"] @ np.concatenate([seen, x]) + p["b_a"]),)


def np_peephole(p, x, s, seen):
    z, c = np.concatenate([seen, x]), s[1]
    f, u = (sigmoid(p[f"W_{g}"] @ z + p[f"b_{g}"] + p[f"p_{g}"] * c) for g in "fu")
    c = f * c + u * np.tanh(p["W_c"] @ z + p["b_c"])
    return np.tanh(c) * sigmoid(p["W_o"] @ z + p["b_o"] + p["p_o"] * c), c


def np_coupled(p, x, s, seen):
    z = np.concatenate([seen, x])
    u, o = (sigmoid(p[f"W_{g}"] @ z + p[f"b_{g}"]) for g in "uo")
    c = s[1] + u * (np.tanh(p["W_c"] @ z + p["b_c"]) - s[1])
    return np.tanh(c) * o, c


def np_layer_norm(p, x, s, seen):
    z = np.concatenate([seen, x])
    f, u, g, o = (layer_norm(p[f"W_{g}"] @ z, p[f"g_{g}"], p[f"b_{g}"]) for g in "fuco")
    c = sigmoid(f) * s[1] + sigmoid(u) * np.tanh(g)
    return np.tanh(layer_norm(c, p["g_out"], p["b_out"])) * sigmoid(o), c


def np_joined(p, x, s, seen):
    z = np.concatenate([seen, x])
    u = sigmoid(layer_norm(p["W_u"] @ z + p["p_u"] * s[1], p["g_u"], p["b_u"]))
    c = (1 - u) * s[1] + u * np.tanh(layer_norm(p["W_c"] @ z, p["g_c"], p["b_c"]))
    o = sigmoid(layer_norm(p["W_o"] @ z + p["p_o"] * c, p["g_o"], p["b_o"]))
    return np.tanh(layer_norm(c, p["g_out"], p["b_out"])) * o, c


NETS = {"LSTM": (LSTM, np_lstm), "GRU": (GRU, np_gru), "RNN": (RNN, np_rnn),
        "peepholes": (variants.PeepholeLSTM, np_peephole), "coupled": (variants.CoupledLSTM, np_coupled),
        "layer norm": (variants.LayerNormLSTM, np_layer_norm), "joined": (variants.JoinedLSTM, np_joined)}  # fmt: skip


def build(kind, n_x, n_a, **options):
    """A net none of whose parameters is special, norms and biases included."""
    rng = np.random.default_rng(options.pop("seed", 5))
    net = NETS[kind][0](n_x, n_a, dtype=f8, rng=rng, **options)
    for p in net.parameters():
        p.data = p.data + rng.uniform(-0.3, 0.3, p.shape)
    return net


def by_numpy(kind, net, x, state, there, *, x_masks=None, a_masks=None, between=None, zone=None):
    """Outputs and last states, one sequence after the other; what chance decides is given."""
    step, (T, B, _) = NETS[kind][1], x.shape
    ways = [net.cells, net.back_cells][: 1 + bool(net.back_cells)]
    final = [np.zeros_like(s) for s in state]
    outputs = np.zeros((T, B, net.n_out))
    for b in range(B):
        rows = x[:, b]
        for k in range(len(net.cells)):
            read = rows if not k or between is None else rows * between[k - 1][:, :, b]
            found = []
            for d, cells in enumerate(ways):
                i, p = k * len(ways) + d, cells[k].state
                s, out = [part[i, b] for part in state], np.zeros((T, next(iter(net.sizes.values()))))
                for t in range(T)[:: -1 if d else 1]:
                    if there[t, b]:
                        x_t, seen = read[t], s[0]
                        if x_masks is not None:
                            x_t, seen = x_t * x_masks[i][:, b], seen * a_masks[i][:, b]
                        new = step(p, x_t, s, seen)
                        s = list(new if zone is None else zone(i, t, b, s, new))
                    out[t] = s[0]
                found.append(out)
                for part, value in zip(final, s, strict=True):
                    part[i, b] = value
            rows = np.concatenate(found, axis=1)
        outputs[:, b] = rows
    return outputs, final


def states(net, B, rng):
    return [rng.normal(size=(net._rows, B, n)) for n in net.sizes.values()]


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_values_with_masks_and_lengths(kind, bidirectional, rng):
    T, B = 4, 3
    net = build(kind, 2, 3, layers=2, bidirectional=bidirectional)
    x, state = rng.normal(size=(T, B, 2)), states(net, B, rng)
    lengths, mask = np.array([4, 2, 3]), np.array([[1, 1, 1], [0, 1, 1], [1, 1, 0], [1, 0, 1]])
    valid = np.arange(T)[:, None] < lengths
    for options, there in (({}, np.ones((T, B))), ({"lengths": lengths}, valid), ({"mask": mask}, mask),
                           ({"lengths": lengths, "mask": mask}, mask * valid)):  # fmt: skip
        out, last = net(x, joined(state), **options)
        want, want_last = by_numpy(kind, net, x, state, there)
        near(out, want * valid[:, :, None] if "lengths" in options else want, options)
        for got, ref in zip(parts(last), want_last, strict=True):
            near(got, ref, options)


@pytest.mark.parametrize("kind", NETS)
def test_gradients_with_a_mask(kind, rng):
    net = build(kind, 2, 3, bidirectional=True)
    x, state, mask = rng.normal(size=(3, 2, 2)), states(net, 2, rng), np.array([[1, 1], [0, 1], [1, 0]])
    check_grads(lambda net, x, *s: net(x, joined(s), mask=mask), net, x, *state, order=1)


@pytest.mark.parametrize("n_p", [1, 2])
def test_a_projection(n_p, rng):
    net = build("LSTM", 2, 4, layers=2, bidirectional=True, projection=n_p)
    assert net.cells[1].W_f.shape == (4, n_p + 2 * n_p)
    x, state = rng.normal(size=(3, 2, 2)), states(net, 2, rng)
    out, last = net(x, tuple(state))
    want, want_last = by_numpy("LSTM", net, x, state, np.ones((3, 2)))
    near(out, want, "outputs")
    for got, ref in zip(last, want_last, strict=True):
        near(got, ref, "state")
    check_grads(lambda net, x, *s: net(x, s), net, x, *state, order=1)


@settings(max_examples=25, deadline=None)
@given(layers=st.integers(1, 3), bidirectional=st.booleans(), with_lengths=st.booleans(), T=st.integers(1, 5),
       B=st.integers(1, 3), seed=st.integers(0, 9999))  # fmt: skip
def test_gradients_of_the_lstm_against_hand_bptt(layers, bidirectional, with_lengths, T, B, seed):
    """Layers, directions and lengths put together by hand from `lstm_manual`, one sequence at a time."""
    n_x, n_a, rng = 3, 4, np.random.default_rng(seed)
    net = build("LSTM", n_x, n_a, layers=layers, bidirectional=bidirectional, seed=seed)
    x, state = rng.normal(size=(T, B, n_x)), states(net, B, rng)
    lengths = rng.integers(1, T + 1, B) if with_lengths else np.full(B, T)
    leaves = [mg.tensor(v, requires_grad=True) for v in (x, *state)]
    out, last = net(leaves[0], tuple(leaves[1:]), lengths=lengths if with_lengths else None)
    seed_out, seed_last = rng.normal(size=out.shape), [rng.normal(size=s.shape) for s in last]
    ((out * seed_out).sum() + sum((s * v).sum() for s, v in zip(last, seed_last, strict=True))).backward()

    ways = [net.cells, net.back_cells][: 1 + bidirectional]
    want = {id(p): 0 for p in net.parameters()}
    d_x, d_state = np.zeros_like(x), [np.zeros_like(s) for s in state]
    for b in range(B):
        n, rows, caches = lengths[b], x[: lengths[b], b : b + 1], []
        for k in range(layers):
            caches.append([lstm_manual.forward(cells[k].state, rows[:: -1 if d else 1], *(
                s[k * len(ways) + d, b : b + 1] for s in state)) for d, cells in enumerate(ways)])
            rows = np.concatenate([c["outputs"][:: -1 if d else 1] for d, c in enumerate(caches[-1])], axis=2)
        near(out.data[:n, b : b + 1], rows, "outputs")
        d_rows = seed_out[:n, b : b + 1]
        for k in reversed(range(layers)):
            below = 0
            for d, cells in enumerate(ways):
                i, turn = k * len(ways) + d, slice(None, None, -1 if d else 1)
                found = lstm_manual.backward(caches[k][d], d_rows[turn, :, d * n_a : (d + 1) * n_a],
                                             tuple(s[i, b : b + 1] for s in seed_last))  # fmt: skip
                for name, p in cells[k].named_parameters().items():
                    want[id(p)] = want[id(p)] + found[name]
                for part, name in zip(d_state, ("a<0>", "c<0>"), strict=True):
                    part[i, b] = found[name][0]
                below = below + found["x"][turn]
            d_rows = below
        d_x[:n, b : b + 1] = d_rows
    for leaf, ref in zip(leaves, (d_x, *d_state), strict=True):
        near(leaf.grad, ref, "inputs and initial state")
    for name, p in net.named_parameters().items():
        near(p.grad, want[id(p)], name)


# --- padding -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_padding_does_not_count_whatever_stands_there(kind, rng):
    net = build(kind, 2, 3, layers=2, bidirectional=True)
    x, lengths = rng.normal(size=(5, 3, 2)), np.array([5, 1, 3])
    spoilt = x.copy()
    spoilt[1:, 1], spoilt[3:, 2] = np.nan, np.inf
    results = []
    for inputs in (x, spoilt):
        net.zero_grad()
        leaf = mg.tensor(inputs, requires_grad=True)
        out, last = net(leaf, lengths=lengths)
        mg.sum(out**2 + mg.sum(parts(last)[-1] ** 2)).backward()
        assert not leaf.grad.data[1:, 1].any()
        assert not leaf.grad.data[3:, 2].any()
        assert not out.data[1:, 1].any()
        results.append([out.data, *(s.data for s in parts(last)), leaf.grad.data, *(p.grad.data for p in net.parameters())])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_sequence_of_no_steps_keeps_its_initial_state(rng):
    net = build("LSTM", 2, 3, bidirectional=True)
    state = states(net, 2, rng)
    out, last = net(rng.normal(size=(3, 2, 2)), tuple(state), lengths=[0, 3])
    assert not out.data[:, 0].any()
    for part, start in zip(last, state, strict=True):
        np.testing.assert_array_equal(part.data[:, 0], start[:, 0])


def test_batch_first_turns_inputs_outputs_and_masks_alone(rng):
    net = build("GRU", 2, 3, layers=2)
    turned = build("GRU", 2, 3, layers=2, batch_first=True)
    x, mask, (state,) = rng.normal(size=(4, 3, 2)), rng.integers(0, 2, (4, 3)), states(net, 3, rng)
    out, last = net(x, state, mask=mask)
    out_turned, last_turned = turned(x.swapaxes(0, 1), state, mask=mask.T)
    np.testing.assert_array_equal(out.data, out_turned.data.swapaxes(0, 1))
    np.testing.assert_array_equal(last.data, last_turned.data)


def test_lengths_are_read_at_each_replay(rng):
    net = build("LSTM", 2, 3, bidirectional=True)
    captured = mg.capture(lambda net, x, lengths: net(x, lengths=lengths))
    x = rng.normal(size=(4, 3, 2))
    for lengths in ([4, 1, 2], [1, 4, 4], [3, 2, 1]):
        lengths = np.array(lengths)
        (out, last), (want, want_last) = captured(net, x, lengths), net(x, lengths=lengths)
        near(out, want, lengths, 1e-14)
        near(last[1], want_last[1], lengths, 1e-14)
    assert len(captured.known) == 1


# --- chance --------------------------------------------------------------------------------


class Drawn:
    """The masks that a generator in this state will draw, in the engine's order."""

    def __init__(self, rng):
        self.rng = np.random.default_rng()
        self.rng.bit_generator.state = rng.bit_generator.state

    def mask(self, shape, rate):
        return (self.rng.random(shape) < 1 - rate) / (1 - rate)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_dropout_between_layers(kind, bidirectional, rng):
    T, B, p = 3, 2, 0.4
    net = build(kind, 2, 3, layers=3, bidirectional=bidirectional, dropout=p)
    x, state = rng.normal(size=(T, B, 2)), states(net, B, rng)
    drawn = Drawn(net.rng)
    between = [drawn.mask((T, net.n_out, B), p) for _ in range(2)]
    near(net(x, joined(state))[0], by_numpy(kind, net, x, state, np.ones((T, B)), between=between)[0], "training")
    check_grads(lambda net, x: net(x)[0], net, x, order=1)
    net.eval()
    near(net(x, joined(state))[0], by_numpy(kind, net, x, state, np.ones((T, B)))[0], "evaluation")


@pytest.mark.parametrize("kind", NETS)
def test_variational_dropout_is_one_mask_for_all_steps(kind, rng):
    T, B, p = 3, 2, 0.4
    net = build(kind, 2, 3, layers=2, bidirectional=True, dropout=p, variational=True)
    x, state = rng.normal(size=(T, B, 2)), states(net, B, rng)
    drawn, masks = Drawn(net.rng), []
    for k in range(2):  # x's, then a's, for each direction of each layer
        masks += [(drawn.mask((6 if k else 2, B), p), drawn.mask((3, B), p)) for _ in range(2)]
    x_masks, a_masks = zip(*masks, strict=True)
    want = by_numpy(kind, net, x, state, np.ones((T, B)), x_masks=x_masks, a_masks=a_masks)
    out, last = net(x, joined(state))
    near(out, want[0], "outputs")
    for got, ref in zip(parts(last), want[1], strict=True):
        near(got, ref, "state")
    net.eval()
    near(net(x, joined(state))[0], by_numpy(kind, net, x, state, np.ones((T, B)))[0], "evaluation")
    one = build(kind, 2, 3, dropout=p, variational=True)
    check_grads(lambda net, x, *s: net(x, joined(s)), one, x, *states(one, B, rng), order=1)


@pytest.mark.parametrize(("kind", "rates"), [("LSTM", (0.3, 0.6)), ("LSTM", (0.0, 0.5)), ("GRU", (0.4,)), ("RNN", (0.4,)),
                                             ("joined", (0.2, 0.2))])  # fmt: skip
def test_zoneout(kind, rates, rng):
    T, B = 3, 2
    net = build(kind, 2, 4, layers=2, zoneout=rates if len(rates) > 1 else rates[0])
    x, state = rng.normal(size=(T, B, 2)), states(net, B, rng)
    drawn, table = Drawn(net.rng), {}
    for i in range(2):
        for t in range(T):
            table[i, t] = [drawn.mask((4, B), rate) == 0 if rate else np.zeros((4, B), bool) for rate in rates]

    def chance(i, t, b, old, new):
        return [np.where(kept[:, b], o, n) for kept, o, n in zip(table[i, t], old, new, strict=True)]

    def expected(i, t, b, old, new):
        return [rate * o + (1 - rate) * n for rate, o, n in zip(rates, old, new, strict=True)]

    assert sum(kept.sum() for masks in table.values() for kept in masks) > 5
    for zone in (chance, expected):
        out, last = net(x, joined(state))
        want, want_last = by_numpy(kind, net, x, state, np.ones((T, B)), zone=zone)
        near(out, want, zone.__name__)
        for got, ref in zip(parts(last), want_last, strict=True):
            near(got, ref, zone.__name__)
        check_grads(lambda net, x, *s: net(x, joined(s)), net, x, *state, order=1)
        net.eval()


def test_zoneout_in_evaluation_is_the_mean_of_training_for_one_step(rng):
    net = build("RNN", 2, 3, zoneout=0.3)
    x, state = rng.normal(size=(1, 1, 2)), rng.normal(size=(1, 1, 3))
    drawn = np.mean([net(x, state)[1].data for _ in range(1500)], axis=0)
    np.testing.assert_allclose(drawn, net.eval()(x, state)[1].data, atol=0.07)


CHANCE = {"dropout": {"layers": 2, "dropout": 0.5}, "variational": {"dropout": 0.5, "variational": True},
          "zoneout": {"zoneout": 0.5}, "noisy": {"initial": "noisy", "noise": 0.7}}  # fmt: skip


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("options", CHANCE.values(), ids=CHANCE)
def test_chance_is_seeded_drawn_anew_by_replays_and_off_in_evaluation(kind, options, rng):
    net, twin_net = (build(kind, 2, 3, **options) for _ in range(2))
    x = rng.normal(size=(3, 2, 2))
    captured = mg.capture(lambda net, x: net(x)[0])
    drawn = [captured(net, x).data for _ in range(4)]
    assert len({d.tobytes() for d in drawn}) == 4
    for got in drawn:  # the same numbers, eagerly
        near(got, twin_net(x)[0], "a replay", 1e-14)
    plain = build(kind, 2, 3, layers=options.get("layers", 1))
    if "zoneout" not in options:
        near(net.eval()(x)[0], plain(x)[0], "evaluation", 1e-15)
    assert len({net.eval()(x)[0].data.tobytes() for _ in range(3)}) == 1


# --- states, chunks, one to many -----------------------------------------------------------


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "peepholes"])
def test_trained_states_are_shared_by_the_batch(kind, rng):
    net = build(kind, 2, 3, layers=2, bidirectional=True, initial="trained")
    names = [f"{part}_0" for part in net.sizes]
    assert set(names) <= set(net.named_parameters())
    x = rng.normal(size=(3, 5, 2))
    (net(x)[0] ** 2).sum().backward()
    leaves = [mg.tensor(np.repeat(getattr(net, n).data[:, None], 5, axis=1), requires_grad=True) for n in names]
    (net(x, joined(leaves))[0] ** 2).sum().backward()
    for name, leaf in zip(names, leaves, strict=True):
        near(getattr(net, name).grad, leaf.grad.data.sum(axis=1), name)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "joined"])
def test_b4_chunks_that_hand_adjoints_on_give_the_whole_gradient(kind, rng):
    net = build(kind, 2, 3, layers=2)
    x, seed, state = rng.normal(size=(10, 3, 2)), rng.normal(size=(10, 3, 3)), joined(states(net, 3, rng))
    whole = mg.vjp(lambda net, x, state: net(x, state)[0], net, x, state)[1](seed)

    def run(net, x, state):
        return net(x, state)

    (_, middle), pull_early = mg.vjp(run, net, x[:5], state)
    (_, last), pull_late = mg.vjp(run, net, x[5:], middle)
    nothing = joined(np.zeros(s.shape) for s in parts(last))
    late, d_x_late, d_middle = pull_late((seed[5:], nothing))
    early, d_x_early, d_state = pull_early((seed[:5], d_middle))
    for name in whole[0]:
        near(early[name] + late[name], whole[0][name], name, 1e-13)
    near(np.concatenate([d_x_early.data, d_x_late.data]), whole[1], "x", 1e-13)
    for got, ref in zip(parts(d_state), parts(whole[2]), strict=True):
        near(got, ref, "initial state", 1e-13)
    cut = mg.vjp(run, net, x[:5], state)[1]((seed[:5], joined(np.zeros(s.shape) for s in parts(middle))))[0]
    assert any(np.abs(cut[name].data - early[name].data).max() > 1e-3 for name in cut)  # the adjoints matter

    def checkpointed(net):
        first, carried = mg.checkpoint(run)(net, x[:5], state)
        second, _ = mg.checkpoint(run)(net, x[5:], carried)
        return (first * seed[:5]).sum() + (second * seed[5:]).sum()

    for name, g in mg.grad(checkpointed)(net).items():
        near(g, whole[0][name], name, 1e-13)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_truncated_bptt_carries_the_state_and_stops_the_gradient(kind, rng):
    net = build(kind, 2, 3, layers=2)
    x = rng.normal(size=(8, 2, 2))
    outputs, _ = net(x)
    state, grads = None, []
    for k in range(0, 8, 4):
        net.zero_grad()
        out, state = net(x[k : k + 4], state)
        near(out, outputs.data[k : k + 4], "values go on", 1e-14)
        start = state
        (out**2).sum().backward()
        grads.append({n: p.grad.data for n, p in net.named_parameters().items()})
        state = detached(state)
        assert not any(s.requires_grad for s in parts(state))
        assert all(s.requires_grad for s in parts(start))
    before = detached(net(x[:4])[1])
    alone = mg.grad(lambda net: (net(x[4:], before)[0] ** 2).sum())(net)
    for name, g in alone.items():
        near(grads[1][name], g, name, 1e-13)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "coupled"])
def test_b6_one_to_many_feeds_outputs_back(kind, rng):
    net = build(kind, 3, 3, layers=2)
    x, state = rng.normal(size=(2, 3)), states(net, 2, rng)
    out, last = net.unroll(x, 4, joined(state))
    fed, going = x, joined(state)
    for t in range(4):
        one, going = net(fed[None], going)
        near(out.data[t], one.data[0], t, 1e-14)
        fed = one.data[0]
    for got, ref in zip(parts(last), parts(going), strict=True):
        near(got, ref, "last state", 1e-14)
    check_grads(lambda net, x, *s: net.unroll(x, 4, joined(s)), net, x, *state, order=1)


def test_b6_one_to_many_through_a_read_out_and_with_zeros(rng):
    net, head = build("LSTM", 2, 4), mg.nn.Linear(4, 2, dtype=f8, rng=rng)
    x = rng.normal(size=(3, 2))
    check_grads(lambda net, head, x: net.unroll(x, 4, feed=head), net, head, x, order=1)
    zeros, _ = net.unroll(x, 4, feed=lambda a: np.zeros((3, 2)))
    near(zeros, net(np.concatenate([x[None], np.zeros((3, 3, 2))]))[0], "zeros after", 1e-14)


def test_one_to_many_keeps_its_variational_masks(rng):
    net = build("LSTM", 3, 3, dropout=0.5, variational=True)
    x, drawn = rng.normal(size=(2, 3)), Drawn(net.rng)
    x_mask, a_mask = drawn.mask((3, 2), 0.5), drawn.mask((3, 2), 0.5)
    out, _ = net.unroll(x, 5)
    inputs = np.concatenate([x[None], out.data[:-1]])
    zero = [np.zeros((1, 2, 3))] * 2
    near(out, by_numpy("LSTM", net, inputs, zero, np.ones((5, 2)), x_masks=[x_mask], a_masks=[a_mask])[0], "outputs")


# --- names, files, beginnings ---------------------------------------------------------------


@pytest.mark.parametrize("kind", NETS)
def test_names_of_layers_and_directions(kind, rng):
    net = build(kind, 2, 3, layers=2, bidirectional=True)
    x = rng.normal(size=(2, 3, 2))
    out, last = net(x, named=True)
    near(out, net(x)[0], "values", 1e-14)
    loss = (out**2).sum()
    names = {f"{layer}{way}{part}<{t}>" for layer in ("layer0/", "layer1/") for way in ("", "reverse/")
             for part in net.sizes for t in (1, 2)}  # fmt: skip
    assert names <= set(named(loss._node))
    loss.backward(retain_graph=True)
    name = "W_a" if kind == "RNN" else "W_n" if kind == "GRU" else "W_c"
    for scope in ("layer0/", "layer1/reverse/"):
        found = mg.ledger(loss, wrt=f"{scope}{name}")
        assert len(found) == (4 if kind == "GRU" else 2)  # the GRU takes W_n apart
    assert parts(last)[0].shape == (4, 3, 3)


@pytest.mark.parametrize("kind", NETS)
def test_files(kind, tmp_path, rng):
    net, other = (build(kind, 2, 3, layers=2, bidirectional=True, initial="trained", seed=s) for s in (1, 2))
    x = rng.normal(size=(3, 2, 2))
    mg.save(tmp_path / "net", net.state)
    other.state, _ = mg.load(tmp_path / "net")
    np.testing.assert_array_equal(net(x)[0].data, other(x)[0].data)
    assert "back_cells.1.b_a" in net.state or "back_cells.1.W_n" in net.state or "back_cells.1.b_o" in net.state


def test_forget_bias_of_every_layer_and_direction():
    net = build("LSTM", 2, 3, layers=2, bidirectional=True)
    before = net.cells[1].b_u.data
    init_forget_bias(net, 2.0)
    for cell in (*net.cells, *net.back_cells):
        np.testing.assert_array_equal(cell.b_f.data, np.full(3, 2.0))
    assert net.cells[1].b_u.data is before
    coupled = build("coupled", 2, 3)
    init_forget_bias(coupled, 2.0)
    np.testing.assert_array_equal(coupled.cells[0].b_u.data, np.full(3, -2.0))


@pytest.mark.parametrize("kind", ["LSTM", "peepholes", "coupled"])
def test_chrono_initialisation(kind):
    net = build(kind, 2, 400, bidirectional=True)
    init_chrono(net, 50, np.random.default_rng(0))
    for cell in (*net.cells, *net.back_cells):
        times = np.exp(-cell.b_u.data)
        assert 1 <= times.min() < 2
        assert 48 < times.max() <= 49
        assert abs(times.mean() - 25) < 3  # uniform in the time, not in its logarithm
        if kind != "coupled":
            np.testing.assert_array_equal(cell.b_f.data, -cell.b_u.data)
    assert not np.array_equal(net.cells[0].b_u.data, net.back_cells[0].b_u.data)


def test_peepholes_at_zero_and_a_wide_projection_are_the_plain_lstm(rng):
    peep, plain = build("peepholes", 2, 3), build("LSTM", 2, 3)
    for g in "fuo":
        getattr(peep.cells[0], f"p_{g}").data = np.zeros(3)
    plain.state = {n: v for n, v in peep.state.items() if ".p_" not in n}
    x = rng.normal(size=(4, 2, 2))
    near(peep(x)[0], plain(x)[0], "outputs", 1e-14)


# --- errors that teach ----------------------------------------------------------------------

X = np.ones((3, 2, 4), "f")


@pytest.mark.parametrize(("call", "message"), [
    (lambda: LSTM(4, 5, num_layers=2), r"^LSTM: unknown option num_layers; one of layers, bidirectional, .*, rng, projection$"),
    (lambda: GRU(4, 5, projection=2), r"^GRU: unknown option projection; one of "),
    (lambda: LSTM(4, 5, dropout=0.5), r"^LSTM: dropout=0.5 with one layer; .*write layers=2, or variational=True"),
    (lambda: GRU(4, 5, layers=2, dropout=1.0), r"^GRU: dropout=1.0; 0 <= dropout < 1"),
    (lambda: GRU(4, 5, zoneout=(0.1, 0.1)), r"^GRU: zoneout=\(0.1, 0.1\).*one for each of \(a\)"),
    (lambda: LSTM(4, 5, zoneout=1.0), r"^LSTM: zoneout=1.0; 0 <= zoneout < 1"),
    (lambda: LSTM(4, 5, projection=5), r"^LSTMCell: projection=5 of 5 numbers; at least 1, fewer than n_a"),
    (lambda: RNN(4, 5, nonlinearity="sin"), r"^RNNCell: nonlinearity='sin'; 'tanh' or 'relu'"),
    (lambda: GRU(4, 5, layers=0), r"^GRU: layers=0; at least 1"),
    (lambda: GRU(4, 5)(X[0]), r"^GRU: x has shape \(2, 4\); \(T, B, 4\), T >= 1"),
    (lambda: GRU(4, 5, batch_first=True)(X[0]), r"^GRU: x has shape \(2, 4\); \(B, T, 4\), T >= 1"),
    (lambda: LSTM(4, 5)(X, lengths=[3]), r"^LSTM: lengths of shape \(1,\); \(2,\), one for each sequence"),
    (lambda: LSTM(4, 5)(X, lengths=[3, 4]), r"^LSTM: lengths \[3, 4\]; 0 to 3, the steps of x"),
    (lambda: LSTM(4, 5)(X, lengths=[3, -1]), r"^LSTM: lengths \[3, -1\]; 0 to 3"),
    (lambda: LSTM(4, 5)(X, lengths=[1.5, 2.0]), r"^LSTM: lengths that are no integers"),
    (lambda: LSTM(4, 5)(X, mask=np.ones((2, 3))), r"^LSTM: a mask of shape \(2, 3\); \(3, 2\)"),
    (lambda: LSTM(4, 5)(X, np.zeros((1, 2, 5), "f")), r"^LSTM: a state of 1 part\(s\); a0, c0"),
    (lambda: LSTM(4, 5, bidirectional=True)(X, (np.zeros((2, 5), "f"),) * 2), r"^LSTM: a0 has shape \(2, 5\); \(2, 2, 5\)$"),
    (lambda: LSTM(4, 5, projection=2)(X, (np.zeros((2, 5), "f"),) * 2), r"^LSTM: a0 has shape \(2, 5\); \(1, 2, 2\) or \(2, 2\)"),
    (lambda: LSTM(4, 5)(X, named=True, lengths=[1, 2]), r"^LSTM: named=True with lengths"),
    (lambda: LSTM(4, 5, zoneout=0.1)(X, named=True), r"^LSTM: named=True with .*zoneout"),
    (lambda: LSTM(4, 5).unroll(X[0], 3), r"^LSTM: an output of 5 numbers as an input of 4; .*feed="),
    (lambda: LSTM(4, 4).unroll(X, 3), r"^LSTM.unroll: an input of shape \(3, 2, 4\); \(B, 4\)"),
    (lambda: LSTM(4, 4).unroll(X[0], 0), r"^LSTM: steps=0; at least 1"),
    (lambda: LSTM(4, 2, bidirectional=True).unroll(X[0], 3), r"^LSTM: unroll of a bidirectional net"),
    (lambda: Recurrent(4, 5), r"^Recurrent: it has no cell; .*class Net\(Recurrent\): cell = MyCell"),
    (lambda: init_chrono(LSTM(4, 5), 2), r"^init_chrono: T=2; at least 3"),
    (lambda: init_forget_bias(GRU(4, 5)), r"^init: a GRU without LSTM cells"),
    (lambda: LSTMCell(4, 5)(X[0].T, np.ones((5, 2), "f")), r"^LSTMCell: x_t, a, c have shapes \(4, 2\), \(5, 2\); features first"),
    (lambda: GRUCell(4, 5)(X[0], np.ones((5, 2), "f")), r"^GRUCell: x_t, a have shapes .*write x_t.T"),
])  # fmt: skip
def test_errors_teach(call, message):
    with pytest.raises(MinigradError, match=message):
        call()


class Bare(mg.nn.Module):
    """A cell that knows nothing of `Cell`."""

    def __init__(self, n_x, n_a, *, dtype, rng, scope):
        self.n_x, self.sizes = n_x, {"a": n_a}
        self.W = mg.nn.Parameter(rng.normal(size=(n_a, n_x)), dtype)

    def forward(self, x_t, a):
        return mg.tanh(self.W @ x_t + a)


class BareNet(Recurrent):
    cell = Bare


def test_any_module_with_a_step_is_a_cell(rng):
    net = BareNet(2, 3, layers=2, bidirectional=True, zoneout=0.2, dropout=0.3, dtype=f8, rng=rng)
    x = rng.normal(size=(4, 2, 2))
    check_grads(lambda net, x: net(x, lengths=[4, 2]), net, x, order=1)
    with pytest.raises(MinigradError, match=r"^BareNet: variational dropout of what Bare reads; a cell that takes `seen`"):
        BareNet(2, 3, dropout=0.3, variational=True)
