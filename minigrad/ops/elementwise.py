"""Elementwise functions of one array: their local derivative is one factor per element."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..define import define
from ..domain import POSITIVE
from ..op import Kink

exp = define("exp", np.exp, lambda g, y, x: g * y, analytic=True, caption="eˣ")
log = define("log", np.log, lambda g, y, x: g / x,
             domain=POSITIVE, singular=True, analytic=True, caption="ln x")  # fmt: skip
sqrt = define("sqrt", np.sqrt, lambda g, y, x: g / (2 * y),
              domain=POSITIVE, singular=True, analytic=True, caption="√x")  # fmt: skip
square = define("square", np.square, lambda g, y, x: g * (2 * x), analytic=True, notation="{}²", caption="x²")
sin = define("sin", np.sin, lambda g, y, x: g * np.cos(x), analytic=True, caption="sin x")
cos = define("cos", np.cos, lambda g, y, x: -g * np.sin(x), analytic=True, caption="cos x")
tanh = define("tanh", np.tanh, lambda g, y, x: g * (1 - y * y), analytic=True, caption="tanh x")
abs = define("abs", np.absolute, lambda g, y, x: g * np.sign(x), aliases=("absolute",),
             branch=np.sign, kinks=[Kink("x = 0", (0.0,), (0.0,))], notation="|{}|", caption="|x|")  # fmt: skip
sign = define("sign", np.sign, lambda g, y, x: g * 0.0, branch=np.sign,
              kinks=[Kink("x = 0", (0.0,), (0.0,))], caption="sign x")  # fmt: skip


@cache
def _of_dtype(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """1, and where σ becomes 1, as 0-d arrays: NumPy converts a Python number at each call,
    which for small arrays takes longer than the function itself."""
    return np.ones((), dtype), np.asarray(11 if dtype.itemsize == 2 else 45, dtype)


def _sigmoid(x: Any, /) -> Any:
    # eˣ / (1 + eˣ) keeps full relative accuracy in the left tail, where ½(1 + tanh ½x) has
    # none; from 45 (11 for half floats) on it is 1 in every dtype, and eˣ never overflows.
    # The rule's 1 − y is relatively accurate to the left only: a better one costs an exp.
    one, saturated = _of_dtype(x.dtype if x.dtype.kind in "fc" else np.dtype(np.float64))
    e = np.exp(np.minimum(x, saturated))
    return e / (e + one)


sigmoid = define("sigmoid", _sigmoid, lambda g, y, x: g * (y * (1 - y)), elementwise=True,
                 analytic=True, caption="σ(x) = 1 / (1 + e⁻ˣ)")  # fmt: skip

# The tie at 0 goes to the last operand of max(x, 0): the derivative there is 0.
relu = define("relu", lambda x, /: np.maximum(x, 0), lambda g, y, x: np.where(x > 0, g, 0),
              elementwise=True, branch=lambda x: x > 0, kinks=[Kink("x = 0", (0.0,), (0.0,))],
              caption="max(x, 0)")  # fmt: skip
