"""The directional derivative of one stage on plain arrays, by the strongest method it allows.

Nothing here knows a graph, a Tensor or a rule: a stage is a function of arrays.  Numbers are
extended (`numpy.longdouble`) wherever the function can compute with them, so that what is
seen is the function and hardly any rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .continued import EXTENDED as EXTENDED
from .continued import continued

ORACLES = ("linear", "jvp", "complex step", "exact differences", "differences")
"""How a stage's movement is found, the strongest first; all but the last are exact."""
STEP = 1e-40
"""Of the complex step: its square is lost in any precision."""
COARSE, HALVINGS = 2e-2, 7
"""Of the differences: the first step, and how often it is halved."""
CLOSEST = 1e-9
"""No step is shorter: a kink that lies closer than this is one that we stand at."""
EVEN = 5e-5
"""Where quotients of steps from here on are all the same, the function has no higher terms."""
ENOUGH = 1e-12
"""Differences this certain, relative, are not tried with shorter steps."""

Function = Callable[..., Any]


class Moved(NamedTuple):
    """How outputs move.

    Attributes
    ----------
    parts : tuple of arrays
    oracle : str
        How it was found: "linear", "jvp", "complex step", "exact differences" (of a function that is
        linear or quadratic along the line: their quotients are the same at every step) or "differences".
    error : float
        What the method leaves open, relative; beyond rounding.
    kink : bool
        A kink lies so close that no difference quotient avoids it.
    """

    parts: tuple[Any, ...]
    oracle: str
    error: float = 0.0
    kink: bool = False


def extended(x: Any) -> Any:
    """Floats in extended precision; everything else as it is."""
    if isinstance(x, tuple):
        return tuple(map(extended, x))
    if type(x) in (bool, int, float):  # not np.float64, which is a float too
        return x
    array = np.asarray(x)
    return array.astype(EXTENDED) if array.dtype.kind == "f" else array


def drawn(rng: np.random.Generator, like: Any) -> Any:
    """A cotangent or a direction: of either sign, none small, no two alike."""
    shape = np.shape(like)
    return np.asarray(rng.uniform(0.25, 2, shape) * rng.choice([-1.0, 1.0], shape)).astype(EXTENDED)


def places_of(rng: np.random.Generator, shape: tuple[int, ...], most: int = 400) -> list[tuple[int, ...]]:
    """Where to compare entry by entry: everywhere, or at so many places."""
    places = list(np.ndindex(shape))
    if len(places) <= most:
        return places
    return [places[j] for j in sorted(rng.choice(len(places), most, replace=False))]


def tupled(y: Any) -> tuple[Any, ...]:
    return y if isinstance(y, tuple) else (y,)


def run(function: Function, arrays: Sequence[Any], params: dict[str, Any]) -> Any:
    """Call a stage in the widest arithmetic that it knows: extended, else double (LAPACK)."""
    try:
        return function(*arrays, **_wide(params, arrays))
    except (TypeError, np.linalg.LinAlgError):
        narrow = [_narrow(x) for x in arrays]
        return extended(function(*narrow, **_wide(params, narrow)))


def _wide(params: dict[str, Any], arrays: Sequence[Any]) -> dict[str, Any]:
    """Float dtypes among the metadata follow the arithmetic, or they would round it away."""
    if (
        "dtype" not in params
        or params["dtype"] is None
        or np.dtype(params["dtype"]).kind not in "fc"
    ):
        return params
    kinds = [x.dtype for x in map(np.asarray, _flat(arrays)) if x.dtype.kind in "fc"]
    return {**params, "dtype": np.result_type(*kinds) if kinds else EXTENDED}


def _flat(arrays: Sequence[Any]) -> list[Any]:
    return [part for x in arrays for part in tupled(x)]


def _narrow(x: Any) -> Any:
    if isinstance(x, tuple):
        return tuple(map(_narrow, x))
    if type(x) in (bool, int, float):  # not np.float64, which is a float too
        return x
    array = np.asanyarray(x)
    to = {"f": np.float64, "c": np.complex128}.get(array.dtype.kind)
    return array if to is None else array.astype(to)


# --- the complex step --------------------------------------------------------------------------


def by_complex_step(
    function: Function,
    at: Sequence[Any],
    along: Sequence[Any],
    params: dict[str, Any],
    branch: Function | None = None,
) -> Moved:
    """Im f(x + i h t) / h: exact for a function that is analytic on either side of its kinks."""
    if branch is not None and not _decides_alike(branch, _beside(at, along, CLOSEST), params):
        return _at_kink(function, at, params)
    moved = [x if t is None else continued(x + STEP * 1j * t) for x, t in zip(at, along, strict=True)]
    parts = tupled(run(function, moved, params))
    return Moved(tuple(np.asarray(np.imag(p)) / np.asarray(STEP, EXTENDED) for p in parts), "complex step")


# --- differences -------------------------------------------------------------------------------


