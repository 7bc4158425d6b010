"""Functional transforms: functions in, functions out; they nest and never touch ``.grad``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .boundary import SCALARS
from .errors import ArgumentError, DtypeError, ShapeError, lesson
from .forward import pushforward
from .graph import newest_first
from .mode import enable_grad, get_mode, no_grad, recorded_mode, transforming
from .tensor import Tensor, alias, apply, as_tensor, constant, pull, tensor
from .tree import Rebuild, flatten, leaves_like


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
        call = Call(f, args, positions, kwargs)
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
        Returns a tree of tensors.
    *xs : trees of arrays, tensors and Modules

    Returns
    -------
    y : what `f` returned
    pull : callable
        ``pull(v)``, `v` in the structure of `y`, is a tuple with one entry per argument.
    """
    call = Call(f, xs, tuple(range(len(xs))), {})

    def pull_back(v: Any) -> tuple[Any, ...]:
        return tuple(call.pull(call.outputs, leaves_like(v, call.output, "pull")))

    return call.value(), pull_back


def jvp(f: Callable[..., Any], xs: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """The value of `f` at `xs`, and how it moves when `xs` move along `tangents`.

    Parameters
    ----------
    f : callable
        Returns a tree of tensors.
    xs : tuple of trees of arrays, tensors and Modules
        The arguments of `f`.
    tangents : tuple
        One for each argument, in its structure (for a Module a dict by parameter name), of
        its shapes and dtypes.

    Returns
    -------
    y, dy : what `f` returned, and its tangent in the same structure

    Raises
    ------
    ArgumentError, ShapeError, DtypeError
        The tangents do not fit the arguments.
    """
    call = Call(f, _tuple(xs, "jvp", "xs"), tuple(range(len(xs))), {})
    moves = leaves_like(_tuple(tangents, "jvp", "tangents"), tuple(xs), "jvp: tangents")
    return call.value(), call.rebuild(iter(call.push(moves)))


def jacobian(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The Jacobian of `f`, as a function.

    Parameters
    ----------
    f : callable
        Returns a tree of tensors.
    argnums : int or sequence of int
        Which positional arguments to differentiate.

    Returns
    -------
    callable
        Takes what `f` takes.  For every output, in the structure of the output, what
        `grad` would return, each array of shape ``output.shape + argument.shape``.

    Notes
    -----
    One pass for each number of the outputs or of the arguments, whichever are fewer.
    """

    @functools.wraps(f)
    def jac(*args: Any, **kwargs: Any) -> Any:
        call = Call(f, args, _positions(argnums, len(args)), kwargs)
        blocks = call.rows() if call.size(call.outputs) <= call.size(call.leaves) else call.columns()
        several = isinstance(argnums, Sequence)
        return call.rebuild(iter([
            tuple(parts) if several else parts[0] for parts in map(call.arguments, blocks)
        ]))  # fmt: skip

    return jac


def hessian(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The matrix of second derivatives of a scalar function, as a function: the Jacobian of
    the gradient, each array of shape ``argument.shape + argument.shape``."""
    return jacobian(grad(f, argnums), argnums)


def hvp(f: Callable[..., Any], xs: Sequence[Any], vs: Sequence[Any]) -> tuple[Any, ...]:
    """The product of the Hessian of a scalar function with a vector, at the cost of a few calls.

    Parameters
    ----------
    f : callable
    xs : tuple of trees of arrays, tensors and Modules
        The arguments of `f`.
    vs : tuple
        The vector: one tree for each argument, in its structure.

    Returns
    -------
    tuple
        One entry for each argument, in its structure.

    Notes
    -----
    The Hessian is symmetric, so that pulling `vs` back through the gradient will do.
    """
    xs, vs = _tuple(xs, "hvp", "xs"), _tuple(vs, "hvp", "vs")
    _, pull_back = vjp(grad(f, tuple(range(len(xs)))), *xs)
    return pull_back(vs)


def _tuple(given: Any, where: str, what: str) -> tuple[Any, ...]:
    if not isinstance(given, (tuple, list)):
        raise ArgumentError(lesson(where, f"{what} is {type(given).__name__}", "a tuple, one entry for "
                                   "each argument", f"write ({what},)"))  # fmt: skip
    return tuple(given)


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


class Call:
    """One call of `f` with chosen arguments replaced by fresh variables of this call.

    A tensor that somebody outside differentiates is passed under an alias: what flows to
    the alias is this call's gradient, and the graph below it stays whole for the outer
    transform.  `nested` says that such an outside exists, so that our own reverse pass
    must be recorded.
    """

    def __init__(self, f: Any, args: Any, positions: tuple[int, ...], kwargs: Any) -> None:
        given = list(args)
        self.variables: list[tuple[list[Tensor], Rebuild]] = []
        with transforming():
            for k in positions:
                leaves, rebuild, result = flatten(args[k])
                fresh = [_variable(leaf) for leaf in leaves]
                given[k] = rebuild(iter(fresh))
                self.variables.append((fresh, result))
            self.output = f(*given, **kwargs)
        self.returned, self.rebuild, _ = flatten(self.output)
        self.leaves = [x for fresh, _ in self.variables for x in fresh]
        own = {x._node for x in self.leaves}
        reached = newest_first(*(y._node for y in self.returned if isinstance(y, Tensor)))
        self.nested = recorded_mode() and any(
            n.op is None and n.requires_grad and n not in own for n in reached
        )

    @functools.cached_property
    def outputs(self) -> list[Tensor]:
        """The leaves of what `f` returned."""
        return [as_tensor(y) for y in self.returned]

    def value(self) -> Any:
        """What `f` returned; outside of other transforms, without its graph."""
        return self.rebuild(iter([y if self.nested else y.detach() for y in self.outputs]))

    def arguments(self, leaves: Sequence[Any]) -> list[Any]:
        """One entry for each leaf, put together as the arguments are."""
        remaining = iter(leaves)
        return [result(remaining) for _, result in self.variables]

    def pull(self, outputs: list[Tensor], seeds: list[Any]) -> list[Any]:
        """Cotangents in the structure of each argument; zeros where nothing flows."""
        return self.arguments(self.cotangents(outputs, seeds))

    def cotangents(self, outputs: list[Tensor], seeds: list[Any]) -> list[Tensor]:
        """One for each leaf."""
        live = [(y, v) for y, v in zip(outputs, seeds, strict=True) if y.requires_grad]
        wanted = {x._node for x in self.leaves}
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

        return [of(x) for x in self.leaves]

    def push(self, moves: list[Any]) -> list[Tensor]:
        """A tangent for each output, from one for each leaf, None where it stays."""
        traced = any(isinstance(t, Tensor) and t.requires_grad for t in moves) and recorded_mode()
        lift = self.nested or traced or get_mode().tape is not None
        table = {}
        for t, x in zip(moves, self.leaves, strict=True):
            if t is not None:
                t = _fitting(t, x)
                table[x._node] = t.data if not lift and isinstance(t, Tensor) else t
                if lift and not isinstance(t, Tensor):
                    table[x._node] = constant(np.array(t))
        with (enable_grad if lift else no_grad)():
            found = pushforward([y._node for y in self.outputs], table, lift=lift)
        return [t if isinstance(t, Tensor) else constant(np.zeros(y.shape, y.dtype) if t is None else np.array(t))
                for t, y in zip(found, self.outputs, strict=True)]  # fmt: skip

    def size(self, tensors: list[Tensor]) -> int:
        return sum(x.size for x in tensors)

    def rows(self) -> list[list[Any]]:
        """The Jacobian, a list of blocks for each output, by one reverse pass per number."""
        return [self._blocks([self.cotangents([y], [e]) for e in _basis(y)],
                             [(y.shape + x.shape, x.dtype) for x in self.leaves]) for y in self.outputs]  # fmt: skip

    def columns(self) -> list[list[Any]]:
        """The same by one forward pass per number of the arguments."""
        still = [None] * len(self.leaves)
        by_leaf = [self._blocks([self.push([*still[:k], e, *still[k + 1 :]]) for e in _basis(x)],
                                [(x.shape + y.shape, x.dtype) for y in self.outputs])
                   for k, x in enumerate(self.leaves)]  # fmt: skip
        turned = [[_transposed(block, x.ndim) for block, x in zip(blocks, self.leaves, strict=True)]
                  for blocks in zip(*by_leaf, strict=True)]  # fmt: skip
        return turned if self.leaves else [[] for _ in self.outputs]

    def _blocks(self, passes: list[list[Tensor]], kinds: list[tuple[tuple[int, ...], Any]]) -> list[Any]:
        """What several passes gave, stacked along a first axis and laid out in these shapes."""
        if not passes:
            return [constant(np.zeros(shape, dtype)) for shape, dtype in kinds]
        found: list[Any] = []
        for parts, (shape, _) in zip(zip(*passes, strict=True), kinds, strict=True):
            if get_mode().tape is not None or any(part.requires_grad for part in parts):
                found.append(np.stack(parts).reshape(shape))
            else:
                found.append(constant(np.stack([part.data for part in parts]).reshape(shape)))
        return found


def _basis(x: Tensor) -> Iterator[Any]:
    """The unit vectors of the space of `x`."""
    for k in range(x.size):
        e = np.zeros(x.shape, x.dtype)
        e.flat[k] = 1
        yield e


def _transposed(block: Any, k: int) -> Any:
    """The first `k` axes moved behind the others."""
    return block.transpose((*range(k, block.ndim), *range(k)))


def _fitting(t: Any, x: Tensor) -> Any:
    """A tangent as an array or Tensor like `x`."""
    if not isinstance(t, Tensor):
        t = np.asarray(t, x.dtype if type(t) in SCALARS or isinstance(t, list) else None)
    if t.shape != x.shape:
        raise ShapeError(lesson("jvp", f"a tangent of shape {t.shape}", f"its argument has shape {x.shape}"))
    if t.dtype != x.dtype:
        raise DtypeError(lesson("jvp", f"a tangent of dtype {t.dtype}", f"its argument is {x.dtype}",
                                "write tangent.astype(x.dtype)"))  # fmt: skip
    return t


def _variable(leaf: Any) -> Tensor:
    if isinstance(leaf, Tensor) and leaf.requires_grad:
        out: Tensor = apply(alias, (leaf,))
        return out
    if leaf is None or isinstance(leaf, (str, bytes)):
        raise ArgumentError(lesson("grad", f"an argument holds {leaf!r}", "arrays, tensors or numbers",
                                   "choose the arguments to differentiate with argnums="))  # fmt: skip
    return tensor(leaf, requires_grad=True)
