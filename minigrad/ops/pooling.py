"""Pooling: the largest, or the mean, of every window."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError, lesson
from ..op import Kink, Op, Sample, declare, publish
from ..tensor import apply, as_tensor
from ._windows import (
    GEOMETRIES,
    Pads,
    Size,
    Sizes,
    at,
    fold,
    padded,
    pads,
    reach,
    refuse_windows,
    sizes,
    slide,
    windows,
)


def _positions(y: Any, kernel: Sizes) -> Any:
    """`y`, one number a window, so that it broadcasts to the windows."""
    n = len(kernel)
    lead = y.ndim - n
    return y.reshape(*y.shape[:lead], *(1,) * n, *y.shape[lead:])


_PAIRS = {"kernel": (2,), "stride": (1,), "padding": ((0, 0),), "dilation": (1,)}


# --- the largest -------------------------------------------------------------------------


def _lowest(dtype: Any) -> Any:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min if dtype.kind in "iu" else 0


def _max_pool(x: Any, /, *, kernel: Sizes, stride: Sizes, padding: Pads, dilation: Sizes) -> Any:
    view = slide(padded(x, padding, _lowest(x.dtype)), kernel, stride, dilation)
    n = len(kernel)
    largest = view[at((0,) * n, n)].copy()
    for place in np.ndindex(kernel):
        if any(place):
            np.maximum(largest, view[at(place, n)], out=largest)
    return largest


def _largest_in(x: Any, y: Any, /, **params: Any) -> Any:
    """Which places of each window hold its largest number, or a NaN; padding never does."""
    kernel, n = params["kernel"], len(params["kernel"])
    lowest = _lowest(x.dtype)
    view = slide(padded(x, params["padding"], lowest), kernel, params["stride"], params["dilation"])
    out = view == _positions(y, kernel)
    if np.isnan(y).any():
        out |= np.isnan(view)
    if any(map(any, params["padding"])) and (y == lowest).any():
        out &= windows.forward(np.ones(x.shape[x.ndim - n :], bool), **params)
    return out


def _ties(places: Any, /, *, n: int) -> Any:
    """How many places each window has, as an integer: half floats cannot count far."""
    kernel = places.shape[places.ndim - 2 * n : places.ndim - n]
    total = np.zeros(places.shape[: places.ndim - 2 * n] + places.shape[places.ndim - n :], np.int64)
    for place in np.ndindex(kernel):
        total += places[at(place, n)]
    return total


largest_in = declare("largest_in", _largest_in, caption="where in each window the largest x stands",
                     samples=lambda rng: iter([((np.arange(5.0), np.arange(1.0, 5)), _PAIRS)]))  # fmt: skip
ties = declare("ties", _ties, caption="how many places each window has",
               samples=lambda rng: iter([((rng.normal(size=(2, 3, 4)) > 0,), {"n": 1})]))  # fmt: skip


def _max_pool_rule(g: Any, y: Any, x: Any, **params: Any) -> Any:
    """Largest values that tie share the cotangent of their window evenly."""
    kernel = params["kernel"]
    n = len(kernel)
    places = largest_in(x, y, **params)
    each = _positions(g / ties(places, n=n).astype(g.dtype), kernel)
    return fold(np.where(places, each, 0), size=x.shape[x.ndim - n :], **params)


def _pool_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for size, params in GEOMETRIES:
        yield (rng.permutation(2 * prod(size)).reshape(2, *size) / 7.0,), params
    yield (rng.normal(size=(5,)),), GEOMETRIES[0][1]
    yield (np.zeros((0, 5)),), GEOMETRIES[0][1]


max_pool: Op = declare(
    "max_pool", _max_pool, _max_pool_rule, samples=_pool_samples,
    branch=lambda x, /, **params: _largest_in(x, _max_pool(x, **params), **params),
    kinks=[Kink("two of a window are largest", (np.array([1.0, 1.0, 0.0]),), (np.array([0.5, 1.5, 0.0]),), _PAIRS,
                why="a reduction shares a tie evenly; PyTorch gives all to the first")],
    caption="the largest x of each window",
)  # fmt: skip


# --- the mean ----------------------------------------------------------------------------


def _avg_pool(x: Any, /, *, kernel: Sizes, stride: Sizes, padding: Pads, count: Any) -> Any:
    view = slide(padded(x, padding), kernel, stride, (1,) * len(kernel))
    n = len(kernel)
    total = view[at((0,) * n, n)].copy()
    for place in np.ndindex(kernel):
        if any(place):
            total += view[at(place, n)]
    return total / _counts(count, total.dtype)


def _counts(count: Any, dtype: Any) -> Any:
    """What each window is divided by: the outer product of what `count` has for each axis."""
    out: Any = np.ones((), dtype)
    for axis in count:
        out = out[..., None] * np.asarray(axis, dtype)
    return out


def _avg_pool_rule(g: Any, y: Any, x: Any, *, kernel: Sizes, stride: Sizes, padding: Pads, count: Any) -> Any:
    lead = x.ndim - len(kernel)
    each = _positions(g / _counts(count, g.dtype), kernel)
    each = np.broadcast_to(each, (*g.shape[:lead], *kernel, *g.shape[lead:]))
    return fold(each, size=x.shape[lead:], kernel=kernel, stride=stride, padding=padding, dilation=(1,) * len(kernel))


def _avg_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for (x,), params in _pool_samples(rng):
        dilation = (1,) * len(params["kernel"])
        rest = {k: v for k, v in params.items() if k != "dilation"}
        size = slide(padded(x, params["padding"]), params["kernel"], params["stride"], dilation).shape[x.ndim :]
        yield (x,), {**rest, "count": tuple(tuple(rng.integers(1, 4, k).tolist()) for k in size)}


avg_pool: Op = declare(
    "avg_pool", _avg_pool, _avg_pool_rule, linear="jointly", analytic=True, samples=_avg_samples,
    caption="the mean of x over each window",
)  # fmt: skip


# --- the public functions ----------------------------------------------------------------


def _geometry(
    name: str, x: Any, n: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Any, dict[str, Any], Pads]:
    """The tensor, the parameters of the windows, and the padding without what rounding up adds."""
    x = as_tensor(x)
    if x.ndim < n or x.ndim > n + 2:
        raise ShapeError(lesson(name, f"x of shape {x.shape}", f"(N, C, *size) with {n} axes of size"))
    kernel = sizes(name, "kernel_size", kernel_size, n)
    steps = kernel if stride is None or stride == () else sizes(name, "stride", stride, n)
    holes = sizes(name, "dilation", dilation, n)
    around = pads(name, padding, kernel, steps, holes)
    if any(max(p) > k // 2 for p, k in zip(around, kernel, strict=True)):
        raise ArgumentError(lesson(name, f"padding={padding} with kernel_size={kernel_size}",
                                   "at most half the kernel, so that no window is padding alone"))  # fmt: skip
    size = x.shape[x.ndim - n :]
    full = around
    if ceil_mode:
        full = tuple(_rounded_up(*parts) for parts in zip(size, reach(kernel, holes), steps, around, strict=True))
    bad = refuse_windows(name, size, kernel, full, holes)
    if bad is not None:
        raise bad
    return x, {"kernel": kernel, "stride": steps, "padding": full, "dilation": holes}, around


def _rounded_up(size: int, span: int, stride: int, padding: tuple[int, int]) -> tuple[int, int]:
    """The padding with which a last, incomplete window counts, if it starts before the end."""
    before, after = padding
    last = -(-(size + before + after - span) // stride)
    if last * stride >= size + before:
        last -= 1
    return before, max(after, last * stride + span - size - before)


def _max_of(n: int) -> Any:
    name = f"max_pool{n}d"

    def pool(x: Any, /, kernel_size: Size, *, stride: Size | None = None, padding: Size = 0,
             dilation: Size = 1, ceil_mode: bool = False) -> Any:  # fmt: skip
        x, params, _ = _geometry(name, x, n, kernel_size, stride, padding, dilation, ceil_mode)
        return apply(max_pool, (x,), params)

    pool.__doc__ = f"""The largest number of each window of the last {n} axis/axes of `x`.

    Largest numbers that tie share the cotangent evenly (PyTorch: the first takes all).

    Parameters
    ----------
    x : Tensor or array_like
        (N, C, *size), (C, *size) or (*size).
    kernel_size, dilation : int or tuple of int
    stride : int or tuple of int, optional
        The kernel size by default: windows side by side.
    padding : int or tuple of int
        Of −∞, at most half the kernel.
    ceil_mode : bool
        Count a last window that is not complete.
    """
    return pool


def _avg_of(n: int) -> Any:
    name = f"avg_pool{n}d"

    def pool(x: Any, /, kernel_size: Size, *, stride: Size | None = None, padding: Size = 0, ceil_mode: bool = False,
             count_include_pad: bool = True, divisor_override: int | None = None) -> Any:  # fmt: skip
        x, params, around = _geometry(name, x, n, kernel_size, stride, padding, 1, ceil_mode)
        del params["dilation"]
        count = []
        for k, s, full, given, m in zip(params["kernel"], params["stride"], params["padding"], around,
                                        x.shape[x.ndim - n :], strict=True):  # fmt: skip
            start = np.arange(0, m + sum(full) - k + 1, s) - full[0]
            low, high = (-given[0], m + given[1]) if count_include_pad else (0, m)
            counted = np.minimum(start + k, high) - np.maximum(start, low)
            count.append(tuple(counted.tolist()))
        if divisor_override is not None:
            if not divisor_override:
                raise ArgumentError(lesson(name, "divisor_override=0", "another integer"))
            count = [tuple(divisor_override if a == 0 else 1 for _ in c) for a, c in enumerate(count)]
        return apply(avg_pool, (x,), {**params, "count": tuple(count)})

    pool.__doc__ = f"""The mean of each window of the last {n} axis/axes of `x`.

    Parameters
    ----------
    x : Tensor or array_like
        (N, C, *size), (C, *size) or (*size).
    kernel_size : int or tuple of int
    stride : int or tuple of int, optional
        The kernel size by default: windows side by side.
    padding : int or tuple of int
        Of zeros, at most half the kernel.
    ceil_mode : bool
        Count a last window that is not complete.
    count_include_pad : bool
        The zeros around count as numbers.
    divisor_override : int, optional
        Divide the sum of each window by this.
    """
    return pool


def _adaptive_of(n: int) -> Any:
    name = f"adaptive_avg_pool{n}d"

    def pool(x: Any, /, output_size: Size) -> Any:
        x = as_tensor(x)
        if x.ndim < n:
            raise ShapeError(lesson(name, f"x of shape {x.shape}", f"(N, C, *size) with {n} axes of size"))
        wanted, lead, size = sizes(name, "output_size", output_size, n), x.shape[: x.ndim - n], x.shape[x.ndim - n :]
        if all(m and m % k == 0 for m, k in zip(size, wanted, strict=True)):
            parts = [p for m, k in zip(size, wanted, strict=True) for p in (k, m // k)]
            return x.reshape(*lead, *parts).mean(axis=tuple(range(len(lead) + 1, len(lead) + 2 * n, 2)))
        for axis, (m, k) in enumerate(zip(size, wanted, strict=True), -n):
            rows = np.arange(k)[:, None]
            low, high = rows * m // k, -(-(rows + 1) * m // k)
            places = np.arange(m)
            weight = (((low <= places) & (places < high)) / (high - low)).astype(x.dtype)
            x = weight @ x if axis == -2 else x @ weight.T
        return x

    pool.__doc__ = f"""The mean over windows that cut the last {n} axis/axes of `x` into `output_size` parts.

    Parameters
    ----------
    x : Tensor or array_like
        (N, C, *size).
    output_size : int or tuple of int
        Where it does not divide the size, neighbouring windows overlap by one, as in PyTorch.
    """
    return pool


def _published(name: str, function: Any) -> Any:
    function.__name__ = function.__qualname__ = name
    return publish(name, function)


max_pool1d, max_pool2d, max_pool3d = (_published(f"max_pool{n}d", _max_of(n)) for n in (1, 2, 3))
avg_pool1d, avg_pool2d, avg_pool3d = (_published(f"avg_pool{n}d", _avg_of(n)) for n in (1, 2, 3))
adaptive_avg_pool1d, adaptive_avg_pool2d = (
    _published(f"adaptive_avg_pool{n}d", _adaptive_of(n)) for n in (1, 2))  # fmt: skip
