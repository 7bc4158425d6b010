"""Convert a recurrent model between files: PyTorch's (.safetensors, .pt) and ONNX graphs (.onnx).

What was written is read by the framework that it is meant for, if that is installed, and the
outputs are compared.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg
from minigrad.errors import ArgumentError, CheckpointError, DependencyError, lesson

from ..recurrent import joined
from .arrays import Array, library
from .files import TENSORS, TORCH, read_arrays, refuse_name
from .graphs import STATE, to_onnx
from .nodes import from_onnx
from .own import FIRST, from_state
from .pytorch import from_torch, to_torch, unsaid

ONNX = (".onnx",)
FILES = TENSORS + TORCH + ONNX


def read(path: str | os.PathLike[str], **options: Any) -> Any:
    """The model in a file.

    Parameters
    ----------
    path : path-like
        ``.onnx``: an ONNX graph.  ``.safetensors``, ``.pt``: a PyTorch state dict, or a checkpoint of
        minigrad's own with a recurrent model somewhere in it.
    **options
        As for `from_onnx`, `from_torch` or `from_state`: ``node`` or ``prefix``, ``dtype``, ...

    Returns
    -------
    LSTM, GRU or RNN
    """
    path = Path(path)
    refuse_name(path, FILES)
    if path.suffix in ONNX:
        return from_onnx(path, **options)
    arrays, said = read_arrays(path)
    return (from_state if any(map(FIRST.fullmatch, arrays)) else from_torch)(arrays, **said | options)


def write(model: Any, path: str | os.PathLike[str], **options: Any) -> None:
    """Write a model to a file, in the format that its name ends in.

    Parameters
    ----------
    model : LSTM, GRU or RNN
    path : path-like
    **options
        As for `to_onnx` or `to_torch`.
    """
    path = Path(path)
    refuse_name(path, FILES)
    (to_onnx if path.suffix in ONNX else to_torch)(model, path, **options)


class Agreement(NamedTuple):
    """How well a file holds a model.

    Attributes
    ----------
    witness : str
        Who computed the outputs from the file.
    difference : float
        The largest between its outputs and the model's, relative to max(1, largest output).
    """

    witness: str
    difference: float


def check(model: Any, path: str | os.PathLike[str], rng: np.random.Generator | None = None) -> Agreement:
    """Compare a model with what a file that was written of it gives, on random sequences.

    The file is run by PyTorch or onnxruntime.  Where that is not installed, or does not compute in the
    file's dtype, minigrad reads it back, which shows damage but no misunderstanding.

    Parameters
    ----------
    model : LSTM, GRU or RNN
    path : path-like
    rng : numpy.random.Generator, optional

    Returns
    -------
    Agreement
    """
    path, rng, training = Path(path), np.random.default_rng(rng), model.training
    x = rng.normal(size=(3, 7, model.n_x) if model.batch_first else (7, 3, model.n_x)).astype(model.dtype)
    rows = len(model.cells) + len(model.back_cells)
    state = [rng.normal(size=(rows, 3, n)).astype(model.dtype) for n in model.sizes.values()]
    try:
        witness, got = (_onnxruntime if path.suffix in ONNX else _torch)(model, path, x, state)
    except DependencyError:
        again = read(path, **({} if path.suffix in ONNX else unsaid(model))).eval()
        witness, got = "minigrad, reading it back,", again(x, joined(state))[0].numpy()
    try:
        with mg.no_grad():
            want = model.eval()(x, joined(state) if state else None)[0].numpy()
    finally:
        model.train(training)
    return Agreement(witness, float(np.abs(got - want).max() / max(1.0, np.abs(want).max())))


def _torch(model: Any, path: Path, x: Array, state: list[Array]) -> tuple[str, Array]:
    torch = library("torch", "check", "it runs what was written")
    sizes = {"proj_size": model.sizes["a"]} if model.sizes["a"] != model.n_a else {}
    net = getattr(torch.nn, type(model).__name__)(
        model.n_x, model.n_a, len(model.cells), bidirectional=bool(model.back_cells),
        dtype=getattr(torch, model.dtype.name), **sizes, **unsaid(model))  # fmt: skip
    net.load_state_dict({name.rpartition(".")[2]: torch.tensor(a) for name, a in read_arrays(path)[0].items()})
    with torch.no_grad():
        outputs, _ = net(torch.tensor(x), joined(map(torch.tensor, state)))
    return "PyTorch", outputs.numpy()


def _onnxruntime(model: Any, path: Path, x: Array, state: list[Array]) -> tuple[str, Array]:
    onnxruntime = library("onnxruntime", "check", "it runs what was written")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    asked = {each.name: each.type for each in session.get_inputs()}
    if asked["input"] != "tensor(float)":
        raise DependencyError(lesson("check", f"a graph of {asked['input']}", "onnxruntime computes LSTMs in float32"))
    if "h_0" not in asked:
        state.clear()  # the graph begins as the model does
    given = {"input": x, "lengths": np.full(3, 7), **{f"{STATE[part]}_0": s for part, s in zip(model.sizes, state, strict=False)}}
    feed = {name: given[name].astype(np.int32 if name == "lengths" else np.float32) for name in asked}
    return "onnxruntime", session.run(["output"], feed)[0]


# --- python -m models convert ----------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``python -m models convert``."""
    kinds = ", ".join(FILES)
    parser.add_argument("source", type=Path, metavar="IN", help=f"the file to read: {kinds}")
    parser.add_argument("target", type=Path, metavar="OUT", help="the file to write; its name says the format, as IN's")
    parser.add_argument("--prefix", help="of the arrays' names, where IN has those of several models")
    parser.add_argument("--node", help="a node of the one that is meant, where an ONNX graph has several")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="of the arrays in OUT (default: as in IN)")
    parser.add_argument("--batch-first", action="store_true", help="sequences are (B, T, n): where IN does not say it")
    parser.add_argument("--relu", action="store_true", help="an RNN has ReLUs: where IN does not say it")
    parser.add_argument("--state", action="store_true", help="an ONNX graph takes the initial state as an input")
    parser.add_argument("--lengths", action="store_true", help="an ONNX graph takes the lengths of sequences as an input")


