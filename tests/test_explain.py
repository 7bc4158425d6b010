"""Derivations: what `mg.explain` writes is true, reads as a person writes it, and runs."""

import json
import re
import shutil
import subprocess
from importlib import import_module
from xml.dom import minidom

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.__main__ import main
from minigrad.explain import Derivation
from minigrad.explain.algebra import IDENTITIES, build
from minigrad.explain.expression import Number, Stage, Symbol, Total, expression, renamed, within
from minigrad.explain.helpers import Helpers
from minigrad.explain.source import _agrees, literal
from minigrad.explain.writers import Latex, MathML, Text, parse
from minigrad.op import draw_samples
from minigrad.testing.programs import draw_program
from models import LSTM, LSTMCell
from models.char_lm import CharLM


@pytest.fixture
def lstm(rng):
    """A loss of `T` named steps, an error at every step; `columns` in the batch, none without."""

    def run(T=4, columns=2, dtype=np.float64):
        batch = (columns,) if columns else ()
        cell = LSTMCell(3, 4, dtype=dtype, rng=rng)
        draw = lambda n: rng.normal(size=(n, *batch)).astype(dtype)  # noqa: E731
        a, c = (mg.tensor(draw(4), requires_grad=True) for _ in range(2))
        loss = mg.tensor(0.0, dtype=dtype)
        for t in range(1, T + 1):
            a, c = cell(draw(3), (a, c), t=t)
            loss = loss + mg.squared_error(a, draw(4))
        return cell, loss

    return run


def formulas(text):
    """By name: what stands behind the sign =, without shapes."""
    rows = (re.split(r" {4,}", line)[0].split(" = ", 1) for line in text.splitlines())
    return dict(rows)


def evaluate(expr, values):
    """The value of an expression, by the forward functions of its stages."""
    done = {}
    for part in within(expr):
        if isinstance(part, Symbol):
            done[id(part)] = values[part.name]
        elif isinstance(part, Number):
            done[id(part)] = np.full(part.shape, part.value)
        else:
            done[id(part)] = part.op.forward(*(np.asarray(done[id(p)]) if type(done[id(p)]) is not tuple else done[id(p)]
                                               for p in part.parts), **part.params)  # fmt: skip
    return done[id(expr)]


def assert_close(a, b, tolerance=1e-11):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1, np.abs(b).max(initial=0)))


def assert_every_equation_holds(derivation, seed=None):
    """Each equation by itself, on the recorded numbers."""
    values = {**derivation.given, "seed": seed}
    values |= {e.name: e.value for e in (*derivation.forward, *derivation.reverse)}
    for e in (*derivation.forward, *derivation.reverse):
        with np.errstate(all="ignore"):
            got = evaluate(e.expr, values)
        assert np.shape(got) == e.shape, e.name
        assert_close(got, e.value)


def run_numpy(derivation, *seed):
    """What the NumPy source computes, in a namespace of its own."""
    source = derivation.numpy()
    assert "minigrad" not in source
    space = {}
    exec(compile(source, "<derivation>", "exec"), space)
    with np.errstate(all="ignore"):
        return space["backward"](space["forward"](derivation.given), *seed)


def assert_numpy_is_autodiff(y, leaves, seed=None):
    derivation = mg.explain(y, leaves, seed=seed)
    got = run_numpy(derivation, *([] if seed is None else [seed]))
    for leaf in leaves:
        leaf.grad = None
    y.backward(seed)
    for name, leaf in zip(derivation.wrt, leaves, strict=True):
        want = np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.data
        assert np.shape(got[name.removeprefix("δ")]) == leaf.shape
        assert_close(got[name.removeprefix("δ")], want, 1e-4 if leaf.dtype == np.float32 else 1e-10)


# --- the LSTM, as LSTM.md has it -------------------------------------------------------------


def test_the_formula_of_the_fork_at_the_cell_state(lstm):
    _, loss = lstm()
    text = mg.explain(loss, wrt="c<2>").text(unroll=True)
    assert formulas(text)["δc<2>"] == "δa<2> ⊙ Γ_o<2> ⊙ (1 − tanh(c<2>)²) + δc<3> ⊙ Γ_f<3>"
    assert text.splitlines()[-1].endswith("(4, 2)")


