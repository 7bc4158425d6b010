"""`python -m benchmarks NAME [--threads N] [--json PATH]` runs one module of this package."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence

import benchmarks
from benchmarks import timing


def names() -> list[str]:
    """Every module of the package is a benchmark, but for this one, the stopwatch and the table of names."""
    found = {module.name for module in pkgutil.iter_modules(benchmarks.__path__)}
    return sorted(found - {"__main__", "by_hand", "jaxprs", "notebooks", "peers", "timing"})


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=benchmarks.__doc__, allow_abbrev=False
    )
    parser.add_argument("name", choices=names())
    parser.add_argument("--threads", type=int, default=1, help="of every numerical library")
    asked, rest = parser.parse_known_args(argv)
    timing.limit_threads(asked.threads)  # before the benchmark imports NumPy
    importlib.import_module(f"benchmarks.{asked.name}").main(rest)


if __name__ == "__main__":
    main(sys.argv[1:])
