"""Random programs: forked graphs of registered ops, at points where every derivative exists.

A program is drawn stage by stage, and each stage is run before it is taken: shapes and dtypes
are what came out, values stay of moderate size, and where a small move of a stage's inputs
changes a decision that it takes, or more than a smooth function would, the stage is not taken.
Decisions are whole numbers from `Choices`, of which 0 is the simplest: NumPy draws them here,
hypothesis in `strategies`, where a failing program then shrinks.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..op import BUILT_IN, OPS, PUBLIC, Op, Sample, domain_of, draw_samples
from .stage import tupled

STEP = 1e-4
"""How far a stage's inputs are moved to see whether it is smooth there."""
STEEP, CURVED = 200.0, 1000.0
"""The largest first and second differences, relative to the step, that count as smooth."""
LARGEST, ELEMENTS = 20.0, 64
"""Of a program's values."""
SHAPES = ((), (3,), (2, 3), (2, 1), (4,), (1, 3), (2, 3, 2), (3, 3))
POOL = 64
"""How many times an op's `samples` are drawn; later programs take them from memory."""


class Choices(Protocol):
    """Where decisions come from."""

    def integer(self, low: int, high: int) -> int:
        """A number from `low`, the simplest, to `high`, both included."""


class Chance:
    """Choices by a NumPy generator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def integer(self, low: int, high: int) -> int:
        return int(self._rng.integers(low, high, endpoint=True))


# --- a program ------------------------------------------------------------------------------


class Ref(NamedTuple):
    """A value of the program, by name."""

    name: str


class Stage(NamedTuple):
    """One call of an op.

    Attributes
    ----------
    op : Op
    operands : tuple
        References and constants.
    params : dict
    results : tuple of str
        What its outputs are called.
    several : bool
        The op gives a tuple.
    """

    op: Op
    operands: tuple[Any, ...]
    params: dict[str, Any]
    results: tuple[str, ...]
    several: bool = False


@dataclass(frozen=True, eq=False)
class Program:
    """A scalar function made of registered ops, and the point where it was drawn.

    Call it with one tensor or array for each leaf.  Its `repr` is the source of a script that
    builds it anew, runs it and checks its gradient.

    Attributes
    ----------
    point : dict of str -> array
        The leaves.
    stages : tuple of Stage
    weights : dict of str -> array
        The result is the sum of these products: every value that no stage takes has a weight.
    """

    point: dict[str, np.ndarray[Any, Any]]
    stages: tuple[Stage, ...]
    weights: dict[str, np.ndarray[Any, Any]]

    @property
    def ops(self) -> tuple[str, ...]:
        """The names of the ops, each once, in the order of their first call."""
        return tuple(dict.fromkeys(stage.op.name for stage in self.stages))

    @property
    def forks(self) -> int:
        """How many values are used more than once."""
        uses = Counter(k.name for stage in self.stages for k in stage.operands if isinstance(k, Ref))
        return sum(times > 1 for times in uses.values())

    def leaves(self) -> list[np.ndarray[Any, Any]]:
        """The point, in new arrays."""
        return [x.copy() for x in self.point.values()]

    def __call__(self, *leaves: Any) -> Any:
        return self.run(leaves, lambda op, args, params: op(*args, **params))

    def run(self, leaves: Sequence[Any], call: Callable[[Op, list[Any], dict[str, Any]], Any]) -> Any:
        """The program in other words: ``call(op, operands, params)`` runs a stage."""
        known = dict(zip(self.point, leaves, strict=True))
        for op, operands, params, results, several in self.stages:
            found = call(op, [known[k.name] if isinstance(k, Ref) else k for k in operands], params)
            known.update(zip(results, map(_whole, found if several else (found,)), strict=True))
        total = None
        for name, weight in self.weights.items():
            part = call(OPS["sum"], [call(OPS["multiply"], [known[name], weight], {})], {})
            total = part if total is None else call(OPS["add"], [total, part], {})
        return total

    def __repr__(self) -> str:
        return self.source()

    def source(self) -> str:
        """A script that rebuilds the program, runs it and checks its gradient."""
        arguments = ", ".join(self.point)
        lines = [f"def program({arguments}):"]
        for stage in self.stages:
            comma = "," if stage.several and len(stage.results) == 1 else ""
            lines.append(f"    {', '.join(stage.results)}{comma} = {_call(stage)}")
        sums = [f"mg.sum({name} * {written(weight)})" for name, weight in self.weights.items()]
        lines += [f"    return {' + '.join(sums)}", "", ""]
        lines += [f"{name} = {written(x)}" for name, x in self.point.items()]
        lines += [f"print(program({arguments}))", f"print(check_grads(program, {arguments}))", ""]
        body = "\n".join(lines)
        head = ["import numpy as np"]
        if re.search(r"\b(inf|nan)\b", body):
            head.append("from numpy import inf, nan")
        head += ["", "import minigrad as mg", "from minigrad.testing import check_grads"]
        own = [OPS.get(name) for name in self.ops if name not in BUILT_IN]
        head += dict.fromkeys(_origin(op) for op in own if op is not None)
        return "\n".join([*head, "", "", body])


def _whole(y: Any) -> Any:
    """NumPy's scalars as arrays."""
    return np.asarray(y) if isinstance(y, np.generic) else y