def test_the_recursion_of_the_paper_comes_out(lstm):
    _, loss = lstm()
    text = str(mg.explain(loss))
    assert formulas(text) == {
        "δa<4>": "a<4> − v<4>",
        "δc<4>": "δa<4> ⊙ Γ_o<4> ⊙ (1 − tanh(c<4>)²)",
        "δsum_o<t>": "δa<t> ⊙ tanh(c<t>) ⊙ Γ_o<t> ⊙ (1 − Γ_o<t>)",
        "δsum_c<t>": "δc<t> ⊙ Γ_u<t> ⊙ (1 − c̃<t>²)",
        "δsum_u<t>": "δc<t> ⊙ c̃<t> ⊙ Γ_u<t> ⊙ (1 − Γ_u<t>)",
        "δsum_f<t>": "δc<t> ⊙ c<t−1> ⊙ Γ_f<t> ⊙ (1 − Γ_f<t>)",
        "δa<t>": "a<t> − v<t> + (W_fᵀ @ δsum_f<t+1> + W_uᵀ @ δsum_u<t+1> + W_cᵀ @ δsum_c<t+1> "
                 "+ W_oᵀ @ δsum_o<t+1>)[:4]",
        "δc<t>": "δa<t> ⊙ Γ_o<t> ⊙ (1 − tanh(c<t>)²) + δc<t+1> ⊙ Γ_f<t+1>",
        "δc<0>": "δc<1> ⊙ Γ_f<1>",
        "δa<0>": "(W_fᵀ @ δsum_f<1> + W_uᵀ @ δsum_u<1> + W_cᵀ @ δsum_c<1> + W_oᵀ @ δsum_o<1>)[:4]",
        **{f"δb_{g}": f"Σ_t sum(δsum_{g}<t>, axis=1)" for g in "ocuf"},
        **{f"δW_{g}": f"Σ_t δsum_{g}<t> @ z<t>ᵀ" for g in "ocuf"},
    }  # fmt: skip
    notes = {line.split(" = ")[0]: re.split(r" {4,}", line)[1] for line in text.splitlines()}
    assert notes["δa<4>"] == notes["δc<0>"] == "(4, 2)"
    assert notes["δc<t>"] == notes["δa<t>"] == "(4, 2), t = 3 … 1"
    assert notes["δsum_f<t>"] == "(4, 2), t = 4 … 1"
    assert notes["δW_f"] == "(4, 7), t = 1 … 4"


def test_each_named_node_has_its_line_when_nothing_is_inlined(lstm):
    _, loss = lstm()
    found = formulas(mg.explain(loss, "W_f", inline=False).text())
    assert found["δtanh_c<t>"] == "δa<t> ⊙ Γ_o<t>"
    assert found["δc<t>"] == "δtanh_c<t> ⊙ (1 − tanh_c<t>²) + δc<t+1> ⊙ Γ_f<t+1>"
    assert found["δΓ_f<t>"] == "δc<t> ⊙ c<t−1>"
    assert found["δsum_f<t>"] == "δΓ_f<t> ⊙ Γ_f<t> ⊙ (1 − Γ_f<t>)"
    assert found["δz<t>"] == " + ".join(f"W_{g}ᵀ @ δsum_{g}<t>" for g in "fuco")
    assert "δb_f" not in found


def test_one_sequence_has_outer_products(lstm):
    _, loss = lstm(columns=None)
    found = formulas(mg.explain(loss, ["W_f", "b_f"]).text())
    assert found["δW_f"] == "Σ_t δsum_f<t> ⊗ z<t>"
    assert found["δb_f"] == "Σ_t δsum_f<t>"


def test_the_fast_layer_by_its_cells(rng):
    lstm = LSTM(3, 4, layers=2, dtype=np.float64, rng=rng)
    x = mg.tensor(rng.normal(size=(3, 2, 3)), requires_grad=True, name="x")
    outputs, _ = lstm(x, named=True)
    found = formulas(str(mg.explain(mg.squared_error(outputs, rng.normal(size=(3, 2, 4))))))
    assert found["δlayer0/c<t>"] == ("δlayer0/a<t> ⊙ layer0/Γ_o<t> ⊙ (1 − tanh(layer0/c<t>)²) "
                                     "+ δlayer0/c<t+1> ⊙ layer0/Γ_f<t+1>")  # fmt: skip


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("columns", [None, 2, 4])
def test_every_equation_of_the_lstm_holds(lstm, inline, columns):
    _, loss = lstm(columns=columns)
    assert_every_equation_holds(mg.explain(loss, inline=inline))


# --- time steps ------------------------------------------------------------------------------


@pytest.mark.parametrize("inline", [True, False])
def test_a_formula_in_t_stands_for_the_formulas_it_replaces(lstm, inline):
    _, loss = lstm()
    derivation = mg.explain(loss, inline=inline)
    single = {line.name: line.expr for line in derivation.lines(unroll=True)}

    def at(expr, t):
        return renamed(expr, lambda name: re.sub(r"<t([+−]\d+)?>", lambda m: f"<{t + int((m[1] or '0').replace('−', '-'))}>", name))

    covered = set()
    for line in derivation.lines():
        for t in line.steps or (None,):
            name = line.name if t is None else line.name.replace("<t>", f"<{t}>")
            totals = [part for part in within(line.expr) if isinstance(part, Total)]
            if totals:
                (total,) = totals
                terms = [at(total.term, s) for s in range(total.first, total.last + 1)]
                want = terms[0]
                for term in terms[1:]:
                    want = Stage(mg.OPS["add"], (want, term), {}, term.shape)
                assert want == single[name]
            else:
                assert (line.expr if t is None else at(line.expr, t)) == single[name]
            covered.add(name)
    assert covered == single.keys()


