"""What all forms of the derivation share: names, shapes, dtypes, the sigmoid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Params = Mapping[str, ArrayLike]
State = tuple[ArrayLike, ArrayLike]

WEIGHTS = ("W_f", "W_u", "W_c", "W_o")
BIASES = ("b_f", "b_u", "b_c", "b_o")


class Named(dict[str, Array]):
    """Arrays by node name; ``Gamma_f<2>`` and ``c_tilde<2>`` find ``Γ_f<2>`` and ``c̃<2>``."""

    def __missing__(self, name: str) -> Array:
        greek = name.replace("Gamma_", "Γ_").replace("c_tilde", "c̃")
        if greek == name:
            raise KeyError(name)
        return self[greek]


def check_shapes(T: int, B: int, n_a: int, n_x: int | None = None, **arrays: Any) -> None:
    """Refuse shapes that NumPy would broadcast in silence."""
    wanted = {"x": (T, B, n_x), "d_outputs": (T, B, n_a)}
    for name, array in arrays.items():
        if np.shape(array) != wanted.get(name, (B, n_a)):
            raise ValueError(f"lstm_manual: {name} has shape {np.shape(array)}; "
                             f"it needs {wanted.get(name, (B, n_a))}")  # fmt: skip


def sigmoid(x: Array) -> Array:
    """σ(x) = 1 / (1 + exp(-x)), written with tanh.

    σ(x) = (1 + tanh(x/2)) / 2 is the same function, but cannot overflow, and NumPy's tanh
    takes complex numbers, so derivatives can be checked by a complex step.
    """
    return (1 + np.tanh(x / 2)) / 2


def named_at(t: int, **values: Array) -> dict[str, Array]:
    return {f"{name}<{t}>": value for name, value in values.items()}


def common_dtype(params: Params, *others: ArrayLike) -> np.dtype[Any]:
    """That of the parameters, made complex if anything is complex."""
    return np.result_type(*params.values(), *(1j for other in others if np.iscomplexobj(other)))
