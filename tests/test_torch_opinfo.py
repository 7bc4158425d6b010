"""Value, gradient and second derivative against PyTorch, on PyTorch's own sample inputs.

PyTorch's test suite describes each of its functions by an `OpInfo`, which draws inputs that
its developers found worth trying.  Every public function of minigrad that is there too is
called on them.  Functions are matched by name through the registry and `benchmarks.peers`.
"""

from __future__ import annotations

import importlib.util
import inspect
import warnings
from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from benchmarks import peers
from minigrad.op import OPS, PUBLIC

SAMPLES = 30
"""So many samples of an op, evenly spread over those that PyTorch gives (max pooling: 1,440)."""
SECOND, LARGE = 8, 1000
"""So many of these at the second order too, if they have no more numbers than that."""
FLOOR = 295
"""So many of PyTorch's ops are matched at least; raise it with the vocabulary."""

NEEDED = ("torch", "expecttest")  # what `torch.testing._internal` imports
OURS = peers.spellings(PUBLIC)


class Skip(Exception):
    """A sample that has no counterpart here; says why."""


# --- PyTorch's arguments in our words ---------------------------------------------------------
#
# One function for each of PyTorch's ops whose arguments differ from ours, with PyTorch's
# signature after `f`, our function.  Without an entry the arguments are passed on as they are.


def takes(f: Any, keyword: str) -> bool:
    return keyword in inspect.signature(f).parameters


def axes(dim: Any) -> Any:
    return tuple(dim) if isinstance(dim, (list, tuple)) else dim


def all_if_empty(dim: Any) -> Any:
    return None if axes(dim) == () else axes(dim)


def given(**params: Any) -> dict[str, Any]:
    """The keywords that are not None."""
    return {key: value for key, value in params.items() if value is not None}


def along(f: Any, x: Any, dim: Any, *rest: Any, **params: Any) -> Any:
    """PyTorch lets a scalar have an axis 0."""
    if x.ndim == 0 and dim is not None:
        raise Skip("a scalar has no axis")
    return f(x, *rest, axis=dim, **params)


def reduce(f, x, dim=None, keepdim=False, *, dtype=None):
    return f(x, axis=all_if_empty(dim) if x.ndim else None, keepdims=keepdim, **given(dtype=dtype))


