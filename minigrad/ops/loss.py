"""From scores to a loss: softmax and the errors a network is trained on."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ..define import define
from ..errors import ArgumentError, DtypeError, IndexingError, ShapeError, lesson
from ._axes import kept, refuse_axis, share

Reduction = Literal["none", "sum", "mean"]


def _log_softmax(x: Any, /, *, axis: int = -1) -> Any:
    shifted = x - np.max(x, axis=axis, keepdims=True, initial=np.finfo(x.dtype).min)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


def _softmax(x: Any, /, *, axis: int = -1) -> Any:
    e = np.exp(x - np.max(x, axis=axis, keepdims=True, initial=np.finfo(x.dtype).min))
    return e / np.sum(e, axis=axis, keepdims=True)


def _axis_samples(rng: np.random.Generator) -> Any:
    for shape, axis in (((3,), -1), ((2, 3), 0), ((2, 3, 4), 1), ((0, 3), -1)):
        yield (rng.normal(size=shape),), {"axis": axis}


softmax = define("softmax", _softmax,
    lambda g, y, x, *, axis=-1: y * (g - np.sum(g * y, axis=axis, keepdims=True)),
    samples=_axis_samples, complain=refuse_axis("softmax"), caption="eˣ / Σ eˣ")  # fmt: skip

log_softmax = define("log_softmax", _log_softmax,
    lambda g, y, x, *, axis=-1: g - np.exp(y) * np.sum(g, axis=axis, keepdims=True),
    samples=_axis_samples, complain=refuse_axis("log_softmax"), caption="x − ln Σ eˣ")  # fmt: skip


def _reduce(losses: Any, reduction: Reduction) -> Any:
    if reduction == "none":
        return losses
    return np.sum(losses) if reduction == "sum" else np.mean(losses)


def _spread(g: Any, count: int, reduction: Reduction) -> Any:
    """The cotangent of each single loss, given that of the reduced one."""
    return share(g, count) if reduction == "mean" else g


def _refuse_reduction(name: str, params: dict[str, Any]) -> Exception | None:
    if params.get("reduction", "sum") in ("none", "sum", "mean"):
        return None
    return ArgumentError(lesson(name, f"reduction={params['reduction']!r}", "'none', 'sum' or 'mean'"))


# --- cross entropy -----------------------------------------------------------------------


def _pick_class(x: Any, targets: Any, axis: int) -> Any:
    return np.take_along_axis(x, np.expand_dims(targets, axis), axis).squeeze(axis)


def _cross_entropy(
    logits: Any, targets: Any, /, *, axis: int = -1, reduction: Reduction = "mean"
) -> Any:
    bad = _refuse_cross_entropy((logits, targets), {"axis": axis, "reduction": reduction})
    if bad is not None:
        raise bad
    return _reduce(-_pick_class(_log_softmax(logits, axis=axis), targets, axis), reduction)


def _refuse_cross_entropy(inputs: Any, params: dict[str, Any]) -> Exception | None:
    logits, targets = map(np.asarray, inputs)
    axis = params.get("axis", -1)
    bad = refuse_axis("cross_entropy")(inputs, params) or _refuse_reduction("cross_entropy", params)
    if isinstance(bad, Exception):
        return bad
    if targets.dtype.kind not in "iu":
        return DtypeError(lesson("cross_entropy", f"targets of dtype {targets.dtype}",
                                 "integer class numbers", "write targets.astype(np.int64)"))  # fmt: skip
    axis %= logits.ndim
    without = logits.shape[:axis] + logits.shape[axis + 1 :]
    if targets.shape != without:
        return ShapeError(lesson("cross_entropy", f"targets of shape {targets.shape}",
                                 f"one class number per sample, shape {without}, for logits "
                                 f"{logits.shape} with the classes along axis {axis}"))  # fmt: skip
    n = logits.shape[axis]
    if targets.size and (targets.min() < 0 or targets.max() >= n):
        return IndexingError(lesson("cross_entropy", f"class {targets.min() if targets.min() < 0 else targets.max()}",
                                    f"classes go from 0 to {n - 1}"))  # fmt: skip
    return None


one_hot = define("one_hot", lambda x, /, *, n, axis=-1, dtype=np.float64: np.moveaxis(
        np.eye(n, dtype=dtype)[x], -1, axis), caption="1 at position x, else 0",
    samples=lambda rng: iter([((np.array([2, 0]),), {"n": 3})]))  # fmt: skip


def _cross_entropy_rule(
    g: Any, y: Any, logits: Any, targets: Any, *, axis: int = -1, reduction: Reduction = "mean"
) -> Any:
    """softmax − one-hot: the log and the exponential cancel."""
    each = _spread(g, targets.size, reduction)
    if reduction == "none":
        each = each.reshape(kept(logits.shape, axis))
    hot = one_hot.op(targets, n=logits.shape[axis], axis=axis, dtype=logits.dtype)
    return each * (softmax.op(logits, axis=axis) - hot)


def _cross_entropy_samples(rng: np.random.Generator) -> Any:
    for reduction in ("mean", "sum", "none"):
        yield (rng.normal(size=(4, 3)), np.array([0, 2, 1, 2])), {"reduction": reduction}
    yield (rng.normal(size=(3, 4, 2)), np.array([[0, 1], [2, 2], [3, 0]])), {"axis": 1}
    yield (rng.normal(size=(3,)), np.array(1)), {}


cross_entropy = define("cross_entropy", _cross_entropy, _cross_entropy_rule, None,
    samples=_cross_entropy_samples, complain=_refuse_cross_entropy,
    caption="−ln softmax(x)[class]")  # fmt: skip


# --- squared error -----------------------------------------------------------------------


def _squared_error(a: Any, target: Any, /, *, reduction: Reduction = "sum") -> Any:
    bad = _refuse_reduction("squared_error", {"reduction": reduction})
    if bad is not None:
        raise bad
    return _reduce(0.5 * np.square(target - a), reduction)


def _squared_error_rule(sign: float) -> Any:
    def rule(g: Any, y: Any, a: Any, target: Any, *, reduction: Reduction = "sum") -> Any:
        difference = target - a
        return sign * _spread(g, difference.size, reduction) * difference

    return rule


squared_error = define("squared_error", _squared_error,
    _squared_error_rule(-1.0), _squared_error_rule(1.0), broadcasts=True, analytic=True,
    samples=lambda rng: iter([
        ((rng.normal(size=(2, 3)), rng.normal(size=shape)), {"reduction": r})
        for r in ("sum", "mean", "none") for shape in ((2, 3), (3,))]),
    caption="½ (â − a)², the paper's Error")  # fmt: skip
