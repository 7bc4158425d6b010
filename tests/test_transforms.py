"""jvp, jacobian, hessian, hvp, checkpoint: nested in each other and held against witnesses
that know nothing of the engine (a complex step, closed formulas)."""

import gc
import weakref

import numpy as np
import pytest

import minigrad as mg
from minigrad.op import OPS

A = np.random.default_rng(1).normal(size=(3, 4))


def curve(x):
    """A function from 4 numbers to 3, plain or traced."""
    return np.tanh(A @ (x * x)) * np.sin(A @ x)


def scalar(x):
    return np.sum(np.tanh(A @ x) ** 3) + np.sum(x[0] * x[1] * x[2:] ** 2)


def complex_jacobian(f, x):
    columns = [np.imag(f(x + 1e-30j * e)) / 1e-30 for e in np.eye(len(x))]
    return np.stack(columns, axis=-1)


def close(a, b, rtol=1e-13):
    np.testing.assert_allclose(np.asarray(a), b, rtol=rtol, atol=rtol * np.max(np.abs(b), initial=1e-3))


def test_jvp_is_the_complex_step_along_the_tangent(rng):
    x, t = rng.normal(size=(2, 4))
    y, dy = mg.jvp(curve, (x,), (t,))
    close(y, curve(x))
    close(dy, np.imag(curve(x + 1e-30j * t)) / 1e-30)
    assert not dy.requires_grad
    assert not y.requires_grad


def test_jvp_and_vjp_are_transposes(rng):
    x, t, v = rng.normal(size=4), rng.normal(size=4), rng.normal(size=3)
    _, dy = mg.jvp(curve, (x,), (t,))
    _, pull = mg.vjp(curve, x)
    close(v @ dy.data, pull(v)[0].data @ t)


def test_jacobian_by_rows_and_by_columns(rng):
    x = rng.normal(size=4)
    want = complex_jacobian(curve, x)
    close(mg.jacobian(curve)(x), want)  # 3 rows
    tall = lambda x: mg.concat([curve(x), curve(2 * x), np.exp(x)])  # noqa: E731 (10 rows, 4 columns)
    plain = lambda x: np.concatenate([curve(x), curve(2 * x), np.exp(x)])  # noqa: E731
    close(mg.jacobian(tall)(x), complex_jacobian(plain, x))


def test_jacobian_shapes_and_trees(rng):
    x, y = rng.normal(size=(2, 3)), rng.normal(size=())
    f = lambda p, y: {"a": p["x"] * y, "b": (p["x"].sum() ** 2, np.exp(y))}  # noqa: E731
    jac = mg.jacobian(f, (0, 1))({"x": x}, y)
    by_x, by_y = jac["a"]
    assert by_x["x"].shape == (2, 3, 2, 3)
    assert by_y.shape == (2, 3)
    close(by_x["x"].data.reshape(6, 6), y * np.eye(6))
    close(by_y, x)
    close(jac["b"][0][0]["x"], np.full((2, 3), 2 * x.sum()))
    close(jac["b"][1][1], np.exp(y))
    assert jac["b"][1][0]["x"].shape == (2, 3)
    assert not jac["b"][1][0]["x"].data.any()
    assert mg.jacobian(lambda x: x * 2)(np.zeros((0, 2))).shape == (0, 2, 0, 2)
    assert mg.jacobian(lambda x: x * 2)(np.zeros(3, np.float32)).dtype == np.float32


def test_hessian_and_hvp(rng):
    x, v = rng.normal(size=(2, 4))
    H = mg.hessian(scalar)(x).data
    g = lambda x: mg.grad(scalar)(x).data  # noqa: E731
    h = 1e-5
    close(H, np.stack([(g(x + h * e) - g(x - h * e)) / (2 * h) for e in np.eye(4)], -1), 1e-8)
    close(H, H.T)
    (Hv,) = mg.hvp(scalar, (x,), (v,))
    close(Hv, H @ v, 1e-12)


