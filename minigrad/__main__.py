"""``python -m minigrad``: what the registry knows, as text."""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import sys
from itertools import chain
from pathlib import Path

import numpy as np

from . import OPS, PUBLIC, MinigradError, __version__, linalg, record_all, stubs, tensor
from .explain import explain, tables


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m minigrad", description=__doc__)
    parser.add_argument("--version", action="version", version=f"minigrad {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("principles", help="print the three principles of backpropagation, and how to see each")
    commands.add_parser("ops", help="print every op with its formula and domain")
    commands.add_parser("stubs", help="rewrite the type stubs from the registry")
    docs = commands.add_parser("docs", help="write the tables of ops and of kinks, as Markdown")
    docs.add_argument("folder", nargs="?", type=Path, default=Path("docs"))
    ulps = commands.add_parser("ulps", help="how exact elementwise ops and their derivatives are, against mpmath")
    ulps.add_argument("op", nargs="*", help="without any, all of them")
    ulps.add_argument("--points", type=int, default=100, help="random points for each")
    ulps.add_argument("--seed", type=int, default=0)
    explained = commands.add_parser("explain", help="derive the gradient of an expression", description=EXPLAIN,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    explained.add_argument("expression", help='with the names of mg and np: "tanh(W @ x).sum()"')
    explained.add_argument("inputs", nargs="*", metavar="NAME=SHAPE", help="W=2x3, x=3, or s=scalar")
    explained.add_argument("--wrt", action="append", metavar="NAME", help="by whom; without it, by all inputs")
    explained.add_argument("--seed", type=int, default=0, help="of the random inputs")
    explained.add_argument("--each", action="store_true", help="nothing inlined: a line for each stage")
    form = explained.add_mutually_exclusive_group()
    for name in ("table", "latex", "numpy", "json", "paths"):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name)
    arguments = parser.parse_args(argv)
    command = arguments.command
    if command == "principles":
        print(PRINCIPLES, end="")
        return 0
    if command == "ulps":
        return _ulps(parser, arguments)
    if command == "explain":
        return _explain(parser, arguments)
    if command == "ops":
        width = max(map(len, OPS))
        for name, op in sorted(OPS.items()):
            where = " × ".join(domain.name for domain in op.domains) if op.differentiable else "no gradient"
            print(f"{name:{width}}  {op.caption}  ({where})")
    else:
        for path in stubs.write() if command == "stubs" else tables.write(arguments.folder):
            print(path)
    return 0


def _ulps(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    from .testing import arithmetic

    for op in arguments.op:
        if op not in OPS or not OPS[op].elementwise:
            parser.error(f"{op!r} is no elementwise op; see python -m minigrad ops")
    ledgers = (
        arithmetic.ulp_ledger(op, points=arguments.points, seed=arguments.seed)
        for op in arguments.op or [None]
    )
    for line in arithmetic.table(chain.from_iterable(ledgers)):
        print(line, flush=True)
    return 0


PRINCIPLES = """\
Three principles of backpropagation

1. A network is a chain of functional stages.
   Each takes its inputs, puts out one value, and has a local derivative for each input, whatever stands
   before or after it: weighted sum, concatenation, sigmoid, tanh, product, sum, convolution, pooling, loss.

     python -m minigrad ops                                     every stage there is
     python -m minigrad explain "tanh(W @ x).sum()" W=2x3 x=3   the stages of a program, and their derivatives

2. Along a path the local derivatives multiply: the chain rule.
   de/dx = de/df · df/dg · dg/dx, and neighbouring numerators and denominators cancel.

     python -m minigrad explain "square(sin(2*x + 2))" x=scalar --paths

3. Go through the stages in reverse, and at every fork add up.
   A stage needs the adjoint of what it put out, so each is visited once, after all that use its value.
   Where a value is used more than once, in two places or at every time step, its adjoint is the sum
   of what its branches contribute: each contribution is a product down to the total derivative of the
   error, never a local derivative alone.

     python -m minigrad explain "sin(2*x + 2) * x" x=scalar --paths    two paths, added
     python -m models paths W_f --T 2                                  an LSTM: every path of a weight
     python -m models explain --T 3                                    the same summed at each fork
"""

EXPLAIN = """\
The formula of every adjoint, on random inputs of the shapes given:

  python -m minigrad explain "tanh(W @ x).sum()" W=2x3 x=3 --wrt W
"""


def _explain(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    rng = np.random.default_rng(arguments.seed)
    inputs = {}
    for given in arguments.inputs:
        name, _, sizes = given.partition("=")
        if not name.isidentifier() or not re.fullmatch(r"scalar|\d+(x\d+)*", sizes):
            parser.error(f"{given!r}: write NAME=SHAPE, for instance W=2x3, x=3 or s=scalar")
        shape = () if sizes == "scalar" else tuple(map(int, sizes.split("x")))
        inputs[name] = tensor(rng.normal(size=shape), requires_grad=True, name=name)
    names = {**{k: v for k, v in PUBLIC.items() if "." not in k}, "np": np, "linalg": linalg, **inputs}
    try:
        tree = ast.parse(arguments.expression, mode="eval")
        hidden = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr.startswith("_")]
        if hidden:
            parser.error(f"{hidden[0].attr!r} is no part of a formula")
        with record_all():
            y = eval(compile(tree, "expression", "eval"), {"__builtins__": {}, **names})
        derivation = explain(y, arguments.wrt, inline=not arguments.each)
        if arguments.form == "paths":
            print("\n\n".join(str(derivation.paths(name)) for name in arguments.wrt or inputs))
            return 0
        print(json.dumps(derivation.data(), ensure_ascii=False, indent=1) if arguments.form == "json"
              else getattr(derivation, arguments.form or "text")())  # fmt: skip
    except SyntaxError as error:
        parser.error(f"{arguments.expression!r}: {error.msg}")
    except (MinigradError, NameError) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # `... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
