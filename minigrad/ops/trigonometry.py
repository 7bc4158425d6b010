"""Trigonometric and hyperbolic functions, their inverses, and what turns angles into lengths."""

from __future__ import annotations

from math import factorial, pi
from typing import Any

import numpy as np

from ..define import define
from ..domain import ABOVE_ONE, INSIDE_ONE, NONZERO
from ..op import Kink, Op, declare
from ._dtypes import refuse_complex

sin = define("sin", np.sin, lambda g, y, x: g * np.cos(x), analytic=True, caption="sin x")
cos = define("cos", np.cos, lambda g, y, x: -g * np.sin(x), analytic=True, caption="cos x")
tan = define("tan", np.tan, lambda g, y, x: g * (1 + y * y), singular=True, analytic=True, domain=INSIDE_ONE,
             caption="tan x")  # fmt: skip
# (1 − x)(1 + x) keeps the digits near ±1 that 1 − x² has lost.
asin = define("asin", np.arcsin, lambda g, y, x: g / np.sqrt((1 - x) * (1 + x)), aliases=("arcsin",),
              singular=True, analytic=True, domain=INSIDE_ONE, caption="arcsin x")  # fmt: skip
acos = define("acos", np.arccos, lambda g, y, x: -g / np.sqrt((1 - x) * (1 + x)), aliases=("arccos",),
              singular=True, analytic=True, domain=INSIDE_ONE, caption="arccos x")  # fmt: skip
atan = define("atan", np.arctan, lambda g, y, x: g / (1 + x * x), aliases=("arctan",), analytic=True,
              caption="arctan x")  # fmt: skip

sinh = define("sinh", np.sinh, lambda g, y, x: g * np.cosh(x), analytic=True, caption="sinh x")
cosh = define("cosh", np.cosh, lambda g, y, x: g * np.sinh(x), analytic=True, caption="cosh x")
# 1 − y² is exact to 2⁻⁵³, not to as many digits of its own: from |x| = 19 on it is 0.  1 / cosh² x has
# them all and costs an exponential, more than the whole rule.
tanh = define("tanh", np.tanh, lambda g, y, x: g * (1 - y * y), analytic=True, caption="tanh x")
asinh = define("asinh", np.arcsinh, lambda g, y, x: g / np.sqrt(1 + x * x), aliases=("arcsinh",), analytic=True,
               caption="arsinh x")  # fmt: skip
acosh = define("acosh", np.arccosh, lambda g, y, x: g / np.sqrt((x - 1) * (x + 1)), aliases=("arccosh",),
               singular=True, analytic=True, domain=ABOVE_ONE, caption="arcosh x")  # fmt: skip
atanh = define("atanh", np.arctanh, lambda g, y, x: g / ((1 - x) * (1 + x)), aliases=("arctanh",),
               singular=True, analytic=True, domain=INSIDE_ONE, caption="artanh x")  # fmt: skip

deg2rad = define("deg2rad", np.deg2rad, lambda g, y, x: np.deg2rad(g), aliases=("radians",), linear="jointly",
                 numpy={np.radians: {}}, complain=refuse_complex("deg2rad"), caption="π x / 180")  # fmt: skip
rad2deg = define("rad2deg", np.rad2deg, lambda g, y, x: np.rad2deg(g), aliases=("degrees",), linear="jointly",
                 numpy={np.degrees: {}}, complain=refuse_complex("rad2deg"), caption="180 x / π")  # fmt: skip


def _at_origin(a: Any, b: Any, /) -> Any:
    return (a == 0) & (b == 0)


def _length(a: Any, b: Any) -> Any:
    """√(a² + b²), and 1 at the origin."""
    r = np.hypot(a, b)
    return np.where(r == 0, 1, r)


hypot = define("hypot", np.hypot, lambda g, y, a, b: g * (a / np.where(y == 0, 1, y)),
               lambda g, y, a, b: g * (b / np.where(y == 0, 1, y)), domain=NONZERO, analytic=True,
               complain=refuse_complex("hypot"), branch=_at_origin,
               kinks=[Kink("x₁ = x₂ = 0", (0.0, 0.0), (0.0, 0.0), {}, "as |x| and every norm at 0"),
                      Kink("x₁ = 0", (0.0, 2.0), (0.0, 1.0), {}, "smooth there")],
               caption="√(x₁² + x₂²)")  # fmt: skip
atan2 = define("atan2", np.arctan2, lambda g, y, a, b: g * (b / _length(a, b) / _length(a, b)),
               lambda g, y, a, b: -g * (a / _length(a, b) / _length(a, b)), aliases=("arctan2",),
               singular=True, domain=NONZERO, analytic=True, complain=refuse_complex("atan2"), branch=_at_origin,
               kinks=[Kink("x₁ = x₂ = 0", (0.0, 0.0), (0.0, 0.0), {}, "the angle of no direction: 0"),
                      Kink("x₁ = 0, x₂ < 0", (0.0, -2.0), (-0.5, 0.0), {}, "the cut: the derivative of both sides")],
               caption="the angle of (x₂, x₁)")  # fmt: skip


# --- sin(πx) / (πx), smooth at 0 ------------------------------------------------------------


def _sinc_derivative(x: Any, /, *, order: int) -> Any:
    """Derivative number `order` of sin(πx) / (πx).

    With s = sin u / u: u s⁽ⁿ⁾ = sin⁽ⁿ⁾(u) − n s⁽ⁿ⁻¹⁾ multiplies errors by n / u, which is harmless from u = n
    on; nearer to 0 stands the Taylor series, whose terms there do not cancel by much.
    """
    reach = float(max(order, 1))
    u = pi * x
    near = np.abs(u) < reach
    far = np.where(near, reach, u)
    sine, cosine = np.sin(far), np.cos(far)
    s = sine / far
    for n in range(1, order + 1):
        s = ((sine, cosine, -sine, -cosine)[n % 4] - n * s) / far
    v = np.where(near, u, 0)
    series = np.zeros_like(v)
    one = np.ones((), v.dtype) if v.dtype.char in "gG" else 1  # coefficients as exact as x is
    for k in reversed(range((order + 1) // 2, order + 14)):
        series = series * (v * v) + one * (-1) ** k / float((2 * k + 1) * factorial(2 * k - order))
    return np.where(near, series * v if order % 2 else series, s) * pi**order


def _sinc(x: Any, /) -> Any:
    u = pi * x
    at_zero = u == 0
    safe = np.where(at_zero, 1, u)
    return np.where(at_zero, 1, np.sin(safe) / safe)


def _orders(rng: np.random.Generator) -> Any:
    for order in (1, 2, 3):
        yield (np.array([[-1.3, 0.0, 1e-9], [0.4, 0.7, 5.2]]),), {"order": order}
    yield (rng.normal(size=()),), {"order": 1}


sinc_derivative: Op = declare(
    "sinc_derivative", _sinc_derivative, lambda g, y, x, *, order: g * sinc_derivative(x, order=order + 1),
    elementwise=True, analytic=True, samples=_orders, caption="derivative number `order` of sin(πx) / (πx)",
)  # fmt: skip
sinc = define("sinc", _sinc, lambda g, y, x: g * sinc_derivative(x, order=1), elementwise=True, analytic=True,
              numpy={np.sinc: {}}, kinks=[Kink("x = 0", (0.0,), (0.0,), {}, "smooth, and right to every order")],
              caption="sin(πx) / (πx), 1 at 0")  # fmt: skip
