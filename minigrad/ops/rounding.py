"""Rounding and remainders: piecewise constant or of constant slope, with jumps between."""

from __future__ import annotations

import numpy as np

from ..define import define
from ..domain import NONZERO, REAL
from ..op import Kink
from ._dtypes import refuse_complex

_step = [Kink("x an integer", (2.0,), (0.0,)), Kink("x = ½", (0.5,), (0.0,))]

floor = define("floor", np.floor, lambda g, y, x: g * 0.0, branch=np.floor, kinks=_step,
               complain=refuse_complex("floor"), caption="⌊x⌋")  # fmt: skip
ceil = define("ceil", np.ceil, lambda g, y, x: g * 0.0, branch=np.ceil, kinks=_step,
              complain=refuse_complex("ceil"), caption="⌈x⌉")  # fmt: skip
trunc = define("trunc", np.trunc, lambda g, y, x: g * 0.0, branch=np.trunc, kinks=_step, aliases=("fix",),
               numpy={np.fix: {}}, complain=refuse_complex("trunc"), caption="x without its fraction")  # fmt: skip
round = define("round", np.rint, lambda g, y, x: g * 0.0, branch=np.rint, kinks=_step, aliases=("rint",),
               caption="the nearest integer, of two the even one")  # fmt: skip
around = define("around", lambda x, /, *, decimals=0: np.round(x, decimals),
                lambda g, y, x, *, decimals=0: g * 0.0, elementwise=True, numpy={np.round: {}, np.around: {}},
                branch=lambda x, /, *, decimals=0: np.round(x, decimals),
                samples=lambda rng: iter([((rng.normal(size=(2, 3)),), {"decimals": d}) for d in (0, 1, -1)]),
                kinks=_step, caption="x rounded to `decimals` digits")  # fmt: skip

floor_divide = define("floor_divide", np.floor_divide, lambda g, y, a, b: g * 0.0, lambda g, y, a, b: g * 0.0,
                      domain=(REAL, NONZERO), branch=np.floor_divide, complain=refuse_complex("floor_divide"),
                      kinks=[Kink("x₁ / x₂ an integer", (2.0, 1.0), (0.0, 0.0))], caption="⌊x₁ / x₂⌋")  # fmt: skip
remainder = define("remainder", np.remainder, lambda g, y, a, b: g, lambda g, y, a, b: -g * np.floor_divide(a, b),
                   aliases=("mod",), domain=(REAL, NONZERO), branch=np.floor_divide,
                   complain=refuse_complex("remainder"),
                   kinks=[Kink("x₁ / x₂ an integer", (2.0, 1.0), (1.0, -2.0), {}, "a jump: the slope of both sides")],
                   caption="x₁ − x₂ ⌊x₁ / x₂⌋, with the sign of x₂")  # fmt: skip
# (x₁ − y) / x₂ is within rounding of an integer, where x₁ / x₂ may have been rounded up to the next.
fmod = define("fmod", np.fmod, lambda g, y, a, b: g, lambda g, y, a, b: -g * np.rint((a - y) / b),
              domain=(REAL, NONZERO), branch=lambda a, b: np.trunc(a / b), complain=refuse_complex("fmod"),
              kinks=[Kink("x₁ / x₂ an integer", (-2.0, 1.0), (1.0, 2.0), {}, "a jump: the slope of both sides")],
              caption="x₁ − x₂ trunc(x₁ / x₂), with the sign of x₁")  # fmt: skip

# The step to the neighbour is constant within a binade: the derivative in x₁ is 1.
nextafter = define("nextafter", np.nextafter, lambda g, y, a, b: np.where(a == b, 0, g),
                   lambda g, y, a, b: np.where(a == b, g, 0), branch=lambda a, b: np.sign(a - b),
                   kinks=[Kink("x₁ = x₂", (1.0, 1.0), (0.0, 1.0), {}, "a tie: it is x₂")],
                   complain=refuse_complex("nextafter"), caption="the number next to x₁ towards x₂")  # fmt: skip