def test_hessian_of_several_arguments(rng):
    x, y = rng.normal(size=3), rng.normal(size=2)
    f = lambda x, y: np.sum(x**2) * y[0] * y[1]  # noqa: E731
    (xx, xy), (yx, yy) = mg.hessian(f, (0, 1))(x, y)
    close(xx, 2 * y[0] * y[1] * np.eye(3))
    close(xy.data, yx.data.T)
    close(yy, np.sum(x**2) * np.array([[0, 1], [1, 0]]))
    u, w = rng.normal(size=3), rng.normal(size=2)
    a, b = mg.hvp(f, (x, y), (u, w))
    close(a, xx.data @ u + xy.data @ w)
    close(b, yx.data @ u + yy.data @ w)


@pytest.mark.parametrize("order", range(1, 6))
def test_forward_and_reverse_nest_to_any_depth(order, rng):
    """The nth derivative of a function of one number, in every mixture of the two modes."""
    forward = lambda f: lambda x: mg.jvp(f, (x,), (np.ones(()),))[1]  # noqa: E731
    x = np.array(0.3)
    want = [np.tanh]  # Taylor coefficients by a power series for tanh' = 1 − tanh²
    c = [np.tanh(0.3)]
    for n in range(order):
        square = sum(c[k] * c[n - k] for k in range(n + 1))
        c.append(((n == 0) - square) / (n + 1))
    want = c[order] * np.prod(np.arange(1, order + 1))
    for mixture in range(2**order):
        f = np.tanh
        for k in range(order):
            f = forward(f) if mixture >> k & 1 else mg.grad(f)
        close(f(x), want, 1e-12)


def test_tangents_of_trees_and_modules(rng):
    linear = mg.nn.Linear(3, 2, dtype=np.float64, rng=rng)
    x = rng.normal(size=(5, 3))
    tangent = {"bias": rng.normal(size=2), "weight": rng.normal(size=(2, 3))}
    with mg.no_grad():  # or the results would stay differentiable by the parameters
        _, dy = mg.jvp(lambda m, x: (m(x), {"twice": 2 * m(x)}), (linear, x), (tangent, np.zeros((5, 3))))
    close(dy[0], x @ tangent["weight"].T + tangent["bias"])
    close(dy[1]["twice"], 2 * dy[0].data)
    assert all(p.grad is None for p in linear.parameters())


def test_a_tangent_can_be_differentiated_through_an_outer_graph(rng):
    x = mg.tensor(rng.normal(size=4), requires_grad=True)
    t = mg.tensor(rng.normal(size=4), requires_grad=True)
    _, dy = mg.jvp(scalar, (x,), (t,))
    dy.backward()
    close(t.grad, mg.grad(scalar)(x.detach()).data)
    close(x.grad, mg.hvp(scalar, (x.detach(),), (t.detach(),))[0].data, 1e-12)


def test_what_does_not_move_has_tangent_zero(rng):
    _, dy = mg.jvp(lambda x, z: (z * 2, np.float64(3.0), x), (1.0, 2.0), (1.0, 0.0))
    assert [float(t) for t in dy] == [0, 0, 1]
    _, dy = mg.jvp(lambda x: x.detach(), (np.ones(3),), (np.ones(3),))
    assert dy.shape == (3,)
    assert not dy.data.any()


@pytest.mark.parametrize(("call", "message"), [
    (lambda: mg.jvp(curve, np.ones(4), (np.ones(4),)), "xs is ndarray; a tuple"),
    (lambda: mg.jvp(curve, (np.ones(4),), (np.ones(4), np.ones(4))), "tangents: tuple of 2 parts; a tuple of 1"),
    (lambda: mg.jvp(curve, (np.ones(4),), (np.ones(3),)), r"a tangent of shape \(3,\); its argument has shape \(4,\)"),
    (lambda: mg.jvp(curve, (np.ones(4),), (np.ones(4, int),)), "a tangent of dtype int64; its argument is float64"),
    (lambda: mg.jvp(lambda d: d["a"], ({"a": 1.0},), ({"b": 1.0},)), r"\['b'\]; a dict with the keys \['a'\]"),
    (lambda: mg.hvp(scalar, np.ones(4), (np.ones(4),)), "hvp: xs is ndarray"),
    (lambda: mg.hessian(curve)(np.ones(4)), r"returned shape \(3,\); a scalar"),
    (lambda: mg.jacobian(curve, 2)(np.ones(4)), "argnums=2"),
])  # fmt: skip
def test_errors_teach(call, message):
    with pytest.raises(mg.MinigradError, match=message):
        call()


