"""Shapes and indexing against NumPy: values, and gradients that are exact in integers.

Every function here is linear in its tensors: the cotangent of an element is the output for a
one-hot input, weighted by the cotangent of the output.  An index has an oracle of its own:
which element of memory each output element is.
"""

import itertools

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import minigrad as mg
from minigrad.op import OPS
from minigrad.tensor import apply

RNG = np.random.default_rng(7)


def integers(*shape):
    return RNG.integers(-9, 10, shape).astype(float)


def listed(y):
    return list(y) if isinstance(y, (list, tuple)) else [y]


def check_linear(ours, theirs, *xs):
    """`ours` on tensors is `theirs` on arrays; its gradient is the exact adjoint, twice."""
    leaves = [mg.tensor(x, requires_grad=True) for x in xs]
    ys, want = listed(ours(*leaves)), listed(theirs(*xs))
    assert len(ys) == len(want)
    seeds = [integers(*np.shape(w)) for w in want]
    total = mg.tensor(0.0)
    for y, w, g in zip(ys, want, seeds, strict=True):
        assert isinstance(y, mg.Tensor)
        assert y.shape == np.shape(w)
        np.testing.assert_array_equal(y.data, w)
        total = total + mg.sum(y * g)
    total.backward(create_graph=True)
    for i, (leaf, x) in enumerate(zip(leaves, xs, strict=True)):
        expected = np.zeros(x.shape)
        for k in np.ndindex(x.shape):
            basis = [np.zeros(z.shape) for z in xs]
            basis[i][k] = 1
            zero = listed(theirs(*(np.zeros(z.shape) for z in xs)))  # an offset, for instance a border
            expected[k] = sum(np.sum(g * (a - b)) for g, a, b in zip(seeds, listed(theirs(*basis)), zero, strict=True))
        if x.size:
            assert leaf.grad is not None
        grad = np.zeros(x.shape) if leaf.grad is None else leaf.grad.data
        assert grad.shape == x.shape
        np.testing.assert_array_equal(grad, expected)


