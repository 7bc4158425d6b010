"""Comparisons and logic: tensors without a gradient, recorded so that masks stay live."""

from __future__ import annotations

import numpy as np

from ..define import define

less = define("less", np.less, notation="{} < {}", caption="x₁ < x₂")
less_equal = define("less_equal", np.less_equal, notation="{} ≤ {}", caption="x₁ ≤ x₂")
greater = define("greater", np.greater, notation="{} > {}", caption="x₁ > x₂")
greater_equal = define("greater_equal", np.greater_equal, notation="{} ≥ {}", caption="x₁ ≥ x₂")
equal = define("equal", np.equal, notation="{} = {}", caption="x₁ = x₂, elementwise")
not_equal = define("not_equal", np.not_equal, notation="{} ≠ {}", caption="x₁ ≠ x₂, elementwise")
logical_and = define("logical_and", np.logical_and, caption="x₁ and x₂")
logical_or = define("logical_or", np.logical_or, caption="x₁ or x₂")
logical_xor = define("logical_xor", np.logical_xor, caption="x₁ xor x₂")
logical_not = define("logical_not", np.logical_not, caption="not x")
bitwise_and = define("bitwise_and", np.bitwise_and, caption="x₁ & x₂ (masks, integers)",
                     samples=lambda rng: iter([((np.array([1, 2]), np.array([3, 4])), {})]))  # fmt: skip
bitwise_or = define("bitwise_or", np.bitwise_or, caption="x₁ | x₂ (masks, integers)",
                    samples=lambda rng: iter([((np.array([1, 2]), np.array([3, 4])), {})]))  # fmt: skip
bitwise_invert = define("bitwise_invert", np.invert, aliases=("invert",), caption="~x (masks, integers)",
                        samples=lambda rng: iter([((np.array([True, False]),), {})]))  # fmt: skip
isfinite = define("isfinite", np.isfinite, caption="x is finite")
isinf = define("isinf", np.isinf, caption="x is infinite")
isnan = define("isnan", np.isnan, caption="x is NaN")
