"""What the families that take ``axis=`` share: naming axes, and refusing wrong ones."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from ..errors import ArgumentError, AxisError, DomainError, ShapeError, lesson
from ..op import Sample

Axis = int | tuple[int, ...] | None


NO_IDENTITY = ("max", "min", "argmax", "argmin", "ptp", "median", "quantile", "order_statistics")


def axes_of(axis: Axis, ndim: int) -> tuple[int, ...]:
    """`axis` as a tuple of axes from 0 to ndim − 1."""
    if axis is None:
        return tuple(range(ndim))
    axes = axis if isinstance(axis, tuple) else (axis,)
    return tuple(a % ndim for a in axes) if ndim else ()  # NumPy reduces axis 0 of a scalar too


def kept(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """The shape of a reduction of `shape` with ``keepdims=True``."""
    axes = axes_of(axis, len(shape))
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def spread(g: Any, like: Any, axis: Axis, keepdims: bool) -> Any:
    """A reduction's cotangent, or its output, laid out so that it broadcasts to `like`."""
    return g if keepdims or like.ndim == 0 else g.reshape(kept(like.shape, axis))


def count(shape: tuple[int, ...], axis: Axis) -> int:
    """How many elements go into each element of a reduction of `shape`."""
    return prod(shape[a] for a in axes_of(axis, len(shape)))


def rows(x: Any, axis: Axis) -> Any:
    """`x` with the axes to reduce moved to the end and made one."""
    axes = axes_of(axis, x.ndim)
    rest = tuple(i for i in range(x.ndim) if i not in axes)
    order = (*rest, *axes)
    if order != tuple(range(x.ndim)):
        x = x.transpose(order)
    return x.reshape((*x.shape[: len(rest)], prod(x.shape[len(rest):])))


def unrows(c: Any, shape: tuple[int, ...], axis: Axis) -> Any:
    """The way back from `rows` to an array of `shape`."""
    axes = axes_of(axis, len(shape))
    order = (*(i for i in range(len(shape)) if i not in axes), *axes)
    c = c.reshape(tuple(shape[i] for i in order))
    if order == tuple(range(len(shape))):
        return c
    return c.transpose(tuple(sorted(range(len(order)), key=order.__getitem__)))


def share(g: Any, count: int) -> Any:
    """``g / count``; a half float cannot hold a large count, but its reciprocal."""
    return g * (1 / (count or 1)) if g.dtype == np.float16 else g / (count or 1)


def refuse_axis(name: str) -> Any:
    """A `complain` for the op `name`: axes out of range, repeated, or no integers."""

    def complain(inputs: Any, params: dict[str, Any]) -> Exception | None:
        axis, shape = params.get("axis"), np.shape(inputs[0])
        axes = axis if isinstance(axis, (tuple, list)) else () if axis is None else (axis,)
        for a in axes:
            if isinstance(a, (bool, np.bool_)) or not isinstance(a, (int, np.integer)):
                return ArgumentError(lesson(name, f"axis={axis!r}", "an axis is an integer, a tuple of "
                                            "integers, or None"))  # fmt: skip
            if not -len(shape) <= a < len(shape):
                return AxisError(lesson(
                    name, f"axis {a} of an array with {len(shape)} axes, shape {shape}",
                    f"axes go from {-len(shape)} to {len(shape) - 1}" if shape else "it has none"))  # fmt: skip
        if len({a % len(shape) for a in axes}) < len(axes):
            return ShapeError(lesson(name, f"axis={axis!r} names an axis twice"))
        for a in axes or range(len(shape)):
            if shape[a] == 0 and name in NO_IDENTITY:
                return DomainError(lesson(name, f"axis {a} has size 0 and {name} has no identity"))
        return None

    return complain


def reduction_samples(rng: np.random.Generator) -> Iterator[Sample]:
    """Every kind of axis, with and without `keepdims`, down to 0-d and size 0."""
    x = rng.normal(size=(2, 3, 4))
    for axis in (None, 0, -1, (0, 2), (-1, 0), (1,), ()):
        for keepdims in (False, True):
            yield (x,), {"axis": axis, "keepdims": keepdims}
    yield (rng.normal(size=()),), {}
    yield (np.zeros((0, 3)),), {"axis": 1}
