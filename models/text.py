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
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.errors import ArgumentError, DataError, lesson

Ids = np.ndarray[Any, np.dtype[np.int64]]

HELD_OUT = 0.1


@dataclass(frozen=True)
class Text:
    """A text and where it is from."""

    source: str
    content: str

    @property
    def sha256(self) -> str:
        """What tells this text from any other, whatever its file is called."""
        return hashlib.sha256(self.content.encode("utf-8", "surrogatepass")).hexdigest()


def read(path: str | None = None, encoding: str = "utf-8") -> Text:
    """A file's text; without a file, the English that every CPython brings along.

    Parameters
    ----------
    path : str, optional
        Without it, the articles of ``help("TOPIC")`` in the order of their names: some
        465,000 characters of technical prose and code, a few more or less with the version
        of Python.
    encoding : str

    Raises
    ------
    DataError
        The file cannot be read, is empty, or is not in `encoding`.
    ArgumentError
        There is no such encoding.
    """
    if path is None:
        from pydoc_data.topics import topics

        return Text("help texts of Python", "\n".join(topics[name] for name in sorted(topics)))
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    if not raw:
        raise DataError(f"{path} is empty")
    try:
        content = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: byte 0x{raw[error.start]:02x} at offset {error.start} (line {line}) is not "
            f"{'UTF-8' if encoding == 'utf-8' else encoding}; pass --encoding, for instance "
            "--encoding cp1252") from None  # fmt: skip
    except UnicodeError as error:
        raise DataError(f"{path} is not {encoding}: {error}; pass --encoding") from None
    except LookupError:
        raise ArgumentError(f"--encoding {encoding}: Python has no text encoding of this name") from None
    if not content:  # nothing but a byte order mark
        raise DataError(f"{path} is empty")
    return Text(path, content)


@dataclass(frozen=True)
class Vocabulary:
    """The distinct characters of a text in code point order; a character's number is its place."""

    characters: str

    @classmethod
    def of(cls, content: str) -> Vocabulary:
        """The vocabulary of a text."""
        return cls("".join(sorted(set(content))))

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
            raise DataError(f"the model has never seen {', '.join(unknown)}; it knows the "
                            f"{len(self)} characters {ascii(self.characters):.160}")  # fmt: skip
        return np.array([number[c] for c in content], np.int64)

    def decode(self, ids: Any) -> str:
        """Characters of numbers."""
        return "".join(self.characters[i] for i in ids)


def split(ids: Ids, *, seq: int, batch: int) -> tuple[Ids, Ids]:
    """The first 90 % to learn from and the rest, held out.

    By position, not at random: neighbouring pieces of a text repeat each other, and what is
    held out must be new.

    Raises
    ------
    DataError
        Too short for `batch` streams of `seq` characters, each with its successor.
    """
    if len(ids) <= seq:
        raise DataError(f"--seq {seq} needs >= {seq + 1} characters, file has {len(ids)}")
    held_out = max(2, int(len(ids) * HELD_OUT))  # a character to read and one to guess
    learned = len(ids) - held_out
    if learned <= seq * batch:
        enough = next(n for n in range(seq * batch + 3, 2 * seq * batch + 5)
                      if n - max(2, int(n * HELD_OUT)) > seq * batch)  # fmt: skip
        fits = (learned - 1) // seq
        raise DataError(lesson(
            f"--seq {seq} --batch {batch} need >= {enough} characters", f"file has {len(ids)}", "",
            f"write --batch {fits}" if fits else f"write --batch 1 --seq {max(1, learned - 1)}"))  # fmt: skip
    return ids[:learned], ids[learned:]


@dataclass(frozen=True)
class Streams:
    """A text cut into `batch` equal pieces that are read side by side, `seq` characters at a
    time.

    Chunk k + 1 continues chunk k, so a network may carry its state from one to the next.

    Attributes
    ----------
    inputs, targets : ndarray of int, shape (length, batch)
        Columns are pieces; a target is the character after the input.
    seq : int
    """

    inputs: Ids
    targets: Ids
    seq: int

    @classmethod
    def of(cls, ids: Ids, *, seq: int, batch: int) -> Streams:
        """Cut; the last ``(len(ids) - 1) % batch`` characters are not used."""
        length = (len(ids) - 1) // batch
        cut = [np.ascontiguousarray(part[: batch * length].reshape(batch, length).T)
               for part in (ids[:-1], ids[1:])]  # fmt: skip
        return cls(cut[0], cut[1], seq)

    def __len__(self) -> int:
        """How many whole chunks one reading has."""
        return len(self.inputs) // self.seq

    def chunk(self, k: int) -> tuple[Ids, Ids]:
        """Inputs and targets number `k`, (seq, batch) each."""
        part = slice(k * self.seq, (k + 1) * self.seq)
        return self.inputs[part], self.targets[part]

    def __iter__(self) -> Iterator[tuple[Ids, Ids]]:
        """Every character once, the last chunk maybe shorter."""
        return (self.chunk(k) for k in range(-(-len(self.inputs) // self.seq)))