def run(args: argparse.Namespace) -> int:
    """Convert, then check what was written."""
    from ..terminal import facts  # with all that trains

    said: dict[str, Any] = {name: getattr(args, name) for name in ("prefix", "node", "dtype") if getattr(args, name)}
    said |= {"batch_first": True} if args.batch_first else {}
    said |= {"nonlinearity": "relu"} if args.relu else {}
    asked: dict[str, Any] = {name: True for name in ("state", "lengths") if getattr(args, name)}
    for path in (args.source, args.target):
        refuse_name(path, FILES)
    to_graph, from_graph = (path.suffix in ONNX for path in (args.target, args.source))
    for name, fits in (("node", from_graph), ("prefix", not from_graph), ("state", to_graph), ("lengths", to_graph)):
        if getattr(args, name) and not fits:
            raise ArgumentError(f"--{name}: not for {args.source} to {args.target}; see python -m models convert --help")
    model = read(args.source, **said)
    write(model, args.target, **asked)
    found = check(model, args.target, np.random.default_rng(0))
    single = model.dtype == np.float32
    facts([("read", f"{args.source}: {describe(model)}"), ("written", str(args.target)),
           ("checked", f"{found.witness} computes the same outputs from it, but for {found.difference:.1e}")])  # fmt: skip
    if found.difference > (1e-5 if single else 1e-12):
        raise CheckpointError(lesson("convert", f"{args.target} does not give the outputs of {args.source}"))
    return 0


def describe(model: Any) -> str:
    """A model in a line: ``LSTM 3 to 8, 2 layers, both directions, float32``."""
    said = [f"{type(model).__name__} {model.n_x} to {model.n_a}", f"{len(model.cells)} layer{'s' * (len(model.cells) > 1)}"]
    said += ["both directions"] * bool(model.back_cells)
    said += [f"projection to {model.sizes['a']}"] * (model.sizes["a"] != model.n_a)
    said += ["learnt initial state"] * (model.initial == "trained") + ["batch first"] * model.batch_first
    return ", ".join([*said, model.dtype.name])
