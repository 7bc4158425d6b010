"""Comparisons and logic: tensors without a gradient, recorded so that masks stay live."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..define import define
from ._dtypes import refuse_complex, refuse_floats

less = define("less", np.less, notation="{} < {}", caption="x₁ < x₂")
less_equal = define("less_equal", np.less_equal, notation="{} ≤ {}", caption="x₁ ≤ x₂")
greater = define("greater", np.greater, notation="{} > {}", caption="x₁ > x₂")
greater_equal = define("greater_equal", np.greater_equal, notation="{} ≥ {}", caption="x₁ ≥ x₂")
equal = define("equal", np.equal, notation="{} = {}", caption="x₁ = x₂, elementwise")
not_equal = define("not_equal", np.not_equal, notation="{} ≠ {}", caption="x₁ ≠ x₂, elementwise")
logical_and = define("logical_and", np.logical_and, notation="{} ∧ {}", caption="x₁ and x₂")
logical_or = define("logical_or", np.logical_or, notation="{} ∨ {}", caption="x₁ or x₂")
logical_xor = define("logical_xor", np.logical_xor, caption="x₁ xor x₂")
logical_not = define("logical_not", np.logical_not, notation="¬{}", caption="not x")


def _bits(rng: np.random.Generator) -> Any:
    yield (np.array([1, 2, 12]), np.array([3, 1, 2])), {}
    yield (np.array([[7], [9]], np.uint8), np.array([0, 1, 2], np.uint8)), {}


def _masks(rng: np.random.Generator) -> Any:
    yield from _bits(rng)
    yield (np.array([True, False]), np.array([True, True])), {}


bitwise_and = define("bitwise_and", np.bitwise_and, samples=_masks,
                     complain=refuse_floats("bitwise_and"), notation="{} & {}", caption="x₁ & x₂ (masks, integers)")  # fmt: skip
bitwise_or = define("bitwise_or", np.bitwise_or, samples=_masks,
                    complain=refuse_floats("bitwise_or"), notation="{} | {}", caption="x₁ | x₂ (masks, integers)")  # fmt: skip
bitwise_xor = define("bitwise_xor", np.bitwise_xor, samples=_masks,
                     complain=refuse_floats("bitwise_xor"), caption="x₁ ^ x₂ (masks, integers)")  # fmt: skip
bitwise_invert = define("bitwise_invert", np.invert, aliases=("invert", "bitwise_not"),
                        complain=refuse_floats("bitwise_invert"), caption="~x (masks, integers)",
                        samples=lambda rng: iter([((np.array([True, False]),), {}), ((np.array([1, -3]),), {})]))  # fmt: skip
bitwise_left_shift = define("bitwise_left_shift", np.left_shift, aliases=("left_shift",), samples=_bits,
                            complain=refuse_floats("bitwise_left_shift"), caption="x₁ · 2^x₂ (integers)")  # fmt: skip
bitwise_right_shift = define("bitwise_right_shift", np.right_shift, aliases=("right_shift",), samples=_bits,
                             complain=refuse_floats("bitwise_right_shift"), caption="⌊x₁ / 2^x₂⌋ (integers)")  # fmt: skip
isfinite = define("isfinite", np.isfinite, caption="x is finite")
isinf = define("isinf", np.isinf, caption="x is infinite")
isnan = define("isnan", np.isnan, caption="x is NaN")
signbit = define("signbit", np.signbit, complain=refuse_complex("signbit"), caption="x < 0 or x is −0")


def _isclose(x1: Any, x2: Any, /, *, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    return np.isclose(x1, x2, rtol=rtol, atol=atol, equal_nan=equal_nan)


isclose = define("isclose", _isclose, broadcasts=True, numpy={np.isclose: {}}, caption="|x₁ − x₂| ≤ atol + rtol |x₂|")
