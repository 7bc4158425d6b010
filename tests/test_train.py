"""Text, character model and training: what they compute, refuse, and leave behind."""

from __future__ import annotations

import math
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.errors import (
    ArgumentError,
    CheckpointError,
    DataError,
    DependencyError,
    NonFiniteError,
    StorageError,
)
from models import training
from models.char_lm import CharLM
from models.logs import Log, Picture, Table, log_to
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


@pytest.fixture
def heap(tmp_path: Path) -> Path:
    """A directory with something of everything."""
    heap = tmp_path / "heap"
    for name, content in {
        "b.txt": b"second",
        "a/z.md": b"first\n",
        "a/deep/er.TXT": "na\u00efve".encode(),
        "empty.txt": b"",
        "picture.png": b"\x89PNG\0\0",
        "windows.txt": b"x\nit\x92s",
        ".git/config": b"hidden",
        ".notes.txt": b"hidden",
    }.items():
        (heap / name).parent.mkdir(parents=True, exist_ok=True)
        (heap / name).write_bytes(content)
    return heap


def test_a_directory_is_the_texts_below_it(heap: Path) -> None:
    text = Corpus.read(str(heap))
    assert text.content == "na\u00efve\nfirst\n\nsecond"
    assert text.files == (("a/deep/er.TXT", 6), ("a/z.md", 6), ("b.txt", 6), ("empty.txt", 0))
    assert text.skipped == (
        "picture.png: binary",
        "windows.txt: byte 0x92 at offset 4 (line 2) is not UTF-8; "
        "pass --encoding, for instance cp1252",
    )
    assert "it\N{RIGHT SINGLE QUOTATION MARK}s" in Corpus.read(str(heap), "cp1252").content
    assert text.sha256 == Corpus("", text.content).sha256


def test_which_files_of_a_directory(heap: Path) -> None:
    assert [name for name, _ in Corpus.read(str(heap), suffixes=["md"]).files] == ["a/z.md"]
    text = Corpus.read(str(heap), suffixes=[".md", ".txt"], without=[heap / "a/deep", heap / "x"])
    assert [name for name, _ in text.files] == ["a/z.md", "b.txt", "empty.txt"]
    with pytest.raises(DataError, match=r"heap: no text below it with the suffix .rst$"):
        Corpus.read(str(heap), suffixes=[".rst"])
    with pytest.raises(DataError, match=r"no text below it with the suffix png, but .*: binary"):
        Corpus.read(str(heap), suffixes=["png"])
    with pytest.raises(ArgumentError, match="Python has no text encoding of this name"):
        Corpus.read(str(heap), "rot13")


def test_utf_16_is_not_binary(heap: Path) -> None:
    (heap / "wide").write_text("wide", "utf-16")
    with pytest.raises(DataError, match=r"byte 0xff at offset 0 .* for instance utf-16$"):
        Corpus.read(str(heap / "wide"))
    text = Corpus.read(str(heap), "utf-16")
    assert ("wide", 10) in text.files
    assert "wide" in text.content


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and pipes")
def test_links_and_what_cannot_be_read(heap: Path) -> None:
    before = Corpus.read(str(heap))
    (heap / "a/up").symlink_to("..")  # for ever
    (heap / "again.txt").symlink_to("b.txt")
    (heap / "zz").symlink_to("a")
    (heap / "broken.txt").symlink_to("nowhere")
    (heap / "itself").symlink_to("itself")
    os.mkfifo(heap / "pipe")  # to read it would never end
    elsewhere = heap.with_name("elsewhere")
    elsewhere.mkdir()
    (elsewhere / "c.txt").write_text("third")
    (heap / "link").symlink_to(elsewhere)
    unreadable = Path("/proc/self/mem")  # even for root
    if unreadable.is_file():
        (heap / "memory").symlink_to(unreadable)
    text = Corpus.read(str(heap))
    assert text.content == before.content + "\nthird"
    new = [why for why in text.skipped if why not in before.skipped]
    assert new[:2] == [f"{name}: no file that can be read" for name in ("broken.txt", "itself")]
    assert new[-1] == "pipe: no file that can be read"
    assert not unreadable.is_file() or new[2] == "memory: Input/output error"


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


