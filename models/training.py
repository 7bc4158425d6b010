"""Training a character model: the recipe, one update after the other, and its checkpoints.

A checkpoint holds everything that the next update depends on, so a training that was
stopped and resumed ends with the same bits as one that was left alone.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg
from minigrad import Tensor
from minigrad.errors import (
    ArgumentError,
    CheckpointError,
    DataError,
    MinigradError,
    NonFiniteError,
    lesson,
)

from .char_lm import CharLM
from .lstm import State
from .text import Corpus, Ids, Vocabulary

KIND = "minigrad character model"
EMBEDDING = 32
MAX_NORM = 1.0
LAST_LR = 0.02
VALIDATIONS = 10
UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB", "ZB")


def _option(default: Any, caption: str, low: float | None = None, high: float = math.inf) -> Any:
    return field(default=default, metadata={"caption": caption, "low": low, "high": high})


@dataclass(frozen=True)
class Recipe:
    """All that decides what a training comes to, given a text.

    The command line, the checks and the checkpoints read this one list.
    """

    steps: int = _option(2000, "updates", 1)
    hidden: int = _option(128, "units of a layer", 1)
    layers: int = _option(1, "LSTM layers", 1)
    seq: int = _option(50, "characters that gradients flow back through", 1)
    batch: int = _option(32, "streams of text read side by side", 1)
    lr: float = _option(
        0.01, "Adam's learning rate at the beginning; it falls along a cosine", 1e-9, 10
    )
    seed: int = _option(0, "of the random numbers", 0)
    dtype: str = _option("float32", "float32 or float64")
    eager: bool = _option(
        False, "compute each update stage by stage, not captured and replayed; rounds otherwise"
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            value, low, high = getattr(self, each.name), each.metadata["low"], each.metadata["high"]
            if low is not None and not low <= value <= high:  # False for NaN as well
                raise ArgumentError(
                    lesson(
                        f"--{each.name} {value}",
                        "",
                        f"a number of at least {low:g}"
                        + (f" and at most {high:g}" if high < math.inf else ""),
                    )
                )
        if self.dtype not in ("float32", "float64"):
            raise ArgumentError(lesson(f"--dtype {self.dtype}", "", "float32 or float64"))

    def parameters(self, characters: int) -> int:
        """How many numbers are learned for an alphabet of so many characters."""
        return characters * EMBEDDING + self._weights() + (self.hidden + 1) * characters

    def _weights(self) -> int:
        """How many of them are the LSTM's."""
        h, sizes = self.hidden, [EMBEDDING] + [self.hidden] * (self.layers - 1)
        return sum(4 * h * (h + size + 1) for size in sizes)

    def memory(self, characters: int) -> int:
        """About how many bytes a training takes: what is kept per parameter (value,
        gradient, Adam's two moments, workspace), and the graph of one chunk; to capture it, the
        reverse pass as well, with the gradient of the weights at each character."""
        graph = self.seq * self.batch * (self.layers * 16 * self.hidden + 6 * characters)
        captured = 0 if self.eager else 4 * graph + 2 * self.seq * self._weights()
        numbers = 8 * self.parameters(characters) + graph + captured
        return numbers * np.dtype(self.dtype).itemsize

    def refuse_too_large(self, characters: int) -> None:
        """Raise ArgumentError, before anything is allocated, if it cannot fit this machine."""
        needed, present = self.memory(characters), machine_memory()
        if needed > present:
            raise ArgumentError(
                lesson(
                    f"--hidden {self.hidden} --layers {self.layers} --seq {self.seq} "
                    f"--batch {self.batch}",
                    f"would take about {size(needed)} of memory",
                    f"this machine has {size(present)}",
                )
            )

    def lr_at(self, step: int) -> float:
        """The learning rate of update `step`, counted from 0: a cosine down to nearly nothing."""
        wave = (1 + math.cos(math.pi * step / self.steps)) / 2
        return self.lr * (LAST_LR + (1 - LAST_LR) * wave)


