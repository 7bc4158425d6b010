"""A network's stages: convolution, pooling, normalisation, losses, and the modules of them.

PyTorch in float64 is the oracle where it is installed; integers make bilinear stages exact; the
rest is checked against sums written out.
"""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.optim import SGD, Adam, clip_grad_norm, clip_grad_value

SEED = 20240711


@pytest.fixture(scope="module")
def torch():
    """As for all tests, with one thread: for arrays this small more are slower."""
    torch = pytest.importorskip("torch", reason="the oracle PyTorch is not installed")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(threads)


def leaf(*shape, rng=None, dtype=np.float64):
    rng = rng or np.random.default_rng((SEED, *shape))
    return mg.tensor(rng.normal(size=shape).astype(dtype), requires_grad=True)


def agree(torch, ours, theirs, arrays, *, fixed=(), rtol=1e-12):
    """Value and gradients of ``ours(*arrays, *fixed)`` and ``theirs(...)``, random cotangent."""
    mine = [mg.tensor(a, requires_grad=True) for a in arrays]
    other = [torch.tensor(np.asarray(a), requires_grad=True) for a in arrays]
    y, z = ours(*mine, *fixed), theirs(*other, *(torch.tensor(f) if isinstance(f, np.ndarray) else f for f in fixed))
    want = z.detach().numpy()
    assert y.shape == want.shape
    np.testing.assert_allclose(y.data, want, rtol=rtol, atol=rtol)
    g = np.random.default_rng(SEED).normal(size=want.shape)
    y.backward(g)
    z.backward(torch.tensor(g))
    for a, b in zip(mine, other, strict=True):
        np.testing.assert_allclose(a.grad.data, b.grad.numpy(), rtol=10 * rtol, atol=10 * rtol)


# --- convolution ----------------------------------------------------------------------------


def naive(x, w, stride, padding, dilation, groups):
    """The definition, element by element, for any number of axes."""
    n = w.ndim - 2
    x = np.pad(x, [(0, 0), (0, 0), *padding])
    size = [(x.shape[2 + a] - dilation[a] * (w.shape[2 + a] - 1) - 1) // stride[a] + 1 for a in range(n)]
    y = np.zeros((x.shape[0], w.shape[0], *size))
    part, out = w.shape[1], w.shape[0] // groups
    for o, *p in itertools.product(range(w.shape[0]), *map(range, size)):
        for c, *k in itertools.product(range(part), *map(range, w.shape[2:])):
            where = tuple(s * i + d * j for s, i, d, j in zip(stride, p, dilation, k, strict=True))
            y[(slice(None), o, *p)] += x[(slice(None), o // out * part + c, *where)] * w[(o, c, *k)]
    return y


@st.composite
def geometry(draw):
    n = draw(st.sampled_from([1, 2]))
    each = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(n))  # noqa: E731
    kernel, stride, dilation = each(1, 3), each(1, 3), each(1, 2)
    padding = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(n))
    groups, part, out = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    size = tuple(draw(st.integers(d * (k - 1) + 1, 6)) for k, d in zip(kernel, dilation, strict=True))
    x, w = (draw(st.integers(0, 3)), groups * part, *size), (groups * out, part, *kernel)
    return x, w, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(geometry())
def test_convolution_of_integers_is_exact_whatever_the_geometry(case):
    x_shape, w_shape, options = case
    rng = np.random.default_rng(SEED)
    x, w = (rng.integers(-9, 10, s).astype(float) for s in (x_shape, w_shape))
    a, b = mg.tensor(x, requires_grad=True), mg.tensor(w, requires_grad=True)
    y = getattr(mg, f"conv{w.ndim - 2}d")(a, b, **options)
    np.testing.assert_array_equal(y.data, naive(x, w, **options))
    g = rng.integers(-9, 10, y.shape).astype(float)
    y.backward(g)
    # bilinear: <g, dx * w> = <x̄, dx> and <g, x * dw> = <w̄, dw>, exactly, for any dx, dw
    dx, dw = (rng.integers(-9, 10, s).astype(float) for s in (x_shape, w_shape))
    assert np.sum(g * naive(dx, w, **options)) == np.sum(a.grad.data * dx)
    assert np.sum(g * naive(x, dw, **options)) == np.sum(b.grad.data * dw)


def test_convolution_cotangents_element_by_element():
    """One-hot operands pick every element of both cotangents."""
    rng = np.random.default_rng(SEED)
    options = {"stride": (2, 1), "padding": ((1, 0), (0, 2)), "dilation": (1, 2), "groups": 2}
    x, w = (rng.integers(-9, 10, s).astype(float) for s in ((2, 4, 4, 5), (4, 2, 3, 2)))
    a, b = mg.tensor(x, requires_grad=True), mg.tensor(w, requires_grad=True)
    y = mg.conv2d(a, b, **options)
    g = rng.integers(-9, 10, y.shape).astype(float)
    y.backward(g)
    for t, at in ((a, lambda e: naive(e, w, **options)), (b, lambda e: naive(x, e, **options))):
        for k in np.ndindex(t.shape):
            e = np.zeros(t.shape)
            e[k] = 1
            assert t.grad.data[k] == np.sum(g * at(e))


@pytest.mark.parametrize("large", [False, True], ids=["product per sample", "one product"])
def test_both_ways_to_the_weight_cotangent_are_exact(large):
    rng = np.random.default_rng(SEED)
    x, w = (rng.integers(-9, 10, s).astype(float) for s in ((3, 2, 4, 4), (40 if large else 2, 1, 3, 3)))
    options = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 2}
    b = mg.tensor(w, requires_grad=True)
    y = mg.conv2d(x, b, **options)
    g, dw = (rng.integers(-9, 10, s).astype(float) for s in (y.shape, w.shape))
    y.backward(g)
    assert np.sum(g * naive(x, dw, **options)) == np.sum(b.grad.data * dw)


