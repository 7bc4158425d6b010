"""Every op with a derivative beside PyTorch, autograd and mygrad: forward, and forward + backward.

All record for the gradient, in eager mode, on float32.  Columns with a slash are minigrad's time
relative to the peer's (below 1: minigrad is faster), medians over rounds in which all took turns.
A peer that lacks the op, or computes another gradient, is "not available" in that row.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import exp, log
from typing import Any

import numpy as np

import minigrad as mg
from benchmarks import peers, timing
from minigrad.op import PUBLIC, domain_of, draw_samples

PEERS = ("torch", "autograd", "mygrad")


@dataclass(frozen=True)
class Size:
    """What small and large mean: of an array, of a square matrix, of images and their filters."""

    name: str
    shape: tuple[int, int]
    n: int
    images: tuple[int, int, int, int]  # batch, channels, height, width
    filters: int


SIZES = (
    Size("small", (1, 32), 32, (1, 3, 8, 8), 4),
    Size("large", (256, 1024), 256, (8, 16, 32, 32), 32),
)

Call = Callable[..., Any]  # call(f, *arrays), in minigrad's words
Draw = Callable[[np.random.Generator, Size], tuple[tuple[Any, ...], Call]]


# --- what the ops that are not elementwise are called with ------------------------------------


def _with(**params: Any) -> Call:
    return lambda f, *xs: f(*xs, **params)


def _array(**params: Any) -> Draw:
    """One array and metadata."""
    return lambda rng, s: ((rng.normal(size=s.shape),), _with(**params))


def _near_one(**params: Any) -> Draw:
    """One array whose products neither vanish nor overflow."""
    return lambda rng, s: ((1 + 0.01 * rng.normal(size=s.shape),), _with(**params))


def _arrays(call: Call, count: int = 2) -> Draw:
    return lambda rng, s: (tuple(rng.normal(size=(count, *s.shape))), call)


def _called(call: Call) -> Draw:
    return lambda rng, s: ((rng.normal(size=s.shape),), call)


def _square(rng: np.random.Generator, s: Size) -> Any:
    """A matrix that is far from singular, with its eigenvalues apart."""
    return rng.normal(size=(s.n, s.n)) / s.n + np.diag(np.linspace(1, 2, s.n))


def _matrix(call: Call = lambda f, a: f(a)) -> Draw:
    return lambda rng, s: ((_square(rng, s),), call)


def _two_matrices(call: Call) -> Draw:
    return lambda rng, s: ((_square(rng, s), _square(rng, s)), call)


def _positive(rng: np.random.Generator, s: Size) -> Any:
    a = _square(rng, s)
    return ((a @ a.T + a.T @ a) / 2,), _with()


def _sides(s: Size, d: int) -> list[int]:
    return [4, *s.images[2:]][3 - d :]


def _convolution(d: int, transposed: bool = False) -> Draw:
    def draw(rng: np.random.Generator, s: Size) -> tuple[tuple[Any, ...], Call]:
        filters = (s.filters, s.images[1])[:: -1 if transposed else 1]
        return (rng.normal(size=(*s.images[:2], *_sides(s, d))), rng.normal(size=(*filters, *[3] * d))), _with()

    return draw


def _pooling(d: int, to: int = 2) -> Draw:
    return lambda rng, s: ((rng.normal(size=(*s.images[:2], *_sides(s, d))),), lambda f, x: f(x, to))


def _classes(rng: np.random.Generator, s: Size) -> Any:
    rows, n = s.shape
    return (rng.normal(size=(rows, n)), rng.integers(0, n, rows)), _with()


def _affine(call: Call) -> Draw:
    """An array, and a scale and a shift along its last axis."""
    return lambda rng, s: ((rng.normal(size=s.shape), *rng.normal(size=(2, s.shape[-1]))), call)


def _rows(rng: np.random.Generator, s: Size) -> Any:
    return rng.normal(size=s.shape), rng.integers(0, s.shape[0], s.shape[0])


def _probabilities(rng: np.random.Generator, s: Size) -> Any:
    return tuple(rng.uniform(0.05, 0.95, (2, *s.shape))), _with()


CASES: dict[str, Draw] = {
    # reductions, scans and order
    **dict.fromkeys(("sum", "mean", "max", "min", "var", "std", "logsumexp", "linalg.norm", "linalg.vector_norm",
                     "softmax", "log_softmax", "softmin", "cumulative_sum", "cumsum", "sort", "diff", "trapezoid",
                     "nansum", "nanmean", "ptp", "median", "average", "normalize"), _array(axis=-1)),
    **dict.fromkeys(("prod", "cumulative_prod", "cumprod"), _near_one(axis=-1)),
    "quantile": _called(lambda f, x: f(x, 0.3, axis=-1)),
    "percentile": _called(lambda f, x: f(x, 30, axis=-1)),
    "topk": _called(lambda f, x: f(x, 5)[0]),
    "cov": _matrix(),
    # elementwise, with something to say
    "clip": _called(lambda f, x: f(x, -0.5, 0.5)),
    "threshold": _array(threshold=0.1, value=-1.0),
    "polygamma": lambda rng, s: ((rng.uniform(0.5, 3, s.shape),), lambda f, x: f(1, x)),
    "astype": _called(lambda f, x: f(x, np.float32)),
    "dropout": _called(lambda f, x: f(x, 0.5)),
    # shapes
    "reshape": _array(shape=(-1,)),
    **dict.fromkeys(("ravel", "transpose", "matrix_transpose", "linalg.matrix_transpose", "rot90", "flipud", "fliplr",
                     "tril", "triu", "atleast_1d", "atleast_2d", "atleast_3d"), _array()),
    "permute_dims": _array(axes=(1, 0)),
    **dict.fromkeys(("swapaxes", "moveaxis"), _called(lambda f, x: f(x, 0, 1))),
    "expand_dims": _array(axis=0),
    "squeeze": lambda rng, s: ((rng.normal(size=(1, *s.shape)),), _with(axis=0)),
    "flip": _array(axis=-1),
    "roll": _called(lambda f, x: f(x, 3, axis=-1)),
    "tile": _called(lambda f, x: f(x, (2, 1))),
    "repeat": _called(lambda f, x: f(x, 2, axis=0)),
    "pad": _called(lambda f, x: f(x, ((1, 1), (2, 2)))),
    "broadcast_to": lambda rng, s: ((rng.normal(size=s.shape[-1]),), _with(shape=s.shape)),
    "broadcast_arrays": lambda rng, s: ((rng.normal(size=s.shape), rng.normal(size=s.shape[-1])), _with()),
    **dict.fromkeys(("concat", "stack"), _arrays(lambda f, *xs: f(list(xs), axis=0))),
    **dict.fromkeys(("hstack", "vstack", "dstack", "column_stack"), _arrays(lambda f, *xs: f(list(xs)))),
    "unstack": _array(axis=0),
    **dict.fromkeys(("split", "array_split"), _called(lambda f, x: f(x, 2, axis=-1))),
    "hsplit": _called(lambda f, x: f(x, 2)),
    **dict.fromkeys(("diag", "diagonal", "linalg.diagonal", "trace", "linalg.trace"), _matrix()),
    "meshgrid": lambda rng, s: (tuple(rng.normal(size=(2, s.n))), _with(indexing="ij")),
    "sliding_window_view": _called(lambda f, x: f(x, 3, axis=-1)),
    # indexing
    "getitem": lambda rng, s: (_rows(rng, s), lambda f, x, rows: f(x, rows)),
    "take": lambda rng, s: (_rows(rng, s), _with(axis=0)),
    "embedding": lambda rng, s: (_rows(rng, s)[::-1], _with()),
    "take_along_axis": lambda rng, s: (
        (rng.normal(size=s.shape), rng.integers(0, s.shape[1], s.shape)), _with(axis=-1)),
    "where": lambda rng, s: ((rng.random(s.shape) < 0.5, *rng.normal(size=(2, *s.shape))), _with()),
    "index_add": lambda rng, s: ((*_rows(rng, s), rng.normal(size=s.shape)), _with()),
    "index_update": lambda rng, s: (
        (rng.normal(size=s.shape), rng.permutation(s.shape[0]), rng.normal(size=s.shape)), _with()),
    # matrices
    **dict.fromkeys(("matmul", "linalg.matmul", "inner", "dot"), _two_matrices(_with())),
    "tensordot": _two_matrices(_with(axes=1)),
    "einsum": _two_matrices(lambda f, a, b: f("ij,jk->ik", a, b)),
    "linalg.multi_dot": _two_matrices(lambda f, a, b: f([a, b, a])),
    "outer": lambda rng, s: (tuple(rng.normal(size=(2, s.n))), _with()),
    "kron": lambda rng, s: (tuple(rng.normal(size=(2, s.n // 8, s.n // 8))), _with()),
    "vecdot": _arrays(_with()),
    "cross": lambda rng, s: (tuple(rng.normal(size=(2, s.shape[0] * s.shape[1] // 4, 3))), _with()),
    **dict.fromkeys(("linalg.inv", "linalg.det", "linalg.slogdet", "linalg.qr", "linalg.svdvals", "linalg.pinv",
                     "linalg.matrix_norm"), _matrix()),
    "linalg.svd": _matrix(_with(full_matrices=False)),
    **dict.fromkeys(("linalg.cholesky", "linalg.eigh", "linalg.eigvalsh"), _positive),
    "linalg.matrix_power": _matrix(lambda f, a: f(a, 3)),
    "linalg.solve": lambda rng, s: ((_square(rng, s), rng.normal(size=(s.n, 4))), _with()),
    # networks
    **{f"conv{d}d": _convolution(d) for d in (1, 2, 3)},
    **{f"conv_transpose{d}d": _convolution(d, transposed=True) for d in (1, 2, 3)},
    **{f"{kind}_pool{d}d": _pooling(d) for kind in ("max", "avg") for d in (1, 2, 3)},
    **{f"adaptive_avg_pool{d}d": _pooling(d, 4) for d in (1, 2)},
    **dict.fromkeys(("cross_entropy", "nll_loss"), _classes),
    **dict.fromkeys(("binary_cross_entropy", "kl_div"), _probabilities),
    **dict.fromkeys(("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss", "squared_error", "cosine_similarity",
                     "binary_cross_entropy_with_logits"), _arrays(_with())),
    "layer_norm": _affine(_with()),
    "batch_norm": lambda rng, s: ((rng.normal(size=s.images), *rng.normal(size=(2, s.images[1]))),
                                  lambda f, x, w, b: f(x, w, b)[0]),
    "rms_norm": lambda rng, s: ((rng.normal(size=s.shape), rng.normal(size=s.shape[-1])), _with()),
    "group_norm": lambda rng, s: ((rng.normal(size=s.images), *rng.normal(size=(2, s.images[1]))),
                                  lambda f, x, w, b: f(x, x.shape[1], w, b)),
    "linear": lambda rng, s: ((rng.normal(size=s.shape), rng.normal(size=(s.n, s.shape[1])), rng.normal(size=s.n)),
                              _with()),
}  # fmt: skip
"""Inputs and the call, in minigrad's words; elementwise ops draw from their domains."""

