"""Stages that are written in NumPy, laid open: the stages that they are written in.

The forward function of an op runs on tensors as it runs on arrays, and then says what it is made of.
What its rule computes once more, the spread of a layer norm, say, is there to be shared.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..boundary import SCALARS
from ..mode import recording
from ..op import BUILT_IN
from ..tensor import Tensor, constant
from .program import Program, Step, Value
from .rewriting import Writer


def laid_open(program: Program) -> Program:
    """Exact: a stage written in NumPy becomes the stages that it is written in.  Not a user's: nobody knows
    what it reads besides, and that would be frozen."""
    if not any(map(_may_open, program.steps)):
        return program
    writer = Writer(program)
    closed: set[Any] = set()  # ops that are found to be made of nothing else
    steps: list[Step] = []
    for step in program.steps:
        parts = None
        if step.op not in closed and _may_open(step):
            parts = _parts(step, writer)
            if parts is None:
                closed.add(step.op)
        steps += parts or (step,)
    return program.with_steps(steps)


def _may_open(step: Step) -> bool:
    return (type(step.output.like) is np.ndarray and step.op.into is None and step.op.name in BUILT_IN
            and not step.looks_at and not step.draws)  # fmt: skip


def _parts(step: Step, writer: Writer) -> list[Step] | None:
    """What a step is made of, to the same bits; None if it is made of nothing else."""
    inputs = [constant(x.like) if isinstance(x, Value) and isinstance(x.like, (np.ndarray, np.generic)) else x
              for x in step.inputs]  # fmt: skip
    if any(isinstance(x, Value) for x in inputs):
        return None
    try:
        with recording() as tape, np.errstate(all="ignore"):
            made = step.op.forward(*inputs, **step.params)
    except Exception:  # it asks for a value, or for a function that tensors do not know
        return None
    like = step.output.like
    if not isinstance(made, Tensor) or len(tape) < 2 or made._node is not tape[-1] or any(n.op is step.op for n in tape):
        return None
    plain = [raw for node in tape for parent, raw in zip(node.inputs, node.values or (), strict=True) if parent is None]
    if not all(type(raw) in SCALARS or any(raw is x for x in step.inputs) for raw in plain):
        return None  # an array that was made of a value, for all one knows
    if made.data.tobytes() != like.tobytes() or made.data.strides != like.strides:
        return None
    values = {x._node: v for x, v in zip(inputs, step.inputs, strict=True) if isinstance(x, Tensor)}
    parts = []
    for node in tape:
        assert node.op is not None
        assert node.values is not None
        operands = [raw if parent is None else values.get(parent, raw) for parent, raw in zip(node.inputs, node.values, strict=True)]
        looks_at = tuple(i for i, raw in enumerate(node.values) if isinstance(raw, np.ndarray)
                         and isinstance(node.value, np.ndarray) and np.may_share_memory(raw, node.value))  # fmt: skip
        part = writer.step(node.op.name, operands, node.value, step.output if node is tape[-1] else None, looks_at=looks_at, **node.params)
        values[node] = part.output
        parts.append(part)
    return parts
