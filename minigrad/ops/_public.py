"""Public functions that are written out by hand, where a record alone does not say enough."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar

from ..errors import ArgumentError, AxisError, MinigradError, lesson
from ..op import NUMPY, Counterpart, Op, publish
from ..tensor import Tensor
from ._axes import axes_of, refuse_axis

F = TypeVar("F", bound=Callable[..., Any])


def public(
    name: str,
    op: Op | None = None,
    *,
    aliases: tuple[str, ...] = (),
    numpy: dict[Any, dict[str, str]] | None = None,
) -> Callable[[F], F]:
    """Publish a function under its names; a call that does not fit its signature teaches.

    Parameters
    ----------
    name, aliases, numpy
        As in `publish`.  A function of ``*arrays`` answers NumPy with all it is given.
    op : Op, optional
        The record that the function stands for.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        bare = signature.replace(return_annotation=signature.empty, parameters=[
            p.replace(annotation=p.empty) for p in signature.parameters.values()])  # fmt: skip

        @wraps(function)
        def call(*args: Any, **params: Any) -> Any:
            try:
                return function(*args, **params)
            except TypeError as error:
                if isinstance(error, MinigradError):
                    raise
                try:
                    signature.bind(*args, **params)
                except TypeError as wrong:
                    raise ArgumentError(lesson(name, str(wrong), f"the call is {name}{bare}")) from None
                raise

        call.__name__ = call.__qualname__ = name
        call.__signature__ = signature.replace(return_annotation=signature.empty)  # type: ignore[attr-defined]
        if op is not None:
            call.op = op  # type: ignore[attr-defined]
        if any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values()):
            publish(name, call, aliases=aliases)
            for counterpart, keywords in (numpy or {}).items():
                NUMPY[counterpart] = Counterpart(call, 2**31, (), keywords)
        else:
            publish(name, call, aliases=aliases, numpy=numpy)
        return call  # type: ignore[return-value]

    return decorate


def parts_of(name: str, arrays: Any) -> tuple[Any, ...]:
    """The arrays that a caller gave as one sequence, or what is wrong with it."""
    if type(arrays) is list or type(arrays) is tuple:
        return tuple(arrays)
    if not isinstance(arrays, Iterable) or isinstance(arrays, (str, bytes, dict, set)):
        raise ArgumentError(lesson(name, f"got {type(arrays).__name__}", "a sequence of arrays",
                                   f"write {name}([a, b])"))  # fmt: skip
    if isinstance(arrays, Tensor) and not arrays.ndim:
        raise ArgumentError(lesson(name, "got one scalar", "a sequence of arrays", f"write {name}([a, b])"))
    return tuple(arrays)


def checked_axes(name: str, axis: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """`axis` as a tuple of different axes of an array of that shape."""
    axis = tuple(axis) if isinstance(axis, list) else axis
    if axis is None or not shape and axis != ():
        raise AxisError(lesson(name, f"axis={axis!r} of an array of shape {shape}", "axes that it has"))
    bad = refuse_axis(name)([_Shaped(shape)], {"axis": axis})
    if bad is not None:
        raise bad
    return axes_of(axis, len(shape))


class _Shaped:
    """As much of an array as a check of axes looks at."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
