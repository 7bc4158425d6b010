"""Writes the measured figures into the README, from the JSON files that benchmarks left.

``python -m benchmarks eager --json docs/benchmarks/eager.json`` (and ``lstm``) measure;
this prints their rows as tables between two marks of the README.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "benchmarks"
START, END = "<!-- figures: written by `python -m benchmarks readme` -->\n", "<!-- end of figures -->\n"


def main(argv: Sequence[str]) -> None:
    """Rewrite the section."""
    readme = ROOT / "README.md"
    readme.write_text(with_figures(readme.read_text(encoding="utf-8")), encoding="utf-8")


def with_figures(text: str) -> str:
    """The README with its figures replaced by those of the result files."""
    before, rest = text.split(START)
    _, after = rest.split(END)
    tables = [_table(json.loads(path.read_text(encoding="utf-8"))) for path in sorted(RESULTS.glob("*.json"))]
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
