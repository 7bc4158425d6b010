"""Elements used more than once: repeated, tiled, padded from the border, seen through windows.

Each use is a branch of a fork, so the adjoint adds up the cotangents of the uses.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view as _view

from ..define import define
from ..errors import ArgumentError, DtypeError, ShapeError, lesson
from ..op import Op, declare
from ..tensor import Tensor, apply, as_tensor
from ._axes import refuse_axis
from ._public import checked_axes, public
from .indexing import ARRAY, scatter

# --- repeat and tile ---------------------------------------------------------------------


def _repeat(x: Any, repeats: Any, /, *, axis: int | None = None) -> Any:
    return np.repeat(x, repeats, axis)


def _add_repeats(g: Any, y: Any, x: Any, repeats: Any, *, axis: int | None = None) -> Any:
    size, along = (x.size, 0) if axis is None else (x.shape[axis], axis % x.ndim)
    lead = () if axis is None else x.shape[:along]
    tail = () if axis is None else x.shape[along + 1 :]
    if repeats.size == 1:
        times = y.shape[along] // (size or 1)
        groups = g.reshape((*lead, size, times, *tail))
        if not tail and 0 < times < 9:  # NumPy's sum over a short last axis is slow
            return reduce(add, [groups[..., k] for k in range(times)]).reshape(x.shape)
        return np.sum(groups, axis=along + 1).reshape(x.shape)
    index = (*(slice(None),) * along, ARRAY)
    return scatter(g, np.repeat(np.arange(size), repeats), index=index, shape=(*lead, size, *tail)).reshape(x.shape)


def _repeat_samples(rng: np.random.Generator) -> Any:
    x = rng.normal(size=(2, 3, 2))
    yield (x, np.array(2)), {"axis": 1}
    yield (x, np.array(3)), {}
    yield (x, np.array([2])), {"axis": -1}
    yield (x, np.array([2, 0, 3])), {"axis": 1}
    yield (x, np.array([1, 2])), {"axis": -3}
    yield (x, np.arange(12) % 3), {}
    yield (x, np.array(0)), {"axis": 0}
    yield (rng.normal(size=()), np.array(3)), {}
    yield (np.zeros((0, 2)), np.array(2)), {"axis": 0}


def _refuse_repeat(inputs: Any, params: dict[str, Any]) -> Exception | None:
    (x, repeats), axis = inputs, params.get("axis")
    if np.asarray(repeats).dtype.kind not in "iub":
        return DtypeError(lesson("repeat", f"repeats of dtype {np.asarray(repeats).dtype}", "integers"))
    bad = refuse_axis("repeat")(inputs, params)
    if bad is not None:
        return bad  # type: ignore[no-any-return]
    n = np.size(x) if axis is None else np.shape(x)[axis]
    if np.any(np.asarray(repeats) < 0):
        return ShapeError(lesson("repeat", f"repeats={np.asarray(repeats).tolist()}", "none below 0"))
    return ShapeError(lesson("repeat", f"{np.size(repeats)} repeats for {n} elements", "one for each, or one for all"))


repeat = define("repeat", _repeat, _add_repeats, None, linear="jointly", analytic=True, samples=_repeat_samples,
    complain=_refuse_repeat, numpy={np.repeat: {}}, caption="each element of x, several times")  # fmt: skip


def _add_tiles(g: Any, y: Any, x: Any, *, reps: tuple[int, ...]) -> Any:
    n = max(len(reps), x.ndim)
    times, sizes = (1,) * (n - len(reps)) + reps, (1,) * (n - x.ndim) + x.shape
    pairs = tuple(k for pair in zip(times, sizes, strict=True) for k in pair)
    return np.sum(g.reshape(pairs), axis=tuple(range(0, 2 * n, 2))).reshape(x.shape)


def _tile_samples(rng: np.random.Generator) -> Any:
    for shape, reps in (((2, 3), (2, 1)), ((2, 3), (2,)), ((3,), (2, 1, 2)), ((), (3,)), ((2, 3), ()), ((2,), (0,)),
                        ((2, 0), (2, 2)), ((1, 2), (3, 2))):  # fmt: skip
        yield (rng.normal(size=shape),), {"reps": reps}


def _refuse_tile(inputs: Any, params: dict[str, Any]) -> Exception:
    return ShapeError(lesson("tile", f"repetitions={params['reps']}", "integers from 0 on, one for each axis"))


_tile = declare("tile", lambda x, /, *, reps: np.tile(x, reps), _add_tiles, linear="jointly", analytic=True,
    samples=_tile_samples, complain=_refuse_tile, caption="x laid side by side")  # fmt: skip


@public("tile", _tile, numpy={np.tile: {}})
def tile(x: Any, repetitions: int | tuple[int, ...], /) -> Any:
    """`x` laid side by side `repetitions` times along each axis, the last axes if there are fewer."""
    times = repetitions if isinstance(repetitions, (tuple, list)) else (repetitions,)
    if not all(isinstance(r, (int, np.integer)) for r in times):
        raise ArgumentError(lesson("tile", f"repetitions={repetitions!r}", "integers, one for each axis"))
    return apply(_tile, (x,), {"reps": tuple(int(r) for r in times)})


# --- padding -----------------------------------------------------------------------------

Widths = tuple[tuple[int, int], ...]
MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


def _pad(x: Any, /, pad_width: Widths, mode: str = "constant") -> Any:
    if mode == "constant":
        out = np.zeros(tuple(a + n + b for n, (a, b) in zip(x.shape, pad_width, strict=True)), x.dtype)
        out[_middle(x.shape, pad_width)] = x
        return out
    for axis, index in _sources(x.shape, pad_width, mode):
        x = np.take(x, index, axis)
    return x


def _middle(shape: tuple[int, ...], pad_width: Widths) -> tuple[slice, ...]:
    return tuple(slice(a, a + n) for n, (a, _) in zip(shape, pad_width, strict=True))


def _sources(shape: tuple[int, ...], pad_width: Widths, mode: Any) -> list[tuple[int, Any]]:
    """For each axis that is padded, which element stands where."""
    return [(axis, np.pad(np.arange(n), width, mode))
            for axis, (n, width) in enumerate(zip(shape, pad_width, strict=True)) if any(width)]  # fmt: skip


def _unpad(g: Any, y: Any, x: Any, *, pad_width: Widths, mode: str = "constant") -> Any:
    if mode == "constant":
        return g[_middle(x.shape, pad_width)]
    for axis, index in reversed(_sources(x.shape, pad_width, mode)):
        lead, (before, _), n = (slice(None),) * axis, pad_width[axis], x.shape[axis]
        shape, total = (*g.shape[:axis], n, *g.shape[axis + 1 :]), g[(*lead, slice(before, before + n))]
        for border in (slice(before), slice(before + n, None)):
            if index[border].size:
                total = total + scatter(g[(*lead, border)], index[border], index=(*lead, ARRAY), shape=shape)
        g = total
    return g


def _pad_samples(rng: np.random.Generator) -> Any:
    for mode in MODES:
        yield (rng.normal(size=(3, 2)),), {"pad_width": ((1, 2), (2, 0)), "mode": mode}
        yield (rng.normal(size=(2,)),), {"pad_width": ((5, 4),), "mode": mode}
        yield (rng.normal(size=(1, 3)),), {"pad_width": ((2, 2), (0, 0)), "mode": mode}
    yield (rng.normal(size=()),), {"pad_width": ()}
    yield (np.zeros((0, 2)),), {"pad_width": ((1, 1), (0, 1))}


def _refuse_pad(inputs: Any, params: dict[str, Any]) -> Exception:
    return ShapeError(lesson("pad", f"mode {params['mode']!r} of an array of shape {np.shape(inputs[0])}",
                             "elements to copy along each axis that is padded"))  # fmt: skip


_padded = declare("pad", _pad, _unpad, linear="jointly", analytic=True, samples=_pad_samples, complain=_refuse_pad,
    caption="x with a border")  # fmt: skip


@public("pad", _padded, numpy={np.pad: {}})
def pad(x: Any, /, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Any:
    """`x` with a border.

    Parameters
    ----------
    x : Tensor or array_like
    pad_width : int, pair, sequence of pairs, or dict
        How many elements to add before and after, for all axes, or for each axis; a dict
        gives them by axis.
    mode : {"constant", "edge", "reflect", "symmetric", "wrap"}
        NumPy's meaning.
    constant_values : number, pair or sequence of pairs
        What stands in the border in the mode "constant".
    """
    x = as_tensor(x)
    if mode not in MODES:
        raise ArgumentError(lesson("pad", f"mode={mode!r}", f"one of {', '.join(MODES)}"))
    if isinstance(constant_values, Tensor):
        raise ArgumentError(lesson("pad", "constant_values is a tensor", "plain numbers",
                                   "write mg.where, or mg.concat with a border of your own"))  # fmt: skip
    if isinstance(pad_width, dict):
        axes = checked_axes("pad", tuple(pad_width), x.shape)
        by_axis = dict(zip(axes, pad_width.values(), strict=True))
        pad_width = [np.broadcast_to(by_axis.get(a, 0), 2) for a in range(x.ndim)]
    try:
        widths = np.broadcast_to(np.asarray(pad_width if x.ndim else 0), (x.ndim, 2))
    except ValueError:
        widths = np.asarray(0.5)
    if widths.dtype.kind not in "iu" or np.any(widths < 0):
        raise ShapeError(lesson("pad", f"pad_width={pad_width} for an array of shape {x.shape}",
                                "whole numbers from 0 on: one, (before, after), or one pair for each axis"))  # fmt: skip
    y = apply(_padded, (x,), {"pad_width": tuple((int(a), int(b)) for a, b in widths), "mode": mode})
    if mode == "constant" and np.any(constant_values):
        return y + np.pad(np.zeros(x.shape, x.dtype), widths, constant_values=constant_values)
    return y


# --- windows -----------------------------------------------------------------------------


def _windows_of(ndim: int, window_shape: Any, axis: Any) -> list[tuple[int, int]]:
    """(axis, size) of each window, in the order in which the windows' axes are added."""
    sizes = tuple(window_shape) if isinstance(window_shape, (tuple, list)) else (window_shape,)
    axes = range(ndim) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
    return [(a % ndim, n) for a, n in zip(axes, sizes, strict=True)]


