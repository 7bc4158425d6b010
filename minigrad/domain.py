"""Where an op's inputs live, and how to draw a point there.

A domain says for which values an op and its derivative are defined.  Everything
that needs an input to try an op on (tests, checkers, benchmarks, the docs) draws
it from here, so that no test lists by hand what an op can take.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Domain:
    """A set of real numbers (or of arrays) with a way to draw from it.

    Parameters
    ----------
    name : str
        How the docs print it.
    draw : callable
        ``draw(rng, shape)`` returns a float64 array of that shape, away from the
        domain's edge by enough for a difference quotient to stay inside.
    edges : tuple of float
        Where it ends, or is pierced: a derivative may have its poles there.
    """

    name: str
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray[Any, Any]]
    edges: tuple[float, ...] = ()


def _nonzero(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.asarray(rng.uniform(0.3, 2.5, shape) * rng.choice([-1.0, 1.0], shape))


REAL = Domain("ℝ", lambda rng, shape: rng.normal(size=shape))
POSITIVE = Domain("(0, ∞)", lambda rng, shape: rng.uniform(0.3, 3.0, shape), (0.0,))
NONZERO = Domain("ℝ∖{0}", _nonzero, (0.0,))
INSIDE_ONE = Domain("(−1, 1)", lambda rng, shape: np.asarray(rng.uniform(-0.9, 0.9, shape)), (-1.0, 1.0))
ABOVE_ONE = Domain("(1, ∞)", lambda rng, shape: np.asarray(rng.uniform(1.2, 4.0, shape)), (1.0,))
ABOVE_MINUS_ONE = Domain("(−1, ∞)", lambda rng, shape: np.asarray(rng.uniform(-0.8, 3.0, shape)), (-1.0,))
PROBABILITY = Domain("(0, 1)", lambda rng, shape: np.asarray(rng.uniform(0.05, 0.95, shape)), (0.0, 1.0))
