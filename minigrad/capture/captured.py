"""`capture`: a function that is recorded once per signature, and replayed from then on."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Hashable
from threading import RLock
from typing import Any

import numpy as np

from ..errors import ArgumentError, ModeError, lesson
from ..mode import get_mode
from ..nn import Buffer, Module, Parameter
from ..tensor import Tensor, constant, leaf_like, tensor
from ..tree import Rebuild, flatten
from .passes import EXACT, FAST, run_passes
from .program import Program, Source, Step, Value
from .recorder import record
from .replay import Replay
from .rewriting import by_bits
from .scalars import as_scalars, is_scalar

STATE = ("parameter", "buffer")
MANY = 8
"""So many recordings are kept for one signature, for other settings and layouts."""


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
        self.known: dict[Hashable, list[_Trace]] = {}
        self.newest: _Trace | None = None
        self.lock = RLock()  # the buffers of a replay belong to one call at a time

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        mode = get_mode()
        if mode.tape is not None or mode.transform:
            return self.f(*args, **kwargs)  # a part of what somebody else records
        leaves, rebuild, _ = flatten((args, kwargs))
        arrays = [_array(leaf) for leaf in leaves]
        signature = mode.grad, *_signature((args, kwargs), leaves, arrays)
        given = [leaf for leaf, a in zip(leaves, arrays, strict=True) if a is not None]
        with self.lock:
            traces = self.known.setdefault(signature, [])
            trace = next((t for t in traces if t.fits(given)), None)
            if trace is None:
                trace = _Trace(self, leaves, arrays, rebuild)
                if self.verify:
                    trace.verify(_Trace(self, leaves, arrays, rebuild))
                traces.append(trace)
                del traces[:-MANY]
            self.newest = trace
            # the first call is replayed too: its bits are those of any other
            return trace.replay(given, [a for a in arrays if a is not None])

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
    """One recording, and its replay."""

    def __init__(self, captured: Captured, leaves: list[Any], arrays: list[Any], rebuild: Rebuild) -> None:
        traced = [x if a is None else _traced(x, a) for x, a in zip(leaves, arrays, strict=True)]
        args, kwargs = rebuild(iter(traced))
        given = [t for t, a in zip(traced, arrays, strict=True) if a is not None]
        self.program, _, self.rebuild = record(captured.f, args, kwargs, given)
        program = run_passes(self.program, EXACT if captured.exact or is_scalar(self.program) else FAST)
        self.replayed = (None if captured.exact else as_scalars(program)) or Replay(program, captured.exact)
        self.layouts = [(s.place, v.like.strides) for v, s in self.replayed.program.sources.items() if s.kind in STATE]
        for program in (self.program, self.replayed.program):
            program.forget()

    def fits(self, given: list[Any]) -> bool:
        """Whether what is read besides the arguments is as it was when recorded: how the arrays are laid
        out, which tensors have a gradient, the settings."""
        return (all(leaf._node.value.strides == strides for leaf, strides in self.layouts)
                and all(_now(given, owner, name) == value for owner, name, value in self.program.settings))  # fmt: skip

    def replay(self, given: list[Any], arrays: list[Any]) -> Any:
        program = self.replayed.program
        read = [_read(source, given, arrays) for source in program.sources.values()]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # as in a rule with poles
            results = iter(self.replayed.run(*read))
        outputs = [_made(next(results)) if isinstance(x, Value) else x.copy() if isinstance(x, np.ndarray) else x
                   for x in program.outputs]  # fmt: skip
        tensors, slots, values = [], [], []
        for effect in program.effects:
            found = next(results) if isinstance(effect.value, Value) else effect.value
            tensor = given[effect.on] if isinstance(effect.on, int) else effect.on
            tensors.append(tensor)
            slots.append("_node" if effect.attribute == "data" else "_grad")
            values.append(leaf_like(tensor, found) if effect.attribute == "data" else None if found is None else _made(found))
        deque(map(setattr, tensors, slots, values), maxlen=0)  # all or nothing: no signal comes into a loop in C
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
        to the signature.  It may call `mg.grad`, `mg.value_and_grad`, ``.backward()``, the step of an
        optimiser: all is recorded.
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
        `f` branches on a value, gives a leaf an array that is not computed from tensors,
        or (with `verify`) reads something that changes.

    Notes
    -----
    Read at each call: the arguments, parameters (leaves that require a gradient) and their ``.grad``,
    buffers (`mg.nn.Buffer`: running statistics, an optimiser's moments and learning rate), and random
    generators, which draw anew.  New arrays and gradients of parameters and buffers are left at the end
    of a call, all of them or, after an exception, none.  Everything else is frozen as it was when
    recorded; ``print(captured.program)`` lists it.  Other shapes, dtypes or layouts are recorded anew,
    and so are a Module in another mode (``.eval()``) and other settings of an optimiser.
    """
    if not callable(f):
        raise ArgumentError(lesson("capture", f"got {type(f).__name__}", "a function", "mg.capture(step)"))
    return Captured(f, verify, exact)


