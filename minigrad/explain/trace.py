"""The reverse pass recorded: which contribution each stage makes to which of its inputs.

The pass runs the rules on tensors, so that what they do is a graph like any other.  Here
it is cut at the edges: what a consumer contributes to an input, in terms of the consumer's
cotangent and of forward values.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from ..graph import Node, ancestors, consumers, named
from ..mode import record_all
from ..tensor import Tensor, pull
from .algebra import build
from .expression import SILENT, Expr, Number, Symbol, expression

Array = np.ndarray[Any, Any]
UNNAMED = "\0"
"""Begins the names of what is still to be named."""
SEED = "seed"


@dataclass(frozen=True)
class Edge:
    """What `consumer` contributes to one of its inputs: a node of the reverse graph."""

    consumer: Node
    cotangent: Node


class Trace:
    """A forward graph and its reverse pass.

    Attributes
    ----------
    y : Node
    nodes : list of Node
        The forward graph, oldest first.
    uses : dict of Node -> list of (Node, int)
        Who uses each node.
    edges : dict of Node -> list of Edge
        The contributions to each node, in the order in which the pass adds them.
    cotangents : dict of Node -> Node
        Their sum, a node of the reverse graph.
    names : dict of Node -> str
        Of every node that may be called something: the user's, or one that is
        still to be settled.
    given : dict of str -> ndarray
        The constant arrays that stages and rules bring along, by name.
    users : dict of str -> Node
        The stage that first used each of them.
    """

    def __init__(self, y: Tensor, seed: Any = None) -> None:
        self.y = y._node
        named(self.y)  # refuses a name that stands twice
        self.nodes = ancestors(self.y)
        self.uses = consumers(self.y)
        self.edges: dict[Node, list[Edge]] = {}
        self.seeded = seed is not None

        def observe(consumer: Node, i: int, parent: Node, c: Any) -> None:
            self.edges.setdefault(parent, []).append(Edge(consumer, c._node))

        wanted = {node for node in self.nodes if node.requires_grad and type(node.value) is not tuple}
        with record_all():
            found = pull([y], [seed], wanted=wanted, record=True, observe=observe)
        self.cotangents = {node: _not_copied(g._node) for node, (g, _) in found.items()}
        self.names = {node: node.name or f"{UNNAMED}{k}" for k, node in enumerate(self.nodes)}
        self.given: dict[str, Array] = {}
        self.users: dict[str, Node] = {}
        self._at = self.y
        self._constants: dict[Any, Symbol] = {}
        self._picks: dict[tuple[Node, int], Node] = {}
        self._outputs: dict[Node, list[Node]] = {}
        for node in self.nodes:
            if node.op is not None and node.op.name == "pick" and node.inputs[0] is not None:
                self._picks.setdefault((node.inputs[0], node.params["i"]), node)
                self._outputs.setdefault(node.inputs[0], []).append(node)

    def constant(self, value: Any) -> Expr:
        """A number by itself, and what a rule fills with one number; any other array is given."""
        return self._constant(value, fills=True)

    def given_by(self, leaf: Node) -> Expr:
        """A constant of the user's that has no name."""
        self._at = self.uses[leaf][0][0] if leaf in self.uses else leaf
        return self._constant(leaf.value)

    def _constant(self, value: Any, fills: bool = False) -> Expr:
        array = np.asarray(value)
        key = (array.shape, array.dtype.str, blake2b(array.tobytes()).digest())
        if key in self._constants:
            return self._constants[key]
        if array.ndim == 0 or fills and array.size and (array == array.flat[0]).all():
            return Number(array.flat[0].item(), array.shape)
        symbol = Symbol(f"{UNNAMED}{len(self.nodes) + len(self._constants)}", array.shape)
        self._constants[key] = symbol
        self.given[symbol.name] = array
        self.users[symbol.name] = self._at
        return symbol

    def value(self, node: Node, values: Mapping[Node, Expr], silent: frozenset[str] = SILENT) -> Expr:
        """A forward stage in terms of its inputs."""
        self._at = node
        below = {p: values[p] for p in node.inputs if p is not None}
        return expression(node, below, build, self._constant, silent)

    def contribution(self, edge: Edge, values: Mapping[Node, Expr], adjoints: Mapping[Node, Expr],
                     silent: frozenset[str] = SILENT) -> Expr:  # fmt: skip
        """What flows along an edge, in terms of the consumer's adjoint and of forward values."""
        self._at = edge.consumer
        outputs = self._outputs.get(edge.consumer, [edge.consumer])
        g = {self.cotangents[node]: adjoints[node] for node in outputs if node in self.cotangents}
        names: ChainMap[Node, Expr] = ChainMap(g, values)  # type: ignore[arg-type]
        for node in ancestors(edge.cotangent, stop=names):
            if node not in names and node.op is not None and node.op.name == "pick" and node.inputs[0] is not None:
                pick = self._picks.get((node.inputs[0], node.params["i"]))
                if pick is not None:  # the rule's own view of one output of several
                    g[node] = values[pick]
        return expression(edge.cotangent, names, build, self.constant, silent)


def _not_copied(node: Node) -> Node:
    inner = node.inputs[0] if node.op is not None and node.op.name == "copy" else None
    return node if inner is None else inner
