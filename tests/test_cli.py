"""`python -m models` as a person meets it: real processes, small sizes, real text."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import models.__main__ as cli
from minigrad.errors import ArgumentError
from models import terminal
from models.text import Corpus
from models.training import Checkpoint, Recipe, flag

ROOT = Path(cli.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
TINY = ["--steps", "20", "--hidden", "8", "--seq", "10", "--batch", "4", "--length", "40"]

posix = pytest.mark.skipif(os.name != "posix", reason="signals, pipes and limits of POSIX")


def command(*words: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "models", *words]


def start(*words: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=ENVIRONMENT,
        **options,
    )


def run(*words: str, cwd: Path, **options: Any) -> tuple[int, str, str]:
    with start(*words, cwd=cwd, **options) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A checkpoint of the default text and what training it printed."""
    folder = tmp_path_factory.mktemp("trained")
    status, out, err = run("train", *TINY, cwd=folder)
    assert (status, err) == (0, "")
    return folder / "char_lm.safetensors", out


def test_training_tells_what_it_does(trained: tuple[Path, str]) -> None:
    checkpoint, out = trained
    assert "\r" not in out
    assert "\033" not in out
    rows = re.findall(r"^ +(\d+)/20 +(\d\.\d{3}) +(\d\.\d{3}) +[\d,]+ +(\d+ s|done)$", out, re.M)
    assert [int(row[0]) for row in rows] == list(range(2, 21, 2))
    assert float(rows[-1][2]) < float(rows[0][2])
    assert "char_lm.best.safetensors" in out
    sample = out[out.index("\n\nThe ") + 2 : out.index("\n\n  held out")]
    assert len(sample) == len("The ") + 40
    assert Checkpoint.load(checkpoint).meta["step"] == 20


def test_what_training_wrote_can_be_sampled(trained: tuple[Path, str]) -> None:
    checkpoint, out = trained
    words = ["sample", checkpoint.name, "--length", "40"]
    first = run(*words, cwd=checkpoint.parent)
    assert first[0] == 0
    assert first[1].rstrip("\n") in out  # same model, prompt and seed: the sample after training
    assert run(*words, cwd=checkpoint.parent) == first
    assert run(*words, "--seed", "1", cwd=checkpoint.parent) != first
    prompted = run(*words, "--prompt", "def f(", "--temperature", "0", cwd=checkpoint.parent)
    assert prompted[1].startswith("def f(")


def test_a_file_with_everything_in_it(tmp_path: Path) -> None:
    content = "\ufeffna\u00efve \N{GRINNING FACE}\r\n\0e\u0301\x1b[1m" * 20
    (tmp_path / "odd.txt").write_bytes(content.encode())
    status, _, err = run("train", "odd.txt", *TINY, "--out", "odd.st", cwd=tmp_path)
    assert (status, err) == (0, "")
    raw = subprocess.run(
        command("sample", "odd.st", "--prompt", content.replace("\0", "")[:15], "--length", "300"),
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        check=True,
    ).stdout
    assert set(raw.decode()) <= set(content)  # no newline translated, nothing escaped in a pipe
    for limited in ("ascii", "latin-1"):  # a terminal that cannot show it
        subprocess.run(
            command("sample", "odd.st"),
            cwd=tmp_path,
            capture_output=True,
            check=True,
            env={**ENVIRONMENT, "PYTHONIOENCODING": limited},
        )


