"""A recorded function as a list of steps: the one intermediate form, for every reader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..op import Op
from ..tensor import Tensor


@dataclass(eq=False, slots=True)
class Value:
    """A value of the program; its number is its name.

    Attributes
    ----------
    number : int
    like : ndarray, numpy scalar or tuple of them
        What it was when it was recorded: shape, dtype and, until the program is compiled, layout.
    name : str or None
    """

    number: int
    like: Any = field(repr=False)
    name: str | None = None

    def __str__(self) -> str:
        return f"%{self.number}"


Operand = Value | Any
"""A `Value`, or a plain constant."""


@dataclass(eq=False, slots=True)
class Step:
    """``output = op(*inputs, **params)``; never changed (and not frozen, which takes a million steps seconds).

    Attributes
    ----------
    looks_at : tuple of int
        The inputs whose memory the output shares: a slice, a transpose.
    laid : ndarray or None
        An array laid out like the output, where a pass has given it another layout than it had.
    """

    op: Op
    inputs: tuple[Operand, ...]
    params: dict[str, Any]
    output: Value
    looks_at: tuple[int, ...] = ()
    laid: Any = None

    @property
    def reads(self) -> Iterator[Value]:
        """The values among the inputs."""
        return iter([x for x in self.inputs if isinstance(x, Value)])

    @property
    def draws(self) -> bool:
        """Whether it draws random numbers: then it runs once per replay, and in its order."""
        return bool(self.params) and any(isinstance(v, np.random.Generator) for v in self.params.values())

    def __str__(self) -> str:
        shown = [_shown(x) for x in self.inputs] + [f"{k}={_shown(v)}" for k, v in self.params.items()]
        name = f"  # {self.output.name}" if self.output.name else ""
        return f"{self.output} = {self.op.name}({', '.join(shown)})  {kind(self.output.like)}{name}"


@dataclass(frozen=True)
class Source:
    """Where a value that no step makes is read from at each call.

    Attributes
    ----------
    kind : str
        "argument", "parameter", "buffer" or "gradient" (of a tensor, before the call).
    place : int or Tensor
        Which leaf of the arguments; or the tensor.
    """

    kind: str
    place: Any


@dataclass(frozen=True)
class Effect:
    """What is left on a tensor.

    Attributes
    ----------
    on : int or Tensor
        Which leaf of the arguments; or the tensor.
    attribute : str
        "data" or "grad".
    value : Value or None
        The new one.
    """

    on: Any
    attribute: str
    value: Operand


@dataclass(frozen=True)
class Program:
    """What a function does for arguments of one signature.

    Attributes
    ----------
    sources : dict of Value -> Source
        Read at each call.
    constants : dict of Value -> array
        Frozen: what the function read from elsewhere when it was recorded.
    steps : tuple of Step
    outputs : tuple of Value or constant
        The leaves of what it returns.
    effects : tuple of Effect
        What it leaves on parameters and buffers.
    settings : tuple of (object, str, value)
        Attributes, and what they were: in other circumstances it would do something else.
    """

    sources: dict[Value, Source]
    constants: dict[Value, Any]
    steps: tuple[Step, ...]
    outputs: tuple[Operand, ...]
    effects: tuple[Effect, ...] = ()
    settings: tuple[tuple[Any, str, Any], ...] = ()

    def forget(self) -> None:
        """Let go of the arrays that were met when recording: of a value that is no constant, shape
        and dtype stay."""
        for v in (*self.sources, *(v for s in self.steps for v in (s.output, *s.reads)), *self.results):
            if v not in self.constants:
                object.__setattr__(v, "like", _ghost(v.like))
        for step in self.steps:
            step.laid = None

    def with_steps(self, steps: Sequence[Step]) -> Program:
        return replace(self, steps=tuple(steps))

    @property
    def results(self) -> list[Value]:
        """Every value that leaves the program."""
        return [v for v in (*self.outputs, *(e.value for e in self.effects)) if isinstance(v, Value)]

    def __str__(self) -> str:
        lines = []
        for value, source in self.sources.items():
            lines.append(f"{value} <- {source.kind} {_place(source.place)}  {kind(value.like)}")
        for value, array in self.constants.items():
            lines.append(f"{value} <- constant {_shown(array)}  {kind(value.like)}")
        lines += map(str, self.steps)
        for e in self.effects:
            place = f"argument {e.on}" if isinstance(e.on, int) else _place(e.on)
            lines.append(f"{place}.{e.attribute} <- {_shown(e.value)}")
        return "\n".join([*lines, f"return {', '.join(map(_shown, self.outputs))}"])


_NOTHING = bytes(64)


def _ghost(like: Any) -> Any:
    if isinstance(like, tuple):
        return tuple(map(_ghost, like))
    if not isinstance(like, np.ndarray) or not any(like.strides):
        return like
    return np.ndarray(like.shape, like.dtype, _NOTHING, strides=(0,) * like.ndim)  # one number, many times


def _place(place: Any) -> str:
    return place.name or "unnamed" if isinstance(place, Tensor) else str(place)


def kind(like: Any) -> str:
    """``float32[4, 2]``."""
    if isinstance(like, tuple):
        return f"({', '.join(map(kind, like))})"
    return f"{like.dtype}{list(np.shape(like))}" if hasattr(like, "dtype") else type(like).__name__


def _shown(x: Any) -> str:
    if isinstance(x, np.ndarray) and x.size > 4:
        return f"<{kind(x)}>"
    if isinstance(x, (np.ndarray, np.generic)):
        return np.array2string(np.asarray(x), separator=", ").replace("\n", "")
    if isinstance(x, np.random.Generator):
        return "<generator>"
    return str(x) if isinstance(x, Value) else repr(x)
