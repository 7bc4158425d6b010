"""The source of an op's `forward`, with what it calls, for a text that needs NumPy alone."""

from __future__ import annotations

import ast
import builtins
import inspect
import itertools
import keyword
import math
import operator
import textwrap
from types import FunctionType, ModuleType
from typing import Any, NoReturn

import numpy as np

from ..errors import ArgumentError, lesson
from ..op import Op

MODULES: tuple[tuple[str, ModuleType], ...] = (
    ("np", np), ("np.linalg", np.linalg), ("np.lib.stride_tricks", np.lib.stride_tricks),
    ("math", math), ("operator", operator), ("itertools", itertools))  # fmt: skip


def numpy_name(thing: Any) -> str:
    """How source calls a function of NumPy; empty if it is none."""
    name = getattr(thing, "__name__", "")
    for path, module in MODULES[:3]:
        if name and getattr(module, name, None) is thing:
            return f"{path}.{name}"
    return ""


class Helpers:
    """Functions copied out of the project, each once, under names that are free."""

    def __init__(self, taken: set[str]) -> None:
        self.taken = set(taken)
        self.names: dict[int, str] = {}
        self.constants: dict[str, str] = {}
        self.definitions: list[str] = []
        self.imports: set[str] = set()
        self._kept: list[Any] = []
        self._op = ""

    def of(self, op: Op) -> str:
        """The name of a function that does what the op does."""
        self._op = op.name
        return self._function(op.forward, op.name.rpartition(".")[2])

    def source(self) -> list[str]:
        """The definitions, in an order that Python can run."""
        return [*(f"import {name}" for name in sorted(self.imports)), *self.definitions]

    def _function(self, function: Any, wish: str) -> str:
        function = inspect.unwrap(function)
        if id(function) in self.names:
            return self.names[id(function)]
        if not isinstance(function, FunctionType):
            self._refuse(f"{wish} is no Python function")
        name = self._free(wish)
        self.names[id(function)] = name
        self._kept.append(function)
        node = _syntax(function)
        if node is None:
            self._refuse(f"the source of {function.__qualname__} is not to be had")
        known = dict(function.__globals__)
        known |= {n: cell.cell_contents for n, cell in zip(function.__code__.co_freevars, function.__closure__ or (),
                                                           strict=True)}  # fmt: skip
        plain = _Plain().visit(node)
        _set_defaults(plain.args, function)
        local = {n.arg for n in ast.walk(plain) if isinstance(n, ast.arg)}
        local |= {n.id for n in ast.walk(plain) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
        for part in ast.walk(plain):
            if isinstance(part, (ast.Import, ast.ImportFrom)):
                self._refuse(f"{function.__name__} imports {ast.unparse(part).split()[1]}")
            if isinstance(part, ast.Name) and part.id not in local and part.id in known:
                part.id = self._beside(self._named(known[part.id], part.id), local)
        plain.name = name
        self.definitions += ["", "", *ast.unparse(ast.fix_missing_locations(plain)).splitlines()]
        return name

    def _beside(self, name: str, local: set[str]) -> str:
        """`name`, or where that is a local variable another name for it."""
        if name not in local:
            return name
        other = self._free(name + "_")
        self.definitions += ["", f"{other} = {name}"]
        return other

    def _named(self, thing: Any, wish: str) -> str:
        """What a function calls `wish`, in the text."""
        if thing is np:
            return "np"
        for path, module in MODULES:
            name = getattr(thing, "__name__", "")
            if thing is module or name and getattr(module, name, None) is thing:
                if not path.startswith("np"):
                    self.imports.add(path)
                return path if thing is module else f"{path}.{name}"
        if isinstance(ufunc := getattr(thing, "__self__", None), np.ufunc):
            return f"np.{ufunc.__name__}.{thing.__name__}"
        if isinstance(thing, type) and issubclass(thing, Exception):
            return "ValueError"
        if isinstance(thing, Op):
            return self._function(thing.forward, thing.name.rpartition(".")[2])
        if callable(thing) and not isinstance(thing, type):
            return self._function(thing, wish)
        text = _constant(thing)
        if text is None:
            self._refuse(f"it needs {wish}")
        if self.constants.get(wish) != text:
            wish = self._free(wish)
            self.constants[wish] = text
            self.definitions += ["", f"{wish} = {text}"]
        return wish

    def _free(self, wish: str) -> str:
        name = wish if wish.isidentifier() else "helper"
        while name in self.taken or keyword.iskeyword(name) or hasattr(builtins, name):
            name += "_"
        self.taken.add(name)
        return name

    def _refuse(self, why: str) -> NoReturn:
        raise ArgumentError(lesson(
            ".numpy()", f"op '{self._op}' has no source that needs NumPy alone: {why}", "",
            "write this stage with other ops, or call minigrad for it"))  # fmt: skip


def _constant(thing: Any) -> str | None:
    """Numbers, words, types and collections of them, as source."""
    if isinstance(thing, type):
        return thing.__name__ if thing.__module__ == "builtins" else numpy_name(thing) or None
    if isinstance(thing, (bool, int, float, complex, str, type(None))):
        return repr(thing)
    if type(thing) in (tuple, list, set, frozenset):
        parts = [_constant(part) for part in thing]
        shown = ", ".join(sorted(p for p in parts if p) if isinstance(thing, (set, frozenset)) else [p or "" for p in parts])
        return None if None in parts else f"{type(thing).__name__}([{shown}])"
    return "{}" if thing == {} else None


def _syntax(function: FunctionType) -> ast.FunctionDef | None:
    """The definition of a function; a lambda as one with a name."""
    try:
        if function.__name__ != "<lambda>":
            return _parsed(inspect.getsource(function))
        lines, _ = inspect.findsource(function)
        tree = ast.parse("".join(lines))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    around = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda) and _holds(node.body, function)]
    if not around:
        return None
    node = min(around, key=lambda node: len(ast.unparse(node)))  # the others hold a lambda that holds it
    return _parsed(f"def f({ast.unparse(node.args)}): return {ast.unparse(node.body)}")


