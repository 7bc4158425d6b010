"""Blame: the guilty stage of a hand derivation, by name, and what went wrong there."""

import inspect
import json
import sys
import types

import numpy as np
import pytest

import minigrad as mg
from benchmarks import notebooks
from benchmarks.blame import CORPUS, Slip, derivation, problem, totals
from minigrad.explain import Kind, Status, step_of
from minigrad.explain.chain import Chain
from models import lstm_manual
from models.__main__ import main
from models.compare import random_problem, record

PARAMETERS = (*lstm_manual.WEIGHTS, *lstm_manual.BIASES)


def by_name(verdict):
    return {c.name: c for c in verdict.culprits}


@pytest.fixture(scope="module")
def asked():
    return problem(7)


@pytest.mark.parametrize("slip", CORPUS, ids=lambda slip: slip.name)
def test_a_slip_is_found_at_its_stage_and_named(asked, slip):
    verdict = asked.judge(derivation(slip))
    assert verdict.culprits
    assert set(by_name(verdict)) <= slip.names()
    assert {c.kind for c in verdict.culprits} <= slip.kinds


def test_every_line_of_the_derivation_is_in_the_corpus():
    """A slip that changes nothing would be found nowhere: each entry changes the source."""
    assert len(CORPUS) >= 40
    assert len({slip.wrong for slip in CORPUS}) == len(CORPUS)
    with pytest.raises(ValueError, match="no longer has the line"):
        derivation(Slip("none", "δa = nothing", "", (), set()))


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (3, 2, 3, 4), (4, 4, 5, 4), (6, 3, 2, 5)])
def test_right_derivations_are_not_blamed(sizes):
    for seed in range(5):
        asked = problem(seed, *sizes)
        for only in (lambda key: True, totals, lambda key: key in PARAMETERS):
            verdict = asked.judge(lstm_manual.backward, only)
            assert verdict.ok, verdict
            assert str(verdict) == f"all {len(verdict.judged)} given arrays are right"


def test_two_independent_slips_are_both_found(asked):
    by = {slip.name: slip for slip in CORPUS}
    p, q = by["c fork: Γ_f without δc (E1, the paper)"], by["σ': tanh's"]
    found = set(by_name(asked.judge(derivation(p, q))))
    assert found == p.names() | q.names()


def test_the_rest_follows_from_the_culprit(asked):
    """One slip makes nearly everything differ; only its own stage is charged."""
    verdict = asked.judge(derivation(CORPUS[0]), totals)
    assert set(by_name(verdict)) == {f"a<{t}>" for t in range(1, 5)}
    others = {j.name: j for j in verdict.judged if not j.name.startswith("a<") or j.name == "a<0>"}
    assert {j.status for j in others.values()} == {Status.FOLLOWS}
    assert others["W_f"].error > 0.1
    assert "differ from the true adjoints only because of these" in str(verdict)


def test_a_number_written_down_wrongly_is_charged_alone(asked):
    """What was derived from the right adjoint is right, though it does not follow from what is written."""
    manual = lstm_manual.backward(asked.cache, asked.d_outputs)
    manual["c<2>"] = -manual["c<2>"]
    (culprit,) = mg.blame(asked.error, manual).culprits
    assert (culprit.name, culprit.kind) == ("c<2>", Kind.SIGN)


def test_what_is_missing_is_carried_by_the_true_rules(asked):
    backward = derivation(next(s for s in CORPUS if s.name == "c fork: Γ_f without δc (E1, the paper)"))
    grads = backward(asked.cache, asked.d_outputs)
    verdict = mg.blame(asked.error, {k: grads[k] for k in ("c<3>", "sum_f<2>", "W_f")})
    found = by_name(verdict)
    assert set(found) == {"c<3>", "sum_f<2>", "W_f"}
    assert {j.name: j.origin for j in verdict.judged}["sum_f<2>"] == ("autodiff", "c<3>")
    assert all("must multiply it" in c.diagnosis for c in found.values())