def test_third_derivatives_of_a_convolution_are_exact():
    """f = Σ (x ⋆ w)³ / 6: contracted with directions, every derivative is a sum of products."""
    rng = np.random.default_rng(SEED)
    x, w, u, v = (rng.integers(-3, 4, s).astype(float) for s in ((1, 1, 5), (2, 1, 2), (1, 1, 5), (2, 1, 2)))
    conv = lambda x, w: mg.conv1d(x, w, stride=2, padding=1)  # noqa: E731
    f = lambda x, w: mg.sum(conv(x, w) ** 3) / 6  # noqa: E731
    along_x = lambda x, w: mg.sum(mg.grad(f)(x, w) * u)  # noqa: E731
    mixed = lambda x, w: mg.sum(mg.grad(along_x, argnums=1)(x, w) * v)  # noqa: E731
    third = mg.grad(mixed)(x, w)
    y, yu, yv, yuv = (conv(*p).data for p in ((x, w), (u, w), (x, v), (u, v)))
    assert mixed(x, w).item() == np.sum(y * yu * yv + y * y / 2 * yuv)
    for k in range(5):
        e = np.zeros((1, 1, 5))
        e[0, 0, k] = 1
        ye, yev = conv(e, w).data, conv(e, v).data
        assert third.data[0, 0, k] == np.sum(ye * yu * yv + y * yu * yev + y * ye * yuv)


@pytest.mark.filterwarnings("ignore:Using padding=:UserWarning")
@pytest.mark.parametrize(("shape", "kernel", "options"), [
    ((2, 4, 9), (6, 2, 3), {"stride": 2, "padding": 1, "dilation": 2, "groups": 2}),
    ((2, 3, 8), (4, 3, 4), {"padding": "same"}), ((3, 8), (4, 3, 2), {"padding": "valid"}),
    ((2, 3, 7, 8), (4, 3, 3, 2), {}), ((2, 3, 7, 8), (4, 3, 3, 2), {"stride": (2, 1), "padding": (1, 0)}),
    ((2, 4, 7, 8), (8, 1, 3, 3), {"groups": 4, "padding": 1}), ((3, 6, 7), (2, 3, 2, 4), {"padding": "same"}),
    ((1, 2, 9, 9), (3, 2, 3, 3), {"dilation": (2, 3), "padding": "same"}), ((1, 2, 4, 4), (3, 2, 1, 1), {}),
    ((1, 2, 4, 5, 4), (2, 1, 2, 3, 2), {"groups": 2, "stride": (1, 2, 1), "padding": (0, 1, 1)}),
    ((0, 2, 4), (3, 2, 2), {}),
], ids=str)  # fmt: skip
def test_convolution_agrees_with_torch(torch, shape, kernel, options):
    rng = np.random.default_rng(SEED)
    name = f"conv{len(kernel) - 2}d"
    arrays = [rng.normal(size=s) for s in (shape, kernel, kernel[:1])]
    ours, theirs = getattr(mg, name), getattr(torch.nn.functional, name)
    agree(torch, lambda x, w, b: ours(x, w, b, **options), lambda x, w, b: theirs(x, w, b, **options), arrays)


@pytest.mark.parametrize(("shape", "kernel", "options"), [
    ((2, 3, 5), (3, 2, 3), {}), ((2, 4, 5), (4, 2, 3), {"stride": 3, "padding": 1, "output_padding": 2, "groups": 2}),
    ((2, 3, 4, 5), (3, 2, 3, 2), {"stride": (2, 1), "padding": (1, 0), "dilation": 2}),
    ((1, 2, 3, 3), (2, 2, 2, 2), {"dilation": 3, "output_padding": 2}),  # longer than it must be
], ids=str)  # fmt: skip
def test_transposed_convolution_agrees_with_torch(torch, shape, kernel, options):
    rng = np.random.default_rng(SEED)
    name = f"conv_transpose{len(kernel) - 2}d"
    arrays = [rng.normal(size=s) for s in (shape, kernel, (kernel[1] * options.get("groups", 1),))]
    ours, theirs = getattr(mg, name), getattr(torch.nn.functional, name)
    agree(torch, lambda x, w, b: ours(x, w, b, **options), lambda x, w, b: theirs(x, w, b, **options), arrays)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(geometry(), st.booleans())
