"""The chain rule link by link: local derivatives, and the paths along which they multiply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, overload

import numpy as np

from ..errors import ArgumentError, GraphError, lesson
from ..graph import Node
from ..tensor import Tensor
from .account import Local, formulas, local_derivatives
from .chain import Chain
from .expression import SILENT, Symbol, renamed
from .trace import UNNAMED, Trace
from .writers import Text, numbers

Array = np.ndarray[Any, Any]
MOST = 10_000
"""Paths: more are refused."""


class Link:
    """The derivative of a value with respect to one that it is computed from, the other names held fixed.

    Attributes
    ----------
    of, by : str
        ``c<2>`` and ``Γ_f<2>`` for ∂c<2>/∂Γ_f<2>.
    formula : str
        The derivative; for a stage that is neither elementwise nor a scalar, what it makes of
        its adjoint.
    itself : bool
        Which of the two.
    """

    def __init__(self, local: Local, names: Mapping[Node, str], chain: Chain, ends: tuple[Node, Node]) -> None:
        self.of, self.by = (names[end] for end in ends)
        self.formula, self.itself = Text().write(renamed(local.expr, _told)), local.itself
        self._chain, self._names, self._ends = chain, names, ends
        # kept, so that a path can be printed when the graph is freed
        self._diagonal = self.pull(np.ones_like(ends[0].value)) if local.itself else None

    def pull(self, adjoint: Any) -> Array:
        """What an adjoint of `of` contributes to that of `by`, by this stage alone."""
        of, by = self._ends
        segment = self._chain.segment(by, self._names)
        if any(edge.consumer.values is None for edge in segment.edges):
            raise GraphError(lesson(f"∂{self.of}/∂{self.by}", "the graph was freed", "", "ask before backward(), or call "
                                    "backward(retain_graph=True)"))  # fmt: skip
        adjoints = {end: np.zeros_like(end.value) for end in segment.ends}
        return np.asarray(segment.total(adjoints | {of: np.asarray(adjoint, of.value.dtype)}))

    @property
    def value(self) -> Array:
        """The diagonal of an elementwise stage, the gradient of a scalar; of another stage its `jacobian`."""
        return self.jacobian() if self._diagonal is None else self._diagonal

    def jacobian(self) -> Array:
        """All of it, in the shape of `of` followed by that of `by`."""
        of, by = (np.asarray(end.value) for end in self._ends)
        rows = np.zeros((of.size, by.size), of.dtype)
        for row, unit in zip(rows, np.eye(of.size, dtype=of.dtype), strict=True):
            row[:] = self.pull(unit.reshape(of.shape)).ravel()
        return rows.reshape(of.shape + by.shape)

    def __str__(self) -> str:
        return f"{_quotient('∂', self.of, self.by)} = {self.formula}" if self.itself else f"δ{self.by} ← {self.formula}"


@dataclass(frozen=True)
class Path:
    """One way from a value to what is differentiated.

    Attributes
    ----------
    links : tuple of Link
        From the result back.
    product : ndarray
        What comes back along it: its contribution to the gradient.
    """

    links: tuple[Link, ...]
    product: Array

    @property
    def names(self) -> tuple[str, ...]:
        """The values on it, from where it starts to the result."""
        return (*(link.by for link in reversed(self.links)), self.links[0].of)

    def text(self, d: str = "d") -> str:
        """The product of the derivatives, with the neighbours that cancel struck out, and each of them."""
        top, bottom = self.links[0].of, self.links[-1].by
        chain = " · ".join(f"{_struck(d + link.of) if link.of != top else d + top}/"
                           f"{_struck(d + link.by) if link.by != bottom else d + bottom}"
                           for link in self.links)  # fmt: skip
        rows = [(_quotient(d, link.of, link.by), link.formula if link.itself else f"[{link.formula}]",
                 numbers(link.value) if link.itself else "") for link in self.links]  # fmt: skip
        rows.append(("product", "", numbers(self.product)))
        widths = [max(len(row[k]) for row in rows) for k in range(2)]
        lines = [f"{_quotient(d, top, bottom)} = {chain}"]
        return "\n".join(lines + [f"  {a:{widths[0]}}  {b:{widths[1]}}  {c}".rstrip() for a, b, c in rows])

    def __str__(self) -> str:
        return self.text()


class Paths(Sequence[Path]):
    """Every path from a value to the result; added up they are its gradient.

    Attributes
    ----------
    of, by : str
    stages : dict of str -> str
        How the values that have no name of the user's are computed.
    """

    def __init__(self, of: str, by: str, paths: Sequence[Path], stages: dict[str, str], zeros: Array) -> None:  # fmt: skip
        self.of, self.by, self.stages, self._paths, self._zeros = of, by, stages, tuple(paths), zeros

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, k: int) -> Path: ...
    @overload
    def __getitem__(self, k: slice) -> Sequence[Path]: ...
    def __getitem__(self, k: Any) -> Any:
        return self._paths[k]

    def __iter__(self) -> Iterator[Path]:
        return iter(self._paths)

    @property
    def total(self) -> Array:
        """The sum of their products."""
        return np.asarray(reduce(add, (path.product for path in self), self._zeros))

    def __str__(self) -> str:
        lines = [f"{name} = {formula}" for name, formula in self.stages.items()]
        if len(self) == 1:
            return "\n".join([*lines, *[""] * bool(lines), self[0].text()])
        for path in self:
            lines += [""] * bool(lines) + [path.text("∂")]
        lines += ["", f"d{self.of}/d{self.by} = the sum of {len(self)} products = {numbers(self.total)}"]
        return "\n".join(lines)


class Links:
    """The local derivatives of a graph, between the values that have names.

    A graph in which only inputs have names is taken stage by stage; its stages are v1, v2 ...
    """

    def __init__(self, y: Tensor, seed: Any = None) -> None:
        self._trace = trace = Trace(y, seed)
        self._chain = Chain(trace.y, np.ones_like(trace.y.value) if seed is None else np.asarray(seed))
        self.names = _names(trace)
        self._symbols = {node: Symbol(name, np.shape(node.value)) for node, name in self.names.items()}
        self._nodes = {name: node for node, name in self.names.items()}
        self._values, self._stages = formulas(trace, self._symbols)
        self._found: dict[Node, dict[str, Link]] = {}

    def of(self, node: Node) -> Mapping[str, Link]:
        """The derivatives of a value by what it is computed from, in forward order."""
        if node not in self._found:
            local = local_derivatives(node, self._trace, self._values, self._symbols)
            self._found[node] = {each.name: Link(each, self.names, self._chain, (node, self._nodes[each.name]))
                                 for each in local}  # fmt: skip
        return self._found[node]

    def link(self, of: str, by: str) -> Link:
        """∂of/∂by."""
        if of not in self._nodes or by not in self.of(self._nodes[of]):
            inputs = ", ".join(self.of(self._nodes[of]) if of in self._nodes else ())
            needed = f"{of} is computed from {inputs}" if inputs else "one of " + ", ".join(
                name for name, node in self._nodes.items() if self.of(node))  # fmt: skip
            raise ArgumentError(lesson("link", f"no derivative of {of!r} by {by!r}", needed))
        return self.of(self._nodes[of])[by]

    def paths(self, wrt: Node) -> Paths:
        """Every path from `wrt` to the result."""
        y, top = self._trace.y, self.names[self._trace.y]
        if wrt not in self.names or wrt is y:
            why = "is what is differentiated" if wrt is y else (
                "has no name" if wrt in self._trace.names else "is no part of this graph")  # fmt: skip
            raise ArgumentError(lesson("paths", f"{wrt.label} {why}", "a named value that it was computed from"))
        counts: dict[Node, int] = {}
        for node in self._trace.nodes:  # oldest first
            if node in self.names:
                counts[node] = 1 if node is wrt else sum(counts[self._nodes[by]] for by in self.of(node))
        if counts[y] > MOST:
            raise ArgumentError(lesson("paths", f"{counts[y]:,} paths lead from {self.names[wrt]} to {top}",
                                       f"at most {MOST:,}", "mg.ledger sums what meets at each fork"))  # fmt: skip

        found: list[Path] = []
        ways: list[tuple[Node, Any, tuple[Link, ...]]] = [(y, self._chain.seed, ())]
        while ways:
            node, adjoint, links = ways.pop()
            if node is wrt:
                found.append(Path(links, np.asarray(adjoint)))
                continue
            leading = [link for by, link in self.of(node).items() if counts[self._nodes[by]]]
            ways += [(self._nodes[link.by], link.pull(adjoint), (*links, link)) for link in reversed(leading)]

        own = {self.names[n]: Text().write(renamed(self._stages[n], _told)) for n in self._trace.nodes
               if n.name is None and n in self.names and n in self._stages}  # fmt: skip
        return Paths(top, self.names[wrt], found, own, np.zeros_like(wrt.value))


def _names(trace: Trace) -> dict[Node, str]:
    """The user's names; where no stage has one, a number for each stage."""
    names = {node: node.name for node in trace.nodes if node.name}
    stages = [node for node in trace.nodes if node.op is not None and node.requires_grad
              and type(node.value) is not tuple]  # fmt: skip
    fresh = (f"v{k}" for k in range(1, len(trace.nodes) + len(names) + 1) if f"v{k}" not in names.values())
    for leaf in trace.nodes:
        if leaf.op is None and leaf.requires_grad and leaf not in names:
            names[leaf] = next(fresh)
    if not any(node in names for node in stages if node is not trace.y):
        for node in stages:
            if node is not trace.y and node.op is not None and node.op.name not in SILENT:
                names[node] = next(fresh)
    if trace.y not in names:
        names[trace.y] = "y" if "y" not in names.values() else next(fresh)
    return names


def _told(name: str) -> str:
    return "const" if name.startswith(UNNAMED) else name


def _quotient(d: str, of: str, by: str) -> str:
    return f"{d}{of}/{d}{by}"


def _struck(text: str) -> str:
    return "".join(letter + "\u0336" for letter in text)