def by_differences(
    function: Function,
    at: Sequence[Any],
    along: Sequence[Any],
    params: dict[str, Any],
    branch: Function | None = None,
) -> Moved:
    """Central differences, extrapolated to step 0 (Ridders 1982), that stay on one side of kinks.

    `branch` gives the decisions that the function takes; steps that change them are not used.
    """
    found: Moved | None = None
    for coarse in (COARSE, COARSE / 100, COARSE / 10_000):
        finer = _differences(function, at, along, params, branch, coarse)
        if found is None or (finer.error < found.error and not finer.kink):
            found = finer
        if found.kink or found.error <= ENOUGH:
            break  # else a pole or a jump without a branch may lie within the steps
    assert found is not None
    return found


def _differences(
    function: Function,
    at: Sequence[Any],
    along: Sequence[Any],
    params: dict[str, Any],
    branch: Function | None,
    h: float,
) -> Moved:
    """By steps from `h` down."""
    coarse = h
    steps: list[float] = []
    quotients: list[list[Any]] = []
    while len(steps) < HALVINGS and h > CLOSEST:
        step = np.asarray(h, EXTENDED)
        _, up, down = points = _beside(at, along, step)
        if branch is None or _decides_alike(branch, points, params):
            with np.errstate(all="ignore"):
                above, below = (tupled(run(function, p, params)) for p in (up, down))
            quotients.append([(a - b) / (2 * step) for a, b in zip(above, below, strict=True)])
            steps.append(h)
        elif quotients:
            quotients, steps = [], []
        h /= 2 if steps else 4
    if not quotients:
        return _at_kink(function, at, params)
    moving = [x for x, t in zip(up, along, strict=True) if t is not None]
    if steps[0] > EVEN and (even := _even(quotients, above, max(map(_rounding, moving)), steps)):
        return even
    found = [
        _extrapolated(q, v, coarse)
        for q, v in zip(zip(*quotients, strict=True), above, strict=True)
    ]
    return Moved(tuple(best for best, _ in found), "differences", max((e for _, e in found), default=0.0))


def _beside(at: Sequence[Any], along: Sequence[Any], step: Any) -> list[list[Any]]:
    """The point, and those a step forward and back."""
    return [[x if t is None else x + sign * step * t for x, t in zip(at, along, strict=True)] for sign in (0, 1, -1)]


def _at_kink(function: Function, at: Sequence[Any], params: dict[str, Any]) -> Moved:
    parts = tupled(run(function, at, params))
    return Moved(tuple(np.zeros_like(p) for p in parts), "differences", kink=True)


def _even(quotients: Sequence[Any], values: Sequence[Any], unit: float, steps: Sequence[float]) -> Moved | None:
    """The quotients of the longest step, if those of all others are the same but for the rounding
    of the values, and `unit` of the inputs."""
    error = 0.0
    for found, value in zip(zip(*quotients, strict=True), values, strict=True):
        noise = 4 * max(unit, _rounding(value))
        if not all(np.all(np.abs(q - found[0]) * h <= noise) for q, h in zip(found, steps, strict=True)):
            return None
        if scale := np.max(np.abs(found[0]), initial=0):
            error = max(error, float(noise / steps[0] / scale))
    return Moved(tuple(quotients[0]), "exact differences", error)


def _rounding(value: Any) -> float:
    """Of the largest of some numbers: in double precision, if that is all they have."""
    double = np.array_equal(value, np.asarray(value, np.float64), equal_nan=True)
    return float(np.finfo(np.float64 if double else EXTENDED).eps * np.max(np.abs(value), initial=0))


def _decides_alike(
    branch: Function, points: Sequence[Sequence[Any]], params: dict[str, Any]
) -> bool:
    first, *others = (np.asarray(branch(*p, **params)) for p in points)
    return all(np.array_equal(first, other) for other in others)


def _extrapolated(quotients: Sequence[Any], value: Any, coarse: float) -> tuple[Any, float]:
    """The best of Neville's table, element by element, and its relative uncertainty beyond
    what the rounding of `value` explains."""
    table = [np.asarray(quotients[0])]
    best, doubt = table[0], np.full(np.shape(table[0]), np.inf)
    for q in quotients[1:]:
        row = [np.asarray(q)]
        for k, before in enumerate(table):
            row.append(row[k] + (row[k] - before) / (4.0 ** (k + 1) - 1))
            off = np.maximum(np.abs(row[k + 1] - row[k]), np.abs(row[k + 1] - before))
            better = off < doubt
            best, doubt = np.where(better, row[k + 1], best), np.where(better, off, doubt)
        table = row
    rounding = _rounding(value) * 2**HALVINGS / coarse
    scale = np.max(np.abs(best), initial=0)
    worst = np.max(doubt, initial=0) - 4 * rounding
    return best, float(worst / scale) if worst > 0 and np.isfinite(worst) and scale else 0.0
