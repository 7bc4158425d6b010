"""The LSTM at work on real text: `python -m models` compares two ways to its gradient, trains
a character model for about a minute, and lets it write."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from minigrad import MinigradError
from minigrad.errors import ArgumentError, CheckpointError, DataError

from . import terminal, training
from .char_lm import CharLM
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
        help="a text; without it, the English help texts that come with Python",
    )
    parser.add_argument("--encoding", default="utf-8", help="of FILE (default: %(default)s)")


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


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    _text_arguments(parser)
    for each in fields(Recipe):
        parser.add_argument(
            f"--{each.name}",
            type=type(each.default),
            default=argparse.SUPPRESS,
            help=f"{each.metadata['caption']} (default: {each.default})",
        )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="CHECKPOINT",
        help=f"the checkpoint to write (default: {OUT}, or the one resumed)",
    )
    parser.add_argument(
        "--resume", type=Path, metavar="CHECKPOINT", help="go on with this training"
    )
    _sample_arguments(parser)


def _train(args: argparse.Namespace) -> int:
    """Train a character model on a text, then let it write."""
    _check_sampling(args)
    out = args.out or args.resume or Path(OUT)
    _check_writable(out)
    asked = {
        each.name: getattr(args, each.name) for each in fields(Recipe) if hasattr(args, each.name)
    }
    recipe = Recipe(**asked)  # refuses impossible numbers before the text is read
    text = Corpus.read(args.file, args.encoding)
    run = Run.resume(args.resume, text, asked) if args.resume else Run(text, recipe)
    _introduce(run)
    with terminal.Board(run.step, run.recipe.steps) as board:
        finished = training.train(run, out, board)
    say()
    program = ["python", "-m", "models"]
    sampling = shlex.join([*program, "sample", str(out)])
    if not finished:
        source = [args.file, "--encoding", args.encoding] if args.file else []
        facts(
            [
                ("stopped", f"after update {run.step:,}; saved {out}"),
                ("let it write", sampling),
                ("go on", shlex.join([*program, "train", *source, "--resume", str(out)])),
            ]
        )
        return INTERRUPTED
    _write(run.model, text.vocabulary, None, args, run.recipe.seed)
    say()
    best = training.best_path(out)
    facts(
        [
            ("held out", f"{run.held_out:.3f} bits per character; at best {run.best:.3f}"),
            ("saved", f"{out}{f'; at its best {best}' if best.exists() else ''}"),
            ("more", f"{sampling} --temperature 0.5 --seed 1"),
        ]
    )
    return OK


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
    facts(
        [
            ("text", f"{text.source}: {count:,} characters, {known} distinct"),
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
                f"Adam, rate {recipe.lr:g}, seed {recipe.seed}",
            ),
            (
                "measure",
                f"bits per character: {math.log2(known):.2f} is blind guessing, "
                f"gzip -9 packs this text into {gzip:.2f}",
            ),
        ]
    )


def _check_writable(out: Path) -> None:
    """An hour of training must not end at a folder that does not exist."""
    folder = out.parent
    if out.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        why = (
            "is a directory" if out.is_dir() else "its directory does not exist or is not writable"
        )
        raise OSError(f"--out {out}: {why}")


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
        ids, args.length, temperature=args.temperature, rng=np.random.default_rng(seed)
    )
    for k in drawn:
        terminal.write(vocabulary.characters[k])
    terminal.write("\n")


def _check_sampling(args: argparse.Namespace) -> None:
    if args.length < 0:
        raise ArgumentError(f"--length {args.length}: at least 0")
    if not 0 <= args.temperature < math.inf:
        raise ArgumentError(f"--temperature {args.temperature}: a finite number, at least 0")


# --- compare -------------------------------------------------------------------------------


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    from .compare import add_arguments

    add_arguments(parser)


def _compare(args: argparse.Namespace) -> int:
    """Hold the engine's gradient against backpropagation derived by hand."""
    from .compare import run

    heading(
        "The same gradient twice",
        "Autodiff, and backpropagation through time derived by hand, on a first batch of text.",
    )
    return run(args)


# --- explain -------------------------------------------------------------------------------


def _explain_arguments(parser: argparse.ArgumentParser) -> None:
    from .explaining import add_arguments

    add_arguments(parser)


def _explain(args: argparse.Namespace) -> int:
    """Show where every gradient of a small LSTM comes from: formulas, drawings, a page."""
    from .explaining import run

    return run(args)


# --- blame ---------------------------------------------------------------------------------


def _blame_arguments(parser: argparse.ArgumentParser) -> None:
    from .blaming import add_arguments

    add_arguments(parser)


def _blame(args: argparse.Namespace) -> int:
    """Say which lines of a hand-derived backward pass are wrong, and why."""
    from .blaming import run

    return run(args)


# --- experiment ----------------------------------------------------------------------------


def _experiment_arguments(parser: argparse.ArgumentParser) -> None:
    from .experimenting import add_arguments

    add_arguments(parser)


def _experiment(args: argparse.Namespace) -> int:
    """Run a published experiment, beside the paper's figures; without a name, list them."""
    from .experimenting import run

    return run(args)


# --- all of it -----------------------------------------------------------------------------


class Command(NamedTuple):
    """A word after `python -m models`; its help is the first line of `run`'s docstring."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


COMMANDS = {
    "compare": Command(_compare_arguments, _compare),
    "explain": Command(_explain_arguments, _explain),
    "blame": Command(_blame_arguments, _blame),
    "experiment": Command(_experiment_arguments, _experiment),
    "train": Command(_train_arguments, _train),
    "sample": Command(_sample_only_arguments, _sample),
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
        caption = (command.run.__doc__ or "").partition("\n")[0]
        part = commands.add_parser(each, help=caption, description=caption, allow_abbrev=False)
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
