"""The tables of the docs, written from the registry: every op, and every convention.

``python -m minigrad docs`` rewrites ``docs/ops.md`` and ``docs/subgradients.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ..forward import independent
from ..graph import Node
from ..mode import enable_grad, record_all
from ..op import BUILT_IN, OPS, PUBLIC, Op, draw_samples
from ..subgradients import CONVENTION, SPELLINGS
from ..tensor import Tensor, apply, handles, tensor
from .formula import formula

HEAD = "<!-- written by `python -m minigrad docs` from the records of the ops; not edited by hand -->\n\n"
LONGEST = 160


def local_derivatives(op: Op) -> Iterator[tuple[str, str]]:
    """For each input with a rule, its name and the formula of its cotangent: the rule itself,
    run on named tensors and read back.  `g` is the cotangent of the output `y`."""
    arrays, params, places = _sample(op)
    if not places:
        return
    symbols = _symbols(op, len(arrays))
    with enable_grad(), record_all():
        xs = [tensor(x, requires_grad=i in places) for i, x in enumerate(arrays)]
        stage = apply(op, tuple(xs), params)
        several = isinstance(stage, tuple)
        node: Node = stage[0]._node.inputs[0] if several else stage._node
        y, values = handles(node)
        g: Any = tuple(tensor(np.ones(part.shape)) for part in y) if several else tensor(np.ones(y.shape))
        names = {x._node: s for x, s in zip(xs, symbols, strict=True)}
        if several:
            names |= {part._node: f"y{_sub(k)}" for k, part in enumerate(y)}
            names |= {part._node: f"g{_sub(k)}" for k, part in enumerate(g)}
        else:
            names |= {node: "y", g._node: "g"}
        for i in places[:1] if op.variadic else places:
            c = op.cotangent(i, g, y, values, params)
            yield symbols[i], formula(c._node, names) if isinstance(c, Tensor) else "0"


def _sample(op: Op) -> tuple[list[Any], dict[str, Any], list[int]]:
    """The op's first inputs with something to differentiate, and which of them that are."""
    for inputs, params in draw_samples(op, np.random.default_rng(0)):
        arrays = [np.asarray(x) for x in inputs]
        places = [i for i, x in enumerate(arrays)
                  if x.dtype.kind == "f" and op.passes(i)]  # fmt: skip
        if places:
            return arrays, params, places
    return [], {}, []


def _symbols(op: Op, count: int) -> list[str]:
    return ["x"] if count == 1 else [f"x{_sub(k)}" for k in range(count)]


def _sub(k: int) -> str:
    return "".join("₀₁₂₃₄₅₆₇₈₉"[int(d)] for d in str(k + 1))


def ops_table() -> str:
    """The text of ``docs/ops.md``."""
    lines = [HEAD, "# Ops\n\n", INTRODUCTION]
    spellings: dict[str, list[str]] = {}
    for name, function in PUBLIC.items():
        record = getattr(function, "op", None)
        if record is not None:
            spellings.setdefault(record.name, []).append(name)
    families = sorted(_built_in(), key=lambda op: (op.family, op.name))
    for family, members in groupby(families, key=lambda op: op.family):
        lines.append(f"## {family.strip('_')}\n\n")
        lines.append("| op | formula | cotangents, given g | domain | at kinks | tangent |\n|---|---|---|---|---|---|\n")
        for op in members:
            also = [s for s in spellings.get(op.name, []) if s != op.name]
            name = f"`{op.name}`" + (f" ({', '.join(also)})" if also else "")
            cells = [name, op.caption, _derivatives(op), _domain(op), _kinks(op), _tangent(op)]
            lines.append("| " + " | ".join(_cell(c) for c in cells) + " |\n")
        lines.append("\n")
    return "".join(lines)


def _built_in() -> list[Op]:
    return [op for op in OPS.values() if op.name in BUILT_IN]


INTRODUCTION = """\
Every stage that minigrad records.  The cotangents are no second set of formulas: each is the op's rule, run on
named tensors and read back.  `y` is the output and `g` its cotangent; ⊙ multiplies elementwise and @ matrices.
Sums over broadcast axes are the engine's and not shown.  The last column says where a forward tangent comes from:
an independent formula (or linearity), which can bear witness against the rules, or the rules themselves.

"""


def _derivatives(op: Op) -> str:
    if not op.differentiable:
        return "none"
    found = []
    for symbol, text in local_derivatives(op):
        found.append(f"{symbol}: `{text if len(text) <= LONGEST else text[:LONGEST] + '…'}`")
    return "<br>".join(found) or "see its test"


def _domain(op: Op) -> str:
    return " × ".join(domain.name for domain in op.domains) if op.differentiable else ""


def _kinks(op: Op) -> str:
    return "; ".join(kink.where for kink in op.kinks)


def _tangent(op: Op) -> str:
    if not op.differentiable:
        return ""
    return "independent" if independent(op) else "from the rules"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def subgradient_table() -> str:
    """The text of ``docs/subgradients.md``."""
    lines = [HEAD, "# Kinks, ties and singular points\n\n", CONVENTION, "\n"]
    lines.append("## Op by op\n\nWhat a cotangent of ones gives each input.\n\n"
                 "| op | where | inputs | gives | why |\n|---|---|---|---|---|\n")  # fmt: skip
    for op in sorted(_built_in(), key=lambda op: op.name):
        for kink in op.kinks:
            call = ", ".join([*map(_value, kink.inputs), *(f"{k}={v!r}" for k, v in kink.params.items())])
            gives = ", ".join("none" if g is None else _value(g) for g in kink.gradient)
            cells = [f"`{op.name}`", kink.where, call, gives, kink.why]
            lines.append("| " + " | ".join(_cell(c) for c in cells) + " |\n")
    lines.append("\n## Spellings side by side\n\n"
                 "The same function written in several ways.  Where the derivatives differ, they differ by nature: "
                 "an engine sees the stages, not the function.\n\n"
                 "| written | at x = | order | gives | why |\n|---|---|---|---|---|\n")  # fmt: skip
    for row in SPELLINGS:
        cells = [f"`{row.written}`", _value(row.at), str(row.order), _value(row.gives), row.why]
        lines.append("| " + " | ".join(_cell(c) for c in cells) + " |\n")
    return "".join(lines)


def _value(x: Any) -> str:
    return np.array2string(np.asarray(x), separator=", ").replace("\n", " ").replace("-", "−")


def write(folder: Path) -> Sequence[Path]:
    """Write both tables into `folder`; returns their paths."""
    texts = {"ops.md": ops_table(), "subgradients.md": subgradient_table()}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]
