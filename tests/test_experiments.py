"""Published experiments: the tasks are the published ones, the rules tell success from failure."""

from __future__ import annotations

import itertools
import json
import re
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import models.__main__ as cli
from minigrad.errors import ArgumentError, DependencyError
from models import lstm_manual
from models.experiments import (
    adding,
    campaign,
    characters,
    continual_reber,
    experiment,
    experiments,
    needed,
    page,
    reber,
    sunspots,
    temporal_order,
    vowels,
)
from models.experiments.learning import Reader, Recent, by_autodiff, side_by_side

DOCS = Path(__file__).parent.parent / "docs" / "experiments"
OTHERS = {"digits": "sklearn", "vowels": "sktime", "sunspots": "statsmodels"}
KEPT = sorted(DOCS.glob("*.json"))


def installed(package):
    """Skip without a package; it is not imported, for that takes seconds."""
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


# --- the adding problem ---------------------------------------------------------------------


def test_the_adding_problem_is_the_papers(rng):
    T, count = 100, 4000
    x, last, target = adding.generate(rng, count, T)
    assert x.shape == (110, count, 2)
    lengths = 1 + last[:, :, 0].argmax(axis=0)
    assert (last.sum(axis=0) == 1).all()
    assert (lengths.min(), lengths.max()) == (T, 110)
    first_marks = np.zeros(count, bool)
    for k in range(count):
        values, markers = x[: lengths[k], k].T
        assert markers[0] == markers[-1] == -1
        assert not x[lengths[k] :, k].any()
        marked = np.flatnonzero(markers == 1)
        assert set(markers[1:-1]) <= {0, 1}
        first_marks[k] = len(marked) == 1
        assert len(marked) in (1, 2)
        assert marked[0] < 10 or len(marked) == 1
        assert marked[-1] <= T // 2 - 1
        assert target[k, 0] == pytest.approx(0.5 + values[marked].sum() / 4, abs=1e-6)
        assert np.abs(values).max() <= 1
    assert first_marks.mean() == pytest.approx(0.1 + 0.9 / 49, abs=0.02)  # the first pair is marked, and counts as 0
    assert target.var() == pytest.approx(adding.CHANCE, rel=0.15)


def test_the_printed_gradient_is_document_literal(rng):
    """What the control descends is the slip of `lstm_manual.document_literal`, and nothing else."""
    model = Reader(2, 4, 1, rng)
    T, B = 6, 3
    x = rng.normal(size=(T, B, 2)).astype(np.float32)
    last = np.zeros((T, B, 1), np.float32)
    last[-1] = 1
    target = rng.normal(size=(B, 1)).astype(np.float32)
    (value, off), got = adding.printed(model, x, last, target)
    right_value, right = mg.value_and_grad(lambda m: adding.loss(m, x, last, target)[0])(model)
    assert value.item() == pytest.approx(right_value.item(), rel=1e-6)
    params = {name: p.data for name, p in model.lstm.cells[0].named_parameters().items()}
    cache = lstm_manual.forward(params, x, np.zeros((B, 4)), np.zeros((B, 4)))
    literal = lstm_manual.document_literal(cache, last * (off.data @ model.head.weight.data))
    for name in params:
        np.testing.assert_allclose(got[f"lstm.cells.0.{name}"].data, literal[name] / B, rtol=1e-4, atol=1e-6)
        assert not np.allclose(got[f"lstm.cells.0.{name}"].data, right[f"lstm.cells.0.{name}"].data, rtol=1e-2)
    for name in ("head.weight", "head.bias"):
        np.testing.assert_allclose(got[name].data, right[name].data, rtol=1e-4)


def test_the_printed_gradient_knows_no_block_after_the_end(rng):
    """A row with others beside it that are longer has the same gradient as alone."""
    model = Reader(2, 4, 1, rng)
    rows = [rng.normal(size=(T, 2)).astype(np.float32) for T in (5, 8)]
    target = rng.normal(size=(2, 1)).astype(np.float32)
    together = adding.printed(model, *side_by_side(rows), target)[1]
    alone = [adding.printed(model, *side_by_side([row]), target[k : k + 1])[1] for k, row in enumerate(rows)]
    for name, g in together.items():
        np.testing.assert_allclose(g.data, (alone[0][name].data + alone[1][name].data) / 2, rtol=1e-4, atol=1e-6)


