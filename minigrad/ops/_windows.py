"""What convolution and pooling share: windows that slide over the last axes of an array.

A window is `kernel` elements, `dilation` apart; the next one starts `stride` further on;
`padding` gives, for each axis, the elements put before and after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..errors import ArgumentError, ShapeError, lesson
from ..op import Op, Sample, declare

Sizes = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]
Size = int | tuple[int, ...]
Padding = int | str | tuple[int, ...] | tuple[tuple[int, int], ...]


# --- what the caller writes --------------------------------------------------------------


def sizes(name: str, key: str, value: Any, n: int, least: int = 1) -> Sizes:
    """An integer, or one for each of `n` axes, as a tuple."""
    parts = tuple(value) if isinstance(value, (tuple, list)) else (value,) * n
    if len(parts) == 1:
        parts *= n
    good = all(isinstance(p, (int, np.integer)) and not isinstance(p, bool) and p >= least for p in parts)
    if not good or len(parts) != n:
        raise ArgumentError(lesson(name, f"{key}={value!r}", f"an integer of at least {least}"
                                   + (f", or a tuple of {n}" if n > 1 else "")))  # fmt: skip
    return tuple(map(int, parts))


def pads(name: str, padding: Any, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Pads:
    """`padding` as (before, after) for each axis."""
    n = len(kernel)
    if padding == "valid":
        return ((0, 0),) * n
    if padding == "same":
        if max(stride, default=1) > 1:
            raise ArgumentError(lesson(name, f"padding='same' with stride={stride}", "stride 1: with another "
                                       "stride the size cannot stay", "give the padding as integers"))  # fmt: skip
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((t // 2, t - t // 2) for t in total)
    if isinstance(padding, str):
        raise ArgumentError(lesson(name, f"padding={padding!r}", "'same', 'valid', an integer, a tuple of "
                                   f"{n}, or {n} pairs (before, after)"))  # fmt: skip
    if isinstance(padding, (tuple, list)) and padding and all(isinstance(p, (tuple, list)) for p in padding):
        if len(padding) != n:
            raise ArgumentError(lesson(name, f"padding={padding!r}", f"{n} pairs (before, after)"))
        both = [sizes(name, "padding", p, 2, 0) for p in padding]
        return tuple((a, b) for a, b in both)
    return tuple((p, p) for p in sizes(name, "padding", padding, n, 0))


def reach(kernel: Sizes, dilation: Sizes) -> Sizes:
    """How many elements a window spans, holes included."""
    return tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))


def refuse_windows(name: str, size: Sizes, kernel: Sizes, padding: Pads, dilation: Sizes) -> Exception | None:
    """Complain where a window is larger than what it slides over."""
    full = tuple(n + a + b for n, (a, b) in zip(size, padding, strict=True))
    spans = reach(kernel, dilation)
    if any(s > n for s, n in zip(spans, full, strict=True)):
        return ShapeError(lesson(name, f"windows of size {spans} over axes of size {full} (padding included)",
                                 "windows no larger than the padded array"))  # fmt: skip
    return None


# --- views -------------------------------------------------------------------------------


def padded(x: Any, padding: Pads, value: Any = 0) -> Any:
    """`x` with `value` around its last axes; `x` itself where nothing is to add."""
    if not any(map(any, padding)):
        return x
    lead = x.ndim - len(padding)
    full = x.shape[:lead] + tuple(n + a + b for n, (a, b) in zip(x.shape[lead:], padding, strict=True))
    out = np.zeros(full, x.dtype) if value == 0 else np.full(full, value, x.dtype)
    out[inner(x.shape[lead:], padding)] = x
    return out


def inner(size: Sizes, padding: Pads) -> Any:
    """The index of what is not padding."""
    return (..., *(slice(a, a + n) for n, (a, _) in zip(size, padding, strict=True)))


def slide(x: Any, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Any:
    """A view of shape (..., *kernel, *positions) on an array that is already padded."""
    n = len(kernel)
    lead = x.ndim - n
    view = sliding_window_view(x, reach(kernel, dilation), tuple(range(lead, x.ndim)))
    steps = (slice(None, None, s) for s in (*stride, *dilation))
    index: Any = (..., *steps)
    view = view[index]
    return view.transpose(*range(lead), *range(lead + n, lead + 2 * n), *range(lead, lead + n))


def taps(kernel: Sizes, count: Sizes, stride: Sizes, dilation: Sizes) -> Iterator[tuple[Any, Any]]:
    """For each place in a window: its index there, and where all windows have it.

    A loop over these few places, each step one pass over whole arrays, is 20 times as fast
    as a NumPy reduction over the window axes of the view (2x2 windows of 32x32 images), and as
    an adjoint 1.5 to 2 times as fast as a convolution with the kernel turned around.
    """
    for place in product(*map(range, kernel)):
        where = (slice(d * p, d * p + s * (c - 1) + 1 if c else d * p, s)
                 for p, c, s, d in zip(place, count, stride, dilation, strict=True))  # fmt: skip
        yield place, (..., *where)


def at(place: Sizes, n: int) -> Any:
    """The index of a place in a window, in the layout of `slide`."""
    return (..., *place, *(slice(None),) * n)


# --- the two ops -------------------------------------------------------------------------


def _windows(x: Any, /, *, kernel: Sizes, stride: Sizes, padding: Pads, dilation: Sizes) -> Any:
    return slide(padded(x, padding), kernel, stride, dilation)


def around(lead: Sizes, size: Sizes, padding: Pads, dtype: Any) -> Any:
    """Zeros of the padded shape, for `add_windows`."""
    return np.zeros(lead + tuple(k + a + b for k, (a, b) in zip(size, padding, strict=True)), dtype)


def add_windows(out: Any, g: Any, kernel: Sizes, stride: Sizes, dilation: Sizes) -> None:
    """Add the windows `g` to `out`, each where it was taken."""
    n = len(kernel)
    for place, where in taps(kernel, g.shape[g.ndim - n :], stride, dilation):
        part = out[where]  # out[where] += ... would write what it gets back once more
        part += g[at(place, n)]


def _fold(g: Any, /, *, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pads, dilation: Sizes) -> Any:
    out = around(g.shape[: g.ndim - 2 * len(kernel)], size, padding, g.dtype)
    add_windows(out, g, kernel, stride, dilation)
    return out[inner(size, padding)]


GEOMETRIES: list[tuple[Sizes, dict[str, Any]]] = [
    ((5,), {"kernel": (2,), "stride": (1,), "padding": ((0, 0),), "dilation": (1,)}),
    ((7,), {"kernel": (3,), "stride": (2,), "padding": ((1, 2),), "dilation": (2,)}),
    ((4, 5), {"kernel": (2, 3), "stride": (1, 2), "padding": ((1, 1), (0, 1)), "dilation": (2, 1)}),
    ((5, 4), {"kernel": (2, 2), "stride": (3, 2), "padding": ((0, 0), (0, 0)), "dilation": (1, 1)}),
]


def _window_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for size, params in GEOMETRIES:
        yield (rng.normal(size=(2, *size)),), params
    yield (rng.normal(size=(4,)),), GEOMETRIES[0][1]
    yield (np.zeros((0, 5)),), GEOMETRIES[0][1]


def _fold_samples(rng: np.random.Generator) -> Iterator[Sample]:
    for (x,), params in _window_samples(rng):
        n = len(params["kernel"])
        y = _windows(x, **params)
        yield (rng.normal(size=y.shape),), {"size": x.shape[x.ndim - n :], **params}


windows: Op = declare(
    "windows", _windows, lambda g, y, x, **params: fold(g, size=x.shape[x.ndim - len(params["kernel"]):], **params),
    linear="jointly", analytic=True, samples=_window_samples, caption="every window of x, (..., kernel, positions)",
)  # fmt: skip

fold: Op = declare(
    "fold", _fold, lambda h, y, g, *, size, **params: windows(h, **params),
    linear="jointly", analytic=True, samples=_fold_samples, caption="windows added up where they overlap",
)  # fmt: skip
