"""Running totals and products, differences, and the product of all elements.

Products are differentiated without a division: every derivative is written with running
products and with one linear recurrence, whose own derivatives are such recurrences again.
So any number of zeros comes out right at every order.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt
from typing import Any

import numpy as np

from ..backward import cast, zero_law
from ..define import define
from ..errors import ArgumentError, ShapeError, lesson
from ..op import Kink, Op, Sample, declare, publish
from ..tensor import Tensor, apply, tensor
from ._axes import Axis, reduction_samples, refuse_axis, rows, spread, unrows

# --- pieces along an axis ------------------------------------------------------------------


def _along(axis: int, start: int | None, stop: int | None, step: int | None = None) -> tuple[Any, ...]:
    """The index that takes ``start:stop:step`` along `axis` (not negative)."""
    return (*(slice(None),) * axis, slice(start, stop, step))


def _filled(x: Any, axis: int, size: int, value: float) -> Any:
    """A constant to put beside `x` along `axis`."""
    return np.full((*x.shape[:axis], size, *x.shape[axis + 1:]), value, x.dtype)


def _before(x: Any, axis: int, value: float) -> Any:
    """Element k is xₖ₋₁; the first is `value`."""
    if not x.shape[axis]:
        return x
    return np.concatenate([_filled(x, axis, 1, value), x[_along(axis, None, -1)]], axis=axis)


def _after(x: Any, axis: int, value: float) -> Any:
    """Element k is xₖ₊₁; the last is `value`."""
    if not x.shape[axis]:
        return x
    return np.concatenate([x[_along(axis, 1, None)], _filled(x, axis, 1, value)], axis=axis)


def _refuse_line(name: str) -> Any:
    """A `complain` for what runs along one axis."""

    def complain(inputs: Any, params: dict[str, Any]) -> Exception | None:
        shape, axis = np.shape(inputs[0]), params.get("axis")
        if not shape:
            return ShapeError(lesson(name, "a scalar", "at least one axis", "use x.reshape(1)"))
        if axis is None and len(shape) > 1 and name != "diff":
            return ShapeError(lesson(name, f"axis=None and an array of shape {shape}",
                                     "an axis, where there are several",
                                     "write axis=0, or flatten it with x.reshape(-1)"))  # fmt: skip
        if isinstance(axis, (tuple, list)):
            return ArgumentError(lesson(name, f"axis={axis!r}", "one axis, an integer"))
        return refuse_axis(name)(inputs, params)  # type: ignore[no-any-return]

    return complain


def _line(x: Any, axis: int | None) -> int:
    """The axis to run along; `_refuse_line` explains what is refused here."""
    if x.ndim == 0 or axis is None and x.ndim > 1 or isinstance(axis, tuple):
        raise ValueError("one axis is needed")
    axis = 0 if axis is None else axis
    if not -x.ndim <= axis < x.ndim:
        raise IndexError("no such axis")
    return int(axis) % int(x.ndim)


def _running_samples(rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.normal(size=(2, 4, 3))
    for axis in (0, 1, -1):
        for include_initial in (False, True):
            yield (x,), {"axis": axis, "include_initial": include_initial}
    yield (rng.normal(size=(5,)),), {}
    yield (rng.normal(size=(1,)),), {}
    yield (np.zeros((0, 3)),), {"axis": 0, "include_initial": True}
    yield (np.zeros((0, 3)),), {"axis": 0}
    yield (np.zeros((2, 0)),), {"axis": 0}


# --- sums ----------------------------------------------------------------------------------


def _cumulative_sum(x: Any, /, *, axis: int | None = None, dtype: Any = None,
                    include_initial: bool = False) -> Any:  # fmt: skip
    line = _line(x, axis)
    y = np.cumsum(x, axis=line, dtype=dtype)
    return np.concatenate([_filled(y, line, 1, 0), y], axis=line) if include_initial else y


def _sums_to_come(g: Any, y: Any, x: Any, *, axis: int | None = None, dtype: Any = None,
                  include_initial: bool = False) -> Any:  # fmt: skip
    line = _line(x, axis)
    back = _along(line, None, None, -1)
    if include_initial:
        g = g[_along(line, 1, None)]
    return running_sum(g[back], axis=line)[back]


cumulative_sum = define("cumulative_sum", _cumulative_sum, _sums_to_come, linear="jointly",
    analytic=True, samples=_running_samples, complain=_refuse_line("cumulative_sum"),
    numpy={np.cumulative_sum: {}}, caption="yₖ = x₁ + … + xₖ")  # fmt: skip
running_sum = cumulative_sum.op


# --- products ------------------------------------------------------------------------------


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
    earlier = _after(y, axis, 0) if reverse else _before(y, axis, 0)
    return _recurrence_rule_b(g, y, a, b, axis=axis, reverse=reverse) * earlier


def _recurrence_rule_b(g: Any, y: Any, a: Any, b: Any, *, axis: int, reverse: bool = False) -> Any:
    later = _before(a, axis, 0) if reverse else _after(a, axis, 0)
    return recurrence(later, g, axis=axis, reverse=not reverse)


def _recurrence_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for shape, axis in (((5,), 0), ((2, 4), 1), ((3, 2), 0), ((1,), 0), ((0, 2), 0)):
        for reverse in (False, True):
            yield (rng.normal(size=shape), rng.normal(size=shape)), {"axis": axis, "reverse": reverse}


recurrence: Op = declare("recurrence", _recurrence, _recurrence_rule_a, _recurrence_rule_b,
    analytic=True, samples=_recurrence_samples, caption="yₖ = aₖ yₖ₋₁ + bₖ")  # fmt: skip


def _cumulative_prod(x: Any, /, *, axis: int | None = None, dtype: Any = None,
                     include_initial: bool = False) -> Any:  # fmt: skip
    line = _line(x, axis)
    y = np.cumprod(x, axis=line, dtype=dtype)
    return np.concatenate([_filled(y, line, 1, 1), y], axis=line) if include_initial else y


def _cumulative_prod_rule(g: Any, y: Any, x: Any, *, axis: int | None = None, dtype: Any = None,
                          include_initial: bool = False) -> Any:  # fmt: skip
    """xᵢ stands in yₖ, k ≥ i, with the factors before it (they are yᵢ₋₁) and those after it,
    up to xₖ; the sum over k is a recurrence from the end: sᵢ = gᵢ + xᵢ₊₁ sᵢ₊₁."""
    line = _line(x, axis)
    if include_initial:
        before, g = y[_along(line, None, -1)], g[_along(line, 1, None)]
    else:
        before = _before(y, line, 1)
    x = x if dtype is None else cast(x, dtype=dtype)
    s = recurrence(_after(x, line, 0), g, axis=line, reverse=True)
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
    samples=_zeros_too(_running_samples), complain=_refuse_line("cumulative_prod"),
    kinks=[Kink("one xₖ = 0", (np.array([2.0, 0.0, 3.0]),), (np.array([1.0, 8.0, 0.0]),),
                why="no convention: a polynomial, differentiated without a division"),
           Kink("two xₖ = 0", (np.array([2.0, 0.0, 0.0]),), (np.array([1.0, 2.0, 0.0]),), why="the same")],
    numpy={np.cumulative_prod: {}}, caption="yₖ = x₁ ⋯ xₖ")  # fmt: skip
running_prod = cumulative_prod.op


def _others(x: Any, /) -> Any:
    y = np.multiply.reduce(x, axis=-1, keepdims=True)
    size = np.abs(y)
    if x.size and size.min() >= np.finfo(x.dtype).tiny and size.max() < np.inf:
        return y / x  # nothing is 0, nothing left the range of floats
    return _before_and_behind(x)


def _before_and_behind(x: Any) -> Any:
    last, back = x.ndim - 1, (..., slice(None, None, -1))
    before = _before(running_prod(x, axis=last), last, 1)
    behind = _after(running_prod(x[back], axis=last)[back], last, 1)
    return before * behind


def _others_rule(g: Any, y: Any, x: Any) -> Any:
    """The derivatives ∂²Π/∂xᵢ∂xⱼ are symmetric, so the cotangent is the tangent along g: that of
    the products before an element is a recurrence, and likewise behind it."""
    last, back = x.ndim - 1, (..., slice(None, None, -1))

    def moved(x: Any, g: Any) -> Any:
        before = _before(running_prod(x, axis=last), last, 1)
        return before, _before(recurrence(x, g * before, axis=last), last, 0)

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


# --- NumPy's names, which flatten where no axis is given --------------------------------------


def cumsum(x: Any, /, *, axis: int | None = None, dtype: Any = None) -> Any:
    """`cumulative_sum`; without `axis`, of the flattened array (NumPy's name)."""
    return _flattened(cumulative_sum, x, axis, dtype)


def cumprod(x: Any, /, *, axis: int | None = None, dtype: Any = None) -> Any:
    """`cumulative_prod`; without `axis`, of the flattened array (NumPy's name)."""
    return _flattened(cumulative_prod, x, axis, dtype)


def _flattened(function: Any, x: Any, axis: int | None, dtype: Any) -> Any:
    x = x if isinstance(x, Tensor) else tensor(x)
    if axis is None and x.ndim != 1:
        x = x.reshape(-1)
    return function(x, axis=axis, dtype=dtype)


publish("cumsum", cumsum, numpy={np.cumsum: {}})
publish("cumprod", cumprod, numpy={np.cumprod: {}})


# --- differences ---------------------------------------------------------------------------


def _diff(x: Any, /, *, axis: int = -1, n: int = 1) -> Any:
    line = _line(x, axis)
    if n < 0:
        raise ValueError("n < 0")
    return np.diff(x, n=n, axis=line)


def _diff_rule(g: Any, y: Any, x: Any, *, axis: int = -1, n: int = 1) -> Any:
    """Differences, run backwards, of the cotangent between n zeros on either side."""
    line = _line(x, axis)
    behind = _filled(g, line, x.shape[line] - g.shape[line], 0)
    wide = np.concatenate([_filled(g, line, n, 0), g, behind], axis=line)
    c = differences(wide, axis=line, n=n)
    return -c if n % 2 else c


def _refuse_diff(inputs: Any, params: dict[str, Any]) -> Exception | None:
    n = params.get("n", 1)
    if isinstance(n, int) and n >= 0:
        return _refuse_line("diff")(inputs, {"axis": params.get("axis", -1)})  # type: ignore[no-any-return]
    return ArgumentError(lesson("diff", f"n={n!r}", "an integer, 0 or more"))


def _diff_samples(rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.normal(size=(3, 4))
    for n in (0, 1, 2, 3, 5):
        yield (x,), {"n": n}
    yield (x,), {"axis": 0, "n": 2}
    yield (np.zeros((0, 3)),), {"axis": 0}


differences = declare("diff", _diff, _diff_rule, linear="jointly", analytic=True, samples=_diff_samples,
                      complain=_refuse_diff, caption="xₖ₊₁ − xₖ, n times")  # fmt: skip


def diff(x: Any, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Any:
    """Differences of neighbours along `axis`, taken `n` times.

    Parameters
    ----------
    prepend, append : array_like or Tensor, optional
        Put before and behind `x` along `axis` first; they have a gradient too.  A number stands
        for one element in each line.
    """
    if prepend is None and append is None:
        return apply(differences, (x,), {"axis": axis, "n": n})
    x = x if isinstance(x, Tensor) else tensor(x)
    parts = [x if part is x else _widened(part, x, axis) for part in (prepend, x, append) if part is not None]
    return apply(differences, (np.concatenate(parts, axis=axis),), {"axis": axis, "n": n})


def _widened(part: Any, x: Tensor, axis: int) -> Any:
    part = part if isinstance(part, Tensor) else tensor(part, dtype=x.dtype if np.ndim(part) == 0 else None)
    if part.ndim:
        return part
    return np.broadcast_to(part, tuple(1 if k == axis % x.ndim else s for k, s in enumerate(x.shape)))


diff.op = differences  # type: ignore[attr-defined]
publish("diff", diff, numpy={np.diff: {}})


def trapezoid(y: Any, /, *, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """The integral of samples `y` by the trapezoidal rule, at the points `x` or `dx` apart.

    Differentiable in the samples, in the points and in the distance.
    """
    y = y if isinstance(y, Tensor) else tensor(y)
    line = _line(y, axis)
    if x is not None:
        x = x if isinstance(x, Tensor) else tensor(x)
        dx = diff(x, axis=-1 if x.ndim == 1 else axis)
        if x.ndim == 1:
            dx = dx.reshape((-1, *(1,) * (y.ndim - 1 - line)))
    pairs = y[_along(line, 1, None)] + y[_along(line, None, -1)]
    return np.sum(dx * pairs / 2.0, axis=line)


publish("trapezoid", trapezoid, numpy={np.trapezoid: {}})
