"""Type stubs, written from the registry: what a type checker cannot see for itself.

``python -m minigrad stubs`` rewrites ``__init__.pyi`` (the functions of the namespace) and
``_methods.pyi`` (what `ops/_attach.py` puts onto Tensor).
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import array_api
from .op import PUBLIC, draw_samples
from .ops import _attach

HEAD = '"""Written by `python -m minigrad stubs` from the registry; not edited by hand."""\n\n'


def namespace() -> str:
    """The text of ``__init__.pyi``."""
    import minigrad

    exported: list[str] = vars(minigrad)["__all__"]
    lines = [HEAD, "import builtins\n", "from types import ModuleType\n", "from typing import Any, Literal, Union\n\n"]
    lines += [f"from .array_api import {name} as {name}\n" for name in array_api.__all__]
    for name in exported:
        if name in array_api.__all__:
            continue
        value = vars(minigrad)[name]
        if inspect.ismodule(value) and name != "linalg":
            lines.append(f"from . import {name} as {name}\n")
        elif name not in PUBLIC and name != "linalg":
            module = getattr(value, "__module__", "minigrad.op")  # the registries are dicts
            lines.append(f"from .{module.removeprefix('minigrad.')} import {name} as {name}\n")
    lines += ["\n__version__: str\nlinalg: ModuleType\n\n"]
    functions = [_function(n, f) for n, f in sorted(PUBLIC.items()) if "." not in n]
    lines += [re.sub(r"\bbool\b", "builtins.bool", line) for line in functions]  # mg.bool is a dtype
    return "".join(lines)


def methods() -> str:
    """The text of ``_methods.pyi``."""
    lines = [HEAD, "from collections.abc import Iterator\n", "from typing import Any, Literal, Union\n\n",
             "from .tensor import Tensor\n\n", "class Methods:\n"]  # fmt: skip
    for name in _attach.OPERATORS:
        lines.append(f"    def __{name}__(self, other: Any, /) -> Tensor: ...\n")
        lines.append(f"    def __r{name}__(self, other: Any, /) -> Tensor: ...\n")
    for name in _attach.COMPARISONS:
        ignore = "  # type: ignore[override]" if name in ("eq", "ne") else ""
        lines.append(f"    def __{name}__(self, other: Any, /) -> Tensor: ...{ignore}\n")
    lines += [f"    def __{name}__(self) -> Tensor: ...\n" for name in _attach.UNARY]
    lines += ["    def __getitem__(self, key: Any, /) -> Tensor: ...\n",
              "    def __iter__(self) -> Iterator[Tensor]: ...\n"]  # fmt: skip
    lines += [f"    @property\n    def {name}(self) -> Tensor: ...\n" for name in _attach.PROPERTIES]
    lines += [f"    def {name}(self, *sizes: Any, **params: Any) -> Tensor: ...\n" for name in _attach.SHAPED]
    lines += ["    " + _function(name, PUBLIC[name], method=True) for name in _attach.METHODS]
    return "".join(lines)


def write() -> list[Path]:
    """Write both stubs beside the package; returns their paths."""
    here = Path(__file__).parent
    written = []
    for name, text in (("__init__.pyi", namespace()), ("_methods.pyi", methods())):
        (here / name).write_text(text, encoding="utf-8")
        written.append(here / name)
    return written


def _function(name: str, function: Callable[..., Any], method: bool = False) -> str:
    op = getattr(function, "op", None)
    hints = _hints(op.forward if op is not None and not hasattr(function, "__wrapped__") else function)
    params = list(inspect.signature(function).parameters.values())
    parts = list(_parameters(params, hints, method))
    gives = _result(function, op)
    return f"def {name}({', '.join(parts)}) -> {gives}: ...\n"


def _parameters(params: list[inspect.Parameter], hints: dict[str, Any], method: bool) -> Iterator[str]:
    """Parameters as a stub writes them; as a method, keywords may be positional too."""
    if method:
        yield "self"
        params = params[1:]
    positional_only = not method
    for k, p in enumerate(params):
        if p.kind is p.KEYWORD_ONLY and not method and not any(
                q.kind in (q.KEYWORD_ONLY, q.VAR_POSITIONAL) for q in params[:k]):  # fmt: skip
            yield "*"
        star = "*" if p.kind is p.VAR_POSITIONAL else "**" if p.kind is p.VAR_KEYWORD else ""
        default = "" if p.default is p.empty else " = ..."
        yield f"{star}{p.name}: {_type(hints.get(p.name, Any))}{default}"
        last = k + 1 == len(params) or params[k + 1].kind is not p.POSITIONAL_ONLY
        if positional_only and p.kind is p.POSITIONAL_ONLY and last:
            yield "/"


def _hints(function: Any) -> dict[str, Any]:
    if isinstance(function, np.ufunc):
        return {}
    return {k: v for k, v in typing.get_type_hints(function).items() if k != "return"}


def _type(hint: Any) -> str:
    text = inspect.formatannotation(hint).replace("typing.", "")
    known = text.replace("numpy.random._generator.Generator", "Any").replace("collections.abc.Sequence[Any]", "Any")
    return known if not any(m in known for m in ("minigrad", "numpy", "collections")) else "Any"


def _result(function: Callable[..., Any], op: Any) -> str:
    """A wrapper may return a named tuple, whose fields a checker has to let through."""
    hint = typing.get_type_hints(function).get("return") if inspect.isfunction(function) else None
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        return "Any"
    if typing.get_origin(hint) is list:
        return "list[Tensor]"
    many = typing.get_origin(hint) is tuple or op is not None and _gives_tuple(op)
    return "tuple[Tensor, ...]" if many else "Tensor"


def _gives_tuple(op: Any) -> bool:
    sample = next(iter(draw_samples(op, np.random.default_rng(0))), None)
    return sample is not None and isinstance(op.forward(*sample[0], **sample[1]), tuple)


