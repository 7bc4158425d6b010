"""The LSTM of *Understanding Backpropagation as Applied to LSTM*, assembled from ops.

`LSTMCell` reads like the paper's equations, one functional stage a line.  `LSTM` runs a
sequence: the same mathematics with the four gates in one block, for speed; asked for
names it runs the cell, so that every node of the paper exists.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

import minigrad as mg
from minigrad import Tensor
from minigrad.errors import ArgumentError, ShapeError, lesson
from minigrad.nn import Module, Parameter

State = tuple[Any, Any]
GATES = ("f", "u", "c", "o")


class LSTMCell(Module):
    """One block of the paper, in its columns: features first, the batch last.

    Parameters
    ----------
    n_x, n_a : int
        Sizes of the input and of the output (and cell state).
    dtype : dtype
    rng : numpy.random.Generator, optional
        Weights and biases are drawn from U(±1/√n_a).

    Attributes
    ----------
    W_f, W_u, W_c, W_o : Parameter, shape (n_a, n_a + n_x)
        Columns in the order of z<t> = [a<t-1>, x<t>].
    b_f, b_u, b_c, b_o : Parameter, shape (n_a,)
    scope : str
        Put before every name, for instance ``layer1/``.
    """

    W_f: Tensor
    W_u: Tensor
    W_c: Tensor
    W_o: Tensor
    b_f: Tensor
    b_u: Tensor
    b_c: Tensor
    b_o: Tensor

    def __init__(self, n_x: int, n_a: int, *, dtype: Any = np.float32,
                 rng: np.random.Generator | None = None, scope: str = "") -> None:  # fmt: skip
        if n_x < 1 or n_a < 1:
            raise ArgumentError(lesson("LSTMCell", f"n_x={n_x}, n_a={n_a}", "positive sizes"))
        rng = np.random.default_rng(rng)
        self.n_x, self.n_a, self.scope = n_x, n_a, scope
        k = 1 / np.sqrt(n_a)
        for name, shape in [(f"W_{g}", (n_a, n_a + n_x)) for g in GATES] + [
                (f"b_{g}", (n_a,)) for g in GATES]:  # fmt: skip
            setattr(self, name, Parameter(rng.uniform(-k, k, shape), dtype, name=scope + name))

    def forward(self, x_t: Any, state: State, t: int | None = None) -> tuple[Tensor, Tensor]:
        """One block: (x<t>, (a<t-1>, c<t-1>)) to (a<t>, c<t>).

        Parameters
        ----------
        x_t : array or Tensor, shape (n_x, B) or (n_x,)
        state : (a, c), each of shape (n_a, B) or (n_a,)
        t : int, optional
            Name the nodes of this step: ``z<t>``, ``sum_f<t>``, ``Γ_f<t>``, ...

        Returns
        -------
        a, c : Tensor, shape (n_a, B) or (n_a,)
        """
        if t is None:
            return self._block(x_t, state, None)
        with mg.record_all():  # z<1> joins two constants, and is a stage all the same
            return self._block(x_t, state, t)

    def _block(self, x_t: Any, state: State, t: int | None) -> tuple[Tensor, Tensor]:
        x_t, a_prev, c_prev = self._columns(x_t, *state)
        columns = x_t.ndim == 2
        if t is not None:
            x_t, a_prev, c_prev = (
                self._under(value, f"{self.scope}{label}")
                for value, label in ((x_t, f"x<{t}>"), (a_prev, f"a<{t - 1}>"), (c_prev, f"c<{t - 1}>"))
            )

        def name(stage: Tensor, label: str) -> Tensor:
            return stage if t is None else stage.named(f"{self.scope}{label}<{t}>")

        def b(bias: Tensor) -> Tensor:  # with a batch in columns a bias is a column too
            return bias.reshape(-1, 1) if columns else bias

        z = name(mg.concat([a_prev, x_t]), "z")

        sum_f = name(self.W_f @ z + b(self.b_f), "sum_f")
        sum_u = name(self.W_u @ z + b(self.b_u), "sum_u")
        sum_c = name(self.W_c @ z + b(self.b_c), "sum_c")
        sum_o = name(self.W_o @ z + b(self.b_o), "sum_o")

        Γ_f = name(mg.sigmoid(sum_f), "Γ_f")
        Γ_u = name(mg.sigmoid(sum_u), "Γ_u")
        c_tilde = name(mg.tanh(sum_c), "c_tilde")
        Γ_o = name(mg.sigmoid(sum_o), "Γ_o")

        c = name(c_prev * Γ_f + Γ_u * c_tilde, "c")
        tanh_c = name(mg.tanh(c), "tanh_c")
        a = name(tanh_c * Γ_o, "a")
        return a, c

    def _under(self, value: Tensor, name: str) -> Tensor:
        """`value` under the paper's name; what has another name already keeps it."""
        if value.name is None or value.name == name:
            return value.named(name)
        return mg.positive(value).named(name)

    def _columns(self, *given: Any) -> list[Tensor]:
        """x<t>, a<t-1>, c<t-1> as tensors whose shapes fit: a state of one column would
        otherwise be broadcast over a batch in silence."""
        x_t, a, c = (v if isinstance(v, Tensor) else mg.tensor(v) for v in given)
        batch, n_a = x_t.shape[1:], self.n_a
        if x_t.shape[:1] != (self.n_x,) or not a.shape == c.shape == (n_a, *batch) or len(batch) > 1:
            raise ShapeError(lesson(
                "LSTMCell", f"x_t, a, c have shapes {x_t.shape}, {a.shape}, {c.shape}",
                f"features first: ({self.n_x}, B), ({n_a}, B), ({n_a}, B), the same B, or no B for "
                "one sequence", "write x_t.T if your batch comes first"))  # fmt: skip
        return [x_t, a, c]


