"""Tell the order of two symbols that lie far apart in noise.

A sequence begins with E, ends with B, and is between 100 and 110 symbols long. In between are random
symbols from a, b, c, d, but for two, one at a place between 10 and 20 and one between 50 and 60, which
are X or Y. After the last symbol the net says which of the four cases it was: XX, XY, YX or YY. It is
right if each of its four outputs, here probabilities, is off by less than 0.3.

Training ends when the last 2,000 sequences were all right, each judged before it was learned from, and
their mean squared error is below 0.1; then 2,560 fresh sequences are the test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import Tensor

from .experiment import Array, Axes, Experiment, Figure, Trial, Watch
from .learning import Learner, Reader, Recent, by_autodiff, chrono, ends

SYMBOLS = "EBabcdXY"
X = SYMBOLS.index("X")
TOLERANCE = 0.3
TEST = 2560
MAY_BE_WRONG = 3


@dataclass(frozen=True)
class Recipe:
    T: int = 100
    units: int = 16
    rate: float = 5e-3
    clip: float = 1.0
    batch: int = 20
    limit: int = 100_000
    within: int = 31_390


def generate(rng: np.random.Generator, count: int, T: int) -> tuple[Array, Array, Array]:
    """Sequences, side by side; places are counted in hundredths of T.

    Returns
    -------
    x, last, target : ndarray, shapes (1.1 T, count, 8), (1.1 T, count, 1), (count, 4)
        A one at each symbol, zeros after the end; one at the last symbol; a one at the case.
    """
    longest, rows = T + T // 10, np.arange(count)
    lengths = rng.integers(T, longest + 1, count)
    symbols = rng.integers(2, 6, (longest, count))
    case = rng.integers(0, 2, (2, count))
    for (low, high), kind in zip(((0.1, 0.2), (0.5, 0.6)), case, strict=True):
        symbols[rng.integers(round(low * T), round(high * T) + 1, count), rows] = X + kind
    symbols[0], symbols[lengths - 1, rows] = SYMBOLS.index("E"), SYMBOLS.index("B")
    x = np.eye(len(SYMBOLS), dtype=np.float32)[symbols]
    x[np.arange(longest)[:, None] >= lengths] = 0
    return x, ends(lengths, longest), np.eye(4, dtype=np.float32)[2 * case[0] + case[1]]


def loss(model: Reader, x: Any, last: Any, target: Any) -> tuple[Tensor, Tensor]:
    """Mean cross entropy, and by how much the probabilities are off."""
    logs = mg.log_softmax(model.at_end(x, last), axis=-1)
    return -mg.sum(logs * target) / target.shape[0], np.exp(logs) - target


def trial(recipe: Recipe, seed: int, watch: Watch) -> Trial:
    rng = np.random.default_rng(seed)
    model = Reader(len(SYMBOLS), recipe.units, 4, rng)
    chrono(model.lstm, recipe.T, rng)
    learner = Learner(model, by_autodiff(loss), recipe.rate, recipe.clip)
    recent, seen, curve = Recent(2000), 0, []
    while seen < recipe.limit and not recent.solved(0.1):
        _, off = learner(*generate(rng, recipe.batch, recipe.T))
        seen += recipe.batch
        recent.add(np.sum(off.data**2, axis=1), np.abs(off.data).max(axis=1) < TOLERANCE)
        if seen % (10 * recipe.batch) == 0:
            curve.append((seen, recent.error))
            watch(seen, recipe.limit, f"squared error {recent.error:.4f}")
    curve.append((seen, recent.error))
    solved = recent.solved(0.1)
    with mg.no_grad():
        off = np.concatenate([loss(model, *generate(rng, TEST // 10, recipe.T))[1].data for _ in range(10)])
    wrong = int(np.sum(np.abs(off).max(axis=1) >= TOLERANCE))
    figures: dict[str, float | None] = {"sequences": seen if solved else None, "wrong": wrong}
    return Trial(solved and seen <= recipe.within and wrong <= MAY_BE_WRONG, figures, curve)


EXPERIMENT = Experiment(
    name="temporal-order",
    title="Temporal order, two symbols",
    source="Hochreiter and Schmidhuber 1997, experiment 6a",
    about=__doc__,
    rule=f"solved within 31,390 sequences, and at most {MAY_BE_WRONG} of 2,560 wrong",
    figures={
        "sequences": Figure("sequences until solved", "{:,.0f}", "31,390"),
        "wrong": Figure("wrong of 2,560", "{:.0f}", "1"),
    },
    recipe=Recipe(),
    trial=trial,
    axes=Axes("sequences seen", "squared error, last 2,000", {"always ¼": 0.75}, 31_390, log=True),
    remark="With eight units, the first recipe, one of three seeds took 48,360 sequences and one stopped with 5 of 2,560 "
    "wrong; sixteen were chosen on other seeds than these.",
    quick={"T": 20, "limit": 500},
)