def machine_memory() -> float:
    """Bytes of this machine's memory; infinite where it cannot be asked."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return math.inf


def size(count: float) -> str:
    """Bytes as people write them: ``1.2 MB``."""
    power = min(max(0, math.floor(math.log10(max(count, 1)) / 3)), len(UNITS) - 1)
    return f"{count / 1000**power:,.{min(power, 1)}f} {UNITS[power]}"


class Run:
    """A training in progress.

    Parameters
    ----------
    text : Corpus
    recipe : Recipe

    Attributes
    ----------
    step : int
        How many updates are done.
    held_out, best : float
        Bits per character on the held-out text, when last asked and at best.
    """

    def __init__(self, text: Corpus, recipe: Recipe) -> None:
        self.text, self.recipe = text, recipe
        recipe.refuse_too_large(len(text.vocabulary))
        self.learned, self.unseen = text.split(seq=recipe.seq, batch=recipe.batch)
        self.model = _model(recipe, text.vocabulary)
        self.optimizer = mg.optim.Adam(self.model.parameters(), lr=recipe.lr)
        self.advance = self._advance if recipe.eager else mg.capture(self._advance)
        self.state: State | None = None
        self.step = 0
        self.held_out = self.best = math.inf

    def update(self) -> float:
        """One update; returns the loss before it in bits per character.

        Raises
        ------
        NonFiniteError
            The loss or a gradient is not finite; the model stays as it was.
        """
        position = self.step % len(self.learned)
        if position == 0:  # the streams begin again
            shape = self.recipe.layers, self.recipe.batch, self.recipe.hidden
            self.state = (mg.tensor(np.zeros(shape, self.recipe.dtype)),) * 2
        self.optimizer.lr = self.recipe.lr_at(self.step)
        before = self.model.state, self.optimizer.state
        codes = self.learned.chunk(position)
        with np.errstate(over="ignore", invalid="ignore"):  # looked for below, once and for all
            loss, norm, state = self.advance(codes, self.state)  # type: ignore[arg-type]
        for name, found in (("loss", loss), ("norm of the gradient", norm)):
            value = float(found)
            if not math.isfinite(value):
                self.model.state, self.optimizer.state = before
                raise NonFiniteError(
                    f"the {name} became {value} at step {self.step + 1}, with a learning rate of "
                    f"{self.optimizer.lr:.3g}; try a smaller --lr than {self.recipe.lr:g}"
                    + self._origin(codes)
                )
        self.state = state
        self.step += 1
        return float(loss) / math.log(2)

    def _advance(self, codes: Ids, state: State) -> tuple[Tensor, Any, State]:
        """Loss, norm of the gradient, and what the LSTM remembers; the model learns."""
        loss, state = self.model.loss(codes, state)
        loss.backward()
        norm = mg.optim.clip_grad_norm(self.optimizer.params, MAX_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss, norm, state

    def _origin(self, codes: Ids) -> str:
        """Where the first bad number of an update is born: the same once more, watched."""
        for name, value in self.model.state.items():
            if not np.isfinite(value).all():
                return f"; before it, {name} held numbers that are not finite"
        try:
            with mg.debug(), np.errstate(all="ignore"):
                self.model.loss(codes, self.state)[0].backward()
        except NonFiniteError as error:
            return f"; {error}"
        finally:
            self.optimizer.zero_grad()
        return ""

    def validate(self) -> float:
        """Bits per character on the held-out text."""
        self.held_out = self.model.bits(self.unseen)
        return self.held_out

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        carried = None if self.state is None else [part.data for part in self.state]
        mg.save(
            path,
            {"model": self.model.state, "optimizer": self.optimizer.state, "carried": carried},
            meta={
                "kind": KIND,
                "recipe": asdict(self.recipe),
                "step": self.step,
                "held_out": _json_number(self.held_out),
                "best": _json_number(self.best),
                "vocabulary": self.text.vocabulary.characters,
                "text": {"source": self.text.source, "sha256": self.text.sha256},
            },
        )

    @classmethod
    def resume(cls, path: Path, text: Corpus, changes: dict[str, Any]) -> Run:
        """Go on from a checkpoint.

        Parameters
        ----------
        path : Path
        text : Corpus
            The same as before.
        changes : dict
            What the caller asks of the recipe.  Only `steps` may differ from what it was.
        """
        saved = Checkpoint.load(path)
        asked = asdict(saved.recipe) | changes
        differing = [
            f"--{name} {value} (was {asdict(saved.recipe)[name]})"
            for name, value in changes.items()
            if name != "steps" and value != asdict(saved.recipe)[name]
        ]
        if text.sha256 != saved.meta["text"]["sha256"]:
            differing.append(
                f"text {text.source}, SHA-256 {text.sha256[:12]} "
                f"(was {saved.meta['text']['source']}, {saved.meta['text']['sha256'][:12]})"
            )
        if differing:
            raise DataError(
                lesson("resume", f"{path} was trained otherwise: {', '.join(differing)}")
            )
        run = cls(text, Recipe(**asked))
        with saved.checked():
            run.model.state = saved.tree["model"]
            run.optimizer.state = saved.tree["optimizer"]
            if saved.tree["carried"] is not None:
                a, c = saved.tree["carried"]
                run.state = (mg.tensor(a), mg.tensor(c))
            run.step = int(saved.meta["step"])
            run.held_out, run.best = (
                float(saved.meta[name] or math.inf) for name in ("held_out", "best")
            )
        return run


def _json_number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _model(recipe: Recipe, vocabulary: Vocabulary) -> CharLM:
    return CharLM(
        len(vocabulary),
        recipe.hidden,
        layers=recipe.layers,
        embedding=EMBEDDING,
        dtype=np.dtype(recipe.dtype),
        rng=np.random.default_rng(recipe.seed),
    )


class _Checked:
    """Turns whatever a foreign or ill-formed checkpoint leads to into one CheckpointError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, (MinigradError, KeyError, TypeError, ValueError, IndexError)):
            raise CheckpointError(
                lesson("load", f"{self.path}: not a {KIND}, or one of another version ({error})")
            ) from None


