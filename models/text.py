"""Text as numbers: reading it, its alphabet, and the streams a network is trained on.

A text is taken as it is.  Nothing is normalised, translated or dropped, so whatever stands
in the file the network can write: a carriage return, a NUL, each half of a combining pair
and a leading byte order mark are characters like any other.  (The codec ``utf-8-sig``
leaves the mark out.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.errors import ArgumentError, DataError, lesson

Ids = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Corpus:
    """A text and where it is from."""

    source: str
    content: str

    @classmethod
    def read(cls, path: str | None = None, encoding: str = "utf-8") -> Corpus:
        """A file's text; without a file, the English that every CPython brings along.

        Parameters
        ----------
        path : str, optional
            Without it, the articles of ``help("TOPIC")`` in the order of their names: some
            465,000 characters of technical prose and code, a few more or less with the
            version of Python.
        encoding : str

        Raises
        ------
        DataError
            The file cannot be read, is empty, or is not in `encoding`.
        ArgumentError
            There is no such encoding.
        """
        if path is not None:
            return cls(path, _read(path, encoding))
        from pydoc_data.topics import topics

        return cls("the help texts of Python", "\n".join(topics[name] for name in sorted(topics)))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary("".join(sorted(set(self.content))))

    @cached_property
    def sha256(self) -> str:
        """What tells this text from any other, whatever its file is called."""
        return hashlib.sha256(self.content.encode("utf-8", "surrogatepass")).hexdigest()

    def split(self, *, seq: int, batch: int) -> tuple[Streams, Streams]:
        """The first 90 % to learn from and the rest, held out.

        By position, not at random: neighbouring pieces of a text repeat each other, and what
        is held out must be new.  It is read in streams long enough that their beginnings,
        without context, do not count for much.

        Parameters
        ----------
        seq, batch : int
            Of the streams to learn from.

        Raises
        ------
        DataError
            The text is too short for `batch` streams of `seq` characters and their
            successors.
        """
        count = len(self.content)
        if count <= seq:
            raise DataError(f"--seq {seq} needs >= {seq + 1} characters, file has {count}")
        learned = count - _held_out(count)
        if learned <= seq * batch:
            enough = seq * batch + 3
            while enough - _held_out(enough) <= seq * batch:
                enough += 1
            fits = (learned - 1) // seq
            raise DataError(
                lesson(
                    f"--seq {seq} --batch {batch} need >= {enough} characters",
                    f"file has {count}",
                    "",
                    f"write --batch {fits}"
                    if fits > 0
                    else "give a longer text or a shorter --seq",
                )
            )
        ids = self.vocabulary.encode(self.content)
        unseen = ids[learned:]
        side_by_side = min(32, max(1, len(unseen) // 1000))
        return Streams.of(ids[:learned], seq, batch), Streams.of(unseen, seq, side_by_side)

    def batches(self, seq: int, batch: int) -> Iterator[Ids]:
        """The chunks to learn from, (seq + 1, batch) each, in the order of reading."""
        return iter(self.split(seq=seq, batch=batch)[0])


def _held_out(count: int) -> int:
    return max(2, count // 10)  # at the least, a character to read and one to guess


def _read(path: str, encoding: str) -> str:
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    try:
        content = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        name = "UTF-8" if encoding == "utf-8" else encoding
        raise DataError(
            f"{path}: byte 0x{raw[error.start]:02x} at offset {error.start} (line {line}) "
            f"is not {name}; pass --encoding, for instance cp1252"
        ) from None
    except UnicodeError as error:
        raise DataError(f"{path} is not {encoding}: {error}; pass --encoding") from None
    except LookupError:
        raise ArgumentError(
            f"--encoding {encoding}: Python has no text encoding of this name"
        ) from None
    if not content:
        raise DataError(f"{path} is empty")
    return content


@dataclass(frozen=True)
class Vocabulary:
    """The distinct characters of a text in code point order; a character's number is its place."""

    characters: str

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, content: str) -> Ids:
        """Numbers of characters.

        Raises
        ------
        DataError
            A character has none; the message names it.
        """
        number = {character: k for k, character in enumerate(self.characters)}
        unknown = sorted({repr(c) for c in content if c not in number})
        if unknown:
            raise DataError(
                f"the model has never seen {', '.join(unknown)}; it knows the "
                f"{len(self)} characters {self.characters!a:.160}"
            )
        return np.array([number[c] for c in content], np.int64)

    def decode(self, ids: Any) -> str:
        """Characters of numbers."""
        return "".join(self.characters[i] for i in ids)


@dataclass(frozen=True)
class Streams:
    """A text cut into equal pieces that are read side by side, `seq` characters at a time.

    Chunk k + 1 continues chunk k, so a network may carry its state from one to the next.

    Attributes
    ----------
    codes : ndarray of int, shape (length + 1, batch)
        Columns are pieces; the last row is the first of the next piece.
    seq : int
    """

    codes: Ids
    seq: int

    @classmethod
    def of(cls, ids: Ids, seq: int, batch: int) -> Streams:
        """Cut; the last ``(len(ids) - 1) % batch`` characters are not used."""
        length = (len(ids) - 1) // batch
        return cls(ids[np.arange(length + 1)[:, None] + length * np.arange(batch)], seq)

    @property
    def predictions(self) -> int:
        """How many characters are to be predicted in one reading."""
        return int(self.codes[1:].size)

    def chunk(self, k: int) -> Ids:
        """Chunk `k`, (seq + 1, batch): its last row is the first of the next chunk, for a
        character is read there and predicted here."""
        return self.codes[k * self.seq : (k + 1) * self.seq + 1]

    def __len__(self) -> int:
        """How many whole chunks one reading has."""
        return (len(self.codes) - 1) // self.seq

    def __iter__(self) -> Iterator[Ids]:
        """Every character once, the last chunk maybe shorter."""
        return (self.chunk(k) for k in range(-(-(len(self.codes) - 1) // self.seq)))
