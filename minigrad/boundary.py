"""The boundary: what a caller's arrays become, and what he is told where they do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from .debug import made_at
from .errors import ArgumentError, DtypeError, MinigradError, ShapeError, lesson
from .op import Op

SCALARS = frozenset((float, int, bool, complex))
lock: Any = np.ndarray.setflags  # called as lock(array, False): write=False, quickly


def wrap_scalar(value: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(value)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    lock(array, False)
    return array


def own(a: Any, where: str) -> Any:
    """A constant as the engine keeps it: its own read-only copy, of a dtype it knows."""
    if isinstance(a, np.generic):
        return a
    if a is None or isinstance(a, (str, bytes, dict, set)):
        raise DtypeError(lesson(where, f"got {type(a).__name__} ({a!r:.40})",
                                "operands are tensors, arrays, numbers or nested lists of them"))  # fmt: skip
    try:
        array = np.array(a)
    except MinigradError:
        raise
    except ValueError:
        raise ShapeError(lesson(where, f"a ragged list: {_ragged(a)}",
                                "all rows need the same length")) from None  # fmt: skip
    if array.dtype.kind not in "biufc":
        raise DtypeError(lesson(where, f"dtype {array.dtype}",
                                "accepted are bool, integers, floats and complex"))  # fmt: skip
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    lock(array, False)
    return array


def as_dtype(dtype: Any, where: str) -> np.dtype[Any]:
    """A dtype that a tensor can have."""
    try:
        out: np.dtype[Any] = np.dtype(dtype)
    except TypeError as error:
        raise DtypeError(lesson(where, f"dtype={dtype!r}: {error}")) from None
    if dtype is None or out.kind not in "biufc":
        raise DtypeError(lesson(where, f"dtype={dtype!r}",
                                "accepted are bool, integers, floats and complex"))  # fmt: skip
    return out


def check_device(device: Any, where: str) -> None:
    """Refuse any device but the one there is."""
    if device is not None and device != "cpu":
        raise ArgumentError(lesson(where, f"device={device!r}", "arrays live on the CPU",
                                   "leave device out, or write device='cpu'"))  # fmt: skip


def _ragged(a: Any) -> str:
    def length(row: Any) -> Any:
        return np.shape(row) if not isinstance(row, (list, tuple)) else (len(row),)

    for k, row in enumerate(a):
        if length(row) != length(a[0]):
            return f"position {k} has shape {length(row)}, position 0 has {length(a[0])}"
    return next((f"in position {k}: {_ragged(row)}" for k, row in enumerate(a)
                 if isinstance(row, (list, tuple))), "its rows differ")  # fmt: skip


def complaint(
    op: Op, inputs: Any, values: tuple[Any, ...], params: dict[str, Any], error: Exception
) -> Exception:
    """The error that `op` owes its caller where `forward` failed."""
    better = op.complain(values, params) if op.complain is not None else None
    if better is None and op.broadcasts:
        try:
            np.broadcast_shapes(*map(np.shape, values))
        except ValueError:
            shapes = " with ".join(str(np.shape(v)) for v in values)
            better = ShapeError(lesson(op.name, f"cannot broadcast {shapes}",
                                       "aligned from the right, sizes must be equal or 1"))  # fmt: skip
    if better is None:
        kind = ShapeError if isinstance(error, ValueError) else ArgumentError
        shapes = ", ".join(str(np.shape(v)) for v in values)
        better = kind(lesson(op.name, f"{error}", f"it was given shapes {shapes}"))
    made = [f"input {i}{made_at(n)}" for i, n in enumerate(inputs) if n is not None and n.site]
    if made:
        better.args = (lesson(str(better), *made),)
    return better