class Checkpoint(NamedTuple):
    """What `Run.save` wrote."""

    path: Path
    tree: Any
    meta: Any
    recipe: Recipe
    vocabulary: Vocabulary

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read and check.

        Raises
        ------
        CheckpointError
        """
        tree, meta = mg.load(path)
        with _Checked(path):
            if meta["kind"] != KIND:
                raise ValueError(f"it is a {meta['kind']}")
            recipe = Recipe(**({"eager": True} | meta["recipe"]))  # before it could be chosen, all were
            return cls(path, tree, meta, recipe, Vocabulary(meta["vocabulary"]))

    def checked(self) -> _Checked:
        """A block in which the checkpoint's own faults show as CheckpointError."""
        return _Checked(self.path)

    def model(self) -> CharLM:
        """The trained model."""
        with self.checked():
            self.recipe.refuse_too_large(len(self.vocabulary))
            model = _model(self.recipe, self.vocabulary)
            model.state = self.tree["model"]
            return model


class Progress(NamedTuple):
    """Where a training stands after an update."""

    step: int
    steps: int
    bits: float
    held_out: float | None
    speed: float
    left: float


def best_path(out: Path) -> Path:
    """Where the checkpoint with the best held-out result lies, beside the last one."""
    return out.with_name(f"{out.stem}.best{out.suffix}")


def train(run: Run, out: Path, watch: Callable[[Progress], None]) -> bool:
    """Train to the end of the recipe.

    Ten times on the way the held-out text is read, `out` is written, and the best model so
    far is kept at ``best_path(out)``.  Ctrl-C or SIGTERM: the update is finished and `out`
    written; a second one ends the program at once and leaves the file of before.

    Parameters
    ----------
    run : Run
    out : Path
    watch : callable
        Gets a `Progress` after every update.  ``held_out`` is a number ten times only;
        ``speed`` is in characters per second, ``left`` in seconds.

    Returns
    -------
    bool
        Whether it came to the end.

    Raises
    ------
    NonFiniteError
        The loss is no number any more.  `out` holds the last good state.
    """
    recipe = run.recipe
    every = max(1, recipe.steps // VALIDATIONS)
    begun, first, learning = time.perf_counter(), run.step, 0.0
    saved = first > 0 and out.exists()  # by this training, not an earlier one of that name
    with _StopRequest() as stop:
        while run.step < recipe.steps and not stop.asked:
            start = time.perf_counter()
            try:
                bits = run.update()
            except NonFiniteError as error:
                kept = f"{out} holds the last good state" if saved else "nothing was saved yet"
                raise NonFiniteError(f"{error}; {kept}") from None
            learning += time.perf_counter() - start
            due = run.step % every == 0 or run.step == recipe.steps
            if due:
                better = run.validate() < run.best
                run.best = min(run.best, run.held_out)
                run.save(out)
                saved = True
                if better:
                    run.save(best_path(out))
            done = run.step - first
            left = (time.perf_counter() - begun) / done * (recipe.steps - run.step)
            speed = done * recipe.seq * recipe.batch / learning
            try:
                watch(
                    Progress(
                        run.step, recipe.steps, bits, run.held_out if due else None, speed, left
                    )
                )
            except BrokenPipeError:  # nobody reads on: keep what was learned
                run.save(out)
                raise
        if stop.asked:
            run.save(out)
    return run.step >= recipe.steps


class _StopRequest:
    """While it is entered, the first Ctrl-C or SIGTERM only asks; the second acts as usual."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> _StopRequest:
        in_charge = threading.current_thread() is threading.main_thread()  # others get no signals
        self.usual = {number: signal.getsignal(number) for number in self.SIGNALS if in_charge}
        for number in self.usual:
            signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self.__exit__()

    def __exit__(self, *exc: object) -> None:
        for number, handler in self.usual.items():
            signal.signal(number, handler or signal.SIG_DFL)
