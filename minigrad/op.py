"""The op record and the registry: what minigrad knows about a functional stage.

An op is data.  ``forward`` takes ndarrays and is pure; one rule per input maps the
cotangent ``g`` of the output to the cotangent of that input.  Everything else in the
project reads these records: nothing about an op is written down a second time.
This module knows no Tensor.
"""

from __future__ import annotations

import inspect
import operator
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from .domain import REAL, Domain
from .errors import ArgumentError

_ndarray = np.ndarray
Rule = Callable[..., Any] | None
Sample = tuple[tuple[Any, ...], dict[str, Any]]


class Kink(NamedTuple):
    """A point where the local derivative is a convention, or needs care to come out right.

    Attributes
    ----------
    where : str
        The point in words: ``"x = 0"``.
    inputs, params
        What the op is called with there.
    gradient : tuple
        What a cotangent of ones gives each input; None for an input without a rule.
    why : str
        The reason, if it is not the general convention of the table.
    """

    where: str
    inputs: tuple[Any, ...]
    gradient: tuple[Any, ...]
    params: dict[str, Any] = {}
    why: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """One functional stage: its forward function, its local derivatives, its traits.

    Attributes
    ----------
    name : str
        The public name, the Array API's where the standard has the function.
    forward : callable
        ``forward(*inputs, **params)`` on ndarrays; arrays are positional, metadata is
        keyword.  May return a tuple of arrays (several outputs).
    rules : tuple of callable or None
        ``rule(g, y, *inputs, **params)`` is the cotangent of one input.  None: nothing
        flows to that input.  Empty: the op has no derivative (comparisons, argmax).
        A rule may branch on shapes and params, never on values, and is written in
        functional NumPy and ops, so that it runs on ndarrays and on tensors alike.
    variadic : bool
        One rule, ``rule(g, y, i, *inputs, **params)``, serves every input.  It may return a
        tuple, the cotangents of all inputs: it is then called once, so that what the inputs
        share is done once.
    broadcasts : bool
        Inputs broadcast against each other; the engine sums a cotangent back down.
    singular : bool
        A local derivative has poles: where the cotangent is exactly 0 and the product
        is not finite, the engine makes the contribution exactly 0.
    elementwise : bool
        Output element k depends on (broadcast) input elements k alone, so that a rule is
        its own forward derivative.
    linear : str
        "jointly": linear in all differentiable inputs taken together (add, concat, sum);
        "each": in each of them while the others stay (matmul, einsum); "": neither.
    analytic : bool
        On either side of its kinks `forward` is a formula of complex differentiable functions, so
        that the complex step applies (|x|, hypot and their kin count: the checker continues them).
    domains : tuple of Domain
        Where each input lives; the last one serves all further inputs.
    caption : str
        The formula, for docs and pictures.
    notation : str
        How a formula writes it, ``"{} ⊙ {}"``; empty: ``name(inputs, params)``.
    family : str
        The module that made the record.
    samples : callable or None
        ``samples(rng)`` yields ``(inputs, params)`` to try the op on; None: shapes and
        values are drawn from `domains`.
    jvp : callable or None
        ``jvp(tangents, y, *inputs, **params)``: the tangent of the output, written without
        the rules; one tangent per input, zeros where nothing moves.  None: it follows from
        `linear`, from `elementwise`, or from the rules.
    branch : callable or None
        ``branch(*inputs, **params)``: an array of the decisions that `forward` takes
        (x > 0, which is largest, the sorted order).  Where two points differ in it, a kink
        lies between them.
    kinks : tuple of Kink
        Points where the derivative is a convention.
    into : callable or None
        ``into(*inputs, out=..., **params)``: `forward` to the same bits, written into an array; for
        an elementwise op `out` may be one of the inputs.  A ufunc is its own.
    scalar : callable or None
        ``scalar(*inputs)``: `forward` to the same bits where an input is a NumPy float, which NumPy's
        own functions are slow with.  A ufunc that is an operator of Python has that.
    complain : callable or None
        ``complain(inputs, params)`` says why `forward` refused them: an exception.
    arity : int or None
        How many arrays it takes; None for a variadic op.
    signature : inspect.Signature
        What a caller sees.
    differentiable : bool
        It has rules.
    """

    name: str
    forward: Callable[..., Any]
    rules: tuple[Rule, ...]
    variadic: bool
    broadcasts: bool
    singular: bool
    elementwise: bool
    linear: str
    analytic: bool
    domains: tuple[Domain, ...]
    caption: str
    notation: str
    family: str
    samples: Callable[[np.random.Generator], Iterator[Sample]] | None
    jvp: Callable[..., Any] | None
    branch: Callable[..., Any] | None
    kinks: tuple[Kink, ...]
    into: Callable[..., Any] | None
    scalar: Callable[..., Any] | None
    complain: Callable[[Sequence[Any], dict[str, Any]], Exception | None] | None
    arity: int | None
    signature: inspect.Signature
    differentiable: bool

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        """Run on whatever is given: ndarrays give ndarrays, anything that knows ops
        (a Tensor, a symbol) is asked.  This is how rules use ops that NumPy lacks."""
        for x in inputs:
            if type(x) is not _ndarray:
                ask = getattr(x, "__minigrad_op__", None)
                if ask is not None:
                    return ask(self, inputs, params)
        return self.forward(*inputs, **params)

    def cotangent(self, i: int, g: Any, y: Any, inputs: Sequence[Any], params: dict[str, Any]) -> Any:
        """What the rule for input `i` gives, whatever form it is written in."""
        if not self.variadic:
            return self.rules[i](g, y, *inputs, **params)  # type: ignore[misc]
        c = self.rules[0](g, y, i, *inputs, **params)  # type: ignore[misc]
        return c[i] if type(c) is tuple else c

    def passes(self, i: int) -> bool:
        """Whether anything flows to input `i`."""
        return bool(self.rules) and self.rules[0 if self.variadic else i] is not None

    def __repr__(self) -> str:
        return f"<op {self.name}>"


