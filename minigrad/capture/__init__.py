"""A function recorded as a list of steps, and its readers: passes, and the NumPy replay."""

from __future__ import annotations

from .captured import Captured, capture
from .program import Program, Source, Step, Value

__all__ = ["Captured", "Program", "Source", "Step", "Value", "capture"]
