"""Text, character model and training: what they compute, refuse, and leave behind."""

from __future__ import annotations

import math
import random
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.errors import ArgumentError, CheckpointError, DataError, NonFiniteError
from models import training
from models.char_lm import CharLM
from models.text import Corpus, Streams, Vocabulary
from models.training import Checkpoint, Progress, Recipe, Run, train

PROSE = Corpus("prose", Corpus.read().content[:6000])
SMALL = {"steps": 12, "hidden": 8, "seq": 10, "batch": 4}


def small_run(**changes: object) -> Run:
    return Run(PROSE, Recipe(**{**SMALL, **changes}))  # type: ignore[arg-type]


def quiet(now: Progress) -> None:
    pass


# --- text --------------------------------------------------------------------------------


def test_default_text_is_real_english() -> None:
    text = Corpus.read()
    assert len(text.content) > 300_000
    assert 90 < len(text.vocabulary) < 130
    assert text.content.count(" the ") > 1000


ODD = {
    "byte order mark": "\ufeffabc",
    "carriage returns": "one\r\ntwo\rthree\n",
    "NUL": "a\0b",
    "emoji": "a\N{FAMILY}\N{ZERO WIDTH JOINER}\N{GRINNING FACE}b",
    "combining marks": "e\u0301 is not \xe9",
}


@pytest.mark.parametrize("content", ODD.values(), ids=ODD.keys())
def test_a_file_comes_back_as_it_is(content: str, tmp_path: Path) -> None:
    file = tmp_path / "odd.txt"
    file.write_bytes(content.encode())
    text = Corpus.read(str(file))
    assert text.content == content
    assert text.vocabulary.decode(text.vocabulary.encode(content)) == content


def test_utf_8_sig_leaves_the_byte_order_mark_out(tmp_path: Path) -> None:
    file = tmp_path / "bom.txt"
    file.write_bytes(b"\xef\xbb\xbfabc")
    assert Corpus.read(str(file), "utf-8-sig").content == "abc"


def test_a_byte_that_is_not_utf_8_is_found(tmp_path: Path) -> None:
    file = tmp_path / "windows.txt"
    file.write_bytes(b"x" * 100 + b"\n" * 209 + b"x" * 6738 + b"it\x92s")
    with pytest.raises(
        DataError, match=r"byte 0x92 at offset 7049 \(line 210\) is not UTF-8; pass --encoding"
    ):
        Corpus.read(str(file))
    assert Corpus.read(str(file), "cp1252").content.endswith("it\N{RIGHT SINGLE QUOTATION MARK}s")


@given(st.text(min_size=1))
def test_vocabulary_round_trip(content: str) -> None:
    vocabulary = Corpus("", content).vocabulary
    assert vocabulary.characters == "".join(sorted(set(content)))
    assert vocabulary.decode(vocabulary.encode(content)) == content


def test_unknown_characters_are_named() -> None:
    with pytest.raises(
        DataError, match="has never seen 'x', '\N{SNOWMAN}'; it knows the 3 characters 'abc'"
    ):
        Vocabulary("abc").encode("ax\N{SNOWMAN}")


@given(st.integers(1, 7), st.integers(1, 5), st.integers(0, 60))
def test_streams_predict_every_character_once(seq: int, batch: int, more: int) -> None:
    ids = np.arange(seq * batch + 1 + more)
    streams = Streams.of(ids, seq, batch)
    read = np.concatenate([codes[:-1] for codes in streams])
    predicted = np.concatenate([codes[1:] for codes in streams])
    assert (predicted == read + 1).all()
    used = len(ids) - 1 - (len(ids) - 1) % batch
    assert (read.T.ravel() == ids[:used]).all()
    assert streams.predictions == used
    assert all(streams.chunk(k).shape == (seq + 1, batch) for k in range(len(streams)))


def test_the_held_out_text_is_the_last_tenth() -> None:
    learned, unseen = PROSE.split(seq=10, batch=4)
    ids = PROSE.vocabulary.encode(PROSE.content)
    assert (learned.codes[:, 0] == ids[: len(learned.codes)]).all()
    assert learned.codes[-1, -1] in ids[5400 - 4 : 5400]
    assert unseen.codes[0, 0] == ids[5400]
    assert unseen.predictions == 599