@pytest.mark.parametrize("printed", ["all", "one"])
def test_the_papers_printed_formula_is_blamed_on_the_c_fork(printed):
    """From nothing but the parameters' gradients."""
    asked = problem(3)
    grads = lstm_manual.document_literal(asked.cache, asked.d_outputs)
    verdict = mg.blame(asked.error, {k: grads[k] for k in (PARAMETERS if printed == "all" else ["W_f"])})
    assert {c.kind for c in verdict.culprits} == {Kind.NO_UPSTREAM}
    assert {c.stage for c in verdict.culprits} == {"multiply in c<t+1>"}
    assert "the branch via c<t+1> is the bare local derivative: δc<t+1> must multiply it" in str(verdict)


def test_no_diagnosis_is_made_up(asked, rng):
    manual = lstm_manual.backward(asked.cache, asked.d_outputs)
    manual["Γ_f<2>"] = rng.normal(size=manual["Γ_f<2>"].shape)
    (culprit,) = mg.blame(asked.error, manual).culprits
    assert (culprit.name, culprit.kind) == ("Γ_f<2>", Kind.UNKNOWN)
    assert culprit.diagnosis == "no slip that is known here gives these numbers"


def test_wrong_shapes_and_numbers_are_culprits_not_exceptions(asked):
    right = lstm_manual.backward(asked.cache, asked.d_outputs)
    manual = dict(right) | {"W_f": right["W_f"].T, "b_f": right["sum_f<1>"], "b_u": right["b_u"][:, None],
                            "c<3>": np.full((4, 2), np.nan), "z<2>": right["z<2>"][:3]}  # fmt: skip
    kinds = {c.name: c.kind for c in mg.blame(asked.error, manual).culprits}
    assert kinds == {"W_f": Kind.TRANSPOSE, "b_f": Kind.SHAPE, "b_u": Kind.SHAPE, "c<3>": Kind.NOT_FINITE,
                     "z<2>": Kind.SHAPE}  # fmt: skip


def test_rows_stacks_tensors_and_ascii_names_are_understood(asked):
    right = lstm_manual.backward(asked.cache, asked.d_outputs)
    manual = {"c": np.stack([right[f"c<{t}>"].T for t in range(1, 5)]), "Gamma_f<2>": mg.tensor(right["Γ_f<2>"]),
              "c_tilde<3>": right["c̃<3>"].T, "x": right["x"]}  # fmt: skip
    verdict = mg.blame(asked.error, manual)
    assert verdict.ok
    assert len(verdict.judged) == 4 + 2 + 4
    manual["c"][1] *= 2
    assert set(by_name(mg.blame(asked.error, manual))) == {"c<2>"}


def test_float32_is_judged_by_its_own_precision():
    drawn = random_problem(3, 2, 3, 4)
    error, _ = record(drawn)
    cache = lstm_manual.forward({k: v.astype("f4") for k, v in drawn.params.items()}, *(
        v.astype("f4") for v in (drawn.x, drawn.a0, drawn.c0)))  # fmt: skip
    grads = lstm_manual.backward(cache, (cache["outputs"] - drawn.target).astype("f4"))
    assert grads["W_f"].dtype == np.float32
    manual = {k: v for k, v in grads.items() if k not in ("a<0>", "c<0>", "x")}
    assert mg.blame(error, manual).ok
    assert not mg.blame(error, manual, rtol=1e-12).ok


def test_what_is_asked_wrongly_is_told(asked):
    with pytest.raises(mg.MinigradError, match="no node of this graph is called 'W_q'; one of W_c, W_f"):
        mg.blame(asked.error, {"W_q": np.zeros(2)})
    with pytest.raises(mg.MinigradError, match="'c<2> via a<2>' is no branch of c<2>; one of c<2> via c<3>, c<2> via tanh_c<2>"):
        mg.blame(asked.error, {"c<2> via a<2>": np.zeros((4, 2))})
    with pytest.raises(mg.MinigradError, match=r"y has shape \(2,\); a scalar, or a seed"):
        mg.blame(mg.tensor([1.0, 2.0], requires_grad=True) * 2, {})
    x = mg.tensor([1.0, 2.0], requires_grad=True, name="x")
    y = np.sum(x * x)
    y.backward()
    with pytest.raises(mg.MinigradError, match="freed"):
        mg.blame(y, {"x": x.data})


