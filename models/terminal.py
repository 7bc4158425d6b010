"""What a person sees: headings, aligned facts, the progress of a training, a sample as it is
written.

A progress bar needs a terminal on stderr; without one there are only the plain lines on
stdout.  Colour needs a terminal on stdout, and NO_COLOR to be unset.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from minigrad.errors import ArgumentError, lesson

from .training import Progress


def say(text: str = "") -> None:
    """A line on stdout, at once, above the progress bar if there is one."""
    print(text, flush=True)


def heading(title: str, why: str) -> None:
    """A title, and what is done and why in a line."""
    bold = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    say(f"\033[1m{title}\033[0m" if bold else title)
    say(why)
    say()


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and what there is to say of them, in two columns."""
    pairs = list(pairs)
    width = max(len(name) for name, _ in pairs)
    for name, fact in pairs:
        say(f"  {name:<{width}}  {fact}")
    say()


def write(character: str) -> None:
    """One character of a sample.  A terminal is shown a picture of a control character, not
    the character, for a text may hold the codes that command a terminal; a pipe gets it raw."""
    if sys.stdout.isatty() and not character.isprintable() and character not in "\n\t":
        character = (
            chr(0x2400 + ord(character)) if ord(character) < 32 else "\N{REPLACEMENT CHARACTER}"
        )
    sys.stdout.write(character)
    sys.stdout.flush()


def duration(seconds: float) -> str:
    """``48 s`` or ``2 min 05 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


class Board:
    """Shows a `Progress` after each update: a bar on a terminal, a line for each validation.

    Parameters
    ----------
    first, steps : int
        Updates done, and in all.
    """

    WIDTHS = (12, 9, 9, 10, 12)

    def __init__(self, first: int, steps: int) -> None:
        try:
            from tqdm import tqdm  # type: ignore[import-untyped,unused-ignore]
        except ImportError:
            raise ArgumentError(
                lesson(
                    "train",
                    "the package tqdm is not installed",
                    "",
                    "pip install 'minigrad-engine[models]'",
                )
            ) from None
        self.bits: list[float] = []
        self.bar: Any = None
        self._row("", "bits per character", "", "", "")
        self._row("update", "training", "held out", "chars/s", "time left")
        self.bar = tqdm(
            total=steps,
            initial=first,
            file=sys.stderr,
            disable=None,
            leave=False,
            dynamic_ncols=True,
            bar_format="  {percentage:3.0f}% {bar} {n_fmt}/{total_fmt}  {desc}  {remaining} left",
        )

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *exc: object) -> None:
        self.bar.close()

    def __call__(self, now: Progress) -> None:
        self.bits.append(now.bits)
        recent = self.bits[-50:]
        self.bar.set_description_str(
            f"{sum(recent) / len(recent):.2f} bits/char  {now.speed:,.0f} chars/s", refresh=False
        )
        self.bar.update()
        if now.held_out is not None:
            mean = sum(self.bits) / len(self.bits)
            self._row(
                f"{now.step:,}/{now.steps:,}",
                f"{mean:.3f}",
                f"{now.held_out:.3f}",
                f"{now.speed:,.0f}",
                duration(now.left) if now.step < now.steps else "done",
            )
            self.bits.clear()

    def _row(self, *cells: str) -> None:
        line = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, self.WIDTHS, strict=True))
        if self.bar is not None:
            self.bar.clear()
        say(line.rstrip())
