"""Networks as trees of modules: names, parameters, state, and whether they are training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from ..errors import ArgumentError, ShapeError, lesson
from ..mode import get_mode
from ..tensor import Tensor, _converted, _copied, _leaf, _new


class _Leaf(Tensor):
    """A leaf that a module holds."""

    __slots__ = ()
    _learned: ClassVar[bool]

    def __new__(cls, data: Any, dtype: Any = None, name: str | None = None) -> Self:
        array = _copied(data, cls.__name__)
        if dtype is not None:
            array = _converted(array, dtype, cls.__name__)
        out: Self = _new(cls)
        out._grad = None
        out._node = _leaf(out, array, cls._learned, name)
        return out

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # made by __new__
        pass


class Parameter(_Leaf):
    """A leaf that a network learns: ``Parameter(array)``, copied, requires a gradient.

    Parameters
    ----------
    data : array_like
    dtype : dtype, optional
    name : str, optional
    """

    __slots__ = ()
    _learned = True


class Buffer(_Leaf):
    """State of a network that is not learned: ``Buffer(array)``, copied, without a gradient.

    It is saved and loaded with the parameters; a module replaces its array, ``b.data = new``, by a
    tensor where it is to work in a captured function too.

    Parameters
    ----------
    data : array_like
    dtype : dtype, optional
    name : str, optional
    """

    __slots__ = ()
    _learned = False
    _state = True


class Module:
    """A part of a network: assign parameters and further modules as attributes, define
    ``forward``; lists, tuples and dicts of modules count as attributes too.

    Attributes
    ----------
    training : bool
        Set by `train` and `eval` for the whole tree.
    """

    @property
    def training(self) -> bool:
        training: bool = vars(self).get("training", True)
        record = get_mode().record
        if record is not None:
            record.setting(self, "training", training)
        return training

    @training.setter
    def training(self, mode: bool) -> None:
        vars(self)["training"] = mode

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes: each subclass defines its own."""
        name = type(self).__name__
        raise ArgumentError(lesson(name, "it is called and has no forward", "", f"class {name}: def forward(self, x): ..."))

    def __repr__(self) -> str:
        """The tree: each module with the shapes of its own parameters and buffers."""
        heads = {"": f"{type(self).__name__}, {self.num_parameters():,} parameters"}
        own: dict[str, list[str]] = {"": []}
        for path, part in _parts(self):
            owner = path.rpartition(".")[0]
            while owner not in own:  # lists and dicts are no modules
                owner = owner.rpartition(".")[0]
            name = path[len(owner) + 1 :] if owner else path
            if isinstance(part, Tensor):
                own[owner].append(f"{name} {part.shape}")
            else:
                kind = type(part).__name__ if isinstance(part, Module) else getattr(part, "__name__", repr(part))
                indent = len(heads[owner]) - len(heads[owner].lstrip()) + 2
                heads[path], own[path] = f"{' ' * indent}{name}: {kind}", []
        return "\n".join(f"{head}  {', '.join(own[path])}".rstrip() for path, head in heads.items())

    def num_parameters(self) -> int:
        """How many numbers there are to learn."""
        return sum(p.size for p in self.parameters())

    def named_parameters(self) -> dict[str, Tensor]:
        """Parameters by dotted name, for instance ``cells.0.W_f``.

        An attribute counts if it is a Parameter or any tensor that requires a gradient, so
        a parameter may be replaced by a traced tensor.  One that is shared goes by the first
        of its names.
        """
        return _named(self, lambda t: isinstance(t, Parameter) or t.requires_grad)

    def named_buffers(self) -> dict[str, Tensor]:
        """Buffers by dotted name, as `named_parameters`."""
        return _named(self, lambda t: isinstance(t, Buffer))

    def parameters(self) -> list[Tensor]:
        """The parameters in the order of their names in `named_parameters`."""
        return list(self.named_parameters().values())

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return iter(self.named_modules().values())

    def named_modules(self) -> dict[str, Module]:
        """The same by dotted name; this module's own is empty."""
        return {"": self} | {name: part for name, part in _parts(self) if isinstance(part, Module)}

    @property
    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """The arrays of parameters and buffers by name (read-only); assigning a dict of arrays
        loads them, all or nothing."""
        return {name: p.data for name, p in self._stored().items()}

    @state.setter
    def state(self, arrays: Mapping[str, Any]) -> None:
        own = self._stored()
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

    def _stored(self) -> dict[str, Tensor]:
        return self.named_parameters() | self.named_buffers()

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


def _items(part: Any) -> Any:
    if isinstance(part, Module):
        return list(vars(part).items())
    if isinstance(part, (list, tuple)):
        return enumerate(part)
    return part.items() if isinstance(part, dict) else ()


def _parts(root: Any, prefix: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Modules, tensors and functions below `root` by dotted name, through lists, tuples and dicts;
    what is met again (a shared module, one that holds itself) is not gone through again."""
    seen = {id(root)} if seen is None else seen
    for name, child in _items(root):
        path = f"{prefix}{name}"
        if isinstance(child, Tensor):
            yield path, child
        elif isinstance(child, (Module, list, tuple, dict)) and id(child) not in seen:
            seen.add(id(child))
            if isinstance(child, Module):
                yield path, child
            yield from _parts(child, f"{path}.", seen)
        elif callable(child) and not isinstance(child, Module):
            yield path, child


def _named(root: Module, wanted: Callable[[Tensor], bool]) -> dict[str, Tensor]:
    first: dict[Tensor, str] = {}  # a shared one goes by the first of its names
    for name, part in _parts(root):
        if isinstance(part, Tensor) and wanted(part):
            first.setdefault(part, name)
    return {name: t for t, name in first.items()}


def _replaced(part: Any, new: dict[Tensor, Tensor], done: dict[int, Any] | None = None) -> Any:
    """A copy of the tree with other tensors; what is shared in it stays shared."""
    done = {} if done is None else done
    if isinstance(part, Tensor):
        return new.get(part, part)
    if id(part) in done:
        return done[id(part)]
    if isinstance(part, Module):
        clone = done[id(part)] = copy.copy(part)
        for name, child in list(vars(part).items()):
            vars(clone)[name] = _replaced(child, new, done)
        return clone
    if isinstance(part, dict):
        table: dict[Any, Any] = {}
        done[id(part)] = table
        table.update((k, _replaced(c, new, done)) for k, c in part.items())
        return table
    if isinstance(part, list):
        row: list[Any] = []
        done[id(part)] = row
        row.extend(_replaced(c, new, done) for c in part)
        return row if type(part) is list else type(part)(row)
    if isinstance(part, tuple):
        parts = [_replaced(c, new, done) for c in part]
        return type(part)(*parts) if hasattr(part, "_fields") else type(part)(parts)
    return part
