"""Gradient checks: is a derivative right, and if not, where and by how much?"""

from __future__ import annotations

from .check import check_grads
from .foreign import check_vjp
from .mutants import Mutation, mutate
from .opcheck import OpReport, check_op
from .report import Census, GradientError, Report

__all__ = ["Census", "GradientError", "Mutation", "OpReport", "Report",
           "check_grads", "check_op", "check_vjp", "mutate"]  # fmt: skip
