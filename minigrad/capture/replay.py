"""A Program as straight-line NumPy: one call a step, in buffers that are made once.

A slice or a transpose of a buffer is made once too, and costs a replay nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .memory import Homes, Pool, is_joining, parts_of, writes
from .program import Program, Step, Value, kind

Run = Callable[..., tuple[Any, ...]]
MANY_VIEWS = 8
"""An argument of which so many slices are taken is copied into a buffer first ..."""
SMALL = 1000
"""... if a slice has so few bytes that to copy it costs less than to take it."""


class Replay:
    """A compiled program.

    Parameters
    ----------
    program : Program
    exact : bool
        Every array as it was laid out when recorded; otherwise a part may be written between others.
    poison : bool
        Spoil a buffer when it is given back: for tests.

    Attributes
    ----------
    source : str
        The Python text that runs.
    buffers : list of ndarray
    """

    def __init__(self, program: Program, exact: bool = True, poison: bool = False) -> None:
        self.program, self.poison = program, poison
        self.homes, self.pool = Homes(program, exact), Pool()
        self.space: dict[str, Any] = {"copyto": np.copyto, "concatenate": np.concatenate, "copy": np.array, "full": np.ndarray.fill, "nan": np.nan}
        self.names: dict[Value, str] = {}
        self.fixed: dict[Value, Any] = dict(program.constants)  # arrays that are the same at every replay
        self.held: dict[Value, Any] = {}  # the buffer of each home
        self.parts: dict[Value, list[Any]] = {}  # of what is joined
        for value, constant in program.constants.items():
            self.names[value] = self._bind("c", constant)
        arguments = [f"a{k}" for k in range(len(program.sources))]
        self.names.update(zip(program.sources, arguments, strict=True))
        self.made = {step.output: step for step in program.steps}
        body = [*self._arguments(), *self._body()]
        results = ", ".join(f"copy({self.names[v]})" if self._is_outside(v) else self.names[v] for v in program.results)
        self.source = "\n    ".join([f"def run({', '.join(arguments)}):", *body, f"return ({results}{',' * bool(results)})"])
        exec(compile(self.source, "<captured program>", "exec"), self.space)
        self.run: Run = self.space["run"]
        del self.homes, self.names, self.fixed, self.held, self.parts, self.made  # what it took to write it
        self.pool.free.clear()

    @property
    def buffers(self) -> list[Any]:
        return self.pool.buffers

    def _is_outside(self, value: Value) -> bool:
        """Whether it may share memory with what came in."""
        owners = self.homes.owners[value]
        return not owners.isdisjoint(self.program.sources) or not owners.isdisjoint(self.program.constants)

    def _bind(self, letter: str, value: Any) -> str:
        name = f"{letter}{len(self.space)}"
        self.space[name] = value
        return name

    def _arguments(self) -> Iterator[str]:
        """Copies of the arguments that are cut into many pieces."""
        looking = Counter(owner for owners in self.homes.owners.values() if len(owners) == 1 for owner in owners)
        leaving = {owner for v in self.program.results for owner in self.homes.owners[v]}
        for value, source in self.program.sources.items():
            if source.kind == "argument" and SMALL * looking[value] > value.like.nbytes and looking[value] > MANY_VIEWS and value not in leaving:
                name = self.names[value]
                self._fix(value, np.empty_like(value.like))
                yield f"copyto({self.names[value]}, {name})"

    def _fix(self, value: Value, array: Any) -> None:
        self.fixed[value] = array
        self.names[value] = self._bind("b", array)

    def _body(self) -> Iterator[str]:
        for k, step in enumerate(self.program.steps):
            dying = self.homes.dying.get(k, [])
            view = self._view(step)
            if view is not None:
                self._fix(step.output, view)
            elif is_joining(step) and self.homes.owns(step):
                yield from self._joined(step)
            elif writes(step) and self.homes.owns(step):
                if step.op.elementwise and not self.poison:  # it may write over what it reads, element by element
                    for home in [v for v in dying if v in self.held and v is not self.homes.home(step.output)]:
                        self.pool.give_back(self.held.pop(home))
                self._fix(step.output, self._room(step.output))
                yield f"{self._call(step, step.op.into)}, out={self.names[step.output]}){_note(step)}"
            else:
                self.names[step.output] = f"v{step.output.number}"
                yield f"v{step.output.number} = {self._call(step, step.op.forward)}){_note(step)}"
            yield from self._give_back(dying)

    def _view(self, step: Step) -> Any:
        """The output, if it is a view of a fixed array."""
        if step.op.name == "pick" and step.inputs[0] in self.fixed:
            return self.fixed[step.inputs[0]][step.params["i"]]
        like = step.output.like if step.laid is None else step.laid
        # a linear op moves numbers, whatever they are; another may hand on its input for some only
        if not step.looks_at or step.op.linear != "jointly" or not all(x in self.fixed for x in step.reads):
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
        if value in self.homes.placed:
            joined, i = self.homes.placed[value]
            if joined not in self.parts:
                self.parts[joined] = list(parts_of(self.made[joined], self._room(joined)))
            return self.parts[joined][i]
        if value not in self.held:
            self.held[value] = self.pool.take(value.like)
        return self.held[value]

    def _joined(self, step: Step) -> Iterator[str]:
        """The parts that no producer has written are copied."""
        whole = self._room(step.output)
        self._fix(step.output, whole)
        placed = self.homes.placed
        if step.op.name == "concat" and not any(isinstance(x, Value) and x in placed for x in step.inputs):
            parts = ", ".join(self.names[x] if isinstance(x, Value) else self._bind("k", x) for x in step.inputs)
            yield f"concatenate(({parts},), axis={step.params.get('axis', 0)}, out={self.names[step.output]}){_note(step)}"
            return
        for i, (x, part) in enumerate(zip(step.inputs, parts_of(step, whole), strict=True)):
            if not (isinstance(x, Value) and placed.get(x) == (step.output, i)):
                given = self.names[x] if isinstance(x, Value) else self._bind("k", x)
                yield f"copyto({self._bind('b', part)}, {given}){_note(step)}"

    def _give_back(self, homes: list[Value]) -> Iterator[str]:
        for home in homes:
            buffer = self.held.pop(home, None)
            if buffer is not None:
                self.pool.give_back(buffer)
                if self.poison:
                    spoiled = "nan" if buffer.dtype.kind in "fc" else 1
                    yield f"full({self._bind('b', buffer)}, {spoiled})"
            elif home not in self.fixed and home in self.names:
                yield f"{self.names[home]} = None"

    def _call(self, step: Step, function: Any) -> str:
        """``f3(b0, c1, axis=k2``, without the bracket that ends it."""
        words = [self.names[x] if isinstance(x, Value) else self._bind("k", _as_array(x, step)) for x in step.inputs]
        words += [f"{name}={self._bind('p', v)}" for name, v in step.params.items()]
        return f"{self._bind('f', function)}({', '.join(words)}"


def _note(step: Step) -> str:
    return f"  # {step.output} = {step.op.name}, {kind(step.output.like)}"


def _as_array(x: Any, step: Step) -> Any:
    """A Python number as NumPy would convert it at each call."""
    dtypes = {v.like.dtype for v in step.reads if hasattr(v.like, "dtype")}
    fits = isinstance(step.op.forward, np.ufunc) and len(dtypes) == 1 and type(x) in (int, float)
    return np.asarray(x, *dtypes) if fits and next(iter(dtypes)).kind == "f" else x
