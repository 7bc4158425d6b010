"""Exponentials, logarithms and roots, the parts of a number, and what is made of them."""

from __future__ import annotations

from math import log as ln
from typing import Any

import numpy as np

from ..define import define
from ..domain import ABOVE_MINUS_ONE, NONZERO, POSITIVE
from ..op import Kink, declare
from ._dtypes import refuse_complex
from .activation import logistic

LN2, LN10 = ln(2), ln(10)

exp = define("exp", np.exp, lambda g, y, x: g * y, analytic=True, caption="eˣ")
exp2 = define("exp2", np.exp2, lambda g, y, x: g * (y * LN2), analytic=True, caption="2ˣ")
# y + 1 costs no exponential, but has no correct digit left of −37.
expm1 = define("expm1", np.expm1, lambda g, y, x: g * np.exp(x), analytic=True, caption="eˣ − 1")
log = define("log", np.log, lambda g, y, x: g / x,
             domain=POSITIVE, singular=True, analytic=True, caption="ln x")  # fmt: skip
log1p = define("log1p", np.log1p, lambda g, y, x: g / (1 + x),
               domain=ABOVE_MINUS_ONE, singular=True, analytic=True, caption="ln(1 + x)")  # fmt: skip
log2 = define("log2", np.log2, lambda g, y, x: g / (x * LN2),
              domain=POSITIVE, singular=True, analytic=True, caption="log₂ x")  # fmt: skip
log10 = define("log10", np.log10, lambda g, y, x: g / (x * LN10),
               domain=POSITIVE, singular=True, analytic=True, caption="log₁₀ x")  # fmt: skip
sqrt = define("sqrt", np.sqrt, lambda g, y, x: g / (2 * y),
              domain=POSITIVE, singular=True, analytic=True, caption="√x")  # fmt: skip
cbrt = define("cbrt", np.cbrt, lambda g, y, x: g / (3 * (y * y)), domain=NONZERO, singular=True,
              analytic=True, complain=refuse_complex("cbrt"), caption="∛x")  # fmt: skip
rsqrt = define("rsqrt", lambda x, /: 1 / np.sqrt(x), lambda g, y, x: g * (-0.5 * y / x), elementwise=True,
               domain=POSITIVE, singular=True, analytic=True, caption="1 / √x")  # fmt: skip
square = define("square", np.square, lambda g, y, x: g * (2 * x), analytic=True, notation="{}²", caption="x²")

# --- ln(eᵃ + eᵇ) ---------------------------------------------------------------------------


def _difference(a: Any, b: Any, /) -> Any:
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0, a - b)


# a − b that is 0 where both are the same infinity, with the derivatives of a − b everywhere: so
# logaddexp at equality, −∞ included, is ½ and ½, and as smooth as elsewhere.
difference = declare("difference", _difference, lambda g, y, a, b: g, lambda g, y, a, b: -g, broadcasts=True,
                     elementwise=True, linear="jointly", caption="x₁ − x₂, 0 for equal infinities")  # fmt: skip

logaddexp = define("logaddexp", np.logaddexp, lambda g, y, a, b: g * logistic(difference(a, b)),
                   lambda g, y, a, b: g * logistic(difference(b, a)), analytic=True,
                   complain=refuse_complex("logaddexp"),
                   kinks=[Kink("x₁ = x₂", (2.0, 2.0), (0.5, 0.5), {}, "smooth, and right to every order"),
                          Kink("x₁ = x₂ = −∞", (-np.inf, -np.inf), (0.5, 0.5), {}, "the limit along x₁ = x₂")],
                   caption="ln(exp x₁ + exp x₂)")  # fmt: skip
logaddexp2 = define("logaddexp2", np.logaddexp2, lambda g, y, a, b: g * logistic(difference(a, b) * LN2),
                    lambda g, y, a, b: g * logistic(difference(b, a) * LN2), analytic=True,
                    complain=refuse_complex("logaddexp2"),
                    kinks=[Kink("x₁ = x₂ = −∞", (-np.inf, -np.inf), (0.5, 0.5), {}, "the limit along x₁ = x₂")],
                    caption="log₂(2^x₁ + 2^x₂)")  # fmt: skip

# --- odds and entropies, where 0 · ln 0 is 0 -----------------------------------------------


def _logit(x: Any, /, *, eps: float | None = None) -> Any:
    if eps is not None:
        x = np.clip(x, eps, 1 - eps)
    return np.log(x) - np.log1p(-x)


def _logit_rule(g: Any, y: Any, x: Any, *, eps: float | None = None) -> Any:
    if eps is None:
        return g / (x * (1 - x))
    inside = (x > eps) & (x < 1 - eps)
    safe = np.where(inside, x, 0.5)
    return np.where(inside, g / (safe * (1 - safe)), 0)


def _probabilities(rng: np.random.Generator) -> Any:
    for shape in ((2, 3), (), (0, 3)):
        yield (np.asarray(rng.uniform(0.05, 0.95, shape)),), {}
    yield (np.array([0.01, 0.2, 0.85, 0.999]),), {"eps": 0.1}


