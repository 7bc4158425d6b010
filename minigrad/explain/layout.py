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

from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise
from statistics import fmean, mode

from .geometry import COLUMN, GAP, MARGIN, PAD, ROW, TITLE, Block, Layout, Spot
from .routing import Streets
from .sketch import Box, Link, Sketch

Sizes = dict[Box, tuple[float, float]]

SWEEPS = 8
OPEN_AT_MOST = 6
"""Time steps drawn whole unless the caller says which."""


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
        else:  # upwards becomes to the right: the same drawing, transposed
            lying = {box: (h, w) for box, (w, h) in sizes.items()}
            done = _transposed(_laid_out(sketch, lying, view, rows, after))
        _list(done, sketch.listed, sizes)
        yield done


def _list(done: Layout, boxes: Collection[Box], sizes: Sizes) -> None:
    """What serves every step: in lines below the rest."""
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
    streets = Streets(sketch, blocks, block_of, spots, slots, rows)
    return _framed(blocks, spots, streets)


def _framed(blocks: list[Block], spots: dict[Box, Spot], streets: Streets) -> Layout:
    """All of it moved below the lines that run above the blocks, with a margin around."""
    down = MARGIN - streets.highest
    for spot in spots.values():
        spot.y += down
    for route in streets.routes:
        route.points = [(x, y + down) for x, y in route.points]
    lowest = max((y for route in streets.routes for _, y in route.points), default=0.0)
    bottom = max(lowest + PAD / 2, max((s.bottom for s in spots.values()), default=0.0) + PAD)
    right = max([blocks[-1].right, *(x for route in streets.routes for x, _ in route.points)])
    return Layout(spots, streets.routes, blocks, streets.top + down, bottom, right + MARGIN, bottom + MARGIN)


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