IN_TORCH: dict[str, Callable[[Any], Call]] = {
    "astype": lambda torch: lambda x, dtype: x.to(torch.float32, copy=True),
    "batch_norm": lambda torch: lambda x, w, b: [torch.nn.functional.batch_norm(x, None, None, w, b, training=True)],
    "broadcast_to": lambda torch: lambda x, shape: torch.broadcast_to(x, shape),
    "dot": lambda torch: torch.matmul,
    "dropout": lambda torch: torch.nn.functional.dropout,
    "hsplit": lambda torch: torch.hsplit,
    "flip": lambda torch: lambda x, axis: torch.flip(x, (axis,)),
    "getitem": lambda torch: lambda x, index: x[index],
    "index_add": lambda torch: lambda x, index, values: torch.index_add(x, 0, index, values),
    "index_update": lambda torch: lambda x, index, values: torch.index_copy(x, 0, index, values),
    "layer_norm": lambda torch: lambda x, w, b: torch.nn.functional.layer_norm(x, w.shape, w, b),
    "matrix_transpose": lambda torch: lambda x: x.mT,
    "linalg.matrix_transpose": lambda torch: lambda x: x.mT,
    "max": lambda torch: torch.amax,
    "min": lambda torch: torch.amin,
    "pad": lambda torch: lambda x, width: torch.nn.functional.pad(x, (*width[1], *width[0])),
    "polygamma": lambda torch: lambda n, x: torch.polygamma(n, x),
    "roll": lambda torch: lambda x, shift, axis: torch.roll(x, shift, axis),
    "rms_norm": lambda torch: lambda x, w: torch.nn.functional.rms_norm(x, w.shape, w),
    "sliding_window_view": lambda torch: lambda x, n, axis: x.unfold(axis, n, 1),
    "sort": lambda torch: lambda x, axis: torch.sort(x, axis)[0],
    "split": lambda torch: lambda x, parts, axis: torch.tensor_split(x, parts, axis),
    "squared_error": lambda torch: lambda x, y: 0.5 * torch.nn.functional.mse_loss(x, y, reduction="sum"),
    "std": lambda torch: lambda x, axis: torch.std(x, axis, correction=0),
    "take": lambda torch: lambda x, index, axis: torch.index_select(x, axis, index),
    "transpose": lambda torch: lambda x: x.T,
    "var": lambda torch: lambda x, axis: torch.var(x, axis, correction=0),
}
"""Where PyTorch's name, or its arguments, are not found by `peers.in_torch` and `TO_TORCH`."""

