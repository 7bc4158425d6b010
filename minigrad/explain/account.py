"""What each box of a sketch computes, hands back and receives, as formulas in the names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..graph import Node
from ..op import OPS
from .algebra import build
from .expression import Expr, Number, Symbol
from .sketch import Box, Sketch
from .trace import Edge, Trace


@dataclass(frozen=True)
class Local:
    """The derivative of a box with respect to one of its named inputs.

    Attributes
    ----------
    name : str
        Of the input.
    expr : Expr
        The derivative itself: for an elementwise box what stands on the diagonal, ``∂c<2>/∂c<1> =
        Γ_f<2>``, for a scalar the gradient; for another what it makes of its adjoint,
        ``W_fᵀ @ δsum_f<2>``.
    itself : bool
        Which of the two.
    """

    name: str
    expr: Expr
    itself: bool


@dataclass(frozen=True)
class Account:
    """The formulas of a box.

    Attributes
    ----------
    forward : Expr or None
        None for what is given.
    local : tuple of Local
    contributions : tuple of Expr
        What meets in its adjoint, an expression for each entry of its ledger.
    """

    forward: Expr | None
    local: tuple[Local, ...]
    contributions: tuple[Expr, ...]


def accounts(sketch: Sketch) -> dict[Box, Account]:
    """The formulas of every box."""
    trace = Trace(sketch.y, sketch.seed)
    boxes = {box.node: box for box in sketch.boxes}
    symbols = {node: Symbol(box.name, np.shape(node.value)) for node, box in boxes.items()
               if not box.sign and type(node.value) is not tuple}  # fmt: skip
    values, forward = formulas(trace, symbols)
    adjoints: dict[Node, Expr] = {}
    parts: dict[Node, tuple[Expr, ...]] = {}
    for node in reversed(trace.nodes):
        parts[node] = tuple(trace.contribution(edge, values, adjoints) for edge in trace.edges.get(node, ()))
        if node in symbols:
            adjoints[node] = Symbol("δ" + symbols[node].name, symbols[node].shape)
        elif parts[node]:
            adjoints[node] = _sum(parts[node])
    return {box: Account(forward.get(box.node), tuple(local_derivatives(box.node, trace, values, symbols)), parts[box.node])
            for box in sketch.boxes}  # fmt: skip


def formulas(trace: Trace, symbols: Mapping[Node, Symbol]) -> tuple[dict[Node, Expr], dict[Node, Expr]]:
    """What stands for each value where it is used, and what each stage computes, in the symbols."""
    values: dict[Node, Expr] = {}
    forward: dict[Node, Expr] = {}
    for node in trace.nodes:
        if node.op is not None:
            forward[node] = trace.value(node, values)
        values[node] = symbols.get(node) or (forward[node] if node in forward else trace.constant(node.value))
    return values, forward


def _sum(parts: tuple[Expr, ...]) -> Expr:
    total = parts[0]
    for part in parts[1:]:
        total = build(OPS["add"], (total, part), {}, part.shape)
    return total


def local_derivatives(start: Node, trace: Trace, values: Mapping[Node, Expr],
                      symbols: Mapping[Node, Symbol]) -> list[Local]:  # fmt: skip
    """A value by itself: its adjoint goes back as far as the next names."""
    if start.op is None or start not in trace.cotangents:
        return []
    inner, queue = {start}, [start]
    while queue:
        fresh = {p for p in queue.pop().inputs if p is not None and p.op is not None and p not in symbols} - inner
        inner |= fresh
        queue += fresh
    edges: dict[Node, list[Edge]] = {}
    for node in {p for n in inner for p in n.inputs if p is not None}:
        found = [edge for edge in trace.edges.get(node, ()) if edge.consumer in inner]
        if found:
            edges[node] = found
    shape = np.shape(start.value)
    diagonal = all(n.op is not None and n.op.elementwise for n in inner) and all(
        np.shape(n.value) == shape for n in {*inner, *edges})  # fmt: skip
    itself = diagonal or shape == ()
    symbol = symbols.get(start)
    seed: Expr = Number(1, shape) if itself else Symbol("δ" + (symbol.name if symbol else ""), shape)
    beside = {user for n in inner if type(n.value) is tuple for user, _ in trace.uses[n]}  # other outputs of a stage
    adjoints: dict[Node, Expr] = {**{n: Number(0, np.shape(n.value)) for n in beside}, start: seed}
    local = []
    for node in sorted(edges, key=lambda n: -n.serial):
        expr = _sum(tuple(trace.contribution(edge, values, adjoints) for edge in edges[node]))
        if node in symbols:
            local.append(Local(symbols[node].name, expr, itself))
        else:
            adjoints[node] = expr
    return local[::-1]
