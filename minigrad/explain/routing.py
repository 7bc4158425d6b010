"""How the links of a drawing run, once its boxes have their places.

Inside a block a link goes from row to row through its slots, or straight to its neighbour in
the row.  From block to block it runs in the gaps between blocks and the channels between
rows; over other blocks, above them all.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from .geometry import GAP, LANE, PAD, ROW, TITLE, Block, Point, Route, Spot
from .sketch import Box, Link, Sketch


class Streets:
    """The routes of all links.

    Attributes
    ----------
    routes : list of Route
    top, highest : float
        Of the blocks, and of the lines above them.
    """

    def __init__(self, sketch: Sketch, blocks: list[Block], block_of: dict[Box, int], spots: dict[Box, Spot],
                 slots: dict[Link, list[Spot]], rows: dict[Box, int]) -> None:  # fmt: skip
        self.blocks, self.block_of, self.spots, self.slots, self.rows = blocks, block_of, spots, slots, rows
        drawn = [spot for block in blocks for spot in block.spots]
        self.lines = {spot.row: spot.y for spot in drawn}
        self.thick: dict[int, float] = {}
        for spot in drawn:
            self.thick[spot.row] = max(self.thick.get(spot.row, 0.0), spot.h)
        self.lanes: list[dict[Any, int]] = [{} for _ in blocks]
        self.buses: dict[Any, int] = {}
        self.top = min((s.top for s in spots.values()), default=0.0) - PAD - (TITLE if sketch.steps else 0.0)
        across = [link for link in sketch.links if block_of[link.source] != block_of[link.target]]
        self.entered = {spots[link.target] for link in across if link.target in spots}
        self.far = Counter(box for link in across if block_of[link.target] != block_of[link.source] + 1
                           for box in (link.source, link.target))  # fmt: skip
        self.entering: dict[Spot, list[Link]] = {}
        for link in slots:
            if rows[link.target] != rows[link.source]:
                self.entering.setdefault(spots[link.target], []).append(link)
        chosen = set({(self.seen(link.source), self.seen(link.target)): link for link in across}.values())  # once each
        self.routes = [Route(link, self.inside(link) if link in slots else self.outside(link))
                       for link in sketch.links if link in slots or link in chosen]  # fmt: skip
        self.highest = self.top - LANE * len(self.buses) - (10.0 if self.buses else 0.0)

    def seen(self, box: Box) -> Any:
        """What is drawn of a box: of one that is folded, its place at the rim of its block."""
        return self.spots.get(box) or (self.block_of[box], self.rows[box])

    def row(self, spot: Spot) -> list[Spot]:
        """The boxes beside it; that lines cross does no harm."""
        assert spot.box is not None
        return [s for s in self.blocks[self.block_of[spot.box]].rows[spot.row] if s.box is not None]

    def above(self, spot: Spot) -> float:
        """The channel above its row."""
        return spot.y - self.thick[spot.row] / 2 - ROW / 2

    # --- inside a block ---

    def inside(self, link: Link) -> list[Point]:
        a, b = self.spots[link.source], self.spots[link.target]
        row = self.row(a)
        if a.row == b.row:
            if row.index(b) == row.index(a) + 1:
                return [(a.right, a.y), (b.left, b.y)]
            return [(a.x, a.top), (a.x, self.above(a)), (b.x, self.above(a)), (b.x, b.top)]
        x, up = self.port(link), b.row > a.row
        if not up and row[-1] is a and x > a.right + 8 and self.clear(link, x):
            return [(a.right, a.y), (x, a.y), (x, b.top)]  # along the row, then down
        points = [(a.x, a.top if up else a.bottom)]
        for slot in self.slots[link]:
            ends = (slot.x, slot.bottom), (slot.x, slot.top)
            points += ends if up else ends[::-1]
        return [*points, (x, b.bottom if up else b.top)]

    def clear(self, link: Link, x: float) -> bool:
        """Whether nothing stands at `x` in the rows between."""
        rows = self.blocks[self.block_of[link.source]].rows
        between = range(self.rows[link.target] + 1, self.rows[link.source])
        return all(abs(s.x - x) > s.w / 2 + 6 for r in between for s in rows.get(r, []))

    def port(self, link: Link) -> float:
        """Where at its target: inputs side by side, in the order of where they come from."""
        spot = self.spots[link.target]
        last = {other: (self.slots[other] or [self.spots[other.source]])[-1].x for other in self.entering[spot]}
        order = sorted(last, key=last.__getitem__)
        return spot.x + (order.index(link) - (len(order) - 1) / 2) * min(16.0, spot.w / (len(order) + 1))

    # --- from block to block ---

    def outside(self, link: Link) -> list[Point]:
        i, j = self.block_of[link.source], self.block_of[link.target]
        out, into = self.leaves(link.source), self.enters(link.target)
        y, goal = out[-1][1], into[0][1]
        if j == i + 1:
            turns = [] if y == goal else [(x := self.lane(i, self.seen(link.source)), y), (x, goal)]
            return [*out, *turns, *into]
        # what has many long links shares one line above the blocks
        what = self.seen(link.target if self.far[link.target] > self.far[link.source] else link.source)
        bus = self.top - 10.0 - LANE * self.buses.setdefault(what, len(self.buses))
        x, there = self.lane(i, self.seen(link.source)), self.lane(j - 1, what)
        return [*out, (x, y), (x, bus), (there, bus), (there, goal), *into]

    def lane(self, gap: int, what: Any) -> float:
        """The upright line in the gap after a block; before them all there is but the margin."""
        if gap < 0:
            return self.blocks[0].left - 6.0
        used = self.lanes[gap]
        return self.blocks[gap].right + 22.0 + LANE * used.setdefault(what, len(used)) % (GAP - 30.0)

    def leaves(self, box: Box) -> list[Point]:
        spot = self.spots.get(box)
        if spot is None:
            return [(self.blocks[self.block_of[box]].right, self.lines.get(self.rows[box], 0.0))]
        if self.row(spot)[-1] is spot:
            return [(spot.right, spot.y)]
        return [(spot.x, spot.top), (spot.x, self.above(spot))]

    def enters(self, box: Box) -> list[Point]:
        spot = self.spots.get(box)
        if spot is None:
            block, row = self.blocks[self.block_of[box]], self.rows[box]
            aside = 0.0 if self.entered.isdisjoint(block.rows.get(row, [])) else LANE  # of what enters there
            return [(block.left, self.lines.get(row, 0.0) - aside)]
        if self.row(spot)[0] is spot:
            return [(spot.left, spot.y)]
        below = spot.y + self.thick[spot.row] / 2 + ROW / 2
        return [(spot.x, below), (spot.x, spot.bottom)]
