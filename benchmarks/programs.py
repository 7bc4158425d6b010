"""Random programs run in minigrad, PyTorch and JAX: value, gradient, second derivative.

`python -m benchmarks programs --count 1000000 --seed 0 --peers torch,jax` compares that many
programs; with `--resume FILE` it goes on where it stopped.  A disagreement is printed as a
script, with the verdict of `check_grads` on it.  Programs stand away from kinks, so that it is
a mistake and no convention; only a peer's NaN is counted apart, where `check_grads` confirms
minigrad's numbers (JAX: the second derivative of the determinant of a singular matrix).
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.op import OPS, PUBLIC, Op
from minigrad.tensor import pull
from minigrad.testing import check_grads
from minigrad.testing.programs import Program, draw_program, usable

from .jaxprs import evaluate

Words = dict[str, Callable[..., Any]]
"""What a peer calls our ops: the op's name -> a function of its operands and metadata."""

TOLERANCE = 1e-11
"""Of a disagreement, relative to the largest cotangent of the pass."""


# --- the three results of a program ---------------------------------------------------------


@dataclass
class Result:
    """Value, gradient and Hessian-vector product, and how large the cotangents became."""

    value: float
    gradient: list[Any]
    product: list[Any]
    scales: tuple[float, float, float] = (1.0, 1.0, 1.0)


def directions(program: Program) -> list[Any]:
    """What the Hessian is multiplied by."""
    rng = np.random.default_rng(1)
    return [np.asarray(rng.uniform(0.5, 1, x.shape) * rng.choice([-1.0, 1.0], x.shape)) for x in program.leaves()]


def ours(program: Program) -> Result:
    """In minigrad, two reverse passes, the first recorded."""
    largest = [1.0]

    def observe(consumer: Any, i: int, parent: Any, c: Any) -> None:
        data = c.data if isinstance(c, mg.Tensor) else np.asarray(c)
        largest[0] = max(largest[0], float(np.max(np.abs(data), initial=0)))

    leaves = [mg.tensor(x, requires_grad=True) for x in program.leaves()]
    y = program(*leaves)
    zeros = [np.zeros(x.shape) for x in leaves]
    if not y.requires_grad:
        return Result(y.item(), zeros, zeros)
    wanted = {x._node for x in leaves}
    found = pull([y], [None], wanted=wanted, record=True, observe=observe)
    first = [found[x._node][0] if x._node in found else z for x, z in zip(leaves, zeros, strict=True)]
    scale = largest[0]
    live = [(g, v) for g, v in zip(first, directions(program), strict=True)
            if isinstance(g, mg.Tensor) and g.requires_grad]  # fmt: skip
    again = pull([g for g, _ in live], [v for _, v in live], wanted=wanted, observe=observe) if live else {}
    second = [again[x._node][0] if x._node in again else z for x, z in zip(leaves, zeros, strict=True)]
    gradient = [g.data if isinstance(g, mg.Tensor) else g for g in first]
    size = 1.0 + sum(float(np.sum(np.abs(w))) for w in program.weights.values())
    return Result(y.item(), gradient, second, (size * 20, 20 * scale, 20 * largest[0]))


class Torch:
    """The same in PyTorch, eager."""

    name = "torch"

    def __init__(self) -> None:
        self.torch: Any = importlib.import_module("torch")
        self.torch.set_num_threads(1)
        self.words = in_torch(self.torch)

    def __call__(self, program: Program) -> Result:
        torch = self.torch
        leaves = [torch.tensor(x, requires_grad=True) for x in program.leaves()]

        def call(op: Op, operands: Sequence[Any], params: dict[str, Any]) -> Any:
            return self.words[op.name](*(torch.tensor(k) if isinstance(k, np.ndarray) else k for k in operands), **params)

        y = program.run(leaves, call)
        value = y.item()
        if not y.requires_grad:
            zeros = [np.zeros(x.shape) for x in program.leaves()]
            return Result(value, zeros, zeros)
        first = torch.autograd.grad(y, leaves, create_graph=True, materialize_grads=True)
        live = [(g, torch.tensor(v)) for g, v in zip(first, directions(program), strict=True) if g.requires_grad]
        second = torch.autograd.grad([g for g, _ in live], leaves, [v for _, v in live],
                                     materialize_grads=True) if live else [torch.zeros_like(x) for x in leaves]  # fmt: skip
        # its tensors of structural zeros have no memory that NumPy could look at: added to zeros, they have
        first, second = ([(torch.zeros_like(x) + g).detach().numpy() for g, x in zip(group, leaves, strict=True)]
                         for group in (first, second))  # fmt: skip
        return Result(value, first, second)


