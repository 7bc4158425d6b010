"""What a reviewer found, once: each of these was wrong."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import ArgumentError, GraphError, MinigradError, ModeError
from minigrad.mode import recorded_mode
from models import LSTMCell, lstm_manual


def leaf(x, **kw):
    return mg.tensor(x, requires_grad=True, **kw)


def test_a_read_only_constant_is_copied():
    base = np.ones(3)
    view = base.view()
    base.setflags(write=False)
    x = leaf([1.0, 2.0, 3.0])
    y = (x * base).sum()
    view[:] = 100
    y.backward()
    assert x.grad.numpy().tolist() == [1, 1, 1]


def test_np_size_takes_an_axis():
    assert np.size(leaf(np.ones((2, 3))), 0) == 2


def test_aux_leaves_the_graph():
    (_, state), _ = mg.value_and_grad(lambda w: ((w * w).sum(), {"s": w * 2}), has_aux=True)(np.ones(2))
    assert not state["s"].requires_grad


def test_an_array_refuses_a_traced_scalar():
    array = np.zeros(2)
    with pytest.raises(ValueError, match="array element") as caught:  # NumPy's words, from ours
        array[0] = leaf(1.0)
    assert isinstance(caught.value.__cause__, GraphError)
    assert "array[...] = t" in str(caught.value.__cause__)
    assert not array.any()
    values = {"loss": float(leaf(2.0))}  # a user may still ask for the number
    values["again"] = float(leaf(2.0))
    assert values == {"loss": 2.0, "again": 2.0}


def test_blocks_left_out_of_order_leave_nothing_behind():
    outer, inner = mg.no_grad(), mg.debug()
    outer.__enter__()
    inner.__enter__()
    for block in (outer, inner):
        with pytest.raises(ModeError):
            block.__exit__(None, None, None)
    assert recorded_mode()


def test_a_coroutine_is_covered_at_each_await():
    @mg.no_grad()
    async def f(x):
        await asyncio.sleep(0)
        return (x * 2).requires_grad

    assert asyncio.run(f(leaf(1.0))) is False
    assert recorded_mode()


def test_a_seed_may_be_a_number():
    assert LSTMCell(2, 2, rng=0).W_f[0, 0].item() == LSTMCell(2, 2, rng=0).W_f[0, 0].item()


def test_an_op_without_rules_stops_a_gradient_loudly():
    twice = mg.define("review_twice", lambda x, /: x * 2)
    with pytest.raises(GraphError, match="no rules"):
        twice(leaf([1.0]))
    assert twice([1.0]).item() == 2
    again = mg.define("review_twice", lambda x, /: x * 3, lambda g, y, x: g * 3)  # a cell run again
    assert again([1.0]).item() == 3


def test_half_floats_average_many():
    g = mg.grad(mg.mean)(np.ones(100_000, np.float16))
    assert abs(float(g[0]) - 1e-5) < 1e-6


@pytest.mark.parametrize("index", [np.frombuffer(bytes(range(64)), np.uint8), 1])
def test_bytes_and_numbers_are_indices(index):
    table = mg.nn.Embedding(256, 4)
    table(index).sum().backward()
    assert table.weight.grad.numpy().sum() == 4 * np.size(index)


def test_big_endian_data_become_native():
    x = leaf(np.array([1.0, 2.0], ">f8"))
    (x * x).sum().backward()
    assert x.dtype == x.grad.dtype == np.float64
    assert x.dtype.isnative


@pytest.mark.parametrize("call", [
    lambda: mg.linalg.eigh(np.array([[1, 1j], [-1j, 2]])),
    lambda: mg.dropout(np.ones(4, int), 0.5, rng=np.random.default_rng(0)),
    lambda: mg.grad(lambda a, b: (a * b).sum(), (0, 0))(np.ones(2), np.ones(2)),
    lambda: mg.grad(lambda v: (v > 0).sum())(np.ones(2)),
    lambda: mg.split(leaf(np.ones(4)), [3, 1]),
    lambda: mg.split(leaf(np.ones(4)), mg.tensor([1, 2])),
    lambda: mg.tensor([1.0], dtype=str),
    lambda: mg.tensor([1 + 2j], dtype=float),
    lambda: mg.tensor(np.uint8([1])) + 300,
    lambda: mg.tensor(1.0, name=3),
    lambda: leaf(np.ones((2, 2))).sum(0, axis=1),
    lambda: leaf(np.ones(6)).reshape((6,), shape=(3, 2)),
    lambda: mg.optim.SGD({"w": leaf(1.0)}),
    lambda: mg.optim.SGD([mg.tensor(1.0)]),
    lambda: mg.optim.SGD([leaf(1.0)] * 2),
    lambda: mg.no_grad(print),
])
def test_wrong_calls_teach(call):
    with pytest.raises(MinigradError):
        call()


def test_none_and_words_are_no_operands_of_equality():
    x = leaf([1.0, 2.0])
    assert (x == None) is False  # noqa: E711
    assert x != "a"
    assert np.sum(a=x).item() == 3


def test_permute_dims_is_the_standards_and_transpose_numpys():
    x = leaf(np.ones((2, 3, 4)))
    assert x.T.shape == np.transpose(x).shape == (4, 3, 2)
    with pytest.raises(MinigradError):
        mg.permute_dims(x)


def test_the_manual_form_refuses_what_would_broadcast_and_reads_ascii():
    rng = np.random.default_rng(0)
    params = {n: rng.normal(size=(4, 7) if n[0] == "W" else 4)
              for n in (*lstm_manual.WEIGHTS, *lstm_manual.BIASES)}
    x, state = rng.normal(size=(3, 2, 3)), np.ones((2, 4))
    for forward, backward in ((lstm_manual.forward, lstm_manual.backward),
                              (lstm_manual.forward_batched, lstm_manual.backward_batched)):
        with pytest.raises(ValueError, match="a0"):
            forward(params, x, state[:1], state)
        with pytest.raises(ValueError, match="d_outputs"):
            backward(forward(params, x, state, state), np.ones((3, 2, 1)))
    cache = lstm_manual.forward(params, x, state, state)
    assert cache["Gamma_f<1>"] is cache["Γ_f<1>"]
    assert cache["c_tilde<2>"] is cache["c\u0303<2>"]


def test_a_reused_input_has_each_of_its_names():
    x, zero = mg.tensor(np.ones(2)), mg.tensor(np.zeros(3))
    cell = LSTMCell(2, 3, dtype=np.float64)
    a, c = cell(x, (zero, zero), t=1)
    a, c = cell(x, (a, c), t=2)
    from minigrad.graph import named

    assert {"x<1>", "x<2>", "a<0>", "c<0>"} <= set(named(a._node))


def test_arguments_are_checked_by_the_optimiser_with_a_name():
    with pytest.raises(ArgumentError, match="among the parameters"):
        mg.optim.Adam([np.ones(2)])


def test_no_gradient_is_lost_in_integers():
    x = mg.tensor([1.5, 2.5], requires_grad=True)
    with pytest.raises(mg.MinigradError, match=r"sum: a tensor that requires a gradient to int64.*detach"):
        mg.sum(x, dtype=np.int64)
    assert not mg.topk(x, 1).indices.requires_grad


def test_a_tuple_inside_an_index_is_an_array():
    x = mg.tensor(np.zeros((4, 4)), requires_grad=True)
    x[((0, 0, 3), (1, 1, 3))].sum().backward()
    assert (x.grad.data[0, 1], x.grad.data[3, 3]) == (2, 1)


def test_activations_let_nan_through_and_saturate_right():
    for f in (mg.hardshrink, lambda x: mg.threshold(x, threshold=1.0, value=7.0)):
        assert np.isnan(f(mg.tensor(np.nan)).item())
    assert mg.grad(mg.tanhshrink)(1e20).item() == 1
