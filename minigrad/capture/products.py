"""Matrix products: fewer of them, on operands laid out as BLAS likes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from .program import Program, Step, Value
from .rewriting import Writer, in_order, independent, rows_taken
from .sums import is_product, laid_out, slices

WIDE = 16
"""To lay an operand out anew costs what so few columns of a product cost."""
MANY = 8
"""Or it pays if so many products use it."""
SMALL, TINY = 8e6, 1e6
"""Products of fewer multiplications are cut into some of so few at most: OpenBLAS then packs nothing."""


def products_merged(program: Program) -> Program:
    """Reassociating: products with the same right operand that do not need each other become one,
    ``[A₁; A₂; …] B``: the gates of a cell, or the input of all time steps.  The same for a left one."""
    for side in (1, 0):
        program = _merged(program, side)
    return program


def _merged(program: Program, side: int) -> Program:
    writer = Writer(program)
    instead: dict[Value, list[Step]] = {}
    gone: set[Value] = set()
    batches = [b for b in independent(program, _sharing(program, side)) if len(b) > 1]
    again = Counter(frozenset(s.inputs[1 - side] for s in b) for b in batches)
    for batch in batches:
        batch[:] = [batch[k] for k in writer.sorted([s.inputs[1 - side] for s in batch])]
        common, others = batch[0].inputs[side], [s.inputs[1 - side] for s in batch]
        wide = common.like.shape[side] if common.like.ndim == 2 else 1
        if wide >= WIDE or again[frozenset(others)] >= MANY:
            first = min(batch, key=lambda s: s.output.number)
            instead[first.output] = list(_one(batch, common, others, side, writer))
            gone |= {s.output for s in batch}
    steps: list[Step] = []
    for step in program.steps:
        steps += instead.get(step.output, () if step.output in gone else (step,))
    try:
        return program.with_steps(in_order(steps, writer.made))
    except ValueError:  # two batches that need each other
        return program


def _one(batch: list[Step], common: Any, others: list[Any], side: int, writer: Writer) -> Iterator[Step]:
    """One product, and each of the former ones as a slice of it."""
    axis = 1 - side
    steps, other = laid_out(others, axis, writer)
    yield from steps
    operands = (other, common) if side else (common, other)
    like = np.concatenate([s.output.like for s in batch], axis=axis)
    yield (whole := writer.step("matmul", operands, like))
    yield from slices(whole.output, [step.output for step in batch], axis, writer)


def _sharing(program: Program, side: int) -> list[list[Step]]:
    """Products by the operand that they have in common."""
    found: dict[Any, list[Step]] = {}
    for step in program.steps:
        if is_product(step) or (side == 1 and _is_of_vector(step)):
            other = step.inputs[1 - side].like.dtype
            found.setdefault((step.inputs[side], other), []).append(step)
    return list(found.values())


def _is_of_vector(step: Step) -> bool:
    return step.op.name == "matmul" and all(isinstance(x, Value) for x in step.inputs) and [
        np.ndim(x.like) for x in step.reads] == [2, 1]  # fmt: skip


def products_narrowed(program: Program) -> Program:
    """Reassociating: rows of a product that nobody reads are not computed, such as the cotangent of a
    constant that stands below others."""
    writer = Writer(program)
    readers: dict[Value, list[Step]] = {}
    for step in program.steps:
        for x in step.reads:
            readers.setdefault(x, []).append(step)
    results = set(program.results)
    for step in program.steps:
        rows = [rows_taken(r) for r in readers.get(step.output, ())] if is_product(step) else []
        if not rows or None in rows or step.output in results:
            continue
        low, high = min(r.start for r in rows if r), max(r.stop for r in rows if r)
        left, right = step.inputs
        if high - low == len(left.like):
            continue
        kept = (slice(low, high),)
        part = writer.step("getitem", (left,), left.like[kept], looks_at=(0,), index=kept)
        narrow = writer.step("matmul", (part.output, right), step.output.like[kept].copy())
        for reader, r in zip(readers[step.output], rows, strict=True):
            index = (slice(r.start - low, r.stop - low),)  # type: ignore[union-attr]
            writer.step("getitem", (narrow.output,), output=reader.output, looks_at=(0,), index=index)
    return program.with_steps(in_order(writer.made.values(), writer.made)) if len(writer.made) > len(program.steps) else program


def transposes_packed(program: Program) -> Program:
    """Reassociating: a left factor of many products whose rows do not lie together is laid out anew."""
    uses = Counter(step.inputs[0] for step in program.steps if is_product(step))
    writer = Writer(program)
    packed: dict[Value, Value] = {}
    steps: list[Step] = []
    for step in program.steps:
        if is_product(step) and step.inputs[0] in packed:
            step = replace(step, inputs=(packed[step.inputs[0]], step.inputs[1]))
        steps.append(step)
        if uses[step.output] >= MANY and not step.output.like.flags.c_contiguous:
            steps.append(writer.step("copy", (step.output,), step.output.like.copy()))
            packed[step.output] = steps[-1].output
    return program.with_steps(steps)


def products_cut(program: Program) -> Program:
    """Reassociating: a small product is cut into rows of blocks, in one call."""
    writer = Writer(program)
    steps: list[Step] = []
    for step in program.steps:
        parts = _parts_of(step)
        if parts == 1:
            steps.append(step)
            continue
        left, right = step.inputs
        (m, k), n = left.like.shape, right.like.shape[1]
        blocks = left.like.reshape(parts, m // parts, k)
        made = step.output.like.reshape(parts, m // parts, n)
        steps.append(writer.step("reshape", (left,), blocks, looks_at=(0,), shape=blocks.shape))
        steps.append(writer.step("matmul", (steps[-1].output, right), made))
        steps.append(writer.step("reshape", (steps[-1].output,), output=step.output, looks_at=(0,), shape=(m, n)))
    return program.with_steps(steps)


def _parts_of(step: Step) -> int:
    if not is_product(step):
        return 1
    left, right = (x.like for x in step.reads)
    (m, k), n = left.shape, right.shape[1]
    if not TINY < m * k * n <= SMALL or not left.flags.c_contiguous or not step.output.like.flags.c_contiguous:
        return 1
    return next((p for p in range(2, 17) if m % p == 0 and m * k * n <= p * TINY), 1)