def _sliding(x: Any, /, window_shape: int | tuple[int, ...], axis: int | tuple[int, ...] | None = None) -> Any:
    return _view(x, window_shape, axis)


def _overlap_add(g: Any, /, *, shape: tuple[int, ...], window_shape: Any, axis: Any = None) -> Any:
    for a, width in reversed(_windows_of(len(shape), window_shape, axis)):  # one axis after the other
        count, lead = g.shape[a], (slice(None),) * a
        out = np.zeros((*g.shape[:a], count + width - 1, *g.shape[a + 1 : -1]), g.dtype)
        if width <= count:
            for k in range(width):
                out[(*lead, slice(k, k + count))] += g[..., k]
        else:  # few windows, wide ones
            for k in range(count):
                out[(*lead, slice(k, k + width))] += np.moveaxis(g[(*lead, k)], -1, a)
        g = out
    return g


def _sliding_samples(rng: np.random.Generator) -> Any:
    x = rng.normal(size=(3, 5))
    for window, axis in (((2, 3), None), (2, 0), (4, -1), ((2, 2), (1, 1)), ((3, 1), (1, 0)), ((2,), (1,))):
        yield (x,), {"window_shape": window, "axis": axis}
    yield (rng.normal(size=(4,)),), {"window_shape": 2}
    yield (rng.normal(size=(4,)),), {"window_shape": (4,)}


