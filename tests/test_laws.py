"""The nine laws of the engine, in the order of the design."""

import contextlib
import contextvars
import copy
import gc
import itertools
import pickle
import sys
import threading

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import GraphError, ModeError, MutationError, ShapeError
from minigrad.mode import recorded_mode, recording

# --- 1. order -------------------------------------------------------------------------------

CHAIN = """
import gc
import minigrad as mg
gc.disable()
x = mg.tensor(1.0, requires_grad=True)
y = x
for _ in range({n}):
    y = -y
{then}
del y
print(x.grad.item() if x.grad else None)
"""


@pytest.mark.parametrize(("then", "grad"), [("y.backward()", "1.0"), ("y.backward(retain_graph=True)", "1.0"),
                                            ("", "None")], ids=["freed", "retained", "dropped"])  # fmt: skip
def test_a_chain_of_a_million_nodes_on_a_small_stack(python, then, grad):
    program = CHAIN.format(n=1_000_000, then=then)
    assert python(program, prefix=("sh", "-c", 'ulimit -s 256; exec "$@"', "sh")).strip() == grad


def test_a_deep_reverse_pass_that_is_recorded():
    x = mg.tensor(1.5, requires_grad=True)
    y = x
    for _ in range(5000):
        y = y * 1.0
    y.backward(create_graph=True)
    (x.grad * x).backward()
    assert x.grad.item() == 2.0  # 1 from each pass: d(x · 1)/dx


def test_a_diamond_of_two_to_the_thousand_paths():
    x = mg.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(1000):
        y = (y + y) * 0.5
    y.backward()
    assert x.grad.item() == 1.0


def test_a_wide_fork():
    x = mg.tensor(1.0, requires_grad=True)
    mg.sum(mg.stack([x] * 5_000)).backward()
    assert x.grad.item() == 5_000.0


BITS = """
import numpy as np, hashlib
import minigrad as mg
rng = np.random.default_rng(0)
x = mg.tensor(rng.normal(size=(3, 3)), requires_grad=True, name="x")
w = {f"w{k}": mg.tensor(rng.normal(size=(3, 3)), requires_grad=True, name=f"w{k}") for k in range(9)}
y = x
for name in sorted(w):
    y = mg.tanh(y @ w[name]) + x * w[name] + mg.exp(y * 0.1)
y.sum().backward()
print(hashlib.sha256(b"".join(t.grad.data.tobytes() for t in (x, *w.values()))).hexdigest())
"""


def test_gradients_have_the_same_bits_in_every_process(python):
    assert len({python(BITS, env={"PYTHONHASHSEED": str(seed)}) for seed in range(4)}) == 1


def test_the_sum_at_a_fork_is_in_the_order_of_recording():
    """Newest consumer first: (c3 + c2) + c1, which rounding can tell from any other order."""
    x = mg.tensor(1.0, requires_grad=True)
    a, b, c = x * 1.0, x * 1e16, x * -1e16
    (a + b + c).backward()
    assert x.grad.item() == (-1e16 + 1e16) + 1.0
    x = mg.tensor(1.0, requires_grad=True)
    b, a, c = x * 1e16, x * 1.0, x * -1e16
    (a + b + c).backward()
    assert x.grad.item() == (-1e16 + 1.0) + 1e16


# --- 2. ownership ---------------------------------------------------------------------------


def test_gradients_accumulate_by_replacement():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    x.sum().backward()
    first, before = x.grad, x.grad.numpy()
    x.sum().backward()
    assert x.grad is not first
    np.testing.assert_array_equal(first.data, before)
    np.testing.assert_array_equal(x.grad.data, 2 * before)


def test_only_leaves_and_tensors_that_asked_get_a_gradient():
    x = mg.tensor(2.0, requires_grad=True)
    plain, asked, named = x * 2.0, (x * 3.0).retain_grad(), (x * 4.0).named("four")
    (plain + asked * 5.0 + named * 6.0).backward()
    assert plain.grad is None
    assert asked.grad.item() == 5.0
    assert named.grad.item() == 6.0
    assert x.grad.item() == 2 + 15 + 24


def test_a_failed_pass_leaves_no_gradient():
    bad = mg.define("bad_rule_for_laws", np.sin, lambda g, y, x: g[0, 0])
    try:
        x, w = (mg.tensor(2.0, requires_grad=True) for _ in range(2))
        y = bad(x) + w
        with pytest.raises(mg.errors.RuleError):
            y.backward()
        assert x.grad is None
        assert w.grad is None
    finally:
        _forget("bad_rule_for_laws", np.sin)