def test_steps_that_differ_stay_apart(rng):
    x = mg.tensor(rng.normal(size=3), requires_grad=True, name="h<0>")
    h = x
    for t in range(1, 7):
        h = (np.sin(h) if t == 4 else np.tanh(h)).named(f"h<{t}>")
    text = str(mg.explain(h.sum(), inline=False))
    assert [re.split(r" {4,}", line)[1] for line in text.splitlines()] == ["(3,)"] * 4 + ["(3,), t = 2 … 0"]
    assert formulas(text) == {"δh<6>": "1", "δh<5>": "1 − h<6>²", "δh<4>": "δh<5> ⊙ (1 − h<5>²)",
                              "δh<3>": "δh<4> ⊙ cos(h<3>)", "δh<t>": "δh<t+1> ⊙ (1 − h<t+1>²)"}  # fmt: skip


def test_a_sum_over_uneven_steps_is_written_out(rng):
    w = mg.tensor(rng.normal(size=3), requires_grad=True, name="w")
    xs = {t: mg.tensor(rng.normal(size=3), requires_grad=True, name=f"x<{t}>") for t in (1, 2, 4)}
    y = mg.sum(sum((w * x for x in list(xs.values())[1:]), w * xs[1]))
    assert formulas(str(mg.explain(y, w))) == {"δw": "x<1> + x<2> + x<4>"}


# --- algebra ---------------------------------------------------------------------------------


@pytest.mark.parametrize("k", range(len(IDENTITIES)))
def test_both_sides_of_an_identity_are_equal(k, rng):
    left, right = IDENTITIES[k]
    xs = [rng.normal(size=(3, 3)) for _ in range(left.__code__.co_argcount)]
    np.testing.assert_array_equal(left(*xs), right(*xs))


def test_simplified_and_as_recorded_are_the_same_function(rng):
    """Shapes that stretch, sums back to them, pieces: each build against the bare stage."""
    x, col, row, s, z = (mg.tensor(rng.normal(size=n), requires_grad=True)
                         for n in ((3, 4), (3, 1), (4,), (), (2, 3, 4)))  # fmt: skip
    cases = {
        "row ⊙ x": lambda: np.broadcast_to(row, (3, 4)) * x,
        "row + s": lambda: np.broadcast_to(row + s, (4,)) * 1,
        "sum(x, axis=0)": lambda: mg.OPS["sum_to"](x, shape=(4,)),
        "sum(x, axis=1, keepdims=True)": lambda: mg.OPS["sum_to"](x, shape=(3, 1)),
        "sum(x, axis=1)": lambda: mg.OPS["sum_to"](x, shape=(3, 1)).reshape(3),
        "sum_to(z)": lambda: mg.OPS["sum_to"](z, shape=(3, 1)),
        "sum(z, axis=(0, 1))": lambda: mg.OPS["sum_to"](z, shape=(4,)),
        "sum(x)": lambda: mg.OPS["sum_to"](x, shape=()),
        "row ⊗ row": lambda: row[..., None] * row,
        "x[:, 1:3]": lambda: mg.split(x, [1, 3], axis=1)[1],
        "x[:, 3:]": lambda: mg.split(x, [1, 3], axis=1)[2],
        "x[:, 2:]": lambda: mg.split(x, 2, axis=-1)[1],
        "x[:, 2]": lambda: mg.unstack(x, axis=1)[2],
        "x − col": lambda: x + np.broadcast_to(-col, (3, 4)),
        "broadcast_to(row)": lambda: np.ones((3, 4)) * row,
        "6": lambda: mg.OPS["sum_to"](np.broadcast_to(mg.tensor(2.0), (3, 4)), shape=(1, 4)),
        "x − s": lambda: x - np.broadcast_to(s.reshape(1, 1), (3, 4)) * np.ones((3, 4)),
        "0 + col": lambda: np.zeros((3, 4)) + col,
        "row[…, None] ⊙ xᵀ": lambda: row[..., None] * x.mT,
        "reshape(x)": lambda: x.reshape(12).reshape(4, 3),
        "x": lambda: 0.5 * (2 * x),
        "1.5 ⊙ x": lambda: 0.75 * (2 * x),
        "0.1 ⊙ 3 ⊙ x": lambda: 0.1 * (3 * x),  # not exact
        "(z @ row)ᵀ": lambda: (z @ row).mT,
        "colᵀ @ x": lambda: (x.mT @ col).mT,
    }
    symbols = {n: Symbol(name, n.value.shape)
               for n, name in zip((t._node for t in (x, col, row, s, z)), ("x", "col", "row", "s", "z"), strict=True)}  # fmt: skip

    def constant(value):
        array = np.asarray(value)
        return Number(array.flat[0].item(), array.shape)

    values = {"x": x.data, "col": col.data, "row": row.data, "s": s.data, "z": z.data}
    for text, make in cases.items():
        with mg.record_all():
            y = make()
        simple = expression(y._node, symbols, build, constant)
        assert Text().write(simple) == text
        assert simple.shape == y.shape, text
        assert_close(evaluate(simple, values), y.data, 1e-13)