def test_a_row_is_judged_by_its_last_pair_whatever_follows(rng):
    """Padding to the right changes neither answer nor gradient."""
    model = Reader(2, 4, 1, rng)
    row, target = rng.normal(size=(5, 2)).astype(np.float32), np.ones((1, 1), np.float32)
    gradient = by_autodiff(adding.loss)
    (short, _), g = gradient(model, *side_by_side([row]), target)
    (long, _), h = gradient(model, *side_by_side([row], 9), target)
    assert short.item() == pytest.approx(long.item(), rel=1e-6)
    for name in g:
        np.testing.assert_allclose(g[name].data, h[name].data, rtol=1e-4, atol=1e-7)


def test_the_stopping_rule_wants_a_whole_run_of_right_answers():
    recent = Recent(4)
    recent.add(np.array([0.001] * 3), np.array([True] * 3))
    assert not recent.solved(0.01)  # too few
    recent.add(np.array([0.001]), np.array([True]))
    assert recent.solved(0.01)
    assert not recent.solved(0.0005)  # not accurate enough
    recent.add(np.array([0.002]), np.array([False]))
    assert not recent.solved(0.01)
    recent.add(np.array([0.001] * 4), np.array([True] * 4))
    assert recent.solved(0.01)


# --- Reber ----------------------------------------------------------------------------------

def inner_words(longest):
    """All inner strings up to a length, by the published drawing as a regular expression: the upper
    branch T S* X leads to the middle; from there S ends, and X enters the lower loop T* V, which P
    leaves for the middle again and V for the end."""
    word = re.compile(r"B(TS*X(XT*VP)*(S|XT*VV)|PT*V(V|P(XT*VP)*(S|XT*VV)))E")
    symbols = "TPSXV"
    for n in range(3, longest - 1):
        for middle in itertools.product(symbols, repeat=n):
            text = "B" + "".join(middle) + "E"
            if word.fullmatch(text):
                yield text


def accepted(text):
    state = 0
    for symbol in text:
        if symbol not in reber.INNER[state]:
            return False
        state = reber.INNER[state][symbol]
    return state == 7


def test_the_automaton_accepts_exactly_the_words_of_the_grammar():
    words = set(inner_words(8))
    assert {"BTXSE", "BPVVE", "BTSXSE"} <= words
    for n in range(2, 7):
        for middle in itertools.product("TPSXV", repeat=n):
            text = "B" + "".join(middle) + "E"
            assert accepted(text) == (text in words), text


def test_the_strings_are_different_and_legal(rng):
    found = reber.strings(rng, 300)
    assert len(set(found)) == 300
    for s in found:
        assert re.fullmatch(r"B([TP])(B[TPSXV]+E)\1E", s), s
        assert accepted(s[2:-2])
        assert reber.legal_after(s)[-2:] == ["E", ""]
        assert reber.legal_after(s)[-3] == s[1]  # what has to be remembered


def test_the_rule_of_success_wants_every_legal_symbol_above_every_other(rng):
    x, following, legal = reber.tables(reber.strings(rng, 20))
    counted = legal.any(axis=-1)
    assert (following.sum(axis=-1) == counted).all()
    assert (legal[following == 1]).all()
    perfect = legal + 0.1 * rng.random(legal.shape)
    assert reber.foreseen(perfect, legal)[counted].all()
    t, b = np.argwhere(counted & (legal.sum(axis=-1) == 2))[3]
    broken = perfect.copy()
    broken[t, b, np.flatnonzero(legal[t, b])[0]] = -1  # one of two legal ones below an illegal one
    assert (~reber.foreseen(broken, legal))[counted].sum() == 1
    assert not reber.foreseen(np.zeros_like(perfect), legal)[counted].any()  # a tie is no success
    assert x.shape == following.shape == legal.shape