class Grid(np.random.Generator):
    """Random numbers that lie evenly."""

    def __init__(self, count: int) -> None:
        super().__init__(np.random.PCG64(0))
        self.numbers = iter((np.arange(count) + 0.5) / count)

    def random(self, *args: object, **options: object) -> float:  # type: ignore[override]
        return next(self.numbers)


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "likely"),
    [
        (1.0, 0, 1.0, [0.4, 0.1, 0.1, 0.1, 0.3]),
        (1.0, 1, 1.0, [1, 0, 0, 0, 0]),
        (1.0, 2, 1.0, [4 / 7, 0, 0, 0, 3 / 7]),
        (1.0, 3, 1.0, [1 / 2, 1 / 8, 0, 0, 3 / 8]),  # the first of equals
        (1.0, 99, 1.0, [0.4, 0.1, 0.1, 0.1, 0.3]),
        (1.0, 0, 0.39, [1, 0, 0, 0, 0]),
        (1.0, 0, 0.41, [4 / 7, 0, 0, 0, 3 / 7]),
        (1.0, 0, 0.75, [1 / 2, 1 / 8, 0, 0, 3 / 8]),
        (1.0, 2, 0.56, [1, 0, 0, 0, 0]),  # 4/7 of the two
        (0.5, 2, 1.0, [16 / 25, 0, 0, 0, 9 / 25]),
        (0.0, 3, 0.5, [1, 0, 0, 0, 0]),
    ],
)
def test_which_characters_are_drawn(
    temperature: float, top_k: int, top_p: float, likely: list[float], rng: np.random.Generator
) -> None:
    model, count = CharLM(5, 7, dtype=np.float64, rng=rng), 1000
    model.head.weight.data = np.zeros((5, 7))
    model.head.bias.data = np.log([4.0, 1.0, 1.0, 1.0, 3.0])
    model.lstm = lambda x, state: (np.zeros((1, 1, 7)), None)  # type: ignore[assignment]
    drawn = model.sample(
        np.array([0]), count, temperature=temperature, top_k=top_k, top_p=top_p, rng=Grid(count)
    )
    shares = np.bincount(list(drawn), minlength=5) / count
    np.testing.assert_allclose(shares, likely, rtol=0, atol=1.5 / count)


