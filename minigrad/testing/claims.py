"""What every op owes, one function a claim, derived from its record alone.

A claim takes a `Case` (an op at one point) or, where it says so, an op as a whole, and yields
a sentence for each thing that does not hold.  What the claim is in plain words and what to do
where it is broken stand beside it: that is what `check_op` prints.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..errors import MinigradError
from ..forward import independent, moves_with, pushforward
from ..op import Op, Sample, domain_of
from ..tensor import Tensor, pull, tensor
from .case import (
    Case,
    active,
    contract,
    cotangents,
    difference,
    layouts,
    raw_rules,
    recorded,
    rng_of,
    rule_of,
    same_bits,
    samples_of,
    unbroadcast,
)
from .check import check_grads
from .report import GradientError
from .stage import by_complex_step, by_differences, extended, tupled

Check = Callable[..., Iterator[str]]
ROUNDING = 1e-10
"""What double precision may leave between two ways to the same number, in claims that look for
slips and not for digits: digits are the business of `derivatives`."""


class Claim(NamedTuple):
    """Something that holds for every op.

    Attributes
    ----------
    name : str
    words : str
        What holds.
    advice : str
        What to do where it does not.
    check : callable
        ``check(case)``, or for a claim on the op as a whole ``check(op, seed)``, yields a
        sentence for each thing that is broken.
    """

    name: str
    words: str
    advice: str
    check: Check


CLAIMS: list[Claim] = []
"""What holds at every point that an op is tried at, in the order of trying."""

OF_THE_OP: list[Claim] = []
"""What holds for an op as a whole."""


def claim(words: str, advice: str, *, of_the_op: bool = False) -> Callable[[Check], Check]:
    """Enter a function among the claims."""

    def enter(check: Check) -> Check:
        (OF_THE_OP if of_the_op else CLAIMS).append(Claim(check.__name__, words, advice, check))
        return check

    return enter


# --- at a point -----------------------------------------------------------------------------


@claim("each input gets one cotangent, of its own shape and dtype, recorded or not",
       "return an array of the input's shape; give None in place of the rule where nothing flows, and "
       "broadcasts=True to define() if operands are stretched against each other")  # fmt: skip
def one_cotangent_each(case: Case) -> Iterator[str]:
    """The engine's pass on arrays and on tensors: shapes, dtypes, types."""
    leaves, ys = case.recorded()
    for record in (False, True):
        got = cotangents(leaves, ys, case.seeds(1), record)
        for i, c in zip(case.places, got, strict=True):
            x = case.inputs[i]
            if (c.shape, c.dtype) != (x.shape, x.dtype):
                yield f"input {i} is {x.shape} {x.dtype}, its cotangent {c.shape} {c.dtype}"
            if record and not isinstance(c, Tensor):
                yield f"the cotangent of input {i} is a {type(c).__name__} where the rule ran on tensors"


@claim("its derivatives, first and higher, are those of its forward function",
       "derive the rule anew: rule(g, y, *inputs) is g times the local derivative, written so that it runs "
       "on tensors too (values taken out with .data or .numpy() are lost to the second derivative)")  # fmt: skip
def derivatives(case: Case, order: int = 2) -> Iterator[str]:
    """`check_grads` on the op alone, in extended precision."""
    names = [f"input {i}" for i in case.places]
    try:
        points = [case.inputs[i] for i in case.places]
        case.report = check_grads(case.function(), *points, order=order, seed=case.seed, names=names)
    except GradientError as error:
        case.census = error.census
        yield str(error).removeprefix("check_grads: ")


@claim("a rule is one program: on arrays and on tensors it gives the same bits",
       "do not treat tensors apart in the rule; use operators, NumPy functions and ops for both")  # fmt: skip
