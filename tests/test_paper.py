"""*Understanding Backpropagation as Applied to LSTM* (Kang and Seo), row by row.

What the paper describes, a test each; the test's name begins with the row's id.  Unless a row says
otherwise: float64, against another analytic form to 1e-12 of the largest entry, against central
differences of step 1e-5 to 1e-7.  Initial states are random, sizes differ, errors stand at every step.
"""

from __future__ import annotations

import inspect
import itertools
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.__main__ import main
from minigrad.errors import MinigradError
from minigrad.graph import consumers, evaluate, forks, named, stages
from minigrad.tensor import handle_of, pull
from minigrad.testing import check_vjp
from models import LSTM, LSTMCell, lstm_manual, mlp
from models.compare import Problem, lstm_of, random_problem
from models.explaining import named_lstm
from models.lstm_manual import BIASES, WEIGHTS

CONTENTS = {
    "S1": "functional stages", "S2": "weighted sum", "S3": "concatenation", "S4": "sigmoid", "S5": "tanh",
    "S6": "elementwise product", "S7": "fork: a value used twice", "S8": "convolution", "S9": "max pooling",
    "S10": "softmax", "S11": "error",
    "C1": "the chain rule", "C2": "three links", "C3": "nested functions", "C4": "in reverse", "C5": "the update",
    "C6": "Mazur's worked example",
    "L1": "∂a/∂c", "L2": "∂a/∂Γ_o", "L3": "∂c/∂Γ_f, ∂c/∂Γ_u, ∂c/∂c̃, ∂c<t+1>/∂c<t>", "L4": "∂Γ/∂sum, ∂c̃/∂sum_c",
    "L5": "∂sum/∂W, ∂sum/∂b, ∂sum/∂a<t-1>",
    "F1": "the fork at a", "F2": "the fork at c", "F3": "dError/dW_f, dW_u, dW_c", "F4": "dError/dW_o",
    "F5": "dError/db", "F6": "dError/da<t-1>", "F7": "dError/dc<t-1>", "F8": "parameters are reused, states are not",
    "F9": "block after block, from the last", "F10": "any number of blocks",
    "B1": "zero initial state", "B2": "trained initial state", "B3": "noisy initial state", "B4": "the last block",
    "B5": "many to one", "B6": "one to many", "B7": "many to many", "B8": "homogeneous; no error, no gradient",
    "B9": "three principles",
    # what is wrong or easily misread in the print, where it is cheap to show
    "E1": "the fork at c as printed", "E2": "a row without its branch", "E5": "c<t> for c<t-1>", "E6": "Error<t+1>",
    "E7": "dot for ⊙", "E8": "the outer product", "E9": "the first block too", "E12": "transposes",
    "E14": "Mazur's second error",
}  # fmt: skip

PARAMETERS = (*WEIGHTS, *BIASES)
N_A, N_X, B, T = 4, 3, 2, 4
GATES = {"f": "Γ_f", "u": "Γ_u", "c": "c\u0303", "o": "Γ_o"}


def test_every_row_has_a_test():
    """The table of contents above and the names below say the same."""
    ids = [name.removeprefix("test_").partition("_")[0] for name in globals() if name.startswith("test_")]
    assert set(CONTENTS) <= set(ids), f"no test for {sorted(set(CONTENTS) - set(ids))}"
    assert [row for row in dict.fromkeys(ids) if row in CONTENTS] == list(CONTENTS), "in the paper's order"


# --- what the tests share -------------------------------------------------------------------------


def agree(got, want, name="", tolerance=1e-12):
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, name
    assert np.abs(got - want).max(initial=0) <= tolerance * max(1.0, np.abs(want).max(initial=0)), name


def central(f, x, h=1e-5):
    """The gradient of a scalar function by central differences."""
    gradient = np.empty(x.shape)
    for at in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[at] = h
        gradient[at] = (f(x + step) - f(x - step)) / (2 * h)
    return gradient


def differences(error, leaf, h=1e-5):
    """The same for a leaf of a recorded graph."""
    return central(lambda value: float(evaluate(error._node, {leaf._node: value})), leaf.numpy(), h)


@dataclass
class Lstm:
    """One LSTM, recorded under the paper's names and derived by hand."""

    drawn: Problem
    mask: np.ndarray
    error: mg.Tensor = field(init=False)

    def __post_init__(self):
        outputs, self.leaves = lstm_of(self.drawn)
        self.error = (0.5 * self.mask * mg.square(self.drawn.target - outputs)).sum()
        self.cache = lstm_manual.forward(self.drawn.params, self.drawn.x, self.drawn.a0, self.drawn.c0)
        self.d_outputs = self.mask * (self.cache["outputs"] - self.drawn.target)
        self.hand = lstm_manual.backward(self.cache, self.d_outputs)

    def gradients(self):
        """By the engine: parameters, initial state, inputs."""
        for leaf in self.leaves.values():
            leaf.grad = None
        self.error.backward(retain_graph=True)
        return {name: leaf.grad.numpy() for name, leaf in self.leaves.items()}

    def assert_right(self, tolerance=1e-12):
        """Three witnesses: the engine, the derivation, central differences or the complex step."""
        gradients = self.gradients()
        rng = np.random.default_rng(3)
        for name, leaf in self.leaves.items():
            agree(gradients[name], self.hand[name], name, tolerance)
            v = rng.normal(size=leaf.shape)
            step = evaluate(self.error._node, {leaf._node: leaf.numpy() + 1e-30j * v}).imag / 1e-30
            assert abs(step - np.vdot(self.hand[name], v)) <= tolerance * max(1, np.abs(self.hand[name] * v).sum()), name


def lstm(T=T, B=B, mask=None, zero_state=False, seed=0):
    drawn = random_problem(T, B, N_X, N_A, seed)
    if zero_state:
        drawn = drawn._replace(a0=0 * drawn.a0, c0=0 * drawn.c0)
    return Lstm(drawn, np.ones((T, 1, 1)) if mask is None else np.reshape(mask, (T, 1, 1)).astype(float))


@pytest.fixture(scope="module")
def ours():
    return lstm()


@pytest.fixture(scope="module")
def sequence():
    """A single sequence in vectors, T blocks named, an error at each, and its derivation."""
    rng = np.random.default_rng(5)
    cell = LSTMCell(N_X, N_A, dtype=np.float64, rng=rng)
    a, c = (mg.tensor(rng.normal(size=N_A), requires_grad=True) for _ in range(2))
    error = 0
    for t in range(1, T + 1):
        a, c = cell(rng.normal(size=N_X), (a, c), t=t)
        error = error + mg.squared_error(a, rng.normal(size=N_A)).named(f"Error<{t}>")
    return mg.explain(error), named(error._node)


# --- functional stages ----------------------------------------------------------------------------------


