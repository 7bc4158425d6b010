"""Packages that only some experiments need."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from minigrad.errors import DependencyError, lesson

INSTALL = "pip install 'minigrad-engine[experiments]'"


def needed(module: str, experiment: str) -> Any:
    """An imported module.

    Raises
    ------
    DependencyError
        It is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise _missing(module, experiment) from None


def folder_of(package: str, experiment: str) -> Path:
    """Where a package's files lie, without importing it."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise _missing(package, experiment)
    return Path(spec.submodule_search_locations[0])


def _missing(module: str, experiment: str) -> DependencyError:
    package = module.partition(".")[0]
    return DependencyError(lesson(f"experiment {experiment}", f"the package {package} is not installed", "", INSTALL))
