"""Reductions: many values to one, so the cotangent is spread back over them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backward import cast
from ..define import define
from ..op import Kink, publish
from ._axes import Axis, count, reduction_samples, refuse_axis, share, spread


def _sum(x: Any, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Any:
    add: Any = np.add.reduce
    return add(x, axis=axis, dtype=dtype, keepdims=keepdims)  # np.sum without its wrapper


def _sum_into(x: Any, /, *, out: Any, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> None:
    np.add.reduce(x, axis=axis, dtype=dtype, keepdims=keepdims, out=out)


sum = define("sum", _sum,
    lambda g, y, x, *, axis=None, dtype=None, keepdims=False:
        np.broadcast_to(spread(g, x, axis, keepdims), x.shape),
    linear="jointly", analytic=True, into=_sum_into, samples=reduction_samples, complain=refuse_axis("sum"), caption="Σ x",
    numpy={np.sum: {}})  # fmt: skip


def _mean(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    if (axis is None or type(axis) is int) and x.ndim and x.dtype.char in "fd":
        n = x.size if axis is None else x.shape[axis]
        if n:
            add: Any = np.add.reduce  # what np.mean does, without its wrapper
            return add(x, axis=axis, keepdims=keepdims) / n
    return np.mean(x, axis=axis, keepdims=keepdims)


def _mean_into(x: Any, /, *, out: Any, axis: Axis = None, keepdims: bool = False) -> None:
    if type(axis) is int and x.dtype.char in "fd" and x.shape[axis]:  # as in _mean
        np.add.reduce(x, axis=axis, keepdims=keepdims, out=out)
        np.divide(out, x.shape[axis], out=out)
    else:
        np.mean(x, axis=axis, keepdims=keepdims, out=out)


mean = define("mean", _mean,
    lambda g, y, x, *, axis=None, keepdims=False:
        np.broadcast_to(share(spread(g, x, axis, keepdims), count(x.shape, axis)), x.shape),
    linear="jointly", analytic=True, into=_mean_into, samples=reduction_samples, complain=refuse_axis("mean"), caption="Σ x / n",
    numpy={np.mean: {}})  # fmt: skip


def _max(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return np.max(x, axis=axis, keepdims=keepdims)


def _min(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return np.min(x, axis=axis, keepdims=keepdims)


def _extremum_rule(g: Any, y: Any, x: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """Extreme values that tie share the cotangent evenly; where there is a NaN, it is one."""
    at = (x == spread(y, x, axis, keepdims)) | np.isnan(x)
    ties = np.sum(at, axis=axis, keepdims=True)  # an integer: half floats cannot count far
    return np.where(at, cast(spread(g, x, axis, keepdims) / ties, dtype=g.dtype), 0)


def _where(largest: Any) -> Any:
    """Which elements are extreme: the decision that `max` and `min` take."""
    return lambda x, /, *, axis=None, keepdims=False: x == largest(x, axis=axis, keepdims=True)


max = define("max", _max, _extremum_rule, branch=_where(_max), kinks=[Kink("two are largest", (np.array([1.0, 1.0, 0.0]),), (np.array([0.5, 0.5, 0.0]),),
                         why="a reduction shares a tie evenly")],
             samples=reduction_samples,
             complain=refuse_axis("max"), caption="the largest x", numpy={np.max: {}, np.amax: {}})  # fmt: skip
min = define("min", _min, _extremum_rule, branch=_where(_min), kinks=[Kink("two are smallest", (np.array([1.0, 1.0, 2.0]),), (np.array([0.5, 0.5, 0.0]),),
                         why="a reduction shares a tie evenly")],
             samples=reduction_samples,
             complain=refuse_axis("min"), caption="the smallest x", numpy={np.min: {}, np.amin: {}})  # fmt: skip


def _argmax(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Any:
    return np.argmax(x, axis=axis, keepdims=keepdims)


def _argmin(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Any:
    return np.argmin(x, axis=axis, keepdims=keepdims)


argmax = define("argmax", _argmax, complain=refuse_axis("argmax"), numpy={np.argmax: {}},
                caption="where the largest x stands")  # fmt: skip
argmin = define("argmin", _argmin, complain=refuse_axis("argmin"), numpy={np.argmin: {}},
                caption="where the smallest x stands")  # fmt: skip


def _all(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return np.all(x, axis=axis, keepdims=keepdims)


def _any(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return np.any(x, axis=axis, keepdims=keepdims)


all = define("all", _all, complain=refuse_axis("all"), numpy={np.all: {}}, caption="every x")
any = define("any", _any, complain=refuse_axis("any"), numpy={np.any: {}}, caption="some x")


def _count_nonzero(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return np.asarray(np.count_nonzero(x, axis=axis, keepdims=keepdims))


count_nonzero = define("count_nonzero", _count_nonzero, complain=refuse_axis("count_nonzero"),
                       numpy={np.count_nonzero: {}}, caption="how many x are not 0")  # fmt: skip


def ptp(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    """The largest x minus the smallest ("peak to peak"); ties are shared as in `max` and `min`."""
    return max(x, axis=axis, keepdims=keepdims) - min(x, axis=axis, keepdims=keepdims)


publish("ptp", ptp, numpy={np.ptp: {}})
