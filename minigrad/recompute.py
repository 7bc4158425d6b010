"""`checkpoint`: forget what a part of the program computed, and compute it again in the
reverse pass, when its values are wanted.

The part becomes one stage of the graph.  Its inputs are the nodes that it takes from
outside, arguments and closed-over parameters alike.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .errors import GraphError, lesson
from .graph import Node, newest_first, next_serial
from .mode import enable_grad, get_mode
from .op import declare
from .ops.random import drawing
from .tensor import Tensor, apply, handle_of, pull
from .tree import flatten


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f`, but what it computes on the way is not kept: the reverse pass runs it once more.

    Parameters
    ----------
    f : callable
        Returns a tree of tensors.  It is called twice with the same arguments, so it has to
        compute the same again; random stages draw the same numbers.  It may use parameters
        and tensors from outside.

    Returns
    -------
    callable
        Takes and returns what `f` does, to the same bits, in value and gradient.

    Raises
    ------
    GraphError
        In the reverse pass, if `f` does not use the same tensors as before: a parameter was
        replaced in between.
    """

    @functools.wraps(f)
    def once(*args: Any, **kwargs: Any) -> Any:
        mode = get_mode()
        if not mode.grad or mode.tape is not None:  # a tape is to hold the stages themselves
            return f(*args, **kwargs)
        return _Segment(functools.partial(f, *args, **kwargs)).output()

    return once


class _Segment:
    """One call of a function, which can be made again."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        with drawing() as self.generators:
            self.first, start = self._run()
        self.boundary = _boundary(self._live(self.first), start)

    def output(self) -> Any:
        """What `f` returned, with this segment in place of its graph."""
        leaves, rebuild, _ = flatten(self.first)
        live = self._live(self.first)
        del self.first
        if live:
            inputs = tuple(handle_of(node) for node in self.boundary)
            self.values = tuple(y._node.value for y in live)
            stage = iter(apply(recomputed, inputs, {"segment": self}))
            del self.values
            leaves = [next(stage) if isinstance(y, Tensor) and y.requires_grad else y for y in leaves]
        return rebuild(iter(leaves))

    def again(self) -> tuple[list[Tensor], int]:
        """The outputs anew, with their graph, as random numbers fell the first time."""
        now = {rng: rng.bit_generator.state for rng in self.generators}
        try:
            for rng, state in self.generators.items():
                rng.bit_generator.state = state
            output, start = self._run()
        finally:
            for rng, state in now.items():
                rng.bit_generator.state = state
        live = self._live(output)
        if set(_boundary(live, start)) != set(self.boundary):
            raise GraphError(lesson(
                "checkpoint", "the function does not use the same tensors as the first time",
                "what it computes must be the same in the reverse pass",
                "call backward before a parameter is updated"))  # fmt: skip
        return live, start

    def cotangents(self, g: Any) -> tuple[Any, ...]:
        """One for each input, from one new run."""
        live, start = self.again()
        found = pull(live, list(g), wanted=set(self.boundary), since=start,
                     record=any(isinstance(part, Tensor) for part in g))  # fmt: skip
        return tuple(found[node][0] if node in found else np.zeros_like(node.value) for node in self.boundary)

    def _run(self) -> tuple[Any, int]:
        start = next_serial()
        with enable_grad():
            return self.call(), start

    @staticmethod
    def _live(output: Any) -> list[Tensor]:
        return [y for y in flatten(output)[0] if isinstance(y, Tensor) and y.requires_grad]


def _boundary(live: list[Tensor], start: int) -> list[Node]:
    """The nodes older than the segment that it takes from, oldest first."""
    reached = newest_first(*(y._node for y in live), since=start)
    return [node for node in reversed(reached) if node.serial < start]


def _forward(*xs: Any, segment: _Segment) -> Any:
    if not hasattr(segment, "values"):
        raise GraphError(lesson("checkpoint", "a checkpointed stage is to run on other values", "",
                                "take the function without mg.checkpoint"))  # fmt: skip
    return segment.values


recomputed = declare(
    "recomputed", _forward, lambda g, y, i, *xs, segment: segment.cotangents(g),
    variadic=True, samples=lambda rng: iter(()), caption="the outputs of a function, computed twice",
)  # fmt: skip
