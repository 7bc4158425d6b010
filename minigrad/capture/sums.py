"""A sum of many terms of one kind, the gradient of what is used at every time step, as one step.

====================================  ======================================================
the terms                             the sum
====================================  ======================================================
products ``A₁ B₁ + A₂ B₂ + …``        one product of what is laid side by side, ``[A₁ A₂ …] [B₁; B₂; …]``
rows ``scatter(g₁) + scatter(g₂)…``   ``stack(g₁, g₂, …)``
``sum_to(g₁) + sum_to(g₂) + …``       ``sum_to([g₁ g₂ …])``
``f(x₁) + f(x₂) + …``                 ``f(x₁ + x₂ + …)``, if f only rearranges
====================================  ======================================================
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from .program import Program, Step, Value
from .rewriting import Writer, in_order

FEW = 3
"""From so many terms on they are joined."""
REARRANGING = ("reshape", "permute_dims", "matrix_transpose")

Joined = Callable[[list[Step], Writer], Iterator[Step]]


def sums_joined(program: Program) -> Program:
    """Reassociating: at least `FEW` terms of one kind become one step."""
    for last in (False, True):  # sums take the order in which products have laid their terms out
        while (found := _joined_once(program, last)) is not program:
            program = found  # what f(x₁) + f(x₂) leaves is a sum again
    return program


def _joined_once(program: Program, sums_too: bool) -> Program:
    writer = Writer(program)
    made, uses = writer.made, writer.uses
    inside = {x for step in program.steps if step.op.name == "add" for x in step.reads
              if x in made and made[x].op.name == "add" and uses[x] == 1}  # fmt: skip
    steps: list[Step] = []
    gone: set[Value] = set()
    for step in program.steps:
        if step.op.name != "add" or step.output in inside:
            steps.append(step)
            continue
        terms = list(_terms(step, made, inside))
        groups: dict[Hashable, list[Value]] = {}
        kinds = {}
        for term in terms if len(terms) >= FEW else ():
            if isinstance(term, Value) and term in made and uses[term] == 1 and _alike(term, step.output):
                key, kind = _kind(made[term])
                if kind is not None and (sums_too or kind is not _one_sum):
                    groups.setdefault(key, []).append(term)
                    kinds[key] = kind
        groups = {key: group for key, group in groups.items() if len(group) >= FEW}
        if not groups:
            steps.append(step)
            continue
        joined = {term for group in groups.values() for term in group}
        sums: list[Any] = [term for term in terms if not (isinstance(term, Value) and term in joined)]
        for key, group in groups.items():
            new = list(kinds[key](_sorted([made[term] for term in group], writer), writer))
            steps += new
            sums.append(new[-1].output)
        gone |= joined
        if len(sums) == 1:
            steps[-1] = made[step.output] = replace(steps[-1], output=step.output)
        else:
            steps += added(sums, writer, step.output)
    return program.with_steps(in_order([s for s in steps if s.output not in gone], made)) if gone else program


def _sorted(terms: list[Step], writer: Writer) -> list[Step]:
    """By the operand that is there first: the weights of the gates, the values of the time steps."""
    operands = min(zip(*(t.inputs for t in terms), strict=True), key=lambda xs: min(map(writer.age, xs)))
    return [terms[k] for k in writer.sorted(list(operands))]


def _terms(step: Step, made: dict[Value, Step], inside: set[Value]) -> Iterator[Any]:
    """The summands of a tree of additions, in their order."""
    stack = list(reversed(step.inputs))
    while stack:
        x = stack.pop()
        if isinstance(x, Value) and x in inside and _alike(x, step.output):
            stack += reversed(made[x].inputs)
        else:
            yield x


def _alike(a: Value, b: Value) -> bool:
    return bool(a.like.shape == b.like.shape and a.like.dtype == b.like.dtype)


def added(terms: list[Any], writer: Writer, output: Value) -> Iterator[Step]:
    """A sum; its last step makes `output`."""
    total = terms[0]
    for k, term in enumerate(terms[1:], start=2):
        step = writer.step("add", (total, term), output.like, output if k == len(terms) else None)
        yield step
        total = step.output


def _kind(step: Step) -> tuple[Hashable, Joined | None]:
    """What a term is, equal for those that can be joined, and how they are."""
    name, inputs = step.op.name, step.inputs
    if not all(isinstance(x, Value) and isinstance(x.like, np.ndarray) for x in inputs):
        return None, None
    shapes = tuple(x.like.shape for x in inputs)
    kinds = shapes, tuple(x.like.dtype for x in inputs)
    if is_product(step):
        return (name, kinds), _one_product
    if name == "scatter" and len(inputs) == 1 and len(step.params["index"]) == 1 and type(step.params["index"][0]) is int:
        return (name, kinds, step.params["shape"]), _stacked
    if name == "sum_to" and inputs[0].like.ndim == 2 and step.params["shape"] != shapes[0]:
        return (name, kinds, step.params["shape"]), _one_sum
    if name in REARRANGING:
        return (name, kinds, str(step.params)), _rearranged_last
    return None, None


def is_product(step: Step | None) -> bool:
    return step is not None and step.op.name == "matmul" and all(
        isinstance(x, Value) and np.ndim(x.like) == 2 for x in step.inputs)  # fmt: skip


def _one_product(products: list[Step], writer: Writer) -> Iterator[Step]:
    left, A = laid_out([p.inputs[0] for p in products], 1, writer)
    right, B = laid_out([p.inputs[1] for p in products], 0, writer)
    yield from (*left, *right, writer.step("matmul", (A, B), products[0].output.like))


def laid_out(parts: list[Any], axis: int, writer: Writer) -> tuple[list[Step], Value]:
    """Matrices side by side: the steps, and the whole.

    Transposes are laid above each other first, and transposed together.  Rows of columns are columns
    of rows, where those are there already: the rows are then slices of the whole.
    """
    turned = [writer.made_as(x, "matrix_transpose") for x in parts]
    if all(turned):
        steps, whole = laid_out([t.inputs[0] for t in turned if t is not None], 1 - axis, writer)
        last = writer.step("matrix_transpose", (whole,), whole.like.mT, looks_at=(0,))
        return [*steps, last], last.output
    nested = [n for n in (writer.made_as(x, "concat") for x in parts) if n is not None and n.params.get("axis", 0) == 1 - axis]
    columns = [writer.joins.get((axis, column)) for column in zip(*(n.inputs for n in nested), strict=False)]
    if len(nested) == len(parts) and columns and all(columns):
        last = _concat(columns, 1 - axis, writer)
        return [last, *slices(last.output, parts, axis, writer)], last.output
    there = writer.joins.get((axis, tuple(parts)))
    if there is not None:
        return [], there
    last = _concat(parts, axis, writer)
    return [last], last.output


def slices(whole: Value, parts: list[Any], axis: int, writer: Writer) -> Iterator[Step]:
    """Each of the values that were joined into `whole`, made anew as a slice of it."""
    start = 0
    for part in parts:
        stop = start + part.like.shape[axis]
        index = (*(slice(None),) * axis, slice(start, stop))
        yield writer.step("getitem", (whole,), output=part, looks_at=(0,), laid=whole.like[index], index=index)
        start = stop


def _concat(parts: list[Any], axis: int, writer: Writer) -> Step:
    return writer.step("concat", parts, np.concatenate([x.like for x in parts], axis=axis), axis=axis)


def _stacked(scatters: list[Step], writer: Writer) -> Iterator[Step]:
    shape = scatters[0].params["shape"]
    rows: dict[int, Any] = {}
    for s in scatters:
        k = s.params["index"][0] % shape[0]
        if k in rows:
            yield (both := writer.step("add", (rows[k], s.inputs[0]), s.inputs[0].like))
            rows[k] = both.output
        else:
            rows[k] = s.inputs[0]
    like = scatters[0].output.like
    zeros = np.zeros(shape[1:], like.dtype)
    yield writer.step("stack", [rows.get(k, zeros) for k in range(shape[0])], np.empty(shape, like.dtype), axis=0)


def _one_sum(sums: list[Step], writer: Writer) -> Iterator[Step]:
    shape, (rows, _) = sums[0].params["shape"], sums[0].inputs[0].like.shape
    axis = 0 if len(shape) < 2 or shape[0] == 1 != rows else 1
    steps, whole = laid_out([s.inputs[0] for s in sums], axis, writer)
    yield from (*steps, writer.step("sum_to", (whole,), sums[0].output.like, shape=shape))


def _rearranged_last(views: list[Step], writer: Writer) -> Iterator[Step]:
    like = np.empty_like(views[0].inputs[0].like, order="C")
    steps = list(added([v.inputs[0] for v in views], writer, writer.value(like)))
    yield from steps
    total, first = steps[-1].output, views[0]
    made = first.op.forward(like, **first.params)
    yield writer.step(first.op.name, (total,), made, looks_at=(0,) if np.may_share_memory(made, like) else (), **first.params)