def test_ones_that_stretch_are_not_dropped(rng):
    x = mg.tensor(rng.normal(size=3), requires_grad=True, name="x")
    derivation = mg.explain((np.ones((2, 3)) * x).sum())
    assert re.fullmatch(r"sum\(v\d, axis=0\)", formulas(str(derivation))["δx"])  # the user's array stays an array
    assert_every_equation_holds(derivation)


def test_every_equation_of_random_programs_holds():
    for seed in range(40):
        program = draw_program(np.random.default_rng(seed))
        y = program(*(mg.tensor(x, requires_grad=True) for x in program.leaves()))
        for inline in (True, False):
            derivation = mg.explain(y, inline=inline)
            assert_every_equation_holds(derivation)
        assert derivation.table()
        assert derivation.latex()


# --- forks, names, seeds ---------------------------------------------------------------------


def test_contributions_stand_in_forward_order(rng):
    x = mg.tensor(rng.normal(size=3), requires_grad=True, name="x")
    y = (np.sin(x) + x * 3 - np.exp(x)).sum()
    assert formulas(str(mg.explain(y)))["δx"] == "cos(x) + 3 − exp(x)"


def test_without_names_values_are_numbered_in_the_order_they_were_made(rng):
    W1, W2, x = (mg.tensor(rng.normal(size=s), requires_grad=True) for s in ((3, 4), (2, 3), (4, 5)))
    derivation = mg.explain(mg.squared_error(W2 @ np.tanh(W1 @ x), rng.normal(size=(2, 5))))
    assert formulas(str(derivation)) == {
        "δv6": "v6 − v8", "δv4": "(v2ᵀ @ δv6) ⊙ (1 − v5²)", "δv3": "v1ᵀ @ δv4", "δv2": "δv6 @ v5ᵀ", "δv1": "δv4 @ v3ᵀ",
        "v4": "v1 @ v3", "v5": "tanh(v4)", "v6": "v2 @ v5"}  # fmt: skip
    assert_every_equation_holds(derivation)


def test_a_name_of_the_users_is_not_given_twice(rng):
    v1, other = (mg.tensor(rng.normal(size=2), requires_grad=True, name=n) for n in ("v1", None))
    assert formulas(str(mg.explain((v1 * other).sum()))) == {"δv2": "v1", "δv1": "v2"}


def test_what_one_node_hands_on_unchanged_keeps_its_own_name(rng):
    """In the reverse graph δs and δa are one node."""
    a = mg.tensor(rng.normal(size=2), requires_grad=True, name="a")
    h = np.sin(a).named("h")
    s = (h + 1).named("s")
    derivation = mg.explain((s * s).sum(), inline=False)
    assert formulas(str(derivation)) == {"δs": "s + s", "δh": "δs", "δa": "δh ⊙ cos(a)"}


def test_a_seed_and_a_leaf_that_nothing_reaches(rng):
    x, z = (mg.tensor(rng.normal(size=3), requires_grad=True, name=n) for n in "xz")
    seed = rng.normal(size=3)
    y = np.sin(x) + mg.floor(z)
    derivation = mg.explain(y, seed=seed)
    assert formulas(str(derivation)) == {"δx": "seed ⊙ cos(x)", "δz": "seed ⊙ 0"} or "δz" in str(derivation)
    assert_every_equation_holds(derivation, seed)
    assert_numpy_is_autodiff(y, [x, z], seed)


@pytest.mark.parametrize("wrt", ["W_f", ["W_f", "c<2>"], "Gamma_o<3>"])
def test_whose_adjoints_are_asked_for(lstm, wrt):
    cell, loss = lstm()
    derivation = mg.explain(loss, wrt)
    names = [wrt] if isinstance(wrt, str) else wrt
    assert list(derivation.wrt) == ["δ" + n.replace("Gamma", "Γ") for n in names]
    by_name = {e.name: e.value for e in derivation.reverse}
    grad = dict(zip(names, (mg.ledger(loss, n).gradient for n in names), strict=True))
    for name, want in grad.items():
        np.testing.assert_array_equal(by_name["δ" + name.replace("Gamma", "Γ")], want)
    assert "δW_o" not in by_name
    assert mg.explain(loss, cell.W_f).wrt == ("δW_f",)


