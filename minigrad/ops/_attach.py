"""The one grid that puts operators and methods onto Tensor.

Left: the name on Tensor.  Right: the public function that it calls.  Functions are looked
up in the registry; nothing is computed here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..docstring import document
from ..errors import ArgumentError, lesson
from ..op import OPS, PUBLIC, Op
from ..tensor import Tensor, apply

OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide",
    "matmul": "matmul", "pow": "pow", "and": "bitwise_and", "or": "bitwise_or",
    "floordiv": "floor_divide", "mod": "remainder", "xor": "bitwise_xor",
    "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift",
}  # fmt: skip
COMPARISONS = {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
    "eq": "equal", "ne": "not_equal",
}  # fmt: skip
UNARY = {"neg": "negative", "pos": "positive", "abs": "abs", "invert": "bitwise_invert"}
METHODS = (
    "sum", "mean", "max", "min", "argmax", "argmin", "all", "any", "astype",
    "prod", "var", "std", "cumsum", "cumprod", "argsort", "nonzero", "searchsorted",
    "dot", "trace", "diagonal",
    "squeeze", "swapaxes", "ravel", "flatten", "repeat", "take",
    "exp", "log", "sqrt", "square", "tanh", "sigmoid", "relu", "abs", "softmax", "log_softmax",
    "clip", "round", "conj", "conjugate",
)  # fmt: skip
SHAPED = {"reshape": "shape", "transpose": "axes", "permute_dims": "axes"}  # x.reshape(2, 3) too
PROPERTIES = {"T": "transpose", "mT": "matrix_transpose", "real": "real", "imag": "imag"}


def attach() -> None:
    """Fill in Tensor; called once, when all families are registered."""
    for name, public in OPERATORS.items():
        if public not in PUBLIC:  # goes when the elementwise family is whole
            continue
        forward, backward = _binary(public)
        setattr(Tensor, f"__{name}__", forward)
        setattr(Tensor, f"__r{name}__", backward)
    for name, public in COMPARISONS.items():
        setattr(Tensor, f"__{name}__", _comparison(_binary(public)[0]))
    for name, public in UNARY.items():
        setattr(Tensor, f"__{name}__", _unary(OPS[public]))
    for function in PUBLIC.values():  # those that are not made by `define`
        if "Notes\n-----" not in (function.__doc__ or ""):
            function.__doc__ = document(function, getattr(function, "op", None))
    for name in METHODS:
        setattr(Tensor, name, _named(_method(PUBLIC[name]), name))
    for name, keyword in SHAPED.items():
        setattr(Tensor, name, _named(_shaped(PUBLIC[name], keyword), name))
    for name, public in PROPERTIES.items():
        setattr(Tensor, name, property(PUBLIC[public]))
    setattr(Tensor, "__getitem__", PUBLIC["getitem"])  # noqa: B010 (to a type checker, a method)
    setattr(Tensor, "__iter__", lambda self: iter(PUBLIC["unstack"](self)))  # noqa: B010


def _named(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    method.__name__, method.__qualname__ = name, f"Tensor.{name}"
    method.__doc__ = PUBLIC[name].__doc__
    return method


def _binary(public: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    op = PUBLIC[public].op  # type: ignore[attr-defined]
    if op is not OPS[public] or public == "pow":  # a public function that chooses between ops
        function = PUBLIC[public]
        return function, lambda self, other: function(other, self)

    def forward(self: Tensor, other: Any) -> Any:
        return apply(op, (self, other))

    def backward(self: Tensor, other: Any) -> Any:
        return apply(op, (other, self))

    return forward, backward


def _comparison(compare: Callable[..., Any]) -> Callable[..., Any]:
    """Elementwise with numbers and arrays; with None or a string, Python's own answer."""

    def method(self: Tensor, other: Any) -> Any:
        return NotImplemented if other is None or isinstance(other, str) else compare(self, other)

    return method


def _unary(op: Op) -> Callable[[Tensor], Any]:
    def method(self: Tensor) -> Any:
        return apply(op, (self,))

    return method


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    """A method takes by position what the function takes by keyword: ``x.sum(0)``."""
    signature = inspect.signature(function).parameters.values()
    free = sum(p.kind is p.POSITIONAL_ONLY for p in signature) - 1
    names = [p.name for p in signature if p.kind is p.KEYWORD_ONLY]
    if not names:
        return lambda self, *args, **params: function(self, *args, **params)

    def method(self: Tensor, *args: Any, **params: Any) -> Any:
        if len(args) > free:
            by_position = dict(zip(names, args[free:], strict=False))
            if len(args) > free + len(names) or by_position.keys() & params.keys():
                raise ArgumentError(lesson(function.__name__, f"arguments {args} and {params}",
                                           f"at most {names}, each once"))  # fmt: skip
            return function(self, *args[:free], **by_position, **params)
        return function(self, *args, **params)

    return method


def _shaped(function: Callable[..., Any], keyword: str) -> Callable[..., Any]:
    def method(self: Tensor, *sizes: Any, **params: Any) -> Any:
        if sizes:
            if keyword in params:
                raise ArgumentError(lesson(function.__name__, f"{keyword} is given twice"))
            params[keyword] = sizes[0] if len(sizes) == 1 else sizes
        return function(self, **params)

    return method
