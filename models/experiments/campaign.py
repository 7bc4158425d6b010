"""One experiment over several seeds: run, judged, kept as JSON, drawn."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from minigrad.errors import ArgumentError, lesson

from .experiment import Experiment, Figure, Trial
from .needed import needed

POINTS = 60
"""So many points of a curve are kept."""

Result = dict[str, Any]


def run(experiment: Experiment, seeds: Sequence[int], *, control: str | None = None, quick: bool = False,
        changes: Mapping[str, str] | None = None, tell: Callable[[Result], None] = lambda trial: None) -> Result:  # fmt: skip
    """Run an experiment, or a control of it.

    Parameters
    ----------
    experiment : Experiment
    seeds : sequence of int
    control : str, optional
    quick : bool
    changes : dict of str to str, optional
        Fields of the recipe, as they were written.
    tell : callable
        Gets each seed's part of the result as soon as it is there.

    Returns
    -------
    dict
        What goes into the JSON file: the recipe, for each seed the figures, the curve and
        whether it passed, and as `expected` whether it all came out as it must.

    Raises
    ------
    DependencyError
        A package is missing: told before anything is run.
    """
    needed("matplotlib.figure", experiment.name)
    recipe = experiment.prepared(control, quick, changes or {})
    trials = []
    for seed in seeds:
        trials.append(_trial(experiment, recipe, seed))
        tell(trials[-1])
    passed = sum(each["passed"] for each in trials)
    return {
        "experiment": experiment.name,
        "control": control,
        "quick": quick,
        "changed": dict(changes or {}),
        "recipe": asdict(recipe),
        "expected": passed == 0 if control else passed >= experiment.share * len(trials),
        "trials": trials,
        "rivals": {name: _rounded(value) for name, value in (experiment.rivals(recipe) if experiment.rivals else {}).items()},
        "environment": {"python": platform.python_version(), "numpy": np.__version__},
    }


def _trial(experiment: Experiment, recipe: Any, seed: int) -> Result:
    begun = time.perf_counter()
    with needed("tqdm", experiment.name).tqdm(
            file=sys.stderr, disable=None, leave=False, dynamic_ncols=True,
            bar_format="  {percentage:3.0f}% {bar} {desc}  {elapsed}, at most {remaining} left") as bar:  # fmt: skip

        def watch(done: int, of: int, note: str) -> None:
            bar.total = of
            bar.set_description_str(f"seed {seed}: {note}", refresh=False)
            bar.update(done - bar.n)

        found: Trial = experiment.trial(recipe, seed, watch)
    every = max(1, -(-len(found.curve) // POINTS))
    kept = found.curve[::-1][::every][::-1]  # the last point always
    return {
        "seed": seed,
        "passed": bool(found.passed),
        "seconds": round(time.perf_counter() - begun, 1),
        "figures": {name: _rounded(value) for name, value in found.figures.items()},
        "curve": [[_rounded(x), _rounded(y)] for x, y in kept],
    }


def _rounded(value: float | None) -> float | None:
    """What a table or a drawing can show; a number that is none is kept as None."""
    return None if value is None or not np.isfinite(value) else float(f"{value:.5g}") if value % 1 else value


def stem(result: Result) -> str:
    """What its files are called: ``adding``, ``adding.control-init``, ``adding.quick``."""
    parts = [result["experiment"], f"control-{result['control']}" if result["control"] else "",
             "changed" if result["changed"] else "", "quick" if result["quick"] else ""]  # fmt: skip
    return ".".join(part for part in parts if part)


def verdict(experiment: Experiment, result: Result) -> str:
    """In a sentence whether it came out as it must."""
    passed, count = sum(t["passed"] for t in result["trials"]), len(result["trials"])
    share = f"{passed} of {count} {'seed passes' if count == 1 else 'seeds pass'}"
    if result["quick"]:
        return f"{share}; a quick run is no measurement"
    if result["control"]:
        return f"{share}: {'it fails, as it must' if result['expected'] else 'IT SHOULD HAVE FAILED'}"
    return f"{share}: {'reproduced' if result['expected'] else 'NOT REPRODUCED'} ({experiment.share:.0%} must)"


def row(figure: Figure, values: Sequence[float | None]) -> str:
    """The median of a figure over the seeds, and its range; never is more than any number."""
    ordered = sorted(values, key=lambda v: float("inf") if v is None else v)
    if len(ordered) == 1 or ordered[0] == ordered[-1]:
        return figure(ordered[0])
    middle = ordered[len(ordered) // 2] if None in ordered else median(ordered)  # type: ignore[type-var]
    return f"{figure(middle)} ({figure(ordered[0])} to {figure(ordered[-1])})"


def rows(experiment: Experiment, result: Result) -> list[tuple[str, str, str]]:
    """A line for each figure: its name, the paper's, ours."""
    return [(figure.caption, figure.paper or "none", row(figure, [t["figures"][key] for t in result["trials"]]))
            for key, figure in experiment.figures.items()]  # fmt: skip


def write(experiment: Experiment, result: Result, folder: Path) -> tuple[Path, Path]:
    """Keep a result: NAME.json and NAME.png in a folder.

    Raises
    ------
    OSError
    """
    kept, drawn = (folder / f"{stem(result)}.{kind}" for kind in ("json", "png"))
    kept.write_text(dumped(result), encoding="utf-8")
    plot(experiment, result, drawn)
    return kept, drawn


def dumped(result: Result) -> str:
    """As JSON, a line for each seed."""
    trials = ",\n  ".join(json.dumps(t, separators=(",", ":")) for t in result["trials"])
    rest = json.dumps({**result, "trials": []}, indent=1, ensure_ascii=False)
    return rest.replace('"trials": []', f'"trials": [\n  {trials}\n ]') + "\n"


def read(path: Path) -> Result:
    """A kept result.

    Raises
    ------
    ArgumentError
        It is not one.
    """
    try:
        result: Result = json.loads(path.read_text(encoding="utf-8"))
        result["trials"][0]["figures"]
    except (ValueError, KeyError, IndexError, TypeError):
        raise ArgumentError(lesson(str(path), "not a result of `python -m models experiment`")) from None
    return result


def plot(experiment: Experiment, result: Result, path: Path) -> None:
    """Draw the curve of every seed, beside what others reach."""
    axes = experiment.axes
    drawing = needed("matplotlib.figure", experiment.name).Figure(figsize=(6, 3.4), layout="constrained")
    ax = drawing.add_subplot()
    for trial in result["trials"]:
        points = [p for p in trial["curve"] if None not in p]
        ax.plot(*zip(*points, strict=True), linewidth=1.3, label=f"seed {trial['seed']}")
    for name, value in {**axes.lines, **result["rivals"]}.items():
        ax.axhline(value, color="0.45", linewidth=0.8, linestyle="--")
        ax.text(1.01, value, f"{name}, {value:.3g}", transform=ax.get_yaxis_transform(), va="center", fontsize=7)
    if axes.published is not None:
        ax.axvline(axes.published, color="tab:red", linewidth=0.9, label=f"the paper's: {axes.published:,.0f}")
    if axes.log:
        ax.set_yscale("log")
    control = f", control: {result['control']}" if result["control"] else ""
    ax.set(xlabel=axes.x, ylabel=axes.y, title=experiment.title + control)
    ax.title.set_fontsize(10)
    ax.legend(fontsize=7, frameon=False)
    drawing.savefig(path, dpi=110, metadata={"Software": None})
