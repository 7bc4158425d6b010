"""The derivation: the formula of every stage and of every adjoint, read off the recorded pass."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from typing import Any

from ..errors import ArgumentError, lesson
from ..graph import Node, canonical
from ..tensor import Tensor, handle_of
from . import drawing
from .equations import CODE, EACH, INLINE, Equation, Equations, settled
from .expression import Symbol, within
from .ledger import node_of
from .links import Link, Links, Paths
from .page import write_page
from .rolling import Line, rolled
from .sketch import Sketch, sketch
from .source import program
from .trace import UNNAMED, Array, Trace
from .writers import Latex, MathML, Text, numbers


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
        manners = [Equations(trace, targets, manner) for manner in (INLINE, EACH, CODE)]
        name = settled(trace, manners)
        self.given: dict[str, Array] = {}
        for equations in manners:
            equations.rename(name)
            self.given |= equations.given
        self._trace = trace
        self._each, self._code = manners[1:]
        shown = manners[0] if inline else self._each
        self.forward, self.reverse = shown.forward, shown.reverse
        self.wrt = tuple(name("δ" + trace.names[node]) for node in targets)
        self._ours = {name(each) for each in trace.names.values() if each.startswith(UNNAMED)}

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
        return sketch(handle_of(self._trace.y), self._seed())

    def _seed(self) -> Any:
        return self._trace.cotangents[self._trace.y].value if self._trace.seeded else None

    def link(self, of: str, by: str) -> Link:
        """The local derivative of one value by another that it is computed from: ∂c<2>/∂Γ_f<2>.

        Parameters
        ----------
        of, by : str
            Names, ``Gamma_f<2>`` for ``Γ_f<2>`` too; other values that have names are held fixed.
        """
        return self._links.link(canonical(of), canonical(by))

    def paths(self, wrt: Tensor | str) -> Paths:
        """The chain rule before anything is summed: each path from a value to y, its local derivatives,
        their product.  Without a fork there is but one, a chain.

        Raises
        ------
        ArgumentError
            `wrt` is no node of the graph, requires no gradient, or starts more than 10,000 paths.
        """
        return self._links.paths(node_of(handle_of(self._trace.y), wrt))

    @cached_property
    def _links(self) -> Links:
        return Links(handle_of(self._trace.y), self._seed())

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
        """NumPy source of the same forward and reverse pass, which needs NumPy alone.

        ``forward(given)`` takes the arrays of `given` by name and returns the values that
        ``backward(values)`` needs; that returns the adjoints asked for, by the names of their
        nodes.  With a seed it is ``backward(values, seed)``.

        Raises
        ------
        ArgumentError
            A stage has no NumPy source: the message says which.
        """
        return program(self._code.forward, self._code.reverse, self.given, self.wrt)