TO_TORCH = {"axis": "dim", "keepdims": "keepdim", "axes": "dims"}


NUMPY_LIKE = {"getitem": lambda x, index: x[index], "matrix_transpose": lambda x: x.T}
"""What autograd and mygrad have, but not as a function of our name."""

NUMPY_NAMES = {
    "cross_entropy": ("softmax_crossentropy",), "cumulative_prod": ("cumprod",), "cumulative_sum": ("cumsum",),
    "linalg.diagonal": ("diagonal",), "linalg.matmul": ("matmul",), "linalg.trace": ("trace",),
    "log_softmax": ("logsoftmax",), "sigmoid": ("expit",),
}  # fmt: skip

OF_ITS_OWN = {"dropout", "linalg.eigh", "linalg.qr", "linalg.svd", "sort", "topk"}
"""Each library draws, chooses signs of vectors or orders ties for itself: gradients are not compared."""


# --- rivals -------------------------------------------------------------------------------------


@dataclass
class Rival:
    """One library on one op: two programs, and what comes out."""

    forward: Callable[[], Any]
    backward: Callable[[], Sequence[Any]]  # forward and backward: the gradients


def _is_float(x: Any) -> bool:
    return np.asarray(x).dtype.kind == "f"


def by_minigrad(function: Call, arrays: Sequence[Any], call: Call, seeds: Seeds) -> Rival:
    args = [mg.tensor(x, requires_grad=True) if _is_float(x) else x for x in arrays]
    leaves = [a for a in args if isinstance(a, mg.Tensor)]
    pull = seeds.pull(mg.tensor, mg.sum)

    def forward() -> Any:
        return call(function, *args)

    def backward() -> list[Any]:
        for x in leaves:
            x.grad = None
        pull(forward())
        return [None if x.grad is None else x.grad.data for x in leaves]

    return Rival(forward, backward)


