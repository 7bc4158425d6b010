"""The forward pass of tangents: how each stage of a recorded graph moves when its inputs do.

A stage's tangent comes from what its record says of it, in this order: a `jvp` of its own;
`linear` (the forward function itself carries the tangent); `elementwise` (the Jacobian is
diagonal, so a rule is its own transpose); else from the rules, by differentiating them: a
rule is linear in the cotangent, and the transpose of that linear map is what is wanted.
Only the first two know nothing of the rules and can bear witness against them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .backward import cast, pick, zero_law
from .boundary import SCALARS
from .graph import Node, newest_first
from .mode import enable_grad
from .op import Op
from .tensor import Tensor, constant, handles, pull, tensor

Tangents = tuple[Any, ...]


def independent(op: Op) -> bool:
    """Whether the op's tangent is computed without its rules, and so can be held against them."""
    return op.jvp is not None or bool(op.linear)


def pushforward(outputs: list[Node], tangents: dict[Node, Any], *, lift: bool) -> list[Any]:
    """Tangents of some nodes from those of others.

    Parameters
    ----------
    outputs : list of Node
    tangents : dict of Node -> array or Tensor
        How the variables move; every other leaf stays.
    lift : bool
        Compute on tensors, so that the tangents can be differentiated.

    Returns
    -------
    list
        One tangent for each output; None where nothing moves.
    """
    table: dict[Node, Any] = dict(tangents)
    for node in reversed(newest_first(*outputs)):
        if node in table or node.op is None:
            continue
        moves = [None if p is None else table.get(p) for p in node.inputs]
        if all(move is None for move in moves):
            continue
        if node.op is pick:
            (several,) = moves  # the tangents of all outputs
            table[node] = several[node.params["i"]]  # type: ignore[index]
            continue
        assert node.values is not None  # this graph is our own and was never freed
        y, values = handles(node) if lift else (node.value, node.values)
        table[node] = tangent(node.op, moves, y, values, node.params)
    return [table.get(node) for node in outputs]


def tangent(op: Op, moves: list[Any], y: Any, values: Any, params: dict[str, Any]) -> Any:
    """The tangent of one stage; `moves` has one for each input, None where it stays."""
    if op.jvp is not None:
        return op.jvp(tuple(_or_zeros(t, x) for t, x in zip(moves, values, strict=True)),
                      y, *values, **params)  # fmt: skip
    if op.linear == "jointly":
        return op(*(_or_zeros(t, x) if moves_with(op, i, x) else x
                    for i, (t, x) in enumerate(zip(moves, values, strict=True))), **params)  # fmt: skip
    parts = [(i, t) for i, t in enumerate(moves) if t is not None and moves_with(op, i, values[i])]
    if op.linear == "each":
        return _sum([op(*values[:i], t, *values[i + 1 :], **params) for i, t in parts])
    if op.elementwise:
        total = _sum([_diagonal(op, i, t, y, values, params) for i, t in parts])
        return total if total.shape == y.shape else np.broadcast_to(total, y.shape)
    return _by_rules(op, parts, y, values, params)


def moves_with(op: Op, i: int, x: Any) -> bool:
    """Whether input `i` is one of those that the op is differentiated by."""
    return op.passes(i) and (type(x) in SCALARS or x.dtype.kind == "f")


def _or_zeros(t: Any, x: Any) -> Any:
    if t is not None:
        return t
    return 0 if type(x) in SCALARS else np.zeros(x.shape, x.dtype)


def _sum(parts: list[Any]) -> Any:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _diagonal(op: Op, i: int, t: Any, y: Any, values: Any, params: dict[str, Any]) -> Any:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        c = op.cotangent(i, t, y, values, params)
        return zero_law(c, t) if op.singular else c


def _by_rules(op: Op, parts: list[Any], y: Any, values: Any, params: dict[str, Any]) -> Any:
    """The transpose of the map from a cotangent `g` to those of the inputs."""
    lift = any(isinstance(v, Tensor) for v in (*values, *(t for _, t in parts)))
    several = isinstance(y, tuple)
    with enable_grad(), np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        gs = [tensor(np.zeros(part.shape, part.dtype), requires_grad=True) for part in (y if several else (y,))]
        # a bare number stays one, or a half float would meet a float64
        inputs = [v if isinstance(v, Tensor) or type(v) in SCALARS else constant(v) for v in values]
        outs = y if lift else tuple(map(constant, y)) if several else constant(y)
        cotangents, seeds = [], []
        for i, t in parts:
            c = op.cotangent(i, tuple(gs) if several else gs[0], outs, inputs, params)
            if isinstance(c, Tensor) and c.requires_grad:
                cotangents.append(c)
                t = t if c.dtype == t.dtype else cast(t, dtype=c.dtype)
                seeds.append(t if c.shape == t.shape else np.broadcast_to(t, c.shape))
        found = pull(cotangents, seeds, wanted={g._node for g in gs}, record=lift) if cotangents else {}
    moved = [found[g._node][0] if g._node in found else g.data for g in gs]
    return tuple(moved) if several else moved[0]
