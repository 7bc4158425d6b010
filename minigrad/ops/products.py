"""The product of all elements, and running products.

They are differentiated without a division by what may be 0: every derivative is written with
running products and with one linear recurrence, whose own derivatives are such recurrences
again.  So any number of zeros comes out right at every order.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt
from typing import Any

import numpy as np

from ..backward import cast, zero_law
from ..define import define
from ..op import Kink, Op, Sample, declare, publish
from ._axes import Axis, reduction_samples, refuse_axis, rows, spread, unrows
from ._lines import (
    along,
    filled,
    flattened,
    following,
    line_of,
    previous,
    refuse_line,
    running_samples,
)

# --- the recurrence ------------------------------------------------------------------------


def _recurrence(a: Any, b: Any, /, *, axis: int, reverse: bool = False) -> Any:
    dtype, turn = np.result_type(a, b), -1 if reverse else 1
    c, s = (np.array(np.moveaxis(v, axis, 0)[::turn], dtype, order="C") for v in (a, b))
    with np.errstate(over="ignore", invalid="ignore"):
        y = _solved(c, s)
    if not np.isfinite(y).all():  # a product of many factors grew too large, be its term 0 or not
        y, c = (np.array(np.moveaxis(v, axis, 0)[::turn], dtype) for v in (b, a))
        for k in range(1, len(y)):
            y[k] += c[k] * y[k - 1]
    return np.moveaxis(y[::turn], 0, axis)


def _solved(c: Any, s: Any) -> Any:
    """``s[k] += c[k] s[k-1]`` along axis 0, in place, by whole arrays: short lines by doubling,
    each pass reaching twice as far back; long ones cut into √n blocks that run side by side."""
    n = len(s)
    if n <= 32:
        step = 1
        while step < n:
            s[step:] += c[step:] * s[:-step]
            c[step:] *= c[:-step].copy()
            step *= 2
        return s
    width = isqrt(n - 1) + 1
    blocks = -(-n // width)
    c, s = (np.concatenate([v, np.zeros((blocks * width - n, *v.shape[1:]), v.dtype)])
            .reshape(blocks, width, *v.shape[1:]) for v in (c, s))  # fmt: skip
    for k in range(1, width):
        s[:, k] += c[:, k] * s[:, k - 1]
        c[:, k] *= c[:, k - 1]
    carried = _solved(c[:, -1].copy(), s[:, -1].copy())
    s[1:] += c[1:] * carried[:-1, None]
    return s.reshape(blocks * width, *s.shape[2:])[:n]


def _recurrence_rule_a(g: Any, y: Any, a: Any, b: Any, *, axis: int, reverse: bool = False) -> Any:
    earlier = following(y, axis, 0) if reverse else previous(y, axis, 0)
    return _recurrence_rule_b(g, y, a, b, axis=axis, reverse=reverse) * earlier


def _recurrence_rule_b(g: Any, y: Any, a: Any, b: Any, *, axis: int, reverse: bool = False) -> Any:
    later = previous(a, axis, 0) if reverse else following(a, axis, 0)
    return recurrence(later, g, axis=axis, reverse=not reverse)


def _recurrence_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for shape, axis in (((5,), 0), ((2, 4), 1), ((3, 2), 0), ((1,), 0), ((0, 2), 0)):
        for reverse in (False, True):
            yield (rng.normal(size=shape), rng.normal(size=shape)), {"axis": axis, "reverse": reverse}


recurrence: Op = declare("recurrence", _recurrence, _recurrence_rule_a, _recurrence_rule_b,
    analytic=True, samples=_recurrence_samples, caption="yₖ = aₖ yₖ₋₁ + bₖ")  # fmt: skip


# --- running products ----------------------------------------------------------------------


def _cumulative_prod(x: Any, /, *, axis: int | None = None, dtype: Any = None,
                     include_initial: bool = False) -> Any:  # fmt: skip
    line = line_of(x, axis)
    y = np.cumprod(x, axis=line, dtype=dtype)
    return np.concatenate([filled(y, line, 1, 1), y], axis=line) if include_initial else y


def _cumulative_prod_rule(g: Any, y: Any, x: Any, *, axis: int | None = None, dtype: Any = None,
                          include_initial: bool = False) -> Any:  # fmt: skip
    """xᵢ stands in yₖ, k ≥ i, with the factors before it (they are yᵢ₋₁) and those after it,
    up to xₖ; the sum over k is a recurrence from the end: sᵢ = gᵢ + xᵢ₊₁ sᵢ₊₁."""
    line = line_of(x, axis)
    if include_initial:
        before, g = y[along(line, None, -1)], g[along(line, 1, None)]
    else:
        before = previous(y, line, 1)
    x = x if dtype is None else cast(x, dtype=dtype)
    s = recurrence(following(x, line, 0), g, axis=line, reverse=True)
    with np.errstate(invalid="ignore"):  # where nothing looks, a product may be infinite
        return zero_law(before * s, s)


def _zeros_too(samples: Any) -> Any:
    """The same, and with zeros in it: none, one, two, three in a row."""

    def with_zeros(rng: np.random.Generator) -> Iterator[Sample]:
        yield from samples(rng)
        x = rng.normal(size=(4, 5))
        for row in range(1, 4):
            x[row, 1 : 1 + row] = 0
        for axis in (0, 1):
            yield (x,), {"axis": axis}

    return with_zeros


cumulative_prod = define("cumulative_prod", _cumulative_prod, _cumulative_prod_rule, analytic=True,
    samples=_zeros_too(running_samples), complain=refuse_line("cumulative_prod"),
    kinks=[Kink("one xₖ = 0", (np.array([2.0, 0.0, 3.0]),), (np.array([1.0, 8.0, 0.0]),),
                why="no convention: a polynomial, differentiated without a division"),
           Kink("two xₖ = 0", (np.array([2.0, 0.0, 0.0]),), (np.array([1.0, 2.0, 0.0]),), why="the same")],
    numpy={np.cumulative_prod: {}}, caption="yₖ = x₁ ⋯ xₖ")  # fmt: skip
running_prod = cumulative_prod.op


# --- the product of all --------------------------------------------------------------------


def _others(x: Any, /) -> Any:
    y = np.multiply.reduce(x, axis=-1, keepdims=True)
    size = np.abs(y)
    if x.size and size.min() >= np.finfo(x.dtype).tiny and size.max() < np.inf:
        return y / x  # nothing is 0, nothing left the range of floats
    return _before_and_behind(x)


def _before_and_behind(x: Any) -> Any:
    last, back = x.ndim - 1, (..., slice(None, None, -1))
    before = previous(running_prod(x, axis=last), last, 1)
    behind = following(running_prod(x[back], axis=last)[back], last, 1)
    return before * behind


def _others_rule(g: Any, y: Any, x: Any) -> Any:
    """The derivatives ∂²Π/∂xᵢ∂xⱼ are symmetric, so the cotangent is the tangent along g: that of
    the products before an element is a recurrence, and likewise behind it."""
    last, back = x.ndim - 1, (..., slice(None, None, -1))

    def moved(x: Any, g: Any) -> Any:
        before = previous(running_prod(x, axis=last), last, 1)
        return before, previous(recurrence(x, g * before, axis=last), last, 0)

    before, d_before = moved(x, g)
    behind, d_behind = moved(x[back], g[back])
    return before * d_behind[back] + d_before * behind[back]


def _other_samples(rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.normal(size=(4, 5))
    yield (x,), {}
    zeros = x.copy()
    for row in range(1, 4):
        zeros[row, 1 : 1 + row] = 0
    yield (zeros,), {}
    yield (rng.normal(size=(1,)),), {}
    yield (np.zeros((0, 3)),), {}
    yield (np.zeros((2, 0)),), {}


others: Op = declare("others", _others, _others_rule, analytic=True, samples=_other_samples,
                     caption="the product of all others along the last axis")  # fmt: skip


def _prod(x: Any, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Any:
    multiply: Any = np.multiply.reduce
    return multiply(x, axis=axis, dtype=dtype, keepdims=keepdims)


def _prod_rule(g: Any, y: Any, x: Any, *, axis: Axis = None, dtype: Any = None,
               keepdims: bool = False) -> Any:  # fmt: skip
    line = rows(x if dtype is None else cast(x, dtype=dtype), axis)
    return spread(g, x, axis, keepdims) * unrows(others(line), x.shape, axis)


prod = define("prod", _prod, _prod_rule, analytic=True, samples=_zeros_too(reduction_samples),
    complain=refuse_axis("prod"), numpy={np.prod: {}}, caption="Π x",
    kinks=[Kink("one x = 0", (np.array([2.0, 0.0, 3.0]),), (np.array([0.0, 6.0, 0.0]),),
                why="no convention: a polynomial, differentiated without a division"),
           Kink("two x = 0", (np.array([2.0, 0.0, 0.0]),), (np.zeros(3),), why="the same")])  # fmt: skip


def cumprod(x: Any, /, *, axis: int | None = None, dtype: Any = None) -> Any:
    """`cumulative_prod`; without `axis`, of the flattened array (NumPy's name)."""
    return flattened(cumulative_prod, x, axis, dtype)


publish("cumprod", cumprod, numpy={np.cumprod: {}})
