"""A recorded graph as a formula in the names of its nodes.

How a stage is written comes from its record: ``notation="{} ⊙ {}"`` for the few that have a
sign of their own, ``name(arguments)`` for all others.  Brackets go where the signs need them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..boundary import SCALARS
from ..graph import Node, ancestors
from ..op import Op

RELATION, SUM, PRODUCT, SIGN, POWER, ATOM = range(6)
"""How tightly an expression holds together."""

SIGNS = {**dict.fromkeys((" < ", " ≤ ", " > ", " ≥ ", " = ", " ≠ "), RELATION),
         " + ": SUM, " − ": SUM, " ⊙ ": PRODUCT, " / ": PRODUCT, " @ ": PRODUCT, "−": SIGN,
         "^": POWER, "²": POWER, "ᵀ": POWER}  # fmt: skip
SILENT = {"cast", "alias", "copy", "zero_law"}  # the engine's own: nothing that a formula shows
LONGEST = 2000


class Text(NamedTuple):
    """A formula and how tightly it holds."""

    text: str
    strength: int

    def within(self, strength: int) -> str:
        """Bracketed if what stands around it holds tighter."""
        return self.text if self.strength >= strength else f"({self.text})"


def formula(root: Node, names: dict[Node, str]) -> str:
    """Write out how `root` comes from the named nodes.

    Parameters
    ----------
    root : Node
    names : dict of Node -> str
        What some nodes are called; the formula goes no further down than these.

    Returns
    -------
    str
    """
    texts = {node: Text(name, ATOM) for node, name in names.items()}
    for node in ancestors(root, stop=names):
        if node not in texts:
            texts[node] = _stage(node, texts)
    return texts[root].text


def _stage(node: Node, texts: dict[Node, Text]) -> Text:
    op = node.op
    if op is None or node.values is None:
        return Text(node.name or _constant(node.value), ATOM)
    parts = [Text(_constant(v), ATOM) if p is None else texts[p]
             for p, v in zip(node.inputs, node.values, strict=True)]  # fmt: skip
    if op.name in SILENT:
        return parts[0]
    if op.name == "multiply" and node.inputs[0] is not None and node.inputs[0] is node.inputs[1]:
        return Text(parts[0].within(ATOM) + "²", POWER)
    text = _written(op, parts, node.params)
    return text if len(text.text) <= LONGEST else Text("…", ATOM)


def _written(op: Op, parts: list[Text], params: dict[str, Any]) -> Text:
    if not op.notation:
        shown = [p.text for p in parts] + [f"{k}={_plain(v)}" for k, v in params.items() if _told(op, k, v)]
        return Text(f"{op.name.removeprefix('linalg.')}({', '.join(shown)})", ATOM)
    strength = min((s for sign, s in SIGNS.items() if sign in op.notation), default=ATOM)
    # a − (b + c), a / (b ⊙ c): the right operand of a sign that is not associative is bracketed
    tighter = strength + 1 if any(s in op.notation for s in (" − ", " / ")) else strength
    needs = [strength if strength != POWER else ATOM] + [tighter] * (len(parts) - 1)
    if op.notation.startswith("|"):
        needs = [SUM] * len(parts)
    inner = [part.within(need) for part, need in zip(parts, needs, strict=True)]
    return Text(op.notation.format(*inner, **params), strength)


def _told(op: Op, key: str, value: Any) -> bool:
    """Whether a parameter says something: it is not the default, and no array's shape."""
    parameter = op.signature.parameters.get(key)
    return key not in ("shape", "dtype") and (parameter is None or parameter.default is not value)


def _constant(value: Any) -> str:
    if type(value) in SCALARS or np.ndim(value) == 0 and not isinstance(value, tuple):
        return _plain(value.item() if hasattr(value, "item") else value)
    return f"const{np.shape(value)}" if not isinstance(value, tuple) else "const"


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}".replace("-", "−")
    return str(value).replace("-", "−") if isinstance(value, (int, np.integer)) else str(value)
