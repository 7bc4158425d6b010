"""The LSTM, forward and backward: PyTorch's, the one by hand, the engine's, eager and captured.

Every rival starts from the same parameters and inputs in float32, and computes the
outputs and, from a fixed cotangent, the gradients of the parameters, the inputs and the
initial state.  Columns but the first are times relative to `torch.nn.LSTM`: ``products`` are the bare
matrix products that the step cannot do without, in NumPy, ``torch cells`` the loop over a cell
written in PyTorch's ops, ``jax scan`` a jitted `lax.scan` with the input's projection hoisted.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import timing

Array = NDArray[Any]
Rival = Callable[[], object]

SIZES = ((20, 1, 16, 32), (50, 32, 64, 128), (100, 64, 128, 256), (50, 64, 512, 512))
GATES = "fuco"
TORCH_GATES = "ufco"  # the order of i, f, g, o


class Problem:
    """One size (T, B, n_x, n_a): parameters, inputs, initial state and cotangent."""

    def __init__(self, T: int, B: int, n_x: int, n_a: int) -> None:
        rng = np.random.default_rng(0)
        bound = n_a**-0.5

        def uniform(*shape: int) -> Array:
            return rng.uniform(-bound, bound, shape).astype(np.float32)

        self.sizes = T, B, n_x, n_a
        self.params = {f"W_{g}": uniform(n_a, n_a + n_x) for g in GATES}
        self.params |= {f"b_{g}": uniform(n_a) for g in GATES}
        self.x = rng.normal(size=(T, B, n_x)).astype(np.float32)
        self.a0, self.c0 = uniform(2, B, n_a)
        self.d_outputs = rng.normal(size=(T, B, n_a)).astype(np.float32)


def by_torch(problem: Problem) -> Rival:
    torch: Any = importlib.import_module("torch")  # untyped where it is not installed
    torch.set_num_threads(timing.threads())
    _, _, n_x, n_a = problem.sizes
    lstm = torch.nn.LSTM(n_x, n_a)
    W = np.concatenate([problem.params[f"W_{g}"] for g in TORCH_GATES])
    b = np.concatenate([problem.params[f"b_{g}"] for g in TORCH_GATES])
    with torch.no_grad():
        lstm.weight_hh_l0.copy_(torch.from_numpy(W[:, :n_a]))
        lstm.weight_ih_l0.copy_(torch.from_numpy(W[:, n_a:]))
        lstm.bias_ih_l0.copy_(torch.from_numpy(b))
        lstm.bias_hh_l0.zero_()
    x, a0, c0 = (
        torch.from_numpy(value.copy()).requires_grad_()
        for value in (problem.x, problem.a0[None], problem.c0[None])
    )
    d_outputs = torch.from_numpy(problem.d_outputs)

    def run() -> Any:
        lstm.zero_grad()
        x.grad = a0.grad = c0.grad = None
        outputs, _ = lstm(x, (a0, c0))
        outputs.backward(d_outputs)
        return x.grad

    return run


def by_hand(problem: Problem) -> Rival:
    from models import lstm_manual

    def run() -> Any:
        cache = lstm_manual.forward_batched(problem.params, problem.x, problem.a0, problem.c0)
        return lstm_manual.backward_batched(cache, problem.d_outputs)["x"]

    return run


def by_the_engine(problem: Problem, *, cells: bool = False, captured: bool = False) -> Rival:
    """The engine's LSTM, or a loop over its cell, one node per functional stage; eager or replayed."""
    import minigrad as mg
    from models import LSTM

    _, _, n_x, n_a = problem.sizes
    lstm = LSTM(n_x, n_a, dtype=np.float32)
    for name, value in problem.params.items():
        setattr(lstm.cells[0], name, mg.nn.Parameter(value, np.float32))
    parameters = list(lstm.parameters())
    x, a0, c0 = (
        mg.tensor(value, requires_grad=True) for value in (problem.x, problem.a0, problem.c0)
    )

    def outputs(lstm: Any, x: Any, a0: Any, c0: Any) -> Any:
        if not cells:
            return lstm(x, (a0, c0))[0]
        a, c, columns = a0.T, c0.T, []
        for t in range(len(problem.x)):
            a, c = lstm.cells[0](x[t].T, (a, c))
            columns.append(a.T)
        return mg.stack(columns)

    if captured:
        step = mg.capture(lambda lstm, x, a0, c0, seed: mg.vjp(outputs, lstm, x, a0, c0)[1](seed))
        return lambda: step(lstm, problem.x, problem.a0, problem.c0, problem.d_outputs)[1].data

    def run() -> Any:
        for leaf in (*parameters, x, a0, c0):
            leaf.grad = None
        outputs(lstm, x, a0, c0).backward(problem.d_outputs)
        assert x.grad is not None
        return x.grad.numpy()

    return run


