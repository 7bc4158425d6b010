"""Chance, from a generator that the caller holds: a stage without inputs draws, the rest
is ordinary arithmetic, so a replay draws anew and a rule sees the mask it needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..errors import ArgumentError, DtypeError, lesson
from ..op import declare, publish
from ..tensor import apply, as_tensor

_drawn_from: ContextVar[dict[np.random.Generator, Any] | None] = ContextVar("drawn_from", default=None)


@contextmanager
def drawing() -> Iterator[dict[np.random.Generator, Any]]:
    """The generators that are drawn from inside, each with its state before."""
    states: dict[np.random.Generator, Any] = {}
    outside = _drawn_from.set(states)
    try:
        yield states
    finally:
        _drawn_from.reset(outside)


def _noticed(rng: np.random.Generator) -> np.random.Generator:
    """A generator that is about to be drawn from."""
    states = _drawn_from.get()
    if states is not None and rng not in states:
        states[rng] = rng.bit_generator.state
    return rng


def _refuse_generator(name: str, rng: Any) -> None:
    if not isinstance(rng, np.random.Generator):
        raise ArgumentError(lesson(name, f"rng={rng!r}", "a numpy.random.Generator",
                                   "write rng=np.random.default_rng(seed)"))  # fmt: skip


def _dropout_mask(*, shape: tuple[int, ...], rate: float, dtype: Any, rng: np.random.Generator) -> Any:
    rng, keep = _noticed(rng), 1.0 - rate
    return np.asarray((rng.random(shape) < keep).astype(dtype) / np.asarray(keep, dtype))


dropout_mask = declare("dropout_mask", _dropout_mask, samples=lambda rng: iter(()),
                       caption="0 with probability rate, else 1 / (1 − rate)")  # fmt: skip


def dropout(x: Any, /, rate: float, *, rng: np.random.Generator) -> Any:
    """Zero each element with probability `rate` and scale the others by 1 / (1 − rate).

    Parameters
    ----------
    x : Tensor or array_like
    rate : float
        From 0 up to, not including, 1.
    rng : numpy.random.Generator
        Advanced by one draw of ``x.shape``; seed it for reproducible masks.
    """
    _refuse_generator("dropout", rng)
    if not 0 <= rate < 1:
        raise ArgumentError(lesson("dropout", f"rate={rate!r}", "0 <= rate < 1"))
    x = as_tensor(x)
    if x.dtype.kind != "f":
        raise DtypeError(lesson("dropout", f"dtype {x.dtype}", "a float dtype"))
    return x * apply(dropout_mask, (), {"shape": x.shape, "rate": rate, "dtype": x.dtype, "rng": rng})


publish("dropout", dropout)


_normal = declare(
    "normal", lambda *, shape, dtype, rng: np.asarray(_noticed(rng).normal(size=shape), dtype),
    samples=lambda rng: iter(()), caption="drawn from N(0, 1)")  # fmt: skip


def normal(shape: int | tuple[int, ...], *, dtype: Any = None, rng: np.random.Generator) -> Any:
    """Numbers drawn from N(0, 1); in a replay of `mg.capture` they are drawn anew.

    Parameters
    ----------
    shape : int or tuple of int
    dtype : dtype, optional
        Defaults to float64.
    rng : numpy.random.Generator
        Advanced by one draw of `shape`; seed it for numbers that come again.
    """
    _refuse_generator("normal", rng)
    dtype = np.dtype(np.float64 if dtype is None else dtype)
    if dtype.kind != "f":
        raise DtypeError(lesson("normal", f"dtype {dtype}", "a float dtype"))
    return apply(_normal, (), {"shape": shape, "dtype": dtype, "rng": rng})


publish("normal", normal)
