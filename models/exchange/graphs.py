"""ONNX graphs: a model as a chain of recurrent nodes, one a layer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.errors import ArgumentError, lesson

from .arrays import Array, library
from .files import write_bytes
from .layouts import LAYOUTS, weights_of

LAYOUT = LAYOUTS["ONNX"]
OPSET, IR = 17, 8  # onnxruntime reads them since 1.12
WHY = "it reads and writes ONNX graphs"
STATE = {"a": "h", "c": "c"}
"""What ONNX calls the parts of a state."""

OPS = {"PeepholeLSTM": "LSTM", "CoupledLSTM": "LSTM"}
"""The ONNX operators of models that are called otherwise there."""

INPUTS = {"LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
          "GRU": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
          "RNN": ("X", "W", "R", "B", "sequence_lens", "initial_h")}  # fmt: skip
PEEPHOLES = "uof"
"""The order of the gates in P."""


def to_onnx(model: Any, path: str | os.PathLike[str] | None = None, *, state: bool = False,
            lengths: bool = False, dtype: Any = None) -> Any:  # fmt: skip
    """A model as an ONNX graph: one node a layer, PyTorch's shapes at its inputs and outputs.

    Inputs are ``input`` (T, B, n_x), or (B, T, n_x) for a model with ``batch_first``, and what is
    asked for below; T and B are free.  Outputs are ``output``, ``h_n`` and, for an LSTM, ``c_n``.

    Parameters
    ----------
    model : LSTM, GRU, RNN, PeepholeLSTM or CoupledLSTM
    path : path-like, optional
        Write the graph there as well.
    state : bool
        The caller gives the initial state, in inputs ``h_0`` and ``c_0``.  Otherwise it is the model's:
        zeros, or what it learnt.
    lengths : bool
        The caller gives each sequence's length, in an input ``lengths`` (B,) of int32.
    dtype : dtype, optional
        Of the graph; by default the model's.  onnxruntime computes LSTMs in float32 only.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ArgumentError
        The model has something that ONNX has not: a projection, zoneout, a cell of your own.
    """
    kind, draft = LAYOUT.kind_of(model, "to_onnx"), _Draft(library("onnx", "to_onnx", WHY))
    op = OPS.get(kind, kind)
    if model.sizes["a"] != model.n_a:
        raise ArgumentError(lesson("to_onnx", f"projection={model.sizes['a']}", "ONNX's LSTM has none", "to_torch keeps it"))
    layers = weights_of(model, LAYOUT.gates[kind])
    dtype = np.dtype(model.dtype if dtype is None else dtype)
    names = [STATE[part] for part in model.sizes]
    before, after = _initial_states(draft, model, state, dtype), {name: list[str]() for name in names}
    x = draft.op("Transpose", ["input"], "time_first", perm=[1, 0, 2]) if model.batch_first else "input"
    options: dict[str, Any] = {"hidden_size": model.n_a, "direction": "bidirectional" if model.back_cells else "forward"}
    if kind == "GRU":
        options["linear_before_reset"] = 1
    elif kind == "CoupledLSTM":
        options["input_forget"] = 1
    elif kind == "RNN":
        options["activations"] = [model.cells[0].nonlinearity.title()] * len(layers[0])
    for k, layer in enumerate(layers):
        W, R, *biases = map(np.stack, zip(*(LAYOUT.stack(kind, w) for w in layer), strict=True))
        arrays = {"W": W, "R": R, "B": np.hstack(biases)}
        if layer[0].peephole:
            arrays["P"] = np.stack([np.concatenate([w.peephole[g] for g in PEEPHOLES]) for w in layer])
        held = {name: draft.constant(f"{name}_l{k}", a.astype(dtype)) for name, a in arrays.items()}
        for name in names:
            after[name].append(f"{name}_n" if len(layers) == 1 else f"{name}_n_l{k}")
        held |= {"X": x, "sequence_lens": "lengths" if lengths else ""}
        held |= {f"initial_{name}": before[name][k] for name in names}
        draft.op(op, [held.get(name, "") for name in INPUTS[op]], [f"Y_l{k}", *(after[name][k] for name in names)], **options)  # fmt: skip
        sides = draft.op("Transpose", [f"Y_l{k}"], f"sides_l{k}", perm=[0, 2, 1, 3])  # (T, B, directions, n_a)
        last = k + 1 == len(layers) and not model.batch_first
        x = draft.op("Reshape", [sides, draft.constant("joined", np.array([0, 0, -1]))], "output" if last else f"output_l{k}")
    if model.batch_first:
        draft.op("Transpose", [x], "output", perm=[1, 0, 2])
    if len(layers) > 1:
        for name in names:
            draft.op("Concat", after[name], f"{name}_n", axis=0)
    sequence, rows = ["B", "T"] if model.batch_first else ["T", "B"], len(layers) * len(layers[0])
    states = {name: (dtype, [rows, "B", model.n_a]) for name in names}
    proto = draft.model(
        {"input": (dtype, [*sequence, model.n_x])} | ({"lengths": (np.dtype(np.int32), ["B"])} if lengths else {})
        | {f"{name}_0": what for name, what in states.items() if state},
        {"output": (dtype, [*sequence, model.n_out])} | {f"{name}_n": what for name, what in states.items()})  # fmt: skip
    if path is not None:
        write_bytes(Path(path), proto.SerializeToString())
    return proto


def _initial_states(draft: _Draft, model: Any, given: bool, dtype: Any) -> dict[str, list[str]]:
    """For each part of the state the names of every layer's initial value; "" stands for zeros."""
    depth = len(model.cells)
    if not given and model.initial != "trained":
        return {STATE[part]: [""] * depth for part in model.sizes}
    if not given:
        one, axis = draft.constant("one", np.array([1])), 0 if model.batch_first else 1
        batch = draft.op("Shape", ["input"], "batch", start=axis, end=axis + 1)
        shape = draft.op("Concat", [one, batch, one], "for_each_sequence", axis=0)
        for part in model.sizes:
            learnt = draft.constant(f"{part}_0_learnt", getattr(model, f"{part}_0").data[:, None].astype(dtype))
            draft.op("Expand", [learnt, shape], f"{STATE[part]}_0")
    whole = [f"{STATE[part]}_0" for part in model.sizes]
    if depth == 1:
        return {STATE[part]: [name] for part, name in zip(model.sizes, whole, strict=True)}
    return {STATE[part]: draft.op("Split", [name], [f"{name}_l{k}" for k in range(depth)], axis=0)
            for part, name in zip(model.sizes, whole, strict=True)}  # fmt: skip


class _Draft:
    """A graph in the making."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}

    def constant(self, name: str, value: Array) -> str:
        self.constants[name] = value
        return name

    def op(self, kind: str, inputs: list[str], outputs: Any, **attributes: Any) -> Any:
        """Add a node; the names of its outputs are handed back."""
        names = [outputs] if isinstance(outputs, str) else outputs
        while not inputs[-1]:  # optional inputs at the end are left out
            inputs = inputs[:-1]
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, names, name=names[0], **attributes))
        return outputs

    def model(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
        helper = self.onnx.helper
        ends = ([helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shape)
                 for name, (dtype, shape) in end.items()] for end in (inputs, outputs))  # fmt: skip
        constants = [self.onnx.numpy_helper.from_array(a, name) for name, a in self.constants.items()]
        graph = helper.make_graph(self.nodes, "minigrad", *ends, constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR,
                                 producer_name="minigrad")  # fmt: skip
