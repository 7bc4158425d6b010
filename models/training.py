"""Training a character model: the recipe, one update after the other, what was measured on
the way, and checkpoints.

A checkpoint holds everything that the next update depends on, so a training that was
stopped and resumed ends with the same bits as one that was left alone.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, fields, replace
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
from minigrad.optim import Optimizer, lr_scheduler

from .char_lm import CharLM
from .lstm import State
from .text import Corpus, Ids, Vocabulary

KIND = "minigrad character model"
EMBEDDING = 32
VALIDATIONS = 10
UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


def _option(
    default: Any,
    caption: str,
    low: float | None = None,
    high: float = math.inf,
    *,
    among: Collection[str] = (),
    only: tuple[str, ...] = (),
    later: bool = False,
) -> Any:
    """A field of `Recipe`: a number from `low` to `high`, or a word `among` others.

    It counts `only` with some choices, given as ("schedule", "step", "plateau"), and may be
    changed `later`, when a training is resumed.
    """
    return field(
        default=default,
        metadata={
            "caption": caption,
            "low": low,
            "high": high,
            "among": among,
            "only": only,
            "later": later,
        },
    )


Params = list[Tensor]
OPTIMIZERS: dict[str, Callable[[Params, Recipe], Optimizer]] = {
    "adam": lambda p, r: mg.optim.Adam(p, r.lr, weight_decay=r.weight_decay),
    "adamw": lambda p, r: mg.optim.AdamW(p, r.lr, weight_decay=r.weight_decay),
    "sgd": lambda p, r: mg.optim.SGD(p, r.lr, r.momentum, weight_decay=r.weight_decay),
    "nesterov": lambda p, r: mg.optim.SGD(
        p, r.lr, r.momentum, weight_decay=r.weight_decay, nesterov=True
    ),
    "rmsprop": lambda p, r: mg.optim.RMSprop(p, r.lr, weight_decay=r.weight_decay),
    "adagrad": lambda p, r: mg.optim.Adagrad(p, r.lr, weight_decay=r.weight_decay),
}
# of the updates after the warm-up
SCHEDULES: dict[str, Callable[[Optimizer, Recipe, int], lr_scheduler.LRScheduler]] = {
    "constant": lambda o, r, updates: lr_scheduler.ConstantLR(o, 1.0),
    "cosine": lambda o, r, updates: lr_scheduler.CosineAnnealingLR(o, updates, r.lr_final * r.lr),
    "linear": lambda o, r, updates: lr_scheduler.LinearLR(o, 1.0, r.lr_final, updates),
    "step": lambda o, r, updates: lr_scheduler.StepLR(o, r.lr_every, r.lr_factor),
    "plateau": lambda o, r, updates: lr_scheduler.ReduceLROnPlateau(
        o, "min", r.lr_factor, r.lr_patience - 1, threshold=0, min_lr=r.lr_final * r.lr
    ),
}


@dataclass(frozen=True)
class Recipe:
    """All that decides what a training comes to, given a text.

    The command line, the checks and the checkpoints read this one list.
    """

    steps: int = _option(2000, "updates", 1, later=True)
    hidden: int = _option(128, "units of a layer", 1)
    layers: int = _option(1, "LSTM layers", 1)
    seq: int = _option(50, "characters that gradients flow back through", 1)
    batch: int = _option(32, "streams of text read side by side", 1)
    dropout: float = _option(
        0.0, "share of the LSTM's inputs and outputs that is zeroed in training", 0, 0.99
    )
    optimizer: str = _option("adam", "how a gradient becomes an update", among=OPTIMIZERS)
    lr: float = _option(0.01, "learning rate, where it is highest", 1e-9, 10)
    momentum: float = _option(
        0.9,
        "part of an update that the next one keeps",
        0,
        1,
        only=("optimizer", "sgd", "nesterov"),
    )
    weight_decay: float = _option(0.0, "pulls every parameter towards zero", 0, 10)
    clip_norm: float = _option(1.0, "largest norm of a gradient, longer ones are scaled; 0: any", 0)
    clip_value: float = _option(
        0.0, "largest number in a gradient, greater ones are cut; 0: any", 0
    )
    schedule: str = _option("cosine", "how the learning rate falls", among=SCHEDULES)
    warmup: int = _option(0, "updates in which the learning rate rises, before it falls", 0)
    lr_final: float = _option(
        0.02, "the part of it that is left", 0, 1, only=("schedule", "cosine", "linear", "plateau")
    )
    lr_factor: float = _option(0.5, "of one cut", 0, 0.99, only=("schedule", "step", "plateau"))
    lr_every: int = _option(500, "updates from cut to cut", 1, only=("schedule", "step"))
    lr_patience: int = _option(
        2, "validations without improvement before a cut", 1, only=("schedule", "plateau")
    )
    validate: int = _option(
        0, "updates between two readings of the held-out text; 0: a tenth of all", 0
    )
    patience: int = _option(
        0, "stop after so many validations without improvement; 0: never", 0, later=True
    )
    seed: int = _option(0, "of the random numbers", 0)
    dtype: str = _option("float32", "of all numbers", among=("float32", "float64"))
    eager: bool = _option(
        False, "compute each update stage by stage, not captured and replayed; rounds otherwise"
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            value, low, high = getattr(self, each.name), each.metadata["low"], each.metadata["high"]
            if low is not None and not low <= value <= high:  # False for NaN as well
                raise ArgumentError(
                    lesson(
                        f"{flag(each.name)} {value}",
                        "",
                        f"a number of at least {low:g}"
                        + (f" and at most {high:g}" if high < math.inf else ""),
                    )
                )
            among, only = each.metadata["among"], each.metadata["only"]
            if among and value not in among:
                raise ArgumentError(lesson(f"{flag(each.name)} {value}", "", _either(among)))
            if only and value != each.default and getattr(self, only[0]) not in only[1:]:
                raise ArgumentError(
                    lesson(
                        f"{flag(each.name)} {value}",
                        f"{flag(only[0])} {getattr(self, only[0])} has no use for it",
                        "",
                        f"write {flag(only[0])} {_either(only[1:])}",
                    )
                )

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

    def clip(self, parameters: Params) -> float:
        """Make gradients smaller, as asked; returns their norm before."""
        norm = mg.optim.clip_grad_norm(parameters, self.clip_norm or math.inf)
        if self.clip_value:
            mg.optim.clip_grad_value(parameters, self.clip_value)
        return norm


def flag(name: str) -> str:
    """What a field of `Recipe` is called on the command line."""
    return f"--{name.replace('_', '-')}"


def _either(words: Collection[str]) -> str:
    """``a, b or c``."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


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


