"""Jaxprs, the programs that JAX traces, evaluated by NumPy: nothing is compiled.

A primitive that is not in the table is left to JAX, and counted: its kernel is compiled for each
new shape, which takes a tenth of a second.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

Values = list[Any]
INLINED = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "checkpoint"}
"""Calls of a jaxpr that stand for it."""


def evaluate(jaxpr: Any, consts: Sequence[Any], arguments: Sequence[Any], left: Counter[str]) -> Values:
    """The results of a jaxpr; `left` counts what is left to JAX."""
    known: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *arguments), strict=True))

    def read(v: Any) -> Any:
        return np.asarray(v.val if hasattr(v, "val") else known[v])

    def inside(closed: Any, values: Sequence[Any]) -> Values:
        return evaluate(getattr(closed, "jaxpr", closed), getattr(closed, "consts", ()), values, left)

    primitives = _primitives()
    for step in jaxpr.eqns:
        values, params, name = [read(v) for v in step.invars], step.params, step.primitive.name
        inner = params.get("jaxpr", params.get("call_jaxpr", params.get("fun_jaxpr")))
        if name in primitives:
            found = primitives[name](*values, **params)
        elif name in INLINED and inner is not None:
            found = inside(inner, values)
        elif name in CONTROL:
            found = CONTROL[name](inside, values, **params)
        else:
            left[name] += 1
            found = step.primitive.bind(*values, **params)
            found = [np.asarray(y) for y in found] if step.primitive.multiple_results else np.asarray(found)
        known.update(zip(step.outvars, found if isinstance(found, list) else [found], strict=True))
    return [read(v) for v in jaxpr.outvars]


# --- jaxprs inside ----------------------------------------------------------------------------

Inside = Callable[[Any, Sequence[Any]], Values]


def _scan(inside: Inside, values: Values, *, jaxpr: Any, length: int, num_consts: int, num_carry: int,
          reverse: bool, **params: Any) -> Values:  # fmt: skip
    consts, carry, lines = values[:num_consts], values[num_consts : num_consts + num_carry], values[num_consts + num_carry :]
    rows: list[Values] = []
    for k in range(length)[:: -1 if reverse else 1]:
        found = inside(jaxpr, [*consts, *carry, *(x[k] for x in lines)])
        carry = found[:num_carry]
        rows.append(found[num_carry:])
    return [*carry, *(np.stack(column) for column in zip(*rows[:: -1 if reverse else 1], strict=True))]


def _linear_solve(inside: Inside, values: Values, *, const_lengths: Any, jaxprs: Any, **params: Any) -> Values:
    start = const_lengths.matvec + const_lengths.vecmat
    consts = values[start : start + const_lengths.solve]
    return inside(jaxprs.solve, [*consts, *values[sum(const_lengths) :]])


CONTROL: dict[str, Callable[..., Values]] = {
    "scan": _scan,
    "custom_linear_solve": _linear_solve,
    "cond": lambda inside, values, *, branches, **params: inside(branches[int(values[0])], values[1:]),
    "platform_index": lambda inside, values, *, platforms: [np.asarray(platforms.index(None))],
}


# --- slices at places -------------------------------------------------------------------------


def _corner(places: Any, b: tuple[int, ...], to: Any, batch_of: Any, shape: Any, size: Any, mode: Any) -> Any:
    """Where slice `b` begins; None if it does not lie inside."""
    corner = np.zeros(len(shape), int)
    corner[list(to)] = places[b]
    for axis, k in batch_of:
        corner[axis] = b[k]
    last = np.subtract(shape, size)
    if "CLIP" in str(mode):
        return np.clip(corner, 0, last)
    return corner if np.all((corner >= 0) & (corner <= last)) else None


def _slices(corner: Any, size: Any) -> Any:
    return tuple(slice(c, c + n) for c, n in zip(corner, size, strict=True))


def gather(x: Any, places: Any, *, dimension_numbers: Any, slice_sizes: Any, mode: Any, **params: Any) -> Any:
    """Slices of `x`, one for each of `places`."""
    d = dimension_numbers
    batch, gone = places.shape[:-1], {*d.collapsed_slice_dims, *d.operand_batching_dims}
    window = tuple(n for k, n in enumerate(slice_sizes) if k not in gone)
    out = np.full((*batch, *window), np.nan if x.dtype.kind == "f" else 0, x.dtype)
    batch_of = list(zip(d.operand_batching_dims, d.start_indices_batching_dims, strict=True))
    for b in np.ndindex(batch):
        corner = _corner(places, b, d.start_index_map, batch_of, x.shape, slice_sizes, mode)
        if corner is not None:
            out[b] = x[_slices(corner, slice_sizes)].reshape(window)
    others = [k for k in range(out.ndim) if k not in d.offset_dims]
    return np.moveaxis(out, range(out.ndim), [*others, *d.offset_dims])


def scatter(add: bool) -> Callable[..., Any]:
    """`x` with slices written to, or added at, places."""

    def run(x: Any, places: Any, updates: Any, *, dimension_numbers: Any, mode: Any, **params: Any) -> Any:
        d = dimension_numbers
        others = [k for k in range(updates.ndim) if k not in d.update_window_dims]
        updates = np.moveaxis(updates, [*others, *d.update_window_dims], range(updates.ndim))
        window, gone = iter(updates.shape[len(others) :]), {*d.inserted_window_dims, *d.operand_batching_dims}
        size = [1 if k in gone else next(window) for k in range(x.ndim)]
        batch_of = list(zip(d.operand_batching_dims, d.scatter_indices_batching_dims, strict=True))
        out = np.array(x)
        for b in np.ndindex(places.shape[:-1]):
            corner = _corner(places, b, d.scatter_dims_to_operand_dims, batch_of, x.shape, size, mode)
            if corner is not None:
                part = out[_slices(corner, size)]
                part[...] = part * add + updates[b].reshape(size)
        return out

    return run


def dynamic_slice(x: Any, *corner: Any, slice_sizes: Any) -> Any:
    """The slice at `corner`, moved inside."""
    return x[_slices(np.clip(corner, 0, np.subtract(x.shape, slice_sizes)), slice_sizes)]


def dynamic_update_slice(x: Any, part: Any, *corner: Any) -> Any:
    """`x` with such a slice replaced."""
    out = np.array(x)
    out[_slices(np.clip(corner, 0, np.subtract(x.shape, part.shape)), part.shape)] = part
    return out


# --- everything else --------------------------------------------------------------------------


@cache
def _primitives() -> dict[str, Callable[..., Any]]:
    """The primitives, each a function of its operands and parameters."""
    import scipy.linalg  # type: ignore[import-untyped, unused-ignore]
    import scipy.special  # type: ignore[import-untyped, unused-ignore]

    def plain(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *xs, **params: function(*xs)

    def dot_general(a: Any, b: Any, *, dimension_numbers: Any, **params: Any) -> Any:
        (left, right), (batch_a, batch_b) = dimension_numbers
        names = iter(range(100))
        of_a: list[Any] = [None] * a.ndim
        of_b: list[Any] = [None] * b.ndim
        batch = []
        for i, j in zip(batch_a, batch_b, strict=True):
            of_a[i] = of_b[j] = next(names)
            batch.append(of_a[i])
        for i, j in zip(left, right, strict=True):
            of_a[i] = of_b[j] = next(names)
        free_a = [i for i in range(a.ndim) if of_a[i] is None]
        free_b = [j for j in range(b.ndim) if of_b[j] is None]
        for i in free_a:
            of_a[i] = next(names)
        for j in free_b:
            of_b[j] = next(names)
        return np.einsum(a, of_a, b, of_b, [*batch, *(of_a[i] for i in free_a), *(of_b[j] for j in free_b)])

    def broadcast_in_dim(x: Any, *, shape: Any, broadcast_dimensions: Any, **params: Any) -> Any:
        full = [1] * len(shape)
        for k, axis in enumerate(broadcast_dimensions):
            full[axis] = x.shape[k]
        return np.broadcast_to(x.reshape(full), shape)

    def select_n(which: Any, *cases: Any) -> Any:
        return np.where(which, cases[1], cases[0]) if which.dtype == bool else np.choose(which, cases)

    def sliced(x: Any, *, start_indices: Any, limit_indices: Any, strides: Any) -> Any:
        return x[tuple(map(slice, start_indices, limit_indices, strides or (None,) * x.ndim))]

    def padded(x: Any, fill: Any, *, padding_config: Any) -> Any:
        if any(low < 0 or high < 0 for low, high, _ in padding_config):
            x = x[tuple(slice(max(0, -low), n + min(0, high)) if not between else slice(None)
                        for n, (low, high, between) in zip(x.shape, padding_config, strict=True))]  # fmt: skip
            padding_config = [(max(0, low), max(0, high), between) for low, high, between in padding_config]
        shape = [low + high + n + max(0, n - 1) * between for n, (low, high, between) in zip(x.shape, padding_config, strict=True)]
        out = np.full(shape, fill, x.dtype)
        out[tuple(slice(low, low + n + max(0, n - 1) * between, between + 1)
                  for n, (low, _, between) in zip(x.shape, padding_config, strict=True))] = x  # fmt: skip
        return out

    def split(x: Any, *, sizes: Any, axis: int) -> list[Any]:
        return np.split(x, np.cumsum(sizes)[:-1], axis)

    def running(function: Any) -> Callable[..., Any]:
        def run(x: Any, *, axis: int, reverse: bool) -> Any:
            return np.flip(function(np.flip(x, axis), axis), axis) if reverse else function(x, axis)

        return run

    def sort(*xs: Any, dimension: int, num_keys: int, **params: Any) -> list[Any]:
        assert num_keys == 1
        order = np.argsort(xs[0], axis=dimension, kind="stable")
        return [np.take_along_axis(x, order, dimension) for x in xs]

    def lu(x: Any) -> list[Any]:
        factors, pivots = np.empty(x.shape), np.empty((*x.shape[:-2], min(x.shape[-2:])), np.int32)
        rows = np.empty(x.shape[:-1], np.int32)
        for k in np.ndindex(x.shape[:-2]):
            factors[k], pivots[k] = scipy.linalg.lu_factor(x[k])
            rows[k] = np.arange(x.shape[-2])
            for i, j in enumerate(pivots[k]):
                rows[k][[i, j]] = rows[k][[j, i]]
        return [factors, pivots, rows]

    def triangular_solve(a: Any, b: Any, *, left_side: bool, lower: bool, transpose_a: bool, unit_diagonal: bool,
                         **params: Any) -> Any:  # fmt: skip
        a = np.tril(a) if lower else np.triu(a)
        if unit_diagonal:
            n = np.arange(a.shape[-1])
            a[..., n, n] = 1
        a = a.mT if transpose_a else a
        try:
            return np.linalg.solve(a, b) if left_side else np.linalg.solve(a.mT, b.mT).mT
        except np.linalg.LinAlgError:  # JAX divides by the 0
            return np.full(b.shape, np.nan)

    def svd(x: Any, *, compute_uv: bool, full_matrices: bool, **params: Any) -> list[Any]:
        if not compute_uv:
            return [np.linalg.svd(x, compute_uv=False)]
        u, s, vh = np.linalg.svd(x, full_matrices=full_matrices)
        return [s, u, vh]

    def over(function: Any) -> Callable[..., Any]:
        return lambda x, *, axes, **params: function(x, axis=tuple(axes))

    return {
        **{name: plain(getattr(np, name)) for name in (
            "exp", "exp2", "expm1", "log", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh",
            "cosh", "tanh", "asinh", "acosh", "atanh", "sqrt", "cbrt", "floor", "ceil", "sign", "abs", "square",
            "nextafter", "copysign")},
        **{name: plain(function) for name, function in {
            "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative,
            "add_any": np.add, "max": np.maximum, "min": np.minimum, "pow": np.power, "rem": np.fmod,
            "rsqrt": lambda x: 1 / np.sqrt(x), "logistic": lambda x: 1 / (1 + np.exp(-x)), "is_finite": np.isfinite,
            "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal,
            "ne": np.not_equal, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
            "not": np.invert, "stop_gradient": lambda x: x, "copy": lambda x: x, "copy_p": lambda x: x,
            "shift_right_arithmetic": np.right_shift, "erf": scipy.special.erf, "erfc": scipy.special.erfc,
            "erf_inv": scipy.special.erfinv, "lgamma": scipy.special.gammaln, "digamma": scipy.special.digamma,
            "polygamma": lambda n, x: scipy.special.polygamma(n.astype(int), x),
            "real": np.real, "imag": np.imag, "conj": np.conj, "clamp": lambda low, x, high: np.clip(x, low, high),
        }.items()},
        "integer_pow": lambda x, *, y: np.power(x, y) if y >= 0 else 1 / np.power(x, -y),
        "select_n": select_n, "dot_general": dot_general, "broadcast_in_dim": broadcast_in_dim,
        "reshape": lambda x, *, new_sizes, dimensions=None, **params: (
            x if dimensions is None else x.transpose(dimensions)).reshape(new_sizes),
        "squeeze": lambda x, *, dimensions: np.squeeze(x, tuple(dimensions)),
        "expand_dims": lambda x, *, dimensions: np.expand_dims(x, tuple(dimensions)),
        "transpose": lambda x, *, permutation: x.transpose(permutation),
        "rev": lambda x, *, dimensions: np.flip(x, tuple(dimensions)),
        "reduce_sum": over(np.sum), "reduce_max": over(np.max), "reduce_min": over(np.min),
        "reduce_prod": over(np.prod), "reduce_and": over(np.all), "reduce_or": over(np.any),
        "concatenate": lambda *xs, dimension: np.concatenate(xs, dimension),
        "dynamic_slice": dynamic_slice, "dynamic_update_slice": dynamic_update_slice, "gather": gather,
        "scatter": scatter(False), "scatter-add": scatter(True), "sort": sort,
        "lu": lu, "triangular_solve": triangular_solve, "svd": svd,
        "eigh": lambda x, **params: list(np.linalg.eigh(x)[::-1]),
        "stack": lambda *xs, axis: np.stack(xs, axis), "unstack": lambda x, *, axis: list(np.moveaxis(x, axis, 0)),
        "tile": lambda x, *, reps: np.tile(x, reps),
        "bitcast_convert_type": lambda x, *, new_dtype: x.view(new_dtype),
        "round": lambda x, *, rounding_method: np.rint(x) if rounding_method else np.trunc(x + np.copysign(0.5, x)),
        "slice": sliced, "pad": padded, "split": split,
        "iota": lambda *, dtype, shape, dimension, **params: np.broadcast_to(
            np.arange(shape[dimension]).reshape([-1 if k == dimension else 1 for k in range(len(shape))]), shape).astype(dtype),
        "convert_element_type": lambda x, *, new_dtype, **params: x.astype(new_dtype),
        "cumsum": running(np.cumsum), "cumprod": running(np.cumprod),
        "cummax": running(np.maximum.accumulate), "cummin": running(np.minimum.accumulate),
    }  # fmt: skip