def _holds(body: ast.expr, function: FunctionType) -> bool:
    """Whether the code of a function comes from this piece of its file."""
    places = [((a, c), (b, d)) for a, b, c, d in function.__code__.co_positions()
              if a is not None and b is not None and c is not None and d]  # fmt: skip
    first = body.lineno, body.col_offset
    last = body.end_lineno or 0, body.end_col_offset or 0
    return bool(places) and all(first <= a and b <= last for a, b in places)


def _parsed(text: str) -> ast.FunctionDef | None:
    (node,) = ast.parse(textwrap.dedent(text)).body
    return node if isinstance(node, ast.FunctionDef) else None


def _set_defaults(args: ast.arguments, function: FunctionType) -> None:
    """Defaults as values: what they were computed from may be out of reach."""
    given = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for holder in (args.defaults, args.kw_defaults):
        for k, old in enumerate(holder):
            if old is not None:
                text = _constant(given.pop(0))
                holder[k] = old if text is None else ast.parse(text, mode="eval").body


class _Plain(ast.NodeTransformer):
    """Without what only the project understands: annotations, the text of its errors."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        node.decorator_list = []
        node.returns = None
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:]
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> Any:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        self.generic_visit(node)
        return ast.Assign([node.target], node.value) if node.value is not None else ast.Pass()

    def visit_Call(self, node: ast.Call) -> Any:
        if isinstance(node.func, ast.Name) and node.func.id == "lesson":
            return ast.Constant("these arguments do not fit")
        return self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        if node.attr == "forward" and isinstance(node.value, ast.Name):  # of a record: its helper
            return node.value
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> Any:
        return ast.parse("raise ValueError('these arguments do not fit')").body[0]
