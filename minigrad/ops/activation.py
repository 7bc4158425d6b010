"""What networks bend their sums with: sigmoid, softplus, relu and their kin.

Names and parameters are PyTorch's.  Each exponential here has an argument that is never positive,
so that nothing overflows far out, and the small tail keeps its digits.
"""

from __future__ import annotations

from functools import cache
from math import pi, sqrt
from typing import Any, Literal

import numpy as np

from ..define import define
from ..errors import ArgumentError, lesson
from ..op import Kink, Op, declare
from .special import ndtr


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


def _sigmoid_into(x: Any, /, *, out: Any) -> Any:
    one, saturated = _of_dtype(x.dtype)
    np.exp(np.minimum(x, saturated, out=out), out=out)
    return np.divide(out, out + one, out=out)


sigmoid = define("sigmoid", _sigmoid, lambda g, y, x: g * (y * (1 - y)), elementwise=True, aliases=("expit",), into=_sigmoid_into,
                 analytic=True, caption="σ(x) = 1 / (1 + e⁻ˣ)")  # fmt: skip
# σ as a factor in other rules: it pays the exp, so that their further derivatives are relatively
# accurate in both tails.
logistic: Op = declare("logistic", _sigmoid, lambda g, y, x: g * (y * logistic(-x)), elementwise=True, analytic=True,
                       caption="σ(x), with the derivative σ(x) σ(−x)")  # fmt: skip


def _softplus(x: Any, /, *, beta: float = 1.0, threshold: float | None = None) -> Any:
    if not beta > 0:
        raise ArgumentError(lesson("softplus", f"beta={beta!r}", "beta > 0"))
    u = x if beta == 1 else x * beta
    y = np.maximum(u, 0) + np.log1p(np.exp(-np.abs(u)))
    y = y if beta == 1 else y / beta
    return y if threshold is None else np.where(u > threshold, x, y)


def _softplus_rule(g: Any, y: Any, x: Any, *, beta: float = 1.0, threshold: float | None = None) -> Any:
    c = g * logistic(x if beta == 1 else x * beta)
    return c if threshold is None else np.where(x * beta > threshold, g, c)


def _softplus_samples(rng: np.random.Generator) -> Any:
    for shape in ((2, 3), (), (0, 3)):
        yield (np.asarray(rng.normal(size=shape)),), {}
    yield (rng.normal(size=(2, 3)),), {"beta": 2.5}
    yield (np.array([-3.0, 0.1, 0.3, 4.0]),), {"beta": 2.0, "threshold": 1.0}


# PyTorch's threshold=20, beyond which the function is x, is an approximation: here it is taken
# only when asked for.
softplus = define("softplus", _softplus, _softplus_rule, elementwise=True, analytic=True, samples=_softplus_samples,
                  branch=lambda x, /, *, beta=1.0, threshold=None: x * beta > (np.inf if threshold is None else threshold),
                  kinks=[Kink("β x = threshold", (0.0,), (0.5,), {"threshold": 0.0}, "there the formula holds still")],
                  caption="ln(1 + exp(β x)) / β")  # fmt: skip
logsigmoid = define("logsigmoid", lambda x, /: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))),
                    lambda g, y, x: g * logistic(-x), elementwise=True, analytic=True, aliases=("log_sigmoid",),
                    caption="ln σ(x)")  # fmt: skip


# --- kinks at 0: the tie goes to the last operand of max(x, 0), so relu'(0) is 0 -------------

relu = define("relu", lambda x, /: np.maximum(x, 0), lambda g, y, x: g * (x > 0),
              elementwise=True, scalar=lambda x, /: x if x > 0 or x != x else type(x)(0), branch=lambda x: x > 0, kinks=[Kink("x = 0", (0.0,), (0.0,))],
              caption="max(x, 0)")  # fmt: skip


def _on(*params: dict[str, Any]) -> Any:
    """Samples on both sides of every kink, for the defaults and for `params`."""

    def samples(rng: np.random.Generator) -> Any:
        for shape in ((2, 3), (), (0, 3)):
            yield (np.asarray(rng.normal(size=shape)),), {}
        for chosen in params:
            yield (np.array([-7.3, -1.6, -0.7, -0.2, 0.1, 0.4, 1.3, 2.2, 8.1]),), chosen

    return samples


def _positive(x: Any, /, **params: Any) -> Any:
    return x > 0


leaky_relu = define("leaky_relu", lambda x, /, *, negative_slope=0.01: np.where(x > 0, x, x * negative_slope),
    lambda g, y, x, *, negative_slope=0.01: np.where(x > 0, g, g * negative_slope),
    elementwise=True, branch=_positive, samples=_on({"negative_slope": 0.2}),
    kinks=[Kink("x = 0", (0.0,), (0.01,))], caption="x for x > 0, else slope · x")  # fmt: skip

