"""Exchange with PyTorch, ONNX and Keras: what they compute, computed from the same arrays."""

from __future__ import annotations

import itertools
import pickle
import sys
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.errors import (
    ArgumentError,
    CheckpointError,
    DependencyError,
    DtypeError,
    MinigradError,
    ShapeError,
)
from models import GRU, LSTM, RNN, LSTMCell, exchange, variants
from models.__main__ import main
from models.char_lm import CharLM
from models.exchange import graphs, keras, pytorch
from models.exchange.layouts import LAYOUTS

KINDS = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}
CLASSES = KINDS | {cls.__name__: cls for cls in (variants.PeepholeLSTM, variants.CoupledLSTM, variants.LayerNormLSTM)}
TORCHS = {"LSTM": "ufco", "GRU": "rzn", "RNN": "a"}  # as torch.nn documents: i, f, g, o; r, z, n
ONNXS = {"LSTM": "uofc", "GRU": "zrn", "RNN": "a"}  # as ONNX documents: i, o, f, c; z, r, h
KERASS = {"LSTM": "ufco", "GRU": "zrn", "RNN": "a"}  # i, f, c, o; z, r, h
DRAWN = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def onnx():
    return pytest.importorskip("onnx", reason="onnx is not installed")


@pytest.fixture
def onnxruntime(onnx):
    return pytest.importorskip("onnxruntime", reason="the oracle onnxruntime is not installed")


def make(kind="LSTM", n_x=3, n_a=4, dtype=np.float64, seed=0, **options):
    """A model with a random learnt state, if it has one."""
    model = CLASSES[kind](n_x, n_a, dtype=dtype, rng=np.random.default_rng(seed), **options)
    if model.initial == "trained":
        for name in model.sizes:
            learnt = getattr(model, f"{name}_0")
            learnt.data = np.random.default_rng(seed + 1).normal(size=learnt.shape).astype(dtype)
    return model