class Function(Protocol):
    """A public function: callable, and it knows its record."""

    op: Op

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...


class Counterpart(NamedTuple):
    """How a call of a NumPy function becomes a call of ours."""

    function: Callable[..., Any]
    positional: int
    names: tuple[str, ...]
    keywords: dict[str, str]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for name in self.names[len(args) : self.positional]:  # what is positional-only here
            if name not in kwargs:
                break
            args = (*args, kwargs.pop(name))
        if len(args) > self.positional:  # what NumPy lets one give by position is keyword here
            kwargs.update(zip(self.names[self.positional :], args[self.positional :], strict=False))
            args = args[: self.positional]
        if kwargs:
            kwargs = {self.keywords.get(k, k): v for k, v in kwargs.items()
                      if not (k == "out" and v is None)}  # fmt: skip
        return self.function(*args, **kwargs)


OPERATORS: dict[np.ufunc, Callable[..., Any]] = {
    np.add: operator.add, np.subtract: operator.sub, np.multiply: operator.mul, np.divide: operator.truediv,
    np.negative: operator.neg, np.absolute: operator.abs, np.less: operator.lt, np.less_equal: operator.le,
    np.greater: operator.gt, np.greater_equal: operator.ge, np.equal: operator.eq, np.not_equal: operator.ne,
}  # fmt: skip
"""Python's operators, which on NumPy floats are ten times as fast as the ufuncs."""

OPS: dict[str, Op] = {}
"""Every record, by name."""

BUILT_IN: set[str] = set()
"""The names of minigrad's own ops; a user's op may be defined anew (a notebook cell run twice)."""

PUBLIC: dict[str, Callable[..., Any]] = {}
"""The function a user calls, by name and by alias (``linalg.`` names included)."""

NUMPY: dict[Any, Counterpart] = {}
"""NumPy function -> our answer to it."""