def _forget(name, ufunc=None):
    """Take a test's op out of the registry."""
    from minigrad.op import NUMPY, OPS, PUBLIC

    del OPS[name], PUBLIC[name]
    if ufunc is not None:
        NUMPY[ufunc] = NUMPY[ufunc]._replace(function=PUBLIC[ufunc.__name__])


# --- 3. immutability ------------------------------------------------------------------------


def test_what_an_op_returns_is_read_only_and_tensor_copies():
    array = np.ones(3)
    x = mg.tensor(array, requires_grad=True)
    array[0] = 9
    assert x.data[0] == 1
    y = x * 2.0
    y.sum().backward()
    for t in (x, y, x[1:], x.reshape(3, 1), x.T, y.grad or x.grad, x.sum(), mg.where(x > 0, x, 0.0)):
        assert not t.data.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            t.data[...] = 0
    copied = x.numpy()
    copied[0] = 7
    assert x.data[0] == 1


def test_tensor_copies_a_read_only_array_too():
    array = np.ones(3)
    array.flags.writeable = False
    x = mg.tensor(array)
    constant = x + array
    array.flags.writeable = True
    array[0] = 9
    assert x.data[0] == 1
    assert constant.data[0] == 2


def test_a_graph_keeps_the_array_that_it_was_made_with():
    w = mg.tensor([3.0], requires_grad=True)
    y = w * w
    w.data = np.array([100.0])
    y.backward()
    assert w.grad.item() == 6.0
    assert w.item() == 100.0


def test_a_leaf_that_is_replaced_within_a_graph_collects_from_both_its_arrays():
    w = mg.tensor(3.0, requires_grad=True)
    y = w * 2.0
    w.data = np.array(5.0)
    z = w * 3.0
    (y + z).backward()
    assert w.grad.item() == 5.0


def test_replaced_data_is_copied_and_checked():
    w = mg.tensor([3.0], requires_grad=True)
    new = np.array([4.0])
    w.data = new
    new[0] = 5
    assert w.item() == 4.0
    for wrong in (np.ones(2), np.ones(1, np.float32), 1.0):
        with pytest.raises(ShapeError, match=r"\.data ="):
            w.data = wrong
    with pytest.raises(GraphError, match="only a leaf"):
        (w * 2.0).data = new


@pytest.mark.parametrize("which", ["leaf", "constant", "output", "view"])
def test_debug_catches_an_unlocked_array(which):
    with mg.debug():
        x = mg.tensor([1.0, 2.0], requires_grad=True)
        k = mg.tensor([3.0, 4.0])
        y = x * k
        line = sys._getframe().f_lineno - 1
        z = mg.exp(y)
    victim = {"leaf": x, "constant": k, "output": y, "view": x}[which].data
    victim.flags.writeable = True
    (victim[:1] if which == "view" else victim)[0] = 77.0
    if which == "output":
        line += 2
    with mg.debug(), pytest.raises(MutationError, match=rf"saved by '(multiply|exp)' made at .*test_laws.py:{line}"):
        z.sum().backward()


def test_in_place_operators_rebind():
    x = mg.tensor([1.0], requires_grad=True)
    y = x
    y += 1.0
    y *= 2.0
    assert x.data[0] == 1.0
    assert y.item() == 4.0
    y.backward()
    assert x.grad.item() == 2.0


# --- 4. zero cotangents ---------------------------------------------------------------------

NO_NAN = {
    "where sqrt": (lambda x: mg.where(x > 0, mg.sqrt(x), x), [0.0, 4.0, 0.0], [1, 0.25, 1]),
    "where log": (lambda x: mg.where(x > 0, mg.log(x), 3 * x), [0.0, 2.0, 0.0], [3, 0.5, 3]),
    "where divide": (lambda x: mg.where(x != 0, 1 / x, x), [0.0, 2.0, 0.0], [1, -0.25, 1]),
    "where power": (lambda x: mg.where(x > 0, x**-0.5, x), [0.0, 4.0, 0.0], [1, -0.0625, 1]),
    "where pow": (lambda x: mg.where(x > 0, mg.pow(x, mg.tensor(0.5)), x), [0.0, 4.0, 0.0], [1, 0.25, 1]),
    "last of log": (lambda x: mg.log(x)[-1], [0.0, 0.0, 1.0], [0, 0, 1]),
}