def same_program(case: Case) -> Iterator[str]:
    leaves, ys = case.recorded()
    seeds = case.seeds(3)
    plain, lifted = cotangents(leaves, ys, seeds), cotangents(leaves, ys, seeds, record=True)
    for i, a, b in zip(case.places, plain, lifted, strict=True):
        b = b.data if isinstance(b, Tensor) else b
        if not same_bits(a, b):
            yield f"input {i}: on tensors {difference(b, a, 0) or 'other bits (a signed zero, a dtype)'}"


@claim("a rule is linear in the cotangent: pull(2v) is 2 pull(v) to the bit, pull(0) is 0",
       "every term of a rule has the factor g exactly once; nothing else may depend on g")  # fmt: skip
def linear_in_the_cotangent(case: Case) -> Iterator[str]:
    v, w = case.seeds(7), case.seeds(8)
    leaves, ys = case.recorded()
    once, other = cotangents(leaves, ys, v), cotangents(leaves, ys, w)
    twice = cotangents(leaves, ys, [2 * s for s in v])
    both = cotangents(leaves, ys, [a + b for a, b in zip(v, w, strict=True)])
    none = cotangents(leaves, ys, [0 * s for s in v])
    for i, a, b, c, d, z in zip(case.places, once, other, twice, both, none, strict=True):
        if not same_bits(2 * np.asarray(a), c):
            yield f"input {i}: pull(2v) is not 2 pull(v): {difference(c, 2 * np.asarray(a), 0)}"
        if text := difference(d, a + b, ROUNDING):
            yield f"input {i}: pull(v + w) is not pull(v) + pull(w): {text}"
        if np.any(z):
            yield f"input {i}: pull(0) is not 0: {difference(z, np.zeros_like(z), 0)}"


@claim("a rule keeps nothing from one call to the next",
       "return a new array each time, not one that a later call fills again, and draw no random numbers")  # fmt: skip
def no_memory(case: Case) -> Iterator[str]:
    """An earlier cotangent stays as it was, and the same call gives the same bits."""
    seeds = case.seeds(12)
    first = case.raw(seeds)
    before = [np.array(c) for c in first]
    case.raw([2 * s for s in seeds])
    kept = [same_bits(a, b) for a, b in zip(first, before, strict=True)]
    again = case.raw(seeds)
    for i, unchanged, b, c in zip(case.places, kept, before, again, strict=True):
        if not unchanged:
            yield f"input {i}: a later call of the rule changed what an earlier one returned"
        if not same_bits(b, c):
            yield f"input {i}: the same call gave other numbers: {difference(c, b, 0)}"
    left, right = case.forward(), case.forward()
    if not all(map(same_bits, left, right)):
        yield "forward gave other numbers when it was called again"


@claim("inputs and cotangents may lie in memory in any way, and are never written to",
       "make no array in place that was given (g *= ..., out=), and assume no layout (.ravel() of a "
       "view, .data, strides)")  # fmt: skip
def any_layout(case: Case) -> Iterator[str]:
    """C and Fortran order, reversed, strided, stride 0; all of it read-only."""
    op, params, n = case.op, case.params, len(case.inputs)
    seeds = case.seeds(5)
    y_want, want = case.forward(), case.raw([np.array(s) for s in seeds])
    variants = [dict(layouts(x)) for x in (*case.inputs, *seeds)]
    for kind in ("in C order", "in Fortran order", "reversed", "strided"):
        arrays = [v.get(kind, v["in C order"]) for v in variants]
        for a in arrays:
            a.flags.writeable = False
        try:
            got = [("forward", a, b) for a, b in
                   zip(tupled(op.forward(*arrays[:n], **params)), y_want, strict=True)]  # fmt: skip
            got += [(f"the rule for input {i}", a, b) for i, a, b in
                    zip(case.places, raw_rules(op, arrays[n:], arrays[:n], params), want, strict=True)]  # fmt: skip
        except ValueError as error:
            if "read-only" not in str(error):
                raise
            yield f"it writes to an array that was given ({error})"
            return
        for what, a, b in got:
            if text := difference(a, b, ROUNDING):
                yield f"arrays {kind}: {what} gives {text}"
    flat = [np.broadcast_to(np.asarray(1.5, s.dtype), s.shape) for s in seeds]
    for i, a, b in zip(case.places, case.raw(flat), case.raw([np.array(s) for s in flat]), strict=True):
        if text := difference(a, b, ROUNDING):
            yield f"a cotangent of stride 0: the rule for input {i} gives {text}"