def test_S1_functional_stages_have_a_name_inputs_an_output_and_a_local_derivative():
    rng = np.random.default_rng(1)
    cell = LSTMCell(N_X, N_A, dtype=np.float64, rng=rng)
    state = tuple(mg.tensor(rng.normal(size=N_A), requires_grad=True) for _ in range(2))
    a, _ = cell(rng.normal(size=N_X), state, t=1)
    error = (0.5 * mg.square(rng.normal(size=N_A) - a)).sum()
    listed = stages(error._node)
    gate = ["matmul", "add"]
    assert [node.op.name for node in listed] == [
        "concat", *gate * 4, "sigmoid", "sigmoid", "tanh", "sigmoid", "multiply", "multiply", "add", "tanh", "multiply",
        "subtract", "square", "multiply", "sum",
    ]  # fmt: skip
    assert len(listed) == 18 + 4

    used = []
    pull([error], [None], wanted={v._node for v in state}, observe=lambda consumer, i, parent, c: used.append(consumer))
    assert list(dict.fromkeys(used)) == listed[::-1]

    for node in listed:
        assert node.name or node.op.name
        assert node.inputs
        for i, parent in enumerate(node.inputs):  # <g, J u> by the rule and by a complex step through the stage
            if parent is None or not parent.requires_grad:
                continue
            g, u = rng.normal(size=np.shape(node.value)), rng.normal(size=np.shape(parent.value))
            moved = list(node.values)
            moved[i] = np.asarray(moved[i]) + 1e-30j * u
            step = np.sum(g * np.imag(node.op.forward(*moved, **node.params))) / 1e-30
            cotangent = node.op.cotangent(i, g, node.value, list(node.values), node.params)
            assert np.sum(np.asarray(cotangent) * u) == pytest.approx(step, rel=1e-13, abs=1e-13), node.op.name


def test_S2_the_weighted_sum_is_one_product_or_two(ours):
    nodes, rng = named(ours.error._node), np.random.default_rng(2)
    W_f, b = ours.drawn.params["W_f"], ours.drawn.params["b_f"][:, None]
    for g in "fuco":
        a, x, W = nodes["a<1>"].value, nodes["x<2>"].value, ours.drawn.params[f"W_{g}"]
        want = W @ np.concatenate([a, x]) + ours.drawn.params[f"b_{g}"][:, None]
        agree(nodes[f"sum_{g}<2>"].value, want, tolerance=1e-15)
        agree(W[:, :N_A] @ a + W[:, N_A:] @ x + ours.drawn.params[f"b_{g}"][:, None], want, tolerance=1e-14)
    seed = rng.normal(size=(N_A, B))
    together = mg.grad(lambda W: ((W @ mg.concat([a, x]) + b) * seed).sum())(W_f).numpy()
    for part, value in ((slice(None, N_A), a), (slice(N_A, None), x)):
        alone = mg.grad(lambda W, value=value: ((W @ value + b) * seed).sum())(W_f[:, part])
        agree(alone.numpy(), together[:, part])


def test_S3_concatenation_splits_its_adjoint(ours):
    rng = np.random.default_rng(3)
    a, x, g = rng.normal(size=(N_A, B)), rng.normal(size=(N_X, B)), rng.normal(size=(N_A + N_X, B))
    z, back = mg.vjp(lambda a, x: mg.concat([a, x]), a, x)
    np.testing.assert_array_equal(z.numpy(), np.concatenate([a, x]))
    d_a, d_x = back(g)
    np.testing.assert_array_equal(d_a.numpy(), g[:N_A])
    np.testing.assert_array_equal(d_x.numpy(), g[N_A:])
    hand = ours.hand
    np.testing.assert_array_equal(np.concatenate([hand["a<1> via z<2>"], hand["x<2>"]]), hand["z<2>"])


def test_S4_the_sigmoid_is_differentiated_in_its_output():
    x = np.linspace(-20, 20, 101)
    y = mg.sigmoid(mg.tensor(x)).numpy()
    slope = np.diagonal(mg.jacobian(mg.sigmoid)(x).numpy())
    agree(slope, y * (1 - y), tolerance=1e-15)
    agree(slope, central(lambda x: float(np.sum(1 / (1 + np.exp(-x)))), x), tolerance=1e-7)
    with np.errstate(all="raise", under="ignore"):
        for dtype in (np.float32, np.float64):
            ends = mg.tensor(np.array([-1e4, -1000, 1000, 1e4], dtype), requires_grad=True)
            y = mg.sigmoid(ends)
            y.sum().backward()
            assert y.numpy().tolist() == [0, 0, 1, 1]
            assert ends.grad.numpy().tolist() == [0, 0, 0, 0]


def test_S5_tanh_is_differentiated_in_its_output():
    x = np.linspace(-5, 5, 101)
    slope = np.diagonal(mg.jacobian(mg.tanh)(x).numpy())
    agree(slope, 1 - np.tanh(x) ** 2, tolerance=1e-15)
    agree(slope, np.tanh(x + 1e-30j).imag / 1e-30, tolerance=1e-15)


def test_S6_the_product_is_elementwise(ours):
    """The paper calls it a dot product; `numpy.dot` of two vectors is a number."""
    value = {name: node.value for name, node in named(ours.error._node).items()}
    for t in (1, 2):
        c = value[f"c<{t - 1}>"] * value[f"Γ_f<{t}>"] + value[f"Γ_u<{t}>"] * value[f"c\u0303<{t}>"]
        agree(value[f"c<{t}>"], c, tolerance=1e-15)
        assert c.shape == (N_A, B)
    one = value["c<0>"][:, 0], value["Γ_f<1>"][:, 0]
    assert np.dot(*one).shape == ()
    d_c, d_Γ = mg.vjp(lambda c, Γ: c * Γ, *one)[1](np.arange(1.0, 5.0))
    agree(d_c.numpy(), np.arange(1.0, 5.0) * one[1], tolerance=0)
    agree(d_Γ.numpy(), np.arange(1.0, 5.0) * one[0], tolerance=0)


def test_S7_at_a_fork_the_branches_add_up(ours):
    x = mg.tensor([3.0, -2.0], requires_grad=True)
    assert mg.grad(lambda x: (x * x).sum())(x).numpy().tolist() == [6, -4]
    assert mg.grad(lambda x: (x + x).sum())(x).numpy().tolist() == [2, 2]
    assert mg.grad(lambda x: (x * x + x + x * x).sum())(x).numpy().tolist() == [13, -7]
    error, cell = named_lstm(3, N_A, N_X, B)
    branches = {"c<2>": ["c<3>", "tanh_c<2>"], "a<2>": ["z<3>", "Error<2>"],
                "z<2>": ["sum_o<2>", "sum_c<2>", "sum_u<2>", "sum_f<2>"],
                cell.W_u: ["sum_u<3>", "sum_u<2>", "sum_u<1>"]}  # fmt: skip
    books = {}
    for place, via in branches.items():
        books[place] = mg.ledger(error, place)
        assert [e.via for e in books[place]] == via
    nodes = named(error._node)
    assert {nodes[name] for name in ("c<2>", "a<2>", "z<2>")} <= set(forks(error._node))
    tensors = {place: place if isinstance(place, mg.Tensor) else None for place in branches}
    error.backward()
    for place, book in books.items():
        total = book[0].array
        for entry in book[1:]:
            total = total + entry.array
        np.testing.assert_array_equal(total, book.gradient)
        if tensors[place] is not None:
            np.testing.assert_array_equal(total, place.grad.numpy())


