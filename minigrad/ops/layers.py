"""Layers that are one or two stages: an affine map, a look-up."""

from __future__ import annotations

from typing import Any

from ..op import publish
from ..tensor import as_tensor
from .indexing import take


def linear(x: Any, weight: Any, /, bias: Any = None) -> Any:
    """``x @ weightᵀ + bias``: x (..., n_in), weight (n_out, n_in), bias (n_out,)."""
    weight = as_tensor(weight)
    y = x @ weight.mT
    return y if bias is None else y + bias


def embedding(indices: Any, weight: Any, /) -> Any:
    """Row i of `weight` for each integer i in `indices`: ``take(weight, indices, axis=0)``."""
    return take(weight, indices, axis=0)


publish("linear", linear)
publish("embedding", embedding)
