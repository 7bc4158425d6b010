"""What a pass needs to rewrite a program: who makes a value, new values, an order that works."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import Any

from ..op import OPS
from .program import Operand, Program, Step, Value


class Writer:
    """New steps for a program.

    Attributes
    ----------
    made : dict of Value -> Step
        Who makes each value, the new ones included.
    uses : Counter
        How often the program reads a value or returns it.
    joins : dict of (axis, values) -> Value
        What is concatenated already.
    orders : dict of set of values -> list
        In which order.
    """

    def __init__(self, program: Program) -> None:
        self.made = {step.output: step for step in program.steps}
        self.uses = Counter(x for step in program.steps for x in step.reads)
        self.uses.update(program.results)
        self.joins: dict[tuple[int, tuple[Operand, ...]], Value] = {}
        self.orders: dict[frozenset[Value], list[Operand]] = {}
        for s in program.steps:
            if s.op.name == "concat" and all(isinstance(x, Value) for x in s.inputs):
                self.joins[s.params.get("axis", 0), s.inputs] = s.output
                self.orders.setdefault(frozenset(s.reads), list(s.inputs))
        known = [*program.sources, *program.constants, *self.made]
        self.next = 1 + max((v.number for v in known), default=0)

    def value(self, like: Any) -> Value:
        """A new value."""
        self.next += 1
        return Value(self.next - 1, like)

    def step(self, name: str, inputs: Iterable[Operand], like: Any = None, output: Value | None = None, *,
             looks_at: tuple[int, ...] = (), **params: Any) -> Step:  # fmt: skip
        """A step whose output is a new value like `like`, or is `output`."""
        step = Step(OPS[name], tuple(inputs), params, output or self.value(like), looks_at)
        self.made[step.output] = step
        return step

    def made_as(self, x: Operand, name: str) -> Step | None:
        """The step that makes `x`, if it is of this op."""
        step = self.made.get(x) if isinstance(x, Value) else None
        return step if step is not None and step.op.name == name else None

    def sorted(self, parts: list[Any]) -> list[int]:
        """The order to join parts in, as indices: that in which they, or what they join, are joined
        already; else the older first.  What is joined in one order is joined once."""
        firsts = [self._first(x) for x in parts]
        for these in (parts, firsts):
            known = self.orders.get(frozenset(these))
            if known is not None and len(known) == len(these):
                return sorted(range(len(parts)), key=lambda k: known.index(these[k]))
        return sorted(range(len(parts)), key=lambda k: self.age(parts[k]))

    def _first(self, x: Operand) -> Operand:
        """The first part of a join, through a transpose."""
        turned = self.made_as(x, "matrix_transpose")
        joined = self.made_as(turned.inputs[0] if turned else x, "concat")
        return joined.inputs[0] if joined else x

    def age(self, x: Operand) -> int:
        """When a value, or the first of what it looks at, was recorded."""
        while isinstance(x, Value):
            step = self.made.get(x)
            if step is None or not step.looks_at:
                return x.number
            x = step.inputs[0]
        return -1


def in_order(steps: Iterable[Step], made: dict[Value, Step]) -> list[Step]:
    """The steps in an order in which each reads what is made: as they stand where that works.

    A value that several make is made as `made` says.

    Raises
    ------
    ValueError
        There is none: some need each other.
    """
    steps = list({step.output: made[step.output] for step in steps}.values())
    place = {step.output: k for k, step in enumerate(steps)}
    readers: list[list[int]] = [[] for _ in steps]
    missing = [0] * len(steps)
    drawn = -1
    for k, step in enumerate(steps):
        before = {place[x] for x in step.reads if x in place}
        if step.draws:  # random numbers come in the order of recording
            before |= {drawn} - {-1}
            drawn = k
        missing[k] = len(before)
        for j in before:
            readers[j].append(k)
    ready = [k for k, count in enumerate(missing) if not count]
    heapify(ready)
    order = []
    while ready:
        k = heappop(ready)
        order.append(steps[k])
        for j in readers[k]:
            missing[j] -= 1
            if not missing[j]:
                heappush(ready, j)
    if len(order) < len(steps):
        raise ValueError("some steps need each other")
    return order
