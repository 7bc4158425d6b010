"""LSTMs with other cells, and how such a cell is written: what it learns, and its equations.

`models.recurrent` does the rest: layers, directions, lengths, dropouts, states, names.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import minigrad as mg
from minigrad import Tensor
from minigrad.nn import Parameter

from .recurrent import Cell, Name, Recurrent, beside

State = tuple[Any, Any]
Shapes = dict[str, tuple[int, ...]]


def affine(gates: str, n_x: int, n_a: int) -> Shapes:
    """W_g (n_a, n_a + n_x) and b_g (n_a,) of some gates."""
    return {f"W_{g}": (n_a, n_a + n_x) for g in gates} | {f"b_{g}": (n_a,) for g in gates}


def learn_norms(cell: Cell, names: tuple[str, ...], dtype: Any) -> None:
    """Scales of layer norms, ones at first, and the one shift that is no gate's bias, b_out."""
    for name, value in {**{f"g_{name}": 1.0 for name in names}, "b_out": 0.0}.items():
        setattr(cell, name, Parameter(np.full(cell.n_a, value), dtype, name=cell.scope + name))


class PeepholeCell(Cell):
    """Gates that look at the memory: Γ_f and Γ_u at c<t-1>, Γ_o at c<t> (Gers and Schmidhuber
    2000), each number at its own through p_f, p_u, p_o (n_a,); ONNX's P is [p_u, p_o, p_f]."""

    def __init__(self, n_x: int, n_a: int, **options: Any) -> None:
        shapes = affine("fuco", n_x, n_a) | {f"p_{g}": (n_a,) for g in "fuo"}
        super().__init__(n_x, n_a, {"a": n_a, "c": n_a}, shapes, **options)

    def equations(self, x_t: Tensor, seen: Tensor, state: State, name: Name) -> State:
        _, c_prev = state
        z = name(mg.concat([seen, x_t]), "z")
        sum_f = name(self.W_f @ z + beside(self.p_f, z) * c_prev + beside(self.b_f, z), "sum_f")
        sum_u = name(self.W_u @ z + beside(self.p_u, z) * c_prev + beside(self.b_u, z), "sum_u")
        sum_c = name(self.W_c @ z + beside(self.b_c, z), "sum_c")
        c = name(c_prev * mg.sigmoid(sum_f) + mg.sigmoid(sum_u) * mg.tanh(sum_c), "c")
        sum_o = name(self.W_o @ z + beside(self.p_o, z) * c + beside(self.b_o, z), "sum_o")
        return name(mg.tanh(c) * mg.sigmoid(sum_o), "a"), c


class CoupledCell(Cell):
    """What is forgotten makes room for what comes: Γ_f = 1 − Γ_u (Greff et al. 2015; ONNX's
    ``input_forget``).  No W_f, no b_f."""

    def __init__(self, n_x: int, n_a: int, **options: Any) -> None:
        super().__init__(n_x, n_a, {"a": n_a, "c": n_a}, affine("uco", n_x, n_a), **options)

    def equations(self, x_t: Tensor, seen: Tensor, state: State, name: Name) -> State:
        _, c_prev = state
        z = name(mg.concat([seen, x_t]), "z")
        Γ_u = name(mg.sigmoid(self.W_u @ z + beside(self.b_u, z)), "Γ_u")
        c_tilde = name(mg.tanh(self.W_c @ z + beside(self.b_c, z)), "c_tilde")
        Γ_o = name(mg.sigmoid(self.W_o @ z + beside(self.b_o, z)), "Γ_o")
        c = name(c_prev * (1 - Γ_u) + Γ_u * c_tilde, "c")
        return name(mg.tanh(c) * Γ_o, "a"), c


class LayerNormCell(Cell):
    """Each sum at mean 0 and variance 1 over the units, then scaled by g and shifted by b, and so
    is c<t> on its way into a<t>, though not on to c<t+1> (Ba et al. 2016, gate by gate).  No
    variant is agreed upon: theirs norms W_ga a<t-1> and W_gx x<t> apart."""

    def __init__(self, n_x: int, n_a: int, *, dtype: Any = np.float32, **options: Any) -> None:
        super().__init__(n_x, n_a, {"a": n_a, "c": n_a}, affine("fuco", n_x, n_a), dtype=dtype, **options)
        learn_norms(self, ("f", "u", "c", "o", "out"), dtype)

    def equations(self, x_t: Tensor, seen: Tensor, state: State, name: Name) -> State:
        _, c_prev = state
        z = name(mg.concat([seen, x_t]), "z")
        sum_f = name(mg.layer_norm(self.W_f @ z, self.g_f, self.b_f, axis=0), "sum_f")
        sum_u = name(mg.layer_norm(self.W_u @ z, self.g_u, self.b_u, axis=0), "sum_u")
        sum_c = name(mg.layer_norm(self.W_c @ z, self.g_c, self.b_c, axis=0), "sum_c")
        sum_o = name(mg.layer_norm(self.W_o @ z, self.g_o, self.b_o, axis=0), "sum_o")
        c = name(c_prev * mg.sigmoid(sum_f) + mg.sigmoid(sum_u) * mg.tanh(sum_c), "c")
        out = name(mg.layer_norm(c, self.g_out, self.b_out, axis=0), "out")
        return name(mg.tanh(out) * mg.sigmoid(sum_o), "a"), c


class JoinedCell(Cell):
    """All three at once: peepholes, coupled gates, layer norm."""

    def __init__(self, n_x: int, n_a: int, *, dtype: Any = np.float32, **options: Any) -> None:
        shapes = affine("uco", n_x, n_a) | {"p_u": (n_a,), "p_o": (n_a,)}
        super().__init__(n_x, n_a, {"a": n_a, "c": n_a}, shapes, dtype=dtype, **options)
        learn_norms(self, ("u", "c", "o", "out"), dtype)

    def equations(self, x_t: Tensor, seen: Tensor, state: State, name: Name) -> State:
        _, c_prev = state
        z = name(mg.concat([seen, x_t]), "z")
        sum_u = mg.layer_norm(self.W_u @ z + beside(self.p_u, z) * c_prev, self.g_u, self.b_u, axis=0)
        sum_c = mg.layer_norm(self.W_c @ z, self.g_c, self.b_c, axis=0)
        Γ_u = name(mg.sigmoid(name(sum_u, "sum_u")), "Γ_u")
        c = name(c_prev * (1 - Γ_u) + Γ_u * mg.tanh(name(sum_c, "sum_c")), "c")
        sum_o = mg.layer_norm(self.W_o @ z + beside(self.p_o, z) * c, self.g_o, self.b_o, axis=0)
        out = name(mg.layer_norm(c, self.g_out, self.b_out, axis=0), "out")
        return name(mg.tanh(out) * mg.sigmoid(name(sum_o, "sum_o")), "a"), c


class PeepholeLSTM(Recurrent):
    """`PeepholeCell` over whole sequences."""

    cell = PeepholeCell


class CoupledLSTM(Recurrent):
    """`CoupledCell` over whole sequences."""

    cell = CoupledCell


class LayerNormLSTM(Recurrent):
    """`LayerNormCell` over whole sequences."""

    cell = LayerNormCell


class JoinedLSTM(Recurrent):
    """`JoinedCell` over whole sequences."""

    cell = JoinedCell
