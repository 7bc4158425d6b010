"""What a training leaves to be looked at: a table, TensorBoard's events, a picture.

Each is told after every update how the training stands, and is closed at its end, whichever
way that comes.  After a resumption each goes on where the checkpoint stands: what a killed
training had told beyond it comes again, and stands there once.
"""

from __future__ import annotations

import errno
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.errors import ArgumentError, DataError, DependencyError, StorageError, lesson

from .training import History, Progress


class Log:
    """A context: made, it has looked whether it can be written; entered, it writes."""

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None: ...

    def __call__(self, now: Progress) -> None:
        """An update is done."""


def log_to(path: str, after: int) -> Log:
    """The log that a path asks for, ``NAME.csv`` or a directory for TensorBoard, of a training
    that has taken `after` updates."""
    if path.endswith(".csv"):
        return Table(Path(path), after)
    if path.endswith(("/", os.sep)) or Path(path).is_dir():
        return Events(Path(path), after)
    raise ArgumentError(
        lesson(f"--log {path}", "", f"NAME.csv, or a directory for TensorBoard: --log {path}/")
    )


class Table(Log):
    """Comma-separated values, a line for each update; each is written as a whole.

    Parameters
    ----------
    path : Path
        A new file or one of this kind, which is cut after update `after`.
    after : int
    """

    COLUMNS = ("step", "bits", "held_out", "lr", "norm", "seconds")

    def __init__(self, path: Path, after: int) -> None:
        self.path = path
        self.header = header = (",".join(self.COLUMNS) + "\n").encode()
        there = path.read_bytes() if path.exists() else b""
        if not (there.startswith(header) or header.startswith(there)):
            raise DataError(
                lesson(f"--log {path}", "this file is not the log of a training", "another name")
            )
        self.end, self.before = len(header) if there.startswith(header) else 0, 0.0
        for number, line in enumerate(there[self.end :].splitlines(keepends=True), start=2):
            if not line.endswith(b"\n"):  # the writer was killed
                break
            try:
                step, *_, seconds = line.split(b",")
                if int(step) > after:
                    break
                self.end, self.before = self.end + len(line), float(seconds)
            except ValueError:
                raise DataError(
                    lesson(f"--log {path}", f"line {number} is damaged", "another name")
                ) from None

    def __enter__(self) -> Table:
        self.file = self.path.open("ab", buffering=0)
        self.file.truncate(self.end)
        if not self.end:
            self._write(self.header)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.file.close()

    def __call__(self, now: Progress) -> None:
        held_out = "" if now.held_out is None else now.held_out
        seconds = round(self.before + now.seconds, 3)
        cells = (now.step, now.bits, held_out, now.lr, now.norm, seconds)
        self._write((",".join(map(str, cells)) + "\n").encode())
        if now.held_out is not None:
            os.fsync(self.file.fileno())  # a checkpoint follows, which counts on these lines

    def _write(self, line: bytes) -> None:
        try:
            if self.file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            why = lesson(f"--log {self.path}", error.strerror or str(error))
            raise StorageError(error.errno, why) from None


class Events(Log):
    """TensorBoard's event files, by tensorboardX.

    Parameters
    ----------
    folder : Path
        One run; a new file is put into it, and what older ones say of updates beyond `after`
        is declared void.
    after : int
    """

    def __init__(self, folder: Path, after: int) -> None:
        try:
            from tensorboardX import (  # type: ignore[import-untyped,import-not-found,unused-ignore]
                event_file_writer,
                proto,
            )
        except ImportError:
            raise DependencyError(
                lesson(
                    f"--log {folder}/",
                    "the package tensorboardX is not installed",
                    "",
                    "pip install 'minigrad-engine[logs]', or write --log NAME.csv",
                )
            ) from None
        self.folder, self.after = folder, after
        self.writing, self.proto = event_file_writer, proto.event_pb2

    def __enter__(self) -> Events:
        self.folder.mkdir(exist_ok=True)
        name = str(self.folder / "events")
        self.writer = self.writing.EventsWriter(name, f".{self.after}")
        self._write(self.after + 1, session_log={"status": self.proto.SessionLog.START})
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.writer.close()

    def __call__(self, now: Progress) -> None:
        told = {"bits/training": now.bits, "lr": now.lr, "norm": now.norm}
        if now.held_out is not None:
            told["bits/held_out"] = now.held_out
        value = [{"tag": tag, "simple_value": figure} for tag, figure in told.items()]
        self._write(now.step, summary={"value": value})
        if now.held_out is not None:
            self.writer.flush()

    def _write(self, step: int, **what: Any) -> None:
        self.writer.write_event(self.proto.Event(wall_time=time.time(), step=step, **what))


class Picture(Log):
    """The whole history of a training as a plot, drawn when it ends.

    Parameters
    ----------
    path : Path
        ``.png``, ``.svg``, ``.pdf``.
    history : History
        Of the training, as it grows.
    title : str
    """

    def __init__(self, path: Path, history: History, title: str) -> None:
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise DependencyError(
                lesson(
                    f"--plot {path}",
                    "the package matplotlib is not installed",
                    "",
                    "pip install 'minigrad-engine[plots]'",
                )
            ) from None
        self.figure = Figure(figsize=(8, 4.5), layout="constrained")
        known = sorted(self.figure.canvas.get_supported_filetypes())
        if path.suffix.lstrip(".") not in known:
            raise ArgumentError(
                lesson(f"--plot {path}", "", f"a name that ends in .{', .'.join(known)}")
            )
        self.path, self.history, self.title = path, history, title

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not KeyboardInterrupt and self.history.bits:  # that is in a hurry
            self._draw()
            self.figure.savefig(self.path, dpi=144)

    def _draw(self) -> None:
        history, axes = self.history, self.figure.subplots()
        bits = np.array(history.bits)
        updates = np.arange(1, len(bits) + 1)
        axes.plot(updates, bits, color="C0", alpha=0.3, linewidth=0.8, label="training")
        width = max(1, len(bits) // 50)
        if width > 1:
            sums = np.concatenate([[0.0], bits.cumsum()])
            axes.plot(
                updates[width - 1 :],
                (sums[width:] - sums[:-width]) / width,
                color="C0",
                label=f"training, mean of {width} updates",
            )
        if history.best_reading is not None:
            axes.plot(
                history.at, history.held_out, "o-", color="C1", markersize=4, label="held out"
            )
            at, best = history.at[history.best_reading], history.held_out[history.best_reading]
            if math.isfinite(best):
                axes.plot(
                    at, best, "*", color="C3", markersize=13, label=f"best: {best:.3f} at {at:,}"
                )
        axes.set_title(self.title, loc="left")
        axes.set_xlabel("updates")
        axes.set_ylabel("bits per character")
        axes.grid(alpha=0.3)
        axes.legend()
