"""The LSTM of *Understanding Backpropagation as Applied to LSTM*, assembled from ops.

`LSTMCell` reads like the paper's equations, one functional stage a line.  `LSTM` runs
sequences (`models.recurrent`): where nothing is added to the cell, the same mathematics with
the four gates in one block, for speed; asked for names it runs the cell, so that every node
of the paper exists.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg
from minigrad import Tensor
from minigrad.errors import ArgumentError, lesson
from minigrad.nn import Module

from .recurrent import Cell, Columns, Name, Recurrent, Step, beside

State = tuple[Any, Any]
GATES = ("f", "u", "c", "o")


class LSTMCell(Cell):
    """One block of the paper, in its columns: features first, the batch last.

    ``cell(x_t, (a, c), t=None)`` gives (a<t>, c<t>), each of shape (n_a, B) or (n_a,); with `t`
    the nodes of this step are named: ``z<t>``, ``sum_f<t>``, ``Γ_f<t>``, ...

    Parameters
    ----------
    n_x, n_a : int
        Sizes of the input and of the output (and cell state).
    projection : int, optional
        n_p < n_a: the output is a<t> = W_p (tanh(c<t>) ⊙ Γ_o), of n_p numbers (Sak et al. 2014;
        PyTorch's ``proj_size`` and ``weight_hr``).
    dtype : dtype
    rng : numpy.random.Generator, optional
        Weights and biases are drawn from U(±1/√n_a).
    scope : str

    Attributes
    ----------
    W_f, W_u, W_c, W_o : Parameter, shape (n_a, n_a + n_x), with a projection (n_a, n_p + n_x)
        Columns in the order of z<t> = [a<t-1>, x<t>].
    b_f, b_u, b_c, b_o : Parameter, shape (n_a,)
    W_p : Parameter, shape (n_p, n_a)
        With a projection.
    scope : str
        Put before every name, for instance ``layer1/``.
    """

    def __init__(self, n_x: int, n_a: int, *, projection: int | None = None, **options: Any) -> None:
        if projection is not None and not 0 < projection < n_a:
            raise ArgumentError(lesson(type(self).__name__, f"projection={projection} of {n_a} numbers",
                                       "at least 1, fewer than n_a"))  # fmt: skip
        n_out = projection or n_a
        shapes: dict[str, tuple[int, ...]] = {f"W_{g}": (n_a, n_out + n_x) for g in GATES}
        shapes |= {f"b_{g}": (n_a,) for g in GATES}
        if projection:
            shapes["W_p"] = (n_out, n_a)
        self.projection = projection
        super().__init__(n_x, n_a, {"a": n_out, "c": n_a}, shapes, **options)

    def equations(self, x_t: Tensor, seen: Tensor, state: State, name: Name) -> State:
        _, c_prev = state
        z = name(mg.concat([seen, x_t]), "z")

        sum_f = name(self.W_f @ z + beside(self.b_f, z), "sum_f")
        sum_u = name(self.W_u @ z + beside(self.b_u, z), "sum_u")
        sum_c = name(self.W_c @ z + beside(self.b_c, z), "sum_c")
        sum_o = name(self.W_o @ z + beside(self.b_o, z), "sum_o")

        Γ_f = name(mg.sigmoid(sum_f), "Γ_f")
        Γ_u = name(mg.sigmoid(sum_u), "Γ_u")
        c_tilde = name(mg.tanh(sum_c), "c_tilde")
        Γ_o = name(mg.sigmoid(sum_o), "Γ_o")

        c = name(c_prev * Γ_f + Γ_u * c_tilde, "c")
        tanh_c = name(mg.tanh(c), "tanh_c")
        if self.projection:
            return name(self.W_p @ name(tanh_c * Γ_o, "m"), "a"), c
        return name(tanh_c * Γ_o, "a"), c


class LSTM(Recurrent):
    """`LSTMCell` over whole sequences: ``outputs, (a_T, c_T) = lstm(x, (a0, c0))``.

    The parameters and the call are those of `Recurrent`, and ``projection=n_p`` of `LSTMCell`;
    the state is (a, c).  The maps to ``torch.nn.LSTM``, with W_g = [W_ga, W_gx] and its order of
    gates u, f, c, o: ``weight_hh_l{k} = vstack(W_ga)``, ``weight_ih_l{k} = vstack(W_gx)``,
    ``bias_ih_l{k} = concat(b_g)``, ``bias_hh_l{k} = 0``, ``weight_hr_l{k} = W_p`` for ``cells[k]``, and
    with the suffix ``_reverse`` for ``back_cells[k]``.
    """

    cell = LSTMCell

    def _run(self, step: Step, xs: Columns, state: Any) -> tuple[Columns, Any]:
        if type(step) is LSTMCell and not step.projection:
            outputs, c = _by_block(step, xs, *state)
            return outputs, (outputs[-1], c)
        return super()._run(step, xs, state)


def init_forget_bias(net: Module, value: float = 1.0) -> None:
    """Let every LSTM cell of a net begin by remembering: b_f = `value` (Gers et al. 2000).

    A cell whose gates are coupled, Γ_f = 1 − Γ_u, gets b_u = −`value`.
    """
    for cell in _gated(net):
        b = cell.b_f if hasattr(cell, "b_f") else cell.b_u
        b.data = np.full(b.shape, value if hasattr(cell, "b_f") else -value, b.dtype)


def init_chrono(net: Module, T: int, rng: np.random.Generator | None = None) -> None:
    """Let the memories of every LSTM cell of a net last from 1 to `T` steps: b_f = log U(1, T − 1),
    b_u = −b_f (Tallec and Ollivier 2018, section 3).

    Parameters
    ----------
    net : Module
        An LSTM, or any net that holds one.
    T : int
        The longest dependency that is expected, at least 3.
    rng : numpy.random.Generator, optional
    """
    if T < 3:
        raise ArgumentError(lesson("init_chrono", f"T={T}", "at least 3: a time from U(1, T − 1) is drawn"))
    rng = np.random.default_rng(rng)
    for cell in _gated(net):
        b_f = np.log(rng.uniform(1, T - 1, cell.b_u.shape))
        if hasattr(cell, "b_f"):
            cell.b_f.data = b_f.astype(cell.b_f.dtype)
        cell.b_u.data = -b_f.astype(cell.b_u.dtype)


def _gated(net: Module) -> list[Any]:
    """The cells of a net that forget and update."""
    cells = [module for module in net.modules() if hasattr(module, "b_u")]
    if not cells:
        raise ArgumentError(lesson("init", f"a {type(net).__name__} without LSTM cells", "cells with biases b_f and b_u"))
    return cells


def _by_block(cell: LSTMCell, xs: Any, a: Tensor, c: Tensor) -> tuple[list[Tensor], Tensor]:
    """The four gates as the rows of one product, sigmoids side by side.

    The bias is a last column of the weights, met by a row of ones below x<t>.
    """
    n = cell.n_a
    order = ("f", "u", "o", "c")
    W = mg.concat([mg.concat([getattr(cell, f"W_{g}") for g in order]),
                   mg.concat([getattr(cell, f"b_{g}") for g in order]).reshape(4 * n, 1)], axis=1)  # fmt: skip
    one = mg.tensor(np.ones((1, a.shape[1]), W.dtype))
    outputs = []
    for x_t in xs:
        gates, sum_c = mg.split(W @ mg.concat([a, x_t, one]), [3 * n])
        Γ_f, Γ_u, Γ_o = mg.split(mg.sigmoid(gates), 3)
        c = c * Γ_f + Γ_u * mg.tanh(sum_c)
        a = mg.tanh(c) * Γ_o
        outputs.append(a)
    return outputs, c