@pytest.mark.parametrize("count", [1, 57, 100])
def test_text_not_longer_than_a_sequence(count: int) -> None:
    with pytest.raises(DataError, match=f"--seq 100 needs >= 101 characters, file has {count}$"):
        Corpus("", "x" * count).split(seq=100, batch=32)


@given(st.integers(1, 9), st.integers(1, 6), st.integers(2, 80))
def test_the_length_that_is_asked_for_is_enough(seq: int, batch: int, count: int) -> None:
    try:
        Corpus("", "x" * count).split(seq=seq, batch=batch)
    except DataError as error:
        needed = int(str(error).partition(">= ")[2].split()[0])
        assert needed > count
        if "--batch" in str(error):
            Corpus("", "x" * needed).split(seq=seq, batch=batch)
            with pytest.raises(DataError):
                Corpus("", "x" * (needed - 1)).split(seq=seq, batch=batch)


# --- the model ---------------------------------------------------------------------------


def test_untrained_model_guesses_blindly() -> None:
    run = small_run()
    assert run.validate() == pytest.approx(math.log2(len(PROSE.vocabulary)), rel=0.05)


def test_bits_do_not_depend_on_the_chunks() -> None:
    model = CharLM(5, 7, dtype=np.float64, rng=np.random.default_rng(0))
    ids = np.random.default_rng(1).integers(0, 5, 100)
    assert model.bits(Streams.of(ids, 9, 1)) == pytest.approx(
        model.bits(Streams.of(ids, 99, 1)), rel=1e-12
    )


def test_sampling_remembers_what_it_wrote(rng: np.random.Generator) -> None:
    model = CharLM(5, 7, layers=2, dtype=np.float64, rng=rng)
    prompt = np.array([3, 1, 4])
    written = list(model.sample(prompt, 12, temperature=0, rng=rng))
    for k, character in enumerate(written):  # as if everything before had been the prompt
        scores, _ = model(np.array([*prompt, *written[:k]])[:, None])
        assert character == scores.data[-1, 0].argmax()
    assert list(model.sample(prompt, 12, temperature=1e-300, rng=rng)) == written


def test_sampling_leaves_no_graph_and_checks_its_numbers(rng: np.random.Generator) -> None:
    model = CharLM(5, 7, rng=rng)
    sample = model.sample(np.array([0]), 2, rng=rng)
    next(sample)
    assert model(np.array([[0]]))[0].requires_grad  # grad mode is not switched between draws
    for temperature in (-1, math.nan, math.inf):
        with pytest.raises(ArgumentError, match="temperature"):
            list(model.sample(np.array([0]), 1, temperature=temperature, rng=rng))
    with pytest.raises(ArgumentError, match="prompt"):
        list(model.sample(np.array([], int), 1, rng=rng))


# --- training ----------------------------------------------------------------------------


def test_the_loss_falls() -> None:
    run = small_run(steps=150, hidden=24, lr=0.02)
    losses = [run.update() for _ in range(150)]
    assert np.mean(losses[-10:]) < losses[0] - 1.5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_seed_same_losses(dtype: str) -> None:
    first, again, other = (small_run(dtype=dtype, seed=seed) for seed in (1, 1, 2))
    losses = [[run.update() for _ in range(5)] for run in (first, again, other)]
    assert losses[0] == losses[1] != losses[2]
    assert first.model.head.weight.dtype == dtype


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("stop", [0, 1, 7, 11])
def test_resumed_training_ends_with_the_same_bits(stop: int, eager: bool, tmp_path: Path) -> None:
    whole, part = small_run(eager=eager), small_run(eager=eager)
    for _ in range(12):
        whole.update()
    for _ in range(stop):
        part.update()
    part.save(tmp_path / "part")
    resumed = Run.resume(tmp_path / "part", PROSE, {"steps": 12})
    while resumed.step < 12:
        resumed.update()
    whole.save(tmp_path / "whole")
    resumed.save(tmp_path / "resumed")
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "resumed").read_bytes()


