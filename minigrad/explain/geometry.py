"""What a drawing is made of: spots in rows, rows in blocks, routes between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .sketch import Box, Link

Point = tuple[float, float]

COLUMN, ROW, GAP, LANE, PAD, TITLE, MARGIN = 15.0, 50.0, 92.0, 13.0, 14.0, 26.0, 12.0
"""Distances: of boxes in a row, of rows, of blocks, of lines in a gap; around the boxes of a
block, its title, and around it all."""
SLOT = 8.0


@dataclass(eq=False)
class Spot:
    """A place in a row: of a box, or the slot of a link that passes."""

    box: Box | None
    row: int
    after: bool
    w: float = SLOT
    h: float = 0.0
    x: float = 0.0
    y: float = 0.0
    near: list[Spot] = field(default_factory=list, repr=False)

    @property
    def left(self) -> float:
        return self.x - self.w / 2

    @property
    def right(self) -> float:
        return self.x + self.w / 2

    @property
    def top(self) -> float:
        return self.y - self.h / 2

    @property
    def bottom(self) -> float:
        return self.y + self.h / 2


@dataclass(eq=False)
class Block:
    """A time step, or several that are folded into one, and what is drawn of it."""

    steps: tuple[int, ...]
    open: bool
    rows: dict[int, list[Spot]] = field(default_factory=dict)
    left: float = 0.0
    right: float = 0.0

    @property
    def spots(self) -> Iterator[Spot]:
        return (spot for row in self.rows.values() for spot in row)


@dataclass
class Route:
    """How a link runs.  Level and upright stretches meet in rounded corners; two points that
    differ in both coordinates are joined by a curve."""

    link: Link
    points: list[Point]


@dataclass
class Layout:
    """The whole drawing.

    Attributes
    ----------
    spots : dict of Box -> Spot
        The boxes that are drawn.
    routes : list of Route
    blocks : list of Block
        From left to right; the first may be of no step.
    top, bottom, width, height : float
        Of the blocks, and of it all.
    """

    spots: dict[Box, Spot]
    routes: list[Route]
    blocks: list[Block]
    top: float
    bottom: float
    width: float
    height: float
