"""Creation: constants of a given shape, and `asarray`, which keeps a tensor on the graph.

What is made here carries no gradient; `mg.tensor` makes leaves.  Where a tensor says what
is in the result (`asarray`, `full`, `full_like`, `linspace`), the result depends on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..array_api import result_type
from ..boundary import as_dtype, check_device, own
from ..errors import (
    ArgumentError,
    DomainError,
    DtypeError,
    MinigradError,
    ShapeError,
    lesson,
)
from ..op import NUMPY, OPS, Counterpart, publish
from ..tensor import Tensor, _converted, apply, constant
from .joining import stack
from .shape import astype, broadcast_to

Shape = int | tuple[int, ...]


# --- from what there is ----------------------------------------------------------------------


def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Any:
    """`obj` as a tensor; a tensor, also one within a list, stays on the graph.

    Parameters
    ----------
    obj : Tensor, array_like, or nested list of them
    dtype : dtype, optional
        The dtype of `obj` where it has one, else NumPy's choice.
    device : {None, "cpu"}
    copy : bool, optional
        True copies a tensor too.  False refuses to copy, so that only a tensor of the right
        dtype will do: a tensor shares no memory with the caller's arrays.

    Returns
    -------
    Tensor
        `obj` itself, if it is a tensor and nothing is asked of it.
    """
    check_device(device, "asarray")
    dtype = None if dtype is None else as_dtype(dtype, "asarray")
    if isinstance(obj, Tensor):
        if dtype is not None and dtype != obj.dtype:
            _may_copy(copy, f"{obj.dtype} to {dtype}")
            return astype(obj, dtype)
        return apply(OPS["copy"], (obj,)) if copy else obj
    _may_copy(copy, f"got {type(obj).__name__}")
    if isinstance(obj, (list, tuple)) and _holds_tensor(obj):
        return _stacked(obj, result_type(*_leaves(obj)) if dtype is None else dtype)
    return constant(_plain(obj, dtype, "asarray"))


def _may_copy(copy: bool | None, given: str) -> None:
    if copy is False:
        raise DomainError(lesson("asarray", f"copy=False and {given}", "this takes a copy", "leave copy out"))


def _holds_tensor(parts: Any) -> bool:
    return any(isinstance(x, Tensor) or isinstance(x, (list, tuple)) and _holds_tensor(x) for x in parts)


def _leaves(parts: Any) -> Any:
    for x in parts:
        if isinstance(x, (list, tuple)):
            yield from _leaves(x)
        else:
            yield x if isinstance(x, (Tensor, bool, int, float, complex)) else own(x, "asarray")


def _stacked(parts: Any, dtype: np.dtype[Any]) -> Any:
    return stack([_stacked(x, dtype) if isinstance(x, (list, tuple)) else asarray(x, dtype=dtype) for x in parts])


def _plain(obj: Any, dtype: np.dtype[Any] | None, where: str) -> Any:
    """An array of the engine's own; integers that do not fit are refused, not wrapped."""
    array = own(obj, where)
    if dtype is None or dtype == array.dtype:
        return array
    if dtype.kind in "iu" and not isinstance(obj, (np.ndarray, np.generic)):
        try:
            return _converted(np.array(obj, dtype), dtype, where)
        except OverflowError as error:
            raise DomainError(lesson(where, f"{error}", f"numbers that {dtype} holds")) from None
    return _converted(array, dtype, where)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Any:
    """A tensor with the numbers of another library's array (DLPack).

    Parameters
    ----------
    x : Tensor or object with ``__dlpack__``
        A tensor stays on the graph.
    device : {None, "cpu"}
    copy : bool, optional
        False is refused for a foreign array: a tensor's memory is its own.

    Returns
    -------
    Tensor
    """
    check_device(device, "from_dlpack")
    if isinstance(x, Tensor):
        return asarray(x, copy=copy)
    if not hasattr(x, "__dlpack__"):
        raise ArgumentError(lesson("from_dlpack", f"got {type(x).__name__}", "an array that has __dlpack__",
                                   "use mg.asarray for numbers and lists"))  # fmt: skip
    _may_copy(copy, f"got {type(x).__name__}")
    return asarray(np.from_dlpack(x))


# --- of a shape ------------------------------------------------------------------------------


