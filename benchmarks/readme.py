"""Writes the measured figures into the README and docs/checking.md, from the JSON files that benchmarks left.

``python -m benchmarks eager --json docs/benchmarks/eager.json`` (and ``lstm``, ``memory``, ``checker``)
measure; this prints their rows as tables between two marks of the page.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "benchmarks"
PAGES = {"docs/checking.md": ("checker",)}
"""Which results stand elsewhere than in the README."""
START, END = "<!-- figures: written by `python -m benchmarks readme` -->\n", "<!-- end of figures -->\n"


def main(argv: Sequence[str]) -> None:
    """Rewrite the sections."""
    for page in ("README.md", *PAGES):
        path = ROOT / page
        path.write_text(with_figures(path.read_text(encoding="utf-8"), page), encoding="utf-8")


def with_figures(text: str, page: str = "README.md") -> str:
    """A page with its figures replaced by those of its result files."""
    before, rest = text.split(START)
    _, after = rest.split(END)
    elsewhere = {name for names in PAGES.values() for name in names}
    tables = [_table(json.loads(path.read_text(encoding="utf-8"))) for path in sorted(RESULTS.glob("*.json"))
              if (path.stem in PAGES[page] if page in PAGES else path.stem not in elsewhere)]  # fmt: skip
    return before + START + "".join(f"\n{table}\n" for table in tables) + "\n" + END + after


def _table(result: dict[str, Any]) -> str:
    columns = list(result["rows"][0])
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    lines += ["| " + " | ".join(_cell(row[c]) for c in columns) + " |" for row in result["rows"]]
    where = ", ".join(f"{k} {v}" for k, v in result["environment"].items())
    return f"{result['title']} ({where}):\n\n" + "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "not available"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