# The rules of the next three say eˣ as y + α: no exponential, and as many digits as y has.
elu = define("elu", lambda x, /, *, alpha=1.0: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
    lambda g, y, x, *, alpha=1.0: np.where(x > 0, g, g * (y + alpha)),
    elementwise=True, analytic=True, branch=_positive, samples=_on({"alpha": 0.5}),
    kinks=[Kink("x = 0", (0.0,), (1.0,)), Kink("x = 0, α = ½", (0.0,), (0.5,), {"alpha": 0.5})],
    caption="x for x > 0, else α (eˣ − 1)")  # fmt: skip


def _celu(x: Any, /, *, alpha: float = 1.0) -> Any:
    if not alpha > 0:
        raise ArgumentError(lesson("celu", f"alpha={alpha!r}", "alpha > 0"))
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha))


celu = define("celu", _celu, lambda g, y, x, *, alpha=1.0: np.where(x > 0, g, g * (y / alpha + 1)),
    elementwise=True, analytic=True, branch=_positive, samples=_on({"alpha": 0.5}),
    kinks=[Kink("x = 0", (0.0,), (1.0,), {"alpha": 0.5})],
    caption="x for x > 0, else α (exp(x / α) − 1)")  # fmt: skip

ALPHA, SCALE = 1.6732632423543772848, 1.0507009873554804934  # mean 0 and variance 1 are a fixed point

selu = define("selu", lambda x, /: SCALE * np.where(x > 0, x, ALPHA * np.expm1(np.minimum(x, 0))),
    lambda g, y, x: np.where(x > 0, g * SCALE, g * (y + SCALE * ALPHA)),
    elementwise=True, analytic=True, branch=_positive, kinks=[Kink("x = 0", (0.0,), (SCALE * ALPHA,))],
    caption="1.0507 (x for x > 0, else 1.6733 (eˣ − 1))")  # fmt: skip


# --- smooth gates ---------------------------------------------------------------------------

# 1 − σ and 1 − t² are exact to 2⁻⁵³: enough for a gradient, which is near 1 where they are small.
# The second derivatives there, of size e⁻ˣ, lose their digits from x = 20 on; to keep them costs an exp.

def _silu_rule(g: Any, y: Any, x: Any) -> Any:
    s = logistic(x)
    return g * (s + y * (1 - s))


silu = define("silu", lambda x, /: x * _sigmoid(x), _silu_rule, elementwise=True, analytic=True, aliases=("swish",),
              caption="x σ(x)")  # fmt: skip


def _tanh_softplus(x: Any, /) -> Any:
    # With e = eˣ: tanh ln(1 + e) = (e² + 2e) / (e² + 2e + 2), which is 1 from 20 (5) on.
    e = np.exp(np.minimum(x, 5 if x.dtype == np.float16 else 20))
    n = e * (e + 2)
    return n / (n + 2)


tanh_softplus = declare("tanh_softplus", _tanh_softplus, lambda g, y, x: g * ((1 - y * y) * logistic(x)),
                        elementwise=True, analytic=True, caption="tanh ln(1 + eˣ)")  # fmt: skip


def _mish_rule(g: Any, y: Any, x: Any) -> Any:
    t = tanh_softplus(x)
    return g * (t + x * ((1 - t * t) * logistic(x)))


mish = define("mish", lambda x, /: x * _tanh_softplus(x), _mish_rule, elementwise=True, analytic=True,
              caption="x tanh ln(1 + eˣ)")  # fmt: skip


# tanh u = 2σ(2u) − 1: the approximation is x σ(k₁ x + k₃ x³), with digits to the left.
K1 = 2 * sqrt(2 / pi)
K3 = 0.044715 * K1


def _gelu(x: Any, /, *, approximate: Literal["none", "tanh"] = "none") -> Any:
    if approximate == "tanh":
        return x * _sigmoid(x * (K1 + K3 * (x * x)))
    if approximate != "none":
        raise ArgumentError(lesson("gelu", f"approximate={approximate!r}", "'none' or 'tanh'"))
    return x * ndtr.op(x)


def _gelu_rule(g: Any, y: Any, x: Any, *, approximate: Literal["none", "tanh"] = "none") -> Any:
    if approximate == "tanh":
        s = logistic(x * (K1 + K3 * (x * x)))
        return g * (s + y * ((1 - s) * (K1 + 3 * K3 * (x * x))))
    return g * (ndtr.op(x) + x * (np.exp(-0.5 * (x * x)) / sqrt(2 * pi)))


# The default is exact, as PyTorch's, and needs SciPy: without it the default raises instead of
# giving other numbers than elsewhere, and names the approximation, which differs by up to 5e-4.
gelu = define("gelu", _gelu, _gelu_rule, elementwise=True, analytic=True,
              samples=lambda rng: iter([((np.asarray(rng.normal(size=shape)),), {"approximate": how})
                                        for how in ("none", "tanh") for shape in ((2, 3), (), (0, 3))]),
              caption="x Φ(x); approximate='tanh': x σ(1.5958 (x + 0.044715 x³))")  # fmt: skip
