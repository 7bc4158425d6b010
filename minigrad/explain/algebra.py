"""Simplifications, as one makes them with a pencil; each is an identity.

A rule is two functions of the same arguments, run on tensors to be read as patterns; a
test runs them on numbers.  What the engine adds by itself (sums over broadcast axes,
cotangents of one stretched to a shape) is put as a person would put it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from math import isfinite
from typing import Any

import numpy as np

from ..mode import record_all
from ..op import OPS, Op
from ..tensor import Tensor, tensor
from .expression import Expr, Number, Shape, Stage, Symbol, expression

IDENTITIES: tuple[tuple[Callable[..., Any], Callable[..., Any]], ...] = (
    (lambda x: 1 * x, lambda x: x),
    (lambda x: x * 1, lambda x: x),
    (lambda x: x / 1, lambda x: x),
    (lambda x: x**1, lambda x: x),
    (lambda x: x + 0, lambda x: x),
    (lambda x: 0 + x, lambda x: x),
    (lambda x: x - 0, lambda x: x),
    (lambda x: 0 - x, lambda x: -x),
    (lambda x: -(-x), lambda x: x),  # noqa: B002
    (lambda x: -1 * x, lambda x: -x),
    (lambda x: x * -1, lambda x: -x),
    (lambda x, y: x - (-y), lambda x, y: x + y),
    (lambda x, y: x + (-y), lambda x, y: x - y),
    (lambda x, y: (-x) + y, lambda x, y: y - x),
    (lambda x, y: -(x - y), lambda x, y: y - x),
    (lambda x, y: (-x) * y, lambda x, y: -(x * y)),
    (lambda x, y: x * (-y), lambda x, y: -(x * y)),
    (lambda x, y: (-x) / y, lambda x, y: -(x / y)),
    (lambda x, y: x / (-y), lambda x, y: -(x / y)),
    (lambda x, y: (-x) @ y, lambda x, y: -(x @ y)),
    (lambda x, y: x @ (-y), lambda x, y: -(x @ y)),
    (lambda x: x.mT.mT, lambda x: x),
    (lambda x, y: (x @ y).mT, lambda x, y: y.mT @ x.mT),
)


def build(op: Op, parts: tuple[Expr, ...], params: dict[str, Any], shape: Shape) -> Expr:
    """A stage, simplified; its parts are so already."""
    expr: Expr = Stage(op, parts, params, shape)
    while isinstance(expr, Stage):
        simpler = next((e for e in _simpler(expr) if e is not None and e.shape == shape), None)
        if simpler is None:
            break
        expr = simpler
    return expr


def _simpler(expr: Stage) -> Iterator[Expr | None]:
    yield _of_shapes(expr)
    for pattern, result in _patterns().get(expr.op, ()):
        yield _rewritten(expr, pattern, result)


# --- identities ------------------------------------------------------------------------------


@cache
def _patterns() -> dict[Op, list[tuple[Stage, Expr]]]:
    rules: dict[Op, list[tuple[Stage, Expr]]] = {}
    for left, right in IDENTITIES:
        pattern, result = _read(left), _read(right)
        assert isinstance(pattern, Stage)
        rules.setdefault(pattern.op, []).append((pattern, result))
    return rules


def _read(side: Callable[..., Any]) -> Expr:
    names = list(inspect.signature(side).parameters)
    with record_all():
        xs = [tensor(np.ones((1, 1))) for _ in names]
        y: Tensor = side(*xs)
    return expression(y._node, {x._node: Symbol(name, ()) for x, name in zip(xs, names, strict=True)})


def _rewritten(expr: Stage, pattern: Stage, result: Expr) -> Expr | None:
    found: dict[str, Expr] = {}
    if not _matches(expr, pattern, found):
        return None
    if expr.op.name == "matrix_transpose" and any(len(part.shape) < 2 for part in found.values()):
        return None  # a product with a vector
    return _filled(result, found, expr.shape)


def _matches(expr: Expr, pattern: Expr, found: dict[str, Expr]) -> bool:
    if isinstance(pattern, Symbol):
        return found.setdefault(pattern.name, expr) == expr
    if isinstance(pattern, Number):
        return isinstance(expr, Number) and bool(expr.value == pattern.value)
    if not isinstance(expr, Stage) or not isinstance(pattern, Stage) or expr.op is not pattern.op:
        return False
    return expr.params == pattern.params and all(map(_matches, expr.parts, pattern.parts, [found] * len(expr.parts)))


def _filled(result: Expr, found: dict[str, Expr], shape: Shape) -> Expr:
    if isinstance(result, Symbol):
        return found[result.name]
    assert isinstance(result, Stage)
    parts = tuple(_filled(part, found, shape) for part in result.parts)
    if result.op.elementwise:
        shape = np.broadcast_shapes(*(part.shape for part in parts))
    elif result.op.name == "matrix_transpose":
        shape = (*parts[0].shape[:-2], *parts[0].shape[:-3:-1])
    return build(result.op, parts, result.params, shape)


# --- shapes ----------------------------------------------------------------------------------


def _of_shapes(expr: Stage) -> Expr | None:
    """What concerns shapes alone."""
    x = expr.parts[0] if expr.parts else None
    if x is None:
        return None
    name, shape = expr.op.name, expr.shape
    if name in ("reshape", "broadcast_to", "sum_to"):
        if x.shape == shape:
            return x
        if isinstance(x, Number):
            return Number(x.value if name != "sum_to" else x.value * (_size(x.shape) // max(_size(shape), 1)), shape)
    if name == "negative" and isinstance(x, Number):
        return Number(-x.value, shape)
    if name == "multiply" and isinstance(x, Number):
        folded = _folded(x, expr.parts[1], shape)
        if folded is not None:
            return folded
    if name in ("reshape", "broadcast_to") and isinstance(x, Stage) and x.op.name == name:
        return Stage(expr.op, x.parts, expr.params, shape)
    if name == "sum_to":
        return _summed(x, shape)
    if name == "reshape" and isinstance(x, Stage) and x.op.name == "sum" and x.params.get("keepdims"):
        plain = _sum(x.parts[0], x.params.get("axis"), False)
        return plain if plain.shape == shape else None
    if expr.op.elementwise and len(expr.parts) > 1:
        return _unstretched(expr) or _times_ones(expr) or _outer(expr)
    if name == "pick" and isinstance(x, Stage):
        return _piece(x, expr.params["i"], shape)
    if name == "broadcast_to":
        inner = _bare(x)
        return None if inner is x else Stage(expr.op, (inner,), expr.params, shape)
    return None


def _folded(x: Number, y: Expr, shape: Shape) -> Expr | None:
    """0.5 ⊙ (2 ⊙ z) with the numbers multiplied, if nothing is rounded."""
    inner = y.parts[0] if isinstance(y, Stage) and y.op.name == "multiply" else y
    if not isinstance(inner, Number):
        return None
    a, b = x.value, inner.value
    if not all(type(n) in (int, float) and isfinite(n) for n in (a, b)) or Fraction(a) * Fraction(b) != Fraction(a * b):
        return None
    if inner is y:
        return Number(a * b, shape)
    rest = y.parts[1]
    return Stage(OPS["multiply"], (Number(a * b, () if rest.shape == shape else shape), rest), {}, shape)


def _size(shape: Shape) -> int:
    return int(np.prod(shape, dtype=int))


def _summed(x: Expr, shape: Shape) -> Expr | None:
    """The engine's sum over stretched axes as a plain sum: leading axes go, others stay as 1."""
    lead = len(x.shape) - len(shape)
    kept = tuple(k for k in range(lead, len(x.shape)) if x.shape[k] != shape[k - lead])
    if lead and kept:
        return None
    return _sum(x, kept or tuple(range(lead)), bool(kept))


