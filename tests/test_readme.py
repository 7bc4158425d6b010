"""The README says only what works: its programs run, its figures are the measured ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import readme
from minigrad.op import OPS, PUBLIC

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_programs_run(capsys):
    space: dict[str, object] = {}
    known = set(OPS)
    try:
        for program in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
            exec(program, space)
    finally:  # a program may define an op: for this test only
        for name in set(OPS) - known:
            del OPS[name], PUBLIC[name]
    out = capsys.readouterr().out
    assert "[ 6., 12.]" in out
    assert "c<1>" in out
    assert "gradients need a float dtype" in out


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
