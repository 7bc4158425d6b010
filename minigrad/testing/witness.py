"""A second opinion on a recorded graph: its tangents and cotangents, computed stage by stage
from the ops' `forward` functions, in extended precision, without Tensor and without the
engine's reverse pass.

`Witness.push` carries tangents forward and never looks at a rule.  `Witness.sweep` is a
reverse pass of its own, on the raw rules; with tangents it says how each cotangent moves,
which is what a second derivative is held against.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import numpy as np

from ..backward import pick
from ..boundary import SCALARS
from ..forward import moves_with, tangent
from ..graph import Node, ancestors, serial_of
from .stage import Moved, by_complex_step, by_differences, extended, run, tupled

Table = dict[Node, Any]


class Witness:
    """The stages below some outputs, in extended precision.

    Parameters
    ----------
    outputs : list of Node
    replaced : dict of Node -> array, optional
        Other values for some leaves.

    Attributes
    ----------
    values : dict of Node -> array or tuple of arrays
    oracles : set of str
        How tangents were found so far.
    kinks : list of Node
        Stages at which a tangent runs into a kink.
    error : float
        The largest relative uncertainty of a difference quotient so far.
    """

    def __init__(self, outputs: list[Node], replaced: Table | None = None) -> None:
        self.outputs = outputs
        self.stages: list[Node] = sorted(
            {n for root in outputs for n in ancestors(root)}, key=serial_of
        )
        self.values: Table = dict(replaced or {})
        self.oracles: set[str] = set()
        self.kinks: list[Node] = []
        self.error = 0.0
        for node in self.stages:
            if node not in self.values:
                self.values[node] = self._value(node)

    def _value(self, node: Node) -> Any:
        if node.op is None or draws(node):
            return extended(node.value)
        if node.op is pick:
            return self.values[node.inputs[0]][node.params["i"]]  # type: ignore[index]
        return run(node.op.forward, self.inputs(node), node.params)

    def inputs(self, node: Node) -> list[Any]:
        """What goes into a stage."""
        assert node.values is not None
        return [extended(raw) if parent is None else self.values[parent]
                for parent, raw in zip(node.inputs, node.values, strict=True)]  # fmt: skip

    def push(self, moves: Table) -> Table:
        """The tangent of every node that moves when some leaves do."""
        dots: Table = dict(moves)
        for node in self.stages:
            if node in dots or node.op is None or draws(node):
                continue
            along = [None if p is None else dots.get(p) for p in node.inputs]
            if all(t is None for t in along):
                continue
            if node.op is pick:
                dots[node] = along[0][node.params["i"]]  # type: ignore[index]
                continue
            moved = self.moved(node, along)
            parts = tuple(extended(p) for p in moved.parts)
            dots[node] = parts if isinstance(self.values[node], tuple) else parts[0]
        return dots

    def moved(self, node: Node, along: list[Any]) -> Moved:
        """How a stage's outputs move when its inputs do; None for an input that stays."""
        op, at = node.op, self.inputs(node)
        assert op is not None
        along = [t if t is None or moves_with(op, i, x) else None
                 for i, (t, x) in enumerate(zip(along, at, strict=True))]  # fmt: skip
        if all(t is None for t in along):
            return self._note(
                node, Moved(tuple(np.zeros_like(p) for p in tupled(self.values[node])), "linear")
            )
        if op.linear or op.jvp is not None:

            def along_tangents(*ts: Any, **params: Any) -> Any:
                return tangent(op, list(ts), self.values[node], at, params)

            found = run(along_tangents, along, node.params)
            return self._note(node, Moved(tupled(found), "linear" if op.linear else "jvp"))
        if op.analytic:
            return self._note(node, by_complex_step(op.forward, at, along, node.params, op.branch))
        return self._note(node, by_differences(op.forward, at, along, node.params, op.branch))

    def _note(self, node: Node, moved: Moved) -> Moved:
        self.oracles.add(moved.oracle)
        self.error = max(self.error, moved.error)
        if moved.kink and node not in self.kinks:
            self.kinks.append(node)
        return moved

    def sweep(
        self,
        seeds: Iterable[Any],
        dots: Table | None = None,
        moved_seeds: Iterable[Any] | None = None,
    ) -> tuple[Table, Table]:
        """Cotangents of every node and, given tangents of the values, how they move.

        The rules run on plain arrays, as they stand in the records; sums at forks and over
        broadcast axes are made here.
        """
        table: Table = {}
        moving: Table = {}
        for node, seed in zip(self.outputs, seeds, strict=True):
            _add(table, node, extended(seed))
        for node, seed in zip(self.outputs, moved_seeds or (), strict=False):
            _add(moving, node, extended(seed))
        for node in reversed(self.stages):
            if node not in table or node.op is None or draws(node) or not node.requires_grad:
                continue
            if node.op is pick:
                self._pass_pick(node, table, moving)
                continue
            for i, parent in enumerate(node.inputs):
                if parent is not None and parent.requires_grad and node.op.passes(i):
                    c, dc = self._contribution(node, i, table[node], moving.get(node), dots)
                    _add(table, parent, _unbroadcast(c, self.values[parent]))
                    if dc is not None:
                        _add(moving, parent, _unbroadcast(dc, self.values[parent]))
        return table, moving

    def _pass_pick(self, node: Node, table: Table, moving: Table) -> None:
        parent, k = node.inputs[0], node.params["i"]
        assert parent is not None
        for each in (table, moving):
            if node in each:
                slots = each.setdefault(parent, [np.zeros_like(v) for v in self.values[parent]])
                slots[k] = slots[k] + each[node]

    def contribution(self, node: Node, i: int, g: Any) -> Any:
        """The cotangent that a stage sends to input `i`, in the shape of that input."""
        parent = node.inputs[i]
        assert parent is not None
        return _unbroadcast(self._contribution(node, i, g, None, None)[0], self.values[parent])

    def _contribution(
        self, node: Node, i: int, g: Any, dg: Any, dots: Table | None
    ) -> tuple[Any, Any]:
        """The cotangent that a stage sends to input `i`, and how it moves."""
        op, at = node.op, self.inputs(node)
        assert op is not None
        y, several = self.values[node], isinstance(self.values[node], tuple)
        n = len(y) if several else 1

        def rule(*arrays: Any, **params: Any) -> Any:
            gs, ys, xs = arrays[:n], arrays[n : 2 * n], arrays[2 * n :]
            if dots is not None:  # a rule may ask which x is y: both move, to the last bit
                ys = tupled(op.forward(*xs, **params))
            lead = (tuple(gs), tuple(ys)) if several else (gs[0], ys[0])
            with np.errstate(all="ignore"):
                c = op.cotangent(i, lead[0], lead[1], xs, params)
            if op.singular:
                c = np.where(~np.isfinite(c) & (lead[0] == 0), 0, c)
            return c

        point = [*tupled(g if not several else tuple(g)), *tupled(y), *at]
        c = run(rule, point, node.params)
        if dots is None:
            return c, None
        along = [
            *_slots(dg, n, several),
            *[None] * n,
            *(None if p is None else dots.get(p) for p in node.inputs),
        ]
        along = [t if t is not None and (type(x) in SCALARS or np.asarray(x).dtype.kind == "f") else None
                 for t, x in zip(along, point, strict=True)]  # fmt: skip
        if all(t is None for t in along):
            return c, None
        branch = None
        if op.branch is not None:
            decides = op.branch

            def branch(*arrays: Any, **params: Any) -> Any:
                return decides(*arrays[2 * n :], **params)

        moved = by_differences(rule, point, along, node.params, branch)
        if op.analytic and not moved.kink:
            with suppress(TypeError):  # SciPy's functions may know no complex numbers
                exact = by_complex_step(rule, point, along, node.params)
                if _near(exact.parts[0], moved.parts[0], c):  # or the rule itself is not analytic
                    moved = exact
        return c, self._note(node, moved).parts[0]


def draws(node: Node) -> bool:
    """Whether a stage draws random numbers: what it drew is then a constant."""
    return any(isinstance(v, np.random.Generator) for v in node.params.values())


def _slots(t: Any, n: int, several: bool) -> list[Any]:
    if t is None:
        return [None] * n
    return list(t) if several else [t]


def _add(table: Table, node: Node, c: Any) -> None:
    table[node] = table[node] + c if node in table else c


def _unbroadcast(c: Any, like: Any) -> Any:
    """Summed over the axes along which the input was stretched."""
    c, shape = np.asarray(c), np.shape(like)
    lead = c.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(
        k + lead for k, n in enumerate(shape) if n == 1 and c.shape[k + lead] != 1
    )
    return np.reshape(np.sum(c, axis=axes, keepdims=True), shape) if axes else c


def _near(exact: Any, found: Any, value: Any) -> bool:
    """Whether two movements of a value are one, but for rounding of that value in a quotient."""
    scale = np.max(np.abs(found), initial=1e-30) + 1e-5 * np.max(np.abs(value), initial=0)
    return bool(np.all(np.abs(exact - found) <= 1e-5 * scale))