def test_a_stream_is_string_after_string(rng):
    source = continual_reber.stream(rng)
    found = [next(source) for _ in range(3000)]
    text = "".join(reber.SYMBOLS[symbol] for symbol, _ in found)
    words = re.findall(r"B([TP])(B[TPSXV]+E)\1E", text)
    assert len(text) - sum(len(inner) + 4 for _, inner in words) < 100  # all but the last, which is cut off
    for (_, legal), (following, _) in itertools.pairwise(found):
        assert legal[following]
    chunk = continual_reber.chunks(rng, 2, 5)
    (x1, next1, legal), (x2, _, _) = next(chunk), next(chunk)
    np.testing.assert_array_equal(next1[-1], x2[0])  # the second goes on where the first ends
    np.testing.assert_array_equal(next1[:-1], x1[1:])
    assert legal[next1 == 1].all()


# --- temporal order, vowels, characters, sunspots ------------------------------------------


def test_temporal_order_is_the_papers(rng):
    x, last, target = temporal_order.generate(rng, 500, 100)
    for k in range(500):
        n = 1 + last[:, k, 0].argmax()
        text = "".join(temporal_order.SYMBOLS[i] for i in x[:n, k].argmax(axis=1))
        assert 100 <= n <= 110
        assert not x[n:, k].any()
        assert re.fullmatch(r"E[a-d]{9,19}[XY][a-d]{29,49}[XY][a-d]+B", text), text
        order = "".join(re.findall("[XY]", text))
        assert ("XX", "XY", "YX", "YY").index(order) == target[k].argmax()
        first, second = (m.start() for m in re.finditer("[XY]", text))
        assert 10 <= first <= 20
        assert 50 <= second <= 60


def test_a_ts_file_is_read_frame_by_frame(tmp_path):
    path = tmp_path / "two.ts"
    path.write_text("#a\n@problemName x\n@data\n1,2,3:4,5,6:2\n7,8:9,10:1\n", encoding="utf-8")
    sequences, speakers = vowels.read(path)
    assert [s.tolist() for s in sequences] == [[[1, 4], [2, 5], [3, 6]], [[7, 9], [8, 10]]]
    assert speakers.tolist() == [1, 0]
    path.write_text("@data\n1,2:3:1\n", encoding="utf-8")
    with pytest.raises(mg.MinigradError, match=r"two\.ts: not a \.ts file"):
        vowels.read(path)


def test_the_vowels_are_all_there():
    installed("sktime")
    (learn, y), (test, y_test) = vowels.utterances()
    assert (len(learn), len(test)) == (270, 370)
    assert np.bincount(y).tolist() == [30] * 9
    assert np.bincount(y_test).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    assert {s.shape[1] for s in (*learn, *test)} == {12}
    assert (min(map(len, (*learn, *test))), max(map(len, (*learn, *test)))) == (7, 29)


def test_the_ngram_is_a_distribution_and_learns():
    """Over all next characters the probabilities sum to one; what repeats becomes cheap."""
    learned = "abracadabra" * 3
    for order in (0, 1, 2):
        total = sum(2 ** -characters.ngram(learned, c, order) for c in "abcdr")
        assert total == pytest.approx(1)
    assert characters.ngram(learned, "abracadabra", 3) < 0.5 < 1.5 < characters.ngram(learned, "rdcba", 3)


def test_the_autoregression_finds_a_linear_rule(rng):
    values = [1.0, 2.0]
    for _ in range(40):
        values.append(1.2 * values[-1] - 0.9 * values[-2] + 0.3)
    foretold = sunspots.autoregression(np.array(values), 2, 20)
    np.testing.assert_allclose(foretold, values[2:], rtol=1e-8)


