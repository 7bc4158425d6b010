"""The derivation as NumPy source: a forward and a backward function that need NumPy alone.

An op is written with its sign, as the NumPy function that answers for it (tried out: it
must give the same numbers), or as a helper: the source of its `forward`, with what that calls.
"""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ArgumentError, lesson
from ..op import NUMPY, Op
from .expression import Expr, Number, Stage, Symbol, within
from .helpers import Helpers, numpy_name
from .trace import SEED
from .writers import ATOM, Text, Written

if TYPE_CHECKING:
    from .equations import Equation


class NumPy(Text):
    """Python expressions."""

    exact = True
    signs = {" + ": " + ", " − ": " - ", "−": "-", " ⊙ ": " * ", " / ": " / ", " @ ": " @ ", " < ": " < ", " ≤ ": " <= ",
             " > ": " > ", " ≥ ": " >= ", " = ": " == ", " ≠ ": " != ", "^": "**", "²": "**2", "ᵀ": ".mT", "|": "", "[": "["}  # fmt: skip

    def __init__(self, identifiers: dict[str, str], helpers: Helpers) -> None:
        super().__init__()
        self.identifiers, self.helpers = identifiers, helpers
        self._numbers = count(1)

    def fresh(self) -> str:
        """A name for what is needed twice."""
        taken = set(self.identifiers.values())
        name = next(f"v{k}" for k in self._numbers if f"v{k}" not in taken)
        self.identifiers[name] = name
        return name

    def knows(self, sign: str) -> bool:
        return sign in self.signs or sign == "]"

    def symbol(self, name: str) -> str:
        return self.identifiers[name]

    def number(self, value: Any) -> str:
        return literal(value)

    def sign(self, sign: str) -> str:
        return self.signs[sign]

    def power(self, base: str, exponent: str) -> str:
        return f"{base}**{exponent}"

    def transposed(self, base: str) -> str:
        return f"{base}.mT"

    def magnitude(self, inner: str) -> str:
        return f"np.abs({inner})"

    def key(self, key: Any) -> str:
        return "..." if key is Ellipsis else super().key(key).replace("−", "-")

    def whole(self, expr: Expr) -> str:
        """An expression that stands by itself: an array of its shape."""
        return filled(expr).text if isinstance(expr, Number) and expr.shape else self.write(expr)

    def _stage(self, stage: Stage, parts: list[Written]) -> Written:
        shapes = [part.shape for part in stage.parts if not isinstance(part, Number)]
        stretched = stage.op.elementwise and np.broadcast_shapes(*shapes) == stage.shape
        return super()._stage(stage, [filled(expr) if isinstance(expr, Number) and not stretched else text
                                      for expr, text in zip(stage.parts, parts, strict=True)])  # fmt: skip

    def call(self, stage: Stage, parts: list[str]) -> str:
        op = stage.op
        if isinstance(op.forward, np.ufunc) and (ufunc := numpy_name(op.forward)):
            return f"{ufunc}({', '.join(parts)})"
        params = {k: v for k, v in stage.params.items() if (p := op.signature.parameters.get(k)) is None
                  or p.default is not v and not (type(v) in (bool, int, str) and p.default == v)}  # fmt: skip
        for function, name, keywords in spellings(op):
            given = {keywords.get(k, k): v for k, v in params.items()}
            words = [given.pop(k) for k, v in list(given.items()) if isinstance(v, str) and op.variadic]  # of einsum
            if _agrees(function, stage, given, words):
                one = op.variadic and not words
                head = [f"({', '.join(parts)}{',' * (len(parts) == 1)})"] if one else [*map(repr, words), *parts]
                return f"{name}({', '.join([*head, *(f'{k}={literal(v)}' for k, v in given.items())])})"
        if not op.broadcasts:  # its `forward` is made for arrays
            parts = [filled(part).text if isinstance(part, Number) else text
                     for part, text in zip(stage.parts, parts, strict=True)]  # fmt: skip
        name = self.helpers.of(op)
        return f"{name}({', '.join([*parts, *(f'{k}={literal(v)}' for k, v in params.items())])})"


def spellings(op: Op) -> Iterator[tuple[Any, str, dict[str, str]]]:
    """NumPy functions that answer for an op: the function, its name, its names for our keywords."""
    for function, counterpart in NUMPY.items():
        if getattr(counterpart.function, "op", None) is op and not isinstance(function, np.ufunc):
            name = numpy_name(function)
            if name:
                yield function, name, {ours: theirs for theirs, ours in counterpart.keywords.items()}


