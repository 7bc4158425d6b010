"""minigrad: a reverse-mode autodiff micro-engine for NumPy.

Write each stage's local derivative once, in plain NumPy; the same rule then
differentiates, explains, checks, compiles and scales your network.
"""

from __future__ import annotations

import builtins
import sys
import types

from . import errors, nn, ops, optim, testing
from .array_api import *  # noqa: F403 (its __all__ is the standard's list)
from .capture import capture
from .define import define
from .errors import MinigradError
from .explain import (  # the function; imports find the package
    blame,
    blame_function,
    explain,
    flow,
    ledger,
    name_locals,
)
from .functional import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from .mode import debug, enable_grad, no_grad, record_all
from .op import BUILT_IN as _BUILT_IN
from .op import OPS, PUBLIC, Op
from .recompute import checkpoint
from .serialize import load, save
from .tensor import Tensor, tensor

__version__ = "0.1.0"

_BUILT_IN.update(OPS)  # from here on a definition is the user's

linalg = types.ModuleType("minigrad.linalg", "Matrix decompositions, by the Array API's names.")
sys.modules[linalg.__name__] = linalg  # so that `from minigrad.linalg import eigh` works

for _name, _function in PUBLIC.items():
    _space, _, _last = _name.rpartition(".")
    setattr(linalg if _space else sys.modules[__name__], _last, _function)

# Functions that shadow a builtin (max, sum, abs ...) stay out of `from minigrad import *`.
_MODULES = {"errors", "linalg", "nn", "optim", "testing"}
__all__ = sorted(
    name for name, value in list(globals().items())
    if not name.startswith("_") and not hasattr(builtins, name) and name != "annotations"
    and (name in _MODULES or not isinstance(value, types.ModuleType))
)  # fmt: skip
