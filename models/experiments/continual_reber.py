"""Predict the next symbol of an endless stream of embedded Reber strings, with no sign where one ends.

The strings of the embedded Reber grammar follow each other without a pause, and the state of the net
is never reset. A cell that only adds up, as in 1997, grows without bound; Gers, Schmidhuber and Cummins
gave it the forget gate for this task.

The net learns from a few streams side by side, some symbols at a time, its state carried on. Then it
reads ten fresh streams of 100,000 symbols each, and is perfect if after every symbol the legal
successors have the highest scores. The first 100 symbols of a stream are not counted: it begins with
an empty state, which a net that was never reset has not met since its first update.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import Tensor

from .experiment import Array, Axes, Control, Experiment, Figure, Trial, Watch
from .learning import Learner, Reader, by_autodiff
from .reber import SYMBOLS, encoded, foreseen, successors, walk

WARM_UP = 100
CHUNK = 100


@dataclass(frozen=True)
class Recipe:
    units: int = 12
    rate: float = 0.01
    clip: float = 1.0
    streams: int = 8
    steps: int = 60
    updates: int = 3000
    forgets: bool = True
    test_streams: int = 10
    test_symbols: int = 100_000


def stream(rng: np.random.Generator) -> Iterator[tuple[int, Array]]:
    """Symbols by number without end, each with the seven flags of what may follow it: after a
    string's E the B of the next."""
    begin = flags(successors(("", -2)))
    known: dict[frozenset[str], Array] = {}
    while True:
        for symbol, legal in walk(rng):
            key = frozenset(legal)
            if key not in known:
                known[key] = flags(legal) if legal else begin
            yield SYMBOLS.index(symbol), known[key]


def flags(legal: Any) -> Array:
    return np.array([symbol in legal for symbol in SYMBOLS])


def chunks(rng: np.random.Generator, count: int, steps: int) -> Iterator[tuple[Array, Array, Array]]:
    """Streams side by side, `steps` symbols at a time: x and what follows (steps, count, 7), and
    what may follow."""
    sources = [stream(each) for each in rng.spawn(count)]
    ahead = [next(source) for source in sources]
    while True:
        rows = [ahead] + [[next(source) for source in sources] for _ in range(steps)]
        ahead = rows[-1]
        ids = np.array([[symbol for symbol, _ in row] for row in rows])
        yield encoded(ids[:-1]), encoded(ids[1:]), np.array([[legal for _, legal in row] for row in rows[:-1]])


def loss(model: Reader, x: Any, following: Any, a: Any, c: Any) -> tuple[Tensor, Any]:
    """Mean cross entropy of the symbols that follow, and the state to go on with."""
    scores, state = model(x, (a, c))
    return -mg.sum(mg.log_softmax(scores, axis=-1) * following) / (x.shape[0] * x.shape[1]), state


def trial(recipe: Recipe, seed: int, watch: Watch) -> Trial:
    rng = np.random.default_rng(seed)
    model = Reader(len(SYMBOLS), recipe.units, len(SYMBOLS), rng)
    if not recipe.forgets:  # σ(100) is 1, its derivative 0: the gate stays open for ever
        cell = model.lstm.cells[0]
        cell.W_f.data, cell.b_f.data = np.zeros_like(cell.W_f.data), np.full(recipe.units, 100, np.float32)
    learner = Learner(model, by_autodiff(loss), recipe.rate, recipe.clip)
    state: Any = np.zeros((2, recipe.streams, recipe.units), np.float32)
    curve, recent, total = [], [], recipe.updates + recipe.test_symbols // CHUNK
    for update, (x, following, _) in zip(range(recipe.updates), chunks(rng, recipe.streams, recipe.steps), strict=False):
        learner.optimizer.lr = recipe.rate * (1 - update / recipe.updates)
        nats, state = learner(x, following, *state)
        recent.append(nats)
        if len(recent) == max(1, recipe.updates // 50):
            curve.append(((update + 1) * recipe.steps * recipe.streams, float(np.mean(recent))))
            watch(update + 1, total, f"cross entropy {curve[-1][1]:.3f}")
            recent.clear()

    errors = np.zeros(recipe.test_streams)
    fresh = chunks(rng, recipe.test_streams, CHUNK)
    read = mg.capture(lambda model, x, a, c: model(x, (a, c)))
    state = np.zeros((2, recipe.test_streams, recipe.units), np.float32)
    with mg.no_grad():
        for k in range(recipe.test_symbols // CHUNK + 1):
            x, _, legal = next(fresh)
            scores, state = read(model, x, *state)
            if k * CHUNK >= WARM_UP:
                errors += (~foreseen(scores.data, legal)).sum(axis=0)
            watch(recipe.updates + min(k, recipe.test_symbols // CHUNK), total, f"{errors.sum():.0f} errors in the test")
    count = recipe.test_symbols * recipe.test_streams
    figures = {
        "errors": float(errors.sum()),
        "streams": float((errors == 0).sum()),
        "run": count / (errors.sum() + 1),
    }
    return Trial(not errors.any(), figures, curve)


EXPERIMENT = Experiment(
    name="continual-reber",
    title="Continual embedded Reber grammar",
    source="Gers, Schmidhuber and Cummins 2000, table 2",
    about=__doc__,
    rule="no error in ten streams of 100,000 symbols",
    figures={
        "errors": Figure("errors in 1,000,000 symbols", "{:,.0f}", "0 in 18 % of nets (62 % with a falling rate)"),
        "streams": Figure("streams of 10 without error", "{:.0f}"),
        "run": Figure("symbols per error", "{:,.0f}", "37 without forget gates"),
    },
    recipe=Recipe(),
    trial=trial,
    axes=Axes("symbols seen", "cross entropy, nats per symbol"),
    controls={
        "no-forget": Control(
            "Γ_f = 1 throughout, the LSTM of 1997, which Gers et al. saw fail in every case: the cells grow, and "
            "nothing ever empties them.",
            {"forgets": False},
        ),
    },
    remark="The training differs from the paper's, which learned online from one stream and started anew after a "
    "mistake; here eight streams are read side by side, with Adam and a rate that falls to zero.",
    quick={"updates": 20, "test_symbols": 500},
)
