"""Sabotage: rules and engine parts that are wrong on purpose.  A check that stays green on
one of them is worth nothing.

`mutate` puts its slips into a part of the ops at each commit, another part each day; all of
them: ``MUTANTS=all python -m pytest -n 2 tests/meta``.
"""

import inspect
import os
import sys
from datetime import date
from functools import partial

import checks
import numpy as np
import pytest
from checks import CHECKED

import minigrad as mg
from minigrad import backward
from minigrad.op import OPS
from minigrad.testing import GradientError, check_op, mutate
from minigrad.testing.case import Case
from minigrad.testing.claims import any_layout, broadcasting, derivatives
from minigrad.testing.mutants import MUTANTS, changed, mutants_of

DAY = int(os.environ.get("MUTANTS_SEED", date.today().toordinal()))
ALWAYS = ["tanh", "multiply", "matmul", "max", "relu", "log", "softmax", "where", "getitem", "concat"]
SOME = sorted({*ALWAYS, *(op.name for k, op in enumerate(CHECKED) if k % 12 == DAY % 12)})
TODAY = [op.name for op in CHECKED] if os.environ.get("MUTANTS") == "all" else SOME


@pytest.mark.parametrize("name", TODAY)
def test_check_op_catches_every_slip_in_every_rule(name):
    result = mutate(name, partial(check_op, name, stop=True))
    assert result.ok, f"{result}\n(MUTANTS_SEED={DAY})"
    assert result.caught


def test_every_slip_is_a_slip_somewhere():
    """None of them is equivalent wherever it is put."""
    somewhere = {o.mutant for name in (*ALWAYS, "var", "clip")
                 for o in mutate(name, lambda: None).survived}  # fmt: skip
    assert {m.name for m in MUTANTS} == somewhere


@pytest.mark.parametrize("name", ["tanh", "multiply", "softmax", "matmul"])
def test_values_detached_are_right_at_first_order_and_wrong_at_second(name):
    op = OPS[name]
    points = [Case(op, *s) for s in checks.samples_of(op)]
    orders = {}
    for mutant, k in mutants_of(op):
        if mutant.name not in ("values detached", "twice as much", "the sign", "zero"):
            continue
        with changed(op, mutant.applied(op, k)):
            orders[mutant.name] = [n for n in (1, 2) if any(list(derivatives(p, n)) for p in points)]
    assert orders["values detached"] == [2]
    assert orders["twice as much"] == orders["the sign"] == orders["zero"] == [1, 2]
    assert [m.name for m in MUTANTS if m.order == 2] == ["values detached"]


def replace_rules(monkeypatch, op, rules):
    before = op.rules
    monkeypatch.setattr(type(op), "__setattr__", object.__setattr__)
    monkeypatch.setattr(op, "rules", tuple(rules))
    assert op.rules != before


def must_be_caught(op):
    with pytest.raises(GradientError):
        check_op(op, stop=True)


# --- hand-made slips, one op each -----------------------------------------------------------

SLIPS = {
    "tanh": [lambda g, y, x: g * (1 - y), lambda g, y, x: g * (1 - x * x), lambda g, y, x: 1 - y * y],
    "sigmoid": [lambda g, y, x: g * y, lambda g, y, x: g * (x * (1 - x))],
    "exp": [lambda g, y, x: g * x, lambda g, y, x: y],
    "log": [lambda g, y, x: g / y, lambda g, y, x: 1 / x],
    "sqrt": [lambda g, y, x: g / y, lambda g, y, x: g / (2 * x)],
    "square": [lambda g, y, x: g * x],
    "abs": [lambda g, y, x: g],
    "relu": [lambda g, y, x: g, lambda g, y, x: np.where(x >= 0.5, g, 0)],
    "sum": [lambda g, y, x, *, axis=None, dtype=None, keepdims=False: np.broadcast_to(np.sum(g), x.shape)],
    "mean": [lambda g, y, x, *, axis=None, keepdims=False: OPS["sum"].rules[0](
        g, y, x, axis=axis, keepdims=keepdims)],
    "softmax": [lambda g, y, x, *, axis=-1: y * g, lambda g, y, x, *, axis=-1: y * (g - np.sum(g * y)),
                lambda g, y, x, *, axis=-1: y * (g - np.sum(g * y, axis=0, keepdims=True))],
    "log_softmax": [lambda g, y, x, *, axis=-1: g - y * np.sum(g, axis=axis, keepdims=True)],
    "permute_dims": [lambda g, y, x, *, axes=None: np.transpose(g, axes)],
    "getitem": [lambda g, y, i, x, *arrays, index: _overwriting_scatter(g, x, arrays, index)],
    "take": [lambda g, y, x, indices, *, axis=None: np.zeros(x.shape), ],
    "cast": [lambda g, y, x, *, dtype: OPS["cast"](g, dtype=np.float16)],
}  # fmt: skip


def _overwriting_scatter(g, x, arrays, index):
    from minigrad.ops.indexing import fill

    out = np.zeros(x.shape)
    out[fill(index, arrays)] = g  # repeated indices lose all but one contribution
    return out


