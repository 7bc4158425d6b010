"""Losses of a choice among classes, from scores or from their logarithms."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..define import define
from ..errors import ArgumentError, DtypeError, IndexingError, ShapeError, lesson
from ..op import Op, declare, publish
from ..tensor import apply, as_tensor
from ._axes import kept, refuse_axis
from .comparison import not_equal
from .indexing import take, where
from .loss import Reduction, reduce_losses, refuse_reduction, spread_loss
from .normalization import _log_softmax, log_softmax, softmax


def _refuse_classes(name: str, targets: Any, n: int) -> Exception | None:
    if targets.dtype.kind not in "iu":
        return DtypeError(lesson(name, f"targets of dtype {targets.dtype}", "integer class numbers",
                                 "write targets.astype(np.int64)"))  # fmt: skip
    if targets.size and (targets.min() < 0 or targets.max() >= n):
        wrong = targets.min() if targets.min() < 0 else targets.max()
        return IndexingError(lesson(name, f"class {wrong}", f"classes go from 0 to {n - 1}"))
    return None


def _refuse(name: str) -> Any:
    """A `complain` for scores or logarithms and one class number per sample."""

    def complain(inputs: Any, params: dict[str, Any]) -> Exception | None:
        scores, targets = map(np.asarray, inputs)
        axis = params.get("axis", -1)
        if axis is None or isinstance(axis, tuple):
            return ArgumentError(lesson(name, f"axis={axis!r}", "the one axis of the classes, an integer"))
        if not scores.ndim or scores.dtype.kind not in "fc":
            return ShapeError(lesson(name, f"scores of shape {scores.shape}, dtype {scores.dtype}",
                                     "floats, with an axis of classes"))  # fmt: skip
        bad = (refuse_axis(name)(inputs, params)
               or refuse_reduction(name, params.get("reduction", "mean")))  # fmt: skip
        if isinstance(bad, Exception):
            return bad
        axis %= scores.ndim
        without = scores.shape[:axis] + scores.shape[axis + 1 :]
        if targets.dtype.kind in "iu" and targets.shape != without:
            return ShapeError(lesson(name, f"targets of shape {targets.shape}",
                                     f"one class number per sample, shape {without}, for logits "
                                     f"{scores.shape} with the classes along axis {axis}"))  # fmt: skip
        return _refuse_classes(name, targets, scores.shape[axis])

    return complain


# --- one-hot -----------------------------------------------------------------------------


def _one_hot(x: Any, /, *, n: int, axis: int = -1, dtype: Any = np.float64) -> Any:
    bad = _refuse_classes("one_hot", x, n)
    if bad is not None:
        raise bad
    out = np.zeros((*x.shape, n), dtype)
    np.put_along_axis(out, x[..., None], 1, -1)
    return np.moveaxis(out, -1, axis)


one_hot = define("one_hot", _one_hot, caption="1 at position x, else 0",
    samples=lambda rng: iter([((np.array([2, 0]),), {"n": 3}), ((np.array(1),), {"n": 2})]))  # fmt: skip


# --- the class that it was ---------------------------------------------------------------


def _pick_class(x: Any, targets: Any, axis: int) -> Any:
    return np.take_along_axis(x, np.expand_dims(targets, axis), axis).squeeze(axis)


def _checked(name: str, inputs: Any, params: dict[str, Any]) -> None:
    bad = _refuse(name)(inputs, params)
    if bad is not None:
        raise bad


def _nll_loss(x: Any, targets: Any, /, *, axis: int = -1, reduction: Reduction = "mean") -> Any:
    _checked("nll_loss", (x, targets), {"axis": axis, "reduction": reduction})
    return reduce_losses(-_pick_class(x, targets, axis), reduction)


def _cross_entropy(logits: Any, targets: Any, /, *, axis: int = -1, reduction: Reduction = "mean") -> Any:
    _checked("cross_entropy", (logits, targets), {"axis": axis, "reduction": reduction})
    return reduce_losses(-_pick_class(_log_softmax(logits, axis=axis), targets, axis), reduction)


def _each(g: Any, scores: Any, targets: Any, axis: int, reduction: str) -> Any:
    """The cotangent of each sample's loss, with an axis for the classes."""
    each = spread_loss(g, targets.shape, reduction)
    return each.reshape(kept(scores.shape, axis)) if reduction == "none" else each


def _hot(scores: Any, targets: Any, axis: int) -> Any:
    return one_hot.op(targets, n=scores.shape[axis], axis=axis, dtype=scores.dtype)


def _nll_rule(g: Any, y: Any, x: Any, targets: Any, *, axis: int = -1, reduction: Reduction = "mean") -> Any:
    return -_each(g, x, targets, axis, reduction) * _hot(x, targets, axis)