def test_an_update_is_captured_unless_asked_otherwise(tmp_path: Path) -> None:
    """The same within rounding; what was begun one way is not gone on with the other."""
    captured, eager = small_run(dtype="float64"), small_run(dtype="float64", eager=True)
    losses = [[run.update() for _ in range(8)] for run in (captured, eager)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9)
    assert isinstance(captured.advance, mg.capture(abs).__class__)
    assert eager.advance == eager._advance
    eager.save(tmp_path / "saved")
    assert Run.resume(tmp_path / "saved", PROSE, {}).recipe.eager
    captured.save(tmp_path / "saved")
    assert not Run.resume(tmp_path / "saved", PROSE, {}).recipe.eager
    with pytest.raises(DataError, match=r"--eager True \(was False\)"):
        Run.resume(tmp_path / "saved", PROSE, {"eager": True})


def test_a_checkpoint_of_before_goes_on_as_it_was_trained(tmp_path: Path) -> None:
    small_run().save(tmp_path / "saved")
    tree, meta = mg.load(tmp_path / "saved")
    del meta["recipe"]["eager"]
    mg.save(tmp_path / "old", tree, meta=meta)
    assert Checkpoint.load(tmp_path / "old").recipe.eager


def test_a_finished_training_can_be_prolonged(tmp_path: Path) -> None:
    run = small_run(steps=2)
    assert train(run, tmp_path / "saved", quiet)
    longer = Run.resume(tmp_path / "saved", PROSE, {"steps": 5})
    assert train(longer, tmp_path / "saved", quiet)
    assert Checkpoint.load(tmp_path / "saved").meta["step"] == 5


