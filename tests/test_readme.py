"""The README and the pages of docs say only what works: their programs run and print what stands
below them, the figures are the measured ones."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import readme
from minigrad.op import OPS, PUBLIC

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted(ROOT.glob("docs/*.md"))


@pytest.fixture
def run():
    """Run a program; the ops that it defines are gone after the test."""
    space: dict[str, object] = {}
    known = set(OPS)
    yield lambda program: exec(program, space)
    for name in set(OPS) - known:
        del OPS[name], PUBLIC[name]


def test_the_programs_run(capsys, run):
    for program in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        run(program)
    out = capsys.readouterr().out
    assert "[ 6., 12.]" in out
    assert "c<1>" in out
    assert "gradients need a float dtype" in out


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="what would have shown differs without extended precision")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_programs_of_a_page_print_what_it_says(page, capsys, run):
    blocks = re.findall(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", page.read_text(encoding="utf-8"), re.DOTALL)
    for program, printed in blocks:
        run(program)
        assert capsys.readouterr().out == printed
    assert blocks or page.name in ("ops.md", "subgradients.md")  # tables


def test_exactly_two_commands_set_it_up():
    first_screen = TEXT.split("## ")[0]
    commands = re.findall(r"```sh\n(.*?)\n```", first_screen, re.DOTALL)
    assert len(commands) == 2
    assert all("\n" not in command for command in commands)
    assert commands[0].endswith("-m models")
    assert "pytest" in commands[1]


@pytest.mark.skipif(not readme.RESULTS.exists(), reason="not a checkout")
def test_the_figures_are_the_measured_ones():
    assert readme.with_figures(TEXT) == TEXT
    for page in readme.PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        assert readme.with_figures(text, page) == text
