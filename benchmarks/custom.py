"""A cell that no library has fused (peepholes, coupled gates, layer norm), forward and backward.

Columns but the first are times relative to the bare matrix products that the step cannot do
without; ``captured LSTM`` is the plain LSTM's time relative to its own.  ``torch cells`` is the same
cell in PyTorch's ops, eager.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from benchmarks import lstm, timing

Rival = Callable[[], Any]


def by_the_engine(net: Any, problem: lstm.Problem, captured: bool) -> Rival:
    import minigrad as mg

    def step(net: Any, x: Any, a0: Any, c0: Any, seed: Any) -> Any:
        return mg.vjp(lambda net, x, a0, c0: net(x, (a0, c0))[0], net, x, a0, c0)[1](seed)

    call = mg.capture(step) if captured else step
    return lambda: call(net, problem.x, problem.a0, problem.c0, problem.d_outputs)[1].data


def by_torch_cells(net: Any, problem: lstm.Problem) -> Rival:
    import torch
    from torch.nn.functional import layer_norm

    torch.set_num_threads(timing.threads())
    P: Any = {k.rpartition(".")[2]: torch.tensor(p.numpy(), requires_grad=True) for k, p in net.named_parameters().items()}
    inputs = [torch.tensor(v, requires_grad=True) for v in (problem.x, problem.a0, problem.c0)]
    seed, n = torch.from_numpy(problem.d_outputs), (problem.sizes[3],)

    def run() -> Any:
        for leaf in (*P.values(), *inputs):
            leaf.grad = None
        x, a, c = inputs
        outputs = []
        for x_t in x:
            z = torch.cat([a, x_t], 1)
            Γ_u = torch.sigmoid(layer_norm(z @ P["W_u"].T + P["p_u"] * c, n, P["g_u"], P["b_u"]))
            c = c * (1 - Γ_u) + Γ_u * torch.tanh(layer_norm(z @ P["W_c"].T, n, P["g_c"], P["b_c"]))
            Γ_o = torch.sigmoid(layer_norm(z @ P["W_o"].T + P["p_o"] * c, n, P["g_o"], P["b_o"]))
            a = torch.tanh(layer_norm(c, n, P["g_out"], P["b_out"])) * Γ_o
            outputs.append(a)
        torch.stack(outputs).backward(seed)
        return x.grad

    return run


def main(argv: Sequence[str]) -> None:
    options = timing.options(argv, __doc__ or "")
    fresh = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1)
    with fresh as pool:
        rows = list(pool.map(_row, lstm.SIZES, [options.rounds] * len(lstm.SIZES)))
    timing.report(
        "A custom cell (peepholes, coupled gates, layer norm), float32, forward + backward; ratios to its own matrix products",
        rows, packages=["torch"], json_path=options.json,
    )  # fmt: skip


def _row(sizes: tuple[int, int, int, int], rounds: int) -> dict[str, Any]:
    from models.lstm import LSTM
    from models.variants import JoinedLSTM

    problem = lstm.Problem(*sizes)
    _, _, n_x, n_a = sizes
    net, plain = JoinedLSTM(n_x, n_a, rng=np.random.default_rng(0)), LSTM(n_x, n_a, rng=np.random.default_rng(0))
    rivals = {"captured": by_the_engine(net, problem, True), "eager": by_the_engine(net, problem, False),
              "torch cells": by_torch_cells(net, problem)}  # fmt: skip
    want = np.asarray(rivals["torch cells"]())
    for name, rival in rivals.items():
        for _ in range(2):  # recorded, replayed
            if not np.allclose(np.asarray(rival()), want, rtol=1e-2, atol=1e-3):
                raise AssertionError(f"the gradient of x by {name} is not torch's")
    row: dict[str, Any] = dict(zip(("T", "B", "n_x", "n_a"), sizes, strict=True))
    for name, rival, gates in (*((n, r, 3) for n, r in rivals.items()), ("captured LSTM", by_the_engine(plain, problem, True), 4)):
        found = timing.compare({"products": lstm.products(problem, gates), name: rival}, rounds=rounds, seconds=0.1)
        row.setdefault("products ms", 1e3 * found.median("products"))
        row[name] = found.ratio(name, to="products")
    return row