softsign = define("softsign", lambda x, /: x / (1 + np.abs(x)), lambda g, y, x: g / np.square(1 + np.abs(x)),
                  elementwise=True, analytic=True, branch=np.sign, kinks=[Kink("x = 0", (0.0,), (1.0,), {}, "a kink of the slope")],
                  caption="x / (1 + |x|)")  # fmt: skip
tanhshrink = define("tanhshrink", lambda x, /: x - np.tanh(x), lambda g, y, x: g * np.square(np.tanh(x)),
                    elementwise=True, analytic=True, caption="x − tanh x")  # fmt: skip


# --- of straight pieces ---------------------------------------------------------------------


def _within(x: Any, low: float, high: float) -> Any:
    return (x > low) & (x < high)


def _hardtanh(x: Any, /, *, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    if not min_val < max_val:
        raise ArgumentError(lesson("hardtanh", f"min_val={min_val!r}, max_val={max_val!r}", "min_val < max_val"))
    return np.clip(x, min_val, max_val)


hardtanh = define("hardtanh", _hardtanh,
    lambda g, y, x, *, min_val=-1.0, max_val=1.0: np.where(_within(x, min_val, max_val), g, 0),
    elementwise=True, samples=_on({"min_val": -0.5, "max_val": 2.0}),
    branch=lambda x, /, *, min_val=-1.0, max_val=1.0: np.sign(x - min_val) + np.sign(x - max_val),
    kinks=[Kink("x = −1", (-1.0,), (0.0,)), Kink("x = 1", (1.0,), (0.0,))], caption="x, clipped to ±1")  # fmt: skip
relu6 = define("relu6", lambda x, /: np.clip(x, 0, 6), lambda g, y, x: np.where(_within(x, 0, 6), g, 0),
    elementwise=True, samples=_on({}), branch=lambda x: np.sign(x) + np.sign(x - 6),
    kinks=[Kink("x = 0", (0.0,), (0.0,)), Kink("x = 6", (6.0,), (0.0,))], caption="min(max(x, 0), 6)")  # fmt: skip
hardsigmoid = define("hardsigmoid", lambda x, /: np.clip(x + 3, 0, 6) / 6,
    lambda g, y, x: np.where(_within(x, -3, 3), g / 6, 0),
    elementwise=True, samples=_on({}), branch=lambda x: np.sign(x + 3) + np.sign(x - 3),
    kinks=[Kink("x = −3", (-3.0,), (0.0,)), Kink("x = 3", (3.0,), (0.0,))], caption="min(max(x + 3, 0), 6) / 6")  # fmt: skip
hardswish = define("hardswish", lambda x, /: x * np.clip(x + 3, 0, 6) / 6,
    lambda g, y, x: np.where(_within(x, -3, 3), g * (x / 3 + 0.5), np.where(x > 0, g, 0)),
    elementwise=True, samples=_on({}), branch=lambda x: np.sign(x + 3) + np.sign(x - 3),
    kinks=[Kink("x = −3", (-3.0,), (0.0,)), Kink("x = 3", (3.0,), (1.0,))],
    caption="x min(max(x + 3, 0), 6) / 6")  # fmt: skip
softshrink = define("softshrink", lambda x, /, *, lambd=0.5: x - np.clip(x, -lambd, lambd),
    lambda g, y, x, *, lambd=0.5: np.where(np.abs(x) > lambd, g, 0),
    elementwise=True, samples=_on({"lambd": 1.0}), branch=lambda x, /, *, lambd=0.5: np.sign(x) * (np.abs(x) > lambd),
    kinks=[Kink("x = λ", (0.5,), (0.0,)), Kink("x = −λ", (-0.5,), (0.0,))],
    caption="x moved towards 0 by λ, 0 within")  # fmt: skip
hardshrink = define("hardshrink", lambda x, /, *, lambd=0.5: np.where(np.abs(x) <= lambd, 0, x),  # NaN stays
    lambda g, y, x, *, lambd=0.5: np.where(np.abs(x) <= lambd, 0, g),
    elementwise=True, samples=_on({"lambd": 1.0}), branch=lambda x, /, *, lambd=0.5: np.sign(x) * (np.abs(x) > lambd),
    kinks=[Kink("x = λ", (0.5,), (0.0,)), Kink("x = −λ", (-0.5,), (0.0,))], caption="x for |x| > λ, else 0")  # fmt: skip


def _threshold_samples(rng: np.random.Generator) -> Any:
    for shape in ((2, 3), (), (0, 3)):
        yield (np.asarray(rng.normal(size=shape)),), {"threshold": 0.1, "value": 20.0}


threshold = define("threshold", lambda x, /, *, threshold, value: np.where(x <= threshold, value, x),
    lambda g, y, x, *, threshold, value: np.where(x <= threshold, 0, g),
    elementwise=True, samples=_threshold_samples, branch=lambda x, /, *, threshold, value: x > threshold,
    kinks=[Kink("x = threshold", (1.0,), (0.0,), {"threshold": 1.0, "value": 0.0})],
    caption="x for x > threshold, else value")  # fmt: skip
