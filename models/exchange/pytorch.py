"""PyTorch's state dicts: ``weight_ih_l0``, ``weight_hh_l0``, ``bias_ih_l0``, ``bias_hh_l0`` and so on
for every layer, ``_reverse`` for the other direction, ``weight_hr`` for a projection."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.errors import ArgumentError, ShapeError, lesson

from .arrays import Array, chosen, common_dtype, flat, refuse_differences, under
from .files import read_arrays, write_arrays
from .layouts import GATES_OF_KINDS, LAYOUTS, Layers, Weights, kind_by_size, model_of, weights_of

LAYOUT = LAYOUTS["PyTorch"]
FIRST = "weight_ih_l0"
PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
NAME = re.compile(rf"({'|'.join(PARTS)}|weight_hr)_l(\d+)(_reverse)?")
REVERSE = ("", "_reverse")


def to_torch(model: Any, path: str | os.PathLike[str] | None = None, *, prefix: str = "") -> dict[str, Array]:
    """The parameters of a model as the state dict of its namesake in ``torch.nn``.

    PyTorch adds two biases to each gate; ours goes into ``bias_ih``, and ``bias_hh`` is zero, but for
    the GRU's ``b_hn``.  The gradient of either, there, is the gradient of ours.

    Parameters
    ----------
    model : LSTM, GRU or RNN
    path : path-like, optional
        Write the arrays there as well: a ``.safetensors`` or, with PyTorch installed, a ``.pt`` file.
    prefix : str
        Put before every name, for instance ``encoder.lstm.``.

    Returns
    -------
    dict of arrays
        Copies, of the model's dtype.  ``load_state_dict({k: torch.from_numpy(a) for k, a in
        arrays.items()})`` loads them.

    Raises
    ------
    ArgumentError
        The model has something that PyTorch's has not.
    """
    kind = LAYOUT.kind_of(model, "to_torch")
    if model.initial == "trained":
        raise ArgumentError(lesson(
            "to_torch", "the model learnt its initial state", "PyTorch's layers take theirs from the caller",
            "give a_0 and c_0 to PyTorch's call yourself, and export after `model.initial = 'zeros'`"))  # fmt: skip
    arrays: dict[str, Array] = {}
    for k, layer in enumerate(weights_of(model, LAYOUT.gates[kind])):
        for w, reverse in zip(layer, REVERSE, strict=False):
            parts = dict(zip(PARTS, LAYOUT.stack(kind, w), strict=True))
            if w.projection is not None:
                parts["weight_hr"] = w.projection.copy()
            arrays |= {f"{prefix}{part}_l{k}{reverse}": array for part, array in parts.items()}
    if path is not None:
        write_arrays(Path(path), arrays, unsaid(model))
    return arrays


def from_torch(source: Any, prefix: str | None = None, *, dtype: Any = None, **options: Any) -> Any:
    """The model whose parameters are a PyTorch state dict's.

    Kind, sizes, layers, directions and projection are read off the arrays' shapes.

    Parameters
    ----------
    source : dict, path-like or torch.nn.Module
        Arrays or PyTorch tensors by name, nested or not; a ``.safetensors`` file; a ``.pt`` file, read
        with ``weights_only=True``, so that nothing in it is executed; or a module, whose
        ``batch_first``, ``dropout`` and ``nonlinearity`` are kept as well.
    prefix : str, optional
        Where the layer's arrays are in the state dict of a larger model: ``encoder.lstm``.  It may be
        left out where there is only one such layer.
    dtype : dtype, optional
        Of the model.  By default the widest of the arrays' own: nothing is rounded; half precisions
        become float32.
    **options
        What a state dict does not say, for the model's constructor: ``batch_first``, ``dropout``,
        an RNN's ``nonlinearity`` if it is not PyTorch's default.  A ``.safetensors`` file of `to_torch` does
        say the first and the last.

    Returns
    -------
    LSTM, GRU or RNN

    Raises
    ------
    ShapeError
        Arrays that are missing, unknown or misshapen: all of them are listed.
    ArgumentError
        No such layer, or several and no `prefix`.
    CheckpointError
        The file cannot be read, is damaged, or holds more than arrays.
    """
    module = source if hasattr(source, "state_dict") else None
    if isinstance(source, (str, os.PathLike)):
        source, said = read_arrays(Path(source))
        options = said | options
    # a cell's names, weight_ih, are those of a layer without its number
    arrays = {re.sub(r"(weight|bias)_(ih|hh)$", r"\g<0>_l0", name): a
              for name, a in flat(module.state_dict() if module else source).items()}  # fmt: skip
    prefix = chosen(
        prefix, (name.removesuffix(FIRST) for name in arrays if name.endswith(FIRST)), "from_torch",
        f"array is called {FIRST}: there are {', '.join(map(repr, sorted(arrays)[:12])) or 'none at all'}; in which "
        "order gates are stacked cannot be guessed from arrays under other names")  # fmt: skip
    if module:
        options = _said_by(module.get_submodule(prefix.rstrip("."))) | options
    arrays = {name: a for name, a in under(arrays, prefix).items() if "." not in name}
    kind, layers = _layers(arrays)
    return model_of(kind, layers, common_dtype(arrays, dtype, "from_torch"), **options)


def unsaid(model: Any) -> dict[str, Any]:
    """What a state dict does not say, and outputs depend on."""
    cell = model.cells[0]
    return {"batch_first": model.batch_first} | ({"nonlinearity": cell.nonlinearity} if hasattr(cell, "nonlinearity") else {})


def _said_by(layer: Any) -> dict[str, Any]:
    """A layer's options that its state dict does not say."""
    said = {name: getattr(layer, name) for name in ("batch_first", "dropout", "nonlinearity") if hasattr(layer, name)}
    if getattr(layer, "num_layers", 1) == 1:
        said.pop("dropout", None)  # it has no effect there, and is refused here
    return said


