"""What recurrent nets can be asked for: layers, directions, lengths, projections, dropouts, states."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.errors import MinigradError
from minigrad.testing import check_grads
from models import GRU, LSTM, RNN, detached, init_chrono, init_forget_bias, lstm_manual

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
        own["projection"] = options["proj_size"] = n_p = int(rng.integers(1, n_a))
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