def test_y_itself_may_be_asked_for():
    x = mg.tensor([1.0, 2.0], requires_grad=True, name="x")
    y = x.sum().named("y")
    assert formulas(str(mg.explain(y, [y, x]))) == {"δy": "1", "δx": "1"}


def test_errors_teach(lstm):
    _, loss = lstm(T=3)
    with pytest.raises(mg.MinigradError, match="y is float; a tensor that was computed"):
        mg.explain(3.0)
    with pytest.raises(mg.MinigradError, match="no node of this graph is called 'q'"):
        mg.explain(loss, "q")
    with pytest.raises(mg.MinigradError, match="requires no gradient"):
        mg.explain(loss, mg.tensor(1.0))
    with pytest.raises(mg.MinigradError, match="is no part of this graph"):
        mg.explain(loss, mg.tensor(1.0, requires_grad=True))
    with pytest.raises(mg.MinigradError, match="a scalar, or a seed of that shape"):
        mg.explain(mg.tensor([1.0, 2.0], requires_grad=True) * 2)
    loss.backward()
    with pytest.raises(mg.MinigradError, match="freed"):
        mg.explain(loss)


def test_it_leaves_no_trace(lstm):
    cell, loss = lstm(T=3)
    str(mg.explain(loss))
    assert cell.W_f.grad is None
    loss.backward()


def test_mg_explain_is_the_function_and_imports_find_the_package():
    assert import_module("minigrad.explain").explain is mg.explain
    assert import_module("minigrad.explain.ledger").ledger is mg.ledger


# --- the table -------------------------------------------------------------------------------


def test_the_table_has_both_traces_side_by_side():
    x = mg.tensor([0.5, -1.0], requires_grad=True, name="x")
    y = (np.tanh(x).named("h") * 3).sum().named("y")
    rows = [re.split(r" {2,}", line) for line in mg.explain(y).table().splitlines()]
    assert rows == [
        ["forward ↓", "shape", "value", "reverse ↑", "value"],
        ["x = given", "(2,)", "[ 0.5, −1. ]", "δx = 3 ⊙ (1 − h²)", "[2.3593, 1.2599]"],
        ["h = tanh(x)", "(2,)", "[ 0.4621, −0.7616]", "δh = 3", "[3., 3.]"],
        ["y = sum(h ⊙ 3)", "()", "−0.8984", "δy = 1", "1."]]  # fmt: skip


def test_the_table_shows_long_arrays_by_their_norm(lstm):
    _, loss = lstm()
    table = mg.explain(loss).table()
    (row,) = (line for line in table.splitlines() if line.startswith("c<2> = "))
    norm = np.linalg.norm(mg.ledger(loss, "c<2>").gradient)
    assert f"|·| {norm:.4g}" in row
    assert "tanh_c<2> = tanh(c<2>)" in table


# --- NumPy source ----------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [None, 2, 4])
def test_numpy_of_the_lstm(lstm, columns):
    cell, loss = lstm(columns=columns)
    assert_numpy_is_autodiff(loss, list(cell.parameters()))


def test_numpy_of_the_lstm_reads_like_a_derivation(lstm):
    _, loss = lstm()
    source = mg.explain(loss).numpy()
    assert "    δc_2 = δa_2 * Γ_o_2 * (1 - tanh_c_2**2) + δc_3 * Γ_f_3\n" in source
    assert "    δW_f = δsum_f_1 @ z_1.mT + δsum_f_2 @ z_2.mT + δsum_f_3 @ z_3.mT + δsum_f_4 @ z_4.mT\n" in source
    assert "    c_2 = c_1 * Γ_f_2 + Γ_u_2 * c̃_2\n" in source