def _overlap_samples(rng: np.random.Generator) -> Any:
    for (x,), params in _sliding_samples(rng):
        yield (rng.normal(size=_sliding(x, **params).shape),), {**params, "shape": x.shape}


def _refuse_windows(inputs: Any, params: dict[str, Any]) -> Exception | None:
    shape, axis = np.shape(inputs[0]), params.get("axis")
    if "window_shape" not in params:
        return ArgumentError(lesson("sliding_window_view", "no window_shape", "the size of the window along each axis"))
    at = {"axis": axis[0] if isinstance(axis, (tuple, list)) and len(axis) == 1 else axis}
    bad = None if isinstance(axis, (tuple, list)) and len(set(axis)) < len(axis) else refuse_axis(
        "sliding_window_view")(inputs, at)  # fmt: skip
    return bad or ShapeError(lesson("sliding_window_view", f"windows {params['window_shape']} along axis={axis} of an "
                                    f"array of shape {shape}", "one size for each axis, from 0 to the axis's own"))  # fmt: skip


sliding_window_view = define("sliding_window_view", _sliding,
    lambda g, y, x, *, window_shape, axis=None: overlap_add(g, shape=x.shape, window_shape=window_shape, axis=axis),
    linear="jointly", analytic=True, samples=_sliding_samples, complain=_refuse_windows, numpy={_view: {}},
    caption="every window onto x, its axes last")  # fmt: skip

overlap_add: Op = declare("overlap_add", _overlap_add,
    lambda h, y, g, *, shape, window_shape, axis=None: windows(h, window_shape=window_shape, axis=axis),
    linear="jointly", analytic=True, samples=_overlap_samples, caption="windows added where they lay")  # fmt: skip
windows: Op = sliding_window_view.op