# --- written out ----------------------------------------------------------------------------


def _call(stage: Stage) -> str:
    op, params = stage.op, stage.params
    args = [k.name if isinstance(k, Ref) else written(k) for k in stage.operands]
    if op.name == "getitem":
        arrays = iter(args[1:])
        keys = [next(arrays) if isinstance(k, str) else _key(k) for k in params["index"]]
        return f"{args[0]}[{', '.join(keys) or '()'}]"
    given = [*args, *(f"{name}={written(value)}" for name, value in params.items())]
    return f"{_spelling(op)}({', '.join(given)})"


def _spelling(op: Op) -> str:
    """How a script reaches an op: its function where that takes what the op takes."""
    function = PUBLIC.get(op.name)
    plain = getattr(function, "__module__", "") == "minigrad.define" and op.name in BUILT_IN
    return f"mg.{op.name}" if plain else f"mg.OPS[{op.name!r}]"


def _key(k: Any) -> str:
    if isinstance(k, slice):
        start, stop, step = ("" if v is None else str(v) for v in (k.start, k.stop, k.step))
        return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"
    return "..." if k is Ellipsis else written(k)


def written(value: Any) -> str:
    """A value as Python, exactly."""
    if isinstance(value, np.ndarray):
        if value.size == 0:
            return f"np.zeros({value.shape}, np.{value.dtype.name})"
        plain = np.array(value.tolist()).dtype == value.dtype
        dtype = "" if plain else f", np.{value.dtype.name}"
        return f"np.array({value.tolist()}{dtype})"
    if isinstance(value, np.dtype):
        return f"np.dtype({value.name!r})"
    if isinstance(value, type) and issubclass(value, np.generic):
        return f"np.{value.__name__}"
    if type(value) is tuple:
        return f"({', '.join(map(written, value))}{',' * (len(value) == 1)})"
    if type(value) is list:
        return f"[{', '.join(map(written, value))}]"
    if type(value) is dict:
        return f"{{{', '.join(f'{written(k)}: {written(v)}' for k, v in value.items())}}}"
    return repr(value)


def _origin(op: Op) -> str:
    """The line that registers a user's op."""
    name = getattr(next(filter(None, op.rules), op.forward), "__module__", None) or "?"
    found = vars(sys.modules[name]).values() if name in sys.modules else ()
    if name != "__main__" and any(getattr(value, "op", None) is op for value in found):
        return f"import {name}  # defines the op {op.name!r}"
    return f"# define the op {op.name!r} here, as {name} does"


# --- is a stage smooth here? ----------------------------------------------------------------


def attempt(
    op: Op, inputs: Sequence[Any], params: dict[str, Any], *, bounded: bool = True
) -> Any:
    """What a stage gives, or None where it refuses its inputs or they lie outside of its
    domain, at a kink or where derivatives are large; with `bounded`, also where the output is
    large or empty."""
    try:
        with np.errstate(all="ignore"):
            y = _run(op, inputs, params)
            return y if _sane(op, tupled(y), bounded) and _smooth(op, inputs, params, tupled(y)) else None
    except Exception:  # whatever an op says of inputs that are not for it
        return None