A, V, C = (2, 3), (4,), (2, 3, 4)
ONE = [  # function of one tensor, by our name; by NumPy's; shapes
    (lambda x: mg.reshape(x, (3, -1)), lambda x: np.reshape(x, (3, -1)), [A, C]),
    (lambda x: np.reshape(x, -1), lambda x: np.reshape(x, -1), [A, ()]),
    (lambda x: np.reshape(x, shape=(1, -1)), lambda x: np.reshape(x, (1, -1)), [A, ()]),
    (lambda x: mg.moveaxis(x, 0, -1), lambda x: np.moveaxis(x, 0, -1), [A, C, V]),
    (lambda x: mg.moveaxis(x, (0, -1), (1, 0)), lambda x: np.moveaxis(x, (0, -1), (1, 0)), [C]),
    (lambda x: np.moveaxis(x, [2, 0], [0, 1]), lambda x: np.moveaxis(x, [2, 0], [0, 1]), [C]),
    (lambda x: np.moveaxis(x, source=0, destination=1), lambda x: np.moveaxis(x, 0, 1), [C]),
    (lambda x: mg.swapaxes(x, 0, -1), lambda x: np.swapaxes(x, 0, -1), [A, C, V]),
    (lambda x: np.swapaxes(x, 1, 0), lambda x: np.swapaxes(x, 1, 0), [C]),
    (lambda x: x.swapaxes(1, 0), lambda x: x.swapaxes(1, 0), [C]),
    (lambda x: np.transpose(x), np.transpose, [A, C, ()]),
    (lambda x: mg.expand_dims(x, 0), lambda x: x[None], [A, ()]),
    (lambda x: np.expand_dims(x, (0, -1)), lambda x: np.expand_dims(x, (0, -1)), [A, ()]),
    (lambda x: mg.squeeze(mg.expand_dims(x, axis=1), 1), lambda x: x, [A]),
    (lambda x: mg.squeeze(x, axis=(0, 2)), lambda x: np.squeeze(x, (0, 2)), [(1, 3, 1)]),
    (lambda x: np.squeeze(x), np.squeeze, [(1, 3, 1), A, (1, 1)]),
    (lambda x: np.squeeze(x, axis=0), lambda x: np.squeeze(x, 0), [(1, 3, 1)]),
    (lambda x: np.squeeze(a=x), np.squeeze, [(1, 3, 1)]),
    (lambda x: mg.flip(x), np.flip, [A, C, ()]),
    (lambda x: np.flip(x, 1), lambda x: np.flip(x, 1), [A, C]),
    (np.fliplr, np.fliplr, [A, C]), (np.flipud, np.flipud, [A, V]),
    (lambda x: mg.roll(x, 2), lambda x: np.roll(x, 2), [A, (0, 2)]),
    (lambda x: np.roll(x, (1, -2), (0, 1)), lambda x: np.roll(x, (1, -2), (0, 1)), [A, C]),
    (lambda x: np.roll(x, shift=-1, axis=1), lambda x: np.roll(x, -1, 1), [A]),
    (lambda x: mg.ravel(x), np.ravel, [A, ()]), (np.ravel, np.ravel, [C]), (lambda x: mg.flatten(x), np.ravel, [C]),
    (lambda x: x.flatten(), np.ravel, [A]), (lambda x: x.ravel(), np.ravel, [A]),
    (lambda x: mg.tile(x, (2, 1)), lambda x: np.tile(x, (2, 1)), [A, V, C]),
    (lambda x: np.tile(x, 3), lambda x: np.tile(x, 3), [A, (), (0, 2)]),
    (lambda x: np.tile(x, reps=[2, 2]), lambda x: np.tile(x, [2, 2]), [A]),
    (lambda x: mg.repeat(x, 2), lambda x: np.repeat(x, 2), [A, ()]),
    (lambda x: mg.repeat(x, 12), lambda x: np.repeat(x, 12), [A, ()]),
    (lambda x: mg.repeat(x, 0, axis=1), lambda x: np.repeat(x, 0, 1), [A]),
    (lambda x: mg.repeat(x, [2, 0, 1], axis=1), lambda x: np.repeat(x, [2, 0, 1], 1), [A, C]),
    (lambda x: mg.repeat(x, mg.tensor([2, 0, 1]), axis=1), lambda x: np.repeat(x, [2, 0, 1], 1), [A]),
    (lambda x: np.repeat(x, 2, axis=-1), lambda x: np.repeat(x, 2, -1), [A, C]),
    (lambda x: np.repeat(x, repeats=[3], axis=0), lambda x: np.repeat(x, 3, 0), [A]),
    (lambda x: x.repeat(2), lambda x: x.repeat(2), [A]), (lambda x: x.repeat(2, 0), lambda x: x.repeat(2, 0), [A]),
    (lambda x: mg.tril(x), np.tril, [A, C]), (lambda x: np.triu(x, 1), lambda x: np.triu(x, 1), [A, C]),
    (lambda x: np.tril(x, k=-1), lambda x: np.tril(x, -1), [A]),
    (lambda x: mg.diag(x), np.diag, [V, A]), (lambda x: np.diag(x, -1), lambda x: np.diag(x, -1), [V, A]),
    (lambda x: mg.diag(x, k=2), lambda x: np.diag(x, 2), [V, A]),
    (lambda x: mg.diagflat(x, 1), lambda x: np.diagflat(x, 1), [A]), (np.diagflat, np.diagflat, [A]),
    (lambda x: mg.broadcast_to(x, (4, 2, 3)), lambda x: np.broadcast_to(x, (4, 2, 3)), [A, (3,), (2, 1), ()]),
    (lambda x: mg.split(x, 3, axis=1), lambda x: np.split(x, 3, 1), [A, C, (0, 3)]),
    (lambda x: np.split(x, [1, 1], axis=-1), lambda x: np.split(x, [1, 1], -1), [A]),
    (lambda x: mg.array_split(x, 3), lambda x: np.array_split(x, 3), [(5, 2), (2, 2), V]),
    (lambda x: np.array_split(x, [1, 2], axis=1), lambda x: np.array_split(x, [1, 2], 1), [A]),
    (lambda x: np.hsplit(x, 2), lambda x: np.hsplit(x, 2), [V, (3, 4)]),
    (lambda x: np.vsplit(x, 2), lambda x: np.vsplit(x, 2), [A]),
    (lambda x: np.dsplit(x, [1]), lambda x: np.dsplit(x, [1]), [C]),
    (lambda x: mg.unstack(x, axis=1), lambda x: list(np.moveaxis(x, 1, 0)), [A, C]),
    (lambda x: mg.atleast_1d(x), np.atleast_1d, [(), V]), (np.atleast_2d, np.atleast_2d, [(), V, A]),
    (np.atleast_3d, np.atleast_3d, [(), V, A, C]),
    (lambda x: mg.take_along_axis(x, np.array([[0, 2], [1, 1]])), lambda x: np.take_along_axis(
        x, np.array([[0, 2], [1, 1]]), 1), [A]),
    (lambda x: np.take_along_axis(x, np.array([5, -1, 5]), None), lambda x: np.take_along_axis(
        x, np.array([5, -1, 5]), None), [A]),
    (lambda x: np.take(x, indices=[2, 0, 2], axis=1), lambda x: np.take(x, [2, 0, 2], 1), [A]),
    (lambda x: np.compress([True, False, True], x, axis=1), lambda x: np.compress([True, False, True], x, 1), [A]),
    (lambda x: mg.compress([0, 1], x), lambda x: np.compress([0, 1], x), [A, V]),
    (lambda x: mg.compress(mg.tensor([0.0, 1.0]) > 0, x), lambda x: np.compress([0, 1], x), [A]),
    (lambda x: mg.extract(np.arange(6).reshape(2, 3) % 2 == 0, x), lambda x: np.extract(
        np.arange(6).reshape(2, 3) % 2 == 0, x), [A]),
    (lambda x: np.extract(np.eye(2, 3), x), lambda x: np.extract(np.eye(2, 3), x), [A]),
]  # fmt: skip


@pytest.mark.parametrize("k", range(len(ONE)))
def test_function_of_one_tensor(k):
    ours, theirs, shapes = ONE[k]
    for shape in shapes:
        check_linear(ours, theirs, integers(*shape))