def test_S8_convolution_sums_over_a_patch():
    rng = np.random.default_rng(8)
    image, patch = np.arange(16.0).reshape(1, 1, 4, 4), np.array([[1.0, 0, -1]] * 3)[None, None]
    y, back = mg.vjp(lambda x, w, b: mg.conv2d(x, w, b), image, patch, np.zeros(1))
    assert y.numpy().tolist() == [[[[-6, -6], [-6, -6]]]]  # each of three rows falls by 2 over two columns
    d_x, d_w, d_b = back(np.ones((1, 1, 2, 2)))
    assert d_w.numpy().tolist() == [[[[10, 14, 18], [26, 30, 34], [42, 46, 50]]]]  # x summed where the patch lay
    assert d_b.numpy().tolist() == [4]
    assert d_x.numpy().tolist() == [[[[1, 1, -1, -1], [2, 2, -2, -2], [2, 2, -2, -2], [1, 1, -1, -1]]]]

    x, w, b = rng.normal(size=(2, 2, 5, 6)), rng.normal(size=(3, 2, 3, 2)), rng.normal(size=3)
    y, back = mg.vjp(lambda x, w, b: mg.conv2d(x, w, b), x, w, b)
    by_loops = np.empty((2, 3, 3, 5))
    for n, k, i, j in np.ndindex(by_loops.shape):
        by_loops[n, k, i, j] = np.sum(x[n, :, i : i + 3, j : j + 2] * w[k]) + b[k]
    agree(y.numpy(), by_loops)
    g = rng.normal(size=by_loops.shape)
    for k, got in enumerate(back(g)):
        def moved(value, k=k):
            given = [x, w, b]
            given[k] = value
            return float((mg.conv2d(*given) * g).sum().item())

        agree(got.numpy(), central(moved, (x, w, b)[k]), tolerance=1e-7)


def test_S9_max_pooling_sends_the_gradient_to_the_largest():
    x = np.array([[1.0, 5, 2, 0], [3, 4, 7, 1]])[None, None]
    y, back = mg.vjp(lambda x: mg.max_pool2d(x, 2), x)
    assert y.numpy().tolist() == [[[[5, 7]]]]
    assert back(np.array([[[[10.0, 20]]]]))[0].numpy().tolist() == [[[[0, 10, 0, 0], [0, 0, 20, 0]]]]
    tied = np.array([[2.0, 2, 1, 3], [0, 2, 3, 3]])[None, None]
    shares = mg.vjp(lambda x: mg.max_pool2d(x, 2), tied)[1](np.array([[[[3.0, 3]]]]))[0].numpy()
    agree(shares, np.array([[[[1.0, 1, 0, 1], [0, 1, 1, 1]]]]), tolerance=1e-15)
    page = (Path(__file__).parent.parent / "docs" / "subgradients.md").read_text(encoding="utf-8")
    assert "a reduction shares a tie evenly" in page
    rng = np.random.default_rng(9)
    apart = rng.permutation(np.arange(72.0)).reshape(2, 1, 6, 6)  # no two are closer than a step
    g = rng.normal(size=(2, 1, 3, 3))
    got = mg.grad(lambda x: (mg.max_pool2d(x, 2) * g).sum())(apart).numpy()
    agree(got, central(lambda x: float((mg.max_pool2d(x, 2) * g).sum().item()), apart), tolerance=1e-7)
    assert np.count_nonzero(got) == g.size


def test_S10_softmax_has_the_jacobian_diag_p_minus_pp():
    rng = np.random.default_rng(10)
    x = rng.normal(size=5)
    p = np.exp(x) / np.exp(x).sum()
    agree(mg.softmax(x).numpy(), p, tolerance=1e-15)
    agree(mg.jacobian(mg.softmax)(x).numpy(), np.diag(p) - np.outer(p, p), tolerance=1e-15)
    agree(mg.softmax(x + 1e3).numpy(), p)
    agree(mg.jacobian(mg.softmax)(x + 1e3).numpy(), np.diag(p) - np.outer(p, p))
    scores, labels = rng.normal(size=(3, 5)), np.array([4, 0, 2])
    want = (np.exp(scores) / np.exp(scores).sum(1, keepdims=True) - np.eye(5)[labels]) / 3
    agree(mg.grad(lambda s: mg.cross_entropy(s, labels))(scores).numpy(), want)
    agree(mg.grad(lambda s: -mg.log(mg.softmax(s, axis=1))[np.arange(3), labels].mean())(scores).numpy(), want)


def test_S11_the_error_falls_towards_the_target():
    rng = np.random.default_rng(11)
    a, target = rng.normal(size=(2, N_A))
    for error in (lambda a, t: (0.5 * mg.square(t - a)).sum(), lambda a, t: mg.squared_error(a, t).sum()):
        value = error(mg.tensor(a), mg.tensor(target)).item()
        assert value == pytest.approx(sum((t - y) ** 2 / 2 for y, t in zip(a, target, strict=True)), rel=1e-15)
        d_a, d_target = mg.grad(error, argnums=(0, 1))(a, target)
        agree(d_a.numpy(), -(target - a), tolerance=1e-15)
        agree(d_target.numpy(), target - a, tolerance=1e-15)


# --- the chain rule ------------------------------------------------------------------------------------


def test_C1_the_chain_rule_gives_its_links_and_their_product():
    x = np.linspace(-5, 5, 101)
    slope = mg.grad(lambda x: mg.sin(2 * x + 2).sum())(x).numpy()
    agree(slope, 2 * np.cos(2 * x + 2), tolerance=1e-15)

    x = mg.tensor(0.3, requires_grad=True, name="x")
    f = mg.sin((2 * x + 2).named("g")).named("f")
    (path,) = mg.explain(f).paths("x")
    assert [str(link) for link in path.links] == ["∂f/∂g = cos(g)", "∂g/∂x = 2"]
    assert [float(link.value) for link in path.links] == [pytest.approx(np.cos(2.6)), 2]
    assert float(path.product) == pytest.approx(2 * np.cos(2.6), rel=1e-15)
    text = str(path)
    for shown in ("df/dg    cos(g)", "dg/dx    2", "product"):
        assert shown in text
    assert text.splitlines()[-1].split()[-1] == f"{2 * np.cos(2.6):.4f}".replace("-", "−")


def test_C2_neighbours_cancel():
    x = mg.tensor(0.3, requires_grad=True, name="x")
    e = mg.square(mg.sin((2 * x + 2).named("g")).named("f")).named("e")
    paths = mg.explain(e).paths("x")
    (path,) = paths
    assert path.names == ("x", "g", "f", "e")
    assert [link.formula for link in path.links] == ["2 ⊙ f", "cos(g)", "2"]
    product = np.prod([float(link.value) for link in path.links])
    e.backward()
    assert product == pytest.approx(x.grad.item(), rel=1e-15)
    struck = str(paths).splitlines()[0]
    assert struck == "de/dx = de/d\u0336f\u0336 · d\u0336f\u0336/d\u0336g\u0336 · d\u0336g\u0336/dx"


def test_C3_the_links_of_the_error_are_g_and_minus_one():
    rng = np.random.default_rng(13)
    a, target = mg.tensor(rng.normal(size=N_A), requires_grad=True, name="a"), rng.normal(size=N_A)
    g = (target - a).named("g")
    f = (0.5 * mg.square(g)).named("f")
    derivation = mg.explain(f.sum())
    assert derivation.link("f", "g").formula == "g"
    assert derivation.link("g", "a").formula == "−1"
    agree(derivation.link("f", "g").value, target - a.numpy(), tolerance=1e-15)
    agree(derivation.paths("a").total, -(target - a.numpy()), tolerance=1e-15)