def by_torch(names: Sequence[str], arrays: Sequence[Any], call: Call, seeds: Seeds) -> Rival:
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(timing.threads())
    function = _found_in_torch(torch, names)
    args = [torch.tensor(x, requires_grad=_is_float(x)) for x in arrays]
    leaves = [a for a in args if a.requires_grad]
    pull = seeds.pull(torch.tensor, torch.sum)

    def forward() -> Any:
        return call(function, *args)

    def backward() -> list[Any]:
        for x in leaves:
            x.grad = None
        pull(forward())
        return [None if x.grad is None else x.grad.numpy() for x in leaves]

    return Rival(forward, backward)


def _found_in_torch(torch: Any, names: Sequence[str]) -> Call:
    for name in names:
        if name in IN_TORCH:
            return IN_TORCH[name](torch)
    wanted = peers.in_torch(names)
    if wanted is None:
        wanted = tuple(prefix + spelling for name in names for prefix in peers.PREFIXES
                       for spelling in dict.fromkeys((name, peers.short(name))))  # fmt: skip
    for name in wanted:
        with suppress(AttributeError):
            found = _dotted(torch, name.removesuffix(".no_rounding_mode").removesuffix("."))
            return lambda *xs, **kw: found(*xs, **{TO_TORCH.get(k, k): v for k, v in kw.items()})
    raise LookupError(f"torch has none of {wanted}")