def test_pooling_and_convolution_agree_with_torch_whatever_the_geometry(torch, case, ceil):
    x_shape, w_shape, options = case
    functional, n = torch.nn.functional, len(w_shape) - 2
    rng = np.random.default_rng(SEED)
    same = {**options, "padding": tuple(p for p, _ in options["padding"])}
    x_shape = (max(x_shape[0], 1), *x_shape[1:])
    x, w = rng.normal(size=x_shape), rng.normal(size=w_shape)
    agree(torch, lambda x, w: getattr(mg, f"conv{n}d")(x, w, **same),
          lambda x, w: getattr(functional, f"conv{n}d")(x, w, **same), [x, w])  # fmt: skip
    kernel = w_shape[2:]
    around = tuple(min(p, k // 2) for p, k in zip(same["padding"], kernel, strict=True))
    rest = {"stride": options["stride"], "padding": around, "ceil_mode": ceil}
    agree(torch, lambda x: getattr(mg, f"max_pool{n}d")(x, kernel, dilation=options["dilation"], **rest),
          lambda x: getattr(functional, f"max_pool{n}d")(x, kernel, dilation=options["dilation"], **rest), [x])  # fmt: skip
    for counted in (True, False):
        agree(torch, lambda x, c=counted: getattr(mg, f"avg_pool{n}d")(x, kernel, count_include_pad=c, **rest),
              lambda x, c=counted: getattr(functional, f"avg_pool{n}d")(x, kernel, count_include_pad=c, **rest), [x])  # fmt: skip


# --- pooling --------------------------------------------------------------------------------


def test_pooling_by_hand():
    x = mg.tensor([[1.0, 5.0, 2.0, 5.0, 0.0, 9.0]], requires_grad=True)
    y = mg.max_pool1d(x, 2)
    assert y.data.tolist() == [[5, 5, 9]]
    y.backward([[1.0, 10.0, 100.0]])
    assert x.grad.data.tolist() == [[0, 1, 0, 10, 0, 100]]
    assert mg.avg_pool1d(x, 2).data.tolist() == [[3, 3.5, 4.5]]
    assert mg.avg_pool1d(x, 3, padding=1).data.tolist() == [[2, 7 / 3]]
    assert mg.avg_pool1d(x, 3, padding=1, count_include_pad=False).data.tolist() == [[3, 7 / 3]]
    assert mg.max_pool1d(x, 4, ceil_mode=True).data.tolist() == [[5, 9]]
    assert mg.max_pool1d(-x, 3, padding=1).data.tolist() == [[-1, 0]]  # padding never wins
    assert mg.max_pool1d(np.array([[1, 7, 3]]), 2, stride=1).data.tolist() == [[7, 7]]


def test_a_tie_in_a_window_is_shared_evenly():
    x = mg.tensor(np.ones((1, 1, 4, 4)), requires_grad=True)
    g = np.arange(1.0, 5).reshape(1, 1, 2, 2)
    mg.max_pool2d(x, 2).backward(g)
    np.testing.assert_array_equal(x.grad.data, np.repeat(np.repeat(g, 2, 2), 2, 3) / 4)
    low = mg.tensor(np.full((1, 2), -np.inf), requires_grad=True)  # as low as the padding
    mg.max_pool1d(low, 2, padding=1).backward(np.ones((1, 2)))
    np.testing.assert_array_equal(low.grad.data, [[1, 1]])


def test_nan_takes_a_window_and_its_cotangent():
    x = mg.tensor([[1.0, np.nan, 2.0, 3.0]], requires_grad=True)
    y = mg.max_pool1d(x, 2)
    np.testing.assert_array_equal(y.data, [[np.nan, 3]])
    y.backward([[5.0, 7.0]])
    np.testing.assert_array_equal(x.grad.data, [[0, 5, 0, 7]])


@pytest.mark.parametrize("size", [1, 3, 4, 5, (2, 5), (8, 6)], ids=str)
def test_adaptive_pooling_agrees_with_torch(torch, size):
    x = np.random.default_rng(SEED).normal(size=(2, 3, 8, 6))
    agree(torch, lambda x: mg.adaptive_avg_pool2d(x, size),
          lambda x: torch.nn.functional.adaptive_avg_pool2d(x, size), [x])  # fmt: skip
    if isinstance(size, int):
        agree(torch, lambda x: mg.adaptive_avg_pool1d(x, size),
              lambda x: torch.nn.functional.adaptive_avg_pool1d(x, size), [x[0]])  # fmt: skip


# --- softmax --------------------------------------------------------------------------------


def test_softmax_where_nothing_is_allowed():
    """A row that is −∞ throughout gets 0 everywhere, and no NaN; PyTorch and JAX give NaN."""
    x = np.array([[-np.inf] * 3, [-np.inf, 0.0, 0.0]])
    t = mg.tensor(x, requires_grad=True)
    with np.errstate(all="raise"):
        y = mg.softmax(t)
        y.backward(np.arange(6.0).reshape(2, 3))
        logs = mg.log_softmax(x)
    np.testing.assert_array_equal(y.data, [[0, 0, 0], [0, 0.5, 0.5]])
    np.testing.assert_array_equal(t.grad.data, [[0, 0, 0], [0, -0.25, 0.25]])
    np.testing.assert_array_equal(logs.data, [[-np.inf] * 3, [-np.inf, -np.log(2), -np.log(2)]])


# --- losses ---------------------------------------------------------------------------------

LOSSES = [
    ("mse_loss", {}, "real"), ("l1_loss", {}, "real"), ("huber_loss", {}, "real"), ("huber_loss", {"delta": 0.3}, "real"),
    ("smooth_l1_loss", {}, "real"), ("smooth_l1_loss", {"beta": 0.4}, "real"), ("smooth_l1_loss", {"beta": 0}, "real"),
    ("binary_cross_entropy_with_logits", {}, "score"), ("binary_cross_entropy", {}, "unit"),
    ("kl_div", {}, "score"), ("kl_div", {"log_target": True}, "real"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:reduction:UserWarning")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none", "batchmean"])
@pytest.mark.parametrize(("name", "options", "kind"), LOSSES, ids=lambda v: str(v))
def test_loss_agrees_with_torch(torch, name, options, kind, reduction):
    if reduction == "batchmean" and name != "kl_div":
        with pytest.raises(mg.errors.ArgumentError, match="reduction='batchmean'; 'none', 'sum', 'mean'"):
            getattr(mg, name)(np.ones(2), np.ones(2), reduction=reduction)
        return
    rng = np.random.default_rng(SEED)
    x, t = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    x = rng.uniform(0.05, 0.95, (4, 3)) if kind == "unit" else x
    t = rng.uniform(0.05, 0.95, (4, 3)) if kind != "real" else t
    settings = {**options, "reduction": reduction}
    agree(torch, lambda x, t: getattr(mg, name)(x, t, **settings),
          lambda x, t: getattr(torch.nn.functional, name)(x, t, **settings), [x, t])  # fmt: skip


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_weighted_binary_cross_entropy_agrees_with_torch(torch, reduction):
    rng = np.random.default_rng(SEED)
    x, t = rng.normal(size=(4, 3)) * 5, rng.uniform(0.05, 0.95, (4, 3))
    w, p = rng.uniform(0.5, 2, (4, 3)), rng.uniform(0.5, 2, 3)
    functional = torch.nn.functional
    for extra in ({"weight": w}, {"pos_weight": p}, {"weight": w, "pos_weight": p}):
        theirs = {k: torch.tensor(v) for k, v in extra.items()}
        agree(torch, lambda x, t, g=extra: mg.binary_cross_entropy_with_logits(x, t, reduction=reduction, **g),
              lambda x, t, g=theirs: functional.binary_cross_entropy_with_logits(x, t, reduction=reduction, **g),
              [x, t])  # fmt: skip
    agree(torch, lambda x, t: mg.binary_cross_entropy(x, t, weight=w, reduction=reduction),
          lambda x, t: functional.binary_cross_entropy(x, t, weight=torch.tensor(w), reduction=reduction),
          [1 / (1 + np.exp(-x)), t])  # fmt: skip


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignored", [None, 1, -100])
@pytest.mark.parametrize("smooth", [0.0, 0.2])
@pytest.mark.parametrize("shape", [(5, 4), (3, 4, 2), (4,)], ids=str)
def test_cross_entropy_agrees_with_torch(torch, shape, smooth, ignored, weighted, reduction):
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=shape) * 3
    axis = min(1, len(shape) - 1)
    targets = np.asarray(rng.integers(0, 4, shape[:axis] + shape[axis + 1 :]))
    if ignored == -100 and targets.ndim:
        targets.flat[0] = -100
    if ignored == 1 and not targets.ndim:
        targets = np.array(2)
    weight = rng.uniform(0.5, 2, 4)
    ours = {"reduction": reduction, "ignore_index": ignored, "weight": weight if weighted else None}
    theirs = {"reduction": reduction, "ignore_index": -100 if ignored is None else ignored,
              "weight": torch.tensor(weight) if weighted else None}  # fmt: skip
    functional = torch.nn.functional
    agree(torch, lambda x, t: mg.cross_entropy(x, t, axis=axis, label_smoothing=smooth, **ours),
          lambda x, t: functional.cross_entropy(x, t, label_smoothing=smooth, **theirs), [x], fixed=[targets])  # fmt: skip
    if not smooth:
        agree(torch, lambda x, t: mg.nll_loss(x, t, axis=axis, **ours),
              lambda x, t: functional.nll_loss(x, t, **theirs), [x], fixed=[targets])  # fmt: skip


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smooth", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_with_probabilities_agrees_with_torch(torch, weighted, smooth, reduction):
    rng = np.random.default_rng(SEED)
    x, q, w = rng.normal(size=(3, 4, 2)), rng.dirichlet(np.ones(4), (3, 2)).swapaxes(1, 2), rng.uniform(0.5, 2, 4)
    common = {"reduction": reduction, "label_smoothing": smooth}
    agree(torch, lambda x, q: mg.cross_entropy(x, q, axis=1, weight=w if weighted else None, **common),
          lambda x, q: torch.nn.functional.cross_entropy(
              x, q, weight=torch.tensor(w) if weighted else None, **common), [x, q])  # fmt: skip


def test_an_ignored_sample_may_hold_anything():
    x = mg.tensor([[-np.inf, 0.0], [1.0, 2.0]], requires_grad=True)
    loss = mg.cross_entropy(x, [-1, 1], ignore_index=-1)
    loss.backward()
    assert loss.item() == pytest.approx(np.log1p(np.exp(-1)))
    np.testing.assert_array_equal(x.grad.data[0], [0, 0])


def test_cross_entropy_with_a_probability_of_nothing():
    x = mg.tensor([[-np.inf, 0.0, 0.0]], requires_grad=True)
    loss = mg.cross_entropy(x, [[0.0, 0.5, 0.5]])
    loss.backward()
    assert loss.item() == pytest.approx(np.log(2))
    np.testing.assert_allclose(x.grad.data, [[0, 0, 0]], atol=1e-16)


@pytest.mark.parametrize("x", [0.0, 30.0, 700.0, 1e4])
def test_binary_cross_entropy_far_out(x):
    for sign, target in itertools.product((1, -1), (0.0, 1.0)):
        t = mg.tensor(sign * x, requires_grad=True)
        with np.errstate(over="raise", invalid="raise"):
            y = mg.binary_cross_entropy_with_logits(t, target)
            weighted = mg.binary_cross_entropy_with_logits(t, target, pos_weight=1.0)
            y.backward()
        s = sign * x * (1 - 2 * target)  # the loss is softplus(s)
        want = s if s > 40 else np.log1p(np.exp(s))
        assert y.item() == pytest.approx(want, rel=1e-13)
        assert weighted.item() == pytest.approx(want, rel=1e-13)
        assert t.grad.item() == pytest.approx((1 - 2 * target) / (1 + np.exp(-min(max(s, -600), 600))), abs=1e-13)


def test_losses_far_apart_do_not_overflow():
    for name in ("huber_loss", "smooth_l1_loss"):
        x = mg.tensor(1e300, requires_grad=True)
        with np.errstate(over="raise"):
            y = getattr(mg, name)(x, -1e5)
            y.backward()
        assert (y.item(), x.grad.item()) == (1e300, 1.0)


def test_hinge_loss_by_hand():
    x = mg.tensor([0.5, -0.5, 2.0], requires_grad=True)
    y = mg.hinge_loss(x, [1.0, 1.0, -1.0], reduction="none")
    assert y.data.tolist() == [0.5, 1.5, 3.0]
    y.backward([1.0, 2.0, 3.0])
    assert x.grad.data.tolist() == [-1, -2, 3]


def test_cosine_similarity_agrees_with_torch(torch):
    rng = np.random.default_rng(SEED)
    for a, b, axis in (((3, 4), (3, 4), 1), ((3, 4), (3, 4), 0), ((2, 1, 3), (1, 4, 3), 2), ((2, 1, 3), (1, 4, 3), -2)):
        agree(torch, lambda x, y, axis=axis: mg.cosine_similarity(x, y, axis=axis),
              lambda x, y, axis=axis: torch.nn.functional.cosine_similarity(x, y, dim=axis),
              [rng.normal(size=a), rng.normal(size=b)])  # fmt: skip
    zero = mg.tensor(np.zeros(3), requires_grad=True)
    y = mg.cosine_similarity(zero, np.ones(3))
    y.backward()
    assert y.item() == 0
    np.testing.assert_allclose(zero.grad.data, 1 / (1e-8 * np.sqrt(3)))


def test_one_hot_takes_class_numbers_only():
    assert mg.one_hot(np.array([[2, 0]]), n=3, axis=1).data.tolist() == [[[0, 1], [0, 0], [1, 0]]]
    for bad, message in (([3], "class 3"), ([-1], "class -1")):
        with pytest.raises(mg.errors.IndexingError, match=f"one_hot: {message}; classes go from 0 to 2"):
            mg.one_hot(np.array(bad), n=3)
    assert mg.one_hot(np.array([99_999]), n=100_000).shape == (1, 100_000)  # no table of n × n


# --- normalisation --------------------------------------------------------------------------


def test_normalisation_agrees_with_torch(torch):
    rng = np.random.default_rng(SEED)
    functional = torch.nn.functional
    x, w, b = rng.normal(size=(4, 6, 5)) * 3 + 2, rng.normal(size=(6, 5)), rng.normal(size=(6, 5))
    agree(torch, lambda x, w, b: mg.layer_norm(x, w, b, axis=(-2, -1)),
          lambda x, w, b: functional.layer_norm(x, (6, 5), w, b), [x, w, b])  # fmt: skip
    agree(torch, lambda x: mg.layer_norm(x, eps=1e-3), lambda x: functional.layer_norm(x, (5,), eps=1e-3), [x])
    agree(torch, lambda x, w: mg.rms_norm(x, w, axis=(1, 2)), lambda x, w: functional.rms_norm(x, (6, 5), w), [x, w])
    for groups in (1, 2, 3, 6):
        agree(torch, lambda x, w, b, n=groups: mg.group_norm(x, n, w, b),
              lambda x, w, b, n=groups: functional.group_norm(x, n, w, b), [x, w[:, 0], b[:, 0]])  # fmt: skip
    mean, var = rng.normal(size=6), rng.uniform(0.5, 2, 6)
    agree(torch, lambda x, w, b: mg.batch_norm(x, w, b).output,
          lambda x, w, b: functional.batch_norm(x, None, None, w, b, training=True), [x, w[:, 0], b[:, 0]])  # fmt: skip
    for affine in (True, False):
        agree(torch, lambda x, w, b, a=affine: mg.batch_norm(x, *((w, b) if a else (None, b)), mean=mean, variance=var).output,
              lambda x, w, b, a=affine: functional.batch_norm(
                  x, torch.tensor(mean), torch.tensor(var), w if a else None, b, training=False) + 0 * w.sum(),
              [x, w[:, 0], b[:, 0]]) if affine else None  # fmt: skip


def test_layer_norm_over_an_axis_that_is_not_the_last():
    x, w, b = leaf(3, 4, 2), leaf(4), leaf(4)
    y = mg.layer_norm(x, w, b, axis=1)
    want = mg.layer_norm(mg.transpose(x, (0, 2, 1)), w, b)
    np.testing.assert_allclose(y.data, want.data.transpose(0, 2, 1), rtol=1e-14)


def test_the_statistics_of_a_batch_are_live():
    """Mean and variance come with a gradient of their own."""
    x = leaf(5, 3)
    _, mean, variance = mg.batch_norm(x)
    np.testing.assert_allclose(mean.data, x.data.mean(0), rtol=1e-14)
    np.testing.assert_allclose(variance.data, x.data.var(0), rtol=1e-14)
    (mg.sum(variance * np.array([1.0, 2.0, 3.0])) + mg.sum(mean)).backward()
    np.testing.assert_allclose(x.grad.data, 2 * (x.data - x.data.mean(0)) * [1, 2, 3] / 5 + 1 / 5, rtol=1e-12)


def test_normalisation_takes_shift_and_scale_away():
    """The cotangent has no part along ones and, without ε, none along the output."""
    x = leaf(3, 7)
    g = np.random.default_rng(SEED).normal(size=(3, 7))
    y = mg.layer_norm(x, eps=0.0)
    y.backward(g)
    np.testing.assert_allclose(x.grad.data.sum(-1), 0, atol=1e-13)
    np.testing.assert_allclose((x.grad.data * x.data).sum(-1), 0, atol=1e-13)


@pytest.mark.parametrize("f", [
    lambda x: mg.layer_norm(x.reshape(2, 3), axis=-1), lambda x: mg.rms_norm(x), lambda x: mg.softmax(x * 2.0),
    lambda x: mg.mse_loss(x, np.arange(6.0)), lambda x: mg.conv1d(x.reshape(1, 2, 3), np.ones((2, 2, 2)), padding=1) ** 2,
    lambda x: mg.binary_cross_entropy_with_logits(x, 0.3), lambda x: mg.cross_entropy(x.reshape(2, 3), [0, 2]),
    lambda x: mg.batch_norm(x.reshape(3, 2)).output,
], ids=["layer", "rms", "softmax", "mse", "conv", "bce", "ce", "batch"])  # fmt: skip
def test_third_order_by_difference_quotients_of_second_order(f):
    rng = np.random.default_rng(SEED)
    x, u, v = (rng.normal(size=6) for _ in range(3))
    c = rng.normal(size=f(mg.tensor(x)).shape)
    scalar = lambda x: mg.sum(f(x) * c)  # noqa: E731
    one = lambda x: mg.sum(mg.grad(scalar)(x) * u)  # noqa: E731
    two = lambda x: mg.sum(mg.grad(one)(x) * v)  # noqa: E731
    third, h = mg.grad(two)(x).data, 1e-3
    for k in range(6):
        e = np.eye(6)[k] * h
        quotient = (8 * (two(x + e).item() - two(x - e).item()) - (two(x + 2 * e).item() - two(x - 2 * e).item())) / (12 * h)
        assert third[k] == pytest.approx(quotient, rel=1e-6, abs=1e-7)


# --- float32 stays float32 ------------------------------------------------------------------


@pytest.mark.parametrize("f", [
    lambda x: mg.conv1d(x, np.ones((2, 3, 2), np.float32), np.ones(2, np.float32)), lambda x: mg.max_pool1d(x, 2),
    lambda x: mg.avg_pool1d(x, 3, padding=1, count_include_pad=False), lambda x: mg.adaptive_avg_pool1d(x, 3),
    lambda x: mg.adaptive_avg_pool1d(x, 2), lambda x: mg.layer_norm(x), lambda x: mg.rms_norm(x),
    lambda x: mg.group_norm(x, 3), lambda x: mg.batch_norm(x).output, lambda x: mg.huber_loss(x, 0.0, delta=0.5),
    lambda x: mg.cross_entropy(x, np.zeros((2, 3), int), ignore_index=1, label_smoothing=0.1),
    lambda x: mg.cross_entropy(x, np.zeros((2, 3), int), weight=np.ones(4, np.float32)),
    lambda x: mg.binary_cross_entropy_with_logits(x, 0.3, pos_weight=2.0), lambda x: mg.cosine_similarity(x, x * x),
    lambda x: mg.conv_transpose1d(x, np.ones((3, 2, 2), np.float32)), lambda x: mg.kl_div(x, 0.5, reduction="batchmean"),
])  # fmt: skip
def test_float32_stays_float32(f):
    x = leaf(2, 3, 4, dtype=np.float32)
    y = f(x)
    assert y.dtype == np.float32
    mg.sum(y).backward()
    assert x.grad.dtype == np.float32


# --- errors ---------------------------------------------------------------------------------


def ones(*shape):
    return mg.tensor(np.ones(shape), requires_grad=True)


@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda: mg.conv2d(ones(1, 3, 5, 5), ones(2, 2, 3, 3)), ValueError, r"^conv2d: x of shape \(1, 3, 5, 5\) has 3 channels, weight of shape \(2, 2, 3, 3\) with groups=1 takes 2"),
    (lambda: mg.conv2d(ones(1, 2, 2, 5), ones(2, 2, 3, 3)), ValueError, r"^conv2d: windows of size \(3, 3\) over axes of size \(2, 5\)"),
    (lambda: mg.conv2d(ones(5, 5), ones(2, 2, 3, 3)), ValueError, r"^conv2d: x of shape \(5, 5\).*\(N, C, H, W\) or \(C, H, W\)"),
    (lambda: mg.conv1d(ones(1, 4, 5), ones(3, 2, 3), groups=2), ValueError, r"^conv1d: weight of shape \(3, 2, 3\) gives 3 channels in 2 groups"),
    (lambda: mg.conv1d(ones(1, 2, 5), ones(3, 2, 3), ones(2)), ValueError, r"^conv1d: bias of shape \(2,\); \(3,\)"),
    (lambda: mg.conv1d(ones(1, 2, 5), ones(3, 2, 3), stride=0), TypeError, r"^conv1d: stride=0; an integer of at least 1"),
    (lambda: mg.conv2d(ones(1, 2, 5, 5), ones(3, 2, 3, 3), dilation=(1, 2, 3)), TypeError, r"^conv2d: dilation=\(1, 2, 3\).*tuple of 2"),
    (lambda: mg.conv1d(ones(1, 2, 5), ones(3, 2, 3), padding="full"), TypeError, r"^conv1d: padding='full'; 'same', 'valid'"),
    (lambda: mg.conv1d(ones(1, 2, 5), ones(3, 2, 3), padding="same", stride=2), TypeError, r"^conv1d: padding='same' with stride"),
    (lambda: mg.conv_transpose1d(ones(1, 2, 5), ones(3, 2, 3)), ValueError, r"^conv_transpose1d: x of shape \(1, 2, 5\)"),
    (lambda: mg.conv_transpose1d(ones(1, 2, 5), ones(2, 2, 3), output_padding=1), TypeError, r"output_padding smaller"),
    (lambda: mg.max_pool2d(ones(1, 1, 4, 4), 2, padding=2), TypeError, r"^max_pool2d: padding=2 with kernel_size=2; at most half"),
    (lambda: mg.max_pool2d(ones(1, 1, 4, 4), 5), ValueError, r"^max_pool2d: windows of size \(5, 5\)"),
    (lambda: mg.max_pool2d(ones(4), 2), ValueError, r"^max_pool2d: x of shape \(4,\)"),
    (lambda: mg.avg_pool1d(ones(1, 4), 2, divisor_override=0), TypeError, r"^avg_pool1d: divisor_override=0"),
    (lambda: mg.cross_entropy(ones(2, 3), [0, 1], axis=None), TypeError, r"^cross_entropy: axis=None; the one axis of the classes"),
    (lambda: mg.cross_entropy(ones(2, 3), [0, 1], axis=2), IndexError, r"^cross_entropy: axis 2"),
    (lambda: mg.cross_entropy(ones(2, 3), [0, 1], weight=np.ones(2)), ValueError, r"^cross_entropy: weight of shape \(2,\); \(3,\)"),
    (lambda: mg.cross_entropy(ones(2, 3), [0, 1], label_smoothing=2), TypeError, r"^cross_entropy: label_smoothing=2"),
    (lambda: mg.cross_entropy(ones(2, 3), np.ones((2, 3)), ignore_index=0), TypeError, r"^cross_entropy: ignore_index with probabilities"),
    (lambda: mg.nll_loss(ones(2, 3), [0, -1]), IndexError, r"^nll_loss: class -1"),
    (lambda: mg.huber_loss(ones(2), 0.0, delta=-1.0), TypeError, r"^huber_loss: delta=-1.0; a positive number"),
    (lambda: mg.mse_loss(ones(2), ones(3)), ValueError, r"^mse_loss: cannot broadcast \(2,\) with \(3,\)"),
    (lambda: mg.softmax([1, 2]), TypeError, r"^softmax: dtype int64; a float dtype"),
    (lambda: mg.layer_norm(ones(2, 3), ones(2)), ValueError, r"^layer_norm: weight of shape \(2,\); \(3,\)"),
    (lambda: mg.layer_norm(ones(2, 3), axis=4), IndexError, r"axis 4 of an array with 2 axes"),
    (lambda: mg.layer_norm([1, 2]), TypeError, r"^layer_norm: dtype int64"),
    (lambda: mg.group_norm(ones(2, 3), 2), ValueError, r"^group_norm: 2 groups"),
    (lambda: mg.batch_norm(ones(1, 3)), ValueError, r"^batch_norm: x of shape \(1, 3\) has one number a channel"),
    (lambda: mg.batch_norm(ones(2, 3), mean=np.ones(3)), TypeError, r"^batch_norm: mean without variance"),
    (lambda: nn.Linear(0, 2), TypeError, r"^Linear: n_in=0, n_out=2; positive sizes"),
    (lambda: nn.Conv2d(3, 4, 3, groups=2), TypeError, r"^Conv2d: in_channels=3, out_channels=4, groups=2"),
    (lambda: nn.Conv2d(3, 4, 0), TypeError, r"^Conv2d: .*positive sizes"),
    (lambda: nn.LayerNorm(3)(ones(2, 4)), ValueError, r"^LayerNorm: x of shape \(2, 4\); \(..., 3\)"),
    (lambda: nn.BatchNorm2d(3)(ones(2, 3)), ValueError, r"^BatchNorm2d: x of shape \(2, 3\); \(N, 3, size, size\)"),
    (lambda: nn.Sequential([nn.Linear(1, 1)]), TypeError, r"^Sequential: part 0 is a list"),
    (lambda: nn.Dropout(1.0), TypeError, r"^Dropout: p=1.0"),
    (lambda: clip_grad_norm([ones(1)], -1), TypeError, r"^clip_grad_norm: max_norm=-1; a finite number, at least 0"),
    (lambda: clip_grad_norm([ones(1)], 1.0, norm_type=0), TypeError, r"^clip_grad_norm: norm_type=0"),
    (lambda: clip_grad_value([ones(1)], float("nan")), TypeError, r"^clip_grad_value: clip_value=nan"),
    (lambda: Adam([ones(1)], betas=(1.0, 0.9)), TypeError, r"^Adam: betas\[0\]=1.0; a number from 0 to, not including, 1"),
    (lambda: Adam([ones(1)], betas=0.9), TypeError, r"^Adam: betas=0.9; two numbers"),
    (lambda: Adam([ones(1)], eps=-1e-8), TypeError, r"^Adam: eps=-1e-08"),
    (lambda: SGD([ones(1)], momentum=-0.1), TypeError, r"^SGD: momentum=-0.1"),
    (lambda: SGD([ones(1)], weight_decay=float("nan")), TypeError, r"^SGD: weight_decay=nan"),
])  # fmt: skip
def test_error_teaches(call, kind, message):
    with pytest.raises(kind, match=message) as caught:
        call()
    assert isinstance(caught.value, mg.MinigradError)


