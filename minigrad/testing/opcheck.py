"""`check_op`: an op against everything that a rule must satisfy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, MinigradError, lesson
from ..op import Op
from .case import Case, Samples, record_of, samples_of
from .claims import CLAIMS, OF_THE_OP, Claim, derivatives, near_poles
from .report import GradientError, Report
from .stage import ORACLES

SHOWN = 2
"""How many samples a broken claim is shown at."""

TRIED = Claim(
    "tried", "each of its rules is tried at a point with something to differentiate",
    "give such a point: check_op(op, samples=[((x, y), {\"axis\": 1})]), or define(..., samples=...)",
    lambda *_: iter(()))  # fmt: skip


DERIVATIVES = next(c for c in CLAIMS if c.check is derivatives)


@dataclass(frozen=True)
class OpReport:
    """What `check_op` found of an op that keeps all its claims.

    Attributes
    ----------
    ok : bool
    op : str
    claims : tuple of str
        What was tried and holds.
    samples : int
        At how many points.
    oracle : str
        What derivatives were held against, strongest first.
    smallest_detectable : float
        The smallest relative error of a rule that would have been reported at every point.
    seed : int
    kinks : tuple of str
        Points that stand at a kink, where derivatives are not compared.
    refused : tuple of str
        Points that `forward` does not take (a 0-d array, say).
    """

    ok: bool
    op: str
    claims: tuple[str, ...]
    samples: int
    oracle: str
    smallest_detectable: float
    seed: int
    kinks: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.op} keeps {len(self.claims)} claims at {self.samples} points (held against {self.oracle}; "
                 f"a relative error of {self.smallest_detectable:.1e} would have shown; seed {self.seed})"]  # fmt: skip
        lines += [f"  {words}" for words in self.claims]
        lines += [f"not compared, at a kink: {kink}" for kink in self.kinks]
        return "\n".join(lines + [f"not tried, forward refuses it: {point}" for point in self.refused])


class Broken(NamedTuple):
    """A claim that does not hold.

    Attributes
    ----------
    claim : Claim
    where : str
        The op with the shapes and metadata of its inputs.
    what : str
    """

    claim: Claim
    where: str
    what: str


def check_op(
    op: Any,
    samples: Samples | None = None,
    *,
    seed: int = 0,
    order: int = 2,
    stop: bool = False,
) -> OpReport:
    """Check an op against everything that a rule must satisfy: ``check_op(my_op)``.

    Parameters
    ----------
    op : Op, callable or str
        What `mg.define` returned, or the name of an op.
    samples : iterable or callable, optional
        Points to try it at, each ``(inputs, params)``, a tuple of inputs or one array; or a
        function of a `numpy.random.Generator` that yields them.  Defaults to what the record
        says: its `samples`, or values from its `domain` in several shapes (0-d and empty too).
    seed : int
        Of the points, cotangents and directions.
    order : int
        Up to which derivative.
    stop : bool
        Stop at the first claim that is broken.

    Returns
    -------
    OpReport
        The claims that hold; print it.

    Raises
    ------
    GradientError
        Claims are broken: all of them, each in plain words with the points where it is, what
        came out there, and what to do.
    ArgumentError
        It is no op with rules, or there is no point to try it at.

    Notes
    -----
    The claims are the functions of `minigrad.testing.claims`: derivatives of first and higher
    order, one cotangent for each input, the same bits on arrays and on tensors, linearity in
    the cotangent, no memory, no writing to what was given, any layout, no sharing, dtypes, no
    warnings, tangents, the traits of the record; broadcasting, kinks and poles.

    Examples
    --------
    >>> import minigrad as mg, numpy as np
    >>> softsign = mg.define("softsign_", lambda x, /: x / (1 + np.abs(x)),
    ...                      lambda g, y, x: g / (1 + np.abs(x)) ** 2, elementwise=True)
    >>> mg.testing.check_op(softsign).ok
    True
    """
    run = _Run(record_of(op), samples, seed, order)
    broken = []
    for found in run.broken():
        broken.append(found)
        if stop:
            break
    if broken:
        raise GradientError(run.message(broken), tuple(run.census))
    return run.report()


class _Run:
    """One call of `check_op`."""

    def __init__(self, op: Op, samples: Samples | None, seed: int, order: int) -> None:
        if not op.differentiable:
            raise ArgumentError(lesson("check_op", f"{op.name!r} has no rules", "an op with a derivative"))
        self.op, self.seed, self.order = op, seed, order
        self.given = samples is not None
        self.refused: list[str] = []
        self.reports: list[Report] = []
        self.kinks: list[Case] = []
        self.held: dict[str, None] = {}
        self.census: list[Any] = []
        self.cases = self._takes([Case(op, *s, seed) for s in samples_of(op, samples, seed)])

    def _takes(self, cases: list[Case]) -> list[Case]:
        """Those points that `forward` takes.  Of shapes that we chose, it need not take all."""
        taken, last = [], None
        ours = not self.given and self.op.samples is None
        for case in cases:
            try:
                with np.errstate(all="ignore"):
                    case.forward()
                taken.append(case)
            except Exception as error:
                if not ours or isinstance(error, ArithmeticError):
                    raise
                self.refused.append(str(case))
                last = error
        if not taken:
            raise ArgumentError(lesson(
                "check_op", f"{self.op.name!r}: there is no point to try it at"
                + (f" (forward refused them: {last})" if last else ""), "float inputs that it takes",
                'give some: check_op(op, samples=[((x, y), {"axis": 1})])')) from last  # fmt: skip
        return taken

    # --- the claims ---

    def broken(self) -> Iterator[Broken]:
        """Every claim that is broken, wherever it is."""
        tasks = [(c, case) for case in self.cases for c in CLAIMS]
        with np.errstate(all="ignore"):
            tasks += [(DERIVATIVES, case) for case in near_poles(self.op, self.seed)]
        failed = set()
        for c, case in tasks:
            with np.errstate(all="ignore"):
                found = self._tried(c, case)
            for what in found:
                failed.add(c.words)
                yield Broken(c, str(case), what)
        for c in OF_THE_OP:
            with np.errstate(all="ignore"):
                found = self._caught(partial(c.check, self.op, self.seed))
            for what in found:
                failed.add(c.words)
                yield Broken(c, self.op.name, what)
        untried = self._untried()
        if untried:
            failed.add(TRIED.words)
            yield Broken(TRIED, self.op.name, f"the rule for {', '.join(untried)} was never tried")
        every = [*CLAIMS, *OF_THE_OP, TRIED]
        self.held = {c.words: None for c in every if c.words not in failed}

    def _tried(self, c: Claim, case: Case) -> list[str]:
        if c.check is not derivatives:
            return self._caught(partial(c.check, case))
        found = self._caught(partial(derivatives, case, self.order))
        self.census += case.census
        if case.report is not None:
            self.reports.append(case.report)
            if case.report.kinks:
                self.kinks.append(case)
        return found

    def _caught(self, check: Any) -> list[str]:
        """What a claim says; an exception is something to say too."""
        found: list[str] = []
        try:
            found.extend(check())
        except AssertionError as error:
            found.append(str(error))
        except (MinigradError, ArithmeticError, ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
            found.append(f"it raised {type(error).__name__}: {error}")
        return found

    def _untried(self) -> list[str]:
        """Inputs whose rule has met no point with numbers in it and beside all kinks."""
        needed = {0} if self.op.variadic else {i for i, rule in enumerate(self.op.rules) if rule is not None}
        tried = set()
        for case in self.cases:
            with np.errstate(all="ignore"):
                sized = any(np.size(y) for y in case.forward())
            if sized and case not in self.kinks:
                tried |= {0 if self.op.variadic else i for i in case.places if case.inputs[i].size}
        return [f"input {i}" for i in sorted(needed - tried)]

    # --- words ---

    def message(self, broken: list[Broken]) -> str:
        op, by_claim = self.op, dict[str, list[Broken]]()
        for b in broken:
            by_claim.setdefault(b.claim.words, []).append(b)
        total = len(CLAIMS) + len(OF_THE_OP) + 1
        lines = [f"check_op: {op.name!r} breaks {len(by_claim)} of {total} claims (seed {self.seed})"]
        seen: set[str] = set()
        same = []
        for words, found in by_claim.items():
            reasons = {b.what for b in found}
            if reasons <= seen:  # a rule that raises breaks everything
                same.append(f"not so, for the same reason: {words}")
                continue
            seen |= reasons
            lines += ["", f"not so: {words}"]
            for b in found[:SHOWN]:
                lines.append(f"  {b.where}")
                lines += [f"    {line}" for line in b.what.splitlines()]
            if len(found) > SHOWN:
                lines.append(f"  and {len(found) - SHOWN} times more")
            lines.append(f"  → {found[0].claim.advice}")
        return "\n".join([*lines, *([""] if same else []), *same])

    def report(self) -> OpReport:
        words = dict.fromkeys(w for r in self.reports for w in r.oracle.split(" in ")[0].split(", "))
        ranked = [o for o in ORACLES if o in words]
        return OpReport(True, self.op.name, tuple(self.held), len(self.cases), ", ".join(ranked) or "nothing that moves",
                        max((r.smallest_detectable for r in self.reports), default=0.0), self.seed,
                        tuple(dict.fromkeys(map(str, self.kinks))), tuple(self.refused))  # fmt: skip
