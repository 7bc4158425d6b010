"""Un-broadcasting, the adjoint of broadcasting, written once.

NumPy stretches an input of size 1 along an axis by using the same value many times: a
fork.  The cotangent of that input is therefore the sum over the stretched axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .op import declare


def _sum_to(x: Any, /, *, shape: tuple[int, ...]) -> Any:
    lead = x.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(
        lead + i for i, n in enumerate(shape) if n == 1 and x.shape[lead + i] != 1
    )
    return np.add.reduce(x, axis=axes, keepdims=True).reshape(shape)


def _sum_to_samples(rng: np.random.Generator) -> Any:
    for shape in ((3,), (1, 3), (2, 1), (), (4, 2, 3)):
        yield (rng.normal(size=(4, 2, 3)),), {"shape": shape}


sum_to = declare(
    "sum_to", _sum_to, lambda g, y, x, *, shape: np.broadcast_to(g, x.shape),
    linear="jointly", analytic=True, samples=_sum_to_samples, caption="sum over the axes that broadcasting stretched",
)  # fmt: skip
