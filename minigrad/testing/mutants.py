"""`mutate`: slips that people make in derivative rules, put into an op to see who notices.

A test of gradients that stays green on a wrong rule is worth nothing.  Every mutant here is
made from the rule itself: around it (its cotangent doubled, transposed, its arguments
exchanged), or inside it, by running the rule on tensors and replaying what was recorded with
one stage changed (a term dropped, a transposition forgotten).  The record is changed in place
while a test runs, so that every way to the op meets the mutant: the public function,
operators, methods, NumPy's function, the rules of other ops; afterwards it is as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, lesson
from ..graph import Node, ancestors
from ..mode import record_all
from ..op import OPS, Op
from ..tensor import Tensor, apply, as_tensor, constant, handle_of, pull, tensor
from .case import Case, Samples, cotangents, record_of, samples_of
from .claims import near_edges
from .stage import tupled


class Call(NamedTuple):
    """One call of a rule: what it was given, whichever way."""

    op: Op
    rule: Callable[..., Any]
    i: int
    g: Any
    y: Any
    xs: tuple[Any, ...]
    params: dict[str, Any]

    def __call__(self) -> Any:
        """The cotangent of input `i`."""
        lead = (self.g, self.y, self.i) if self.op.variadic else (self.g, self.y)
        c = self.rule(*lead, *self.xs, **self.params)
        return c[self.i] if isinstance(c, tuple) else c

    def attempt(self, **changed: Any) -> Any:
        """The same call with other arguments; what is right where that fails or fits nothing, so
        that a mutant is silently wrong and not loudly broken."""
        right = self()
        try:
            with np.errstate(all="ignore"):
                wrong = self._replace(**changed)()
        except Exception:
            return right
        return wrong if _shape(wrong) == _shape(right) else right


Change = Callable[[Call], Any]


@dataclass(frozen=True)
class Mutant:
    """A slip.

    Attributes
    ----------
    name : str
        What is wrong.
    notices : str
        What kind of test notices it.
    change : callable or None
        ``change(call)`` gives the wrong cotangent; None: see `fields`.
    order : int
        The lowest derivative at which it is wrong.
    fields : dict
        Fields of the record to change instead of a rule.
    """

    name: str
    notices: str
    change: Change | None
    order: int = 1
    fields: tuple[tuple[str, Any], ...] = ()

    def applied(self, op: Op, k: int) -> dict[str, Any]:
        """The fields of the record with this slip in rule `k`."""
        if self.change is None:
            return dict(self.fields)
        return {"rules": tuple(_wrapped(op, j, r, self.change) if j == k else r for j, r in enumerate(op.rules))}


def _wrapped(op: Op, k: int, rule: Any, change: Change) -> Any:
    if op.variadic:
        return lambda g, y, i, *xs, **params: change(Call(op, rule, i, g, y, xs, params))
    return lambda g, y, *xs, **params: change(Call(op, rule, k, g, y, xs, params))


@contextmanager
def changed(op: Op, fields: dict[str, Any]) -> Iterator[None]:
    """An op whose record has other fields inside the block."""
    before = {name: getattr(op, name) for name in fields}
    try:
        for name, value in fields.items():
            object.__setattr__(op, name, value)  # in place: everybody holds this record
        yield
    finally:
        for name, value in before.items():
            object.__setattr__(op, name, value)


# --- slips around a rule --------------------------------------------------------------------


def _shape(c: Any) -> Any:
    return getattr(c, "shape", ())


def _times(factor: float) -> Change:
    return lambda call: call() * factor


def _leaking(call: Call) -> Any:
    c = call()
    return c + np.sum(c) * 1e-3


def _cotangent_itself(call: Call) -> Any:
    right, g = call(), call.g[0] if isinstance(call.g, tuple) else call.g
    if _shape(g) == _shape(right):
        return g
    try:
        np.broadcast_shapes(_shape(g), _shape(right))
        stretched = np.broadcast_to(g, _shape(right))
    except Exception:
        return right
    return stretched


def _transposed(call: Call) -> Any:
    c = call()
    return c.mT.reshape(c.shape) if len(_shape(c)) > 1 else c


def _folded(fold: Callable[[Any, tuple[int, ...], bool], Any]) -> Change:
    """A cotangent of stretched operands that is brought back to its shape by something else."""

    def change(call: Call) -> Any:
        c, shape = call(), _shape(call.xs[call.i])
        if not call.op.broadcasts or _shape(c) == shape:
            return c
        lead = len(c.shape) - len(shape)
        axes = tuple(range(lead)) + tuple(
            lead + k for k, n in enumerate(shape) if n == 1 and c.shape[lead + k] != 1)  # fmt: skip
        if any(c.shape[a] == 0 for a in axes):
            return c
        return fold(c, axes, True).reshape(shape)

    return change


def _first_row(c: Any, axes: tuple[int, ...], keep: bool) -> Any:
    return c[tuple(slice(0, 1) if k in axes else slice(None) for k in range(len(c.shape)))]


def _mean(c: Any, axes: tuple[int, ...], keep: bool) -> Any:
    count = int(np.prod([c.shape[a] for a in axes]))
    return np.sum(c, axis=axes, keepdims=keep) / max(count, 1)


def _other_value(call: Call) -> Any:
    """The value of another input where its own is meant."""
    xs, i = list(call.xs), call.i
    for j in (*range(i + 1, len(xs)), *range(i)):
        if _kind(xs[j]) == "f" and _shape(xs[j]) == _shape(xs[i]):
            xs[i], xs[j] = xs[j], xs[i]
            return call.attempt(xs=tuple(xs))
    return call()


def _other_rule(call: Call) -> Any:
    """The cotangent of another input."""
    n = len(call.xs)
    for j in (*range(call.i + 1, n), *range(call.i)):
        if call.op.variadic:
            if _kind(call.xs[j]) == "f":
                return call.attempt(i=j)
        elif call.op.rules[j] is not None:
            return call.attempt(rule=call.op.rules[j])
    return call()


def _kind(x: Any) -> str:
    return "f" if isinstance(x, float) else getattr(getattr(x, "dtype", None), "kind", "")


def _y_for_x(call: Call) -> Any:
    x = call.xs[call.i]
    if isinstance(call.y, tuple) or _shape(call.y) != _shape(x):
        return call()
    return call.attempt(xs=(*call.xs[: call.i], call.y, *call.xs[call.i + 1 :]))


def _x_for_y(call: Call) -> Any:
    x = call.xs[call.i]
    return call() if isinstance(call.y, tuple) or _shape(call.y) != _shape(x) else call.attempt(y=x)


def _detached(call: Call) -> Any:
    """Values taken out of the graph: right numbers, and no way back to them."""
    y = tuple(map(_constant, call.y)) if isinstance(call.y, tuple) else _constant(call.y)
    return call._replace(y=y, xs=tuple(map(_constant, call.xs)))()


def _constant(x: Any) -> Any:
    return x.detach() if isinstance(x, Tensor) else x


def _fewer_digits(call: Call) -> Any:
    c = call()
    lower = np.float16 if c.dtype == np.float32 else np.float32
    return c if c.dtype.kind != "f" or c.dtype.itemsize < 4 else c.astype(lower)


def _scratch(call: Call) -> Any:
    """`g` used as memory to compute in."""
    c = call()
    for g in tupled(call.g):
        if isinstance(g, np.ndarray):
            c = np.array(c)
            g *= 0.5
    return c


def _same_buffer() -> Change:
    buffers: dict[Any, Any] = {}

    def change(call: Call) -> Any:
        c = call()
        if not isinstance(c, np.ndarray):
            return c
        buffer = buffers.setdefault((call.op, call.i, c.shape, c.dtype), np.empty_like(c))
        if buffer.flags.writeable is False:
            buffer.flags.writeable = True
        np.copyto(buffer, c)
        return buffer

    return change


def _one_side_of_a_tie(call: Call) -> Any:
    """Where a decision is a tie, look a hair to one side of it."""
    decide = call.op.branch
    if decide is None:
        return call()
    values = [x._node.value if isinstance(x, Tensor) else x for x in call.xs]
    here = decide(*values, **call.params)
    for i, x in enumerate(values):
        if _kind(x) != "f" or not np.size(x):
            continue
        ramp = np.arange(1, np.size(x) + 1).reshape(np.shape(x))
        for side in (1e-9, -1e-9):
            hair = (side * (1 + np.abs(x)) * ramp).astype(np.asarray(x).dtype)
            if not np.array_equal(decide(*values[:i], x + hair, *values[i + 1 :], **call.params), here):
                xs = (*call.xs[:i], call.xs[i] + hair, *call.xs[i + 1 :])
                return call.attempt(xs=xs, y=call.op(*xs, **call.params))
    return call()


def _without_metadata(call: Call) -> Any:
    return call.attempt(params={}) if call.params else call()


# --- slips inside a rule: what it recorded, replayed with one stage changed ------------------

Stage = Callable[[Node, list[Any]], Any]


def _inside(names: tuple[str, ...], replacement: Stage, *, first: bool = False) -> Change:
    """The newest stage (or the `first`) of these names, done otherwise."""

    def change(call: Call) -> Any:
        right = call()
        try:
            wrong = _replayed(call, names, replacement, first)
        except Exception:  # a rule that does not run on tensors: nothing to look into
            return right
        return right if wrong is None or _shape(wrong) != _shape(right) else wrong

    return change


def _replayed(call: Call, names: tuple[str, ...], replacement: Stage, first: bool) -> Any:
    plain = not any(isinstance(a, Tensor) for a in (*tupled(call.g), *tupled(call.y), *call.xs))
    lift = _lifted if plain else lambda a: a
    g, y = (tuple(map(lift, a)) if isinstance(a, tuple) else lift(a) for a in (call.g, call.y))
    xs = tuple(map(lift, call.xs))
    with record_all():
        c = call._replace(g=g, y=y, xs=xs)()
        if not isinstance(c, Tensor):
            return None
        given = [a for a in (*tupled(g), *tupled(y), *xs) if isinstance(a, Tensor)]
        table: dict[Node, Any] = {a._node: a for a in given}
        stages = ancestors(c._node, stop=table)
        places = [n for n in stages if n.op is not None and n not in table and n.op.name in names]
        if not places:
            return None
        target = places[0 if first else -1]
        for node in stages:
            if node not in table:
                table[node] = _stage(node, table, replacement if node is target else None)
    wrong = table[c._node]
    return wrong._node.value if plain else wrong


def _stage(node: Node, table: dict[Node, Any], replacement: Stage | None) -> Any:
    if node.op is None or node.values is None:
        return tuple(map(constant, node.value)) if isinstance(node.value, tuple) else handle_of(node)
    if node.op.name == "pick":
        return table[node.inputs[0]][node.params["i"]]  # type: ignore[index]
    inputs = [v if p is None else table[p] for p, v in zip(node.inputs, node.values, strict=True)]
    if replacement is not None:
        return replacement(node, inputs)
    return apply(node.op, tuple(inputs), node.params)


def _lifted(a: Any) -> Any:
    return a if type(a) in (int, float, bool) else constant(np.array(a))


def _left_alone(node: Node, inputs: list[Any]) -> Any:
    """The first operand, in the shape of the result."""
    return np.broadcast_to(as_tensor(inputs[0]), node.value.shape)


def _not_moved(node: Node, inputs: list[Any]) -> Any:
    """The operand with its elements where they were."""
    return as_tensor(inputs[0]).reshape(node.value.shape)


STRICT = {"greater": "greater_equal", "greater_equal": "greater", "less": "less_equal", "less_equal": "less"}


def _strictness(node: Node, inputs: list[Any]) -> Any:
    assert node.op is not None
    return apply(OPS[STRICT[node.op.name]], tuple(inputs), node.params)


def _exchanged(node: Node, inputs: list[Any]) -> Any:
    assert node.op is not None
    return apply(node.op, (inputs[0], inputs[2], inputs[1]), node.params)


# --- the list -------------------------------------------------------------------------------

VALUES = "compare the gradient with numbers known otherwise: check_grads(f, x)"
FINE = "compare it more exactly: check_grads sees 1e-13"
SHAPES = "let operands be stretched: shapes (2, 3) and (3,), (2, 1) and (1, 3), () and (2, 3)"
UNEVEN = "use cotangents and inputs without symmetry, of several shapes"
TIES = "test points at which a decision is a tie: x = 0, equal elements"

MUTANTS: tuple[Mutant, ...] = (
    Mutant("twice as much", VALUES, _times(2.0)),
    Mutant("too large by 1e-3", FINE, _times(1 + 1e-3)),
    Mutant("too large by 1e-7", FINE, _times(1 + 1e-7)),
    Mutant("the sign", VALUES, _times(-1.0)),
    Mutant("zero", VALUES, _times(0.0)),
    Mutant("the cotangent itself: derivative 1", VALUES, _cotangent_itself),
    Mutant("not linear in the cotangent", "use cotangents other than ones", lambda call: call() * abs(call())),
    Mutant("leaks into all elements", UNEVEN, _leaking),
    Mutant("transposed", UNEVEN, _transposed),
    Mutant("stretched operand: first row instead of the sum", SHAPES, _folded(_first_row)),
    Mutant("stretched operand: mean instead of the sum", SHAPES, _folded(_mean)),
    Mutant("another input's value", VALUES, _other_value),
    Mutant("another input's rule", VALUES, _other_rule),
    Mutant("y in place of x", VALUES, _y_for_x),
    Mutant("x in place of y", VALUES, _x_for_y),
    Mutant("forgets the metadata (axis, ...)", "try every keyword at other than its default", _without_metadata),
    Mutant("a term dropped", VALUES, _inside(("add", "subtract"), _left_alone)),
    Mutant("a factor dropped", VALUES, _inside(("multiply", "divide"), _left_alone, first=True)),
    Mutant("a transposition forgotten", UNEVEN,
           _inside(("matrix_transpose", "permute_dims", "transpose"), _not_moved)),
    Mutant("the branches of where exchanged", VALUES, _inside(("where",), _exchanged)),
    Mutant("≤ for <", TIES, _inside(tuple(STRICT), _strictness)),
    Mutant("one side of a tie", TIES, _one_side_of_a_tie),
    Mutant("half the digits", FINE, _fewer_digits),
    Mutant("computes in the cotangent's memory", "use a value twice: f(x) + x", _scratch),
    Mutant("returns the same memory each time", "use the op twice in one program", _same_buffer()),
    Mutant("a pole meets a cotangent of 0", "differentiate where(x > 0, f(x), 0) at 0", None, 1,
           (("singular", False),)),
    Mutant("values detached", "differentiate twice: check_grads(f, x, order=2)", _detached, 2),
)  # fmt: skip
"""Every slip that is tried."""


def mutants_of(op: Op) -> list[tuple[Mutant, int]]:
    """Each slip with the number of the rule that it is put into."""
    rules = [k for k, rule in enumerate(op.rules) if rule is not None]
    found = [(m, k) for m in MUTANTS if m.change is not None for k in rules]
    return found + [(m, -1) for m in MUTANTS if m.change is None
                    and any(getattr(op, name) != value for name, value in m.fields)]  # fmt: skip


# --- what a mutant changes ------------------------------------------------------------------


def _numbers(op: Op, samples: list[Any], seed: int, poles: bool) -> Iterator[Any]:
    """What an op's rules give at its samples, in the order of cost: a mutant that gives the same
    is none."""
    for inputs, params in samples:
        yield from _guarded(_first_order, Case(op, inputs, params, seed))
    for kink in op.kinks:
        yield from _guarded(_first_order, Case(op, kink.inputs, kink.params, seed), True)
    if poles:
        for case, _ in near_edges(op, seed):
            yield from _guarded(_first_order, case, True, 0.0)
    for inputs, params in samples:
        yield from _guarded(_second_order, Case(op, inputs, params, seed))


def _guarded(numbers: Any, *args: Any) -> list[Any]:
    try:
        with np.errstate(all="ignore"):
            return list(numbers(*args))
    except Exception as error:
        return [type(error).__name__]


def _first_order(case: Case, even: bool = False, g: float = 1.0) -> Iterator[Any]:
    """One pull, what it left of an earlier one and of its cotangents."""
    leaves, ys = case.recorded()
    seeds = [np.full(y.shape, g, y.dtype) for y in ys] if even else case.seeds(20)
    got = [np.asarray(c) for c in cotangents(leaves, ys, seeds)]
    yield from map(np.array, got)
    if not even:
        kept = [np.array(s) for s in seeds]
        first = case.raw(kept)
        before = [np.array(c) for c in first]
        case.raw([2 * s for s in seeds])
        yield from (float(np.array_equal(a, b, equal_nan=True)) for a, b in zip((*first, *kept), (*before, *seeds), strict=True))


def _second_order(case: Case) -> Iterator[Any]:
    leaves, ys = case.recorded()
    seeds = [tensor(s, requires_grad=True) for s in case.seeds(21)]
    first = cotangents(leaves, ys, seeds, record=True)
    live = [g for g in first if isinstance(g, Tensor) and g.requires_grad]
    wanted = [*leaves, *seeds]
    rng = case.rng(22)
    found = pull(live, [np.asarray(rng.normal(size=g.shape), g.dtype) for g in live],
                 wanted={x._node for x in wanted}) if live else {}  # fmt: skip
    for x in wanted:
        yield np.asarray(found[x._node][0]) if x._node in found else np.zeros(x.shape)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, (str, float)) or isinstance(b, (str, float)):
        return type(a) is type(b) and bool(a == b)
    if a.shape != b.shape:
        return False
    size = np.max(np.abs(np.where(np.isfinite(a), a, 0)), initial=0)
    with np.errstate(invalid="ignore"):
        off = np.abs(a - b)
    return bool(np.all((off <= 1e-13 * size + 1e-15) | (a == b) | (np.isnan(a) & np.isnan(b))))


# --- mutate ---------------------------------------------------------------------------------


class Outcome(NamedTuple):
    """What became of one mutant.

    Attributes
    ----------
    mutant : str
    input : int or None
        Whose rule was changed; None for the record as a whole or a rule for all inputs.
    verdict : str
        "caught", "survived" or "equivalent" (the same numbers at every sample, to second order).
    by : tuple of str
        The tests that noticed, each with the exception.
    notices : str
        What kind of test would.
    """

    mutant: str
    input: int | None
    verdict: str
    by: tuple[str, ...] = ()
    notices: str = ""


@dataclass(frozen=True)
class Mutation:
    """Which mutants of an op were noticed by which tests; print it.

    Attributes
    ----------
    op : str
    outcomes : tuple of Outcome
    """

    op: str
    outcomes: tuple[Outcome, ...]

    def _of(self, verdict: str) -> tuple[Outcome, ...]:
        return tuple(o for o in self.outcomes if o.verdict == verdict)

    @property
    def caught(self) -> tuple[Outcome, ...]:
        return self._of("caught")

    @property
    def survived(self) -> tuple[Outcome, ...]:
        return self._of("survived")

    @property
    def equivalent(self) -> tuple[Outcome, ...]:
        return self._of("equivalent")

    @property
    def ok(self) -> bool:
        """No mutant survived."""
        return not self.survived

    def __str__(self) -> str:
        head = (f"{self.op}: {len(self.caught)} of {len(self.outcomes) - len(self.equivalent)} mutants caught, "
                f"{len(self.survived)} survived, {len(self.equivalent)} equivalent")  # fmt: skip
        rows = [(o.mutant + ("" if o.input is None else f" (input {o.input})"), o.verdict,
                 "; ".join(o.by) if o.verdict == "caught" else
                 f"to notice it, {o.notices}" if o.verdict == "survived" else "")
                for verdict in ("survived", "caught") for o in self._of(verdict)]  # fmt: skip
        wide = [max((len(row[k]) for row in rows), default=0) for k in (0, 1)]
        lines = [head] + [f"  {a:<{wide[0]}}  {b:<{wide[1]}}  {c}".rstrip() for a, b, c in rows]
        same = ", ".join(dict.fromkeys(o.mutant for o in self.equivalent))
        return "\n".join(lines + ([f"  the same numbers as before: {same}"] if same else []))


def mutate(
    op: Any,
    *tests: Callable[[], Any],
    samples: Samples | None = None,
    seed: int = 0,
    only: Callable[[Mutant], bool] | None = None,
) -> Any:
    """Put slips into an op's rules, one after the other, and see which tests notice.

    Parameters
    ----------
    op : Op, callable or str
        What `mg.define` returned, or the name of an op.
    *tests : callable
        Each is called without arguments while the op is wrong; a test that raises has noticed.
        Without any, the result is a function that takes them: ``mutate(op)(test)``.
    samples : iterable or callable, optional
        Points at which a mutant must differ from the op to count; see `check_op`.
    seed : int
        Of the points.
    only : callable, optional
        ``only(mutant)`` says which of `minigrad.testing.mutants.MUTANTS` to try.

    Returns
    -------
    Mutation
        For each mutant: caught (by which test, with which exception), survived (and what kind
        of test would notice) or equivalent.  Print it as a table.

    Raises
    ------
    ArgumentError
        It is no op with rules, or a test fails before anything is wrong.

    Notes
    -----
    The record is changed in place while a test runs, so every way to the op meets the mutant; do
    not use the op in other threads meanwhile.  Graphs that were recorded before meet it too.

    Examples
    --------
    >>> import minigrad as mg
    >>> def test():
    ...     assert mg.grad(mg.tanh)(0.0).item() == 1.0
    >>> result = mg.testing.mutate("tanh", test)
    >>> "x in place of y" in [o.mutant for o in result.survived]
    True
    """
    record = record_of(op)
    if not record.differentiable:
        raise ArgumentError(lesson("mutate", f"{record.name!r} has no rules", "an op with a derivative"))
    if not tests:
        return lambda *given: mutate(record, *given, samples=samples, seed=seed, only=only)
    for test in tests:
        failure = noticed(test)
        if failure is not None:
            raise ArgumentError(lesson("mutate", f"{_name(test)} fails before anything is wrong: {failure}",
                                       "a test that passes"))  # fmt: skip
    points = samples_of(record, samples, seed)
    poles = record.singular
    right = list(_numbers(record, points, seed, poles))
    outcomes = []
    for mutant, k in mutants_of(record):
        if only is None or only(mutant):
            outcomes.append(_tried(record, mutant, k, tests, right, lambda: _numbers(record, points, seed, poles)))
    return Mutation(record.name, tuple(outcomes))


def _tried(record: Op, mutant: Mutant, k: int, tests: Any, right: list[Any], numbers: Any) -> Outcome:
    whose = None if k < 0 or record.variadic else k
    with changed(record, mutant.applied(record, k)):
        if all(_equal(a, b) for a, b in zip(numbers(), right, strict=False)):
            return Outcome(mutant.name, whose, "equivalent")
        found = [(test, noticed(test)) for test in tests]
    by = tuple(f"{_name(test)}: {failure}" for test, failure in found if failure is not None)
    return Outcome(mutant.name, whose, "caught" if by else "survived", by, mutant.notices)


def noticed(test: Callable[[], Any]) -> str | None:
    """The exception that a test ends in, in short; None if it passes or is skipped."""
    try:
        test()
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # what pytest.fail raises is no Exception
        return None if type(error).__name__ == "Skipped" else type(error).__name__
    return None


def _name(test: Callable[[], Any]) -> str:
    return getattr(test, "__name__", repr(test))