@pytest.mark.parametrize("named", [True, False])
def test_numpy_of_the_lstm_layer(rng, named):
    lstm = LSTM(3, 4, layers=2, dtype=np.float64, rng=rng, initial="trained")
    outputs, (a, c) = lstm(rng.normal(size=(3, 2, 3)), named=named)
    assert_numpy_is_autodiff((outputs**2).sum() + (a * c).sum(), list(lstm.parameters()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpy_of_the_character_model(rng, dtype):
    model = CharLM(5, 4, layers=2, embedding=3, dtype=dtype, rng=rng)
    scores, _ = model(rng.integers(0, 5, (4, 2)))
    loss = mg.cross_entropy(scores.reshape(8, 5), rng.integers(0, 5, 8))
    assert_numpy_is_autodiff(loss, list(model.parameters()))


def test_numpy_of_convolution_pooling_and_cross_entropy(rng):
    x, k, W = (mg.tensor(rng.normal(size=s), requires_grad=True) for s in ((2, 1, 6, 6), (2, 1, 3, 3), (8, 3)))
    h = mg.max_pool2d(mg.relu(mg.conv2d(x, k)), 2).reshape(2, -1)
    assert_numpy_is_autodiff(mg.cross_entropy(h @ W, np.array([0, 2])), [x, k, W])
    h = mg.max_pool2d(mg.conv2d(x, k, padding=1), 3, padding=1)  # a window that reaches over the border
    assert_numpy_is_autodiff((h**2).sum(), [x, k])


def test_numpy_of_layer_norm_and_an_mlp(rng):
    x, g, b = (mg.tensor(rng.normal(size=s), requires_grad=True) for s in ((3, 6), 6, 6))
    assert_numpy_is_autodiff((mg.layer_norm(x, g, b) ** 3).mean(), [x, g, b])
    first, last = nn.Linear(6, 4, rng=rng), nn.Linear(4, 2, rng=rng)
    loss = mg.mse_loss(last(np.tanh(first(rng.normal(size=(5, 6)).astype(np.float32)))),
                       rng.normal(size=(5, 2)).astype(np.float32))  # fmt: skip
    assert_numpy_is_autodiff(loss, [*first.parameters(), *last.parameters()])


def test_numpy_at_a_pole_obeys_the_zero_cotangent_law():
    x = mg.tensor([0.0, 4.0], requires_grad=True)
    assert_numpy_is_autodiff(mg.where(x > 0, mg.sqrt(x), x).sum(), [x])


def test_numpy_of_random_programs():
    done = refused = 0
    for seed in range(80):
        program = draw_program(np.random.default_rng(seed))
        leaves = [mg.tensor(x, requires_grad=True) for x in program.leaves()]
        y = program(*leaves)
        try:
            assert_numpy_is_autodiff(y, leaves)
        except mg.errors.ArgumentError as error:
            if "has no source that needs NumPy alone" not in str(error):
                raise
            refused += 1
        else:
            done += 1
    assert done > 2 * refused


def test_numpy_stays_linear_in_the_size_of_the_graph(rng):
    def length(n):
        h = mg.tensor(rng.normal(size=3), requires_grad=True)
        for _ in range(n):
            h = h * np.tanh(h) + h
        return len(mg.explain(h.sum()).numpy())

    assert length(80) - length(40) < 1.2 * (length(40) - length(1)) * 40 / 39


def test_numpy_of_an_op_of_the_users(user_op, rng):
    isru = user_op("isru", lambda x, /: x / np.sqrt(1 + x * x), lambda g, y, x: g / (1 + x * x) ** 1.5)
    x = mg.tensor(rng.normal(size=3), requires_grad=True)
    assert_numpy_is_autodiff((isru(isru(x)) * x).sum(), [x])


def test_an_op_without_source_is_refused(user_op):
    space = {"np": np}
    exec("def forward(x, /): return np.sin(x)", space)
    op = user_op("sourceless", space["forward"], lambda g, y, x: g * y)
    x = mg.tensor([1.0], requires_grad=True)
    with pytest.raises(mg.MinigradError, match="op 'sourceless' has no source that needs NumPy alone"):
        mg.explain((op(x)).sum()).numpy()


def test_a_long_formula_is_written_to_its_end(rng):
    w = mg.tensor(rng.normal(size=3), requires_grad=True, name="w")
    y = sum(((w * mg.tensor(rng.normal(size=3), name=f"input_{k}")).sum() for k in range(300)), mg.tensor(0.0))
    assert formulas(str(mg.explain(y)))["δw"].count(" + ") == 299


# --- LaTeX, MathML, data ---------------------------------------------------------------------


@pytest.mark.parametrize(("name", "latex"), [
    ("c<2>", r"c^{\langle 2\rangle}"), ("Γ_f<t+1>", r"\Gamma_{f}^{\langle t+1\rangle}"),
    ("δc̃<2>", r"\delta \tilde{c}^{\langle 2\rangle}"), ("W_f", "W_{f}"), ("v12", "v_{12}"), ("x₁", "x_{1}"),
    ("layer1/c<2>", r"\text{layer1/}c^{\langle 2\rangle}"), ("δsum_f<t−1>", r"\delta \mathrm{sum}_{f}^{\langle t-1\rangle}"),
    ("50% & more", r"\mathrm{50\% \& more}")])  # fmt: skip
def test_names_in_latex(name, latex):
    assert Latex().symbol(name) == latex
    minidom.parseString(f"<math>{MathML().symbol(name)}</math>")


def test_a_name_is_taken_apart():
    assert parse("δlayer1/Γ_f<2>") == (True, "layer1", "Γ", "f", "2")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no LaTeX here")
def test_latex_compiles(lstm, rng, tmp_path):
    _, loss = lstm()
    x, β = (mg.tensor(rng.normal(size=(2, 3)), requires_grad=True, name=n) for n in ("x_in", "β_1"))
    odd = mg.where(x > 0, mg.abs(x) ** 2.5 / 1e-7, np.exp(β)[:, None, 0] * x.mT[:1, :1]) @ β.mT
    parts = [mg.explain(loss), mg.explain(loss, inline=False), mg.explain(odd.sum())]
    for seed in range(10):
        program = draw_program(np.random.default_rng(seed))
        parts.append(mg.explain(program(*(mg.tensor(x, requires_grad=True) for x in program.leaves()))))
    body = "".join(part.latex() for part in parts)
    (tmp_path / "d.tex").write_text("\\documentclass{article}\\usepackage{amsmath}\\begin{document}\n"
                                    f"{body}\\end{{document}}\n", encoding="utf-8")  # fmt: skip
    run = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "d.tex"], cwd=tmp_path,
                         capture_output=True, text=True, errors="replace", check=False)  # fmt: skip
    assert run.returncode == 0, run.stdout[-2000:]


