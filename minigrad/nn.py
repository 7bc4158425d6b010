"""Networks as trees of modules: names, parameters, state, and whether they are training."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .errors import ArgumentError, ShapeError, lesson
from .op import PUBLIC
from .tensor import Tensor, _converted, _copied, _leaf, _new


class Parameter(Tensor):
    """A leaf that a network learns: ``Parameter(array)``, copied, requires a gradient.

    Parameters
    ----------
    data : array_like
    dtype : dtype, optional
    name : str, optional
    """

    __slots__ = ()

    def __new__(cls, data: Any, dtype: Any = None, name: str | None = None) -> Parameter:
        array = _copied(data, "Parameter")
        if dtype is not None:
            array = _converted(array, dtype, "Parameter")
        out: Parameter = _new(cls)
        out._grad = None
        out._node = _leaf(out, array, True, name)
        return out

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # made by __new__
        pass


class Module:
    """A part of a network: assign parameters and further modules as attributes, define
    ``forward``; lists, tuples and dicts of modules count as attributes too.

    Attributes
    ----------
    training : bool
        Set by `train` and `eval` for the whole tree.
    """

    training: bool = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)  # type: ignore[attr-defined]

    def named_parameters(self) -> dict[str, Tensor]:
        """Parameters by dotted name, for instance ``cells.0.W_f``.

        An attribute counts if it is a Parameter or any tensor that requires a gradient, so
        a parameter may be replaced by a traced tensor.  One that is shared goes by the first
        of its names.
        """
        first: dict[Tensor, str] = {}
        for name, p in _parameters(self, ""):
            first.setdefault(p, name)
        return {name: p for p, name in first.items()}

    def parameters(self) -> list[Tensor]:
        """The parameters in the order of their names in `named_parameters`."""
        return list(self.named_parameters().values())

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        yield self
        for _, child in _children(self):
            if isinstance(child, Module):
                yield from child.modules()

    @property
    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """The parameters' arrays by name (read-only); assigning a dict of arrays loads them,
        all or nothing."""
        return {name: p.data for name, p in self.named_parameters().items()}

    @state.setter
    def state(self, arrays: Mapping[str, Any]) -> None:
        own = self.named_parameters()
        arrays = {name: np.asarray(a) for name, a in arrays.items()}
        wrong = [f"missing {name!r}" for name in own if name not in arrays]
        wrong += [f"unknown {name!r}" for name in arrays if name not in own]
        wrong += [f"{name!r} is {a.dtype} of shape {a.shape}, needs {p.dtype} of shape {p.shape}"
                  for name, p in own.items()
                  if (a := arrays.get(name)) is not None
                  and (a.shape != p.shape or not np.can_cast(a.dtype, p.dtype, "same_kind"))]  # fmt: skip
        wrong += [f"{name!r} was computed, only a leaf can be loaded"
                  for name, p in own.items() if p._node.op is not None]  # fmt: skip
        if wrong:
            raise ShapeError(lesson("state", "; ".join(wrong), "nothing was loaded"))
        for name, p in own.items():
            p.data = arrays[name].astype(p.dtype)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in self.parameters():
            p.grad = None

    def train(self, mode: bool = True) -> Module:
        """Switch the whole tree to training (dropout, noise) or, with False, evaluation."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Switch the whole tree to evaluation."""
        return self.train(False)

    def with_parameters(self, tensors: Mapping[str, Tensor]) -> Module:
        """A clone that shares everything but the parameters named: those are `tensors`."""
        own = self.named_parameters()
        clone: Module = _replaced(self, {own[name]: new for name, new in tensors.items()})
        return clone


def _children(module: Any) -> Iterator[tuple[str, Any]]:
    """Named attributes of a module, items of a list or dict, that may hold parameters."""
    items: Any = ()
    if isinstance(module, Module):
        items = vars(module).items()
    elif isinstance(module, (list, tuple)):
        items = enumerate(module)
    elif isinstance(module, dict):
        items = module.items()
    for name, child in items:
        if isinstance(child, (Module, Tensor)):
            yield str(name), child
        elif isinstance(child, (list, tuple, dict)):
            yield from ((f"{name}.{k}", grandchild) for k, grandchild in _children(child))


def _parameters(module: Module, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, child in _children(module):
        if isinstance(child, Module):
            yield from _parameters(child, f"{prefix}{name}.")
        elif isinstance(child, Parameter) or child.requires_grad:
            yield prefix + name, child


def _replaced(part: Any, new: dict[Tensor, Tensor]) -> Any:
    if isinstance(part, Module):
        clone = copy.copy(part)
        for name, child in vars(part).items():
            vars(clone)[name] = _replaced(child, new)
        return clone
    if isinstance(part, Tensor):
        return new.get(part, part)
    if isinstance(part, (list, tuple)):
        parts = [_replaced(c, new) for c in part]
        return type(part)(*parts) if hasattr(part, "_fields") else type(part)(parts)
    if isinstance(part, dict):
        return {k: _replaced(c, new) for k, c in part.items()}
    return part


class Linear(Module):
    """``x @ Wᵀ + b`` for `x` of shape (..., n_in): PyTorch's layer.

    Parameters
    ----------
    n_in, n_out : int
    bias : bool
    dtype : dtype
    rng : numpy.random.Generator, optional
        Draws ``weight`` (n_out, n_in) and ``bias`` (n_out,) from U(±1/√n_in).
    """

    def __init__(self, n_in: int, n_out: int, *, bias: bool = True, dtype: Any = np.float32,
                 rng: np.random.Generator | None = None) -> None:  # fmt: skip
        rng = np.random.default_rng(rng)
        k = 1 / np.sqrt(n_in)
        self.weight: Tensor = Parameter(rng.uniform(-k, k, (n_out, n_in)), dtype)
        self.bias: Tensor | None = Parameter(rng.uniform(-k, k, n_out), dtype) if bias else None

    def forward(self, x: Any) -> Any:
        y = x @ self.weight.mT
        return y if self.bias is None else y + self.bias


class Embedding(Module):
    """Row `i` of a table for each integer `i`: a look-up whose adjoint adds rows up.

    Parameters
    ----------
    count, size : int
        ``weight`` has shape (count, size), drawn from N(0, 1).
    dtype : dtype
    rng : numpy.random.Generator, optional
    """

    def __init__(self, count: int, size: int, *, dtype: Any = np.float32,
                 rng: np.random.Generator | None = None) -> None:  # fmt: skip
        if count < 1 or size < 1:
            raise ArgumentError(lesson("Embedding", f"count={count}, size={size}", "positive sizes"))
        rng = np.random.default_rng(rng)
        self.weight: Tensor = Parameter(rng.normal(size=(count, size)), dtype)

    def forward(self, indices: Any) -> Any:
        return PUBLIC["take"](self.weight, indices, axis=0)
