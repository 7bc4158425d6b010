"""Readers of a recorded graph that say in words and formulas what it computes."""

from __future__ import annotations

from .derivation import Derivation, Equation, explain
from .ledger import Entry, Ledger, ledger

__all__ = ["Derivation", "Entry", "Equation", "Ledger", "explain", "ledger"]
