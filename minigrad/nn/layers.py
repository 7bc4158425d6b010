"""Layers: PyTorch's constructor words and initialisations, our ops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod, sqrt
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError, lesson
from ..op import PUBLIC
from ..tensor import Tensor, as_tensor
from .module import Buffer, Module, Parameter

Size = int | tuple[int, ...]


def _positive(name: str, **given: Any) -> None:
    """Refuse sizes that are no positive integers."""
    for key, value in given.items():
        for n in value if isinstance(value, tuple) else (value,):
            if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
                shown = ", ".join(f"{k}={v!r}" for k, v in given.items())
                raise ArgumentError(lesson(name, shown, f"positive sizes; {key} is not"))


def _uniform(rng: np.random.Generator, fan_in: int, shape: tuple[int, ...], dtype: Any) -> Tensor:
    k = 1 / sqrt(fan_in)
    return Parameter(rng.uniform(-k, k, shape), dtype)


class Linear(Module):
    """``x @ Wᵀ + b`` for `x` of shape (..., n_in): PyTorch's layer.

    Parameters
    ----------
    n_in, n_out : int
    bias : bool
    dtype : dtype
    rng : numpy.random.Generator, optional
        Draws ``weight`` (n_out, n_in) and ``bias`` (n_out,) from U(±1/√n_in).
    """

    def __init__(self, n_in: int, n_out: int, *, bias: bool = True, dtype: Any = np.float32,
                 rng: np.random.Generator | None = None) -> None:  # fmt: skip
        _positive("Linear", n_in=n_in, n_out=n_out)
        rng = np.random.default_rng(rng)
        self.weight: Tensor = _uniform(rng, n_in, (n_out, n_in), dtype)
        self.bias: Tensor | None = _uniform(rng, n_in, (n_out,), dtype) if bias else None

    def forward(self, x: Any) -> Any:
        y = x @ self.weight.mT
        return y if self.bias is None else y + self.bias


class Embedding(Module):
    """Row `i` of a table for each integer `i`: a look-up whose adjoint adds rows up.

    Parameters
    ----------
    count, size : int
        ``weight`` has shape (count, size), drawn from N(0, 1).
    dtype : dtype
    rng : numpy.random.Generator, optional
    """

    def __init__(self, count: int, size: int, *, dtype: Any = np.float32,
                 rng: np.random.Generator | None = None) -> None:  # fmt: skip
        _positive("Embedding", count=count, size=size)
        rng = np.random.default_rng(rng)
        self.weight: Tensor = Parameter(rng.normal(size=(count, size)), dtype)

    def forward(self, indices: Any) -> Any:
        return PUBLIC["take"](self.weight, indices, axis=0)


class Sequential(Module):
    """One part after the other: modules, or any function of one array (``mg.relu``).

    Its parameters are named by place: ``0.weight``.
    """

    def __init__(self, *parts: Callable[..., Any]) -> None:
        for k, part in enumerate(parts):
            if not callable(part):
                raise ArgumentError(lesson("Sequential", f"part {k} is a {type(part).__name__}",
                                           "modules and functions", "write Sequential(*parts) for a list"))  # fmt: skip
            setattr(self, str(k), part)

    def __iter__(self) -> Iterator[Callable[..., Any]]:
        return (part for name, part in vars(self).items() if name.isdigit())

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __getitem__(self, k: int) -> Callable[..., Any]:
        return list(iter(self))[k]

    def forward(self, x: Any) -> Any:
        for part in self:
            x = part(x)
        return x


class Dropout(Module):
    """In training, zero each element with probability `p` and scale the others by 1 / (1 − p).

    Parameters
    ----------
    p : float
    rng : numpy.random.Generator, optional
        The masks' own; give a seeded one for masks that come again.
    """

    def __init__(self, p: float = 0.5, *, rng: np.random.Generator | None = None) -> None:
        if not 0 <= p < 1:
            raise ArgumentError(lesson("Dropout", f"p={p!r}", "0 <= p < 1"))
        self.p, self.rng = p, np.random.default_rng(rng)

    def forward(self, x: Any) -> Any:
        if not self.training or not self.p:
            return as_tensor(x)
        return PUBLIC["dropout"](x, self.p, rng=self.rng)


# --- convolution and pooling -------------------------------------------------------------


class _Conv(Module):
    axes = 0

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1, padding: Any = 0,
                 dilation: Size = 1, groups: int = 1, bias: bool = True, *, dtype: Any = np.float32,
                 rng: np.random.Generator | None = None) -> None:  # fmt: skip
        name = type(self).__name__
        kernel = (kernel_size,) * self.axes if isinstance(kernel_size, int) else tuple(kernel_size)
        _positive(name, in_channels=in_channels, out_channels=out_channels, kernel_size=kernel, groups=groups)
        if in_channels % groups or out_channels % groups or len(kernel) != self.axes:
            raise ArgumentError(lesson(name, f"in_channels={in_channels}, out_channels={out_channels}, groups="
                                       f"{groups}, kernel_size={kernel_size}", "channels that are multiples of "
                                       f"groups, and {self.axes} kernel size(s)"))  # fmt: skip
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        rng = np.random.default_rng(rng)
        fan_in = in_channels // groups * prod(kernel)
        self.weight: Tensor = _uniform(rng, fan_in, (out_channels, in_channels // groups, *kernel), dtype)
        self.bias: Tensor | None = _uniform(rng, fan_in, (out_channels,), dtype) if bias else None

    def forward(self, x: Any) -> Any:
        return PUBLIC[f"conv{self.axes}d"](
            x, self.weight, self.bias, stride=self.stride, padding=self.padding, dilation=self.dilation,
            groups=self.groups)  # fmt: skip


class Conv1d(_Conv):
    """`mg.conv1d` with a learned kernel: x (N, C, L).

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding, dilation, groups
        As in `mg.conv1d`.
    bias : bool
    dtype : dtype
    rng : numpy.random.Generator, optional
        Draws ``weight`` and ``bias`` from U(±1/√(in_channels / groups · kernel size)).
    """

    axes = 1


class Conv2d(_Conv):
    """`mg.conv2d` with a learned kernel: x (N, C, H, W); the parameters are those of `Conv1d`."""

    axes = 2


class _Pool(Module):
    function = ""

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, **options: Any) -> None:
        self.kernel_size, self.options = kernel_size, {"stride": stride, "padding": padding, **options}

    def forward(self, x: Any) -> Any:
        return PUBLIC[self.function](x, self.kernel_size, **self.options)


class MaxPool1d(_Pool):
    """`mg.max_pool1d` as a module."""

    function = "max_pool1d"


class MaxPool2d(_Pool):
    """`mg.max_pool2d` as a module."""

    function = "max_pool2d"


class AvgPool1d(_Pool):
    """`mg.avg_pool1d` as a module."""

    function = "avg_pool1d"


class AvgPool2d(_Pool):
    """`mg.avg_pool2d` as a module."""

    function = "avg_pool2d"


# --- normalisation -----------------------------------------------------------------------


class LayerNorm(Module):
    """`mg.layer_norm` over the last axes, of sizes `normalized_shape`.

    Parameters
    ----------
    normalized_shape : int or tuple of int
    eps : float
    elementwise_affine, bias : bool
        Learn ``weight`` (ones at first) and ``bias`` (zeros).
    dtype : dtype
    """

    def __init__(self, normalized_shape: Size, eps: float = 1e-5, elementwise_affine: bool = True,
                 bias: bool = True, *, dtype: Any = np.float32) -> None:  # fmt: skip
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        _positive("LayerNorm", normalized_shape=self.normalized_shape)
        self.eps = eps
        self.weight: Tensor | None = Parameter(np.ones(self.normalized_shape), dtype) if elementwise_affine else None
        self.bias: Tensor | None = (Parameter(np.zeros(self.normalized_shape), dtype)
                                    if elementwise_affine and bias else None)  # fmt: skip

    def forward(self, x: Any) -> Any:
        return PUBLIC["layer_norm"](x, self.weight, self.bias, axis=_last("LayerNorm", x, self.normalized_shape),
                                    eps=self.eps)  # fmt: skip


class RMSNorm(Module):
    """`mg.rms_norm` over the last axes, of sizes `normalized_shape`; ``weight`` is ones at first."""

    def __init__(self, normalized_shape: Size, eps: float | None = None, elementwise_affine: bool = True, *,
                 dtype: Any = np.float32) -> None:  # fmt: skip
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        _positive("RMSNorm", normalized_shape=self.normalized_shape)
        self.eps = eps
        self.weight: Tensor | None = Parameter(np.ones(self.normalized_shape), dtype) if elementwise_affine else None

    def forward(self, x: Any) -> Any:
        return PUBLIC["rms_norm"](x, self.weight, axis=_last("RMSNorm", x, self.normalized_shape), eps=self.eps)


def _last(name: str, x: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    if np.shape(x)[-len(shape) :] != shape:
        raise ShapeError(lesson(name, f"x of shape {np.shape(x)}", f"(..., {', '.join(map(str, shape))})"))
    return tuple(range(-len(shape), 0))


class GroupNorm(Module):
    """`mg.group_norm` with a learned scale and shift for each of `num_channels`."""

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, *,
                 dtype: Any = np.float32) -> None:  # fmt: skip
        _positive("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise ArgumentError(lesson("GroupNorm", f"{num_channels} channels in {num_groups} groups", "a divisor"))
        self.num_groups, self.eps = num_groups, eps
        self.weight: Tensor | None = Parameter(np.ones(num_channels), dtype) if affine else None
        self.bias: Tensor | None = Parameter(np.zeros(num_channels), dtype) if affine else None

    def forward(self, x: Any) -> Any:
        return PUBLIC["group_norm"](x, self.num_groups, self.weight, self.bias, eps=self.eps)


class _BatchNorm(Module):
    ndims: tuple[int, ...] = ()

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True, *,
                 dtype: Any = np.float32) -> None:  # fmt: skip
        name = type(self).__name__
        _positive(name, num_features=num_features)
        if not 0 <= momentum <= 1:
            raise ArgumentError(lesson(name, f"momentum={momentum!r}", "a number from 0 to 1"))
        self.eps, self.momentum = eps, momentum
        self.weight: Tensor | None = Parameter(np.ones(num_features), dtype) if affine else None
        self.bias: Tensor | None = Parameter(np.zeros(num_features), dtype) if affine else None
        self.running_mean = Buffer(np.zeros(num_features), dtype)
        self.running_var = Buffer(np.ones(num_features), dtype)

    def forward(self, x: Any) -> Any:
        shape, channels = np.shape(x), self.running_mean.size
        if len(shape) not in self.ndims or shape[1] != channels:
            raise ShapeError(lesson(type(self).__name__, f"x of shape {shape}", " or ".join(
                f"(N, {channels}{', size' * (n - 2)})" for n in self.ndims)))  # fmt: skip
        norm = PUBLIC["batch_norm"]
        if not self.training:
            return norm(x, self.weight, self.bias, mean=self.running_mean, variance=self.running_var,
                        eps=self.eps).output  # fmt: skip
        y, mean, variance = norm(x, self.weight, self.bias, eps=self.eps)
        n = prod(shape) // channels  # the running variance is that of the population
        for running, new in ((self.running_mean, mean.detach()), (self.running_var, variance.detach() * (n / (n - 1)))):
            running.data = ((1 - self.momentum) * running + self.momentum * new).astype(running.dtype)
        return y


class BatchNorm1d(_BatchNorm):
    """`mg.batch_norm` of x (N, C) or (N, C, L): statistics of the batch in training, running
    averages of them, ``running_mean`` and ``running_var``, in evaluation.

    Parameters
    ----------
    num_features : int
        C.
    eps : float
    momentum : float
        The part of a running average that each batch replaces.
    affine : bool
        Learn ``weight`` (ones at first) and ``bias`` (zeros).
    dtype : dtype
    """

    ndims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """`mg.batch_norm` of x (N, C, H, W); the parameters are those of `BatchNorm1d`."""

    ndims = (4,)
