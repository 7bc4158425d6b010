"""A Program as straight-line NumPy: one call a step, in buffers that are made once.

A value whose last reader has run gives its memory to a later one of the same kind.  Which values
share memory (a slice, a transpose) is read from the arrays that were recorded, and a buffer has
the strides of the array that it stands for, so that every step meets the layout it met then and
gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .program import Program, Step, Value

Run = Callable[..., tuple[Any, ...]]
Kind = tuple[Any, ...]


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
        self.buffers: list[Any] = []
        self.space: dict[str, Any] = {"full": np.ndarray.fill, "nan": np.nan}
        self.names: dict[Value, str] = {}
        for k, (value, constant) in enumerate(program.constants.items()):
            self.names[value] = self._bind(f"c{k}", constant)
        arguments = []
        for k, value in enumerate(program.sources):
            self.names[value] = f"a{k}"
            arguments.append(f"a{k}")
        body = list(self._body())
        owner, mine = _owners(program), set(program.sources) | set(program.constants)
        self.space["copy"] = np.array  # what leaves the program shares no memory with what came in
        results = ", ".join(f"copy({self.names[v]})" if owner[v] in mine else self.names[v] for v in program.results)
        self.source = "\n    ".join([f"def run({', '.join(arguments)}):", *body, f"return ({results}{',' * bool(results)})"])
        exec(compile(self.source, "<captured program>", "exec"), self.space)
        self.run: Run = self.space["run"]

    def _bind(self, name: str, value: Any) -> str:
        self.space[name] = value
        return name

    def _body(self) -> Iterator[str]:
        steps = self.program.steps
        owner = _owners(self.program)
        last = {owner[v]: k for k, step in enumerate(steps) for v in (*step.reads, step.output)}
        kept = {owner[v] for v in self.program.results}
        kept |= {owner[v] for v in (*self.program.sources, *self.program.constants)}
        dying: dict[int, list[Value]] = {}
        for value, k in last.items():
            if value not in kept:
                dying.setdefault(k, []).append(value)
        free: dict[Kind, list[str]] = {}
        held: dict[Value, tuple[Kind, str]] = {}

        def give_back(values: list[Value]) -> Iterator[str]:
            for value in values:
                if value in held:
                    kind, buffer = held.pop(value)
                    free.setdefault(kind, []).append(buffer)
                    if self.poison:
                        yield f"full({buffer}, {'nan' if kind[1].kind in 'fc' else 1})"
                elif value in self.names:
                    yield f"{self.names[value]} = None"

        for k, step in enumerate(steps):
            mine = [v for v in dying.get(k, ()) if v is not owner[step.output]]
            into = _into(step) and owner[step.output] is step.output and step.output not in kept
            early: list[Value] = []
            if into and step.op.elementwise and not self.poison:  # it may write over what it reads, element by element
                early = [v for v in mine if v in held]
                yield from give_back(early)
            call = self._call(step)
            if into:
                kind = _kind(step.output.like)
                pool = free.setdefault(kind, [])
                buffer = pool.pop() if pool else self._buffer(step.output.like)
                held[step.output] = kind, buffer
                self.names[step.output] = buffer
                yield f"{call}, out={buffer})"
            else:
                self.names[step.output] = f"v{step.output.number}"
                yield f"v{step.output.number} = {call})"
            yield from give_back([v for v in dying.get(k, ()) if v not in early])

    def _buffer(self, like: Any) -> str:
        self.buffers.append(np.empty_like(like))
        return self._bind(f"b{len(self.buffers) - 1}", self.buffers[-1])

    def _call(self, step: Step) -> str:
        """``f3(b0, c1, axis=k2``, without the bracket that ends it."""
        k = len(self.space)
        words = [self.names[x] if isinstance(x, Value) else self._bind(f"k{k}_{i}", x) for i, x in enumerate(step.inputs)]
        words += [f"{name}={self._bind(f'p{k}_{i}', v)}" for i, (name, v) in enumerate(step.params.items())]
        return f"{self._bind(f'f{k}', step.op.forward)}({', '.join(words)}"


def _into(step: Step) -> bool:
    """Whether a step can write into a buffer: a ufunc that gives an array."""
    like = step.output.like
    return isinstance(step.op.forward, np.ufunc) and type(like) is np.ndarray and not step.params


def _kind(like: Any) -> Kind:
    return like.shape, like.dtype, np.empty_like(like).strides


def _owners(program: Program) -> dict[Value, Value]:
    """For each value the one whose memory it may look at: itself, if it has its own."""
    owner: dict[Value, Value] = {v: v for v in (*program.sources, *program.constants)}
    for step in program.steps:
        owner[step.output] = step.output
        for x in step.reads:
            if _share(step.output.like, x.like):
                mine, theirs = owner[step.output], owner[x]
                for v, o in owner.items():  # a stage of several inputs may look at two: they are one from then on
                    if o is mine:
                        owner[v] = theirs
    return owner


def _share(a: Any, b: Any) -> bool:
    parts_a, parts_b = (p if isinstance(p, tuple) else (p,) for p in (a, b))
    return any(isinstance(p, np.ndarray) and isinstance(q, np.ndarray) and np.may_share_memory(p, q)
               for p in parts_a for q in parts_b)  # fmt: skip
