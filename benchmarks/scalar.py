"""Graphs of numbers: minigrad, eager and captured, beside micrograd, the same program.

The network and the loss of micrograd's demo: 2-16-16-1 neurons with relu, two moons, max-margin loss
and weight decay, one node for every sum and product.  A step is forward, backward, and the gradient of
every parameter.  The collector of cycles stays on, for micrograd's graphs are made of cycles: each
rival starts from a clean heap and pays for its own garbage.  Times are CPU time.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from time import process_time
from typing import Any

from .timing import compare, options, report

SIZES = (2, 16, 16, 1)
POINTS = (100, 1)
Layers = list[list[tuple[list[Any], Any]]]


def main(argv: Sequence[str]) -> None:
    """Print nanoseconds per node and step, and ratios."""
    args = options(argv, __doc__ or "")
    rows = []
    for points in POINTS:
        rivals, nodes = steps(points)
        result = compare(rivals, rounds=args.rounds, collecting=True, clock=process_time)
        rows.append({
            "points": points,
            "nodes": nodes,
            "micrograd ns": result.median("micrograd") / nodes * 1e9,
            "eager ns": result.median("eager") / nodes * 1e9,
            "captured ns": result.median("captured") / nodes * 1e9,
            "eager / micrograd": result.ratio("eager", to="micrograd"),
            "micrograd / captured": result.ratio("micrograd", to="captured"),
        })  # fmt: skip
    report("A step of micrograd's MLP, per node", rows, packages=("micrograd",), json_path=args.json)


def steps(points: int) -> tuple[dict[str, Callable[[], object]], int]:
    """The rivals, and how many nodes micrograd makes in a step."""
    from micrograd.engine import Value

    import minigrad as mg

    numbers = random.Random(0)
    network = [[([numbers.uniform(-1, 1) for _ in range(n)], 0.0) for _ in range(m)]
               for n, m in pairwise(SIZES)]  # fmt: skip
    data = moons(points, numbers)

    def leaves(leaf: Callable[[float], Any]) -> Layers:
        return [[([leaf(w) for w in ws], leaf(b)) for ws, b in layer] for layer in network]

    theirs, ours = leaves(Value), leaves(lambda number: mg.tensor(number, requires_grad=True))

    def step(layers: Layers, nothing: Any) -> Any:
        total = loss(layers, data)
        for p in parameters(layers):
            p.grad = nothing
        total.backward()
        return total

    captured = mg.capture(mg.value_and_grad(lambda layers: loss(layers, data)))
    total = step(theirs, 0)
    want = [p.grad for p in parameters(theirs)]
    step(ours, None)
    for _ in range(10):  # Python specialises what has run a few times
        _, found = captured(ours)
    for grads in ([p.grad for p in parameters(ours)], parameters(found)):  # the same program, or no comparison
        assert all(math.isclose(g.item(), w, rel_tol=1e-9, abs_tol=1e-12) for g, w in zip(grads, want, strict=True))
    rivals = {"micrograd": lambda: step(theirs, 0), "eager": lambda: step(ours, None), "captured": lambda: captured(ours)}
    return rivals, count(total)


def moons(points: int, numbers: random.Random) -> list[tuple[list[float], float]]:
    """Two half circles that interlock, with noise: points and their classes, 1 and −1."""
    found = []
    for k in range(points):
        angle, upper = math.pi * numbers.random(), k % 2 == 0
        x, y = math.cos(angle), math.sin(angle)
        place = (x, y) if upper else (1 - x, 0.5 - y)
        found.append(([v + numbers.gauss(0, 0.1) for v in place], 1.0 if upper else -1.0))
    return found


def loss(layers: Layers, data: list[tuple[list[float], float]]) -> Any:
    """The demo's loss, in the words that both engines know."""
    losses = [(1 + -y * score(layers, x)).relu() for x, y in data]
    decay = 1e-4 * sum(p * p for p in parameters(layers))
    return sum(losses) * (1.0 / len(losses)) + decay


def score(layers: Layers, x: list[Any]) -> Any:
    for k, layer in enumerate(layers):
        x = [sum((w * v for w, v in zip(ws, x, strict=True)), b) for ws, b in layer]
        if k < len(layers) - 1:
            x = [v.relu() for v in x]
    return x[0]


def parameters(layers: Layers) -> list[Any]:
    return [p for layer in layers for ws, b in layer for p in (*ws, b)]


def count(root: Any) -> int:
    """How many nodes a graph of micrograd has."""
    seen, stack = {root}, [root]
    while stack:
        new = stack.pop()._prev - seen
        seen |= new
        stack += new
    return len(seen)
