"""Which values of a hand-written forward pass are wrong by themselves, and why.

The same idea as in the reverse pass: each given value is held against what the recorded stages
make of the given values before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..errors import DependencyError
from ..graph import Node
from ..op import OPS, Op
from .chain import Array, Chain
from .slips import Diagnosis, Kind, bare, collapsed, multiple
from .steps import step_of
from .upstream import Upstream, Values


def diagnose_value(chain: Chain, upstream: Upstream, values: Values, got: Array, expected: Array,
                   allowed: float) -> Diagnosis:  # fmt: skip
    """The first slip that gives a wrong value."""

    def fits(candidate: Any) -> bool:
        if candidate is None or np.shape(candidate) != got.shape:
            return False
        return bool(np.all(np.abs(candidate - got) <= allowed))

    node = upstream.node
    name = chain.names.get(node, node.label)
    here = step_of(name)
    for its_name, other in chain.nodes.items():
        there = step_of(its_name)
        if other is not node and type(other.value) is not tuple and fits(values.get(other, other.value)):
            if any(other in stage.inputs for stage in upstream.stages):
                continue  # its own input: a stage was left out
            kind = Kind.TIME_SHIFT if here.family == there.family else Kind.NEIGHBOUR
            return Diagnosis(kind, f"it is {its_name}, not {name}")
    k = multiple(got, expected, allowed)
    if k is not None:
        if abs(k + 1) < 1e-9:
            return Diagnosis(Kind.SIGN, "the sign is wrong")
        return Diagnosis(Kind.FACTOR, f"it is {k:.6g} times what it should be")
    if got.ndim == 2 and fits(expected.T):
        return Diagnosis(Kind.TRANSPOSE, f"it is the transpose of {name}")
    for stage in reversed(upstream.stages):
        for kind, words, function in _alternatives(stage):
            try:
                if fits(upstream.run(values, {stage: function})):
                    return Diagnosis(kind, words, f"{stage.op.name} of {name}" if stage.op else name)
            except (ValueError, TypeError, IndexError, DependencyError):  # such a slip cannot be made here
                continue
        for kind, words, changed in _other_operands(chain, stage, values):
            if fits(upstream.run(values, {stage: changed})):
                return Diagnosis(kind, words, f"{stage.op.name} of {name}" if stage.op else name)
    return Diagnosis(Kind.UNKNOWN, "no slip that is known here gives these numbers")


Alternative = tuple[Kind, str, Callable[..., Any]]


def _alternatives(stage: Node) -> Iterator[Alternative]:
    """What people write in place of a stage."""
    op = stage.op
    assert op is not None
    if op.elementwise and op.arity == 1:
        yield Kind.FORGOTTEN, f"{op.name} is left out", lambda x: x
        yield (Kind.ACTIVATED, f"{op.name} is applied twice",
               lambda x: op.forward(op.forward(x, **stage.params), **stage.params))  # fmt: skip
        for other in OPS.values():
            if other is not op and other.elementwise and other.arity == 1 and other.passes(0) and bare(other):
                yield Kind.FUNCTION, f"{other.name} stands where {op.name} belongs", _forward(other)
    elif len(stage.inputs) == 2 and op.name in ("multiply", "add", "subtract", "matmul"):
        if op.name == "multiply":
            yield Kind.DOT, "numpy.dot stands where ⊙ belongs: one number", lambda a, b: collapsed(a * b, None)
            yield Kind.DOT, "the product is summed over the features, where ⊙ belongs", lambda a, b: collapsed(a * b, 0)
        for other_name in ("add", "subtract", "multiply"):
            if other_name != op.name:
                kind = {"add": Kind.SUM_FOR_PRODUCT, "subtract": Kind.SIGN, "multiply": Kind.PRODUCT_FOR_SUM}[other_name]
                yield kind, f"{other_name} stands where {op.name} belongs", OPS[other_name].forward
        for k in (0, 1):
            left_out = stage.inputs[1 - k]
            shown = left_out.name if left_out is not None and left_out.name else f"operand {2 - k} of {op.name}"
            yield Kind.DROPPED, f"{shown} is left out", lambda a, b, k=k: np.broadcast_to((a, b)[k], stage.value.shape)
        if op.name == "matmul":
            yield Kind.TRANSPOSE, "the first factor is transposed", lambda a, b: np.swapaxes(a, -1, -2) @ b
    elif op.variadic:
        yield (Kind.ORDER, f"the inputs of {op.name} stand in the other order",
               lambda *xs: op.forward(*xs[::-1], **stage.params))  # fmt: skip


def _forward(op: Op) -> Callable[..., Any]:
    params = {k: p.default for k, p in op.signature.parameters.items() if p.kind == p.KEYWORD_ONLY}
    return lambda x: op.forward(x, **params)


def _other_operands(chain: Chain, stage: Node, values: Values) -> Iterator[Alternative]:
    """Another named value in place of an input."""
    op = stage.op
    assert op is not None
    for j, operand in enumerate(stage.inputs):
        if operand is None:
            continue
        here = step_of(chain.names.get(operand))
        for name, other in chain.nodes.items():
            there = step_of(name)
            near = (here.t is None) == (there.t is None) and abs((here.t or 0) - (there.t or 0)) <= 1
            if other is operand or not near or np.shape(other.value) != np.shape(operand.value):
                continue

            def changed(*inputs: Any, j: int = j, other: Node = other) -> Any:
                at = list(inputs)
                at[j] = values.get(other, other.value)
                return op.forward(*at, **stage.params)

            kind = Kind.TIME_SHIFT if here.family == there.family else Kind.NEIGHBOUR
            yield kind, f"{name} stands where {chain.names.get(operand, f'operand {j + 1}')} belongs", changed
