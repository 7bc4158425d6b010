"""``python -m minigrad``: what the registry knows, as text."""

from __future__ import annotations

import argparse
import os
import sys
from itertools import chain
from pathlib import Path

from . import OPS, __version__, stubs
from .explain import tables


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
    arguments = parser.parse_args(argv)
    command = arguments.command
    if command == "ulps":
        return _ulps(parser, arguments)
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


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # `... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