@pytest.mark.parametrize("given", [{"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}], ids=str)
def test_impossible_sampling(given: dict[str, float], rng: np.random.Generator) -> None:
    with pytest.raises(ArgumentError, match="sample: top_k="):
        list(CharLM(5, 7, rng=rng).sample(np.array([0]), 1, rng=rng, **given))  # type: ignore[arg-type]


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


WAYS = [
    {},
    {"eager": True},
    {
        "optimizer": "adamw",
        "weight_decay": 0.1,
        "schedule": "constant",
        "dropout": 0.3,
        "layers": 2,
    },
    {"optimizer": "sgd", "schedule": "linear", "warmup": 5, "clip_value": 0.01, "clip_norm": 0.0},
    {"optimizer": "nesterov", "momentum": 0.5, "schedule": "step", "lr_every": 4},
    {"optimizer": "rmsprop", "schedule": "plateau", "lr_patience": 1, "validate": 2, "lr": 0.3},
    {"optimizer": "adagrad", "layers": 2, "validate": 3, "patience": 9},
]


def go_on(run: Run, steps: int) -> Run:
    """Without saving anything."""
    while run.step < steps:
        run.update()
        if run.due:
            run.validate()
    return run


@pytest.mark.parametrize(
    ("stop", "way"), [(0, {}), (1, {}), (11, {}), *((7, way) for way in WAYS)], ids=str
)
def test_resumed_training_ends_with_the_same_bits(
    stop: int, way: dict[str, object], tmp_path: Path
) -> None:
    way = {"validate": 4, **way}
    go_on(small_run(**way), 12).save(tmp_path / "whole")
    go_on(small_run(**way), stop).save(tmp_path / "part")
    go_on(Run.resume(tmp_path / "part", PROSE, {"steps": 12}), 12).save(tmp_path / "resumed")
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "resumed").read_bytes()


def test_every_choice_is_tried() -> None:
    tried = {(name, value) for way in WAYS for name, value in way.items()}
    assert {("optimizer", each) for each in training.OPTIMIZERS} <= tried | {("optimizer", "adam")}
    assert {("schedule", each) for each in training.SCHEDULES} <= tried | {("schedule", "cosine")}


def test_a_warm_up_and_what_follows() -> None:
    run = small_run(steps=110, warmup=9, lr=0.5, lr_final=0.1)
    assert [run.lr_at(k) for k in range(10)] == pytest.approx([0.05 * (k + 1) for k in range(10)])
    assert run.lr_at(9) == 0.5
    wave = [0.05 + 0.45 * (1 + math.cos(math.pi * k / 101)) / 2 for k in range(101)]
    assert [run.lr_at(9 + k) for k in range(101)] == pytest.approx(wave)
    run.update()
    assert run.optimizer.lr == run.lr_at(0)


def test_a_plateau_cuts_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    run = small_run(
        steps=99, schedule="plateau", lr=0.8, lr_patience=2, lr_factor=0.25, lr_final=0.1
    )
    rates = []
    for held_out in [3.0, 2.0, 2.0, 2.1, 1.9, 2.5, math.nan, 1.9, 1.9]:
        monkeypatch.setattr(run.model, "bits", lambda streams, bits=held_out: bits)
        run.validate()
        rates.append(run.lr_at(50))
    assert rates == pytest.approx([0.8, 0.8, 0.8, 0.2, 0.2, 0.2, 0.08, 0.08, 0.08])  # a tenth stays
    assert run.held_out == run.best == 1.9
    assert run.history.held_out[6] == math.inf


def test_clipping() -> None:
    w = mg.tensor([0.0, 0.0], requires_grad=True)
    for options, expected in [
        ({}, [0.6, 0.8]),
        ({"clip_norm": 0.0}, [3.0, 4.0]),
        ({"clip_norm": 0.0, "clip_value": 3.5}, [3.0, 3.5]),
        ({"clip_norm": 2.5, "clip_value": 1.7}, [1.5, 1.7]),  # first the one, then the other
    ]:
        w.grad = mg.tensor([3.0, 4.0])
        assert Recipe(**options).clip([w]) == 5.0  # type: ignore[arg-type]
        assert w.grad.data == pytest.approx(expected, rel=1e-5)


def test_dropout_is_for_training_alone(tmp_path: Path) -> None:
    plain, dropping = (small_run(layers=2, dropout=share) for share in (0.0, 0.5))
    assert plain.validate() == dropping.validate()
    assert plain.update() != dropping.update()

    def loss(step: int) -> float:
        dropping.step = step
        dropping._seed_dropout()
        return float(dropping.model.loss(dropping.learned.chunk(3))[0].item())

    assert loss(1) == loss(1) != loss(2)
    dropping.save(tmp_path / "saved")
    assert not Checkpoint.load(tmp_path / "saved").model().training


def follow_held_out(
    run: Run, results: list[float], out: Path, monkeypatch: pytest.MonkeyPatch
) -> bool:
    """Train, the held-out text answering as told."""
    answers = iter(results)
    monkeypatch.setattr(run.model, "bits", lambda streams: next(answers))
    return train(run, out, quiet)


def test_early_stopping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, results = tmp_path / "model.st", [3.0, 2.0, 2.5, 2.0, 2.2]
    run = small_run(steps=100, validate=2, patience=3)
    assert follow_held_out(run, results, out, monkeypatch)
    assert run.finished
    assert run.out_of_patience
    assert run.step == 10
    assert Checkpoint.load(training.best_path(out)).meta["step"] == 4
    # as it was left: nothing is left to do
    again = Run.resume(out, PROSE, {})
    assert follow_held_out(again, [], out, monkeypatch)
    assert again.step == 10
    # with more patience it goes on where it was
    longer = Run.resume(out, PROSE, {"patience": 4})
    assert follow_held_out(longer, [1.5, *[1.6] * 4], out, monkeypatch)
    assert longer.step == 20
    assert longer.history.held_out == [*results, 1.5, 1.6, 1.6, 1.6, 1.6]
    assert Checkpoint.load(training.best_path(out)).meta["step"] == 12


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
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"optimizer": "adem"},
        {"schedule": "sine"},
        {"clip_norm": -1.0},
        {"clip_norm": math.nan},
        {"clip_value": math.nan},
        {"warmup": -1},
        {"patience": -1},
        {"validate": -1},
        {"weight_decay": -0.1},
        {"lr_final": 1.5},
    ],
    ids=str,
)
def test_impossible_recipes(change: dict[str, object]) -> None:
    ((name, value),) = change.items()
    with pytest.raises(ArgumentError, match=re.escape(f"--{name.replace('_', '-')} {value}: ")):
        Recipe(**change)  # type: ignore[arg-type]


