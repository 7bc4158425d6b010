"""How other frameworks lay out the arrays of a recurrent layer.

Everything here goes by name: `Weights` holds a matrix for each gate of the paper, and one table,
`LAYOUTS`, says in which order a framework stacks them.  Import and export are the two
directions of that one table, so neither can disagree with the other.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from minigrad import Tensor
from minigrad.errors import ArgumentError, DependencyError, DtypeError, ShapeError, lesson
from minigrad.nn import Module

from ..gru import GRU
from ..lstm import LSTM
from ..recurrent import Recurrent
from ..rnn import RNN

Array = np.ndarray[Any, Any]
ByGate = dict[str, Array]


class Weights(NamedTuple):
    """One direction of one layer, gate by gate.

    Attributes
    ----------
    x, a : dict of arrays, (n_a, n_in) and (n_a, n_out)
        What meets the input, and what meets the output of the step before.
    b_x, b_a : dict of arrays, (n_a,)
        Their biases.  Ours is the sum, where the two are nothing but added.
    projection : array, shape (n_out, n_a), optional
    """

    x: ByGate
    a: ByGate
    b_x: ByGate
    b_a: ByGate
    projection: Array | None = None


class Layout(NamedTuple):
    """The gates of each kind of layer, in the order in which a framework stacks them.

    Attributes
    ----------
    LSTM : str
        f forget, u update (elsewhere i, the input gate), c candidate (elsewhere g), o output.
    GRU : str
        r reset, z update, n new (elsewhere h).
    RNN : str
        a, the only one.
    columns : bool
        Side by side, (n_in, gates · n_a), and not one below the other, (gates · n_a, n_in).
    """

    LSTM: str
    GRU: str
    RNN: str
    columns: bool = False

    def stack(self, kind: str, w: Weights) -> tuple[Array, Array, Array, Array]:
        """What the framework holds: input weights, recurrent weights, and the biases of either."""
        x, a, b_x, b_a = (np.concatenate([part[g] for g in getattr(self, kind)]) for part in w[:4])
        return (np.ascontiguousarray(x.T), np.ascontiguousarray(a.T), b_x, b_a) if self.columns else (x, a, b_x, b_a)

    def split(self, kind: str, x: Array, a: Array, b_x: Array, b_a: Array, projection: Array | None = None) -> Weights:
        """What the framework holds, gate by gate."""

        def by_gate(whole: Array) -> ByGate:
            gates = getattr(self, kind)
            return dict(zip(gates, np.split(whole.T if self.columns else whole, len(gates)), strict=True))

        return Weights(by_gate(x), by_gate(a), by_gate(b_x), by_gate(b_a), projection)


LAYOUTS = {
    "PyTorch": Layout(LSTM="ufco", GRU="rzn", RNN="a"),
    "ONNX": Layout(LSTM="uofc", GRU="zrn", RNN="a"),
    "Keras": Layout(LSTM="ufco", GRU="zrn", RNN="a", columns=True),
}
APART = {("GRU", "n"): "b_hn"}
"""Biases that stay what meets the output of the step before: Γ_r ⊙ (W_na a<t-1> + b_hn)."""

MODELS: dict[str, type[Recurrent]] = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}
GATES = {kind: tuple(sorted(getattr(LAYOUTS["PyTorch"], kind))) for kind in MODELS}
KINDS = {len(gates): kind for kind, gates in GATES.items()}
GATES_OF_KINDS = "G = " + ", ".join(f"{gates} for {kind}" for gates, kind in KINDS.items())


def kind_by_size(rows: int, n_a: int) -> str | None:
    """The kind of a layer whose arrays have so many rows for all gates together."""
    return KINDS.get(rows // n_a) if n_a and rows % n_a == 0 else None




Layers = list[tuple[Weights, ...]]
"""Layer by layer, (forward,) or (forward, reverse)."""


def kind_of(model: Any, where: str) -> str:
    """The name of the model's class, if it is one that other frameworks have."""
    kind = next((kind for kind, cls in MODELS.items() if type(model) is cls), None)
    if kind is None:
        inside = [name for name, part in vars(model).items() if type(part) in MODELS.values()] if isinstance(model, Module) else []
        raise ArgumentError(lesson(where, f"got a {type(model).__name__}", f"one of {', '.join(MODELS)}",
                                   f"write {where}(model.{inside[0]})" if inside else ""))  # fmt: skip
    if any(model.zoneout):
        raise ArgumentError(lesson(where, f"zoneout={model.zoneout}", "with it a step is another, in evaluation too; "
                                   "no other framework has it"))  # fmt: skip
    for cell in (*model.cells, *model.back_cells):
        if type(cell) is not model.cell:
            raise ArgumentError(lesson(where, f"a {type(cell).__name__}", f"cells of the class {model.cell.__name__}: "
                                       "no other framework has yours"))  # fmt: skip
    return kind


