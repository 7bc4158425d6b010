"""What a pass needs to rewrite a program: who makes a value, new values, an order that works."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from typing import Any

import numpy as np

from ..op import OPS
from .program import Operand, Program, Step, Value

DEPTH = 3
"""How many stages ahead tell gates with different activations apart."""
MOST_BITS = 4e8
"""Of the table that tells which steps need each other."""


class Writer:
    """New steps for a program.

    Attributes
    ----------
    made : dict of Value -> Step
        Who makes each value, the new ones included.
    reader : dict of Value -> Step
        The first that reads it.
    uses : Counter
        How often the program reads a value or returns it.
    joins : dict of (axis, values) -> Value
        What is concatenated already.
    orders : dict of set of values -> list
        In which order.
    """

    def __init__(self, program: Program) -> None:
        self.made = {step.output: step for step in program.steps}
        self.reader = {x: step for step in reversed(program.steps) for x in step.reads}
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
             looks_at: tuple[int, ...] = (), laid: Any = None, **params: Any) -> Step:  # fmt: skip
        """A step whose output is a new value like `like`, or is `output`."""
        step = Step(OPS[name], tuple(inputs), params, output or self.value(like), looks_at, laid)
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
        ages = [self.age(x) for x in parts]
        first: dict[tuple[str, ...], int] = {}  # gates with the same activation lie together
        for age, x in sorted(zip(ages, parts, strict=True), key=lambda pair: pair[0]):
            first.setdefault(self._fate(x), age)
        return sorted(range(len(parts)), key=lambda k: (first[self._fate(parts[k])], ages[k]))

    def _fate(self, x: Operand) -> tuple[str, ...]:
        """Which stages a value goes through first."""
        names: list[str] = []
        x = self.source(x)
        while len(names) < DEPTH and isinstance(x, Value) and x in self.reader:
            step = self.reader[x]
            if not step.looks_at:
                names.append(step.op.name)
            x = step.output
        return tuple(names)

    def source(self, x: Operand) -> Operand:
        """What a value is a view of."""
        while isinstance(x, Value) and (step := self.made.get(x)) is not None and step.looks_at:
            x = step.inputs[0]
        return x

    def _first(self, x: Operand) -> Operand:
        """The first part of a join, through a transpose."""
        turned = self.made_as(x, "matrix_transpose")
        joined = self.made_as(turned.inputs[0] if turned else x, "concat")
        return joined.inputs[0] if joined else x

    def age(self, x: Operand) -> int:
        """When a value, or the first of what it looks at, was recorded."""
        x = self.source(x)
        return x.number if isinstance(x, Value) else -1


def in_order(steps: Iterable[Step], made: dict[Value, Step]) -> list[Step]:
    """The steps in an order in which each reads what is made: as they stand, each after what it needs.

    A value that several make is made as `made` says.  What is needed is fetched when it is needed, and
    nothing runs ahead meanwhile: it would keep its arrays for longer.

    Raises
    ------
    ValueError
        There is none: some need each other.
    """
    steps = list({step.output: made[step.output] for step in steps}.values())
    place = {step.output: k for k, step in enumerate(steps)}
    needs: list[set[int]] = []
    drawn: set[int] = set()
    for k, step in enumerate(steps):
        needs.append({place[x] for x in step.reads if x in place} | (drawn if step.draws else set()))
        if step.draws:  # random numbers come in the order of recording
            drawn = {k}
    order = []
    done, waiting = bytearray(len(steps)), bytearray(len(steps))
    for last in range(len(steps)):
        stack = [last]
        while stack:
            k = stack[-1]
            missing = [j for j in needs[k] if not done[j]]
            if any(waiting[j] for j in missing):
                raise ValueError("some steps need each other")
            if missing:
                waiting[k] = True
                stack += sorted(missing, reverse=True)
                continue
            stack.pop()
            if not done[k]:
                waiting[k], done[k] = False, True
                order.append(steps[k])
    return order


def independent(program: Program, groups: Iterable[list[Step]]) -> Iterator[list[Step]]:
    """Groups of steps in batches, in which none needs another."""
    groups = [group for group in groups if len(group) > 1]
    bits: dict[Value, int] = {}
    for group in groups:
        for step in group:
            bits[step.output] = 1 << len(bits)
    if len(bits) * len(program.steps) > MOST_BITS:
        return
    needs: dict[Value, int] = {}  # which of the steps a value depends on
    for step in program.steps:
        found = 0
        for x in step.reads:
            found |= needs.get(x, 0) | bits.get(x, 0)
        needs[step.output] = found
    for group in groups:
        batch: list[Step] = []
        inside = 0
        for step in group:
            if needs[step.output] & inside:
                yield batch
                batch, inside = [], 0
            batch.append(step)
            inside |= bits[step.output]
        yield batch


def rows_taken(step: Step) -> slice | None:
    """Which rows of a matrix a step takes, if that is all it does."""
    index = step.params.get("index", ())
    if step.op.name != "getitem" or len(step.inputs) > 1 or len(index) != 1 or type(index[0]) is not slice:
        return None
    start, stop, stride = index[0].indices(len(step.inputs[0].like))
    return slice(start, stop) if stride == 1 and start < stop else None


def by_bits(x: Any) -> Hashable:
    """A constant by its bits: 0.0 is not −0.0, and 1 is not 1.0 nor True."""
    if isinstance(x, (np.ndarray, np.generic)):
        if x.dtype.hasobject:
            raise TypeError
        return type(x), x.dtype.str, x.shape, x.tobytes()
    if isinstance(x, (tuple, list)):
        return type(x), tuple(map(by_bits, x))
    if isinstance(x, float):
        return float, x.hex()
    if isinstance(x, complex):
        return complex, x.real.hex(), x.imag.hex()
    if isinstance(x, slice):
        return slice, by_bits((x.start, x.stop, x.step))
    return type(x), x
