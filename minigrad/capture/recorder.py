"""From a function to a Program, by the engine's one recorder: its tape, reverse pass included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from weakref import ref

import numpy as np

from ..graph import Node
from ..mode import Record, recording
from ..ops.random import drawing
from ..tensor import Tensor
from ..tree import Rebuild, flatten
from .program import Effect, Program, Source, Step, Value


def record(f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
           leaves: list[Tensor]) -> tuple[Program, Any, Rebuild]:  # fmt: skip
    """Run `f` once, and write down what it does.  Parameters, buffers, gradients and generators are
    afterwards what they were before, whether or not `f` raises.

    Parameters
    ----------
    f : callable
    args, kwargs
        Its arguments, with `leaves` in them where arrays are given at each call.
    leaves : list of Tensor

    Returns
    -------
    program : Program
    result : object
        What `f` returned.
    rebuild : callable
        From the leaves of a result to the result.
    """
    nodes = [leaf._node for leaf in leaves]
    seen, drawn = Record(nodes), {}
    try:
        with recording(seen) as tape, drawing() as drawn:
            result = f(*args, **kwargs)
        returned, rebuild, _ = flatten(result)
        return _Writer(tape, leaves, nodes, seen).program(returned), result, rebuild
    finally:
        for leaf, node in _alive(seen.arrays):
            leaf._node = node
        for leaf, (grad, _) in _alive(seen.grads):
            leaf._grad = grad
        for generator, state in drawn.items():
            generator.bit_generator.state = state


class _Writer:
    def __init__(self, tape: list[Node], leaves: list[Tensor], nodes: list[Node], seen: Record) -> None:
        self.tape, self.seen = tape, seen
        self.sources: dict[Value, Source] = {}
        self.constants: dict[Value, Any] = {}
        self.values: dict[Node, Value] = {}
        self.place: dict[Tensor, Any] = {}
        self.settings = list(seen.settings.values())
        for k, (leaf, node) in enumerate(zip(leaves, nodes, strict=True)):
            if leaf not in self.place:  # or it is given twice
                self.place[leaf] = k
                self.sources[self._new(node)] = Source("argument", k)
        for leaf, (grad, read) in _alive(seen.grads):
            if read and _is_leaf(leaf):
                self.settings.append((self._on(leaf), "grad", grad is not None))
                if grad is not None and grad._node not in self.values:
                    self.sources[self._new(grad._node)] = Source("gradient", self._on(leaf))

    def program(self, returned: list[Any]) -> Program:
        steps = []
        for node in self.tape:
            assert node.op is not None
            assert node.values is not None
            inputs = tuple([raw if parent is None else self._read(parent)
                            for parent, raw in zip(node.inputs, node.values, strict=True)])  # fmt: skip
            looks_at = () if isinstance(node.value, np.generic) else tuple(
                i for i, raw in enumerate(node.values) if _share(node.value, raw))  # fmt: skip
            steps.append(Step(node.op, inputs, node.params, self._new(node), looks_at))
        outputs = tuple(self._read(x._node) if isinstance(x, Tensor) else x for x in returned)
        effects = [Effect(self._on(leaf), "data", self._read(leaf._node)) for leaf, _ in _alive(self.seen.arrays)]
        effects += [Effect(self._on(leaf), "grad", None if leaf._grad is None else self._read(leaf._grad._node))
                    for leaf, (before, _) in _alive(self.seen.grads) if _is_leaf(leaf) and leaf._grad is not before]  # fmt: skip
        return Program(self.sources, self.constants, tuple(steps), outputs, tuple(effects), tuple(self.settings))

    def _on(self, leaf: Tensor) -> Any:
        """Which argument a leaf is; or the leaf."""
        return self.place.get(leaf, leaf)

    def _new(self, node: Node) -> Value:
        value = Value(len(self.values), node.value, node.name)
        self.values[node] = value
        return value

    def _read(self, node: Node) -> Value:
        """The value of a node: made by a step, read at each call, or frozen."""
        while node in self.seen.computed:
            node = self.seen.computed[node]
        if node not in self.values:
            value = self._new(node)
            handle = node.handle() if node.handle is not None else None
            if handle is not None and node.op is None:
                self.sources[value] = Source("parameter" if node.requires_grad else "buffer", handle)
            else:
                self.constants[value] = node.value
        return self.values[node]


def _alive(table: dict[ref[Tensor], Any]) -> Iterator[tuple[Tensor, Any]]:
    return ((leaf, found) for r, found in table.items() if (leaf := r()) is not None)


def _is_leaf(tensor: Tensor) -> bool:
    return tensor._node.op is None


def _share(a: Any, b: Any) -> bool:
    parts_a, parts_b = (p if isinstance(p, tuple) else (p,) for p in (a, b))
    return any(isinstance(p, np.ndarray) and isinstance(q, np.ndarray) and np.may_share_memory(p, q)
               for p in parts_a for q in parts_b)  # fmt: skip
