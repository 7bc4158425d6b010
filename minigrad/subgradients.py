"""The convention at kinks, and how spellings of one function compare there.

The single ops' own points stand in their records (`kinks`); this is what spans several.
The docs and a test are made of both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

CONVENTION = """\
A derivative does not exist at a kink; what an engine gives there is a convention.  minigrad has one:

- a tie of two operands goes to the last one, with weights 0 and 1.  So `maximum(x, 0)`, `relu(x)`, `clip(x, 0, None)`
  and `where(x > 0, x, 0)` agree at 0, and `maximum(x, x)` has derivative 1;
- a reduction shares a tie evenly among all that tie;
- `|x|`, `sign(x)` and norms have derivative 0 at 0;
- a contribution whose cotangent is exactly 0 is exactly 0, whatever pole the local derivative has there, so what a
  `where` or an index leaves out never turns a gradient into NaN.
"""


class Spelling(NamedTuple):
    """A function of one variable, written with `mg`, and a derivative of it.

    Attributes
    ----------
    written : str
        An expression in `x`, `mg` and `np`.
    at : float or tuple
    gives : float or tuple
        The derivative of that order there; for a vector, of the sum.
    order : int
    why : str
    """

    written: str
    at: Any
    gives: Any
    order: int = 1
    why: str = ""


SPELLINGS = (
    Spelling("mg.relu(x)", 0.0, 0.0),
    Spelling("mg.maximum(x, 0)", 0.0, 0.0),
    Spelling("mg.clip(x, 0, None)", 0.0, 0.0),
    Spelling("mg.where(x > 0, x, 0)", 0.0, 0.0),
    Spelling("mg.maximum(0, x)", 0.0, 1.0, why="the last operand is x here"),
    Spelling("mg.where(x < 0, 0, x)", 0.0, 1.0, why="the condition chooses x at 0"),
    Spelling("(x + mg.abs(x)) / 2", 0.0, 0.5, why="|x| has derivative 0 at 0"),
    Spelling("mg.stack([x, 0 * x]).max()", 0.0, 0.5, why="a reduction shares the tie"),
    Spelling("mg.maximum(x, x)", 1.0, 1.0),
    Spelling("mg.abs(x)", 0.0, 0.0),
    Spelling("mg.sqrt(x * x)", 0.0, float("nan"), why="the pole of √ at 0 meets a factor 0 that is no cotangent: 0 · ∞"),
    Spelling("mg.maximum(x, -x)", 0.0, -1.0, why="the last operand is −x"),
    Spelling("mg.abs(x) ** 2", 0.0, 0.0, why="2|x| · 0"),
    Spelling("mg.abs(x) ** 2", 0.0, 0.0, order=2,
             why="of x² it is 2, but |x| shows the engine 0 on both factors; write x ** 2"),
    Spelling("x ** 2", 0.0, 2.0, order=2),
    Spelling("mg.where(x > 0, mg.sqrt(x), x)", 0.0, 1.0, why="the branch not taken has cotangent 0"),
    Spelling("mg.log(x)[-1]", (0.0, 1.0), (0.0, 1.0), why="what is not read has cotangent 0"),
)  # fmt: skip
