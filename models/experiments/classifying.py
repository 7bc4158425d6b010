"""Which class is a whole sequence of?  Training and testing, for digits and for vowels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import Tensor

from .experiment import Array, Watch
from .learning import Learner, Reader, by_autodiff, side_by_side

Labelled = tuple[Sequence[Array] | Array, Array]


@dataclass(frozen=True)
class Recipe:
    units: int
    batch: int
    epochs: int
    noise: float
    at_least: float
    rate: float = 0.01
    clip: float = 1.0


class Task:
    """Labelled sequences to learn from, and to test.

    Parameters
    ----------
    learn, test : (sequences, classes)
        Sequences (T_k, n_x) and an integer for each.
    classes : int
    """

    def __init__(self, learn: Labelled, test: Labelled, classes: int) -> None:
        self.classes, self.inputs = classes, learn[0][0].shape[1]
        longest = max(len(s) for s in (*learn[0], *test[0]))
        (self.x, self.last), self.y = side_by_side(learn[0], longest), learn[1]
        (self.x_test, self.last_test), self.y_test = side_by_side(test[0], longest), test[1]


def loss(model: Reader, x: Any, last: Any, wanted: Any) -> tuple[Tensor, None]:
    """Mean cross entropy of the right classes, a one each in `wanted` (B, classes)."""
    return -mg.sum(mg.log_softmax(model.at_end(x, last), axis=-1) * wanted) / wanted.shape[0], None


def accuracies(task: Task, recipe: Recipe, seed: int, watch: Watch) -> list[tuple[float, float]]:
    """Train on inputs with noise added, the rate falling along a cosine; after each epoch the
    share of the test that is right, in percent."""
    rng = np.random.default_rng(seed)
    model = Reader(task.inputs, recipe.units, task.classes, rng)
    learner = Learner(model, by_autodiff(loss), recipe.rate, recipe.clip)
    wanted = np.eye(task.classes, dtype=np.float32)[task.y]
    curve: list[tuple[float, float]] = []
    for epoch in range(recipe.epochs):
        learner.optimizer.lr = recipe.rate * (1 + math.cos(math.pi * epoch / recipe.epochs)) / 2
        order = rng.permutation(len(task.y))
        for k in range(0, len(order) - recipe.batch + 1, recipe.batch):  # whole batches: one recording
            some = order[k : k + recipe.batch]
            noise = rng.normal(scale=recipe.noise, size=task.x[:, some].shape).astype(np.float32)
            learner(task.x[:, some] + noise, task.last[:, some], wanted[some])
        with mg.no_grad():
            chosen = model.at_end(task.x_test, task.last_test).data.argmax(axis=1)
        curve.append((epoch + 1, 100 * float(np.mean(chosen == task.y_test))))
        watch(epoch + 1, recipe.epochs, f"{curve[-1][1]:.1f} % right")
    return curve
