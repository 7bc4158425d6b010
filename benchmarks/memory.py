"""Peak memory of one training step of the LSTM, forward and backward, next to PyTorch's fused ``nn.LSTM``.

Sizes, rivals and numbers are those of the benchmark ``lstm``.  Every rival runs in a process of its own and is
asked what only the operating system knows of all of them: how far the resident set rises over what it is when
library, parameters and inputs are there.  A first step of a tiny problem has loaded what is loaded lazily.

"first call" is what a capture needs while it records; "grows" is what 200 replays add to the resident set and,
traced by Python, to arrays and objects: a replay allocates nothing that stays.

    python -m benchmarks memory --json docs/benchmarks/memory.json
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import tracemalloc
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import timing
from benchmarks.lstm import RIVALS, SIZES, Problem, Rival, by_torch

TINY = (2, 1, 4, 4)
STEPS, REPLAYS = 3, 200
MAKERS: dict[str, Callable[[Problem], Rival]] = {"torch": by_torch, **RIVALS}


def main(argv: Sequence[str]) -> None:
    options = timing.parser(__doc__ or "", rounds=3).parse_args(argv)
    timing.report(
        "Peak memory of a training step of the LSTM, float32; ratios to torch",
        [_row(sizes, options.rounds) for sizes in SIZES], packages=["torch"], json_path=options.json,
    )  # fmt: skip


def _row(sizes: tuple[int, int, int, int], rounds: int) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip(("T", "B", "n_x", "n_a"), sizes, strict=True))
    row["torch MB"] = torch = _median("torch", sizes, rounds)
    for name in RIVALS:
        row[name] = _median(name, sizes, rounds) / torch
    row["first call"] = _fresh(first_call, "captured LSTM", sizes) / torch
    resident, traced = _fresh(growth, "captured LSTM", sizes)
    row["grows, resident kB"], row["grows, traced kB"] = resident / 1e3, traced / 1e3
    return row


def _median(name: str, sizes: tuple[int, int, int, int], rounds: int) -> float:
    return median(_fresh(peak, name, sizes) for _ in range(rounds)) / 1e6


def _fresh(measure: Callable[..., Any], *given: Any) -> Any:
    """A measurement in a process that has done nothing before."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *given).result()


def peak(name: str, sizes: tuple[int, int, int, int]) -> int:
    """Bytes that a step needs, the first one not counted."""
    run, before = _ready(name, sizes)
    run()
    run()
    _settle()
    _forget_peak()
    for _ in range(STEPS):
        run()
    return _status("VmHWM") - before


def first_call(name: str, sizes: tuple[int, int, int, int]) -> float:
    """Megabytes that the first call needs."""
    run, before = _ready(name, sizes)
    _forget_peak()
    run()
    return (_status("VmHWM") - before) / 1e6


def growth(name: str, sizes: tuple[int, int, int, int]) -> tuple[int, int]:
    """Bytes that many steps add: to the resident set, and to what Python allocates."""
    run, _ = _ready(name, sizes)
    for _ in range(STEPS):
        run()
    _settle()
    before = _status("VmRSS")
    for _ in range(REPLAYS):
        run()
    _settle()
    resident = _status("VmRSS") - before
    tracemalloc.start()
    run()
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(REPLAYS // 10):  # traced, a step takes far longer
        run()
    gc.collect()
    return resident, tracemalloc.get_traced_memory()[0] - before


def _ready(name: str, sizes: tuple[int, int, int, int]) -> tuple[Rival, int]:
    """A rival with its inputs, and the resident set then."""
    make = MAKERS[name]
    make(Problem(*TINY))()
    run = make(Problem(*sizes))
    _settle()
    return run, _status("VmRSS")


def _settle() -> None:
    """Give back to the system what is free."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _forget_peak() -> None:
    """Let the peak of the resident set count from now."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> int:
    """A line of what Linux says of this process, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
