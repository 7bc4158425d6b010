"""Keras: the list that ``layer.get_weights()`` gives and ``layer.set_weights()`` takes, kernel,
recurrent kernel and bias of each direction of each layer, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad.errors import ArgumentError, ShapeError, lesson

from .arrays import Array, common_dtype, plain, refuse_differences
from .layouts import GATES_OF_KINDS, LAYOUTS, Weights, kind_by_size, model_of, weights_of

LAYOUT = LAYOUTS["Keras"]
PARTS = ("kernel", "recurrent_kernel", "bias")


def to_keras(model: Any) -> list[Array]:
    """The parameters of a model as Keras' layers hold them.

    Parameters
    ----------
    model : LSTM, GRU or RNN
        For Keras' LSTM, GRU with ``reset_after=True``, its default, or SimpleRNN.

    Returns
    -------
    list of arrays
        For each layer ``kernel`` (n_in, G·n_a), ``recurrent_kernel`` (n_a, G·n_a) and ``bias`` (G·n_a,), the
        GRU's (2, G·n_a); of a bidirectional one first the forward, then the reverse direction's.  The
        arrays of one layer are what its ``set_weights`` takes.

    Raises
    ------
    ArgumentError
        The model has something that Keras' has not.
    """
    kind = LAYOUT.kind_of(model, "to_keras")
    if model.initial == "trained":
        raise ArgumentError(lesson("to_keras", "the model learnt its initial state", "Keras' layers take theirs from the caller",
                                   "export after `model.initial = 'zeros'`, and give a_0 to Keras' call"))  # fmt: skip
    arrays: list[Array] = []
    for w in (w for layer in weights_of(model, LAYOUT.gates[kind]) for w in layer):
        if w.projection is not None:
            raise ArgumentError(lesson("to_keras", f"projection={len(w.projection)}", "Keras' layers have none",
                                       "to_torch keeps it"))  # fmt: skip
        x, a, *biases = LAYOUT.stack(kind, w)
        arrays += [x, a, np.stack(biases) if kind == "GRU" else biases[0]]
    return arrays


def from_keras(arrays: Sequence[Any], *, bidirectional: bool = False, use_bias: bool = True,
               dtype: Any = None, **options: Any) -> Any:  # fmt: skip
    """The model whose parameters Keras' layers hold.

    Parameters
    ----------
    arrays : sequence of arrays
        What ``get_weights()`` gives of one layer, or of several that follow each other.
    bidirectional : bool
        They come from ``Bidirectional`` layers with ``merge_mode="concat"``.
    use_bias : bool
        False for layers that were made so, and have no bias array.
    dtype : dtype, optional
        Of the model; by default the arrays' own, as in `from_torch`.
    **options
        For the model's constructor.  Keras' layers are ``batch_first=True``; a SimpleRNN may have another
        ``nonlinearity``.

    Returns
    -------
    LSTM, GRU or RNN

    Raises
    ------
    ShapeError
        Arrays that are not those of such layers: all that is wrong is listed.
    """
    given = [plain(a) for a in arrays]
    parts = PARTS[: 2 + use_bias]
    directions = ("forward", "backward")[: 1 + bidirectional]
    group = len(parts) * len(directions)
    if not given or len(given) % group:
        raise ShapeError(lesson("from_keras", f"{len(given)} arrays", f"{group} for each layer: {', '.join(parts)}"
                                + ", forward and backward" * bidirectional, "see bidirectional= and use_bias="))  # fmt: skip
    kind, n_x, n_a, width = _sizes(given)
    bias = (2, width) if kind == "GRU" else (width,)
    needed: dict[str, tuple[int, ...]] = {}
    for k in range(len(given) // group):
        shapes = {"kernel": (len(directions) * n_a if k else n_x, width), "recurrent_kernel": (n_a, width), "bias": bias}
        needed |= {f"{part} of layer {k}, {d}": shapes[part] for d in directions for part in parts}
    named = dict(zip(needed, given, strict=True))
    refuse_differences({name: a.shape for name, a in named.items()}, needed, "from_keras")

    def weights(*arrays: Array) -> Weights:
        kernel, recurrent, bias = (*arrays, np.zeros(width))[:3]
        b_x, b_a = bias if bias.ndim == 2 else (bias, np.zeros(width))
        return LAYOUT.split(kind, kernel, recurrent, b_x, b_a)

    each = iter(weights(*given[k : k + len(parts)]) for k in range(0, len(given), len(parts)))
    layers = list(zip(*[each] * len(directions), strict=True))
    return model_of(kind, layers, common_dtype(named, dtype, "from_keras"), **options)


def _sizes(given: Sequence[Array]) -> tuple[str, int, int, int]:
    """Kind, n_x, n_a and columns of the first layer."""
    kernel, recurrent = given[0].shape, given[1].shape
    if len(kernel) == len(recurrent) == 2 and kernel[0] and recurrent[0] and kernel[1] == recurrent[1]:
        kind = kind_by_size(recurrent[1], recurrent[0])
        if kind is not None:
            return kind, kernel[0], recurrent[0], recurrent[1]
    raise ShapeError(lesson(
        "from_keras", f"arrays of shapes {', '.join(str(a.shape) for a in given)}",
        f"first kernel (n_x, G·n_a) and recurrent_kernel (n_a, G·n_a), {GATES_OF_KINDS}", "nothing was imported"))  # fmt: skip
