"""Arrays by name, as they come from elsewhere: which of them are meant, and whether they are what is needed."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from minigrad import Tensor
from minigrad.errors import ArgumentError, DependencyError, DtypeError, ShapeError, lesson

Array = np.ndarray[Any, Any]
Shapes = Mapping[str, tuple[int, ...]]


def plain(value: Any) -> Array:
    """A NumPy array of what a framework calls a tensor; half precisions are widened, exactly."""
    if isinstance(value, Tensor):
        return value.data
    if hasattr(value, "detach"):  # PyTorch's
        value = value.detach().cpu()
        try:
            value = (value.float() if "bfloat16" in str(value.dtype) else value).numpy()
        except (TypeError, RuntimeError):  # eight-bit floats, quantised, sparse: refused where it is a weight
            value = np.empty(tuple(value.shape), object)
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.name in ("float16", "bfloat16") else array


def flat(tree: Any) -> dict[str, Array]:
    """The arrays of a state dict, or of a checkpoint that has one inside, by dotted name."""
    if not isinstance(tree, (Mapping, list, tuple)):
        raise ArgumentError(lesson("exchange", f"got a {type(tree).__name__}", "arrays by name, or the path of a file"))
    return {name: plain(value) for name, value in _leaves(tree) if hasattr(value, "shape")}


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    pairs: Any = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
    for name, value in pairs:
        if isinstance(value, (Mapping, list, tuple)):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def under(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """The arrays of one part of a network, by the names that they have there."""
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}


def chosen(prefix: str | None, candidates: Iterable[str], where: str, needed: str) -> str:
    """The one place among `candidates` that is meant."""
    known = sorted(set(candidates))
    if not known:
        raise ArgumentError(lesson(where, f"no {needed}"))
    if prefix is None and len(known) == 1:
        return known[0]
    for spelling in () if prefix is None else (prefix, f"{prefix}."):
        if spelling in known:
            return spelling
    given = "several layers" if prefix is None else f"nothing under {prefix!r}"
    raise ArgumentError(lesson(where, f"{given}: there are {', '.join(map(repr, known))}", "one of them",
                               f"write prefix={known[0]!r}"))  # fmt: skip


def common_dtype(arrays: Mapping[str, Array], dtype: Any, where: str) -> np.dtype[Any]:
    """The dtype of a model of these arrays: one that keeps every digit, unless one is asked for."""
    alien = [f"{name!r} is {a.dtype}" for name, a in arrays.items() if a.dtype.kind != "f"]
    if alien:
        raise DtypeError(lesson(where, "; ".join(alien), "floating-point arrays", "dequantise the weights before"))
    return np.result_type(np.float32, *arrays.values()) if dtype is None else np.dtype(dtype)


def refuse_differences(found: Shapes, needed: Shapes, where: str) -> None:
    """Refuse arrays that are not the needed ones, with all that is wrong at once."""
    wrong = [f"missing {name!r} {shape}" for name, shape in needed.items() if name not in found]
    wrong += [f"unknown {name!r} {shape}" for name, shape in found.items() if name not in needed]
    wrong += [f"{name!r} has shape {shape}, needs {needed[name]}"
              for name, shape in found.items() if needed.get(name, shape) != shape]  # fmt: skip
    if wrong:
        raise ShapeError(lesson(where, "; ".join(wrong), "nothing was imported"))


def library(name: str, where: str, why: str) -> Any:
    """An optional package."""
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise DependencyError(lesson(where, f"the package {package} is not installed", why,
                                     f"pip install {package}")) from None  # fmt: skip
