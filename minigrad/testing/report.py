"""What a check found: a report if all is well, a census of the wrong entries if not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import MinigradError

SHOWN = 5
"""How many of the worst entries a census lists."""


@dataclass(frozen=True)
class Report:
    """The verdict of a check.

    Attributes
    ----------
    ok : bool
    oracle : str
        What the gradient was held against, strongest first.
    smallest_detectable : float
        The smallest relative error that this check would have reported.
    seed : int
        Of the random cotangents and directions; give it again to see the same check.
    orders : int
        How many derivatives were checked.
    kinks : tuple of str
        Stages that stand at a kink, where there is nothing to compare.
    """

    ok: bool
    oracle: str
    smallest_detectable: float
    seed: int
    orders: int
    kinks: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = (f"gradients of order 1{f' to {self.orders}' if self.orders > 1 else ''} agree with {self.oracle}; "
                f"a relative error of {self.smallest_detectable:.1e} would have shown (seed {self.seed})")  # fmt: skip
        return text + "".join(f"\nnot compared, at a kink: {kink}" for kink in self.kinks)


class GradientError(MinigradError, AssertionError):
    """A gradient is wrong; the message is a census, `census` its parts."""

    def __init__(self, message: str, census: tuple[Census, ...] = ()) -> None:
        super().__init__(message)
        self.census = census


@dataclass(frozen=True)
class Census:
    """The wrong entries of one argument's gradient.

    Attributes
    ----------
    argument : str
    order : int
    worst : list of (index, expected, got)
        The entries furthest off, worst first.
    wrong, compared, total : int
        How many entries are wrong, of how many that were compared, of how many there are.
    stages : tuple of str
        Stages whose rule is wrong by itself.
    smallest_detectable : float
    oracle : str
    seed : int
    """

    argument: str
    order: int
    worst: list[tuple[tuple[int, ...], float, float]]
    wrong: int
    compared: int
    total: int
    stages: tuple[str, ...] = ()
    smallest_detectable: float = 0.0
    oracle: str = ""
    seed: int = 0
    notes: tuple[str, ...] = field(default_factory=tuple)

    def __str__(self) -> str:
        what = "gradient" if self.order == 1 else f"derivative of order {self.order}"
        of = "" if self.compared == self.total else f" compared, of {self.total}"
        lines = [
            f"the {what} of {self.argument} is wrong in {self.wrong} of {self.compared} entries{of}"
        ]
        for index, want, got in self.worst:
            lines.append(
                f"  at {index}: expected {want:.17g}, got {got:.17g}{_compared(want, got)}"
            )
        lines += [f"  {stage}" for stage in self.stages] + [f"  {note}" for note in self.notes]
        lines.append(f"  held against {self.oracle}; smallest relative error it shows: "
                     f"{self.smallest_detectable:.1e}; seed {self.seed}")  # fmt: skip
        return "\n".join(lines)


def _compared(want: float, got: float) -> str:
    if not want or not np.isfinite(got):
        return ""
    ratio = got / want
    return (
        f", relative error {abs(ratio - 1):.1e}"
        if abs(ratio - 1) < 1e-2
        else f", {ratio:.4g} times as much"
    )


def census_of(
    expected: Any, got: Any, tolerance: float
) -> tuple[list[tuple[Any, float, float]], int]:
    """The worst entries, and how many differ by more than `tolerance`."""
    expected, got = np.asarray(expected, np.longdouble), np.asarray(got, np.longdouble)
    off = np.abs(expected - got)
    off = np.where(np.isnan(off), np.inf, off)
    wrong = int(np.sum(off > tolerance))
    order = np.argsort(-off, axis=None)[: min(SHOWN, max(wrong, 1))]
    places = [tuple(int(k) for k in np.unravel_index(j, off.shape)) for j in order]
    return [(p, float(expected[p]), float(got[p])) for p in places], wrong