@pytest.mark.parametrize("k", range(-5, 6))
@pytest.mark.parametrize("axes", [(0, 1), (1, 0), (-1, 0), (1, 2)])
def test_right_angles(k, axes):
    check_linear(lambda x: mg.rot90(x, k, axes), lambda x: np.rot90(x, k, axes), integers(2, 3, 2))
    check_linear(lambda x: np.rot90(x, k, axes=axes), lambda x: np.rot90(x, k, axes), integers(2, 3, 2))


SEVERAL = [
    (lambda *xs: mg.concat(xs, axis=1), lambda *xs: np.concatenate(xs, 1), [(2, 1), (2, 3), (2, 0)]),
    (lambda *xs: np.concat(xs), lambda *xs: np.concatenate(xs), [(2,)] * 7),
    (lambda *xs: np.concatenate(xs, axis=None), lambda *xs: np.concatenate(xs, None), [(2,), (), (1, 2)] * 2),
    (lambda *xs: mg.concat(xs, axis=-1), lambda *xs: np.concatenate(xs, -1), [(2, 1, 2), (2, 1, 1)] * 3),
    (lambda *xs: np.stack(xs, axis=1), lambda *xs: np.stack(xs, 1), [A, A, A]),
    (lambda *xs: mg.stack(iter(xs)), lambda *xs: np.stack(xs), [()] * 9),
    (lambda *xs: np.hstack(xs), lambda *xs: np.hstack(xs), [(2,), (3,), ()]),
    (lambda *xs: mg.hstack(xs), lambda *xs: np.hstack(xs), [(2, 1), (2, 3)]),
    (lambda *xs: np.vstack(xs), lambda *xs: np.vstack(xs), [(3,), (2, 3), (3,)]),
    (lambda *xs: np.vstack(tup=list(xs)), lambda *xs: np.vstack(xs), [(3,)] * 2),
    (lambda *xs: np.dstack(xs), lambda *xs: np.dstack(xs), [(3,), (1, 3), (1, 3, 2)]),
    (lambda *xs: np.column_stack(xs), lambda *xs: np.column_stack(xs), [(2,), (2, 2), (2,)]),
    (lambda *xs: mg.broadcast_arrays(*xs), lambda *xs: np.broadcast_arrays(*xs), [(2, 1), (3,), ()]),
    (lambda *xs: np.broadcast_arrays(*xs), lambda *xs: np.broadcast_arrays(*xs), [A, (3,)]),
    (lambda *xs: mg.meshgrid(*xs), lambda *xs: np.meshgrid(*xs), [(2,), (3,), (4,)]),
    (lambda *xs: np.meshgrid(*xs, indexing="ij"), lambda *xs: np.meshgrid(*xs, indexing="ij"), [(2,), (3,), ()]),
    (lambda *xs: np.meshgrid(*xs, sparse=True), lambda *xs: np.meshgrid(*xs, sparse=True), [(2,), (3,)]),
    (lambda *xs: mg.meshgrid(*xs), lambda *xs: np.meshgrid(*xs), [(3,)]),
    (lambda *xs: np.atleast_2d(*xs), lambda *xs: np.atleast_2d(*xs), [(), (3,), A]),
    (lambda *xs: np.choose([[0, 1, 2], [2, 1, 0]], xs), lambda *xs: np.choose([[0, 1, 2], [2, 1, 0]], xs), [A, (3,), ()]),
    (lambda *xs: mg.choose(mg.tensor([-4, 0, 7]), xs, mode="clip"), lambda *xs: np.choose(
        [-4, 0, 7], xs, mode="clip"), [A, (3,)]),
    (lambda *xs: mg.choose(np.array([-4, 0, 7]), xs, mode="wrap"), lambda *xs: np.choose(
        [-4, 0, 7], xs, mode="wrap"), [A, (3,), ()]),
    (lambda *xs: mg.select([[True, False, False], [[True], [True]]], xs), lambda *xs: np.select(
        [np.array([[True, False, False]] * 2), np.ones((2, 3), bool)], [np.broadcast_to(x, A) for x in xs]), [A, (3,)]),
    (lambda a, b: np.select([np.eye(2, 3) > 0], [a], default=b), lambda a, b: np.where(np.eye(2, 3) > 0, a, b), [A, A]),
    (lambda a, b: mg.index_add(a, ([0, 1, 0], [2, 2, 2]), b), lambda a, b: added(a, ([0, 1, 0], [2, 2, 2]), b), [A, (3,)]),
    (lambda a, b: mg.index_add(a, (slice(None), 0), b), lambda a, b: added(a, (slice(None), 0), b), [A, (2,)]),
    (lambda a, b: mg.index_add(a, [0, 0, -1], b), lambda a, b: added(a, [0, 0, -1], b), [A, ()]),
    (lambda a, b: mg.index_update(a, [1, -1], b), lambda a, b: updated(a, [1, -1], b), [A, (2, 3)]),
    (lambda a, b: mg.index_update(a, [1, 0, 1], b), lambda a, b: updated(a, [1, 0, 1], b), [A, (3, 3)]),
    (lambda a, b: mg.index_update(a, [1, 0, 1], b), lambda a, b: updated(a, [1, 0, 1], b), [A, (3,)]),
    (lambda a, b: mg.index_update(a, mg.tensor([[1], [0]]), b), lambda a, b: updated(a, [[1], [0]], b), [A, (2, 1, 3)]),
    (lambda a, b: mg.index_update(a, (..., slice(None, None, -2)), b), lambda a, b: updated(
        a, (..., slice(None, None, -2)), b), [A, (2, 2)]),
    (lambda a, b: mg.index_update(a, np.eye(2, 3, dtype=bool), b), lambda a, b: updated(a, np.eye(2, 3, dtype=bool), b),
     [A, ()]),
]  # fmt: skip


