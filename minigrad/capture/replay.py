"""A Program as straight-line NumPy: one call a step, in buffers that are made once.

A slice or a transpose of a buffer is made once too, and costs a replay nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .memory import Groups, Pool, is_joining, parts_of, writes
from .program import Program, Step, Value

Run = Callable[..., tuple[Any, ...]]
MANY_VIEWS = 8
"""An argument of which so many slices are taken is copied into a buffer first."""


class Replay:
    """A compiled program.

    Parameters
    ----------
    program : Program
    poison : bool
        Spoil a buffer when it is given back: for tests.

    Attributes
    ----------
    source : str
        The Python text that runs.
    buffers : list of ndarray
    """

    def __init__(self, program: Program, poison: bool = False) -> None:
        self.program, self.poison = program, poison
        self.groups, self.pool = Groups(program), Pool()
        self.space: dict[str, Any] = {"copyto": np.copyto, "concatenate": np.concatenate, "copy": np.array, "full": np.ndarray.fill, "nan": np.nan}
        self.names: dict[Value, str] = {}
        self.fixed: dict[Value, Any] = dict(program.constants)  # arrays that are the same at every replay
        self.held: dict[Value, Any] = {}  # the buffer of each group
        for value, constant in program.constants.items():
            self.names[value] = self._bind("c", constant)
        arguments = [f"a{k}" for k in range(len(program.sources))]
        self.names.update(zip(program.sources, arguments, strict=True))
        self.made = {step.output: step for step in program.steps}
        body = [*self._arguments(), *self._body()]
        outside = {*program.sources, *program.constants}  # what leaves shares no memory with what came in
        root = self.groups.root
        results = ", ".join(f"copy({self.names[v]})" if root[v] in outside else self.names[v] for v in program.results)
        self.source = "\n    ".join([f"def run({', '.join(arguments)}):", *body, f"return ({results}{',' * bool(results)})"])
        exec(compile(self.source, "<captured program>", "exec"), self.space)
        self.run: Run = self.space["run"]

    @property
    def buffers(self) -> list[Any]:
        return self.pool.buffers

    def _bind(self, letter: str, value: Any) -> str:
        name = f"{letter}{len(self.space)}"
        self.space[name] = value
        return name

    def _arguments(self) -> Iterator[str]:
        """Copies of the arguments that are cut into many pieces."""
        results = {self.groups.root[v] for v in self.program.results}
        for value, source in self.program.sources.items():
            views = len(self.groups.members.get(value, ())) - 1
            if source.kind == "argument" and views >= MANY_VIEWS and value not in results:
                name = self.names[value]
                self._fix(value, np.empty_like(value.like))
                yield f"copyto({self.names[value]}, {name})"

    def _fix(self, value: Value, array: Any) -> None:
        self.fixed[value] = array
        self.names[value] = self._bind("b", array)

    def _body(self) -> Iterator[str]:
        root = self.groups.root
        for k, step in enumerate(self.program.steps):
            dying = [v for v in self.groups.dying.get(k, ()) if v is not root[step.output]]
            view = self._view(step)
            if view is not None:
                self._fix(step.output, view)
            elif is_joining(step) and root[step.output] not in self.groups.kept:
                yield from self._joined(step)
            elif writes(step) and root[step.output] not in self.groups.kept and (
                    root[step.output] is step.output or step.output in self.groups.placed):  # fmt: skip
                early = []
                if step.op.elementwise and not self.poison:  # it may write over what it reads, element by element
                    early = [v for v in dying if v in self.held]
                    for v in early:
                        self.pool.give_back(self.held.pop(v))
                self._fix(step.output, self._room(step.output))
                yield f"{self._call(step, step.op.into)}, out={self.names[step.output]})"
            else:
                self.names[step.output] = f"v{step.output.number}"
                yield f"v{step.output.number} = {self._call(step, step.op.forward)})"
            yield from self._give_back(self.groups.dying.get(k, ()))

    def _view(self, step: Step) -> Any:
        """The output, if it is a view of a fixed array."""
        if step.op.name == "pick" and step.inputs[0] in self.fixed:
            return self.fixed[step.inputs[0]][step.params["i"]]
        like = step.output.like
        if not all(x in self.fixed for x in step.reads) or not any(True for _ in step.reads):
            return None
        root = self.groups.root
        if root[step.output] is step.output or step.output in self.groups.placed or is_joining(step):
            return None
        inputs = [self.fixed[x] if isinstance(x, Value) else x for x in step.inputs]
        try:
            with np.errstate(all="ignore"):
                made = step.op.forward(*inputs, **step.params)
        except Exception:  # the array holds no numbers yet, and this op minds: so it is no view
            return None
        for part, as_recorded in zip(*(p if isinstance(p, tuple) else (p,) for p in (made, like)), strict=True):
            sharing = any(np.may_share_memory(part, x) for x in inputs if isinstance(x, np.ndarray))
            if type(part) is not np.ndarray or part.strides != as_recorded.strides or not sharing:
                return None
        return made

    def _room(self, value: Value) -> Any:
        """Where a step writes: a buffer, or its part of the array that it will be joined into."""
        joined, i = self.groups.placed.get(value, (value, 0))
        root = self.groups.root[value]
        if joined is value:
            self.held[root] = self.pool.take(value.like)
            return self.held[root]
        if root not in self.held:
            self.held[root] = self.pool.take(root.like)
        whole = self.held[root] if joined is root else self._room(joined)
        return list(parts_of(self.made[joined], whole))[i]

    def _joined(self, step: Step) -> Iterator[str]:
        """The parts that no producer has written are copied."""
        root = self.groups.root[step.output]
        if step.output in self.groups.placed:
            whole = self._room(step.output)
        else:
            if root not in self.held:
                self.held[root] = self.pool.take(step.output.like)
            whole = self.held[root]
        self._fix(step.output, whole)
        if step.op.name == "concat" and not any(isinstance(x, Value) and x in self.groups.placed for x in step.inputs):
            parts = ", ".join(self.names[x] if isinstance(x, Value) else self._bind("k", x) for x in step.inputs)
            yield f"concatenate(({parts},), axis={step.params.get('axis', 0)}, out={self.names[step.output]})"
            return
        for i, (x, part) in enumerate(zip(step.inputs, parts_of(step, whole), strict=True)):
            if not (isinstance(x, Value) and self.groups.placed.get(x) == (step.output, i)):
                given = self.names[x] if isinstance(x, Value) else self._bind("k", x)
                yield f"copyto({self._bind('b', part)}, {given})"

    def _give_back(self, groups: Any) -> Iterator[str]:
        for root in groups:
            buffer = self.held.pop(root, None)
            if buffer is not None:
                self.pool.give_back(buffer)
                if self.poison:
                    spoiled = "nan" if buffer.dtype.kind in "fc" else 1
                    yield f"full({self._bind('b', buffer)}, {spoiled})"
            elif root not in self.fixed and root in self.names:
                yield f"{self.names[root]} = None"

    def _call(self, step: Step, function: Any) -> str:
        """``f3(b0, c1, axis=k2``, without the bracket that ends it."""
        words = [self.names[x] if isinstance(x, Value) else self._bind("k", x) for x in step.inputs]
        words += [f"{name}={self._bind('p', v)}" for name, v in step.params.items()]
        return f"{self._bind('f', function)}({', '.join(words)}"
