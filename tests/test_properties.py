"""Properties of random programs, indices and shapes (hypothesis)."""

import itertools
import math

import checks
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad.domain import REAL
from minigrad.op import OPS
from minigrad.tensor import apply

quick = settings(deadline=None, derandomize=True, database=None, max_examples=60)

# --- random programs ------------------------------------------------------------------------

# ops that take any real numbers to real numbers of the same shape, smoothly
SMOOTH = [op for op in checks.DIFFERENTIABLE
          if op.broadcasts and op.analytic and not op.singular and op.samples is None
          and all(d is REAL for d in op.domains)]  # fmt: skip


@st.composite
def programs(draw):
    """A list of stages (op, operand numbers): operand k is the leaf k or an earlier stage."""
    leaves = draw(st.integers(1, 3))
    stages = []
    for n in range(draw(st.integers(1, 10))):
        op = draw(st.sampled_from(SMOOTH))
        stages.append((op, tuple(draw(st.integers(0, leaves + n - 1)) for _ in range(op.arity))))
    shapes = [draw(st.sampled_from([(), (3,), (2, 3), (2, 1)])) for _ in range(leaves)]
    return shapes, stages


def run(values, stages, call, bounded):
    values = list(values)
    for op, operands in stages:
        values.append(bounded(call(op, *(values[k] for k in operands))))
    return values[-1]


def test_there_are_ops_to_compose():
    assert {"add", "multiply", "exp", "tanh", "sin"} <= {op.name for op in SMOOTH}


@quick
@given(programs(), st.integers(0, 2**32 - 1))
def test_random_program_against_the_complex_step(program, seed):
    """Each stage is scaled by 0.7 and passed through sin, so that nothing overflows."""
    shapes, stages = program
    rng = np.random.default_rng(seed)
    xs = [np.asarray(rng.normal(size=s)) for s in shapes]
    leaves = [mg.tensor(x, requires_grad=True) for x in xs]
    y = run(leaves, stages, lambda op, *a: apply(op, a), lambda v: mg.sin(v * 0.7))
    weights = np.asarray(rng.normal(size=y.shape))
    y.backward(weights)

    def scalar(points):
        out = run(points, stages, lambda op, *a: op.forward(*a), lambda v: np.sin(v * 0.7))
        return np.sum(weights * out)

    for leaf, want in zip(leaves, checks.numeric_gradient(scalar, xs, True), strict=True):
        got = np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.data
        checks.close(got, want, 1e-11)


@settings(quick, max_examples=25)
@given(programs(), st.integers(0, 2**32 - 1))
def test_hessian_of_a_random_program_is_symmetric(program, seed):
    shapes, stages = program
    rng = np.random.default_rng(seed)
    xs = tuple(np.asarray(rng.normal(size=s)) for s in shapes)
    u, v = ([np.asarray(rng.normal(size=s)) for s in shapes] for _ in range(2))

    def f(*xs):
        y = run(xs, stages, lambda op, *a: apply(op, a), lambda v: mg.sin(v * 0.7))
        return mg.sum(y)

    def along(direction):
        def slope(*xs):
            grads = mg.grad(f, argnums=tuple(range(len(xs))))(*xs)
            return sum((mg.sum(g * d) for g, d in zip(grads, direction, strict=True)), mg.tensor(0.0))

        return mg.grad(slope, argnums=tuple(range(len(xs))))(*xs)

    uhv, vhu = (sum(float(np.sum(a * b.data)) for a, b in zip(left, along(right), strict=True))
                for left, right in ((u, v), (v, u)))  # fmt: skip
    assert math.isclose(uhv, vhu, rel_tol=1e-9, abs_tol=1e-9)


@quick
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(-3, 3), st.integers(-3, 3)),
                min_size=1, max_size=14), st.integers(-5, 5))  # fmt: skip
def test_forked_integer_graphs_against_the_sum_over_all_paths(edges, start):
    """Every path from the leaf, enumerated: integers, so the comparison is exact."""
    values, parents = [mg.tensor(float(start), requires_grad=True)], [()]
    for a, b, p, q in edges:
        a, b = a % len(values), b % len(values)
        values.append(values[a] * float(p) + float(q) * values[b])
        parents.append(((a, p), (b, q)))
    values[-1].backward()

    def paths(k):
        return 1 if k == 0 else sum(w * paths(p) for p, w in parents[k])

    assert values[0].grad.item() == paths(len(values) - 1)


# --- indexing -------------------------------------------------------------------------------


@quick
@given(st.data())
def test_basic_index_against_one_hot_rows(data):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
    _check_index(shape, data.draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True)))