def test_mathml_is_well_formed():
    for seed in range(10):
        program = draw_program(np.random.default_rng(seed))
        data = mg.explain(program(*(mg.tensor(x, requires_grad=True) for x in program.leaves()))).data()
        for equation in data["reverse"]:
            minidom.parseString(f"<math>{equation['mathml']}</math>")


def test_data_is_json(lstm):
    _, loss = lstm()
    data = json.loads(json.dumps(mg.explain(loss).data()))
    (fork,) = (e for e in data["reverse"] if e["name"] == "δc<2>")
    assert fork["formula"] == "δa<2> ⊙ Γ_o<2> ⊙ (1 − tanh(c<2>)²) + δc<3> ⊙ Γ_f<3>"
    np.testing.assert_array_equal(fork["value"], mg.ledger(loss, "c<2>").gradient)
    assert [line["steps"] for line in data["lines"] if line["name"] == "δc<t>"] == [[3, 2, 1]]


# --- the command -----------------------------------------------------------------------------


def test_the_command_explains_an_expression(capsys):
    assert main(["explain", "tanh(W @ x).sum() * s", "W=2x3", "x=3", "s=scalar", "--wrt", "W"]) == 0
    assert formulas(capsys.readouterr().out) == {"δv1": "s ⊙ (1 − tanh(W @ x)²)", "δW": "δv1 ⊗ x"}
    for form, text in (("--latex", r"\begin{align*}"), ("--numpy", "def backward(values):"), ("--table", "reverse ↑"),
                       ("--json", '"mathml"'), ("--each", "δW")):  # fmt: skip
        assert main(["explain", "tanh(W @ x).sum()", "W=2x3", "x=3", form]) == 0
        assert text in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "message"), [
    (["W"], "write NAME=SHAPE"), (["W=2x"], "write NAME=SHAPE"), (["W=2x2", "--wrt", "q"], "no node of this graph"),
])  # fmt: skip
def test_the_command_says_what_it_needs(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(["explain", "sum(W)", *arguments])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("expression", "message"), [
    ("foo(W)", "'foo' is not defined"), ("W + 1", "a scalar"), ("W.__class__", "no part of a formula"), ("(W", "never closed"),
    ("open('x')", "'open' is not defined")])  # fmt: skip
def test_the_command_runs_formulas_alone(expression, message, capsys):
    with pytest.raises(SystemExit):
        main(["explain", expression, "W=2"])
    assert message in capsys.readouterr().err


def test_a_derivation_prints(lstm):
    _, loss = lstm(T=3)
    derivation = mg.explain(loss)
    assert isinstance(derivation, Derivation)
    assert str(derivation) == derivation.text()


# --- the parts -------------------------------------------------------------------------------


def test_the_copied_source_of_an_op_does_what_the_op_does():
    """Over the registry: each op's `forward`, as text, in a namespace of its own."""
    refused = set()
    for name, op in mg.OPS.items():
        if isinstance(op.forward, np.ufunc) or op.family in ("define", "conftest"):
            continue
        helpers = Helpers(set())
        try:
            call = helpers.of(op)
        except mg.errors.ArgumentError:
            refused.add(name)
            continue
        space = {"np": np}
        exec("\n".join(helpers.source()), space)
        for inputs, params in draw_samples(op, np.random.default_rng(0)):
            arrays = [np.asarray(x) for x in inputs]
            words = {k: eval(literal(v), {"np": np}) for k, v in params.items()}
            with np.errstate(all="ignore"):
                try:
                    want = op.forward(*arrays, **params)
                except ValueError:  # refused: the smallest of nothing
                    continue
                got = space[call](*arrays, **words)
            for a, b in zip(*((y if type(y) is tuple else (y,)) for y in (want, got)), strict=True):
                np.testing.assert_array_equal(a, b, err_msg=name)
    assert refused == {"digamma", "polygamma", "hazard", "gammaln", "erf", "erfc", "erfinv", "ndtr", "ndtri", "log_ndtr",
                       "gelu", "einsum", "dropout_mask", "normal"}  # SciPy's, and what is more than a function # fmt: skip