# --- modules --------------------------------------------------------------------------------


def _copied(torch, ours, theirs):
    with torch.no_grad():
        for name, p in theirs.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                stored = ours.named_parameters() | ours.named_buffers()
                p.copy_(torch.tensor(stored[name].numpy()))


@pytest.mark.filterwarnings("ignore:Using padding=:UserWarning")
def test_a_convolutional_network_agrees_with_torch_over_steps_of_training(torch):
    rng = np.random.default_rng(SEED)
    f64 = {"dtype": np.float64, "rng": rng}
    ours = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=1, padding=1, **f64), nn.BatchNorm2d(4, dtype=np.float64), mg.relu, nn.MaxPool2d(2),
        nn.Conv2d(4, 6, (3, 2), padding="same", groups=2, bias=False, **f64), nn.GroupNorm(3, 6, dtype=np.float64),
        mg.tanh, nn.AvgPool2d(2), lambda x: x.reshape(x.shape[0], -1), nn.LayerNorm(24, dtype=np.float64),
        nn.Linear(24, 5, **f64), nn.BatchNorm1d(5, momentum=0.3, dtype=np.float64))  # fmt: skip
    their = torch.nn
    theirs = their.Sequential(
        their.Conv2d(2, 4, 3, padding=1), their.BatchNorm2d(4), their.ReLU(), their.MaxPool2d(2),
        their.Conv2d(4, 6, (3, 2), padding="same", groups=2, bias=False), their.GroupNorm(3, 6), their.Tanh(),
        their.AvgPool2d(2), their.Flatten(), their.LayerNorm(24), their.Linear(24, 5),
        their.BatchNorm1d(5, momentum=0.3)).double()  # fmt: skip
    assert {n for n in theirs.state_dict() if "tracked" not in n} == set(ours.state)
    _copied(torch, ours, theirs)
    a, b = SGD(ours.parameters(), lr=0.1, momentum=0.9), torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        x, t = rng.normal(size=(4, 2, 8, 8)), rng.integers(0, 5, 4)
        loss, other = mg.cross_entropy(ours(x), t), their.functional.cross_entropy(theirs(torch.tensor(x)), torch.tensor(t))
        assert loss.item() == pytest.approx(other.item(), rel=1e-11)
        a.zero_grad()
        b.zero_grad()
        loss.backward()
        other.backward()
        a.step()
        b.step()
    x = rng.normal(size=(3, 2, 8, 8))
    before = {k: v.copy() for k, v in ours.state.items()}
    np.testing.assert_allclose(ours.eval()(x).data, theirs.eval()(torch.tensor(x)).detach().numpy(), rtol=1e-8, atol=1e-8)
    for name, array in ours.state.items():
        np.testing.assert_array_equal(array, before[name])  # evaluation changes nothing
        np.testing.assert_allclose(array, theirs.state_dict()[name].numpy(), rtol=1e-8, atol=1e-8)


