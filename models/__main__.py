"""The LSTM at work on real text: `python -m models` compares two ways to its gradient, trains
a character model for about a minute, and lets it write."""

from __future__ import annotations

import argparse
import importlib
import math
import os
import shlex
import shutil
import sys
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from minigrad import MinigradError
from minigrad.errors import ArgumentError, CheckpointError, DataError, lesson

from . import terminal, training
from .char_lm import CharLM
from .logs import Log, Picture, log_to
from .terminal import facts, heading, say
from .text import Corpus, Vocabulary
from .training import Checkpoint, Recipe, Run

OK, FAILED, USAGE, DATA, CHECKPOINT, DISK, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
STATUS = {ArgumentError: USAGE, DataError: DATA, CheckpointError: CHECKPOINT, OSError: DISK}
OUT = "char_lm.safetensors"
PROMPT = "The "
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


# --- train ---------------------------------------------------------------------------------


def _text_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="a text, or a directory of texts; without it, the English help texts that come "
        "with Python",
    )
    parser.add_argument("--encoding", default="utf-8", help="of FILE (default: %(default)s)")
    parser.add_argument(
        "--suffix",
        metavar=".txt,.md",
        help="which files of a directory to read (default: all that are not binary or hidden)",
    )


def _sample_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--length", type=int, default=500, help="characters to write (default: %(default)s)"
    )
    parser.add_argument(
        "--temperature",
        type=float,
        default=0.7,
        help="0 careful, 1 as learned, more is wilder (default: %(default)s)",
    )
    parser.add_argument(
        "--top-k",
        type=int,
        default=0,
        metavar="K",
        help="write only the K likeliest characters; 0: any (default: %(default)s)",
    )
    parser.add_argument(
        "--top-p",
        type=float,
        default=1.0,
        metavar="P",
        help="write only the likeliest characters that have probability P together "
        "(default: %(default)s)",
    )


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    _text_arguments(parser)
    for each in fields(Recipe):
        among, only = each.metadata["among"], each.metadata["only"]
        which = f" ({', '.join(among)})" if among else f" ({', '.join(only[1:])})" if only else ""
        how: dict[str, Any] = {"type": type(each.default), "metavar": each.name.upper()}
        if each.default is False:
            how = {"action": "store_true"}
        parser.add_argument(
            training.flag(each.name),
            default=argparse.SUPPRESS,
            help=f"{each.metadata['caption']}{which} (default: {each.default})",
            **how,
        )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="CHECKPOINT",
        help=f"the checkpoint to write (default: {OUT}, or the one resumed)",
    )
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="CHECKPOINT",
        help="go on with this training; --steps and --patience may be others than before",
    )
    parser.add_argument(
        "--log",
        action="append",
        default=[],
        metavar="NAME.csv|DIR/",
        help="write every update down: a table, or events for TensorBoard; may be given twice",
    )
    parser.add_argument(
        "--plot", type=Path, metavar="NAME.png", help="draw the whole training when it ends"
    )
    _sample_arguments(parser)


def _train(args: argparse.Namespace) -> int:
    """Train a character model on a text, then let it write."""
    _check_sampling(args)
    out = args.out or args.resume or Path(OUT)
    logs = list(dict.fromkeys(args.log))
    for option, path in [("--out", out), ("--plot", args.plot), *(("--log", p) for p in logs)]:
        if path is not None:
            _check_writable(option, Path(path), directory=option == "--log")
    asked = {
        each.name: getattr(args, each.name) for each in fields(Recipe) if hasattr(args, each.name)
    }
    if not args.resume:
        Recipe(**asked)  # refuses impossible numbers before the text is read
    best = training.best_path(out)
    ours = [out, best, args.resume or out, args.plot or out, *map(Path, logs)]
    text = _text(args, without=ours)
    run = Run.resume(args.resume, text, asked) if args.resume else Run(text, Recipe(**asked))
    watchers: list[Log | terminal.Board] = [log_to(path, run.step) for path in logs]
    if args.plot:
        watchers.append(Picture(args.plot, run.history, text.source))
    if args.resume and out != args.resume and training.best_path(args.resume).exists():
        shutil.copyfile(training.best_path(args.resume), best)
    _introduce(run)
    watchers.append(terminal.Board(run.step, run.recipe.steps))

    def watch(now: training.Progress) -> None:
        for each in watchers:
            each(now)

    with ExitStack() as to_the_end:
        for each in watchers:
            to_the_end.enter_context(each)
        finished = training.train(run, out, watch)
    say()
    go_on = ["train", *_source(args), "--resume", str(out)]
    go_on += [word for path in logs for word in ("--log", path)]
    go_on += ["--plot", str(args.plot)] if args.plot else []
    if finished:
        _finish(args, run, out, go_on)
        return OK
    facts(
        [
            ("stopped", f"after update {run.step:,}; saved {out}"),
            ("let it write", _command("sample", str(out))),
            ("go on", _command(*go_on)),
        ]
    )
    return INTERRUPTED