def written(a, index, b, total):
    """One element after the other."""
    places = np.arange(a.size).reshape(a.shape)[index]
    out = a.copy().reshape(-1)
    for p, v in zip(np.ravel(places), np.broadcast_to(b, np.shape(places)).reshape(-1), strict=True):
        out[p] = out[p] * total + v
    return out.reshape(a.shape)


def added(a, index, b):
    return written(a, index, b, 1)


def updated(a, index, b):
    return written(a, index, b, 0)  # the last stands


@pytest.mark.parametrize("k", range(len(SEVERAL)))
def test_function_of_several_tensors(k):
    ours, theirs, shapes = SEVERAL[k]
    check_linear(ours, theirs, *(integers(*s) for s in shapes))


# --- borders and windows --------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric", "wrap"])
@pytest.mark.parametrize("width", [0, 1, 2, (1, 2), ((1, 0), (2, 3)), ((0, 0), (7, 5)), [[4, 1]], {1: 2}, {-2: (1, 3)},
                                   np.array([1, 2])], ids=str)  # fmt: skip
def test_pad(mode, width):
    x = integers(2, 3)
    wide = width if isinstance(width, np.ndarray) else [(1, 3), (0, 0)] if width == {-2: (1, 3)} else [(0, 0), (2, 2)] if isinstance(width, dict) else width
    check_linear(lambda x: mg.pad(x, width, mode), lambda x: np.pad(x, wide, mode), x)
    check_linear(lambda x: np.pad(x, width, mode=mode), lambda x: np.pad(x, wide, mode), x)


@pytest.mark.parametrize("value", [5, (1.0, 2.0), ((1, 2), (3, 4)), -np.inf], ids=str)
def test_pad_with_a_constant(value):
    x = mg.tensor(integers(2, 3).astype(np.float32), requires_grad=True)
    y = np.pad(x, ((1, 2), (0, 3)), constant_values=value)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y.data, np.pad(x.data, ((1, 2), (0, 3)), constant_values=value))
    y.backward(np.arange(30, dtype=np.float32).reshape(5, 6))
    np.testing.assert_array_equal(x.grad.data, np.arange(30.0).reshape(5, 6)[1:3, :3])


@pytest.mark.parametrize(("shape", "window", "axis"), [
    ((5,), 2, None), ((5,), 4, 0), ((5,), 5, 0), ((5,), (2,), (0,)), ((3, 4), (2, 2), None), ((3, 4), 3, 1), ((3, 4), 3, -2),
    ((3, 4), (2, 2), (1, 1)), ((3, 4), (1, 3), (1, 0)), ((2, 3, 4), (2, 3), (1, 2)), ((3, 4), 0, 0), ((0, 3), 2, 1),
])  # fmt: skip
def test_sliding_windows(shape, window, axis):
    check_linear(lambda x: mg.sliding_window_view(x, window, axis), lambda x: sliding_window_view(x, window, axis),
                 integers(*shape))  # fmt: skip
    check_linear(lambda x: sliding_window_view(x, window_shape=window, axis=axis),
                 lambda x: sliding_window_view(x, window, axis), integers(*shape))  # fmt: skip


# --- indices --------------------------------------------------------------------------------


def check_index(x, index, key=None):
    """`index` as we are given it, `key` as NumPy is: which element of memory is read where."""
    key = index if key is None else key
    places = np.arange(x.size).reshape(x.shape)[key]
    g = RNG.integers(-9, 10, np.shape(places)).astype(float)
    leaf = mg.tensor(x, requires_grad=True)
    seed = mg.tensor(g, requires_grad=True)
    y = leaf[index]
    assert y.shape == np.shape(places)
    np.testing.assert_array_equal(y.data, x.reshape(-1)[places])
    y.backward(seed, create_graph=True)
    want = np.zeros(x.size)
    for p, v in zip(np.ravel(places), np.ravel(g), strict=True):
        want[p] += v
    np.testing.assert_array_equal(leaf.grad.data, want.reshape(x.shape))
    h = RNG.integers(-9, 10, x.shape).astype(float)
    got = leaf.grad
    leaf.grad = None
    (got * h).sum().backward()  # the adjoint of the adjoint reads again
    np.testing.assert_array_equal(seed.grad.data, h.reshape(-1)[places])
    for ours, theirs in ((mg.index_add, added), (mg.index_update, updated)):
        values = RNG.integers(-9, 10, np.shape(places)).astype(float)
        np.testing.assert_array_equal(ours(leaf, index, values).data, theirs(x, key, values))


X = RNG.permutation(120).astype(float).reshape(4, 3, 5, 2)
BASIC = [0, -1, slice(None), slice(None, None, -1), slice(3, 0, -2), slice(1, 2), slice(5, 9), None, ...]