def test_training_in_another_thread(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:  # where no signal handler can be set
        assert pool.submit(train, small_run(steps=1), tmp_path / "m", quiet).result()


def test_resuming_names_what_differs(tmp_path: Path) -> None:
    small_run().save(tmp_path / "saved")
    other = Corpus("other.txt", PROSE.content + "!")
    with pytest.raises(
        DataError, match=r"--hidden 9 \(was 8\), text other.txt, SHA-256 \w+ \(was prose, \w+\)"
    ):
        Run.resume(tmp_path / "saved", other, {"hidden": 9, "steps": 20})


def test_a_checkpoint_writes_the_same_sample(tmp_path: Path) -> None:
    run = small_run()
    for _ in range(3):
        run.update()
    run.save(tmp_path / "saved")
    loaded = Checkpoint.load(tmp_path / "saved")
    prompt = loaded.vocabulary.encode("The ")
    samples = [
        list(model.sample(prompt, 50, rng=np.random.default_rng(0)))
        for model in (run.model, loaded.model())
    ]
    assert samples[0] == samples[1]


def test_the_best_model_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, results = small_run(steps=4), iter([3.0, 2.0, 2.5, 2.2])
    monkeypatch.setattr(run.model, "bits", lambda streams: next(results))
    seen: list[Progress] = []
    assert train(run, tmp_path / "model.st", seen.append)
    assert [now.held_out for now in seen] == [3.0, 2.0, 2.5, 2.2]
    last, best = (Checkpoint.load(p) for p in (tmp_path / "model.st", tmp_path / "model.best.st"))
    assert (last.meta["step"], last.meta["held_out"], last.meta["best"]) == (4, 2.2, 2.0)
    assert (best.meta["step"], best.meta["held_out"]) == (2, 2.0)


@pytest.mark.parametrize(
    "change",
    [
        {"lr": math.nan},
        {"lr": -1.0},
        {"lr": 0.0},
        {"lr": 1e9},
        {"lr": math.inf},
        {"batch": 0},
        {"seq": 0},
        {"hidden": 0},
        {"layers": 0},
        {"steps": 0},
        {"seed": -1},
        {"dtype": "int8"},
    ],
    ids=str,
)
def test_impossible_recipes(change: dict[str, object]) -> None:
    ((name, value),) = change.items()
    with pytest.raises(ArgumentError, match=re.escape(f"--{name} {value}: ")):
        Recipe(**change)  # type: ignore[arg-type]


def test_too_large_a_model_is_refused_before_it_is_allocated() -> None:
    with pytest.raises(
        ArgumentError, match=r"--hidden 1000000000 .* would take about 1,728.0 EB of memory"
    ):
        Run(PROSE, Recipe(hidden=10**9))


def test_the_count_of_parameters_is_right() -> None:
    for layers in (1, 3):
        run = small_run(layers=layers)
        count = sum(p.size for p in run.model.parameters())
        assert run.recipe.parameters(len(PROSE.vocabulary)) == count


def test_a_loss_that_is_no_number_stops_everything(tmp_path: Path) -> None:
    run, out = small_run(steps=20), tmp_path / "model.st"

    def poison(now: Progress) -> None:
        if now.step == 5:
            head = run.model.head.weight
            head.data = np.full_like(head.data, np.nan)

    with pytest.raises(
        NonFiniteError,
        match=r"loss became nan at step 6, with a learning rate of 0\.00\d+; "
        r".*--lr than 0.01; before it, head.weight held .*model.st holds the last good state",
    ):
        train(run, out, poison)
    assert run.step == 5
    saved = Checkpoint.load(out)
    assert saved.meta["step"] == 4
    assert all(np.isfinite(array).all() for array in saved.model().state.values())


@pytest.mark.parametrize("eager", [False, True])
def test_a_lost_loss_names_the_stage_that_lost_it(eager: bool) -> None:
    run = small_run(eager=eager)
    run.update()
    run.model.state = {name: np.full_like(p, 3e38) for name, p in run.model.state.items()}
    before, remembered = run.model.state, run.optimizer.state
    with pytest.raises(
        NonFiniteError, match=r"became nan at step 2.*first NaN: '\w+' made at .*char_lm"
    ):
        run.update()
    assert run.step == 1
    for name, array in run.model.state.items():
        np.testing.assert_array_equal(array, before[name])
    assert run.optimizer.state["steps"] == remembered["steps"]
    for name, arrays in run.optimizer.state["memory"].items():
        for now, then in zip(arrays, remembered["memory"][name], strict=True):
            np.testing.assert_array_equal(now, then)
    assert all(p.grad is None for p in run.optimizer.params)


def test_foreign_checkpoints(tmp_path: Path) -> None:
    mg.save(tmp_path / "other", {"w": np.zeros(3)}, meta={"kind": "something else"})
    with pytest.raises(CheckpointError, match=r"not a minigrad character model.*something else"):
        Checkpoint.load(tmp_path / "other")
    mg.save(tmp_path / "other", {"w": np.zeros(3)})
    with pytest.raises(CheckpointError, match="not a minigrad character model"):
        Checkpoint.load(tmp_path / "other")


def test_a_checkpoint_that_lies_about_its_model(tmp_path: Path) -> None:
    small_run().save(tmp_path / "saved")
    tree, meta = mg.load(tmp_path / "saved")
    for name, value in (("hidden", 9), ("hidden", 10**9), ("hidden", None), ("layers", 2)):
        lie = {**meta, "recipe": {**meta["recipe"], name: value}}
        mg.save(tmp_path / "lie", tree, meta=lie)
        with pytest.raises(CheckpointError):
            Checkpoint.load(tmp_path / "lie").model()


def test_the_signal_handlers_are_given_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    train(small_run(steps=1), tmp_path / "m", quiet)
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_a_reader_that_leaves_costs_nothing(tmp_path: Path) -> None:
    def leave(now: Progress) -> None:
        if now.step == 7:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        train(small_run(steps=100), tmp_path / "m", leave)
    assert Checkpoint.load(tmp_path / "m").meta["step"] == 7


SAVE_FOREVER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from models.text import Corpus
from models.training import Recipe, Run
run = Run(Corpus("prose", Corpus.read().content[:6000]), Recipe(hidden=64, seq=10, batch=4))
while True:
    run.save(Path(sys.argv[1]))
    print(run.step, flush=True)
    run.step += 1
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_kill_9_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    out = tmp_path / "model.st"
    for seed in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", SAVE_FOREVER, str(out)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            try:
                child.wait(random.Random(seed).uniform(0.01, 0.1))
            except subprocess.TimeoutExpired:
                child.kill()
            done = [0, *map(int, child.stdout.read().split())][-1]
        assert Checkpoint.load(out).meta["step"] - done in (0, 1)


def test_sizes_as_people_write_them() -> None:
    assert [training.size(n) for n in (0, 999, 1000, 12.3e6, 1.6e20)] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "12.3 MB",
        "160.0 EB",
    ]
