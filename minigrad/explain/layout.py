"""Where the boxes of a sketch stand and how its links run: geometry alone.

With time steps, each step is a block; time goes from left to right and the stages of a
block upwards, as in the usual picture of a recurrent cell.  Without, stages go from left to
right.  Three rules draw a block:

- a stage stands one row above the highest of its inputs;
- a state that is handed on to itself (``c<t>`` reads ``c<t-1>``) runs along the top, and
  what is computed from it hangs below it, at the right;
- what goes to another block leaves into the gap at the right of its own and enters in the
  row where it is used.

Rows are ordered by the mean place of their neighbours; a link that passes a row has a slot
of its own in it, so that nothing is drawn across a box.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean, mode
from typing import Any

from .sketch import Box, Link, Sketch

Point = tuple[float, float]
Sizes = dict[Box, tuple[float, float]]

COLUMN, ROW, GAP, LANE, PAD, TITLE, MARGIN = 15.0, 50.0, 92.0, 13.0, 14.0, 26.0, 12.0
"""Distances: of boxes in a row, of rows, of blocks, of lines in a gap; around the boxes of a
block, its title, and around it all."""
SLOT = 8.0
SWEEPS = 8
OPEN_AT_MOST = 6
"""Time steps drawn whole unless the caller says which."""


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


def layouts(sketch: Sketch, sizes: Sizes, views: Iterable[Collection[int] | None]) -> Iterator[Layout]:
    """Place everything, once for each view.

    Parameters
    ----------
    sketch : Sketch
    sizes : dict of Box -> (float, float)
        Width and height.
    views : iterable of (collection of int, or None)
        The time steps to draw whole; of the others only what they hand on is drawn, and of
        many in a row nothing.  None: all of a few, the ends of many.

    Yields
    ------
    Layout
    """
    steps = sketch.steps
    rows, after = _rows(sketch)
    for view in views:
        if view is None:
            view = steps if len(steps) <= OPEN_AT_MOST else steps[:2] + steps[-1:]
        if steps:
            done = _laid_out(sketch, sizes, view, rows, after)
            _list(done, sketch.listed, sizes)
            yield done
        else:  # upwards becomes to the right: the same drawing, transposed
            lying = {box: (h, w) for box, (w, h) in sizes.items()}
            yield _transposed(_laid_out(sketch, lying, view, rows, after))


def _list(done: Layout, boxes: Collection[Box], sizes: Sizes) -> None:
    """What serves every step: in lines below the blocks."""
    x, y, thick = MARGIN, done.height + TITLE, 0.0
    for box in boxes:
        w, h = sizes[box]
        if x > MARGIN and x + w > max(done.width, 480.0) - MARGIN:
            x, y, thick = MARGIN, y + thick + COLUMN / 2, 0.0
        done.spots[box] = Spot(box, -1, False, w, h, x + w / 2, y + h / 2)
        done.width = max(done.width, x + w + MARGIN)
        x, thick = x + w + COLUMN / 2, max(thick, h)
        done.height = y + thick + MARGIN


def _laid_out(sketch: Sketch, sizes: Sizes, unfolded: Collection[int], rows: dict[Box, int],
              after: set[Box]) -> Layout:  # fmt: skip
    blocks, block_of = _blocks(sketch, unfolded)
    spots: dict[Box, Spot] = {}
    slots: dict[Link, list[Spot]] = {}
    handed_on = {link.source for link in sketch.links if link.source.step != link.target.step}
    for box in rows:
        block = blocks[block_of[box]]
        if block.open or len(block.steps) == 1 and (box in handed_on or box is sketch.output):
            spots[box] = spot = Spot(box, rows[box], block.open and box in after, *sizes[box])
            block.rows.setdefault(spot.row, []).append(spot)
    for link in sketch.links:
        i, j = block_of.get(link.source), block_of.get(link.target)
        if i is not None and i == j and blocks[i].open:
            slots[link] = _slots(blocks[i], spots[link.source], spots[link.target])
    _heights(blocks, rows)
    left = MARGIN
    for block in blocks:
        _order(block)
        _spread(block)
        block.left = left
        content = list(block.spots)
        shift = left + PAD - min((s.left for s in content), default=0.0)
        for spot in content:
            spot.x += shift
        block.right = max([s.right for s in content] + [left + 60.0]) + PAD
        left = block.right + GAP
    return _routed(sketch, blocks, block_of, spots, slots, rows)


# --- rows --------------------------------------------------------------------------------


def _rows(sketch: Sketch) -> tuple[dict[Box, int], set[Box]]:
    """The row of each box, counted from below, and which hang below a state at the right.

    Scopes (``layer0/``, ``layer1/``) are stacked; a family (``c<t>``) has one row throughout.
    """
    rows: dict[Box, int] = {}
    after: set[Box] = set()
    listed = set(sketch.listed)
    shown = [box for box in sketch.boxes if box not in listed]
    scopes = dict.fromkeys([b.scope for b in shown if b.stages] + [b.scope for b in shown])
    base = 0
    for scope in scopes:
        members = [box for box in shown if box.scope == scope]
        here: dict[Box, int] = {}
        for step in dict.fromkeys(box.step for box in members):
            part = [box for box in members if box.step == step]
            found, hanging = _rows_of_step(part, sketch.links)
            here |= found
            after |= hanging
        families: dict[str, list[int]] = {}
        for box, row in here.items():
            if box.family:
                families.setdefault(box.family, []).append(row)
        for box in here:
            if box.family:
                here[box] = mode(families[box.family])
        lowest, highest = min(here.values()), max(here.values())
        rows |= {box: row - lowest + base for box, row in here.items()}
        base += highest - lowest + 1
    return rows, after


def _rows_of_step(boxes: list[Box], links: Iterable[Link]) -> tuple[dict[Box, int], set[Box]]:
    """Rows within a block: by depth, the state on top."""
    inside: dict[Box, list[Box]] = {box: [] for box in boxes}
    arriving = []
    depth = dict.fromkeys(boxes, 0)
    for link in links:
        if link.target in inside:
            if link.source in inside:
                inside[link.source].append(link.target)
            elif link.source.step is not None:
                arriving.append(link)
    for box in boxes:
        for user in inside[box]:
            depth[user] = max(depth[user], depth[box] + 1)
    given = [box for box in boxes if not box.stages and inside[box]]
    for box in given:  # not before it is needed
        depth[box] = min(depth[user] for user in inside[box]) - 1
    spine = {box for link in arriving for box in _way_to_itself(link.target, link.source.family, inside)}
    if not spine:
        return depth, set()
    hanging: set[Box] = set()
    for box in boxes:
        if box in spine or box in hanging:
            hanging.update(user for user in inside[box] if user not in spine)
    apart = {box for box in given if hanging.issuperset(inside[box])}
    hanging |= apart
    state = max(depth[box] for box in spine)
    top = max([state, *(depth[b] + 1 for b in boxes if b not in spine and b not in hanging)])
    rows = {box: top if box in spine else top - max(1, depth[box] - state) if box in hanging else depth[box]
            for box in boxes}  # fmt: skip
    return rows | {box: min(rows[user] for user in inside[box]) - 1 for box in apart}, hanging


def _way_to_itself(box: Box, family: str | None, inside: dict[Box, list[Box]]) -> list[Box]:
    """The unnamed stages through which a state passes on its way to its next value."""
    way: list[Box] = []
    while family is not None:
        way.append(box)
        if box.family == family:
            return way
        if not box.sign or len(inside[box]) != 1:
            break
        (box,) = inside[box]
    return []


def _heights(blocks: list[Block], rows: dict[Box, int]) -> None:
    """The height of each row, the same in all blocks."""
    count = max(rows.values(), default=0) + 1
    thick = [max((s.h for b in blocks for s in b.rows.get(r, [])), default=0.0) for r in range(count)]
    y = 0.0
    for r in reversed(range(count)):
        for block in blocks:
            for spot in block.rows.get(r, []):
                spot.y = y + thick[r] / 2
                if spot.box is None:
                    spot.h = thick[r]
        y += thick[r] + ROW


# --- blocks ------------------------------------------------------------------------------


def _blocks(sketch: Sketch, unfolded: Collection[int]) -> tuple[list[Block], dict[Box, int]]:
    """The blocks from left to right, and in which one each box is."""
    listed = set(sketch.listed)
    steps = sketch.steps
    blocks: list[Block] = []
    if any(box.step is None and box not in listed for box in sketch.boxes):
        blocks.append(Block((), True))
    near = {s for k, s in enumerate(steps) if not unfolded or not set(unfolded).isdisjoint(steps[max(k - 1, 0) : k + 2])}
    near |= set(steps) if len(steps) <= 2 * OPEN_AT_MOST else {steps[0], steps[-1]}
    for step in steps:
        apart = step in near or not blocks or not blocks[-1].steps or blocks[-1].steps[-1] in near
        if apart:
            blocks.append(Block((step,), step in unfolded))
        else:
            blocks[-1].steps += (step,)
    where = {step: k for k, block in enumerate(blocks) for step in block.steps}
    return blocks, {box: 0 if box.step is None else where[box.step] for box in sketch.boxes if box not in listed}


def _slots(block: Block, source: Spot, target: Spot) -> list[Spot]:
    """A slot in each row between two spots, and the spots made each other's neighbours."""
    step = 1 if target.row > source.row else -1
    between = [Spot(None, row, source.after or target.after)
               for row in range(source.row + step, target.row, step)]  # fmt: skip
    for slot in between:
        block.rows.setdefault(slot.row, []).append(slot)
    if source.row != target.row:
        chain = [source, *between, target]
        for a, b in pairwise(chain):
            a.near.append(b)
            b.near.append(a)
    return between


