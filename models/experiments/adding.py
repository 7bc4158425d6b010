"""Two numbers are marked in a long row of numbers, and at the end of the row their sum is asked for.

An element is a pair: a number drawn from U(−1, 1), and a marker. The row has between T and 1.1 T
pairs. One of its first ten pairs is marked 1, and then one of the first T/2 − 1 that are not marked
yet; the first and the last pair carry −1, all others 0. The target, after the last pair, is
0.5 + (X₁ + X₂)/4, where a marked first pair counts as 0 (it keeps its −1). A row is right if the
answer is off by less than 0.04. Whoever always answers 0.5 has a mean squared error of 1/24 = 0.0417.

Training ends when the last 2,000 rows were all right, each judged before it was learned from, and
their mean squared error is below 0.01; then 2,560 fresh rows are the test. Every row is new.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import Tensor

from ..lstm_manual import batched
from .experiment import Array, Axes, Control, Experiment, Figure, Trial, Watch
from .learning import Learner, Reader, Recent, by_autodiff, chrono, ends

TOLERANCE = 0.04
TEST = 2560
CHANCE = 1 / 24
MAY_BE_WRONG = 3


@dataclass(frozen=True)
class Recipe:
    T: int = 100
    units: int = 8
    rate: float = 5e-3
    clip: float = 1.0
    batch: int = 20
    start: str = "chrono"
    gradient: str = "true"
    limit: int = 150_000
    within: int = 74_000


def generate(rng: np.random.Generator, count: int, T: int) -> tuple[Array, Array, Array]:
    """Rows, side by side.

    Returns
    -------
    x, last, target : ndarray, shapes (1.1 T, count, 2), (1.1 T, count, 1), (count, 1)
        Numbers and markers, zeros after a row's end; one at its last pair; the answer.
    """
    longest = T + T // 10
    lengths, rows = rng.integers(T, longest + 1, count), np.arange(count)
    first = rng.integers(0, 10, count)
    second = rng.integers(0, T // 2 - 1, count)
    second += second >= first  # only those count that are not marked yet
    values = rng.uniform(-1, 1, (longest, count))
    values[np.arange(longest)[:, None] >= lengths] = 0
    markers = np.zeros((longest, count))
    markers[first, rows] = markers[second, rows] = 1
    markers[0] = markers[lengths - 1, rows] = -1
    total = np.where(first > 0, values[first, rows], 0) + np.where(second > 0, values[second, rows], 0)
    x = np.stack([values, markers], axis=2).astype(np.float32)
    return x, ends(lengths, longest), (0.5 + total / 4).astype(np.float32)[:, None]


def loss(model: Reader, x: Any, last: Any, target: Any) -> tuple[Tensor, Tensor]:
    """Mean over the batch of Error = ½ (answer − target)², and answer − target."""
    off = model.at_end(x, last) - target
    return mg.mean(0.5 * mg.square(off)), off


def printed(model: Reader, x: Array, last: Array, target: Array) -> tuple[Any, dict[str, Any]]:
    """What `loss` has as gradient according to the formula that the paper prints: wrong.

    `lstm_manual.document_literal` block by block, in the arrangement of its `backward_batched`:
    what block t hands on for c<t-1> is Γ_f<t> as it stands, not δc<t> ⊙ Γ_f<t>.  After the end
    of a row there is no block.
    """
    (T, B), n_a = x.shape[:2], model.lstm.n_a
    zeros = np.zeros((B, n_a), np.float32)
    params = {name: p.data for name, p in model.lstm.cells[0].named_parameters().items()}
    cache = batched.forward_batched(params, x, zeros, zeros)
    read = np.sum(cache["outputs"] * last, axis=0)
    with mg.no_grad():
        off = model.head(read).data - target
    own = last * (off @ model.head.weight.data)  # each row an Error of its own
    inside = np.flip(np.maximum.accumulate(np.flip(last, 0), 0), 0)
    grads: dict[str, Array] = {name: np.zeros_like(value) for name, value in params.items()}
    later = None
    for t in reversed(range(T)):
        block = {"outputs": cache["outputs"][t : t + 1], "z": cache["z"][t : t + 2],
                 "values": cache["values"][:, t : t + 2], "weights": cache["weights"]}  # fmt: skip
        adjoints = batched.backward_batched(block, own[t : t + 1], later)
        for name in grads:
            grads[name] += adjoints[name]
        later = adjoints["a<0>"], cache["values"][batched.GATE_F, t] * inside[t]  # the slip
    found = {f"lstm.cells.0.{name}": g for name, g in grads.items()}
    found |= {"head.weight": off.T @ read, "head.bias": off.sum(axis=0)}
    return (mg.tensor(np.mean(off**2 / 2)), mg.tensor(off)), {k: mg.tensor(g / B) for k, g in found.items()}


def trial(recipe: Recipe, seed: int, watch: Watch) -> Trial:
    rng = np.random.default_rng(seed)
    model = Reader(2, recipe.units, 1, rng, forget=2.0)
    if recipe.start == "chrono":
        chrono(model.lstm, recipe.T, rng)
    learner = Learner(model, printed if recipe.gradient == "printed" else by_autodiff(loss), recipe.rate, recipe.clip)
    recent, seen, curve = Recent(2000), 0, []
    while seen < recipe.limit and not recent.solved(0.01):
        _, off = learner(*generate(rng, recipe.batch, recipe.T))
        seen += recipe.batch
        errors = off.data[:, 0]
        recent.add(errors**2, np.abs(errors) < TOLERANCE)
        if seen % (10 * recipe.batch) == 0:
            curve.append((seen, recent.error))
            watch(seen, recipe.limit, f"mean squared error {recent.error:.4f}")
    curve.append((seen, recent.error))
    solved = recent.solved(0.01)
    with mg.no_grad():
        off = np.concatenate([loss(model, *generate(rng, TEST // 10, recipe.T))[1].data for _ in range(10)])
    wrong = int(np.sum(np.abs(off) >= TOLERANCE))
    figures = {"sequences": seen if solved else None, "wrong": wrong, "mse": float(np.mean(off**2))}
    return Trial(solved and seen <= recipe.within and wrong <= MAY_BE_WRONG, figures, curve)


ADDING = Experiment(
    name="adding",
    title="The adding problem, T = 100",
    source="Hochreiter and Schmidhuber 1997, experiment 4",
    about=__doc__,
    rule=f"solved within 74,000 sequences, and at most {MAY_BE_WRONG} of 2,560 wrong, as in the paper",
    figures={
        "sequences": Figure("sequences until solved", "{:,.0f}", "74,000"),
        "wrong": Figure("wrong of 2,560", "{:.0f}", "1"),
        "mse": Figure("mean squared error in the test", "{:.5f}"),
    },
    recipe=Recipe(),
    trial=trial,
    axes=Axes("sequences seen", "mean squared error, last 2,000", {"always 0.5": CHANCE}, 74_000, log=True),
    controls={
        "printed": Control(
            "The gradient by the c fork as Kang and Seo print it. It is not the gradient of the error, which "
            "hardly moves from chance.",
            {"gradient": "printed", "batch": 50, "limit": 200_000, "within": 200_000},
        ),
        "init": Control(
            "The right gradient, but b_f = 2 in all units in the beginning: they forget within some ten steps, "
            "and what an early number did to the error is lost before it comes back.",
            {"start": "constant", "batch": 50, "limit": 400_000, "within": 400_000},
        ),
    },
    quick={"T": 20, "limit": 500},
)

ADDING_500 = replace(
    ADDING,
    name="adding-500",
    title="The adding problem, T = 500",
    rule=f"solved within 209,000 sequences, and at most {MAY_BE_WRONG} of 2,560 wrong",
    figures={
        **ADDING.figures,
        "sequences": Figure("sequences until solved", "{:,.0f}", "209,000"),
        "wrong": Figure("wrong of 2,560", "{:.0f}", "0"),
    },
    recipe=replace(ADDING.recipe, T=500, limit=209_000, within=209_000),
    axes=replace(ADDING.axes, published=209_000),
    controls={},
    quick={"T": 30, "limit": 500},
    seeds=3,
)