def _layers(arrays: dict[str, Array]) -> tuple[str, Layers]:
    """The arrays by layer, direction and gate, after all their shapes were checked."""
    found = {name: a.shape for name, a in arrays.items()}
    kind, rows, n_x, n_a, n_out = _sizes(found)
    keys = [match.groups() for name in arrays if (match := NAME.fullmatch(name))]
    parts = {part for part, *_ in keys}
    depth = len({int(k) for _, k, _ in keys})
    suffixes = REVERSE if any(reverse for *_, reverse in keys) else REVERSE[:1]
    needed: dict[str, tuple[int, ...]] = {}
    for k in range(depth):
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, len(suffixes) * n_out if k else n_x), "weight_hh": (rows, n_out)}
        if "weight_hr" in parts:
            shapes["weight_hr"] = (n_out, n_a)
        if parts & {"bias_ih", "bias_hh"}:  # none of them: bias=False
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        needed |= {f"{part}_l{k}{reverse}": s for part, s in shapes.items() for reverse in suffixes}
    refuse_differences(found, needed, "from_torch")

    none = np.zeros(rows)

    def weights(suffix: str) -> Weights:
        x, a, b_x, b_a = (arrays.get(part + suffix, none) for part in PARTS)
        return LAYOUT.split(kind, x, a, b_x, b_a)._replace(projection=arrays.get(f"weight_hr{suffix}"))

    return kind, [tuple(weights(f"_l{k}{reverse}") for reverse in suffixes) for k in range(depth)]


def _sizes(found: dict[str, tuple[int, ...]]) -> tuple[str, int, int, int, int]:
    """Kind, rows, n_x, n_a and n_out, from the first array of each part; of any layer, but for n_x."""
    parts = (FIRST, "weight_hh_l", "weight_hr_l")
    first = [next(((name, shape) for name, shape in found.items() if name.startswith(part)), ("", ())) for part in parts]
    ih, hh, hr = (shape for _, shape in first)
    if len(ih) == len(hh) == 2 and len(hr) in (0, 2):
        n_a = hr[1] if hr else hh[1]
        kind = kind_by_size(ih[0], n_a)
        if kind is not None and hh[0] == ih[0] and ih[1]:
            return kind, ih[0], ih[1], n_a, hh[1]
    given = ", ".join(f"{name} {shape}" for name, shape in first if name)
    raise ShapeError(lesson("from_torch", given, f"weight_ih_l0 (G·n_a, n_x) and weight_hh_l0 (G·n_a, n_a), {GATES_OF_KINDS}",
                            "nothing was imported"))  # fmt: skip