@pytest.mark.parametrize(("f", "x", "want"), NO_NAN.values(), ids=NO_NAN)
def test_a_branch_not_taken_contributes_nothing(f, x, want):
    with np.errstate(all="ignore"):
        got = mg.grad(lambda x: mg.sum(f(x)))(np.array(x))
        np.testing.assert_array_equal(got.data, want)
        second = mg.grad(lambda x: mg.sum(mg.grad(lambda x: mg.sum(f(x)))(x)))(np.array(x))
    h = 1e-5
    with np.errstate(all="ignore"):
        up, down = (mg.grad(lambda x: mg.sum(f(x)))(np.where(np.array(x) > 0, np.array(x) + s, x)).data
                    for s in (h, -h))  # fmt: skip
    np.testing.assert_allclose(second.data, (up - down) / (2 * h), atol=1e-8)


def test_elsewhere_a_rule_stays_linear_in_the_cotangent():
    """At g = 0, too: the derivative of g / (2 √x) with respect to g is 1 / (2 √x)."""
    for f, slope in ((mg.sqrt, 0.25), (mg.log, 0.25), (lambda x: 1 / x, -1 / 16), (lambda x: x**0.5, 0.25)):
        x = mg.tensor(4.0, requires_grad=True)
        v = mg.tensor(0.0, requires_grad=True)
        _, pull = mg.vjp(f, x)
        (pull(v)[0]).backward()
        assert v.grad.item() == pytest.approx(slope)


def test_a_real_pole_is_not_hidden():
    with np.errstate(divide="ignore"):
        assert mg.grad(mg.sqrt)(0.0).item() == np.inf
        assert mg.grad(mg.log)(0.0).item() == np.inf


def test_the_law_holds_for_a_variadic_op_of_the_user():
    def rule(g, y, i, *xs):
        return g / xs[i]

    op = mg.define("sum_of_logs", lambda *xs: sum(np.log(x) for x in xs), rule, variadic=True, singular=True)
    try:
        with np.errstate(divide="ignore"):
            got = mg.grad(lambda x: op(x, x)[-1])(np.array([0.0, 2.0]))
        np.testing.assert_array_equal(got.data, [0, 1])
    finally:
        _forget("sum_of_logs")


# --- 5. subgradients ------------------------------------------------------------------------

TABLE = {
    "maximum(x, 0)": (lambda x: mg.maximum(x, 0), 0.0),
    "maximum(0, x)": (lambda x: mg.maximum(0, x), 1.0),
    "minimum(x, 0)": (lambda x: mg.minimum(x, 0), 0.0),
    "relu(x)": (mg.relu, 0.0),
    "where(x > 0, x, 0)": (lambda x: mg.where(x > 0, x, 0), 0.0),
    "maximum(x, x)": (lambda x: mg.maximum(x, x), 1.0),
    "minimum(x, x)": (lambda x: mg.minimum(x, x), 1.0),
    "abs(x)": (mg.abs, 0.0),
    "sign(x)": (mg.sign, 0.0),
    "max([x, x])": (lambda x: mg.max(mg.stack([x, x])), 1.0),
    "min([x, x, x, x])": (lambda x: mg.min(mg.stack([x] * 4)), 1.0),
}


@pytest.mark.parametrize(("f", "slope"), TABLE.values(), ids=TABLE)
def test_subgradient(f, slope):
    for zero in (0.0, -0.0):
        assert mg.grad(f)(zero).item() == slope


def test_the_tie_of_two_goes_to_the_last():
    for op in (mg.maximum, mg.minimum):
        a, b = mg.grad(op, argnums=(0, 1))(2.0, 2.0)
        assert (a.item(), b.item()) == (0.0, 1.0)


def test_reductions_share_a_tie_evenly():
    for op in (mg.max, mg.min):
        g = mg.grad(op)(np.array([1.0, 2.0, 1.0, 2.0]))
        np.testing.assert_array_equal(g.data, [0, 0.5, 0, 0.5] if op is mg.max else [0.5, 0, 0.5, 0])
        rows = mg.grad(lambda x: mg.sum(op(x, axis=1) * np.array([1.0, 3.0])))(np.ones((2, 4)))  # noqa: B023
        np.testing.assert_array_equal(rows.data, [[0.25] * 4, [0.75] * 4])


def test_a_nan_is_the_extreme_value_where_there_is_one():
    for op in (mg.max, mg.min):
        g = mg.grad(lambda x: mg.sum(op(x, axis=1)))(np.array([[1.0, np.nan], [2.0, 2.0]]))  # noqa: B023
        np.testing.assert_array_equal(g.data, [[0, 1], [0.5, 0.5]])