def test_C4_each_stage_is_visited_once_after_all_that_use_it(ours):
    seen = []
    pull([ours.error], [None], wanted={leaf._node for leaf in ours.leaves.values()},
         observe=lambda consumer, i, parent, c: seen.append(consumer))  # fmt: skip
    order = [node for node, _ in itertools.groupby(seen)]
    assert len(order) == len(set(order)) > 100
    place = {node: k for k, node in enumerate(order)}
    uses = consumers(ours.error._node)
    for node in order:
        assert all(place[consumer] < place[node] for consumer, _ in uses.get(node, ()) if consumer in place)
    assert [n.serial for n in order] == sorted((n.serial for n in order), reverse=True)


def test_C5_the_update_waits_for_the_whole_backward(ours):
    error, cell = named_lstm(3, N_A, N_X, B)
    parameters = cell.named_parameters()
    old = {name: p.numpy() for name, p in parameters.items()}
    want = {name: mg.ledger(error, name).gradient for name in parameters}
    for p in parameters.values():  # replaced in between: the recorded graph keeps what it was computed with
        p.data = p.data + 1.0
    error.backward()
    for name, p in parameters.items():
        np.testing.assert_array_equal(p.grad.numpy(), want[name])
        p.data = old[name]
    mg.optim.SGD(parameters.values(), lr=0.0).step()
    for name, p in parameters.items():
        assert p.data.tobytes() == old[name].tobytes()
    mg.optim.SGD(parameters.values(), lr=0.1).step()
    for name, p in parameters.items():
        np.testing.assert_array_equal(p.data, old[name] - 0.1 * want[name])

    def error_at(ε):
        moved = {ours.leaves[name]._node: ours.drawn.params[name] - ε * ours.hand[name] for name in PARAMETERS}
        return evaluate(ours.error._node, moved)

    squared = sum(np.sum(ours.hand[name] ** 2) for name in PARAMETERS)
    rest = [(error_at(ε) - error_at(0) + ε * squared) / ε**2 for ε in (1e-4, 1e-5)]
    assert rest[0] == pytest.approx(rest[1], rel=0.05)  # of second order
    assert error_at(1e-5) - error_at(0) == pytest.approx(-1e-5 * squared, rel=1e-3)


def test_C6_mazurs_worked_example_to_the_digit():
    model = mlp.mazur()
    assert round(mlp.error(model).item(), 9) == 0.298371109
    mlp.update(model)
    w = [*model.layers[0].weight.data.ravel(), *model.layers[1].weight.data.ravel()]
    agree(np.array(w), [0.149780716, 0.19956143, 0.24975114, 0.29950229, 0.35891648, 0.408666186, 0.511301270, 0.561370121],
          tolerance=6e-9)  # fmt: skip
    assert round(mlp.error(model).item(), 9) == 0.291027774


# --- local derivatives -----------------------------------------------------------------------------------


def diag(v):
    return np.diag(np.asarray(v))


def test_L1_a_by_c(sequence):
    derivation, nodes = sequence
    through = derivation.link("a<2>", "tanh_c<2>").jacobian() @ derivation.link("tanh_c<2>", "c<2>").jacobian()
    agree(through, diag(nodes["Γ_o<2>"].value * (1 - np.tanh(nodes["c<2>"].value) ** 2)), tolerance=1e-15)
    assert derivation.link("tanh_c<2>", "c<2>").formula == "1 − tanh_c<2>²"


def test_L2_a_by_the_output_gate(sequence):
    derivation, nodes = sequence
    link = derivation.link("a<2>", "Gamma_o<2>")
    agree(link.jacobian(), diag(np.tanh(nodes["c<2>"].value)), tolerance=1e-15)
    assert str(link) == "∂a<2>/∂Γ_o<2> = tanh_c<2>"


@pytest.mark.parametrize(("by", "is_"), [("Γ_f<3>", "c<2>"), ("Γ_u<3>", "c\u0303<3>"), ("c\u0303<3>", "Γ_u<3>"), ("c<2>", "Γ_f<3>")])
def test_L3_c_by_what_it_is_made_of(sequence, by, is_):
    derivation, nodes = sequence
    link = derivation.link("c<3>", by)
    agree(link.jacobian(), diag(nodes[is_].value), tolerance=1e-15)
    assert link.formula == is_


@pytest.mark.parametrize("g", "fuco")
def test_L4_a_gate_by_its_sum_written_in_the_output(sequence, g):
    derivation, nodes = sequence
    gate = f"{GATES[g]}<2>"
    link, y = derivation.link(gate, f"sum_{g}<2>"), nodes[gate].value
    agree(link.jacobian(), diag(1 - y**2 if g == "c" else y * (1 - y)), tolerance=1e-15)
    assert link.formula == (f"1 − {gate}²" if g == "c" else f"{gate} ⊙ (1 − {gate})")
    function = np.tanh if g == "c" else lambda s: 1 / (1 + np.exp(-s))
    agree(np.diagonal(link.jacobian()), function(nodes[f"sum_{g}<2>"].value + 1e-30j).imag / 1e-30, tolerance=1e-15)


@pytest.mark.parametrize("g", "fuco")
def test_L5_a_sum_by_weights_bias_and_previous_output(sequence, g):
    derivation, nodes = sequence
    W, z = nodes[f"W_{g}"].value, nodes["z<2>"].value
    by_W = derivation.link(f"sum_{g}<2>", f"W_{g}")
    agree(by_W.jacobian(), np.einsum("ij,k->ijk", np.eye(N_A), z), tolerance=1e-15)
    seed = np.arange(1.0, 1 + N_A)
    agree(by_W.pull(seed), np.outer(seed, z), tolerance=1e-15)
    agree(derivation.link(f"sum_{g}<2>", f"b_{g}").jacobian(), np.eye(N_A), tolerance=0)
    by_a = derivation.link(f"sum_{g}<2>", "z<2>").jacobian() @ derivation.link("z<2>", "a<1>").jacobian()
    agree(by_a, W[:, :N_A], tolerance=1e-15)
    agree(derivation.link("z<2>", "a<1>").pull(derivation.link(f"sum_{g}<2>", "z<2>").pull(seed)), W[:, :N_A].T @ seed)


# --- forks, recursion, closed formulas -------------------------------------------------------------------


def arrays(book):
    return {entry.via: entry.array for entry in book}


def test_F1_the_fork_at_a():
    drawn = lstm()
    error, _ = named_lstm(4, N_A, N_X, B)
    found = arrays(mg.ledger(error, "a<2>"))
    nodes = named(error._node)
    agree(found["Error<2>"], -(nodes["â<2>"].value - nodes["a<2>"].value))
    later = arrays(mg.ledger(sum_of(nodes, (3, 4)), "a<2>"))  # all later error
    agree(found["z<3>"], later["z<3>"])
    next_alone = arrays(mg.ledger(sum_of(nodes, (3,)), "a<2>"))
    assert np.abs(found["z<3>"] - next_alone["z<3>"]).max() > 1e-3  # E6: not the next one's alone
    hand = drawn.hand  # and what block 3 computes for a<2> is what block 2 adds
    np.testing.assert_array_equal(hand["a<2>"], drawn.d_outputs[1].T + hand["a<2> via z<3>"])
    agree(arrays(mg.ledger(drawn.error, "a<2>"))["z<3>"], hand["a<2> via z<3>"])


