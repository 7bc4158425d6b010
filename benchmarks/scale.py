"""How costs grow: a graph of numbers with 1,000 to 1,000,000 nodes.

A recurrence, ``x = x * w + b``, whose two parameters are forks as large as the graph.  Eager forward
and backward, the replay of the captured step, and the capture itself (the first call, which records,
compiles and runs); each in CPU time per node, and relative to the same at 1,000 nodes, timed in turn.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from statistics import median
from time import process_time
from typing import Any

from .timing import compare, parser, report

SIZES = (1_000, 10_000, 100_000, 1_000_000)
LARGE = 100_000
"""From so many nodes on a capture takes seconds, and is timed once."""


def main(argv: Sequence[str]) -> None:
    """Print nanoseconds per node, and how they grow."""
    made = parser(__doc__ or "", rounds=5)
    made.add_argument("--most", type=int, default=SIZES[-1], help="nodes of the largest graph")
    args = made.parse_args(argv)
    rows = []
    small = steps(SIZES[0])
    for nodes in [n for n in SIZES if n <= args.most]:
        here = small if nodes == SIZES[0] else steps(nodes)
        captures = [(seconds(here["capture"]), seconds(here["eager"]), seconds(small["capture"]))
                    for _ in range(1 if nodes >= LARGE else args.rounds)]  # fmt: skip
        rivals = {f"{kind}, {n}": run[kind] for n, run in {SIZES[0]: small, nodes: here}.items() for kind in ("eager", "replay")}
        result = compare(rivals, rounds=args.rounds, clock=process_time)
        rows.append({
            "nodes": nodes,
            "eager ns": result.median(f"eager, {nodes}") / nodes * 1e9,
            "replay ns": result.median(f"replay, {nodes}") / nodes * 1e9,
            "capture ns": median(c for c, _, _ in captures) / nodes * 1e9,
            **{f"{kind}, relative": result.ratio(f"{kind}, {nodes}", to=f"{kind}, {SIZES[0]}") * SIZES[0] / nodes
               for kind in ("eager", "replay")},
            "capture, relative": median(c / first for c, _, first in captures) * SIZES[0] / nodes,
            "capture / eager": median(c / e for c, e, _ in captures),
        })  # fmt: skip
    report("Cost per node, and the same relative to 1,000 nodes", rows, json_path=args.json)


def seconds(run: Callable[[], object]) -> float:
    """One call, with the collector of cycles off."""
    gc.collect()
    gc.disable()
    try:
        start = process_time()
        run()
        return process_time() - start
    finally:
        gc.enable()


def steps(nodes: int) -> dict[str, Callable[[], Any]]:
    """A training step on a graph of so many nodes: eager, replayed, and captured."""
    import minigrad as mg

    w, b = mg.tensor(0.9, requires_grad=True), mg.tensor(0.1, requires_grad=True)

    def recurrence(w: mg.Tensor, b: mg.Tensor) -> mg.Tensor:
        x = b
        for _ in range(nodes // 2):
            x = x * w + b
        return x

    def eager() -> None:
        w.grad = b.grad = None
        recurrence(w, b).backward()

    step = mg.value_and_grad(recurrence, argnums=(0, 1))
    captured: list[Any] = []

    def capture() -> None:
        new = mg.capture(step)
        new(w, b)
        captured[:] = captured or [new]

    def replay() -> Any:
        if not captured:
            capture()
        return captured[0](w, b)

    return {"eager": eager, "replay": replay, "capture": capture}