# --- 6. dtype -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_gradient_has_the_dtype_of_its_leaf(dtype):
    for other in (1, 2.5, True, np.float16(2), np.float32(2), np.float64(2), np.arange(3), np.ones(3, np.float64),
                  np.ones(3, np.float32), np.ones(3, bool)):  # fmt: skip
        for f in (lambda a, b: a + b, lambda a, b: a * b, lambda a, b: a / (b + 1), lambda a, b: b - a,
                  lambda a, b: mg.where(a > 0, a, b), lambda a, b: mg.maximum(b, a), lambda a, b: mg.stack([a, a + b])):
            leaf = mg.tensor(np.ones(3), dtype, requires_grad=True)
            y = f(leaf, other).sum()
            y.backward()
            assert leaf.grad.dtype == dtype


def test_python_numbers_are_weak():
    x = mg.tensor(np.ones(3), np.float32, requires_grad=True)
    for y in (x + 1, 1 - x, x * 2.5, 2.5 / x, x**2, x**0.5, 2.0**x, x.sum() * 1.5, mg.maximum(x, 0),
              mg.where(x > 0, x, 0.0), x.mean() ** 2):  # fmt: skip
        assert y.dtype == np.float32


def test_a_tensor_holds_any_dtype_as_a_constant():
    for data in (True, 3, [1, 2], np.arange(3, dtype=np.uint8), 1 + 2j, np.float16(1)):
        t = mg.tensor(data)
        assert t.dtype == np.asarray(data).dtype
        assert not t.requires_grad


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.uint8, np.complex128])
def test_a_gradient_needs_a_float_dtype(dtype):
    with pytest.raises(mg.errors.DtypeError, match="gradients need a float dtype"):
        mg.tensor([1, 0], dtype, requires_grad=True)


def test_data_is_an_array_even_of_no_dimensions():
    x = mg.tensor(2.0, requires_grad=True)
    y = (x * x).sum()
    y.backward()
    for t in (x, y, x.grad, x[()], mg.stack([x, y])[0]):
        assert type(t.data) is np.ndarray
        assert t.shape == ()


# --- 7. no hidden state ---------------------------------------------------------------------


def test_modes_nest_and_survive_exceptions():
    x = mg.tensor(1.0, requires_grad=True)
    with mg.no_grad():
        assert not (x * 2.0).requires_grad
        with mg.enable_grad():
            assert (x * 2.0).requires_grad
        assert not (x * 2.0).requires_grad
    for error in (ValueError, KeyboardInterrupt, GeneratorExit):
        with pytest.raises(error), mg.no_grad():
            raise error
        assert (x * 2.0).requires_grad


def test_a_mode_as_decorator():
    @mg.no_grad()
    def f(x):
        return x * 2.0

    x = mg.tensor(1.0, requires_grad=True)
    assert not f(x).requires_grad
    assert (x * 2.0).requires_grad
    assert f.__name__ == "f"


def test_a_decorated_generator_switches_at_each_resume():
    seen = []

    @mg.no_grad()
    def generator():
        try:
            while True:
                seen.append(recorded_mode())
                try:
                    got = yield recorded_mode()
                    seen.append(got)
                except ValueError:
                    seen.append("thrown")
        finally:
            seen.append(("closed", recorded_mode()))

    g = generator()
    assert next(g) is False
    assert recorded_mode()
    assert g.send("sent") is False
    assert g.throw(ValueError) is False
    assert recorded_mode()
    g.close()
    assert recorded_mode()
    assert seen == [False, "sent", False, "thrown", False, ("closed", False)]

    @mg.no_grad()
    def returns():
        yield 1
        return 2

    def outer():
        return (yield from returns())

    o = outer()
    next(o)
    with pytest.raises(StopIteration) as stop:
        next(o)
    assert stop.value.value == 2
    assert recorded_mode()


def test_a_block_that_is_left_out_of_order_raises():
    def leaky():
        with mg.no_grad():
            yield

    def in_a_context_of_its_own():
        g = leaky()
        next(g)
        with pytest.raises(ModeError, match="reverse order"), mg.enable_grad():
            g.close()

    contextvars.copy_context().run(in_a_context_of_its_own)
    assert recorded_mode()