def _finish(args: argparse.Namespace, run: Run, out: Path, go_on: list[str]) -> None:
    """Let the model write, the best one if it has become worse since, and say what came of it."""
    best, early = training.best_path(out), run.step < run.recipe.steps
    chosen = best if early and best.exists() else out
    _write(Checkpoint.load(chosen).model(), run.text.vocabulary, None, args, run.recipe.seed)
    say()
    told = [
        ("held out", f"{run.held_out:.3f} bits per character; at best {run.best:.3f}"),
        ("saved", f"{out}{f'; at its best {best}' if best.exists() else ''}"),
        ("more", _command("sample", str(chosen), "--temperature", "0.5", "--seed", "1")),
    ]
    if early:
        patience = run.recipe.patience
        why = f"no better in {patience} readings of the held-out text; this is the best one writing"
        told.insert(0, ("stopped early", f"after update {run.step:,}: {why}"))
        told.append(("go on", _command(*go_on, "--patience", str(2 * run.history.stale))))
    facts(told)


def _command(*words: str) -> str:
    """What to type."""
    return shlex.join(["python", "-m", "models", *words])


def _text(args: argparse.Namespace, without: Sequence[Path]) -> Corpus:
    suffixes = [suffix for suffix in (args.suffix or "").split(",") if suffix]
    if suffixes and not os.path.isdir(args.file or ""):
        raise ArgumentError(
            lesson(f"--suffix {args.suffix}", "it chooses files of a directory", "a directory")
        )
    return Corpus.read(args.file, args.encoding, suffixes, without)


def _source(args: argparse.Namespace) -> list[str]:
    """The words that name the text."""
    if not args.file:
        return []
    suffix = ["--suffix", args.suffix] if args.suffix else []
    return [args.file, "--encoding", args.encoding, *suffix]


def _introduce(run: Run) -> None:
    recipe, text = run.recipe, run.text
    known, count = len(text.vocabulary), len(text.content)
    layers = " + ".join([str(recipe.hidden)] * recipe.layers)
    heading(
        "A character model",
        "An LSTM learns to tell the next character of a text, and then writes one.",
    )
    raw = text.content.encode("utf-8", "surrogatepass")
    gzip = 8 * len(zlib.compress(raw, 9)) / count
    bytes_read = training.size(sum(count for _, count in text.files))
    names = [f"{name} {training.size(count)}" for name, count in text.files]
    falls = recipe.schedule + (f" after {recipe.warmup:,} to warm up" if recipe.warmup else "")
    told = [
        ("text", f"{text.source}: {count:,} characters, {known} distinct"),
        *([("files", f"{len(names):,}, {bytes_read}: {_some(names)}")] if names else []),
        *([("skipped", f"{len(text.skipped):,}: {_some(text.skipped)}")] if text.skipped else []),
        (
            "split",
            f"{run.learned.predictions:,} characters to learn from, the last "
            f"{run.unseen.predictions:,} held out",
        ),
        (
            "model",
            f"embedding {training.EMBEDDING}, LSTM {layers}, "
            f"linear {known}: {recipe.parameters(known):,} parameters, {recipe.dtype}",
        ),
        ("memory", f"about {training.size(recipe.memory(known))}"),
        (
            "training",
            f"{recipe.steps:,} updates, each of {recipe.batch} × {recipe.seq} characters; "
            f"{recipe.optimizer}, rate {recipe.lr:g}, {falls}; seed {recipe.seed}",
        ),
        (
            "measure",
            f"bits per character: {math.log2(known):.2f} is blind guessing, "
            f"gzip -9 packs this text into {gzip:.2f}",
        ),
    ]
    if run.step:
        more = "more --steps" if run.step >= recipe.steps else "more --patience"
        ended = f", where it had ended; to go on, give it {more}" if run.finished else ""
        told.append(("resumed", f"after update {run.step:,}{ended}"))
    facts(told)


def _some(words: Sequence[str], most: int = 8) -> str:
    more = f", and {len(words) - most:,} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def _check_writable(option: str, path: Path, directory: bool = False) -> None:
    """An hour of training must not end at a folder that does not exist."""
    folder = path.parent
    if path.is_dir() and not directory:
        raise OSError(f"{option} {path}: is a directory")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OSError(f"{option} {path}: its directory does not exist or is not writable")


# --- sample --------------------------------------------------------------------------------


def _sample_only_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="what train wrote")
    parser.add_argument(
        "--prompt", help=f"what to write on from (default: {PROMPT!r}, if it knows the letters)"
    )
    _sample_arguments(parser)
    parser.add_argument(
        "--seed", type=int, default=0, help="of the random numbers (default: %(default)s)"
    )


def _sample(args: argparse.Namespace) -> int:
    """Let a trained model write."""
    _check_sampling(args)
    if args.seed < 0:
        raise ArgumentError(f"--seed {args.seed}: at least 0")
    saved = Checkpoint.load(args.checkpoint)
    _write(saved.model(), saved.vocabulary, args.prompt, args, args.seed)
    return OK


