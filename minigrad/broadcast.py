"""Un-broadcasting, the adjoint of broadcasting, written once.

NumPy stretches an input of size 1 along an axis by using the same value many times: a
fork.  The cotangent of that input is therefore the sum over the stretched axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .op import declare


def _stretched(old: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...]:
    """The axes along which broadcasting turned shape `old` into `new`."""
    lead = len(new) - len(old)
    return tuple(range(lead)) + tuple(lead + i for i, n in enumerate(old) if n == 1 and new[lead + i] != 1)


def _sum_to(x: Any, /, *, shape: tuple[int, ...]) -> Any:
    return np.add.reduce(x, axis=_stretched(shape, x.shape), keepdims=True).reshape(shape)


def _sum_to_into(x: Any, /, *, out: Any, shape: tuple[int, ...]) -> None:
    kept = out[(None,) * (x.ndim - len(shape))]
    np.add.reduce(x, axis=_stretched(shape, x.shape), keepdims=True, out=kept)


def _sum_to_samples(rng: np.random.Generator) -> Any:
    for shape in ((3,), (1, 3), (2, 1), (), (4, 2, 3)):
        yield (rng.normal(size=(4, 2, 3)),), {"shape": shape}


sum_to = declare(
    "sum_to", _sum_to, lambda g, y, x, *, shape: np.broadcast_to(g, x.shape),
    linear="jointly", analytic=True, into=_sum_to_into, samples=_sum_to_samples, caption="sum over the axes that broadcasting stretched",
)  # fmt: skip