def by_autograd(names: Sequence[str], arrays: Sequence[Any], call: Call, seeds: Seeds) -> Rival:
    space: Any = importlib.import_module("autograd.numpy")
    core: Any = importlib.import_module("autograd.core")
    make_vjp, vspace = core.make_vjp, core.vspace
    special: Any = importlib.import_module("autograd.scipy.special") if _there("scipy") else space
    function = _found((space, special), names, lambda f: (  # it wraps all of NumPy, rule or no rule
        f in core.primitive_vjps or not getattr(f, "_is_autograd_primitive", False)))  # fmt: skip
    places = [k for k, x in enumerate(arrays) if _is_float(x)]

    def on(xs: Any) -> Any:
        args = list(arrays)
        for k, x in zip(places, xs if several else (xs,), strict=True):
            args[k] = x
        y = call(function, *args)
        return seeds.total(y, space.sum) if seeds.several else y

    several = len(places) > 1
    start = tuple(arrays[k] for k in places) if several else arrays[places[0]]

    def forward() -> Any:
        return make_vjp(on, start)

    def backward() -> Sequence[Any]:
        pull, y = make_vjp(on, start)
        g = pull(vspace(y).ones() if seeds.several else seeds.arrays[0])
        return g if several else (g,)

    return Rival(forward, backward)


def by_mygrad(names: Sequence[str], arrays: Sequence[Any], call: Call, seeds: Seeds) -> Rival:
    space: Any = importlib.import_module("mygrad")
    nnet: Any = importlib.import_module("mygrad.nnet")
    function = _found((space, nnet.activations, nnet.losses, nnet.layers), names)
    args = [space.tensor(x) if _is_float(x) else x for x in arrays]
    leaves = [a for a in args if isinstance(a, space.Tensor)]

    def forward() -> Any:
        return call(function, *args)

    def backward() -> list[Any]:
        y = forward()
        if seeds.several:
            seeds.total(y, space.sum).backward()
        else:
            y.backward(seeds.arrays[0])
        return [x.grad for x in leaves]

    return Rival(forward, backward)


def _found(spaces: Iterable[Any], names: Sequence[str], differentiable: Call = lambda f: True) -> Call:
    for name in names:
        if name in NUMPY_LIKE:
            return NUMPY_LIKE[name]
    names = [n for name in names for n in (name, *NUMPY_NAMES.get(name, ()))]
    for space in spaces:
        for name in names:
            with suppress(AttributeError):
                if differentiable(found := _dotted(space, name)):
                    return found  # type: ignore[no-any-return]
    raise LookupError(f"none of {names}")


def _dotted(space: Any, name: str) -> Any:
    for part in name.split("."):
        space = getattr(space, part)
    return space


