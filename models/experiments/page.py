"""The page about the experiments, written from the results that are kept."""

from __future__ import annotations

from pathlib import Path

from . import Experiment, campaign, experiments

TITLE = """# Published experiments

Written by `python -m models experiment docs` from the files beside it in `{folder}/`: every figure here was
measured by `python -m models experiment NAME`, on the seeds that are listed. Each task, recipe and rule of success
is a module of `models/experiments/`. A control is a change with which the experiment must fail.

```sh
pip install 'minigrad-engine[experiments]'
python -m models experiment                        # what there is
python -m models experiment adding --seeds 5       # figures beside the paper's, a plot and a JSON file in experiments/
python -m models experiment adding --control init  # must fail
python -m models experiment reber --set units=8    # another recipe
```

A module that is added to `models/experiments/` and defines an `Experiment` is found by that:

```python
from models.experiments import experiments

print(*experiments())
```

```text
{names}
```
"""


def page(folder: Path) -> str:
    """Markdown for the results (``*.json``) in a folder."""
    kept: dict[str, list[campaign.Result]] = {}
    for result in sorted(map(campaign.read, folder.glob("*.json")), key=lambda r: r["control"] or ""):
        kept.setdefault(result["experiment"], []).append(result)
    known = {name: each for name, each in experiments().items() if name in kept}
    lines = [TITLE.format(folder=folder.name, names=" ".join(experiments()))]
    lines += ["| experiment | seeds that pass | figure | paper | here |", "|---|---|---|---|---|"]
    for name, each in known.items():
        for result in kept[name]:
            passed = sum(t["passed"] for t in result["trials"])
            control = f", control `{result['control']}`" if result["control"] else ""
            caption, paper, ours = campaign.rows(each, result)[0]
            lines.append(f"| {each.title}{control} | {passed} of {len(result['trials'])} | {caption} | {paper} | {ours} |")
    for name, each in known.items():
        lines += ["", f"## {each.title}", "", f"{each.source}. `python -m models experiment {name}`", "", each.about.strip()]
        lines += ["", f"A seed passes: {each.rule}."]
        for result in kept[name]:
            lines += ["", *_result(each, result, folder)]
        if each.remark:
            lines += ["", each.remark]
    return "\n".join(lines) + "\n"


def _result(each: Experiment, result: campaign.Result, folder: Path) -> list[str]:
    lines = []
    if result["control"]:
        lines += [f"**Control `{result['control']}`.** {each.controls[result['control']].why}", ""]
    lines += ["| | paper | here |", "|---|---|---|"]
    lines += [f"| {' | '.join(cells)} |" for cells in campaign.rows(each, result)]
    if result["rivals"]:
        lines += ["", "On the same data: " + ", ".join(f"{name} {value:.4g}" for name, value in result["rivals"].items()) + "."]
    seeds = ", ".join(str(t["seed"]) for t in result["trials"])
    seconds = sorted(round(t["seconds"]) for t in result["trials"])
    each_took = f"{seconds[0]} s" if seconds[0] == seconds[-1] else f"{seconds[0]} to {seconds[-1]} s"
    recipe = ", ".join(f"{name} {value}" for name, value in result["recipe"].items())
    versions = ", ".join(f"{name} {version}" for name, version in result["environment"].items())
    lines += ["", f"{campaign.verdict(each, result)}. Seeds {seeds}, {each_took} each "
              f"of a shared machine; {recipe}; {versions}.",
              "", f"![{each.title}]({folder.name}/{campaign.stem(result)}.png)"]  # fmt: skip
    return lines