class LSTM(Module):
    """A layer, or a stack of them, over whole sequences; PyTorch's shapes outside.

    Parameters
    ----------
    n_x, n_a : int
    layers : int
        Layer k > 0 reads the outputs of layer k − 1.
    initial : {"zeros", "trained", "noisy"}
        The state before the first step where the caller gives none: zeros; parameters
        ``a_0``, ``c_0`` of shape (layers, n_a), one for all sequences of a batch; or drawn
        from N(0, noise²) at every call while training (zeros in evaluation).
    noise : float
    dtype : dtype
    rng : numpy.random.Generator, optional
        Draws the parameters, and the noisy states.

    Attributes
    ----------
    cells : list of LSTMCell
        ``cells[k]`` holds layer k's parameters.
    """

    def __init__(self, n_x: int, n_a: int, *, layers: int = 1,
                 initial: Literal["zeros", "trained", "noisy"] = "zeros", noise: float = 0.1,
                 dtype: Any = np.float32, rng: np.random.Generator | None = None) -> None:  # fmt: skip
        if layers < 1:
            raise ArgumentError(lesson("LSTM", f"layers={layers}", "at least 1"))
        if initial not in ("zeros", "trained", "noisy"):
            raise ArgumentError(lesson("LSTM", f"initial={initial!r}", "'zeros', 'trained' or 'noisy'"))
        self.n_x, self.n_a, self.initial, self.noise = n_x, n_a, initial, noise
        self.dtype = np.dtype(dtype)
        self.rng = np.random.default_rng(rng)
        self.cells = [LSTMCell(n_a if k else n_x, n_a, dtype=dtype, rng=self.rng,
                               scope=f"layer{k}/" if layers > 1 else "") for k in range(layers)]  # fmt: skip
        if initial == "trained":
            self.a_0: Tensor = Parameter(np.zeros((layers, n_a)), dtype)
            self.c_0: Tensor = Parameter(np.zeros((layers, n_a)), dtype)

    def forward(
        self, x: Any, state: State | None = None, named: bool = False
    ) -> tuple[Tensor, State]:
        """Run the sequence.

        Parameters
        ----------
        x : array or Tensor, shape (T, B, n_x)
        state : (a0, c0), optional
            Each (layers, B, n_a) or, for one layer, (B, n_a).
        named : bool
            Run `LSTMCell` step by step, each node under its name in the paper.

        Returns
        -------
        outputs : Tensor, shape (T, B, n_a)
            a<1> ... a<T> of the last layer.
        (a_T, c_T) : tuple of Tensor
            The state after the last step, in the shape of `state`, (layers, B, n_a) if
            none was given.
        """
        if np.ndim(x) != 3 or np.shape(x)[2] != self.n_x or np.shape(x)[0] < 1:
            raise ShapeError(lesson("LSTM", f"x has shape {np.shape(x)}", f"(T, B, {self.n_x}), T >= 1"))
        x = x if isinstance(x, Tensor) else mg.tensor(x)
        squeeze = state is not None and np.ndim(state[0]) == 2
        a_0, c_0 = self._initial(state, x.shape[1])
        columns = list(mg.unstack(mg.permute_dims(x, (0, 2, 1))))  # x<t> in columns, (n_x, B)
        last = []
        for k, cell in enumerate(self.cells):
            a, c = mg.permute_dims(a_0[k], (1, 0)), mg.permute_dims(c_0[k], (1, 0))
            columns, c = (_by_cell if named else _by_block)(cell, columns, a, c)
            last.append((columns[-1], c))
        outputs = mg.permute_dims(mg.stack(columns), (0, 2, 1))
        a_T, c_T = (mg.permute_dims(mg.stack(part), (0, 2, 1)) for part in zip(*last, strict=True))
        return outputs, (a_T[0], c_T[0]) if squeeze else (a_T, c_T)

    def _initial(self, state: State | None, batch: int) -> State:
        """The states before the first step, (layers, B, n_a)."""
        shape = (len(self.cells), batch, self.n_a)
        if state is None:
            if self.initial == "trained":
                return tuple(mg.broadcast_to(s.reshape(shape[0], 1, self.n_a), shape)
                             for s in (self.a_0, self.c_0))  # type: ignore[return-value]  # fmt: skip
            if self.initial == "noisy" and self.training:
                return tuple(mg.tensor(self.noise * self.rng.normal(size=shape), self.dtype)
                             for _ in range(2))  # type: ignore[return-value]  # fmt: skip
            return (mg.tensor(np.zeros(shape, self.dtype)),) * 2
        out = []
        for name, s in zip(("a0", "c0"), state, strict=True):
            s = s if isinstance(s, Tensor) else mg.tensor(s)
            if s.shape == shape[1:] and shape[0] == 1:
                s = s.reshape(shape)
            if s.shape != shape:
                raise ShapeError(lesson("LSTM", f"{name} has shape {s.shape}", f"{shape}" + (
                    f" or {shape[1:]}" if shape[0] == 1 else "")))  # fmt: skip
            out.append(s)
        return out[0], out[1]


def _by_cell(cell: LSTMCell, xs: Any, a: Tensor, c: Tensor) -> tuple[list[Tensor], Tensor]:
    """The paper's way: one named block after the other."""
    outputs = []
    for t, x_t in enumerate(xs, start=1):
        a, c = cell(x_t, (a, c), t=t)
        outputs.append(a)
    return outputs, c


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
