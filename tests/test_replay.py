"""The design proof: what `recording` puts on its tape, reverse pass included, is a program.
An interpreter of thirty lines runs it on other inputs, to the same bits as eager."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.mode import recording

lstm = pytest.importorskip("models.lstm")


class Replay:
    """Run the recorded nodes in their order, with other arrays in place of some tensors.

    A stage reads a node's new value if the node was replaced or computed on the tape, and
    otherwise what it read when it was recorded.
    """

    def __init__(self, tape, arguments, outputs):
        self.tape, self.arguments, self.outputs = tape, arguments, outputs

    def __call__(self, *arrays):
        new = dict(zip(self.arguments, arrays, strict=True))
        for node in self.tape:
            if node in new:  # an argument that the transform made into a variable
                continue
            inputs = [raw if parent is None else new.get(parent, raw)
                      for parent, raw in zip(node.inputs, node.values, strict=True)]  # fmt: skip
            new[node] = node.op.forward(*inputs, **node.params)
        return [np.asarray(new.get(node, node.value)) for node in self.outputs]


def record(f, *tensors):
    """f(*tensors), a list of tensors, as a Replay; and what it gave."""
    with recording() as tape:
        out = f(*tensors)
    return Replay(tape, [t._node for t in tensors], [t._node for t in out]), [t.data for t in out]


def assert_same_bits(got, want):
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()


NAMES = [f"{kind}_{gate}" for kind in "Wb" for gate in "fuco"]


def lstm_step(rate=0.0, rng=None, dtype=np.float64):
    """Arrays -> [loss, gradients...] of one LSTMCell, as a function of ten tensors."""
    cell = lstm.LSTMCell(2, 3, dtype=dtype, rng=np.random.default_rng(0))

    def loss(parameters, x, a):
        for name, p in zip(NAMES, parameters, strict=True):
            setattr(cell, name, p)
        if rate:
            x = mg.dropout(x, rate, rng=rng)
        a, c = cell(x, (a, a * 0.5))
        return mg.sum(a * a) + mg.mean(mg.abs(c)) + mg.sum(mg.where(c > 0, c, 0.5 * c))

    def step(x, a, *parameters):
        value, (gp, gx) = mg.value_and_grad(loss, argnums=(0, 1))(list(parameters), x, a)
        return [value, *gp, gx]

    arrays = [cell_array.data for cell_array in (getattr(cell, n) for n in NAMES)]
    return step, arrays


def inputs(seed, parameters, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=s).astype(dtype) for s in ((2, 4), (3, 4), *(p.shape for p in parameters))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lstm_step_is_replayed_to_the_same_bits(dtype):
    step, parameters = lstm_step(dtype=dtype)
    first = inputs(1, parameters, dtype)
    tracked = [mg.tensor(v, requires_grad=True) for v in first]
    replay, recorded = record(step, *tracked)
    eager = [t.data for t in step(*map(mg.tensor, first))]
    assert_same_bits(recorded, eager)
    assert_same_bits(replay(*first), eager)
    for seed in (2, 3):
        other = inputs(seed, parameters, dtype)
        want = [t.data for t in step(*map(mg.tensor, other))]
        assert any(a.tobytes() != b.tobytes() for a, b in zip(want, eager, strict=True))
        assert_same_bits(replay(*other), want)


def test_masks_are_live():
    """Which element is the largest, on which side of 0, equal to what: asked anew."""

    def f(x):
        y = mg.max(x) + mg.sum(mg.maximum(x, 0.3)) + mg.sum(mg.where(x > 0, mg.sqrt(mg.abs(x)), x * x))
        g = mg.grad(lambda x: mg.sum(mg.relu(x) ** 2) + mg.max(x) * 3 + mg.sum(x[mg.argmax(x)] * x))(x)
        return [y, g]

    x = mg.tensor([0.5, -1.0, 2.0, 2.0], requires_grad=True)
    replay, _ = record(f, x)
    for array in ([0.5, -1.0, 2.0, 2.0], [3.0, 1.0, -2.0, 0.3], [-1.0, -1.0, -1.0, -2.0]):
        want = [t.data for t in f(mg.tensor(array))]
        assert_same_bits(replay(np.array(array)), want)


def test_dropout_draws_anew_as_eager_does():
    rng = np.random.default_rng(7)
    step, parameters = lstm_step(rate=0.5, rng=rng)
    first = inputs(1, parameters)
    start = rng.bit_generator.state
    replay, recorded = record(step, *(mg.tensor(v, requires_grad=True) for v in first))
    again = [replay(*first) for _ in range(3)]
    rng.bit_generator.state = start
    eager = [[t.data for t in step(*map(mg.tensor, first))] for _ in range(4)]
    assert_same_bits(recorded, eager[0])
    for got, want in zip(again, eager[1:], strict=True):
        assert_same_bits(got, want)
    assert len({want[0].tobytes() for want in eager}) > 1


def test_a_reverse_pass_of_a_reverse_pass_is_replayed():
    def f(x):
        return [mg.grad(lambda x: mg.sum(mg.grad(lambda x: mg.sum(mg.tanh(x @ x)))(x) ** 2))(x)]

    rng = np.random.default_rng(0)
    replay, _ = record(f, mg.tensor(rng.normal(size=(3, 3)), requires_grad=True))
    other = rng.normal(size=(3, 3))
    assert_same_bits(replay(other), [t.data for t in f(mg.tensor(other))])


def test_several_outputs_and_index_arrays_are_replayed():
    def f(x):
        a, b = mg.split(x, 2)
        w, v = mg.linalg.eigh(a @ a.mT)
        order = mg.argmax(b, axis=0)
        g = mg.grad(lambda x: mg.sum(mg.concat(mg.split(x, 2)[::-1])[order] * x[0]))(x)
        return [w, v, mg.take(b, order, axis=0), g]

    rng = np.random.default_rng(0)
    replay, _ = record(f, mg.tensor(rng.normal(size=(4, 4)), requires_grad=True))
    other = rng.normal(size=(4, 4))
    assert_same_bits(replay(other), [t.data for t in f(mg.tensor(other))])


def test_a_branch_on_a_value_is_refused_while_recording():
    x = mg.tensor(1.0, requires_grad=True)
    for read in (bool, float, int):
        with pytest.raises(mg.errors.ModeError, match=r"a branch on a traced value.*mg\.where"), recording():
            read(x)
