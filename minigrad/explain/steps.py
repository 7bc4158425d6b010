"""Names that tell a time step: ``c<2>``."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

INDEX = re.compile(r"<(-?\d+)>")


class Step(NamedTuple):
    """``c<2>`` taken apart; `t` is None for a name without a step."""

    family: str
    t: int | None

    def __str__(self) -> str:
        """The name at any step, ``c<t>``."""
        return self.family if self.t is None else f"{self.family}<t>"


@cache
def step_of(name: str | None) -> Step:
    """The family and the time step that a name tells."""
    found = re.fullmatch(r"(.*)<(-?\d+)>( before .*)?", name or "")
    return Step(found[1] + (found[3] or ""), int(found[2])) if found else Step(name or "", None)


def counted_from(text: str, here: int) -> str:
    """Every step in a text counted from one: ``c<3>`` as ``c<t+1>`` where t is 2."""
    def shifted(found: re.Match[str]) -> str:
        k = int(found[1]) - here
        return f"<t{f'{k:+d}'.replace('-', '−') if k else ''}>"

    return INDEX.sub(shifted, text)
