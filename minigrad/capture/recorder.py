"""From a function to a Program, by the engine's one recorder: its tape, reverse pass included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..graph import Node
from ..mode import recording
from ..tensor import Tensor
from ..tree import Rebuild, flatten
from .program import Program, Source, Step, Value


def record(f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
           leaves: list[Tensor]) -> tuple[Program, Any, Rebuild]:  # fmt: skip
    """Run `f` once, and write down what it does.

    Parameters
    ----------
    f : callable
    args, kwargs
        Its arguments, with `leaves` where the caller gave arrays.
    leaves : list of Tensor

    Returns
    -------
    program : Program
    result : object
        What `f` returned.
    rebuild : callable
        From the leaves of a result to the result.
    """
    with recording(frozen=True) as tape:
        result = f(*args, **kwargs)
    returned, rebuild, _ = flatten(result)
    return _Writer(tape, leaves).program(returned), result, rebuild


class _Writer:
    def __init__(self, tape: list[Node], leaves: list[Tensor]) -> None:
        self.tape, self.on_tape = tape, set(tape)
        self.sources: dict[Value, Source] = {}
        self.constants: dict[Value, Any] = {}
        self.values: dict[Node, Value] = {}
        self.parameters: dict[Node, Tensor] = {}
        for k, leaf in enumerate(leaves):
            self.sources[self._new(leaf._node)] = Source("argument", k)

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
        left = {p: p.grad._node for p in self.parameters.values() if p.grad is not None}
        effects = tuple((p, self.values[g]) for p, g in left.items() if g in self.on_tape)
        return Program(self.sources, self.constants, tuple(steps), outputs, effects)

    def _new(self, node: Node) -> Value:
        value = Value(len(self.values), node.value, node.name)
        self.values[node] = value
        return value

    def _read(self, node: Node) -> Value:
        """The value of a node: made by a step, read at each call, or frozen."""
        if node not in self.values:
            value = self._new(node)
            handle = node.handle() if node.handle is not None else None
            if handle is not None and node.op is None and node.requires_grad:
                self.sources[value] = Source("parameter", handle)
                self.parameters[node] = handle
            else:
                self.constants[value] = node.value
        return self.values[node]


def _share(a: Any, b: Any) -> bool:
    parts_a, parts_b = (p if isinstance(p, tuple) else (p,) for p in (a, b))
    return any(isinstance(p, np.ndarray) and isinstance(q, np.ndarray) and np.may_share_memory(p, q)
               for p in parts_a for q in parts_b)  # fmt: skip
