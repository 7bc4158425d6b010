"""The docs that are written from the registry are current, and what they say is so."""

import math
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.explain import tables
from minigrad.explain.formula import formula
from minigrad.op import OPS
from minigrad.subgradients import SPELLINGS

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize(("name", "text"), [
    ("ops.md", tables.ops_table), ("subgradients.md", tables.subgradient_table)])  # fmt: skip
def test_the_tables_are_current(name, text):
    assert (DOCS / name).read_text(encoding="utf-8") == text(), "run `python -m minigrad docs`"


@pytest.mark.parametrize("row", SPELLINGS, ids=lambda row: f"{row.written} at {row.at}, order {row.order}")
def test_spellings_give_what_the_table_says(row):
    f = lambda x: mg.sum(eval(row.written, {"x": x, "mg": mg, "np": np}))  # noqa: E731
    for _ in range(row.order):
        f = mg.grad(f)
    with np.errstate(all="ignore"):  # poles are what some rows are about
        np.testing.assert_array_equal(f(np.asarray(row.at)).data, row.gives)


def test_every_op_that_decides_says_what_happens_at_its_kink():
    silent = [op.name for op in OPS.values() if op.branch is not None and op.differentiable and not op.kinks]
    assert silent == []


def test_the_table_shows_a_derivative_for_every_rule():
    for op in OPS.values():
        if op.differentiable and op.name not in ("pick", "recomputed"):
            shown = dict(tables.local_derivatives(op))
            rules = [rule for rule in op.rules if rule is not None]
            assert len(shown) == (1 if op.variadic else len(rules)), op.name
            assert all(shown.values()), op.name


# --- formulas -----------------------------------------------------------------------------


def written(f, *names):
    xs = [mg.tensor(1.5, requires_grad=True) for _ in names]
    with mg.record_all():
        y = f(*xs)
    return formula(y._node, {x._node: n for x, n in zip(xs, names, strict=True)})


@pytest.mark.parametrize(("f", "text"), [
    (lambda a, b, c: (a + b) * c, "(a + b) ⊙ c"),
    (lambda a, b, c: a + b * c, "a + b ⊙ c"),
    (lambda a, b, c: a - (b - c), "a − (b − c)"),
    (lambda a, b, c: a - b - c, "a − b − c"),
    (lambda a, b, c: a / (b * c), "a / (b ⊙ c)"),
    (lambda a, b, c: a / b * c, "a / b ⊙ c"),
    (lambda a, b, c: -(a + b), "−(a + b)"),
    (lambda a, b, c: -a * b, "−a ⊙ b"),
    (lambda a, b, c: (-a) ** 2, "(−a)²"),
    (lambda a, b, c: (-a) ** 3, "(−a)^3"),
    (lambda a, b, c: a - -b, "a − (−b)"),
    (lambda a, b, c: np.where(a > -3, a, b), "where(a > −3, a, b)"),
    (lambda a, b, c: 1 - np.tanh(a) * np.tanh(a), "1 − tanh(a)²"),
    (lambda a, b, c: (lambda t: 1 - t * t)(np.tanh(a)), "1 − tanh(a)²"),
    (lambda a, b, c: (a + b) ** c, "(a + b)^c"),
    (lambda a, b, c: a ** (b * c), "a^(b ⊙ c)"),
    (lambda a, b, c: np.where(a > b, a, 0.5), "where(a > b, a, 0.5)"),
    (lambda a, b, c: mg.sum(a * 2, axis=None, keepdims=True), "sum(a ⊙ 2, keepdims=True)"),
    (lambda a, b, c: abs(a - b), "|a − b|"),
])  # fmt: skip
def test_formulas_bracket_what_they_must(f, text):
    assert written(f, "a", "b", "c") == text


def test_formulas_read_back_as_the_program_they_came_from(rng):
    """Random expressions, printed, parsed by Python and computed: the same numbers."""
    python = str.maketrans({"⊙": "*", "−": "-", "²": "**2", "^": "**"})
    stages = [lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a / (1 + b * b),
              lambda a, b: -a, lambda a, b: np.tanh(a), lambda a, b: a**2, lambda a, b: np.square(a),
              lambda a, b: a - (b - a), lambda a, b: a / (b * b + 2) / 3]  # fmt: skip
    for _ in range(200):
        xs = [mg.tensor(v, requires_grad=True) for v in rng.uniform(0.5, 2, 3)]
        pool = list(xs)
        for _ in range(6):
            a, b = (pool[k] for k in rng.integers(0, len(pool), 2))
            pool.append(stages[rng.integers(len(stages))](a, b))
        y = pool[-1]
        text = formula(y._node, {x._node: n for x, n in zip(xs, "abc", strict=True)})
        values = {n: x.item() for n, x in zip("abc", xs, strict=True)}
        got = eval(text.translate(python), {"tanh": math.tanh, **values})
        np.testing.assert_allclose(got, y.item(), rtol=1e-9, atol=1e-12, err_msg=text)