@claim("no gradient shares memory with another, with a value or with the seed",
       "let forward return a new array, never its input or a view of a writable one")  # fmt: skip
def nothing_shared(case: Case) -> Iterator[str]:
    """After `backward`, at first order and recorded."""
    for create_graph in (False, True):
        seeds = case.seeds(6)
        before = [a.tobytes() for a in (*case.inputs, *seeds)]
        leaves, ys = case.recorded()
        for y, seed in zip(ys, seeds, strict=True):
            y.retain_grad().backward(seed, create_graph=create_graph, retain_graph=True)
        grads = [t.grad.data for t in (*leaves, *ys) if t.grad is not None]
        others = [*case.inputs, *seeds, *(x.data for x in leaves), *(y.data for y in ys)]
        if any(np.shares_memory(a, b) for a, b in itertools.combinations(grads, 2)):
            yield "two gradients share memory"
        if any(np.shares_memory(a, b) for a, b in itertools.product(grads, others)):
            yield "a gradient shares memory with a value"
        if [a.tobytes() for a in (*case.inputs, *seeds)] != before:
            yield "an input or a seed was changed"


@claim("float32 in, float32 out and float32 back; float16 too",
       "keep constants weak: Python numbers or x.dtype.type(c), not np.float64 scalars and arrays")  # fmt: skip
def dtype_kept(case: Case) -> Iterator[str]:
    """Where the caller asks for no dtype and NumPy's own routines know it (LAPACK has no halves)."""
    if "dtype" in case.params:
        return
    for dtype in (np.float32, np.float16):
        small = case.cast(dtype)
        try:
            small.forward()
        except TypeError:
            if dtype is np.float16:
                continue
            raise
        leaves, ys = small.recorded()
        for k, y in enumerate(ys):
            if y.dtype != dtype:
                yield f"output {k} of {np.dtype(dtype)} inputs is {y.dtype}"
        if any(y.dtype != dtype for y in ys):
            continue
        seeds = small.seeds(4)
        for record in (False, True):
            for i, g in zip(small.places, cotangents(leaves, ys, seeds, record), strict=True):
                if g.dtype != dtype:
                    yield f"the gradient of {np.dtype(dtype)} input {i} is {g.dtype}"


@claim("neither forward nor a rule lets NumPy warn on the op's domain",
       "avoid the operation (np.where of a safe argument), say where the op lives (domain=), or suspend "
       "the warning where it is meant: with np.errstate(divide='ignore')")  # fmt: skip
def quiet(case: Case) -> Iterator[str]:
    """Overflow, division by zero and invalid operations, in the engine as a user runs it."""
    try:
        with np.errstate(over="raise", divide="raise", invalid="raise", under="ignore"):
            leaves, ys = case.recorded()
            cotangents(leaves, ys, case.seeds(13))
    except FloatingPointError as error:
        yield str(error)
    except MinigradError as error:
        if not isinstance(error.__cause__, FloatingPointError):
            raise
        yield str(error)


@claim("its tangents are those of its forward function and pass the dot test against its rules",
       "correct jvp= (it gets one tangent for each input, zeros where nothing moves), or leave it out: "
       "then it follows from the rules")  # fmt: skip
