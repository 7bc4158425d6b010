"""`capture`: a function that is recorded once per signature, and replayed from then on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from threading import RLock
from typing import Any

import numpy as np

from ..errors import ArgumentError, ModeError, lesson
from ..mode import get_mode
from ..nn import Module
from ..tensor import Tensor, constant, tensor
from ..tree import Rebuild, flatten
from .passes import EXACT, FAST, run_passes
from .program import Program, Step, Value
from .recorder import record
from .replay import Replay
from .scalars import as_scalars, is_scalar


class Captured:
    """A captured function.

    Attributes
    ----------
    program : Program
        What was recorded for the newest signature, before any pass; ``print`` it.
    optimized : Program
        What runs in its place.
    source : str
        The Python text that is replayed: NumPy in buffers, or arithmetic on floats.
    """

    def __init__(self, f: Callable[..., Any], verify: bool = False, exact: bool = False) -> None:
        functools.update_wrapper(self, f)
        self.f, self.verify, self.exact = f, verify, exact
        self.known: dict[Hashable, _Trace] = {}
        self.newest: _Trace | None = None
        self.lock = RLock()  # the buffers of a replay belong to one call at a time

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        mode = get_mode()
        if mode.tape is not None or mode.transform:
            return self.f(*args, **kwargs)  # a part of what somebody else records
        leaves, rebuild, _ = flatten((args, kwargs))
        arrays = [_array(leaf) for leaf in leaves]
        signature = mode.grad, *_signature((args, kwargs), leaves, arrays)
        with self.lock:
            trace = self.known.get(signature)
            if trace is None or not trace.fits():
                trace = _Trace(self, leaves, arrays, rebuild)
                if self.verify:
                    trace.verify(_Trace(self, leaves, arrays, rebuild))
                self.known[signature] = self.newest = trace
                return trace.first
            self.newest = trace
            return trace.replay(arrays)

    @property
    def program(self) -> Program:
        return self._newest().program

    @property
    def optimized(self) -> Program:
        return self._newest().replayed.program

    @property
    def source(self) -> str:
        return self._newest().replayed.source

    def _newest(self) -> _Trace:
        if self.newest is None:
            raise ModeError(lesson("capture", "nothing is recorded yet", "", "call the captured function once"))
        return self.newest


class _Trace:
    """One signature's recording, and its replay."""

    def __init__(self, captured: Captured, leaves: list[Any], arrays: list[Any], rebuild: Rebuild) -> None:
        traced = [None if a is None else tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
        args, kwargs = rebuild(iter([x if t is None else t for x, t in zip(leaves, traced, strict=True)]))
        self.program, result, self.rebuild = record(captured.f, args, kwargs, [t for t in traced if t is not None])
        returned, _, _ = flatten(result)
        self.first = self.rebuild(iter([_leaves_here(x) for x in returned]))
        passes = EXACT if captured.exact or is_scalar(self.program) else FAST
        program = run_passes(self.program, passes)
        self.replayed = (None if captured.exact else as_scalars(program)) or Replay(program, captured.exact)

    def fits(self) -> bool:
        """Whether what is read besides the arguments still has the shapes that were recorded."""
        sources = self.replayed.program.sources
        return all(s.kind != "parameter" or (s.place.shape, s.place.dtype) == (v.like.shape, v.like.dtype)
                   for v, s in sources.items())  # fmt: skip

    def replay(self, arrays: list[Any]) -> Any:
        program = self.replayed.program
        given = [a for a in arrays if a is not None]
        read = [given[s.place] if s.kind == "argument" else s.place._node.value for s in program.sources.values()]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # as in a rule with poles
            found = iter(self.replayed.run(*read))
        outputs = [_made(next(found)) if isinstance(x, Value) else x for x in program.outputs]
        for parameter, _ in program.effects:
            parameter.grad = _made(next(found))
        return self.rebuild(iter(outputs))

    def verify(self, again: _Trace) -> None:
        """Compare with a second recording."""
        one, two = self.program, again.program
        if [_shape(step) for step in one.steps] != [_shape(step) for step in two.steps]:
            raise ModeError(lesson("capture", "two recordings of the same call did different things",
                                   "a function of its arguments, of parameters and of generators"))  # fmt: skip
        for a, b in zip(_frozen(one), _frozen(two), strict=True):
            if not np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind in "fc"):
                raise ModeError(lesson(
                    "capture", f"a constant of shape {np.shape(a)} differs between two recordings of the same call",
                    "constants that stay", "give what changes as an argument, or draw it with an op that takes a "
                    "generator"))  # fmt: skip


