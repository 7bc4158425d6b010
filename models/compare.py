"""Four witnesses for one gradient, on a batch of real text.

Autodiff and the hand derivation must agree to rounding; the complex step is exact where a
function is analytic; central differences know nothing of derivatives at all.  Beside them
stands what the paper's c-fork formula gives as it is printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg
from minigrad.errors import ArgumentError
from minigrad.explain import Verdict
from minigrad.graph import evaluate

from . import lstm_manual
from .lstm import LSTM
from .terminal import heading

Array = np.ndarray[Any, Any]

TOLERANCE = 1e-12
WITNESSES = ("autodiff", "by hand", "complex step", "differences")


class Problem(NamedTuple):
    """An LSTM, a batch and its targets, all float64."""

    params: dict[str, Array]
    x: Array  # (T, B, n_x)
    a0: Array  # (B, n_a)
    c0: Array
    target: Array  # (T, B, n_a)

    @property
    def arrays(self) -> dict[str, Array]:
        """Everything that a gradient is taken of, by the paper's names."""
        return {**self.params, "a<0>": self.a0, "c<0>": self.c0, "x": self.x}


class Row(NamedTuple):
    """What the witnesses say of one array: differences relative to its largest entry."""

    name: str
    shape: tuple[int, ...]
    largest: float
    pairs: dict[tuple[str, str], float]
    printed: float


def random_problem(T: int, B: int, n_x: int, n_a: int, seed: int = 0) -> Problem:
    """An LSTM with a random initial state, random inputs and a target at every step."""
    rng = np.random.default_rng(seed)
    x, target = rng.normal(size=(T, B, n_x)), np.tanh(rng.normal(size=(T, B, n_a)))
    a0, c0 = rng.normal(size=(2, B, n_a))
    return Problem(_parameters(n_x, n_a, rng), x, a0, c0, target)


def _parameters(n_x: int, n_a: int, rng: np.random.Generator) -> dict[str, Array]:
    k = 1 / np.sqrt(n_a)
    shapes = {name: (n_a, n_a + n_x) if name[0] == "W" else (n_a,)
              for name in (*lstm_manual.WEIGHTS, *lstm_manual.BIASES)}  # fmt: skip
    return {name: rng.uniform(-k, k, shape) for name, shape in shapes.items()}


def problem_from_text(codes: Array, n_x: int = 12, n_a: int = 20, seed: int = 0) -> Problem:
    """An LSTM that reads characters and predicts a code of the next one.

    Parameters
    ----------
    codes : integer array, shape (T + 1, B)
        Characters of B streams of text.  Each character has a fixed random vector as input
        x<t>, and another one as the target â<t> of the step before it.
    """
    rng = np.random.default_rng(seed)
    count = int(codes.max()) + 1
    inputs, targets = rng.normal(size=(count, n_x)), np.tanh(rng.normal(size=(count, n_a)))
    params = _parameters(n_x, n_a, rng)
    a0, c0 = 0.5 * rng.normal(size=(2, codes.shape[1], n_a))
    return Problem(params, inputs[codes[:-1]], a0, c0, targets[codes[1:]])


def comparison(problem: Problem, directions: int = 8, entries: int = 32, seed: int = 0) -> list[Row]:
    """Hold the witnesses against each other, array by array."""
    arrays = problem.arrays
    auto, error_at = _autodiff(problem)
    cache = lstm_manual.forward(problem.params, problem.x, problem.a0, problem.c0)
    d_outputs = cache["outputs"] - problem.target  # dError/da = −(â − a)
    hand = lstm_manual.backward(cache, d_outputs)
    printed = lstm_manual.document_literal(cache, d_outputs)
    rng = np.random.default_rng(seed)
    rows = []
    for name, array in arrays.items():
        largest = float(np.abs(hand[name]).max())
        scale = largest or 1.0
        worst = dict.fromkeys(_pairs(WITNESSES), 0.0)
        worst["autodiff", "by hand"] = _apart(auto[name], hand[name]) / scale
        for v in _probes(array.shape, directions, entries, rng):
            said = dict(zip(WITNESSES, (
                float(np.vdot(auto[name], v)), float(np.vdot(hand[name], v)),
                _complex_step(error_at, name, array, v), _central(error_at, name, array, v)),
                strict=True))  # fmt: skip
            for p, q in list(worst)[1:]:
                worst[p, q] = max(worst[p, q], abs(said[p] - said[q]) / scale)
        rows.append(Row(name, array.shape, largest, worst, _apart(printed[name], hand[name]) / scale))
    return rows