def test_lambdas_on_one_line_are_told_apart():
    several = [lambda x: x + 1, lambda x: x - 1, lambda x: (lambda y: y * 1)(x) / 1 if len(x) else x * 1]
    for function in several:
        helpers = Helpers(set())
        space = {"np": np}
        name = helpers._function(function, "f")
        exec("\n".join(helpers.source()), space)
        np.testing.assert_array_equal(space[name](np.array([2.0, 5.0])), function(np.array([2.0, 5.0])))


def test_a_helper_does_not_fall_over_a_local_variable(user_op, rng):
    """The op is called `total` in the text, and so is a variable of who calls it."""
    inner = user_op("total", lambda x, /: np.sum(x, keepdims=True), lambda g, y, x: g + 0 * x).op

    def forward(x, /):
        total = inner.forward(x)
        return x / total

    outer = user_op("part", forward, lambda g, y, x: forward(x) * g)
    x = mg.tensor(rng.uniform(1, 2, 3), requires_grad=True, name="x")
    derivation = mg.explain((outer(x) ** 2).sum())
    space = {}
    exec(derivation.numpy(), space)
    got = space["backward"](space["forward"](derivation.given))["x"]
    assert_close(got, derivation.reverse[-1].value)


def test_a_number_given_to_a_helper_is_an_array(rng):
    x = mg.tensor(rng.normal(size=3), requires_grad=True)
    with mg.record_all():
        y = (mg.sigmoid(mg.tensor(0.5)) * x).sum()
    assert_numpy_is_autodiff(y, [x])


def test_what_rounds_otherwise_keeps_its_brackets():
    x, y, z = (mg.tensor([v], requires_grad=True, name=n) for n, v in (("x", 1e200), ("y", 1e200), ("z", 1e300)))
    assert_numpy_is_autodiff(((x * (y / z) * 1e-100) ** 2).sum(), [x, y, z])


def test_a_numpy_function_that_does_another_thing_is_no_spelling():
    x = Symbol("x", (2, 3))
    stage = Stage(mg.OPS["sum"], (x,), {"axis": 0}, (3,))
    assert _agrees(np.sum, stage, {"axis": 0}, [])
    assert not _agrees(np.mean, stage, {"axis": 0}, [])
    assert not _agrees(np.sum, stage, {"axis": 0, "keepdims": True}, [])
    assert stage != Stage(mg.OPS["sum"], (x,), {"axis": 1}, (3,))


def test_an_index_of_nothing(rng):
    x = mg.tensor(rng.normal(size=(2, 3)), requires_grad=True, name="x")
    y = (np.sin(x)[()].named("y") ** 2).sum()
    assert_numpy_is_autodiff(y, [x])
    assert "y = sin(x)[()]" in mg.explain((np.sin(x)[()].named("y") ** 2).sum()).table()


def test_what_is_needed_twice_is_computed_once(rng):
    u = mg.tensor(rng.normal(size=(3, 2)), requires_grad=True, name="u")
    body = mg.explain((mg.softmax(u) ** 2).sum()).numpy().partition("def backward")[2]
    assert body.count("softmax(") == 1


def test_the_outputs_of_one_stage_have_their_names(rng):
    A = mg.tensor(rng.normal(size=(3, 3)), requires_grad=True, name="A")
    w, V = mg.linalg.eigh(A)
    w.named("w")
    V.named("V")
    derivation = mg.explain((w**2).sum() + (V[0] * np.arange(3.0)).sum(), inline=False)
    assert {"δV", "δw", "δA"} == set(formulas(str(derivation)))
    assert "eigh" not in formulas(str(derivation))["δA"]
    assert "δV" in formulas(str(derivation))["δA"]
    assert_every_equation_holds(derivation)


def test_a_graph_with_a_checkpoint_in_it(rng):
    x = mg.tensor(rng.normal(size=3), requires_grad=True, name="x")
    y = mg.checkpoint(lambda x: np.sin(x) * x)(x).sum()
    assert formulas(str(mg.explain(y))) == {"δx": "sin(x) + x ⊙ cos(x)"}
    assert "recomputed(x)" in mg.explain(y).table()
    assert_numpy_is_autodiff(y, [x])