# --- all of them ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", experiments())
def test_every_experiment_runs_through(name, tmp_path, capsys):
    if name in OTHERS:
        installed(OTHERS[name])
    assert cli.main(["experiment", name, "--quick", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    each = experiment(name)
    for figure in each.figures.values():
        assert figure.caption in out
        assert figure.paper in out
    assert "a quick run is no measurement" in out
    result = campaign.read(tmp_path / f"{name}.quick.json")
    assert result["trials"][0]["curve"]
    assert set(result["trials"][0]["figures"]) == set(each.figures)
    assert (tmp_path / f"{name}.quick.png").read_bytes()[:4] == b"\x89PNG"
    assert each.title in page.page(tmp_path)


def test_a_broken_recipe_is_reported_as_failed(tmp_path, capsys):
    broken = ["--set", "rate=0", "--set", "limit=200", "--seeds", "2", "--set", "strings=8"]
    assert cli.main(["experiment", "reber", *broken, "--out", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "0 of 2 seeds pass: NOT REPRODUCED" in out
    assert "never" in out
    assert json.loads((tmp_path / "reber.changed.json").read_text(encoding="utf-8"))["expected"] is False


def test_a_control_must_fail():
    each = experiment("adding")
    trial = {"seed": 1, "passed": True, "seconds": 1.0, "figures": {}, "curve": []}
    bad = {"control": "init", "quick": False, "expected": False, "trials": [trial]}
    assert "SHOULD HAVE FAILED" in campaign.verdict(each, bad)
    for name, control in each.controls.items():
        recipe = each.prepared(name, False, {})
        assert recipe == replace(each.recipe, **control.changes) != each.recipe
    passing = replace(each, trial=lambda *_: campaign.Trial(True, {"sequences": 1, "wrong": 0, "mse": 0}, [(0, 0)]))
    assert not campaign.run(passing, [1], control="init")["expected"]
    assert campaign.run(passing, [1])["expected"]


def test_never_is_more_than_any_number():
    figure = campaign.Figure("x", "{:.0f}")
    assert campaign.row(figure, [3, None, 1]) == "3 (1 to never)"
    assert campaign.row(figure, [None, None]) == "never"
    assert campaign.row(figure, [1, 5, 3]) == "3 (1 to 5)"
    assert campaign.row(figure, [2]) == campaign.row(figure, [2, 2]) == "2"


@pytest.mark.parametrize(("words", "message"), [
    (["nothing"], "there is none of this name; one of adding"),
    (["reber", "--control", "printed"], "reber has the controls: none"),
    (["adding", "--set", "unit=3"], "the recipe of adding has no unit"),
    (["adding", "--set", "units=many"], "units is of type int"),
    (["adding", "--set", "units"], "NAME=VALUE"),
    (["adding", "--seeds", "0"], "--seeds 0: at least 1"),
])  # fmt: skip
def test_what_cannot_be_run_is_refused(words, message):
    with pytest.raises(ArgumentError, match=re.escape(message)):
        cli.dispatch(["experiment", *words])


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch):
    with pytest.raises(DependencyError, match=r"experiment vowels: .*nowhere_at_all.*pip install .*\[experiments\]"):
        needed.needed("nowhere_at_all.datasets", "vowels")
    with pytest.raises(DependencyError, match="nowhere_at_all"):
        needed.folder_of("nowhere_at_all", "vowels")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(DependencyError, match="matplotlib is not installed"):
        campaign.run(replace(experiment("adding"), trial=None), [1])  # before anything is run


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_run(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OSError, match="file"):
        cli.dispatch(["experiment", "adding", "--out", str(tmp_path / "file" / "below")])


# --- the page -------------------------------------------------------------------------------


def test_the_page_is_current():
    assert DOCS.with_suffix(".md").read_text(encoding="utf-8") == page.page(DOCS), "run `python -m models experiment docs`"


@pytest.mark.parametrize("path", KEPT, ids=lambda p: p.stem)
def test_what_is_kept_is_a_measurement_of_the_recipe_as_it_stands(path):
    result = campaign.read(path)
    each = experiment(result["experiment"])
    assert campaign.stem(result) == path.stem
    assert not result["quick"]
    assert not result["changed"]
    recipe = each.prepared(result["control"], False, {})
    assert result["recipe"] == campaign.asdict(recipe), "run it again: the recipe has changed"
    assert path.with_suffix(".png").stat().st_size < 60_000
    assert campaign.dumped(result) == path.read_text(encoding="utf-8")