def _pairs(names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    return ((p, q) for k, p in enumerate(names) for q in names[k + 1 :])


def _apart(a: Array, b: Array) -> float:
    return float(np.abs(a - b).max())


def record(problem: Problem) -> tuple[mg.Tensor, dict[str, mg.Tensor]]:
    """The Error, recorded with the paper's names, and the leaves that it depends on."""
    outputs, leaves = lstm_of(problem)
    return (0.5 * mg.square(problem.target - outputs)).sum(), leaves


def lstm_of(problem: Problem) -> tuple[mg.Tensor, dict[str, mg.Tensor]]:
    """The outputs of the named LSTM, and its leaves by the paper's names."""
    lstm = LSTM(problem.x.shape[2], problem.a0.shape[1], dtype=np.float64)
    lstm.cells[0].state = problem.params
    leaves = {**lstm.cells[0].named_parameters(),
              **{name: mg.tensor(problem.arrays[name], requires_grad=True)
                 for name in ("a<0>", "c<0>", "x")}}  # fmt: skip
    outputs, _ = lstm(leaves["x"], (leaves["a<0>"], leaves["c<0>"]), named=True)
    return outputs, leaves


def _autodiff(problem: Problem) -> tuple[dict[str, Array], Callable[[str, Array], Any]]:
    """The engine's gradients, and the recorded Error as a function of any one array."""
    error, leaves = record(problem)
    error.backward(retain_graph=True)
    gradients = {name: leaf.grad.numpy() for name, leaf in leaves.items() if leaf.grad is not None}

    def error_at(name: str, array: Array) -> Any:
        return evaluate(error._node, {leaves[name]._node: array})

    return gradients, error_at


def _probes(shape: tuple[int, ...], directions: int, entries: int, rng: Any) -> Iterator[Array]:
    """Random unit directions, then random single entries."""
    size = int(np.prod(shape))
    for _ in range(directions):
        v = rng.normal(size=shape)
        yield v / np.linalg.norm(v)
    for k in rng.choice(size, min(entries, size), replace=False):
        v = np.zeros(size)
        v[k] = 1.0
        yield v.reshape(shape)


def _complex_step(error_at: Callable[[str, Array], Any], name: str, array: Array, v: Array) -> float:
    """Im f(x + ih v) / h: no subtraction, so h can be tiny and the result exact."""
    h = 1e-30
    return float(np.imag(error_at(name, array + 1j * h * v)) / h)


def _central(error_at: Callable[[str, Array], Any], name: str, array: Array, v: Array) -> float:
    h = 1e-5
    return float((error_at(name, array + h * v) - error_at(name, array - h * v)) / (2 * h))


def blame_printed(problem: Problem) -> Verdict:
    """What `mg.blame` says of the gradients by the paper's formula as it is printed: given the
    parameters' gradients alone, it finds the fork where the derivation went wrong."""
    error, _ = record(problem)
    cache = lstm_manual.forward(problem.params, problem.x, problem.a0, problem.c0)
    printed = lstm_manual.document_literal(cache, cache["outputs"] - problem.target)
    return mg.blame(error, {name: printed[name] for name in problem.params})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m models compare`."""
    parser.add_argument("file", nargs="?", help="text to read; without it, CPython's own help topics")
    parser.add_argument("--encoding", default="utf-8")
    parser.add_argument("--seq", type=int, default=10, help="T, steps (default 10)")
    parser.add_argument("--batch", type=int, default=4, help="B, streams of text (default 4)")
    parser.add_argument("--hidden", type=int, default=20, help="n_a (default 20)")
    parser.add_argument("--seed", type=int, default=0)


def table(rows: list[Row]) -> str:
    """The rows as text."""
    short = {"autodiff": "auto", "by hand": "hand", "complex step": "complex", "differences": "diff"}
    pairs = list(rows[0].pairs)
    heads = ["array", "shape", "largest", *(f"{short[p]}-{short[q]}" for p, q in pairs), "as printed"]
    lines = [heads] + [
        [row.name, "×".join(map(str, row.shape)), f"{row.largest:.2g}",
         *(f"{row.pairs[pair]:.1e}" for pair in pairs), f"{row.printed:.1e}"] for row in rows]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(
        cell.ljust(w) if k < 2 else cell.rjust(w) for k, (cell, w) in enumerate(zip(line, widths, strict=True))
    ) for line in lines)  # fmt: skip


def verdict(rows: list[Row]) -> tuple[bool, str]:
    """Whether autodiff and the hand derivation agree, and the sentence that says so."""
    worst = max(rows, key=lambda row: row.pairs["autodiff", "by hand"])
    apart = worst.pairs["autodiff", "by hand"]
    ok = apart <= TOLERANCE
    return ok, (
        f"{'Agreed' if ok else 'NOT agreed'}: autodiff and the hand derivation differ by at most "
        f"{apart:.1e} of an array's largest entry ({worst.name}; allowed {TOLERANCE:.0e})."
    )


def run(args: argparse.Namespace) -> int:
    """Print the table for a batch of real text; 0 if autodiff and hand BPTT agree, else 1."""
    from .text import Corpus

    for option, low in (("seq", 1), ("batch", 1), ("hidden", 1), ("seed", 0)):
        if getattr(args, option) < low:
            raise ArgumentError(f"--{option} {getattr(args, option)}: at least {low}")
    heading("The same gradient twice", "Autodiff, and backpropagation through time derived by hand, on a first batch of text.")
    corpus = Corpus.read(args.file, args.encoding)
    codes = next(corpus.batches(args.seq, args.batch))
    problem = problem_from_text(codes, n_a=args.hidden, seed=args.seed)
    rows = comparison(problem, seed=args.seed)
    ok, sentence = verdict(rows)
    print(table(rows))
    print(f"\n{sentence}\n")
    print(f"The gradients by the paper's formula as printed, given to mg.blame:\n{blame_printed(problem)}")
    return 0 if ok else 1