def test_an_option_without_effect_is_refused() -> None:
    for options, message in (
        ({"momentum": 0.5}, "--momentum 0.5: --optimizer adam has no use for it; "
                            "write --optimizer sgd or nesterov"),
        ({"lr_every": 5, "schedule": "plateau"}, "--lr-every 5: --schedule plateau has no use"),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=message):
            Recipe(**options)  # type: ignore[arg-type]
    assert Recipe(momentum=0.5, optimizer="sgd").momentum == 0.5


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


# --- logs --------------------------------------------------------------------------------


def told(step: int, held_out: float | None = None, seconds: float = 1.0) -> Progress:
    return Progress(step, 9, 4 - step / 8, held_out, 0.01, 0.5, 1e3, seconds, 0.0)


def fill(log: Log, steps: range) -> None:
    with log:
        for step in steps:
            log(told(step, 3.5 if step == 2 else None, step / 4))


HEAD = "step,bits,held_out,lr,norm,seconds\n"
LINES = ["1,3.875,,0.01,0.5,0.25\n", "2,3.75,3.5,0.01,0.5,0.5\n", "3,3.625,,0.01,0.5,0.75\n"]


def test_a_table_has_a_line_for_each_update(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    fill(log_to(str(path), 0), range(1, 4))
    assert path.read_text() == HEAD + "".join(LINES)
    fill(log_to(str(path), 0), range(1, 3))  # the training begins anew
    assert path.read_text() == HEAD + "".join(LINES[:2])


@pytest.mark.parametrize(
    "rest", ["", "3,3.6", LINES[2], LINES[2] + "4,1.0,,1,1,9.0\n5,1.", "2"], ids=repr
)
def test_a_table_goes_on_after_the_checkpoint(rest: str, tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_text(HEAD + "".join(LINES[:2]) + rest)  # what a killed training may leave
    with log_to(str(path), 2) as log:
        log(told(3, seconds=0.25))
    assert path.read_text() == HEAD + "".join(LINES)  # time goes on as well


def test_a_log_that_is_not_begun_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    fill(log_to(str(path), 0), range(1, 4))
    log_to(str(path), 0)
    log_to(f"{tmp_path}/events/", 0)
    assert path.read_text() == HEAD + "".join(LINES)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("there", ["", HEAD[:7], HEAD[:-1]], ids=repr)
def test_a_table_of_which_little_was_written(there: str, tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_text(there)
    fill(log_to(str(path), 0), range(1, 4))
    assert path.read_text() == HEAD + "".join(LINES)


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    for content, message in (
        ("name,age\nAda,36\n", "notes.csv: this file is not the log of a training; another name"),
        (HEAD + LINES[0] + "\0\0\n" + LINES[1], "notes.csv: line 3 is damaged"),
    ):
        path.write_text(content)
        with pytest.raises(DataError, match=message):
            log_to(str(path), 2)
        assert path.read_text() == content
    with pytest.raises(ArgumentError, match=r"--log notes: NAME.csv, or a directory .* notes/$"):
        log_to("notes", 0)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_what_was_learned_is_saved_if_the_log_has_no_room(tmp_path: Path) -> None:
    log = Table(tmp_path / "run.csv", 0)
    with open("/dev/full", "ab", buffering=0) as log.file, pytest.raises(
        StorageError, match=r"--log .*run.csv: No space left"
    ):  # fmt: skip
        train(small_run(steps=100), tmp_path / "model.st", log)
    assert Checkpoint.load(tmp_path / "model.st").meta["step"] == 1


def events(folder: Path) -> Iterator[Any]:
    """TensorBoard's records: a length, its checksum, as many bytes, theirs."""
    event_pb2 = pytest.importorskip("tensorboardX").proto.event_pb2
    for file in sorted(folder.iterdir(), key=lambda file: int(file.suffix[1:])):
        raw = file.read_bytes()
        while raw:
            end = 12 + int.from_bytes(raw[:8], "little")
            yield event_pb2.Event.FromString(raw[12:end])
            raw = raw[end + 4 :]


def test_events_for_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    folder = tmp_path / "run"
    fill(log_to(f"{folder}/", 0), range(1, 4))
    fill(log_to(str(folder), 2), range(3, 5))  # what was said of update 3 is void
    found = list(events(folder))
    starts = [event.step for event in found if event.HasField("session_log")]
    assert starts == [1, 3]
    values = [(e.step, {v.tag: v.simple_value for v in e.summary.value}) for e in found]
    assert [step for step, told in values if told] == [1, 2, 3, 3, 4]
    assert values[3] == (2, pytest.approx(
        {"bits/training": 3.75, "lr": 0.01, "norm": 0.5, "bits/held_out": 3.5}))  # fmt: skip


def test_a_picture_of_the_whole_training(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = go_on(small_run(validate=4), 5)
    run.save(tmp_path / "saved")
    resumed = Run.resume(tmp_path / "saved", PROSE, {})
    with Picture(tmp_path / "loss.png", resumed.history, "prose"):
        go_on(resumed, 9)  # drawn with what comes after it was opened
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    picture = Picture(tmp_path / "loss.svg", resumed.history, "prose")
    with picture:
        pass
    assert "<svg" in (tmp_path / "loss.svg").read_text()
    training, held_out, best = picture.figure.axes[0].lines
    assert list(training.get_ydata()) == resumed.history.bits
    assert len(resumed.history.bits) == 9
    assert list(held_out.get_xdata()) == [4, 8]
    assert list(best.get_ydata()) == [resumed.best]


def test_pictures_that_are_not_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = go_on(small_run(), 1)
    with pytest.raises(KeyboardInterrupt), Picture(tmp_path / "loss.png", run.history, ""):
        raise KeyboardInterrupt  # the second one
    with Picture(tmp_path / "loss.png", training.History(), ""):  # nothing to show
        pass
    assert not list(tmp_path.iterdir())
    with pytest.raises(ArgumentError, match=r"--plot loss.txt: a name that ends in .*\.png, "):
        Picture(Path("loss.txt"), run.history, "")


@pytest.mark.parametrize(
    ("package", "extra", "use"),
    [
        ("matplotlib.figure", "plots", lambda: Picture(Path("x.png"), training.History(), "")),
        ("tensorboardX", "logs", lambda: log_to("x/", 0)),
    ],
)
def test_a_missing_package_is_named(
    package: str, extra: str, use: Callable[[], Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DependencyError, match=rf"not installed; pip install .*\[{extra}\]"):
        use()
