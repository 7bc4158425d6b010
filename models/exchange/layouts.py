"""How other frameworks lay out the arrays of a recurrent layer.

Everything here goes by name: `Weights` holds a matrix for each gate of the paper, and one table,
`LAYOUTS`, says in which order a framework stacks them.  Import and export are the two
directions of that one table, so neither can disagree with the other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minigrad.errors import ArgumentError, lesson
from minigrad.nn import Module

from ..gru import GRU
from ..lstm import LSTM
from ..recurrent import Recurrent
from ..rnn import RNN
from ..variants import CoupledLSTM, PeepholeLSTM
from .arrays import Array

ByGate = dict[str, Array]
MODELS: dict[str, type[Recurrent]] = {cls.__name__: cls for cls in (LSTM, GRU, RNN, PeepholeLSTM, CoupledLSTM)}


class Weights(NamedTuple):
    """One direction of one layer, gate by gate.

    Attributes
    ----------
    x, a : dict of arrays, (n_a, n_in) and (n_a, n_out)
        What meets the input, and what meets the output of the step before.
    b_x, b_a : dict of arrays, (n_a,)
        Their biases.  Ours is the sum, where the two are nothing but added.
    peephole : dict of arrays, (n_a,)
    projection : array, shape (n_out, n_a), optional
    """

    x: ByGate
    a: ByGate
    b_x: ByGate
    b_a: ByGate
    peephole: ByGate = {}
    projection: Array | None = None


Layers = list[tuple[Weights, ...]]
"""Layer by layer, (forward,) or (forward, reverse)."""


class Layout(NamedTuple):
    """How a framework stacks the gates of a layer.

    Attributes
    ----------
    gates : dict of str to str
        The kinds of layers that it has, and the order of their gates: f forget, u update
        (elsewhere i, the input gate), c candidate (elsewhere g), o output; r reset, z update,
        n new (elsewhere h); a, the only one of an RNN.
    columns : bool
        Side by side, (n_in, gates · n_a), and not one below the other, (gates · n_a, n_in).
    """

    gates: dict[str, str]
    columns: bool = False

    def kind_of(self, model: Any, where: str) -> str:
        """The kind of a model, if the framework has it."""
        kind = type(model).__name__
        if MODELS.get(kind) is not type(model) or kind not in self.gates:
            inside = [f"write {where}(model.{name})" for name, part in vars(model).items()
                      if type(part) in MODELS.values()] if isinstance(model, Module) else []  # fmt: skip
            raise ArgumentError(lesson(where, f"got a {kind}", f"one of {', '.join(self.gates)}", *inside[:1]))
        if any(model.zoneout):
            raise ArgumentError(lesson(where, f"zoneout={model.zoneout}", "with it a step is another, in evaluation too; "
                                       "no other framework has it"))  # fmt: skip
        for cell in (*model.cells, *model.back_cells):
            if type(cell) is not model.cell:
                raise ArgumentError(lesson(where, f"a {type(cell).__name__}", f"cells of the class {model.cell.__name__}"))
        return kind

    def stack(self, kind: str, w: Weights) -> tuple[Array, Array, Array, Array]:
        """What the framework holds: input weights, recurrent weights, and the biases of either."""
        x, a, b_x, b_a = (np.concatenate([part[g] for g in self.gates[kind]]) for part in w[:4])
        return (np.ascontiguousarray(x.T), np.ascontiguousarray(a.T), b_x, b_a) if self.columns else (x, a, b_x, b_a)

    def split(self, kind: str, x: Array, a: Array, b_x: Array, b_a: Array) -> Weights:
        """What the framework holds, gate by gate."""

        def by_gate(whole: Array) -> ByGate:
            gates = self.gates[kind]
            return dict(zip(gates, np.split(whole.T if self.columns else whole, len(gates)), strict=True))

        return Weights(by_gate(x), by_gate(a), by_gate(b_x), by_gate(b_a))


LAYOUTS = {
    "PyTorch": Layout({"LSTM": "ufco", "GRU": "rzn", "RNN": "a"}),
    "ONNX": Layout({"LSTM": "uofc", "PeepholeLSTM": "uofc", "CoupledLSTM": "uofc", "GRU": "zrn", "RNN": "a"}),
    "Keras": Layout({"LSTM": "ufco", "GRU": "zrn", "RNN": "a"}, columns=True),
}
APART = {("GRU", "n"): "b_hn"}
"""Biases that stay what meets the output of the step before: Γ_r ⊙ (W_na a<t-1> + b_hn)."""

KINDS = {len(gates): kind for kind, gates in LAYOUTS["PyTorch"].gates.items()}
GATES_OF_KINDS = "G = " + ", ".join(f"{gates} for {kind}" for gates, kind in KINDS.items())


def kind_by_size(rows: int, n_a: int) -> str | None:
    """The kind of a layer whose arrays have so many rows for all gates together."""
    return KINDS.get(rows // n_a) if n_a and rows % n_a == 0 else None


def weights_of(model: Any, gates: str) -> Layers:
    """The arrays of a model, gate by gate; zeros for a gate that is made from another."""
    kind = type(model).__name__

    def weights(cell: Any) -> Weights:
        held, n_out = cell.state, cell.sizes["a"]
        matrix, vector = (np.zeros(shape, model.dtype) for shape in ((cell.n_a, n_out + cell.n_x), cell.n_a))
        W = {g: held.get(f"W_{g}", matrix) for g in gates}
        return Weights(
            x={g: w[:, n_out:] for g, w in W.items()}, a={g: w[:, :n_out] for g, w in W.items()},
            b_x={g: held.get(f"b_{g}", vector) for g in gates},
            b_a={g: held.get(APART.get((kind, g), ""), vector) for g in gates},
            peephole={g: held[f"p_{g}"] for g in gates if f"p_{g}" in held}, projection=held.get("W_p"))  # fmt: skip

    return [tuple(map(weights, layer)) for layer in zip(*filter(None, (model.cells, model.back_cells)), strict=True)]


def model_of(kind: str, layers: Layers, dtype: Any, **options: Any) -> Any:
    """A model of these arrays; its sizes are theirs."""
    first = layers[0][0]
    n_a, n_x = next(iter(first.x.values())).shape
    if first.projection is not None:
        options["projection"] = first.projection.shape[0]
    model = MODELS[kind](n_x, n_a, layers=len(layers), bidirectional=len(layers[0]) == 2, dtype=dtype, **options)
    for k, layer in enumerate(layers):
        for cells, w in zip((model.cells, model.back_cells), layer, strict=False):
            found = {"W_p": w.projection} | {f"p_{g}": p for g, p in w.peephole.items()}
            for g, bias in w.b_x.items():
                found[f"W_{g}"] = np.hstack([w.a[g], w.x[g]])
                apart = APART.get((kind, g))
                found |= {f"b_{g}": bias, apart: w.b_a[g]} if apart else {f"b_{g}": bias + w.b_a[g]}
            cells[k].state = {name: found[name].astype(dtype) for name in cells[k].state}  # type: ignore[union-attr]
    return model
