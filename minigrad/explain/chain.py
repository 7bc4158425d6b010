"""The reverse pass taken apart: every contribution by itself, open to being asked "what if".

The engine's own pass runs newest stage first and pushes cotangents on.  Here each node pulls
its adjoint from the stages that use it, so that any part of the pass can be run again with
other adjoints, or with a slip put into one of its stages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from typing import Any, NamedTuple

import numpy as np

from ..backward import pick, zero_law
from ..broadcast import sum_to
from ..errors import GraphError
from ..graph import Node, consumers, named, serial_of
from .ledger import branch_names
from .steps import step_of
from .upstream import run_stage

Array = np.ndarray[Any, Any]
Adjoints = dict[Node, Any]


class Edge(NamedTuple):
    """One use of a value: input `i` of the stage `consumer`."""

    consumer: Node
    i: int

    @property
    def parent(self) -> Node:
        """The value used."""
        parent = self.consumer.inputs[self.i]
        assert parent is not None
        return parent


Bend = Callable[["Chain", Edge, Any], Any]
"""What an edge contributes, given the adjoint of its consumer; None: what the rule says."""
Meet = Callable[[Node, list[Any]], Any]
"""What becomes of the contributions that meet at a node; None: their sum."""


class Chain:
    """The adjoints of a graph by the true rules, from whatever adjoints one gives.

    Parameters
    ----------
    root : Node
    seed : array
        The adjoint of `root`.
    values : dict of Node -> array, optional
        Values that somebody else computed, to be used in place of the recorded ones.

    Attributes
    ----------
    order : list of Node
        The nodes below `root` that the adjoint of `root` can reach, newest first.
    edges : dict of Node -> list of Edge
        Who uses a value, in the order in which the engine adds.
    nodes : dict of str -> Node
        By name; a value without one that an activation alone leads to a named node, is
        ``f<2> before activation``.
    names : dict of Node -> str
        The same the other way round.
    by_step : dict of Step -> Node
        By family and time step.
    """

    def __init__(self, root: Node, seed: Any, values: Mapping[Node, Any] | None = None) -> None:
        self.root, self.seed = root, seed
        self.values = dict(values or {})
        self.nodes, self.uses = named(root), consumers(root)
        for name, node in list(self.nodes.items()):
            before = self._before_activation(node)
            if before is not None:
                self.nodes[f"{name} before activation"] = before
        self.names = {node: name for name, node in self.nodes.items()}
        self.by_step = {step_of(name): node for name, node in self.nodes.items()}
        freed = next((n for n in (root, *self.uses) if n.op is not None and n.values is None), None)
        if freed is not None:
            raise GraphError(f"the graph through {freed.label} was freed by an earlier pass; ask before "
                             "backward(), or call backward(retain_graph=True)")  # fmt: skip
        self.edges: dict[Node, list[Edge]] = {root: []}
        for node in sorted(self.uses, key=serial_of, reverse=True):
            edges = [Edge(consumer, i) for consumer, i in self.uses[node]
                     if consumer in self.edges and consumer.op is not None and consumer.op.passes(i)]  # fmt: skip
            if edges and _holds_floats(node.value):
                self.edges[node] = sorted(edges, key=lambda e: (-e.consumer.serial, e.i))
        self.order = list(self.edges)

    def _before_activation(self, node: Node) -> Node | None:
        """What an elementwise function of one value, of one stage or several, made `node` from."""
        start = node
        while node.op is not None and node.op.elementwise:
            varying = [p for p in node.inputs if p is not None and not (p.op is None and not p.requires_grad)]
            if len(varying) != 1 or varying[0].name is not None or len(self.uses[varying[0]]) != 1:
                break
            node = varying[0]
        return None if node is start or node.op is None else node

    def labels(self, node: Node) -> list[str]:
        """How the ledger calls each of a node's branches."""
        return branch_names(self.uses, [e.consumer for e in self.edges[node]])

    def value(self, node: Node) -> Any:
        return self.values.get(node, node.value)

    def inputs(self, stage: Node) -> list[Any]:
        """What went into a stage."""
        assert stage.values is not None
        return [raw if parent is None else self.value(parent)
                for parent, raw in zip(stage.inputs, stage.values, strict=True)]  # fmt: skip

    def contribution(self, edge: Edge, g: Any, y: Any = None, inputs: list[Any] | None = None) -> Any:
        """What a stage hands to one input, by its rule; at other values if these are given."""
        op, params = edge.consumer.op, edge.consumer.params
        assert op is not None
        inputs = self.inputs(edge.consumer) if inputs is None else inputs
        y = self.value(edge.consumer) if y is None else y
        if type(edge.consumer.value) is tuple:
            g = tuple(g)
        with np.errstate(all="ignore"):
            c = op.cotangent(edge.i, g, y, inputs, params)
            if op.singular:
                c = zero_law(c, g)
        like = self.value(edge.parent)
        return np.asarray(sum_to(np.asarray(c), shape=np.shape(like)))

    def parts(self, node: Node, adjoints: Adjoints, bend: Bend | None = None,
              edges: list[Edge] | None = None) -> list[Any]:  # fmt: skip
        """The contributions that meet at a node, one for each of its edges."""
        found = []
        for edge in self.edges[node] if edges is None else edges:
            g = adjoints[edge.consumer]
            if edge.consumer.op is pick:
                zeros = [np.zeros_like(v) for v in node.value]
                zeros[edge.consumer.params["i"]] = g
                found.append(zeros)
                continue
            c = None if bend is None else bend(self, edge, g)
            found.append(self.contribution(edge, g) if c is None else c)
        return found

    def total(self, node: Node, adjoints: Adjoints, bend: Bend | None = None,
              edges: list[Edge] | None = None) -> Any:  # fmt: skip
        """The adjoint of a node: the sum of what meets there."""
        if node is self.root:
            return self.seed
        parts = self.parts(node, adjoints, bend, edges)
        if type(node.value) is tuple:
            return [sum(slots) for slots in zip(*parts, strict=True)]
        return sum(parts[1:], start=parts[0])

    def segment(self, node: Node, known: Iterable[Node], branch: list[int] | None = None) -> Segment:
        """The part of the pass that leads from the nearest known adjoints to `node`, or to some of
        the branches that meet there."""
        edges = [e for k, e in enumerate(self.edges[node]) if branch is None or k in branch]
        known = set(known)
        inner, ends, stack = set(), set(), [e.consumer for e in edges]
        while stack:
            other = stack.pop()
            if other in known or other is self.root:
                ends.add(other)
            elif other not in inner:
                inner.add(other)
                stack += [e.consumer for e in self.edges[other]]
        by_age = sorted(inner, key=serial_of, reverse=True)
        return Segment(self, node, edges, by_age, sorted(ends, key=serial_of, reverse=True))


