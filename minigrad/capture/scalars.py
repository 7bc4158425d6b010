"""A Program of numbers as straight-line Python on floats: ``a * b``, ``tanh(a)``, no array anywhere.

For a graph of 0-d float64 values, NumPy costs a hundred times the arithmetic.  An op is written as
its `forward` says: run on symbols, it shows which NumPy functions it is made of, and the tables here
say how Python writes those.  So an op that a user defines is written too, and one that does what the
tables lack leaves the program to the NumPy replay.

`math.tanh` and `np.tanh` differ in the last bit: this is a reassociating reader.  Where Python has an
exception and IEEE 754 a number (1/0, ln 0, exp 1000), the call is done over by the NumPy replay.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np

from ..backward import zero_law
from ..op import Op
from .program import Program, Value
from .replay import Replay

NUMBERS: dict[Any, str] = {
    np.add: "{0} + {1}", np.subtract: "{0} - {1}", np.multiply: "{0} * {1}", np.divide: "{0} / {1}",
    np.negative: "-{0}", np.positive: "{0}", np.reciprocal: "1.0 / {0}", np.square: "{0} * {0}",
    np.remainder: "{0} % {1}", np.absolute: "fabs({0})", np.power: "pow({0}, {1})",
    np.sign: "1.0 if {0} > 0.0 else -1.0 if {0} < 0.0 else {0} - {0}",
    np.maximum: "{0} if {0} > {1} or {0} != {0} else {1}", np.minimum: "{0} if {0} < {1} or {0} != {0} else {1}",
    np.fmax: "{0} if {0} > {1} or {1} != {1} else {1}", np.fmin: "{0} if {0} < {1} or {1} != {1} else {1}",
    np.rint: "copysign(round({0}), {0})",
    **{ufunc: f"copysign({ufunc.__name__}({{0}}), {{0}})" for ufunc in (np.floor, np.ceil, np.trunc)},
    **{ufunc: f"{name or ufunc.__name__}({{0}})" for ufunc, name in {
        np.exp: "", np.exp2: "", np.expm1: "", np.log: "", np.log1p: "", np.log2: "", np.log10: "", np.sqrt: "",
        np.cbrt: "", np.fabs: "", np.sin: "", np.cos: "", np.tan: "", np.sinh: "", np.cosh: "", np.tanh: "",
        np.arcsin: "asin", np.arccos: "acos", np.arctan: "atan", np.arcsinh: "asinh", np.arccosh: "acosh",
        np.arctanh: "atanh", np.radians: "", np.degrees: "", np.deg2rad: "radians", np.rad2deg: "degrees"}.items()},
    **{ufunc: f"{name}({{0}}, {{1}})" for ufunc, name in {
        np.hypot: "hypot", np.arctan2: "atan2", np.copysign: "copysign", np.fmod: "fmod"}.items()},
    zero_law.forward: "0.0 if {1} == 0.0 and not isfinite({0}) else {0}",
}  # fmt: skip
"""NumPy function of floats with a float -> how Python writes it."""

TESTS: dict[Any, str] = {
    np.less: "{0} < {1}", np.less_equal: "{0} <= {1}", np.greater: "{0} > {1}", np.greater_equal: "{0} >= {1}",
    np.equal: "{0} == {1}", np.not_equal: "{0} != {1}", np.isnan: "{0} != {0}", np.isfinite: "isfinite({0})",
    np.isinf: "isinf({0})", np.signbit: "copysign(1.0, {0}) < 0.0",
}  # fmt: skip
"""The same, with a truth value."""

LOGIC: dict[Any, str] = {
    np.logical_and: "{0} and {1}", np.logical_or: "{0} or {1}", np.logical_xor: "{0} != {1}", np.logical_not: "not {0}",
    np.bitwise_and: "{0} and {1}", np.bitwise_or: "{0} or {1}", np.bitwise_xor: "{0} != {1}", np.invert: "not {0}",
}  # fmt: skip
"""The same, of truth values."""

POWERS = {-1: "1.0 / {0}", 1: "{0}", 2: "{0} * {0}", 3: "{0} * {0} * {0}"}

CHUNK = 2000
"""Instructions in a function: short enough for its locals to have short names, long enough for few to leave it."""
DEPTH = 12
"""How deeply expressions are nested."""

ATOM = 3
"""What binds so strongly needs no brackets anywhere; products have 2, sums 1."""

KINDS = {np.dtype(np.float64): "number", np.dtype(np.bool_): "truth"}
SPACE = {**vars(math), "__builtins__": {"round": round}}
UNUSUAL = (OverflowError, ValueError, ZeroDivisionError)

Operand = int | str  # the instruction that makes it, or the text of a constant
Instruction = tuple[str, tuple[Operand, ...]]


class Scalars:
    """A compiled program of numbers.

    Parameters
    ----------
    program : Program
    instructions : list of (str, tuple)
        What to compute; the first ones stand for the sources.
    results : list of int
        Which instructions make what leaves the program.
    """

    def __init__(self, program: Program, instructions: list[Instruction], results: list[int]) -> None:
        self.program = program
        self.read = [float if KINDS[v.like.dtype] == "number" else bool for v in program.sources]
        chunks = _Chunks(instructions, len(program.sources), results)
        self.texts = list(chunks.texts())
        self.runs = [_compiled(text) for text in self.texts]
        self.where = [chunks.place[i] for i in results]

    @property
    def source(self) -> str:
        """The Python text that runs."""
        return "\n\n".join(self.texts)

    @cached_property
    def unusual(self) -> Replay:
        """The NumPy replay, for numbers that Python has no arithmetic for."""
        return Replay(self.program, exact=False)

    def run(self, *given: Any) -> Sequence[Any]:
        values: list[Sequence[Any]] = [[read(x) for read, x in zip(self.read, given, strict=True)]]
        try:
            for run in self.runs:
                values.append(run(values))
        except UNUSUAL:
            return self.unusual.run(*given)
        return [values[k][n] for k, n in self.where]


def as_scalars(program: Program) -> Scalars | None:
    """The program on floats; None if one of its values is no 0-d float64, or an op cannot be written so."""
    if not is_scalar(program):
        return None
    instructions: list[Instruction] = [("", ())] * len(program.sources)
    made: dict[Value, Operand] = {v: k for k, v in enumerate(program.sources)}
    kinds = {v: _kind(v.like) for v in (*program.sources, *program.constants)}
    written: dict[Hashable, _Sheet] = {}
    try:
        made.update((v, _text(c)) for v, c in program.constants.items())
        for op, inputs, params, output in [(s.op, s.inputs, s.params, s.output) for s in program.steps]:
            of = tuple([kinds[x] if type(x) is Value else _kind(x) for x in inputs])
            key = (op, of, repr(params)) if params else (op, of)
            sheet = written.get(key)
            if sheet is None:
                sheet = written[key] = _Sheet(op, of, params)
            made[output] = sheet.copied(instructions, tuple([made[x] if type(x) is Value else _text(x) for x in inputs]))
            kinds[output] = sheet.kind
    except UnwritableError:
        return None
    results = []
    for v in program.results:
        operand = made[v]
        if isinstance(operand, str):
            instructions.append(("{0}", (operand,)))
            operand = len(instructions) - 1
        results.append(operand)
    return Scalars(program, instructions, results)


def is_scalar(program: Program) -> bool:
    """Whether every value is a 0-d float64, or a truth value."""
    values = [*program.sources, *program.constants, *[step.output for step in program.steps]]
    return bool(program.steps) and all(_is_scalar(v.like) for v in values)


class UnwritableError(Exception):
    """An op does what the tables lack; never seen outside."""


# --- an op, taken apart into functions of numbers ------------------------------------------


class _Sheet:
    """The instructions of one op: operand ``~i`` is its input i."""

    def __init__(self, op: Op, kinds: tuple[str, ...], params: dict[str, Any]) -> None:
        self.lines: list[Instruction] = []
        if not all(type(v) in PLAIN for v in params.values()):
            raise UnwritableError
        symbols = [_Symbol(self, ~i, kind) for i, kind in enumerate(kinds)]
        self.result: Operand
        try:
            if op.forward in NUMBERS and not params:
                made = self.apply(op.forward, symbols)
            else:
                made = op.forward(*symbols, **params)
            self.result = made.operand if isinstance(made, _Symbol) else _text(made)
            self.kind = _kind(made)
        except Exception:  # whatever an op does with a number that it cannot do with a symbol
            raise UnwritableError from None
        whole = [operands == tuple([~i for i in range(len(kinds))]) for _, operands in self.lines] == [True]
        self.template = self.lines[0][0] if whole and self.result == 0 else ""

    def copied(self, instructions: list[Instruction], given: tuple[Operand, ...]) -> Operand:
        """Write them down for these inputs; where the result is."""
        base = len(instructions)
        if self.template:  # the usual case, written out for speed
            instructions.append((self.template, given))
            return base

        def here(x: Operand) -> Operand:
            return x if isinstance(x, str) else base + x if x >= 0 else given[~x]

        for template, operands in self.lines:
            instructions.append((template, tuple([here(x) for x in operands])))
        return here(self.result)

    def apply(self, function: Any, inputs: Sequence[Any]) -> _Symbol:
        """A NumPy function of symbols and constants."""
        kinds = [_kind(x) for x in inputs]
        if function in LOGIC and "number" not in kinds:
            return self._line(LOGIC[function], inputs, "truth")
        if "number" not in kinds and function is not np.where:
            raise UnwritableError  # a sum of truth values is another truth value
        if function is np.where:
            numbers = "number" in kinds[1:]
            branches = [self._number(x) if numbers else x for x in inputs[1:]]
            if kinds[0] != "truth":
                raise UnwritableError
            return self._line("{1} if {0} else {2}", [inputs[0], *branches], "number" if numbers else "truth")
        inputs = [self._number(x) for x in inputs]
        if function is np.power and type(inputs[1]) is float and inputs[1] in POWERS:
            return self._line(POWERS[int(inputs[1])], inputs[:1], "number")
        if function in TESTS:
            return self._line(TESTS[function], inputs, "truth")
        return self._line(NUMBERS[function], inputs, "number")

    def _number(self, x: Any) -> Any:
        if not isinstance(x, _Symbol):
            return float(x)
        return x if x.kind == "number" else self._line("1.0 if {0} else 0.0", [x], "number")

    def _line(self, template: str, inputs: Sequence[Any], kind: str) -> _Symbol:
        self.lines.append((template, tuple([x.operand if isinstance(x, _Symbol) else _text(x) for x in inputs])))
        return _Symbol(self, len(self.lines) - 1, kind)


class _Symbol(np.lib.mixins.NDArrayOperatorsMixin):
    """A number that is not known yet; what is done with it is written on its sheet."""

    shape, ndim, size = (), 0, 1

    def __init__(self, sheet: _Sheet, operand: Operand, kind: str) -> None:
        self.sheet, self.operand, self.kind = sheet, operand, kind
        self.dtype = np.dtype(np.float64 if kind == "number" else np.bool_)

    def __bool__(self) -> bool:
        raise UnwritableError  # the op branches on its value

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> _Symbol:
        if method != "__call__" or kwargs:
            raise UnwritableError
        return self.sheet.apply(ufunc, inputs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function is np.where and len(args) == 3:
            return self.sheet.apply(np.where, args)
        if function is np.clip and len(args) == 3:
            return np.minimum(np.maximum(args[0], args[1]), args[2])
        raise UnwritableError

    def copy(self) -> _Symbol:
        return self

    def astype(self, dtype: Any) -> _Symbol:
        if np.dtype(dtype) != self.dtype:
            raise UnwritableError
        return self


PLAIN = (int, float, bool, type(None), str, type(np.dtype(np.float64)))


def _is_scalar(like: Any) -> bool:
    return type(like) is np.float64 or not isinstance(like, tuple) and np.shape(like) == () and like.dtype in KINDS


def _kind(x: Any) -> str:
    """Whether an operand is a number or a truth value; float32 has a rounding of its own."""
    if isinstance(x, _Symbol):
        return x.kind
    if type(x) in (np.float64, float, int):
        return "number"
    dtype = np.dtype(bool) if type(x) is bool else getattr(x, "dtype", None)
    if np.shape(x) != () or dtype is None or dtype.kind not in "iu" and dtype not in KINDS:
        raise UnwritableError
    return KINDS.get(dtype, "number")


def _text(constant: Any) -> str:
    """A constant as Python writes it."""
    if _kind(constant) == "truth":
        return str(bool(constant))
    number = float(constant)
    if number != constant and number == number:
        raise UnwritableError  # an integer that is no float
    return repr(number)


# --- functions of bounded length -----------------------------------------------------------


class _Chunks:
    """Instructions as functions, each of which is given what those before it returned.

    What is used once stands in the expression that uses it; what a later function uses, or leaves the
    program, is returned; the rest are locals, whose names are used again.
    """

    def __init__(self, instructions: list[Instruction], given: int, results: list[int]) -> None:
        self.instructions = instructions
        self.place = {k: (0, k) for k in range(given)}  # which function returns it, from 1, and where
        count = len(instructions)
        self.last = last = [-1] * count  # the chunk that needs it last
        self.uses = uses = [0] * count
        self.reader = reader = [-1] * count
        for i in results:
            last[i] = count
        for i in range(count - 1, given - 1, -1):
            if last[i] < 0:
                continue  # an op made more than its result needs
            template, operands = instructions[i]
            for x, times in zip(operands, _times(template), strict=False):
                if type(x) is int:
                    uses[x] += times
                    reader[x] = i
                    if last[x] < 0:
                        last[x] = i // CHUNK
        self.given = given

    def texts(self) -> Iterator[str]:
        for start in range(0, len(self.instructions), CHUNK):
            lines = self._lines(max(start, self.given), min(start + CHUNK, len(self.instructions)))
            yield "\n    ".join(["def run(v):", *lines])

    def _lines(self, low: int, high: int) -> Iterator[str]:
        """The body of the function of these instructions."""
        instructions, uses, last, here = self.instructions, self.uses, self.last, (high - 1) // CHUNK
        chosen = [i for i in range(low, high) if last[i] >= 0]
        depth: dict[Operand, int] = {}  # of those that stand in the expression of their reader
        for i in chosen:
            if uses[i] == 1 and last[i] == here:
                nested = 1
                for x in instructions[i][1]:
                    if x in depth and depth[x] >= nested:
                        nested = depth[x] + 1
                if nested < DEPTH:
                    depth[i] = nested
        statement: dict[int, int] = {}
        reads: dict[int, int] = {}
        ends: dict[int, int] = {}  # the statement that reads a local last
        for i in reversed(chosen):
            statement[i] = at = statement[self.reader[i]] if i in depth else i
            template, operands = instructions[i]
            for x, times in zip(operands, _times(template), strict=False):
                if type(x) is int and x not in depth:
                    reads[x] = reads.get(x, 0) + times
                    if ends.get(x, 0) < at:
                        ends[x] = at
        leaving = [i for i in chosen if last[i] > here]
        ends.update(dict.fromkeys(leaving, high))
        dying: dict[int, list[int]] = {}
        for x, at in ends.items():
            dying.setdefault(at, []).append(x)

        names: dict[int, str] = {}
        strength: dict[int, int] = {}
        free: list[str] = []
        seen: set[int] = set()
        count = 0
        for i in chosen:
            template, operands = instructions[i]
            own, needed = _binding(template)
            words = []
            for x, least in zip(operands, needed, strict=False):
                if isinstance(x, str):
                    words.append(x)
                    continue
                if x not in names:
                    source, k = self.place[x]
                    if source not in seen:
                        seen.add(source)
                        yield f"v{source} = v[{source}]"
                    read = f"v{source}[{k}]"
                    if reads[x] == 1:
                        words.append(read)
                        continue
                    names[x] = free.pop() if free else f"x{(count := count + 1)}"
                    yield f"{names[x]} = {read}"
                words.append(names[x] if strength.get(x, ATOM) >= least else f"({names[x]})")
            text = template.format(*words)
            if i in depth:
                names[i], strength[i] = text, own
                continue
            free += [names[x] for x in dying.get(i, ()) if x in names]
            names[i] = free.pop() if free else f"x{(count := count + 1)}"
            yield f"{names[i]} = {text}"
        self.place.update((i, (here + 1, k)) for k, i in enumerate(leaving))
        yield f"return ({', '.join([names[i] for i in leaving])}{',' * bool(leaving)})"


@cache
def _times(template: str) -> list[int]:
    """How often each operand stands in it."""
    return [template.count(f"{{{k}}}") for k in range(3)]


@cache
def _binding(template: str) -> tuple[int, tuple[int, ...]]:
    """How strongly it binds, and what binds so strongly stands in it without brackets, which take
    Python's parser as long as all the rest."""
    tree = ast.parse(template.format("a", "b", "c"), mode="eval").body
    if isinstance(tree, ast.Call):
        return ATOM, (0, 0)
    if isinstance(tree, ast.BinOp):
        own = 1 if isinstance(tree.op, (ast.Add, ast.Sub)) else 2
        two = isinstance(tree.left, ast.Name) and isinstance(tree.right, ast.Name)
        return own, (own, own + 1) if two else (ATOM, ATOM)
    return 0, (ATOM, ATOM, ATOM)


def _compiled(text: str) -> Callable[[list[Sequence[Any]]], Sequence[Any]]:
    space = dict(SPACE)
    exec(compile(text, "<captured program>", "exec"), space)
    run: Callable[[list[Sequence[Any]]], Sequence[Any]] = space.pop("run")  # no cycle
    return run
