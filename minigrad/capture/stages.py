"""Elementwise stages: the same small one at each gate, or at many time steps, in one call."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from .memory import is_joining, writes
from .program import Program, Step, Value
from .rewriting import Writer, by_bits, in_order, independent, rows_taken
from .sums import slices

IN_CACHE = 32_768
"""Numbers that a call may run over; beyond, what it saves is lost to memory that it fetches twice."""
FEW = 3
"""From so many time steps on they are put together."""
DEPTH = 3
"""How far back two stages must come from the same ops to count as the same stage."""


def stages_merged(program: Program) -> Program:
    """Reassociating, in so far as what follows meets another layout: elementwise stages that do not need each
    other, the same at each gate or time step, become one where their inputs lie above each other or can
    be written so."""
    writer = Writer(program)
    roles = _roles(program)
    groups: dict[Hashable, list[Step]] = {}
    for step in program.steps:
        plain = not any(isinstance(v, np.ndarray) for v in step.params.values())
        if step.op.elementwise and plain and writes(step) and not step.draws and _rows_alike(step):
            groups.setdefault(roles[step.output], []).append(step)
    place = {step.output: k for k, step in enumerate(program.steps)}
    joined = {x for step in program.steps if step.op.name in ("concat", "stack") for x in step.reads}
    steps = list(program.steps)
    batches = sorted(independent(program, groups.values()), key=lambda b: place[b[0].output])
    for batch in batches:
        for chunk in _chunks(batch, writer):
            steps += _one(chunk, writer, joined)
    try:
        return joins_collapsed(program.with_steps(in_order(steps, writer.made)))
    except ValueError:  # two chunks that need each other
        return program


def joins_collapsed(program: Program) -> Program:
    """Exact: slices that lie above each other in one array are joined as that array."""
    writer = Writer(program)
    steps = []
    for step in program.steps:
        if step.op.name == "concat" and step.params.get("axis", 0) == 0:
            runs = _runs(step.inputs, writer)
            parts = [base if (low, high) == (0, len(getattr(base, "like", base))) else None for base, low, high in runs]
            if len(parts) < len(step.inputs) and not any(part is None for part in parts):
                step = replace(step, inputs=tuple(parts))
        steps.append(step)
    return program.with_steps(steps)


def _roles(program: Program) -> dict[Value, Hashable]:
    """What each value is, whatever the gate or the time step: which ops made it, a few stages back."""
    roles: dict[Value, Hashable] = {v: ("given", _kind(v)) for v in (*program.sources, *program.constants)}
    first = {s.output: (s.op.name, _kind(s.output)) for s in program.steps}
    before: dict[Value, Hashable] = roles | first
    for _ in range(DEPTH):
        now: dict[Value, Hashable] = dict(roles)
        for s in program.steps:
            which = () if s.op.name in ("getitem", "pick") else _bits(sorted(s.params.items()))
            inputs = tuple(before[x] if isinstance(x, Value) else _bits(x) for x in s.inputs)
            now[s.output] = hash((first[s.output], which, inputs))
        before = now
    return before


def _kind(value: Value) -> Hashable:
    like = value.like
    return () if type(like) is tuple else (like.shape, like.dtype.str)


def _bits(x: Any) -> Hashable:
    """Equal for equal constants; what cannot be compared is like nothing else."""
    try:
        hash(key := by_bits(x))
    except TypeError:
        return id(x)
    return key


def _rows_alike(step: Step) -> bool:
    """Whether rows of the output come from the same rows of every input."""
    like = step.output.like
    if not (like.ndim > 0 and like.flags.c_contiguous and 0 < like.size <= IN_CACHE // 2):
        return False
    rows = [isinstance(x.like, np.ndarray) and x.like.ndim == like.ndim and len(x.like) == len(like)
            if isinstance(x, Value) else None if np.ndim(x) == 0 else False for x in step.inputs]  # fmt: skip
    return True in rows and False not in rows


def _chunks(batch: list[Step], writer: Writer) -> Iterator[list[Step]]:
    """So many stages that they stay in the cache; those that read slices of one array in its order."""
    read = {step.output: next(_runs([next(step.reads)], writer)) for step in batch}
    first: dict[Any, int] = {}
    for base, _, _ in read.values():
        first.setdefault(base, len(first))
    ordered = sorted(batch, key=lambda step: (first[read[step.output][0]], read[step.output][1]))
    size = max(1, IN_CACHE // ordered[0].output.like.size)
    for k in range(0, len(ordered), size):
        if len(chunk := ordered[k : k + size]) > 1:
            yield chunk


def _one(chunk: list[Step], writer: Writer, joined: set[Value]) -> list[Step]:
    """The steps of one stage in place of many, and slices for who reads them; none if they cannot be."""
    steps: list[Step] = []
    inputs: list[Any] = []
    fresh: list[Any] = []
    for parts in zip(*(s.inputs for s in chunk), strict=True):
        if not isinstance(parts[0], Value):
            inputs.append(parts[0])
            continue
        found = _above_each_other(parts, writer, joined, len(chunk))
        if found is None:
            return []
        new, whole, placed = found
        steps += new
        fresh += placed
        inputs.append(whole)
    outputs = [s.output for s in chunk]
    if not joined.isdisjoint(outputs) and not any(_adjacent(outputs, join) for join in writer.orders.values()):
        return []  # they are written into what they are joined to, and would have to be copied
    joined.update(fresh)
    for step in steps:
        if step.op.name == "concat":
            writer.joins[0, step.inputs] = step.output
    like = np.concatenate([v.like for v in outputs])
    stage = writer.step(chunk[0].op.name, inputs, like, **chunk[0].params)
    return [*steps, stage, *slices(stage.output, outputs, 0, writer)]


def _adjacent(values: list[Value], join: list[Any]) -> bool:
    k = join.index(values[0]) if values[0] in join else len(join)
    return join[k : k + len(values)] == values


def _above_each_other(parts: tuple[Any, ...], writer: Writer, joined: set[Value],
                      count: int) -> tuple[list[Step], Value, list[Value]] | None:  # fmt: skip
    """Inputs as one array: the steps that make it, the array, and what is written into it."""
    if len(set(parts)) < len(parts):
        return None
    runs = list(_runs(parts, writer))
    if len(runs) == 1:
        base, low, high = runs[0]
        if (low, high) == (0, len(base.like)):
            return [], base, []
        part = writer.step("getitem", (base,), base.like[low:high], looks_at=(0,), index=(slice(low, high),))
        return [part], part.output, []
    if any((low, high) != (0, len(base.like)) for base, low, high in runs):
        return None
    wholes = [base for base, _, _ in runs]
    there = writer.joins.get((0, tuple(wholes)))
    if there is not None:
        return [], there, []
    made = [writer.made.get(v) for v in wholes]
    given = all(writer.made.get(writer.source(v)) is None for v in wholes)
    written = count >= FEW and all(m is not None and writes(m) and not m.looks_at and not is_joining(m) for m in made)
    if not given and not (written and joined.isdisjoint(wholes)):
        return None
    step = writer.step("concat", wholes, np.concatenate([v.like for v in wholes]), axis=0)
    return [step], step.output, wholes


def _runs(parts: Any, writer: Writer) -> Iterator[tuple[Any, int, int]]:
    """Parts as rows of arrays, those that follow each other in one array together."""
    base, low, high = None, 0, 0
    for part in parts:
        made = writer.made.get(part) if isinstance(part, Value) else None
        rows = rows_taken(made) if made is not None else None
        if made is not None and rows is not None:
            of, start, stop = made.inputs[0], rows.start, rows.stop
        else:
            of, start, stop = part, 0, len(part.like if isinstance(part, Value) else part)
        if base is not None and of is base and start == high:
            high = stop
            continue
        if base is not None:
            yield base, low, high
        base, low, high = of, start, stop
    if base is not None:
        yield base, low, high