def _is_leaf(x: Any) -> bool:
    """Whether it is a tensor that gradients and new arrays are left on."""
    return isinstance(x, Tensor) and x._node.op is None and x._node.handle is not None


def _traced(x: Any, array: Any) -> Tensor:
    """What the function is given for an argument when it is recorded."""
    if _is_leaf(x):
        return x  # type: ignore[no-any-return]
    out = tensor(array, requires_grad=isinstance(x, Tensor) and x.requires_grad)
    out._node.handle = None  # no leaf: no gradient is left there
    return out


def _read(source: Source, given: list[Any], arrays: list[Any]) -> Any:
    """What a source holds now."""
    if source.kind == "argument":
        return arrays[source.place]
    tensor = given[source.place] if isinstance(source.place, int) else source.place
    return (tensor._grad if source.kind == "gradient" else tensor)._node.value


def _now(given: list[Any], owner: Any, name: str) -> Any:
    """What a setting is now; of a gradient, whether there is one."""
    owner = given[owner] if isinstance(owner, int) else owner
    return owner._grad is not None if name == "grad" else getattr(owner, name)


def _array(leaf: Any) -> Any:
    """The array of an argument; None for what is part of the signature."""
    if isinstance(leaf, Tensor):
        return leaf._node.value
    return leaf if isinstance(leaf, (np.ndarray, np.generic)) else None


def _signature(tree: Any, leaves: list[Any], arrays: list[Any]) -> tuple[Hashable, Hashable]:
    first: dict[int, int] = {}  # a leaf that is given twice is one
    kinds = tuple((type(x), by_bits(x) if isinstance(x, (float, complex)) else x) if a is None else
                  (a.shape, a.dtype.str, _layout(a), first.setdefault(id(x), k) if _is_leaf(x) else None,
                   x if isinstance(x, (Parameter, Buffer)) else None)  # it may be read from elsewhere, too
                  for k, (x, a) in enumerate(zip(leaves, arrays, strict=True)))  # fmt: skip
    try:
        hash(kinds)
    except TypeError:
        given = next(x for x, a in zip(leaves, arrays, strict=True) if a is None and type(x).__hash__ is None)
        raise ArgumentError(lesson("capture", f"an argument holds {type(given).__name__}", "arrays, tensors, Modules, "
                                   "numbers and strings")) from None  # fmt: skip
    return _structure(tree), kinds


def _structure(tree: Any) -> Hashable:
    if isinstance(tree, Module):  # with what it does besides computing with its parameters
        return tree, tuple(m.training for m in tree.modules())
    if isinstance(tree, dict):
        return dict, tuple((k, _structure(v)) for k, v in tree.items())
    if isinstance(tree, (list, tuple)):
        return type(tree), tuple(map(_structure, tree))
    return None


def _layout(array: Any) -> Any:
    return array.strides if isinstance(array, np.ndarray) and not array.flags.c_contiguous else None


def _made(value: Any) -> Tensor:
    return constant(np.float64(value) if type(value) is float else np.asarray(value))
