"""The same elements in another order: reversed, turned, rolled; the adjoint puts them back."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from ..define import define
from ..errors import ArgumentError, ShapeError, lesson
from ..tensor import as_tensor
from ._axes import Axis, refuse_axis
from ._public import checked_axes, public
from .shape import swapaxes


def _some_axes(rng: np.random.Generator) -> Any:
    x = rng.normal(size=(2, 3, 4))
    for axis in (None, 0, -1, (0, 2), (-1, 0)):
        yield (x,), {"axis": axis}
    yield (rng.normal(size=()),), {}
    yield (np.zeros((0, 3)),), {"axis": 1}


def _flip(x: Any, /, *, axis: Axis = None) -> Any:
    return np.flip(x, axis)


flip = define("flip", _flip, lambda g, y, x, *, axis=None: np.flip(g, axis=axis), linear="jointly",
    analytic=True, samples=_some_axes, complain=refuse_axis("flip"), numpy={np.flip: {}},
    caption="x in reverse order")  # fmt: skip


def _turned(name: str, axis: int, needed: int) -> Any:
    def turned(x: Any, /) -> Any:
        x = as_tensor(x)
        if x.ndim < needed:
            raise ShapeError(lesson(name, f"an array of shape {x.shape}", f"at least {needed} axes"))
        return flip(x, axis=axis)

    turned.__doc__ = f"`x` in reverse order along axis {axis} (NumPy's name)."
    return public(name, numpy={getattr(np, name): {}})(turned)


flipud, fliplr = _turned("flipud", 0, 1), _turned("fliplr", 1, 2)


@public("rot90", numpy={np.rot90: {}})
def rot90(x: Any, /, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Any:
    """`x` turned by `k` right angles in the plane of two axes, from the first towards the second."""
    x = as_tensor(x)
    plane = checked_axes("rot90", tuple(axes), x.shape)
    if len(plane) != 2:
        raise ShapeError(lesson("rot90", f"axes={axes}", "two different axes"))
    first, second = plane
    if k % 4 == 0:
        return x
    if k % 4 == 2:
        return flip(x, axis=plane)
    if k % 4 == 1:
        return swapaxes(flip(x, axis=second), first, second)
    return flip(swapaxes(x, first, second), axis=second)


def _roll(x: Any, /, shift: int | tuple[int, ...], *, axis: Axis = None) -> Any:
    return np.roll(x, tuple(map(index, shift)) if isinstance(shift, (tuple, list)) else index(shift), axis)


def _unroll(g: Any, y: Any, x: Any, *, shift: Any, axis: Axis = None) -> Any:
    back = tuple(-s for s in shift) if isinstance(shift, (tuple, list)) else -shift
    return np.roll(g, back, axis=axis)


def _roll_samples(rng: np.random.Generator) -> Any:
    x = rng.normal(size=(2, 3, 4))
    for shift, axis in ((5, None), (1, 0), (-2, -1), ((1, -3), (0, 2)), (7, (0, 1)), ((1, 2), 1), ((1, 1), (2, 2))):
        yield (x,), {"shift": shift, "axis": axis}
    yield (rng.normal(size=()),), {"shift": 1}
    yield (np.zeros((0, 3)),), {"shift": 1, "axis": 0}


def _refuse_roll(inputs: Any, params: dict[str, Any]) -> Exception | None:
    shift, axis = params.get("shift"), params.get("axis")
    if shift is None:
        return ArgumentError(lesson("roll", "no shift", "the call is roll(x, shift, axis=None)"))
    if not all(isinstance(s, (int, np.integer)) for s in (shift if isinstance(shift, (tuple, list)) else (shift,))):
        return ArgumentError(lesson("roll", f"shift={shift!r}", "an integer, or one for each axis"))
    return refuse_axis("roll")(inputs, {"axis": axis}) or ShapeError(lesson(
        "roll", f"shift={shift} along axis={axis}", "one shift, or one for each axis"))  # fmt: skip


roll = define("roll", _roll, _unroll, linear="jointly", analytic=True, samples=_roll_samples, complain=_refuse_roll,
    numpy={np.roll: {}}, caption="x moved along, what leaves at one end enters at the other")  # fmt: skip