def tangents(case: Case) -> Iterator[str]:
    """Forward mode: its value, <v, Ju> = <Jᵀv, u>, on tensors, and its own derivative."""
    op, rng = case.op, case.rng(11)
    seeds = case.seeds(11)
    leaves, ys = case.recorded()
    moves = [np.asarray(rng.normal(size=x.shape)) for x in leaves]
    nodes, start = [y._node for y in ys], {x._node: t for x, t in zip(leaves, moves, strict=True)}
    got = [np.zeros(y.shape) if t is None else np.asarray(t)
           for t, y in zip(pushforward(nodes, start, lift=False), ys, strict=True)]  # fmt: skip

    if independent(op):  # one that follows from the rules is as right as they are
        yield from _tangent_of_forward(case, got, moves)
    pulled = cotangents(leaves, ys, seeds)
    left, right = contract(seeds, got), contract(moves, pulled)
    mass = sum(np.sum(np.abs(a * b)) for a, b in zip((*seeds, *moves), (*got, *pulled), strict=True))
    if not abs(left - right) <= ROUNDING * (1 + mass):
        yield f"the dot test fails: <v, Ju> = {left:.17g}, <Jᵀv, u> = {right:.17g}"

    lifted = pushforward(nodes, {n: tensor(t) for n, t in start.items()}, lift=True)
    for t, w in zip(got, lifted, strict=True):
        if w is not None and (text := difference(w.data, t, ROUNDING)):
            yield f"on tensors the tangent is {text}"
    total, other = (_total(pairs) for pairs in (
        [(s, t) for s, t in zip(seeds, lifted, strict=True) if t is not None],
        list(zip(moves, cotangents(leaves, ys, seeds, record=True), strict=True))))  # fmt: skip
    wanted = {x._node for x in leaves}
    first, second = ({} if not y.requires_grad else pull([y], [None], wanted=wanted)
                     for y in (total, other))  # fmt: skip
    for i, x in zip(case.places, leaves, strict=True):
        a, b = (np.asarray(found.get(x._node, (np.zeros(x.shape),))[0]) for found in (first, second))
        if text := difference(a, b, 10 * ROUNDING):
            yield f"differentiated by input {i}, the tangent gives {text}"


def _tangent_of_forward(case: Case, got: list[Any], moves: list[Any]) -> Iterator[str]:
    op, along = case.op, dict(zip(case.places, moves, strict=True))
    point = op.forward, list(map(extended, case.inputs)), [along.get(i) for i in range(len(case.inputs))], case.params
    moved = (by_complex_step if op.analytic else by_differences)(*point, op.branch)
    if not moved.kink:
        rtol = ROUNDING if op.analytic else max(1e-8, 20 * moved.error)
        for t, w in zip(got, moved.parts, strict=True):
            if text := difference(t, np.asarray(w, np.float64), rtol):
                yield f"the tangent is {text}"


def _total(pairs: list[tuple[Any, Tensor]]) -> Tensor:
    total = tensor(0.0)
    for s, t in pairs:
        total = total + np.sum(s * t)
    return total


@claim("what the record says of forward is so: analytic, linear, elementwise",
       "take the trait out of define(), or write forward so that it holds")  # fmt: skip
def traits(case: Case) -> Iterator[str]:
    """The witnesses of every check rest on these, so they are measured."""
    op, places, rng = case.op, case.places, case.rng(10)
    y = case.forward()
    moves = [rng.normal(size=x.shape) for x in case.inputs]
    for group in {"jointly": [places], "each": [[i] for i in places]}.get(op.linear, []):
        moved = case.forward({i: case.inputs[i] + moves[i] for i in group})
        alone = case.forward({i: moves[i] for i in group})
        for a, b, c in zip(moved, y, alone, strict=True):
            if text := difference(a - b, c, ROUNDING):
                yield f"linear={op.linear!r}, but f(x + t) − f(x) is {text}, which f(t) is"
    if op.elementwise:
        for i in places:
            for index in np.ndindex(case.inputs[i].shape):
                one, mask = np.array(case.inputs[i]), np.zeros(case.inputs[i].shape)
                one[index] += 0.01
                mask[index] = 1
                changed = np.asarray(case.forward({i: one})[0] != y[0])
                if np.any(changed & (np.broadcast_to(mask, y[0].shape) == 0)):
                    yield f"elementwise=True, but element {index} of input {i} moves other elements of the output"
        part = [np.broadcast_to(x, y[0].shape).ravel()[::2] for x in case.inputs]
        if text := difference(np.asarray(tupled(op.forward(*part, **case.params))[0]), y[0].ravel()[::2], ROUNDING):
            yield f"elementwise=True, but of every other element alone it makes {text}"  # it looks at the shape
    if op.branch is not None:
        op.branch(*case.inputs, **case.params)
    if op.analytic:
        along = [t if i in places and moves_with(op, i, x) else None
                 for i, (t, x) in enumerate(zip(moves, case.inputs, strict=True))]  # fmt: skip
        wide = list(map(extended, case.inputs))
        exact = by_complex_step(op.forward, wide, along, case.params, op.branch)
        near = by_differences(op.forward, wide, along, case.params, op.branch)
        for a, b in zip(exact.parts, near.parts, strict=True):
            off = difference(np.asarray(a, np.float64), np.asarray(b, np.float64), max(1e-5, 20 * near.error))
            if off and not near.kink:
                yield f"analytic=True, but the complex step gives {off}, which differences give"


