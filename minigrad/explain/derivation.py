"""The derivation: the formula of every stage and of every adjoint, read off the recorded pass."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ArgumentError, lesson
from ..graph import Node, leading_to
from ..op import OPS
from ..tensor import Tensor, handle_of
from . import drawing
from .algebra import build
from .expression import SILENT, Expr, Number, Shape, Symbol, renamed, within
from .ledger import node_of
from .page import write_page
from .rolling import Line, rolled
from .sketch import Sketch, sketch
from .source import program
from .trace import Array, Trace
from .writers import Latex, MathML, Text

INDEX = re.compile(r"<(-?\d+)>")
LONGEST = 40
"""Of a value that is written inside another formula, in characters."""
FEW = 4
"""So many numbers are shown in full."""


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
        What is named and used once is written where it is used.
    of_values, of_adjoints : int
        So many stages at most are written inside another formula.
    silent : set of str
        Ops that are passed over.
    functions : bool
        With `inline`: a named function of one value is written out, tanh(c<2>).
    """

    inline: bool
    of_values: int
    of_adjoints: int
    silent: frozenset[str] = frozenset(SILENT)
    functions: bool = True


INLINE = Manner(True, 3, 40)
EACH = Manner(False, 3, 40)
WRITTEN = Manner(True, 4, 12, frozenset(SILENT - {"cast"}), functions=False)


def explain(y: Tensor, wrt: Tensor | str | Sequence[Tensor | str] | None = None, *, seed: Any = None,
            inline: bool = True) -> Derivation:  # fmt: skip
    """Derive the gradient of `y` step by step, in the names of its nodes.

    Parameters
    ----------
    y : Tensor
        A scalar, or give `seed`.
    wrt : Tensor, str, or a list of them, optional
        Whose adjoints are asked for; without it, those of all leaves that require gradients.
    seed : array_like, optional
        The cotangent of `y`.
    inline : bool
        Write an adjoint that only one formula uses inside that formula; otherwise each named
        node has a line of its own.

    Returns
    -------
    Derivation
        Print it; or ask for its ``.table()``, ``.latex()`` or ``.numpy()``.

    Raises
    ------
    ArgumentError
        `wrt` is no node of the graph of `y`, or requires no gradient.
    GraphError
        The graph was freed: explain before `backward`, or keep the graph.

    Notes
    -----
    δv is the adjoint of v: the total derivative of y with respect to it.  Nothing is written
    down for a model or an op: the reverse pass runs the rules on tensors, and what they did is
    read back.  At a fork the contributions stand in forward order, that of the stages that use the
    value; `ledger` gives them in the order in which the pass adds them.

    Examples
    --------
    >>> x = mg.tensor([0.5, -1.0], requires_grad=True, name="x")
    >>> print(mg.explain(mg.tanh(x).sum()))
    δx = 1 − tanh(x)²    (2,)
    """
    if not isinstance(y, Tensor):
        raise ArgumentError(lesson("explain", f"y is {type(y).__name__}", "a tensor that was computed from "
                                   "leaves with requires_grad=True"))  # fmt: skip
    trace = Trace(y, seed)
    asked: Iterable[Any] = (wrt,) if isinstance(wrt, (Tensor, str)) else () if wrt is None else wrt
    targets = [node_of(y, each) for each in asked]
    if wrt is None:
        targets = [node for node in trace.nodes if node.op is None and node.requires_grad]
    strangers = [node for node in targets if node not in trace.names]
    if strangers:
        raise ArgumentError(lesson("explain", f"{strangers[0].label} is no part of this graph",
                                   "a tensor that y was computed from"))  # fmt: skip
    return Derivation(trace, tuple(targets), inline)


