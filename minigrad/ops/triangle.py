"""Triangles and diagonals of matrices."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from ..define import define
from ..errors import ArgumentError, ShapeError, lesson
from ._public import public
from .indexing import ARRAY, scatter
from .shape import ravel


def _matrices(rng: np.random.Generator) -> Any:
    for shape in ((3, 3), (2, 4), (2, 3, 2), (0, 2)):
        for k in (0, 1, -1, 7):
            yield (rng.normal(size=shape),), {"k": k}


def _refuse_triangle(name: str) -> Any:
    def complain(inputs: Any, params: dict[str, Any]) -> Exception:
        return _complaint(name, np.shape(inputs[0]), params, "at least two axes")

    return complain


def _complaint(name: str, shape: tuple[int, ...], params: dict[str, Any], needed: str) -> Exception:
    k = params.get("k", 0)
    if not isinstance(k, (int, np.integer)):
        return ArgumentError(lesson(name, f"k={k!r}", "an integer: 0 the diagonal, 1 the one above it"))
    return ShapeError(lesson(name, f"an array of shape {shape}", needed))


def _triangle(name: str, cut: Any) -> Any:
    def forward(x: Any, /, *, k: int = 0) -> Any:
        if x.ndim < 2:
            raise ValueError
        return cut(x, index(k))

    where = "below and on" if name == "tril" else "above and on"
    return define(name, forward, lambda g, y, x, *, k=0: cut(g, k=k), linear="jointly", analytic=True, samples=_matrices,
                  complain=_refuse_triangle(name), numpy={cut: {"m": "x"}}, caption=f"x {where} diagonal k, else 0")  # fmt: skip


tril, triu = _triangle("tril", np.tril), _triangle("triu", np.triu)


def _diag(x: Any, /, k: int = 0) -> Any:
    return np.diag(x, index(k))


def _undiag(g: Any, y: Any, x: Any, *, k: int = 0) -> Any:
    if x.ndim == 1:
        return np.diag(g, k)
    along = np.arange(y.shape[0])
    return scatter(g, along + max(-k, 0), along + max(k, 0), index=(ARRAY, ARRAY), shape=x.shape)


def _diag_samples(rng: np.random.Generator) -> Any:
    for shape in ((3,), (3, 3), (2, 4), (4, 2)):
        for k in (0, 1, -1):
            yield (rng.normal(size=shape),), {"k": k}
    yield (np.zeros((0,)),), {}


diag = define("diag", _diag, _undiag, linear="jointly", analytic=True, samples=_diag_samples,
    complain=lambda inputs, params: _complaint("diag", np.shape(inputs[0]), params, "a vector or a matrix"),
    numpy={np.diag: {}}, caption="the diagonal of a matrix; of a vector, a diagonal matrix")  # fmt: skip


@public("diagflat", numpy={np.diagflat: {}})
def diagflat(x: Any, /, k: int = 0) -> Any:
    """The matrix with the elements of `x` on its diagonal `k` (NumPy's name)."""
    return diag(ravel(x), k)