def sum_of(nodes, steps):
    """Error<s> summed over some steps, on the graph that there is."""
    total = 0
    for s in steps:
        total = total + handle_of(nodes[f"Error<{s}>"])
    return total


def test_F2_the_fork_at_c(ours):
    nodes, hand = named(ours.error._node), ours.hand
    found = arrays(mg.ledger(ours.error, "c<2>"))
    assert set(found) == {"tanh_c<2>", "c<3>"}
    value = {name: node.value for name, node in nodes.items()}
    agree(found["tanh_c<2>"], hand["a<2>"] * value["Γ_o<2>"] * (1 - np.tanh(value["c<2>"]) ** 2))
    agree(found["c<3>"], value["Γ_f<3>"] * hand["c<3>"])
    agree(found["tanh_c<2>"] + found["c<3>"], hand["c<2>"])
    printed = found["tanh_c<2>"] + value["Γ_f<3>"]  # E1: without δc<3>
    agree(printed - hand["c<2>"], value["Γ_f<3>"] * (1 - hand["c<3>"]))
    assert np.abs(printed - hand["c<2>"]).max() > 0.1


@pytest.mark.parametrize("name", ["W_f", "W_u", "W_c"])
def test_F3_a_weight_gets_a_row_from_each_block(ours, name):
    g = name[-1]
    rows = arrays(mg.ledger(ours.error, ours.leaves[name]))
    assert list(rows) == [f"sum_{g}<{t}>" for t in range(T, 0, -1)]
    slope = {t: ours.cache[f"{GATES[g]}<{t}>"] for t in range(1, T + 1)}
    for t in range(1, T + 1):
        other = {"f": f"c<{t - 1}>", "u": f"c\u0303<{t}>", "c": f"Γ_u<{t}>"}[g]
        y = slope[t]
        δsum = ours.hand[f"c<{t}>"] * ours.cache[other] * (1 - y**2 if g == "c" else y * (1 - y))
        agree(rows[f"sum_{g}<{t}>"], δsum @ ours.cache[f"z<{t}>"].T)
        agree(ours.hand[f"{name} at t={t}"], rows[f"sum_{g}<{t}>"])
    agree(sum(rows.values()), differences(ours.error, ours.leaves[name]), tolerance=1e-7)
    agree(sum(rows.values()), ours.hand[name])


def without(right, wrong):
    """`lstm_manual.backward` with one line changed."""
    source = inspect.getsource(lstm_manual.backward)
    assert source.count(right) == 1
    space = dict(lstm_manual.backward.__globals__)
    exec(source.replace(right, wrong), space)
    return space["backward"]


def test_F4_the_output_gates_weight_does_not_pass_through_its_own_c(ours):
    for path in lstm_manual.paths(ours.cache, ours.d_outputs, "W_o"):
        t = path.nodes[1][6:-1]
        assert path.nodes[1:4] == (f"sum_o<{t}>", f"Γ_o<{t}>", f"a<{t}>")
        assert f"c<{t}>" not in path.nodes
    rows = arrays(mg.ledger(ours.error, ours.leaves["W_o"]))
    for t in range(1, T + 1):
        Γ = ours.cache[f"Γ_o<{t}>"]
        δsum = ours.hand[f"a<{t}>"] * ours.cache[f"tanh_c<{t}>"] * Γ * (1 - Γ)
        agree(rows[f"sum_o<{t}>"], δsum @ ours.cache[f"z<{t}>"].T)
    zeroed = without("δc = c_via_tanh_c + c_via_c", "δc = (c_via_tanh_c + c_via_c) * (t != 2)")
    got = zeroed(ours.cache, ours.d_outputs)
    np.testing.assert_array_equal(got["W_o at t=2"], ours.hand["W_o at t=2"])
    np.testing.assert_array_equal(got["b_o at t=2"], ours.hand["b_o at t=2"])
    assert not got["W_f at t=2"].any()
    agree(ours.gradients()["W_o"], differences(ours.error, ours.leaves["W_o"]), tolerance=1e-7)


@pytest.mark.parametrize("name", BIASES)
def test_F5_a_bias_gets_the_adjoints_of_the_sums(ours, name):
    want = sum(ours.hand[f"sum_{name[-1]}<{t}>"].sum(axis=1) for t in range(1, T + 1))
    rows = arrays(mg.ledger(ours.error, ours.leaves[name]))
    assert list(rows) == [f"sum_{name[-1]}<{t}>" for t in range(T, 0, -1)]
    agree(sum(rows.values()), want)
    agree(want, differences(ours.error, ours.leaves[name]), tolerance=1e-7)


def test_F6_the_previous_output_reaches_every_gate(ours):
    parts = arrays(mg.ledger(ours.error, "z<3>"))
    assert set(parts) == {"sum_f<3>", "sum_u<3>", "sum_c<3>", "sum_o<3>"}
    for g in "fuco":
        agree(parts[f"sum_{g}<3>"], ours.drawn.params[f"W_{g}"].T @ ours.hand[f"sum_{g}<3>"])
        assert np.abs(parts[f"sum_{g}<3>"][:N_A]).max() > 1e-3
    agree(arrays(mg.ledger(ours.error, "a<2>"))["z<3>"], sum(parts.values())[:N_A])
    agree(ours.hand["x<3>"], sum(parts.values())[N_A:])


def test_F7_the_previous_block_is_handed_the_adjoint_of_its_c(ours):
    for t in range(2, T + 1):
        handed = ours.hand[f"c<{t}>"] * ours.cache[f"Γ_f<{t}>"]
        agree(ours.hand[f"c<{t - 1}> via c<{t}>"], handed, tolerance=0)
        agree(arrays(mg.ledger(ours.error, f"c<{t - 1}>"))[f"c<{t}>"], handed)
    agree(ours.gradients()["c<0>"].T, ours.hand["c<1>"] * ours.cache["Γ_f<1>"])


def test_F8_weights_sum_over_time_because_they_are_reused(ours):
    drawn = ours.drawn
    cells = [LSTMCell(N_X, N_A, dtype=np.float64) for _ in range(T)]
    a, c = (mg.tensor(v.T, requires_grad=True) for v in (drawn.a0, drawn.c0))
    error, outputs = 0, []
    for cell, x, target in zip(cells, drawn.x, drawn.target, strict=True):
        cell.state = drawn.params
        a, c = cell(x.T, (a, c))
        outputs.append(a)
        a.retain_grad()
        error = error + mg.squared_error(a, target.T).sum()
    error.backward()
    tied = ours.gradients()
    for name in PARAMETERS:
        untied = [getattr(cell, name).grad.numpy() for cell in cells]
        agree(sum(untied), tied[name], name)
        for t, part in enumerate(untied, 1):
            agree(part, ours.hand[f"{name} at t={t}"], name)
    for t, output in enumerate(outputs, 1):  # computed anew in each block: one adjoint each
        agree(output.grad.numpy(), ours.hand[f"a<{t}>"])


