"""What every op owes, one function a claim, derived from its record alone.

Each function takes an op and raises AssertionError where the claim does not hold.  The
reference values come from `forward` on plain arrays: a complex step where the op is
analytic, otherwise a difference quotient of fourth order.
"""

from __future__ import annotations

import itertools
import math
import zlib

import numpy as np

import minigrad as mg
from minigrad.forward import pushforward
from minigrad.op import OPS, draw_samples
from minigrad.tensor import Tensor, apply, pull

DIFFERENTIABLE = [op for op in OPS.values() if op.differentiable]


def rng_of(op, salt=0):
    """A generator of the op's own, the same in every process."""
    return np.random.default_rng((zlib.crc32(op.name.encode()), salt))


def samples_of(op):
    """The op's samples that have something to differentiate."""
    samples = [(tuple(np.asarray(x) for x in inputs), params)
               for inputs, params in draw_samples(op, rng_of(op))]  # fmt: skip
    return [s for s in samples if active(op, s[0])]


def rule_of(op, i):
    return op.rules[0 if op.variadic else i]


def active(op, inputs):
    """Positions that are given a gradient."""
    return [i for i, x in enumerate(inputs) if x.dtype.kind == "f" and rule_of(op, i) is not None]


def tupled(y):
    return y if isinstance(y, tuple) else (y,)


