"""Random programs replayed: to the same bits without the passes that reassociate, and with them
within what rounding may do.

Each program is used three times over, so that its gradients are sums, and differentiated; buffers
are spoiled as soon as nothing needs them.  How far rounding may move a result is measured: each
stage's output is moved by one unit in the last place, up or down at random, several times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import timing

RUNS = 3
"""Of a program with every stage moved."""
FACTOR = 50.0
"""How many times as far as the moved runs a replay may be: they move each stage once, a sum of n
terms taken in another order may move n."""


def main(argv: Sequence[str]) -> None:
    parser = timing.parser(__doc__ or "", rounds=1)
    parser.add_argument("--count", type=int, default=20_000, help="programs")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    from tqdm import tqdm

    found = {"programs": 0, "stages": 0, "changed by passes": 0, "other bits": 0, "beyond rounding": 0}
    worst = 0.0
    for k in tqdm(range(args.count), disable=None):
        for name, value in one(args.seed, k).items():
            if name == "worst":
                worst = max(worst, value)
            else:
                found[name] += value
    timing.report("Replays of random programs", [found | {"largest error, in moved runs": worst}], json_path=args.json)


def one(seed: int, k: int) -> dict[str, Any]:
    """Draw, record and replay one program."""
    import minigrad as mg
    from minigrad.capture.passes import EXACT, FAST, run_passes
    from minigrad.capture.recorder import record
    from minigrad.capture.replay import Replay
    from minigrad.testing.programs import draw_program
    from minigrad.tree import flatten

    program = draw_program(np.random.default_rng((seed, k)))
    leaves = program.leaves()
    traced = [mg.tensor(x, requires_grad=True) for x in leaves]

    def f(*xs: Any) -> Any:
        y, pull = mg.vjp(lambda *xs: sum(program(*xs) * c for c in (1.0, -2.5, 3.0)), *xs)
        return y, pull(mg.tensor(np.ones(y.shape, y.dtype)))

    try:
        recorded, result, _ = record(f, tuple(traced), {}, traced)
    except mg.errors.DomainError:  # a loss that has no derivative
        return {}
    want = [t.data for t in flatten(result)[0]]
    exact, fast = run_passes(recorded, EXACT), run_passes(recorded, FAST)
    moved = [_moved(exact, leaves, np.random.default_rng((seed, k, run))) for run in range(RUNS)]
    row = {"programs": 1, "stages": len(recorded.steps), "changed by passes": [x.op for x in exact.steps] != [x.op for x in fast.steps]}
    for name, replay in (("other bits", Replay(exact, poison=True)), ("beyond rounding", Replay(fast, exact=False, poison=True))):
        for buffer in replay.buffers:
            buffer.fill(np.nan if buffer.dtype.kind == "f" else 1)
        for _ in range(2):  # the second time on buffers that hold the first one's numbers
            got = list(replay.run(*leaves))
            if name == "other bits":
                row[name] = any(a.tobytes() != b.tobytes() for a, b in zip(got, want, strict=True))
            else:
                row["worst"] = max((_error(a, b, [m[i] for m in moved]) for i, (a, b) in enumerate(zip(got, want, strict=True))), default=0.0)
                row[name] = row["worst"] > FACTOR
            if row[name]:
                print(f"seed {seed}, program {k}: {name}")
                break
    return row


def _moved(program: Any, leaves: Sequence[Any], rng: np.random.Generator) -> list[Any]:
    """The results if each stage's output were off by a unit in the last place."""
    from minigrad.capture.program import Value

    values: dict[Any, Any] = dict(program.constants)
    values.update({v: leaves[s.place] for v, s in program.sources.items()})
    with np.errstate(all="ignore"):
        for step in program.steps:
            inputs = [values[x] if isinstance(x, Value) else x for x in step.inputs]
            y = step.op.forward(*inputs, **step.params)
            if step.op.linear != "jointly" or step.op.name in ("add", "subtract", "sum", "sum_to", "mean"):
                y = tuple(_nudged(part, rng) for part in y) if type(y) is tuple else _nudged(y, rng)
            values[step.output] = y
    return [values[v] for v in program.results]


def _nudged(y: Any, rng: np.random.Generator) -> Any:
    if y.dtype.kind != "f":
        return y
    return y * (1 + np.finfo(y.dtype).eps * rng.choice([-1, 1], np.shape(y)).astype(y.dtype))


def _error(got: Any, want: Any, moved: list[Any]) -> float:
    """How far a result is off, in the largest distance that a moved run is off."""
    if np.array_equal(got, want, equal_nan=True):
        return 0.0
    finite = np.isfinite(want)
    if not np.array_equal(finite, np.isfinite(got)) and all(np.array_equal(finite, np.isfinite(m)) for m in moved):
        return float("inf")
    scale = np.max(np.abs(want), initial=0, where=finite)
    apart = max(np.max(np.abs(m - want), initial=0, where=finite & np.isfinite(m)) for m in moved)
    apart = max(apart, np.finfo(want.dtype).eps * scale)
    off = np.max(np.abs(got - want), initial=0, where=finite & np.isfinite(got))
    return float(off / apart) if apart else 0.0 if off == 0 else float("inf")
