"""grad, value_and_grad, vjp: structure, nesting, and leaving everything else alone."""

import sys
import threading
from collections import namedtuple

import numpy as np
import pytest

import minigrad as mg
from minigrad.mode import recorded_mode
from minigrad.nn import Linear, Module, Parameter

Pair = namedtuple("Pair", "left right")


def test_argnums():
    def f(a, b, c):
        return a * b**2 * c

    assert mg.grad(f)(2.0, 3.0, 5.0).item() == 45.0
    assert mg.grad(f, argnums=1)(2.0, 3.0, 5.0).item() == 60.0
    assert mg.grad(f, argnums=-1)(2.0, 3.0, 5.0).item() == 18.0
    got = mg.grad(f, argnums=(2, 0))(2.0, 3.0, 5.0)
    assert isinstance(got, tuple)
    assert [g.item() for g in got] == [18.0, 45.0]
    assert mg.grad(f, argnums=(1,))(2.0, 3.0, 5.0)[0].item() == 60.0


def test_value_and_aux():
    def f(x, scale=1.0):
        y = x * x * scale
        return y, {"twice": 2 * y}

    value, g = mg.value_and_grad(lambda x: x * x)(3.0)
    assert (value.item(), g.item()) == (9.0, 6.0)
    assert not value.requires_grad
    g, aux = mg.grad(f, has_aux=True)(3.0, scale=2.0)
    assert (g.item(), aux["twice"].item()) == (12.0, 36.0)
    (value, aux), g = mg.value_and_grad(f, has_aux=True)(3.0)
    assert (value.item(), g.item()) == (9.0, 6.0)


def test_trees():
    tree = {"w": [np.ones(2), mg.tensor(2.0)], "p": Pair(3.0, (np.full((2, 1), 4.0),))}

    def f(t):
        return mg.sum(t["w"][0] * t["w"][1]) + t["p"].left * mg.sum(t["p"].right[0])

    g = mg.grad(f)(tree)
    assert isinstance(g["p"], Pair)
    assert isinstance(g["p"].right, tuple)
    np.testing.assert_array_equal(g["w"][0].data, [2, 2])
    assert g["w"][1].item() == 2.0
    assert g["p"].left.item() == 8.0
    np.testing.assert_array_equal(g["p"].right[0].data, [[3], [3]])


def test_a_module_stands_for_its_parameters():
    model = Linear(3, 2, dtype=np.float64, rng=np.random.default_rng(0))
    x = np.arange(6.0).reshape(2, 3)
    kept = dict(model.named_parameters())
    g = mg.grad(lambda m, x: mg.sum(m(x) ** 2))(model, x)
    assert set(g) == {"weight", "bias"}
    assert all(t.grad is None for t in model.parameters())
    assert all(model.named_parameters()[k] is kept[k] for k in kept)
    mg.sum(model(x) ** 2).backward()
    for name, p in kept.items():
        np.testing.assert_array_equal(g[name].data, p.grad.data)


def test_modules_in_a_tree_and_shared_parameters():
    class Tied(Module):
        def __init__(self):
            self.a = Parameter(np.array(2.0))
            self.b = [self.a, {"c": Parameter(np.array(3.0))}]
            self.pair = Pair(self.a, 1.0)

        def forward(self, x):
            return self.a * self.b[0] * self.b[1]["c"] * self.pair.left * x

    m = Tied()
    assert list(m.named_parameters()) == ["a", "b.1.c"]
    assert len(m.parameters()) == 2
    (g,) = mg.grad(lambda t: t[0](5.0))([m])
    assert g["a"].item() == 3 * 4 * 3 * 5
    assert g["b.1.c"].item() == 8 * 5


def test_zeros_where_nothing_flows():
    a, b = mg.grad(lambda a, b: a * 2.0, argnums=(0, 1))(1.0, np.ones((2, 3), np.float32))
    assert a.item() == 2.0
    np.testing.assert_array_equal(b.data, np.zeros((2, 3), np.float32))
    assert b.dtype == np.float32
    assert mg.grad(lambda x: 3.0)(1.0).item() == 0.0
    assert mg.grad(lambda x: x.detach())(1.0).item() == 0.0


def test_nothing_is_shared_with_the_arguments():
    x = np.ones(3)
    y, pull = mg.vjp(lambda a, b: a + b, x, x)
    v = np.ones(3)
    a, b = pull(v)
    arrays = [x, v, y.data, a.data, b.data]
    for i, p in enumerate(arrays):
        for q in arrays[i + 1:]:
            assert not np.shares_memory(p, q)


def test_vjp():
    y, pull = mg.vjp(lambda x, w: (x @ w, mg.sum(x)), np.ones((2, 3)), np.ones((3, 2)))
    assert isinstance(y, tuple)
    assert not y[0].requires_grad
    gx, gw = pull((np.eye(2), 2.0))
    np.testing.assert_array_equal(gx.data, np.full((2, 3), 3.0))
    np.testing.assert_array_equal(gw.data, np.ones((3, 2)))
    again, _ = pull((np.eye(2), 2.0))  # the graph is kept
    np.testing.assert_array_equal(again.data, gx.data)
    y, pull = mg.vjp(lambda x: x, 2.0)
    assert pull(3.0)[0].item() == 3.0
    y, pull = mg.vjp(lambda x: (x, x), 2.0)
    assert pull((3.0, 4.0))[0].item() == 7.0