def test_every_basic_index_of_two_or_three_parts():
    for n in (1, 2, 3):
        for index in itertools.product(BASIC, repeat=n):
            if index.count(...) < 2:
                check_index(X, index if n > 1 else index[0])


ADVANCED = [np.array([1, 0, 1]), np.array([[0], [-1]]), [2, 2, 0], np.array(1), np.array([], int)]


def test_advanced_indices_beside_basic_ones_and_apart():
    """Arrays that stand together, arrays apart (their axes then come first), integers between."""
    for a, b in itertools.product(ADVANCED, ADVANCED):
        try:
            np.broadcast_shapes(np.shape(a), np.shape(b))
        except ValueError:
            continue
        for index in ((a, b), (a, slice(None), b), (slice(None), a, b), (slice(None, None, -1), a, ..., [0, 1, 0][: 1]),
                      (a, None, b), (..., a, slice(1, 4), b), (0, slice(None), a), (a, 0), (..., None, a, 1),
                      (slice(None), a, slice(None, None, -2)), (a,), (slice(None), slice(None), a), (None, a)):  # fmt: skip
            try:
                X[index]
            except IndexError:
                with pytest.raises(mg.errors.IndexingError):
                    mg.tensor(X)[index]
                continue
            check_index(X, index)


def test_masks():
    rows, cells = np.array([True, False, True, True]), X[:, :, 0, 0] > 60
    for index in (rows, (rows,), cells, (cells, 0), (cells, slice(None), 1), (slice(None), np.array([True, False, True])),
                  (..., np.array([False, True])), X > 50, X > 1e9, (rows, ..., np.array([True, False])), (rows, None),
                  (cells, ..., [1, 0, 1, 1, 0, 0, 1, 1, 0, 1, 1, 1][: int(cells.sum())]), (rows, slice(None), [0, 1, 0]),
                  True, False, (True, 0), np.array(True), (None, rows), (0, np.array([True, False, True]), slice(None, None, -1)),
                  ):  # fmt: skip
        check_index(X, index)


def test_open_meshes_tensors_and_scalars():
    check_index(X, np.ix_([0, 2], [1, 1], [4, 0]))
    check_index(X, np.ix_([True, False, True, True], [2, 0]))
    rows, mask = np.array([3, 0, 3]), X[:, 0, 0, 0] > 40
    check_index(X, mg.tensor(rows), rows)
    check_index(X, (slice(None), mg.tensor([[2, 0]]), 1), (slice(None), np.array([[2, 0]]), 1))
    check_index(X, mg.tensor(X)[:, 0, 0, 0] > 40, mask)
    check_index(X, (mg.tensor(1), mg.tensor(-1)), (1, -1))
    check_index(X, (np.int64(1), np.uint8(2), True), (1, 2, True))
    check_index(X, [[0, 1], [1, 2]], np.array([[0, 1], [1, 2]]))
    check_index(X, [], np.zeros(0, int))
    check_index(X, (np.array(1),) * 2 + (mg.tensor(2), mg.tensor(1)), (1, 1, 2, 1))
    for index in ((), ..., None, (None, ...), (..., None)):
        check_index(np.array(3.0), index)
    for index in (slice(None), [], (slice(0), 1), np.zeros((0, 3), bool)):
        check_index(np.zeros((0, 3)), index, np.zeros(0, int) if isinstance(index, list) else index)


@pytest.mark.parametrize("axis", range(3))
def test_many_repeated_rows_are_added_by_a_sorted_sum(axis):
    x = integers(3, 4, 5)
    for shape in ((50,), (7, 9), (33, 1, 2)):
        rows = RNG.integers(-x.shape[axis], x.shape[axis], shape)
        lead = (slice(None),) * axis
        for index in ((*lead, rows), (*lead, rows, *(slice(None),) * (2 - axis)), (*lead, rows.astype(np.int8)),
                      (*lead, (rows % x.shape[axis]).astype(np.uint64))):  # fmt: skip
            check_index(x, index)


def test_an_embedding_sees_each_row_as_often_as_it_is_read():
    table = mg.tensor(np.zeros((10, 4), np.float32), requires_grad=True)
    ids = RNG.integers(0, 10, (30, 20))
    mg.take(table, ids, axis=0).sum().backward()
    np.testing.assert_array_equal(table.grad.data, np.repeat(np.bincount(ids.ravel(), minlength=10)[:, None], 4, 1))
    assert table.grad.dtype == np.float32


def test_the_last_of_repeated_writes_stands_in_every_layout():
    rows = np.array([[0, 1, 0], [1, 0, 1]])
    values = np.arange(6.0).reshape(2, 3)
    for layout in (rows, np.asfortranarray(rows), rows[:, ::-1].copy()[:, ::-1]):
        v = mg.tensor(values, requires_grad=True)
        y = mg.index_update(np.zeros(2), layout, v)
        assert y.data.tolist() == [4.0, 5.0]
        y.backward(np.array([10.0, 20.0]))
        assert v.grad.data.tolist() == [[0, 0, 0], [0, 10, 20]]


