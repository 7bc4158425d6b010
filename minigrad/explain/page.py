"""A page that goes through a graph forward and in reverse: one file, no network, no library."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ..serialize import write_atomically
from .account import Account, accounts
from .drawing import STYLE, brief, number, share, svg_views
from .expression import Expr, Symbol, renamed
from .sketch import Box, Sketch
from .trace import UNNAMED
from .writers import MathML

MOST_NUMBERS = 64
"""Arrays of so many numbers are shown whole."""
LYING = 5
"""Columns of so many numbers are shown as rows."""


def write_page(sketch: Sketch, path: str | os.PathLike[str]) -> None:
    """Write the page, whole or not at all.

    Parameters
    ----------
    sketch : Sketch
    path : path-like
    """
    write_atomically(Path(path), page(sketch).encode())


def page(sketch: Sketch) -> str:
    """The text of the page."""
    formulas = accounts(sketch)
    steps = list(_steps(sketch))
    turn = next((k for k, step in enumerate(steps) if step["way"] == "r"), 0)
    title = f"Backpropagation through {sketch.output.name}"
    parts = {
        "title": escape(title),
        "caption": escape(_caption(sketch)),
        "output": escape(sketch.output.name),
        "style": STYLE + _file("page.css"),
        "drawings": "\n".join(_views(sketch)),
        "sections": "\n".join(_about(box, formulas[box]) for box in sketch.boxes),
        "steps": _json({"steps": steps, "turn": turn}),
        "script": _file("page.js"),
    }
    pieces = _file("page.html").split("@")  # @name@ by @name@, so that no text is looked at twice
    return "".join(parts.get(piece, piece) for piece in pieces)


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8").strip()


def _json(value: Any) -> str:
    """JSON that can stand in a script element, whatever the names are."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _caption(sketch: Sketch) -> str:
    stages = sum(len(box.stages) for box in sketch.boxes)
    steps = f", {sketch.length} time steps" if sketch.steps else ""
    return f"{stages} functional stages, {sum(box.fork for box in sketch.boxes)} forks{steps}"


def _views(sketch: Sketch) -> Iterator[str]:
    """A drawing with each time step unfolded, and one with all of them."""
    steps = sorted({box.step for box in sketch.boxes if box.stages and box.step is not None})
    pictures = svg_views(sketch, [*([step] for step in steps), sketch.steps])
    for step, picture in zip([*steps, "all"], pictures, strict=True):
        yield f'<div class="view" data-step="{step}" hidden>{picture}</div>'


# --- the steps ---------------------------------------------------------------------------


def _steps(sketch: Sketch) -> Iterator[dict[str, Any]]:
    forward = [(box, "f") for box in sketch.boxes if box.stages]
    reverse = [(box, "r") for box in reversed(sketch.boxes) if box.adjoint is not None]
    reverse.sort(key=lambda pair: -pair[0].node.serial)
    total = len(forward) + len(reverse)
    for k, (box, way) in enumerate([*forward, *reverse], start=1):
        name = f"{box.name} of step {box.step}" if box.sign and box.step is not None else box.name
        text = f"Step {k} of {total}, {'forward' if way == 'f' else 'reverse'}: "
        text += f"{name} = {brief(box.value)}" if way == "f" else f"δ{name} = {brief(box.adjoint)}"
        if way == "r" and box.fork and box.ledger:
            text += f"; a fork: {len(box.ledger)} contributions meet, " + ", ".join(
                f"{share([e])} via {e.via}" for e in box.ledger.entries[:4]) + (" …" if len(box.ledger) > 4 else "")  # fmt: skip
        yield {"box": box.key, "way": way, "step": box.step, "text": text}


# --- what is said of a box ----------------------------------------------------------------


def _about(box: Box, account: Account) -> str:
    parts = [f'<section class="about{" fork" if box.fork else ""}" id="about-{box.key}" hidden>',
             f"<h2>{escape(box.name)}</h2>", f'<p class="kind">{escape(_kind(box))}</p>']  # fmt: skip
    if account.forward is not None:
        parts += ["<h3>Forward</h3>", _formula(_symbol(box, ""), "=", account.forward)]
    else:
        parts.append("<h3>Value</h3>")
    parts.append(_array(box.value))
    if account.local:
        parts.append("<h3>Local derivatives</h3>")
        for local in account.local:
            lhs = Symbol(local.name, ()), Symbol(f"δ{local.name}", ())
            parts.append(_partial(box, lhs[0], local.expr) if local.itself else _formula(lhs[1], "←", local.expr))
    if box.ledger is not None:
        parts += ["<h3>Reverse</h3>", *_adjoint(box, account), _array(box.adjoint, "back")]
        if len(box.ledger):
            parts += _ledger(box, account)
    else:
        parts.append('<p class="more">No gradient passes here.</p>')
    return "".join([*parts, "</section>"])


