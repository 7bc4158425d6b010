"""Watch a plain NumPy function at work: every array that it assigns to a local name."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, lesson
from ..tensor import Tensor

Array = np.ndarray[Any, Any]


class Seen(NamedTuple):
    """An assignment.

    Attributes
    ----------
    name : str
        Of the local variable; for an entry of a local dict ``grads['W_f']``, for an attribute
        ``self.dWf``, for an entry of a list the list's.
    line : int
        Of the statement, in its file; for an argument that of the call; 0 if there is none.
    array : ndarray or Tensor
        What it held afterwards; arrays are copied.
    counters : dict of str -> int
        The integers among the locals, those of the callers in the same file included.
    entry : int or None
        Which entry of a list it is.
    """

    name: str
    line: int
    array: Any
    counters: dict[str, int]
    entry: int | None = None

    @property
    def numbers(self) -> dict[str, int]:
        """What may tell the step: the counters; of an entry of a list its place."""
        return self.counters if self.entry is None else {"": self.entry}


Place = tuple[str, int | None]


def watch(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, list[Seen]]:
    """Call a function; its result, and what it and its helpers in the same file assigned.

    Notes
    -----
    In-place changes (``dW += ...``, ``grads["b"][t] = ...``) count as assignments, and so does what
    a helper is called with if the caller has no name for it.  The debugger's hook is used, so a
    debugger does not see this call.
    """
    if not hasattr(function, "__code__"):
        raise ArgumentError(lesson("watch", f"got {function!r:.60}", "a Python function, whose local names can be seen",
                                   "for a functools.partial pass its function and arguments"))  # fmt: skip
    file = function.__code__.co_filename
    seen: list[Seen] = []
    held: dict[FrameType, dict[Place, tuple[Any, Any]]] = {}
    lines: dict[FrameType, int] = {}

    def look(frame: FrameType) -> None:
        before = held[frame]
        for place, value in _arrays(frame.f_locals):
            old, copy = before.get(place, (None, None))
            if old is value and (copy is value or _same(copy, value)):  # neither another array nor changed in place
                continue
            kept = _kept(value)
            before[place] = value, kept
            seen.append(Seen(place[0], lines[frame], kept, _counters(frame, file), place[1]))

    def local(frame: FrameType, event: str, _: Any) -> Any:
        look(frame)
        lines[frame] = frame.f_lineno
        return local

    def entered(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != file:
            return None
        lines[frame] = frame.f_lineno
        held[frame] = {}
        caller = frame.f_back
        named = {id(value) for _, value in _arrays(caller.f_locals)} if caller in held else set()
        for place, value in _arrays(frame.f_locals):
            kept = _kept(value)
            held[frame][place] = value, kept
            told = id(value) not in named if caller in held else True
            if told and isinstance(value, Tensor) is (caller not in held):  # tensors are what `name_locals` was called with
                seen.append(Seen(place[0], lines.get(caller, 0) if caller else 0, kept, _counters(caller, file), place[1]))
        return local

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        result = function(*args, **kwargs)
    finally:
        sys.settrace(before)
    seen += [Seen(name, 0, np.array(value), {}) for (name, _), value in _arrays({"result": result})
             if isinstance(result, dict)]  # fmt: skip
    return result, seen


def _arrays(values: Any) -> Iterator[tuple[Place, Any]]:
    """The arrays and tensors among local variables, in their dicts and lists, and of `self`."""
    for name, value in list(values.items()):
        inside: Iterator[tuple[str, Any, Any]] = iter([(name, None, value)])
        if isinstance(value, dict):
            inside = ((f"{name}[{k!r}]", None, v) if isinstance(k, str) else (name, k, v) for k, v in value.items())
        elif isinstance(value, list):
            inside = ((name, k, v) for k, v in enumerate(value))
        elif name == "self":
            yield from (((f"self.{attribute}", k), v) for (attribute, k), v in _arrays(vars(value)))
            continue
        for label, k, array in inside:
            if (k is None or type(k) is int) and (
                    isinstance(array, Tensor) or isinstance(array, np.ndarray) and array.dtype.kind == "f"):  # fmt: skip
                yield (label, k), array


def _kept(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value


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
    tensors = [s for s in seen if isinstance(s.array, Tensor) and s.entry is None]
    counter = _loop(tensors)
    first = min((s.counters[counter] for s in tensors if counter in s.counters), default=0)
    rounds: dict[str, dict[int, int]] = {}
    for s in tensors:
        if counter in s.counters:
            rounds.setdefault(s.name, {})[id(s.array)] = s.counters[counter]
    looped = {name for name, found in rounds.items() if len(set(found.values())) > 1}  # another tensor in each round
    last: dict[str, tuple[int, Tensor]] = {}
    for s in tensors:
        name = re.sub(r".*\['(.*)'\]|self\.", r"\1", s.name)  # p["Wf"] and self.Wf are Wf
        step = s.counters.get(counter, first - 1) - first + 1  # what a loop starts from is its step 0
        if s.name in looped:
            last[f"{name}<{step}>"] = 0, s.array
        else:  # arguments and attributes before what a local name is lent to
            last[name] = 1 if s.line == 0 or s.name != name else 2, s.array
    for name, (_, tensor) in sorted(last.items(), key=lambda item: item[1][0]):
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
