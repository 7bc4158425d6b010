"""Arithmetic: the four operations, powers, and the choice between operands."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..define import define, dress
from ..domain import NONZERO, POSITIVE
from ..errors import DomainError, lesson
from ..op import Kink, Op, declare, publish
from ..tensor import apply
from ._dtypes import refuse_complex

add = define("add", np.add, lambda g, y, a, b: g, lambda g, y, a, b: g,
             linear="jointly", analytic=True, notation="{} + {}", caption="x₁ + x₂")  # fmt: skip
subtract = define("subtract", np.subtract, lambda g, y, a, b: g, lambda g, y, a, b: -g,
                  linear="jointly", analytic=True, notation="{} − {}", caption="x₁ − x₂")  # fmt: skip
multiply = define("multiply", np.multiply, lambda g, y, a, b: g * b, lambda g, y, a, b: g * a,
                  linear="each", analytic=True, notation="{} ⊙ {}", caption="x₁ ⊙ x₂")  # fmt: skip
divide = define("divide", np.divide, lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y / b,
                singular=True, analytic=True, domain=(NONZERO, NONZERO), notation="{} / {}", caption="x₁ / x₂")  # fmt: skip
negative = define("negative", np.negative, lambda g, y, x: -g, linear="jointly", analytic=True, notation="−{}", caption="−x")
positive = define("positive", np.positive, lambda g, y, x: g, linear="jointly", analytic=True, caption="+x")
reciprocal = define("reciprocal", np.reciprocal, lambda g, y, x: -g * y * y,
                    domain=NONZERO, singular=True, analytic=True, notation="1 / {}", caption="1 / x")  # fmt: skip


def _refuse_power(inputs: Any, params: dict[str, Any]) -> Exception | None:
    base, exponent = np.asarray(inputs[0]), np.asarray(params["p"] if params else inputs[1])
    if base.dtype.kind in "iu" and exponent.dtype.kind in "iu" and np.any(exponent < 0):
        return DomainError(lesson("pow", f"an {base.dtype} to the power {np.min(exponent)}",
                                  "integers have no negative powers", "write x.astype(np.float64) ** p"))  # fmt: skip
    return None


# x ** p with a plain number p is an op of its own, p its metadata: a rule may then branch
# on p, so that every derivative of a polynomial is exact at 0.
def _powers(rng: np.random.Generator) -> Any:
    for p in (0, 1, 2, 3, -1, 0.5, 2.5, -1.5):
        yield (POSITIVE.draw(rng, (2, 3)),), {"p": p}
    for p in (0, 1.0, 2, 3):
        yield (np.array([-1.5, 0.0, 0.7]),), {"p": p}
        yield (np.array(-0.3),), {"p": p}


power_scalar: Op = declare(
    "power_scalar", lambda x, /, *, p: x**p,
    lambda g, y, x, *, p: g * (p * power_scalar(x, p=p - 1)) if p != 0 else g * 0.0,
    singular=True, elementwise=True, analytic=True, samples=_powers, complain=_refuse_power,
    kinks=[Kink("x = 0, p = 0", (0.0,), (0.0,), {"p": 0}, "0⁰ is 1, and x⁰ is constant"),
           Kink("x = 0, p = 1", (0.0,), (1.0,), {"p": 1.0}, "smooth, and right to every order"),
           Kink("x = 0, 1 < p", (0.0,), (0.0,), {"p": 1.5})],
    notation="{}^{p}", caption="xᵖ, p a number",
)  # fmt: skip


# Edge conventions: 0ᵇ is constant in b for b > 0, and 0⁰ is constant in both.  Where the base is
# not 0 nothing is replaced, so that b aᵇ⁻¹ and aᵇ ln a keep all their derivatives at b = 0.  Where it
# is negative, aᵇ has no derivative in b: NaN.
_power = declare(
    "pow", np.power,
    lambda g, y, a, b: g * (b * np.power(np.where((a == 0) & (b == 0), 1, a), b - 1)),
    lambda g, y, a, b: g * (y * np.log(np.where((a == 0) & (b >= 0), 1, a))),
    singular=True, analytic=True, domain=POSITIVE, complain=_refuse_power,
    kinks=[Kink("x₁ = x₂ = 0", (0.0, 0.0), (0.0, 0.0), {}, "0⁰ is 1, and constant"),
           Kink("x₁ = 0, x₂ = 1", (0.0, 1.0), (1.0, 0.0)), Kink("x₁ = 0, x₂ = 2", (0.0, 2.0), (0.0, 0.0))],
    notation="{}^{}", caption="x₁ ** x₂",
)  # fmt: skip


def pow(x1: Any, x2: Any, /) -> Any:
    if isinstance(x2, (int, float)) and not isinstance(x1, (int, float)):
        return apply(power_scalar, (x1,), {"p": x2})
    return apply(_power, (x1, x2))


dress(pow, _power)
publish("pow", pow, aliases=("power",), numpy={np.power: {}})


# --- the choice between operands: a tie goes to the last ------------------------------------

maximum = define("maximum", np.maximum, lambda g, y, a, b: g * (a > b),
                 lambda g, y, a, b: g * ~(a > b),
                 branch=np.greater, kinks=[Kink("x₁ = x₂", (1.0, 1.0), (0.0, 1.0))],
                 caption="max(x₁, x₂)")  # fmt: skip
minimum = define("minimum", np.minimum, lambda g, y, a, b: g * (a < b),
                 lambda g, y, a, b: g * ~(a < b),
                 branch=np.less, kinks=[Kink("x₁ = x₂", (1.0, 1.0), (0.0, 1.0))],
                 caption="min(x₁, x₂)")  # fmt: skip


def _first_of(compare: Any) -> Any:
    """Where the first operand is taken, a NaN losing against a number."""
    return lambda a, b: compare(a, b) | (np.isnan(b) & ~np.isnan(a))


_larger, _smaller = _first_of(np.greater), _first_of(np.less)

fmax = define("fmax", np.fmax, lambda g, y, a, b: np.where(_larger(a, b), g, 0),
              lambda g, y, a, b: np.where(_larger(a, b), 0, g), branch=_larger,
              kinks=[Kink("x₁ = x₂", (1.0, 1.0), (0.0, 1.0)),
                     Kink("x₂ = NaN", (1.0, np.nan), (1.0, 0.0), {}, "the number is taken")],
              complain=refuse_complex("fmax"), caption="max(x₁, x₂), of a number and NaN the number")  # fmt: skip
fmin = define("fmin", np.fmin, lambda g, y, a, b: np.where(_smaller(a, b), g, 0),
              lambda g, y, a, b: np.where(_smaller(a, b), 0, g), branch=_smaller,
              kinks=[Kink("x₁ = x₂", (1.0, 1.0), (0.0, 1.0)),
                     Kink("x₂ = NaN", (1.0, np.nan), (1.0, 0.0), {}, "the number is taken")],
              complain=refuse_complex("fmin"), caption="min(x₁, x₂), of a number and NaN the number")  # fmt: skip


def _clip_samples(rng: np.random.Generator) -> Any:
    x = rng.normal(size=(2, 3))
    yield (x, -0.5, 0.75), {}
    yield (rng.normal(size=()), rng.normal(size=(3,)), rng.normal(size=(2, 1))), {}
    yield (2 * x, np.array([-1.0, 0.5, -0.2]), np.array([0.0, 1.0, -0.3])), {}  # the last: min > max
    yield (np.zeros((0, 3)), -1.0, 1.0), {}


_clip: Op = declare(
    "clip", lambda x, lower, upper, /: np.clip(x, lower, upper),
    lambda g, y, x, a, b: np.where((x > a) & (x < b), g, 0),
    lambda g, y, x, a, b: np.where((x > a) | (a >= b), 0, g),
    lambda g, y, x, a, b: np.where(np.maximum(x, a) < b, 0, g),
    broadcasts=True, elementwise=True, samples=_clip_samples, complain=refuse_complex("clip"),
    branch=lambda x, a, b: 2 * (x > a) + (np.maximum(x, a) < b),
    kinks=[Kink("x = min", (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)), Kink("x = max", (1.0, 0.0, 1.0), (0.0, 0.0, 1.0)),
           Kink("min = max", (0.0, 1.0, 1.0), (0.0, 0.0, 1.0))],
    caption="min(max(x, x₁), x₂)",
)  # fmt: skip


def clip(x: Any, /, min: Any = None, max: Any = None) -> Any:
    """Bring x between two bounds: ``minimum(maximum(x, min), max)``.

    Parameters
    ----------
    x : array_like or Tensor
    min, max : array_like or Tensor, optional
        The bounds; None: unbounded on that side.  Tensors get gradients; a tie goes to the
        bound, so that ``clip(x, 0, None)`` is relu, with derivative 0 at 0.
    """
    if min is None:
        return apply(positive.op, (x,)) if max is None else apply(minimum.op, (x, max))
    return apply(maximum.op, (x, min)) if max is None else apply(_clip, (x, min, max))


publish("clip", clip, numpy={np.clip: {"a_min": "min", "a_max": "max"}})




heaviside = define("heaviside", np.heaviside, lambda g, y, a, b: g * 0.0, lambda g, y, a, b: np.where(a == 0, g, 0),
                   branch=lambda a, b: np.sign(a), domain=(NONZERO, NONZERO), complain=refuse_complex("heaviside"),
                   kinks=[Kink("x₁ = 0", (0.0, 0.5), (0.0, 1.0))],
                   caption="0 for x₁ < 0, 1 for x₁ > 0, x₂ at 0")  # fmt: skip