def _agrees(function: Any, stage: Stage, given: dict[str, Any], words: list[str]) -> bool:
    """Whether the function, called so, does what the op does."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=part.shape) for part in stage.parts]
    try:
        with np.errstate(all="ignore"):
            theirs = function(arrays, **given) if stage.op.variadic and not words else function(*words, *arrays, **given)
            ours = stage.op.forward(*arrays, **stage.params)
        return type(ours) is not tuple and np.shape(theirs) == np.shape(ours) and np.allclose(theirs, ours, 1e-12, 1e-12)
    except Exception:  # it is no spelling of this call
        return False


def filled(number: Number) -> Written:
    """An array of one number."""
    return Written(f"np.full({number.shape}, {literal(number.value)})", ATOM)


def literal(value: Any) -> str:
    """Metadata and numbers as Python source."""
    if isinstance(value, np.dtype):
        return f"np.dtype({value.name!r})"
    if isinstance(value, type) and issubclass(value, np.generic):
        return f"np.{value.__name__}"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return {"inf": "np.inf", "-inf": "-np.inf"}.get(repr(value), "np.nan")
    if isinstance(value, (tuple, list)):
        inner = ", ".join(map(literal, value)) + "," * (isinstance(value, tuple) and len(value) == 1)
        return f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
    if not isinstance(value, (int, float, complex, str, slice, type(None), type(...))):
        raise ArgumentError(lesson(".numpy()", f"a stage has the parameter {value!r}", "numbers, words, slices"))
    return repr(value)


# --- the program -----------------------------------------------------------------------------


def program(forward: Sequence[Equation], reverse: Sequence[Equation], arrays: Iterable[str], wrt: Sequence[str]) -> str:
    """The source of ``forward(given)`` and ``backward(values)``."""
    needed = _needed(reverse, forward)
    values = [e for e in forward if e.name in needed]
    given = [name for name in arrays if name in needed]
    used = _symbols(e.expr for e in reverse) - {e.name for e in reverse} - {SEED}
    kept = [name for name in [*given, *(e.name for e in values)] if name in used]
    identifiers = _identifiers([*given, *(e.name for e in values), *(e.name for e in reverse)])
    identifiers[SEED] = SEED
    helpers = Helpers({*RESERVED, *identifiers.values()})
    writer = NumPy(identifiers, helpers)
    first = _body(values, writer)
    second = _body(reverse, writer)
    seed = f", {SEED}" if SEED in _symbols(e.expr for e in reverse) else ""
    main = ["", "", "def forward(given):", '    """The values that `backward` needs, by name; `given` holds the arrays below."""']
    main += [f"    {identifiers[name]} = given[{name!r}]" for name in given] + first
    main += _returned((name, identifiers[name]) for name in kept)
    main += ["", "", f"def backward(values{seed}):", '    """The adjoints, by name, from what `forward` returns."""']
    main += [f"    {identifiers[name]} = values[{name!r}]" for name in kept] + second
    main += _returned((name.removeprefix("δ"), identifiers[name]) for name in wrt)
    return "\n".join(["import numpy as np", *helpers.source(), *main]) + "\n"


def _body(equations: Sequence[Equation], writer: NumPy) -> list[str]:
    """Assignments; what is needed twice has a name of its own."""
    times: Counter[Expr] = Counter()
    seen: set[Expr] = set()
    for e in equations:
        times[e.expr] += 1
        for part in within(e.expr):
            if part not in seen:
                seen.add(part)
                times.update(part.parts)
    known: dict[Expr, Symbol] = {}
    lines = []

    def assign(name: str, expr: Expr) -> None:
        lines.append(f"    {writer.identifiers[name]} = {writer.whole(expr)}")

    for e in equations:
        here: dict[int, Expr] = {}
        for part in within(e.expr):
            here[id(part)] = known.get(part, part)
            if not isinstance(part, Stage) or part in known:
                continue
            parts = tuple(here[id(p)] for p in part.parts)
            if any(a is not b for a, b in zip(parts, part.parts, strict=True)):
                here[id(part)] = Stage(part.op, parts, part.params, part.shape)
            if times[part] > 1 and part is not e.expr and not (part.size == 1 and part.op.notation):
                known[part] = Symbol(writer.fresh(), part.shape)
                assign(known[part].name, here[id(part)])
                here[id(part)] = known[part]
        assign(e.name, here[id(e.expr)])
    return lines


def _returned(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return ["    return {", *(f"        {name!r}: {identifier}," for name, identifier in pairs), "    }"]


def _symbols(exprs: Iterable[Expr]) -> set[str]:
    return {part.name for expr in exprs for part in within(expr) if isinstance(part, Symbol)}


def _needed(reverse: Sequence[Equation], forward: Sequence[Equation]) -> set[str]:
    """The names of the values from which the adjoints are computed."""
    needed = _symbols(e.expr for e in reverse)
    for e in reversed(forward):
        if e.name in needed:
            needed |= _symbols([e.expr])
    return needed


RESERVED = {"np", "given", "values", "seed", "forward", "backward", "math", "operator", "itertools"}


def _identifiers(names: Iterable[str]) -> dict[str, str]:
    """Python identifiers: ``Γ_f_2`` for ``Γ_f<2>``."""
    found: dict[str, str] = {}
    for name in names:
        word = re.sub(r"[^\w\u0303]+", "_", name.replace("<-", "_minus_")).strip("_") or "v"
        word = word if word.isidentifier() and not keyword.iskeyword(word) else f"v_{word}"
        while word in found.values() or word in RESERVED:
            word += "_"
        found[name] = word
    return found


