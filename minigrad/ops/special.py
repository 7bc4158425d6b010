"""Special functions that NumPy lacks: forward by SciPy, imported when first called.

Without SciPy everything else works, and these say what to install.
"""

from __future__ import annotations

from functools import cache
from math import pi, sqrt
from typing import Any

import numpy as np

from ..define import define
from ..domain import INSIDE_ONE, POSITIVE, PROBABILITY
from ..errors import ArgumentError, DependencyError, lesson
from ..op import Op, declare, publish
from ..tensor import apply


@cache
def _load(name: str) -> Any:
    try:
        import scipy.special  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise DependencyError(lesson(
            name, "SciPy is not installed", "minigrad takes special functions from it",
            "pip install scipy" + ("; or write mg.gelu(x, approximate='tanh')" if name == "ndtr" else ""))) from None  # fmt: skip
    return getattr(scipy.special, name)


def _scipy(name: str) -> Any:
    """A forward function that is SciPy's; SciPy computes half floats as float32."""

    def forward(x: Any, /) -> Any:
        y = _load(name)(x)
        return y.astype(x.dtype) if x.dtype == np.float16 else y

    return forward


erf = define("erf", _scipy("erf"), lambda g, y, x: g * (2 / sqrt(pi) * np.exp(-(x * x))),
             elementwise=True, analytic=True, caption="erf x")  # fmt: skip
erfc = define("erfc", _scipy("erfc"), lambda g, y, x: g * (-2 / sqrt(pi) * np.exp(-(x * x))),
              elementwise=True, analytic=True, caption="1 − erf x")  # fmt: skip
erfinv = define("erfinv", _scipy("erfinv"), lambda g, y, x: g * (sqrt(pi) / 2 * np.exp(y * y)),
                elementwise=True, singular=True, domain=INSIDE_ONE, caption="erf⁻¹ x")  # fmt: skip
ndtr = define("ndtr", _scipy("ndtr"), lambda g, y, x: g * (np.exp(-0.5 * (x * x)) / sqrt(2 * pi)),
              elementwise=True, analytic=True, caption="Φ(x), the normal distribution")  # fmt: skip
ndtri = define("ndtri", _scipy("ndtri"), lambda g, y, x: g * (sqrt(2 * pi) * np.exp(0.5 * (y * y))),
               elementwise=True, singular=True, domain=PROBABILITY, caption="Φ⁻¹(x)")  # fmt: skip


def _hazard(x: Any, /) -> Any:
    y = sqrt(2 / pi) / _load("erfcx")(x * -sqrt(0.5))
    return y.astype(x.dtype) if x.dtype == np.float16 else y


# Φ′(x) / Φ(x) without the cancellation of exp(−½x² − ln Φ); its own derivative has it: far to the left the
# second derivative of log_ndtr is right to x² of its last digits.
hazard: Op = declare("hazard", _hazard, lambda g, y, x: -g * (y * (y + x)), elementwise=True, analytic=True,
                     caption="Φ′(x) / Φ(x)")  # fmt: skip
log_ndtr = define("log_ndtr", _scipy("log_ndtr"), lambda g, y, x: g * hazard(x), elementwise=True, analytic=True,
                  caption="ln Φ(x)")  # fmt: skip

digamma = define("digamma", _scipy("digamma"), lambda g, y, x: g * _polygamma(x, n=1), aliases=("psi",),
                 elementwise=True, singular=True, analytic=True, domain=POSITIVE, caption="ψ(x) = Γ′(x) / Γ(x)")  # fmt: skip
gammaln = define("gammaln", _scipy("gammaln"), lambda g, y, x: g * digamma.op(x), aliases=("lgamma",),
                 elementwise=True, singular=True, domain=POSITIVE, caption="ln |Γ(x)|")  # fmt: skip


def _polygamma_forward(x: Any, /, *, n: int) -> Any:
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
        raise ArgumentError(lesson("polygamma", f"n={n!r}", "the number of a derivative: 0, 1, 2, ..."))
    y = np.asarray(_load("polygamma")(n, x))
    return y if y.dtype == x.dtype or x.dtype.kind != "f" else y.astype(x.dtype)


_polygamma: Op = declare(
    "polygamma", _polygamma_forward, lambda g, y, x, *, n: g * _polygamma(x, n=n + 1),
    elementwise=True, singular=True, domain=POSITIVE,
    samples=lambda rng: iter([((POSITIVE.draw(rng, (2, 3)),), {"n": n}) for n in (0, 1, 2)]
                             + [((POSITIVE.draw(rng, ()),), {"n": 1})]),
    caption="ψ⁽ⁿ⁾(x), for x > 0",
)  # fmt: skip


def polygamma(n: int, x: Any, /) -> Any:
    """Derivative number `n` of digamma at x > 0, SciPy's and PyTorch's order of arguments."""
    return apply(_polygamma, (x,), {"n": n})


publish("polygamma", polygamma)