def _made(where: str, device: Any, dtype: Any, make: Any) -> Any:
    """A constant that NumPy makes; its refusal as ours."""
    check_device(device, where)
    dtype = None if dtype is None else as_dtype(dtype, where)
    try:
        return constant(make(dtype))
    except MinigradError:
        raise
    except (ValueError, OverflowError, ZeroDivisionError) as error:
        raise ShapeError(lesson(where, str(error))) from None
    except TypeError as error:
        raise ArgumentError(lesson(where, str(error))) from None


def _no_tensor(where: str, **arguments: Any) -> None:
    for name, value in arguments.items():
        if isinstance(value, Tensor):
            raise ArgumentError(lesson(where, f"{name} is a tensor", "a plain number: no gradient passes here",
                                       f"write {name}={name}.item()"))  # fmt: skip


def zeros(shape: Shape, *, dtype: Any = None, device: Any = None) -> Any:
    """A constant of zeros.

    Parameters
    ----------
    shape : int or tuple of int
    dtype : dtype, optional
        Defaults to float64.
    device : {None, "cpu"}

    Returns
    -------
    Tensor
    """
    return _made("zeros", device, dtype, lambda dtype: np.zeros(shape, dtype))


def ones(shape: Shape, *, dtype: Any = None, device: Any = None) -> Any:
    """A constant of ones.

    Parameters
    ----------
    shape : int or tuple of int
    dtype : dtype, optional
        Defaults to float64.
    device : {None, "cpu"}

    Returns
    -------
    Tensor
    """
    return _made("ones", device, dtype, lambda dtype: np.ones(shape, dtype))


def empty(shape: Shape, *, dtype: Any = None, device: Any = None) -> Any:
    """A constant of zeros: nobody could fill in what were left open.

    Parameters
    ----------
    shape : int or tuple of int
    dtype : dtype, optional
        Defaults to float64.
    device : {None, "cpu"}

    Returns
    -------
    Tensor
    """
    return _made("empty", device, dtype, lambda dtype: np.zeros(shape, dtype))


