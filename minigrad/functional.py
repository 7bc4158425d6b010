"""Functional transforms: functions in, functions out; they nest and never touch ``.grad``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .errors import ArgumentError, DtypeError, ShapeError, lesson
from .graph import newest_first
from .mode import enable_grad, recorded_mode
from .tensor import Tensor, alias, apply, constant, pull, tensor
from .tree import Rebuild, flatten


def grad(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """The gradient of a scalar function, as a function.

    Parameters
    ----------
    f : callable
        Takes trees of arrays, tensors and Modules; returns a scalar, or with `has_aux` a
        scalar and anything.
    argnums : int or sequence of int
        Which positional arguments to differentiate.
    has_aux : bool
        The gradient function returns ``(gradient, aux)``.

    Returns
    -------
    callable
        Takes what `f` takes; returns Tensors in the structure of the argument (a tuple of
        them for several `argnums`), for a Module a dict by dotted parameter name.

    Raises
    ------
    ShapeError
        `f` does not return a scalar.
    DtypeError
        An argument to differentiate has no float dtype.
    """
    both = value_and_grad(f, argnums, has_aux)

    @functools.wraps(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, g = both(*args, **kwargs)
        return (g, value[1]) if has_aux else g

    return gradient


def value_and_grad(
    f: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Like `grad`, but the function returned gives ``(value, gradient)``; with `has_aux`,
    ``((value, aux), gradient)``."""

    @functools.wraps(f)
    def both(*args: Any, **kwargs: Any) -> Any:
        positions = _positions(argnums, len(args))
        call = _Call(f, args, positions, kwargs)
        y, aux = call.output if has_aux else (call.output, None)
        if not isinstance(y, Tensor):
            y = tensor(y)
        if y.size != 1:
            raise ShapeError(lesson("grad", f"{getattr(f, '__name__', 'f')} returned shape {y.shape}",
                                    "a scalar", "reduce it with .sum(), or use mg.vjp"))  # fmt: skip
        if y.dtype.kind != "f":
            raise DtypeError(lesson("grad", f"{getattr(f, '__name__', 'f')} returned {y.dtype}",
                                    "a float, which a gradient can pass through"))  # fmt: skip
        grads = call.pull([y], [None])
        value = y if call.nested else y.detach()
        if has_aux and not call.nested:  # what leaves this call leaves its graph
            leaves, rebuild, _ = flatten(aux)
            aux = rebuild(iter([x.detach() if isinstance(x, Tensor) else x for x in leaves]))
        several = isinstance(argnums, Sequence)
        return (value, aux) if has_aux else value, tuple(grads) if several else grads[0]

    return both


def vjp(f: Callable[..., Any], *xs: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """The value of `f` at `xs`, and the map from a cotangent of it to cotangents of `xs`.

    Parameters
    ----------
    f : callable
        May return a Tensor or a tuple of them.
    *xs : trees of arrays, tensors and Modules

    Returns
    -------
    y : what `f` returned
    pull : callable
        ``pull(v)``, `v` in the structure of `y`, is a tuple with one entry per argument.
    """
    call = _Call(f, xs, tuple(range(len(xs))), {})
    several = isinstance(call.output, tuple)
    outputs = [y if isinstance(y, Tensor) else tensor(y)
               for y in (call.output if several else (call.output,))]  # fmt: skip

    def pull_back(v: Any) -> tuple[Any, ...]:
        seeds = list(v) if several else [v]
        if len(seeds) != len(outputs):
            raise ArgumentError(lesson("pull", f"{len(seeds)} cotangents", f"{len(outputs)}, one per output"))
        return tuple(call.pull(outputs, seeds))

    shown = [y if call.nested else y.detach() for y in outputs]
    return tuple(shown) if several else shown[0], pull_back


def _positions(argnums: int | Sequence[int], count: int) -> tuple[int, ...]:
    """`argnums` as positions from 0, each once."""
    given = tuple(argnums) if isinstance(argnums, Sequence) else (argnums,)
    try:
        positions = tuple(range(count)[k] for k in given)
    except (IndexError, TypeError):
        raise ArgumentError(lesson("grad", f"argnums={argnums!r} and {count} positional argument(s)",
                                   "the arguments to differentiate by position")) from None  # fmt: skip
    if len(set(positions)) < len(positions):
        raise ArgumentError(lesson("grad", f"argnums={argnums!r} names an argument twice"))
    return positions


class _Call:
    """One call of `f` with chosen arguments replaced by fresh variables of this call.

    A tensor that somebody outside differentiates is passed under an alias: what flows to
    the alias is this call's gradient, and the graph below it stays whole for the outer
    transform.  `nested` says that such an outside exists, so that our own reverse pass
    must be recorded.
    """

    def __init__(self, f: Any, args: Any, positions: tuple[int, ...], kwargs: Any) -> None:
        given = list(args)
        self.variables: list[tuple[list[Tensor], Rebuild]] = []
        with enable_grad():
            for k in positions:
                leaves, rebuild, result = flatten(args[k])
                fresh = [_variable(leaf) for leaf in leaves]
                given[k] = rebuild(iter(fresh))
                self.variables.append((fresh, result))
            self.output = f(*given, **kwargs)
        own = {x._node for fresh, _ in self.variables for x in fresh}
        outputs = self.output if isinstance(self.output, tuple) else (self.output,)
        reached = newest_first(*(y._node for y in outputs if isinstance(y, Tensor)))
        self.nested = recorded_mode() and any(
            n.op is None and n.requires_grad and n not in own for n in reached
        )

    def pull(self, outputs: list[Tensor], seeds: list[Any]) -> list[Any]:
        """Cotangents in the structure of each argument; zeros where nothing flows."""
        live = [(y, v) for y, v in zip(outputs, seeds, strict=True) if y.requires_grad]
        wanted = {x._node for fresh, _ in self.variables for x in fresh}
        traced = any(isinstance(v, Tensor) and v.requires_grad for _, v in live) and recorded_mode()
        found = pull([y for y, _ in live], [v for _, v in live], wanted=wanted,
                     record=self.nested or traced) if live else {}  # fmt: skip

        def of(x: Tensor) -> Tensor:
            g, owned = found.get(x._node, (None, True))
            if g is None:
                g = np.zeros(x.shape, x.dtype)
            if isinstance(g, Tensor):
                return g
            return constant(g if owned else np.array(g))

        return [result(iter([of(x) for x in fresh])) for fresh, result in self.variables]


def _variable(leaf: Any) -> Tensor:
    if isinstance(leaf, Tensor) and leaf.requires_grad:
        out: Tensor = apply(alias, (leaf,))
        return out
    if leaf is None or isinstance(leaf, (str, bytes)):
        raise ArgumentError(lesson("grad", f"an argument holds {leaf!r}", "arrays, tensors or numbers",
                                   "choose the arguments to differentiate with argnums="))  # fmt: skip
    return tensor(leaf, requires_grad=True)