def spread(f, x, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """var and std; `dim` may be left out before `unbiased`."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    correction = 1 if correction is None else correction
    if unbiased is not None:
        correction = int(unbiased)
    count = np.prod([x.shape[a] for a in ((dim,) if isinstance(dim, int) else dim or range(x.ndim))])
    if count <= correction:
        raise Skip("no more numbers than `correction`: NaN, or infinity, by convention")
    return f(x, axis=axes(dim), correction=correction, keepdims=keepdim)


def expand(f, x, shape):
    """Where PyTorch's shape says −1, the axis stays."""
    old = (1,) * (len(shape) - x.ndim) + x.shape
    return f(x, tuple(o if n == -1 else n for n, o in zip(shape, old, strict=True)))


def swapaxes(f, x, dim0, dim1):
    if x.ndim == 0:
        raise Skip("a scalar has no axis")
    return f(x, dim0, dim1)


def concat(f, xs, dim=0):
    if len({x.ndim for x in xs}) > 1:
        raise Skip("PyTorch passes over an empty vector among matrices")
    return f(xs, axis=dim)


def permuted_pairs(padding, ndim):
    """(last axis low, high, next to last ...) as NumPy's one pair for each axis."""
    pairs = [tuple(padding[k : k + 2]) for k in range(0, len(padding), 2)][::-1]
    return tuple([(0, 0)] * (ndim - len(pairs)) + pairs)


def pad(f, x, padding, mode="constant", value=None):
    if min(padding, default=0) < 0:
        raise Skip("a negative pad crops: slice instead")
    mode = {"replicate": "edge", "circular": "wrap"}.get(mode, mode)
    return f(x, permuted_pairs(padding, x.ndim), **({} if mode == "constant" else {"mode": mode}),
             **given(constant_values=value))  # fmt: skip


def split(f, x, sizes, dim=0):
    n = x.shape[dim]
    cuts = range(sizes, n, sizes) if isinstance(sizes, int) else np.cumsum(sizes)[:-1]
    return f(x, [int(k) for k in cuts], axis=dim)


def tensor_split(f, x, parts, dim=0):
    if isinstance(parts, np.ndarray) and parts.ndim == 0:
        parts = int(parts)
    if isinstance(parts, int):
        n = x.shape[dim]
        if n % parts == 0:
            return f(x, parts, axis=dim)
        parts = np.cumsum([n // parts + (k < n % parts) for k in range(parts)])[:-1]
    return f(x, [int(k) for k in parts], axis=dim)


def squeeze(f, x, dim=None):
    dims = range(x.ndim) if dim is None else dim if isinstance(dim, tuple) else (dim,)
    return f(x, axis=tuple(d for d in dims if x.ndim and x.shape[d] == 1))


def gather(f, x, dim, index):
    if x.ndim == 0:
        raise Skip("a scalar has no axis")
    if index.size == 0:
        raise Skip("an empty index of any shape")
    crop = tuple(slice(None) if k == dim % x.ndim else slice(n) for k, n in enumerate(index.shape))
    return f(x[crop], index, axis=dim)


def index_add(f, x, dim, index, source, *, alpha=1):
    if x.ndim == 0:
        raise Skip("a scalar has no axis")
    return f(x, (slice(None),) * (dim % x.ndim) + (index,), alpha * source)


def take_along_dim(f, x, index, dim=None):
    if dim is None:
        return f(mg.reshape(x, (-1,)), index.reshape(-1), axis=0)
    n = [k for k in range(x.ndim) if k != dim % x.ndim]
    if any(x.shape[k] != index.shape[k] for k in n):
        shape = list(np.broadcast_shapes([x.shape[k] for k in n], [index.shape[k] for k in n]))
        shape.insert(dim % x.ndim, -1)
        x = mg.broadcast_to(x, tuple(x.shape[k] if s == -1 else s for k, s in enumerate(shape)))
        index = np.broadcast_to(index, tuple(index.shape[k] if s == -1 else s for k, s in enumerate(shape)))
    return f(x, index, axis=dim)


def diagonal(f, x, offset=0, dim1=0, dim2=1):
    if takes(f, "axis1"):
        return f(x, offset=offset, axis1=dim1, axis2=dim2)
    dims = dim1 % x.ndim, dim2 % x.ndim
    return f(mg.permute_dims(x, (*(k for k in range(x.ndim) if k not in dims), *dims)), offset=offset)


def vector_norm(f, x, ord=2, dim=None, keepdim=False, *, dtype=None):
    if x.ndim == 0 and dim is not None:
        raise Skip("a scalar has no axis")
    return f(x, axis=axes(dim), keepdims=keepdim, ord=ord)


def matrix_norm(f, x, ord="fro", dim=(-2, -1), keepdim=False, *, dtype=None):
    if (dim[0] % x.ndim, dim[1] % x.ndim) != (x.ndim - 2, x.ndim - 1):
        raise Skip("the standard's matrix_norm takes the last two axes")
    return f(x, keepdims=keepdim, ord=ord)


def norm(f, x, ord=None, dim=None, keepdim=False, *, dtype=None):
    if x.ndim == 0 and dim is not None:
        raise Skip("a scalar has no axis")
    try:
        return f(x, **given(ord=ord), axis=axes(dim), keepdims=keepdim)
    except mg.errors.ArgumentError:
        if ord in (None, "fro") or (x.ndim if dim is None else np.size(dim)) != 2:
            raise
        raise Skip("of matrices, norm knows Frobenius's alone: linalg.matrix_norm") from None


def old_norm(f, x, p="fro", dim=None, keepdim=False):
    """`torch.norm`: without a dim, a number as p means all elements as one vector."""
    if p != "fro" and dim is None:
        x = mg.reshape(x, (-1,))
    return norm(f, x, None if p == "fro" else p, dim, keepdim)


def einsum(f, xs, equation):
    left, _, right = equation.partition("->")
    if "..." in left and right and "..." not in right:
        raise Skip("PyTorch sums the axes of an ellipsis that the output lacks; NumPy refuses")
    return f(equation, *xs)


def tensordot(f, x, y, dims):
    pairs = zip(*dims, strict=True) if isinstance(dims, (list, tuple)) else ()
    if any(x.shape[a] != y.shape[b] for a, b in pairs):
        raise Skip("PyTorch stretches a contracted axis of size 1")
    return f(x, y, axes=axes(dims))


def solve(f, a, b):
    if b.ndim > 1 and b.shape == a.shape[:-1]:
        raise Skip("a batch of vectors is read as a matrix, as the standard has it: b[..., None]")
    return f(a, b)


def quantile(f, x, q, dim=None, keepdim=False, *, interpolation="linear"):
    if interpolation != "linear":
        raise Skip("quantiles are interpolated linearly")
    if x.ndim == 0 and dim is not None:
        raise Skip("a scalar has no axis")
    q = getattr(q, "data", q)
    return f(x, np.asarray(q).tolist(), axis=dim, keepdims=keepdim)


def cov(f, x, *, correction=1, fweights=None, aweights=None):
    if fweights is not None or aweights is not None:
        raise Skip("cov takes no weights")
    if correction >= (x.shape[-1] if x.ndim else 1):
        raise Skip("no more numbers than `correction`: NaN, or infinity, by convention")
    return f(x, correction=correction)


def diff(f, x, n=1, dim=-1, prepend=None, append=None):
    return f(x, n=n, axis=dim, **given(prepend=prepend, append=append))


def trapezoid(f, y, x=None, *, dx=1.0, dim=-1):
    return f(y, **given(x=x), dx=dx, axis=dim)


def searchsorted(f, x, values, *, out_int32=False, right=False, side=None, sorter=None):
    if x.ndim > 1:
        raise Skip("the standard's searchsorted takes a vector")
    return f(x, values, side=side or ("right" if right else "left"), **given(sorter=sorter))


def unique(f, x, sorted=True, return_inverse=False, return_counts=False, dim=None):
    if dim is not None:
        raise Skip("unique takes no axis")
    if not sorted:
        raise Skip("PyTorch's order is left open")
    return f(x, return_inverse=return_inverse, return_counts=return_counts)


def nonzero(f, x, as_tuple=False):
    if not as_tuple or x.ndim == 0:
        raise Skip("as one matrix, or of a scalar: argwhere")
    return f(x)


def matrix_rank(f, x, tol=None, *, atol=None, rtol=None):
    if atol is not None or tol is not None:
        raise Skip("the standard's matrix_rank takes no absolute tolerance")
    if np.ndim(rtol) or x.size == 0:
        raise Skip("a tolerance for each matrix, or no matrix")
    return f(x, **given(rtol=rtol))


def flatten(f, x, start_dim=0, end_dim=-1):
    if start_dim:
        raise Skip("some axes alone: reshape")
    return f(x)


def classes(f, x, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """cross_entropy and nll_loss: the classes stand on axis 1, for one sample on axis 0."""
    if target.dtype != np.int64:
        raise Skip("class probabilities as target: kl_div")
    params = given(weight=weight, ignore_index=None if ignore_index == -100 else ignore_index)
    for key in params:
        if not takes(f, key):
            raise Skip(f"no {key}: weigh or mask the losses of reduction='none'")
    return f(x, target, axis=0 if x.ndim == 1 else 1, reduction=reduction, **params)


def dropout(f, x, p=0.5, training=True):
    if training and p:
        raise Skip("drawn at random: other numbers by nature")
    return f(x, p if training else 0.0, rng=np.random.default_rng(0))


def weighted(f, x, target, **params):
    for key in ("weight", "pos_weight"):
        if key in params and not takes(f, key):
            raise Skip(f"no {key}: weigh the losses of reduction='none'")
    return f(x, target, **params)


def layer_norm(f, x, shape, *params, eps=1e-5):
    return f(x, *params, axis=tuple(range(-len(shape), 0)), eps=eps)


def rms_norm(f, x, shape, weight=None, eps=None):
    return f(x, weight, axis=tuple(range(-len(shape), 0)), eps=eps)


def batch_norm(f, x, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    if x.ndim == 1:
        raise Skip("a vector has no axis of channels")
    statistics = {} if training else {"mean": mean, "variance": var}
    return f(x, weight, bias, **statistics, eps=eps)[0]


def transposed_convolution(f, x, weight, bias=None, **params):
    wide = np.broadcast_to(params.get("output_padding", 0), (3,)) if np.ndim(params.get("output_padding", 0)) == 0 else params["output_padding"]
    if np.any(np.asarray(wide) >= np.resize(params.get("stride", 1), len(wide))) and np.any(wide):
        raise Skip("output_padding as large as the stride")
    return f(x, weight, bias, **params)


def pooling(f, x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
            divisor_override=None, dilation=1, return_indices=False):  # fmt: skip
    if divisor_override is not None and divisor_override < 1:
        raise Skip("a divisor below 1")
    asked = {"ceil_mode": (ceil_mode, False), "count_include_pad": (count_include_pad, True),
             "divisor_override": (divisor_override, None), "dilation": (dilation, 1)}  # fmt: skip
    return f(x, kernel_size, stride=stride or None, padding=padding,
             **{key: value for key, (value, default) in asked.items() if value != default})  # fmt: skip


def adaptive(f, x, size):
    """Where the size is None, the axis stays."""
    if isinstance(size, tuple):
        size = tuple(n or o for n, o in zip(size, x.shape[x.ndim - len(size) :], strict=True))
    return f(x, size)


def hardtanh(f, x, min_val=-1.0, max_val=1.0):
    if min_val == max_val:
        raise Skip("an empty slope: the function is constant")
    return f(x, min_val=min_val, max_val=max_val)


def created(f, *args, dtype=None, device=None, requires_grad=False, layout=None, **params):
    return f(*args, **given(dtype=dtype), **params)


def arange(f, start, *rest, end=None, dtype=None, device=None):
    return f(start, *(rest if end is None else (end,)), **given(dtype=dtype))


ADAPT: dict[str, Any] = {
    "__getitem__": lambda f, x, index: f(x, index),
    "add": lambda f, x, y, alpha=1: f(x, y if alpha == 1 else alpha * y),
    "sub": lambda f, x, y, alpha=1: f(x, y if alpha == 1 else alpha * y),
    "where": lambda f, x, condition, y: f(condition, x, y),
    "clamp": lambda f, x, low=None, high=None: f(x, low, high),
    "round": lambda f, x, decimals=None: f(x) if not decimals else f(x, decimals=decimals),
    "polygamma": lambda f, x, n: f(n, x),
    "special.polygamma": lambda f, x, n: f(n, x),
    "logit": lambda f, x, eps=None: f(x, **given(eps=eps)),
    "nn.functional.softplus": lambda f, x, beta=1, threshold=20: f(beta * x) / beta,
    "nn.functional.threshold": lambda f, x, threshold, value: f(x, threshold=threshold, value=value),
    "nn.functional.hardtanh": hardtanh,
    **dict.fromkeys(("zeros", "ones", "full", "eye", "linspace", "zeros_like", "ones_like", "full_like"), created),
    "arange": arange,
    # reductions
    **dict.fromkeys(("sum", "mean", "prod", "amax", "amin", "all", "any", "argmax", "argmin", "logsumexp",
                     "count_nonzero", "nansum", "nanmean", "max.reduction_no_dim", "min.reduction_no_dim",
                     "max.reduction_with_dim", "min.reduction_with_dim"), reduce),
    **dict.fromkeys(("std", "var"), spread),
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp"),
                    lambda f, x, dim, dtype=None: along(f, x, dim, **given(dtype=dtype))),
    **dict.fromkeys(("softmax", "log_softmax", "nn.functional.softmin"),
                    lambda f, x, dim, dtype=None: along(f, x, dim)),
    "quantile": quantile, "cov": cov, "diff": diff, "trapezoid": trapezoid, "trapz": trapezoid,
    "searchsorted": searchsorted, "unique": unique, "nonzero": nonzero,
    "linalg.vector_norm": vector_norm,
    "linalg.matrix_norm": matrix_norm,
    "linalg.norm": norm,
    "norm": old_norm,
    # shapes
    "broadcast_to": lambda f, x, shape: f(x, shape),
    "expand": expand,
    "reshape": lambda f, x, shape: f(x, shape),
    "view": lambda f, x, shape: f(x, shape),
    "permute": lambda f, x, dims: f(x, dims),
    "transpose": swapaxes,
    "flatten": flatten,
    **dict.fromkeys(("atleast_1d", "atleast_2d", "atleast_3d"),
                    lambda f, x: f(*x) if isinstance(x, list) else f(x)),
    "movedim": lambda f, x, source, to: f(x, axes(source), axes(to)),
    "unsqueeze": lambda f, x, dim: f(x, axis=dim),
    "squeeze": squeeze,
    "flip": lambda f, x, dims: f(x, axis=axes(dims)) if x.ndim else f(x),
    "roll": lambda f, x, shifts, dims=None: f(x, shifts, axis=dims),
    "rot90": lambda f, x, k=1, dims=(0, 1): f(x, k, axes=dims),
    "tile": lambda f, x, repeats: f(x, repeats),
    "repeat": lambda f, x, repeats: f(x, repeats),
    "repeat_interleave": lambda f, x, repeats, dim=None, output_size=None: f(x, repeats, axis=dim),
    "nn.functional.pad": pad,
    "constant_pad_nd": lambda f, x, padding, value=0: pad(f, x, padding, value=value),
    "cat": concat,
    "stack": lambda f, xs, dim=0: f(xs, axis=dim),
    "unbind": lambda f, x, dim=0: f(x, axis=dim),
    "split": split,
    "tensor_split": tensor_split,
    "tril": lambda f, x, diagonal=0: f(x, k=diagonal),
    "triu": lambda f, x, diagonal=0: f(x, k=diagonal),
    "diag": lambda f, x, diagonal=0: f(x, k=diagonal),
    "diagflat": lambda f, x, offset=0: f(x, k=offset),
    "diagonal": diagonal,
    "linalg.diagonal": lambda f, x, offset=0, dim1=-2, dim2=-1: diagonal(f, x, offset, dim1, dim2),
    "meshgrid": lambda f, *xs, indexing: f(*(xs[0] if isinstance(xs[0], list) else xs), indexing=indexing),
    # indexing
    "index_select": lambda f, x, dim, index: along(f, x, dim, index),
    "take": lambda f, x, index: f(x, index),
    "index_add": index_add,
    "index_copy": index_add,
    "take_along_dim": take_along_dim,
    "gather": gather,
    "sort": lambda f, x, dim=-1, descending=False, stable=False: along(f, x, dim, descending=descending),
    "argsort": lambda f, x, dim=-1, descending=False, stable=False: along(f, x, dim, descending=descending),
    "topk": lambda f, x, k, dim=-1, largest=True, sorted=True: along(f, x, dim, k),
    # matrices
    "einsum": einsum,
    "tensordot": tensordot,
    "linalg.solve": solve,
    "linalg.svd": lambda f, x, full_matrices=True: f(x, full_matrices=full_matrices),
    "linalg.pinv": lambda f, x, rtol=None: f(x, rtol=rtol),
    "linalg.pinv.singular": lambda f, a, b: f(mg.matmul(a, mg.matrix_transpose(b))),
    "linalg.matrix_rank": matrix_rank,
    "linalg.vecdot": lambda f, x, y, dim=-1: f(x, y, axis=dim),
    "linalg.cross": lambda f, x, y, dim=-1: f(x, y, axis=dim),
    "cross": lambda f, x, y, dim=None: f(x, y, axis=x.shape.index(3) if dim is None else dim),
    "linalg.eigh": lambda f, x, UPLO="L": f(x),
    "linalg.eigvalsh": lambda f, x, UPLO="L": f(x),
    "linalg.cholesky": lambda f, x, upper=False: f(x, upper=upper),
    # networks
    "nn.functional.one_hot": lambda f, x, num_classes=-1: f(x, n=int(x.max()) + 1 if num_classes < 0 else num_classes),
    "nn.functional.embedding": lambda f, weight, index: f(index, weight),
    "nn.functional.cross_entropy": classes,
    "nn.functional.nll_loss": classes,
    "nn.functional.binary_cross_entropy": weighted,
    "nn.functional.binary_cross_entropy_with_logits": weighted,
    "nn.functional.dropout": dropout,
    "nn.functional.batch_norm": batch_norm,
    "nn.functional.cosine_similarity": lambda f, x, y, dim=1, eps=1e-8: (
        along(f, x, dim, y, eps=eps)),
    "nn.functional.layer_norm": layer_norm,
    "nn.functional.rms_norm": rms_norm,
    "nn.functional.adaptive_avg_pool2d": adaptive,
    "nn.functional.adaptive_avg_pool3d": adaptive,
    **dict.fromkeys([f"nn.functional.conv_transpose{d}d" for d in (1, 2, 3)], transposed_convolution),
    **dict.fromkeys([f"nn.functional.{m}_pool{d}d" for d in (1, 2, 3) for m in ("max", "avg")], pooling),
}  # fmt: skip

def index_put(accumulating: bool) -> Any:
    def call(f, x, indices, values, accumulate=False):
        if accumulate != accumulating:
            raise Skip("index_put is index_add where it accumulates, else index_update")
        return f(x, tuple(indices), values)

    return call


OURS_ALONE = {
    ("index_add", "index_put"): index_put(True),
    ("index_update", "index_put"): index_put(False),
    ("squared_error", "nn.functional.mse_loss"): lambda f, x, target, reduction="mean": (
        2 * f(x, target, reduction=reduction)),
}  # fmt: skip
"""Where one of PyTorch's ops has two counterparts here."""

DRAWN = ("normal",)
"""Other numbers by nature."""

FIRST = ("max.reduction_with_dim", "min.reduction_with_dim", "cummax", "cummin", "sort",
         "nn.functional.max_pool1d", "nn.functional.max_pool2d", "nn.functional.max_pool3d")  # fmt: skip
"""PyTorch's gives (values, indices) where ours gives the values."""

THEIRS: dict[str, Any] = {
    # PyTorch reads one triangle, minigrad the symmetric part: give it the symmetric part
    "linalg.eigh": lambda call, x, **kw: call((x + x.mT) / 2, **kw),
    "linalg.eigvalsh": lambda call, x, **kw: call((x + x.mT) / 2, **kw),
    # the rank is metadata here: PyTorch's derivative for it has no counterpart
    "quantile": lambda call, x, q, **kw: call(x, getattr(q, "data", q), **kw),
    # beyond its threshold PyTorch's softplus is x; ours is smooth everywhere
    "nn.functional.softplus": lambda call, x, beta=1, threshold=20: call(x, beta=beta, threshold=1e3),
}
"""How PyTorch's is called so that it means the same."""


def signs(ours: Any, theirs: Any, axis: int) -> Any:
    """±1 for each of their vectors, so that it points where ours does."""
    import torch

    return torch.from_numpy(np.sign(np.sum(ours.data * theirs.numpy(force=True), axis, keepdims=True)))


def thin(u: Any, s: Any, vh: Any) -> tuple[Any, Any, Any]:
    """The vectors that belong to singular values; the others are any basis of the rest."""
    k = s.shape[-1]
    return u[..., :k], s, vh[..., :k, :]


def svd(a: Any, b: Any) -> Any:
    a, (u, s, vh) = thin(*a), thin(*b)
    which = signs(a[0], u, -2)
    return a, (u * which, s, vh * which.mT)


def qr(a: Any, b: Any) -> Any:
    which = signs(a[0], b[0], -2)
    return a, (b[0] * which, b[1] * which.mT)


ALIGN: dict[str, Any] = {
    "linalg.eigh": lambda a, b: (a, (b[0], b[1] * signs(a[1], b[1], -2))),
    "linalg.svd": svd,
    "linalg.qr": qr,
}
"""(ours, theirs) made comparable, where a factor is defined but for signs."""

RTOL: dict[str, tuple[float, float, float]] = {
    # value, gradient, second derivative; (1e-12, 1e-11, 1e-10) for the others
    "nn.functional.hardsigmoid": (1e-12, 1e-8, 1e-10),  # PyTorch's slope is 1/6 in single precision
    # PyTorch divides by p(1 − p) + 1e-12 at the second order
    "nn.functional.binary_cross_entropy": (1e-12, 1e-11, 1e-6),
}

def spectral(sample: Any) -> bool:
    return sample.kwargs.get("ord", (*sample.args, None)[0]) in ("nuc", 2, -2) and sample.input.ndim > 1


DIFFER: dict[str, list[tuple[str, Any, str]]] = {
    # PyTorch's name -> what of it differs (how the complaint starts), for which samples, and why
    "linalg.norm.subgradients_at_zero": [
        ("second derivative", lambda sample: True, "the norm at 0: PyTorch's second derivative is NaN, ours 0"),
        ("gradient", spectral, "a norm of singular values at 0: the gradient is any matrix of norm 1, ours 0"),
    ],
}
"""Disagreements by nature; they count as skipped, under their reason."""


# --- matching ----------------------------------------------------------------------------------


@cache
def op_db() -> tuple[Any, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db as db
    return tuple(db)


def drawable(info: Any) -> Any:
    """The dtype to draw samples in, or None."""
    import torch

    return next((d for d in (torch.float64, torch.int64, torch.bool) if d in info.dtypes), None)


@cache
def matched() -> list[tuple[str, Any]]:
    """Pairs of our function's name and an OpInfo."""
    by_name: dict[str, dict[str, Any]] = {}
    for info in filter(drawable, op_db()):
        for name in (info.name, info.full_name, info.full_name + ".", *(peers.short(n) for n in (
                info.name, *(alias.name for alias in info.aliases)))):  # fmt: skip
            by_name.setdefault(name, {})[info.full_name] = info
    pairs = []
    for ours, names in OURS.items():
        if ours in DRAWN:
            continue
        theirs = peers.in_torch(names)
        if theirs is None:
            theirs = tuple(dict.fromkeys(peers.short(name) for name in names))
        else:
            assert all(name in by_name for name in theirs), f"PyTorch has no op {theirs}"
        found = {full: info for name in theirs for full, info in by_name.get(name, {}).items()}
        pairs += [(ours, info) for info in found.values()]
    return pairs


def pytest_generate_tests(metafunc: Any) -> None:
    if "info" in metafunc.fixturenames:
        there = all(importlib.util.find_spec(name) for name in NEEDED)
        pairs = matched() if there else [("all", None)]
        metafunc.parametrize(("ours", "info"), pairs,
                             ids=[f"{a}-{b.full_name if b else 'ops'}" for a, b in pairs])  # fmt: skip


# --- running both --------------------------------------------------------------------------------


class Sides:
    """A sample's arguments for PyTorch and for us, with its leaves on both sides."""

    def __init__(self, torch: Any, sample: Any) -> None:
        self.torch = torch
        self.pairs: dict[int, tuple[Any, Any, Any]] = {}
        self.theirs = self.args(sample, 0), {k: self.side(v, 0) for k, v in sample.kwargs.items()}
        self.ours = self.args(sample, 1), {k: self.side(v, 1) for k, v in sample.kwargs.items()}
        leaves = [(a, b) for _, a, b in self.pairs.values() if a.requires_grad]
        self.leaves = [a for a, _ in leaves], [b for _, b in leaves]

    def args(self, sample: Any, which: int) -> tuple[Any, ...]:
        return tuple(self.side(v, which) for v in (sample.input, *sample.args))

    def side(self, value: Any, which: int) -> Any:
        torch = self.torch
        if isinstance(value, torch.Tensor):
            if id(value) not in self.pairs:
                plain = value.detach()
                theirs = plain.clone().requires_grad_(value.requires_grad)
                array = np.array(plain.numpy())
                ours = mg.tensor(array, requires_grad=True) if value.requires_grad else array
                self.pairs[id(value)] = value, theirs, ours
            return self.pairs[id(value)][1 + which]
        if isinstance(value, torch.Size):
            return tuple(value)
        if isinstance(value, (list, tuple)):
            parts = [self.side(v, which) for v in value]
            return parts if isinstance(value, list) else tuple(parts)
        if which and isinstance(value, torch.dtype):
            return np.dtype(str(value).removeprefix("torch."))
        return value


def flat(y: Any) -> list[Any]:
    return list(y) if isinstance(y, (tuple, list)) else [y]


def close(got: Any, want: Any, rtol: float) -> str:
    """What differs, or nothing."""
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        return f"shape {got.shape}, PyTorch's {want.shape}"
    if want.dtype.kind != "f":
        return "" if np.array_equal(got, want) else f"{got} is not {want}"
    finite = np.isfinite(want)
    if not np.array_equal(got[~finite], want[~finite], equal_nan=True):
        return f"{got[~finite]} where PyTorch has {want[~finite]}"
    scale = 1 + np.max(np.abs(want), where=finite, initial=0)
    error = np.max(np.abs(got - want), where=finite, initial=0)
    return "" if error <= rtol * scale else f"off by {error:.2g} at scale {scale:.2g}"


def contracted(outputs: list[Any], weights: list[Any], total: Any) -> Any:
    for y, w in zip(outputs, weights, strict=True):
        total = total + (y * w).sum()
    return total


def gradients(total: Any, leaves: list[Any]) -> list[Any]:
    """Recorded gradients of ours: None where nothing flows."""
    for leaf in leaves:
        leaf.grad = None
    if total.requires_grad:
        total.backward(create_graph=True)
    return [leaf.grad for leaf in leaves]


def numbers(g: Any) -> np.ndarray:
    return g.numpy() if isinstance(g, mg.Tensor) else g.numpy(force=True)


def zeros_for_none(grads: list[Any], leaves: list[Any]) -> list[np.ndarray]:
    return [np.zeros(tuple(x.shape)) if g is None else numbers(g) for g, x in zip(grads, leaves, strict=True)]


def differences(torch: Any, ours: str, info: Any, sample: Any, second: bool, rng: Any) -> str:
    """Run one sample on both sides; what differs first, or nothing."""
    name, f = info.full_name, PUBLIC[ours]
    sides = Sides(torch, sample)
    adapt = OURS_ALONE.get((ours, name)) or ADAPT.get(name) or ADAPT.get(info.name) or (
        lambda f, *args, **kwargs: f(*args, **kwargs))  # fmt: skip
    args, kwargs = sides.ours
    inspect.signature(adapt).bind(f, *args, **kwargs)
    mine = flat(adapt(f, *args, **kwargs))
    args, kwargs = sides.theirs
    call = THEIRS.get(info.name, lambda call, *args, **kwargs: call(*args, **kwargs))
    yours = call(info.op, *args, **kwargs)
    yours = [yours[0] if isinstance(yours, tuple) else yours] if name in FIRST or info.name in FIRST else flat(yours)
    if info.name in ALIGN:
        mine, yours = map(flat, ALIGN[info.name](mine, yours))
    if len(mine) != len(yours):
        return f"{len(mine)} outputs, PyTorch's {len(yours)}"
    rtol = RTOL.get(info.name, (1e-12, 1e-11, 1e-10))
    for k, (a, b) in enumerate(zip(mine, yours, strict=True)):
        if bad := close(a.numpy(), b.numpy(force=True), rtol[0]):
            return f"value {k}: {bad}"
    both = [(a, b) for a, b in zip(mine, yours, strict=True) if b.dtype == torch.float64 and b.requires_grad]
    if not both:
        return ""
    seeds = [rng.normal(size=a.shape) for a, _ in both]
    leaves, their_leaves = sides.leaves[1], sides.leaves[0]
    total = contracted([a for a, _ in both], seeds, 0.0)
    their_total = contracted([b for _, b in both], [torch.tensor(s) for s in seeds], 0.0)
    first = gradients(total, leaves)
    theirs = torch.autograd.grad(their_total, their_leaves, create_graph=info.supports_gradgrad, allow_unused=True)
    for k, (a, b) in enumerate(zip(zeros_for_none(first, leaves), zeros_for_none(theirs, their_leaves), strict=True)):
        if bad := close(a, b, rtol[1]):
            return f"gradient {k}: {bad}"
    if not (second and info.supports_gradgrad and sum(x.size for x in leaves) <= LARGE):
        return ""
    weights = [rng.normal(size=x.shape) for x in leaves]
    total = contracted([g for g in first if g is not None],
                       [w for g, w in zip(first, weights, strict=True) if g is not None], mg.tensor(0.0))  # fmt: skip
    their_total = contracted([g for g in theirs if g is not None],
                             [torch.tensor(w) for g, w in zip(theirs, weights, strict=True) if g is not None],
                             torch.tensor(0.0))  # fmt: skip
    again = gradients(total, leaves)
    theirs = (torch.autograd.grad(their_total, their_leaves, allow_unused=True) if their_total.requires_grad
              else [None] * len(leaves))  # fmt: skip
    for k, (a, b) in enumerate(zip(zeros_for_none(again, leaves), zeros_for_none(theirs, their_leaves), strict=True)):
        if bad := close(a, b, rtol[2]):
            return f"second derivative {k}: {bad}"
    return ""


def samples_of(torch: Any, info: Any) -> list[Any]:
    dtype = drawable(info)
    grad = info.supports_autograd and dtype == torch.float64
    every = list(info.sample_inputs("cpu", dtype, requires_grad=grad))
    return every[:: -(-len(every) // SAMPLES)]


def shown(sample: Any) -> str:
    def show(v: Any) -> str:
        if hasattr(v, "shape"):
            return f"{str(v.dtype).removeprefix('torch.')}{list(v.shape)}"
        if isinstance(v, (list, tuple)):
            return f"({', '.join(map(show, v))})"
        return repr(v)

    return ", ".join([*map(show, (sample.input, *sample.args)), *(f"{k}={show(v)}" for k, v in sample.kwargs.items())])


@pytest.mark.filterwarnings("ignore")
def test_op(torch, ours, info, record_property):
    pytest.importorskip("expecttest", reason="PyTorch's samples need expecttest")
    torch.manual_seed(0)
    rng = np.random.default_rng(7)
    skipped: Counter[str] = Counter()
    failures = []
    samples = samples_of(torch, info)
    compared = 0
    with np.errstate(all="ignore"):
        for k, sample in enumerate(samples):
            second = k % -(-len(samples) // SECOND) == 0
            try:
                bad = differences(torch, ours, info, sample, second, rng)
            except Skip as why:
                skipped[str(why)] += 1
                continue
            except Exception as error:
                bad = f"{type(error).__name__}: {error}"
            by_nature = [why for start, which, why in DIFFER.get(info.full_name, ())
                         if bad.startswith(start) and which(sample)]  # fmt: skip
            if by_nature:
                skipped[by_nature[0]] += 1
                continue
            compared += 1
            if bad:
                failures.append(f"{ours}({shown(sample)}): {bad}")
    record_property("opinfo", {"op": info.full_name, "ours": ours, "compared": compared, "failed": len(failures),
                               "skipped": dict(skipped)})  # fmt: skip
    assert not failures, f"{len(failures)} of {compared} samples:\n" + "\n".join(failures[:5])
    assert compared, f"every sample was skipped: {dict(skipped)}"


@pytest.mark.parametrize(("factor", "seen"), [
    (lambda y: 1 + 1e-9 - y * y, "gradient 0"),  # a little wrong
    (lambda y: 1 - y.detach() ** 2 if isinstance(y, mg.Tensor) else 1 - y * y, "second derivative 0"),
], ids=["first order", "second order"])  # fmt: skip
def test_a_wrong_rule_is_seen(torch, monkeypatch, factor, seen):
    pytest.importorskip("expecttest", reason="PyTorch's samples need expecttest")
    info = next(info for ours, info in matched() if ours == "tanh")
    sample = samples_of(torch, info)[0]
    assert differences(torch, "tanh", info, sample, True, np.random.default_rng(0)) == ""
    op = OPS["tanh"]
    monkeypatch.setattr(type(op), "__setattr__", object.__setattr__)
    monkeypatch.setattr(op, "rules", (lambda g, y, x: g * factor(y),))
    assert differences(torch, "tanh", info, sample, True, np.random.default_rng(0)).startswith(seen)


def test_as_many_ops_are_matched_as_ever(torch):
    pytest.importorskip("expecttest", reason="PyTorch's samples need expecttest")
    assert len({info.full_name for _, info in matched()}) >= FLOOR