def test_layers_draw_from_the_range_of_torch():
    rng = np.random.default_rng(SEED)
    for layer, fan in ((nn.Conv2d(4, 64, (3, 5), groups=2, rng=rng), 30), (nn.Conv1d(3, 64, 7, rng=rng), 21)):
        for p in layer.parameters():
            assert p.dtype == np.float32
            assert 0.8 / fan**0.5 < np.max(np.abs(p.data)) <= 1 / fan**0.5


def test_buffers_are_state_but_not_parameters():
    net = nn.Sequential(nn.BatchNorm1d(3, dtype=np.float64), nn.Linear(3, 1, dtype=np.float64))
    assert list(net.named_parameters()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert list(net.named_buffers()) == ["0.running_mean", "0.running_var"]
    net(np.random.default_rng(0).normal(size=(5, 3)) + 4)
    assert np.all(net.state["0.running_mean"] > 0.2)
    other = nn.Sequential(nn.BatchNorm1d(3, dtype=np.float64), nn.Linear(3, 1, dtype=np.float64))
    other.state = net.state
    for name, array in net.state.items():
        np.testing.assert_array_equal(other.state[name], array)
    with pytest.raises(ValueError, match=r"missing '0\.running_var'"):
        other.state = {k: v for k, v in net.state.items() if k != "0.running_var"}
    mg.grad(lambda m: mg.sum(m(np.eye(3))))(net)  # a clone of the network shares its buffers
    assert not np.array_equal(other.state["0.running_mean"], net.state["0.running_mean"])


def test_sequential_is_a_list_of_parts():
    first, last = nn.Linear(2, 3), nn.Linear(3, 1)
    net = nn.Sequential(first, mg.relu, last)
    assert (len(net), net[0], net[-1]) == (3, first, last)
    assert list(net) == [first, mg.relu, last]
    assert list(net.modules()) == [net, first, last]
    many = nn.Sequential(*[lambda x, k=k: x * 2.0 + k for k in range(12)])  # ten and more stay in order
    want = 1.0
    for k in range(12):
        want = want * 2 + k
    assert many(mg.tensor(1.0)).item() == want


def test_dropout_in_training_alone():
    net = nn.Dropout(0.25, rng=np.random.default_rng(1))
    x = mg.tensor(np.ones((100, 100)), requires_grad=True)
    y = net(x)
    assert set(np.unique(y.data)) == {0.0, 1 / 0.75}
    assert 0.23 < np.mean(y.data == 0) < 0.27
    y.backward(np.ones((100, 100)))
    np.testing.assert_array_equal(x.grad.data, y.data)
    assert net.eval()(x) is x
    again = nn.Dropout(0.25, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(again(x).data, y.data)


def test_a_module_may_hold_itself():
    net = nn.Linear(2, 2, dtype=np.float64)
    net.me, net.list, net.table = net, [net], {"net": net}
    net.list.append(net.list)
    net.table["table"] = net.table
    assert list(net.modules()) == [net]
    assert list(net.state) == ["weight", "bias"]
    net.eval()
    gradient = mg.grad(lambda m: mg.sum(m.me.list[0](np.eye(2)) ** 2))(net)
    leafs = mg.grad(lambda w, b: mg.sum((w.mT + b) ** 2), argnums=(0, 1))(net.weight.data, net.bias.data)
    np.testing.assert_allclose(gradient["weight"].data, leafs[0].data)
    clone = net.with_parameters({"weight": mg.tensor(np.zeros((2, 2)), requires_grad=True)})
    assert clone.me is clone
    assert clone.list[0] is clone
    assert clone.list[1] is clone.list
    assert clone.table["table"]["net"] is clone


def test_embedding_and_linear_as_functions():
    table, x = leaf(4, 3), leaf(2, 3)
    mg.embedding([1, 1, 3], table).backward(np.ones((3, 3)))
    np.testing.assert_array_equal(table.grad.data, np.array([0, 2, 0, 1])[:, None] * np.ones(3))
    np.testing.assert_array_equal(mg.linear(x, table, np.arange(4.0)).data, x.data @ table.data.T + np.arange(4.0))


# --- optimisers -----------------------------------------------------------------------------


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, float("inf")])
def test_clipping_agrees_with_torch(torch, norm_type):
    rng = np.random.default_rng(SEED)
    grads = [rng.normal(size=(3, 2)), rng.normal(size=4)]
    ours, theirs = [leaf(3, 2), leaf(4)], [torch.ones(3, 2, dtype=torch.float64), torch.ones(4, dtype=torch.float64)]

    def load():
        for p, q, g in zip(ours, theirs, grads, strict=True):
            p.grad, q.grad = mg.tensor(g), torch.tensor(g)

    load()
    utils = torch.nn.utils
    assert clip_grad_norm(ours, 0.7, norm_type) == pytest.approx(
        float(utils.clip_grad_norm_(theirs, 0.7, norm_type)), rel=1e-14)  # fmt: skip
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.grad.data, q.grad.numpy(), rtol=1e-14)
    load()
    clip_grad_value(ours, 0.4)
    utils.clip_grad_value_(theirs, 0.4)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(p.grad.data, q.grad.numpy())