# --- forward values ------------------------------------------------------------------------


def forward(right, wrong):
    source = inspect.getsource(lstm_manual.forward)
    assert source.count(right) == 1
    space = dict(lstm_manual.forward.__globals__)
    exec(source.replace(right, wrong), space)
    return space["forward"]


C, A = "c = c * Γ_f + Γ_u * c̃", "a = tanh_c * Γ_o"


@pytest.mark.parametrize(("right", "wrong", "family", "kind"), [
    (C, "c = c * 0 + np.sum(c * Γ_f) + Γ_u * c̃", "c", Kind.DOT),
    (C, "c = c * Γ_f + Γ_u + c̃", "c", Kind.SUM_FOR_PRODUCT),
    (C, "c = c * Γ_u + Γ_u * c̃", "c", Kind.NEIGHBOUR),
    (C, "c = c * Γ_f", "c", Kind.DROPPED),
    (A, "a = c * Γ_o", "a", Kind.NEIGHBOUR),
    (A, "a = tanh_c", "a", Kind.DROPPED),
    ("tanh_c = np.tanh(c)", "tanh_c = sigmoid(c)", "tanh_c", Kind.FUNCTION),
    ("tanh_c = np.tanh(c)", "tanh_c = c", "tanh_c", Kind.FORGOTTEN),
    ("z = np.concatenate([a, x_t])", "z = np.concatenate([x_t, a])", "z", Kind.ORDER),
    ("sum_o = W_o @ z + b_o", "sum_o = W_o @ z", "sum_o", Kind.DROPPED),
])  # fmt: skip
def test_a_slip_in_the_forward_pass_is_found_first(right, wrong, family, kind):
    drawn = random_problem(3, 2, 3, 4)
    error, _ = record(drawn)
    cache = forward(right, wrong)(drawn.params, drawn.x, drawn.a0, drawn.c0)
    grads = lstm_manual.backward(cache, cache["outputs"] - drawn.target)
    values = {k: v for k, v in cache.items() if "<" in k}
    verdict = mg.blame(error, {k: v for k, v in grads.items() if k not in ("a<0>", "c<0>", "x")}, values=values)
    assert {(c.name, c.kind, c.forward) for c in verdict.culprits} == {(f"{family}<{t}>", kind, True) for t in (1, 2, 3)}
    assert "not judged, since they rest on a wrong value" in str(verdict)


def test_right_values_change_nothing(asked):
    values = {k: v for k, v in asked.cache.items() if "<" in k}
    assert mg.blame(asked.error, lstm_manual.backward(asked.cache, asked.d_outputs), values=values).ok


# --- code as it is -------------------------------------------------------------------------

NOTEBOOK = '''
"""An LSTM in somebody's own words: batches in rows, [x, h], input gate i, candidate g."""
import numpy as np

def sigmoid(v):
    return 1 / (1 + np.exp(-v))

def forward(W, xs, h0, c0):
    h, c, hs, saved = h0, c0, [], []
    for t in range(len(xs)):
        X = np.concatenate([xs[t], h], axis=1)
        f, i = sigmoid(X @ W["Wf"] + W["bf"]), sigmoid(X @ W["Wi"] + W["bi"])
        g, o = np.tanh(X @ W["Wg"] + W["bg"]), sigmoid(X @ W["Wo"] + W["bo"])
        c_old = c
        c = f * c + i * g
        tc = np.tanh(c)
        h = o * tc
        hs.append(h)
        saved.append((X, f, i, g, o, c_old, c, tc))
    return hs, saved

def step(dh, dc_next, saved, W, grads):
    X, f, i, g, o, c_old, c, tc = saved
    do = dh * tc
    dc = dh * o * (1 - tc**2) + dc_next
    df = dc * c_old
    di = dc * g
    dg = dc * i
    dzf = df * f * (1 - f)
    dzi = di * i * (1 - i)
    dzg = dg * (1 - g**2)
    dzo = do * o * (1 - o)
    for k, dz in zip("figo", (dzf, dzi, dzg, dzo)):
        grads["dW" + k] += X.T @ dz
        grads["db" + k] += dz.sum(0)
    dX = dzf @ W["Wf"].T + dzi @ W["Wi"].T + dzg @ W["Wg"].T + dzo @ W["Wo"].T
    dc_prev = dc * f
    return dX, dc_prev

def backward(W, saved, ys, hs, n_x):
    grads = {"d" + k: np.zeros_like(v) for k, v in W.items()}
    dh_next, dc_next = np.zeros_like(hs[0]), np.zeros_like(hs[0])
    for t in reversed(range(len(hs))):
        dh = hs[t] - ys[t] + dh_next
        dX, dc_next = step(dh, dc_next, saved[t], W, grads)
        dh_next = dX[:, n_x:]
    return grads
'''


