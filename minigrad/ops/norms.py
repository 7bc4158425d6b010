"""Norms of vectors, and the smooth maximum ln Σ eˣ: reductions that need care at 0 and ∞."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..backward import cast
from ..define import define
from ..errors import ArgumentError, DomainError, lesson
from ..op import PUBLIC, Kink, Op, Sample, declare, publish
from ..tensor import as_tensor
from ._axes import Axis, reduction_samples, refuse_axis, spread

# --- ln Σ eˣ ---------------------------------------------------------------------------------


def _logsumexp(x: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    x = x if x.dtype.kind in "fc" else x.astype(np.float64)
    top = np.max(x.real, axis=axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0)
    wide = np.float32 if x.dtype == np.float16 else None  # a sum of halves ends at 65504
    add: Any = np.add.reduce
    with np.errstate(divide="ignore", over="ignore"):
        y = np.log(add(np.exp(x - top), axis=axis, dtype=wide, keepdims=keepdims))
        return (y + top.reshape(y.shape)).astype(x.dtype)


def _shares(x: Any, y: Any, /, *, axis: Axis = None, keepdims: bool = False) -> Any:
    y = spread(y, x, axis, keepdims)
    if np.isfinite(y).all():
        e = np.exp(x - y)
        return e / np.sum(e, axis=axis, keepdims=True)  # a large y has a rounding: divided out
    with np.errstate(over="ignore", invalid="ignore"):
        e = np.exp(x - np.where(np.isinf(y), 0, y))
        e = np.where(y == np.inf, x == np.inf, e)
        total = np.sum(e, axis=axis, keepdims=True)
        return (e / np.where(total == 0, 1, total)).astype(x.dtype)


def _shares_rule(g: Any, w: Any, x: Any, y: Any, *, axis: Axis = None, keepdims: bool = False) -> Any:
    return w * (g - np.sum(g * w, axis=axis, keepdims=True))


def _share_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for (x,), params in reduction_samples(rng):
        y = np.asarray(_logsumexp(x, **params))
        yield (x, y + rng.normal(size=y.shape)), params


# It is given y for its size alone: the parts do not depend on it.
shares: Op = declare("logsumexp_shares", _shares, _shares_rule, None, analytic=True, samples=_share_samples,
    caption="eˣ / Σ eˣ, the part of each x in y = ln Σ eˣ; at ∞ the infinite x share evenly")  # fmt: skip


logsumexp = define("logsumexp", _logsumexp,
    lambda g, y, x, *, axis=None, keepdims=False:
        spread(g, x, axis, keepdims) * shares(x, y, axis=axis, keepdims=keepdims),
    analytic=True, samples=reduction_samples, complain=refuse_axis("logsumexp"),
    branch=lambda x, /, *, axis=None, keepdims=False: np.isinf(x),
    kinks=[Kink("every x = −∞", (np.array([-np.inf, -np.inf]),), (np.zeros(2),),
                why="y = −∞, and stays there however little x moves: slope 0"),
           Kink("one x = −∞", (np.array([-np.inf, 0.0]),), (np.array([0.0, 1.0]),), why="its part is e⁻∞ = 0"),
           Kink("two x = ∞", (np.array([np.inf, np.inf, 0.0]),), (np.array([0.5, 0.5, 0.0]),),
                why="y is the largest x: a reduction shares a tie evenly")],
    caption="ln Σ eˣ")  # fmt: skip


# --- vector norms --------------------------------------------------------------------------


def _vector_norm(x: Any, /, *, axis: Axis = None, keepdims: bool = False, ord: float = 2) -> Any:
    add: Any = np.add.reduce
    x = x if x.dtype.kind in "fc" else x.astype(np.float64)
    a = np.abs(x) if x.dtype.kind == "c" or ord != 2 else x
    if ord == 2:
        return np.sqrt(add(a * a, axis=axis, keepdims=keepdims))
    if ord == 1:
        return add(a, axis=axis, keepdims=keepdims)
    if ord == 0:
        return add(a != 0, axis=axis, keepdims=keepdims, dtype=a.dtype)
    if ord in (np.inf, -np.inf):
        return (np.max if ord > 0 else np.min)(a, axis=axis, keepdims=keepdims)
    p = float(ord)
    return add(a**p, axis=axis, keepdims=keepdims) ** (a.dtype.type(1) / p)


def _vector_norm_rule(g: Any, y: Any, x: Any, *, axis: Axis = None, keepdims: bool = False,
                      ord: float = 2) -> Any:  # fmt: skip
    g, y = spread(g, x, axis, keepdims), spread(y, x, axis, keepdims)
    if ord in (0, 1):
        return g * np.sign(x) if ord else np.broadcast_to(g * 0.0, x.shape)
    if ord in (np.inf, -np.inf):
        at = (np.abs(x) == y) | np.isnan(x)
        ties = np.sum(at, axis=axis, keepdims=True)
        return np.where(at, cast(g / ties, dtype=g.dtype) * np.sign(x), 0)
    p, zero = float(ord), y == 0
    safe = np.where(zero, 1, y)
    if p == 2:
        slope = x / safe
    elif p > 0 and p % 2 == 0:
        slope = (x / safe) ** int(p - 1)  # no |x|: exact where one x is 0, at every order
    else:
        slope = np.sign(x) * (np.where(x == 0, 1, np.abs(x)) / safe) ** (p - 1)
    return np.where(zero, 0, g * slope)


def _norm_branch(x: Any, /, *, axis: Axis = None, keepdims: bool = False, ord: float = 2) -> Any:
    y = _vector_norm(x, axis=axis, keepdims=True, ord=ord)
    if ord in (np.inf, -np.inf):
        return np.sign(x) * (np.abs(x) == y)
    return y == 0 if ord > 0 and ord % 2 == 0 else np.sign(x)


def _norm_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for (x,), params in reduction_samples(rng):
        yield (np.where(np.abs(x) < 0.1, 0.1, x),), params
    x = rng.uniform(0.3, 2.0, (2, 3, 4)) * rng.choice([-1.0, 1.0], (2, 3, 4))
    for ord in (0, 1, 2, 3, 4, 2.5, 0.5, -1.5, np.inf, -np.inf):
        yield (x,), {"ord": ord, "axis": -1}
        yield (x,), {"ord": ord, "axis": (0, 2), "keepdims": True}
    yield (np.array(-0.7),), {"ord": 3}
    yield (np.array([0.0, 0.4, -1.2]),), {"ord": 2}
    yield (np.array([0.0, 0.4, -1.2]),), {"ord": 4}


_refuse_norm_axis = refuse_axis("linalg.vector_norm")


def _refuse_norm(inputs: Any, params: dict[str, Any]) -> Exception | None:
    ord = params.get("ord", 2)
    if not isinstance(ord, (int, float, np.number)) or ord != ord:  # NaN
        return ArgumentError(lesson("linalg.vector_norm", f"ord={ord!r}", "a number, or mg.inf"))
    bad = _refuse_norm_axis(inputs, params)
    if bad is None and not np.size(inputs[0]):
        bad = DomainError(lesson("linalg.vector_norm", f"ord={ord} of no elements, shape {np.shape(inputs[0])}",
                                 "at least one"))  # fmt: skip
    return bad if isinstance(bad, Exception) else None


_SQUARE = ("the least slope of all; ‖x‖² has the right first derivative, 0, but its second comes out 0 and "
           "not 2, since the chain rule asks for 2 ‖x‖ ‖x‖″ = 0 · ∞: write mg.sum(x * x)")  # fmt: skip

vector_norm = define("linalg.vector_norm", _vector_norm, _vector_norm_rule, analytic=True, samples=_norm_samples,
    complain=_refuse_norm, branch=_norm_branch,
    kinks=[Kink("x = 0", (np.zeros(2),), (np.zeros(2),), why=_SQUARE),
           Kink("one x = 0, ord=1", (np.array([0.0, -2.0]),), (np.array([0.0, -1.0]),), {"ord": 1}, "as |x|"),
           Kink("one x = 0, ord=0.5", (np.array([0.0, 4.0]),), (np.array([0.0, 1.0]),), {"ord": 0.5}, "as |x|"),
           Kink("one x = 0, ord=0", (np.array([0.0, 4.0]),), (np.zeros(2),), {"ord": 0}, "a count: steps, slope 0"),
           Kink("two are largest, ord=∞", (np.array([2.0, -2.0, 1.0]),), (np.array([0.5, -0.5, 0.0]),),
                {"ord": np.inf}, "a reduction shares a tie evenly"),
           Kink("x = 0, ord=∞", (np.zeros(2),), (np.zeros(2),), {"ord": np.inf}, "as |x|"),
           Kink("two are smallest, ord=−∞", (np.array([1.0, -1.0, 2.0]),), (np.array([0.5, -0.5, 0.0]),),
                {"ord": -np.inf}, "a reduction shares a tie evenly")],
    numpy={np.linalg.vector_norm: {}}, caption="‖x‖ₚ = (Σ |x|ᵖ)¹ᐟᵖ")  # fmt: skip


def norm(x: Any, /, *, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Any:
    """The norm of vectors, or of matrices, as ``np.linalg.norm`` reads its arguments.

    Parameters
    ----------
    ord : number, "fro", "nuc" or None
        None: the root of the sum of squares over `axis`, whatever the shape.  For vectors a number
        (see `linalg.vector_norm`), for matrices what `linalg.matrix_norm` knows.
    axis : int, pair of int or None
        One axis holds vectors, two hold matrices; None takes all of `x`.
    """
    x = as_tensor(x)
    matrices = isinstance(axis, (tuple, list)) and len(axis) == 2 or axis is None and x.ndim == 2
    if ord is None or ord == "fro" and matrices:
        return vector_norm(x, axis=axis, keepdims=keepdims)
    if not matrices:
        if axis is None and x.ndim > 2:
            raise ArgumentError(lesson("norm", f"ord={ord!r} of an array of shape {x.shape}",
                                       "an axis: one for vectors, two for matrices"))  # fmt: skip
        return vector_norm(x, axis=axis, keepdims=keepdims, ord=ord)
    if "linalg.matrix_norm" not in PUBLIC:
        raise ArgumentError(lesson("norm", f"ord={ord!r} of matrices", "None or 'fro'"))
    rows, columns = (0, 1) if axis is None else (a % x.ndim for a in axis)  # type: ignore[union-attr]
    y = PUBLIC["linalg.matrix_norm"](np.moveaxis(x, (rows, columns), (-2, -1)), ord=ord)
    return np.expand_dims(y, tuple(sorted((rows, columns)))) if keepdims else y


publish("linalg.norm", norm, aliases=("norm",), numpy={np.linalg.norm: {}})