def same_bits(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def close(got, want, rtol, what=""):
    """Equal to `rtol` of the largest number around: no element is asked for more digits than
    the sum it came from has."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, wanted {want.shape}"
    scale = 1 + np.max(np.abs(want), initial=0)
    error = np.max(np.abs(got - want), initial=0)
    assert error <= rtol * scale, f"{what}: off by {error:.3g} (scale {scale:.3g})"


# --- running an op, in the engine and outside -----------------------------------------------


def recorded(op, inputs, params):
    """Leaves for the active inputs, and the outputs as a tuple of tensors."""
    wanted = active(op, inputs)
    args = [mg.tensor(x, requires_grad=True) if i in wanted else x for i, x in enumerate(inputs)]
    return [args[i] for i in wanted], tupled(apply(op, tuple(args), params))


def cotangents(leaves, outputs, seeds, record=False):
    """The engine's pass, functional: one array (or tensor) per leaf."""
    found = pull(list(outputs), list(seeds), wanted={x._node for x in leaves}, record=record)
    missing = [k for k, x in enumerate(leaves) if x._node not in found]
    assert not missing, f"no cotangent for inputs {missing}"
    return [found[x._node][0] for x in leaves]


def raw_rules(op, seeds, inputs, params):
    """The rules on plain arrays, without the engine; un-broadcast by a sum of our own."""
    y = op.forward(*inputs, **params)
    g = tuple(seeds) if isinstance(y, tuple) else seeds[0]
    out = []
    for i in active_or_complex(op, inputs):
        rule = rule_of(op, i)
        c = rule(g, y, i, *inputs, **params) if op.variadic else rule(g, y, *inputs, **params)
        out.append(unbroadcast(np.asarray(c[i] if isinstance(c, tuple) else c), np.shape(inputs[i])))
    return out


def active_or_complex(op, inputs):
    return [i for i, x in enumerate(inputs)
            if np.asarray(x).dtype.kind in "fc" and rule_of(op, i) is not None]  # fmt: skip


def unbroadcast(c, shape):
    """Add every element of `c` to the element of `shape` that it was stretched from."""
    if c.shape == shape:
        return c
    out = np.zeros(shape, c.dtype)
    for index in np.ndindex(c.shape):
        tail = index[len(index) - len(shape):]
        out[tuple(0 if n == 1 else k for k, n in zip(tail, shape, strict=True))] += c[index]
    return out


def random_seeds(op, inputs, params, rng):
    """A cotangent for each output: random, so that nothing cancels by symmetry."""
    ys = tupled(op.forward(*inputs, **params))
    return [np.asarray(rng.normal(size=np.shape(y)).astype(np.asarray(y).dtype)) for y in ys]


def numeric_gradient(scalar, xs, analytic):
    """d scalar(xs) / d xs[k] for each k, element by element; `scalar` takes plain arrays."""
    out = []
    for k, x in enumerate(xs):
        d = np.zeros(x.shape)
        for index in np.ndindex(x.shape):
            def at(step, k=k, x=x, index=index):
                moved = np.array(x, dtype=complex if analytic else float)
                moved[index] += step
                return scalar([*xs[:k], moved, *xs[k + 1:]])  # fmt: skip

            if analytic:
                d[index] = np.imag(at(1e-30j)) / 1e-30
            else:
                h = 2e-4
                d[index] = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
        out.append(d)
    return out


def contract(seeds, ys):
    return sum(np.sum(s * y) for s, y in zip(seeds, ys, strict=True))


# --- the claims -----------------------------------------------------------------------------


def check_first_order(op):
    """Shape, dtype, one cotangent per input, and the value."""
    for inputs, params in samples_of(op):
        seeds = random_seeds(op, inputs, params, rng_of(op, 1))
        leaves, ys = recorded(op, inputs, params)
        got = cotangents(leaves, ys, seeds)
        places = active(op, inputs)
        assert len(got) == len(places)

        def scalar(xs, inputs=inputs, params=params, seeds=seeds, places=places):
            full = list(inputs)
            for i, x in zip(places, xs, strict=True):
                full[i] = x
            return contract(seeds, tupled(op.forward(*full, **params)))

        want = numeric_gradient(scalar, [inputs[i] for i in places], op.analytic)
        for i, g, d in zip(places, got, want, strict=True):
            assert g.shape == inputs[i].shape
            assert g.dtype == inputs[i].dtype
            close(g, d, 1e-13 if op.analytic else 1e-9, f"{op.name} input {i} {params}")


def check_second_order(op):
    """The recorded rule, differentiated, against the raw rule, differentiated numerically."""
    for inputs, params in samples_of(op):
        rng = rng_of(op, 2)
        seeds = random_seeds(op, inputs, params, rng)
        leaves, ys = recorded(op, inputs, params)
        tracked = [mg.tensor(s, requires_grad=True) for s in seeds]
        first = cotangents(leaves, ys, tracked, record=True)
        directions = [np.asarray(rng.normal(size=g.shape)) for g in first]
        total = mg.tensor(0.0)
        for u, g in zip(directions, first, strict=True):
            total = total + mg.sum(u * g)
        found = pull([total], [None], wanted={x._node for x in (*leaves, *tracked)})
        got = [found.get(x._node, (np.zeros(x.shape),))[0] for x in (*leaves, *tracked)]
        places = active(op, inputs)

        def scalar(point, inputs=inputs, params=params, places=places, directions=directions):
            full = list(inputs)
            for i, x in zip(places, point, strict=False):
                full[i] = x
            rules = raw_rules(op, point[len(places):], full, params)
            return contract(directions, rules)

        want = numeric_gradient(scalar, [inputs[i] for i in places] + seeds, op.analytic)
        for k, (g, d) in enumerate(zip(got, want, strict=True)):
            close(g, d, 1e-12 if op.analytic else 1e-8, f"{op.name} second order, {k} {params}")


def check_same_bits_recorded(op):
    """A rule is one program: on ndarrays and on tensors it gives the same bits."""
    for inputs, params in samples_of(op):
        seeds = random_seeds(op, inputs, params, rng_of(op, 3))
        leaves, ys = recorded(op, inputs, params)
        plain = cotangents(leaves, ys, seeds)
        lifted = cotangents(leaves, ys, seeds, record=True)
        for a, b in zip(plain, lifted, strict=True):
            assert isinstance(b, Tensor), f"{op.name}: recorded pass gave {type(b).__name__}"
            assert same_bits(a, b.data), f"{op.name} {params}: bits differ"


def check_dtype_kept(op):
    """float32 in, float32 gradient out; float16 too."""
    for dtype in (np.float32, np.float16):
        for inputs, params in samples_of(op):
            if "dtype" in params or dtype is np.float16 and op.name.startswith("linalg."):
                continue  # LAPACK has no half floats
            small = tuple(x.astype(dtype) if x.dtype.kind == "f" else x for x in inputs)
            leaves, ys = recorded(op, small, params)
            for y in ys:
                assert y.dtype == dtype, f"{op.name}: {dtype.__name__} became {y.dtype}"
            seeds = random_seeds(op, small, params, rng_of(op, 4))
            for record in (False, True):
                for g in cotangents(leaves, ys, seeds, record):
                    assert g.dtype == dtype, f"{op.name}: gradient is {g.dtype}"


def layouts(x):
    """The same numbers, laid out in memory in every way that NumPy has."""
    x = np.asarray(x)
    yield "C", np.array(x, order="C")
    yield "F", np.array(x, order="F")
    if x.ndim:
        back = (slice(None, None, -1),) * x.ndim
        yield "reversed", np.array(x[back])[back]
        wide = np.zeros(tuple(2 * n for n in x.shape), x.dtype)
        wide[(slice(None, None, 2),) * x.ndim] = x
        yield "strided", wide[(slice(None, None, 2),) * x.ndim]


def check_layouts(op):
    """Rules see any layout of inputs and cotangents, read-only, and change nothing."""
    for inputs, params in samples_of(op):
        seeds = random_seeds(op, inputs, params, rng_of(op, 5))
        y_want = tupled(op.forward(*inputs, **params))
        want = raw_rules(op, seeds, inputs, params)
        variants = [dict(layouts(x)) for x in (*inputs, *seeds)]
        for kind in ("C", "F", "reversed", "strided"):
            arrays = [v.get(kind, v["C"]) for v in variants]
            for a in arrays:
                a.flags.writeable = False
            xs, gs = arrays[: len(inputs)], arrays[len(inputs):]
            for a, b in zip(tupled(op.forward(*xs, **params)), y_want, strict=True):
                close(a, b, 1e-14, f"{op.name} forward, {kind}")
            for a, b in zip(raw_rules(op, gs, xs, params), want, strict=True):
                close(a, b, 1e-13, f"{op.name} rule, {kind}")
        flat = [np.broadcast_to(np.asarray(1.5, s.dtype), s.shape) for s in seeds]  # stride 0
        for a, b in zip(raw_rules(op, flat, inputs, params),
                        raw_rules(op, [np.array(s) for s in flat], inputs, params), strict=True):  # fmt: skip
            close(a, b, 1e-13, f"{op.name} rule, stride 0")


def check_nothing_shared(op):
    """No gradient shares memory with another, with a value or with the seed; no input and
    no seed is changed."""
    for inputs, params in samples_of(op):
        for create_graph in (False, True):
            seeds = random_seeds(op, inputs, params, rng_of(op, 6))
            before = [a.tobytes() for a in (*inputs, *seeds)]
            leaves, ys = recorded(op, inputs, params)
            for y, seed in zip(ys, seeds, strict=True):
                y.retain_grad().backward(seed, create_graph=create_graph, retain_graph=True)
            grads = [t.grad.data for t in (*leaves, *ys) if t.grad is not None]
            others = [*inputs, *seeds, *(x.data for x in leaves), *(y.data for y in ys)]
            for a, b in itertools.combinations(grads, 2):
                assert not np.shares_memory(a, b), f"{op.name}: two gradients share memory"
            for a, b in itertools.product(grads, others):
                assert not np.shares_memory(a, b), f"{op.name}: a gradient shares a value's memory"
            assert [a.tobytes() for a in (*inputs, *seeds)] == before, f"{op.name}: changed an input"


def check_linear_in_the_cotangent(op):
    """pull(2 v) is 2 pull(v) to the bit, pull(a + b) is pull(a) + pull(b), pull(0) is 0."""
    for inputs, params in samples_of(op):
        v = random_seeds(op, inputs, params, rng_of(op, 7))
        w = random_seeds(op, inputs, params, rng_of(op, 8))
        leaves, ys = recorded(op, inputs, params)
        once, other = cotangents(leaves, ys, v), cotangents(leaves, ys, w)
        twice = cotangents(leaves, ys, [2 * s for s in v])
        both = cotangents(leaves, ys, [a + b for a, b in zip(v, w, strict=True)])
        none = cotangents(leaves, ys, [0 * s for s in v])
        for a, b, c, d, z in zip(once, other, twice, both, none, strict=True):
            assert same_bits(2 * np.asarray(a), c), f"{op.name}: pull(2v) != 2 pull(v)"
            close(d, a + b, 1e-13, f"{op.name}: additivity")
            assert not np.any(z), f"{op.name}: pull(0) is not 0"


SHAPES = [(), (1,), (3,), (2, 3), (2, 1), (1, 3), (4, 2, 3), (4, 1, 1), (0,), (0, 3), (1, 0), (2, 0)]


def is_elementwise_binary(op):
    if not (op.differentiable and op.broadcasts and op.arity == 2):
        return False
    try:
        return op.forward(np.ones((2, 3)), np.ones(())).shape == (2, 3)
    except ValueError:
        return False


def check_broadcasting(op):
    """All ordered pairs of shapes: the gradient is that of the stretched operands, summed."""
    rng = rng_of(op, 9)
    for shapes in itertools.product(SHAPES, SHAPES):
        xs = tuple(np.asarray(op.domains[min(i, len(op.domains) - 1)].draw(rng, s))
                   for i, s in enumerate(shapes))  # fmt: skip
        try:
            full = np.broadcast_shapes(*shapes)
        except ValueError:
            message = ""
            try:
                recorded(op, xs, {})
            except mg.errors.ShapeError as error:
                message = str(error)
            assert all(str(s) in message for s in shapes), f"{op.name} {shapes}: {message!r}"
            continue
        stretched = tuple(np.array(np.broadcast_to(x, full)) for x in xs)
        leaves, (y,) = recorded(op, xs, {})
        wide, (z,) = recorded(op, stretched, {})
        assert y.shape == full
        seed = np.asarray(rng.normal(size=full))
        for x, got, want in zip(xs, cotangents(leaves, [y], [seed]), cotangents(wide, [z], [seed]),
                                strict=True):  # fmt: skip
            assert got.shape == x.shape
            close(got, unbroadcast(np.asarray(want), x.shape), 1e-14, f"{op.name} {shapes}")


def check_tangent(op):
    """The forward tangent: its value, the dot test against the rules, and its own derivative."""
    for inputs, params in samples_of(op):
        rng, places = rng_of(op, 11), active(op, inputs)
        seeds = random_seeds(op, inputs, params, rng)
        leaves, ys = recorded(op, inputs, params)
        moves = [np.asarray(rng.normal(size=x.shape)) for x in leaves]
        nodes = [y._node for y in ys]
        got = pushforward(nodes, {x._node: t for x, t in zip(leaves, moves, strict=True)}, lift=False)
        got = [np.zeros(y.shape) if t is None else np.asarray(t) for t, y in zip(got, ys, strict=True)]

        def at(step, inputs=inputs, params=params, places=places, moves=moves):
            full = list(inputs)
            for i, t in zip(places, moves, strict=True):
                full[i] = full[i] + step * t
            return tupled(op.forward(*full, **params))

        if op.analytic:
            want = [np.imag(y) / 1e-30 for y in at(1e-30j)]
        else:
            h = 2e-4
            want = [(8 * (a - b) - (c - d)) / (12 * h)
                    for a, b, c, d in zip(at(h), at(-h), at(2 * h), at(-2 * h), strict=True)]  # fmt: skip
        for t, w in zip(got, want, strict=True):
            close(t, w, 1e-13 if op.analytic else 1e-8, f"{op.name} tangent {params}")
        pulled = cotangents(leaves, ys, seeds)
        close(contract(seeds, got), contract(moves, pulled), 1e-13, f"{op.name} dot test {params}")

        table = {x._node: mg.tensor(t) for x, t in zip(leaves, moves, strict=True)}
        lifted = pushforward(nodes, table, lift=True)
        live = [(t, s) for t, s in zip(lifted, seeds, strict=True) if t is not None]
        for t, w in zip(got, lifted, strict=True):
            if w is not None:
                close(t, w.data, 1e-14, f"{op.name} tangent on tensors")
        total = mg.tensor(0.0)
        for t, s in live:
            total = total + mg.sum(s * t)
        other = mg.tensor(0.0)
        for c, t in zip(cotangents(leaves, ys, seeds, record=True), moves, strict=True):
            other = other + mg.sum(c * t)
        wanted = {x._node for x in leaves}
        first, second = ({} if not y.requires_grad else pull([y], [None], wanted=wanted)
                         for y in (total, other))  # fmt: skip
        for x in leaves:
            a, b = (found.get(x._node, (np.zeros(x.shape),))[0] for found in (first, second))
            close(a, b, 1e-12, f"{op.name} derivative of the tangent {params}")


def check_traits(op):
    """What the record says of itself: linear, elementwise; and what it promises at kinks."""
    for inputs, params in samples_of(op):
        places, y = active(op, inputs), tupled(op.forward(*inputs, **params))
        rng = rng_of(op, 10)
        moves = [rng.normal(size=np.shape(x)) for x in inputs]

        def at(arrays, inputs=inputs, params=params):
            full = [arrays.get(i, x) for i, x in enumerate(inputs)]
            return tupled(op.forward(*full, **params))

        for group in {"jointly": [places], "each": [[i] for i in places]}.get(op.linear, []):
            moved = at({i: inputs[i] + moves[i] for i in group})
            alone = at({i: moves[i] for i in group})
            for a, b, c in zip(moved, y, alone, strict=True):
                close(a - b, c, 1e-13, f"{op.name} is not linear: {params}")
        if op.elementwise:
            for i in places:
                for index in np.ndindex(inputs[i].shape):
                    one = np.array(inputs[i])
                    one[index] += 0.01
                    mask = np.zeros(inputs[i].shape)
                    mask[index] = 1
                    elsewhere = np.broadcast_to(mask, y[0].shape) == 0
                    changed = np.asarray(at({i: one})[0] != y[0])
                    assert not np.any(changed & elsewhere), f"{op.name} is not elementwise"
        if op.branch is not None:
            op.branch(*inputs, **params)
    for kink in op.kinks:
        inputs = tuple(np.asarray(x) for x in kink.inputs)
        leaves, ys = recorded(op, inputs, kink.params)
        got = cotangents(leaves, ys, [np.ones_like(y.data) for y in ys])
        want = [kink.gradient[i] for i in active(op, inputs)]
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b, f"{op.name} at {kink.where}")