def test_writing_keeps_the_dtype_and_refuses_to_lose_a_fraction():
    x = mg.tensor(np.zeros(3, np.float32), requires_grad=True)
    v = mg.tensor(np.ones(2), requires_grad=True)
    for f in (mg.index_add, mg.index_update):
        y = f(x, [0, 2], v)
        assert y.dtype == np.float32
        y.backward(np.array([1, 2, 3], np.float32))
        assert v.grad.dtype == np.float64
        assert f(x, 0, 2.5).dtype == np.float32
        with pytest.raises(mg.errors.DtypeError, match=r"float64 values into int64.*astype"):
            f(np.arange(3), [0, 2], v)
    assert v.grad.data.tolist() == [2, 6]


def test_a_computed_scalar_is_an_array_of_no_axes():
    for f in (lambda t: mg.index_update(t, (), t * 2.0), lambda t: mg.index_add(t, ..., t), lambda t: mg.pad(t, (), "edge") * 2.0,
              lambda t: mg.repeat(t, 2), lambda t: mg.tile(t, 2), lambda t: mg.stack([t, t]), lambda t: mg.flip(t) * 2.0,
              lambda t: mg.squeeze(t, ()) * 2.0, lambda t: mg.take_along_axis(t, np.array([0, 0]), axis=None)):  # fmt: skip
        x = mg.tensor(3.0, requires_grad=True)
        mg.sum(f(x * 1.0)).backward()
        assert x.grad.item() == 2


def test_take_along_axis_undoes_a_sort():
    x = RNG.permutation(24).astype(float).reshape(2, 3, 4)
    for axis in (-3, -1, 1):
        leaf = mg.tensor(x, requires_grad=True)
        y = mg.take_along_axis(leaf, np.argsort(x, axis=axis), axis=axis)
        np.testing.assert_array_equal(y.data, np.sort(x, axis=axis))
        y.backward(y.data)
        np.testing.assert_array_equal(leaf.grad.data, x)


# --- many inputs ----------------------------------------------------------------------------


@pytest.mark.parametrize("join", [mg.concat, mg.stack])
def test_a_rule_is_called_once_however_many_inputs(monkeypatch, join):
    op, calls = join.op, []
    rule = op.rules[0]

    def counted(*args, **params):
        calls.append(1)
        return rule(*args, **params)

    monkeypatch.setattr(type(op), "__setattr__", object.__setattr__)
    monkeypatch.setattr(op, "rules", (counted,))
    xs = [mg.tensor([float(k)], requires_grad=True) for k in range(100)]
    join([*xs, np.ones(1), xs[3]]).backward(np.arange(102.0).reshape(join(xs + xs[:2]).shape), retain_graph=True)
    assert [x.grad.item() for x in xs] == [*range(3), 3 + 101, *range(4, 100)]
    assert len(calls) == 1
    mg.grad(lambda x: mg.sum(join([x] * 100) ** 2))(np.ones(1))
    assert len(calls) == 2


def test_a_singular_rule_may_give_all_cotangents_at_once():
    op = mg.define("sum_of_roots", lambda *xs: sum(np.sqrt(x) for x in xs),
                   lambda g, y, i, *xs: tuple(g / (2 * np.sqrt(x)) for x in xs), variadic=True, singular=True)  # fmt: skip
    try:
        xs = [mg.tensor([0.0, 4.0], requires_grad=True), mg.tensor([1.0, 0.0], requires_grad=True)]
        apply(OPS["sum_of_roots"], tuple(xs)).backward(np.array([0.0, 8.0]))
        assert xs[0].grad.data.tolist() == [0, 2]
        assert xs[1].grad.data.tolist() == [0, np.inf]
    finally:
        del OPS["sum_of_roots"], mg.PUBLIC["sum_of_roots"]
    assert op.op.variadic


# --- what is wrong --------------------------------------------------------------------------


def T(*shape):
    return mg.tensor(np.ones(shape), requires_grad=True)


