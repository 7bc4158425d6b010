"""Einstein's sum: every product of arrays that labels can name, and the adjoint of a diagonal.

The record's subscripts are complete: letters only, the output written out.  `einsum` turns what
NumPy accepts (implicit output, ellipses, lists of axes) into that form.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from string import ascii_letters, ascii_lowercase, ascii_uppercase
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, MinigradError, ShapeError, lesson
from ..op import NUMPY, Counterpart, Op, declare, publish
from ..tensor import Tensor, apply

Shapes = tuple[tuple[int, ...], ...]
LARGE = 4096
"""Multiplications from which on preparing a matrix product pays."""


def _terms(subscripts: str) -> tuple[list[str], str]:
    inputs, _, output = subscripts.partition("->")
    return inputs.split(","), output


def _einsum(*xs: Any, subscripts: str) -> Any:
    plan = _plan(subscripts, tuple([x.shape for x in xs]))
    if plan is None:
        return np.einsum(subscripts, *xs)
    if len(xs) > 2:
        return np.einsum(subscripts, *xs, optimize=plan)
    return _as_product(xs[0], xs[1], plan)


class _Product(NamedTuple):
    """Two operands as stacks of matrices: how to lay them out, and the result."""

    left: str
    right: str
    left_shape: tuple[int, ...]
    right_shape: tuple[int, ...]
    shape: tuple[int, ...]
    order: tuple[int, ...]


@lru_cache(maxsize=1024)
def _plan(subscripts: str, shapes: Shapes) -> Any:
    """How to contract: None is NumPy's own loop, which for small arrays is the quickest."""
    inputs, out = _terms(subscripts)
    sizes: dict[str, int] = {}
    for labels, shape in zip(inputs, shapes, strict=True):
        for label, n in zip(labels, shape, strict=True):
            sizes[label] = n if sizes.get(label, 1) == 1 else sizes[label]
    if len(shapes) < 2 or prod(sizes.values()) < LARGE:
        return None
    if len(shapes) > 2:
        arrays = [np.broadcast_to(0.0, shape) for shape in shapes]
        return np.einsum_path(subscripts, *arrays, optimize="greedy")[0]
    a, b = inputs
    if any(n != sizes[k] for term, shape in zip(inputs, shapes, strict=True)
           for k, n in zip(term, shape, strict=True)):  # fmt: skip
        return None  # a size of 1 stretches
    batch = [k for k in dict.fromkeys(a) if k in b and k in out]
    inner = [k for k in dict.fromkeys(a) if k in b and k not in out]
    rows = [k for k in dict.fromkeys(a) if k not in b and k in out]
    columns = [k for k in dict.fromkeys(b) if k not in a and k in out]
    if not inner or not (rows or columns):
        return None
    one, inside, left, right = ([sizes[k] for k in group] for group in (batch, inner, rows, columns))
    laid = [*batch, *rows, *columns]
    return _Product(f"{a}->{''.join(batch + rows + inner)}", f"{b}->{''.join(batch + inner + columns)}",
                    (*one, prod(left), prod(inside)), (*one, prod(inside), prod(right)),
                    (*one, *left, *right), tuple(laid.index(k) for k in out))  # fmt: skip


def _as_product(a: Any, b: Any, plan: _Product) -> Any:
    left = np.einsum(plan.left, a).reshape(plan.left_shape)
    right = np.einsum(plan.right, b).reshape(plan.right_shape)
    return np.matmul(left, right).reshape(plan.shape).transpose(plan.order)


def einsum_rule(g: Any, y: Any, i: int, *xs: Any, subscripts: str) -> Any:
    """An einsum again: g and the other operands, summed to this operand's labels."""
    inputs, out = _terms(subscripts)
    own, shape = inputs[i], xs[i].shape
    others = [k for k in range(len(xs)) if k != i]
    size = dict(zip(own, shape, strict=True))
    given = set(out).union(*(inputs[k] for k in others))
    # a label of size 1 may have been stretched: it is summed, and put back below
    target = "".join([k for k in size if k in given and size[k] != 1])
    terms = ",".join([out, *(inputs[k] for k in others)])
    c = stage(g, *[xs[k] for k in others], subscripts=f"{terms}->{target}")
    if c.shape != tuple(size.values()):  # labels that this operand alone has, or stretched to
        found = dict(zip(target, c.shape, strict=True))
        c = np.broadcast_to(c.reshape(tuple(found.get(k, 1) for k in size)), tuple(size.values()))
    return c if len(size) == len(own) else onto_diagonal(c, labels=own)


