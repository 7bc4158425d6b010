"""What the experiments share: an LSTM with a linear read-out, sequences side by side, and one
captured training step after the other."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import Tensor

from ..lstm import LSTM, State
from .experiment import Array

Gradient = Callable[..., tuple[tuple[Any, Any], dict[str, Any]]]


class Reader(mg.nn.Module):
    """An LSTM, and a linear layer that reads its outputs.

    Parameters
    ----------
    n_x, n_a, n_y : int
        Sizes of an input, of the LSTM and of the read-out.
    rng : numpy.random.Generator
    forget : float
        All of b_f in the beginning.  At 1 the cell begins by remembering (Gers et al. 2000,
        Jozefowicz et al. 2015).
    """

    def __init__(self, n_x: int, n_a: int, n_y: int, rng: np.random.Generator, forget: float = 1.0) -> None:
        self.lstm = LSTM(n_x, n_a, rng=rng)
        self.head = mg.nn.Linear(n_a, n_y, rng=rng)
        self.lstm.cells[0].b_f.data = np.full(n_a, forget, np.float32)

    def forward(self, x: Any, state: State | None = None) -> tuple[Tensor, State]:
        """What is read after each input, (T, B, n_y), and the state."""
        outputs, state = self.lstm(x, state)
        return self.head(outputs), state

    def at_end(self, x: Any, last: Any) -> Tensor:
        """What is read after the last input of each sequence, (B, n_y).

        Parameters
        ----------
        x, last : array, shapes (T, B, n_x) and (T, B, 1)
            From `side_by_side`.
        """
        outputs, _ = self.lstm(x)
        scores: Tensor = self.head(mg.sum(outputs * last, axis=0))
        return scores


def chrono(lstm: LSTM, longest: int, rng: np.random.Generator) -> None:
    """Memories of every length in the beginning (Tallec & Ollivier 2018): a forget gate of bias
    log(τ − 1) keeps for about τ steps, so b_f = log U(1, longest − 1) and b_u = −b_f."""
    cell = lstm.cells[0]
    cell.b_f.data = np.log(rng.uniform(1, longest - 1, lstm.n_a)).astype(cell.b_f.dtype)
    cell.b_u.data = -cell.b_f.data


def side_by_side(sequences: Sequence[Array] | Array, longest: int = 0) -> tuple[Array, Array]:
    """Sequences (T_k, n_x) as one array (T, B, n_x), zeros after their ends; and (T, B, 1) with
    a one at the last step of each.

    An LSTM looks back only, so what follows the end of a sequence changes nothing before it.
    """
    T = max(longest, *(len(s) for s in sequences))
    x = np.zeros((T, len(sequences), sequences[0].shape[1]), np.float32)
    for k, s in enumerate(sequences):
        x[: len(s), k] = s
    return x, ends([len(s) for s in sequences], T)


def ends(lengths: Any, T: int) -> Array:
    """(T, B, 1): one at the last step of each sequence, zero elsewhere."""
    last: Array = np.arange(1, T + 1)[:, None] == np.asarray(lengths)
    return last.astype(np.float32)[..., None]


def by_autodiff(loss: Callable[..., tuple[Tensor, Any]]) -> Gradient:
    """The gradient of ``loss(model, *data) -> (scalar, anything)``, captured: recorded at the
    first call, replayed from then on."""
    return mg.capture(lambda model, *data: mg.value_and_grad(loss, has_aux=True)(model, *data))


class Learner:
    """A model, where its gradient comes from, and Adam.

    Parameters
    ----------
    model : Module
    gradient : callable
        ``gradient(model, *data)`` returns ``((loss, aux), gradients by parameter name)``.
    rate : float
    clip : float
        The joint norm at which gradients are cut.
    """

    def __init__(self, model: mg.nn.Module, gradient: Gradient, rate: float, clip: float = 1.0) -> None:
        self.model, self.gradient, self.clip = model, gradient, clip
        self.named = model.named_parameters()
        self.optimizer = mg.optim.Adam(self.named.values(), lr=rate)

    def __call__(self, *data: Any) -> tuple[float, Any]:
        """One update; the loss before it, and what `gradient` returned beside it."""
        (loss, aux), gradients = self.gradient(self.model, *data)
        for name, p in self.named.items():
            p.grad = gradients[name]
        mg.optim.clip_grad_norm(self.optimizer.params, self.clip)
        self.optimizer.step()
        return loss.item(), aux


class Recent:
    """Hochreiter and Schmidhuber's rule for when to stop: the mean squared error and the
    verdicts over the last `count` sequences, each judged before it was learned from."""

    def __init__(self, count: int) -> None:
        self.errors: deque[float] = deque(maxlen=count)
        self.right: deque[bool] = deque(maxlen=count)

    def add(self, errors: Array, right: Array) -> None:
        """Squared errors and verdicts of a batch."""
        self.errors.extend(errors.tolist())
        self.right.extend(right.tolist())

    @property
    def error(self) -> float:
        return sum(self.errors) / len(self.errors) if self.errors else math.nan

    def solved(self, below: float) -> bool:
        """Whether the last `count` were all right, and their mean error is below a bound."""
        return len(self.right) == self.right.maxlen and all(self.right) and self.error < below
