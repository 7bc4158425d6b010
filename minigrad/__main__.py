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
    for name in ("table", "latex", "numpy", "json"):
        form.add_argument(f"--{name}", dest="form", action="store_const", const=name)
    arguments = parser.parse_args(argv)
    command = arguments.command
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