@pytest.mark.parametrize(("name", "k"), [(n, k) for n, ms in SLIPS.items() for k in range(len(ms))])
def test_slip(monkeypatch, name, k):
    op = OPS[name]
    replace_rules(monkeypatch, op, [SLIPS[name][k], *op.rules[1:]])
    must_be_caught(op)


@pytest.mark.parametrize(("side", "rule"), [
    (0, lambda g, y, a, b: g @ b), (1, lambda g, y, a, b: a @ g),  # a transpose dropped
    (0, lambda g, y, a, b: (g @ b.mT).mT), (1, lambda g, y, a, b: g.mT @ a),
])  # fmt: skip
def test_matmul_without_its_transposes(monkeypatch, side, rule):
    op = OPS["matmul"]
    rules = list(op.rules)
    rules[side] = rule
    replace_rules(monkeypatch, op, rules)
    must_be_caught(op)


def test_rule_that_changes_its_cotangent_in_place(monkeypatch):
    def greedy(g, y, x):
        g *= y
        return g

    exp = OPS["exp"]
    replace_rules(monkeypatch, exp, [greedy])
    (broken,) = any_layout(Case(exp, (np.ones(3),), {}))
    assert "read-only" in broken


# --- the engine -----------------------------------------------------------------------------


def rewritten(function, old, new):
    """The function with a piece of its source replaced."""
    source = inspect.getsource(function)
    assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {function.__name__}"
    space = dict(vars(inspect.getmodule(function)))
    exec(compile(source.replace(old, new), "mutant", "exec"), space)
    return space[function.__name__]


ENGINE = {
    "= instead of += at a fork": ("table[parent] = total + c\n", "table[parent] = c\n"),
    "later contributions lost": ("total += c\n", "pass\n"),
    "first contribution taken as owned": ("                table[parent] = c\n",
                                          "                table[parent] = c; owned.add(parent)\n"),
    "oldest first": ("order = newest_first(*seeds, since=since)",
                     "order = newest_first(*seeds, since=since)[::-1]"),
    "shape not fitted": ("if c.shape != like.shape or c.dtype is not like.dtype:", "if False:"),
    "all cotangents given away": ("found[node] = (g, node in owned)", "found[node] = (g, True)"),
}  # fmt: skip


def engine_is_right():
    checks.check_forks()
    for name in ("add", "multiply", "getitem", "positive"):
        check_op(name)


def test_the_engine_as_it_is_passes():
    engine_is_right()


@pytest.mark.parametrize(("old", "new"), ENGINE.values(), ids=ENGINE)
def test_engine_mutant(monkeypatch, old, new):
    tensor = sys.modules["minigrad.tensor"]  # mg.tensor is the function
    monkeypatch.setattr(tensor, "backpropagate", rewritten(backward.backpropagate, old, new))
    with pytest.raises((AssertionError, mg.MinigradError, ValueError)):  # or NumPy: read-only
        engine_is_right()


UNBROADCAST = {
    "first instead of sum": lambda c, shape: c[(0,) * (c.ndim - len(shape))][tuple(
        slice(0, 1) if n == 1 else slice(None) for n in shape)],
    "mean instead of sum": lambda c, shape: np.asarray(
        OPS["sum_to"].forward(c, shape=shape) / max(1, c.size // max(1, int(np.prod(shape))))),
    "leading axes only": lambda c, shape: np.sum(c, axis=tuple(range(c.ndim - len(shape)))),
}  # fmt: skip


@pytest.mark.parametrize("mutant", UNBROADCAST.values(), ids=UNBROADCAST)
def test_unbroadcast_mutant(monkeypatch, mutant):
    monkeypatch.setattr(backward, "sum_to", lambda c, shape: mutant(c, shape))
    with pytest.raises((AssertionError, mg.MinigradError, IndexError)):
        assert list(broadcasting(OPS["multiply"])) == []


def test_no_cast_to_the_leaf(monkeypatch):
    monkeypatch.setattr(backward, "cast", lambda c, dtype: c)
    x = mg.tensor(np.ones(3, np.float32), requires_grad=True)
    (x * np.ones(3)).sum().backward()
    assert x.grad.dtype == np.float64  # what tests/test_ops.py asserts the opposite of


def test_no_zero_law(monkeypatch):
    monkeypatch.setattr(backward, "zero_law", lambda c, g: c)
    g = mg.grad(lambda x: mg.sum(mg.where(x > 0, mg.sqrt(x), x)))(np.zeros(2))
    assert np.isnan(g.data).all()  # what tests/test_laws.py asserts the opposite of


def test_add_at_replaced_by_plus_equals(monkeypatch):
    from minigrad.ops import indexing

    def lossy(out, where, g):
        out[where] += g

    monkeypatch.setattr(indexing, "_add_at", lossy)
    must_be_caught(OPS["getitem"])
    must_be_caught(OPS["take"])
