"""The recorded graph: its nodes, and read-only questions to it.

A node is a value and where it came from.  Parents are fixed when a node is made and
serials only grow, so "newest first" is a reverse topological order and no traversal
here needs recursion.  Tensors are handles on nodes; a node knows its handle weakly,
which is why a gradient that holds a graph makes no cycle with its leaf.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING, Any
from unicodedata import normalize
from weakref import ref

from .errors import ArgumentError, GraphError

if TYPE_CHECKING:
    from .op import Op

NO_PARAMS: dict[str, Any] = {}
next_serial = count().__next__
serial_of = attrgetter("serial")


class Node:
    """A value and where it came from.

    Attributes
    ----------
    op : Op or None
        The functional stage that made it; None for a leaf or a constant.
    inputs : tuple of (Node or None)
        The parents; None where a plain constant was given.
    values : tuple or None
        The raw inputs of `op`, parents' values and constants; None once freed.
    params : dict
        The op's metadata.
    value : numpy.ndarray, numpy.generic or tuple of them
        What the stage put out: read-only.
    serial : int
        Grows with every node made.
    requires_grad : bool
        A leaf asked for a gradient somewhere below.
    name : str or None
    handle : weakref.ref or None
        The Tensor whose ``.grad`` wants this node's cotangent; or the Buffer that it is the value of.
    site : object or None
        Where the user made it, under `mg.debug`.
    """

    __slots__ = ("__weakref__", "handle", "inputs", "name", "op", "params", "requires_grad",
                 "serial", "site", "value", "values")  # fmt: skip

    op: Op | None
    inputs: tuple[Node | None, ...]
    values: tuple[Any, ...] | None
    params: dict[str, Any]
    value: Any
    serial: int
    requires_grad: bool
    name: str | None
    handle: ref[Any] | None
    site: Any

    def __init__(self, value: Any, requires_grad: bool = False, name: str | None = None) -> None:
        self.op = None
        self.inputs = self.values = ()
        self.params = NO_PARAMS
        self.value = value
        self.serial = next_serial()
        self.requires_grad = requires_grad
        self.name = name
        self.handle = None
        self.site = None

    @property
    def label(self) -> str:
        """How messages call it."""
        stage = "leaf" if self.op is None else self.op.name
        return f"'{self.name}' ({stage})" if self.name else f"'{stage}'"


def newest_first(*roots: Node, since: int = 0) -> list[Node]:
    """Every node that carries a gradient to the roots, newest first; nothing below nodes
    with a serial lower than `since`."""
    seen = {root.serial: root for root in roots}
    stack = list(roots)
    while stack:
        for parent in stack.pop().inputs:
            if parent is not None and parent.requires_grad and parent.serial not in seen:
                seen[parent.serial] = parent
                if parent.serial >= since:
                    stack.append(parent)
    return [seen[serial] for serial in sorted(seen, reverse=True)]


def leading_to(order: Iterable[Node], wanted: set[Node]) -> set[Node]:
    """Of the nodes in `order` (newest first), those that lie on a path to `wanted`."""
    useful = set(wanted)
    for node in reversed(list(order)):
        if not useful.isdisjoint(node.inputs):
            useful.add(node)
    return useful


def ancestors(root: Node, stop: Container[Node] = ()) -> list[Node]:
    """Every node below `root`, constants included, oldest first; nothing below `stop`."""
    seen = {root}
    stack = [root]
    while stack:
        node = stack.pop()
        for parent in () if node in stop else node.inputs:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=serial_of)


def stages(root: Node) -> list[Node]:
    """The functional stages below `root` in forward order; reversed, the backward order."""
    return [node for node in ancestors(root) if node.op is not None]


def consumers(root: Node) -> dict[Node, list[tuple[Node, int]]]:
    """Who uses each node: (consumer, input index), in forward order."""
    uses: dict[Node, list[tuple[Node, int]]] = {}
    for node in stages(root):
        for i, parent in enumerate(node.inputs):
            if parent is not None:
                uses.setdefault(parent, []).append((node, i))
    return uses


def forks(root: Node) -> list[Node]:
    """The nodes whose value is used more than once, oldest first."""
    return sorted((n for n, uses in consumers(root).items() if len(uses) > 1), key=serial_of)


def named(root: Node) -> dict[str, Node]:
    """The named nodes below `root`.

    Raises
    ------
    GraphError
        Two nodes of this graph have the same name.
    """
    found: dict[str, Node] = {}
    for node in ancestors(root):
        if node.name is not None and found.setdefault(node.name, node) is not node:
            raise GraphError(
                f"names: two nodes of this graph are called {node.name!r}; names must differ "
                f"within a graph; scope them, for instance 'layer1/{node.name}'"
            )
    return found


_ASCII = (("Gamma_", "Γ_"), ("c_tilde", "c\u0303"))


def canonical(name: str) -> str:
    """The one spelling of a node's name: NFC, with ``Gamma_f<2>`` and ``c_tilde<2>``
    understood as ``Γ_f<2>`` and ``c̃<2>``."""
    if not isinstance(name, str):
        raise ArgumentError(f"name: got {name!r}; a string, for instance 'c<2>'")
    for ascii_spelling, greek in _ASCII:
        name = name.replace(ascii_spelling, greek)
    return normalize("NFC", name)


def evaluate(root: Node, replaced: dict[Node, Any]) -> Any:
    """The value of `root` if some nodes had other values: the recorded stages run anew.

    Runs each op's `forward` on whatever plain arrays are given, complex, extended or
    rational ones too, which is what an oracle needs.  Nothing is recorded.
    """
    values = dict(replaced)
    for node in ancestors(root):
        if node in values:
            continue
        if node.op is None:
            values[node] = node.value
            continue
        if node.values is None:
            raise GraphError(f"evaluate: {node.label} was freed; call backward(retain_graph=True)")
        inputs = [raw if parent is None else values[parent]
                  for parent, raw in zip(node.inputs, node.values, strict=True)]  # fmt: skip
        values[node] = node.op.forward(*inputs, **node.params)
    return values[root]
