"""Training the character model: this engine beside the same model in PyTorch.

Embedding 32, LSTM 128, linear layer; float32; 32 streams of 50 characters, the state carried on;
cross entropy, the gradient's norm cut at 1, Adam.  Both start from the same parameters and read the same
chunks in the same order, a few updates in turn, so that both meet the same disturbances.  A rival whose
losses are not PyTorch's does not compete.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks import timing
from models import training
from models.text import Corpus

CHUNK = 20
"""Updates in a row: as in a training, and long enough for the caches to be one's own."""
GATES = "ufco"  # of torch.nn.LSTM: i, f, g, o


def by_torch(run: training.Run) -> Callable[[], float]:
    """The same training, written as PyTorch's users write it."""
    torch: Any = importlib.import_module("torch")  # untyped where it is not installed
    torch.set_num_threads(timing.threads())
    params = {name: torch.from_numpy(p.numpy()) for name, p in run.model.named_parameters().items()}
    n_a, known = run.recipe.hidden, len(run.text.vocabulary)
    embedding = torch.nn.Embedding(known, training.EMBEDDING)
    lstm, head = torch.nn.LSTM(training.EMBEDDING, n_a), torch.nn.Linear(n_a, known)
    W, b = (torch.cat([params[f"lstm.cells.0.{kind}_{g}"] for g in GATES]) for kind in "Wb")
    with torch.no_grad():
        embedding.weight.copy_(params["embedding.weight"])
        lstm.weight_hh_l0.copy_(W[:, :n_a])
        lstm.weight_ih_l0.copy_(W[:, n_a:])
        lstm.bias_ih_l0.copy_(b)
        lstm.bias_hh_l0.zero_()
        head.weight.copy_(params["head.weight"])
        head.bias.copy_(params["head.bias"])
    lstm.bias_hh_l0.requires_grad_(False)  # one bias, as here: two would take Adam's steps twice
    learned = [p for module in (embedding, lstm, head) for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=run.recipe.lr)
    step, state = 0, None

    def update() -> float:
        nonlocal step, state
        position = step % len(run.learned)
        state = None if position == 0 else state
        optimizer.param_groups[0]["lr"] = run.lr_at(step)
        codes = torch.from_numpy(run.learned.chunk(position))
        outputs, (a, c) = lstm(embedding(codes[:-1]), state)
        loss = torch.nn.functional.cross_entropy(head(outputs).flatten(0, 1), codes[1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, run.recipe.clip_norm)
        optimizer.step()
        state = a.detach(), c.detach()
        step += 1
        return float(loss.detach()) / math.log(2)

    return update


def main(argv: Sequence[str]) -> None:
    options = timing.options(argv, __doc__ or "")
    text = Corpus.read()
    run = training.Run(text, training.Recipe(steps=2500))
    eager = training.Run(text, replace(run.recipe, eager=True))  # draws the same parameters
    rivals = {"torch": by_torch(run), "eager": eager.update, "captured": run.update}
    losses = {name: [update() for _ in range(CHUNK)] for name, update in rivals.items()}
    for name, found in losses.items():
        if not np.allclose(found, losses["torch"], rtol=1e-3):
            raise AssertionError(f"{name} does not train as torch does: {found}, {losses['torch']}")
    # a call is a whole chunk: `compare` then takes it once a round, the rivals in turn
    times = timing.compare({name: lambda update=update: [update() for _ in range(CHUNK)] for name, update in rivals.items()},
                           rounds=options.rounds)  # fmt: skip
    size = run.recipe.seq * run.recipe.batch
    row: dict[str, Any] = {"T": run.recipe.seq, "B": run.recipe.batch, "n_a": run.recipe.hidden}
    row |= {"torch ms": 1e3 * times.median("torch") / CHUNK}
    row |= {name: times.ratio(name, to="torch") for name in ("eager", "captured")}
    row |= {"characters/s, captured": round(size * CHUNK / times.median("captured"))}
    timing.report("Character model, float32, whole updates (embedding, LSTM, head, clip, Adam); ratios to torch", [row],
                  packages=["torch"], json_path=options.json)  # fmt: skip