class Jax:
    """The same in JAX: its derivatives, written out as its own primitives, computed by NumPy.

    Compiling takes seconds for each program, or a second if it is run op by op; tracing takes
    milliseconds.  See `benchmarks.jaxprs`.
    """

    name = "jax"

    def __init__(self) -> None:
        self.jax: Any = importlib.import_module("jax")
        importlib.import_module("jax.extend.core")
        self.jax.config.update("jax_enable_x64", True)
        self.words = in_jax(self.jax)
        self.left: Counter[str] = Counter()

    def __call__(self, program: Program) -> Result:
        jax = self.jax

        def f(*leaves: Any) -> Any:
            return program.run(leaves, lambda op, operands, params: self.words[op.name](*operands, **params))

        leaves = program.leaves()
        with jax.disable_jit():  # traced at once, not function by function
            gradient = jax.make_jaxpr(jax.value_and_grad(f, tuple(range(len(leaves)))))(*leaves)
            called = jax.extend.core.jaxpr_as_fun(gradient)
            traced = jax.make_jaxpr(lambda *xs: jax.jvp(called, xs, tuple(directions(program))))(*leaves)
        with np.errstate(all="ignore"):
            value, *slopes = evaluate(traced.jaxpr, traced.consts, leaves, self.left)
        return Result(float(value), slopes[: len(leaves)], slopes[len(leaves) + 1 :])


PEERS: dict[str, Callable[[], Any]] = {"torch": Torch, "jax": Jax}


def disagreement(got: Result, want: Result) -> str:
    """What is not the same, in words; empty if nothing."""
    pairs = [("value", [got.value], [want.value]), ("gradient", got.gradient, want.gradient),
             ("second derivative", got.product, want.product)]  # fmt: skip
    for (what, ours_, theirs), scale in zip(pairs, got.scales, strict=True):
        for k, (a, b) in enumerate(zip(ours_, theirs, strict=True)):
            off = float(np.max(np.abs(np.asarray(a) - np.asarray(b)), initial=0))
            if np.shape(a) != np.shape(b) or not off <= TOLERANCE * scale:
                return f"{what} of leaf {k}: off by {off:.3g}, scale {scale:.3g}"
    return ""


# --- what PyTorch and JAX call our ops ------------------------------------------------------


def _flat(op: Op, inputs: Sequence[Any], params: dict[str, Any]) -> Any:
    """Where each element of the output stands in the inputs, laid end to end behind a zero: for
    ops that only move elements."""
    start, parts = 1, []
    for x in inputs:
        shape = tuple(x.shape)
        if isinstance(x, np.ndarray):
            parts.append(x)
            continue
        size = int(np.prod(shape))
        parts.append(np.arange(start, start + size, dtype=np.float64).reshape(shape))
        start += size
    found = op.forward(*parts, **params)
    return [np.asarray(y).astype(np.int64) for y in (found if isinstance(found, tuple) else (found,))]


MOVES = ("getitem", "take_along_axis", "repeat", "pad", "sliding_window_view", "tril", "triu", "diag",
         "linalg.diagonal", "onto_diagonal", "onto_offset", "windows", "index_update")  # fmt: skip
"""Ops whose output holds elements of their inputs and zeros: a peer gathers them."""


def _movers(cat: Callable[[Sequence[Any]], Any], gather: Callable[[Any, Any], Any], is_array: Any) -> Words:
    def mover(op: Op) -> Callable[..., Any]:
        def move(*operands: Any, **params: Any) -> Any:
            inputs = [np.asarray(x) if not is_array(x) else x for x in operands]
            places = _flat(op, inputs, params)
            line = cat([x.reshape(-1) for x in inputs if not isinstance(x, np.ndarray)])
            found = tuple(gather(line, k) for k in places)
            return found if len(found) > 1 else found[0]

        return move

    return {name: mover(OPS[name]) for name in MOVES if name in OPS}


def _axes(x: Any, axis: Any) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)


def _reduced(loss: Callable[..., Any], default: str = "sum") -> Callable[..., Any]:
    """A loss by its formula for one element."""

    def reduced(a: Any, b: Any, *, reduction: str = default, **params: Any) -> Any:
        each = loss(a, b, **params)
        return each if reduction == "none" else each.sum() if reduction == "sum" else each.mean()

    return reduced


