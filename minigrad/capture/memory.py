"""Where the values of a program live, and for how long.

A value owns its memory, or looks at that of others: a slice at what it is taken from.  A part of a
concatenation is written into it straight away, and at home there.  When the last step has run that
reads a home, or anything that looks at it, its buffer is given to a later value of the same kind.
Who looks at whom is noted when a program is recorded; and a buffer has the strides of the array that
it stands for, so that every step meets the layout it met then and gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .program import Program, Step, Value

Kind = tuple[Any, ...]
JOINING = ("concat", "stack")
LINE = 64
"""Bytes in a line of the cache."""
LONG_ROWS = 16
"""Rows of so many numbers may stand between others without slowing what writes them."""


class Homes:
    """The homes of a program's values, and when each is needed last.

    Attributes
    ----------
    owners : dict of Value -> frozenset of Value
        Whose memory a value may look at; its own, if it makes any.
    placed : dict of Value -> (Value, int)
        The joined value, and which of its parts, that a value is written into.
    kept : set of Value
        Homes that come from outside or leave the program.
    dying : dict of int -> list of Value
        The homes that no step reads after this one.
    """

    def __init__(self, program: Program, exact: bool) -> None:
        self.exact = exact
        outside = (*program.sources, *program.constants)
        self.owners: dict[Value, frozenset[Value]] = {v: frozenset({v}) for v in outside}
        for step in program.steps:
            self.owners[step.output] = self._looks_at(step)
        self.placed: dict[Value, tuple[Value, int]] = {}
        made = {step.output: step for step in program.steps}
        leaving = frozenset().union(*(self.owners[v] for v in (*program.results, *outside)))
        for step in program.steps:
            if is_joining(step) and step.output not in leaving:
                self._place(step, made, leaving)
        self.kept = {self.home(v) for v in leaving}
        last: dict[Value, int] = {}
        for k, step in enumerate(program.steps):
            for v in (*step.reads, step.output):
                last.update(dict.fromkeys(map(self.home, self.owners[v]), k))
        self.dying: dict[int, list[Value]] = {}
        for home, k in last.items():
            if home not in self.kept:
                self.dying.setdefault(k, []).append(home)

    def home(self, owner: Value) -> Value:
        """Where an owner's memory lies: its own, or that of what it is joined into."""
        while owner in self.placed:
            owner = self.placed[owner][0]
        return owner

    def owns(self, step: Step) -> bool:
        """Whether a step's output is memory of the program's own."""
        return step.output in self.owners[step.output] and self.home(step.output) not in self.kept

    def _looks_at(self, step: Step) -> frozenset[Value]:
        found: set[Value] = set()
        if not step.looks_at:
            found.add(step.output)
        for i, x in enumerate(step.inputs):
            # an op of which nothing is known may hand on an input as it is, for some numbers
            if isinstance(x, Value) and (i in step.looks_at or step.op.into is None and _alike(step.output.like, x.like)):
                found |= self.owners[x]
        return frozenset(found)

    def _place(self, step: Step, made: dict[Value, Step], leaving: frozenset[Value]) -> None:
        """Let the producers of a joined value write into its parts."""
        for i, (x, part) in enumerate(zip(step.inputs, parts_of(step, step.output.like), strict=True)):
            producer = made.get(x) if isinstance(x, Value) else None
            if (producer is not None and not producer.looks_at and x not in leaving and x not in self.placed
                    and self._fits(producer, part)):  # fmt: skip
                self.placed[x] = step.output, i

    def _fits(self, producer: Step, part: Any) -> bool:
        """Whether a step may write into this part of an array."""
        same = part.strides == producer.output.like.strides
        if self.exact or not (is_joining(producer) or producer.op.elementwise):
            return same and writes(producer)
        rows = part.ndim > 0 and part.strides[-1] == part.itemsize and part.shape[-1] >= LONG_ROWS
        return (same or rows) and (writes(producer) or is_joining(producer))


def writes(step: Step) -> bool:
    """Whether a step can write into a buffer: its op knows how, and it gives an array."""
    return step.op.into is not None and type(step.output.like) is np.ndarray


def is_joining(step: Step) -> bool:
    like = step.output.like
    return (step.op.name in JOINING and type(step.params.get("axis", 0)) is int and like.flags.c_contiguous
            and all(x.like.dtype == like.dtype for x in step.reads))  # fmt: skip


def parts_of(step: Step, whole: Any) -> Iterator[Any]:
    """The slices of a joined array, one for each input."""
    axis = step.params.get("axis", 0)
    start = 0
    for x in step.inputs:
        like = x.like if isinstance(x, Value) else np.asarray(x)
        if step.op.name == "stack":
            yield np.moveaxis(whole, axis, 0)[start, ...]
            start += 1
        else:
            n = like.shape[axis]
            yield np.moveaxis(np.moveaxis(whole, axis, 0)[start : start + n], 0, axis)
            start += n


class Pool:
    """Buffers, given back and given out again.

    Attributes
    ----------
    buffers : list of ndarray
    """

    def __init__(self) -> None:
        self.buffers: list[Any] = []
        self.free: dict[Kind, list[Any]] = {}

    def take(self, like: Any) -> Any:
        waiting = self.free.get(_kind(like))
        if waiting:
            return waiting.pop()
        self.buffers.append(aligned(like))
        return self.buffers[-1]

    def give_back(self, buffer: Any) -> None:
        self.free.setdefault(_kind(buffer), []).append(buffer)


def aligned(like: Any) -> Any:
    """An empty array like this one that begins with a line of the cache: a vector of 64 bytes that lies
    across two lines costs twice as much, and NumPy begins its arrays anywhere."""
    plain = np.empty_like(like)
    room = np.empty(plain.nbytes + LINE, np.uint8)
    return np.ndarray(plain.shape, plain.dtype, room, -room.ctypes.data % LINE, plain.strides)


def _kind(like: Any) -> Kind:
    return like.shape, like.dtype, np.empty_like(like).strides


def _alike(a: Any, b: Any) -> bool:
    return type(a) is type(b) is np.ndarray and (a.size, a.dtype) == (b.size, b.dtype)