REFUSED = [
    (lambda: mg.reshape(T(2)), TypeError, r"^reshape: no shape; the call is reshape\(x, shape\)"),
    (lambda: mg.permute_dims(T(2, 3)), TypeError, r"^permute_dims: no axes; .*transpose\(x\)"),
    (lambda: mg.permute_dims(T(2, 3), (0, 0)), ValueError, r"^permute_dims: axes=\(0, 0\) .*every axis once"),
    (lambda: mg.moveaxis(T(2, 3), 0), TypeError, r"^moveaxis: .*the call is moveaxis\(x, source, destination, /\)"),
    (lambda: mg.moveaxis(T(2, 3), (0, 1), 0), ValueError, r"^moveaxis: 2 axes to 1 places"),
    (lambda: mg.moveaxis(T(2, 3), 2, 0), IndexError, r"^moveaxis: axis 2 of an array with 2 axes"),
    (lambda: mg.moveaxis(T(2, 3), (0, 0), (0, 1)), ValueError, r"^moveaxis: .*twice"),
    (lambda: mg.swapaxes(T(2, 3), 0, 5), IndexError, r"^swapaxes: axis 5"),
    (lambda: mg.swapaxes(T(), 0, 0), IndexError, r"^swapaxes: axis=0 of an array of shape \(\)"),
    (lambda: mg.expand_dims(T(2), axis=3), IndexError, r"^expand_dims: axis 3"),
    (lambda: mg.expand_dims(T(2), axis=(0, 0)), ValueError, r"^expand_dims: .*twice"),
    (lambda: mg.squeeze(T(2, 1)), TypeError, r"^squeeze: no axis; .*write squeeze\(x, axis=\(1,\)\)"),
    (lambda: mg.squeeze(T(2, 1), 0), ValueError, r"^squeeze: axis 0 of an array of shape \(2, 1\); .*those are \(1,\)"),
    (lambda: mg.squeeze(T(2, 1), 2), IndexError, r"^squeeze: axis 2"),
    (lambda: mg.flip(T(2), axis=1), IndexError, r"^flip: axis 1"),
    (lambda: mg.fliplr(T(2)), ValueError, r"^fliplr: an array of shape \(2,\); at least 2 axes"),
    (lambda: mg.rot90(T(2)), IndexError, r"^rot90: axis 1"),
    (lambda: mg.rot90(T(2, 2), axes=(0,)), ValueError, r"^rot90: axes=\(0,\)"),
    (lambda: mg.roll(T(2)), TypeError, r"^roll: no shift"),
    (lambda: mg.roll(T(2), 0.5), TypeError, r"^roll: shift=0.5; an integer"),
    (lambda: mg.roll(T(2, 2), (1, 1, 1), axis=(0, 1)), ValueError, r"^roll: shift=\(1, 1, 1\)"),
    (lambda: mg.roll(T(2, 2), 1, axis=2), IndexError, r"^roll: axis 2"),
    (lambda: mg.tile(T(2)), TypeError, r"^tile: .*the call is tile\(x, repetitions, /\)"),
    (lambda: mg.tile(T(2), 1.5), TypeError, r"^tile: repetitions=1.5"),
    (lambda: mg.tile(T(2), -1), ValueError, r"^tile: repetitions=\(-1,\)"),
    (lambda: mg.repeat(T(3)), TypeError, r"^repeat: .*the call is repeat\(x.*, repeats.*, /, \*, axis"),
    (lambda: mg.repeat(T(3), [1, 2]), ValueError, r"^repeat: 2 repeats for 3 elements; one for each"),
    (lambda: mg.repeat(T(3), 0.5), TypeError, r"^repeat: repeats of dtype float64"),
    (lambda: mg.repeat(T(3), -1), ValueError, r"^repeat: repeats=-1; none below 0"),
    (lambda: mg.repeat(T(3), 2, axis=1), IndexError, r"^repeat: axis 1"),
    (lambda: mg.pad(T(3), 1, "mirror"), TypeError, r"^pad: mode='mirror'; one of constant, edge, reflect"),
    (lambda: mg.pad(T(3), ((1, 1), (1, 1))), ValueError, r"^pad: pad_width=.* for an array of shape \(3,\)"),
    (lambda: mg.pad(T(3), -1), ValueError, r"^pad: pad_width=-1"),
    (lambda: mg.pad(T(3), 0.5), ValueError, r"^pad: pad_width=0.5"),
    (lambda: mg.pad(T(3), {1: 1}), IndexError, r"^pad: axis 1"),
    (lambda: mg.pad(T(0), 1, "edge"), ValueError, r"^pad: mode 'edge' of an array of shape \(0,\)"),
    (lambda: mg.pad(T(3), 1, constant_values=T()), TypeError, r"^pad: constant_values is a tensor"),
    (lambda: mg.concat(3), TypeError, r"^concat: got int; a sequence of arrays; write concat\(\[a, b\]\)"),
    (lambda: mg.concat(T()), TypeError, r"^concat: got one scalar"),
    (lambda: mg.concat(T(2), T(2)), TypeError, r"^concat: .*the call is concat\(arrays, /, \*, axis"),
    (lambda: mg.stack([]), ValueError, r"^stack: no arrays; at least one"),
    (lambda: mg.stack([T(2), T(2)], axis=3), IndexError, r"^stack: axis 3"),
    (lambda: mg.hstack([]), ValueError, r"^hstack: no arrays"),
    (lambda: mg.vstack(1), TypeError, r"^vstack: got int"),
    (lambda: mg.split(T(4)), TypeError, r"^split: into how many parts"),
    (lambda: mg.split(T(4), 0), ValueError, r"^split: size 4 into 0 equal parts"),
    (lambda: mg.split(T(), 1), ValueError, r"^split: a scalar"),
    (lambda: mg.split(T(4), [3, 1]), ValueError, r"^split: positions \[3, 1\]; ascending"),
    (lambda: mg.split(T(4), 2, axis=1), IndexError, r"^split: axis 1"),
    (lambda: mg.array_split(T(4), 0), ValueError, r"^array_split: into 0 parts"),
    (lambda: mg.vsplit(T(4), 2), ValueError, r"^vsplit: an array of shape \(4,\); at least 2 axes"),
    (lambda: mg.unstack(T()), ValueError, r"^unstack: a scalar"),
    (lambda: mg.unstack(T(2), axis=1), IndexError, r"^unstack: axis 1"),
    (lambda: mg.broadcast_arrays(T(2), T(3)), ValueError, r"^broadcast_arrays: cannot broadcast \(2,\) with \(3,\)"),
    (lambda: mg.meshgrid(T(2), T(2, 2)), ValueError, r"^meshgrid: coordinates of shape \(2, 2\)"),
    (lambda: mg.meshgrid(T(2), indexing="yx"), TypeError, r"^meshgrid: indexing='yx'; 'xy' or 'ij'"),
    (lambda: mg.atleast_2d(), TypeError, r"^atleast_2d: no arrays"),
    (lambda: mg.tril(T(3)), ValueError, r"^tril: an array of shape \(3,\); at least two axes"),
    (lambda: mg.triu(T(3, 3), k=0.5), TypeError, r"^triu: k=0.5; an integer"),
    (lambda: mg.diag(T(2, 2, 2)), ValueError, r"^diag: an array of shape \(2, 2, 2\); a vector or a matrix"),
    (lambda: mg.diag(T()), ValueError, r"^diag: an array of shape \(\)"),
    (lambda: mg.sliding_window_view(T(3)), TypeError, r"^sliding_window_view: no window_shape"),
    (lambda: mg.sliding_window_view(T(3), 4), ValueError, r"^sliding_window_view: windows 4 .*shape \(3,\)"),
    (lambda: mg.sliding_window_view(T(3, 3), 2), ValueError, r"^sliding_window_view: windows 2"),
    (lambda: mg.sliding_window_view(T(3), 2, axis=1), IndexError, r"^sliding_window_view: axis 1"),
    (lambda: mg.take_along_axis(T(2, 3), [0, 1]), ValueError, r"^take_along_axis: indices of shape \(2,\).*as many axes"),
    (lambda: mg.take_along_axis(T(2, 3), [[0.0]]), TypeError, r"^take_along_axis: indices of dtype float64"),
    (lambda: mg.take_along_axis(T(2, 3), [[0], [3]]), IndexError, r"^take_along_axis: index 3 of an axis of size 3"),
    (lambda: mg.take_along_axis(T(2, 3), [[0]] * 3), ValueError, r"^take_along_axis: indices of shape \(3, 1\)"),
    (lambda: mg.take_along_axis(T(2, 3), [[0]], axis=2), IndexError, r"^take_along_axis: axis 2"),
    (lambda: mg.index_add(T(3), 5, 1.0), IndexError, r"^index_add: index \[5\] of an array of shape \(3,\)"),
    (lambda: mg.index_add(T(3), [0.5], 1.0), TypeError, r"^index_add: an index of dtype float64"),
    (lambda: mg.index_update(T(3), [0, 1], T(3)), ValueError, r"^index_update: values of shape \(3,\) for x\[index\] of shape \(2,\)"),
    (lambda: mg.index_update(T(3), 0), TypeError, r"^index_update: .*the call is index_update\(x, index, values, /\)"),
    (lambda: mg.choose([0, 2], [T(2), T(2)]), IndexError, r"^choose: choice 2 of 2; 0 to 1; or mode='clip'"),
    (lambda: mg.choose([0.5], [T(1)]), TypeError, r"^choose: 1 arrays by numbers of dtype float64"),
    (lambda: mg.choose([0], [T(1)], mode="x"), TypeError, r"^choose: mode='x'"),
    (lambda: mg.select([True], [T(1), T(1)]), ValueError, r"^select: 1 conditions for 2 arrays"),
    (lambda: mg.select([[1]], [T(1)]), TypeError, r"^select: a condition of dtype int64; bool; compare"),
    (lambda: mg.compress([True] * 4, T(3)), ValueError, r"^compress: a condition of shape \(4,\) for an axis of size 3"),
    (lambda: mg.compress([True], T(3), axis=1), IndexError, r"^compress: axis 1"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "builtin", "message"), REFUSED, ids=[m for _, _, m in REFUSED])
