"""Linear algebra: exact integers for products, polynomials for determinants, formulas that do not
see a sign or a basis for decompositions."""

import inspect
import itertools

import checks
import numpy as np
import pytest
from checks import cotangents, recorded

import minigrad as mg
from minigrad.op import OPS
from minigrad.ops._matrices import spectral
from minigrad.ops.einsum import _plan, complete

L = mg.linalg


def leaf(x):
    return mg.tensor(x, requires_grad=True)


def pulled(f, *xs, seed=None):
    """Value and gradients of Σ seed ⊙ f(*xs), with a random seed."""
    y, pull = mg.vjp(f, *xs)
    if seed is None:
        seed = np.asarray(np.random.default_rng(8).normal(size=y.shape))
    return y.data, [g.data for g in pull(seed)]


def second(f, *xs):
    """Gradients of a weighted sum of f's gradients: the second order."""
    rng = np.random.default_rng(9)

    def once(*xs):
        y, pull = mg.vjp(f, *xs)
        weights = np.asarray(np.random.default_rng(8).normal(size=y.shape))
        return sum(mg.sum(g * np.asarray(w)) for g, w in zip(pull(weights), tilts, strict=True))

    tilts = [rng.normal(size=np.shape(x)) for x in xs]
    return [g.data for g in mg.grad(once, argnums=tuple(range(len(xs))))(*xs)]


def same_to_second_order(f, g, *xs, rtol=1e-9):
    """Two formulas of one function: values, gradients and second derivatives agree."""
    (y, dy), (z, dz) = pulled(f, *xs), pulled(g, *xs)
    for a, b in zip([y, *dy, *second(f, *xs)], [z, *dz, *second(g, *xs)], strict=True):
        checks.close(a, b, rtol)


# --- einsum ---------------------------------------------------------------------------------


def brute(subscripts, *xs):
    """The sum as it is defined: over every value of every label."""
    left, out = subscripts.split("->")
    terms = left.split(",")
    size = {}
    for term, x in zip(terms, xs, strict=True):
        for c, n in zip(term, x.shape, strict=True):
            size[c] = n if size.get(c, 1) == 1 else size[c]
    y = np.zeros([size[c] for c in out])
    labels = list(size)
    for values in itertools.product(*(range(size[c]) for c in labels)):
        at = dict(zip(labels, values, strict=True))
        product = 1.0
        for term, x in zip(terms, xs, strict=True):
            product *= x[tuple(0 if n == 1 else at[c] for c, n in zip(term, x.shape, strict=True))]
        y[tuple(at[c] for c in out)] += product
    return y


def random_einsum(rng):
    """Subscripts with repeated labels, labels of one operand, sizes of 1 that stretch, sizes of 0."""
    size = {c: int(rng.choice([0, 1, 2, 2, 3], p=[0.04, 0.16, 0.3, 0.3, 0.2])) for c in "abcd"}
    terms, xs = [], []
    for _ in range(rng.integers(1, 4)):
        term = "".join(rng.choice(list("abcd"), rng.integers(0, 4)))
        stretched = {c for c in term if rng.random() < 0.2}
        xs.append(np.asarray(rng.integers(-4, 5, [1 if c in stretched else size[c] for c in term]).astype(float)))
        terms.append(term)
    used = sorted(set("".join(terms)))
    out = "".join(rng.permutation([c for c in used if rng.random() < 0.5]))
    return ",".join(terms) + "->" + out, xs


@pytest.mark.parametrize("seed", range(120))
def test_einsum_of_integers_is_exact(seed):
    rng = np.random.default_rng(seed)
    subscripts, xs = random_einsum(rng)
    leaves, (y,) = recorded(OPS["einsum"], tuple(xs), {"subscripts": subscripts})
    np.testing.assert_array_equal(y.data, brute(subscripts, *xs))
    g = np.asarray(rng.integers(-4, 5, y.shape).astype(float))
    for i, got in enumerate(cotangents(leaves, [y], [g])):
        want = np.zeros(xs[i].shape)
        for k in np.ndindex(want.shape):  # linear in each operand: put in a one
            one = np.zeros(want.shape)
            one[k] = 1
            want[k] = np.sum(g * brute(subscripts, *xs[:i], one, *xs[i + 1:]))
        np.testing.assert_array_equal(got, want, f"{subscripts} {[x.shape for x in xs]} operand {i}")


def test_random_einsums_are_what_they_should_be():
    drawn = [random_einsum(np.random.default_rng(seed)) for seed in range(120)]
    terms = [s.split("->")[0].split(",") for s, _ in drawn]
    assert sum(any(len(set(t)) < len(t) for t in ts) for ts in terms) > 30
    assert sum(s.endswith("->") for s, _ in drawn) > 10
    assert sum(len(ts) == 3 for ts in terms) > 20
    assert sum(0 in x.shape for _, xs in drawn for x in xs) >= 5


