"""Arithmetic: the four operations, powers, and the choice between two operands."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..define import define, dress
from ..domain import NONZERO, POSITIVE
from ..op import Kink, Op, declare, publish
from ..tensor import apply

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


# x ** p with a plain number p is an op of its own, p its metadata: a rule may then branch
# on p, so that every derivative of a polynomial is exact at 0.
def _powers(rng: np.random.Generator) -> Any:
    for p in (3, 0, 1, 2, -1, 0.5, 2.5, -1.5):
        yield (POSITIVE.draw(rng, (2, 3)),), {"p": p}
    for p in (0, 1.0, 2, 3):
        yield (np.array([-1.5, 0.0, 0.7]),), {"p": p}
        yield (np.array(-0.3),), {"p": p}


power_scalar: Op = declare(
    "power_scalar", lambda x, /, *, p: x**p,
    lambda g, y, x, *, p: g * (p * power_scalar(x, p=p - 1)) if p != 0 else g * 0.0,
    singular=True, elementwise=True, analytic=True, samples=_powers, notation="{}^{p}", caption="xᵖ, p a number",
)  # fmt: skip


# Tie and edge conventions: 0ᵇ is constant 0 in b, and 0 ** 0 counts as that too.
_power = declare(
    "pow", np.power,
    lambda g, y, a, b: g * (b * np.power(a, np.where(b == 0, 1, b - 1))),
    lambda g, y, a, b: g * (y * np.log(np.where((a == 0) & (b >= 0), 1, a))),
    singular=True, analytic=True, domain=POSITIVE, notation="{}^{}", caption="x₁ ** x₂",
)  # fmt: skip


def pow(x1: Any, x2: Any, /) -> Any:
    if isinstance(x2, (int, float)) and not isinstance(x1, (int, float)):
        return apply(power_scalar, (x1,), {"p": x2})
    return apply(_power, (x1, x2))


dress(pow, _power)
publish("pow", pow, aliases=("power",), numpy={np.power: {}})

maximum = define("maximum", np.maximum, lambda g, y, a, b: np.where(a > b, g, 0),
                 lambda g, y, a, b: np.where(a > b, 0, g),
                 branch=np.greater, kinks=[Kink("x₁ = x₂", (1.0, 1.0), (0.0, 1.0))],
                 caption="max(x₁, x₂)")  # fmt: skip
minimum = define("minimum", np.minimum, lambda g, y, a, b: np.where(a < b, g, 0),
                 lambda g, y, a, b: np.where(a < b, 0, g),
                 branch=np.less, kinks=[Kink("x₁ = x₂", (1.0, 1.0), (0.0, 1.0))],
                 caption="min(x₁, x₂)")  # fmt: skip

