"""`python -m models experiment`: published experiments beside the papers' figures.

Without a name it lists them; ``docs`` writes the page from the results that are kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from minigrad.errors import ArgumentError

from .experiments import campaign, experiment, experiments, page
from .terminal import facts, heading, say

DOCS = "docs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m models experiment`."""
    parser.add_argument("name", nargs="?", metavar="NAME", help=f"an experiment; without it they are listed; {DOCS!r}: "
                        "write the page OUT.md, and the plots anew, from the results in OUT (default: docs/experiments)")  # fmt: skip
    parser.add_argument("--seeds", type=int, metavar="N", help="how many (default: the experiment's own)")
    parser.add_argument("--first", type=int, default=1, metavar="SEED", help="the first of them (default: %(default)s)")
    parser.add_argument("--control", metavar="NAME", help="run a control of the experiment, which must fail")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a number of the recipe")
    parser.add_argument("--quick", action="store_true", help="a tiny run, to see that it works")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the JSON file and the plot go (default: experiments)")


def run(args: argparse.Namespace) -> int:
    """List the experiments, or run one; 0 if it came out as it must, else 1."""
    if args.name is None:
        return _list()
    if args.name == DOCS:
        return _docs(args.out or Path("docs/experiments"))
    asked = experiment(args.name)
    count = args.seeds if args.seeds is not None else 1 if args.quick or args.control else asked.seeds
    for name, value, low in (("seeds", count, 1), ("first", args.first, 0)):
        if value < low:
            raise ArgumentError(f"--{name} {value}: at least {low}")
    changes = dict(_pair(text) for text in args.set)
    out = args.out or Path("experiments")
    out.mkdir(parents=True, exist_ok=True)  # refused now, not after the last seed
    heading(asked.title, f"{asked.source}.")
    say(asked.about.strip())
    say()

    def tell(trial: campaign.Result) -> None:
        found = ", ".join(f"{figure.caption} {figure(trial['figures'][key])}" for key, figure in asked.figures.items())
        say(f"  seed {trial['seed']}: {'passed' if trial['passed'] else 'failed'} in {trial['seconds']:.0f} s; {found}")

    result = campaign.run(asked, range(args.first, args.first + count), control=args.control, quick=args.quick,
                          changes=changes, tell=tell)  # fmt: skip
    say()
    table([("", "paper", "here"), *campaign.rows(asked, result)])
    files = campaign.write(asked, result, out)
    rivals = [("others", ", ".join(f"{name} {value:.4g}" for name, value in result["rivals"].items()))]
    facts([
        *(rivals if result["rivals"] else []),
        ("rule", asked.rule),
        *([("control", asked.controls[args.control].why)] if args.control else []),
        ("verdict", campaign.verdict(asked, result)),
        *([("remark", asked.remark)] if asked.remark else []),
        ("written", ", ".join(map(str, files))),
    ])  # fmt: skip
    return 0 if result["expected"] or args.quick else 1


def _docs(folder: Path) -> int:
    for kept in folder.glob("*.json"):
        result = campaign.read(kept)
        campaign.plot(experiment(result["experiment"]), result, kept.with_suffix(".png"))
    target = folder.with_suffix(".md")
    target.write_text(page.page(folder), encoding="utf-8")
    facts([("written", f"{target}, and the plots in {folder}")])
    return 0


def _list() -> int:
    heading("Published experiments", "python -m models experiment NAME")
    for name, each in experiments().items():
        controls = f"; controls: {', '.join(each.controls)}" if each.controls else ""
        say(f"  {name:<16}{each.title}. {each.source}{controls}")
    say()
    return 0


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ArgumentError(f"--set {text}: NAME=VALUE, for instance --set units=16")
    return name, value


def table(lines: list[tuple[str, str, str]]) -> None:
    """Lines of three columns, aligned."""
    widths = [max(len(line[k]) for line in lines) for k in range(3)]
    for line in lines:
        say("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    say()
