"""Indexing: reading elements, and its adjoint, adding cotangents where they were read."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..define import define
from ..errors import DtypeError, IndexingError, lesson
from ..op import Op, declare, publish
from ..tensor import Tensor, apply
from ._axes import refuse_axis

# An index is metadata, but for the arrays in it: those are inputs of the stage, so that a
# replay reads them anew.  In the metadata an ARRAY stands where each of them goes.
ARRAY = "ARRAY"
_add_at: Any = np.add.at  # adds twice where an index stands twice, as += does not


def fill(index: tuple[Any, ...], arrays: Any) -> tuple[Any, ...]:
    if not arrays:
        return index
    remaining = iter(arrays)
    return tuple(next(remaining) if k is ARRAY else k for k in index)


def _getitem(x: Any, *arrays: Any, index: tuple[Any, ...]) -> Any:
    return x[fill(index, arrays)]


def _scatter(g: Any, *arrays: Any, index: tuple[Any, ...], shape: tuple[int, ...]) -> Any:
    if not any(a.dtype.kind in "iu" for a in arrays):
        out = np.zeros(shape, g.dtype)
        out[fill(index, arrays)] = g
        return out
    # the same element may be read twice: a fork
    while len(index) > 1 and index[-1] == slice(None):
        index = index[:-1]
    axis = len(index) - 1
    if len(shape) > 1 and arrays[0].size > 32 and all(k == slice(None) for k in index[:-1]) and 0 not in shape:
        return _add_rows(g, arrays[0], axis, shape)
    out = np.zeros(shape, g.dtype)
    _add_at(out, fill(index, arrays), g)
    return out


def _add_rows(g: Any, rows: Any, axis: int, shape: tuple[int, ...]) -> Any:
    """``np.add.at`` for the rows along one axis (an embedding) by a sorted sum, many times as fast."""
    n = rows.ndim
    order = (*range(axis, axis + n), *range(axis), *range(axis + n, g.ndim))
    rest = (*shape[:axis], *shape[axis + 1 :])
    rows = rows.reshape(-1).astype(np.intp) % shape[axis]
    flat = g.transpose(order).reshape(rows.size, -1)
    by_row = np.argsort(rows, kind="stable")
    starts = np.flatnonzero(np.diff(rows[by_row], prepend=-1))
    out = np.zeros((shape[axis], flat.shape[1]), g.dtype)
    out[rows[by_row][starts]] = np.add.reduceat(flat[by_row], starts, axis=0)
    return out.reshape(shape[axis], *rest).transpose((*range(1, axis + 1), 0, *range(axis + 1, len(shape))))


def index_samples(rng: np.random.Generator) -> Any:
    x = rng.normal(size=(3, 4, 2))
    rows, pairs = np.array([0, 2, 0, 1]), np.array([[1, 1], [0, 2]])
    mask = x > 0
    for index in ((0,), (-1,), (slice(None, None, -2),), (slice(1, 3), 0), (..., 1), (None, 2, ..., None),
                  (), (0, 1, 1), (slice(0, 0),)):  # fmt: skip
        yield (x,), {"index": index}
    yield (x, rows), {"index": (ARRAY,)}
    yield (x, pairs), {"index": (ARRAY,)}
    yield (x, rows, rows), {"index": (ARRAY, ARRAY)}
    yield (x, rows), {"index": (slice(None), ARRAY)}
    yield (x, pairs), {"index": (ARRAY, slice(None), 0)}
    yield (x, mask), {"index": (ARRAY,)}
    yield (x, np.array([True, False, True])), {"index": (ARRAY, slice(0, 2))}
    yield (x, np.zeros((0,), np.int64)), {"index": (ARRAY,)}
    yield (x, rng.integers(0, 3, 50)), {"index": (ARRAY,)}


def refuse_index(name: str, inputs: Any, params: dict[str, Any]) -> Exception:
    """Why the index of an op does not fit its first array."""
    x, *arrays = inputs
    index = fill(params["index"], arrays)
    shown = ", ".join("array" if isinstance(k, np.ndarray) else repr(k) for k in index)
    return IndexingError(lesson(name, f"index [{shown}] of an array of shape {np.shape(x)}",
                                "integers within each axis, slices, None, ..., masks or integer "
                                "arrays"))  # fmt: skip


def _scatter_samples(rng: np.random.Generator) -> Any:
    for inputs, params in index_samples(rng):
        if inputs[0].size:
            y = _getitem(*inputs, **params)
            g = rng.normal(size=np.shape(y))
            yield (g, *inputs[1:]), {**params, "shape": inputs[0].shape}


getitem = declare("getitem", _getitem,
    lambda g, y, i, x, *arrays, index: scatter(g, *arrays, index=index, shape=x.shape),
    variadic=True, linear="jointly", analytic=True, samples=index_samples, complain=partial(refuse_index, "getitem"), notation="{}[{index}]", caption="x[index]")  # fmt: skip

scatter: Op = declare("scatter", _scatter,
    lambda h, y, i, g, *arrays, index, shape: getitem(h, *arrays, index=index),
    variadic=True, linear="jointly", analytic=True, samples=_scatter_samples,
    caption="zeros, with g added at [index]")  # fmt: skip


def parse_index(key: Any, where: str = "getitem") -> tuple[tuple[Any, ...], list[Any]]:
    """An index as metadata, and the arrays that were in it."""
    parts = key if type(key) is tuple else (key,)
    arrays: list[Any] = []
    template = []
    for k in parts:
        # NumPy reads a tuple inside the index as an array, like a list
        if isinstance(k, (list, tuple, np.ndarray, Tensor, bool, np.bool_)):
            array = k if isinstance(k, Tensor) else np.asarray(k)
            if array.size == 0 and isinstance(k, (list, tuple)):
                array = np.zeros(array.shape, np.intp)
            if array.dtype.kind not in "iub":
                raise DtypeError(lesson(where, f"an index of dtype {array.dtype}", "integers or booleans"))
            arrays.append(array)
            template.append(ARRAY)
        else:
            template.append(k)
    return tuple(template), arrays


def index_tensor(x: Any, key: Any) -> Any:
    """``x[key]`` for every index that NumPy knows; tensors in `key` are constants."""
    index, arrays = parse_index(key)
    return apply(getitem, (x, *arrays), {"index": index})


def _refuse_take(inputs: Any, params: dict[str, Any]) -> Exception | None:
    x, indices = inputs
    bad_axis = refuse_axis("take")(inputs, params)
    if bad_axis is not None:
        return bad_axis  # type: ignore[no-any-return]
    n = np.size(x) if params.get("axis") is None else np.shape(x)[params["axis"]]
    if np.asarray(indices).dtype.kind not in "iu":
        return DtypeError(lesson("take", f"indices of dtype {np.asarray(indices).dtype}", "integers"))
    bad = [int(k) for k in np.reshape(indices, -1) if not -n <= k < n]
    if bad:
        return IndexingError(lesson("take", f"index {bad[0]} of an axis of size {n}",
                                    f"{-n} to {n - 1}"))  # fmt: skip
    return None


def _take(x: Any, indices: Any, /, *, axis: int | None = None) -> Any:
    return np.take(x, indices, axis=axis)


def _take_rule(g: Any, y: Any, x: Any, indices: Any, *, axis: int | None = None) -> Any:
    if axis is None:
        return np.reshape(scatter(g, indices, index=(ARRAY,), shape=(x.size,)), x.shape)
    index = (slice(None),) * (axis % x.ndim) + (ARRAY,)
    return scatter(g, indices, index=index, shape=x.shape)


def _take_samples(rng: np.random.Generator) -> Any:
    x = rng.normal(size=(3, 4))
    yield (x, np.array([2, 0, 2])), {"axis": 0}
    yield (x, np.array([[1, -1], [0, 1]])), {"axis": -1}
    yield (x, np.array([5, 5, 0])), {}
    yield (x, np.array(1)), {"axis": 0}
    yield (x, np.zeros((0,), np.int64)), {"axis": 1}


take = define("take", _take, _take_rule, None, linear="jointly", analytic=True, samples=_take_samples,
              complain=_refuse_take, numpy={np.take: {}},
              caption="rows of x by number (embedding look-up)")  # fmt: skip

where = define("where", lambda condition, x1, x2, /: np.where(condition, x1, x2), None,
    lambda g, y, c, a, b: np.where(c, g, 0), lambda g, y, c, a, b: np.where(c, 0, g),
    broadcasts=True, elementwise=True, linear="jointly", numpy={np.where: {}}, caption="x₁ where the condition holds, else x₂",
    samples=lambda rng: iter([
        ((np.array([True, False, True]), rng.normal(size=(2, 3)), rng.normal(size=(3,))), {}),
        ((np.array([[True], [False]]), rng.normal(size=()), rng.normal(size=(2, 3))), {})]))  # fmt: skip

publish("getitem", index_tensor)
