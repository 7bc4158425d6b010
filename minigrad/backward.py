"""The reverse pass: each stage's rule, newest stage first, summed at forks.

Cotangents live in the table of the pass, never on nodes.  The first contribution to a
node is borrowed, the second allocates, later ones are added in place, so the order of
summation, and with it every bit of a gradient, is fixed by the order of recording.

The same loop runs rules on plain arrays or, given `lift`, on tensors; then whatever
the rules do is recorded like any other program, which is all that higher derivatives
and capture need.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .broadcast import sum_to
from .domain import NONZERO, REAL
from .errors import GraphError, MinigradError, RuleError, lesson
from .graph import Node, leading_to, newest_first
from .op import Op, declare

_ndarray = np.ndarray
Observer = Callable[[Node, int, Node, Any], None]


def _float_pairs(rng: np.random.Generator) -> Any:
    yield (rng.normal(size=(2, 3)),), {"dtype": np.dtype(np.float64)}


cast: Op = declare(
    "cast", lambda x, /, *, dtype: x.astype(dtype), lambda g, y, x, *, dtype: cast(g, dtype=x.dtype),
    elementwise=True, linear="jointly", samples=_float_pairs, caption="x in another float dtype",
)  # fmt: skip

pick = declare("pick", lambda xs, /, *, i: xs[i], lambda g, y, xs, *, i: g,
               samples=lambda rng: iter(()), notation="{}[{i}]", caption="output i of a stage with several")  # fmt: skip


def _zero_law(c: Any, g: Any, /) -> Any:
    stopped = ~np.isfinite(c) & (g == 0)
    return np.where(stopped, 0, c) if stopped.any() else c


# A zero cotangent says that nothing downstream looks at this element, so it contributes
# nothing, whatever the pole there (0 * inf is not NaN here).  Only there: elsewhere, at
# g = 0 too, the map stays linear in c, or second derivatives would be wrong.
zero_law = declare(
    "zero_law", _zero_law,
    lambda h, y, c, g: np.where(~np.isfinite(c) & (g == 0), 0, h), None,
    elementwise=True, domain=(REAL, NONZERO), caption="0 where the cotangent is 0 and the product is not finite",
)  # fmt: skip


def backpropagate(
    seeds: dict[Node, Any],
    *,
    wanted: set[Node] | None = None,
    since: int = 0,
    lift: Callable[[Node], Any] | None = None,
    free: bool = False,
    observe: Observer | None = None,
) -> dict[Node, tuple[Any, bool]]:
    """Run the reverse pass.

    Parameters
    ----------
    seeds : dict of Node -> array or Tensor
        The outputs and their cotangents.
    wanted : set of Node, optional
        Whose cotangents to return; only paths that lead there are followed.  Without it:
        every node with a handle (leaves, and tensors that asked).
    since : int
        Nodes with a lower serial count as leaves: the pass stops there.
    lift : callable, optional
        Node -> Tensor: run the rules on tensors, so that they are recorded.
    free : bool
        Drop each node's inputs once it has been passed.
    observe : callable, optional
        ``observe(consumer, input_index, parent, cotangent)`` at each edge, in order.

    Returns
    -------
    dict
        Node -> (cotangent, whether the array belongs to this pass alone).

    Raises
    ------
    GraphError
        The pass needs a node that an earlier pass has freed.
    RuleError
        A rule failed, or gave a cotangent that does not fit its input.
    """
    order = newest_first(*seeds, since=since)
    useful = None if wanted is None else leading_to(order, wanted)
    table: dict[Node, Any] = dict(seeds)
    owned: set[Node] = set()
    found: dict[Node, tuple[Any, bool]] = {}
    for node in order:
        g = table.pop(node, None)
        if g is None:
            continue
        if node.handle is not None if wanted is None else node in wanted:
            found[node] = (g, node in owned)
        op = node.op
        if op is None or node.serial < since:
            continue
        raw = node.values
        if raw is None:
            raise GraphError(
                f"backward: the graph through {node.label} was freed by an earlier pass; "
                "a second pass needs it kept; call backward(retain_graph=True) the first time"
            )
        y = node.value
        if type(y) is tuple:
            g = tuple(np.zeros_like(v) if s is None else s for v, s in zip(y, g, strict=True))
        if lift is None:
            values: Any = raw
        else:
            y = lift(node)
            values = [v if p is None or type(p.value) is tuple else lift(p)
                      for p, v in zip(node.inputs, raw, strict=True)]  # fmt: skip
        rules, params = op.rules, node.params
        special = op.variadic or op.singular
        whole: Any = None  # what a variadic rule gave for all inputs at once
        for i, parent in enumerate(node.inputs):
            if parent is None or not parent.requires_grad:
                continue
            if useful is not None and parent not in useful:
                continue
            rule = rules[0 if op.variadic else i]
            if rule is None:
                continue
            try:
                if special:
                    c = _special(op, rule, i, g, y, values, params) if whole is None else whole
                    if type(c) is tuple:
                        whole, c = c, c[i]
                elif params:
                    c = rule(g, y, *values, **params)
                elif len(values) == 2:  # written out for speed, as in apply
                    c = rule(g, y, values[0], values[1])
                else:
                    c = rule(g, y, *values)
            except MinigradError:
                raise
            except Exception as error:
                raise RuleError(lesson(
                    f"rule of '{op.name}' for input {i}", f"it raised {type(error).__name__}: {error}",
                    f"it was given g of shape {np.shape(g)} and inputs of shapes "
                    f"{[np.shape(v) for v in raw]}")) from error  # fmt: skip
            if op is pick:
                slots = table.setdefault(parent, [None] * len(parent.value))
                k = params["i"]
                slots[k] = c if slots[k] is None else slots[k] + c
                continue
            like = raw[i]
            kind = type(c)
            if kind is _ndarray or kind is not type(like):  # two NumPy scalars of a kind fit
                if kind is not _ndarray and (lift is None or not hasattr(c, "shape")):
                    c = _as_array(c, op, i)
                if c.shape != like.shape or c.dtype is not like.dtype:
                    c = _fit(c, like, op, i)
            if observe is not None:
                observe(node, i, parent, c)
            total = table.get(parent)
            if total is None:
                table[parent] = c
            elif lift is None and parent in owned:
                total += c
                table[parent] = total  # a 0-d total is a NumPy scalar: += made a new one
            else:
                table[parent] = total + c
                owned.add(parent)
        if free:
            node.inputs, node.values = (), None
    return found


def _special(op: Op, rule: Any, i: int, g: Any, y: Any, values: Any, params: Any) -> Any:
    """A rule that serves all inputs of a variadic op, or one with poles."""
    if op.variadic:
        values = (i, *values)
    if not op.singular:
        return rule(g, y, *values, **params)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        c = rule(g, y, *values, **params)
        return tuple(zero_law(part, g) for part in c) if type(c) is tuple else zero_law(c, g)


def _as_array(c: Any, op: Op, i: int) -> Any:
    """A cotangent that is no array: a tensor made by a public function, or a mistake."""
    if isinstance(c, np.generic):
        return c
    if not hasattr(c, "shape"):
        raise RuleError(lesson(
            f"rule of '{op.name}' for input {i}", f"it returned {type(c).__name__} ({c!r})",
            "a rule returns the cotangent of its input, an array of its shape",
            "where nothing flows, give None in place of the rule"))  # fmt: skip
    return np.asarray(c)


def _fit(c: Any, like: Any, op: Op, i: int) -> Any:
    """Give a cotangent the shape and dtype of its input."""
    if c.shape != like.shape:
        if not op.broadcasts or not _stretches(like.shape, c.shape):
            raise RuleError(lesson(
                f"rule of '{op.name}' for input {i}", f"it returned shape {c.shape}",
                f"its input has shape {like.shape}",
                "" if op.broadcasts else "if the op broadcasts its inputs, define it with "
                "broadcasts=True"))  # fmt: skip
        c = sum_to(c, shape=like.shape)
    if c.dtype != like.dtype:
        if c.dtype.kind != "f" or like.dtype.kind != "f":
            raise RuleError(lesson(f"rule of '{op.name}' for input {i}", f"it returned dtype {c.dtype}",
                                   f"its input is {like.dtype}"))  # fmt: skip
        c = cast(c, dtype=like.dtype)
    return c


def _stretches(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    """Whether broadcasting can turn shape `small` into shape `large`."""
    tail = large[len(large) - len(small):]
    return len(small) <= len(large) and all(s in (1, n) for s, n in zip(small, tail, strict=True))
