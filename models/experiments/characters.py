"""A character model of technical English: how many bits does it need for the next character?

The text is the help that comes with Python (`pydoc_data.topics`), some 465,000 characters, a few more or
less with the version. The first nine tenths are learned from, the last tenth is the test, read once.
The model is that of `python -m models train`: an embedding, an LSTM, a linear layer; truncated
backpropagation through time, the state carried on.

Beside it, on the same split: interpolated n-grams (Witten and Bell 1991), which count what followed the
last two or three characters; and compressors, as the bits that the last tenth costs them after the rest,
and as the bits per character of the whole text, with nothing held out.
"""

from __future__ import annotations

import bz2
import lzma
import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from .. import training
from ..text import Corpus
from .experiment import Axes, Experiment, Figure, Trial, Watch

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip -9": lambda raw: zlib.compress(raw, 9),
    "bz2": bz2.compress,
    "xz": lambda raw: lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME),
}


@dataclass(frozen=True)
class Recipe:
    updates: int = 2500
    hidden: int = 128
    seq: int = 50
    batch: int = 32
    rate: float = 0.01
    characters: int = 10**9
    at_most: float = 2.05


def corpus(length: int) -> Corpus:
    """The text, or its first `length` characters."""
    whole = Corpus.read()
    return Corpus(whole.source, whole.content[:length])


def ngram(learned: str, unseen: str, order: int) -> float:
    """Bits per character of `unseen` by an interpolated n-gram: after `order` characters of
    context, as seen in `learned`, the next one has the probability ::

        P(c | h) = (count(h c) + distinct(h) P(c | h')) / (count(h) + distinct(h))

    where h' is h without its first character, and all characters of the text are equally likely
    at the end of the chain (Witten and Bell 1991).
    """
    alphabet = len(set(learned) | set(unseen))
    counts: list[defaultdict[str, Counter[str]]] = []
    for n in range(order + 1):
        after: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for k in range(n, len(learned)):
            after[learned[k - n : k]][learned[k]] += 1
        counts.append(after)
    totals = [{h: (sum(c.values()), len(c)) for h, c in after.items()} for after in counts]
    text, bits = learned[len(learned) - order :] + unseen, 0.0
    for k in range(order, len(text)):
        p = 1 / alphabet
        for n in range(order + 1):
            h = text[k - n : k]
            if h in totals[n]:
                seen, distinct = totals[n][h]
                p = (counts[n][h][text[k]] + distinct * p) / (seen + distinct)
        bits -= math.log2(p)
    return bits / len(unseen)


def rivals(recipe: Recipe) -> dict[str, float]:
    """Bits per character by n-grams and compressors."""
    text = corpus(recipe.characters).content
    learned = text[: len(text) - len(text) // 10]
    unseen = text[len(learned) :]
    found = {f"n-gram of order {order}": ngram(learned, unseen, order) for order in (2, 3)}
    for name, pack in COMPRESSORS.items():
        whole, rest = (8 * len(pack(part.encode())) for part in (text, learned))
        found[f"{name}, last tenth"] = (whole - rest) / len(unseen)
        found[f"{name}, whole text"] = whole / len(text)
    return found


def trial(recipe: Recipe, seed: int, watch: Watch) -> Trial:
    run = training.Run(corpus(recipe.characters), training.Recipe(
        steps=recipe.updates, hidden=recipe.hidden, seq=recipe.seq, batch=recipe.batch, lr=recipe.rate, seed=seed))  # fmt: skip
    curve, every = [], max(1, recipe.updates // 10)
    for step in range(1, recipe.updates + 1):
        bits = run.update()
        if step % every == 0:
            curve.append((step, run.validate()))
        watch(step, recipe.updates, f"{bits:.2f} bits per character")
    return Trial(run.held_out < recipe.at_most, {"bits": run.held_out}, curve)


EXPERIMENT = Experiment(
    name="characters",
    title="A character model",
    source="The help texts of Python; the rivals are the reference, no publication",
    about=__doc__,
    rule="less than 2.05 bits per character on the held-out tenth",
    figures={"bits": Figure("bits per character, held out", "{:.3f}")},
    recipe=Recipe(),
    trial=trial,
    axes=Axes("updates", "bits per character, held out"),
    share=1.0,
    seeds=2,
    rivals=rivals,
    remark="The model is better than these n-grams and than gzip, even where gzip has read the rest before. **It loses to "
    "bz2 and xz**: the text repeats itself word for word, and they can copy from far back.",
    quick={"updates": 10, "hidden": 8, "seq": 10, "batch": 4, "characters": 20_000},
)
