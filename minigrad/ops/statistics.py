"""Statistics: spread around the mean, and values by their rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import floor
from typing import Any

import numpy as np

from ..backward import cast
from ..define import define
from ..errors import DomainError, ShapeError, lesson
from ..op import Kink, Op, Sample, declare, publish
from ..tensor import Tensor, apply, tensor
from ._axes import Axis, axes_of, count, kept, reduction_samples, refuse_axis, rows, spread
from .reduction import mean as public_mean

mean = public_mean.op

# --- variance ------------------------------------------------------------------------------


def _var(x: Any, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Any:
    if x.dtype == np.float16:  # NumPy adds up halves in halves, which end at 65504
        return np.var(x, axis=axis, dtype=np.float32, ddof=correction, keepdims=keepdims).astype(np.float16)
    return np.var(x, axis=axis, ddof=correction, keepdims=keepdims)


def _deviation(x: Any, axis: Axis, correction: float, factor: int) -> Any:
    """``factor (x − mean) / (n − correction)``; NaN where that leaves nothing to divide by, as
    the variance is."""
    degrees = count(x.shape, axis) - correction
    return (x - mean(x, axis=axis, keepdims=True)) * (factor / degrees if degrees > 0 else np.nan)


def _var_rule(g: Any, y: Any, x: Any, *, axis: Axis = None, correction: float = 0.0,
              keepdims: bool = False) -> Any:  # fmt: skip
    return spread(g, x, axis, keepdims) * _deviation(x, axis, correction, 2)


def _spread_samples(rng: np.random.Generator) -> Iterator[Sample]:
    """Those of a reduction, but a single value has no variance to differentiate; corrections."""
    for (x,), params in reduction_samples(rng):
        if params.get("axis", None) != () and x.ndim:
            yield (x,), params
    for correction in (1, 0.5):
        yield (rng.normal(size=(2, 3, 4)),), {"axis": (0, 2), "correction": correction}
    yield (rng.normal(size=(3,)) + 50.0,), {"correction": 1.0}


def _var_samples(rng: np.random.Generator) -> Iterator[Sample]:
    yield from reduction_samples(rng)
    yield from _spread_samples(rng)
    yield (np.full((3, 2), 1.5),), {"axis": 0}


var = define("var", _var, _var_rule, samples=_var_samples, complain=refuse_axis("var"),
    kinks=[Kink("all x equal", (np.array([2.0, 2.0, 2.0]),), (np.zeros(3),), why="no convention: a polynomial")],
    numpy={np.var: {"ddof": "correction"}}, caption="Σ (x − mean)² / (n − correction)")  # fmt: skip


def _std(x: Any, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Any:
    y = np.sqrt(_var(x, axis=axis, correction=correction, keepdims=keepdims))
    # The mean of equal numbers may be off by a rounding (0.1, ten times); their deviation is 0.
    if x.size and np.any(y < 1e-4 * np.abs(_first(x, axis, keepdims))):
        same = np.all(x == _first(x, axis, True), axis=axis, keepdims=keepdims)
        y = np.where(same & ~np.isnan(y), np.zeros_like(y), y)
    return y


def _first(x: Any, axis: Axis, keepdims: bool) -> Any:
    """The first element of each line that is reduced."""
    axes = axes_of(axis, x.ndim)
    return x[tuple((slice(0, 1) if keepdims else 0) if k in axes else slice(None) for k in range(x.ndim))]


def _std_rule(g: Any, y: Any, x: Any, *, axis: Axis = None, correction: float = 0.0,
              keepdims: bool = False) -> Any:  # fmt: skip
    y = spread(y, x, axis, keepdims)
    still = y == 0
    slope = _deviation(x, axis, correction, 1) / np.where(still, 1, y)
    return np.where(still, 0, spread(g, x, axis, keepdims) * slope)


std = define("std", _std, _std_rule, samples=_spread_samples, complain=refuse_axis("std"),
    branch=lambda x, /, **params: _std(x, **params) == 0,
    kinks=[Kink("all x equal", (np.array([2.0, 2.0, 2.0]),), (np.zeros(3),),
                why="a norm at 0: every direction leads up alike, and 0 is the slope of least norm"),
           Kink("one x", (np.array(3.0),), (np.array(0.0),), why="the same")],
    numpy={np.std: {"ddof": "correction"}}, caption="√var x")  # fmt: skip


# --- values by rank ------------------------------------------------------------------------


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
    parts = np.asarray(q.detach().data if isinstance(q, Tensor) else q, np.float64) / whole
    if parts.ndim > 1:
        raise ShapeError(lesson("quantile", f"q of shape {parts.shape}", "a number or one axis of them"))
    return tuple(parts.tolist()) if parts.ndim else float(parts)


quantile.op = _quantile_op  # type: ignore[attr-defined]
publish("quantile", quantile, numpy={np.quantile: {}})
publish("percentile", percentile, numpy={np.percentile: {}})


# --- built from the others -----------------------------------------------------------------


def average(x: Any, /, *, axis: Axis = None, weights: Any = None, keepdims: bool = False) -> Any:
    """The mean of `x`, weighted; differentiable in the weights too.

    Parameters
    ----------
    weights : array_like or Tensor, optional
        Of the shape of `x`, or of one axis: that one.
    """
    if weights is None:
        return public_mean(x, axis=axis, keepdims=keepdims)
    x = x if isinstance(x, Tensor) else tensor(x)
    w = weights if isinstance(weights, Tensor) else tensor(weights)
    if w.shape != x.shape:
        axes = axes_of(axis, x.ndim)
        if axis is None or w.shape != tuple(x.shape[a] for a in axes):
            raise ShapeError(lesson("average", f"weights of shape {w.shape}",
                                    f"the shape of x, {x.shape}, or that of the axes averaged over"))  # fmt: skip
        order = sorted(range(len(axes)), key=axes.__getitem__)
        w = w.transpose(tuple(order)).reshape(tuple(n if a in axes else 1 for a, n in enumerate(x.shape)))
    whole = np.sum(np.broadcast_to(w, x.shape), axis=axis, keepdims=keepdims)
    return np.sum(x * w, axis=axis, keepdims=keepdims) / whole


def cov(x: Any, /, *, rowvar: bool = True, correction: float = 1.0) -> Any:
    """The covariance of variables, which are the rows of `x`, or its columns."""
    x = x if isinstance(x, Tensor) else tensor(x)
    lines = x.reshape(1, -1) if x.ndim < 2 else x if rowvar else x.mT
    d = lines - mean(lines, axis=1, keepdims=True)
    c = (d @ d.mT) / (d.shape[1] - correction)
    return c.reshape(()) if c.shape == (1, 1) else c


def nansum(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """`sum`, NaN counted as 0; no cotangent goes to a NaN."""
    x = x if isinstance(x, Tensor) else tensor(x)
    return np.sum(np.where(np.isnan(x), 0, x), axis=axis, keepdims=keepdims)


def nanmean(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """`mean` of what is not NaN; no cotangent goes to a NaN."""
    x = x if isinstance(x, Tensor) else tensor(x)
    present = np.sum(~np.isnan(x), axis=axis, keepdims=keepdims)
    total = nansum(x, axis=axis, keepdims=keepdims)
    return cast(total / present, dtype=total.dtype) if total.dtype.kind == "f" else total / present


publish("average", average, numpy={np.average: {}})
publish("cov", cov, numpy={np.cov: {"ddof": "correction", "m": "x"}})
publish("nansum", nansum, numpy={np.nansum: {}})
publish("nanmean", nanmean, numpy={np.nanmean: {}})
