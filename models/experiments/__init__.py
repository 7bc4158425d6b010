"""Published experiments, each a module of this package: its task, its recipe, the paper's figures.

``python -m models experiment NAME`` runs one over several seeds.  A module is found by being here; what
it defines as an `Experiment` is listed under its name.
"""

from __future__ import annotations

import importlib
import pkgutil

from minigrad.errors import ArgumentError, lesson

from .experiment import Experiment

__all__ = ["Experiment", "experiment", "experiments"]


def experiments() -> dict[str, Experiment]:
    """Every experiment by its name."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    found = {value.name: value for module in modules for value in vars(module).values() if isinstance(value, Experiment)}
    return dict(sorted(found.items()))


def experiment(name: str) -> Experiment:
    """One of them.

    Raises
    ------
    ArgumentError
        There is none of this name.
    """
    known = experiments()
    if name not in known:
        raise ArgumentError(lesson(f"experiment {name}", "there is none of this name", f"one of {', '.join(known)}"))
    return known[name]