def in_torch(t: Any) -> Words:
    """PyTorch's functions of the ops that it has."""
    f = t.nn.functional

    def over(function: Callable[..., Any], identity: Callable[[Any], Any] = lambda x: x) -> Callable[..., Any]:
        def reduce(x: Any, *, axis: Any = None, keepdims: bool = False, **params: Any) -> Any:
            axes = _axes(x, axis)
            return function(x, axes, keepdim=keepdims, **params) if axes else identity(x)

        return reduce

    def take(x: Any, indices: Any, *, axis: int | None = None) -> Any:
        x, axis = (x.reshape(-1), 0) if axis is None else (x, axis % x.ndim)
        rows = t.index_select(x, axis, indices.reshape(-1) % x.shape[axis])
        return rows.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))

    def cross_entropy(x: Any, targets: Any, *, axis: int = -1, reduction: str = "mean") -> Any:
        rows = x.movedim(axis, -1)
        each = f.cross_entropy(rows.reshape(-1, rows.shape[-1]), targets.reshape(-1), reduction="none")
        each = each.reshape(targets.shape)
        return each if reduction == "none" else each.sum() if reduction == "sum" else each.mean()

    def scatter(g: Any, *arrays: Any, index: Any, shape: Any) -> Any:
        places = OPS["getitem"].forward(np.arange(int(np.prod(shape))).reshape(shape),
                                        *(a.numpy() for a in arrays), index=index)  # fmt: skip
        out = t.zeros(int(np.prod(shape)), dtype=g.dtype)
        return out.index_put((t.tensor(places.copy()),), g, accumulate=True).reshape(shape)

    def split(x: Any, *, indices_or_sections: Any, axis: int = 0) -> Any:
        cuts = indices_or_sections
        return t.tensor_split(x, cuts if isinstance(cuts, int) else tuple(map(int, cuts)), axis)

    def along(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda x, *, axis=-1: function(x, axis)

    def flip(x: Any, *, axis: Any = None) -> Any:
        return t.flip(x, _axes(x, axis))

    def expand_dims(x: Any, *, axis: Any = 0) -> Any:
        axes = axis if isinstance(axis, tuple) else (axis,)
        ndim = x.ndim + len(axes)
        for a in sorted(k % ndim for k in axes):
            x = x.unsqueeze(a)
        return x

    def concat(*xs: Any, axis: int | None = 0) -> Any:
        return t.cat([x.reshape(-1) for x in xs]) if axis is None else t.cat(xs, axis)

    def moment(function: Any) -> Any:
        return over(lambda x, axes, keepdim, correction=0: function(x, axes, correction=correction, keepdim=keepdim),
                    t.zeros_like)  # fmt: skip

    def prod(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
        for a in sorted(k % x.ndim for k in _axes(x, axis))[::-1]:
            x = t.prod(x, a, keepdim=keepdims)
        return x

    def running(function: Any, first: int) -> Callable[..., Any]:
        def run(x: Any, *, axis: int | None = None, include_initial: bool = False) -> Any:
            axis = 0 if axis is None else axis
            y = function(x, axis)
            start = t.full_like(y.narrow(axis, 0, 1), first)
            return t.cat([start, y], axis) if include_initial else y

        return run

    def solve(a: Any, b: Any) -> Any:
        return t.linalg.solve(a, b[:, None]).squeeze(-1) if b.ndim == 1 else t.linalg.solve(a, b)

    def nll_loss(x: Any, targets: Any, *, axis: int = -1, reduction: str = "mean") -> Any:
        each = -x.movedim(axis, -1).take_along_dim(targets[..., None], -1).squeeze(-1)
        return each if reduction == "none" else each.sum() if reduction == "sum" else each.mean()

    words: Words = {
        "alias": lambda x: x,
        "sum_to": lambda x, *, shape: x.sum_to_size(shape),
        "power_scalar": lambda x, *, p: x**p, "equal": t.eq,
        "sum": over(t.sum), "mean": over(t.mean), "max": over(t.amax), "min": over(t.amin),
        "logsumexp": over(t.logsumexp), "var": moment(t.var), "std": moment(t.std),
        "softmax": along(f.softmax), "log_softmax": along(f.log_softmax),
        "cross_entropy": cross_entropy,
        "squared_error": _reduced(lambda a, b: 0.5 * (a - b) ** 2),
        "mse_loss": _reduced(lambda a, b: (a - b) ** 2, "mean"),
        "l1_loss": _reduced(lambda a, b: (a - b).abs(), "mean"),
        "huber_loss": _reduced(lambda a, b, delta=1.0: f.huber_loss(*t.broadcast_tensors(a, b), reduction="none", delta=delta), "mean"),
        "reshape": lambda x, *, shape, copy=None: x.reshape(shape),
        "permute_dims": lambda x, *, axes: x.permute(axes),
        "matrix_transpose": lambda x: x.mT,
        "broadcast_to": lambda x, *, shape: t.broadcast_to(x, shape),
        "expand_dims": expand_dims, "flip": flip,
        "squeeze": lambda x, *, axis: x.squeeze(axis),
        "roll": lambda x, *, shift, axis=None: t.roll(x, shift) if axis is None else _rolled(t, x, shift, axis),
        "concat": concat, "stack": lambda *xs, axis=0: t.stack(xs, axis),
        "split": split, "unstack": lambda x, *, axis=0: t.unbind(x, axis),
        "take": take, "scatter": scatter,
        "tile": lambda x, *, reps: t.tile(x, reps),
        "matmul": t.matmul, "einsum": lambda *xs, subscripts: t.einsum(subscripts, *xs),
        "outer": lambda a, b: t.outer(a.reshape(-1), b.reshape(-1)),
        "vecdot": lambda a, b, *, axis=-1: t.linalg.vecdot(a, b, dim=axis),
        "linalg.cross": lambda a, b, *, axis=-1: t.linalg.cross(*t.broadcast_tensors(a, b), dim=axis),
        "cumulative_sum": running(t.cumsum, 0), "cumulative_prod": running(t.cumprod, 1),
        "diff": lambda x, *, axis=-1, n=1: t.diff(x, n, axis),
        "sort": lambda x, *, axis=-1, descending=False, stable=True: t.sort(x, axis, descending).values,
        "erf": t.erf, "hardtanh": lambda x, *, min_val=-1.0, max_val=1.0: f.hardtanh(x, min_val, max_val),
        "clip": lambda x, low, high: t.minimum(t.maximum(x, t.as_tensor(low, dtype=x.dtype)), t.as_tensor(high, dtype=x.dtype)),
        "linalg.det": t.linalg.det, "linalg.inv": t.linalg.inv,
        "linalg.slogdet": lambda x: tuple(t.linalg.slogdet(x)),
        "linalg.matrix_power": lambda x, *, n: t.linalg.matrix_power(x, n),
        "linalg.trace": lambda x, *, offset=0: t.diagonal(x, offset, -2, -1).sum(-1),
        "linalg.svdvals": t.linalg.svdvals, "linalg.pinv": t.linalg.pinv,
        "linalg.eigvalsh": lambda x: t.linalg.eigvalsh((x + x.mT) / 2),  # it reads one triangle
        "linalg.solve": solve,
        "linalg.frobenius": lambda x, *, keepdims=False: t.linalg.matrix_norm(x, keepdim=keepdims),
        "prod": prod, "kron": t.kron, "softsign": f.softsign, "rsqrt": t.rsqrt, "logistic": t.sigmoid,
        "tensordot": lambda a, b, *, axes=2: t.tensordot(a, b, axes if isinstance(axes, int) else [*map(_listed, axes)]),
        "nll_loss": nll_loss,
        "softplus": lambda x, *, beta=1.0, threshold=1e300: f.softplus(x, beta, threshold),  # ours has none unless asked
        **{name: getattr(f, name) for name in ("leaky_relu", "elu", "celu", "gelu", "tanhshrink",
           "hardsigmoid", "hardswish", "softshrink", "hardshrink", "threshold")},
        "binary_cross_entropy": _reduced(lambda a, b: -(b * a.log() + (1 - b) * (1 - a).log()), "mean"),
        "binary_cross_entropy_with_logits": _reduced(
            lambda a, b: -(b * f.logsigmoid(a) + (1 - b) * f.logsigmoid(-a)), "mean"),
        "smooth_l1_loss": _reduced(lambda a, b, beta=1.0: f.smooth_l1_loss(*t.broadcast_tensors(a, b), reduction="none", beta=beta), "mean"),
    }  # fmt: skip

    def gather(line: Any, places: Any) -> Any:
        return t.cat([t.zeros(1, dtype=line.dtype), line])[t.tensor(places)]

    words |= _movers(t.cat, gather, lambda x: isinstance(x, t.Tensor) and x.dtype == t.float64)
    found = {**_same_names((t, t.special, f)), **{k: v for k, v in words.items() if k in OPS}}
    # its polygamma has ten digits, and stands in the derivatives of the first two; sinc has NaN for
    # its second derivative at 0; the others have none, or no second one
    for name in ("digamma", "gammaln", "sinc", "floor_divide", "heaviside", "imag", "hardsigmoid"):
        found.pop(name, None)
    return found


def _listed(axes: Any) -> list[int]:
    return [axes] if isinstance(axes, int) else list(axes)


def _rolled(t: Any, x: Any, shift: Any, axis: Any) -> Any:
    shifts, axes = np.broadcast_arrays(np.atleast_1d(shift), np.atleast_1d(axis))
    return t.roll(x, tuple(shifts.tolist()), tuple(axes.tolist()))


def in_jax(jax: Any) -> Words:
    """JAX's functions of the ops that it has."""
    jnp, nn = jax.numpy, jax.nn

    def picked(x: Any, targets: Any, axis: int) -> Any:
        return jnp.take_along_axis(x, jnp.expand_dims(targets, axis), axis).squeeze(axis)

    def cross_entropy(x: Any, targets: Any, *, axis: int = -1, reduction: str = "mean") -> Any:
        each = -picked(nn.log_softmax(x, axis=axis), targets, axis)
        return each if reduction == "none" else each.sum() if reduction == "sum" else each.mean()

    def sum_to(x: Any, *, shape: Any) -> Any:
        lead = x.ndim - len(shape)
        axes = (*range(lead), *(k + lead for k, n in enumerate(shape) if n == 1))
        return jnp.sum(x, axis=axes, keepdims=True).reshape(shape)

    def scatter(g: Any, *arrays: Any, index: Any, shape: Any) -> Any:
        places = OPS["getitem"].forward(np.arange(int(np.prod(shape))).reshape(shape),
                                        *map(np.asarray, arrays), index=index)  # fmt: skip
        return jnp.zeros(int(np.prod(shape))).at[places].add(g).reshape(shape)

    words: Words = {
        "alias": lambda x: x,
        "sum_to": sum_to,
        "power_scalar": lambda x, *, p: x ** (int(p) if p == int(p) else p),  # x**1.0 has NaN at 0
        "abs": jnp.abs, "relu": nn.relu, "sigmoid": nn.sigmoid,
        "softmax": nn.softmax, "log_softmax": nn.log_softmax,
        "logsumexp": nn.logsumexp,
        "cross_entropy": cross_entropy,
        "squared_error": _reduced(lambda a, b: 0.5 * (a - b) ** 2),
        "mse_loss": _reduced(lambda a, b: (a - b) ** 2, "mean"),
        "l1_loss": _reduced(lambda a, b: abs(a - b), "mean"),
        "huber_loss": _reduced(lambda a, b, delta=1.0: jnp.where(abs(a - b) < delta, 0.5 * (a - b) ** 2,
                                                                 delta * (abs(a - b) - 0.5 * delta)), "mean"),
        "reshape": lambda x, *, shape, copy=None: x.reshape(shape),
        "permute_dims": lambda x, *, axes: jnp.permute_dims(x, tuple(a % x.ndim for a in axes)),
        "concat": lambda *xs, axis=0: jnp.concatenate(xs, axis),
        "stack": lambda *xs, axis=0: jnp.stack(xs, axis),
        "split": lambda x, *, indices_or_sections, axis=0: jnp.split(
            x, indices_or_sections if isinstance(indices_or_sections, int) else np.asarray(indices_or_sections), axis),
        "unstack": lambda x, *, axis=0: jnp.unstack(x, axis=axis),
        "scatter": scatter,
        "var": lambda x, *, axis=None, keepdims=False, correction=0: jnp.var(x, axis, keepdims=keepdims, correction=correction),
        "std": lambda x, *, axis=None, keepdims=False, correction=0: jnp.std(x, axis, keepdims=keepdims, correction=correction),
        "einsum": lambda *xs, subscripts: jnp.einsum(subscripts, *xs),
        "linalg.cross": lambda a, b, *, axis=-1: jnp.cross(a, b, axis=axis),
        "vecdot": jnp.linalg.vecdot, "outer": jnp.outer,
        "expand_dims": lambda x, *, axis=0: jnp.expand_dims(x, axis),
        "clip": lambda x, low, high: jnp.clip(x, low, high),
        "polygamma": lambda x, *, n: jax.scipy.special.polygamma(n, x),
        "hardtanh": lambda x, *, min_val=-1.0, max_val=1.0: jnp.clip(x, min_val, max_val),
        "linalg.det": jnp.linalg.det, "linalg.inv": jnp.linalg.inv,
        "linalg.slogdet": lambda x: tuple(jnp.linalg.slogdet(x)),
        "linalg.matrix_power": lambda x, *, n: jnp.linalg.matrix_power(x, n),
        "linalg.trace": lambda x, *, offset=0: jnp.linalg.trace(x, offset=offset),
        "linalg.svdvals": jnp.linalg.svdvals, "linalg.pinv": jnp.linalg.pinv,
        "sort": lambda x, *, axis=-1, descending=False, stable=True: jnp.sort(x, axis, descending=descending),
        "cumulative_prod": jnp.cumulative_prod, "cumulative_sum": jnp.cumulative_sum,
        "linalg.eigvalsh": jnp.linalg.eigvalsh, "rsqrt": jax.lax.rsqrt, "logistic": nn.sigmoid,
        "linalg.frobenius": lambda x, *, keepdims=False: jnp.linalg.matrix_norm(x, keepdims=keepdims),
        "linalg.solve": lambda a, b: jnp.linalg.solve(a, b[:, None])[..., 0] if b.ndim == 1 else jnp.linalg.solve(a, b),
        "tensordot": lambda a, b, *, axes=2: jnp.tensordot(a, b, axes),
        "nll_loss": lambda x, targets, *, axis=-1, reduction="mean": {"none": lambda e: e, "sum": jnp.sum, "mean": jnp.mean}[
            reduction](-picked(x, targets, axis)),
        "softplus": lambda x, *, beta=1.0, threshold=1e300: jnp.where(x * beta > threshold, x, jnp.logaddexp(x * beta, 0) / beta),
        "leaky_relu": lambda x, *, negative_slope=0.01: nn.leaky_relu(x, negative_slope),
        "elu": lambda x, *, alpha=1.0: nn.elu(x, alpha), "celu": lambda x, *, alpha=1.0: nn.celu(x, alpha),
        "gelu": lambda x, *, approximate="none": nn.gelu(x, approximate == "tanh"),
        "tanhshrink": lambda x: x - jnp.tanh(x), "softsign": nn.soft_sign,
        "hardsigmoid": nn.hard_sigmoid, "hardswish": nn.hard_swish,
        "softshrink": lambda x, *, lambd=0.5: jnp.sign(x) * nn.relu(abs(x) - lambd),
        "hardshrink": lambda x, *, lambd=0.5: jnp.where(abs(x) > lambd, x, 0),
        "threshold": lambda x, *, threshold, value: jnp.where(x > threshold, x, value),
        "binary_cross_entropy": _reduced(lambda a, b: -(b * jnp.log(a) + (1 - b) * jnp.log(1 - a)), "mean"),
        "binary_cross_entropy_with_logits": _reduced(
            lambda a, b: -(b * nn.log_sigmoid(a) + (1 - b) * nn.log_sigmoid(-a)), "mean"),
        "smooth_l1_loss": _reduced(lambda a, b, beta=1.0: jnp.where(
            abs(a - b) < beta, 0.5 * (a - b) ** 2 / (beta or 1), abs(a - b) - 0.5 * beta), "mean"),
    }  # fmt: skip

    def gather(line: Any, places: Any) -> Any:
        return jnp.concatenate([jnp.zeros(1), line])[places]

    words |= _movers(jnp.concatenate, gather, lambda x: isinstance(x, jax.Array) and x.dtype == jnp.float64)
    same = _same_names((jnp, jax.scipy.special, nn))
    same.pop("nextafter", None)  # no derivative
    plain = {name: getattr(jnp, name) for name in ("sum", "mean", "max", "min", "prod", "matrix_transpose",
             "broadcast_to", "squeeze", "flip", "roll", "take", "tile", "matmul", "kron", "diff")}  # fmt: skip
    return {**same, **{k: v for k, v in {**plain, **words}.items() if k in OPS}}


def _same_names(spaces: Sequence[Any]) -> Words:
    """Elementwise ops without metadata that go by one name everywhere."""
    found: Words = {}
    for op in OPS.values():
        if not op.elementwise or any(p.kind is p.KEYWORD_ONLY for p in op.signature.parameters.values()):
            continue
        names = [op.name, *(n for n, g in PUBLIC.items() if getattr(g, "op", None) is op)]
        for name in names:
            function = next((getattr(space, name) for space in spaces if callable(getattr(space, name, None))), None)
            if function is not None and not inspect.isclass(function):
                found.setdefault(op.name, function)
    return found


# --- campaigns ------------------------------------------------------------------------------


@cache
def shared_ops(names: tuple[str, ...]) -> tuple[Op, ...]:
    """The ops that every one of these peers has."""
    peers = [peer(name) for name in names]
    return tuple(op for op in usable() if all(op.name in p.words for p in peers))


@cache
def peer(name: str) -> Any:
    return PEERS[name]()


@dataclass
class Tally:
    """What a campaign came to."""

    programs: int = 0
    stages: int = 0
    ops: Counter[str] = field(default_factory=Counter)
    forked: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def campaign(count: int, seed: int, names: Sequence[str], tally: Tally, start: int = 0) -> Iterator[None]:
    """Compare programs number `start` to `count` of a seed; each is drawn from its own number."""
    ops = shared_ops(tuple(names))
    for k in range(start, count):
        program = draw_program(np.random.default_rng((seed, k)), ops=ops)
        tally.programs += 1
        tally.stages += len(program.stages)
        tally.ops.update(program.ops)
        tally.forked += program.forks > 0
        got = ours(program)
        for name in names:
            try:
                want = peer(name)(program)
            except Exception as error:  # a call that the peer does not know
                tally.skipped[f"{name}: {type(error).__name__} {str(error).splitlines()[0]:.100}"] += 1
                continue
            off = disagreement(got, want)
            if not off:
                continue
            right, verdict = judged(program)
            if right and not finite(want) and finite(got):
                tally.skipped[f"{name}: NaN, where check_grads confirms minigrad's"] += 1
            else:
                tally.wrong.append(f"seed {seed}, program {k}: {name} disagrees, {off}\n{verdict}\n{program.source()}")
        yield


def finite(result: Result) -> bool:
    return all(np.all(np.isfinite(x)) for x in (result.value, *result.gradient, *result.product))


def judged(program: Program) -> tuple[bool, str]:
    """Whether minigrad's derivatives are right, and the verdict in words."""
    try:
        return True, f"check_grads finds nothing wrong with minigrad's: {check_grads(program, *program.leaves())}"
    except Exception as error:
        return False, f"check_grads: {error}"


def main(argv: Sequence[str]) -> None:
    """Run a campaign and print what it came to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks programs", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peers", default="torch,jax", help="any of torch,jax, with commas")
    parser.add_argument("--resume", type=Path, help="where to note how far it came")
    args = parser.parse_args(argv)
    names = tuple(name for name in args.peers.split(",") if name)
    tally, start, began = Tally(), 0, time.monotonic()
    if args.resume and args.resume.exists():
        noted = json.loads(args.resume.read_text())
        if (noted["seed"], noted["peers"]) == (args.seed, list(names)):
            start = noted["done"]
            tally = Tally(start, noted["stages"], Counter(noted["ops"]), noted["forked"], Counter(noted["skipped"]),
                          noted["wrong"])  # fmt: skip
    try:
        from tqdm import tqdm

        steps: Any = tqdm(campaign(args.count, args.seed, names, tally, start), total=args.count, initial=start)
    except ImportError:
        steps = campaign(args.count, args.seed, names, tally, start)
    for k, _ in enumerate(steps, start + 1):
        if args.resume and (k % 500 == 0 or k == args.count):
            note = {"seed": args.seed, "peers": list(names), "done": k, **vars(tally)}
            args.resume.write_text(json.dumps(note))
    print(f"{tally.programs} programs of seed {args.seed}, {tally.stages} stages of {len(tally.ops)} ops, "
          f"{tally.forked} with forks, beside {' and '.join(names)}: {len(tally.wrong)} disagreements, "
          f"{time.monotonic() - began:.0f} s")  # fmt: skip
    for what, times in tally.skipped.most_common():
        print(f"{times:6} not compared: {what}")
    for text in tally.wrong[:20]:
        print(f"\n{text}")
    sys.exit(bool(tally.wrong))
