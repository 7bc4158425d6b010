"""A sketch drawn: SVG for eyes, DOT for other tools."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from html import escape
from itertools import pairwise
from typing import Any
from unicodedata import combining

import numpy as np

from .geometry import MARGIN, Layout, Point, Route, Spot
from .layout import layouts
from .ledger import Entry
from .sketch import Box, Sketch

SHORT = 4
"""Arrays of so many numbers are written out, others as shape and norm."""

COLOURS = """
.mg-picture { --ink: #1c2430; --soft: #5a6675; --paper: #ffffff; --block: #f4f6f9; --rim: #c3ccd8; --line: #64748b;
  --given: #eef2f7; --back: #0b5cad; --fork: #b3261e; }
@media (prefers-color-scheme: dark) { .mg-picture { --ink: #e8edf4; --soft: #a4b0bf; --paper: #1d2530; --block: #161c25;
  --rim: #3d4a5c; --line: #8fa0b5; --given: #273140; --back: #7cc0ff; --fork: #ff9a8f; } }
"""
STYLE = """
.mg-picture { font-family: system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
.mg-picture .block { fill: var(--block); stroke: var(--rim); }
.mg-picture .block.folded { stroke-dasharray: 5 4; }
.mg-picture .title { fill: var(--soft); font-size: 13px; font-weight: 600; }
.mg-picture .box > rect, .mg-picture .box > circle { fill: var(--paper); stroke: var(--line); stroke-width: 1.2; }
.mg-picture .box.given > rect { fill: var(--given); }
.mg-picture .box.fork > rect, .mg-picture .box.fork > circle { stroke: var(--fork); stroke-width: 2.2; }
.mg-picture text { text-anchor: middle; fill: var(--ink); }
.mg-picture .name { font-size: 14px; font-weight: 650; }
.mg-picture .op { font-size: 11px; fill: var(--soft); }
.mg-picture .word { font-size: 12.5px; }
.mg-picture .sign { font-size: 17px; }
.mg-picture .value, .mg-picture .adjoint, .mg-picture .part { font: 11px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
.mg-picture .adjoint { fill: var(--back); }
.mg-picture .part { fill: var(--fork); paint-order: stroke; stroke: var(--block); stroke-width: 3px; }
.mg-picture .link { fill: none; stroke: var(--line); stroke-width: 1.4; }
.mg-picture .link.fork { stroke: var(--fork); stroke-width: 1.8; }
.mg-picture .dot { fill: var(--fork); }
.mg-picture .tip { fill: var(--line); } .mg-picture .tip.fork { fill: var(--fork); }
"""


# --- numbers -----------------------------------------------------------------------------


def number(x: Any) -> str:
    """Two or three digits of it."""
    text = f"{float(x):.3g}" if 0.01 <= abs(x) < 1000 or x == 0 else f"{float(x):.0e}"
    return text.replace("-", "−").replace("e−0", "e−").replace("e+0", "e")


def brief(array: Any) -> str:
    """An array in a few characters: its numbers, or its norm and shape."""
    if not isinstance(array, np.ndarray | np.generic) or array.dtype.kind not in "biuf":
        return "…"
    if array.size == 1:
        return number(array.item())
    if array.size <= SHORT:
        return " ".join(f"{x:.2f}".replace("-", "−") if 0.005 <= np.abs(array).max() < 100 else number(x)
                        for x in np.ravel(array))  # fmt: skip
    return f"‖{number(np.linalg.norm(array))}‖ {'×'.join(map(str, array.shape))}"


def share(entries: Iterable[Entry]) -> str:
    """What part of the whole they are."""
    whole = sum(e.share for e in entries)
    return "" if np.isnan(whole) else f"{whole:.0%}".replace("-", "−").replace("%", " %")


def told(box: Box) -> list[tuple[str, str]]:
    """The lines in a box: (class, text)."""
    if box.sign:
        return [("sign" if len(box.name) == 1 else "word", box.name)]
    lines = [("name", box.name)]
    if box.stages:
        lines.append(("op", " ".join(s.name for s in box.shared) or _op(box)))
    lines.append(("value", brief(box.value)))
    if box.adjoint is not None:
        lines.append(("adjoint", f"δ {brief(box.adjoint)}"))
    return lines


def _op(box: Box) -> str:
    op = box.node.op
    assert op is not None
    return op.name.removeprefix("linalg.").replace("_", " ")


def _sizes(sketch: Sketch) -> dict[Box, tuple[float, float]]:
    """Of all boxes: stages are as wide as the widest, so that they stand in columns."""
    sizes = {}
    for box in sketch.boxes:
        lines = told(box)
        wide = max(_wide(kind, text) for kind, text in lines)
        sizes[box] = (max(30.0, 12.0 + wide), 30.0) if box.sign else (12.0 + max(56.0, wide), 8.0 + 15.0 * len(lines))
    widest = max([w for box, (w, _) in sizes.items() if box.stages and not box.sign], default=0.0)
    return {box: (widest if box.stages and not box.sign else w, h) for box, (w, h) in sizes.items()}


def _wide(kind: str, text: str) -> float:
    per_letter = {"name": 8.4, "op": 6.2, "sign": 17.0}.get(kind, 6.7)
    return per_letter * sum(not combining(letter) for letter in text)


# --- SVG ---------------------------------------------------------------------------------


def svg(sketch: Sketch, unfolded: Collection[int] | None = None) -> str:
    """The picture.

    Parameters
    ----------
    sketch : Sketch
    unfolded : collection of int, optional
        Time steps to draw whole; all of a few, some of many.

    Returns
    -------
    str
    """
    (done,) = layouts(sketch, _sizes(sketch), [unfolded])
    return _svg(sketch, done, page=False)


def svg_views(sketch: Sketch, views: Iterable[Collection[int]]) -> Iterator[str]:
    """Pictures for a page that has the style already, and lets boxes be chosen."""
    return (_svg(sketch, done, page=True) for done in layouts(sketch, _sizes(sketch), views))


def _svg(sketch: Sketch, done: Layout, page: bool) -> str:
    size = f'viewBox="0 0 {done.width:.0f} {done.height:.0f}" width="{done.width:.0f}" height="{done.height:.0f}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" class="mg-picture" {size} '
             f'role="{"group" if page else "img"}" aria-label="{escape(_caption(sketch))}">']  # fmt: skip
    if not page:
        parts.append(f"<title>{escape(_caption(sketch))}</title><style>{COLOURS}{STYLE}</style>")
    parts += _blocks(done, sketch, page)
    parts += [_link(route) for route in done.routes]
    parts += _dots(done.routes)
    parts += [_box(spot, page) for spot in done.spots.values()]
    parts += _contributions(done)
    return "\n".join([*parts, "</svg>\n"])


def _caption(sketch: Sketch) -> str:
    steps = f", {sketch.length} time steps" if sketch.steps else ""
    return f"Graph of {sketch.output.name}: {len(sketch.boxes)} values, {sum(b.fork for b in sketch.boxes)} forks{steps}"


def _blocks(done: Layout, sketch: Sketch, page: bool) -> Iterable[str]:
    for block in done.blocks:
        if block.steps:
            first, last = block.steps[0], block.steps[-1]
            title = f"t = {first}" if first == last else f"t = {first} … {last}"
            act = f' data-step="{first}"' if page else ""
            yield (f'<g class="step{" whole" if block.open else ""}"{act}><rect class="block{"" if block.open else " folded"}" x="{block.left:.1f}" y="{done.top:.1f}" '
                   f'width="{block.right - block.left:.1f}" height="{done.bottom - done.top:.1f}" rx="12"/>'
                   f'<text class="title" x="{(block.left + block.right) / 2:.1f}" y="{done.top + 18:.1f}">{title}</text></g>')  # fmt: skip
    if sketch.listed:
        y = min(done.spots[box].top for box in sketch.listed) - 8.0
        yield (f'<text class="title" style="text-anchor:start" x="{MARGIN}" y="{y:.1f}">'
               f"used {'at every time step' if sketch.steps else 'in many places'}</text>")  # fmt: skip


def _link(route: Route) -> str:
    link = route.link
    fork = " fork" if link.source.fork and link.entries else ""
    ends = f'data-from="{link.source.key}" data-to="{link.target.key}"'
    (x0, y0), (x, y) = route.points[-2:]
    dx, dy = x - x0, y - y0
    if dx and dy:  # a curve arrives upright in a drawing of rows, level in one of columns
        dx, dy = (0.0, dy) if _upright(route) else (dx, 0.0)
    dx, dy = float(np.sign(dx)), float(np.sign(dy))
    tip = f"{x:.1f},{y:.1f} {x - 7 * dx - 3.5 * dy:.1f},{y - 7 * dy - 3.5 * dx:.1f} {x - 7 * dx + 3.5 * dy:.1f},{y - 7 * dy + 3.5 * dx:.1f}"
    return (f'<path class="link{fork}" {ends} d="{_line(route)}"/>'
            f'<polygon class="tip{fork}" {ends} points="{tip}"/>')  # fmt: skip


def _upright(route: Route) -> bool:
    return route.link.target.step is not None


def _line(route: Route, radius: float = 10.0) -> str:
    """The path: corners rounded, diagonals as curves."""
    points = route.points
    text = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for k, (a, b) in enumerate(pairwise(points)):
        if a[0] != b[0] and a[1] != b[1]:
            if _upright(route):
                middle = (a[1] + b[1]) / 2
                text.append(f"C{a[0]:.1f} {middle:.1f} {b[0]:.1f} {middle:.1f} {b[0]:.1f} {b[1]:.1f}")
            else:
                middle = (a[0] + b[0]) / 2
                text.append(f"C{middle:.1f} {a[1]:.1f} {middle:.1f} {b[1]:.1f} {b[0]:.1f} {b[1]:.1f}")
            continue
        after = points[k + 2] if k + 2 < len(points) else None
        if after is None or (after[0] != b[0] and after[1] != b[1]) or (a[0] == b[0]) == (b[0] == after[0]):
            text.append(f"L{b[0]:.1f} {b[1]:.1f}")
            continue
        r = min(radius, _far(a, b) / 2, _far(b, after) / 2)
        (x1, y1), (x2, y2) = _towards(b, a, r), _towards(b, after, r)
        text.append(f"L{x1:.1f} {y1:.1f}Q{b[0]:.1f} {b[1]:.1f} {x2:.1f} {y2:.1f}")
    return "".join(text)


def _far(a: Point, b: Point) -> float:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def _towards(a: Point, b: Point, r: float) -> Point:
    far = _far(a, b) or 1.0
    return a[0] + (b[0] - a[0]) * r / far, a[1] + (b[1] - a[1]) * r / far


def _dots(routes: list[Route]) -> Iterable[str]:
    """A dot where the branches of a fork part."""
    ways: dict[Point, list[Route]] = {}
    for route in routes:
        if route.link.source.fork and route.link.entries:
            ways.setdefault(route.points[0], []).append(route)
    for (x, y), parting in ways.items():
        if len(parting) > 1:
            turns = [r.points[1] for r in parting if r.points[1][1] == y and len(r.points) > 2]
            x = min([p[0] for p in turns], default=x)
            yield f'<circle class="dot" data-from="{parting[0].link.source.key}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'


def _box(spot: Spot, page: bool) -> str:
    box = spot.box
    assert box is not None
    kind = "box" + (" given" if not box.stages else "") + (" fork" if box.fork else "")
    act = f' role="button" tabindex="0" aria-label="{escape(_spoken(box))}"' if page else ""
    lines = [f'<g class="{kind}" data-box="{box.key}"{act}>']
    if not page:
        lines.append(f"<title>{escape(_spoken(box))}</title>")
    if box.sign and len(box.name) == 1:
        lines.append(f'<circle cx="{spot.x:.1f}" cy="{spot.y:.1f}" r="15"/>')
    else:
        lines.append(f'<rect x="{spot.left:.1f}" y="{spot.top:.1f}" width="{spot.w:.1f}" height="{spot.h:.1f}" rx="6"/>')
    y = spot.y + (6.0 if len(box.name) == 1 else 4.0) if box.sign else spot.top + 17.0
    for cls, text in told(box):
        lines.append(f'<text class="{cls}" x="{spot.x:.1f}" y="{y:.1f}">{escape(text)}</text>')
        y += 15.0
    return "".join([*lines, "</g>"])


def _spoken(box: Box) -> str:
    what = f"{box.name}, {_op(box)}" if box.stages else f"{box.name}, given"
    fork = f", a fork of {len(box.ledger)} branches" if box.fork and box.ledger else ""
    at = f", time step {box.step}" if box.step is not None and box.sign else ""
    return what + at + fork


def _contributions(done: Layout) -> Iterable[str]:
    """What comes back along each branch of a fork, beside its line, where there is room."""
    taken = [(s.left, s.top, s.right, s.bottom) for s in done.spots.values()]
    lines_taken = {id(r): [(min(a[0], b[0]) - 2, min(a[1], b[1]) - 2, max(a[0], b[0]) + 2, max(a[1], b[1]) + 2)
                           for a, b in pairwise(r.points) if a[0] == b[0] or a[1] == b[1]] for r in done.routes}  # fmt: skip
    for route in done.routes:
        link = route.link
        if not link.source.fork or not link.entries or link.source not in done.spots:
            continue
        lines = [brief(sum(e.array for e in link.entries)), share(link.entries)]
        w, h = max(_wide("part", text) for text in lines) + 4, 13.0 * len(lines)
        others = [box for other, boxes in lines_taken.items() if other != id(route) for box in boxes]
        x, y = next((p for p in _beside(route, w, h) if _free(p, w, h, taken + others)), (None, None))
        if x is None or y is None:  # no room
            continue
        taken.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2))
        ends = f'data-from="{link.source.key}" data-to="{link.target.key}"'
        yield f'<g class="branch" {ends}>' + "".join(
            f'<text class="part" x="{x:.1f}" y="{y - h / 2 + 10 + 13 * k:.1f}">{escape(text)}</text>'
            for k, text in enumerate(lines)) + "</g>"  # fmt: skip


def _beside(route: Route, w: float, h: float) -> Iterator[Point]:
    """Places for a label: beside the arrow's last upright stretch, over or under a level one,
    at the outer side of a curve's end; then anywhere along the line."""
    stretches = list(pairwise(route.points))
    for (x1, y1), (x2, y2) in reversed(stretches):
        for part in (0.75, 0.5, 0.25):
            x, y = x1 + (x2 - x1) * part, y1 + (y2 - y1) * part
            if y1 == y2 and abs(x2 - x1) > w:
                yield from ((x, y - h / 2 - 4), (x, y + h / 2 + 5))
            elif abs(x1 - x2) < 1:
                yield from ((x + w / 2 + 6, y), (x - w / 2 - 6, y))
        if abs(x1 - x2) >= 1 and y1 != y2:
            out, up = float(np.sign(x2 - x1)), float(np.sign(y2 - y1))
            if not _upright(route):
                yield from ((x2 - w / 2 - 10, y2 + up * (h / 2 + 5)), (x1 + w / 2 + 14, y1 - up * (h / 2 + 5)))
                continue
            yield from ((x2 + out * (w / 2 + 7), y2 - up * (h / 2 + 2)), (x2 - out * (w / 2 + 7), y2 - up * (h / 2 + 2)))
    for (x1, y1), (x2, y2) in stretches:
        yield from (((x1 + x2) / 2, (y1 + y2) / 2 + k * h) for k in (0, 1, -1))


def _free(at: Point, w: float, h: float, taken: list[tuple[float, float, float, float]]) -> bool:
    left, top, right, bottom = at[0] - w / 2, at[1] - h / 2, at[0] + w / 2, at[1] + h / 2
    return not any(left < r and right > le and top < b and bottom > t for le, t, r, b in taken)


# --- DOT ---------------------------------------------------------------------------------


def dot(sketch: Sketch) -> str:
    """The graph in the language of Graphviz, a cluster for each time step."""
    lines = ["digraph minigrad {", "  rankdir=LR; node [shape=box, style=rounded, fontname=sans]; edge [fontname=sans, fontsize=10];"]
    for step in [None, *sketch.steps]:
        inner = [box for box in sketch.boxes if box.step == step]
        if step is not None:
            lines.append(f'  subgraph "cluster_{step}" {{ label="t = {step}";')
        for box in inner:
            shape = ", shape=circle" if box.sign else ", color=red" if box.fork else ""
            lines.append(f"    {box.key} [label={_quoted(*(text for _, text in told(box)))}{shape}];")
        if step is not None:
            lines.append("  }")
    for link in sketch.links:
        label = f" [label={_quoted(share(link.entries))}, color=red]" if link.source.fork and link.entries else ""
        lines.append(f"  {link.source.key} -> {link.target.key}{label};")
    for box in sketch.boxes:
        lines += [f"  {shared.key} -> {box.key} [style=dashed, constraint=false];" for shared in box.shared]
    return "\n".join([*lines, "}\n"])


def _quoted(*lines: str) -> str:
    return '"' + "\\n".join(t.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") for t in lines) + '"'
