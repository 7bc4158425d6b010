"""Tell nine speakers apart by how they say two vowels.

Nine men say the Japanese vowels /ae/; each utterance is a row of 7 to 29 frames of 12 cepstral
coefficients. 270 utterances, 30 a speaker, are learned from; 370 are the test, in the split of the
publication. The set (Kudo, Toyama and Shimbo 1999) comes inside the package sktime; its files are read
as they are, without importing the package. Coefficients are shifted and scaled to mean 0 and deviation
1 over the frames that are learned from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minigrad.errors import DataError, lesson

from . import classifying
from .classifying import Labelled, Task, accuracies
from .experiment import Array, Axes, Experiment, Figure, Trial, Watch
from .needed import folder_of


@dataclass(frozen=True)
class Recipe(classifying.Recipe):
    units: int = 32
    batch: int = 30
    epochs: int = 60
    noise: float = 0.0
    at_least: float = 94.5


def read(path: Path) -> tuple[list[Array], Array]:
    """The utterances (T_k, 12) of a ``.ts`` file, and their speakers from 0.

    A line is an utterance: its coefficients' rows with ``:`` between them, the frames with
    ``,``, and at the end the speaker.

    Raises
    ------
    DataError
        It is no such file.
    """
    try:
        _, _, lines = path.read_text(encoding="utf-8").partition("@data\n")
        rows = [line.split(":") for line in lines.splitlines()]
        sequences = [np.array([r.split(",") for r in row[:-1]], np.float32).T for row in rows]
        return sequences, np.array([int(row[-1]) - 1 for row in rows])
    except (ValueError, IndexError) as error:
        raise DataError(lesson(str(path), f"not a .ts file of whole rows ({error})")) from None


def utterances() -> tuple[Labelled, Labelled]:
    """What is learned from, and the test, both scaled."""
    folder = folder_of("sktime", "vowels") / "datasets" / "data" / "JapaneseVowels"
    (learn, y), (test, y_test) = (read(folder / f"JapaneseVowels_{part}.ts") for part in ("TRAIN", "TEST"))
    frames = np.concatenate(learn)
    mean, deviation = frames.mean(axis=0), frames.std(axis=0)
    return ([(s - mean) / deviation for s in learn], y), ([(s - mean) / deviation for s in test], y_test)


def trial(recipe: Recipe, seed: int, watch: Watch) -> Trial:
    task = Task(*utterances(), classes=9)
    curve = accuracies(task, recipe, seed, watch)
    return Trial(curve[-1][1] >= recipe.at_least, {"right": curve[-1][1]}, curve)


EXPERIMENT = Experiment(
    name="vowels",
    title="Japanese vowels: who speaks?",
    source="Kudo, Toyama and Shimbo 1999",
    about=__doc__,
    rule="at least 94.5 % of the test right",
    figures={"right": Figure("right in the test", "{:.1f} %", "about 94.1 % (quoted from memory, not checked)")},
    recipe=Recipe(),
    trial=trial,
    axes=Axes("epochs", "% right in the test", {"publication": 94.1}),
    share=1.0,
    quick={"epochs": 1},
)
