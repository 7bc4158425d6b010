"""`python -m models paths`: every path from a parameter to an error, multiplied out.

Random parameters, inputs, targets and initial state, one sequence; every block has an Error of its own.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from minigrad.errors import ArgumentError

from . import lstm_manual
from .compare import random_problem
from .lstm_manual.rows import numbers
from .terminal import heading, say

SIZES = {"T": (2, "blocks"), "hidden": (1, "n_a, size of a<t> and c<t>"), "inputs": (1, "n_x, size of x<t>")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m models paths`."""
    parser.add_argument("name", nargs="?", default="W_f", metavar="NAME",
                        help="where they start: a parameter, x<t>, a<0> or c<0> (default W_f)")  # fmt: skip
    for name, (default, what) in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{what} (default {default})")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--t", type=int, metavar="N", help="the paper's final formula for this block, in place of paths")
    parser.add_argument("--json", action="store_true", help="print the paths as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the paths, or one row of the gradient written out."""
    for name in SIZES:
        if getattr(args, name) < 1:
            raise ArgumentError(f"--{name} {getattr(args, name)}: at least 1")
    if args.seed < 0:
        raise ArgumentError(f"--seed {args.seed}: at least 0")
    drawn = random_problem(args.T, 1, args.inputs, args.hidden, args.seed)
    cache = lstm_manual.forward(drawn.params, drawn.x, drawn.a0, drawn.c0)
    d_outputs = cache["outputs"] - drawn.target
    grads = lstm_manual.backward(cache, d_outputs)
    try:
        if args.t is not None:
            what, *lines = lstm_manual.final_formula(cache, grads, args.name, args.t)
            say("\n".join([what, *(f"  = {line}" for line in lines)]))
            return 0
        found = list(lstm_manual.paths(cache, d_outputs, args.name))
    except ValueError as error:
        raise ArgumentError(str(error)) from None
    if args.json:
        print(json.dumps([{"nodes": path.nodes, "product": path.product.tolist(), "factors": [
            {"of": f.of, "by": f.by, "formula": f.formula, "value": f.value.tolist()} for f in reversed(path.factors)
        ]} for path in found], ensure_ascii=False, indent=1))  # fmt: skip
        return 0
    heading(f"dError/d{args.name}: {len(found)} paths, T = {args.T}",
            "Error<t> = ½ Σ (â<t> − a<t>)², so dError<t>/da<t> = −(â<t> − a<t>)")  # fmt: skip
    for k, path in enumerate(found, start=1):
        factors = path.factors[::-1]
        say(f"{k:3}  {path}")
        say(f"       {' · '.join(f.formula for f in factors)}")
        if args.hidden == 1:
            say(f"     = {' · '.join(numbers(f.value) for f in factors)}")
        say(f"     = {numbers(path.product)}")
    say()
    total = np.sum([path.product for path in found], axis=0)
    say(f"sum of the paths    {numbers(total)}")
    say(f"block after block   {numbers(grads[args.name].reshape(total.shape))}")
    return 0