def _write(
    model: CharLM, vocabulary: Vocabulary, prompt: str | None, args: argparse.Namespace, seed: int
) -> None:
    if not prompt:
        known = set(vocabulary.characters)
        prompt = PROMPT if known.issuperset(PROMPT) else "\n" if "\n" in known else min(known)
    ids = vocabulary.encode(prompt)
    for character in prompt:
        terminal.write(character)
    drawn = model.sample(
        ids,
        args.length,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        rng=np.random.default_rng(seed),
    )
    for k in drawn:
        terminal.write(vocabulary.characters[k])
    terminal.write("\n")


def _check_sampling(args: argparse.Namespace) -> None:
    if args.length < 0:
        raise ArgumentError(f"--length {args.length}: at least 0")
    if not 0 <= args.temperature < math.inf:
        raise ArgumentError(f"--temperature {args.temperature}: a finite number, at least 0")
    if args.top_k < 0:
        raise ArgumentError(f"--top-k {args.top_k}: at least 0")
    if not 0 < args.top_p <= 1:
        raise ArgumentError(f"--top-p {args.top_p}: above 0, and at most 1")


# --- all of it -----------------------------------------------------------------------------


class Command(NamedTuple):
    """A word after `python -m models`."""

    caption: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def _of(module: str, caption: str) -> Command:
    """A command that a module defines, as `add_arguments` and `run`; only one that is asked for is
    imported."""

    def part(name: str) -> Any:
        return getattr(importlib.import_module(f"{__package__}.{module}"), name)

    return Command(caption, lambda parser: part("add_arguments")(parser), lambda args: part("run")(args))


COMMANDS = {
    "compare": _of("compare", "Hold the engine's gradient against backpropagation derived by hand."),
    "explain": _of("explaining", "Show where every gradient of a small LSTM comes from: formulas, drawings, a page."),
    "paths": _of("paths", "Show every path from a weight to an error, with its derivatives and their product."),
    "blame": _of("blaming", "Say which lines of a hand-derived backward pass are wrong, and why."),
    "mazur": _of("mlp", "Do the worked example of backpropagation that the paper sends its reader to."),
    "experiment": _of("experimenting", "Run a published experiment, beside the paper's figures; without a name, list them."),
    "digits": _of("conv_net", "Train a small convolutional net on images of digits."),
    "train": Command("Train a character model on a text, then let it write.", _train_arguments, _train),
    "sample": Command("Let a trained model write.", _sample_only_arguments, _sample),
    "convert": _of("exchange.convert", "Take a recurrent model from a PyTorch or ONNX file to another, and check that it computes the same."),
}
MAIN_JOB = ("compare", "train")


class _Parser(argparse.ArgumentParser):
    """argparse with errors like all others here, in one line."""

    def error(self, message: str) -> NoReturn:
        raise ArgumentError(f"{message}; see {self.prog} --help")


def parser_for(name: str) -> argparse.ArgumentParser:
    """The parser; only the command that was asked for is looked at for its options."""
    parser = _Parser(prog="python -m models", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for each, command in COMMANDS.items():
        part = commands.add_parser(each, help=command.caption, description=command.caption, allow_abbrev=False)
        if each == name:
            command.add_arguments(part)
    return parser


def dispatch(words: Sequence[str]) -> int:
    """Do what a command line asks; without words, the main job."""
    if words:
        args = parser_for(words[0]).parse_args(words)
        return COMMANDS[args.command].run(args)
    for k, name in enumerate(MAIN_JOB):
        if k:
            say()
        status = dispatch([name])
        if status != OK:
            return status
    return OK


def main(words: Sequence[str] | None = None) -> int:
    """`dispatch`, with every error as one line on stderr and an exit status of its own."""
    stdout: Any = sys.stdout
    if hasattr(stdout, "reconfigure"):  # any text can be written to any terminal; no "\r\n" made up
        stdout.reconfigure(errors="backslashreplace", newline="")
    try:
        status = dispatch(sys.argv[1:] if words is None else words)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except (MinigradError, OSError, MemoryError) as error:
        print(f"error: {_in_a_line(error)}", file=sys.stderr)
        return next((status for kind, status in STATUS.items() if isinstance(error, kind)), FAILED)


def _in_a_line(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, MemoryError):
        text = f"not enough memory: {error}"
    return " ".join(text.split())


def _one_blas_thread() -> None:
    """Start again with one thread for matrix products, unless the user chose a number.

    The products here are too small to be shared: on busy cores, threads that wait for each
    other make training ten times slower.  BLAS reads its number when NumPy is imported, and
    `python -m models` has imported it already.
    """
    if os.name == "posix" and not any(name in os.environ for name in BLAS_THREADS):
        os.execve(sys.executable, sys.orig_argv, os.environ | dict.fromkeys(BLAS_THREADS, "1"))


if __name__ == "__main__":
    _one_blas_thread()
    sys.exit(main())
