"""A recorded graph as boxes and links: what there is to draw, before any geometry.

A named node is a box.  An unnamed stage stands by itself only where values meet, as the
product and the sum in ``c<t-1> ⊙ Γ_f + Γ_u ⊙ c̃`` do; everything else is folded into the
box that uses it.  A name with ``<t>`` belongs to time step t, a name with ``/`` to a scope;
a leaf that has neither (weights, biases) serves every step and is listed, not linked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..graph import Node, ancestors, consumers
from ..tensor import Tensor
from .ledger import Entry, Ledger, ledgers
from .steps import step_of

Array = np.ndarray[Any, Any]
MOST = 400
"""Boxes: beyond, only what has a name is drawn."""

MANY = 12
"""Uses of a leaf: beyond, it is listed, not linked."""


@dataclass(frozen=True, eq=False)
class Box:
    """A named node, or an unnamed stage where values meet.

    Attributes
    ----------
    key : str
        Letters and digits only, in forward order.
    name : str
        The node's, or the sign of its op, or ``output``.
    node : Node
    stages : tuple of Node
        The functional stages in it, oldest first; none for a leaf.
    sign : bool
        An unnamed stage among named ones: shown by its sign alone.
    step : int or None
    scope : str
        ``layer1`` of ``layer1/c<2>``; of an unnamed stage that of its inputs.
    shared : tuple of Box
        What serves every step and is used here.
    ledger : Ledger or None
        What meets in its adjoint; None where no gradient passes.
    """

    key: str
    name: str
    node: Node
    stages: tuple[Node, ...]
    sign: bool
    step: int | None
    scope: str
    shared: tuple[Box, ...] = field(repr=False)
    ledger: Ledger | None = field(repr=False)

    @property
    def family(self) -> str | None:
        return str(step_of(self.node.name)) if self.node.name and self.step is not None else None

    @property
    def value(self) -> Any:
        return self.node.value

    @property
    def adjoint(self) -> Array | None:
        return None if self.ledger is None else self.ledger.gradient

    @property
    def fork(self) -> bool:
        """Whether several contributions meet in its adjoint."""
        return self.ledger is not None and len(self.ledger) > 1


@dataclass(frozen=True, eq=False)
class Link:
    """A value on its way from one box to the next, and what comes back along it."""

    source: Box
    target: Box
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Sketch:
    """Boxes in forward order, and the links between them.

    Attributes
    ----------
    y : Tensor
    seed : array_like or None
    boxes : tuple of Box
    links : tuple of Link
    """

    y: Tensor
    seed: Any
    boxes: tuple[Box, ...]
    links: tuple[Link, ...]

    @property
    def steps(self) -> list[int]:
        """The time steps, in order; none for a graph without."""
        return sorted({b.step for b in self.boxes if b.step is not None})

    @property
    def length(self) -> int:
        """How many time steps compute something."""
        return len({b.step for b in self.boxes if b.step is not None and b.stages})

    @cached_property
    def listed(self) -> tuple[Box, ...]:
        """What serves every step."""
        users = {id(shared): shared for box in self.boxes for shared in box.shared}
        return tuple(box for box in self.boxes if id(box) in users)

    @property
    def output(self) -> Box:
        return self.boxes[-1]


def sketch(y: Tensor, seed: Any = None) -> Sketch:
    """What there is to draw of the graph of `y`.

    Parameters
    ----------
    y : Tensor
        A scalar, or give `seed`.
    seed : array_like, optional
        The cotangent of `y`.

    Returns
    -------
    Sketch
    """
    root, nodes = y._node, ancestors(y._node)
    anonymous = not any(n.op is not None and n.name is not None for n in nodes if n is not root)
    everywhere = _everywhere(root, nodes)
    home = _homes(root, nodes, everywhere, anonymous)
    books = ledgers(y, {n for n in set(home.values()) if n.requires_grad and isinstance(n.value, np.ndarray | np.generic)}, seed)
    steps = _steps(root, home)
    boxes: dict[Node, Box] = {}
    links: dict[tuple[Node, Node], None] = {}
    members: dict[Node, list[Node]] = {}
    for node in nodes:
        if node in home:
            members.setdefault(home[node], []).append(node)
    for node in nodes:
        if home.get(node) is not node:
            continue
        inside = members[node]
        sources = dict.fromkeys(home[p] for m in inside for p in m.inputs
                                if p is not None and p in home and home[p] is not node)  # fmt: skip
        shared = [boxes[s] for s in sources if s in everywhere]
        flows = [boxes[s] for s in sources if boxes[s] not in shared]
        step = steps.get(node)
        if step is None and flows:
            step = max((b.step for b in flows if b.step is not None), default=None)
        name = node.name or ("output" if node is root else _sign(node))
        scopes = {node.name.rpartition("/")[0]} if node.name else {b.scope for b in flows}
        boxes[node] = Box(
            f"s{len(boxes)}", name, node, tuple(m for m in inside if m.op is not None),
            not (node.name or node is root or node.op is None or anonymous), step,
            scopes.pop() if len(scopes) == 1 else "", tuple(shared), books.get(node))  # fmt: skip
        links |= dict.fromkeys((b.node, node) for b in flows)
    return Sketch(y, seed, tuple(boxes.values()), tuple(
        Link(boxes[a], boxes[b], _along(boxes[a], b, home)) for a, b in links))  # fmt: skip


def _homes(root: Node, nodes: list[Node], everywhere: set[Node], anonymous: bool) -> dict[Node, Node]:
    """The node in whose box each node is; not in it: constants that nobody named."""
    uses = consumers(root)
    shown = {n for n in nodes if n is root or n.name is not None or n.op is None and n.requires_grad}
    more = {n for n in nodes if n.op is not None} if anonymous else _meetings(nodes, shown - everywhere)
    if len(shown) + len(more) <= MOST:
        shown |= more
    home: dict[Node, Node] = {}
    for node in reversed(nodes):
        if node in shown:
            home[node] = node
        elif node.op is not None:
            homes = {home[user] for user, _ in uses[node]}
            home[node] = homes.pop() if len(homes) == 1 else node
    return home


def _steps(root: Node, home: dict[Node, Node]) -> dict[Node, int | None]:
    """The time step in the name of each box; of an unnamed stage that of what it goes into."""
    steps: dict[Node, int | None] = {}
    uses = consumers(root)
    for node in sorted(set(home.values()), key=lambda n: -n.serial):
        if node.name is None:
            found = {steps[home[user]] for user, _ in uses.get(node, ()) if home[user] is not node}
            steps[node] = found.pop() if len(found) == 1 else None
        else:
            steps[node] = step_of(node.name).t
    return steps


def _meetings(nodes: list[Node], linked: set[Node]) -> set[Node]:
    """Unnamed stages in which two drawn values meet."""
    flowing: set[Node] = set()
    met: set[Node] = set()
    for node in nodes:
        arriving = {p for p in node.inputs if p in flowing}
        if node in linked or arriving:
            flowing.add(node)
        if len(arriving) > 1 and node not in linked:
            met.add(node)
    return met


def _everywhere(root: Node, nodes: list[Node]) -> set[Node]:
    """Leaves that serve every time step; without time steps, those of very many uses."""
    in_steps = any(step_of(node.name).t is not None for node in nodes)
    uses = consumers(root)
    return {n for n in nodes if n.op is None and step_of(n.name).t is None
            and (in_steps or len(uses.get(n, ())) > MANY)}  # fmt: skip


def _sign(node: Node) -> str:
    if node.op is None:
        return "leaf"
    return node.op.notation.replace("{}", "").strip() or node.op.name.removeprefix("linalg.")


def _along(source: Box, target: Node, home: dict[Node, Node]) -> tuple[Entry, ...]:
    return tuple(e for e in source.ledger or () if home[e.consumer] is target)