CLAIMS = [check_first_order, check_second_order, check_same_bits_recorded, check_dtype_kept,
          check_layouts, check_nothing_shared, check_linear_in_the_cotangent, check_tangent,
          check_traits]  # fmt: skip
"""What holds for every op with a derivative."""


# --- the sum at forks -----------------------------------------------------------------------


def check_forks(rng=None):
    """Random graphs full of forks against the sum over all paths, in integers: exact."""
    rng = rng or np.random.default_rng(5)
    for _ in range(20):
        values, parents = [mg.tensor(1.0, requires_grad=True)], [()]
        for _ in range(12):
            a, b = (int(k) for k in rng.integers(0, len(values), 2))
            values.append(values[a] + 3.0 * values[b])
            parents.append(((a, 1), (b, 3)))
        values[-1].backward()

        def paths(k, to=0, parents=parents):
            return int(k == to) + sum(w * paths(p, to, parents) for p, w in parents[k] if p >= to)

        assert values[0].grad is not None
        assert values[0].grad.item() == paths(len(values) - 1)
    x = mg.tensor(np.arange(4.0), requires_grad=True)  # the third contribution is added in place
    y = x * 2.0
    (y + y * 3.0 + y * 5.0 + y * 7.0).backward(np.ones(4))
    assert x.grad.data.tolist() == [32.0] * 4
    assert math.isclose(mg.grad(lambda x: x * x * x)(2.0).item(), 12.0)
