"""A character language model: which character comes next?

Each character is looked up in a table of vectors, an LSTM reads the vectors, and a linear
layer scores every character of the alphabet as the next one.  Its error is the cross
entropy, given here in bits per character: how many yes-no questions it would still have to
ask.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import Tensor
from minigrad.errors import ArgumentError, lesson

from .lstm import LSTM, State
from .text import Ids, Streams


class CharLM(mg.nn.Module):
    """Embedding, LSTM, Linear.

    Parameters
    ----------
    characters : int
        Size of the alphabet.
    hidden : int
        Units of each LSTM layer.
    layers : int
    embedding : int
        Numbers per character: a row of a table that is learnt.
    dropout : float
        The share of what each layer is given, and of what the last one gives, that is zeroed in
        training (Zaremba et al. 2014).
    dtype : dtype
    rng : numpy.random.Generator, optional
        Draws the parameters, and what is dropped.
    """

    def __init__(
        self,
        characters: int,
        hidden: int,
        *,
        layers: int = 1,
        embedding: int = 32,
        dropout: float = 0.0,
        dtype: Any = np.float32,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.rng = rng = np.random.default_rng(rng)
        self.embedding = mg.nn.Embedding(characters, embedding, dtype=dtype, rng=rng)
        between = dropout if layers > 1 else 0.0
        self.lstm = LSTM(embedding, hidden, layers=layers, dropout=between, dtype=dtype, rng=rng)
        self.dropout = mg.nn.Dropout(dropout, rng=rng)
        self.head = mg.nn.Linear(hidden, characters, dtype=dtype, rng=rng)
        for cell in self.lstm.cells:  # begin by remembering (Jozefowicz et al. 2015)
            cell.b_f.data = np.ones(hidden, dtype)

    def forward(self, ids: Any, state: State | None = None) -> tuple[Tensor, State]:
        """Scores of the next character after each of `ids`.

        Parameters
        ----------
        ids : array of int, shape (T, B)
        state : (a, c), optional
            What the LSTM remembers of the characters before.

        Returns
        -------
        scores : Tensor, shape (T, B, characters)
        state : tuple of Tensor
        """
        outputs, state = self.lstm(self.dropout(self.embedding(ids)), state)
        return self.head(self.dropout(outputs)), state

    def loss(self, codes: Ids, state: State | None = None) -> tuple[Tensor, State]:
        """Mean cross entropy in nats, and the state as a constant.

        The state goes on to the next chunk while the gradient stops here: truncated
        backpropagation through time.

        Parameters
        ----------
        codes : array of int, shape (T + 1, B)
            Each row but the last is read, each but the first predicted.
        state : (a, c), optional
        """
        scores, (a, c) = self(codes[:-1], state)
        return mg.cross_entropy(scores, codes[1:]), (a.detach(), c.detach())

    @mg.no_grad()
    def bits(self, streams: Streams) -> float:
        """Bits per character over a whole text, read once from an empty state."""
        nats, state = 0.0, None
        for codes in streams:
            loss, state = self.loss(codes, state)
            nats += loss.item() * codes[1:].size
        return nats / streams.predictions / math.log(2)

    @mg.no_grad()
    def sample(
        self,
        prompt: Ids,
        length: int,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        rng: np.random.Generator,
    ) -> Iterator[int]:
        """Write on from a prompt.

        Parameters
        ----------
        prompt : array of int, shape (T,)
            At least one character.
        length : int
            How many characters to write.
        temperature : float
            Scores are divided by it: below 1 more careful, above 1 more daring, at 0 always
            the likeliest character.
        top_k : int
            Draw from so many of the likeliest characters; 0: from all.
        top_p : float
            Draw from the fewest characters that have this probability together (Holtzman et
            al. 2020); 1: from all.
        rng : numpy.random.Generator

        Yields
        ------
        int
            A character's number, as soon as it is drawn.
        """
        if not (math.isfinite(temperature) and temperature >= 0):
            raise ArgumentError(
                lesson("sample", f"temperature={temperature}", "a finite number, at least 0")
            )
        if top_k < 0 or not 0 < top_p <= 1:
            raise ArgumentError(
                lesson(
                    "sample",
                    f"top_k={top_k}, top_p={top_p}",
                    "at least 0; above 0 and at most 1",
                )
            )
        if not len(prompt):
            raise ArgumentError(lesson("sample", "an empty prompt", "at least one character"))
        scores, state = self(prompt[:, None])
        for written in range(length):
            drawn = _draw(scores.numpy()[-1, 0], temperature, top_k, top_p, rng)
            yield drawn
            if written + 1 < length:
                scores, state = self(np.array([[drawn]]), state)


def _draw(
    scores: np.ndarray[Any, Any],
    temperature: float,
    top_k: int,
    top_p: float,
    rng: np.random.Generator,
) -> int:
    if temperature == 0:
        return int(scores.argmax())
    below = scores.astype(np.float64) - scores.max()
    with np.errstate(over="ignore"):  # a tiny temperature sends the rest to minus infinity
        weights = np.exp(below / temperature)
    if top_k or top_p < 1:
        likeliest = np.argsort(-weights, kind="stable")[: top_k or None]
        share = weights[likeliest].cumsum()
        kept = likeliest[: 1 + share.searchsorted(top_p * share[-1])]
        weights[np.setdiff1d(np.arange(len(weights)), kept)] = 0
    ladder = weights.cumsum()
    # side="right" never lands on a step of height zero
    return int(ladder.searchsorted(rng.random() * ladder[-1], side="right"))