def _order(block: Block) -> None:
    """Order each row by the mean place of its neighbours; what hangs stays at the right."""
    for row in block.rows.values():
        row.sort(key=lambda s: s.after)
    for sweep in range(SWEEPS):
        upwards = sweep % 2 == 0
        place = {spot: float(k) for row in block.rows.values() for k, spot in enumerate(row)}
        for r in sorted(block.rows, reverse=not upwards):
            wish = {}
            for spot in block.rows[r]:
                before = [place[n] for n in spot.near if (n.row < r) == upwards]
                wish[spot] = (spot.after, fmean(before) if before else place[spot])
            block.rows[r].sort(key=wish.__getitem__)
            place |= {spot: float(k) for k, spot in enumerate(block.rows[r])}


def _spread(block: Block) -> None:
    """Places along the rows: each as near to its neighbours' mean as the order allows."""
    bound = None
    for after in (False, True):
        rows = [part for r in sorted(block.rows) if (part := [s for s in block.rows[r] if s.after is after])]
        placed: set[Spot] = {s for s in block.spots if s.after < after}
        for row in rows:
            _settle(row, [0.0] * len(row), bound)
        for sweep in range(SWEEPS):
            for row in rows if sweep % 2 else reversed(rows):
                known = placed | {s for part in rows for s in part}
                _settle(row, [fmean([n.x for n in s.near if n in known] or [s.x]) for s in row], bound)
        bound = max((s.right for s in block.spots if s.after <= after), default=0.0) + COLUMN


