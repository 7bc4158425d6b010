"""Text as numbers: reading it, its alphabet, and the streams a network is trained on.

A text is taken as it is.  Nothing is normalised, translated or dropped, so whatever stands
in the file the network can write: a carriage return, a NUL, each half of a combining pair
and a leading byte order mark are characters like any other.  (The codec ``utf-8-sig``
leaves the mark out.)  A directory is the texts below it, one after the other.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.errors import ArgumentError, DataError, lesson

Ids = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Corpus:
    """A text and where it is from.

    Attributes
    ----------
    source, content : str
    files : tuple of (str, int)
        Of a directory: what was read, in this order, and how many bytes each has.
    skipped : tuple of str
        Of a directory: what was not, and why.
    """

    source: str
    content: str
    files: tuple[tuple[str, int], ...] = ()
    skipped: tuple[str, ...] = ()

    @classmethod
    def read(
        cls,
        path: str | None = None,
        encoding: str = "utf-8",
        suffixes: Collection[str] = (),
        without: Collection[Path] = (),
    ) -> Corpus:
        """The text of a file or a directory; without either, the English that every CPython
        brings along.

        Of a directory all texts are read, in the order of their paths, with a line break
        between two of them; links are followed, but nothing is read twice.  What is hidden
        (``.git``) is no part of it.  What is binary, is not in `encoding` or cannot be read is
        skipped and named.

        Parameters
        ----------
        path : str, optional
            Without it, the articles of ``help("TOPIC")`` in the order of their names: some
            465,000 characters of technical prose and code, a few more or less with the
            version of Python.
        encoding : str
        suffixes : collection of str
            Read no files of a directory but these: ``[".txt", ".md"]``.
        without : collection of Path
            Files and directories that are no part of the text, wherever they lie.

        Raises
        ------
        DataError
            The file cannot be read, is empty, or is not in `encoding`; a directory has no
            text that can be read.
        ArgumentError
            There is no such encoding.
        """
        if path is None:
            from pydoc_data.topics import topics

            content = "\n".join(topics[name] for name in sorted(topics))
            return cls("the help texts of Python", content)
        _check_encoding(encoding)
        if Path(path).is_dir():
            return cls._below(Path(path), encoding, suffixes, without)
        content = _decoded(_bytes(Path(path), path), path, encoding)
        if not content:
            raise DataError(f"{path} is empty")
        return cls(path, content)

    @classmethod
    def _below(
        cls, folder: Path, encoding: str, suffixes: Collection[str], without: Collection[Path]
    ) -> Corpus:
        texts, files, skipped = [], [], list[str]()
        for path in _files(folder, suffixes, without, skipped):
            name = str(path.relative_to(folder))
            try:
                if not os.path.isfile(path):  # a broken link, or a pipe that would never end
                    raise DataError(f"{name}: no file that can be read")
                raw = _bytes(path, name)
                if b"\0" in raw[:8000] and "\0".encode(encoding) == b"\0":
                    raise DataError(f"{name}: binary")
                texts.append(_decoded(raw, name, encoding))
            except DataError as error:
                skipped.append(str(error))
            else:
                files.append((name, len(raw)))
        content = "\n".join(text for text in texts if text)
        if not content:
            why = f", but {skipped[0]}" if skipped else ""
            which = f" with the suffix {' or '.join(suffixes)}" if suffixes else ""
            raise DataError(f"{folder}: no text below it{which}{why}")
        return cls(str(folder), content, tuple(files), tuple(skipped))

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
        count, where = len(self.content), "directory" if self.files else "file"
        if count <= seq:
            raise DataError(f"--seq {seq} needs >= {seq + 1} characters, {where} has {count}")
        learned = count - _held_out(count)
        if learned <= seq * batch:
            enough = seq * batch + 3
            while enough - _held_out(enough) <= seq * batch:
                enough += 1
            fits = (learned - 1) // seq
            raise DataError(
                lesson(
                    f"--seq {seq} --batch {batch} need >= {enough} characters",
                    f"{where} has {count}",
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


def _check_encoding(encoding: str) -> None:
    try:
        "\0".encode(encoding)
    except (LookupError, ValueError):
        raise ArgumentError(
            f"--encoding {encoding}: Python has no text encoding of this name"
        ) from None


def _files(
    folder: Path, suffixes: Collection[str], without: Collection[Path], skipped: list[str]
) -> list[Path]:
    """What may be texts below a directory, sorted, each once however many links lead to it."""
    seen = {os.path.realpath(path) for path in [folder, *without]}
    wanted = tuple("." + suffix.lstrip(".").lower() for suffix in suffixes)

    def new(path: Path) -> bool:
        real = os.path.realpath(path)
        if path.name.startswith(".") or real in seen:
            return False
        seen.add(real)
        return True

    def failed(error: OSError) -> None:
        skipped.append(f"{Path(error.filename).relative_to(folder)}: {error.strerror}")

    found = []
    for above, folders, names in os.walk(folder, followlinks=True, onerror=failed):
        folders[:] = [name for name in sorted(folders) if new(Path(above, name))]
        found += [
            path
            for path in (Path(above, name) for name in sorted(names))
            if (not wanted or path.name.lower().endswith(wanted)) and new(path)
        ]
    return sorted(found)


def _bytes(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{name}: {error.strerror}") from None


def _decoded(raw: bytes, name: str, encoding: str) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        official = "UTF-8" if encoding == "utf-8" else encoding
        marked = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        raise DataError(
            f"{name}: byte 0x{raw[error.start]:02x} at offset {error.start} (line {line}) "
            f"is not {official}; pass --encoding, for instance {'utf-16' if marked else 'cp1252'}"
        ) from None
    except UnicodeError as error:
        raise DataError(f"{name} is not {encoding}: {error}; pass --encoding") from None


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
        ids: Ids = self._numbers[_code_points(content)]
        if ids.min(initial=0) < 0:
            unknown = sorted({repr(c) for c in content}.difference(map(repr, self.characters)))
            raise DataError(
                f"the model has never seen {', '.join(unknown)}; it knows the "
                f"{len(self)} characters {self.characters!a:.160}"
            )
        return ids

    @cached_property
    def _numbers(self) -> Ids:
        """The number of each code point, -1 for a stranger."""
        numbers = np.full(sys.maxunicode + 1, -1, np.int64)
        numbers[_code_points(self.characters)] = np.arange(len(self))
        return numbers

    def decode(self, ids: Any) -> str:
        """Characters of numbers."""
        return "".join(self.characters[i] for i in ids)


def _code_points(content: str) -> np.ndarray[Any, np.dtype[np.uint32]]:
    return np.frombuffer(content.encode("utf-32-le", "surrogatepass"), "<u4")


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