logit = define("logit", _logit, _logit_rule, elementwise=True, singular=True, analytic=True, samples=_probabilities,
               branch=lambda x, /, *, eps=None: np.zeros(np.shape(x)) if eps is None
               else np.sign(x - eps) + np.sign(x - (1 - eps)),
               kinks=[Kink("x = eps", (0.25,), (0.0,), {"eps": 0.25}, "x is clipped: a tie goes to the bound")],
               caption="ln(x / (1 − x))")  # fmt: skip


def _x_log(log: Any, root: float) -> Any:
    """x₁ · log x₂, which is 0 where x₁ is 0, whatever x₂ is (but NaN)."""

    def forward(x1: Any, x2: Any, /) -> Any:
        x2 = np.asarray(x2, np.result_type(x1, x2))  # beside a mask, np.where knows no weak number
        return x1 * log(np.where((x1 == 0) & (x2 == x2), 1 - root, x2))

    return forward


# The derivative in x₂ is 0 where x₁ is: there it is constant.  That in x₁ is ln x₂, −∞ at x₂ = 0.
xlogy = define("xlogy", _x_log(np.log, 0.0), lambda g, y, a, b: g * np.log(b),
               lambda g, y, a, b: g * (a / np.where((a == 0) & (b == 0), 1, b)),
               broadcasts=True, elementwise=True, singular=True, analytic=True, domain=POSITIVE,
               kinks=[Kink("x₁ = 0", (0.0, 2.0), (np.log(2.0), 0.0)),
                      Kink("x₁ = x₂ = 0", (0.0, 0.0), (-np.inf, 0.0), {}, "ln 0; constant in x₂ where x₁ = 0")],
               caption="x₁ ln x₂, 0 where x₁ = 0")  # fmt: skip
xlog1py = define("xlog1py", _x_log(np.log1p, 1.0), lambda g, y, a, b: g * np.log1p(b),
                 lambda g, y, a, b: g * (a / np.where((a == 0) & (b == -1), 1, 1 + b)),
                 broadcasts=True, elementwise=True, singular=True, analytic=True, domain=ABOVE_MINUS_ONE,
                 kinks=[Kink("x₁ = 0", (0.0, 2.0), (np.log1p(2.0), 0.0)),
                        Kink("x₁ = 0, x₂ = −1", (0.0, -1.0), (-np.inf, 0.0), {},
                             "ln 0; constant in x₂ where x₁ = 0")],
                 caption="x₁ ln(1 + x₂), 0 where x₁ = 0")  # fmt: skip

# --- the parts of a number -----------------------------------------------------------------

abs = define("abs", np.absolute, lambda g, y, x: g * np.sign(x), aliases=("absolute",), numpy={np.fabs: {}},
             branch=np.sign, kinks=[Kink("x = 0", (0.0,), (0.0,))], notation="|{}|", caption="|x|")  # fmt: skip
sign = define("sign", np.sign, lambda g, y, x: g * 0.0, branch=np.sign,
              kinks=[Kink("x = 0", (0.0,), (0.0,))], caption="sign x")  # fmt: skip
copysign = define("copysign", np.copysign, lambda g, y, a, b: g * (np.sign(a) * np.copysign(1.0, b)),
                  lambda g, y, a, b: g * 0.0, domain=NONZERO, complain=refuse_complex("copysign"),
                  branch=lambda a, b: 2 * np.sign(a) + np.signbit(b),
                  kinks=[Kink("x₁ = 0", (0.0, 1.0), (0.0, 0.0)), Kink("x₂ = 0", (2.0, 0.0), (1.0, 0.0)),
                         Kink("x₂ = −0", (2.0, -0.0), (-1.0, 0.0))],
                  caption="|x₁| with the sign of x₂")  # fmt: skip

# A leaf is real; of complex constants these are parts, of a real tensor itself and 0.
real = define("real", lambda x, /: np.real(x), lambda g, y, x: g, elementwise=True, linear="jointly",
              numpy={np.real: {}}, caption="Re x")  # fmt: skip
imag = define("imag", lambda x, /: np.imag(x), lambda g, y, x: g * 0.0, elementwise=True, linear="jointly",
              numpy={np.imag: {}}, caption="Im x, 0 for a real x")  # fmt: skip
conj = define("conj", np.conjugate, lambda g, y, x: g, aliases=("conjugate",), linear="jointly",
              caption="x̄, x itself for a real x")  # fmt: skip


def _nan_to_num(
    x: Any, /, *, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Any:
    return np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)


nan_to_num = define("nan_to_num", _nan_to_num, lambda g, y, x, **replaced: np.where(np.isfinite(x), g, 0),
                    elementwise=True, numpy={np.nan_to_num: {}}, branch=lambda x, /, **replaced: np.isfinite(x),
                    kinks=[Kink("x = NaN", (np.nan,), (0.0,)), Kink("x = ∞", (np.inf,), (0.0,))],
                    caption="x, with NaN and ±∞ replaced by numbers")  # fmt: skip
