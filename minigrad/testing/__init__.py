"""Gradient checks: is a derivative right, and if not, where and by how much?"""

from __future__ import annotations

from .arithmetic import Evaluation, evaluate_in, ulp_ledger
from .check import check_grads
from .foreign import check_vjp
from .mutants import Mutation, mutate
from .opcheck import OpReport, check_op
from .report import Census, GradientError, Report

__all__ = ["Census", "Evaluation", "GradientError", "Mutation", "OpReport", "Report",
           "check_grads", "check_op", "check_vjp", "evaluate_in", "mutate", "ulp_ledger"]  # fmt: skip
