"""What recording costs: eager minigrad beside eager PyTorch, the same programs.

One small product, whose time is all overhead, and a training step of the paper's LSTM cell
written out in a loop: the same stages, in the same order, in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .timing import compare, options, report

SIZES = (20, 1, 16, 32)  # T, B, n_x, n_a
GATES = ("f", "u", "c", "o")


def main(argv: Sequence[str]) -> None:
    """Print both ratios."""
    args = options(argv, __doc__ or "")
    rows = []
    for title, rivals in (
        ("a * b, 1x32 float32, forward, gradient recorded", product()),
        ("LSTM cell loop, (n, B) columns, forward + loss + backward", lstm_loop(columns=True)),
        ("LSTM cell loop, one sequence as vectors, the same", lstm_loop(columns=False)),
    ):
        result = compare(rivals, rounds=args.rounds)
        rows.append({
            "program": title,
            "torch µs": result.median("torch") * 1e6,
            "minigrad µs": result.median("minigrad") * 1e6,
            "ratio": result.ratio("minigrad", to="torch"),
        })  # fmt: skip
    report("Eager minigrad beside eager PyTorch", rows, packages=("torch",), json_path=args.json)


def product() -> dict[str, Callable[[], object]]:
    """One recorded elementwise product of small arrays."""
    import numpy as np
    import torch

    import minigrad as mg

    a, b = np.random.default_rng(0).normal(size=(2, 1, 32)).astype(np.float32)
    ours = [mg.tensor(v, requires_grad=True) for v in (a, b)]
    theirs = [torch.tensor(v, requires_grad=True) for v in (a, b)]
    return {"minigrad": lambda: ours[0] * ours[1], "torch": lambda: theirs[0] * theirs[1]}


def lstm_loop(columns: bool) -> dict[str, Callable[[], object]]:
    """A training step of the paper's cell over T steps, error at each."""
    import numpy as np
    import torch

    import minigrad as mg
    from models import LSTMCell

    T, B, n_x, n_a = SIZES
    rng = np.random.default_rng(0)
    batch = (B,) if columns else ()
    x, target = (rng.normal(size=(T, n, *batch)).astype(np.float32) for n in (n_x, n_a))
    start = np.zeros((n_a, *batch), np.float32)
    cell = LSTMCell(n_x, n_a, rng=rng)
    params = {name: torch.tensor(p.numpy(), requires_grad=True)
              for name, p in cell.named_parameters().items()}  # fmt: skip

    def minigrad_step() -> None:
        outputs = []
        a = c = zero
        for x_t in xs:
            a, c = cell(x_t, (a, c))
            outputs.append(a)
        cell.zero_grad()
        mg.square(mg.stack(outputs) - aim).sum().backward()

    def torch_cell(z: Any, c: Any) -> Any:
        sums = [params[f"W_{g}"] @ z + (params[f"b_{g}"].reshape(-1, 1) if columns else params[f"b_{g}"])
                for g in GATES]  # fmt: skip
        Γ_f, Γ_u, c_tilde, Γ_o = (torch.tanh(s) if g == "c" else torch.sigmoid(s)
                                  for g, s in zip(GATES, sums, strict=True))  # fmt: skip
        c = c * Γ_f + Γ_u * c_tilde
        return torch.tanh(c) * Γ_o, c

    def torch_step() -> None:
        outputs = []
        a = c = torch_zero
        for x_t in torch_xs:
            a, c = torch_cell(torch.cat([a, x_t]), c)
            outputs.append(a)
        for p in params.values():
            p.grad = None
        torch.square(torch.stack(outputs) - torch_aim).sum().backward()

    xs, zero, aim = [mg.tensor(v) for v in x], mg.tensor(start), mg.tensor(target)
    torch_xs, torch_zero, torch_aim = [torch.tensor(v) for v in x], torch.tensor(start), torch.tensor(target)
    minigrad_step()
    torch_step()
    for name, p in cell.named_parameters().items():  # the same program, or no comparison
        np.testing.assert_allclose(p.grad.numpy(), params[name].grad.numpy(), rtol=1e-3, atol=1e-4)  # type: ignore[union-attr]
    return {"minigrad": minigrad_step, "torch": torch_step}
