"""Passes over the steps of a Program; each is a small pure function, Program to Program.

A pass is `exact`, every bit stays, or `reassociating`, the result is the same within rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any

import numpy as np

from .memory import JOINING, Homes, is_joining, parts_of
from .opening import laid_open
from .products import products_cut, products_merged, products_narrowed, transposes_packed
from .program import Operand, Program, Step, Value
from .rewriting import Writer, by_bits
from .stages import stages_merged
from .sums import sums_joined

Pass = Callable[[Program], Program]
SILENT = ("alias",)
"""Ops that hand their input on as it is."""


def forwarded(program: Program) -> Program:
    """Exact: what only hands a value on is left out."""
    stands: dict[Value, Operand] = {}
    steps = []
    for step in _renamed(program.steps, stands):
        if step.op.name in SILENT:
            stands[step.output] = step.inputs[0]
        else:
            steps.append(step)
    return _with_results(program.with_steps(steps), stands)


def folded(program: Program) -> Program:
    """Exact: what depends on constants alone is computed once, when recording."""
    constants = dict(program.constants)
    steps = []
    for step in program.steps:
        if step.draws or not constants.keys() >= set(step.reads):
            steps.append(step)
        else:
            constants[step.output] = step.output.like
    return replace(program, constants=constants, steps=tuple(steps))


def shared(program: Program) -> Program:
    """Exact: what is computed twice is computed once."""
    known: dict[Hashable, Value] = {}
    stands: dict[Value, Operand] = {}
    steps = []
    for step in _renamed(program.steps, stands):
        key = None if step.draws else _key(step)
        if key is not None and key in known:
            stands[step.output] = known[key]
            continue
        if key is not None:
            known[key] = step.output
        steps.append(step)
    return _with_results(program.with_steps(steps), stands)


def alive(program: Program) -> Program:
    """Exact: what nothing needs is not computed, nor read."""
    needed = set(program.results)
    steps = []
    for step in reversed(program.steps):
        if step.output in needed or step.draws:  # a draw moves its generator on
            steps.append(step)
            needed.update(step.reads)
    return replace(program, steps=tuple(reversed(steps)),
                   sources={v: s for v, s in program.sources.items() if v in needed or s.kind == "argument"},
                   constants={v: c for v, c in program.constants.items() if v in needed})  # fmt: skip


def joined_early(program: Program) -> Program:
    """Exact: a slice that is joined with others is copied there when it is taken; what it was taken from
    lives no longer than it must."""
    if not any(step.op.name in JOINING for step in program.steps):
        return program
    homes, writer = Homes(program, exact=True), Writer(program)
    copies: dict[Value, Step] = {}
    joined: dict[Value, Step] = {}
    for step in program.steps:
        if not is_joining(step) or not homes.owns(step):
            continue
        inputs = list(step.inputs)
        for i, part in enumerate(parts_of(step, step.output.like)):
            x = step.inputs[i]
            if (isinstance(x, Value) and x in writer.made and writer.made[x].looks_at and x not in copies
                    and all(v in writer.made for v in homes.owners[x])
                    and part.strides == np.empty(x.like.shape, x.like.dtype).strides):  # fmt: skip
                copies[x] = writer.step("copy", [x], x.like.copy())
                inputs[i] = copies[x].output
        joined[step.output] = replace(step, inputs=tuple(inputs))
    steps = []
    for step in program.steps:
        steps.append(joined.get(step.output, step))
        if step.output in copies:
            steps.append(copies[step.output])
    return program.with_steps(steps)


EXACT: tuple[Pass, ...] = (forwarded, laid_open, folded, shared, alive, joined_early)
FAST: tuple[Pass, ...] = (*EXACT[:-1], sums_joined, shared, products_merged, alive, products_narrowed, shared, stages_merged,
                          transposes_packed, products_cut, shared, alive, joined_early)  # fmt: skip


def run_passes(program: Program, passes: tuple[Pass, ...]) -> Program:
    """One pass after the other."""
    for each in passes:
        program = each(program)
    return program


def _renamed(steps: tuple[Step, ...], stands: dict[Value, Operand]) -> Any:
    """The steps, reading what stands for other values by the time they run."""
    for step in steps:
        if stands and not stands.keys().isdisjoint(step.reads):
            step = replace(step, inputs=tuple(stands.get(x, x) if isinstance(x, Value) else x for x in step.inputs))
        yield step


def _with_results(program: Program, stands: dict[Value, Operand]) -> Program:
    return replace(
        program,
        outputs=tuple(stands.get(x, x) if isinstance(x, Value) else x for x in program.outputs),
        effects=tuple(replace(e, value=stands.get(e.value, e.value) if isinstance(e.value, Value) else e.value)
                      for e in program.effects))  # fmt: skip


def _key(step: Step) -> Hashable:
    """Equal for steps that compute the same; None if that cannot be told."""
    try:
        inputs = tuple(x if isinstance(x, Value) else by_bits(x) for x in step.inputs)
        params = tuple(sorted((k, by_bits(v)) for k, v in step.params.items()))
        hash((inputs, params))
    except TypeError:
        return None
    return step.op.name, inputs, params
