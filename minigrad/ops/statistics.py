"""Statistics: the spread around the mean, weighted means, covariance, sums without NaN."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..backward import cast
from ..define import define
from ..errors import ShapeError, lesson
from ..op import Kink, Sample, publish
from ..tensor import as_tensor
from ._axes import Axis, axes_of, count, reduction_samples, refuse_axis, spread
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


std = define("std", _std, _std_rule, analytic=True, samples=_spread_samples, complain=refuse_axis("std"),
    branch=lambda x, /, **params: _std(x, **params) == 0,
    kinks=[Kink("all x equal", (np.array([2.0, 2.0, 2.0]),), (np.zeros(3),),
                why="a norm at 0: every direction leads up alike, and 0 is the slope of least norm"),
           Kink("one x", (np.array(3.0),), (np.array(0.0),), why="the same")],
    numpy={np.std: {"ddof": "correction"}}, caption="√var x")  # fmt: skip


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
    x = as_tensor(x)
    w = as_tensor(weights)
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
    x = as_tensor(x)
    lines = x.reshape(1, -1) if x.ndim < 2 else x if rowvar else x.mT
    d = lines - mean(lines, axis=1, keepdims=True)
    c = (d @ d.mT) / (d.shape[1] - correction)
    return c.reshape(()) if c.shape == (1, 1) else c


def nansum(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """`sum`, NaN counted as 0; no cotangent goes to a NaN."""
    x = as_tensor(x)
    return np.sum(np.where(np.isnan(x), 0, x), axis=axis, keepdims=keepdims)


def nanmean(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """`mean` of what is not NaN; no cotangent goes to a NaN."""
    x = as_tensor(x)
    present = np.sum(~np.isnan(x), axis=axis, keepdims=keepdims)
    total = nansum(x, axis=axis, keepdims=keepdims)
    return cast(total / present, dtype=total.dtype) if total.dtype.kind == "f" else total / present


publish("average", average, numpy={np.average: {}})
publish("cov", cov, numpy={np.cov: {"ddof": "correction", "m": "x"}})
publish("nansum", nansum, numpy={np.nansum: {}})
publish("nanmean", nanmean, numpy={np.nanmean: {}})
