"""Bad input, and the lesson it must give: one row each."""

import sys

import numpy as np
import pytest

import minigrad as mg
from minigrad.op import NUMPY, OPS, PUBLIC


def T(*shape, dtype=np.float64, grad=True):
    return mg.tensor(np.ones(shape, dtype), requires_grad=grad)


OPERATIONS = [
    (lambda: T(2, 3) + T(4), ValueError, r"^add: cannot broadcast \(2, 3\) with \(4,\); aligned from the right"),
    (lambda: np.ones((2, 3)) * T(4), ValueError, r"^multiply: cannot broadcast \(2, 3\) with \(4,\)"),
    (lambda: mg.where(T(2) > 0, T(3), 0.0), ValueError, r"^where: cannot broadcast \(2,\) with \(3,\) with \(\)"),
    (lambda: T(2, 3) @ T(2, 3), ValueError, r"^matmul: .*inner sizes 3 and 2 differ; use \.T"),
    (lambda: T(2, 3) @ T(4), ValueError, r"^matmul: .*inner sizes 3 and 4 differ"),
    (lambda: T(2, 2, 3) @ T(3, 3, 1), ValueError, r"^matmul: cannot broadcast the batch axes"),
    (lambda: T(2, 3) @ T(), ValueError, r"^matmul: operand 2 is a scalar; use \*"),
    (lambda: T(2, 3) @ 2.0, ValueError, r"^matmul: operand 2 is a scalar; use \*"),
    (lambda: 2 @ T(2, 3), ValueError, r"^matmul: operand 1 is a scalar; use \*"),
    (lambda: T(2, 3).sum(axis=3), IndexError, r"^sum: axis 3 of an array with 2 axes.*-2 to 1"),
    (lambda: T(2, 3).mean(axis=-3), IndexError, r"^mean: axis -3 of an array with 2 axes"),
    (lambda: T().sum(axis=1), IndexError, r"^sum: axis 1 of an array with 0 axes.*it has none"),
    (lambda: T(2, 3).sum(axis=(0, 0)), ValueError, r"^sum: axis=\(0, 0\) names an axis twice"),
    (lambda: T(2, 3).sum(axis=(0, -2)), ValueError, r"^sum: axis=\(0, -2\) names an axis twice"),
    (lambda: T(2, 3).sum(axis=True), TypeError, r"^sum: axis=True; an axis is an integer"),
    (lambda: T(2, 3).max(axis=1.0), TypeError, r"^max: axis=1.0; an axis is an integer"),
    (lambda: mg.softmax(T(3), axis=1), IndexError, r"^softmax: axis 1"),
    (lambda: T(2, 3).reshape(4, -1), ValueError, r"^reshape: 6 elements of shape \(2, 3\) into \(4, -1\)"),
    (lambda: T(0, 3).max(axis=0), ValueError, r"^max: axis 0 has size 0 and max has no identity"),
    (lambda: T(0).argmin(), ValueError, r"^argmin: axis 0 has size 0"),
    (lambda: mg.sum(T(3), axes=0), TypeError, r"^sum: unknown keyword 'axes'; did you mean 'axis'\?"),
    (lambda: T(3).sum(axes=0), TypeError, r"^sum: unknown keyword 'axes'; did you mean 'axis'\?"),
    (lambda: mg.exp(T(3), T(3)), TypeError, r"^exp: .*the call is exp\(x, /\)"),
    (lambda: mg.exp(), TypeError, r"^exp: .*the call is exp\(x, /\)"),
    (lambda: T(3)[5], IndexError, r"^getitem: index \[5\] of an array of shape \(3,\)"),
    (lambda: T(3)[0, 0], IndexError, r"^getitem: index \[0, 0\]"),
    (lambda: T(3)[[0.5]], TypeError, r"^getitem: an index of dtype float64; integers or booleans"),
    (lambda: T(3)[1.5], IndexError, r"^getitem: index \[1\.5\]"),
    (lambda: T(3)[np.array([True, False])], IndexError, r"^getitem: index \[array\]"),
    (lambda: mg.take(T(3, 2), [3], axis=0), IndexError, r"^take: index 3 of an axis of size 3; -3 to 2"),
    (lambda: mg.take(T(3, 2), [0.5], axis=0), TypeError, r"^take: indices of dtype float64; integers"),
    (lambda: mg.take(T(3, 2), [0], axis=2), IndexError, r"^take: axis 2 of an array with 2 axes"),
    (lambda: mg.concat([]), ValueError, r"^concat: no arrays; at least one"),
    (lambda: mg.concat([T(2), T(2, 2)]), ValueError, r"^concat: shapes \(2,\), \(2, 2\); the same number of axes"),
    (lambda: mg.concat([T(2, 3), T(2, 2)]), ValueError, r"^concat: .*along axis 0; sizes may differ only"),
    (lambda: mg.stack([T(2), T(3)]), ValueError, r"^stack: shapes \(2,\), \(3,\); all the same"),
    (lambda: mg.split(T(5), 2), ValueError, r"^split: size 5 into 2 equal parts"),
    (lambda: mg.broadcast_to(T(3), (2, 4)), ValueError, r"^broadcast_to: shape \(3,\) to \(2, 4\)"),
    (lambda: mg.permute_dims(T(2, 3), (0, 0)), ValueError, r"^permute_dims: "),
    (lambda: T(3).mT, ValueError, r"^matrix_transpose: an array of shape \(3,\); at least two axes"),
    (lambda: mg.linalg.eigh(T(2, 3)), ValueError, r"eigh: an array of shape \(2, 3\); square"),
    (lambda: mg.cross_entropy(T(2, 3), np.ones(2)), TypeError, r"^cross_entropy: targets of dtype float64"),
    (lambda: mg.cross_entropy(T(2, 3), [0, 3]), IndexError, r"^cross_entropy: class 3; classes go from 0 to 2"),
    (lambda: mg.cross_entropy(T(2, 3), [0]), ValueError, r"^cross_entropy: targets of shape \(1,\)"),
    (lambda: mg.cross_entropy(T(2, 3), [0, 1], reduction="max"), TypeError, r"^cross_entropy: reduction='max'"),
    (lambda: mg.squared_error(T(2), T(2), reduction="max"), TypeError, r"^squared_error: reduction='max'"),
    (lambda: mg.dropout(T(2), 1.0, rng=np.random.default_rng()), TypeError, r"^dropout: rate=1.0; 0 <= rate < 1"),
    (lambda: mg.dropout(T(2), 0.5, rng=7), TypeError, r"^dropout: rng=7; a numpy.random.Generator"),
    (lambda: mg.tensor(np.array([object()])), TypeError, r"^tensor: dtype object; accepted are"),
    (lambda: mg.tensor("abc"), TypeError, r"^tensor: got str \('abc'\)"),
    (lambda: mg.tensor(["a"]), TypeError, r"^tensor: dtype <U1; accepted are"),
    (lambda: mg.tensor(np.array(["2020-01-01"], "M8[D]")), TypeError, r"^tensor: dtype datetime64\[D\]; accepted"),
    (lambda: mg.tensor(None), TypeError, r"^tensor: got NoneType"),
    (lambda: T(2) + None, TypeError, r"^add: got NoneType"),
    (lambda: T(2) * "a", TypeError, r"^multiply: got str"),
    (lambda: mg.tensor([[1, 2], [3]]), ValueError, r"^tensor: a ragged list: position 1 has shape \(1,\), position 0 has \(2,\)"),
    (lambda: mg.tensor([[[1], [2, 3]]]), ValueError, r"^tensor: a ragged list: in position 0: position 1"),
    (lambda: mg.Tensor([1.0]), TypeError, r"^Tensor: not made directly; write mg\.tensor"),
    (lambda: bool(T(2)), ValueError, r"^bool\(\): a tensor of shape \(2,\) is not one number"),
    (lambda: float(T(2, 2)), ValueError, r"^float\(\): a tensor of shape \(2, 2\)"),
    (lambda: T(2).item(), ValueError, r"^item\(\): a tensor of shape \(2,\)"),
    (lambda: [1, 2][T()], TypeError, r"^index: a tensor of dtype float64; an integer"),
    (lambda: len(T()), TypeError, r"^len: a tensor of shape \(\)"),
    (lambda: np.asarray(T(2)), TypeError, r"^np.asarray: .*requires a gradient.*t\.numpy\(\).*t\.detach\(\)"),
    (lambda: np.zeros(2).__setitem__(slice(1), T()), TypeError, r"^np.asarray: .*requires a gradient"),
    (lambda: T(2).__setitem__(0, 1.0), TypeError, r"^t\[\.\.\.\] = value: tensors are immutable.*mg\.where"),
    (lambda: np.add(T(2), 1.0, out=np.zeros(2)), TypeError, r"^np.add: out= would write"),
    (lambda: np.spacing(T(2)), TypeError, r"^np.spacing: minigrad has no derivative"),
    (lambda: np.linalg.lstsq(T(2, 2), T(2)), TypeError, r"^np.lstsq: minigrad has no derivative"),
    (lambda: np.add.accumulate(T(2)), TypeError, r"^np.add.accumulate: minigrad has no derivative"),
    (lambda: mg.astype(T(2), np.int64), TypeError, r"^astype: .*detach\(\)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "builtin", "message"), OPERATIONS, ids=[m for _, _, m in OPERATIONS])
def test_operation(call, builtin, message):
    with pytest.raises(mg.MinigradError, match=message) as caught:
        call()
    assert isinstance(caught.value, builtin)


def _freed():
    y = T(2).sum()
    y.backward()
    y.backward()


def _freed_below():
    h = T(2) * 2.0
    h.sum().backward()
    h.sum().backward()


GRADIENTS = [
    (lambda: T(2).backward(), ValueError, r"^backward: the output has shape \(2,\); a scalar, or a seed of that shape; "
                                          r"write y\.sum\(\)\.backward\(\)"),
    (lambda: T(2).backward(np.ones(3)), ValueError, r"^backward: the seed has shape \(3,\); the output has shape \(2,\)"),
    (lambda: T(2).backward(np.ones(2, np.float32)), TypeError, r"^backward: the seed is float32; the output is float64"),
    (lambda: T(2, dtype=np.float32).backward(np.ones(2)), TypeError, r"^backward: the seed is float64"),
    (lambda: T(2).backward(np.array([np.nan, 1])), TypeError, r"^backward: the seed contains NaN"),
    (lambda: mg.tensor([1, 2], requires_grad=True, name="ids"), TypeError,
     r"leaf 'ids' is int64; gradients need a float dtype; .*\.astype"),
    (lambda: mg.tensor([True], requires_grad=True), TypeError, r"the data is bool; gradients need a float dtype"),
    (lambda: mg.tensor(1.0).backward(), RuntimeError, r"^backward: nothing below 'leaf' requires a gradient; make a leaf"),
    (lambda: (T(2) * 2.0).sum().detach().backward(), RuntimeError, r"requires a gradient.*detach"),
    (_freed, RuntimeError, r"^backward: the graph through 'sum' was freed.*retain_graph=True"),
    (_freed_below, RuntimeError, r"^backward: the graph through 'multiply' was freed.*retain_graph=True"),
    (lambda: mg.tensor(1.0).retain_grad(), RuntimeError, r"^retain_grad: this tensor requires no gradient"),
    (lambda: setattr(T(2), "grad", np.ones(2)), ValueError, r"^\.grad ="),
    (lambda: mg.grad(lambda x: x)(np.ones(2)), ValueError, r"^grad: .*returned shape \(2,\); a scalar"),
    (lambda: mg.grad(lambda x: x)(3), TypeError, r"int64; gradients need a float dtype"),
    (lambda: mg.grad(lambda x: x, argnums=1)(3.0), TypeError, r"^grad: argnums=1 and 1 positional argument"),
    (lambda: mg.grad(lambda x: x)(None), TypeError, r"^grad: an argument holds None.*argnums"),
    (lambda: mg.vjp(lambda x: (x, x), 1.0)[1]((1.0,)), TypeError, r"^pull: tuple of 1 parts; a tuple of 2"),
    (lambda: mg.vjp(lambda x: x, np.ones(2))[1](np.ones(3)), ValueError, r"the seed has shape \(3,\)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "builtin", "message"), GRADIENTS, ids=[m for _, _, m in GRADIENTS])
def test_gradient(call, builtin, message):
    with pytest.raises(mg.MinigradError, match=message) as caught:
        call()
    assert isinstance(caught.value, builtin)


# --- rules that break their contract --------------------------------------------------------


@pytest.fixture
def define():
    """mg.define for one test: the registry is as it was afterwards."""
    saved = [dict(table) for table in (OPS, PUBLIC, NUMPY)]
    yield mg.define
    for table, before in zip((OPS, PUBLIC, NUMPY), saved, strict=True):
        table.clear()
        table.update(before)


BAD_RULES = [
    (lambda g, y, a, b: None, r"rule of 'bad' for input 0: it returned NoneType"),
    (lambda g, y, a, b: 1.0, r"rule of 'bad' for input 0: it returned float"),
    (lambda g, y, a, b: g[:1], r"rule of 'bad' for input 0: it returned shape \(1,\); its input has shape \(3,\)"),
    (lambda g, y, a, b: np.sum(g), r"rule of 'bad' for input 0: it returned shape \(\); its input has shape \(3,\)"),
    (lambda g, y, a, b: g[None, :] * b[:, None], r"rule of 'bad' for input 0: it returned shape \(3, 3\).*broadcasts=True"),
    (lambda g, y, a, b: g > 0, r"rule of 'bad' for input 0: it returned dtype bool; its input is float64"),
    (lambda g, y, a, b: g * 1j, r"rule of 'bad' for input 0: it returned dtype complex128"),
    (lambda g, y, a, b: g.no_such_thing, r"rule of 'bad' for input 0: it raised AttributeError.*g of shape \(3,\)"),
    (lambda g, y, a: g, r"rule of 'bad' for input 0: it raised TypeError"),
]  # fmt: skip


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(("rule", "message"), BAD_RULES, ids=[m for _, m in BAD_RULES])
def test_bad_rule(define, rule, message, create_graph):
    op = define("bad", lambda a, b, /: a * b, rule, lambda g, y, a, b: g * a)
    x = T(3)
    with pytest.raises(mg.errors.RuleError, match=message) as caught:
        op(x, np.ones(3)).sum().backward(create_graph=create_graph)
    assert isinstance(caught.value, RuntimeError)
    assert x.grad is None


def test_a_first_order_rule_raises_at_the_second_order(define):
    op = define("first_order_only", np.cosh, lambda g, y, x: g * np.asarray(x))
    x = T(3)
    op(x).sum().backward()
    with pytest.raises(mg.errors.DtypeError, match="requires a gradient, which an array cannot carry"):
        op(x).sum().backward(create_graph=True)


def test_definitions_that_cannot_be(define):
    for call, message in (
        (lambda: define("tanh", np.tanh, lambda g, y, x: g), "minigrad has an op named 'tanh'"),
        (lambda: define("new", np.add, lambda g, y, a, b: g), r"takes 2 array\(s\) and got 1 rule\(s\)"),
        (lambda: define("new", lambda *xs: xs, None, None, variadic=True), "variadic and got 2 rules"),
    ):
        with pytest.raises(mg.errors.ArgumentError, match=message):
            call()


def test_a_user_op_has_everything(define):
    op = define("cubed", lambda x, /: x**3, lambda g, y, x: g * (3 * x * x), analytic=True, caption="x³")
    assert op.__name__ == "cubed"
    assert str(op.__signature__) == "(x, /)"
    assert "x³" in op.__doc__
    assert mg.testing.check_op(op).ok
    assert mg.grad(mg.grad(mg.grad(op)))(2.0).item() == 6.0


# --- debug ----------------------------------------------------------------------------------


def test_debug_names_the_lines_of_both_operands():
    with mg.debug():
        first = sys._getframe().f_lineno + 1
        a = T(2, 3) * 2.0
        b = mg.tensor(np.ones(4))
        with pytest.raises(mg.errors.ShapeError, match=rf"cannot broadcast.*input 0 made at .*test_errors.py:{first}; "
                                                       rf"input 1 made at .*test_errors.py:{first + 1}"):  # fmt: skip
            a + b


def test_debug_finds_the_first_gradient_that_is_not_finite():
    with mg.debug(), np.errstate(all="ignore"):
        x = mg.tensor([[1.0, 4.0], [9.0, 0.0]], requires_grad=True)
        y = mg.sqrt(x)
        line = sys._getframe().f_lineno - 1
        with pytest.raises(FloatingPointError, match=(
                rf"^backward: first non-finite gradient: rule of 'sqrt' for input 0 made at .*test_errors.py:{line}; "
                r"index \(1, 1\), input value 0.0, cotangent inf")) as caught:  # fmt: skip
            y.sum().backward()
        assert isinstance(caught.value, mg.errors.NonFiniteError)
        assert x.grad is None


def test_debug_finds_the_first_nan_of_the_forward_pass():
    with mg.debug(), np.errstate(all="ignore"):
        x = mg.tensor([1.0, -1.0])
        with pytest.raises(mg.errors.NonFiniteError, match=r"forward: first NaN: 'log' .*index \(1,\)"):
            mg.log(x)
        mg.tensor([np.nan]) * 2.0  # not its fault


def test_two_nodes_of_one_name():
    from minigrad.graph import named

    x = mg.tensor(1.0, requires_grad=True, name="x")
    with pytest.raises(mg.errors.GraphError, match="two nodes of this graph are called 'x'"):
        named(((x * 2.0).named("x") * 3.0)._node)
    assert set(named((x * 2.0).named("y")._node)) == {"x", "y"}