@dataclass
class History:
    """What was measured: bits per character of each update, and of the held-out text.

    Attributes
    ----------
    bits : list of float
        Before update 1, 2, ...
    at : list of int
        The updates after which the held-out text was read.
    held_out : list of float
        What came of it; infinite if it was no number.
    """

    bits: list[float] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)

    @property
    def best_reading(self) -> int | None:
        """Which reading was the best, the first of equals."""
        return self.held_out.index(min(self.held_out)) if self.held_out else None

    @property
    def stale(self) -> int:
        """How many readings came after the best."""
        return 0 if self.best_reading is None else len(self.held_out) - 1 - self.best_reading

    @property
    def state(self) -> dict[str, Any]:
        return {name: np.array(numbers) for name, numbers in asdict(self).items()}

    @state.setter
    def state(self, saved: dict[str, Any]) -> None:
        for name in asdict(self):
            setattr(self, name, saved[name].tolist())


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
    history : History
    norm : float
        Of the gradient of the last update, before it was clipped.
    """

    def __init__(self, text: Corpus, recipe: Recipe) -> None:
        self.text, self.recipe = text, recipe
        recipe.refuse_too_large(len(text.vocabulary))
        self.learned, self.unseen = text.split(seq=recipe.seq, batch=recipe.batch)
        self.model = _model(recipe, text.vocabulary)
        self.optimizer = OPTIMIZERS[recipe.optimizer](self.model.parameters(), recipe)
        rest = max(1, recipe.steps - recipe.warmup)
        self.scheduler = SCHEDULES[recipe.schedule](self.optimizer, recipe, rest)
        self.advance = self._advance if recipe.eager else mg.capture(self._advance)
        self.state: State | None = None
        self.step = 0
        self.history = History()
        self.norm = math.nan

    @property
    def held_out(self) -> float:
        """Bits per character on the held-out text, when it was last read."""
        return self.history.held_out[-1] if self.history.held_out else math.inf

    @property
    def best(self) -> float:
        """Bits per character on the held-out text, at best."""
        return min(self.history.held_out, default=math.inf)

    @property
    def due(self) -> bool:
        """Whether it is time to read the held-out text."""
        every = self.recipe.validate or max(1, self.recipe.steps // VALIDATIONS)
        return self.step % every == 0 or self.step >= self.recipe.steps

    @property
    def out_of_patience(self) -> bool:
        return bool(self.recipe.patience) and self.history.stale >= self.recipe.patience

    @property
    def finished(self) -> bool:
        return self.step >= self.recipe.steps or self.out_of_patience

    def lr_at(self, step: int) -> float:
        """The learning rate of update `step`, counted from 0."""
        warmup = self.recipe.warmup
        rising = min(1.0, (step + 1) / (warmup + 1))
        return self.scheduler.lr_at(max(0, step - warmup)) * rising

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
        self.optimizer.lr = self.lr_at(self.step)
        self._seed_dropout()
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
        self.state, self.norm = state, float(norm)
        self.step += 1
        self.history.bits.append(float(loss) / math.log(2))
        return self.history.bits[-1]

    def _advance(self, codes: Ids, state: State) -> tuple[Tensor, Any, State]:
        """Loss, norm of the gradient, and what the LSTM remembers; the model learns."""
        loss, state = self.model.loss(codes, state)
        loss.backward()
        norm = self.recipe.clip(self.optimizer.params)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss, norm, state

    def _seed_dropout(self) -> None:
        """What is dropped follows from the number of an update: a training that goes on drops the
        same, and nothing of it need be saved."""
        if self.recipe.dropout:
            fresh = np.random.default_rng((self.recipe.seed, self.step))
            self.model.rng.bit_generator.state = fresh.bit_generator.state

    def _origin(self, codes: Ids) -> str:
        """Where the first bad number of an update is born: the same once more, watched."""
        for name, value in self.model.state.items():
            if not np.isfinite(value).all():
                return f"; before it, {name} held numbers that are not finite"
        self._seed_dropout()
        try:
            with mg.debug(), np.errstate(all="ignore"):
                self.model.loss(codes, self.state)[0].backward()
        except NonFiniteError as error:
            return f"; {error}"
        finally:
            self.optimizer.zero_grad()
        return ""

    def validate(self) -> float:
        """Bits per character on the held-out text; a schedule may take note."""
        self.model.eval()
        bits = self.model.bits(self.unseen)
        self.model.train()
        self.history.at.append(self.step)
        self.history.held_out.append(bits if math.isfinite(bits) else math.inf)
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(bits)
        return bits

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        carried = None if self.state is None else [part.data for part in self.state]
        mg.save(
            path,
            {
                "model": self.model.state,
                "optimizer": self.optimizer.state,
                "scheduler": self.scheduler.state,
                "carried": carried,
                "history": self.history.state,
            },
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
            What the caller asks of the recipe.  Only how long to train, `steps` and `patience`,
            may differ from what it was.
        """
        saved = Checkpoint.load(path)
        before = asdict(saved.recipe)
        differing = [
            f"{flag(each.name)} {changes[each.name]} (was {before[each.name]})"
            for each in fields(Recipe)
            if changes.get(each.name, before[each.name]) != before[each.name]
            and not each.metadata["later"]
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
        run = cls(text, replace(saved.recipe, **changes))
        with saved.checked():
            run.model.state = saved.tree["model"]
            run.optimizer.state = saved.tree["optimizer"]
            run.scheduler.state = saved.tree["scheduler"]
            run.history.state = saved.tree["history"]
            if saved.tree["carried"] is not None:
                a, c = saved.tree["carried"]
                run.state = (mg.tensor(a), mg.tensor(c))
            run.step = int(saved.meta["step"])
        return run


def _json_number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _model(recipe: Recipe, vocabulary: Vocabulary) -> CharLM:
    return CharLM(
        len(vocabulary),
        recipe.hidden,
        layers=recipe.layers,
        embedding=EMBEDDING,
        dropout=recipe.dropout,
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
            recipe = Recipe(
                **({"eager": True} | meta["recipe"])
            )  # before it could be chosen, all were
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
            model.eval()
            return model


class Progress(NamedTuple):
    """Where a training stands after an update.

    Attributes
    ----------
    step, steps : int
    bits : float
        Per character, of what was learned from, before the update.
    held_out : float or None
        The same of the held-out text after it, if that was read.
    lr, norm : float
        Learning rate; norm of the gradient before it was clipped.
    speed, seconds, left : float
        Characters per second; seconds since the beginning, and to the end.
    """

    step: int
    steps: int
    bits: float
    held_out: float | None
    lr: float
    norm: float
    speed: float
    seconds: float
    left: float


def best_path(out: Path) -> Path:
    """Where the checkpoint with the best held-out result lies, beside the last one."""
    return out.with_name(f"{out.stem}.best{out.suffix}")


def train(run: Run, out: Path, watch: Callable[[Progress], None]) -> bool:
    """Train to the end of the recipe, or of its patience.

    Every so often the held-out text is read, `out` is written, and the best model so far is
    kept at ``best_path(out)``.  Ctrl-C or SIGTERM: the update is finished and `out` written;
    a second one ends the program at once and leaves the file of before.

    Parameters
    ----------
    run : Run
    out : Path
    watch : callable
        Gets a `Progress` after every update, before it is saved: what was told may be told
        again after a resumption, but nothing is left untold.

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
    begun, first, learning = time.perf_counter(), run.step, 0.0
    saved = first > 0 and out.exists()  # by this training, not an earlier one of that name
    with _StopRequest() as stop:
        while not run.finished and not stop.asked:
            start = time.perf_counter()
            try:
                bits = run.update()
            except NonFiniteError as error:
                kept = f"{out} holds the last good state" if saved else "nothing was saved yet"
                raise NonFiniteError(f"{error}; {kept}") from None
            learning += time.perf_counter() - start
            due = run.due
            held_out = run.validate() if due else None
            seconds, done = time.perf_counter() - begun, run.step - first
            now = Progress(
                run.step,
                recipe.steps,
                bits,
                held_out,
                run.optimizer.lr,
                run.norm,
                speed=done * recipe.seq * recipe.batch / learning,
                seconds=seconds,
                left=seconds / done * (recipe.steps - run.step),
            )
            try:
                watch(now)
            except OSError:  # nobody reads on, or there is no room: keep what was learned
                _keep(run, out)
                raise
            if due:
                _keep(run, out)
                saved = True
        if stop.asked:
            _keep(run, out)
    return run.finished


def _keep(run: Run, out: Path) -> None:
    """Save, and once more if this is the best so far."""
    run.save(out)
    if run.history.at[-1:] == [run.step] and run.history.stale == 0:
        run.save(best_path(out))


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
