"""Sabotage: rules and engine parts that are wrong on purpose.  A check that stays green on
one of them is worth nothing."""

import inspect
import sys

import checks
import numpy as np
import pytest
from checks import DIFFERENTIABLE

import minigrad as mg
from minigrad import backward
from minigrad.op import OPS

SAMPLED = [op for op in DIFFERENTIABLE if checks.samples_of(op)]


def replace_rules(monkeypatch, op, rules):
    before = op.rules
    monkeypatch.setattr(type(op), "__setattr__", object.__setattr__)
    monkeypatch.setattr(op, "rules", tuple(rules))
    assert op.rules != before


def wrap(rule, change):
    """`change(cotangent, g, y, inputs)` instead of the rule's own cotangent."""
    if rule is None:
        return None

    def mutant(g, y, *args, **params):
        c = rule(g, y, *args, **params)
        return tuple(change(part, g, y, args) for part in c) if isinstance(c, tuple) else change(c, g, y, args)

    return mutant


def must_be_caught(op, claims=None):
    claims = claims or [checks.check_first_order, checks.check_second_order,
                        checks.check_linear_in_the_cotangent]  # fmt: skip

    def check():
        for claim in claims:
            claim(op)

    with pytest.raises((AssertionError, mg.MinigradError)):
        check()


def data(x):
    """A constant of the same value: the factor is detached."""
    return x.detach() if isinstance(x, mg.Tensor) else x


RULE_MUTANTS = {
    "negated": lambda c, g, y, xs: -c,
    "doubled": lambda c, g, y, xs: 2 * c,
    "a little too large": lambda c, g, y, xs: c * (1 + 1e-7),
    "a constant too much": lambda c, g, y, xs: c + 1e-7,
    "zero": lambda c, g, y, xs: c * 0,
    "not linear in g": lambda c, g, y, xs: c * abs(c),
    "each mixed with the others": lambda c, g, y, xs: c + np.sum(np.abs(c)) * 1e-3,
}


def is_zero(op, i):
    """Whether the derivative in input `i` is 0 wherever it is tried (sign, floor)."""
    for inputs, params in checks.samples_of(op):
        leaves, ys = checks.recorded(op, inputs, params)
        got = checks.cotangents(leaves, ys, [np.ones_like(y.data) for y in ys])
        if any(np.any(c) for k, c in zip(checks.active(op, inputs), got, strict=True) if op.variadic or k == i):
            return False
    return True


@pytest.mark.parametrize("mutant", RULE_MUTANTS.values(), ids=RULE_MUTANTS)
@pytest.mark.parametrize("op", SAMPLED, ids=lambda op: op.name)
def test_wrong_rule(monkeypatch, op, mutant):
    for i, rule in enumerate(op.rules):
        # where a derivative is 0, most of these are equivalent
        if rule is not None and (mutant is RULE_MUTANTS["a constant too much"] or not is_zero(op, i)):
            with monkeypatch.context() as patch:
                rules = list(op.rules)
                rules[i] = wrap(rule, mutant)
                replace_rules(patch, op, rules)
                must_be_caught(op, [checks.check_first_order])


@pytest.mark.parametrize("op", [op for op in SAMPLED if len(op.rules) == 2 and None not in op.rules],
                         ids=lambda op: op.name)  # fmt: skip
def test_swapped_rules(monkeypatch, op):
    if op.name == "add" or is_zero(op, 0) and is_zero(op, 1):
        pytest.skip("equivalent: the rules are the same")
    replace_rules(monkeypatch, op, op.rules[::-1])
    must_be_caught(op)


@pytest.mark.parametrize("op", [op for op in SAMPLED if not op.variadic], ids=lambda op: op.name)
def test_detached_rule_is_caught_by_the_second_order(monkeypatch, op):
    """A factor that depends on the inputs is recorded as a constant: first order is right."""

    def detached(rule):
        def mutant(g, y, *xs, **params):
            y = tuple(map(data, y)) if isinstance(y, tuple) else data(y)
            return rule(g, y, *map(data, xs), **params)

        return None if rule is None else mutant

    curved = False  # does a rule depend on values other than g at all?
    for inputs, params in checks.samples_of(op):
        seeds = checks.random_seeds(op, inputs, params, np.random.default_rng(0))
        moved = tuple(x * (1 + 1e-4) if x.dtype.kind == "f" else x for x in inputs)
        curved |= any(not np.array_equal(a, b) for a, b in zip(
            checks.raw_rules(op, seeds, inputs, params), checks.raw_rules(op, seeds, moved, params),
            strict=True))  # fmt: skip
    replace_rules(monkeypatch, op, map(detached, op.rules))
    checks.check_first_order(op)
    if curved and op.name != "zero_law":
        must_be_caught(op, [checks.check_second_order])


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


def test_rule_that_returns_its_cotangent_in_half_precision(monkeypatch):
    op = OPS["multiply"]
    replace_rules(monkeypatch, op, [wrap(r, lambda c, g, y, xs: c.astype(np.float32)) for r in op.rules])
    must_be_caught(op)


def test_rule_that_changes_its_cotangent_in_place(monkeypatch):
    def greedy(g, y, x):
        g *= y
        return g

    replace_rules(monkeypatch, OPS["exp"], [greedy])
    with pytest.raises(ValueError, match="read-only"):
        checks.check_layouts(OPS["exp"])


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
        for claim in checks.CLAIMS:
            claim(OPS[name])
    checks.check_broadcasting(OPS["multiply"])


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
        checks.check_broadcasting(OPS["multiply"])


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
