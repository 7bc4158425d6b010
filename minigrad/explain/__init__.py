"""Readers of a recorded graph that say in words and formulas what it computes."""

from __future__ import annotations

from .derivation import Derivation, explain
from .equations import Equation
from .flow import Flow, flow
from .ledger import Entry, Ledger, ledger

__all__ = ["Derivation", "Entry", "Equation", "Flow", "Ledger", "explain", "flow", "ledger"]