def _kind(box: Box) -> str:
    what = " · ".join(s.op.name.removeprefix("linalg.") for s in box.stages if s.op is not None) or "given"
    fork = ", a fork" if box.fork else ""
    return f"{what}, shape {np.shape(box.value) if not isinstance(box.value, tuple) else 'several'}{fork}"


def _symbol(box: Box, before: str) -> Symbol:
    return Symbol(before + box.name, ())


def _write(expr: Expr) -> str:
    return MathML().write(renamed(expr, lambda name: "const" if name.startswith(UNNAMED) else name))


def _math(inner: str) -> str:
    return f'<div class="formula"><math>{inner}</math></div>'


def _formula(left: Expr, sign: str, right: Expr) -> str:
    return _math(f"<mrow>{_write(left)}<mo>{sign}</mo>{_write(right)}</mrow>")


def _partial(box: Box, by: Symbol, expr: Expr) -> str:
    top, below = _write(_symbol(box, "")), _write(by)
    return _math(f"<mrow><mfrac><mrow><mo>∂</mo>{top}</mrow><mrow><mo>∂</mo>{below}</mrow></mfrac><mo>=</mo>{_write(expr)}</mrow>")


def _adjoint(box: Box, account: Account) -> Iterator[str]:
    if account.contributions and not box.sign:
        first, *others = map(_write, account.contributions)  # a formula each: lines break between them
        terms = [f"{_write(_symbol(box, 'δ'))}<mo>=</mo>{first}", *(f'<mo form="infix">+</mo>{term}' for term in others)]
        yield '<div class="formula">' + " ".join(f"<math><mrow>{term}</mrow></math>" for term in terms) + "</div>"
    elif not account.contributions:
        yield '<p class="more">The seed: the reverse pass begins here.</p>'


def _ledger(box: Box, account: Account) -> Iterator[str]:
    assert box.ledger is not None
    yield ('<table class="ledger"><caption>Ledger: contributions in the order in which they are added</caption>'
           '<thead><tr><th scope="col" class="via">via</th><th scope="col">by</th>'
           '<th scope="col" class="share">share</th></tr></thead><tbody>')  # fmt: skip
    for entry, expr in zip(box.ledger, account.contributions, strict=True):
        part = 0.0 if np.isnan(entry.share) else entry.share
        against = " against" if part < 0 else ""
        yield (f'<tr><th scope="row">{escape(entry.via)}</th><td>{escape(entry.stage)}</td>'
               f'<td class="share">{share([entry])}<span class="bar{against}" style="width:{min(60, 60 * abs(part)):.0f}px"></span></td></tr>'
               f'<tr class="numbers"><td colspan="3">{_math(_write(expr))}{_array(entry.array)}</td></tr>')  # fmt: skip
    yield "</tbody></table>"


def _array(array: Any, kind: str = "") -> str:
    """A small array as a table, a large one by shape and norm."""
    if not isinstance(array, np.ndarray | np.generic) or array.dtype.kind not in "biuf":
        return '<p class="more">several outputs</p>'
    if array.size > MOST_NUMBERS or array.ndim > 2 or not array.size:
        norm = f", norm {number(np.linalg.norm(array))}, from {number(array.min())} to {number(array.max())}" if array.size else ""
        return f'<p class="more">{array.size} numbers, shape {array.shape}{norm}</p>'
    lying = array.ndim == 2 and array.size == np.shape(array)[0] and 1 < array.size <= LYING  # a column, to save height
    rows = np.atleast_2d(array.T if lying else array)
    cells = "".join("<tr>" + "".join(f'<td title="{x.item()!r}">{_digits(x)}</td>' for x in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table class="array {kind}"><tbody>{cells}</tbody></table>{"<sup>T</sup>" if lying else ""}</div>'


def _digits(x: Any) -> str:
    return f"{x.item():.4g}".replace("-", "−")
