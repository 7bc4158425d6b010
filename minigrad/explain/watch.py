"""Watch a plain NumPy function at work: every array that it assigns to a local name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from ..tensor import Tensor

Array = np.ndarray[Any, Any]


class Seen(NamedTuple):
    """An assignment.

    Attributes
    ----------
    name : str
        Of the local variable; for an entry of a local dict ``grads['W_f']``.
    line : int
        Of the statement, in its file.
    array : ndarray or Tensor
        What it held afterwards; arrays are copied.
    counters : dict of str -> int
        The integers among the locals, those of the callers in the same file included.
    """

    name: str
    line: int
    array: Any
    counters: dict[str, int]


def watch(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, list[Seen]]:
    """Call a function; its result, and what it and its helpers in the same file assigned.

    Notes
    -----
    In-place changes (``dW += ...``, ``grads["b"][t] = ...``) count as assignments.  The debugger's
    hook is used, so a debugger does not see this call.
    """
    file = function.__code__.co_filename
    seen: list[Seen] = []
    held: dict[FrameType, dict[str, Any]] = {}
    lines: dict[FrameType, int] = {}

    def look(frame: FrameType) -> None:
        before = held[frame]
        for name, value in _arrays(frame.f_locals):
            old = before.get(name)
            if old is value or isinstance(old, np.ndarray) and isinstance(value, np.ndarray) and _same(old, value):
                continue
            before[name] = kept = value.copy() if isinstance(value, np.ndarray) else value
            seen.append(Seen(name, lines[frame], kept, _counters(frame, file)))

    def local(frame: FrameType, event: str, _: Any) -> Any:
        look(frame)
        lines[frame] = frame.f_lineno
        return local

    def entered(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != file:
            return None
        lines[frame] = frame.f_lineno
        if not held:  # what a function is given it starts from
            seen.extend(Seen(name, frame.f_lineno, value, {}) for name, value in _arrays(frame.f_locals)
                        if isinstance(value, Tensor))  # fmt: skip
        held[frame] = {name: value.copy() if isinstance(value, np.ndarray) else value
                       for name, value in _arrays(frame.f_locals)}  # fmt: skip
        return local

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        result = function(*args, **kwargs)
    finally:
        sys.settrace(before)
    seen += [Seen(name, 0, np.array(value), {}) for name, value in _arrays({"result": result})
             if isinstance(result, dict)]  # fmt: skip
    return result, seen


def _arrays(values: Any) -> Iterator[tuple[str, Any]]:
    for name, value in list(values.items()):
        if isinstance(value, Tensor) or isinstance(value, np.ndarray) and value.dtype.kind == "f":
            yield str(name), value
        elif isinstance(value, dict):
            for key, entry in value.items():
                if isinstance(key, str) and isinstance(entry, np.ndarray) and entry.dtype.kind == "f":
                    yield f"{name}[{key!r}]", entry


def _same(a: Array, b: Array) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def _counters(frame: FrameType | None, file: str) -> dict[str, int]:
    found: dict[str, int] = {}
    while frame is not None and frame.f_code.co_filename == file:
        for name, value in frame.f_locals.items():
            if type(value) is int or isinstance(value, np.integer):
                found.setdefault(name, int(value))
        frame = frame.f_back
    return found


def name_locals(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a plain NumPy function on tensors, and name the nodes after its local variables.

    Parameters
    ----------
    function : callable
        Written in NumPy for arrays.
    *args, **kwargs
        Tensors, where it is given arrays otherwise.

    Returns
    -------
    object
        What `function` returns.  What it assigned to ``c`` is named ``c``; in a loop ``c<1>``,
        ``c<2>``, ..., and what it was before the loop ``c<0>``; the last one where a name is
        assigned twice in a round.

    Examples
    --------
    >>> loss = mg.name_locals(forward, mg.tensor(W, requires_grad=True), x)
    >>> mg.blame_function(backward, W, x, cache, of=loss)
    """
    result, seen = watch(function, *args, **kwargs)
    tensors = [s for s in seen if isinstance(s.array, Tensor)]
    counter = _loop(tensors)
    first = min((s.counters[counter] for s in tensors if counter in s.counters), default=0)
    looped = {s.name for s in tensors if counter in s.counters}
    last: dict[str, Tensor] = {}
    for s in tensors:
        step = s.counters.get(counter, first - 1) - first + 1  # what a loop starts from is its step 0
        last[f"{s.name}<{step}>" if s.name in looped else s.name] = s.array
    for name, tensor in sorted(last.items(), key=lambda item: "<" not in item[0]):
        if tensor.name is None:
            tensor.named(name)
    return result


def _loop(seen: list[Seen]) -> str:
    """The counter that takes the most values: the loop over time."""
    values: dict[str, set[int]] = {}
    for s in seen:
        for name, value in s.counters.items():
            values.setdefault(name, set()).add(value)
    return max(values, key=lambda name: len(values[name]), default="")