# --- of an op as a whole --------------------------------------------------------------------

SHAPES: list[tuple[int, ...]] = [
    (), (1,), (3,), (2, 3), (2, 1), (1, 3), (4, 2, 3), (4, 1, 1), (0,), (0, 3), (1, 0), (2, 0)]  # fmt: skip
"""Every ordered pair of these is tried on an op of two operands."""


def is_elementwise_binary(op: Op) -> bool:
    """Two operands, stretched against each other."""
    if not (op.differentiable and op.broadcasts and op.arity == 2):
        return False
    try:
        return bool(op.forward(np.ones((2, 3)), np.ones(())).shape == (2, 3))
    except ValueError:
        return False


@claim("where operands are stretched against each other, cotangents are summed back",
       "give broadcasts=True to define(): the engine sums; the rule itself returns the stretched cotangent",
       of_the_op=True)  # fmt: skip
def broadcasting(op: Op, seed: int = 0) -> Iterator[str]:
    """All ordered pairs of shapes: the gradient is that of the stretched operands, summed."""
    pairs = list(itertools.product(SHAPES, SHAPES))
    if not is_elementwise_binary(op):
        if op.arity != 2 or op.broadcasts or op.samples is not None:
            return
        pairs = [((2, 3), (3,)), ((), (2, 3))]  # a record that does not know that forward stretches
    rng = rng_of(op, 9, seed)
    for shapes in pairs:
        xs = [np.asarray(domain_of(op, i).draw(rng, s)) for i, s in enumerate(shapes)]
        try:
            full = np.broadcast_shapes(*shapes)
            if np.shape(op.forward(*xs)) != full:
                continue
        except (ValueError, TypeError, IndexError):
            continue  # they do not fit, or forward takes no such pair
        wide = [np.array(np.broadcast_to(x, full)) for x in xs]
        v = np.asarray(rng.normal(size=full))
        try:
            got, want = (cotangents(*recorded(op, a, {}), [v]) for a in (xs, wide))
        except MinigradError as error:
            yield f"shapes {shapes[0]} and {shapes[1]}: {error}"
            continue
        places = [i for i in range(2) if rule_of(op, i) is not None]
        for i, a, b in zip(places, got, want, strict=True):
            if text := difference(a, unbroadcast(np.asarray(b), xs[i].shape), ROUNDING):
                yield f"shapes {shapes[0]} and {shapes[1]}: the cotangent of input {i} is {text}"


@claim("at its kinks it gives what its record promises",
       "correct the rule or the gradient in kinks=[Kink(...)]; the convention at ties is in docs/subgradients.md",
       of_the_op=True)  # fmt: skip