def _run(op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Any:
    y = op.forward(*inputs, **params)
    return tuple(map(np.asarray, y)) if isinstance(y, tuple) else np.asarray(y)


def _sane(op: Op, outputs: tuple[Any, ...], bounded: bool) -> bool:
    kinds = {y.dtype.kind for y in outputs}
    if not (("f" in kinds) if op.differentiable else kinds == {"b"}):
        return False
    floats = [y for y in outputs if y.dtype.kind == "f"]
    if any(y.dtype != np.float64 or not np.all(np.isfinite(y)) for y in floats):
        return False
    return not bounded or (
        all(0 < y.size <= ELEMENTS for y in outputs)
        and all(np.max(np.abs(y)) <= LARGEST for y in floats)
    )


def _smooth(op: Op, inputs: Sequence[Any], params: dict[str, Any], outputs: tuple[Any, ...]) -> bool:
    rng = np.random.default_rng(0)
    decided = None if op.branch is None else np.asarray(op.branch(*inputs, **params))
    for _ in range(3):
        moves = [STEP * rng.uniform(-1, 1, np.shape(x)) if _moves(x) else None for x in inputs]
        up, down = (
            [x if t is None else np.asarray(x + sign * t) for x, t in zip(inputs, moves, strict=True)]
            for sign in (1, -1)
        )
        for y, above, below in zip(outputs, *(tupled(_run(op, p, params)) for p in (up, down)), strict=True):
            if y.dtype.kind != "f":
                if not (np.array_equal(y, above) and np.array_equal(y, below)):
                    return False
            elif not (np.all(np.abs(above - below) <= 2 * STEP * STEEP)
                      and np.all(np.abs(above + below - 2 * y) <= STEP * STEP * CURVED)):  # fmt: skip
                return False
        if decided is not None and not all(
            np.array_equal(decided, op.branch(*p, **params)) for p in (up, down)  # type: ignore[misc]
        ):
            return False
    return True


def _moves(x: Any) -> bool:
    return isinstance(x, float) or np.asarray(x).dtype.kind == "f"


# --- drawing --------------------------------------------------------------------------------


def usable(ops: Iterable[Op | str] | None = None) -> list[Op]:
    """Ops that programs are made of: the user's own first, then minigrad's.

    Those with a derivative, and comparisons, whose masks `where` takes; not the engine's own
    plumbing and not those that draw.
    """
    if ops is not None:
        return [OPS[op] if isinstance(op, str) else op for op in ops]
    found = [op for op in OPS.values()
             if op.arity != 0 and op.family not in ("backward", "tensor", "recompute")
             and (op.differentiable or (op.elementwise and op.samples is None))]  # fmt: skip
    return sorted(found, key=lambda op: op.name in BUILT_IN)


def draw_program(
    rng: np.random.Generator, *, ops: Iterable[Op | str] | None = None, stages: int = 10
) -> Program:
    """A random program of registered ops.

    Parameters
    ----------
    rng : numpy.random.Generator
    ops : iterable of Op or str, optional
        What it is made of; without it, of every op in the registry, a user's own included
        (those more often).  Stages that lead a value into an op's domain are added:
        mean, sin, multiply, add.
    stages : int
        About how many, at most.
    """
    return build(Chance(rng), ops=ops, stages=stages)


def build(choices: Choices, *, ops: Iterable[Op | str] | None = None, stages: int = 10) -> Program:
    """As `draw_program`, from any `Choices`."""
    builder = _Builder(choices, usable(ops))
    for _ in range(stages):
        builder.grow()
        if choices.integer(0, 7) == 0:
            break
    return builder.program()


@lru_cache(maxsize=1 << 15)
def pool(op: Op, seed: int) -> tuple[Sample, ...]:
    """Samples of an op in double precision, short to write down."""
    found = []
    for inputs, params in draw_samples(op, np.random.default_rng(seed)):
        kept = tuple(map(short, inputs))
        if all(np.asarray(x).dtype.kind in "biu" or np.asarray(x).dtype == np.float64 for x in kept) \
                and all(np.size(x) for x in kept):  # fmt: skip
            found.append((kept, params))
    return tuple(found)


def short(x: Any) -> Any:
    """With three decimals: what is printed is then exact, and can be read."""
    if isinstance(x, np.ndarray) and x.dtype.kind == "f":
        return np.asarray(np.round(x, 3))
    return np.asarray(x) if isinstance(x, (np.generic, list)) else x


class _Builder:
    def __init__(self, choices: Choices, ops: list[Op]) -> None:
        self.choices = choices
        self.own = [op for op in ops if op.name not in BUILT_IN]
        self.ops = ops
        self.values: dict[str, np.ndarray[Any, Any]] = {}
        self.point: dict[str, np.ndarray[Any, Any]] = {}
        self.stages: list[Stage] = []

    # decisions

    def one_of(self, things: Sequence[Any]) -> Any:
        return things[self.choices.integer(0, len(things) - 1)]

    def likely(self, percent: int) -> bool:
        return self.choices.integer(0, 99) >= 100 - percent

    def draw(self, domain: Any, shape: tuple[int, ...]) -> Any:
        rng = np.random.default_rng(self.choices.integer(0, 2**20))
        return short(np.asarray(domain.draw(rng, shape)))

    # growing

    def grow(self) -> None:
        """One more stage, if one is found."""
        op = self.one_of(self.own if self.own and not self.likely(75) else self.ops)
        drawn = self.operands(op)
        if drawn is None:
            return
        operands, start, params, fits = drawn
        if fits and self.tried(op, operands, start, params):
            return
        if any(isinstance(k, Ref) and self.floats(k) for k in operands):
            before = dict(self.values), list(self.stages)
            if self.tried(op, [self.bent(k, x) for k, x in zip(operands, start, strict=True)], start, params):
                return
            self.values, self.stages = before
            fresh = [None if isinstance(k, Ref) and self.floats(k) else k for k in operands]
            self.tried(op, fresh, start, params)

    def tried(self, op: Op, operands: Sequence[Any], start: Sequence[Any], params: dict[str, Any]) -> bool:
        """Add the stage if its inputs will do, and a leaf for every operand that is None."""
        pairs = list(zip(operands, start, strict=True))
        y = attempt(op, [self.values[k.name] if isinstance(k, Ref) else x for k, x in pairs], params)
        if y is None:
            return False
        given = []
        for k, x in pairs:
            if k is None:
                name = f"x{len(self.point)}"
                self.point[name] = self.values[name] = np.asarray(x)
                k = Ref(name)
            given.append(k)
        self.add(op, given, params, y)
        return True

    def bent(self, k: Any, x: Any) -> Any:
        """A value led into the op's domain: a point of it, moved a little by the value."""
        if not isinstance(k, Ref) or not self.floats(k):
            return k
        shape = np.shape(x)
        if self.values[k.name].shape != shape[len(shape) - self.values[k.name].ndim :]:
            k = self.then("mean", k)
        k = self.then("multiply", self.then("sin", k), np.asarray(0.1))
        return self.then("add", k, np.asarray(x))

    def then(self, name: str, ref: Ref, *constants: Any) -> Ref:
        op = OPS[name]
        return self.add(op, (ref, *constants), {}, _run(op, [self.values[ref.name], *constants], {}))

    def add(self, op: Op, operands: Sequence[Any], params: dict[str, Any], y: Any) -> Ref:
        first = sum(len(stage.results) for stage in self.stages)
        names = tuple(f"v{first + k}" for k in range(len(tupled(y))))
        self.stages.append(Stage(op, tuple(operands), dict(params), names, isinstance(y, tuple)))
        self.values.update(zip(names, tupled(y), strict=True))
        return Ref(names[0])

    def floats(self, ref: Ref) -> bool:
        return bool(self.values[ref.name].dtype.kind == "f")

    def operands(self, op: Op) -> tuple[list[Any], list[Any], dict[str, Any], bool] | None:
        """For each input a value of the program, None for a new leaf, or a constant; with
        arrays from the op's domain that could stand there, metadata, and whether the shapes of
        the values are what the op takes."""
        if op.samples is None:
            return self._from_domains(op)
        samples = pool(op, self.choices.integer(0, POOL - 1))
        if not samples:
            return None
        inputs, params = self.one_of(samples)
        operands, start, fits = [], [], True
        for i, x in enumerate(inputs):
            kind = np.asarray(x).dtype.kind
            ref: Any = x
            if kind == "b":
                ref = self._pick([n for n, v in self.values.items()
                                  if v.dtype.kind == "b" and v.shape == np.shape(x)]) or x  # fmt: skip
            elif kind == "f" and not isinstance(x, float) and self._rule(op, i):
                ref, fit = self._like(op, np.shape(x))
                fits = fits and fit
                if ref is not None and op.elementwise and op.arity == 1:
                    x = np.resize(x, self.values[ref.name].shape)
            operands.append(ref)
            start.append(x)
        return operands, start, params, fits

    def _from_domains(self, op: Op) -> tuple[list[Any], list[Any], dict[str, Any], bool]:
        operands: list[Any] = []
        start: list[Any] = []
        for i in range(op.arity or 1):
            floats = self._floats()
            if start:
                floats = [n for n in floats if _broadcast(self.values[n].shape, start[0].shape)]
                if not op.broadcasts:
                    floats = [n for n in floats if self.values[n].shape == start[0].shape]
            ref = self._pick(floats)
            shape = self.values[ref.name].shape if ref is not None else self._shape(op, start)
            operands.append(ref)
            start.append(self.draw(domain_of(op, i), shape))
        return operands, start, {}, True

    def _floats(self) -> list[str]:
        return [name for name, v in self.values.items() if v.dtype.kind == "f"]

    def _like(self, op: Op, shape: tuple[int, ...]) -> tuple[Ref | None, bool]:
        """A value for an input that has this shape in a sample, and whether it can go in as it
        is.  What is nobody's public function takes what it was written for."""
        floats = self._floats()
        same = [n for n in floats if self.values[n].shape == shape]
        near = [n for n in floats if _alike(self.values[n].shape, shape)]
        if op.elementwise and op.arity == 1:
            fitting = floats
        elif op.broadcasts:
            fitting = same or [n for n in near if _broadcast(self.values[n].shape, shape)]
        elif op.arity == 1 and (op.name in PUBLIC or op.name not in BUILT_IN):
            fitting = same or near
        else:
            fitting = same
        ref = self._pick(fitting or floats)
        return ref, ref is None or ref.name in fitting

    def _pick(self, names: Sequence[str]) -> Ref | None:
        if not names or not self.likely(85):
            return None
        return Ref(names[-1] if self.likely(40) else self.one_of(names))

    @staticmethod
    def _rule(op: Op, i: int) -> bool:
        return bool(op.rules) and op.rules[0 if op.variadic else i] is not None

    def _shape(self, op: Op, others: Sequence[Any]) -> tuple[int, ...]:
        """Of a new leaf that is to fit the others."""
        if not others:
            return tuple(self.one_of(SHAPES))
        like = others[0].shape
        ones = tuple(n if k % 2 else 1 for k, n in enumerate(like))
        return tuple(self.one_of([like, (), like[1:], ones])) if op.broadcasts else tuple(like)

    # the end

    def program(self) -> Program:
        if not any(v.dtype.kind == "f" for v in self.values.values()):
            self.point["x0"] = self.values["x0"] = np.asarray(1.0)
        used = {k.name for stage in self.stages if stage.op.differentiable
                for k in stage.operands if isinstance(k, Ref)}  # fmt: skip
        rng = np.random.default_rng(len(self.values))
        weights = {}
        for name, v in self.values.items():
            if name not in used and v.dtype.kind == "f":
                sign = rng.choice([-1.0, 1.0], v.shape)
                weights[name] = np.asarray(np.round(sign * rng.uniform(0.25, 2, v.shape), 2))
        return Program(dict(self.point), tuple(self.stages), weights)


def _alike(a: tuple[int, ...], sample: tuple[int, ...]) -> bool:
    """As many axes, and equal where the sample's are: an op of square matrices gets those."""
    first = [a[sample.index(n)] for n in sample] if len(a) == len(sample) else None
    return first is not None and list(a) == first


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(reversed(a), reversed(b), strict=False))


__all__ = ["Chance", "Choices", "Program", "Ref", "Stage", "attempt", "build", "draw_program", "usable", "written"]
