"""What runs along one axis shares: its pieces, its samples, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError, lesson
from ..op import Sample
from ..tensor import as_tensor
from ._axes import refuse_axis


def along(axis: int, start: int | None, stop: int | None, step: int | None = None) -> tuple[Any, ...]:
    """The index that takes ``start:stop:step`` along `axis` (not negative)."""
    return (*(slice(None),) * axis, slice(start, stop, step))


def filled(x: Any, axis: int, size: int, value: float) -> Any:
    """A constant to put beside `x` along `axis`."""
    return np.full((*x.shape[:axis], size, *x.shape[axis + 1:]), value, x.dtype)


def previous(x: Any, axis: int, value: float) -> Any:
    """Element k is xₖ₋₁; the first is `value`."""
    if not x.shape[axis]:
        return x
    return np.concatenate([filled(x, axis, 1, value), x[along(axis, None, -1)]], axis=axis)


def following(x: Any, axis: int, value: float) -> Any:
    """Element k is xₖ₊₁; the last is `value`."""
    if not x.shape[axis]:
        return x
    return np.concatenate([x[along(axis, 1, None)], filled(x, axis, 1, value)], axis=axis)


def refuse_line(name: str) -> Any:
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


def line_of(x: Any, axis: int | None) -> int:
    """The axis to run along; `refuse_line` explains what is refused here."""
    if x.ndim == 0 or axis is None and x.ndim > 1 or isinstance(axis, tuple):
        raise ValueError("one axis is needed")
    axis = 0 if axis is None else axis
    if not -x.ndim <= axis < x.ndim:
        raise IndexError("no such axis")
    return int(axis) % int(x.ndim)


def running_samples(rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.normal(size=(2, 4, 3))
    for axis in (0, 1, -1):
        for include_initial in (False, True):
            yield (x,), {"axis": axis, "include_initial": include_initial}
    yield (rng.normal(size=(5,)),), {}
    yield (rng.normal(size=(1,)),), {}
    yield (np.zeros((0, 3)),), {"axis": 0, "include_initial": True}
    yield (np.zeros((0, 3)),), {"axis": 0}
    yield (np.zeros((2, 0)),), {"axis": 0}


def flattened(function: Any, x: Any, axis: int | None, dtype: Any) -> Any:
    """What NumPy's names do where no axis is given."""
    x = as_tensor(x)
    if axis is None and x.ndim != 1:
        x = x.reshape(-1)
    return function(x, axis=axis, dtype=dtype)