# --- nesting --------------------------------------------------------------------------------


def test_higher_orders():
    f = lambda x: x**5  # noqa: E731
    for want in (32, 80, 160, 240, 240, 120, 0):
        assert f(mg.tensor(2.0)).item() == want or want == 0
        f = mg.grad(f)
    assert mg.grad(mg.grad(mg.sin))(0.5).item() == pytest.approx(-np.sin(0.5), rel=1e-15)


D = mg.grad
CONFUSION = {
    "x D(x + y)": (lambda: D(lambda x: x * D(lambda y: x + y)(1.0))(1.0), 1.0),
    "x D(x y)": (lambda: D(lambda x: x * D(lambda y: x * y)(1.0))(4.0), 8.0),
    "inner ignores outer": (lambda: D(lambda x: x * D(lambda y: y * y)(3.0))(4.0), 6.0),
    "inner of a constant": (lambda: D(lambda x: D(lambda y: x * x)(1.0))(4.0), 0.0),
    "same variable inside": (lambda: D(lambda x: D(lambda y: y * y * x)(x))(3.0), 12.0),
    "three deep": (lambda: D(lambda x: D(lambda y: D(lambda z: x * y * z * z)(y))(x))(2.0), 16.0),
    "closure and argument": (lambda: D(lambda x: D(lambda y: x * y * y)(x) * x)(2.0), 24.0),
    "value inside": (lambda: D(lambda x: mg.value_and_grad(lambda y: x * y**2)(x)[0])(2.0), 12.0),
}


@pytest.mark.parametrize(("f", "want"), CONFUSION.values(), ids=CONFUSION)
def test_perturbations_are_not_confused(f, want):
    assert f().item() == want


def test_a_pull_is_differentiable_in_its_cotangent():
    _, pull = mg.vjp(lambda x: x**3, 2.0)
    assert mg.grad(lambda v: pull(v)[0] ** 2)(5.0).item() == 2 * 12 * 12 * 5.0
    _, pull = mg.vjp(lambda x: (x**3, x**2), 2.0)
    assert mg.grad(lambda v: pull((v, v))[0])(5.0).item() == 16.0


def test_hessian_is_symmetric_and_right():
    a = np.random.default_rng(0).normal(size=(3, 3))

    def f(x):
        return mg.exp(x @ a @ x * 0.1)

    x = np.array([0.3, -0.2, 0.5])
    rows = np.array([mg.grad(lambda x: mg.grad(f)(x)[k])(x).data for k in range(3)])  # noqa: B023
    s, v = 0.1 * (a + a.T), np.exp(0.1 * x @ a @ x)
    np.testing.assert_allclose(rows, v * (s + np.outer(s @ x, s @ x)), rtol=1e-13)


def test_backward_and_grad_mix():
    w = mg.tensor(3.0, requires_grad=True)
    inner = mg.grad(lambda x: x * x * w)(2.0)  # 2 x w, and w is differentiated outside
    assert inner.requires_grad
    assert w.grad is None
    (inner * w).backward()
    assert w.grad.item() == 2 * 2 * 2 * 3
    g = mg.grad(lambda x: x * w)(w)
    assert g.item() == 3.0
    assert w.grad.item() == 24.0
    g.backward()
    assert w.grad.item() == 25.0


def test_backward_inside_a_function_that_is_differentiated():
    leaf = mg.tensor(2.0, requires_grad=True)

    def f(x):
        (leaf * leaf).backward()
        return x * x

    assert mg.grad(f)(3.0).item() == 6.0
    assert leaf.grad.item() == 4.0


def test_transforms_work_without_grad_mode_and_restore_it():
    with mg.no_grad():
        assert mg.grad(lambda x: x * x)(3.0).item() == 6.0
        assert mg.grad(mg.grad(lambda x: x * x * x))(3.0).item() == 18.0
        assert not recorded_mode()
    with pytest.raises(ZeroDivisionError):
        mg.grad(lambda x: x * (1 // 0))(1.0)
    assert recorded_mode()


def test_grad_of_a_function_under_no_grad_inside():
    @mg.no_grad()
    def frozen(x):
        return x * x

    assert mg.grad(lambda x: x + frozen(x))(3.0).item() == 1.0


def test_eight_threads():
    """Graphs, modes and serials of threads do not meet."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(8, 5))
    shared = mg.tensor(rng.normal(size=5), requires_grad=True)

    def f(x):
        return mg.sum(mg.grad(lambda y: mg.sum(mg.tanh(y * shared) ** 2))(x) ** 2)

    want = [mg.grad(f)(p).data for p in points]
    got, interval = {}, sys.getswitchinterval()

    def work(k):
        for _ in range(20):
            with mg.no_grad() if k % 2 else mg.enable_grad():
                got[k] = mg.grad(f)(points[k]).data
                assert recorded_mode() is not bool(k % 2)
        got[k, "done"] = True

    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(interval)
    for k in range(8):
        assert got[k, "done"]
        np.testing.assert_array_equal(got[k], want[k])
    assert shared.grad is None