def _einsum_samples(rng: np.random.Generator) -> Any:
    for subscripts, *shapes in (
        ("ij,jk->ik", (2, 3), (3, 4)), ("ij->ji", (2, 3)), ("ij->", (2, 3)), ("ii->", (3, 3)), ("ii->i", (3, 3)),
        ("i,i->", (3,), (3,)), ("i,j->ij", (2,), (3,)), ("bij,bjk->bki", (2, 2, 3), (2, 3, 2)),
        ("ij,ij->ij", (1, 3), (2, 1)), ("ij,j->i", (2, 3), (1,)), ("ij,jk->i", (2, 1), (3, 2)),
        ("iji,j->i", (2, 3, 2), (3,)), ("ij,jk,kl->il", (2, 3), (3, 2), (2, 2)), (",->", (), ()),
        ("ij,kj->ki", (0, 3), (2, 3)), ("ij,jk->ik", (2, 0), (0, 2)), ("iijj->ij", (2, 2, 3, 3)),
        ("aij,bjk->abik", (1, 2, 2), (2, 2, 2)), ("ij,jj,j->", (2, 3), (3, 3), (3,)),
    ):  # fmt: skip
        yield tuple(np.asarray(rng.normal(size=s)) for s in shapes), {"subscripts": subscripts}


def _refuse_einsum(inputs: Any, params: dict[str, Any]) -> Exception | None:
    try:
        complete(params["subscripts"], tuple(np.shape(x) for x in inputs))
    except MinigradError as error:
        return error
    return None


stage: Op = declare("einsum", _einsum, einsum_rule, variadic=True, linear="each", analytic=True,
                    samples=_einsum_samples, complain=_refuse_einsum,
                    caption="Σ x₁ x₂ … over the labels that the output leaves out")  # fmt: skip


# --- the adjoint of taking a diagonal ------------------------------------------------------


def _onto_diagonal(d: Any, /, *, labels: str) -> Any:
    unique = "".join(dict.fromkeys(labels))
    size = dict(zip(unique, d.shape, strict=True))
    out = np.zeros([size[k] for k in labels], d.dtype)
    np.einsum(f"{labels}->{unique}", out)[...] = d  # a view of `out`
    return out


onto_diagonal: Op = declare(
    "onto_diagonal", _onto_diagonal,
    lambda h, y, d, *, labels: stage(h, subscripts=f"{labels}->{''.join(dict.fromkeys(labels))}"),
    linear="jointly", analytic=True, caption="zeros, with d where equal labels have equal indices",
    samples=lambda rng: iter([
        ((rng.normal(size=(3,)),), {"labels": "ii"}), ((rng.normal(size=(2, 3)),), {"labels": "iji"}),
        ((rng.normal(size=(2, 3)),), {"labels": "jiij"}), ((np.zeros((0,)),), {"labels": "ii"})]))  # fmt: skip


# --- what a caller may write ---------------------------------------------------------------


def _wrong(*parts: str) -> ArgumentError:
    return ArgumentError(lesson("einsum", *parts))


