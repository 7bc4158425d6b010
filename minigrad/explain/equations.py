"""Equations of a trace: what has a line of its own, what is written inside another, and names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph import Node, leading_to
from ..op import OPS
from .algebra import build
from .expression import SILENT, Expr, Number, Shape, Symbol, renamed, within
from .steps import INDEX
from .trace import SEED, UNNAMED, Array, Trace
from .writers import Text

LONGEST = 40
"""Of a value that is written inside another formula, in characters."""


@dataclass(frozen=True)
class Equation:
    """What one value or adjoint is.

    Attributes
    ----------
    name : str
        ``c<2>``, or ``δc<2>`` for its adjoint.
    expr : Expr
    value : ndarray
    """

    name: str
    expr: Expr
    value: Array

    @property
    def shape(self) -> Shape:
        """Of the value."""
        return np.shape(self.value)


@dataclass(frozen=True)
class Manner:
    """What is written in one formula, and what gets a line of its own.

    Attributes
    ----------
    inline : bool
        The adjoint of a named node that one formula uses is written there.
    functions : bool
        A named function of one value, where that forks and the function is used once, is
        written out: tanh(c<2>) for tanh_c<2>.
    of_values, of_adjoints : int
        So many stages at most are written inside another formula.
    silent : set of str
        Ops that are passed over.
    """

    inline: bool
    functions: bool
    of_values: int
    of_adjoints: int
    silent: frozenset[str] = SILENT


INLINE = Manner(inline=True, functions=True, of_values=3, of_adjoints=40)
EACH = Manner(inline=False, functions=False, of_values=3, of_adjoints=40)
CODE = Manner(inline=True, functions=False, of_values=4, of_adjoints=12, silent=SILENT - {"cast"})


class Equations:
    """The equations of a trace, in the manner asked for.

    Attributes
    ----------
    forward, reverse : tuple of Equation
        Oldest first, and newest first.
    given : dict of str -> ndarray
        The arrays that they start from, by name, once these are settled.
    """

    def __init__(self, trace: Trace, targets: tuple[Node, ...], manner: Manner) -> None:
        self.trace, self.manner = trace, manner
        self.anonymous = not any(node.name for node in trace.nodes)
        self.forking = {_family(node) for node, uses in trace.uses.items() if len(uses) > 1}
        self.given_nodes: dict[str, Array] = {}
        self.values: dict[Node, Expr] = {}
        self.forward = tuple(self._forward())
        self.reverse = tuple(self._reverse(targets))
        self.given: dict[str, Array] = {}

    def rename(self, name: Callable[[str], str]) -> None:
        """Give everything its name for good."""
        used = self.used()
        self.given = {name(given): array for given, array in {**self.given_nodes, **self.trace.given}.items()
                      if given in used}  # fmt: skip
        self.forward, self.reverse = (
            tuple(Equation(name(e.name), renamed(e.expr, name), e.value) for e in part)
            for part in (self.forward, self.reverse))  # fmt: skip

    def used(self) -> set[str]:
        """The names in all equations, those of adjoints too."""
        both = [*self.forward, *self.reverse]
        return {e.name for e in both} | {s.name for e in both for s in within(e.expr) if isinstance(s, Symbol)}

    # --- values ---

    def _forward(self) -> list[Equation]:
        found = []
        for node in self.trace.nodes:
            if node.op is not None:
                expr = self.trace.value(node, self.values, self.manner.silent)
                if type(node.value) is tuple:
                    self.values[node] = expr
                    continue
            symbol = Symbol(self.trace.names[node], node.value.shape)
            if node.op is None:
                self.values[node] = self._leaf(node, symbol)
            elif node is not self.trace.y and self._written_out(node, expr):
                self.values[node] = expr
            else:
                self.values[node] = symbol
                found.append(Equation(symbol.name, expr, np.asarray(node.value)))
        return found

    def _leaf(self, node: Node, symbol: Symbol) -> Expr:
        if node.name is None and not node.requires_grad:
            return self.trace.given_by(node)
        self.given_nodes[symbol.name] = np.asarray(node.value)
        return symbol

    def _written_out(self, node: Node, expr: Expr) -> bool:
        """Whether a value stands as a formula, not as a name, where it is used."""
        if node.name is None and not self.anonymous:
            return expr.size <= self.manner.of_values and len(Text().write(expr)) <= LONGEST
        parent = node.inputs[0] if len(node.inputs) == 1 else None
        if parent is None or not self.manner.functions or expr.size != 1 or len(self.trace.uses[node]) != 1:
            return False
        return parent.op is None or _family(parent) in self.forking

    # --- adjoints ---

    def _reverse(self, targets: tuple[Node, ...]) -> list[Equation]:
        trace = self.trace
        found = []
        useful = leading_to(trace.nodes[::-1], set(targets))
        times = Counter(edge.consumer for edges in trace.edges.values() for edge in edges)
        adjoints: dict[Node, Expr] = {}
        for node in trace.nodes[::-1]:
            if node not in trace.cotangents or type(node.value) is tuple:
                if node in targets:
                    found.append(Equation("δ" + trace.names[node], Number(0, np.shape(node.value)),
                                          np.zeros_like(node.value)))  # fmt: skip
                continue
            expr = self._adjoint(node, adjoints)
            symbol = Symbol("δ" + trace.names[node], expr.shape)
            asked = node in targets
            line = asked or not self._inlined(node, expr, times[self._consumer(node)])
            adjoints[node] = symbol if line and not isinstance(expr, Number) else expr
            if line and node in useful:
                found.append(Equation(symbol.name, expr, np.asarray(trace.cotangents[node].value)))
        return found

    def _adjoint(self, node: Node, adjoints: dict[Node, Expr]) -> Expr:
        trace = self.trace
        if node is trace.y:
            return Symbol(SEED, node.value.shape) if trace.seeded else Number(1.0, node.value.shape)
        total: Expr | None = None
        for edge in reversed(trace.edges[node]):
            term = trace.contribution(edge, self.values, adjoints, self.manner.silent)
            total = term if total is None else build(OPS["add"], (total, term), {}, term.shape)
        assert total is not None
        return total

    def _consumer(self, node: Node) -> Node:
        """The stage whose contributions use this node's adjoint."""
        several = node.op is not None and node.op.name == "pick" and node.inputs[0] is not None
        return node.inputs[0] if several else node  # type: ignore[return-value]

    def _inlined(self, node: Node, expr: Expr, times: int) -> bool:
        if not self.manner.inline and (node.name is not None or self.anonymous):
            return False
        return expr.size == 0 or times <= 1 and expr.size <= self.manner.of_adjoints


