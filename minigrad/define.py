"""`define`: from a record to the public function that a user calls."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

import numpy as np

from .docstring import document
from .errors import ArgumentError, lesson
from .op import NUMPY, Function, Op, declare, publish
from .tensor import Tensor, apply


def define(
    name: str,
    forward: Callable[..., Any],
    *rules: Any,
    aliases: tuple[str, ...] = (),
    numpy: dict[Any, dict[str, str]] | None = None,
    **traits: Any,
) -> Function:
    """Add an op: ``tanh = define("tanh", np.tanh, lambda g, y, x: g * (1 - y * y))``.

    Parameters
    ----------
    name : str
        Its name; the function returned has it too.
    forward : callable
        ``forward(*arrays, **metadata)`` on ndarrays: pure, returns a new array.  Arrays are
        positional (positional-only where the metadata may be positional too).
    *rules : callable or None
        One for each array: ``rule(g, y, *arrays, **metadata)`` is that array's cotangent.
    aliases : tuple of str
        Further public names.
    numpy : dict, optional
        NumPy functions that shall record this op on tensors, each with a dict of
        NumPy's keyword -> ours.  A ufunc given as `forward` is entered by itself.
    **traits
        Fields of the record: `domain`, `caption`, `broadcasts`, `singular`, `elementwise`,
        `linear`, `analytic`, `variadic`, `samples`, `notation`, `jvp`, `branch`, `kinks`, `into`, `scalar`, `complain`; see
        `minigrad.op.Op`.

    Returns
    -------
    callable
        Takes tensors, arrays and numbers; gives a Tensor.

    Raises
    ------
    ArgumentError
        The name is taken, or the number of rules is not the number of arrays.
    """
    op = declare(name, forward, *rules, **traits)
    if isinstance(forward, np.ufunc) and _answers(forward) in (None, name):  # nobody else's
        numpy = {forward: {}, **(numpy or {})}
    function = function_of(op)
    publish(name, function, aliases=aliases, numpy=numpy)
    return function


def _answers(counterpart: Any) -> str | None:
    """The name of the op that a NumPy function records on tensors."""
    known = NUMPY.get(counterpart)
    return None if known is None else getattr(getattr(known.function, "op", None), "name", "")


def function_of(op: Op) -> Function:
    """The public function of a record: arrays positional, metadata as in `forward`."""
    arity = op.arity
    known = op.signature.parameters.keys()

    def function(*args: Any, **params: Any) -> Any:
        if len(args) != arity and arity is not None or params and not params.keys() <= known:
            args, params = _bind(op, args, params)
        for key, value in params.items():
            if isinstance(value, Tensor):
                raise ArgumentError(lesson(op.name, f"{key} is a tensor", "metadata: a plain value",
                                           f"write {key}=t.item() or t.numpy().tolist()"))  # fmt: skip
        return apply(op, args, params)

    return dress(function, op)


def dress(function: Any, op: Op) -> Function:
    """Give a public function the name, signature and docstring of its record."""
    function.__name__ = function.__qualname__ = op.name.rpartition(".")[2]
    function.__signature__ = op.signature
    function.__doc__ = document(function, op)
    function.op = op
    return function  # type: ignore[no-any-return]


def _bind(op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
    """Sort arguments into arrays and metadata, or say what is wrong with them."""
    try:
        bound = op.signature.bind(*args, **params).arguments
    except TypeError as error:
        names = list(op.signature.parameters)
        for key in params:
            if key not in names:
                close = get_close_matches(key, names, 1, 0.4)
                raise ArgumentError(
                    f"{op.name}: unknown keyword {key!r}"
                    + (f"; did you mean {close[0]!r}?" if close else f"; it takes {names}")
                ) from None
        raise ArgumentError(lesson(op.name, str(error), f"the call is {op.name}{op.signature}")) from None
    names = list(bound)
    arrays = tuple(bound.pop(k) for k in names[: op.arity])
    return arrays, bound
