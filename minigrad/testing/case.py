"""One op at one point: run in the engine, and outside of it.

A `Case` is what every claim of `claims.py` is put to.  Its functions are also there without it,
for tests that hold an op at a point of their own.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError, lesson
from ..op import OPS, PUBLIC, Op, Sample, draw_samples
from ..tensor import Tensor, apply, pull, tensor
from .stage import tupled

Array = Any
# of a generator; to name numpy.random here would import it
Samples = Iterable[Any] | Callable[[Any], Iterable[Any]]


def record_of(op: Any) -> Op:
    """The record of an op that is given as such, as its public function or by name.

    Raises
    ------
    ArgumentError
        It is no op.
    """
    if isinstance(op, str):
        op = OPS.get(op, PUBLIC.get(op, op))
    found = op if isinstance(op, Op) else getattr(op, "op", None)
    if not isinstance(found, Op):
        name = op if isinstance(op, str) else getattr(op, "__name__", repr(op))
        raise ArgumentError(lesson(
            "check_op", f"{name} is not a recorded op", "what mg.define returned, or an op's name",
            "a function made of ops is checked with check_grads(f, *args)"))  # fmt: skip
    return found


def rng_of(op: Op, salt: int = 0, seed: int = 0) -> np.random.Generator:
    """A generator of the op's own, the same in every process."""
    return np.random.default_rng((zlib.crc32(op.name.encode()), salt, seed))


def rule_of(op: Op, i: int) -> Any:
    """The rule for input `i`, or None."""
    return op.rules[0 if op.variadic else i]


def active(op: Op, inputs: Sequence[Array], kinds: str = "f") -> list[int]:
    """Positions that are given a gradient."""
    return [i for i, x in enumerate(inputs) if np.asarray(x).dtype.kind in kinds and rule_of(op, i) is not None]


def samples_of(op: Op, samples: Samples | None = None, seed: int = 0) -> list[Sample]:
    """The op's samples, or the caller's, that have something to differentiate."""
    if samples is None:
        found: Iterable[Any] = draw_samples(op, rng_of(op, 0, seed))
    elif callable(samples):
        found = samples(rng_of(op, 0, seed))
    else:
        found = samples
    return [s for s in map(_sample, found) if active(op, s[0])]


def _sample(given: Any) -> Sample:
    """``(inputs, params)``, or only the inputs, or only the one input."""
    inputs: Any = given
    params: dict[str, Any] = {}
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], dict):
        inputs, params = given
    if not isinstance(inputs, tuple):
        inputs = (inputs,)
    return tuple(np.asarray(x.data if isinstance(x, Tensor) else x) for x in inputs), dict(params)


def recorded(op: Op, inputs: Sequence[Array], params: dict[str, Any]) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """Leaves for the active inputs, and the outputs as a tuple of tensors."""
    wanted = active(op, inputs)
    args = [tensor(x, requires_grad=True) if i in wanted else x for i, x in enumerate(inputs)]
    return [args[i] for i in wanted], tupled(apply(op, tuple(args), params))


def cotangents(leaves: Sequence[Tensor], outputs: Sequence[Tensor], seeds: Sequence[Array], record: bool = False) -> list[Any]:
    """The engine's reverse pass, functional: one array (or, recorded, tensor) for each leaf."""
    found = pull(list(outputs), list(seeds), wanted={x._node for x in leaves}, record=record)
    missing = [k for k, x in enumerate(leaves) if x._node not in found]
    assert not missing, f"no cotangent arrived at input {missing[0]}"
    return [found[x._node][0] for x in leaves]


def raw_rules(op: Op, seeds: Sequence[Array], inputs: Sequence[Array], params: dict[str, Any]) -> list[Array]:
    """The rules on plain arrays, without the engine; un-broadcast by a sum of our own."""
    y = op.forward(*inputs, **params)
    g = tuple(seeds) if isinstance(y, tuple) else seeds[0]
    out = []
    for i in active(op, inputs, "fc"):
        rule = rule_of(op, i)
        c = rule(g, y, i, *inputs, **params) if op.variadic else rule(g, y, *inputs, **params)
        out.append(unbroadcast(np.asarray(c[i] if isinstance(c, tuple) else c), np.shape(inputs[i])))
    return out


def unbroadcast(c: Array, shape: tuple[int, ...]) -> Array:
    """Add every element of `c` to the element of `shape` that it was stretched from."""
    if c.shape == shape:
        return c
    out = np.zeros(shape, c.dtype)
    for index in np.ndindex(c.shape):
        tail = index[len(index) - len(shape) :]
        out[tuple(0 if n == 1 else k for k, n in zip(tail, shape, strict=True))] += c[index]
    return out


