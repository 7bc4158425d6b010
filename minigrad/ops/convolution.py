"""Convolution: three bilinear stages, each the adjoint of the other two.

With ⟨g, x ⋆ w⟩ written as one trilinear form of the input x, the weight w and the cotangent
g, `convolution`, `convolution_input` and `convolution_weight` are its three partial
derivatives; so the rules of each are the other two, and every order of derivative is exact.

The forward pass lays the windows out as a matrix and multiplies.  The windows are made
anew in the reverse pass: they are kernel-size times as large as the input, too much to keep.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError, lesson
from ..op import Op, Sample, declare, publish
from ..tensor import apply, as_tensor
from ._windows import (
    GEOMETRIES,
    Padding,
    Pads,
    Size,
    Sizes,
    add_windows,
    around,
    inner,
    padded,
    pads,
    refuse_windows,
    sizes,
    slide,
)

AT_ONCE = 1 << 18
"""How many numbers of windows are laid out at a time: the samples go in parts through one
buffer, which stays in the cache and does not grow with their number."""


def _parts(samples: int, numbers: int) -> tuple[int, Iterator[slice]]:
    """The samples in parts, each sample with so many numbers of windows."""
    step = min(max(1, AT_ONCE // max(numbers, 1)), max(samples, 1))
    return step, (slice(k, min(k + step, samples)) for k in range(0, samples, step))


def _columns(
    x: Any, kernel: Sizes, stride: Sizes, padding: Pads, dilation: Sizes, groups: int, count: Sizes | None = None
) -> tuple[Any, Any]:
    """The positions of the windows (the first `count`), and the windows part by part: which
    samples, and theirs as (samples, groups, numbers in a window, positions)."""
    view = slide(padded(x, padding), kernel, stride, dilation)
    if count is not None:
        view = _first(view, count)
    positions = view.shape[view.ndim - len(kernel) :]
    rows, width = x.shape[1] // groups * prod(kernel), prod(positions)
    step, parts = _parts(x.shape[0], groups * rows * width)

    def laid() -> Iterator[tuple[slice, Any]]:
        buffer = np.empty((step, *view.shape[1:]), x.dtype)
        for part in parts:
            windows = buffer[: part.stop - part.start]
            np.copyto(windows, view[part])
            yield part, windows.reshape(-1, groups, rows, width)

    return positions, laid()


def _first(y: Any, count: Sizes) -> Any:
    """As many positions as there were: a transposed convolution may be longer than it must."""
    n = len(count)
    return y if y.shape[y.ndim - n :] == count else y[(..., *(slice(c) for c in count))]


def _convolution(x: Any, w: Any, /, *, stride: Sizes, padding: Pads, dilation: Sizes, groups: int) -> Any:
    _check(x.shape, w.shape, groups)
    positions, laid = _columns(x, w.shape[2:], stride, padding, dilation, groups)
    out, width = w.shape[0], prod(positions)
    w = w.reshape(groups, out // groups, w.shape[1] * prod(w.shape[2:]))
    y = np.empty((x.shape[0], groups, out // groups, width), np.result_type(x, w))
    for part, columns in laid:
        np.matmul(w, columns, out=y[part])
    return y.reshape(x.shape[0], out, *positions)


def _convolution_input(
    g: Any, w: Any, /, *, size: Sizes, stride: Sizes, padding: Pads, dilation: Sizes, groups: int
) -> Any:
    out, channels, *kernel = w.shape
    n, count, rows = g.shape[0], g.shape[2:], channels * prod(kernel)
    g = g.reshape(n, groups, out // groups, prod(count))
    w = w.reshape(groups, out // groups, rows).mT
    x = around((n, groups * channels), size, padding, np.result_type(g, w))
    step, parts = _parts(n, groups * rows * prod(count))
    buffer = np.empty((step, groups, rows, prod(count)), x.dtype)
    for part in parts:
        columns = np.matmul(w, g[part], out=buffer[: part.stop - part.start])
        windows = columns.reshape(-1, groups * channels, *kernel, *count)
        add_windows(x[part], windows, tuple(kernel), stride, dilation)
    return x[inner(size, padding)]


def _convolution_weight(
    x: Any, g: Any, /, *, kernel: Sizes, stride: Sizes, padding: Pads, dilation: Sizes, groups: int
) -> Any:
    _, laid = _columns(x, kernel, stride, padding, dilation, groups, g.shape[2:])
    n, out, width = x.shape[0], g.shape[1], prod(g.shape[2:])
    rows = x.shape[1] // groups * prod(kernel)
    g = g.reshape(n, groups, out // groups, width)
    w = np.zeros((groups, out // groups, rows), np.result_type(x, g))
    for part, columns in laid:
        if out // groups <= width:  # a product for each sample; these take no more memory than `columns`
            w += np.add.reduce(g[part] @ columns.mT, axis=0)
        else:  # one product over the samples, for which both are copied
            w += (g[part].transpose(1, 2, 0, 3).reshape(groups, out // groups, -1)
                  @ columns.transpose(1, 0, 3, 2).reshape(groups, -1, rows))  # fmt: skip
    return w.reshape(out, x.shape[1] // groups, *kernel)


def _check(x: Sizes, w: Sizes, groups: int, name: str = "convolution") -> None:
    if len(x) != len(w) or len(x) < 3:
        raise ShapeError(lesson(name, f"x of shape {x} and weight of shape {w}",
                                "x (samples, channels, *size), weight (out, channels / groups, *kernel)"))  # fmt: skip
    if x[1] != w[1] * groups:
        raise ShapeError(lesson(name, f"x of shape {x} has {x[1]} channels, weight of shape {w} with groups="
                                f"{groups} takes {w[1] * groups}", "weight (out, channels / groups, *kernel)"))  # fmt: skip
    if w[0] % groups:
        raise ShapeError(lesson(name, f"weight of shape {w} gives {w[0]} channels in {groups} groups",
                                "a multiple of groups"))  # fmt: skip


def _refuse(inputs: Any, params: dict[str, Any]) -> Exception | None:
    x, w = map(np.shape, inputs)
    return refuse_windows("convolution", x[2:], w[2:], params["padding"], params["dilation"])


def _samples(rng: np.random.Generator) -> Iterator[Sample]:
    for size, params in GEOMETRIES:
        rest = {k: v for k, v in params.items() if k != "kernel"}
        for n, channels, out, groups in ((2, 2, 3, 1), (1, 2, 4, 2)):
            x, w = (n, channels, *size), (out, channels // groups, *params["kernel"])
            yield (rng.normal(size=x), rng.normal(size=w)), {**rest, "groups": groups}
    yield (rng.normal(size=(2, 1, 2)), rng.normal(size=(5, 1, 2))), {
        "stride": (1,), "padding": ((0, 0),), "dilation": (1,), "groups": 1}  # fmt: skip
    yield (np.zeros((0, 1, 2)), rng.normal(size=(2, 1, 1))), {
        "stride": (1,), "padding": ((0, 0),), "dilation": (1,), "groups": 1}  # fmt: skip


def _input_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for (x, w), params in _samples(rng):
        g = rng.normal(size=_convolution(x, w, **params).shape)
        yield (g, w), {"size": x.shape[2:], **params}
    yield (rng.normal(size=(1, 2, 3)), rng.normal(size=(2, 1, 2))), {  # two longer than it must be
        "size": (8,), "stride": (1,), "padding": ((0, 0),), "dilation": (3,), "groups": 1}  # fmt: skip


def _weight_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for (x, w), params in _samples(rng):
        g = rng.normal(size=_convolution(x, w, **params).shape)
        yield (x, g), {"kernel": w.shape[2:], **params}


convolution: Op = declare(
    "convolution", _convolution,
    lambda g, y, x, w, **p: convolution_input(g, w, size=x.shape[2:], **p),
    lambda g, y, x, w, **p: convolution_weight(x, g, kernel=w.shape[2:], **p),
    linear="each", analytic=True, samples=_samples, complain=_refuse,
    caption="x ⋆ w: the product of w with every window of x",
)  # fmt: skip

convolution_input: Op = declare(
    "convolution_input", _convolution_input,
    lambda h, y, g, w, *, size, **p: _first(convolution(h, w, **p), g.shape[2:]),
    lambda h, y, g, w, *, size, **p: convolution_weight(h, g, kernel=w.shape[2:], **p),
    linear="each", analytic=True, samples=_input_samples,
    caption="the adjoint of x ↦ x ⋆ w: the transposed convolution",
)  # fmt: skip

convolution_weight: Op = declare(
    "convolution_weight", _convolution_weight,
    lambda u, y, x, g, *, kernel, **p: convolution_input(g, u, size=x.shape[2:], **p),
    lambda u, y, x, g, *, kernel, **p: _first(convolution(x, u, **p), g.shape[2:]),
    linear="each", analytic=True, samples=_weight_samples, caption="the adjoint of w ↦ x ⋆ w",
)  # fmt: skip


# --- the public functions ----------------------------------------------------------------


def _operands(name: str, n: int, x: Any, weight: Any) -> tuple[Any, Any, bool]:
    """Tensors, `x` with an axis of samples, and whether that was added."""
    x = as_tensor(x)
    weight = as_tensor(weight)
    if weight.ndim != n + 2 or x.ndim not in (n + 1, n + 2):
        size, kernel = ("L", "K") if n == 1 else ("D, H, W"[-3 * n + 2:], "kD, kH, kW"[-4 * n + 2:])
        raise ShapeError(lesson(name, f"x of shape {x.shape} and weight of shape {weight.shape}",
                                f"x (N, C, {size}) or (C, {size}), weight of {n + 2} axes that end in ({kernel})"))  # fmt: skip
    alone = x.ndim == n + 1
    return (x[None] if alone else x), weight, alone


def _finish(name: str, y: Any, bias: Any, n: int, alone: bool) -> Any:
    if bias is not None:
        bias = as_tensor(bias)
        if bias.shape != (y.shape[1],):
            raise ShapeError(lesson(name, f"bias of shape {bias.shape}", f"({y.shape[1]},), one for each channel"))
        y = y + bias.reshape(-1, *(1,) * n)
    return y[0] if alone else y


def _forward(n: int) -> Any:
    name = f"conv{n}d"

    def conv(x: Any, weight: Any, /, bias: Any = None, *, stride: Size = 1, padding: Padding = 0,
             dilation: Size = 1, groups: int = 1) -> Any:  # fmt: skip
        x, weight, alone = _operands(name, n, x, weight)
        steps, holes = sizes(name, "stride", stride, n), sizes(name, "dilation", dilation, n)
        (groups,) = sizes(name, "groups", groups, 1)
        zeros = pads(name, padding, weight.shape[2:], steps, holes)
        _check(x.shape, weight.shape, groups, name)
        bad = refuse_windows(name, x.shape[2:], weight.shape[2:], zeros, holes)
        if bad is not None:
            raise bad
        y = apply(convolution, (x, weight), {"stride": steps, "padding": zeros, "dilation": holes,
                                             "groups": groups})  # fmt: skip
        return _finish(name, y, bias, n, alone)

    conv.__doc__ = f"""The product of `weight` with every window of `x`, over {n} axis/axes: PyTorch's layer.

    Parameters
    ----------
    x : Tensor or array_like
        (N, C, *size), or (C, *size) for one sample.
    weight : Tensor or array_like
        (out, C / groups, *kernel).
    bias : Tensor or array_like, optional
        (out,).
    stride, dilation : int or tuple of int
    padding : int, tuple, 'same' or 'valid'
        Zeros put on both sides of each axis; pairs (before, after) too.  'same' keeps the
        size, with the odd zero at the end.
    groups : int
        Channels are cut into so many parts that do not see each other.

    Returns
    -------
    Tensor
        (N, out, *positions).
    """
    return conv


def _transposed(n: int) -> Any:
    name = f"conv_transpose{n}d"

    def conv_transpose(x: Any, weight: Any, /, bias: Any = None, *, stride: Size = 1, padding: Size = 0,
                       output_padding: Size = 0, groups: int = 1, dilation: Size = 1) -> Any:  # fmt: skip
        x, weight, alone = _operands(name, n, x, weight)
        steps, holes = sizes(name, "stride", stride, n), sizes(name, "dilation", dilation, n)
        border, extra = sizes(name, "padding", padding, n, 0), sizes(name, "output_padding", output_padding, n, 0)
        (groups,) = sizes(name, "groups", groups, 1)
        if x.shape[1] != weight.shape[0] or weight.shape[0] % groups:
            raise ShapeError(lesson(name, f"x of shape {x.shape}, weight of shape {weight.shape}, groups={groups}",
                                    "weight (channels of x, out / groups, *kernel)"))  # fmt: skip
        if any(e >= max(s, d) for e, s, d in zip(extra, steps, holes, strict=True)):
            raise ArgumentError(lesson(name, f"output_padding={output_padding} with stride={stride}, dilation="
                                       f"{dilation}", "output_padding smaller than one of them"))  # fmt: skip
        size = tuple((m - 1) * s - 2 * p + d * (k - 1) + e + 1 for m, s, p, d, k, e in zip(
            x.shape[2:], steps, border, holes, weight.shape[2:], extra, strict=True))  # fmt: skip
        if min(size) < 1:
            raise ShapeError(lesson(name, f"the result would have size {size}", "less padding"))
        y = apply(convolution_input, (x, weight), {
            "size": size, "stride": steps, "padding": tuple((p, p) for p in border), "dilation": holes,
            "groups": groups})  # fmt: skip
        return _finish(name, y, bias, n, alone)

    conv_transpose.__doc__ = f"""The adjoint of `conv{n}d` in its input: PyTorch's layer.

    Parameters
    ----------
    x : Tensor or array_like
        (N, C, *size), or (C, *size) for one sample.
    weight : Tensor or array_like
        (C, out / groups, *kernel).
    bias : Tensor or array_like, optional
        (out,).
    stride, padding, dilation, groups
        Those of the convolution that this transposes.
    output_padding : int or tuple of int
        How much longer the result is than it must be; smaller than `stride` or `dilation`.

    Returns
    -------
    Tensor
        (N, out, *size); size is (size − 1) · stride − 2 padding + dilation · (kernel − 1) +
        output_padding + 1.
    """
    return conv_transpose


def _published(name: str, function: Any) -> Any:
    function.__name__ = function.__qualname__ = name
    return publish(name, function)


conv1d, conv2d, conv3d = (_published(f"conv{n}d", _forward(n)) for n in (1, 2, 3))
conv_transpose1d, conv_transpose2d, conv_transpose3d = (
    _published(f"conv_transpose{n}d", _transposed(n)) for n in (1, 2, 3))  # fmt: skip