# --- checkpoint ---------------------------------------------------------------------------


def layer(x, W):
    return np.tanh(x @ W) * np.sin(x @ W)


def test_checkpoint_changes_nothing_but_memory(rng):
    x, *weights = (mg.tensor(rng.normal(size=(4, 4)), requires_grad=True) for _ in range(4))
    found = []
    for wrap in (lambda f: f, mg.checkpoint):
        h = x
        for W in weights:
            h = wrap(layer)(h, W)
        h.sum().backward()
        found.append([t.grad.data.tobytes() for t in (x, *weights)])
        for t in (x, *weights):
            t.grad = None
    assert found[0] == found[1]


def test_checkpoint_keeps_no_intermediate_value():
    made = []

    def f(x):
        h = np.exp(x)
        made.append(weakref.ref(h))
        return np.sin(h)

    y = mg.checkpoint(f)(mg.tensor(np.ones(3), requires_grad=True))
    gc.collect()
    assert [node.op.name for node in mg_stages(y)] == ["recomputed", "pick"]
    assert made[0]() is None
    y.sum().backward()
    assert len(made) == 2


def mg_stages(y):
    from minigrad.graph import stages

    return stages(y._node)


def test_checkpoint_sees_closed_over_tensors_that_depend_on_each_other(rng):
    x = mg.tensor(rng.normal(size=3), requires_grad=True)
    want = mg.grad(lambda x: np.sum(np.exp(x) * np.sin(np.exp(x)) * x))(x.detach())
    e = np.exp(x)
    mg.checkpoint(lambda: np.sum(e * np.sin(e) * x))().backward()  # e is made from x, outside
    close(x.grad, want.data)


def test_checkpoint_draws_the_same_numbers_again():
    x = mg.tensor(np.ones(50), requires_grad=True)
    rng = np.random.default_rng(3)
    y = mg.checkpoint(lambda x: mg.dropout(x * 1.0, 0.5, rng=rng))(x)
    after = rng.bit_generator.state
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, y.data)  # the mask of the first time
    assert rng.bit_generator.state == after


def test_checkpoint_at_second_order_and_in_other_transforms(rng):
    x, v = rng.normal(size=(2, 4))
    close(mg.hvp(mg.checkpoint(scalar), (x,), (v,))[0], mg.hvp(scalar, (x,), (v,))[0].data, 1e-12)
    close(mg.jvp(mg.checkpoint(curve), (x,), (v,))[1], mg.jvp(curve, (x,), (v,))[1].data, 1e-12)
    close(mg.jacobian(mg.checkpoint(curve))(x), mg.jacobian(curve)(x).data)


def test_checkpoint_refuses_a_parameter_that_changed(rng):
    W = mg.nn.Parameter(rng.normal(size=(4, 4)))
    y = mg.checkpoint(lambda: layer(np.ones((2, 4)), W))()
    W.data = W.data * 2
    with pytest.raises(mg.MinigradError, match="same tensors as the first time"):
        y.sum().backward()


def test_checkpoint_without_a_gradient_is_the_function(rng):
    assert type(mg.checkpoint(layer)(np.ones((2, 4)), np.ones((4, 4)))) is np.ndarray
    with mg.no_grad():
        assert not mg.checkpoint(np.exp)(mg.tensor(1.0, requires_grad=True)).requires_grad
    assert mg.checkpoint(lambda: {"a": (1, "text")})() == {"a": (1, "text")}
    assert OPS["recomputed"].variadic
