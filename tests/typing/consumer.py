"""A program of a user, checked with ``mypy --strict``: the public surface is typed."""

from __future__ import annotations

import numpy as np

import minigrad as mg
from minigrad import Tensor
from models import LSTM, LSTMCell, lstm_manual


def loss(w: Tensor, x: Tensor) -> Tensor:
    return mg.square(mg.tanh(x @ w) - 1.0).sum()


x: Tensor = mg.tensor(np.ones((2, 3)), dtype=np.float64, requires_grad=True, name="x")
y: Tensor = (2 * x + 1).reshape(3, 2).sum(axis=0) / mg.exp(x.T[0, 0])
y.backward([1.0, 2.0], create_graph=True)
gradient: Tensor | None = x.grad
parts: tuple[Tensor, ...] = mg.split(x, 3, axis=1)
g: Tensor = mg.grad(loss)(mg.tensor(np.ones(3)), x)
value, pull = mg.vjp(loss, np.ones(3), x)

isru = mg.define("isru", lambda x, /: x / np.sqrt(1 + x * x), lambda g, y, x: g / (1 + x * x) ** 1.5)
isru(x)

cell = LSTMCell(3, 4, dtype=np.float64, rng=np.random.default_rng(0))
a, c = cell(np.ones(3), (np.zeros(4), np.zeros(4)), t=1)
outputs, (a_T, c_T) = LSTM(3, 4)(np.ones((5, 2, 3), np.float32))
cache = lstm_manual.forward({}, np.ones((1, 1, 1)), np.ones((1, 1)), np.ones((1, 1)))

mg.save("file", {"w": x}, meta={"step": 1})
tree, meta = mg.load("file")
optimiser = mg.optim.Adam(cell.parameters(), lr=1e-3)