def _settle(row: list[Spot], wanted: list[float], bound: float | None) -> None:
    """Put a row where it wants to be without overlaps: least squares, by pooling neighbours."""
    offsets, at = [], 0.0
    for k, spot in enumerate(row):
        at += (row[k - 1].w / 2 + COLUMN + spot.w / 2) if k else 0.0
        offsets.append(at)
    pools: list[list[float]] = []  # sum, count: a pool moves as one
    for want, offset in zip(wanted, offsets, strict=True):
        pools.append([want - offset, 1.0])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            total, count = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += count
    shifts = [total / count for total, count in pools for _ in range(int(count))]
    low = -float("inf") if bound is None else bound + row[0].w / 2
    for spot, shift, offset in zip(row, shifts, offsets, strict=True):
        spot.x = max(shift, low) + offset


# --- links -------------------------------------------------------------------------------


def _routed(sketch: Sketch, blocks: list[Block], block_of: dict[Box, int], spots: dict[Box, Spot],
            slots: dict[Link, list[Spot]], rows: dict[Box, int]) -> Layout:  # fmt: skip
    lines = {s.row: s.y for b in blocks for s in b.spots}
    thick = {r: max(s.h for b in blocks for s in b.rows.get(r, [])) if r in lines else 0.0 for r in lines}
    lanes: list[dict[Any, int]] = [{} for _ in blocks]
    buses: dict[Any, int] = {}
    top = min((s.top for s in spots.values()), default=0.0) - PAD - (TITLE if sketch.steps else 0.0)

    met = {spots[link.target] for link in sketch.links if link.target in spots and block_of[link.source] != block_of[link.target]}

    def lane(gap: int, what: Any) -> float:
        used = lanes[gap]
        return blocks[gap].right + 22.0 + LANE * used.setdefault(what, len(used)) % (GAP - 30.0)

    def seen(box: Box) -> Any:
        """What is drawn of a box: of one that is folded, its place at the rim of its block."""
        return spots.get(box) or (block_of[box], rows[box])

    def beside(block: Block, spot: Spot) -> list[Spot]:
        """The boxes of a row; that lines cross does no harm."""
        return [s for s in block.rows[spot.row] if s.box is not None]

    def leaves(link: Link) -> list[Point]:
        spot, block = spots.get(link.source), blocks[block_of[link.source]]
        if spot is None:
            return [(block.right, lines.get(rows[link.source], 0.0))]
        if beside(block, spot)[-1] is spot:
            return [(spot.right, spot.y)]
        channel = spot.y - thick[spot.row] / 2 - ROW / 2
        return [(spot.x, spot.top), (spot.x, channel)]

    def enters(link: Link) -> list[Point]:
        spot, block = spots.get(link.target), blocks[block_of[link.target]]
        if spot is None:  # beside what else enters there
            row = rows[link.target]
            return [(block.left, lines.get(row, 0.0) - (LANE if not met.isdisjoint(block.rows.get(row, [])) else 0.0))]
        if beside(block, spot)[0] is spot:
            return [(spot.left, spot.y)]
        channel = spot.y + thick[spot.row] / 2 + ROW / 2
        return [(spot.x, channel), (spot.x, spot.bottom)]

    def outside(link: Link) -> list[Point]:
        i, j = block_of[link.source], block_of[link.target]
        out, into = leaves(link), enters(link)
        y, goal = out[-1][1], into[0][1]
        if j == i + 1:
            turns = [] if y == goal else [(x := lane(i, seen(link.source)), y), (x, goal)]
            return [*out, *turns, *into]
        what = seen(link.target if far[link.target] > far[link.source] else link.source)
        bus = top - 10.0 - LANE * buses.setdefault(what, len(buses))
        x, there = lane(i, seen(link.source)), lane(j - 1, what) if j else blocks[0].left - 10.0
        return [*out, (x, y), (x, bus), (there, bus), (there, goal), *into]

    entering: dict[Spot, list[Link]] = {}
    for link in slots:
        if rows[link.target] != rows[link.source]:
            entering.setdefault(spots[link.target], []).append(link)

    def port(link: Link) -> float:
        """Where on the target's side: inputs side by side, in the order of where they come from."""
        spot = spots[link.target]
        chain = {other: (slots[other] or [spots[other.source]])[-1].x for other in entering[spot]}
        order = sorted(chain, key=chain.__getitem__)
        width = min(16.0, spot.w / (len(order) + 1))
        return spot.x + (order.index(link) - (len(order) - 1) / 2) * width

    def inside(link: Link) -> list[Point]:
        a, b, block = spots[link.source], spots[link.target], blocks[block_of[link.source]]
        line = beside(block, a)
        if a.row == b.row:
            if line.index(b) == line.index(a) + 1:
                return [(a.right, a.y), (b.left, b.y)]
            channel = a.y - thick[a.row] / 2 - ROW / 2
            return [(a.x, a.top), (a.x, channel), (b.x, channel), (b.x, b.top)]
        x = port(link)
        if b.row < a.row and line[-1] is a and x > a.right + 8 and all(
                abs(s.x - x) > s.w / 2 + 6 for r in range(b.row + 1, a.row) for s in block.rows.get(r, [])):  # fmt: skip
            return [(a.right, a.y), (x, a.y), (x, b.top)]
        up = b.row > a.row
        points = [(a.x, a.top if up else a.bottom)]
        for slot in slots[link]:
            points += [(slot.x, slot.bottom), (slot.x, slot.top)] if up else [(slot.x, slot.top), (slot.x, slot.bottom)]
        return [*points, (x, b.bottom if up else b.top)]

    across = [link for link in sketch.links if block_of[link.source] != block_of[link.target]]
    far = Counter(box for link in across if block_of[link.target] != block_of[link.source] + 1
                  for box in (link.source, link.target))  # fmt: skip
    once = {(seen(link.source), seen(link.target)): link for link in across}
    shown = [link for link in sketch.links if link in slots or once.get((seen(link.source), seen(link.target))) is link]
    routes = [Route(link, inside(link) if link in slots else outside(link)) for link in shown]
    bottom = max((s.bottom for s in spots.values()), default=0.0) + PAD
    high = top - LANE * len(buses) - (10.0 if buses else 0.0)
    lowest = max((y for route in routes for _, y in route.points), default=0.0)
    bottom = max(bottom, lowest + PAD / 2)
    done = Layout(spots, routes, blocks, top, bottom, blocks[-1].right + MARGIN, 0.0)
    _shift(done, MARGIN - high)
    done.height = done.bottom + MARGIN
    return done


def _shift(done: Layout, dy: float) -> None:
    for spot in done.spots.values():
        spot.y += dy
    for route in done.routes:
        route.points = [(x, y + dy) for x, y in route.points]
    done.top += dy
    done.bottom += dy


def _transposed(done: Layout) -> Layout:
    """Upwards becomes to the right."""
    length = done.height
    for spot in done.spots.values():
        spot.x, spot.y, spot.w, spot.h = length - spot.y, spot.x, spot.h, spot.w
    for route in done.routes:
        route.points = [(length - y, x) for x, y in route.points]
    done.top, done.bottom = done.blocks[0].left, done.blocks[0].right
    done.blocks[0].left, done.blocks[0].right = MARGIN, length - MARGIN
    done.width, done.height = length, done.width
    return done