def _there(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


class Seeds:
    """A cotangent for each output.  Several outputs are contracted with theirs and summed, by
    every rival alike; one output is pulled back as it is."""

    def __init__(self, y: Any, rng: np.random.Generator) -> None:
        self.several = isinstance(y, (tuple, list))
        self.arrays = [rng.normal(size=part.shape).astype(np.float32) for part in (y if self.several else (y,))]

    def total(self, y: Any, add: Call, arrays: Sequence[Any] | None = None) -> Any:
        parts = [add(part * s) for part, s in zip(y, arrays or self.arrays, strict=True)]
        return sum(parts[1:], parts[0])

    def pull(self, make: Call, add: Call) -> Call:
        """What calls ``.backward`` on the output of a library that has it."""
        arrays = [make(s) for s in self.arrays]
        if self.several:
            return lambda y: self.total(y, add, arrays).backward()
        return lambda y: y.backward(arrays[0])


# --- the table ------------------------------------------------------------------------------------


def differentiable() -> dict[str, tuple[str, ...]]:
    """Public functions with a derivative, and all their names."""
    return {name: names for name, names in peers.spellings(PUBLIC).items()
            if getattr(getattr(PUBLIC[name], "op", None), "differentiable", False) or _case(names)}  # fmt: skip


def _case(names: Iterable[str]) -> Draw | None:
    return next((CASES[name] for name in names if name in CASES), None)


def _inputs(names: Sequence[str], size: Size) -> tuple[str, tuple[Any, ...], Call]:
    rng = np.random.default_rng(0)
    draw, op = _case(names), getattr(PUBLIC[names[0]], "op", None)
    where, call = size.name, _with()
    if draw is not None:
        arrays, call = draw(rng, size)
    elif op.elementwise:
        arrays = tuple(domain_of(op, i).draw(rng, size.shape) for i in range(op.arity))
    else:  # an op that the table does not know: what it tries itself on
        where, (arrays, params) = "sample", next(draw_samples(op, rng))
        call = (lambda f, *xs: f(list(xs), **params)) if op.variadic else _with(**params)
    return where, tuple(np.asarray(x, np.float32) if _is_float(x) else np.asarray(x) for x in arrays), call


def with_generator(function: Call, rng: np.random.Generator) -> Call:
    """The function, given a generator if it draws."""
    if "rng" in inspect.signature(function).parameters:
        return lambda *xs, **params: function(*xs, rng=rng, **params)
    return function


def _rivals(names: Sequence[str], arrays: Sequence[Any], call: Call) -> dict[str, Rival]:
    rng = np.random.default_rng(1)
    function = with_generator(PUBLIC[names[0]], rng)
    seeds = Seeds(call(function, *arrays), rng)
    found = {"minigrad": by_minigrad(function, arrays, call, seeds)}
    want = found["minigrad"].backward()
    for peer, make in (("torch", by_torch), ("autograd", by_autograd), ("mygrad", by_mygrad)):
        with suppress(Exception):  # it lacks the op, or takes it in a way of its own
            rival = make(names, arrays, call, seeds)
            rival.forward()
            if OF_ITS_OWN & set(names) or _agree(rival.backward(), want):
                found[peer] = rival
    return found


def _agree(got: Sequence[Any], want: Sequence[Any]) -> bool:
    """The same gradients, or no comparison."""
    return all((b is None) if a is None else
               np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-2, atol=1e-3 * (1 + np.max(np.abs(b), initial=0)))
               for a, b in zip(got, want, strict=True))  # fmt: skip


def _row(name: str, names: Sequence[str], size: Size, rounds: int) -> dict[str, Any]:
    where, arrays, call = _inputs(names, size)
    rivals = _rivals(names, arrays, call)
    row: dict[str, Any] = {"op": name, "size": where}
    for title, which in (("fwd", "forward"), ("fwd+bwd", "backward")):
        found = timing.compare({k: getattr(r, which) for k, r in rivals.items()}, rounds=rounds, seconds=0.001)
        row[f"{title} µs"] = 1e6 * found.median("minigrad")
        row |= {f"{title}/{p}": found.ratio("minigrad", to=p) if p in rivals else None for p in PEERS}
    return row


def _geometric_means(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    means = []
    for size in (size.name for size in SIZES if any(row["size"] == size.name for row in rows)):
        mean: dict[str, Any] = {}
        for column in rows[0]:
            known = [log(row[column]) for row in rows
                     if row["size"] == size and "/" in column and row[column] is not None]  # fmt: skip
            mean[column] = exp(sum(known) / len(known)) if known else None if "/" in column else ""
        means.append(mean | {"op": "geometric mean", "size": size})
    return means


def main(argv: Sequence[str]) -> None:
    parser = timing.parser(__doc__ or "", rounds=7)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these ops alone")
    options = parser.parse_args(argv)
    functions = differentiable()
    if options.only:
        unknown = [n for n in options.only if not any(n in names for names in functions.values())]
        if unknown:
            parser.error(f"no op with a derivative is named {', '.join(unknown)}")
        functions = {k: names for k, names in functions.items() if set(names) & set(options.only)}
    rows: list[dict[str, Any]] = []
    for peer in PEERS:
        with suppress(ImportError):
            importlib.import_module(peer)
    gc.collect()
    gc.freeze()  # what the libraries hold need not be looked through before each comparison
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # the peers'
        for count, (name, names) in enumerate(functions.items(), 1):
            if sys.stderr.isatty():
                print(f"\r{count}/{len(functions)} {name:40}", end="\r", file=sys.stderr)
            for size in SIZES:
                try:
                    row = _row(name, names, size, options.rounds)
                except (mg.MinigradError, TypeError) as error:
                    print(f"{name} is left out; CASES does not say how to call it: {error}", file=sys.stderr)
                    break
                rows.append(row)
                if row["size"] == "sample":
                    break
    timing.report(
        "minigrad's ops, float32: µs, and ratios to the peers",
        rows + _geometric_means(rows), packages=PEERS, json_path=options.json,
    )  # fmt: skip