def _shape(step: Step) -> Any:
    """What a step does, whatever its constants hold."""
    inputs = tuple(x.number if isinstance(x, Value) else np.shape(x) for x in step.inputs)
    return step.op.name, inputs, step.output.number, tuple(step.params)


def _frozen(program: Program) -> list[Any]:
    """Every constant that a program holds."""
    return [*program.constants.values(),
            *(x for step in program.steps for x in step.inputs if not isinstance(x, Value))]  # fmt: skip


def capture(f: Callable[..., Any], verify: bool = False, *, exact: bool = False) -> Captured:
    """Record what a function does once per signature, then replay it as straight-line NumPy.

    Parameters
    ----------
    f : callable
        Takes trees of arrays, tensors and Modules; whatever is no array (numbers, strings) belongs
        to the signature.  It may call `mg.grad`, `mg.value_and_grad`, ``.backward()``: the reverse
        pass is recorded like everything else.
    verify : bool
        Record each signature twice, and raise if the recordings differ.
    exact : bool
        Only what keeps every bit: the numbers are then those of the eager function, bit for bit.
        Otherwise sums may be taken in another order, and a program of nothing but 0-d float64 values
        runs on Python floats.

    Returns
    -------
    Captured
        Called like `f`.  Its results are constants: what is to be differentiated is differentiated
        inside; under `mg.grad` and the other transforms `f` itself runs.

    Raises
    ------
    ModeError
        `f` branches on a value, replaces a leaf's array (an optimiser's step, running statistics),
        or (with `verify`) reads something that changes.

    Notes
    -----
    Read at each call: the arguments, parameters (leaves that require a gradient), and random
    generators, which draw anew.  Everything else is frozen as it was when recorded;
    ``print(captured.program)`` lists it.  Other shapes, dtypes or layouts are recorded anew, and so
    is a Module argument in another mode (``.eval()``) or with other buffers.
    """
    if not callable(f):
        raise ArgumentError(lesson("capture", f"got {type(f).__name__}", "a function", "mg.capture(step)"))
    return Captured(f, verify, exact)


def _array(leaf: Any) -> Any:
    """The array of an argument; None for what is part of the signature."""
    if isinstance(leaf, Tensor):
        return leaf._node.value
    return leaf if isinstance(leaf, (np.ndarray, np.generic)) else None


def _signature(tree: Any, leaves: list[Any], arrays: list[Any]) -> tuple[Hashable, Hashable]:
    kinds = tuple((type(x), x) if a is None else (a.shape, a.dtype.str, _layout(a))
                  for x, a in zip(leaves, arrays, strict=True))  # fmt: skip
    try:
        hash(kinds)
    except TypeError:
        given = next(x for x, a in zip(leaves, arrays, strict=True) if a is None and type(x).__hash__ is None)
        raise ArgumentError(lesson("capture", f"an argument holds {type(given).__name__}", "arrays, tensors, Modules, "
                                   "numbers and strings")) from None  # fmt: skip
    return _structure(tree), kinds


def _structure(tree: Any) -> Hashable:
    if isinstance(tree, Module):  # with what it does besides computing with its parameters
        return tree, tuple(m.training for m in tree.modules()), tuple(b._node for b in tree.named_buffers().values())
    if isinstance(tree, dict):
        return dict, tuple((k, _structure(v)) for k, v in tree.items())
    if isinstance(tree, (list, tuple)):
        return type(tree), tuple(map(_structure, tree))
    return None


def _layout(array: Any) -> Any:
    return array.strides if isinstance(array, np.ndarray) and not array.flags.c_contiguous else None


def _leaves_here(x: Any) -> Any:
    return x.detach() if isinstance(x, Tensor) else x


def _made(value: Any) -> Tensor:
    return constant(np.float64(value) if type(value) is float else np.asarray(value))