def at_kinks(op: Op, seed: int = 0) -> Iterator[str]:
    """Exactly: the subgradient table is a promise."""
    for kink in op.kinks:
        case = Case(op, kink.inputs, kink.params, seed)
        leaves, ys = case.recorded()
        got = cotangents(leaves, ys, [np.ones_like(y.data) for y in ys])
        for i, a in zip(case.places, got, strict=True):
            want = np.asarray(kink.gradient[i])
            if not np.array_equal(a, want, equal_nan=True):
                yield f"at {kink.where} the gradient of input {i} is {np.asarray(a)!s}, promised is {want!s}"


def edges_of(op: Op, params: dict[str, Any]) -> list[float]:
    """Where it may have a pole: 0 and ±1, where its domains end, at its kinks, at its parameters."""
    ends = [e for domain in op.domains for e in domain.edges]
    kinks = [x for kink in op.kinks for value in kink.inputs for x in np.ravel(value).tolist()]
    numbers = [s * v for v in params.values() if type(v) in (int, float) for s in (1, -1)]
    return [e for e in dict.fromkeys(map(float, (0, 1, -1, *ends, *kinks, *numbers))) if np.isfinite(e)]


@claim("at a pole a cotangent of 0 contributes 0, never NaN",
       "give singular=True to define(): then where(x > 0, f(x), 0) has no NaN gradient",
       of_the_op=True)  # fmt: skip
def at_poles(op: Op, seed: int = 0) -> Iterator[str]:
    """An input, or one element of it, at each edge; then all inputs together."""
    for case, where in near_edges(op, seed):
        found = _pulled(case, 0.0)
        for i, c in zip(case.places, found or (), strict=False):
            wrong = c[(c != 0) | np.isnan(c)]
            if wrong.size:
                yield f"{where}: a cotangent of 0 contributes {wrong[0]} to input {i}"
                return


def near_edges(op: Op, seed: int) -> Iterator[tuple[Case, str]]:
    """The op where it may have a pole, and this place in words."""
    usable: dict[str, Sample] = {}  # one sample for each choice of metadata
    for inputs, params in samples_of(op, None, seed):
        if all(x.size for x in inputs):
            usable.setdefault(repr(params), (inputs, params))
    for inputs, params in list(usable.values())[:8]:
        places = active(op, inputs)
        groups = [[i] for i in places] + ([places] if len(places) > 1 else [])
        for edge, group, single in itertools.product(edges_of(op, params), groups, (False, True)):
            xs = [np.array(x) for x in inputs]
            for i in group:
                xs[i].reshape(-1)[: 1 if single else None] = edge
            named = " and ".join(f"input {i}" for i in group)
            yield Case(op, xs, params, seed), f"{'an element of ' * single}{named} = {edge:g}"


def _pulled(case: Case, g: float) -> list[Any] | None:
    """What a constant cotangent gives; None where the function does not exist."""
    try:
        with np.errstate(all="ignore"):
            if not case.op.singular and any(np.any(np.isnan(y)) for y in case.forward()):
                return None
            leaves, ys = case.recorded()
            return [np.asarray(c) for c in cotangents(leaves, ys, [np.full(y.shape, g, y.dtype) for y in ys])]
    except (MinigradError, ArithmeticError, ValueError, np.linalg.LinAlgError):
        return None


NEAR = 0.05


def near_poles(op: Op, seed: int = 0) -> Iterator[Case]:
    """An elementwise op close to each of its poles, on the sides where it exists."""
    if not (op.singular and op.elementwise):
        return
    for case, where in near_edges(op, seed):
        found = _pulled(case, 1.0)
        if found is None or "element" in where or " and " in where:
            continue
        poles = [i for i, c in zip(case.places, found, strict=True) if not np.all(np.isfinite(c))]
        for side in (1, -1) if poles else ():
            xs = [x + side * NEAR * (1 + case.rng(14).random(x.shape)) if i in poles else x
                  for i, x in enumerate(case.inputs)]  # fmt: skip
            near = Case(op, xs, case.params, seed)
            there = _pulled(near, 1.0)
            if there is not None and all(np.all(np.isfinite(c)) for c in (*there, *near.forward())):
                yield near
