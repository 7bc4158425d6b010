"""The ledger of a fork: every contribution that meets in a gradient, and where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from ..errors import ArgumentError, lesson
from ..graph import Node, canonical, consumers, named
from ..tensor import Tensor, pull

Array = np.ndarray[Any, Any]
Uses = dict[Node, list[tuple[Node, int]]]


@dataclass(frozen=True)
class Entry:
    """One contribution.

    Attributes
    ----------
    via : str
        The nearest named node that uses the value, ``c<3>``; for a second use by way of the
        same node ``c<3> #2``; the stage itself where nothing further on has a name.
    stage : str
        The op that uses the value.
    array : ndarray
        What it contributes.
    share : float
        Its part of the whole along the gradient: the shares add up to 1, a contribution that
        works against the others has a negative one.  NaN for a gradient of zero.
    consumer : Node
        That stage in the recorded graph.
    """

    via: str
    stage: str
    array: Array
    share: float
    consumer: Node = field(repr=False)


@dataclass(frozen=True)
class Ledger:
    """The contributions to one gradient, in the order in which the reverse pass adds them.

    Attributes
    ----------
    name : str
        Of the value whose gradient this is.
    entries : tuple of Entry
    gradient : ndarray
        Their sum, to the bit what `backward` leaves in ``.grad``.
    """

    name: str
    entries: tuple[Entry, ...]
    gradient: Array

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, k: int) -> Entry:
        return self.entries[k]

    def __str__(self) -> str:
        width = max((len(e.via) for e in self.entries), default=0)
        lines = [f"gradient of {self.name}, shape {self.gradient.shape}: {len(self)} contribution(s)"]
        lines += [f"  via {e.via:{width}}  {e.share:8.1%}  |·| {np.linalg.norm(e.array):.3e}  by {e.stage}"
                  for e in self.entries]  # fmt: skip
        return "\n".join(lines)


def ledger(y: Tensor, wrt: Tensor | str, seed: Any = None) -> Ledger:
    """Every contribution to the gradient of `y` by `wrt`.

    Parameters
    ----------
    y : Tensor
        A scalar, or give `seed`.
    wrt : Tensor or str
        A tensor that `y` depends on, or the name of one.
    seed : array_like, optional
        The cotangent of `y`.

    Returns
    -------
    Ledger

    Raises
    ------
    ArgumentError
        No node of the graph has that name, or `wrt` requires no gradient.
    GraphError
        The graph was freed: take the ledger before `backward`, or keep the graph.

    Notes
    -----
    The total derivative of a parameter that is used at every time step is the sum of its
    partial derivatives, one for each step: here they are, each by itself.
    """
    target = node_of(y, wrt)
    return ledgers(y, {target}, seed)[target]


def ledgers(y: Tensor, targets: set[Node], seed: Any = None) -> dict[Node, Ledger]:
    """The ledgers of several nodes, from one pass."""
    found: dict[Node, list[tuple[Node, Array]]] = {target: [] for target in targets}

    def observe(consumer: Node, i: int, parent: Node, c: Any) -> None:
        if parent in found:
            found[parent].append((consumer, np.array(_plain(c))))

    arrived = pull([y], [seed], wanted=targets, observe=observe)
    uses = consumers(y._node)
    return {target: _book(target, parts, arrived.get(target), uses) for target, parts in found.items()}


def _book(target: Node, parts: list[tuple[Node, Array]], arrived: Any, uses: Uses) -> Ledger:
    if parts:
        whole = np.asarray(reduce(add, [c for _, c in parts]))
    elif arrived is None:
        whole = np.zeros(target.value.shape, target.value.dtype)
    else:
        whole = _plain(arrived[0])
    size = float(np.vdot(whole, whole))
    labels = branch_names(uses, [consumer for consumer, _ in parts])
    entries = tuple(
        Entry(label, consumer.op.name if consumer.op else "", c,
              float(np.vdot(c, whole)) / size if size else np.nan, consumer)
        for label, (consumer, c) in zip(labels, parts, strict=True)
    )  # fmt: skip
    return Ledger(target.label if target.name is None else target.name, entries, whole)


def node_of(y: Tensor, wrt: Tensor | str) -> Node:
    """The node that a caller means."""
    if isinstance(wrt, Tensor):
        node = wrt._node
    else:
        nodes = named(y._node)
        if canonical(wrt) not in nodes:
            raise ArgumentError(lesson("wrt", f"no node of this graph is called {wrt!r}",
                                       f"one of {', '.join(sorted(nodes)) or 'none: name some with .named(...)'}"))  # fmt: skip
        node = nodes[canonical(wrt)]
    if not node.requires_grad:
        raise ArgumentError(lesson("wrt", f"{node.label} requires no gradient", "a leaf made with "
                                   "requires_grad=True, or what depends on one"))  # fmt: skip
    return node


def branch_names(uses: Uses, users: list[Node]) -> list[str]:
    """What to call the branches of a fork: the nearest named node that each leads to."""
    labels: list[str] = []
    for user in users:
        name = _nearest_name(user, uses)
        times = sum(label.partition(" #")[0] == name for label in labels)
        labels.append(name if not times else f"{name} #{times + 1}")
    return labels


def _nearest_name(node: Node, uses: Uses) -> str:
    """The first named node on the way to the output, as long as there is but one way."""
    start = node
    while node.name is None:
        ways = {consumer for consumer, _ in uses.get(node, [])}
        if len(ways) != 1:
            return start.label.strip("'")
        (node,) = ways
    return node.name


def _plain(g: Any) -> Array:
    return np.asarray(g.data if isinstance(g, Tensor) else g)