def _cross_entropy_rule(
    g: Any, y: Any, logits: Any, targets: Any, *, axis: int = -1, reduction: Reduction = "mean"
) -> Any:
    """softmax − one-hot: the log and the exponential cancel."""
    return (_each(g, logits, targets, axis, reduction)
            * (softmax.op(logits, axis=axis) - _hot(logits, targets, axis)))  # fmt: skip


def _class_samples(rng: np.random.Generator) -> Any:
    for reduction in ("mean", "sum", "none"):
        yield (rng.normal(size=(4, 3)), np.array([0, 2, 1, 2])), {"reduction": reduction}
    yield (rng.normal(size=(3, 4, 2)), np.array([[0, 1], [2, 2], [3, 0]])), {"axis": 1}
    yield (rng.normal(size=(3,)), np.array(1)), {}


_ce: Op = declare("cross_entropy", _cross_entropy, _cross_entropy_rule, None, samples=_class_samples, analytic=True,
                  complain=_refuse("cross_entropy"), caption="−ln softmax(x)[class]")  # fmt: skip
_nll: Op = declare("nll_loss", _nll_loss, _nll_rule, None, samples=_class_samples, linear="each", analytic=True,
                   complain=_refuse("nll_loss"), caption="−x[class], x the logarithm of a probability")  # fmt: skip


# --- a distribution over classes ---------------------------------------------------------


# The axis of the classes is kept, so that a cotangent broadcasts to both inputs.


def _soft(logits: Any, q: Any, /, *, axis: int = -1) -> Any:
    nothing = q == 0  # counts nothing, be its logarithm −∞
    x = np.where(nothing, 0, _log_softmax(logits, axis=axis))
    return -np.sum(x * q, axis=axis, keepdims=True)


soft_cross_entropy: Op = declare(
    "soft_cross_entropy", _soft,
    lambda g, y, logits, q, *, axis=-1:
        g * (softmax.op(logits, axis=axis) * np.sum(q, axis=axis, keepdims=True) - q),
    lambda g, y, logits, q, *, axis=-1: -g * log_softmax.op(logits, axis=axis),
    singular=True, analytic=True, caption="−Σ q ln softmax(x), the axis kept",
    samples=lambda rng: iter([
        ((rng.normal(size=(4, 3)), rng.uniform(0.1, 1, (4, 3))), {}),
        ((rng.normal(size=(2, 3, 2)), rng.uniform(0.1, 1, (2, 3, 2))), {"axis": 1})]),
)  # fmt: skip


def _rows(logits: Any, q: Any, axis: int) -> Any:
    axis %= logits.ndim
    rows = apply(soft_cross_entropy, (logits, q), {"axis": axis})
    return rows.reshape(logits.shape[:axis] + logits.shape[axis + 1 :])


# --- the public functions ----------------------------------------------------------------


class _Classes:
    """The class numbers, checked, and what each sample counts: None where that is 1."""

    def __init__(self, name: str, scores: Any, targets: Any, axis: Any, reduction: Any, weight: Any,
                 ignore_index: int | None) -> None:  # fmt: skip
        self.valid = None if ignore_index is None else not_equal(targets, ignore_index)
        self.targets = targets if self.valid is None else where(self.valid, targets, 0)
        _checked(name, (scores._array(), self.targets._array()), {"axis": axis, "reduction": reduction})
        self.weight = None if weight is None else as_tensor(weight)
        if self.weight is not None and self.weight.shape != (scores.shape[axis],):
            raise ShapeError(lesson(name, f"weight of shape {self.weight.shape}",
                                    f"({scores.shape[axis]},), one for each class"))  # fmt: skip
        self.counts = None if self.weight is None else take(self.weight, self.targets)
        if self.valid is not None:
            self.counts = self.valid.astype(scores.dtype) if self.counts is None else where(self.valid, self.counts, 0.0)

    def only_valid(self, losses: Any) -> Any:
        return losses if self.valid is None else where(self.valid, losses, 0.0)

    def weighed(self, losses: Any) -> Any:
        losses = self.only_valid(losses)
        return losses if self.weight is None else losses * self.counts

    def reduced(self, losses: Any, reduction: str) -> Any:
        """A mean is over what the samples count; where none counts it is 0 / 0, as in PyTorch."""
        if reduction == "mean" and self.counts is not None:
            return losses.sum() / self.counts.sum()
        return reduce_losses(losses, reduction)