def random_seeds(op: Op, inputs: Sequence[Array], params: dict[str, Any], rng: np.random.Generator) -> list[Array]:
    """A cotangent for each output: random, so that nothing cancels by symmetry."""
    return _like(tupled(op.forward(*inputs, **params)), rng)


def _like(arrays: Sequence[Array], rng: np.random.Generator) -> list[Array]:
    return [np.asarray(rng.normal(size=np.shape(a)).astype(np.asarray(a).dtype)) for a in arrays]


def contract(left: Sequence[Array], right: Sequence[Array]) -> Any:
    """The inner product of two lists of arrays."""
    return sum(np.sum(a * b) for a, b in zip(left, right, strict=True))


def same_bits(a: Array, b: Array) -> bool:
    """Equal in dtype, shape and every bit."""
    a, b = np.asarray(a), np.asarray(b)
    return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())


def difference(got: Array, want: Array, rtol: float) -> str:
    """What distinguishes two arrays, in words; nothing if they are equal to `rtol` of the
    largest number around: no element is asked for more digits than the sum it came from has."""
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        return f"shape {got.shape} instead of {want.shape}"
    scale = 1 + np.max(np.abs(want), initial=0)
    with np.errstate(invalid="ignore"):  # infinities may be equal
        error = np.where(got == want, 0, np.abs(got - want))
    if np.all(error <= rtol * scale):
        return ""
    where = tuple(map(int, np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), got.shape)))
    return f"{got[where]:.17g} instead of {want[where]:.17g} at {where}"


class Case:
    """An op at one point.

    Parameters
    ----------
    op : Op
    inputs : sequence of arrays
    params : dict
        The op's metadata.
    seed : int
        Of whatever a claim draws.

    Attributes
    ----------
    places : list of int
        The inputs that are given a gradient.
    report : Report or None
    census : tuple of Census
        Left here by the claim that calls `check_grads`.
    """

    def __init__(self, op: Op, inputs: Sequence[Array], params: dict[str, Any], seed: int = 0) -> None:
        self.op, self.inputs, self.params, self.seed = op, tuple(map(np.asarray, inputs)), params, seed
        self.places = active(op, self.inputs)
        self.report: Any = None
        self.census: tuple[Any, ...] = ()

    def rng(self, salt: int) -> np.random.Generator:
        return rng_of(self.op, salt, self.seed)

    def seeds(self, salt: int) -> list[Array]:
        """Random cotangents, one for each output."""
        return random_seeds(self.op, self.inputs, self.params, self.rng(salt))

    def recorded(self) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        return recorded(self.op, self.inputs, self.params)

    def raw(self, seeds: Sequence[Array]) -> list[Array]:
        """One cotangent for each active input, from the raw rules."""
        return raw_rules(self.op, seeds, self.inputs, self.params)

    def forward(self, moved: dict[int, Array] | None = None) -> tuple[Array, ...]:
        """The outputs, with some inputs replaced."""
        moved = moved or {}
        return tupled(self.op.forward(*(moved.get(i, x) for i, x in enumerate(self.inputs)), **self.params))

    def cast(self, dtype: Any) -> Case:
        """The same point in another float dtype."""
        small = [x.astype(dtype) if x.dtype.kind == "f" else x for x in self.inputs]
        return Case(self.op, small, self.params, self.seed)

    def function(self) -> Callable[..., Any]:
        """The op as a function of its active inputs alone."""

        def f(*xs: Any) -> Any:
            full = list(self.inputs)
            for i, x in zip(self.places, xs, strict=True):
                full[i] = x
            return apply(self.op, tuple(full), self.params)

        return f

    def __str__(self) -> str:
        dtypes = {x.dtype for x in self.inputs}
        shapes = ", ".join(f"{x.shape}" + (f" {x.dtype}" if len(dtypes) > 1 else "") for x in self.inputs)
        shown = "".join(f", {k}={_short(v)}" for k, v in self.params.items())
        return f"{self.op.name}({shapes}{shown})" + (f" {dtypes.pop()}" if len(dtypes) == 1 else "")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def layouts(x: Array) -> Iterator[tuple[str, Array]]:
    """The same numbers, laid out in memory in every way that NumPy has."""
    x = np.asarray(x)
    yield "in C order", np.array(x, order="C")
    yield "in Fortran order", np.array(x, order="F")
    if x.ndim:
        back = (slice(None, None, -1),) * x.ndim
        yield "reversed", np.array(x[back])[back]
        wide = np.zeros(tuple(2 * n for n in x.shape), x.dtype)
        wide[(slice(None, None, 2),) * x.ndim] = x
        yield "strided", wide[(slice(None, None, 2),) * x.ndim]