class Derivation:
    """Formulas and numbers of a forward pass and of its reverse.

    Attributes
    ----------
    forward : tuple of Equation
        What each value is that has a line of its own, oldest first.
    reverse : tuple of Equation
        What each adjoint is, in the order of the reverse pass.
    given : dict of str -> ndarray
        The arrays that nothing here computes: leaves and constants, by name.
    wrt : tuple of str
        The names of the adjoints that were asked for.
    """

    def __init__(self, trace: Trace, targets: tuple[Node, ...], inline: bool) -> None:
        self._inline, self._each, self._written = (Equations(trace, targets, m) for m in (INLINE, EACH, WRITTEN))
        name = settled(trace, [self._inline, self._each, self._written])
        for equations in (self._inline, self._each, self._written):
            equations.rename(name)
        self._trace = trace
        shown = self._inline if inline else self._each
        self.forward, self.reverse, self.given = shown.forward, shown.reverse, self._written.given
        self.wrt = tuple(name("δ" + trace.names[node]) for node in targets)
        self._ours = {name(each) for each in trace.names.values() if each.startswith("%")}

    def __str__(self) -> str:
        return self.text()

    __repr__ = __str__

    def lines(self, unroll: bool = False) -> list[Line]:
        """The equations of the reverse pass, with those that repeat from one time step to the
        next as one; then those of the values that have no name of the user's, and are used."""
        plain = [Line(e.name, e.expr, e.shape) for e in self.reverse]
        extra = [Line(e.name, e.expr, e.shape) for e in self._own_names()]
        return [*plain, *extra] if unroll else [*rolled(plain), *rolled(extra)]

    def _own_names(self) -> list[Equation]:
        """Equations of values that were named here, as far as the reverse formulas need them."""
        ours = {e.name: e for e in self.forward if e.name in self._ours}
        needed: dict[str, Equation] = {}
        queue = [e.expr for e in self.reverse]
        while queue:
            for part in within(queue.pop()):
                if isinstance(part, Symbol) and part.name in ours and part.name not in needed:
                    needed[part.name] = ours[part.name]
                    queue.append(ours[part.name].expr)
        return [e for e in ours.values() if e.name in needed]

    def text(self, *, unroll: bool = False) -> str:
        """The formulas, a line each, newest first; repeated time steps in one formula in t."""
        writer = Text()
        rows = [(f"{line.name} = {writer.write(line.expr)}", line.note()) for line in self.lines(unroll)]
        width = max((len(formula) for formula, _ in rows if len(formula) <= 100), default=0)
        return "\n".join(f"{formula:{width}}    {note}" for formula, note in rows)

    def latex(self, *, unroll: bool = False) -> str:
        """The formulas as an ``align*`` for LaTeX with amsmath."""
        writer = Latex()
        rows = [rf"{writer.symbol(line.name)} &= {writer.write(line.expr)} && {line.latex_note()}"
                for line in self.lines(unroll)]  # fmt: skip
        return "\\begin{align*}\n" + " \\\\\n".join(rows) + "\n\\end{align*}\n"

    def svg(self, unfolded: Collection[int] | None = None) -> str:
        """The whole graph drawn, with values, adjoints and what meets at each fork.

        Parameters
        ----------
        unfolded : collection of int, optional
            Time steps to draw whole; all of a few, the ends of many.
        """
        return drawing.svg(self._sketch(), unfolded)

    def dot(self) -> str:
        """The whole graph in the language of Graphviz."""
        return drawing.dot(self._sketch())

    def html(self, path: str | os.PathLike[str]) -> None:
        """Write a page, one file, that goes through the graph forward and in reverse."""
        write_page(self._sketch(), path)

    def _sketch(self) -> Sketch:
        y = self._trace.y
        return sketch(handle_of(y), self._trace.cotangents[y].value if self._trace.seeded else None)

    def table(self) -> str:
        """The forward trace and the reverse trace side by side: formulas, shapes, numbers.

        Read the left half downward and the right half upward."""
        each = self._each
        adjoints = {e.name: e for e in each.reverse}
        left = [*(Equation(name, Symbol("given", a.shape), a) for name, a in each.given.items()), *each.forward]
        writer = Text()
        rows = [("forward ↓", "shape", "value", "reverse ↑", "value")]
        for e in left:
            back = adjoints.get("δ" + e.name)
            rows.append((f"{e.name} = {writer.write(e.expr)}", str(e.shape), numbers(e.value),
                         f"δ{e.name} = {writer.write(back.expr)}" if back else "",
                         numbers(back.value) if back else ""))  # fmt: skip
        widths = [min(max(len(row[k]) for row in rows), 90) for k in range(5)]
        return "\n".join("  ".join(f"{cell:{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)

    def data(self) -> dict[str, Any]:
        """The same as plain data, for JSON: every equation as text, LaTeX and MathML, with its shape
        and numbers; ``"lines"`` are those of `text`."""
        text, latex, mathml = Text(), Latex(), MathML()

        def plain(e: Equation) -> dict[str, Any]:
            return {"name": e.name, "formula": text.write(e.expr), "latex": latex.write(e.expr),
                    "mathml": mathml.write(e.expr), "shape": list(e.shape), "value": e.value.tolist()}  # fmt: skip

        return {"wrt": list(self.wrt), "forward": [plain(e) for e in self.forward],
                "reverse": [plain(e) for e in self.reverse],
                "lines": [{"name": line.name, "formula": text.write(line.expr), "latex": latex.write(line.expr),
                           "shape": list(line.shape), "steps": list(line.steps)} for line in self.lines()]}  # fmt: skip

    def numpy(self) -> str:
        """NumPy source of the same forward and reverse pass: ``forward(given)`` and
        ``backward(values)``; it needs NumPy alone.

        Raises
        ------
        ArgumentError
            A stage has no NumPy source: the message says which.
        """
        return program(self._written.forward, self._written.reverse, self.given, self.wrt)


def numbers(a: Array) -> str:
    """Few numbers in full, many by their norm."""
    if a.size > FEW:
        return f"|·| {np.linalg.norm(a.astype(float)):.4g}"
    return np.array2string(a, precision=4, separator=", ").replace("\n", "").replace("-", "−")


class Equations:
    """The equations of a trace, in the manner asked for.

    Attributes
    ----------
    forward, reverse : tuple of Equation
    given : dict of str -> ndarray
    """

    def __init__(self, trace: Trace, targets: tuple[Node, ...], manner: Manner) -> None:
        self.trace, self.manner = trace, manner
        self.anonymous = not any(node.name for node in trace.nodes)
        self.forking = {_family(node) for node, uses in trace.uses.items() if len(uses) > 1}
        self.given_nodes: dict[str, Array] = {}
        self.values: dict[Node, Expr] = {}
        forward = self._forward()
        reverse = self._reverse(targets)
        self.forward, self.reverse = tuple(forward), tuple(reverse)
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
                expr = self.trace.value(node, self.values, set(self.manner.silent))
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
        if node.name is None and not self.anonymous or isinstance(expr, Number):
            return expr.size <= self.manner.of_values and len(Text().write(expr)) <= LONGEST
        # a named function of one value that forks: tanh(c<2>) for tanh_c<2>
        if not (self.manner.inline and self.manner.functions) or len(self.trace.uses.get(node, ())) != 1 or len(node.inputs) != 1:
            return False
        (parent,) = node.inputs
        return expr.size == 1 and parent is not None and (parent.op is None or _family(parent) in self.forking)

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
            return Symbol("seed", node.value.shape) if trace.seeded else Number(1.0, node.value.shape)
        total: Expr | None = None
        for edge in reversed(trace.edges[node]):
            term = trace.contribution(edge, self.values, adjoints, set(self.manner.silent))
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
    order = sorted((name for name in used if name.startswith("%")), key=lambda name: int(name[1:]))
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
