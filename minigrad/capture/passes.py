"""Passes over the steps of a Program; each is a small pure function, Program to Program.

A pass is `exact`, every bit stays, or `reassociating`, the result is the same within rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any

import numpy as np

from .products import products_cut, products_merged, products_narrowed, transposes_packed
from .program import Operand, Program, Step, Value
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
        if step.draws or not all(not isinstance(x, Value) or x in constants for x in step.inputs):
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


EXACT: tuple[Pass, ...] = (forwarded, folded, shared, alive)
FAST: tuple[Pass, ...] = (*EXACT, sums_joined, shared, products_merged, alive, products_narrowed, shared, transposes_packed, products_cut, shared, alive)


def run_passes(program: Program, passes: tuple[Pass, ...]) -> Program:
    """One pass after the other."""
    for each in passes:
        program = each(program)
    return program


def _renamed(steps: tuple[Step, ...], stands: dict[Value, Operand]) -> Any:
    """The steps, reading what stands for other values by the time they run."""
    for step in steps:
        inputs = tuple(stands.get(x, x) if isinstance(x, Value) else x for x in step.inputs)
        yield step if inputs == step.inputs else replace(step, inputs=inputs)


def _with_results(program: Program, stands: dict[Value, Operand]) -> Program:
    return replace(
        program,
        outputs=tuple(stands.get(x, x) if isinstance(x, Value) else x for x in program.outputs),
        effects=tuple((p, stands.get(g, g)) for p, g in program.effects))  # fmt: skip


def _key(step: Step) -> Hashable:
    """Equal for steps that compute the same; None if that cannot be told."""
    try:
        inputs = tuple(x if isinstance(x, Value) else _constant(x) for x in step.inputs)
        params = tuple(sorted((k, _constant(v)) for k, v in step.params.items()))
        hash((inputs, params))
    except TypeError:
        return None
    return step.op.name, inputs, params


def _constant(x: Any) -> Hashable:
    """A constant by its bits: 0.0 is not −0.0, and 1 is not 1.0 nor True."""
    if isinstance(x, (np.ndarray, np.generic)):
        if x.dtype.hasobject:
            raise TypeError
        return type(x), x.dtype.str, x.shape, x.tobytes()
    if isinstance(x, (tuple, list)):
        return type(x), tuple(map(_constant, x))
    if isinstance(x, float):
        return float, x.hex()
    if isinstance(x, slice):
        return slice, _constant((x.start, x.stop, x.step))
    return type(x), x