@quick
@given(st.data())
def test_advanced_index_against_one_hot_rows(data):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    kind = data.draw(st.sampled_from(["integers", "mask", "mixed", "list"]))
    if kind == "integers":
        index = data.draw(hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2, max_side=5)))
    elif kind == "mask":
        index = data.draw(hnp.arrays(bool, shape[: data.draw(st.integers(1, len(shape)))]))
    else:
        rows = data.draw(st.lists(st.integers(-shape[-1], shape[-1] - 1), max_size=6))
        index = (..., rows if kind == "list" else np.array(rows, np.int64))
        if len(shape) == 3:
            index = (data.draw(st.sampled_from([slice(None), slice(None, None, -1), 0])), *index)
    _check_index(shape, index)


def _check_index(shape, index):
    """x[index] is a product with a 0/1 matrix, and its cotangent one with the transpose."""
    x = np.arange(math.prod(shape), dtype=float).reshape(shape)
    leaf = mg.tensor(x, requires_grad=True)
    y = leaf[index]
    want = x[index]
    np.testing.assert_array_equal(y.data, want)
    one_hot = (np.reshape(want, (-1, 1)) == x.reshape(1, -1)).astype(float)
    seed = np.arange(1.0, want.size + 1).reshape(want.shape)
    y.backward(seed)
    np.testing.assert_array_equal(leaf.grad.data.reshape(-1), one_hot.T @ seed.reshape(-1))


@quick
@given(st.integers(1, 6), st.integers(1, 4), hnp.arrays(np.int64, st.integers(0, 80), elements=st.integers(-100, 100)))
def test_embedding_rows_add_up(rows, size, indices):
    """Both ways of adding: few indices and, from 33 on, sorted."""
    indices %= 2 * rows
    indices -= rows
    table = mg.tensor(np.zeros((rows, size)), requires_grad=True)
    seed = np.arange(1.0, indices.size * size + 1).reshape(indices.size, size)
    mg.take(table, indices, axis=0).backward(seed)
    want = np.zeros((rows, size))
    np.add.at(want, indices, seed)
    np.testing.assert_array_equal(table.grad.data, want)


# --- shapes ---------------------------------------------------------------------------------

MATRICES = [(), (1,), (2,), (3,), (2, 3), (3, 2), (3, 3), (1, 3), (0, 3), (3, 0), (4, 2, 3), (4, 3, 2), (1, 3, 3),
            (5, 1, 2, 3), (2, 4, 3, 2)]  # fmt: skip


def _fits(pair):
    try:
        np.matmul(*map(np.ones, pair))
    except ValueError:
        return False
    return True


MATMULS = [pair for pair in itertools.product(MATRICES, MATRICES) if _fits(pair)]


def test_sixty_pairs_of_matrices_fit():
    assert len(MATMULS) > 55


@quick
@given(st.sampled_from(MATMULS), st.integers(0, 2**32 - 1))
def test_matmul_is_bilinear_in_integers(shapes, seed):
    """<g, A B> by three routes: exact, because all are small integers."""
    rng = np.random.default_rng(seed)
    a, b = (np.asarray(rng.integers(-9, 10, s).astype(float)) for s in shapes)
    g = np.asarray(rng.integers(-9, 10, np.matmul(a, b).shape).astype(float))
    da, db = (np.asarray(rng.integers(-9, 10, s).astype(float)) for s in shapes)
    leaves, ys = checks.recorded(OPS["matmul"], (a, b), {})
    left, right = checks.cotangents(leaves, ys, [g])
    assert np.sum(left * da) == np.sum(g * np.matmul(da, b))
    assert np.sum(right * db) == np.sum(g * np.matmul(a, db))


@quick
@given(st.data())
def test_broadcasting_of_random_shapes(data):
    shapes = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3, min_side=0))
    a, b = (np.asarray(data.draw(hnp.arrays(float, s, elements=st.integers(-9, 9)))) for s in shapes.input_shapes)
    leaves, ys = checks.recorded(OPS["multiply"], (a, b), {})
    g = np.arange(1.0, math.prod(shapes.result_shape) + 1).reshape(shapes.result_shape)
    left, right = checks.cotangents(leaves, ys, [g])
    np.testing.assert_array_equal(left, checks.unbroadcast(g * b, a.shape))
    np.testing.assert_array_equal(right, checks.unbroadcast(g * a, b.shape))


@quick
@given(st.data())
def test_split_and_concat_undo_each_other(data):
    x = np.asarray(data.draw(hnp.arrays(float, hnp.array_shapes(max_dims=3, max_side=4), elements=st.integers(-9, 9))))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    cuts = sorted(data.draw(st.lists(st.integers(0, x.shape[axis]), max_size=3)))
    leaf = mg.tensor(x, requires_grad=True)
    y = mg.concat(mg.split(leaf, cuts, axis=axis), axis=axis)
    np.testing.assert_array_equal(y.data, x)
    g = np.arange(1.0, x.size + 1).reshape(x.shape)
    y.backward(g)
    np.testing.assert_array_equal(leaf.grad.data, g)