def notebook(right="", wrong=""):
    assert not right or NOTEBOOK.count(right) == 1
    module = types.ModuleType("notebook")
    exec(compile(NOTEBOOK.replace(right, wrong) if right else NOTEBOOK, "notebook.py", "exec"), module.__dict__)
    return module


def blamed(right="", wrong="", **options):
    rng = np.random.default_rng(5)
    T, B, n_x, n = 4, 2, 3, 5
    W = {f"W{k}": rng.normal(size=(n_x + n, n)) / 2 for k in "figo"} | {f"b{k}": rng.normal(size=n) / 2 for k in "figo"}
    xs, ys, (h0, c0) = rng.normal(size=(T, B, n_x)), rng.normal(size=(T, B, n)), rng.normal(size=(2, B, n))
    code = notebook(right, wrong)
    hs, saved = code.forward(W, xs, h0, c0)
    leaves = {k: mg.tensor(v, requires_grad=True, name=k) for k, v in W.items()}
    outputs, _ = mg.name_locals(code.forward, leaves, xs, *(mg.tensor(s, requires_grad=True) for s in (h0, c0)))
    loss = sum(mg.squared_error(h, y) for h, y in zip(outputs, ys, strict=True))
    return mg.blame_function(code.backward, W, saved, ys, hs, n_x, of=loss, **options)


def test_a_notebook_is_matched_as_it_stands():
    verdict = blamed()
    assert verdict.ok, verdict
    keys = set(verdict.matched)
    for family in ("h", "c", "f", "i", "g", "o", "X", "f{} before activation", "o{} before activation"):
        assert {family.format(f"<{t}>") if "{" in family else f"{family}<{t}>" for t in range(1, 5)} <= keys
    assert {f"{w}{k}" for w in "Wb" for k in "figo"} <= keys
    assert set(verdict.result) == {f"d{w}{k}" for w in "Wb" for k in "figo"}
    assert "local arrays were matched to nodes" in str(verdict)


@pytest.mark.parametrize(("right", "wrong", "guilty", "kind"), [
    ("dc_prev = dc * f", "dc_prev = f", "c", Kind.NO_UPSTREAM),
    ("* (1 - tc**2) + dc_next", "* (1 - tc**2)", "c", Kind.HANDOVER),
    ("* (1 - tc**2) + dc_next", "* (1 - c**2) + dc_next", "c", Kind.DERIVATIVE),
    ("df = dc * c_old", "df = dc * c", "f", Kind.TIME_SHIFT),
    ("dzi = di * i * (1 - i)", "dzi = di * i", "i before activation", Kind.DERIVATIVE),
    ("dzi = di * i * (1 - i)", "dzi = df * i * (1 - i)", "i before activation", Kind.NEIGHBOUR),
    ('dzf @ W["Wf"].T', 'dzf @ W["Wo"].T', "X", Kind.NEIGHBOUR),
    ("do = dh * tc", "do = dh", "o", Kind.FORGOTTEN),
    ("dh = hs[t] - ys[t]", "dh = ys[t] - hs[t]", "h", Kind.SIGN),
])  # fmt: skip
def test_a_slip_in_a_notebook_is_found_with_its_line(right, wrong, guilty, kind):
    verdict = blamed(right, wrong)
    assert verdict.culprits
    assert {step_of(c.name).family for c in verdict.culprits} == {guilty}
    assert {c.kind for c in verdict.culprits} == {kind}
    variable = right.partition(" =")[0].strip()
    if " = " in right and variable != "dc_prev":
        assert all(f"{variable} (line " in c.line for c in verdict.culprits)