def test_refused(call, builtin, message):
    with pytest.raises(mg.MinigradError, match=message) as caught:
        call()
    assert isinstance(caught.value, builtin)


# --- signatures -----------------------------------------------------------------------------

STANDARD = {  # the Array API's, 2024.12
    "reshape": "(x, /, shape, *, copy=None)", "permute_dims": "(x, /, axes)", "matrix_transpose": "(x, /)",
    "moveaxis": "(x, source, destination, /)", "expand_dims": "(x, /, axis)", "squeeze": "(x, /, axis)",
    "flip": "(x, /, *, axis=None)", "roll": "(x, /, shift, *, axis=None)", "tile": "(x, repetitions, /)",
    "repeat": "(x, repeats, /, *, axis=None)", "concat": "(arrays, /, *, axis=0)", "stack": "(arrays, /, *, axis=0)",
    "unstack": "(x, /, *, axis=0)", "broadcast_to": "(x, /, shape)", "broadcast_arrays": "(*arrays)",
    "tril": "(x, /, *, k=0)", "triu": "(x, /, *, k=0)", "take_along_axis": "(x, indices, /, *, axis=-1)",
    "take": "(x, indices, /, *, axis=None)",
}  # fmt: skip


@pytest.mark.parametrize("name", STANDARD)
def test_signature_is_the_standards(name):
    import inspect

    signature = inspect.signature(getattr(mg, name))
    bare = signature.replace(parameters=[p.replace(annotation=p.empty) for p in signature.parameters.values()],
                             return_annotation=signature.empty)  # fmt: skip
    assert str(bare) == STANDARD[name]
    assert getattr(mg, name).__name__ == name
    assert getattr(mg, name).__doc__