def test_one_distinct_character(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("a" * 100)
    status, out, _ = run("train", "one.txt", *TINY, "--out", "one.st", cwd=tmp_path)
    assert status == 0
    assert "a" * 41 in out


BAD = [
    ("train empty.txt", 3, "empty.txt is empty"),
    ("train short.txt --seq 100", 3, "--seq 100 needs >= 101 characters, file has 57"),
    ("train short.txt --seq 20", 3, "--seq 20 --batch 32 need >= .* file has 57; write --batch 2"),
    (
        "train windows.txt",
        3,
        r"byte 0x92 at offset 7047 \(line 210\) is not UTF-8; pass --encoding",
    ),
    ("train short.txt --encoding klingon", 2, "--encoding klingon: Python has no text encoding"),
    ("train missing.txt", 3, "missing.txt: No such file"),
    ("train .", 3, "--seq 50 --batch 32 need >= .* characters: directory has 57; write --batch 1"),
    ("train --lr nan", 2, "--lr nan: a number of at least"),
    ("train --lr -1", 2, "--lr -1.0: a number of at least"),
    ("train --lr 1e9", 2, "--lr 1000000000.0: .* at most 10"),
    ("train --batch 0", 2, "--batch 0: a number of at least 1"),
    (
        "train --hidden 1000000000",
        2,
        r"--hidden 1000000000 .* about [\d,]+.\d EB of memory; this machine has",
    ),
    ("train --hidden many", 2, "argument --hidden: invalid int value: 'many'"),
    ("train --steps 0", 2, "--steps 0"),
    ("train --dtype int8", 2, "--dtype int8: float32 or float64"),
    ("train --temperature nan", 2, "--temperature nan"),
    ("train --length -1", 2, "--length -1"),
    ("train --out nowhere/model.st", 5, "--out nowhere.model.st: its directory does not exist"),
    ("train --out .", 5, "is a directory"),
    ("train --plot nowhere/loss.png", 5, "--plot nowhere.loss.png: its directory does not"),
    ("train --plot loss.docx", 2, "--plot loss.docx: a name that ends in .*.png"),
    ("train --log nowhere/run.csv", 5, "--log nowhere.run.csv: its directory does not exist"),
    ("train --log run.log", 2, "--log run.log: NAME.csv, or a directory for TensorBoard"),
    ("train --log notes.csv", 3, "--log notes.csv: this file is not the log of a training"),
    ("train --top-k -1", 2, "--top-k -1: at least 0"),
    ("train --top-p 0", 2, "--top-p 0.0: above 0, and at most 1"),
    ("train --clip-norm -1", 2, "--clip-norm -1.0: a number of at least 0"),
    ("train --optimizer adem", 2, "--optimizer adem: adam, adamw, .* or adagrad"),
    ("train --momentum 0.5", 2, "--momentum 0.5: --optimizer adam has no use for it; write"),
    ("train short.txt --suffix txt", 2, "--suffix txt: it chooses files of a directory"),
    ("train . --suffix .rst", 3, "no text below it with the suffix .rst"),
    ("train --resume missing.st", 4, "missing.st: No such file"),
    ("sample missing.st", 4, "missing.st: No such file"),
    ("sample empty.txt", 4, "empty.txt: truncated"),
    ("sample windows.txt", 4, "windows.txt: "),
    ("sample", 2, "required: CHECKPOINT; see python -m models sample --help"),
    ("sample {} --prompt \N{SNOWMAN}", 3, "has never seen '\N{SNOWMAN}'"),
    ("sample {} --seed -1", 2, "--seed -1"),
    ("fly", 2, "invalid choice: 'fly'"),
    ("--loud", 2, "unrecognized arguments: --loud"),
]


@pytest.mark.parametrize(("line", "status", "message"), BAD, ids=[line for line, _, _ in BAD])
def test_every_mistake_is_a_line_on_stderr(
    line: str,
    status: int,
    message: str,
    trained: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "short.txt").write_text("x" * 57)
    (tmp_path / "notes.csv").write_bytes(b"a,b\n\0")
    (tmp_path / "windows.txt").write_bytes(b"x\n" * 209 + b"x" * 6629 + b"\x92s")
    monkeypatch.chdir(tmp_path)
    assert cli.main([word.replace("{}", str(trained[0])) for word in line.split()]) == status
    out, err = capfd.readouterr()
    assert re.fullmatch(f"error: .*{message}.*\n", err)
    assert out == ""
    assert not list(tmp_path.glob("*.st"))


def test_the_process_exits_with_the_status(tmp_path: Path) -> None:
    assert run("train", "missing.txt", cwd=tmp_path) == (
        3,
        "",
        "error: missing.txt: No such file or directory\n",
    )


def await_row(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return next(line for line in process.stdout if re.match(r" +\d[\d,]*/", line))


def catches(process: subprocess.Popen[str], number: signal.Signals) -> bool:
    """Whether it has a handler for this signal: the trainer gives both back when it is asked to stop."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return bool(int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) >> (number - 1) & 1)  # type: ignore[index]


LONG = [*TINY, "--steps", "200000"]
SECONDS = [*TINY, "--steps", "600"]


def rows(log: Path) -> list[str]:
    """The lines of a table of which a clock knows nothing; their times never fall."""
    cells = [line.split(",") for line in log.read_text().splitlines()[1:]]
    times = [float(line[-1]) for line in cells]
    assert times == sorted(times)
    return [",".join(line[:-1]) for line in cells]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short text, and a checkpoint of a training that nothing disturbed."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    (folder / "prose.txt").write_text(Corpus.read().content[:6000], "utf-8")
    words = [*SECONDS, "--out", "whole.st", "--log", "whole.csv"]
    assert run("train", "prose.txt", *words, cwd=folder)[0] == 0
    return folder / "whole.st"


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_is_saved(number: signal.Signals, uninterrupted: Path) -> None:
    folder = uninterrupted.parent
    saved, log = (folder / f"{number.name}.{kind}" for kind in ("st", "csv"))
    plot = [folder / "loss.png"] if number == signal.SIGINT else []
    words = [*SECONDS, "--out", saved.name, "--log", log.name]
    words += [word for path in plot for word in ("--plot", path.name)]
    with start("train", "prose.txt", *words, cwd=folder) as process:
        await_row(process)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "")
    step = Checkpoint.load(saved).meta["step"]
    assert 60 <= step < 600
    assert f"after update {step}; saved {saved.name}" in out
    assert f"python -m models sample {saved.name}\n" in out
    assert rows(log) == rows(folder / "whole.csv")[:step]
    for path in plot:
        assert path.read_bytes().startswith(b"\x89PNG")
        path.unlink()
    # to go on, as it says, leads where the training would have come without the stop
    line = re.search(r"go on +python -m models (.*)", out)
    assert line is not None
    assert run(*line[1].split(), cwd=folder)[0] == 0
    assert saved.read_bytes() == uninterrupted.read_bytes()
    assert rows(log) == rows(folder / "whole.csv")
    assert all(path.exists() for path in plot)


@posix
def test_a_killed_training_is_logged_without_gap_or_repetition(uninterrupted: Path) -> None:
    folder = uninterrupted.parent
    words = [*SECONDS, "--out", "killed.st", "--log", "killed.csv"]
    with start("train", "prose.txt", *words, cwd=folder) as process:
        await_row(process)
        assert process.stdout is not None
        await_row(process)  # by now the first checkpoint is whole
        process.kill()
    step, log = Checkpoint.load(folder / "killed.st").meta["step"], folder / "killed.csv"
    assert 60 <= step <= len(rows(log))
    with log.open("a") as file:  # more than it had time for: lines that come again, and a half one
        file.writelines(f"{step + k},9.0,,1.0,1.0,9.0\n" for k in range(1, 5))
        file.write(f"{step + 5},9.")
    words = ["--resume", "killed.st", "--log", "killed.csv", "--length", "40"]
    assert run("train", "prose.txt", *words, cwd=folder)[0] == 0
    assert (folder / "killed.st").read_bytes() == uninterrupted.read_bytes()
    assert rows(log) == rows(folder / "whole.csv")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc tells when the first has arrived")
def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    with start(
        "train", *LONG, "--hidden", "32", "--batch", "900", "--seq", "400", cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if "training   held out" in line)
        time.sleep(0.3)  # an update of this size takes seconds
        process.send_signal(signal.SIGINT)
        while catches(process, signal.SIGTERM):  # Python sees two that come during one call of NumPy as one
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "")
    assert not list(tmp_path.iterdir())


@posix
def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    with start("train", *LONG, "--steps", "2000", "--out", "model.st", cwd=tmp_path) as process:
        await_row(process)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(20) == 0
    assert Checkpoint.load(tmp_path / "model.st").meta["step"] >= 400


@posix
def test_a_full_disk_leaves_the_old_file(trained: tuple[Path, str], tmp_path: Path) -> None:
    import resource

    old = tmp_path / "model.st"
    old.write_bytes(trained[0].read_bytes())

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    status, _, err = run("train", *TINY, "--out", "model.st", cwd=tmp_path, preexec_fn=small_disk)
    assert status == 5
    assert re.fullmatch(r"error: .*\n", err)
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_bytes() == trained[0].read_bytes()


@posix
def test_one_blas_thread_unless_asked(tmp_path: Path) -> None:
    free = {name: value for name, value in ENVIRONMENT.items() if name not in cli.BLAS_THREADS}
    done = subprocess.run(
        command("sample", "missing.st"), env=free, cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 4
    assert done.stderr.count(b"\n") == 1


# --- without a process -------------------------------------------------------------------


def test_a_directory_and_what_training_leaves_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text(f"This is the text of {name}. " * 20)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\0\0")
    words = ["train", ".", *TINY, "--out", "here.st", "--log", "run.csv", "--log", "events/"]
    assert cli.main([*words, "--plot", "loss.svg"]) == 0
    out = capsys.readouterr().out
    assert "files     2, 1.2 kB: one.txt 580 bytes, two.txt 580 bytes\n" in out
    assert "skipped   1: photo.jpg: binary\n" in out
    left = {"here.st", "here.best.st", "run.csv", "events", "loss.svg"}
    assert left <= {path.name for path in tmp_path.iterdir()}
    # the same text as before, although there are now five more files
    words = ["train", ".", "--resume", "here.st", "--steps", "30", "--log", "run.csv"]
    assert cli.main([*words, "--log", "events", "--plot", "loss.svg", "--length", "9"]) == 0
    assert "resumed   after update 20\n" in capsys.readouterr().out
    assert len(rows(tmp_path / "run.csv")) == 30
    assert len(list((tmp_path / "events").iterdir())) == 2


def test_early_stopping_says_what_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prose.txt").write_text(Corpus.read().content[:2000], "utf-8")
    words = ["train", "prose.txt", *TINY, "--steps", "900", "--validate", "2", "--lr", "2"]
    assert cli.main([*words, "--patience", "3", "--out", "m.st"]) == 0
    out = capsys.readouterr().out
    last, best = (Checkpoint.load(tmp_path / name) for name in ("m.st", "m.best.st"))
    step = last.meta["step"]
    assert step == best.meta["step"] + 6 < 900
    assert f"stopped early  after update {step}: no better in 3 readings of the held-out" in out
    assert "sample m.best.st --temperature" in out
    assert "go on          python -m models train prose.txt --encoding utf-8 --resume m.st" in out
    text = out[out.index("\n\nThe ") + 2 : out.index("\n\n  stopped early")]
    assert cli.main(["sample", "m.best.st", "--length", "40"]) == 0
    assert capsys.readouterr().out == text + "\n"  # it is the best one that writes
    # as it was left
    assert cli.main(["train", "prose.txt", "--resume", "m.st", "--length", "1"]) == 0
    out = capsys.readouterr().out
    assert f"resumed   after update {step}, where it had ended; to go on, give it more --pat" in out
    assert Checkpoint.load(tmp_path / "m.st").meta["step"] == step
    # with more patience, elsewhere: what was best before goes along
    words = ["train", "prose.txt", "--resume", "m.st", "--out", "n.st", "--length", "1"]
    assert cli.main([*words, "--patience", "4"]) == 0
    assert Checkpoint.load(tmp_path / "n.st").meta["step"] >= step + 2
    assert Checkpoint.load(tmp_path / "n.best.st").meta["best"] <= best.meta["best"]


def test_choosing_among_likely_characters(
    trained: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    def sample(*words: str) -> str:
        assert cli.main(["sample", str(trained[0]), "--length", "60", *words]) == 0
        return capsys.readouterr().out

    certain = sample("--temperature", "0")
    assert sample("--top-k", "1") == sample("--top-p", "1e-9", "--seed", "3") == certain
    assert len({sample(), sample("--top-k", "9"), sample("--top-p", "0.5"), certain}) == 4


def test_the_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.dispatch(["train", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    for each in fields(Recipe):
        value = "" if each.default is False else f" {each.name.upper()}"
        assert f"{flag(each.name)}{value} " in out
    assert "how the learning rate falls (constant, cosine, linear, step, plateau) (default" in out


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.dispatch(["--help"])
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    assert all(re.search(rf"^ +{name}\s+\w", out, re.M) for name in cli.COMMANDS)


@pytest.mark.parametrize("failing", [None, "compare"])
def test_the_main_job(failing: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def stand_in(name: str) -> cli.Command:
        def do(args: object) -> int:
            done.append(name)
            return int(name == failing)

        return cli.Command("", lambda parser: None, do)

    monkeypatch.setattr(cli, "COMMANDS", {name: stand_in(name) for name in cli.COMMANDS})
    assert cli.dispatch([]) == (1 if failing else 0)
    assert done == (["compare"] if failing else ["compare", "train"])


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_bold_headings_unless_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    for no_color, bold in (("", True), ("1", False)):
        screen = Screen()
        monkeypatch.setattr(sys, "stdout", screen)
        monkeypatch.setenv("NO_COLOR", no_color)
        terminal.heading("Title", "why")
        assert ("\033" in screen.getvalue()) is bold


def test_a_terminal_is_not_commanded_by_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    for character in "a\n\t\x1b[2J\0\x9b\N{GRINNING FACE}":
        terminal.write(character)
    assert (
        screen.getvalue()
        == "a\n\t\N{SYMBOL FOR ESCAPE}[2J\N{SYMBOL FOR NULL}\ufffd\N{GRINNING FACE}"
    )


def test_a_missing_tqdm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ArgumentError, match=r"tqdm is not installed; pip install"):
        terminal.Board(0, 1)