def test_F9_each_block_depends_on_the_one_after_it():
    error, cell = named_lstm(3, N_A, N_X, B)
    nodes = named(error._node)
    error.backward(retain_graph=True)
    want = {name: p.grad.numpy() for name, p in cell.named_parameters().items()}
    for order in itertools.permutations((1, 2, 3)):  # the errors in any order: the engine goes from the last block anyway
        for p in cell.parameters():
            p.grad = None
        for t in order:
            sum_of(nodes, (t,)).backward(retain_graph=True)
        for name, p in cell.named_parameters().items():
            agree(p.grad.numpy(), want[name], name)

    ours = lstm()
    ascending = without("for t in range(T, 0, -1):\n        z,", "for t in range(1, T + 1):\n        z,")
    assert np.abs(ascending(ours.cache, ours.d_outputs)["W_f"] - ours.hand["W_f"]).max() > 1e-2

    short = lstm(3)  # more blocks, without an error, change no bit of the adjoints before them
    more = Problem(short.drawn.params, np.concatenate([short.drawn.x, ours.drawn.x[:2]]), short.drawn.a0, short.drawn.c0,
                   np.concatenate([short.drawn.target, ours.drawn.target[:2]]))  # fmt: skip
    longer = Lstm(more, np.array([1.0, 1, 1, 0, 0]).reshape(5, 1, 1))
    for t, name in itertools.product((1, 2, 3), ("a", "c", "z", *(f"sum_{g}" for g in "fuco"))):
        np.testing.assert_array_equal(longer.hand[f"{name}<{t}>"], short.hand[f"{name}<{t}>"])
    changed = Lstm(short.drawn._replace(x=short.drawn.x + np.array([0.0, 0, 1]).reshape(3, 1, 1)), short.mask)
    assert np.abs(changed.hand["c<1>"] - short.hand["c<1>"]).max() > 1e-3  # a later block does


@pytest.mark.parametrize("blocks", [1, 2, 3, 10, 25, 100])
def test_F10_any_number_of_blocks(blocks):
    lstm(blocks).assert_right(1e-12)


# --- boundary values, and where errors stand -----------------------------------------------------------------


@pytest.mark.parametrize("blocks", [1, 3])
def test_B1_a_zero_state_makes_exact_zeros(blocks):
    ours = lstm(blocks, zero_state=True)
    for name in PARAMETERS:
        first = arrays(mg.ledger(ours.error, ours.leaves[name]))[f"sum_{name[-1]}<1>"]
        for row in (first, ours.hand[f"{name} at t=1"]):
            if name[-1] == "f":
                assert not row.any()
            elif name[0] == "W":
                assert not row[:, :N_A].any()
                assert row[:, N_A:].all()
            else:
                assert row.all()
    assert ours.gradients()["W_f"].any() == (blocks > 1)
    ours.assert_right()


def test_B2_the_initial_state_can_be_trained(ours):
    gradients = ours.gradients()
    for name in ("a<0>", "c<0>"):
        agree(gradients[name], differences(ours.error, ours.leaves[name]), tolerance=1e-7)
        agree(gradients[name], ours.hand[name])
        assert np.abs(gradients[name]).max() > 1e-3  # E9: the first block's is needed

    model = LSTM(N_X, N_A, initial="trained", dtype=np.float64)
    model.cells[0].state = ours.drawn.params
    shared = np.random.default_rng(2).normal(size=(2, N_A))
    model.a_0.data, model.c_0.data = (v[None] for v in shared)
    outputs, _ = model(ours.drawn.x)
    (0.5 * mg.square(ours.drawn.target - outputs)).sum().backward()
    each = Lstm(ours.drawn._replace(a0=np.tile(shared[0], (B, 1)), c0=np.tile(shared[1], (B, 1))), ours.mask)
    agree(model.a_0.grad.numpy()[0], each.hand["a<0>"].sum(axis=0))
    agree(model.c_0.grad.numpy()[0], each.hand["c<0>"].sum(axis=0))


def test_B3_the_initial_state_can_be_noisy():
    x = np.random.default_rng(3).normal(size=(3, 5, N_X))

    def outputs(noise=0.3, seed=0, training=True, initial="noisy"):
        model = LSTM(N_X, N_A, initial=initial, noise=noise, dtype=np.float64, rng=np.random.default_rng(seed))
        model.train(training)
        return model(x)[0].numpy()

    np.testing.assert_array_equal(outputs(), outputs())
    assert (outputs(seed=1) != outputs()).any()
    zeros = outputs(initial="zeros")
    np.testing.assert_array_equal(outputs(training=False), zeros)
    np.testing.assert_array_equal(outputs(noise=0.0), zeros)
    assert np.abs(outputs() - zeros).max() > 1e-2

    model = LSTM(N_X, 50, initial="noisy", noise=0.3, dtype=np.float64, rng=np.random.default_rng(0))
    for name, p in model.cells[0].named_parameters().items():  # gates that let c<0> through as it is
        p.data = np.full(p.shape, {"b_f": 1e3, "b_u": -1e3}.get(name, 0.0))
    _, (_, c) = model(np.zeros((1, 200, N_X)))
    drawn = c.numpy().ravel()
    assert drawn.std() == pytest.approx(0.3, rel=0.03)
    assert abs(drawn.mean()) < 0.01


def test_B4_after_the_last_block_there_is_nothing_or_what_is_handed_over(ours):
    error, _ = named_lstm(3, N_A, N_X, B)
    assert [e.via for e in mg.ledger(error, "a<3>")] == ["Error<3>"]
    assert [e.via for e in mg.ledger(error, "c<3>")] == ["tanh_c<3>"]
    np.testing.assert_array_equal(ours.hand[f"a<{T}>"], ours.d_outputs[-1].T)
    np.testing.assert_array_equal(ours.hand[f"c<{T}>"], ours.hand[f"c<{T}> via tanh_c<{T}>"])

    whole = lstm(10)
    drawn = whole.drawn
    late = drawn._replace(x=drawn.x[5:], a0=whole.cache["a<5>"].T, c0=whole.cache["c<5>"].T, target=drawn.target[5:])
    late = Lstm(late, np.ones((5, 1, 1)))
    handed = late.gradients()["a<0>"], late.gradients()["c<0>"]
    model = LSTM(N_X, N_A, dtype=np.float64)
    model.cells[0].state = drawn.params
    outputs, (a_5, c_5) = model(drawn.x[:5], (drawn.a0, drawn.c0))
    own = (0.5 * mg.square(drawn.target[:5] - outputs)).sum()
    (own + (a_5 * handed[0]).sum() + (c_5 * handed[1]).sum()).backward()
    early = lstm_manual.backward(lstm_manual.forward(drawn.params, drawn.x[:5], drawn.a0, drawn.c0),
                                 whole.d_outputs[:5], handed)  # fmt: skip
    chunked = lstm_manual.chunked(whole.cache, whole.d_outputs, length=5)
    for name, p in model.cells[0].named_parameters().items():
        agree(p.grad.numpy() + late.gradients()[name], whole.hand[name], name)
        agree(early[name] + late.hand[name], whole.hand[name], name)
        agree(chunked[name], whole.hand[name], name)