def settled(trace: Trace, all_equations: Sequence[Equations]) -> Callable[[str], str]:
    """Names for what has none: v1, v2 ... in the order in which it was made; v<2> for what
    belongs to time step 2 alone."""
    used = {name.removeprefix("δ") for equations in all_equations for name in equations.used()}
    order = sorted((name for name in used if name.startswith(UNNAMED)), key=lambda name: int(name[1:]))
    nodes = {name: node for node, name in trace.names.items()}
    steps = {name: _step(trace, nodes.get(name), trace.users.get(name)) for name in order}
    total = Counter(steps.values())
    one_each = all(n == 1 for step, n in total.items() if step)
    seen: Counter[str] = Counter()
    names: dict[str, str] = {}
    for provisional in order:
        step = steps[provisional]
        while provisional not in names or names[provisional] in nodes:
            seen[step] += 1
            names[provisional] = f"v{'' if step and one_each and seen[step] == 1 else seen[step]}{step}"

    def name(provisional: str) -> str:
        bare = provisional.removeprefix("δ")
        return "δ" * (bare != provisional) + names[bare] if bare in names else provisional

    return name


def _step(trace: Trace, node: Node | None, user: Node | None) -> str:
    """The time step of what an unnamed value meets, if that is one."""
    users = [user] if user is not None else [u for u, _ in trace.uses.get(node, ())] if node is not None else []
    beside = [p for u in users for p in u.inputs] + list(node.inputs if node is not None else ())
    steps = {found.group() for p in beside if p is not None and p.name and (found := INDEX.search(p.name))}
    return steps.pop() if len(steps) == 1 else ""


def _family(node: Node) -> Any:
    """The node at every time step: ``c`` for ``c<2>``."""
    return INDEX.sub("<t>", node.name) if node.name else node