def test_what_names_do_not_say_can_be_told():
    verdict = blamed("dh_next = dX[:, n_x:]", "dh_next = mystery = -dX[:, n_x:]", names={"mystery": "h<t-1> via X<t>"})
    assert set(by_name(verdict)) == {f"h<{t}> via X<{t + 1}>" for t in (0, 1, 2, 3)}
    assert {c.kind for c in verdict.culprits} == {Kind.SIGN}


IN_OTHER_STYLES = [
    ("cell", "dft with it(1-it)", "dft", "ft before activation", "the derivative of ft<t> is taken at it<t> in place of ft<t>"),
    ("fused", "dcnext without f", "dcnext", "c", "the local derivative of multiply in c<t+1> is forgotten"),
    ("fused", "gates in the wrong order", "dz4", "pre", "of its 4 blocks along axis 1 stand, in this order, number 1, 2, 4, 3"),
    ("steps", "bias as a scalar sum", "self.dbi", "bi", "is summed to one number"),
    ("gru", "(1-z) for z in the carry", "dh_next", "h", "1 − z<t> stands where z<t> belongs"),
    ("mlp", "dropout mask forgotten", "dA1", "A1", "the local derivative of multiply in D1 is forgotten"),
    ("mlp", "weight decay forgotten", "dW1", "W1", "the others are missing"),
]


@pytest.mark.parametrize(("style", "name", "variable", "family", "says"), IN_OTHER_STYLES)
def test_a_slip_in_code_of_any_style_is_charged_to_its_line(style, name, variable, family, says):
    (slip,) = [s for s in notebooks.CORPUS if (s.style, s.name) == (style, name)]
    verdict, lines = notebooks.judge(style, slip)
    assert {step_of(c.name.partition(" via ")[0].partition(" at t=")[0]).family for c in verdict.culprits} == {family}
    assert {c.line for c in verdict.culprits} == {f"{variable} (line {line})" for line in lines}
    assert {c.kind for c in verdict.culprits} <= slip.kinds
    assert says in str(verdict)
    assert f"{variable} (line " in str(verdict)


@pytest.mark.parametrize("style", notebooks.STYLES)
def test_right_code_of_any_style_is_matched_and_not_blamed(style):
    for seed, sizes in ((1, {}), (2, {"T": 1, "B": 1}), (3, {"n_x": 1, "n_a": 1}), (4, {"T": 2, "B": 2, "n_a": 2})):
        verdict, _ = notebooks.judge(style, seed=seed, **sizes)
        assert verdict.ok, verdict
    verdict, _ = notebooks.judge(style)
    assert len(verdict.matched) >= (8 if style == "mlp" else 25)
    assert set(verdict.unmatched) <= {"dX", "dx", "dxs", "dxt", "gradients['dxt']", "result['dx']", "tc", "tanh_c", "x", "xt"}


def test_name_locals_names_arguments_entries_and_what_changes_in_a_loop():
    def forward(p, h, x):
        for _ in range(3):
            w = p["W"]
            h = np.tanh(h @ w + x)
        total = np.sum(h)
        return total * 2

    W, h, x = (mg.tensor(v, requires_grad=True) for v in (np.eye(2), np.ones((1, 2)), np.ones((1, 2))))
    y = mg.name_locals(forward, {"W": W}, h, x)
    assert (W.name, h.name, x.name) == ("W", "h<0>", "x")
    assert set(Chain(y._node, np.ones(())).nodes) >= {"W", "x", "h<0>", "h<1>", "h<2>", "h<3>", "total"}


def test_what_is_no_python_function_is_told():
    with pytest.raises(mg.errors.ArgumentError, match="a Python function, whose local names can be seen"):
        mg.name_locals(np.tanh, mg.tensor(1.0))


def test_the_tracing_hook_is_given_back():
    before = sys.gettrace()
    blamed()
    assert sys.gettrace() is before
    with pytest.raises(KeyError):
        blamed("dX[:, n_x:]", "{}['nothing']")
    assert sys.gettrace() is before


