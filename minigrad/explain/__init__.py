"""Readers of a recorded graph that say in words and formulas what it computes."""

from __future__ import annotations

from .blame import Culprit, Judged, Status, Verdict, blame
from .ledger import Entry, Ledger, ledger
from .slips import Kind

__all__ = ["Culprit", "Entry", "Judged", "Kind", "Ledger", "Status", "Verdict", "blame", "ledger"]