def declare(
    name: str,
    forward: Callable[..., Any],
    *rules: Rule,
    variadic: bool = False,
    broadcasts: bool | None = None,
    singular: bool = False,
    elementwise: bool | None = None,
    linear: Literal["", "jointly", "each"] = "",
    analytic: bool = False,
    domain: Domain | tuple[Domain, ...] = REAL,
    caption: str = "",
    notation: str = "",
    samples: Callable[[np.random.Generator], Iterator[Sample]] | None = None,
    jvp: Callable[..., Any] | None = None,
    branch: Callable[..., Any] | None = None,
    kinks: Sequence[Kink] = (),
    into: Callable[..., Any] | None = None,
    scalar: Callable[..., Any] | None = None,
    complain: Callable[[Sequence[Any], dict[str, Any]], Exception | None] | None = None,
) -> Op:
    """Make the record of an op and register it, without a public function.

    `broadcasts` and `elementwise` default to what NumPy knows: true for a ufunc.  See `Op` for the
    other parameters and `minigrad.define` for the usual way to add an op.

    Raises
    ------
    ArgumentError
        The name is taken, or the number of rules is not the number of inputs.
    """
    if name in OPS and (not BUILT_IN or name in BUILT_IN):
        raise ArgumentError(f"define: minigrad has an op named {name!r}; choose another name")
    if broadcasts is None:
        broadcasts = isinstance(forward, np.ufunc)
    if into is None and isinstance(forward, np.ufunc):
        into = forward
    if scalar is None and isinstance(forward, np.ufunc):
        scalar = OPERATORS.get(forward)
    if elementwise is None:
        elementwise = isinstance(forward, np.ufunc) and forward.signature is None
    signature = _signature(forward)
    arity = None if variadic else _count_arrays(signature)
    if variadic:
        if len(rules) > 1:
            raise ArgumentError(
                f"define: {name!r} is variadic and got {len(rules)} rules; "
                "give one rule(g, y, i, *inputs)"
            )
    elif rules and len(rules) != arity:
        raise ArgumentError(
            f"define: {name!r} takes {arity} array(s) and got {len(rules)} rule(s); give one rule "
            "for each positional input, None where nothing flows, or none at all"
        )
    domains = domain if isinstance(domain, tuple) else (domain,)
    op = Op(name, forward, rules, variadic, broadcasts, singular, elementwise, linear, analytic,
            domains, caption, notation, _caller(), samples, jvp, branch, tuple(kinks), into, scalar, complain, arity, signature,
            bool(rules))  # fmt: skip
    OPS[name] = op
    return op


def publish(
    name: str,
    function: Callable[..., Any],
    *,
    aliases: tuple[str, ...] = (),
    numpy: dict[Any, dict[str, str]] | None = None,
) -> Callable[..., Any]:
    """Give a public function its names, and the NumPy functions that it answers for."""
    for spelling in (name, *aliases):
        PUBLIC[spelling] = function
    params = inspect.signature(function).parameters.values()
    positional = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in params)
    for counterpart, keywords in (numpy or {}).items():
        names = () if isinstance(counterpart, np.ufunc) else tuple(_signature(counterpart).parameters)
        NUMPY[counterpart] = Counterpart(function, positional, names, keywords)
    return function


def draw_samples(op: Op, rng: np.random.Generator) -> Iterator[Sample]:
    """Inputs to try an op on: its own samples, or shapes and values from its domains."""
    if op.samples is not None:
        yield from op.samples(rng)
        return
    n = op.arity or 0
    shapes: list[tuple[tuple[int, ...], ...]] = [((2, 3),) * n, ((),) * n, ((0, 3),) * n]
    if op.broadcasts and n > 1:
        shapes += [((2, 3), *((3,),) * (n - 1)), (*((),) * (n - 1), (2, 1)),
                   ((2, 1), *((1, 3),) * (n - 1))]  # fmt: skip
    for group in shapes:
        yield tuple(domain_of(op, i).draw(rng, shape) for i, shape in enumerate(group)), {}


def domain_of(op: Op, i: int) -> Domain:
    """The domain of input `i`."""
    return op.domains[min(i, len(op.domains) - 1)]


def _caller() -> str:
    """The last name of the module that calls `declare` or `define`."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__") in _DEFINING:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "")).rpartition(".")[2]


_DEFINING = {__name__, "minigrad.define"}


def _signature(forward: Callable[..., Any]) -> inspect.Signature:
    if isinstance(forward, np.ufunc):
        names = ["x"] if forward.nin == 1 else [f"x{k + 1}" for k in range(forward.nin)]
        kind = inspect.Parameter.POSITIONAL_ONLY
        return inspect.Signature([inspect.Parameter(name, kind) for name in names])
    return inspect.signature(forward)


def _count_arrays(signature: inspect.Signature) -> int:
    """Arrays are the positional-only parameters; where there are none (a lambda), all
    positional ones without a default."""
    params = signature.parameters.values()
    strict = [p for p in params if p.kind is p.POSITIONAL_ONLY]
    return len(strict or [
        p for p in params if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty
    ])  # fmt: skip