class Segment(NamedTuple):
    """From known adjoints to the adjoint of one node.

    Attributes
    ----------
    node : Node
    last : list of Edge
        What meets at the node.
    inner : list of Node
        Between, newest first.
    ends : list of Node
        Where it starts from.
    """

    chain: Chain
    node: Node
    last: list[Edge]
    inner: list[Node]
    ends: list[Node]

    @property
    def edges(self) -> list[Edge]:
        """All its edges, those nearest to the node first."""
        return [*self.last, *(e for n in reversed(self.inner) for e in self.chain.edges[n])]

    def at(self, values: Mapping[Node, Any]) -> Segment:
        """The same part of the pass, had some nodes other values."""
        chain = copy(self.chain)
        chain.values = {**self.chain.values, **values}
        for stage in sorted((*self.inner, *self.ends), key=serial_of):
            chain.values[stage] = run_stage(stage, chain.values)
        return self._replace(chain=chain)

    def run(self, adjoints: Adjoints, bend: Bend | None = None, meet: Meet | None = None) -> Adjoints:
        """The adjoints of the inner nodes, beside the given ones."""
        table = {end: adjoints[end] for end in self.ends}
        for node in self.inner:
            met = None
            if meet is not None and type(node.value) is not tuple:
                met = meet(node, self.chain.parts(node, table, bend))
            table[node] = self.chain.total(node, table, bend) if met is None else met
        return table

    def parts(self, adjoints: Adjoints) -> list[Any]:
        """What meets at the node."""
        return self.chain.parts(self.node, self.run(adjoints), edges=self.last)

    def total(self, adjoints: Adjoints, bend: Bend | None = None, meet: Meet | None = None) -> Any:
        """The adjoint of the node."""
        return self.chain.total(self.node, self.run(adjoints, bend, meet), bend, self.last)


def _holds_floats(value: Any) -> bool:
    return type(value) is tuple or np.asarray(value).dtype.kind == "f"
