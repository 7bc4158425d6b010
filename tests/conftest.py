"""What all tests share: seeds that print, and PyTorch where it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.op import OPS, PUBLIC


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Mark what needs an oracle, so that ``pytest -m torch`` runs just that."""
    for item in items:
        for oracle in ("torch", "onnxruntime"):
            if oracle in getattr(item, "fixturenames", ()):
                item.add_marker(getattr(pytest.mark, oracle))


@pytest.fixture
def torch() -> Any:
    """PyTorch, an independent oracle; without it the test is skipped."""
    return pytest.importorskip("torch", reason="the oracle PyTorch is not installed")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20190501)


@pytest.fixture
def user_op() -> Iterator[Callable[..., Any]]:
    """`mg.define` for ops that are gone after the test."""
    made: list[str] = []

    def define(name: str, *args: Any, **traits: Any) -> Any:
        made.append(name)
        return mg.define(name, *args, **traits)

    yield define
    for name in made:
        OPS.pop(name, None)
        PUBLIC.pop(name, None)


@pytest.fixture
def python() -> Callable[..., str]:
    """Run a program in a fresh interpreter: its output, or AssertionError with its error."""

    def run(program: str, *, env: dict[str, str] | None = None, prefix: tuple[str, ...] = ()) -> str:
        path = os.pathsep.join(p for p in sys.path if p)
        done = subprocess.run([*prefix, sys.executable, "-c", program], capture_output=True, text=True,
                              check=False, env={**os.environ, "PYTHONPATH": path, **(env or {})})  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:] or f"exit code {done.returncode}"
        return done.stdout

    return run


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What the comparison with PyTorch's samples came to (`test_torch_opinfo.py`)."""
    found = [dict(report.user_properties)["opinfo"]
             for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, ())
             if report.when == "call" and "opinfo" in dict(report.user_properties)]  # fmt: skip
    if not found:
        return
    why: Counter[str] = Counter()
    for op in found:
        why.update(op["skipped"])
    terminalreporter.section("PyTorch's own samples")
    terminalreporter.write_line(
        f"{len({op['ours'] for op in found})} functions matched with {len(found)} of PyTorch's ops: "
        f"{sum(op['compared'] for op in found)} samples compared, "
        f"{sum(op['failed'] for op in found)} failed, {why.total()} skipped"
    )
    for reason, count in why.most_common():
        terminalreporter.write_line(f"{count:6} skipped: {reason}")
