"""The gated recurrent unit (Cho et al. 2014), in PyTorch's form, assembled from ops."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad import Tensor

from .recurrent import Cell, Name, Recurrent, beside


class GRUCell(Cell):
    """One step, in columns: ``cell(x_t, a)`` gives a<t>, of shape (n_a, B) or (n_a,).

    Parameters
    ----------
    n_x, n_a : int
    dtype : dtype
    rng : numpy.random.Generator, optional
        Weights and biases are drawn from U(±1/√n_a).
    scope : str

    Attributes
    ----------
    W_r, W_z, W_n : Parameter, shape (n_a, n_a + n_x)
        Columns in the order of [a<t-1>, x<t>].
    b_r, b_z, b_n : Parameter, shape (n_a,)
    b_hn : Parameter, shape (n_a,)
        The bias inside of Γ_r ⊙ (...), that no other can take up.
    """

    def __init__(self, n_x: int, n_a: int, **options: Any) -> None:
        shapes: dict[str, tuple[int, ...]] = {f"W_{g}": (n_a, n_a + n_x) for g in "rzn"}
        shapes |= {f"b_{g}": (n_a,) for g in ("r", "z", "n", "hn")}
        super().__init__(n_x, n_a, {"a": n_a}, shapes, **options)

    def equations(self, x_t: Tensor, seen: Tensor, a_prev: Tensor, name: Name) -> Tensor:
        z, n_a = name(mg.concat([seen, x_t]), "z"), self.n_a

        Γ_r = name(mg.sigmoid(name(self.W_r @ z + beside(self.b_r, z), "sum_r")), "Γ_r")
        Γ_z = name(mg.sigmoid(name(self.W_z @ z + beside(self.b_z, z), "sum_z")), "Γ_z")

        past = name(self.W_n[:, :n_a] @ seen + beside(self.b_hn, z), "past")
        sum_n = name(self.W_n[:, n_a:] @ x_t + beside(self.b_n, z) + Γ_r * past, "sum_n")
        n = name(mg.tanh(sum_n), "n")

        return name((1 - Γ_z) * n + Γ_z * a_prev, "a")


class GRU(Recurrent):
    """`GRUCell` over whole sequences: ``outputs, a_T = gru(x, a0)``.

    The parameters and the call are those of `Recurrent`; the state is a, (layers · directions, B,
    n_a).  The maps to ``torch.nn.GRU``, with W_g = [W_ga, W_gx] and its order of gates r, z, n:
    ``weight_hh_l{k} = vstack(W_ga)``, ``weight_ih_l{k} = vstack(W_gx)``, ``bias_ih_l{k} = concat(b_r, b_z,
    b_n)``, ``bias_hh_l{k} = concat(0, 0, b_hn)`` for ``cells[k]``, and with the suffix ``_reverse`` for
    ``back_cells[k]``.
    """

    cell = GRUCell
