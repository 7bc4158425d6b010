"""Values by their rank: the k-th smallest, the median, quantiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import floor
from typing import Any

import numpy as np

from ..backward import cast
from ..define import define
from ..errors import DomainError, ShapeError, lesson
from ..op import Kink, Op, Sample, declare, publish
from ..tensor import Tensor, apply
from ._axes import Axis, axes_of, count, kept, reduction_samples, refuse_axis, rows, spread


def _order_statistics(x: Any, /, *, ks: tuple[int, ...], axis: Axis = None) -> Any:
    if not count(x.shape, axis):
        raise ValueError("no element has a rank")
    lines = rows(x, np.lib.array_utils.normalize_axis_tuple(range(x.ndim) if axis is None else axis, x.ndim))
    ranked = np.partition(lines, sorted(set(ks)), axis=-1)
    y = np.moveaxis(ranked[..., list(ks)], -1, 0)
    top = np.max(lines, axis=-1)
    if np.isnan(top).any():  # NumPy ranks a NaN last; here it is every rank
        y = np.where(np.isnan(top), top, y)
    return y.reshape((len(ks), *kept(x.shape, axis)))


def _order_statistics_rule(g: Any, y: Any, x: Any, *, ks: tuple[int, ...], axis: Axis = None) -> Any:
    """Elements that tie share evenly; where there is a NaN, it is the value."""
    c = None
    for k in range(len(ks)):
        at = (x == y[k]) | np.isnan(x)
        ties = np.sum(at, axis=axis, keepdims=True)  # an integer: half floats cannot count far
        part = np.where(at, cast(g[k] / ties, dtype=x.dtype), 0)
        c = part if c is None else c + part
    return c


def _rank_samples(rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.normal(size=(2, 3, 4))
    for axis in (None, 1, (0, 2), -1, ()):
        yield (x,), {"ks": (0,), "axis": axis}
    yield (x,), {"ks": (2, 0, 1), "axis": -1}
    yield (rng.normal(size=()),), {"ks": (0,)}


order_statistics: Op = declare("order_statistics", _order_statistics, _order_statistics_rule,
    samples=_rank_samples, complain=refuse_axis("order_statistics"),
    branch=lambda x, /, *, ks, axis=None: x == _order_statistics(x, ks=ks, axis=axis),
    kinks=[Kink("two share a rank", (np.array([1.0, 1.0, 0.0]),), (np.array([0.5, 0.5, 0.0]),), {"ks": (1,)},
                why="a reduction shares a tie evenly")],
    caption="the k-th smallest x, for each k")  # fmt: skip


def _weigh(x: Any, axis: Axis, weights: dict[int, Any]) -> Any:
    """The cotangent of x, of values by rank with these weights: rank -> cotangent."""
    ks = tuple(weights)
    y = order_statistics(x, ks=ks, axis=axis)
    return _order_statistics_rule(list(weights.values()), y, x, ks=ks, axis=axis)


def _reduced(y: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    """`y`, which has the reduced axes with size 1, as `keepdims` asks."""
    if keepdims:
        return y
    axes = axes_of(axis, x.ndim)
    return y.reshape(tuple(n for i, n in enumerate(x.shape) if i not in axes))


def _middle(n: int) -> tuple[int, ...]:
    return ((n - 1) // 2,) if n % 2 else (n // 2 - 1, n // 2)


def _median(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    ks = _middle(count(x.shape, axis))
    y = _order_statistics(x, ks=ks, axis=axis)
    half = y[0] * 0.5 if len(ks) > 1 else y[0] if y.dtype.kind in "fc" else y[0] * 1.0
    return _reduced(half + y[1] * 0.5 if len(ks) > 1 else half, x, axis, keepdims)


def _median_rule(g: Any, y: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    ks, g = _middle(count(x.shape, axis)), spread(g, x, axis, keepdims)
    if len(ks) == 1:
        return _order_statistics_rule([g], [spread(y, x, axis, keepdims)], x, ks=ks, axis=axis)
    return _weigh(x, axis, dict.fromkeys(ks, g * 0.5))


def _at_middle(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return x == _order_statistics(x, ks=_middle(count(x.shape, axis)), axis=axis)


median = define("median", _median, _median_rule, samples=reduction_samples, complain=refuse_axis("median"),
    branch=_at_middle,
    kinks=[Kink("three are in the middle", (np.array([1.0, 2.0, 2.0, 2.0, 3.0]),), (np.array([0, 1, 1, 1, 0]) / 3,),
                why="a reduction shares a tie evenly"),
           Kink("of an even number", (np.array([4.0, 2.0, 1.0, 3.0]),), (np.array([0.0, 0.5, 0.0, 0.5]),),
                why="the mean of the two in the middle; no kink")],
    numpy={np.median: {}}, caption="the middle x; the mean of two, of an even number")  # fmt: skip

Positions = float | tuple[float, ...]


def _positions(q: Positions, n: int) -> list[tuple[int, int, float]]:
    """For each q: the ranks below and above, and how far it lies between them."""
    out = []
    for p in q if isinstance(q, tuple) else (q,):
        if not 0 <= p <= 1:
            raise DomainError(lesson("quantile", f"q={p}", "0 <= q <= 1"))
        low = floor(p * (n - 1))
        out.append((low, min(low + 1, n - 1), p * (n - 1) - low))
    return out


def _quantile(x: Any, /, q: Positions, *, axis: Axis = None, keepdims: bool = False) -> Any:
    n = count(x.shape, axis)
    ranks = _positions(q, n)
    x = x if x.dtype.kind in "fc" else x.astype(np.float64)
    found = _order_statistics(x, ks=tuple(k for low, high, _ in ranks for k in (low, high)), axis=axis)
    out = []
    for j, (_, _, t) in enumerate(ranks):
        low, high = found[2 * j], found[2 * j + 1]
        with np.errstate(invalid="ignore"):
            step = np.where(low == high, 0, high - low)  # ∞ − ∞ is no step
            out.append(_reduced(high - step * (1 - t) if t >= 0.5 else low + step * t, x, axis, keepdims))
    return np.stack(out) if isinstance(q, tuple) else out[0]


def _quantile_rule(g: Any, y: Any, x: Any, *, q: Positions, axis: Axis = None,
                   keepdims: bool = False) -> Any:  # fmt: skip
    weights: dict[int, Any] = {}
    for j, (low, high, t) in enumerate(_positions(q, count(x.shape, axis))):
        part = spread(g[j] if isinstance(q, tuple) else g, x, axis, keepdims)
        for k, w in ((low, 1 - t), (high, t)):
            if w:
                weights[k] = weights[k] + part * w if k in weights else part * w
    return _weigh(x, axis, weights)


def _quantile_samples(rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.normal(size=(2, 3, 4))
    for axis in (None, 0, -1, (0, 2), (-1, 0), ()):
        for keepdims in (False, True):
            yield (x,), {"q": 0.3, "axis": axis, "keepdims": keepdims}
    for q in (0.0, 1.0, 0.5, (0.1, 0.9, 0.5), (0.25,)):
        yield (x,), {"q": q, "axis": 1}
    yield (rng.normal(size=()),), {"q": 0.7}
    yield (np.zeros((0, 3)),), {"q": 0.7, "axis": 1}


def _at_rank(x: Any, /, q: Positions, *, axis: Axis = None, keepdims: bool = False) -> Any:
    ks = tuple(k for low, high, _ in _positions(q, count(x.shape, axis)) for k in (low, high))
    return x == _order_statistics(x, ks=ks, axis=axis)


_quantile_op = declare("quantile", _quantile, _quantile_rule, samples=_quantile_samples,
    complain=refuse_axis("quantile"), branch=_at_rank,
    kinks=[Kink("two share the rank", (np.array([1.0, 2.0, 2.0]),), (np.array([0.0, 0.5, 0.5]),), {"q": 0.75},
                why="a reduction shares a tie evenly"),
           Kink("q falls on one x", (np.array([1.0, 4.0, 2.0]),), (np.array([0.0, 0.0, 1.0]),), {"q": 0.5},
                why="it alone has weight; no kink")],
    caption="x at rank q (n − 1), linear between two")  # fmt: skip


def quantile(x: Any, /, q: float | Sequence[float], *, axis: Axis = None, keepdims: bool = False) -> Any:
    """The value below which the part `q` of `x` lies, interpolated linearly between two.

    Parameters
    ----------
    q : float or sequence of float
        From 0 to 1; metadata, without a gradient.  Several give a new first axis.
    """
    return apply(_quantile_op, (x,), {"q": _fractions(q, 1), "axis": axis, "keepdims": keepdims})


def percentile(x: Any, /, q: float | Sequence[float], *, axis: Axis = None, keepdims: bool = False) -> Any:
    """`quantile` with `q` from 0 to 100."""
    return apply(_quantile_op, (x,), {"q": _fractions(q, 100), "axis": axis, "keepdims": keepdims})


def _fractions(q: Any, whole: int) -> Positions:
    parts = np.asarray(q.data if isinstance(q, Tensor) else q, np.float64) / whole
    if parts.ndim > 1:
        raise ShapeError(lesson("quantile", f"q of shape {parts.shape}", "a number or one axis of them"))
    return tuple(parts.tolist()) if parts.ndim else float(parts)


quantile.op = _quantile_op  # type: ignore[attr-defined]
publish("quantile", quantile, numpy={np.quantile: {}})
publish("percentile", percentile, numpy={np.percentile: {}})