@pytest.mark.parametrize("seed", range(0, 120, 5))
def test_einsum_second_order(seed):
    subscripts, xs = random_einsum(np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    weights = [np.asarray(rng.integers(-4, 5, x.shape).astype(float)) for x in xs]

    def once(*ts):
        y = mg.einsum(subscripts, *ts)
        grads = mg.grad(lambda *us: mg.sum(mg.einsum(subscripts, *us)), argnums=tuple(range(len(ts))))(*ts)
        return sum(mg.sum(g * w) for g, w in zip(grads, weights, strict=True)) + 0.0 * mg.sum(y)

    got = mg.grad(once, argnums=tuple(range(len(xs))))(*xs)
    for i, a in enumerate(got):  # Σ over the other places k of f(…, wₖ, …, one, …)
        want = np.zeros(xs[i].shape)
        for at in np.ndindex(want.shape):
            one = np.zeros(want.shape)
            one[at] = 1
            for k in range(len(xs)):
                if k != i:
                    ops = [one if j == i else weights[k] if j == k else x for j, x in enumerate(xs)]
                    want[at] += brute(subscripts, *ops).sum()
        np.testing.assert_array_equal(a.data, want, subscripts)


@pytest.mark.parametrize(("subscripts", "shapes"), [
    ("ij,jk->ik", [(20, 30), (30, 40)]), ("bij,bjk->kbi", [(4, 12, 11), (4, 11, 13)]),
    ("abij,bjk->aik", [(3, 4, 6, 5), (4, 5, 30)]), ("ij,jk,kl->li", [(20, 21), (21, 22), (22, 23)]),
    ("ija,jkb->ik", [(9, 8, 7), (8, 10, 6)]), ("iij,jk->ki", [(20, 20, 9), (9, 40)]),
    ("ij,jk->ik", [(100, 1), (50, 60)]), ("ij,kl->ijkl", [(9, 8), (9, 8)]),
])  # fmt: skip
def test_a_large_einsum_is_a_matrix_product(subscripts, shapes):
    rng = np.random.default_rng(1)
    xs = [rng.integers(-5, 6, s).astype(float) for s in shapes]
    want = np.einsum(subscripts, *xs)
    assert (_plan(subscripts, tuple(shapes)) is None) == (subscripts == "ij,kl->ijkl" or shapes[0] == (100, 1))
    leaves, (y,) = recorded(OPS["einsum"], tuple(xs), {"subscripts": subscripts})
    np.testing.assert_array_equal(y.data, want)
    g = rng.integers(-5, 6, want.shape).astype(float)
    for i, got in enumerate(cotangents(leaves, [y], [g])):
        one = rng.integers(-5, 6, xs[i].shape).astype(float)
        assert np.sum(got * one) == np.sum(g * np.einsum(subscripts, *xs[:i], one, *xs[i + 1:]))


LANGUAGE = [
    ("ij,jk", [(2, 3), (3, 4)]), ("ba", [(2, 3)]), ("ii", [(3, 3)]), ("...ii->...", [(2, 3, 3)]), ("...ii", [(2, 3, 3)]),
    ("i...,...->...", [(2, 3), (4, 1)]), ("...j,j...->...", [(2, 3), (3, 2)]), (" i j , j k -> k i ", [(2, 3), (3, 4)]),
    ("...,...", [(2, 1), (3,)]), ("...", [(2, 3)]), ("->", [()]), (",", [(), ()]), ("...a,...b->ab...", [(4, 2), (4, 3)]),
    ("Za,aZ->", [(2, 3), (3, 2)]), ("i...->...", [(3,)]), ("b...a", [(2, 4, 3)]), ("ij...,jk...->ik...", [(2, 3, 4, 5), (3, 4, 5)]),
]  # fmt: skip


@pytest.mark.parametrize(("subscripts", "shapes"), LANGUAGE, ids=[s for s, _ in LANGUAGE])
def test_einsum_reads_what_numpy_reads(subscripts, shapes):
    rng = np.random.default_rng(2)
    try:
        xs = [np.asarray(rng.integers(-5, 6, s).astype(float)) for s in shapes]
        want = np.einsum(subscripts, *xs)
    except ValueError:
        with pytest.raises(mg.MinigradError):
            mg.einsum(subscripts, *xs)
        return
    ts = [leaf(x) for x in xs]
    for y in (mg.einsum(subscripts, *ts), np.einsum(subscripts, *ts), np.einsum(subscripts, *ts, optimize=True)):
        np.testing.assert_array_equal(y.data, want)
        assert y.requires_grad


def test_einsum_with_lists_of_axes():
    a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    for call in ((a, [0, 1], b, [1, 2]), (a, [0, 1], b, [1, 2], [2, 0]), (a, [Ellipsis, 1], b, [1, 2], [Ellipsis, 2]),
                 (a, [30, 1])):  # fmt: skip
        want = np.einsum(*call)
        ours = [leaf(x) if isinstance(x, np.ndarray) else x for x in call]
        np.testing.assert_array_equal(np.einsum(*ours).data, want)
        np.testing.assert_array_equal(mg.einsum(*ours).data, want)


def test_einsum_of_one_tensor_twice():
    x = leaf(np.arange(9.0).reshape(3, 3))
    mg.einsum("ij,ji->", x, x).backward()
    np.testing.assert_array_equal(x.grad.data, 2 * x.data.T)


@pytest.mark.torch
@pytest.mark.parametrize("seed", range(120))
def test_einsum_against_torch(torch, seed):
    rng = np.random.default_rng(seed)
    subscripts, xs = random_einsum(rng)
    if any(len(set(t)) < len(t) and len(set(x.shape)) > 1 for t, x in
           zip(subscripts.split("->")[0].split(","), xs, strict=True)):  # fmt: skip
        subscripts, xs = "ij,jk->ik", [rng.normal(size=(2, 3)), rng.normal(size=(3, 2))]
    theirs = [torch.tensor(x, requires_grad=True) for x in xs]
    want = torch.einsum(subscripts, *theirs)
    seed_ = np.asarray(rng.integers(-4, 5, tuple(want.shape)).astype(float))
    want.backward(torch.tensor(seed_))
    _, grads = pulled(lambda *ts: mg.einsum(subscripts, *ts), *xs, seed=seed_)
    for a, b in zip(grads, theirs, strict=True):
        np.testing.assert_array_equal(a, b.grad.numpy() if b.grad is not None else np.zeros(b.shape))


# --- contractions ---------------------------------------------------------------------------


@pytest.mark.parametrize(("f", "shapes"), [
    (np.dot, [(3,), (3,)]), (np.dot, [(2, 3), (3,)]), (np.dot, [(2, 3), (3, 4)]), (np.dot, [(), (3,)]),
    (np.dot, [(2, 2, 3), (4, 3, 2)]), (np.dot, [(3,), (4, 3, 2)]), (np.dot, [(2, 2, 3), (3,)]),
    (np.inner, [(2, 3), (4, 3)]), (np.inner, [(2, 3), ()]), (np.inner, [(3,), (3,)]),
    (np.outer, [(2, 3), (4,)]), (np.linalg.outer, [(2,), (3,)]), (np.kron, [(2, 3), (2,)]), (np.kron, [(2,), (2, 1, 3)]),
    (np.cross, [(2, 3), (3,)]), (np.linalg.cross, [(2, 3), (4, 1, 3)]),
    (lambda a, b: np.cross(a, b, axis=0), [(3, 2), (3, 2)]),
    (lambda a, b: np.linalg.vecdot(a, b, axis=-2), [(3, 2), (3, 2)]), (np.vecdot, [(2, 1, 3), (4, 3)]),
    (lambda a, b: np.vecdot(a, b, axis=0), [(3, 2), (3, 2)]),
    (np.linalg.matmul, [(4, 2, 3), (3, 2)]), (lambda a, b: np.tensordot(a, b, 1), [(2, 3), (3, 4)]),
    (lambda a, b: np.tensordot(a, b, axes=([0, 1], [1, 0])), [(2, 3), (3, 2)]),
    (lambda a, b: np.linalg.tensordot(a, b, axes=(0, 1)), [(2, 3), (3, 2)]),
    (lambda a, b: np.linalg.multi_dot([a, b, a]), [(2, 3), (3, 2)]), (lambda a, b: np.linalg.multi_dot([b, a.T, a, b]), [(2, 3), (3,)]),
])  # fmt: skip
def test_numpys_bilinear_functions(f, shapes):
    """Values are NumPy's; each gradient is the product with a one, in integers."""
    rng = np.random.default_rng(3)
    a, b = (np.asarray(rng.integers(-5, 6, s).astype(float)) for s in shapes)
    want = np.asarray(f(a, b))
    seed = np.asarray(rng.integers(-5, 6, want.shape).astype(float))
    y, (ga, gb) = pulled(f, a, b, seed=seed)
    np.testing.assert_array_equal(y, want)
    if np.any(f(2 * a, b) != 2 * want) or np.any(f(a, 2 * b) != 2 * want):  # an operand twice
        d = rng.integers(-5, 6, a.shape).astype(float)
        h = 0.5  # a quadratic's central difference is exact
        assert np.sum(ga * d) == np.sum(seed * (f(a + h * d, b) - f(a - h * d, b)))
        return
    for x, g, at in ((a, ga, lambda e: f(e, b)), (b, gb, lambda e: f(a, e))):
        for k in np.ndindex(x.shape):
            one = np.zeros(x.shape)
            one[k] = 1
            assert g[k] == np.sum(seed * at(one))


@pytest.mark.parametrize("sizes", [(2, 3, 4, 5), (5, 2, 6, 1, 3), (None, 3, 4, 2), (2, 3, 4, None), (None, 4, 3, None)], ids=str)
def test_multi_dot(sizes):
    rng = np.random.default_rng(4)
    full = [n for n in sizes if n is not None]
    shapes = list(itertools.pairwise(full))
    shapes = [(full[0],)] * (sizes[0] is None) + shapes + [(full[-1],)] * (sizes[-1] is None)
    xs = [rng.integers(-3, 4, s).astype(float) for s in shapes]
    want = np.linalg.multi_dot(xs)
    np.testing.assert_array_equal(mg.linalg.multi_dot(xs).data, want)

    def chain(*ts):
        y = ts[0]
        for t in ts[1:]:
            y = y @ t
        return y

    for a, b in zip(pulled(lambda *ts: L.multi_dot(ts), *xs)[1], pulled(chain, *xs)[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_diagonals_and_traces_as_numpy_and_the_standard_count_axes():
    rng = np.random.default_rng(5)
    x = rng.integers(-9, 10, (2, 3, 4)).astype(float)
    t = leaf(x)
    for offset in (-3, -1, 0, 1, 2, 5):
        for got, want in (
            (np.diagonal(t, offset), np.diagonal(x, offset)), (np.trace(t, offset), np.trace(x, offset)),
            (t.diagonal(offset, 2, 0), x.diagonal(offset, 2, 0)), (t.trace(offset, axis1=-1, axis2=1), x.trace(offset, -1, 1)),
            (L.diagonal(t, offset=offset), np.linalg.diagonal(x, offset=offset)),
            (np.linalg.trace(t, offset=offset), np.linalg.trace(x, offset=offset)),
        ):  # fmt: skip
            np.testing.assert_array_equal(got.data, want)
    t.diagonal(1, 2, 0).backward(np.arange(3.0).reshape(3, 1))
    want = np.zeros(x.shape)
    for j in range(3):
        want[1, j, 0] = j  # axis1 is 2, axis2 is 0: element [k, j, k − …] with offset 1
    np.testing.assert_array_equal(t.grad.data, want)
    assert L.trace(np.ones((2, 2), np.float32), dtype=np.float64).dtype == np.float64
    np.testing.assert_array_equal(t.dot(x[0].T[:, :1]).data, x.dot(x[0].T[:, :1]))


# --- determinants: polynomials --------------------------------------------------------------


def leibniz(x, *moves):
    """The coefficient of t₁…tₖ in |x + t₁ h₁ + … + tₖ hₖ|, from the definition, in Python numbers."""
    n, k = len(x), len(moves)
    total = 0
    for order in itertools.permutations(range(n)):
        sign = (-1) ** sum(order[i] > order[j] for i, j in itertools.combinations(range(n), 2))
        terms = {0: sign}
        for i, j in enumerate(order):
            entry = {0: int(x[i][j]), **{1 << m: int(h[i][j]) for m, h in enumerate(moves)}}
            new = {}
            for (s, a), (t, b) in itertools.product(terms.items(), entry.items()):
                if not s & t:
                    new[s | t] = new.get(s | t, 0) + a * b
            terms = new
        total += terms.get((1 << k) - 1, 0)
    return total


def matrix_of_rank(rng, n, rank):
    return (rng.integers(-2, 3, (n, rank)) @ rng.integers(-2, 3, (rank, n))).astype(float)


@pytest.mark.parametrize("rank", range(5))
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_derivatives_of_det_to_order_four_at_every_rank(n, rank):
    if rank > n:
        pytest.skip("no such matrix")
    rng = np.random.default_rng((n, rank))
    for x in (matrix_of_rank(rng, n, rank), np.diag([1.0] * rank + [0.0] * (n - rank))):
        moves = [rng.integers(-2, 3, (n, n)).astype(float) for _ in range(3)]
        f = L.det
        for order in range(1, 5):
            gradient = mg.grad(f)
            got = gradient(x).data
            assert np.isfinite(got).all()
            basis = np.eye(n * n).reshape(n, n, n, n)
            want = [[leibniz(x, *moves[: order - 1], basis[i, j]) for j in range(n)] for i in range(n)]
            scale = 1 + np.max(np.abs(x)) ** max(0, n - order) * 4 ** (order - 1)
            np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-13 * scale * 10, err_msg=f"order {order}")
            if order < 4:
                h = moves[order - 1]
                f = lambda x, gradient=gradient, h=h: mg.sum(gradient(x) * h)  # noqa: E731


def test_det_of_a_batch_where_one_is_singular():
    x = np.stack([np.diag([1.0, 2, 3]), np.diag([1.0, 2, 0]), np.diag([1.0, 0, 0]), np.zeros((3, 3))])
    _, (g,) = pulled(L.det, x, seed=np.ones(4))
    np.testing.assert_allclose(g, [np.diag([6.0, 3, 2]), np.diag([0.0, 0, 2]), np.zeros((3, 3)), np.zeros((3, 3))], atol=1e-15)


def test_det_near_a_singular_matrix_keeps_its_digits():
    rng = np.random.default_rng(6)
    u, v = (np.linalg.qr(rng.normal(size=(4, 4)))[0] for _ in range(2))
    for small in (1e-3, 1e-5, 1e-8, 1e-12, 0.0):
        x = u @ np.diag([2.0, 1.0, 0.5, small]) @ v.T
        _, (g,) = pulled(L.det, x, seed=np.ones(()))
        turn = np.linalg.det(u) * np.linalg.det(v)
        np.testing.assert_allclose(g, turn * (u @ np.diag([0.5 * small, small, 2 * small, 1.0]) @ v.T), atol=2e-14)


def test_det_grad_is_the_complex_step_in_larger_matrices():
    for n in (8, 20):
        x = spectral(np.random.default_rng(n), n, n)
        _, (g,) = pulled(L.det, x, seed=np.ones(()))
        np.testing.assert_allclose(g, np.linalg.det(x) * np.linalg.inv(x).T, rtol=1e-9, atol=1e-10 * np.abs(g).max())


# --- equations ------------------------------------------------------------------------------


def test_inv_and_solve_agree_to_second_order():
    rng = np.random.default_rng(7)
    a = spectral(rng, 3, 3, 2)
    b = rng.normal(size=(3, 2))
    same_to_second_order(L.solve, lambda a, b: L.inv(a) @ b, a, b)
    same_to_second_order(lambda a: L.solve(a, np.eye(3)), L.inv, a)
    same_to_second_order(lambda a: L.slogdet(a).logabsdet, lambda a: mg.log(abs(L.det(a))), a)
    same_to_second_order(L.pinv, L.inv, a)
    same_to_second_order(lambda a: L.matrix_power(a, 5), lambda a: a @ a @ a @ a @ a, a)
    same_to_second_order(lambda a: L.matrix_power(a, -2), lambda a: L.inv(a) @ L.inv(a), a)
    same_to_second_order(L.det, lambda a: mg.linalg.slogdet(a).sign * mg.exp(L.slogdet(a).logabsdet), a)


def test_pinv_is_the_least_squares_formula_to_second_order():
    tall = spectral(np.random.default_rng(8), 4, 2, 3)
    same_to_second_order(L.pinv, lambda x: L.solve(x.mT @ x, x.mT), tall)
    same_to_second_order(L.pinv, lambda x: x.mT @ L.inv(x @ x.mT), np.swapaxes(tall, -1, -2))


def test_pinv_of_a_matrix_of_lower_rank():
    """x = a b of rank 2 stays of rank 2: x⁺ = b⁺ a⁺, whose derivative is regular."""
    rng = np.random.default_rng(9)
    a, b = spectral(rng, 4, 2), spectral(rng, 2, 3)
    y, dy = pulled(lambda a, b: L.pinv(a @ b), a, b)
    z, dz = pulled(lambda a, b: L.pinv(b) @ L.pinv(a), a, b)
    for p, q in zip([y, *dy], [z, *dz], strict=True):
        checks.close(p, q, 1e-11)


def test_zeroth_power_has_gradient_zero():
    x = leaf(np.ones((2, 2)))
    y = L.matrix_power(x, 0)
    y.sum().backward()
    np.testing.assert_array_equal(y.data, np.eye(2))
    np.testing.assert_array_equal(x.grad.data, np.zeros((2, 2)))


SOLVE = [((3, 3), (3,)), ((3, 3), (3, 1)), ((2, 3, 3), (3,)), ((2, 3, 3), (3, 2)), ((2, 3, 3), (2, 3, 2)), ((2, 3, 3), (2, 3)),
         ((1, 3, 3), (4, 3, 2)), ((3, 3), (4, 3, 1)), ((2, 1, 3, 3), (4, 3, 2)), ((0, 0), (0,)), ((3, 3), ()), ((3, 3), (2,)),
         ((0, 3, 3), (3, 2))]  # fmt: skip


@pytest.mark.parametrize(("left", "right"), SOLVE, ids=str)
def test_solve_reads_right_sides_as_numpy_does(left, right):
    rng = np.random.default_rng(10)
    a, b = spectral(rng, left[-1], left[-1], *left[:-2]), np.asarray(rng.normal(size=right))
    try:
        want = np.linalg.solve(a, b)
    except (ValueError, TypeError, np.linalg.LinAlgError):
        with pytest.raises(mg.errors.ShapeError, match="solve"):
            L.solve(leaf(a), leaf(b))
        return
    y, (ga, gb) = pulled(np.linalg.solve, a, b)
    np.testing.assert_allclose(y, want, rtol=1e-13)
    assert ga.shape == a.shape
    assert gb.shape == b.shape


# --- decompositions: what no sign and no basis changes --------------------------------------


def test_powers_by_eigenvalues_and_by_singular_values():
    rng = np.random.default_rng(11)
    s = spectral(rng, 3, 3, 2)
    x = s + np.swapaxes(s, -1, -2)

    def half(x):
        return 0.5 * (x + x.mT)

    def by_eigh(x):
        w, v = L.eigh(x)
        return (v * (w * w * w)[..., None, :]) @ v.mT

    same_to_second_order(by_eigh, lambda x: half(x) @ half(x) @ half(x), x)
    same_to_second_order(lambda x: mg.sum(L.eigvalsh(x) ** 3, axis=-1), lambda x: L.trace(half(x) @ half(x) @ half(x)), x)
    for shape in ((3, 3), (4, 2), (2, 4)):
        x = spectral(rng, *shape, 2)

        def by_svd(x):
            u, s, vh = L.svd(x, full_matrices=False)
            return (u * (s * s * s)[..., None, :]) @ vh

        same_to_second_order(by_svd, lambda x: x @ x.mT @ x, x)
        same_to_second_order(lambda x: mg.sum(L.svdvals(x) ** 4, axis=-1), lambda x: L.trace(x @ x.mT @ x @ x.mT), x)
        same_to_second_order(lambda x: L.svd(x, full_matrices=False).U @ L.svd(x, full_matrices=False).Vh,
                             polar, x, rtol=1e-8)  # fmt: skip


def polar(x):
    """x (xᵀ x)^(−½), through eigenvalues: another way to U Vᵀ."""
    wide = x.shape[-1] > x.shape[-2]
    x = x.mT if wide else x
    w, v = L.eigh(x.mT @ x)
    y = x @ ((v / mg.sqrt(w)[..., None, :]) @ v.mT)
    return y.mT if wide else y


@pytest.mark.parametrize("upper", [False, True])
def test_qr_and_cholesky_hold_each_other(upper):
    """R is the Cholesky factor of xᵀ x, Q is x R⁻¹: two rules derived apart."""
    for shape in ((3, 3), (5, 3), (4, 1)):
        x = spectral(np.random.default_rng(12), *shape, 2)

        def factor(x):
            r = L.cholesky(x.mT @ x, upper=upper)
            return r if upper else r.mT

        same_to_second_order(lambda x: L.qr(x).R, factor, x)
        same_to_second_order(lambda x: L.qr(x).Q, lambda x: x @ L.inv(factor(x)), x)


def test_qr_of_a_wide_matrix():
    x = spectral(np.random.default_rng(13), 2, 4)
    same_to_second_order(lambda x: L.qr(x).Q, lambda x: L.qr(x[:, :2]).Q, x)
    same_to_second_order(lambda x: L.qr(x).R, lambda x: L.qr(x[:, :2]).Q.mT @ x, x)
    same_to_second_order(lambda x: L.qr(x, mode="complete").R, lambda x: L.qr(x).R, x)


def test_what_the_matrix_determines_of_a_complete_basis():
    x = spectral(np.random.default_rng(14), 4, 2)
    same_to_second_order(lambda x: L.qr(x, mode="complete").Q[:, :2], lambda x: L.qr(x).Q, x)
    same_to_second_order(lambda x: L.qr(x, mode="complete").R[:2], lambda x: L.qr(x).R, x)
    same_to_second_order(lambda x: L.svd(x).U[:, :2], lambda x: L.svd(x, full_matrices=False).U, x)
    same_to_second_order(lambda x: L.svd(x.mT).Vh[:2], lambda x: L.svd(x.mT, full_matrices=False).Vh, x)


def test_vectors_are_functions_of_the_matrix():
    """No sign jumps between neighbours, and the factors give the matrix back."""
    rng = np.random.default_rng(15)
    for _ in range(50):
        x = rng.normal(size=(3, 3))
        u, s, vh = L.svd(x)
        q, r = L.qr(x)
        np.testing.assert_allclose((u.data * s.data) @ vh.data, x, atol=1e-13)
        np.testing.assert_allclose(q.data @ r.data, x, atol=1e-13)
        assert np.all(np.diagonal(r.data) >= 0)
        near = [*L.svd(x + 1e-13), *L.qr(x + 1e-13), *L.eigh(x @ x.T + 1e-13)]
        for a, b in zip([u, s, vh, q, r, *L.eigh(x @ x.T)], near, strict=True):
            np.testing.assert_allclose(a.data, b.data, atol=1e-8)
        at = np.argmax(np.abs(u.data), axis=0)
        assert np.all(u.data[at, range(3)] > 0)


def test_values_that_tie_have_symmetric_functions():
    x = np.eye(3) * 2.0
    for f, want in ((lambda x: mg.sum(L.eigvalsh(x) ** 2), 4 * np.eye(3)), (lambda x: mg.sum(L.svdvals(x) ** 2), 4 * np.eye(3)),
                    (lambda x: mg.sum(mg.log(L.svdvals(x))), 0.5 * np.eye(3))):  # fmt: skip
        np.testing.assert_allclose(mg.grad(f)(x).data, want, atol=1e-14)


def test_named_results():
    x = np.eye(2)
    assert L.svd(x)._fields == ("U", "S", "Vh")
    assert L.qr(x)._fields == ("Q", "R")
    assert L.slogdet(x)._fields == ("sign", "logabsdet")
    assert L.eigh(x)._fields == ("eigenvalues", "eigenvectors")


def test_uplo_reads_one_triangle_as_numpy_does():
    x = np.random.default_rng(16).normal(size=(2, 3, 3))
    for uplo, other in (("L", np.triu), ("U", np.tril)):
        np.testing.assert_allclose(np.linalg.eigvalsh(leaf(x), UPLO=uplo).data, np.linalg.eigvalsh(x, UPLO=uplo), atol=1e-14)
        y, (g,) = pulled(lambda x, uplo=uplo: np.linalg.eigh(x, uplo).eigenvalues, x)
        np.testing.assert_allclose(y, np.linalg.eigh(x, uplo)[0], atol=1e-14)
        assert not np.any(other(g, 1 if uplo == "L" else -1))
        want = checks.numeric_gradient(
            lambda xs, uplo=uplo, n=y.shape: np.sum(np.random.default_rng(8).normal(size=n) * np.linalg.eigh(xs[0], uplo)[0]), [x], False)
        np.testing.assert_allclose(g, want[0], atol=1e-9)


# --- norms ----------------------------------------------------------------------------------

ORDS = ["fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("ord", ORDS, ids=str)
def test_matrix_norm(ord, keepdims):
    for shape in ((3, 3), (2, 4), (2, 3, 2)):
        x = spectral(np.random.default_rng(17), *shape[-2:], *shape[:-2])
        f = lambda x: L.matrix_norm(x, ord=ord, keepdims=keepdims)  # noqa: E731
        y, (g,) = pulled(f, x)
        seed = np.asarray(np.random.default_rng(8).normal(size=y.shape))
        np.testing.assert_allclose(y, np.linalg.matrix_norm(x, ord=ord, keepdims=keepdims), rtol=1e-13)
        np.testing.assert_array_equal(y, np.linalg.matrix_norm(leaf(x), ord=ord, keepdims=keepdims).data)
        want = checks.numeric_gradient(
            lambda xs, seed=seed: np.sum(seed * np.linalg.matrix_norm(xs[0], ord=ord, keepdims=keepdims)), [x], False)
        np.testing.assert_allclose(g, want[0], atol=1e-9)
        x32 = leaf(x.astype(np.float32))
        z = f(x32)
        z.sum().backward()
        assert z.dtype == x32.grad.dtype == np.float32


@pytest.mark.parametrize("ord", ORDS, ids=str)
def test_matrix_norm_of_zero(ord):
    g = mg.grad(lambda x: L.matrix_norm(x, ord=ord))(np.zeros((2, 3)))
    np.testing.assert_array_equal(g.data, np.zeros((2, 3)))


def test_frobenius_of_very_large_and_very_small():
    for scale in (1e200, 1e-200):
        x = np.array([[3.0, 0], [0, 4]]) * scale
        y, (g,) = pulled(L.matrix_norm, x, seed=np.ones(()))
        np.testing.assert_allclose(y, 5 * scale, rtol=1e-15)
        np.testing.assert_allclose(g, [[0.6, 0], [0, 0.8]], rtol=1e-15)
    np.testing.assert_array_equal(mg.grad(lambda x: L.matrix_norm(x) ** 2)(np.zeros((2, 2))).data, np.zeros((2, 2)))


def test_matrix_rank_is_a_constant():
    x = leaf(np.ones((2, 3, 3)))
    for r in (L.matrix_rank(x), np.linalg.matrix_rank(x)):
        assert r.data.tolist() == [1, 1]
        assert not r.requires_grad
    assert L.matrix_rank(np.diag([1.0, 1e-3]), rtol=1e-2).item() == 1


# --- another engine -------------------------------------------------------------------------

THEIRS = [
    ("inv", lambda m, x: m.linalg.inv(x), (3, 3)), ("det", lambda m, x: m.linalg.det(x), (2, 3, 3)),
    ("slogdet", lambda m, x: m.linalg.slogdet(x)[1], (3, 3)), ("pinv", lambda m, x: m.linalg.pinv(x), (4, 2)),
    ("solve", lambda m, x: m.linalg.solve(x, x @ x), (2, 3, 3)), ("svdvals", lambda m, x: m.linalg.svdvals(x), (4, 3)),
    ("eigvalsh", lambda m, x: m.linalg.eigvalsh(x + x.mT), (2, 3, 3)), ("power", lambda m, x: m.linalg.matrix_power(x, -3), (3, 3)),
    ("cholesky", lambda m, x: m.linalg.cholesky(x @ x.mT), (2, 3, 3)), ("vectors", lambda m, x: m.linalg.eigh(x + x.mT)[1] ** 2, (3, 3)),
    ("svd", lambda m, x: m.linalg.svd(x, full_matrices=False)[0] ** 2, (4, 3)), ("Vh", lambda m, x: m.linalg.svd(x, full_matrices=False)[2] ** 2, (2, 3)),
    ("R", lambda m, x: m.linalg.qr(x)[1] ** 2, (4, 3)), ("Q", lambda m, x: m.linalg.qr(x)[0] ** 2, (2, 4, 3)),
    *((f"norm {o}", lambda m, x, o=o: m.linalg.matrix_norm(x, ord=o), (3, 2)) for o in ORDS),
]  # fmt: skip


@pytest.mark.torch
@pytest.mark.parametrize(("f", "shape"), [(f, s) for _, f, s in THEIRS], ids=[n for n, _, _ in THEIRS])
def test_against_torch(torch, f, shape):
    x = spectral(np.random.default_rng(18), *shape[-2:], *shape[:-2])
    theirs = torch.tensor(x, requires_grad=True)
    want = f(torch, theirs)
    y, (g,) = pulled(lambda x: f(mg, x), x)
    np.testing.assert_allclose(y, want.detach().numpy(), rtol=1e-11, atol=1e-12)
    want.backward(torch.tensor(np.asarray(np.random.default_rng(8).normal(size=y.shape))))
    np.testing.assert_allclose(g, theirs.grad.numpy(), rtol=1e-9, atol=1e-10)


# --- the standard ---------------------------------------------------------------------------

STANDARD = {
    "cholesky": "(x, /, *, upper=False)", "cross": "(x1, x2, /, *, axis=-1)", "det": "(x, /)", "diagonal": "(x, /, *, offset=0)",
    "eigh": "(x, /)", "eigvalsh": "(x, /)", "inv": "(x, /)", "matmul": "(x1, x2, /)", "matrix_norm": "(x, /, *, keepdims=False, ord='fro')",
    "matrix_power": "(x, n, /)", "matrix_rank": "(x, /, *, rtol=None)", "matrix_transpose": "(x, /)", "outer": "(x1, x2, /)",
    "pinv": "(x, /, *, rtol=None)", "qr": "(x, /, *, mode='reduced')", "slogdet": "(x, /)", "solve": "(x1, x2, /)",
    "svd": "(x, /, *, full_matrices=True)", "svdvals": "(x, /)", "tensordot": "(x1, x2, /, *, axes=2)",
    "trace": "(x, /, *, offset=0, dtype=None)", "vecdot": "(x1, x2, /, *, axis=-1)",
}  # fmt: skip


@pytest.mark.parametrize("name", STANDARD)
def test_signature_of_the_standard(name):
    function = getattr(L, name)
    signature = inspect.signature(function)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == STANDARD[name]
    assert function.__name__ == name
    assert function.__doc__


def test_in_both_namespaces():
    for name in ("matmul", "matrix_transpose", "tensordot", "vecdot"):
        assert getattr(mg, name) is getattr(L, name)


# --- errors ---------------------------------------------------------------------------------


def T(*shape):
    return leaf(np.ones(shape))


TIED = np.diag([1.0, 2.0, 2.0])
ERRORS = [
    (lambda: mg.einsum("ij,jk->ik", T(2, 3), T(4, 2)), ValueError, r"^einsum: label 'j' has size 3 in operand 1 of shape \(2, 3\) and size 4 in operand 2"),
    (lambda: mg.einsum("ii->i", T(2, 3)), ValueError, r"^einsum: label 'i' has sizes 2 and 3 within operand 1"),
    (lambda: mg.einsum("ij", T(2)), ValueError, r"^einsum: operand 1 has shape \(2,\), and 'ij' names 2 axes"),
    (lambda: mg.einsum("i", T(2, 2)), ValueError, r"^einsum: operand 1 has shape \(2, 2\), and 'i' names 1 axes"),
    (lambda: mg.einsum("i,i", T(2)), TypeError, r"^einsum: 'i,i' describes 2 operands and 1 are given"),
    (lambda: mg.einsum("i->j", T(2)), TypeError, r"^einsum: label 'j' in the output of 'i->j' is no operand's"),
    (lambda: mg.einsum("i->ii", T(2)), TypeError, r"^einsum: label 'i' stands twice in the output"),
    (lambda: mg.einsum("i1", T(2, 2)), TypeError, r"^einsum: '1' in subscripts 'i1'"),
    (lambda: mg.einsum("i..", T(2, 2)), TypeError, r"^einsum: '\.' in subscripts"),
    (lambda: mg.einsum("...i->i", T(2, 2)), TypeError, r"^einsum: the output of '\.\.\.i->i' has no '\.\.\.'"),
    (lambda: mg.einsum("...,...", T(2), T(3)), ValueError, r"^einsum: an axis of '\.\.\.' has size 2 in operand 1"),
    (lambda: mg.einsum(T(2), [0.5]), TypeError, r"^einsum: the list \[0\.5\]"),
    (lambda: mg.einsum(), TypeError, r"^einsum: no operands"),
    (lambda: mg.tensordot(T(2, 3), T(2, 3), axes=1), ValueError, r"^tensordot: axis 1 of \(2, 3\) has size 3, axis 0 of \(2, 3\) has size 2"),
    (lambda: mg.tensordot(T(2), T(2)), ValueError, r"^tensordot: axes=2 and operand 1 of shape \(2,\)"),
    (lambda: mg.tensordot(T(2), T(2), axes=((0,), (0, 0))), TypeError, r"^tensordot: axes="),
    (lambda: mg.vecdot(T(2, 3), T(2)), ValueError, r"^vecdot: vectors of 3 and 2 elements along axis -1"),
    (lambda: mg.vecdot(T(2, 3), T(3), axis=0), ValueError, r"^vecdot: axis=0 .*write axis=-1"),
    (lambda: mg.vecdot(T(2), T(2), axis=1), IndexError, r"^vecdot: axis 1"),
    (lambda: mg.vecdot(T(2, 3), T(4, 3)), ValueError, r"^vecdot: cannot broadcast"),
    (lambda: L.cross(T(2), T(2)), ValueError, r"cross: vectors of 2 and 2 elements along axis -1; 3 elements"),
    (lambda: mg.trace(T(2)), IndexError, r"^trace: axis 1 of an array with 1 axes"),
    (lambda: L.trace(T(2)), ValueError, r"^linalg.trace: an array of shape \(2,\)"),
    (lambda: np.diagonal(T(2, 2), 0, 1, 1), ValueError, r"^diagonal: axis1=1 and axis2=1 are one axis"),
    (lambda: L.inv(T(2, 3)), ValueError, r"^linalg.inv: an array of shape \(2, 3\); square"),
    (lambda: L.inv(T(2, 2)), ValueError, r"^linalg.inv: the matrix is singular.*pinv"),
    (lambda: L.inv(np.stack([np.eye(2), np.ones((2, 2))])), ValueError, r"^linalg.inv: matrix \[1\] of a batch of shape \(2,\) is singular"),
    (lambda: L.solve(np.stack([[np.eye(2)], [np.zeros((2, 2))]]), T(2)), ValueError, r"^linalg.solve: matrix \[1, 0\] of a batch of shape \(2, 1\) is singular"),
    (lambda: L.solve(np.eye(3), T(2, 3)), ValueError, r"^linalg.solve: matrices \(3, 3\) and right sides \(2, 3\).*b\[\.\.\., None\]"),
    (lambda: L.solve(np.eye(3), 2.0), ValueError, r"^linalg.solve: matrices \(3, 3\) and right sides \(\)"),
    (lambda: L.det(T(3)), ValueError, r"^linalg.det: an array of shape \(3,\); square"),
    (lambda: L.slogdet(T(2, 2)).logabsdet.backward(), ValueError, r"the matrix is singular"),
    (lambda: L.cholesky(np.stack([np.eye(2), -np.eye(2)])), ValueError, r"^linalg.cholesky: matrix \[1\] of a batch of shape \(2,\) is not positive definite; .*1e-6"),
    (lambda: L.cholesky(T(2, 3)), ValueError, r"^linalg.cholesky: an array of shape \(2, 3\); square"),
    (lambda: L.svd(np.eye(2) * 1j), TypeError, r"^linalg.svd: dtype complex128; real"),
    (lambda: L.inv(np.eye(2, dtype=np.float16)), TypeError, r"^linalg.inv: dtype float16; float32 or float64"),
    (lambda: L.qr(T(2, 2), mode="full"), TypeError, r"^linalg.qr: mode='full'; 'reduced' or 'complete'"),
    (lambda: np.linalg.eigh(T(2, 2), UPLO="X"), TypeError, r"UPLO='X'"),
    (lambda: L.matrix_norm(T(2, 2), ord=3), TypeError, r"^linalg.matrix_norm: ord=3"),
    (lambda: L.matrix_norm(T(2)), ValueError, r"^linalg.matrix_norm: an array of shape \(2,\)"),
    (lambda: L.matrix_power(T(2, 2), 0.5), TypeError, r"^linalg.matrix_power: n=0.5; an integer"),
    (lambda: L.matrix_power(T(2, 2), -1), ValueError, r"^linalg.matrix_power: the matrix is singular"),
    (lambda: L.matrix_power(T(2, 3), 2), ValueError, r"^linalg.matrix_power: an array of shape \(2, 3\); square"),
    (lambda: L.multi_dot([T(2)]), TypeError, r"^linalg.multi_dot: 1 arrays; at least two"),
    (lambda: mg.grad(lambda x: L.eigh(x)[1][2, 1])(TIED), ValueError, r"^linalg.eigh: two eigenvalues are equal in the matrix"),
    (lambda: mg.grad(lambda x: L.svd(x).U[1, 1])(TIED), ValueError, r"^linalg.svd: two singular values are equal"),
    (lambda: mg.grad(lambda x: mg.sum(L.eigh(x)[1][:, 1, 0]))(np.stack([np.diag([1.0, 2, 3]), np.eye(3)])), ValueError,
     r"equal in matrix \[1\] of a batch of shape \(2,\)"),
    (lambda: mg.grad(lambda x: mg.sum(L.svd(x, full_matrices=False).U[:, 1] * np.array([1.0, 2, 4])))(np.diag([2.0, 1, 0])[:, :2] * [1, 0]), ValueError,
     r"^linalg.svd: a singular value is 0"),
    (lambda: mg.grad(lambda x: L.svd(x).U[0, 2])(np.arange(6.0).reshape(3, 2)), ValueError, r"^linalg.svd: the loss uses singular vectors without"),
    (lambda: mg.grad(lambda x: L.qr(x, mode="complete").Q[0, 2])(np.arange(6.0).reshape(3, 2)), ValueError, r"^linalg.qr: the loss uses columns of Q"),
    (lambda: mg.grad(lambda x: L.qr(x).R[0, 0])(np.ones((3, 2))), ValueError, r"^linalg.qr: the matrix has dependent columns"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "builtin", "message"), ERRORS, ids=[m for _, _, m in ERRORS])
def test_error(call, builtin, message):
    with pytest.raises(mg.MinigradError, match=message) as caught:
        call()
    assert isinstance(caught.value, builtin)


def test_nearly_equal_values_are_refused_too():
    """Equal values, rotated: rounding makes them differ by a few units in the last place."""
    q = np.linalg.qr(np.random.default_rng(19).normal(size=(3, 3)))[0]
    x = q @ TIED @ q.T
    with pytest.raises(mg.errors.DomainError, match="eigenvalues are equal"):
        mg.grad(lambda x: L.eigh(x)[1][0, 1])(x)
    with pytest.raises(mg.errors.DomainError, match="singular values are equal"):
        mg.grad(lambda x: L.svd(x).U[0, 0])(x)
    mg.grad(lambda x: L.eigh(x)[1][0, 0])(x)  # the vector of the value that stands alone


def test_complete_names_every_axis():
    assert complete("...j,j", ((4, 2, 3), (3,))) == "ZYj,j->ZY"
    assert complete("b...,...a", ((1, 4, 2), (2, 3))) == "bZY,Ya->ZYab"
