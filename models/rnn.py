"""The simple recurrent net (Elman 1990), assembled from ops."""

from __future__ import annotations

from typing import Any, Literal

import minigrad as mg
from minigrad import Tensor
from minigrad.errors import ArgumentError, lesson

from .recurrent import Cell, Name, Recurrent, beside


class RNNCell(Cell):
    """One step, in columns: ``cell(x_t, a)`` gives a<t> = tanh(W_a [a<t-1>, x<t>] + b_a).

    Parameters
    ----------
    n_x, n_a : int
    nonlinearity : {"tanh", "relu"}
    dtype : dtype
    rng : numpy.random.Generator, optional
        Weights and biases are drawn from U(±1/√n_a).
    scope : str

    Attributes
    ----------
    W_a : Parameter, shape (n_a, n_a + n_x)
        Columns in the order of [a<t-1>, x<t>].
    b_a : Parameter, shape (n_a,)
    """

    def __init__(self, n_x: int, n_a: int, *, nonlinearity: Literal["tanh", "relu"] = "tanh", **options: Any) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ArgumentError(lesson("RNNCell", f"nonlinearity={nonlinearity!r}", "'tanh' or 'relu'"))
        self.nonlinearity = nonlinearity
        super().__init__(n_x, n_a, {"a": n_a}, {"W_a": (n_a, n_a + n_x), "b_a": (n_a,)}, **options)

    def equations(self, x_t: Tensor, seen: Tensor, a_prev: Tensor, name: Name) -> Tensor:
        z = name(mg.concat([seen, x_t]), "z")
        sum_a = name(self.W_a @ z + beside(self.b_a, z), "sum_a")
        return name(mg.tanh(sum_a) if self.nonlinearity == "tanh" else mg.relu(sum_a), "a")


class RNN(Recurrent):
    """`RNNCell` over whole sequences: ``outputs, a_T = rnn(x, a0)``.

    The parameters and the call are those of `Recurrent`, and ``nonlinearity`` of `RNNCell`; the state
    is a, (layers · directions, B, n_a).  The maps to ``torch.nn.RNN``, with W_a = [W_aa, W_ax]:
    ``weight_hh_l{k} = W_aa``, ``weight_ih_l{k} = W_ax``, ``bias_ih_l{k} = b_a``, ``bias_hh_l{k} = 0`` for
    ``cells[k]``, and with the suffix ``_reverse`` for ``back_cells[k]``.
    """

    cell = RNNCell