@lru_cache(maxsize=1024)
def complete(subscripts: str, shapes: Shapes) -> str:
    """Subscripts with letters for the ellipses and the output written out.

    Raises
    ------
    ArgumentError, ShapeError
        Labels and operands do not fit; the message names the label, the sizes, the operand.
    """
    text = subscripts.replace(" ", "")
    left, arrow, out = text.partition("->")
    terms = left.split(",")
    for term in (*terms, out):
        odd = next((c for c in term.replace("...", "", 1) if c not in ascii_letters), None)
        if odd is not None:
            raise _wrong(f"{odd!r} in subscripts {subscripts!r}",
                         "labels are letters, with at most one '...' an operand")  # fmt: skip
    if len(terms) != len(shapes):
        raise _wrong(f"{subscripts!r} describes {len(terms)} operands and {len(shapes)} are given")
    free = [c for c in reversed(ascii_letters) if c not in text]
    widest = 0
    for k, (term, shape) in enumerate(zip(terms, shapes, strict=True)):
        named, dots = len(term.replace("...", "")), "..." in term
        if named > len(shape) or named < len(shape) and not dots:
            raise ShapeError(lesson("einsum", f"operand {k + 1} has shape {shape}, and {term!r} names "
                                    f"{named} axes", "one label an axis, or '...' for the others"))  # fmt: skip
        if dots:
            widest = max(widest, len(shape) - named)
    if widest > len(free):
        raise _wrong(f"{subscripts!r} needs more than {len(ascii_letters)} labels")
    rest = "".join(free[:widest])
    terms = [term.replace("...", rest[widest - (len(shape) - len(term) + 3):] if "..." in term else "")
             for term, shape in zip(terms, shapes, strict=True)]  # fmt: skip
    if not arrow:
        letters = "".join(terms)
        out = rest + "".join(sorted(c for c in set(letters) - set(rest) if letters.count(c) == 1))
    elif "..." in out:
        out = out.replace("...", rest)
    elif rest:
        raise _wrong(f"the output of {subscripts!r} has no '...' and an operand has", "",
                     "write '...' in the output, or name the axes and leave them out to sum them")  # fmt: skip
    for c in out:
        if out.count(c) > 1:
            raise _wrong(f"label {c!r} stands twice in the output of {subscripts!r}")
        if not any(c in term for term in terms):
            raise _wrong(f"label {c!r} in the output of {subscripts!r} is no operand's")
    _check_sizes(terms, shapes, rest)
    return ",".join(terms) + "->" + out


def _check_sizes(terms: list[str], shapes: Shapes, rest: str) -> None:
    seen: dict[str, tuple[int, int]] = {}
    for k, (term, shape) in enumerate(zip(terms, shapes, strict=True)):
        inside: dict[str, int] = {}
        for c, n in zip(term, shape, strict=True):
            label = "an axis of '...' has" if c in rest else f"label {c!r} has"
            if inside.setdefault(c, n) != n:
                raise ShapeError(lesson("einsum", f"{label} sizes {inside[c]} and {n} within operand {k + 1} "
                                        f"of shape {shape}", "a diagonal has equal sizes"))  # fmt: skip
            m, first = seen.get(c, (1, k))
            if m not in (1, n) and n != 1:
                raise ShapeError(lesson(
                    "einsum", f"{label} size {m} in operand {first + 1} of shape {shapes[first]} and "
                    f"size {n} in operand {k + 1} of shape {shape}", "equal sizes, or 1"))  # fmt: skip
            if m == 1:
                seen[c] = (n, k)


def _from_lists(operands: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """``einsum(x, [0, 1], y, [1, 2], [0, 2])`` in letters."""
    alphabet = ascii_uppercase + ascii_lowercase  # sorted as the numbers are

    def letters(axes: Any) -> str:
        try:
            return "".join("..." if k is Ellipsis else alphabet[k] for k in axes)
        except (TypeError, IndexError):
            raise _wrong(f"the list {axes!r}", "integers from 0 to 51, or an Ellipsis") from None

    pairs = len(operands) // 2
    text = ",".join(letters(operands[2 * k + 1]) for k in range(pairs))
    if len(operands) % 2:
        text += "->" + letters(operands[-1])
    return text, operands[: 2 * pairs : 2]


def einsum(*operands: Any, optimize: Any = None) -> Any:
    """Einstein's sum: ``einsum("ij,jk->ik", a, b)``.

    Parameters
    ----------
    *operands
        Subscripts and as many tensors or array_likes as they describe: NumPy's language, with
        implicit or explicit output, labels repeated within an operand (its diagonal), ``...``,
        axes of size 1 that stretch.  Or each operand followed by a list of integers.
    optimize
        NumPy's keyword; the order of contraction is chosen here.

    Returns
    -------
    Tensor

    Raises
    ------
    ArgumentError, ShapeError
        The label, the sizes and the operand that do not fit.
    """
    if not operands:
        raise _wrong("no operands", "subscripts and arrays")
    if isinstance(operands[0], str):
        subscripts, arrays = operands[0], operands[1:]
    else:
        subscripts, arrays = _from_lists(operands)
    shapes = tuple([x.shape if isinstance(x, Tensor) else np.shape(x) for x in arrays])
    return apply(stage, arrays, {"subscripts": complete(subscripts, shapes)})


einsum.op = stage  # type: ignore[attr-defined]
publish("einsum", einsum)
NUMPY[np.einsum] = Counterpart(einsum, 99, (), {})