def test_threads_and_contexts_have_modes_of_their_own():
    inside, seen = threading.Barrier(2), {}

    def worker(name, mode):
        with mode():
            inside.wait()
            seen[name] = recorded_mode()
            inside.wait()

    threads = [threading.Thread(target=worker, args=a) for a in (("a", mg.no_grad), ("b", mg.enable_grad))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert seen == {"a": False, "b": True}
    with mg.no_grad():
        context = contextvars.copy_context()
    assert recorded_mode()
    assert context.run(recorded_mode) is False


def test_hash_is_identity_and_equality_is_elementwise():
    a, b = mg.tensor([1.0, 2.0]), mg.tensor([1.0, 2.0])
    assert len({a, b}) == 2
    assert (a == b).data.tolist() == [True, True]
    assert (a != b).dtype == bool
    assert {a: 1, b: 2}[b] == 2


# --- 8. no cycles ---------------------------------------------------------------------------


def _first_order(x, w):
    y = (mg.tanh(x @ w).named("h") * 2.0).retain_grad()
    y.sum().backward()
    w.data = w.data - 0.01 * w.grad.data
    w.grad = None


def _second_order(x, w):
    y = mg.tanh(x @ w).named("h").retain_grad()
    y.sum().backward(create_graph=True)
    (w.grad * w.grad).sum().backward()
    w.grad = None


def _functional(x, w):
    mg.grad(lambda w: mg.sum(mg.grad(lambda w: mg.sum(mg.tanh(x @ w)))(w) ** 2))(w)


def _several_outputs(x, w):
    parts = mg.split(x @ w, 2)
    (parts[0] * 2.0 + mg.linalg.eigh(w).eigenvalues[0]).sum().backward(create_graph=True)
    w.grad = None


def _failing(x, w):
    with contextlib.suppress(ShapeError):
        (x @ w).backward()


def _debugged(x, w):
    with mg.debug():
        _first_order(x, w)


def _recorded(x, w):
    with recording():
        _first_order(x, w)


def _left_with_a_gradient_that_holds_a_graph(x, w):
    p = mg.tensor(w.data, requires_grad=True)
    mg.tanh(x @ p).retain_grad().sum().backward(create_graph=True)


STEPS = [_first_order, _second_order, _functional, _several_outputs, _failing, _debugged, _recorded,
         _left_with_a_gradient_that_holds_a_graph]  # fmt: skip


@pytest.mark.parametrize("step", STEPS, ids=lambda f: f.__name__.strip("_"))
def test_reference_counting_frees_everything(step):
    rng = np.random.default_rng(0)
    x = mg.tensor(rng.normal(size=(4, 4)))
    w = mg.tensor(rng.normal(size=(4, 4)), requires_grad=True)
    for _ in range(100):
        step(x, w)
    gc.collect()
    gc.disable()
    full = [[tuple([k] * n) for k in range(2500)] for n in range(1, 21)]
    del full  # now CPython's free lists of tuples are full, and do not grow while we count
    try:
        before = len(gc.get_objects())
        blocks = sys.getallocatedblocks()
        for _ in range(500):
            step(x, w)
        assert sys.getallocatedblocks() - blocks < 250
        assert len(gc.get_objects()) - before < 50
        assert gc.collect() == 0
    finally:
        gc.enable()


# --- 9. errors teach: see test_errors.py; here, what is part of every tensor -------------------


def test_repr_is_short_whatever_the_graph_is():
    x = mg.tensor(np.zeros((100, 100)), requires_grad=True, name="W")
    y = x
    for _ in range(3000):
        y = y * 1.0
    assert len(repr(y)) < 1000
    assert "from=multiply" in repr(y)
    assert "name='W'" in repr(x)


def test_leaves_are_copied_and_pickled_and_graphs_are_not():
    x = mg.tensor([1.0], requires_grad=True, name="x")
    for twin in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert twin is not x
        assert twin.requires_grad
        assert twin.name == "x"
        assert not np.shares_memory(twin.data, x.data)
        twin.sum().backward()
        assert twin.grad.item() == 1.0
        assert x.grad is None
    for f in (copy.deepcopy, pickle.dumps):
        with pytest.raises(GraphError, match="only leaves and constants"):
            f(x * 2.0)


def test_parents_are_fixed():
    x = mg.tensor(1.0, requires_grad=True)
    y = x * x
    assert isinstance(y._node.inputs, tuple)
    assert all(a.serial < b.serial for a, b in itertools.pairwise([x._node, y._node]))


def test_every_error_is_a_minigrad_error_and_a_builtin():
    kinds = [k for k in vars(mg.errors).values() if isinstance(k, type) and issubclass(k, Exception)]
    assert len(kinds) > 10
    for kind in kinds:
        assert issubclass(kind, mg.MinigradError)
        if kind is not mg.MinigradError:
            assert any(b.__module__ == "builtins" and b is not Exception for b in kind.__mro__[1:]
                       if not issubclass(Exception, b)), kind  # fmt: skip
