"""Losses element by element: how far a prediction is from its target, then summed or averaged.

Reductions are PyTorch's: "mean", "sum", "none".
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from math import prod
from typing import Any, Literal

import numpy as np

from ..boundary import SCALARS
from ..define import define
from ..domain import Domain
from ..errors import ArgumentError, ShapeError, lesson
from ..op import Function, Kink, Sample, publish
from ..tensor import Tensor, as_tensor, tensor
from ._axes import refuse_axis, share
from .activation import sigmoid
from .arithmetic import maximum
from .elementwise import sqrt
from .reduction import sum as total

Reduction = Literal["none", "sum", "mean"]
REDUCTIONS = ("none", "sum", "mean")


def reduce_losses(losses: Any, reduction: str) -> Any:
    if reduction == "none":
        return losses
    if reduction == "batchmean":
        return np.sum(losses) / _first(np.shape(losses))
    return np.sum(losses) if reduction == "sum" else np.mean(losses)


def _first(shape: tuple[int, ...]) -> int:
    return (shape[0] if shape else 1) or 1


def spread_loss(g: Any, shape: tuple[int, ...], reduction: str) -> Any:
    """The cotangent of each single loss, given that of the reduced one."""
    if reduction in ("mean", "batchmean"):
        return share(g, prod(shape) if reduction == "mean" else _first(shape))
    return g


def refuse_reduction(name: str, reduction: Any, allowed: tuple[str, ...] = REDUCTIONS) -> Exception | None:
    if reduction in allowed:
        return None
    return ArgumentError(lesson(name, f"reduction={reduction!r}", ", ".join(map(repr, allowed))))


def pointwise(
    name: str, each: Callable[..., Any], left: Any, right: Any, *, default: str = "mean",
    reductions: tuple[str, ...] = REDUCTIONS, options: tuple[dict[str, Any], ...] = ({},),
    domain: tuple[Domain, Domain] | None = None, check: Callable[..., str] | None = None, **traits: Any,
) -> Function:  # fmt: skip
    """Define a loss: ``each(x, target, **options)``, its two slopes, and the reduction of it.

    Parameters
    ----------
    each, left, right : callable
        The loss of one element, and its derivatives by `x` and by `target`.
    options : tuple of dict
        Settings of `each` to try it with.
    domain : pair of Domain, optional
        Where `x` and `target` live.
    check : callable, optional
        ``check(**options)`` says what is wrong with them.
    """

    def forward(x: Any, target: Any, /, *, reduction: str = default, **given: Any) -> Any:
        bad = refuse_reduction(name, reduction, reductions)
        wrong = check(**given) if check is not None and given else ""
        if bad is None and wrong:
            bad = ArgumentError(lesson(name, ", ".join(f"{k}={v!r}" for k, v in given.items()), wrong))
        if bad is not None:
            raise bad
        return reduce_losses(each(*_weak(x, target), **given), reduction)

    hints = {"reduction": Literal[reductions], **inspect.get_annotations(each, eval_str=True)}
    parameters = list(inspect.signature(each).parameters.values())
    keyword = inspect.Parameter("reduction", inspect.Parameter.KEYWORD_ONLY, default=default)
    forward.__signature__ = inspect.Signature([*parameters, keyword])  # type: ignore[attr-defined]
    forward.__annotations__ = hints

    def rule(slope: Callable[..., Any]) -> Any:
        def pull(g: Any, y: Any, x: Any, target: Any, *, reduction: str = default, **given: Any) -> Any:
            x, target = _weak(x, target)
            shape = np.broadcast_shapes(x.shape, target.shape)
            c = spread_loss(g, shape, reduction) * slope(x, target, **given)
            return c if np.shape(c) == shape else np.broadcast_to(c, shape)

        return pull

    def samples(rng: np.random.Generator) -> Iterator[Sample]:
        draw = [d.draw for d in domain] if domain else [lambda rng, shape: rng.normal(size=shape)] * 2
        for given in options:
            for reduction in reductions:
                yield (draw[0](rng, (2, 3)), draw[1](rng, (2, 3))), {"reduction": reduction, **given}
        yield (draw[0](rng, (2, 3)), draw[1](rng, (3,))), {}
        yield (draw[0](rng, (2, 1)), draw[1](rng, (1, 3))), {"reduction": "none"}
        yield (draw[0](rng, ()), draw[1](rng, ())), {}
        yield (np.zeros((0, 3)), np.zeros((0, 3))), {"reduction": "sum"}

    return define(name, forward, rule(left), rule(right), broadcasts=True, samples=samples, **traits)


def _weak(x: Any, target: Any) -> Any:
    """A Python number takes the float dtype of the other operand."""
    if type(x) in SCALARS:
        x = np.asarray(x, target.dtype if getattr(target, "dtype", np.dtype(int)).kind == "f" else None)
    if type(target) in SCALARS:
        target = np.asarray(target, x.dtype if x.dtype.kind == "f" else None)
    return x, target


def _opposite(slope: Callable[..., Any]) -> Callable[..., Any]:
    """A loss of the difference alone: what moves `target` moves it the other way."""
    return lambda x, target, **given: -slope(x, target, **given)


def _positive(**given: Any) -> str:
    return "" if all(v > 0 and np.isfinite(v) for v in given.values()) else "a positive number"


# --- of the difference -------------------------------------------------------------------

squared_error = pointwise(
    "squared_error", lambda a, target, /: 0.5 * np.square(target - a),
    lambda a, target: a - target, lambda a, target: target - a,
    default="sum", analytic=True, caption="½ (â − a)², the paper's Error",
)  # fmt: skip

mse_loss = pointwise(
    "mse_loss", lambda x, target, /: np.square(x - target),
    lambda x, target: 2 * (x - target), lambda x, target: 2 * (target - x), analytic=True, caption="(x − t)²",
)  # fmt: skip


def _sign(x: Any, target: Any) -> Any:
    return np.sign(x - target)


l1_loss = pointwise(
    "l1_loss", lambda x, target, /: np.abs(x - target), _sign, _opposite(_sign), branch=lambda x, t, **_: np.sign(x - t),
    kinks=[Kink("x = t", (1.0, 1.0), (0.0, 0.0))], caption="|x − t|",
)  # fmt: skip


def _huber(x: Any, target: Any, /, *, delta: float = 1.0) -> Any:
    far = np.abs(x - target)
    near = np.minimum(far, delta)  # ½ far² up to δ, δ (far − ½ δ) from there on, without far²
    return near * (far - 0.5 * near)


def _huber_slope(x: Any, target: Any, *, delta: float = 1.0) -> Any:
    d = x - target
    return np.where(np.abs(d) < delta, d, delta * np.sign(d))


huber_loss = pointwise(
    "huber_loss", _huber, _huber_slope, _opposite(_huber_slope), options=({}, {"delta": 0.5}), check=_positive,
    branch=lambda x, t, *, delta=1.0, **_: np.abs(x - t) < delta,
    kinks=[Kink("|x − t| = δ", (2.0, 1.0), (1.0, -1.0), why="smooth there; the second derivative is that of the line")],
    caption="½ d² up to |d| = δ, then δ (|d| − ½ δ), of d = x − t",
)  # fmt: skip


def _smooth_l1(x: Any, target: Any, /, *, beta: float = 1.0) -> Any:
    return _huber(x, target, delta=beta) / beta if beta else np.abs(x - target)


def _smooth_l1_slope(x: Any, target: Any, *, beta: float = 1.0) -> Any:
    d = x - target
    return np.where(np.abs(d) < beta, d / beta, np.sign(d)) if beta else np.sign(d)


smooth_l1_loss = pointwise(
    "smooth_l1_loss", _smooth_l1, _smooth_l1_slope, _opposite(_smooth_l1_slope),
    options=({}, {"beta": 0.5}, {"beta": 0}),
    check=lambda beta: "" if beta >= 0 and np.isfinite(beta) else "a number of at least 0",
    branch=lambda x, t, *, beta=1.0, **_: np.sign(x - t) * (np.abs(x - t) >= beta),
    kinks=[Kink("|x − t| = β", (2.0, 1.0), (1.0, -1.0), why="smooth there; the second derivative is that of the line"),
           Kink("x = t, β = 0", (1.0, 1.0), (0.0, 0.0), {"beta": 0})],
    caption="½ d² / β up to |d| = β, then |d| − ½ β, of d = x − t",
)  # fmt: skip


# --- of probabilities --------------------------------------------------------------------

_INSIDE = Domain("(0, 1)", lambda rng, shape: rng.uniform(0.1, 0.75, shape))
_REAL = Domain("ℝ", lambda rng, shape: rng.normal(size=shape))

# The slope σ(x) − t is absolutely accurate; where σ(x) rounds to a target of 1 it is 0, which is
# less than what is left by e⁻ˣ: to keep that would cost a second exponential.
_bce_logits = pointwise(
    "binary_cross_entropy_with_logits",
    lambda x, target, /: np.maximum(x, 0) - x * target + np.log1p(np.exp(-np.abs(x))),
    lambda x, target: sigmoid.op(x) - target, lambda x, target: -x, domain=(_REAL, _INSIDE),
    analytic=True, caption="ln(1 + eˣ) − t x",
)  # fmt: skip


def _times_log(a: Any, p: Any) -> Any:
    """``a ln p``, and 0 where `a` is 0, whatever `p`."""
    nothing = np.equal(a, 0)
    return np.where(nothing, 0, a * np.log(np.where(nothing, 1, p)))


def _over(a: Any, p: Any) -> Any:
    """``a / p``, and 0 where `a` is 0, whatever `p`."""
    nothing = np.equal(a, 0)
    return np.where(nothing, 0, a / np.where(nothing, 1, p))


_bce = pointwise(
    "binary_cross_entropy", lambda p, target, /: -_times_log(target, p) - _times_log(1 - target, 1 - p),
    lambda p, target: _over(1 - target, 1 - p) - _over(target, p), lambda p, target: np.log(1 - p) - np.log(p),
    domain=(_INSIDE, _INSIDE), singular=True, analytic=True,
    kinks=[Kink("p = t = 0, or 1", (np.array([0.0, 1.0]), np.array([0.0, 1.0])), (np.array([1.0, -1.0]), np.array([np.inf, -np.inf])),
                {"reduction": "none"}, why="0 ln 0 is 0: the slope is that of the other term")],
    caption="−t ln p − (1 − t) ln(1 − p)",
)  # fmt: skip


def _kl(x: Any, target: Any, /, *, log_target: bool = False) -> Any:
    if log_target:
        p = np.exp(target)
        return np.where(p == 0, 0, p * (np.where(p == 0, 0, target) - x))
    return _times_log(target, target) - np.where(np.equal(target, 0), 0, target * x)


kl_div = pointwise(
    "kl_div", _kl,
    lambda x, target, *, log_target=False: -np.exp(target) if log_target else -target,
    lambda x, target, *, log_target=False:
        np.exp(target) * (target - x + 1) if log_target else np.log(target) - x + 1,
    reductions=(*REDUCTIONS, "batchmean"), options=({}, {"log_target": True}), domain=(_REAL, _INSIDE), singular=True, analytic=True,
    caption="t (ln t − x), x the logarithm of a probability (PyTorch's order)",
)  # fmt: skip


def _short(x: Any, target: Any, margin: float) -> Any:
    return target * x < margin


hinge_loss = pointwise(
    "hinge_loss", lambda x, target, /, *, margin=1.0: np.maximum(margin - target * x, 0),
    lambda x, target, *, margin=1.0: np.where(_short(x, target, margin), -target, 0),
    lambda x, target, *, margin=1.0: np.where(_short(x, target, margin), -x, 0), options=({}, {"margin": 0.3}),
    branch=lambda x, t, *, margin=1.0, **_: _short(x, t, margin), kinks=[Kink("t x = margin", (1.0, 1.0), (0.0, 0.0))],
    caption="max(margin − t x, 0), t = ±1",
)  # fmt: skip


# --- public functions of several stages --------------------------------------------------


def binary_cross_entropy_with_logits(
    x: Any, target: Any, /, *, weight: Any = None, pos_weight: Any = None, reduction: Reduction = "mean"
) -> Any:
    """Cross entropy of the probability σ(x), from the score `x`, without overflow.

    Parameters
    ----------
    x, target : Tensor or array_like
        Scores, and probabilities.
    weight : Tensor or array_like, optional
        Times each loss.
    pos_weight : Tensor or array_like, optional
        Times the part of each loss that `target` has, not that of ``1 − target``.
    reduction : {"mean", "sum", "none"}
    """
    if weight is None and pos_weight is None:
        return _bce_logits(x, target, reduction=reduction)
    bad = refuse_reduction("binary_cross_entropy_with_logits", reduction)
    if bad is not None:
        raise bad
    if pos_weight is None:
        losses = _bce_logits(x, target, reduction="none")
    else:
        target = target if isinstance(target, (Tensor, int, float)) else tensor(target)
        losses = ((1 - target) * _bce_logits(x, 0.0, reduction="none")
                  + pos_weight * target * _bce_logits(x, 1.0, reduction="none"))  # fmt: skip
    return reduce_losses(losses if weight is None else losses * weight, reduction)


def binary_cross_entropy(p: Any, target: Any, /, *, weight: Any = None, reduction: Reduction = "mean") -> Any:
    """Cross entropy of the probability `p`; infinite where `p` excludes what `target` has.

    From scores, `binary_cross_entropy_with_logits` is accurate where this overflows.
    PyTorch cuts the logarithms at −100.

    Parameters
    ----------
    p, target : Tensor or array_like
        Probabilities.
    weight : Tensor or array_like, optional
        Times each loss.
    reduction : {"mean", "sum", "none"}
    """
    if weight is None:
        return _bce(p, target, reduction=reduction)
    bad = refuse_reduction("binary_cross_entropy", reduction)
    if bad is not None:
        raise bad
    return reduce_losses(_bce(p, target, reduction="none") * weight, reduction)


for _loss, _op in ((binary_cross_entropy_with_logits, _bce_logits.op), (binary_cross_entropy, _bce.op)):
    _loss.op = _op  # type: ignore[attr-defined]
    publish(_op.name, _loss)


def cosine_similarity(x1: Any, x2: Any, /, *, axis: int = -1, eps: float = 1e-8) -> Any:
    """The cosine of the angle between `x1` and `x2` along an axis.

    Norms below `eps` count as `eps`, so that a zero vector has similarity 0 and a finite
    gradient.
    """
    x1, x2 = (as_tensor(x) for x in (x1, x2))
    try:
        shape = np.broadcast_shapes(x1.shape, x2.shape)
    except ValueError:
        raise ShapeError(lesson("cosine_similarity", f"cannot broadcast {x1.shape} with {x2.shape}")) from None
    bad = refuse_axis("cosine_similarity")((np.broadcast_to(0, shape),), {"axis": axis})
    if bad is not None:
        raise bad
    axis = axis % len(shape) - len(shape)
    x1, x2 = (x if x.ndim >= -axis and x.shape[axis] == shape[axis] else np.broadcast_to(x, shape) for x in (x1, x2))
    dtype = np.result_type(x1.dtype, x2.dtype)
    least = max(eps * eps, float(np.finfo(dtype).tiny) if dtype.kind == "f" else 0.0)
    norms = [sqrt(maximum(total(x * x, axis=axis), least)) for x in (x1, x2)]
    return total(x1 * x2, axis=axis) / (norms[0] * norms[1])


publish("cosine_similarity", cosine_similarity)
