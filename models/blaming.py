"""Blame a hand-derived backward pass of the paper's LSTM, and mark it like a piece of coursework.

The file that is judged defines, in plain NumPy ::

    def backward(params, x, a0, c0, cache, d_outputs):
        ...
        return {"W_f": dW_f, ...}

params
    ``W_f W_u W_c W_o`` (n_a, n_a + n_x), columns in the order [a, x], and ``b_f b_u b_c b_o`` (n_a,).
x, a0, c0
    Inputs (T, B, n_x) and initial state (B, n_a).
cache
    The values of the forward pass by their names in the paper, ``cache["Γ_f<2>"]`` (or
    ``cache["Gamma_f<2>"]``), each (n_a, B), as `models.lstm_manual.forward` returns them.  If the file
    defines ``forward(params, x, a0, c0)``, what that returns is passed in its place, and judged first.
d_outputs
    dError<t>/da<t> of each block's own Error<t>, (T, B, n_a).

It may return a dict by the names of the paper or by its own (``dWf``), or nothing: its local arrays
are looked at anyway.  ``NAMES = {"dh": "a", "dc_prev": "c<t-1> via c<t>"}`` in the file says whose
adjoint a local name holds, where that does not go without saying.
"""

from __future__ import annotations

import argparse
import json
import runpy
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg
from minigrad.errors import DataError, lesson
from minigrad.explain import Judged, Matched, Status, Verdict, step_of
from minigrad.graph import canonical, named

from . import lstm_manual
from .compare import Problem, random_problem, record

ALIASES = {
    "W_i": "W_u", "W_g": "W_c", "W_y": "W_o", "b_i": "b_u", "b_g": "b_c",
    **dict.fromkeys(("f", "ft", "gf", "gate_f", "forget"), "Γ_f"), **dict.fromkeys(("i", "it", "u", "gi", "gu", "gate_i", "input"), "Γ_u"),
    **dict.fromkeys(("o", "ot", "go", "gate_o", "output"), "Γ_o"), **dict.fromkeys(("g", "cbar", "cct", "c_hat", "c_cand", "candidate"), "c̃"),
    **dict.fromkeys(("h", "ht"), "a"), **dict.fromkeys(("s", "ct", "cell"), "c"), "concat": "z",
    **{f"{z}{g}": f"sum_{to}" for z in ("z_", "net_", "pre_", "a_") for g, to in zip("fiugco", "fuucco", strict=True)},
}  # fmt: skip
"""What others call the values of the paper: the input gate i, the output h."""


class Mark(NamedTuple):
    """How one stage fared over all steps.

    Attributes
    ----------
    stage : str
        A family of nodes, ``Γ_f``.
    right, follows, wrong, unjudged : int
        Arrays that are right; that are right given wrong ones; wrong by themselves; not judged.
    """

    stage: str
    right: int
    follows: int
    wrong: int
    unjudged: int

    @property
    def credit(self) -> float:
        """From 0 to 1: a right formula earns its credit on wrong inputs too."""
        return (self.right + self.follows) / ((self.right + self.follows + self.wrong) or 1)


def judge(path: str, problem: Problem) -> Matched:
    """Run the backward pass that a file defines on a problem, and blame it.

    Raises
    ------
    DataError
        The file cannot be read or run, or defines no ``backward``.
    """
    try:
        space = runpy.run_path(path)
    except OSError:
        raise
    except Exception as raised:
        raise DataError(f"{path}: it raised {type(raised).__name__}: {raised}") from raised
    backward = space.get("backward")
    if not callable(backward):
        raise DataError(lesson(path, "it defines no function `backward`",
                               "def backward(params, x, a0, c0, cache, d_outputs)"))  # fmt: skip
    error, _ = record(problem)
    given = problem.params, problem.x, problem.a0, problem.c0
    cache: Any = lstm_manual.forward(*given)
    d_outputs = cache["outputs"] - problem.target
    values: Mapping[str, Any] = {}
    try:
        if "forward" in space:
            cache = space["forward"](*given)
            values = cache if isinstance(cache, Mapping) else {}
        return mg.blame_function(backward, *given, cache, d_outputs, of=error, names=space.get("NAMES"),
                                 aliases=ALIASES, values=dict(_named(values, error)))  # fmt: skip
    except mg.MinigradError:
        raise
    except Exception as raised:
        raise DataError(f"{path}: it raised {type(raised).__name__}: {raised}") from raised


def _named(values: Mapping[str, Any], error: mg.Tensor) -> Iterator[tuple[str, Any]]:
    """Of a forward pass's values those that the paper has a name for."""
    known = set(named(error._node))
    for name, value in values.items():
        if canonical(name) in known:
            yield name, value


def marks(verdict: Verdict) -> list[Mark]:
    """The credit of each stage, in the order in which the derivation meets them."""
    stages: dict[str, list[Judged]] = {}
    for each in verdict.judged:
        family = step_of(each.name.partition(" via ")[0].partition(" at t=")[0]).family
        stages.setdefault(f"{family}{' (value)' if each.forward else ''}", []).append(each)
    return [Mark(stage, *(sum(j.status is status for j in all_) for status in Status)) for stage, all_ in stages.items()]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m models blame`."""
    parser.add_argument("file", metavar="FILE", help="Python file that defines backward(params, x, a0, c0, cache, d_outputs)")
    for option, default, what in (("steps", 4, "T"), ("batch", 2, "B"), ("inputs", 3, "n_x"), ("hidden", 4, "n_a")):
        parser.add_argument(f"--{option}", type=int, default=default, help=f"{what} (default: {default})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--grade", action="store_true", help="mark each stage")
    parser.add_argument("--json", action="store_true", help="print the verdict, and the marks, as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the verdict; 0 if nothing is wrong, else 1."""
    verdict = judge(args.file, random_problem(args.steps, args.batch, args.inputs, args.hidden, args.seed))
    found = marks(verdict)
    total = float(np.mean([m.credit for m in found])) if found else 0.0
    if args.json:
        print(json.dumps(verdict.as_dict() | {"marks": {m.stage: m.credit for m in found}, "credit": total},
                         ensure_ascii=False, indent=1))  # fmt: skip
        return 0 if verdict.ok else 1
    print(verdict)
    if args.grade:
        print(f"\n{'stage':12} right  follows  wrong  credit")
        for m in found:
            print(f"{m.stage:12} {m.right:5}  {m.follows:7}  {m.wrong:5}  {m.credit:6.0%}")
        print(f"{'all':12} {'':5}  {'':7}  {'':5}  {total:6.0%}")
    return 0 if verdict.ok else 1