def cross_entropy(
    logits: Any, targets: Any, /, *, axis: int = -1, reduction: Reduction = "mean", weight: Any = None,
    ignore_index: int | None = None, label_smoothing: float = 0.0,
) -> Any:  # fmt: skip
    """How unlikely `targets` are under softmax(logits): −ln softmax(logits)[class].

    Parameters
    ----------
    logits : Tensor or array_like
        Scores, the classes along `axis`.
    targets : Tensor or array_like
        Integer class numbers, one per sample; or floats of the shape of `logits`, the
        probability of each class.
    axis : int
        That of the classes.  PyTorch's is 1.
    reduction : {"mean", "sum", "none"}
        The mean is over the samples, by the weight of their classes.
    weight : Tensor or array_like, optional
        One for each class.
    ignore_index : int, optional
        Samples of this class number count nothing.  PyTorch's default is −100.
    label_smoothing : float
        This part of each target is spread evenly over the classes.
    """
    logits = as_tensor(logits)
    targets = as_tensor(targets)
    smooth = label_smoothing
    if not 0 <= smooth <= 1:
        raise ArgumentError(lesson("cross_entropy", f"label_smoothing={smooth!r}", "a number from 0 to 1"))
    soft = targets.dtype.kind == "f" and targets.shape == logits.shape and logits.ndim > 0
    if weight is None and ignore_index is None and not smooth and not soft:
        return apply(_ce, (logits, targets), {"axis": axis, "reduction": reduction})
    if soft:
        return _soft_targets(logits, targets, axis, reduction, weight, ignore_index, smooth)
    classes = _Classes("cross_entropy", logits, targets, axis, reduction, weight, ignore_index)
    losses = classes.weighed(apply(_ce, (logits, classes.targets), {"axis": axis, "reduction": "none"}))
    if smooth:
        even: Any = np.ones(1, logits.dtype) if classes.weight is None else classes.weight
        even = _along(even, logits, axis)
        spread = _rows(logits, even, axis)
        losses = (1 - smooth) * losses + (smooth / logits.shape[axis]) * classes.only_valid(spread)
    return classes.reduced(losses, reduction)


def _along(value: Any, like: Any, axis: int) -> Any:
    """One number for each class, laid out like the scores."""
    shape = tuple(-1 if a == axis % like.ndim else 1 for a in range(like.ndim))
    return np.broadcast_to(value.reshape(shape), like.shape)


def _soft_targets(
    logits: Any, q: Any, axis: Any, reduction: Any, weight: Any, ignore_index: Any, smooth: float
) -> Any:
    bad: Any = refuse_reduction("cross_entropy", reduction)
    if bad is None and (axis is None or isinstance(axis, tuple)):
        bad = ArgumentError(lesson("cross_entropy", f"axis={axis!r}", "the one axis of the classes, an integer"))
    bad = bad or refuse_axis("cross_entropy")((logits,), {"axis": axis})
    if bad is None and ignore_index is not None:
        bad = ArgumentError(lesson("cross_entropy", "ignore_index with probabilities as targets",
                                   "integer class numbers", "give such samples the weight 0"))  # fmt: skip
    if bad is not None:
        raise bad
    if smooth:
        q = (1 - smooth) * q + smooth / logits.shape[axis]
    if weight is not None:
        weight = as_tensor(weight)
        if weight.shape != (logits.shape[axis],):
            raise ShapeError(lesson("cross_entropy", f"weight of shape {weight.shape}",
                                    f"({logits.shape[axis]},), one for each class"))  # fmt: skip
        q = q * _along(weight, logits, axis)
    return reduce_losses(_rows(logits, q, axis), reduction)


def nll_loss(
    x: Any, targets: Any, /, *, axis: int = -1, reduction: Reduction = "mean", weight: Any = None,
    ignore_index: int | None = None,
) -> Any:  # fmt: skip
    """Minus the logarithm at each sample's class: `cross_entropy` after `log_softmax`.

    Parameters
    ----------
    x : Tensor or array_like
        Logarithms of probabilities, the classes along `axis`.
    targets, axis, reduction, weight, ignore_index
        As in `cross_entropy`, class numbers only.
    """
    x = as_tensor(x)
    targets = as_tensor(targets)
    if weight is None and ignore_index is None:
        return apply(_nll, (x, targets), {"axis": axis, "reduction": reduction})
    classes = _Classes("nll_loss", x, targets, axis, reduction, weight, ignore_index)
    losses = apply(_nll, (x, classes.targets), {"axis": axis, "reduction": "none"})
    return classes.reduced(classes.weighed(losses), reduction)


cross_entropy.op = _ce  # type: ignore[attr-defined]
nll_loss.op = _nll  # type: ignore[attr-defined]
publish("cross_entropy", cross_entropy)
publish("nll_loss", nll_loss)
