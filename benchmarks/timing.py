"""Rivals timed in turn, so that what slows the machine slows all of them alike.

A lone time says little on a shared machine; the ratio of two times taken next to each
other says much.  `compare` calls every rival once a round and the ratio it reports is
the median of the ratios of the rounds.

This module imports neither NumPy nor a peer: `limit_threads` must run before they do,
because BLAS libraries read their number of threads once, when they are loaded.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Comparison:
    """The seconds a call took: for every rival one entry per round."""

    times: Mapping[str, Sequence[float]]

    def median(self, name: str) -> float:
        """Seconds per call."""
        return median(self.times[name])

    def ratio(self, name: str, to: str) -> float:
        """How many times as long as `to` the rival `name` takes."""
        return median(a / b for a, b in zip(self.times[name], self.times[to], strict=True))


def compare(
    rivals: Mapping[str, Callable[[], object]], *, rounds: int = 25, seconds: float = 0.01, collecting: bool = False,
    clock: Callable[[], float] = perf_counter,
) -> Comparison:
    """Time all rivals in turn, `rounds` times.

    Within a round a rival is called as often as fills about `seconds`, at least once.
    The first rival of a round is another one each time, and the collector of cycles is
    off, as in `timeit`; with `collecting` it is on, and looks through nothing but what a rival
    makes while it is timed.  `clock` may be `time.process_time`, for rivals of one thread.
    """
    calls = {name: _calls_in(seconds, rival, clock) for name, rival in rivals.items()}
    times: dict[str, list[float]] = {name: [] for name in rivals}
    order = list(rivals)
    before = gc.isenabled()
    gc.collect()
    (gc.enable if collecting else gc.disable)()
    try:
        for _ in range(rounds):
            for name in order:
                if collecting:
                    gc.collect()
                    gc.freeze()
                times[name].append(_time(rivals[name], calls[name], clock) / calls[name])
            order.append(order.pop(0))
    finally:
        (gc.enable if before else gc.disable)()
        gc.unfreeze()
    return Comparison(times)


def _time(rival: Callable[[], object], calls: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(calls):
        rival()
    return clock() - start


def _calls_in(seconds: float, rival: Callable[[], object], clock: Callable[[], float]) -> int:
    rival()  # the first call pays for imports, caches and thread pools
    calls = 1
    while (elapsed := _time(rival, calls, clock)) < seconds / 4:
        calls *= 2
    return max(1, round(calls * seconds / elapsed))


def limit_threads(threads: int) -> None:
    """Hold every numerical library to so many threads; call it before they are imported."""
    if "numpy" in sys.modules or "torch" in sys.modules:
        raise RuntimeError("limit_threads comes too late: numpy or torch is imported already")
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(threads)


def threads() -> int:
    """How many threads `limit_threads` asked for; PyTorch wants to be told once more."""
    return int(os.environ.get(THREAD_VARIABLES[0], "1"))


def environment(*packages: str) -> dict[str, Any]:
    """Versions and threads, read back from the libraries rather than from what was asked."""
    found: dict[str, Any] = {"python": platform.python_version()}
    for package in ("numpy", *packages):
        found[package] = "not available" if _imported(package) is None else version(package)
    if (threadpoolctl := _imported("threadpoolctl")) is not None:
        for pool in threadpoolctl.threadpool_info():
            found[f"threads of {pool.get('prefix', pool['user_api'])}"] = pool["num_threads"]
    else:
        found["threads asked for"] = threads()
    if (torch := sys.modules.get("torch")) is not None:
        found["threads of torch"] = torch.get_num_threads()
    return found


def _imported(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError:
        return None


def parser(description: str, rounds: int = 25) -> argparse.ArgumentParser:
    """The command line that all benchmarks share."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=description)
    made.add_argument("--rounds", type=int, default=rounds, help="rounds per comparison")
    made.add_argument("--json", type=Path, metavar="PATH", help="also write the results here")
    return made


def options(argv: Sequence[str], description: str) -> argparse.Namespace:
    """What was asked on that command line."""
    return parser(description).parse_args(argv)


def report(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    packages: Iterable[str] = (),
    json_path: Path | None = None,
) -> None:
    """Print rows (column title to number, text or None) as a table, and perhaps write them."""
    found = environment(*packages)
    print(title)
    print(", ".join(f"{key} {value}" for key, value in found.items()))
    columns = list(rows[0])
    cells = [columns, *([_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    if json_path is not None:
        result = {"title": title, "environment": found, "rows": [dict(row) for row in rows]}
        json_path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _cell(value: Any) -> str:
    if value is None:
        return "not available"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