def test_B5_many_to_one():
    ours = lstm(mask=[0, 0, 0, 1])
    for t in range(1, T):
        assert not ours.d_outputs[t - 1].any()
        np.testing.assert_array_equal(ours.hand[f"a<{t}>"], ours.hand[f"a<{t}> via z<{t + 1}>"])
    assert ours.hand["a<1>"].any()
    ours.assert_right()
    agree(ours.gradients()["W_f"], differences(ours.error, ours.leaves["W_f"]), tolerance=1e-7)


def one_to_many(feed_back):
    """A cell as wide as its input, an error at each of T blocks, and its derivation by hand."""
    rng = np.random.default_rng(6)
    cell = LSTMCell(N_A, N_A, dtype=np.float64, rng=rng)
    first, targets = rng.normal(size=(N_A, B)), rng.normal(size=(T, N_A, B))
    a, c = start = tuple(mg.tensor(rng.normal(size=(N_A, B)), requires_grad=True) for _ in range(2))
    error, x, blocks, own = 0, mg.tensor(first), [], []
    params = {name: p.numpy() for name, p in cell.named_parameters().items()}
    for target in targets:
        blocks.append(lstm_manual.forward(params, x.numpy().T[None], a.numpy().T, c.numpy().T))
        a, c = cell(x, (a, c))
        error = error + mg.squared_error(a, target).sum()
        own.append((a.numpy() - target).T)
        x = a if feed_back else mg.tensor(np.zeros((N_A, B)))
    grads, later = dict.fromkeys(PARAMETERS, 0), None
    for block, d in zip(blocks[::-1], own[::-1], strict=True):
        back = lstm_manual.backward(block, d[None], later)
        later = back["a<0>"] + (back["x"][0] if feed_back else 0), back["c<0>"]
        grads = {name: grads[name] + back[name] for name in PARAMETERS}
    # the first input is given, and no output
    return cell, start, error, {**grads, "a<0>": back["a<0>"].T, "c<0>": back["c<0>"].T}


@pytest.mark.parametrize("feed_back", [False, True], ids=["zeros after", "fed back"])
def test_B6_one_to_many(feed_back):
    cell, start, error, hand = one_to_many(feed_back)
    leaves = {**cell.named_parameters(), "a<0>": start[0], "c<0>": start[1]}
    for name in ("W_f", "W_o", "b_c", "a<0>"):
        agree(differences(error, leaves[name]), hand[name], name, tolerance=1e-7)
    error.backward()
    for name, leaf in leaves.items():
        agree(leaf.grad.numpy(), hand[name], name)


