"""Readers of a recorded graph that say in words and formulas what it computes."""

from __future__ import annotations

from .blame import Culprit, Judged, Status, Verdict, blame
from .derivation import Derivation, explain
from .equations import Equation
from .flow import Flow, flow
from .ledger import Entry, Ledger, ledger
from .links import Link, Path, Paths
from .matching import Matched, blame_function
from .slips import Kind
from .steps import step_of
from .watch import name_locals

__all__ = ["Culprit", "Derivation", "Entry", "Equation", "Flow", "Judged", "Kind", "Ledger", "Link", "Matched", "Path", "Paths",
           "Status", "Verdict", "blame", "blame_function", "explain", "flow", "ledger", "name_locals", "step_of"]  # fmt: skip