def weights_of(model: Any, kind: str) -> Layers:
    """The arrays of a model, gate by gate."""

    def weights(cell: Any) -> Weights:
        W, b = ({g: getattr(cell, f"{letter}_{g}").data for g in GATES[kind]} for letter in "Wb")
        n_out = cell.sizes["a"]
        b_a = {g: getattr(cell, APART[kind, g]).data if (kind, g) in APART else np.zeros_like(b[g]) for g in b}
        return Weights({g: w[:, n_out:] for g, w in W.items()}, {g: w[:, :n_out] for g, w in W.items()}, b, b_a,
                       cell.W_p.data if n_out != cell.n_a else None)  # fmt: skip

    return [tuple(map(weights, layer)) for layer in zip(*filter(None, (model.cells, model.back_cells)), strict=True)]


def model_of(kind: str, layers: Layers, dtype: Any, **options: Any) -> Any:
    """A model of these arrays; its sizes are theirs."""
    first = layers[0][0]
    n_a, n_x = first.x[GATES[kind][0]].shape
    if first.projection is not None:
        options["projection"] = first.projection.shape[0]
    model = MODELS[kind](n_x, n_a, layers=len(layers), bidirectional=len(layers[0]) == 2, dtype=dtype, **options)
    for k, layer in enumerate(layers):
        for cells, w in zip((model.cells, model.back_cells), layer, strict=False):
            state = {f"W_{g}": np.hstack([w.a[g], w.x[g]]) for g in w.x}
            for g, bias in w.b_x.items():
                apart = APART.get((kind, g))
                state |= {f"b_{g}": bias, apart: w.b_a[g]} if apart else {f"b_{g}": bias + w.b_a[g]}
            if w.projection is not None:
                state["W_p"] = w.projection
            cells[k].state = {name: array.astype(dtype) for name, array in state.items()}
    return model


def common_dtype(arrays: Mapping[str, Array], dtype: Any, where: str) -> Any:
    """The dtype of a model of these arrays, none of which loses a digit, unless one is asked for."""
    alien = [f"{name!r} is {a.dtype}" for name, a in arrays.items() if a.dtype.kind != "f"]
    if alien:
        raise DtypeError(lesson(where, "; ".join(alien), "floating-point arrays",
                                "dequantise the weights before"))  # fmt: skip
    return np.dtype(dtype) if dtype is not None else np.result_type(np.float32, *arrays.values())


def plain(value: Any) -> Array:
    """A NumPy array of what a framework calls a tensor; half precisions are widened, exactly."""
    if isinstance(value, Tensor):
        return value.data
    if hasattr(value, "detach"):  # PyTorch's
        value = value.detach().cpu()
        value = (value.float() if "bfloat16" in str(value.dtype) else value).numpy()
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.name in ("float16", "bfloat16") else array


def refuse_differences(found: Mapping[str, tuple[int, ...]], needed: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Refuse arrays that are not the needed ones, with all that is wrong at once."""
    wrong = [f"missing {name!r} {shape}" for name, shape in needed.items() if name not in found]
    wrong += [f"unknown {name!r} {shape}" for name, shape in found.items() if name not in needed]
    wrong += [f"{name!r} has shape {shape}, needs {needed[name]}"
              for name, shape in found.items() if needed.get(name, shape) != shape]  # fmt: skip
    if wrong:
        raise ShapeError(lesson(where, "; ".join(wrong), "nothing was imported"))


def chosen(prefix: str | None, candidates: Iterable[str], where: str, needed: str) -> str:
    """The one place among `candidates` that is meant."""
    known = sorted(set(candidates))
    if not known:
        raise ArgumentError(lesson(where, f"no {needed}"))
    if prefix is None and len(known) == 1:
        return known[0]
    for spelling in () if prefix is None else (prefix, f"{prefix}."):
        if spelling in known:
            return spelling
    given = "several layers" if prefix is None else f"nothing under {prefix!r}"
    raise ArgumentError(lesson(where, f"{given}: there are {', '.join(map(repr, known))}", "one of them",
                               f"write prefix={known[0]!r}"))  # fmt: skip


def library(name: str, where: str, why: str) -> Any:
    """An optional package."""
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise DependencyError(lesson(where, f"the package {package} is not installed", why,
                                     f"pip install {package}")) from None  # fmt: skip
