"""Normalisation: softmax, and what gives the numbers of a group mean 0 and variance 1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..define import define
from ..errors import ArgumentError, DtypeError, ShapeError, lesson
from ..op import Op, Sample, declare, publish
from ..tensor import apply, as_tensor
from ._axes import Axis, axes_of, count, refuse_axis

# --- softmax -----------------------------------------------------------------------------

# A sum of exponentials holds a 1, that of the largest, so the max(Σ, 1) below changes nothing
# but a row that is −∞ throughout: nothing is allowed there, so softmax gives 0 to each, and
# its logarithm is −∞; no NaN, and no gradient through softmax.


def _softmax(x: Any, /, *, axis: int = -1) -> Any:
    e = np.exp(x - np.max(x, axis=axis, keepdims=True, initial=np.finfo(x.dtype).min))
    return e / np.maximum(np.sum(e, axis=axis, keepdims=True), 1)


def _log_softmax(x: Any, /, *, axis: int = -1) -> Any:
    shifted = x - np.max(x, axis=axis, keepdims=True, initial=np.finfo(x.dtype).min)
    return shifted - np.log(np.maximum(np.sum(np.exp(shifted), axis=axis, keepdims=True), 1))


def _axis_samples(rng: np.random.Generator) -> Any:
    for shape, axis in (((3,), -1), ((2, 3), 0), ((2, 3, 4), 1), ((0, 3), -1)):
        yield (rng.normal(size=shape),), {"axis": axis}


def _refuse_softmax(name: str) -> Any:
    def complain(inputs: Any, params: dict[str, Any]) -> Exception | None:
        x = np.asarray(inputs[0])
        if x.dtype.kind != "f":
            return DtypeError(lesson(name, f"dtype {x.dtype}", "a float dtype", "write x.astype(np.float64)"))
        bad = refuse_axis(name)(inputs, {"axis": params.get("axis", -1)})
        return bad if isinstance(bad, Exception) else None

    return complain


softmax = define("softmax", _softmax,
    lambda g, y, x, *, axis=-1: y * (g - np.sum(g * y, axis=axis, keepdims=True)),
    analytic=True, samples=_axis_samples, complain=_refuse_softmax("softmax"), caption="eˣ / Σ eˣ")  # fmt: skip

log_softmax = define("log_softmax", _log_softmax,
    lambda g, y, x, *, axis=-1: g - np.exp(y) * np.sum(g, axis=axis, keepdims=True),
    analytic=True, samples=_axis_samples, complain=_refuse_softmax("log_softmax"), caption="x − ln Σ eˣ")  # fmt: skip


# --- mean 0, variance 1 ------------------------------------------------------------------


def _mean(x: Any, axis: Axis) -> Any:
    return np.mean(x, axis=axis, keepdims=True)


def _spread(centred: Any, axis: Axis, eps: float) -> Any:
    """√(mean square + ε), the axes kept."""
    return np.sqrt(_mean(np.square(centred), axis) + eps)


def _standardize(x: Any, /, *, axis: Axis, eps: float) -> Any:
    centred = x - _mean(x, axis)
    return centred / _spread(centred, axis, eps)


def _standardize_rule(g: Any, y: Any, x: Any, *, axis: Axis, eps: float) -> Any:
    """What is left of g without its mean and its part along y: those two directions the
    normalisation takes away."""
    each = g - _mean(g, axis) - y * _mean(g * y, axis)
    return each / _spread(x - _mean(x, axis), axis, eps)


def _moments(x: Any, /, *, axis: Axis) -> Any:
    mean = _mean(x, axis)
    return mean, _mean(np.square(x - mean), axis)


def _moments_rule(g: Any, y: Any, x: Any, *, axis: Axis) -> Any:
    n = count(x.shape, axis) or 1
    return np.broadcast_to((g[0] + 2 * g[1] * (x - y[0])) / n, x.shape)


def _rms_normalize(x: Any, /, *, axis: Axis, eps: float) -> Any:
    return x / _spread(x, axis, eps)


def _rms_rule(g: Any, y: Any, x: Any, *, axis: Axis, eps: float) -> Any:
    return (g - y * _mean(g * y, axis)) / _spread(x, axis, eps)


def _group_samples(rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.normal(size=(2, 3, 4))
    for axis in (-1, (0, 2), (1,), (-2, -1), None):
        yield (x,), {"axis": axis, "eps": 1e-3}
    yield (rng.normal(size=(4,)),), {"axis": -1, "eps": 0.5}
    yield (np.zeros((0, 3)),), {"axis": -1, "eps": 1e-5}


standardize: Op = declare(
    "standardize", _standardize, _standardize_rule, analytic=True, samples=_group_samples,
    complain=refuse_axis("standardize"), caption="(x − mean x) / √(var x + ε)",
)  # fmt: skip

rms_normalize: Op = declare(
    "rms_normalize", _rms_normalize, _rms_rule, analytic=True, samples=_group_samples,
    complain=refuse_axis("rms_normalize"), caption="x / √(mean x² + ε)",
)  # fmt: skip

moments: Op = declare(
    "moments", _moments, _moments_rule, analytic=True, complain=refuse_axis("moments"),
    samples=lambda rng: ((inputs, {"axis": params["axis"]}) for inputs, params in _group_samples(rng)),
    caption="mean x, and the mean of (x − mean x)²",
)  # fmt: skip


# --- the layers --------------------------------------------------------------------------


def _tensor(x: Any, name: str) -> Any:
    x = as_tensor(x)
    if x.dtype.kind != "f":
        raise DtypeError(lesson(name, f"dtype {x.dtype}", "a float dtype", "write x.astype(np.float64)"))
    return x


def _affine(name: str, y: Any, weight: Any, bias: Any, axis: Axis) -> Any:
    """``y * weight + bias``, both with the sizes of `y` along `axis`."""
    axes = axes_of(axis, y.ndim)
    own = tuple(y.shape[a] for a in sorted(axes))
    laid = tuple(n if a in axes else 1 for a, n in enumerate(y.shape))
    for what, value in (("weight", weight), ("bias", bias)):
        if value is not None and np.shape(value) != own:
            raise ShapeError(lesson(name, f"{what} of shape {np.shape(value)}",
                                    f"{own}, the sizes of x along axis {axis}"))  # fmt: skip
    if weight is not None:
        y = y * _laid(weight, laid)
    return y if bias is None else y + _laid(bias, laid)


def _laid(value: Any, shape: tuple[int, ...]) -> Any:
    value = as_tensor(value)
    return value if value.shape == shape[len(shape) - value.ndim :] else value.reshape(shape)


def layer_norm(x: Any, /, weight: Any = None, bias: Any = None, *, axis: Axis = -1, eps: float = 1e-5) -> Any:
    """Mean 0 and variance 1 along `axis`, then scaled and shifted: Ba et al. 2016.

    Parameters
    ----------
    x : Tensor or array_like
    weight, bias : Tensor or array_like, optional
        Of the sizes of `x` along `axis`.
    axis : int, tuple of int or None
        PyTorch's ``normalized_shape`` with n sizes is ``axis=tuple(range(-n, 0))``.
    eps : float
        Added to the variance.
    """
    x = _tensor(x, "layer_norm")
    return _affine("layer_norm", apply(standardize, (x,), {"axis": axis, "eps": eps}), weight, bias, axis)


def rms_norm(x: Any, /, weight: Any = None, *, axis: Axis = -1, eps: float | None = None) -> Any:
    """`x` over its root mean square along `axis`, then scaled: Zhang & Sennrich 2019.

    Parameters
    ----------
    x : Tensor or array_like
    weight : Tensor or array_like, optional
        Of the sizes of `x` along `axis`.
    axis : int, tuple of int or None
    eps : float, optional
        Added to the mean square; by default what 1 is rounded to in the dtype of `x`.
    """
    x = _tensor(x, "rms_norm")
    eps = float(np.finfo(x.dtype).eps) if eps is None else eps
    return _affine("rms_norm", apply(rms_normalize, (x,), {"axis": axis, "eps": eps}), weight, None, axis)


def group_norm(x: Any, /, num_groups: int, weight: Any = None, bias: Any = None, *, eps: float = 1e-5) -> Any:
    """Mean 0 and variance 1 over each group of channels of each sample: Wu & He 2018.

    Parameters
    ----------
    x : Tensor or array_like
        (N, C, *size).
    num_groups : int
        A divisor of C; C itself gives instance normalisation.
    weight, bias : Tensor or array_like, optional
        (C,).
    eps : float
    """
    x = _tensor(x, "group_norm")
    if x.ndim < 2 or num_groups < 1 or x.shape[1] % num_groups:
        raise ShapeError(lesson("group_norm", f"{num_groups} groups of the channels of shape {x.shape}",
                                "x (N, C, *size), num_groups a divisor of C"))  # fmt: skip
    grouped = x.reshape(x.shape[0], num_groups, x.shape[1] // num_groups, *x.shape[2:])
    y = apply(standardize, (grouped,), {"axis": tuple(range(2, grouped.ndim)), "eps": eps})
    return _affine("group_norm", y.reshape(x.shape), weight, bias, 1)


class BatchNormResult(NamedTuple):
    """What `batch_norm` gives: the output, and the statistics that it used, one a channel.

    `variance` is the mean square, with divisor n; running averages want it times n / (n − 1).
    """

    output: Any
    mean: Any
    variance: Any


def batch_norm(
    x: Any, /, weight: Any = None, bias: Any = None, *, mean: Any = None, variance: Any = None,
    axis: int = 1, eps: float = 1e-5,
) -> BatchNormResult:  # fmt: skip
    """Mean 0 and variance 1 for each channel over the whole batch: Ioffe & Szegedy 2015.

    Without `mean` and `variance` (training) they are those of the batch, and the gradient
    knows; with them (evaluation) `x` is only shifted and scaled.

    Parameters
    ----------
    x : Tensor or array_like
        (N, C, *size).
    weight, bias : Tensor or array_like, optional
        (C,).
    mean, variance : Tensor or array_like, optional
        (C,), both or none.
    axis : int
        That of the channels.
    eps : float

    Returns
    -------
    BatchNormResult
        A named tuple of output, mean, variance.
    """
    x = _tensor(x, "batch_norm")
    bad = refuse_axis("batch_norm")((x,), {"axis": axis})
    if bad is not None:
        raise bad
    if (mean is None) != (variance is None):
        raise ArgumentError(lesson("batch_norm", "mean without variance, or variance without mean",
                                   "both (evaluation) or none (training)"))  # fmt: skip
    channel = (axis % x.ndim,)
    if mean is None:
        others = tuple(a for a in range(x.ndim) if a not in channel)
        if count(x.shape, others) < 2:
            raise ShapeError(lesson("batch_norm", f"x of shape {x.shape} has one number a channel",
                                    "at least two, or mean= and variance="))  # fmt: skip
        mean, variance = (m.reshape(-1) for m in apply(moments, (x,), {"axis": others}))
        y = apply(standardize, (x,), {"axis": others, "eps": eps})
        return BatchNormResult(_affine("batch_norm", y, weight, bias, channel), mean, variance)
    mean, variance = (as_tensor(m) for m in (mean, variance))
    scale = 1 / np.sqrt(variance + eps) if weight is None else weight / np.sqrt(variance + eps)
    shift = -mean * scale if bias is None else bias - mean * scale
    return BatchNormResult(_affine("batch_norm", x, scale, shift, channel), mean, variance)


for _layer in (layer_norm, rms_norm, group_norm, batch_norm):
    publish(_layer.__name__, _layer)
