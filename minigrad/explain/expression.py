"""A recorded graph as an expression: symbols, numbers, and stages applied to them.

Nothing is said here about how a stage is written: `writers` does that, from the records.
An expression is immutable and knows its shape; equal ones compare and hash alike, and
parts that the graph shares are shared here.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..boundary import SCALARS
from ..graph import Node, ancestors
from ..op import Op

Shape = tuple[int, ...]
SILENT = frozenset({"cast", "alias", "copy", "positive"})  # nothing that a formula shows


@dataclass(frozen=True, slots=True)
class Symbol:
    """What has a name: a value, ``c<2>``, or an adjoint, ``δc<2>``."""

    name: str
    shape: Shape

    parts: ClassVar[tuple[Expr, ...]] = ()
    size: ClassVar[int] = 0


@dataclass(frozen=True, slots=True)
class Number:
    """A number, or an array that holds it everywhere."""

    value: Any
    shape: Shape = ()

    parts: ClassVar[tuple[Expr, ...]] = ()
    size: ClassVar[int] = 0


class Stage:
    """An op applied to expressions.

    Attributes
    ----------
    op : Op
    parts : tuple of Expr
        What it is applied to.
    params : dict
        The op's metadata.
    shape : tuple of int
    size : int
        How many stages it is made of, shared ones counted as often as they are used.
    """

    __slots__ = ("_hash", "_key", "op", "params", "parts", "shape", "size")

    size: int

    def __init__(self, op: Op, parts: tuple[Expr, ...], params: dict[str, Any], shape: Shape) -> None:
        self.op, self.parts, self.params, self.shape = op, parts, params, shape
        self.size = 1 + sum(part.size for part in parts)
        self._key = repr(params) if params else ""  # slices have no hash
        self._hash = hash((op, parts, self._key, shape))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return (isinstance(other, Stage) and self._hash == other._hash and self.op is other.op
                and self.shape == other.shape and self._key == other._key and self.parts == other.parts)  # fmt: skip

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"{self.op.name}{self.parts}"


@dataclass(frozen=True, slots=True)
class Total:
    """The sum of a term over the time steps `first` to `last`; the term says ``<t>``."""

    term: Expr
    first: int
    last: int

    @property
    def parts(self) -> tuple[Expr, ...]:
        return (self.term,)

    @property
    def shape(self) -> Shape:
        return self.term.shape

    @property
    def size(self) -> int:
        return self.term.size + 1


Expr = Symbol | Number | Stage | Total
Build = Callable[[Op, tuple[Expr, ...], dict[str, Any], Shape], Expr]


def constant(value: Any) -> Expr:
    """A value that nobody named."""
    shape = np.shape(value) if type(value) is not tuple else ()
    if type(value) in SCALARS or not shape and type(value) is not tuple:
        return Number(value.item() if hasattr(value, "item") else value)
    return Symbol(f"const{shape}" if type(value) is not tuple else "const", shape)


def expression(root: Node, names: Mapping[Node, Expr], build: Build = Stage,
               constant: Callable[[Any], Expr] = constant, silent: Container[str] = SILENT) -> Expr:  # fmt: skip
    """How `root` comes from the named nodes.

    Parameters
    ----------
    root : Node
    names : mapping of Node -> Expr
        What some nodes are called, or stand for; the expression goes no further down.
    build : callable
        Makes a stage of its op, parts, metadata and shape.
    constant : callable
        What stands for a value that is no stage and has no name.
    silent : container of str
        Ops that are passed over.
    """
    made: dict[Node, Expr] = {}

    def of(node: Node) -> Expr:
        return names[node] if node in names else made[node]

    for node in ancestors(root, stop=names):
        if node in names:
            continue
        if node.op is None or node.values is None:
            made[node] = Symbol(node.name, np.shape(node.value)) if node.name else constant(node.value)
            continue
        parts = tuple(constant(v) if p is None else of(p) for p, v in zip(node.inputs, node.values, strict=True))
        if node.op.name in silent or node.op.name == "zero_law" and np.isfinite(node.values[0]).all():
            made[node] = parts[0]  # the law had nothing to do here
        else:
            shape = np.shape(node.value) if type(node.value) is not tuple else ()
            made[node] = build(node.op, parts, node.params, shape)
    return of(root)


def within(root: Expr) -> Iterator[Expr]:
    """An expression and what it is made of, each once, parts first."""
    seen: set[int] = set()
    stack: list[tuple[Expr, bool]] = [(root, False)]
    while stack:
        here, ready = stack.pop()
        if ready:
            yield here
        elif id(here) not in seen:
            seen.add(id(here))
            stack.append((here, True))
            stack += [(part, False) for part in reversed(here.parts)]


def renamed(root: Expr, rename: Callable[[str], str]) -> Expr:
    """The same expression with other names; what is shared stays shared."""
    done: dict[int, Expr] = {}
    for expr in within(root):
        if isinstance(expr, Symbol):
            done[id(expr)] = Symbol(rename(expr.name), expr.shape)
        elif isinstance(expr, Stage):
            done[id(expr)] = Stage(expr.op, tuple(done[id(p)] for p in expr.parts), expr.params, expr.shape)
        elif isinstance(expr, Total):
            done[id(expr)] = Total(done[id(expr.term)], expr.first, expr.last)
        else:
            done[id(expr)] = expr
    return done[id(root)]
