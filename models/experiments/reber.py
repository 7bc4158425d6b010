"""Predict the next symbol of strings from an embedded Reber grammar.

The Reber grammar is a small automaton over B T P S X V E: at most states two symbols are legal. It is
embedded in another one: B, then T or P, then a string of the inner grammar, then the *same* T or P again,
then E. To foresee that last but one symbol, the second must be remembered across the inner string.

256 strings are learned from, one at a time, and 256 others are the test; all 512 differ. After each
symbol the net scores what may follow. It has learned the task when for every symbol of all 512 strings
the legal successors, one or two, have the highest scores: the rule of the paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import Tensor

from .experiment import Array, Axes, Experiment, Figure, Trial, Watch
from .learning import Learner, Reader, by_autodiff

SYMBOLS = "BTPSXVE"
INNER = {
    0: {"B": 1},
    1: {"T": 2, "P": 3},
    2: {"S": 2, "X": 4},
    3: {"T": 3, "V": 5},
    4: {"X": 3, "S": 6},
    5: {"P": 4, "V": 6},
    6: {"E": 7},
    7: {},
}
"""The Reber grammar: where each legal symbol leads; 7 is the end."""

State = tuple[str, int]
START: State = ("", -2)
END: State = ("", 10)


def successors(state: State) -> dict[str, State]:
    """Where each legal symbol leads in the embedded grammar.

    A state is the remembered T or P, and a place: -2 and -1 before the inner string, 0 to 7
    within it, 8 after the second T or P, 10 at the end.
    """
    kept, place = state
    if place == -2:
        return {"B": ("", -1)}
    if place == -1:
        return {"T": ("T", 0), "P": ("P", 0)}
    if place < 7:
        return {symbol: (kept, there) for symbol, there in INNER[place].items()}
    if place == 7:
        return {kept: (kept, 8)}
    return {"E": END} if place == 8 else {}


def walk(rng: np.random.Generator) -> Iterator[tuple[str, dict[str, State]]]:
    """A random string, symbol by symbol, each with what may follow it; legal symbols are
    equally likely."""
    state = START
    while (legal := successors(state)) and state != END:
        names = sorted(legal)
        symbol = names[rng.integers(len(names))]
        state = legal[symbol]
        yield symbol, successors(state)


def strings(rng: np.random.Generator, count: int) -> list[str]:
    """`count` different strings."""
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(symbol for symbol, _ in walk(rng))] = None
    return list(found)


def legal_after(string: str) -> list[str]:
    """What may follow each symbol of a string; after the last one nothing."""
    state, found = START, []
    for symbol in string:
        state = successors(state)[symbol]
        found.append("".join(sorted(successors(state))))
    return found


def encoded(symbols: Any) -> Array:
    """A one at each symbol's place: (..., 7)."""
    return np.asarray(np.eye(len(SYMBOLS), dtype=np.float32)[symbols])


def coded(string: str) -> Array:
    return np.array([SYMBOLS.index(symbol) for symbol in string])


def tables(strings: list[str], longest: int = 0) -> tuple[Array, Array, Array]:
    """Strings side by side.

    Returns
    -------
    x : ndarray, shape (T, B, 7)
        All symbols but each string's last.
    following : ndarray, shape (T, B, 7)
        A one at the symbol that follows; zeros after the end.
    legal : ndarray of bool, shape (T, B, 7)
    """
    T = max(longest, *(len(s) for s in strings)) - 1
    x, following = np.zeros((2, T, len(strings), len(SYMBOLS)), np.float32)
    legal = np.zeros(x.shape, bool)
    for k, string in enumerate(strings):
        ids, n = coded(string), len(string) - 1
        x[:n, k], following[:n, k] = encoded(ids[:-1]), encoded(ids[1:])
        for t, symbols in enumerate(legal_after(string)[:-1]):
            legal[t, k, [SYMBOLS.index(s) for s in symbols]] = True
    return x, following, legal


def foreseen(scores: Array, legal: Array) -> Array:
    """Whether the legal successors have the highest scores, at each step: the lowest of theirs is
    above the highest of the others."""
    lowest = np.where(legal, scores, np.inf).min(axis=-1)
    highest = np.where(legal, -np.inf, scores).max(axis=-1)
    return np.asarray(lowest > highest)


def loss(model: Reader, x: Any, following: Any) -> tuple[Tensor, None]:
    """Mean cross entropy of the symbols that follow."""
    scores, _ = model(x)
    return -mg.sum(mg.log_softmax(scores, axis=-1) * following), None


@dataclass(frozen=True)
class Recipe:
    units: int = 16
    rate: float = 0.01
    clip: float = 10.0
    forget: float = 3.0
    strings: int = 256
    every: int = 100
    limit: int = 30_000
    within: int = 8_440


def trial(recipe: Recipe, seed: int, watch: Watch) -> Trial:
    rng = np.random.default_rng(seed)
    both = strings(rng, 2 * recipe.strings)
    x, _, legal = tables(both)
    lengths = (8 * math.ceil(len(string) / 8) for string in both)  # a recording for each, not for all
    learned = [tables([s], n)[:2] for s, n in zip(both[: recipe.strings], lengths, strict=False)]
    counted = legal.any(axis=-1)
    model = Reader(len(SYMBOLS), recipe.units, len(SYMBOLS), rng, recipe.forget)
    learner = Learner(model, by_autodiff(loss), recipe.rate, recipe.clip)
    seen, right, curve = 0, 0.0, []
    while seen < recipe.limit and right < 1:
        for _ in range(recipe.every):
            learner(*learned[rng.integers(len(learned))])
        seen += recipe.every
        with mg.no_grad():
            right = float(foreseen(model(x)[0].data, legal)[counted].mean())
        curve.append((seen, 100 * (1 - right)))
        watch(seen, recipe.limit, f"{100 * right:.2f} % of symbols foreseen")
    solved = right == 1
    figures = {"sequences": seen if solved else None, "right": 100 * right}
    return Trial(solved and seen <= recipe.within, figures, curve)


EXPERIMENT = Experiment(
    name="reber",
    title="Embedded Reber grammar",
    source="Hochreiter and Schmidhuber 1997, experiment 1",
    about=__doc__,
    rule="every symbol of all 512 strings foreseen within 8,440 sequences, the paper's best row",
    figures={
        "sequences": Figure("sequences until solved", "{:,.0f}", "8,440 (other rows 9,500 to 39,740)"),
        "right": Figure("symbols foreseen, of 512 strings", "{:.2f} %", "100 %"),
    },
    recipe=Recipe(),
    trial=trial,
    axes=Axes("sequences seen", "% of symbols not foreseen", published=8_440),
    quick={"strings": 16, "limit": 100, "every": 50},
)
