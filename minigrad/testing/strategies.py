"""Hypothesis strategies: points in an op's domain, shapes, index expressions, random programs.

The only module that imports hypothesis, an extra (``pip install minigrad-engine[testing]``).
What is drawn shrinks: to fewer stages, smaller shapes, samples that come first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..domain import REAL, Domain
from ..errors import MinigradError, lesson
from ..op import OPS, Op, Sample, domain_of
from .programs import POOL, Program, attempt, build, pool, short

try:
    from hypothesis import assume
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hnp
except ImportError as error:
    raise MinigradError(lesson(
        "minigrad.testing.strategies", "hypothesis is not installed", "",
        "run pip install 'minigrad-engine[testing]'")) from error  # fmt: skip

Shape = tuple[int, ...]
Strategy = st.SearchStrategy[Any]

TRIES = 8
"""How many points are drawn before hypothesis is told that this one will not do."""


class _Drawn:
    """Choices by hypothesis."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))


@st.composite
def programs(draw: st.DrawFn, *, ops: Iterable[Op | str] | None = None, stages: int = 10) -> Program:
    """Random programs of registered ops; see `minigrad.testing.programs.draw_program`.

    A failing program shrinks to the stages that it takes to fail, and is reported as a script
    that fails by itself.
    """
    return build(_Drawn(draw), ops=None if ops is None else list(ops), stages=stages)


def shapes(*, min_dims: int = 0, max_dims: int = 3, min_side: int = 1, max_side: int = 4) -> Strategy:
    """Shapes of arrays; with ``min_side=0`` of empty ones too."""
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side)


def broadcastable_shapes(count: int = 2, *, max_dims: int = 3, min_side: int = 1, max_side: int = 4) -> Strategy:
    """Tuples of `count` shapes that broadcast against each other."""
    drawn: Any = hnp.mutually_broadcastable_shapes(
        num_shapes=count, max_dims=max_dims, min_side=min_side, max_side=max_side
    )
    return drawn.map(lambda found: tuple(found.input_shapes))  # type: ignore[no-any-return]


@st.composite
def arrays(draw: st.DrawFn, op: Op | str | Domain = REAL, i: int = 0, *, shape: Shape | None = None) -> Any:
    """Arrays in the domain of input `i` of an op and away from its kinks, or in a domain.

    Parameters
    ----------
    op : Op, str or Domain
        An op or its name: what its own samples give, as in `inputs`.
    i : int
        Which input.
    shape : tuple of int, optional
        For a domain and for elementwise ops of one array; without it, any shape.
    """
    if isinstance(op, Domain):
        return _from(draw, op, draw(shapes()) if shape is None else shape)
    op = OPS[op] if isinstance(op, str) else op
    if shape is not None and not (op.elementwise and op.arity == 1):
        raise MinigradError(lesson("arrays", f"shape={shape} for {op.name!r}", "an elementwise op of one array",
                                   "draw with inputs(op), which knows the shapes that go together"))  # fmt: skip
    return draw(_inputs(op, shape))[0][i]


def inputs(op: Op | str) -> Strategy:
    """Inputs and metadata for an op, ``(inputs, params)``: from its domain, of many shapes, and
    away from its kinks."""
    return _inputs(OPS[op] if isinstance(op, str) else op, None)


@st.composite
def _inputs(draw: st.DrawFn, op: Op, shape: Shape | None) -> Sample:
    for _ in range(TRIES):
        found = _sample(draw, op, shape)
        if found is not None and attempt(op, *found, bounded=False) is not None:
            return found
    assume(False)
    raise AssertionError  # assume does not return


def _sample(draw: st.DrawFn, op: Op, shape: Shape | None) -> Sample | None:
    if op.samples is None:
        n = op.arity or 1
        if shape is not None or n == 1 or not op.broadcasts:
            group: Sequence[Shape] = (draw(shapes()) if shape is None else shape,) * n
        else:
            group = draw(broadcastable_shapes(n))
        return tuple(_from(draw, domain_of(op, i), s) for i, s in enumerate(group)), {}
    found = pool(op, draw(st.integers(0, POOL - 1)))
    if not found:
        return None
    drawn, params = found[draw(st.integers(0, len(found) - 1))]
    if op.elementwise and op.arity == 1:  # its values in any shape
        drawn = (np.resize(drawn[0], draw(shapes()) if shape is None else shape),)
    return drawn, dict(params)


def _from(draw: st.DrawFn, domain: Domain, shape: Shape) -> Any:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return short(np.asarray(domain.draw(rng, shape)))


# --- index expressions ----------------------------------------------------------------------


@st.composite
def indices(draw: st.DrawFn, shape: Shape) -> Any:
    """Every kind of index expression that NumPy takes for an array of `shape`.

    Integers, slices with steps of either sign, None and ``...``; integer arrays and lists that
    broadcast against each other, also empty or 0-d; masks over one axis or several; True and
    False.  A tuple, or its one part alone.
    """
    ndim = len(shape)
    together = draw(hnp.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=3)) \
        if draw(st.integers(0, 2)) else None  # fmt: skip
    parts: list[Any] = []
    axis, new, dots, masked = 0, 0, False, False
    while axis < ndim:
        choice, size = draw(st.integers(0, 8)), shape[axis]
        if choice == 1 and size:
            parts.append(draw(st.integers(-size, size - 1)))
        elif choice in (2, 3) and together is not None:
            parts.append(draw(_numbers(size, together)))
        elif choice == 4 and together is not None and not masked:
            over = draw(st.integers(1, ndim - axis))
            parts += draw(_masks(shape[axis : axis + over], together[-1]))
            axis, masked = axis + over - 1, True
        elif choice == 5 and new < 2:
            parts.append(None)
            new, axis = new + 1, axis - 1
        elif choice == 6 and not dots:
            parts.append(...)
            dots = True
            axis += draw(st.integers(0, ndim - axis)) - 1  # these axes are left to the dots
        elif choice == 7 and not dots:
            break  # the other axes stay whole
        else:
            parts.append(draw(st.slices(size)))
        axis += 1
    if together is None and draw(st.integers(0, 15)) == 15:
        parts.insert(draw(st.integers(0, len(parts))), draw(st.booleans()))
    return parts[0] if len(parts) == 1 and draw(st.booleans()) else tuple(parts)


@st.composite
def _numbers(draw: st.DrawFn, size: int, together: Shape) -> Any:
    """An integer array that broadcasts to the shape that all of them have."""
    shape = draw(st.sampled_from([together, together[1:], (1,) * len(together), (*together[:-1], 1)]))
    count = math.prod(shape)
    if size == 0 and count:
        shape, count = together, math.prod(together)
    if size == 0 and count:
        return slice(None)
    numbers = draw(st.lists(st.integers(-size, size - 1), min_size=count, max_size=count)) if size else []
    array = np.array(numbers, np.int64).reshape(shape)
    return array.tolist() if array.ndim and array.size and draw(st.booleans()) else array


@st.composite
def _masks(draw: st.DrawFn, shape: Shape, count: int) -> list[Any]:
    """A mask with as many True as the integer arrays beside it have columns, or one; where it
    has no room for that, slices."""
    size = math.prod(shape)
    wanted = count if size >= count else 1
    if size < wanted:
        return [slice(None)] * len(shape)
    places = draw(st.lists(st.integers(0, size - 1), min_size=wanted, max_size=wanted, unique=True)) if wanted else []
    mask = np.zeros(size, bool)
    mask[places] = True
    return [mask.reshape(shape)]


__all__ = ["arrays", "broadcastable_shapes", "indices", "inputs", "programs", "shapes"]
