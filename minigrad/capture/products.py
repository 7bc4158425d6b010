"""Matrix products: fewer of them, on operands laid out as BLAS likes them.

A sum of products is one product of matrices laid side by side, ``A₁ B₁ + A₂ B₂ + … = [A₁ A₂ …] [B₁; B₂; …]``:
the gradient of a weight that is used at every time step.  A transposed weight that takes part in
many products is copied once, since a product with rows that lie together is up to a quarter faster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ..op import OPS
from .program import Program, Step, Value

FEW = 3
"""From so many products on they are joined."""
MANY = 8
"""From so many products on a transpose is copied."""


def products_joined(program: Program) -> Program:
    """Reassociating: sums of at least `FEW` products of like shapes become one product."""
    made = {step.output: step for step in program.steps}
    uses = Counter(x for step in program.steps for x in step.reads)
    uses.update(program.results)
    inside = {x for step in program.steps if step.op.name == "add" for x in step.reads
              if x in made and made[x].op.name == "add" and uses[x] == 1}  # fmt: skip
    steps: list[Step] = []
    fresh = Numbers(program)
    gone: set[Value] = set()
    for step in program.steps:
        if step.op.name == "add" and step.output not in inside:
            terms = list(_terms(step, made, inside))
            groups: dict[Any, list[Value]] = {}
            for term in terms:
                if isinstance(term, Value) and uses[term] == 1 and _is_product(made.get(term)):
                    groups.setdefault(tuple(x.like.shape for x in made[term].reads), []).append(term)
            joined = [g for g in groups.values() if len(g) >= FEW and made[g[0]].output.like.shape == step.output.like.shape]
            if joined:
                gone |= {term for group in joined for term in group}
                rest = [term for term in terms if not any(term is t for group in joined for t in group)]
                sums = []
                for group in joined:
                    new = list(_one_product([made[t] for t in group], made, fresh))
                    steps += new
                    sums.append(new[-1].output)
                steps += _added([*rest, *sums], step, fresh)
                continue
        steps.append(step)
    return program.with_steps([s for s in steps if s.output not in gone])


def transposes_packed(program: Program) -> Program:
    """Reassociating: a transpose that is the left factor of many products is laid out anew."""
    uses = Counter(step.inputs[0] for step in program.steps if _is_product(step))
    fresh = Numbers(program)
    packed: dict[Value, Value] = {}
    steps: list[Step] = []
    for step in program.steps:
        if _is_product(step) and step.inputs[0] in packed:
            step = replace(step, inputs=(packed[step.inputs[0]], step.inputs[1]))
        steps.append(step)
        if step.op.name == "matrix_transpose" and uses[step.output] >= MANY:
            packed[step.output] = fresh(step.output.like.copy())
            steps.append(Step(OPS["copy"], (step.output,), {}, packed[step.output]))
    return program.with_steps(steps)


def _terms(step: Step, made: dict[Value, Step], inside: set[Value]) -> Iterator[Any]:
    """The summands of a tree of additions, in their order."""
    stack = list(reversed(step.inputs))
    while stack:
        x = stack.pop()
        if isinstance(x, Value) and x in inside and made[x].output.like.shape == step.output.like.shape:
            stack += reversed(made[x].inputs)
        else:
            yield x


def _is_product(step: Step | None) -> bool:
    return step is not None and step.op.name == "matmul" and all(
        isinstance(x, Value) and np.ndim(x.like) == 2 for x in step.inputs)  # fmt: skip


def _one_product(products: list[Step], made: dict[Value, Step], fresh: Numbers) -> Iterator[Step]:
    left, right = zip(*(p.inputs for p in products), strict=True)
    operands = []
    for side, axis in ((left, 1), (right, 0)):
        sources = [made.get(x) for x in side]
        parts = [s.inputs[0] for s in sources if s is not None and s.op.name == "matrix_transpose"]
        turned = len(parts) == len(side)
        if turned:  # the transposes of what stands above each other
            axis = 1 - axis
        joined = tuple(parts) if turned else side
        like = np.concatenate([x.like for x in joined], axis=axis)
        operands.append(fresh(like))
        yield Step(OPS["concat"], joined, {"axis": axis}, operands[-1])
        if turned:
            operands.append(fresh(like.mT))
            yield Step(OPS["matrix_transpose"], (operands[-2],), {}, operands[-1], looks_at=(0,))
            del operands[-2]
    yield Step(OPS["matmul"], tuple(operands), {}, fresh(products[0].output.like))


def _added(terms: list[Any], step: Step, fresh: Numbers) -> Iterator[Step]:
    """The rest of a sum; its last step makes the value that the sum made."""
    total = terms[0]
    for k, term in enumerate(terms[1:], start=2):
        output = step.output if k == len(terms) else fresh(step.output.like)
        yield Step(OPS["add"], (total, term), {}, output)
        total = output
    if len(terms) == 1:
        yield Step(OPS["copy"], (total,), {}, step.output)


class Numbers:
    """Values that are new to a program."""

    def __init__(self, program: Program) -> None:
        known = [*program.sources, *program.constants, *(s.output for s in program.steps)]
        self.next = 1 + max((v.number for v in known), default=0)

    def __call__(self, like: Any) -> Value:
        self.next += 1
        return Value(self.next - 1, like)
