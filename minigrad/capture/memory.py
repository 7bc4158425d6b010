"""Where the values of a program live.

Values that share memory form a group: a slice or a transpose with what it is taken from, and a
part with the concatenation that it is written into straight away.  A group whose last reader has
run gives its buffer to a later one of the same kind.  Which values share is read from the arrays
that were recorded, and a buffer has the strides of the array that it stands for, so that every step
meets the layout it met then and gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .program import Program, Step, Value

Kind = tuple[Any, ...]
JOINING = ("concat", "stack")


class Groups:
    """The groups of a program, and the steps between which each is in use.

    Attributes
    ----------
    root : dict of Value -> Value
        The value that stands for the group.
    placed : dict of Value -> (Value, int)
        The joined value, and which of its parts, that a value is written into.
    kept : set of Value
        Groups that come from outside or leave the program.
    dying : dict of int -> list of Value
        The groups whose last reader is a step.
    """

    def __init__(self, program: Program) -> None:
        self.root: dict[Value, Value] = {v: v for v in (*program.sources, *program.constants)}
        self.members: dict[Value, list[Value]] = {v: [v] for v in self.root}
        for step in program.steps:
            self.root[step.output] = step.output
            self.members[step.output] = [step.output]
            for i, x in enumerate(step.inputs):
                # an op of which nothing is known may hand on an input as it is, for some numbers
                if isinstance(x, Value) and (i in step.looks_at or step.op.into is None and _alike(step.output.like, x.like)):
                    self._join(step.output, x)
        self.kept = {self.root[v] for v in (*program.results, *program.sources, *program.constants)}
        self.placed: dict[Value, tuple[Value, int]] = {}
        made = {step.output: step for step in program.steps}
        for step in program.steps:
            if is_joining(step) and self.root[step.output] not in self.kept:
                self._place(step, made)
        last = {self.root[v]: k for k, step in enumerate(program.steps) for v in (*step.reads, step.output)}
        self.dying: dict[int, list[Value]] = {}
        for value, k in last.items():
            if value not in self.kept:
                self.dying.setdefault(k, []).append(value)

    def _place(self, step: Step, made: dict[Value, Step]) -> None:
        """Let the producers of a joined value write into its parts."""
        for i, (x, part) in enumerate(zip(step.inputs, parts_of(step, step.output.like), strict=True)):
            producer = made.get(x) if isinstance(x, Value) else None
            if (producer is not None and writes(producer) and self.root[x] is x and x not in self.kept
                    and part.strides == x.like.strides):  # fmt: skip
                self.placed[x] = step.output, i
                self._join(x, step.output)

    def _join(self, value: Value, to: Value) -> None:
        mine, theirs = self.root[value], self.root[to]
        if mine is not theirs:
            for member in self.members.pop(mine):
                self.root[member] = theirs
                self.members[theirs].append(member)


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
        self.buffers.append(np.empty_like(like))
        return self.buffers[-1]

    def give_back(self, buffer: Any) -> None:
        self.free.setdefault(_kind(buffer), []).append(buffer)


def _kind(like: Any) -> Kind:
    return like.shape, like.dtype, np.empty_like(like).strides


def _alike(a: Any, b: Any) -> bool:
    return type(a) is type(b) is np.ndarray and (a.size, a.dtype) == (b.size, b.dtype)