def full(shape: Shape, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """One value everywhere; a tensor as `fill_value` stays on the graph.

    Parameters
    ----------
    shape : int or tuple of int
    fill_value : number, array_like or Tensor
        Broadcasts to `shape`.
    dtype : dtype, optional
        Defaults to that of `fill_value`.
    device : {None, "cpu"}

    Returns
    -------
    Tensor
    """
    check_device(device, "full")
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if isinstance(fill_value, Tensor):
        return broadcast_to(asarray(fill_value, dtype=dtype), sizes)
    value = _plain(fill_value, None if dtype is None else as_dtype(dtype, "full"), "full")
    return _made("full", device, dtype, lambda dtype: np.full(sizes, value))


def zeros_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Any:
    """A constant of zeros in the shape and dtype of `x`.

    Parameters
    ----------
    x : Tensor or array_like
    dtype : dtype, optional
        Defaults to that of `x`.
    device : {None, "cpu"}

    Returns
    -------
    Tensor
    """
    shape, own_dtype = _shape_and_dtype(x, "zeros_like")
    return zeros(shape, dtype=own_dtype if dtype is None else dtype, device=device)


def ones_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Any:
    """A constant of ones in the shape and dtype of `x`.

    Parameters
    ----------
    x : Tensor or array_like
    dtype : dtype, optional
        Defaults to that of `x`.
    device : {None, "cpu"}

    Returns
    -------
    Tensor
    """
    shape, own_dtype = _shape_and_dtype(x, "ones_like")
    return ones(shape, dtype=own_dtype if dtype is None else dtype, device=device)


def empty_like(x: Any, /, *, dtype: Any = None, device: Any = None) -> Any:
    """A constant of zeros in the shape and dtype of `x`; see `empty`.

    Parameters
    ----------
    x : Tensor or array_like
    dtype : dtype, optional
        Defaults to that of `x`.
    device : {None, "cpu"}

    Returns
    -------
    Tensor
    """
    return zeros_like(x, dtype=dtype, device=device)


def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Any:
    """One value everywhere, in the shape and dtype of `x`; a tensor as `fill_value` stays on
    the graph, `x` does not.

    Parameters
    ----------
    x : Tensor or array_like
    fill_value : number, array_like or Tensor
        Broadcasts to the shape of `x`.
    dtype : dtype, optional
        Defaults to that of `x`.
    device : {None, "cpu"}

    Returns
    -------
    Tensor
    """
    shape, own_dtype = _shape_and_dtype(x, "full_like")
    return full(shape, fill_value, dtype=own_dtype if dtype is None else dtype, device=device)


def _shape_and_dtype(x: Any, where: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    array = x if isinstance(x, Tensor) else own(x, where)
    return array.shape, array.dtype


def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None,
        device: Any = None) -> Any:  # fmt: skip
    """Ones on a diagonal, zeros elsewhere.

    Parameters
    ----------
    n_rows : int
    n_cols : int, optional
        Defaults to `n_rows`.
    k : int
        Which diagonal: above the main one where positive.
    dtype : dtype, optional
        Defaults to float64.
    device : {None, "cpu"}

    Returns
    -------
    Tensor
    """
    return _made("eye", device, dtype, lambda dtype: np.eye(n_rows, n_cols, k, dtype or np.float64))


def arange(start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None) -> Any:
    """Numbers from `start` up to, not including, `stop`.

    Parameters
    ----------
    start : int or float
        Where `stop` is left out, the end: then it starts at 0.
    stop : int or float, optional
    step : int or float
    dtype : dtype, optional
        Defaults to int64 where all are integers, else float64.
    device : {None, "cpu"}

    Returns
    -------
    Tensor
    """
    _no_tensor("arange", start=start, stop=stop, step=step)
    first, last = (0, start) if stop is None else (start, stop)
    make: Any = np.arange
    return _made("arange", device, dtype, lambda dtype: make(first, last, step, dtype))


def linspace(start: Any, stop: Any, /, num: int, *, dtype: Any = None, device: Any = None,
             endpoint: bool = True) -> Any:  # fmt: skip
    """`num` evenly spaced numbers; tensors as ends stay on the graph.

    Parameters
    ----------
    start, stop : number, array_like or Tensor
        The ends; arrays give one row of numbers for each of their elements, along the first axis.
    num : int
        How many.
    dtype : dtype, optional
        Defaults to the float dtype of the ends, float64 for numbers.
    device : {None, "cpu"}
    endpoint : bool
        Whether `stop` is the last number.

    Returns
    -------
    Tensor
    """
    _no_tensor("linspace", num=num)
    if not isinstance(start, Tensor) and not isinstance(stop, Tensor):
        return _made("linspace", device, dtype, lambda dtype: np.linspace(start, stop, num, endpoint, dtype=dtype))
    check_device(device, "linspace")
    if not isinstance(num, (int, np.integer)) or num < 0:
        raise ArgumentError(lesson("linspace", f"num={num!r}", "an integer from 0 on"))
    out = None if dtype is None else as_dtype(dtype, "linspace")
    if out is not None and out.kind not in "fc":
        raise DtypeError(lesson("linspace", f"dtype={out} between tensors", "a float dtype",
                                "round first: mg.floor(mg.linspace(start, stop, num))"))  # fmt: skip
    # as NumPy computes it: k · step + start, and the last one exactly stop
    ends = [x if isinstance(x, (Tensor, bool, int, float, complex)) else own(x, "linspace") for x in (start, stop)]
    inner = result_type(*ends, 1.0)
    a, b = (asarray(x, dtype=inner) for x in ends)
    gap: Any = b - a
    k = np.arange(num, dtype=inner).reshape(num, *(1,) * gap.ndim)
    y = k * (gap / max(num - bool(endpoint), 1)) + a
    if endpoint and num > 1:
        y = np.where(k == num - 1, b, y)
    return y if out is None else asarray(y, dtype=out)


def _linspace(start: Any, stop: Any, num: int = 50, **others: Any) -> Any:
    return linspace(start, stop, num, **others)


_PUBLIC: dict[Any, Any] = {
    asarray: None, from_dlpack: None, zeros: None, ones: None, empty: None, full: None, eye: None,
    arange: None, linspace: None, zeros_like: np.zeros_like, ones_like: np.ones_like,
    empty_like: np.empty_like, full_like: np.full_like,
}  # fmt: skip
for _function, _numpy in _PUBLIC.items():
    publish(_function.__name__, _function, numpy={_numpy: {}} if _numpy else {})
NUMPY[np.linspace] = Counterpart(
    _linspace, 3, ("start", "stop", "num", "endpoint", "retstep", "dtype", "axis"), {})  # fmt: skip