# --- the command ---------------------------------------------------------------------------

HAND = """
import numpy as np

def backward(params, x, a0, c0, cache, d_outputs):
    T, B, n = d_outputs.shape
    grads = {name: np.zeros_like(p) for name, p in params.items()}
    da_next = dc_next = np.zeros((n, B))
    for t in range(T, 0, -1):
        z, c, c_old = (cache[f"{k}<{t - (k == 'c_old')}>".replace("_old", "")] for k in ("z", "c", "c_old"))
        f, i, o, g = (cache[f"{k}<{t}>"] for k in ("Gamma_f", "Gamma_u", "Gamma_o", "c_tilde"))
        da = d_outputs[t - 1].T + da_next
        do = da * np.tanh(c) * o * (1 - o)
        dc = da * o * (1 - np.tanh(c) ** 2) + dc_next
        df = dc * c_old * f * (1 - f)
        di = dc * g * i * (1 - i)
        dg = dc * i * (1 - g**2)
        for name, d in zip("fuoc", (df, di, do, dg)):
            grads["W_" + name] += d @ z.T
            grads["b_" + name] += d.sum(1)
        dz = sum(params["W_" + name].T @ d for name, d in zip("fuoc", (df, di, do, dg)))
        da_next, dc_next = dz[:n], dc * f
    return grads
"""


def test_the_command_marks_a_file(tmp_path, capsys):
    path = tmp_path / "hand.py"
    path.write_text(HAND, encoding="utf-8")
    assert main(["blame", str(path), "--grade"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("all 44 given arrays are right")
    assert "sum_u            4" in out
    path.write_text(HAND.replace("dc = da * o * (1 - np.tanh(c) ** 2)", "dc = da * o * (1 - c ** 2)"), encoding="utf-8")
    assert main(["blame", str(path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {c["name"] for c in found["culprits"]} == {"c<1>", "c<2>", "c<3>", "c<4>"}
    assert {c["kind"] for c in found["culprits"]} == {"DERIVATIVE"}
    assert found["marks"]["c"] <= 0.5
    assert found["marks"]["sum_f"] == found["marks"]["W_f"] == 1  # right formulas on wrong numbers


@pytest.mark.parametrize(("text", "status", "says"), [
    ("x = 1", 3, "it defines no function `backward`"),
    ("1 / 0", 3, "it raised ZeroDivisionError"),
    ("def backward(*args): raise KeyError('c<9>')", 3, "it raised KeyError"),
])  # fmt: skip
def test_a_file_that_cannot_be_judged_is_told(tmp_path, capsys, text, status, says):
    path = tmp_path / "hand.py"
    path.write_text(text, encoding="utf-8")
    assert main(["blame", str(path)]) == status
    assert says in capsys.readouterr().err
    assert main(["blame", str(tmp_path / "none.py")]) == 5


def test_the_search_for_a_slip_needs_no_scipy(python):
    """The ops that need it are among the functions that may stand in another's place."""
    out = python("""
import sys
sys.modules["scipy"] = None
import numpy as np
import minigrad as mg
from models.__main__ import main

assert main(["compare", "--seq", "4", "--hidden", "5", "--batch", "2"]) == 0
s = mg.tensor([0.3, -1.2], requires_grad=True, name="s")
h = np.tanh(s).named("h")
print(mg.blame(h.sum(), {"s": np.array([5.0, 7.0])}, values={"h": np.array([2.0, 3.0])}))
print(mg.blame(h.sum(), {"s": np.array([5.0, 7.0])}))
""")
    assert "the branch via c<t+1> is the bare local derivative" in out
    assert "the value of h: no slip that is known here gives these numbers" in out
    assert "s: no slip that is known here gives these numbers" in out


def test_compare_points_at_the_printed_formula(capsys):
    assert main(["compare", "--seq", "4", "--hidden", "5", "--batch", "2"]) == 0
    out = capsys.readouterr().out
    assert "the branch via c<t+1> is the bare local derivative: δc<t+1> must multiply it" in out