def _sum(x: Expr, axis: Any, keepdims: bool) -> Stage:
    axes = tuple(range(len(x.shape))) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    gone = {k % max(len(x.shape), 1) for k in axes}
    shape = tuple(1 if k in gone else n for k, n in enumerate(x.shape) if keepdims or k not in gone)
    said = None if len(gone) == len(x.shape) else axes[0] if len(axes) == 1 else axes
    return Stage(OPS["sum"], (x,), {"axis": said} | ({"keepdims": True} if keepdims else {}), shape)


def _unstretched(expr: Stage) -> Expr | None:
    """An elementwise stage stretches its inputs by itself."""
    bare = tuple(map(_bare, expr.parts))
    for parts in (bare, *((*expr.parts[:k], part, *expr.parts[k + 1 :]) for k, part in enumerate(bare))):
        changed = any(a is not b for a, b in zip(parts, expr.parts, strict=True))
        if changed and np.broadcast_shapes(*(part.shape for part in parts)) == expr.shape:
            return Stage(expr.op, parts, expr.params, expr.shape)
    return None


def _piece(x: Stage, i: int, shape: Shape) -> Expr | None:
    """One output of a stage that takes an array apart, by its index."""
    whole = x.parts[0]
    axis = x.params.get("axis", 0)
    if x.op.name == "unstack":
        here: Any = i
    elif x.op.name == "split" and axis is not None:
        cuts = x.params["indices_or_sections"]
        size = whole.shape[axis]
        starts = [k * size // cuts for k in range(cuts)] if isinstance(cuts, int) else [0, *cuts]
        here = slice(starts[i], starts[i + 1] if i + 1 < len(starts) else None)
    else:
        return None
    index = (*(slice(None),) * (axis % len(whole.shape)), here)
    return Stage(OPS["getitem"], (whole,), {"index": index}, shape)


def _times_ones(expr: Stage) -> Expr | None:
    """An array of ones times x is x, stretched."""
    if expr.op.name == "multiply":
        for one, x in (expr.parts, expr.parts[::-1]):
            if isinstance(one, Number) and one.value == 1 and x.shape != expr.shape:
                return Stage(OPS["broadcast_to"], (x,), {"shape": expr.shape}, expr.shape)
    return None


def _outer(expr: Stage) -> Expr | None:
    """A column times a row."""
    if expr.op.name != "multiply":
        return None
    column, row = expr.parts
    made = isinstance(column, Stage) and column.op.name == "getitem" and column.params["index"] == (Ellipsis, None)
    if made and len(column.shape) == 2 and len(row.shape) == 1:
        return Stage(OPS["outer"], (column.parts[0], row), {}, expr.shape)
    return None


def _bare(x: Expr) -> Expr:
    """Without a stretch to a shape, and without axes of 1 in front."""
    if isinstance(x, Number):
        return Number(x.value) if x.shape else x
    if isinstance(x, Stage) and x.op.elementwise and x.shape and all(isinstance(p, Number) for p in x.parts):
        return Stage(x.op, tuple(map(_bare, x.parts)), x.params, ())
    while isinstance(x, Stage) and (x.op.name == "broadcast_to" or x.op.name == "reshape" and _only_leading_ones(x)):
        x = x.parts[0]
    return x


def _only_leading_ones(x: Stage) -> bool:
    inner = x.parts[0].shape
    lead = len(x.shape) - len(inner)
    return lead >= 0 and x.shape[:lead] == (1,) * lead and x.shape[lead:] == inner
