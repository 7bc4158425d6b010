"""Time steps that repeat, as one formula in t."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from ..op import OPS
from .expression import Expr, Shape, Stage, Symbol, Total, renamed, within
from .steps import INDEX, counted_from


@dataclass(frozen=True)
class Line:
    """A formula as it is shown: of one node, or of all time steps in a range.

    Attributes
    ----------
    name : str
    expr : Expr
    shape : tuple of int
    steps : tuple of int, optional
        The time steps it stands for, in the order of the pass: ``(3, 2, 1)``.
    """

    name: str
    expr: Expr
    shape: Shape
    steps: tuple[int, ...] = ()

    def span(self) -> tuple[int, int] | None:
        """The first and the last time step that it speaks of."""
        if self.steps:
            return self.steps[0], self.steps[-1]
        totals = [part for part in within(self.expr) if isinstance(part, Total)]
        return (totals[0].first, totals[0].last) if totals else None

    def note(self) -> str:
        """The shape and the time steps."""
        span = self.span()
        return f"{self.shape}" + (f", t = {span[0]} … {span[1]}" if span else "")

    def latex_note(self) -> str:
        """The same for LaTeX."""
        shape = r" \times ".join(map(str, self.shape)) or r"\text{scalar}"
        return shape + (rf",\quad t = {self.steps[0]} \ldots {self.steps[-1]}" if self.steps else "")


def rolled(lines: Sequence[Line]) -> list[Line]:
    """One line for those that are the same but for a shift of every time step."""
    groups: dict[tuple[str, Expr, Shape], list[tuple[int, int]]] = {}
    out: dict[int, Line] = {}  # by where the first of them stands
    for place, line in enumerate(lines):
        found = INDEX.search(line.name)
        if found is None:
            out[place] = Line(line.name, _summed(line.expr), line.shape)
            continue
        here = int(found.group(1))
        key = (counted_from(line.name, here), renamed(line.expr, partial(counted_from, here=here)), line.shape)
        groups.setdefault(key, []).append((here, place))
    for key, members in groups.items():
        for run in _runs(members):
            place = run[0][1]
            out[place] = lines[place] if len(run) == 1 else Line(*key, steps=tuple(t for t, _ in run))
    return [out[place] for place in sorted(out)]


def _runs(members: list[tuple[int, int]]) -> Iterable[list[tuple[int, int]]]:
    """Cut where the time steps are not neighbours."""
    run = [members[0]]
    for before, member in pairwise(members):
        if abs(member[0] - before[0]) != 1:
            yield run
            run = []
        run.append(member)
    yield run


def _summed(expr: Expr) -> Expr:
    """A sum over all time steps, where the summands are one formula in t."""
    terms = _terms(expr)
    steps = []
    for term in terms:
        found = next((INDEX.search(s.name) for s in within(term) if isinstance(s, Symbol) and INDEX.search(s.name)), None)
        steps.append(int(found.group(1)) if found else None)
    forms: dict[Expr, list[int]] = {}
    for term, here in zip(terms, steps, strict=True):
        if here is None:
            return expr
        form = renamed(term, partial(counted_from, here=here))
        forms.setdefault(form, []).append(here)
    spans = {(min(ts), max(ts)) for ts in forms.values()}
    whole = all(sorted(ts) == list(range(min(ts), max(ts) + 1)) for ts in forms.values())
    if len(spans) != 1 or not whole or len(terms) == len(forms):
        return expr
    (first, last), = spans
    totals = [Total(form, first, last) for form in forms]
    out: Expr = totals[0]
    for total in totals[1:]:
        out = Stage(OPS["add"], (out, total), {}, expr.shape)
    return out


def _terms(expr: Expr) -> list[Expr]:
    """The summands, in order."""
    terms: list[Expr] = []
    while isinstance(expr, Stage) and expr.op.name == "add":
        terms.append(expr.parts[1])
        expr = expr.parts[0]
    return [expr, *terms[::-1]]
