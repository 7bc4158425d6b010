"""`python -m models explain`: a small LSTM under the paper's names, its gradients explained.

Random parameters, inputs, targets and initial state; every block has an Error of its own.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import Tensor
from minigrad.errors import ArgumentError

from .lstm import LSTMCell
from .terminal import facts, say

Sizes = {"T": (4, "time steps"), "hidden": (3, "n_a, size of a<t> and c<t>"), "inputs": (2, "n_x, size of x<t>"),
         "batch": (1, "sequences, in columns")}  # fmt: skip


def named_lstm(T: int, n_a: int, n_x: int, batch: int, seed: int = 0) -> tuple[Tensor, LSTMCell]:
    """The Error of an LSTM whose every node has its name in the paper, and the cell.

    Parameters
    ----------
    T, n_a, n_x, batch : int
    seed : int

    Returns
    -------
    Error : Tensor
        Σ Error<t>, with Error<t> = ½ Σ (â<t> − a<t>)².
    cell : LSTMCell
    """
    rng = np.random.default_rng(seed)
    cell = LSTMCell(n_x, n_a, dtype=np.float64, rng=rng)
    a, c = (mg.tensor(rng.normal(size=(n_a, batch)), requires_grad=True) for _ in range(2))
    total: Any = None
    for t in range(1, T + 1):
        a, c = cell(rng.normal(size=(n_x, batch)), (a, c), t=t)
        target = mg.tensor(np.tanh(rng.normal(size=(n_a, batch))), name=f"â<{t}>")
        error = mg.squared_error(a, target).sum().named(f"Error<{t}>")
        total = error if total is None else total + error
    return (total if T > 1 else mg.positive(total)).named("Error"), cell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m models explain`."""
    for name, (default, what) in Sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{what} (default {default})")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--wrt", metavar="NAME", help="formulas for this node alone, for instance W_f or 'c<2>'")
    for kind, what in (("html", "a page that goes through it stage by stage"), ("svg", "the drawing"),
                       ("dot", "the graph for Graphviz"), ("flow", "a heat map of the gradient over time (png, svg, pdf)")):  # fmt: skip
        parser.add_argument(f"--{kind}", type=Path, metavar="FILE", help=f"write {what}")
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the formulas and the flow of the gradient, and write the pictures asked for."""
    for name in Sizes:
        if getattr(args, name) < 1:
            raise ArgumentError(f"--{name} {getattr(args, name)}: at least 1")
    if args.seed < 0:
        raise ArgumentError(f"--seed {args.seed}: at least 0")
    error, cell = named_lstm(args.T, args.hidden, args.inputs, args.batch, args.seed)
    derivation = mg.explain(error, wrt=args.wrt or list(cell.named_parameters()))
    flow = mg.flow(error)
    if args.html:
        derivation.html(args.html)
    if args.svg:
        args.svg.write_text(derivation.svg(), encoding="utf-8")
    if args.dot:
        args.dot.write_text(derivation.dot(), encoding="utf-8")
    if args.flow:
        flow.plot(args.flow)
    written = [(kind, str(path)) for kind in ("html", "svg", "dot", "flow") if (path := getattr(args, kind))]
    if args.json:
        report = {
            "error": error.item(),
            "formulas": derivation.text().splitlines(),
            "gradients": {name: mg.ledger(error, name).gradient.tolist() for name in cell.named_parameters()},
            "flow": {"rows": flow.rows, "steps": flow.steps,
                     "norms": [[None if np.isnan(x) else x for x in row] for row in flow.values.tolist()]},
            "files": dict(written),
        }  # fmt: skip
        print(json.dumps(report, ensure_ascii=False, indent=2))
        return 0
    say(derivation.text())
    say()
    say("Norm of the adjoints, time step by time step:")
    say(str(flow))
    if written:
        say()
        facts(written)
    return 0