def by_torch_cells(problem: Problem) -> Rival:
    """The paper's cell in PyTorch's ops, one sequence step after the other."""
    torch: Any = importlib.import_module("torch")
    leaves = {k: torch.tensor(v, requires_grad=True) for k, v in problem.params.items()}
    inputs = [torch.tensor(v, requires_grad=True) for v in (problem.x, problem.a0, problem.c0)]
    d_outputs = torch.from_numpy(problem.d_outputs)

    def run() -> Any:
        for leaf in (*leaves.values(), *inputs):
            leaf.grad = None
        x, a, c = inputs
        outputs = []
        for x_t in x:
            z = torch.cat([a, x_t], 1)
            Γ_f, Γ_u, Γ_o = (torch.sigmoid(z @ leaves[f"W_{g}"].T + leaves[f"b_{g}"]) for g in "fuo")
            c = c * Γ_f + Γ_u * torch.tanh(z @ leaves["W_c"].T + leaves["b_c"])
            a = torch.tanh(c) * Γ_o
            outputs.append(a)
        torch.stack(outputs).backward(d_outputs)
        return x.grad

    return run


def by_jax(problem: Problem) -> Rival:
    """A jitted scan; the process is held to as many cores as there are threads."""
    jax: Any = importlib.import_module("jax")
    jnp = jax.numpy
    n_a = problem.sizes[3]

    def outputs(params: Any, x: Any, a0: Any, c0: Any) -> Any:
        W = jnp.concatenate([params[f"W_{g}"] for g in GATES])
        b = jnp.concatenate([params[f"b_{g}"] for g in GATES])

        def step(state: Any, s: Any) -> Any:
            a, c = state
            f, u, g, o = jnp.split(s + a @ W[:, :n_a].T, 4, axis=1)
            c = c * jax.nn.sigmoid(f) + jax.nn.sigmoid(u) * jnp.tanh(g)
            a = jnp.tanh(c) * jax.nn.sigmoid(o)
            return (a, c), a

        return jax.lax.scan(step, (a0, c0), x @ W[:, n_a:].T + b)[1]

    step = jax.jit(lambda params, x, a0, c0, seed: jax.vjp(outputs, params, x, a0, c0)[1](seed))
    given = jax.device_put((problem.params, problem.x, problem.a0, problem.c0, problem.d_outputs))

    def run() -> Any:
        found = jax.block_until_ready(step(*given))
        return np.asarray(found[1])

    return run


def products(problem: Problem, gates: int = 4) -> Rival:
    """Only the matrix products: one a step forward, one a step back, one for the weights."""
    T, B, n_x, n_a = problem.sizes

    def small(*shape: int) -> Array:
        return np.full(shape, 0.01, np.float32)

    W, z, sums, dz = small(gates * n_a, n_a + n_x), small(T, n_a + n_x, B), small(gates * n_a, B), small(n_a + n_x, B)
    turned, d_sums, all_z = W.T.copy(), small(gates * n_a, T * B), small(T * B, n_a + n_x)

    def run() -> None:
        for z_t in z:
            np.matmul(W, z_t, out=sums)
        for _ in range(T):
            np.matmul(turned, sums, out=dz)
        np.matmul(d_sums, all_z)

    return run


RIVALS: dict[str, Callable[[Problem], Rival]] = {
    "products": products,
    "hand": by_hand,
    "engine LSTM": by_the_engine,
    "engine cells": partial(by_the_engine, cells=True),
    "captured LSTM": partial(by_the_engine, captured=True),
    "captured cells": partial(by_the_engine, cells=True, captured=True),
    "torch cells": by_torch_cells,
    "jax scan": by_jax,
}


def main(argv: Sequence[str]) -> None:
    options = timing.options(argv, __doc__ or "")
    # a process for each size, or the heap that one size leaves makes the next faster or slower
    fresh = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1)
    with fresh as pool:
        rows = list(pool.map(_row, SIZES, [options.rounds] * len(SIZES)))
    timing.report(
        "LSTM, float32, forward + backward; ratios to torch.nn.LSTM",
        rows, packages=["torch", "jax"], json_path=options.json,
    )  # fmt: skip


def _row(sizes: tuple[int, int, int, int], rounds: int) -> dict[str, Any]:
    if hasattr(os, "sched_setaffinity"):  # the one limit on threads that every library keeps, XLA too
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: timing.threads()])
    problem = Problem(*sizes)
    torch, others = by_torch(problem), {name: make(problem) for name, make in RIVALS.items()}
    _check({"torch": torch, **others})
    row: dict[str, Any] = dict(zip(("T", "B", "n_x", "n_a"), sizes, strict=True))
    # each next to torch alone, a third rival leaves the caches and the heap to the next; and each
    # several times in a row, as a training does, or it pays for the other's arrays in the caches
    for name, rival in others.items():
        found = timing.compare({"torch": torch, name: rival}, rounds=rounds, seconds=0.1)
        row.setdefault("torch ms", 1e3 * found.median("torch"))
        row[name] = found.ratio(name, to="torch")
    return row


def _check(rivals: dict[str, Rival]) -> None:
    """A rival that computes something else does not compete."""
    want = np.asarray(rivals["torch"]())
    for name, rival in rivals.items():
        if name != "products" and not np.allclose(np.asarray(rival()), want, rtol=1e-3, atol=1e-4):
            raise AssertionError(f"the gradient of x by {name} is not torch's")