def test_B7_errors_where_a_mask_has_them():
    rng = np.random.default_rng(7)
    both = rng.permutation(np.repeat([1, 2], T // 2))
    one, other = (lstm(mask=both == k) for k in (1, 2))
    together = lstm()
    for masked in (one, other):
        masked.assert_right()
    for name, gradient in together.gradients().items():
        agree(one.gradients()[name] + other.gradients()[name], gradient, name)
        agree(one.hand[name] + other.hand[name], gradient, name)


def test_B8_twice_the_error_is_twice_the_gradient_and_no_error_none(ours):
    twice = Lstm(ours.drawn, 2 * ours.mask)
    for name, gradient in ours.gradients().items():
        np.testing.assert_array_equal(twice.gradients()[name], 2 * gradient)
        np.testing.assert_array_equal(twice.hand[name], 2 * ours.hand[name])
    perfect = Lstm(ours.drawn._replace(target=ours.cache["outputs"]), ours.mask)
    outputs, leaves = lstm_of(perfect.drawn)
    (0.5 * mg.square(outputs.numpy() - outputs)).sum().backward()
    assert not any(leaf.grad.numpy().any() for leaf in leaves.values())
    assert not any(gradient.any() for gradient in lstm_manual.backward(ours.cache, 0 * ours.d_outputs).values())
    printed, doubled = (lstm_manual.document_literal(ours.cache, k * ours.d_outputs)["W_f"] for k in (0, 2))
    assert np.abs(printed).max() > 0.01  # E1 fails both
    assert np.abs(doubled - 2 * lstm_manual.document_literal(ours.cache, ours.d_outputs)["W_f"]).max() > 0.01


def test_B9_principles_are_three(capsys):
    assert main(["principles"]) == 0
    text = capsys.readouterr().out
    assert [line[:2] for line in text.splitlines() if line[:1].isdigit()] == ["1.", "2.", "3."]
    for word in ("functional stages", "local derivative", "chain rule", "cancel", "reverse", "fork", "sum"):
        assert word in text
    examples = [line.strip() for line in text.splitlines() if line.startswith("     python -m minigrad explain")]
    assert len(examples) == 3
    for line in examples:  # what it says to run can be run
        words = shlex.split(line.partition("  ")[0])
        assert main(words[3:]) == 0
    assert "the sum of 2 products" in capsys.readouterr().out


# --- what is wrong in the print, or easily misread ----------------------------------------------------------


def test_E1_the_printed_fork_gives_a_gradient_where_there_is_no_error():
    """By hand: Γ = ½, c̃ = 0.8, so c = 0.4 and 0.6.  All true gradients are 0."""
    params = {name: np.zeros((1, 2)) for name in WEIGHTS} | {name: np.zeros(1) for name in BIASES}
    params["b_c"] = np.arctanh([0.8])
    cache = lstm_manual.forward(params, np.ones((2, 1, 1)), np.zeros((1, 1)), np.zeros((1, 1)))
    assert [cache["c<1>"].item(), cache["c<2>"].item()] == pytest.approx([0.4, 0.6])
    printed = lstm_manual.document_literal(cache, np.zeros((2, 1, 1)))
    assert printed["b_u"].item() == pytest.approx(0.1, rel=1e-14)  # ½ · 0.8 · ¼
    assert printed["b_c"].item() == pytest.approx(0.09, rel=1e-14)  # ½ · ½ · 0.36
    assert not any(gradient.any() for gradient in lstm_manual.backward(cache, np.zeros((2, 1, 1))).values())


def test_E1_the_printed_fork_fails_the_check_and_is_blamed(ours):
    drawn = random_problem(3, 1, N_X, 2)
    given = [drawn.params[name] for name in PARAMETERS]

    def outputs(*given):
        return lstm_manual.forward(dict(zip(PARAMETERS, given, strict=True)), drawn.x, drawn.a0, drawn.c0)["outputs"]

    def vjp_of(derivation):
        def vjp(v, *given):
            cache = lstm_manual.forward(dict(zip(PARAMETERS, given, strict=True)), drawn.x, drawn.a0, drawn.c0)
            grads = derivation(cache, v)
            return [grads[name] for name in PARAMETERS]

        return vjp

    forms = (lstm_manual.per_block, lstm_manual.per_path, lambda cache, v: lstm_manual.chunked(cache, v, length=2))
    for right in forms:
        check_vjp(outputs, vjp_of(right), *given, names=PARAMETERS)
    with pytest.raises(MinigradError, match="W_"):
        check_vjp(outputs, vjp_of(lstm_manual.document_literal), *given, names=PARAMETERS)
    printed = lstm_manual.document_literal(ours.cache, ours.d_outputs)
    verdict = mg.blame(ours.error, {"W_f": printed["W_f"]})
    assert not verdict.ok
    assert {c.stage for c in verdict.culprits} == {"multiply in c<t+1>"}
    assert "δc<t+1> must multiply it" in str(verdict)


def blamed(ours, right, wrong):
    """How far a slip puts the parameters' gradients off, and whom `mg.blame` charges with it."""
    grads = without(right, wrong)(ours.cache, ours.d_outputs)
    away = max(np.linalg.norm(grads[n] - ours.hand[n]) / np.linalg.norm(ours.hand[n]) for n in PARAMETERS)
    return away, {c.name for c in mg.blame(ours.error, {n: grads[n] for n in grads if " " not in n}).culprits}


def test_E2_a_row_without_the_branch_from_the_next_block(ours):
    away, guilty = blamed(ours, "δc = c_via_tanh_c + c_via_c", "δc = c_via_tanh_c")
    assert away > 0.1
    assert guilty == {"c<1>", "c<2>", "c<3>"}  # the last block has no such branch


def test_E5_the_new_state_where_the_old_one_belongs(ours):
    away, guilty = blamed(ours, 'cache[f"c<{t - 1}>"]', 'cache[f"c<{t}>"]')
    assert away > 0.05
    assert guilty == {f"Γ_f<{t}>" for t in range(1, T + 1)}


def test_E6_the_error_of_later_blocks_is_all_of_it():
    """Taken as the next block's alone it is right for two blocks, and wrong for three."""
    for blocks, wrong in ((2, False), (3, True)):
        ours = lstm(blocks)
        first = Lstm(ours.drawn, np.eye(blocks)[:2].sum(axis=0).reshape(-1, 1, 1))
        away = np.abs(first.hand["a<1>"] - ours.hand["a<1>"]).max()
        assert (away > 1e-3) == wrong


def test_E7_a_dot_product_in_the_forward_pass_leaves_the_range(ours):
    """|a| < 1 as a product of a tanh and a sigmoid; a dot product of n_a of them is not bounded so."""
    n_a = 50
    gate, state = np.full(n_a, 0.9), np.full(n_a, 0.9)
    assert np.abs(gate * state).max() < 1 < np.dot(gate, state)
    assert np.abs(ours.cache["outputs"]).max() < 1
    c, Γ = ours.cache["c<1>"], ours.cache["Γ_f<2>"]
    with pytest.raises(ValueError, match="aligned"):
        np.dot(c, Γ)  # and with a batch there is none


def test_E8_the_last_factor_is_an_outer_product(ours):
    δsum, z = ours.hand["sum_f<2>"][:, 0], ours.cache["z<2>"][:, 0]
    with pytest.raises(ValueError, match="broadcast"):
        δsum * z
    assert np.outer(δsum, z).shape == ours.drawn.params["W_f"].shape
    assert (δsum[:1] * z[:2]).shape == (2,)  # n_a = 1 cannot show it


def test_E9_the_first_block_hands_on_too(ours):
    for name in ("a<0>", "c<0>"):
        assert np.linalg.norm(ours.hand[name]) > 0.05


def test_E12_a_weight_goes_back_transposed(ours):
    """As it stands W does not fit; on its square part, for a<t-1>, it does, and is wrong."""
    with pytest.raises(ValueError, match="matmul"):
        ours.drawn.params["W_f"] @ ours.hand["sum_f<2>"]
    right = "a_via_z, δx = δz[:n_a].copy(), δz[n_a:].copy()"
    wrong = "a_via_z, δx = δz[:n_a] + (W_f[:, :n_a] - W_f[:, :n_a].T) @ δsum_f, δz[n_a:].copy()"
    grads = without(right, wrong)(ours.cache, ours.d_outputs)
    assert np.abs(grads["W_f"] - ours.hand["W_f"]).max() > 1e-3
    assert np.abs(grads["a<1> via z<2>"] - ours.hand["a<1> via z<2>"]).max() > 1e-3


def test_E14_mazurs_second_error_comes_from_an_update_in_place():
    right, blog = (mlp.error_by_hand(mlp.update_by_hand(mlp.WEIGHTS, in_place)) for in_place in (False, True))
    assert (round(right, 9), round(blog, 9)) == (0.291027774, 0.291027924)
    model = mlp.mazur()
    error = mlp.error(model)
    model.layers[1].weight.data = model.layers[1].weight.data - 0.1  # too early, and no harm done
    error.backward()
    other = mlp.mazur()
    mlp.error(other).backward()
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(ours.grad.numpy(), theirs.grad.numpy())


# --- the witnesses against each other -------------------------------------------------------------------


def test_the_engines_paths_are_those_multiplied_out_by_hand():
    """Path by path: the same walks, the same products."""
    error, cell = named_lstm(3, N_A, N_X, B)
    nodes = {name: node.value for name, node in named(error._node).items()}
    params = {name: p.numpy() for name, p in cell.named_parameters().items()}
    xs = np.stack([nodes[f"x<{t}>"].T for t in (1, 2, 3)])
    cache = lstm_manual.forward(params, xs, nodes["a<0>"].T, nodes["c<0>"].T)
    d_outputs = cache["outputs"] - np.stack([nodes[f"â<{t}>"].T for t in (1, 2, 3)])
    derivation = mg.explain(error)
    for name in (*PARAMETERS, "a<0>", "c<0>"):
        hand = {path.nodes: path.product for path in lstm_manual.paths(cache, d_outputs, name)}
        paths = derivation.paths(name)
        assert len(paths) == len(hand) == lstm_manual.count_paths(3, name)
        for path in paths:
            short = tuple(n for n in path.names if n[0] != "z" and not n.startswith("tanh_c") and n != "Error")
            agree(path.product, hand[short], str(short), tolerance=1e-14)
        agree(paths.total, mg.ledger(error, name).gradient, name)


def test_every_form_of_the_derivation_is_the_engines_gradient():
    """`per_path`, `per_block`, `chunked` and the batched form; the complex step is a third witness."""
    ours = lstm(3)
    ours.assert_right()
    gradients = ours.gradients()
    fast = lstm_manual.forward_batched(ours.drawn.params, ours.drawn.x, ours.drawn.a0, ours.drawn.c0)
    forms = {
        "per_path": lstm_manual.per_path(ours.cache, ours.d_outputs),
        "per_block": lstm_manual.per_block(ours.cache, ours.d_outputs),
        "chunked": lstm_manual.chunked(ours.cache, ours.d_outputs, length=2),
        "batched": lstm_manual.backward_batched(fast, ours.d_outputs),
    }
    for (form, found), (name, want) in itertools.product(forms.items(), gradients.items()):
        agree(found[name], want, f"{form}: {name}", tolerance=1e-14)
    drawn = ours.drawn
    singles = [Lstm(Problem(drawn.params, drawn.x[:, k], drawn.a0[k], drawn.c0[k], drawn.target[:, k]), ours.mask)
               for k in (slice(0, 1), slice(1, 2))]  # fmt: skip
    for name in PARAMETERS:  # a batch is the sum of its sequences
        agree(sum(single.hand[name] for single in singles), gradients[name], name, tolerance=1e-14)
    wrong = lstm_manual.document_literal(ours.cache, ours.d_outputs)
    assert all(np.abs(wrong[name] - gradients[name]).max() > 1e-3 for name in PARAMETERS)