def sequences(model, T=5, B=2, seed=3):
    """Inputs and initial states."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(B, T, model.n_x) if model.batch_first else (T, B, model.n_x))
    rows = len(model.cells) + len(model.back_cells)
    return [a.astype(model.dtype) for a in (x, *(rng.normal(size=(rows, B, n)) for n in model.sizes.values()))]


def one_or_all(parts):
    return tuple(parts) if len(parts) > 1 else parts[0]


def outputs(model, arrays=None, **options):
    x, *state = sequences(model) if arrays is None else arrays
    out, last = model(x, one_or_all(state) if state else None, **options)
    return [part.numpy() for part in (out, *(last if isinstance(last, tuple) else (last,)))]


def assert_close(got, want, tolerance, name=""):
    assert got.shape == want.shape, name
    assert np.abs(got - want).max(initial=0.0) <= tolerance * max(1.0, np.abs(want).max(initial=0.0)), name


def assert_same(one, other):
    for a, b in zip(outputs(one), outputs(other), strict=True):
        np.testing.assert_array_equal(a, b)


# --- PyTorch -------------------------------------------------------------------------------


@DRAWN
@given(kind=st.sampled_from(["LSTM", "GRU", "RNN tanh", "RNN relu"]), sizes=st.tuples(*[st.integers(1, 4)] * 4),
       layers=st.integers(1, 3), bidirectional=st.booleans(), projected=st.booleans(), batch_first=st.booleans(),
       bias=st.booleans(), lengths=st.booleans(), imported=st.booleans(), seed=st.integers(0, 999))  # fmt: skip
def test_values_and_gradients_are_pytorchs(torch, kind, sizes, layers, bidirectional, projected, batch_first, bias,
                                           lengths, imported, seed):
    T, B, n_x, n_a = sizes
    kind, _, nonlinearity = kind.partition(" ")
    own = {"nonlinearity": nonlinearity} if nonlinearity else {}
    torchs = dict(own, batch_first=batch_first, bidirectional=bidirectional, num_layers=layers)
    if kind == "LSTM" and projected and n_a > 1:
        own["projection"] = torchs["proj_size"] = n_a - 1
    torch.manual_seed(seed)
    theirs = getattr(torch.nn, kind)(n_x, n_a, bias=bias or not imported, dtype=torch.float64, **torchs)
    if imported:
        ours = exchange.from_torch(theirs)
    else:
        ours = make(kind, n_x, n_a, seed=seed, layers=layers, bidirectional=bidirectional, batch_first=batch_first, **own)
        theirs.load_state_dict({n: torch.from_numpy(a) for n, a in exchange.to_torch(ours).items()})
    assert (ours.n_x, ours.n_a, len(ours.cells), ours.batch_first) == (n_x, n_a, layers, batch_first)

    rng = np.random.default_rng(seed)
    arrays = sequences(ours, T, B, seed)
    steps = rng.integers(1, T + 1, B)
    leaves, twins = [mg.tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    out, last = ours(leaves[0], one_or_all(leaves[1:]), **({"lengths": steps} if lengths else {}))
    x = twins[0]
    if lengths:
        x = torch.nn.utils.rnn.pack_padded_sequence(x, steps, batch_first=batch_first, enforce_sorted=False)
    want, end = theirs(x, one_or_all(twins[1:]))
    if lengths:
        want, _ = torch.nn.utils.rnn.pad_packed_sequence(want, batch_first=batch_first, total_length=T)

    parts = lambda state: state if isinstance(state, tuple) else (state,)  # noqa: E731
    error, reference = 0, 0
    for got, ref in zip((out, *parts(last)), (want, *parts(end)), strict=True):
        assert_close(got.numpy(), ref.detach().numpy(), 1e-12)
        cotangent = rng.normal(size=got.shape)
        error, reference = error + (got * cotangent).sum(), reference + (ref * torch.tensor(cotangent)).sum()
    error.backward()
    reference.backward()
    for got, ref in zip(leaves, twins, strict=True):
        assert_close(got.grad.numpy(), ref.grad.numpy(), 1e-12)
    for k, cell, suffix in [(k, cell, suffix) for cells, suffix in ((ours.cells, ""), (ours.back_cells, "_reverse"))
                            for k, cell in enumerate(cells)]:  # fmt: skip
        grad = lambda part: getattr(theirs, f"{part}_l{k}{suffix}").grad.numpy()  # noqa: B023, E731
        for row, g in enumerate(TORCHS[kind]):
            rows = slice(row * n_a, (row + 1) * n_a)
            assert_close(getattr(cell, f"W_{g}").grad.numpy(), np.hstack([grad("weight_hh")[rows], grad("weight_ih")[rows]]),
                         1e-12, f"W_{g}")  # fmt: skip
            if theirs.bias:
                assert_close(getattr(cell, f"b_{g}").grad.numpy(), grad("bias_ih")[rows], 1e-12, f"b_{g}")
        if kind == "GRU" and theirs.bias:
            assert_close(cell.b_hn.grad.numpy(), grad("bias_hh")[2 * n_a :], 1e-12, "b_hn")
        if "projection" in own:
            assert_close(cell.W_p.grad.numpy(), grad("weight_hr"), 1e-12, "W_p")


def test_biases_are_summed_and_where_they_cannot_be_are_kept(torch):
    """PyTorch's own two biases are both non-zero; the GRU's b_hn is no part of a sum."""
    for kind in KINDS:
        theirs = getattr(torch.nn, kind)(3, 4, dtype=torch.float64)
        back = exchange.to_torch(exchange.from_torch(theirs))
        b_ih, b_hh = (getattr(theirs, f"{name}_l0").detach().numpy() for name in ("bias_ih", "bias_hh"))
        apart = 2 * 4 if kind == "GRU" else len(b_ih)
        np.testing.assert_array_equal(back["bias_ih_l0"], np.concatenate([(b_ih + b_hh)[:apart], b_ih[apart:]]))
        np.testing.assert_array_equal(back["bias_hh_l0"], np.concatenate([0 * b_hh[:apart], b_hh[apart:]]))


def test_a_layer_inside_a_network(torch):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = torch.nn.LSTM(3, 4, batch_first=True, dropout=0.5, num_layers=2)
            self.decoder = torch.nn.ModuleDict({"lstm": torch.nn.LSTM(5, 6)})

    net = Net()
    with pytest.raises(ArgumentError, match=r"there are 'decoder\.lstm\.', 'encoder\.'.*write prefix='decoder\.lstm\.'"):
        exchange.from_torch(net)
    with pytest.raises(ArgumentError, match="nothing under 'coder'"):
        exchange.from_torch(net, "coder")
    ours = exchange.from_torch(net, "encoder")
    assert (ours.n_x, ours.batch_first, ours.dropout) == (3, True, 0.5)
    checkpoint = {"epoch": 3, "state_dict": net.state_dict(), "parts": [torch.zeros(2)]}
    assert exchange.from_torch(checkpoint, "state_dict.decoder.lstm").n_a == 6
    assert exchange.to_torch(ours, prefix="encoder.").keys() <= net.state_dict().keys()


def test_a_cell_is_a_layer(torch):
    cell = torch.nn.LSTMCell(3, 4, dtype=torch.float64)
    x, a, c = sequences(make(), T=1)
    h, _ = cell(torch.tensor(x[0]), (torch.tensor(a[0]), torch.tensor(c[0])))
    assert_close(outputs(exchange.from_torch(cell), (x, a, c))[0][0], h.detach().numpy(), 1e-12)


def test_a_dropout_without_effect_is_no_reason_to_refuse(torch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, of just that
        assert exchange.from_torch(torch.nn.LSTM(3, 4, dropout=0.5)).dropout == 0


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("options", [{}, {"projection": 2, "bidirectional": True, "layers": 2}])
def test_files(suffix, options, tmp_path, request):
    if suffix == ".pt":
        request.getfixturevalue("torch")
    model, path = make(**options), tmp_path / f"lstm{suffix}"
    exchange.write(model, path)
    assert_same(exchange.from_torch(path), model)
    assert_same(exchange.read(path), model)
    if suffix == ".safetensors":
        assert set(mg.load(path)[0]) == set(exchange.to_torch(model))


def test_our_safetensors_say_what_a_state_dict_does_not(tmp_path):
    model = make("RNN", nonlinearity="relu", batch_first=True)
    exchange.write(model, tmp_path / "a.safetensors")
    for again in (exchange.read(tmp_path / "a.safetensors"), exchange.from_torch(tmp_path / "a.safetensors")):
        assert_same(again, model)
    assert not exchange.read(tmp_path / "a.safetensors", batch_first=False).batch_first


def test_what_pytorch_writes_is_read(torch, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    net = torch.nn.LSTM(3, 4)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        arrays = {n: a.to(dtype) for n, a in net.state_dict().items()} | {
            "net.step": torch.tensor(3), "net.on": torch.tensor(True), "net.small": torch.zeros(3, dtype=torch.float8_e4m3fn)}  # fmt: skip
        safetensors.save_file(arrays, tmp_path / "a.safetensors")
        torch.save(arrays, tmp_path / "a.pt")
        for name in ("a.safetensors", "a.pt"):
            model = exchange.read(tmp_path / name)
            assert model.dtype == (np.float64 if dtype == torch.float64 else np.float32)
            np.testing.assert_array_equal(model.cells[0].W_u.numpy()[:, 4:], arrays["weight_ih_l0"][:4].to(torch.float64).numpy())


def test_weights_that_are_no_numbers_of_a_known_kind(torch, tmp_path):
    arrays = {n: a.to(torch.float8_e4m3fn) for n, a in torch.nn.LSTM(3, 4).state_dict().items()}
    pytest.importorskip("safetensors.torch").save_file(arrays, tmp_path / "a.safetensors")
    for source in (arrays, tmp_path / "a.safetensors"):
        with pytest.raises(DtypeError, match="'weight_ih_l0' is object"):
            exchange.from_torch(source)


def test_dtypes():
    arrays = exchange.to_torch(make())
    assert exchange.from_torch(arrays).dtype == np.float64
    assert exchange.from_torch(arrays, dtype="float32").dtype == np.float32
    halves = {n: (a + (n[:4] == "bias")).astype("f2") for n, a in arrays.items()}
    model = exchange.from_torch(halves)
    assert model.dtype == np.float32
    b_ih, b_hh = (halves[f"bias_{part}_l0"][:4].astype("f4") for part in ("ih", "hh"))
    np.testing.assert_array_equal(model.cells[0].b_u.numpy(), b_ih + b_hh)  # widened first, then added
    mixed = arrays | {"weight_ih_l0": arrays["weight_ih_l0"].astype("f4")}
    assert exchange.from_torch(mixed).dtype == np.float64  # nothing is rounded
    with pytest.raises(DtypeError, match=r"'weight_ih_l0' is int8; floating-point arrays; dequantise"):
        exchange.from_torch(arrays | {"weight_ih_l0": arrays["weight_ih_l0"].astype("i1")})


def test_arrays_are_copies():
    model = make()
    arrays = exchange.to_torch(model)
    again = exchange.from_torch(arrays)
    for array in arrays.values():
        array[...] = 7.0
    assert_same(again, model)


# --- the order of gates ----------------------------------------------------------------------


@pytest.mark.parametrize("framework", ["PyTorch", "ONNX"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_every_other_order_of_gates_is_noticed(framework, kind, monkeypatch, tmp_path, request):
    """The shapes are the same, so no framework refuses a wrong order: outputs have to be compared."""
    request.getfixturevalue({"PyTorch": "torch", "ONNX": "onnxruntime"}[framework])
    module, path = {"PyTorch": (pytorch, tmp_path / "a.safetensors"), "ONNX": (graphs, tmp_path / "a.onnx")}[framework]
    gates = LAYOUTS[framework].gates
    right = gates[kind]
    model = make(kind, dtype=np.float32)
    for order in map("".join, itertools.permutations(right)):
        with monkeypatch.context() as patch:
            patch.setattr(module, "LAYOUT", LAYOUTS[framework]._replace(gates=gates | {kind: order}))
            exchange.write(model, path)
        found = exchange.check(model, path, np.random.default_rng(0))
        assert found.witness == {"PyTorch": "PyTorch", "ONNX": "onnxruntime"}[framework]
        assert (found.difference < 1e-6) if order == right else (found.difference > 1e-2), order


def test_the_papers_order_fed_to_pytorch_is_silent_and_wrong(torch):
    model = make()
    theirs = torch.nn.LSTM(3, 4, dtype=torch.float64)
    stacked = {part: np.concatenate([getattr(model.cells[0], f"{part}_{g}").numpy() for g in "fuco"]) for part in "Wb"}
    theirs.load_state_dict({"weight_hh_l0": torch.tensor(stacked["W"][:, :4]), "weight_ih_l0": torch.tensor(stacked["W"][:, 4:]),
                            "bias_ih_l0": torch.tensor(stacked["b"]), "bias_hh_l0": torch.zeros(16)})  # fmt: skip
    x, a, c = sequences(model)
    silent = theirs(torch.tensor(x), (torch.tensor(a), torch.tensor(c)))[0].detach().numpy()
    assert np.abs(silent - outputs(model)[0]).max() > 0.05


# --- ONNX ----------------------------------------------------------------------------------


def infer(onnxruntime, proto, *names, **feed):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(list(names) or None, feed)


@DRAWN
@given(kind=st.sampled_from(["LSTM", "GRU", "RNN tanh", "RNN relu", "PeepholeLSTM", "CoupledLSTM"]),
       layers=st.integers(1, 3), bidirectional=st.booleans(),
       batch_first=st.booleans(), initial=st.sampled_from(["zeros", "trained"]), state=st.booleans(),
       lengths=st.booleans(), seed=st.integers(0, 99))  # fmt: skip
def test_graphs_give_what_the_model_gives(onnx, onnxruntime, kind, layers, bidirectional, batch_first, initial, state,
                                          lengths, seed):
    kind, _, nonlinearity = kind.partition(" ")
    model = make(kind, dtype=np.float32, seed=seed, layers=layers, bidirectional=bidirectional, batch_first=batch_first,
                 initial=initial, **({"nonlinearity": nonlinearity} if nonlinearity else {}))  # fmt: skip
    proto = exchange.to_onnx(model, state=state, lengths=lengths)
    onnx.checker.check_model(proto, full_check=True)
    x, *states = sequences(model, seed=seed)
    arrays = (x, *states) if state else (x,)
    feed = {"input": x, **(dict(zip(("h_0", "c_0"), states, strict=False)) if state else {})}
    steps = {"lengths": np.array([5, 3], np.int32)} if lengths else {}
    want = outputs(model, arrays, **steps)
    for got, ref in zip(infer(onnxruntime, proto, **feed, **steps), want, strict=True):
        assert_close(got, ref, 2e-6)
    again = exchange.from_onnx(proto)
    assert (again.batch_first, again.initial) == (batch_first, "zeros" if state else initial)
    for got, ref in zip(outputs(again, arrays, **steps), want, strict=True):
        np.testing.assert_array_equal(got, ref)


def graph(onnx, kind="LSTM", *, n_x=3, n_a=4, directions=1, inputs=None, dtype=np.float32, seed=0, opset=17, **attributes):
    """A graph of one node with random weights, by the ONNX documents; `inputs` are constants, None leaves one out."""
    rng = np.random.default_rng(seed)
    gates, helper = len(ONNXS[kind]), onnx.helper
    arrays = {"W": rng.normal(size=(directions, gates * n_a, n_x)), "R": rng.normal(size=(directions, gates * n_a, n_a)),
              "B": rng.normal(size=(directions, 2 * gates * n_a))} | (inputs or {})  # fmt: skip
    places = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"][: 8 if kind == "LSTM" else 6]
    names = [name if name == "X" or arrays.get(name) is not None else "" for name in places]
    last = ["Y_h", "Y_c"] if kind == "LSTM" else ["Y_h"]
    attributes = {"hidden_size": n_a} | ({"direction": "bidirectional"} if directions == 2 else {}) | attributes
    node = helper.make_node(kind, names, ["Y", *last], name="the_node", **attributes)
    kept = {name: a if name == "sequence_lens" else a.astype(dtype) for name, a in arrays.items() if a is not None}
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_model(helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("X", dtype, ["T", "B", n_x])],
        [helper.make_tensor_value_info(name, dtype, [None] * (4 - (name != "Y"))) for name in ("Y", *last)],
        [onnx.numpy_helper.from_array(a, name) for name, a in kept.items()],
    ), opset_imports=[helper.make_opsetid("", opset)], ir_version=8)  # fmt: skip


LBR = {"LSTM": {}, "GRU": {"linear_before_reset": 1}, "RNN": {}}


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize(("kind", "options"), [
    ("PeepholeLSTM", {"inputs": "P"}), ("CoupledLSTM", {"input_forget": 1}), ("LSTM", {"activations": "spelt out"}),
])  # fmt: skip
def test_variants_are_read_as_onnxruntime_reads_them(onnx, onnxruntime, kind, directions, options):
    if "inputs" in options:
        options = {"inputs": {"P": np.random.default_rng(1).normal(size=(directions, 12))}}
    if "activations" in options:
        options = {"activations": ["SIGMOID", "Tanh", "tanh"] * directions}
    proto = graph(onnx, directions=directions, **options)
    model = exchange.from_onnx(proto)
    assert type(model).__name__ == kind
    x, *_ = sequences(model)
    want = infer(onnxruntime, proto, "Y", X=x)[0]
    got = outputs(model, (x,))[0]
    assert_close(got, want.transpose(0, 2, 1, 3).reshape(got.shape), 2e-6)


@pytest.mark.parametrize(("lengths", "message"), [("T", None), ("T - 1", "lengths that are constants")])
def test_lengths_that_are_that_of_the_sequences_are_none(onnx, lengths, message):
    """As exporters from Keras write them."""
    proto, helper = graph(onnx), onnx.helper
    nodes = [helper.make_node("Shape", ["X"], ["T"], start=0, end=1), helper.make_node("Shape", ["X"], ["batch"], start=1, end=2),
             helper.make_node("Sub", ["T", "less"], ["shorter"]), helper.make_node("Expand", ["shorter", "batch"], ["wide"]),
             helper.make_node("Cast", ["wide"], ["lens"], to=onnx.TensorProto.INT32), proto.graph.node[0]]  # fmt: skip
    nodes[-1].input[4] = "lens"
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([int(message is not None)]), "less"))
    if message is None:
        assert_same(exchange.from_onnx(proto), exchange.from_onnx(graph(onnx)))
    else:
        with pytest.raises(ArgumentError, match=message):
            exchange.from_onnx(proto)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("inputs", [{}, {"B": None}, {"initial_h": "learnt"}, {"initial_h": "zeros", "P": "zeros"}],
                         ids=["biases", "no biases", "learnt state", "zeros"])  # fmt: skip
def test_nodes_are_read_as_onnxruntime_reads_them(onnx, onnxruntime, kind, directions, inputs):
    state = np.random.default_rng(2).normal(size=(directions, 1, 4)).repeat(2, axis=1)
    inputs = {"B": None} if "B" in inputs else {name: state if what == "learnt" else 0 * state if name != "P"
              else np.zeros((directions, 12)) for name, what in inputs.items() if name != "P" or kind == "LSTM"}  # fmt: skip
    proto = graph(onnx, kind, directions=directions, inputs=inputs, **LBR[kind])
    model = exchange.from_onnx(proto)
    assert model.initial == ("trained" if "initial_h" in inputs and inputs["initial_h"].any() else "zeros")
    x, *_ = sequences(model)
    want, last, *_ = infer(onnxruntime, proto, X=x)
    got, end, *_ = outputs(model, (x,))
    assert_close(got, want.transpose(0, 2, 1, 3).reshape(got.shape), 2e-6)
    assert_close(end, last, 2e-6)


def test_a_layout_with_the_batch_first(onnx):
    plain, turned = (exchange.from_onnx(graph(onnx, opset=14, layout=layout)) for layout in (0, 1))
    assert turned.batch_first
    x, a, c = sequences(plain)
    np.testing.assert_array_equal(outputs(turned, (x.transpose(1, 0, 2), a, c))[0], outputs(plain, (x, a, c))[0].transpose(1, 0, 2))


def test_a_learnt_state_with_the_batch_first(onnx):
    state = np.random.default_rng(2).normal(size=(2, 1, 4)).repeat(3, axis=1)
    plain, turned = (exchange.from_onnx(graph(onnx, directions=2, layout=layout, inputs={"initial_h": h}))
                     for layout, h in ((0, state), (1, state.transpose(1, 0, 2))))  # fmt: skip
    for name in ("a_0", "c_0"):
        np.testing.assert_array_equal(getattr(turned, name).numpy(), getattr(plain, name).numpy())
    np.testing.assert_array_equal(plain.a_0.numpy(), state[:, 0].astype("f4"))


PEEPHOLES = {"inputs": {"P": np.ones((1, 12))}}
REFUSED = [
    ("LSTM", {"activations": ["HardSigmoid", "Tanh", "Tanh"]}, r"activations=\['hardsigmoid', 'tanh', 'tanh'\]"),
    ("LSTM", {"directions": 2, "activations": ["Sigmoid", "Tanh", "Tanh", "Sigmoid", "Tanh", "Relu"]}, "the same in both directions"),
    ("RNN", {"directions": 2, "activations": ["Tanh", "Relu"]}, "the same in both directions"),
    ("LSTM", {"clip": 3.0}, "clip=3: "),
    ("LSTM", {"input_forget": 1, **PEEPHOLES}, "input_forget=1 and P: "),
    ("LSTM", {"inputs": {"P": np.ones((1, 8))}}, r"P has shape \(1, 8\), needs \(1, 12\)"),
    ("LSTM", {"direction": "reverse"}, "direction='reverse': .*from end to beginning"),
    ("GRU", {}, "linear_before_reset=0: "),
    ("LSTM", {"hidden_size": 5}, "hidden_size=5, but R has 4 columns"),
    ("LSTM", {"inputs": {"R": None}}, "W or R is missing"),
    ("LSTM", {"inputs": {"B": np.zeros((1, 16))}}, r"B has shape \(1, 16\), needs \(1, 32\)"),
    ("LSTM", {"inputs": {"W": np.zeros((1, 12, 3))}}, r"W has shape \(1, 12, 3\), needs \(1, 16, 3\)"),
    ("LSTM", {"inputs": {"sequence_lens": np.array([5, 3], np.int32)}}, "sequence_lens: lengths that are constants"),
    ("LSTM", {"inputs": {"initial_h": np.arange(8.0).reshape(1, 2, 4)}}, "differs from sequence to sequence"),
    ("LSTM", {"zoneout": 0.5}, "zoneout: an attribute that is not known"),
    ("LSTM", {"clip": 2.0, "input_forget": 1, **PEEPHOLES}, "node 'the_node': clip=2: .*; node 'the_node': input_forget=1 and P.*nothing was imported"),
]


@pytest.mark.parametrize(("kind", "options", "message"), REFUSED, ids=[message[:30] for *_, message in REFUSED])
def test_what_a_node_has_and_the_model_has_not_is_named(onnx, kind, options, message):
    with pytest.raises(ArgumentError, match=message):
        exchange.from_onnx(graph(onnx, kind, **options))


def test_weights_that_are_no_constants(onnx):
    proto = graph(onnx)
    dropped = [tensor for tensor in proto.graph.initializer if tensor.name != "W"]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(dropped)
    proto.graph.input.append(onnx.helper.make_tensor_value_info("W", onnx.TensorProto.FLOAT, [1, 16, 3]))
    with pytest.raises(ArgumentError, match="W is not a constant of the graph"):
        exchange.from_onnx(proto)


def test_graphs_without_the_one_node(onnx):
    relu = onnx.helper.make_model(onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [], []))
    with pytest.raises(ArgumentError, match="no LSTM, GRU, RNN node: the graph has Relu"):
        exchange.from_onnx(relu)
    one, two = graph(onnx), onnx.compose.add_prefix(graph(onnx, n_a=5), "b/")
    both = onnx.compose.merge_models(one, two, io_map=[])
    with pytest.raises(ArgumentError, match=r"2 recurrent networks: there is 'the_node', a LSTM of 1 layer\(s\), 3 to 4; 'b/the_node'"):
        exchange.from_onnx(both)
    assert exchange.from_onnx(both, "b/the_node").n_a == 5
    with pytest.raises(ArgumentError, match="no recurrent node 'c'"):
        exchange.from_onnx(both, "c")


@pytest.mark.parametrize(("between", "layers"), [
    (lambda h: [h("Squeeze", ["Y", "axes"], ["Z"])], 2),
    (lambda h: [h("Squeeze", ["Y", "axes"], ["D"]), h("Dropout", ["D"], ["Z"])], 2),
    (lambda h: [h("Squeeze", ["Y", "axes"], ["D"]), h("Clip", ["D", "", "half"], ["Z"])], 1),
    (lambda h: [h("Squeeze", ["Y", "axes"], ["D"]), h("Relu", ["D"], ["Z"])], 1),
    (lambda h: [h("Squeeze", ["Y", "axes"], ["D"]), h("Neg", ["D"], ["N"]), h("Neg", ["N"], ["Z"])], 2),
    (lambda h: [h("Squeeze", ["Y", "axes"], ["D"]), h("Transpose", ["D"], ["Z"], perm=[1, 0, 2])], 1),
    (lambda h: [h("Squeeze", ["Y", "axes"], ["D"]), h("Add", ["D", "X4"], ["Z"])], 1),
])  # fmt: skip
def test_layers_are_a_stack_only_if_nothing_is_done_between_them(onnx, between, layers):
    helper = onnx.helper
    first, second = graph(onnx), onnx.compose.add_prefix(graph(onnx, n_x=4, seed=1), "b/")
    second.graph.node[0].input[0] = "Z"
    parts = [*first.graph.initializer, *second.graph.initializer, onnx.numpy_helper.from_array(np.array([1]), "axes"),
             onnx.numpy_helper.from_array(np.float32(0.5), "half")]
    inputs = [*first.graph.input, helper.make_tensor_value_info("X4", onnx.TensorProto.FLOAT, ["T", "B", 4])]
    proto = helper.make_model(helper.make_graph([first.graph.node[0], *between(helper.make_node), second.graph.node[0]], "g", inputs,
                                                list(second.graph.output), parts), opset_imports=first.opset_import)  # fmt: skip
    assert len(exchange.from_onnx(proto, "b/the_node").cells) == layers


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "dropout": 0.3}, {"num_layers": 2, "batch_first": True}])
def test_what_pytorch_exports_is_read(onnx, torch, kind, options, tmp_path):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.layer = torch.nn.Linear(2, 3), getattr(torch.nn, kind)(3, 4, **options)
            self.last = torch.nn.Linear(4 * (1 + self.layer.bidirectional), 5)

        def forward(self, x):
            return self.last(self.layer(self.first(x))[0])

    net = Net().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is another exporter
        torch.onnx.export(net, (torch.zeros(5, 2, 2),), str(tmp_path / "net.onnx"), dynamo=False)
    model = exchange.from_onnx(tmp_path / "net.onnx")
    assert (len(model.cells), model.batch_first) == (options.get("num_layers", 1), "batch_first" in options)
    x, *_ = sequences(model)
    assert_close(outputs(model, (x,))[0], net.layer(torch.tensor(x))[0].detach().numpy(), 2e-6)


# --- Keras -----------------------------------------------------------------------------------


def keras_layer(kind, weights, x, h, c):
    """One direction as keras.layers documents it, for x of shape (T, B, n)."""
    kernel, recurrent, bias = weights
    sigmoid, out = lambda s: 1 / (1 + np.exp(-s)), []
    for x_t in x:
        if kind == "LSTM":
            i, f, g, o = np.split(x_t @ kernel + h @ recurrent + bias, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        elif kind == "GRU":  # reset_after=True
            x_z, x_r, x_h = np.split(x_t @ kernel + bias[0], 3, axis=1)
            h_z, h_r, h_h = np.split(h @ recurrent + bias[1], 3, axis=1)
            z = sigmoid(x_z + h_z)
            h = z * h + (1 - z) * np.tanh(x_h + sigmoid(x_r + h_r) * h_h)
        else:
            h = np.tanh(x_t @ kernel + bias + h @ recurrent)
        out.append(h)
    return np.stack(out)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("imported", [False, True])
def test_keras(kind, directions, layers, imported):
    rng = np.random.default_rng(0)
    gates = len(KERASS[kind])
    if imported:
        n_in, weights = 3, []
        for _ in range(layers):
            for _ in range(directions):
                weights += [rng.normal(size=(n_in, 4 * gates)), rng.normal(size=(4, 4 * gates)),
                            rng.normal(size=(2, 12) if kind == "GRU" else 4 * gates)]  # fmt: skip
            n_in = 4 * directions
        model = exchange.from_keras(weights, bidirectional=directions == 2)
    else:
        model = make(kind, layers=layers, bidirectional=directions == 2)
        weights = exchange.to_keras(model)
        assert_same(exchange.from_keras(weights, bidirectional=directions == 2), model)
    arrays = sequences(model)
    want, *states = arrays
    each = iter(zip(*[iter(weights)] * 3, strict=True))
    for k in range(layers):
        row = k * directions
        parts = [keras_layer(kind, next(each), want[:: 1 - 2 * d], states[0][row + d], states[-1][row + d])[:: 1 - 2 * d]
                 for d in range(directions)]  # fmt: skip
        want = np.concatenate(parts, axis=2)
    assert_close(outputs(model, arrays)[0], want, 1e-12)


def test_keras_refusals():
    weights = exchange.to_keras(make(layers=2))
    assert exchange.from_keras(weights[:2], use_bias=False).cells[0].b_f.numpy().any() == np.False_
    with pytest.raises(ShapeError, match="5 arrays; 3 for each layer"):
        exchange.from_keras(weights[:5])
    with pytest.raises(ShapeError, match=r"recurrent_kernel of layer 1, forward' has shape \(4, 12\).*'bias of layer 1, forward' has shape \(2,\)"):
        exchange.from_keras([*weights[:4], np.zeros((4, 12)), np.zeros(2)])
    with pytest.raises(ShapeError, match=r"'kernel of layer 0, backward' has shape \(4, 16\), needs \(3, 16\)"):
        exchange.from_keras(weights, bidirectional=True)
    with pytest.raises(ShapeError, match=r"first kernel \(n_x, G·n_a\).*4 for LSTM, 3 for GRU, 1 for RNN"):
        exchange.from_keras([np.zeros((3, 20)), np.zeros((4, 20)), np.zeros(20)])
    with pytest.raises(ArgumentError, match="projection=2; Keras' layers have none"):
        exchange.to_keras(make(projection=2))


def test_kerass_own_order_is_in_the_table():
    assert LAYOUTS["Keras"].gates == KERASS
    assert keras.LAYOUT is LAYOUTS["Keras"]


# --- what cannot be ----------------------------------------------------------------------------


class Peephole(LSTMCell):
    pass


class Own(LSTM):
    cell = Peephole


def with_own_cell():
    model = make()
    model.cells[0] = Peephole(3, 4)
    return model


@pytest.mark.parametrize("export", [exchange.to_torch, exchange.to_keras, exchange.to_onnx])
@pytest.mark.parametrize(("model", "message"), [
    (lambda: Own(3, 4), "got a Own; one of LSTM, "),
    (lambda: make("LayerNormLSTM"), "got a LayerNormLSTM; one of LSTM, "),
    (with_own_cell, "a Peephole; cells of the class LSTMCell"),
    (lambda: make(zoneout=0.1), "zoneout"),
    (lambda: CharLM(5, 4), r"got a CharLM.*write to_\w+\(model\.lstm\)"),
    (lambda: "lstm", "got a str"),
])  # fmt: skip
def test_models_that_no_other_framework_has(onnx, export, model, message):
    with pytest.raises(ArgumentError, match=message):
        export(model())


def test_variants_that_only_onnx_has():
    for export in (exchange.to_torch, exchange.to_keras):
        with pytest.raises(ArgumentError, match=r"got a PeepholeLSTM; one of LSTM, GRU, RNN$"):
            export(make("PeepholeLSTM"))


def test_parts_that_a_framework_has_no_place_for(onnx):
    for export in (exchange.to_torch, exchange.to_keras):
        with pytest.raises(ArgumentError, match=r"learnt its initial state.*model\.initial = 'zeros'"):
            export(make(initial="trained"))
    with pytest.raises(ArgumentError, match="projection=2; ONNX's LSTM has none; to_torch keeps it"):
        exchange.to_onnx(make(projection=2))


def test_all_that_is_wrong_with_a_state_dict_is_said_at_once():
    arrays = exchange.to_torch(make(layers=2))
    del arrays["bias_hh_l1"]
    arrays["weight_hh_l1"] = np.zeros((16, 5))
    arrays["weight_ch_l0"] = np.zeros(4)  # peepholes, in some
    with pytest.raises(ShapeError) as caught:
        exchange.from_torch(arrays)
    for part in (r"missing 'bias_hh_l1' (16,)", "unknown 'weight_ch_l0' (4,)", "'weight_hh_l1' has shape (16, 5), needs (16, 4)"):
        assert part in str(caught.value)


def test_the_order_in_a_dict_is_of_no_account():
    model = make(layers=3, bidirectional=True, projection=2)
    assert_same(exchange.from_torch(dict(reversed(exchange.to_torch(model).items()))), model)


@pytest.mark.parametrize(("arrays", "message"), [
    ({}, "no array is called weight_ih_l0: there are none at all"),
    ({"kernel": np.zeros((3, 16))}, "there are 'kernel'; in which order gates are stacked cannot be guessed"),
    ({"weight_ih_l0": np.zeros((16, 3))}, r"weight_ih_l0 \(16, 3\); weight_ih_l0 \(G·n_a, n_x\) and weight_hh_l0"),
    ({"weight_ih_l0": np.zeros((3, 16)), "weight_hh_l0": np.zeros((4, 16))}, "G = 4 for LSTM, 3 for GRU, 1 for RNN"),
    ({"weight_ih_l0": np.zeros((8, 3)), "weight_hh_l0": np.zeros((8, 4))}, "G = 4 for LSTM"),
    ({"weight_ih_l0": np.zeros(3), "weight_hh_l0": np.zeros(0)}, "G = 4 for LSTM"),
    ({**exchange.to_torch(make()), "weight_ih_l99999999": np.zeros((16, 4))}, "unknown 'weight_ih_l99999999'"),
    ({**exchange.to_torch(make()), "weight_ih_l0_reverse": np.zeros((16, 3))}, "missing 'weight_hh_l0_reverse'"),
])  # fmt: skip
def test_state_dicts_that_are_none(arrays, message):
    with pytest.raises(MinigradError, match=message):
        exchange.from_torch(arrays)


# --- files that are not sound --------------------------------------------------------------------


@pytest.mark.parametrize(("name", "library"), [("a.safetensors", "safetensors"), ("a.onnx", "onnx"), ("a.pt", "torch")])
def test_a_file_cut_anywhere_is_refused(name, library, tmp_path):
    pytest.importorskip(library)
    path = tmp_path / name
    exchange.write(make(), path)
    whole = path.read_bytes()
    for size in [*range(0, len(whole), len(whole) // 40), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=name):
            exchange.read(path)


def test_a_flipped_bit_in_our_own_file_is_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    exchange.write(make(), path)
    whole = bytearray(path.read_bytes())
    whole[-3] ^= 4
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match="checksum"):
        exchange.read(path)


class Trap:
    fired = False

    def __reduce__(self):
        return setattr, (Trap, "fired", True)


def test_a_pickle_with_code_is_not_opened(torch, tmp_path):
    path = tmp_path / "trap.pt"
    torch.save({"weight_ih_l0": Trap()}, path)
    with pytest.raises(CheckpointError, match="which is code; a whole file that holds arrays and no code"):
        exchange.read(path)
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError):
        exchange.read(path)
    torch.save(torch.nn.LSTM(3, 4), path)
    with pytest.raises(CheckpointError, match=r"names torch\.nn\.modules\.rnn\.LSTM, which is code.*state_dict\(\), path\) writes one"):
        exchange.read(path)
    assert not Trap.fired
    torch.save(torch.zeros(3), path)
    with pytest.raises(CheckpointError, match="holds a Tensor; a state dict"):
        exchange.read(path)


def test_an_old_pytorch_is_not_trusted_with_a_pickle(torch, tmp_path, monkeypatch):
    exchange.write(make(), tmp_path / "a.pt")
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(ArgumentError, match=r"PyTorch 2\.5\.1\+cpu; 2\.6 or newer"):
        exchange.read(tmp_path / "a.pt")


def test_without_the_libraries(monkeypatch, tmp_path):
    model, path = make(), tmp_path / "a.pt"
    for name in ("torch", "onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DependencyError, match=r"the package torch is not installed; \.pt files are PyTorch's.*pip install torch"):
        exchange.write(model, path)
    path.write_bytes(b"")
    with pytest.raises(DependencyError, match="torch"):
        exchange.read(path)
    with pytest.raises(DependencyError, match="pip install onnx"):
        exchange.to_onnx(model)
    exchange.write(model, tmp_path / "a.safetensors")
    assert exchange.check(model, tmp_path / "a.safetensors") == ("minigrad, reading it back,", 0.0)


def test_things_that_are_no_models(onnx):
    for read in (exchange.from_torch, exchange.from_state, exchange.from_onnx):
        with pytest.raises(ArgumentError, match=r"got a int; .* or the path of a file"):
            read(3)


def test_names_of_files(tmp_path):
    with pytest.raises(ArgumentError, match=r"a file 'a\.h5'; a name that ends in \.safetensors, \.pt"):
        exchange.read(tmp_path / "a.h5")
    with pytest.raises(CheckpointError, match="No such file"):
        exchange.read(tmp_path / "none.safetensors")
    with pytest.raises(OSError, match="nothing was changed there"):
        exchange.write(make(), tmp_path / "none" / "a.safetensors")


# --- our own files, and the command ------------------------------------------------------------------


@pytest.mark.parametrize("kind", CLASSES)
def test_our_own_names(kind, tmp_path):
    options = {"projection": 2} if kind == "LSTM" else {}
    model = make(kind, layers=2, bidirectional=True, initial="trained", **options)
    assert_same(exchange.from_state(model.state), model)
    path = tmp_path / "net.safetensors"
    mg.save(path, {"net": {f"{kind.lower()}.{name}": a for name, a in model.state.items()}, "step": 3})
    assert_same(exchange.read(path), model)
    assert type(exchange.read(path)) is CLASSES[kind]
    with pytest.raises(ShapeError, match=r"missing 'back_cells\.1\.W_"):
        exchange.from_state({n: a for n, a in model.state.items() if not n.startswith("back_cells.1")})


def test_a_character_model_goes_elsewhere(onnx, tmp_path):
    lm = CharLM(7, 4, layers=2)
    mg.save(tmp_path / "lm.safetensors", {"model": lm.state, "carried": None})
    assert main(["convert", str(tmp_path / "lm.safetensors"), str(tmp_path / "lm.onnx")]) == 0
    assert_same(exchange.read(tmp_path / "lm.onnx"), lm.lstm)


def test_own_names_of_no_known_cell():
    with pytest.raises(ArgumentError, match="a cell that learns W_k, b_k; one of LSTM, GRU"):
        exchange.from_state({"cells.0.W_k": np.zeros((4, 7)), "cells.0.b_k": np.zeros(4)})
    with pytest.raises(ArgumentError, match=r"several layers: there are 'a\.', 'b\.'"):
        exchange.from_state({f"{p}.{n}": a for p in "ab" for n, a in make().state.items()})


def test_the_command(torch, onnxruntime, tmp_path, capsys):
    source, graph, back = (str(tmp_path / name) for name in ("net.pt", "net.onnx", "back.safetensors"))
    net = torch.nn.ModuleDict({"a": torch.nn.LSTM(3, 4, 2, bidirectional=True), "b": torch.nn.GRU(2, 3)})
    torch.save(net.state_dict(), source)
    assert main(["convert", source, graph]) == 2
    assert "write prefix='a.'" in capsys.readouterr().err
    assert main(["convert", source, graph, "--prefix", "a", "--lengths", "--state"]) == 0
    out = capsys.readouterr().out
    assert "LSTM 3 to 4, 2 layers, both directions, float32" in out
    assert "onnxruntime computes the same outputs" in out
    assert main(["convert", graph, back, "--dtype", "float64"]) == 0
    assert "PyTorch computes the same outputs" in capsys.readouterr().out
    ours, first = exchange.read(back), exchange.from_torch(net, "a")
    for a, b in zip(outputs(ours), outputs(first, sequences(ours)), strict=True):
        assert_close(a, b, 1e-6)
    assert main(["convert", source, back, "--prefix", "a", "--lengths"]) == 2
    assert main(["convert", graph, back, "--prefix", "a"]) == 2


def test_the_command_notices_what_does_not_compute_the_same(torch, tmp_path, monkeypatch, capsys):
    exchange.write(make(), tmp_path / "a.safetensors")
    model = exchange.read(tmp_path / "a.safetensors")
    assert exchange.check(model, tmp_path / "a.safetensors").difference < 1e-12
    monkeypatch.setattr("models.exchange.convert.to_torch", lambda model, path: exchange.to_torch(make(seed=5), path))
    assert main(["convert", str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")]) == 4
    assert "does not give the outputs" in capsys.readouterr().err
