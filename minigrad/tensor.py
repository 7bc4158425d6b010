"""Tensor: a handle on a node; `apply`: the one place where a stage is run and recorded.

Eager tape, `create_graph` and capture are the same recording.  What is attached to
Tensor by the op families (operators, methods) stands in `ops/_attach.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dis import opmap
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import ref

import numpy as np

from .backward import Observer, backpropagate, cast, pick
from .boundary import SCALARS, as_dtype, check_device, complaint, lock, own, wrap_scalar
from .debug import Site, check_cotangent, check_forward, check_unchanged
from .errors import (
    ArgumentError,
    DomainError,
    DtypeError,
    GraphError,
    MinigradError,
    ModeError,
    ShapeError,
    lesson,
)
from .graph import NO_PARAMS, Node, canonical, newest_first, next_serial
from .mode import EAGER, enable_grad, get_mode, no_grad
from .op import NUMPY, Op, declare

if TYPE_CHECKING:
    from ._methods import Methods
else:
    Methods = object

_new = object.__new__
STORE_SUBSCR = opmap["STORE_SUBSCR"]
_ndarray = np.ndarray
FLOATS = frozenset((np.float64, np.float32))


# --- the one apply -----------------------------------------------------------------------


def apply(op: Op, args: tuple[Any, ...], params: dict[str, Any] = NO_PARAMS) -> Any:
    """Run a stage and, where a gradient or a tape asks for it, record it.

    Returns a Tensor, or a tuple of them for an op with several outputs.
    """
    inputs: Any
    values: Any
    count = len(args)  # one tensor, or two, are the usual case: written out for speed
    if count == 2:
        a, b = args
        if isinstance(a, Tensor):
            left = a._node
            a = left.value
            needs_grad = left.requires_grad
        else:
            left, needs_grad = None, False
            a = a if type(a) in SCALARS and op.broadcasts else own(a, op.name)
        if isinstance(b, Tensor):
            right = b._node
            b = right.value
            needs_grad = needs_grad or right.requires_grad
        else:
            right = None
            b = b if type(b) in SCALARS and op.broadcasts else own(b, op.name)
        inputs = (left, right)
        values = (a, b)
    elif count == 1 and isinstance(args[0], Tensor):
        left = args[0]._node
        inputs = (left,)
        values = (left.value,)
        needs_grad = left.requires_grad
    else:
        inputs, values, needs_grad = _gather(op, args)
    try:
        if params:
            y = op.forward(*values, **params)
        elif (op.scalar is not None and type(values[0]) is not _ndarray
                and (type(values[0]) in FLOATS or type(values[-1]) in FLOATS)):  # fmt: skip
            y = op.scalar(*values)
        else:
            y = op.forward(*values)
    except MinigradError:
        raise
    except (ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise complaint(op, inputs, values, params, error) from None
    kind = type(y)
    if kind is _ndarray:
        lock(y, False)
    elif kind is tuple:
        for part in y:
            if type(part) is _ndarray:
                lock(part, False)
    mode = get_mode()
    if needs_grad:
        if not op.differentiable:
            needs_grad = False
            if mode.grad and _carries(y):
                raise GraphError(lesson(
                    op.name, "it has no rules, and an input requires a gradient", "",
                    "define it with a rule for each input, or give it x.detach()"))  # fmt: skip
        elif params and kind is not tuple and y.dtype.kind != "f":
            needs_grad = _to_integers(op, y, mode.grad)
    recorded = needs_grad
    if mode is not EAGER:
        needs_grad = needs_grad and mode.grad
        recorded = needs_grad or mode.everything or mode.tape is not None
    node = _new(Node)  # Node.__init__ written out: this is the hot path of eager mode
    node.requires_grad = needs_grad
    if recorded:
        node.op = op
        node.inputs = inputs
        node.values = values
        node.params = params
    else:
        node.op = None
        node.inputs = node.values = ()
        node.params = NO_PARAMS
    node.value = y
    node.serial = next_serial()
    node.name = node.handle = node.site = None
    if mode is not EAGER:
        if mode.tape is not None:
            mode.tape.append(node)
        if mode.debug:
            node.site = Site((y, *node.values))
            check_forward(node, op, values)
    out = _new(Tensor)
    out._node = node
    out._grad = None
    if kind is tuple:
        return tuple(apply(pick, (out,), {"i": i}) for i in range(len(y)))
    return out


def _to_integers(op: Op, y: Any, recorded: bool) -> bool:
    """No gradient passes through integers: refused, but for an output of several."""
    if recorded and op is not pick:
        raise DtypeError(lesson(op.name, f"a tensor that requires a gradient to {y.dtype}",
                                "no gradient passes through integers", "give it x.detach()"))  # fmt: skip
    return False


def _carries(y: Any) -> bool:
    """Whether a gradient could pass through this output."""
    return any(np.asarray(part).dtype.kind == "f" for part in (y if type(y) is tuple else (y,)))


def _gather(op: Op, args: tuple[Any, ...]) -> tuple[Any, Any, bool]:
    """Parents, raw values, and whether any of them carries a gradient."""
    inputs: list[Node | None] = []
    values = []
    needs_grad = False
    for a in args:
        if isinstance(a, Tensor):
            node = a._node
            inputs.append(node)
            values.append(node.value)
            needs_grad = needs_grad or node.requires_grad
        else:
            inputs.append(None)
            values.append(a if type(a) in SCALARS and op.broadcasts else own(a, op.name))
    return tuple(inputs), tuple(values), needs_grad


# --- Tensor ------------------------------------------------------------------------------


class Tensor(Methods):
    """An immutable array and the graph that made it.

    Make one with `mg.tensor`.  Operators, methods and NumPy's functions on tensors give
    tensors; a scalar is a tensor of shape ``()``.  Operators compare elementwise, hashing
    is by identity.
    """

    __slots__ = ("__weakref__", "_grad", "_node")
    __hash__ = object.__hash__
    _state: ClassVar[bool] = False
    _node: Node
    _grad: Tensor | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ArgumentError("Tensor: not made directly; write mg.tensor(data, requires_grad=...)")

    # what it holds
    @property
    def data(self) -> np.ndarray[Any, Any]:
        """The value, a read-only ndarray.  Assigning replaces a leaf's array (copied, same
        shape and dtype); graphs made before keep the old one."""
        self._check_leaving(".data")
        return self._array()

    @data.setter
    def data(self, new: Any) -> None:
        node = self._node
        if node.op is not None:
            raise GraphError(lesson(".data =", f"{node.label} was computed",
                                    "only a leaf can be given another array"))  # fmt: skip
        if get_mode().record is None:
            new = _copied(new, ".data =")
        else:
            _check_traced(new, ".data =")
        if np.shape(new) != self.shape or new.dtype != self.dtype:
            raise ShapeError(lesson(
                ".data =", f"got shape {np.shape(new)} {new.dtype}",
                f"the leaf has shape {self.shape} {self.dtype}",
                "convert it first: p.data = new.astype(p.dtype)"))  # fmt: skip
        give(self, new)

    def _array(self) -> np.ndarray[Any, Any]:
        value = self._node.value
        return value if type(value) is np.ndarray else wrap_scalar(value)

    def _check_leaving(self, where: str) -> None:
        """Refuse to let a value out of a captured function, where it would stay what it is now."""
        record = get_mode().record
        if record is not None and record.traces(self._node):
            raise ModeError(lesson(
                where, "the value of a tensor inside a captured function", "a replay would not look again",
                "compute on with the tensor (an update is p.detach() - lr * p.grad), or return it and look outside"))  # fmt: skip

    @property
    def shape(self) -> tuple[int, ...]:
        return self._node.value.shape  # type: ignore[no-any-return]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._node.value.dtype  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        return self._node.value.ndim  # type: ignore[no-any-return]

    @property
    def size(self) -> int:
        return self._node.value.size  # type: ignore[no-any-return]

    @property
    def device(self) -> str:
        return "cpu"

    def to_device(self, device: str, /, *, stream: Any = None) -> Tensor:
        """This tensor: there is one device, ``"cpu"``."""
        check_device(device, "to_device")
        if stream is not None:
            raise ArgumentError(lesson("to_device", f"stream={stream!r}", "None: the CPU has no streams"))
        return self

    def numpy(self) -> np.ndarray[Any, Any]:
        """A writable copy of the value, outside the graph."""
        self._check_leaving("numpy()")
        return np.array(self._node.value)

    def item(self) -> Any:
        """The value of a tensor of size 1 as a Python number."""
        return self._single("item()")

    # where it came from
    @property
    def requires_grad(self) -> bool:
        return self._node.requires_grad

    @property
    def name(self) -> str | None:
        return self._node.name

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward` left here, or None."""
        record = get_mode().record
        if record is not None:
            record.grads.setdefault(ref(self), (self._grad, True))
        return self._grad

    @grad.setter
    def grad(self, new: Tensor | None) -> None:
        if new is not None and (
            not isinstance(new, Tensor) or (new.shape, new.dtype) != (self.shape, self.dtype)
        ):
            raise ShapeError(lesson(".grad =", f"got {type(new).__name__} of shape {np.shape(new)}",
                                    f"a {self.dtype} tensor of shape {self.shape}, or None"))  # fmt: skip
        record = get_mode().record
        if record is not None:
            record.grads.setdefault(ref(self), (self._grad, False))
            if new is not None:
                _check_traced(new, ".grad =")
        self._grad = new

    def detach(self) -> Tensor:
        """The same value as a constant."""
        if get_mode().tape is None:
            return handle_of(Node(self._node.value))
        with no_grad():  # on a tape it goes on
            return apply(alias, (self,))  # type: ignore[no-any-return]

    def retain_grad(self) -> Tensor:
        """Ask `backward` to leave this tensor's gradient in ``.grad``; returns it."""
        if not self.requires_grad:
            raise GraphError(lesson("retain_grad", "this tensor requires no gradient",
                                    "make its leaf with requires_grad=True"))  # fmt: skip
        self._node.handle = ref(self)
        return self

    def named(self, name: str) -> Tensor:
        """Name the node, for instance ``c<2>``, and retain its gradient; returns it."""
        self._node.name = canonical(name)
        return self.retain_grad() if self.requires_grad else self

    def backward(
        self, seed: Any = None, *, create_graph: bool = False, retain_graph: bool | None = None
    ) -> None:
        """Add the gradient of this tensor to ``.grad`` of every leaf it depends on.

        Parameters
        ----------
        seed : array_like, optional
            The cotangent of this tensor, of its shape and dtype; 1 for a scalar.
        create_graph : bool
            Record the reverse pass, so that the gradients can be differentiated.
        retain_graph : bool, optional
            Keep the graph for another pass.  Defaults to `create_graph`.

        Raises
        ------
        GraphError
            Nothing here requires a gradient, or the graph was freed.
        ShapeError, DtypeError
            The seed does not fit.
        """
        keep = (create_graph if retain_graph is None else retain_graph) or get_mode().tape is not None
        found = pull([self], [seed], record=create_graph, free=not keep)
        arrived: dict[Tensor, Tensor] = {}  # all or nothing: an exception leaves no trace
        for node, (g, owned) in found.items():
            handle = node.handle() if node.handle is not None else None
            if handle is not None:
                if not isinstance(g, Tensor):
                    g = constant(g if owned or type(g) is not _ndarray else np.array(g))
                # a leaf whose .data was replaced has a node for each array it held
                before = arrived.get(handle, handle.grad)
                arrived[handle] = g if before is None else before + g
        for handle, grad in arrived.items():
            handle._grad = grad

    # how Python and NumPy see it
    def __repr__(self) -> str:
        body = np.array2string(self._array(), separator=", ", threshold=20, prefix="tensor(")
        node = self._node
        extra = f", name={node.name!r}" if node.name else ""
        if node.requires_grad:
            extra += f", from={node.op.name}" if node.op else ", requires_grad=True"
        return f"tensor({body}, dtype={self.dtype}{extra})"

    def __minigrad_op__(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        return apply(op, args, params)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *args: Any, **kwargs: Any) -> Any:
        if kwargs.pop("out", None) is not None:
            raise DtypeError(lesson(
                f"np.{ufunc.__name__}", "out= would write a tensor into an array in place",
                "what is written there leaves the graph",
                "bind the result instead: y = x + t; or write t.detach().data"))  # fmt: skip
        target: Any = ufunc
        if method == "reduce":
            target = {np.add: np.sum, np.multiply: np.prod, np.maximum: np.max,
                      np.minimum: np.min, np.logical_and: np.all,
                      np.logical_or: np.any}.get(ufunc)  # type: ignore[call-overload]  # fmt: skip
            kwargs.setdefault("axis", 0)
        if method not in ("__call__", "reduce") or target not in NUMPY:
            raise _unknown(f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}"))
        return NUMPY[target](*args, **kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function not in NUMPY:
            raise _unknown(f"np.{function.__name__}")
        return NUMPY[function](*args, **kwargs)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if self.requires_grad:
            raise DtypeError(lesson(
                "np.asarray", "this tensor requires a gradient, which an array cannot carry", "",
                "write t.numpy() for a copy outside the graph, t.detach() for a constant, "
                "np.where or a scatter op to write it into an array"))  # fmt: skip
        self._check_leaving("np.asarray")
        return np.array(self._array(), dtype=dtype, copy=copy)

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """The module whose functions take this tensor: minigrad."""
        if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
            raise DomainError(lesson("__array_namespace__", f"api_version={api_version!r}",
                                     "the Array API standard up to '2024.12'"))  # fmt: skip
        return sys.modules[__package__]

    def __dlpack__(self, *, stream: Any = None, max_version: tuple[int, int] | None = None,
                   dl_device: Any = None, copy: bool | None = None) -> Any:  # fmt: skip
        """A copy of the value for another library (DLPack).  With ``copy=False`` the value
        itself, marked read-only; not every library heeds that mark."""
        if self.requires_grad:
            raise DtypeError(lesson(
                "from_dlpack", "this tensor requires a gradient, which a capsule cannot carry", "",
                "write t.detach() for a constant"))  # fmt: skip
        return self.data.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device,
                                    copy=copy is None or copy)  # fmt: skip

    def __dlpack_device__(self) -> tuple[Any, int]:
        return self._array().__dlpack_device__()

    def __setitem__(self, index: Any, value: Any) -> None:
        raise DtypeError(lesson("t[...] = value", "tensors are immutable", "",
                                "write mg.where(mask, value, t), or p.data = array for a leaf"))  # fmt: skip

    def __len__(self) -> int:
        if not self.shape:
            raise ArgumentError("len: a tensor of shape () has no length")
        return self.shape[0]

    def __bool__(self) -> bool:
        return bool(self._single("bool()", branch=True))

    def __float__(self) -> float:
        caller = sys._getframe(1)
        if self.requires_grad and caller.f_code.co_code[caller.f_lasti] == STORE_SUBSCR:
            raise GraphError(lesson(  # NumPy stores a 0-d tensor by asking it for a float
                "array[...] = t", "this tensor requires a gradient, which an array cannot carry", "",
                "write t.item() for its value, mg.where or mg.stack to stay on the graph"))  # fmt: skip
        return float(self._single("float()", branch=True))

    def __int__(self) -> int:
        return int(self._single("int()", branch=True))

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise DtypeError(lesson("index", f"a tensor of dtype {self.dtype}", "an integer"))
        return int(self._single("index", branch=True))

    def __complex__(self) -> complex:
        return complex(self._single("complex()", branch=True))

    def _single(self, where: str, branch: bool = False) -> Any:
        if branch and get_mode().tape is not None:
            raise ModeError(lesson(
                where, "a branch on a traced value", "a tape records one path only",
                "use mg.where, or take the branch outside the captured function"))  # fmt: skip
        self._check_leaving(where)
        if self.size != 1:
            raise ShapeError(lesson(where, f"a tensor of shape {self.shape} is not one number",
                                    "", "reduce it first, for instance with .sum() or .all()"))  # fmt: skip
        return self._node.value.item()

    def __copy__(self) -> Tensor:
        return self

    def __deepcopy__(self, memo: Any) -> Tensor:
        return self._copied("copy.deepcopy")

    def __reduce__(self) -> Any:
        self._copied("pickle")
        return _rebuild, (type(self), np.array(self.data), self.requires_grad, self.name)

    def _copied(self, where: str) -> Tensor:
        if self._node.op is not None:
            raise GraphError(lesson(where, f"{self._node.label} is part of a graph",
                                    "only leaves and constants are copied",
                                    "copy t.detach() instead"))  # fmt: skip
        return _rebuild(type(self), self.data, self.requires_grad, self.name)


def _copied(a: Any, where: str) -> np.ndarray[Any, Any]:
    """The caller's array, list, number or Tensor as an array that nobody else has."""
    a = a._array() if isinstance(a, Tensor) else a
    array = own(a, where)
    return wrap_scalar(array.copy() if array is a else array)


def _converted(array: np.ndarray[Any, Any], dtype: Any, where: str) -> np.ndarray[Any, Any]:
    """`array` in a dtype that the engine knows, without dropping an imaginary part."""
    dtype = as_dtype(dtype, where)
    if array.dtype.kind == "c" and dtype.kind != "c":
        raise DtypeError(lesson(where, f"{array.dtype} to {dtype}", "complex stays complex"))
    return wrap_scalar(array.astype(dtype))


def _rebuild(kind: type[Tensor], array: Any, requires_grad: bool, name: str | None) -> Tensor:
    out = _new(kind)
    out._grad = None
    out._node = _leaf(out, _copied(array, "copy"), requires_grad, name)
    return out


def give(leaf: Tensor, array: Any) -> None:
    """Replace the array of a leaf by one that belongs to the engine already: not copied.
    While a captured function is recorded, by a tensor."""
    node, record = leaf._node, get_mode().record
    if record is None:
        leaf._node = leaf_like(leaf, array)
        return
    record.arrays.setdefault(ref(leaf), node)
    leaf._node = leaf_like(leaf, array._array())
    record.computed[leaf._node] = array._node


def leaf_like(leaf: Tensor, array: Any) -> Node:
    """The node of a leaf that holds another array."""
    return _leaf(leaf, wrap_scalar(array), leaf.requires_grad, leaf.name)


def _check_traced(new: Any, where: str) -> None:
    """Refuse what a replay could not compute again."""
    if not isinstance(new, Tensor) or new._node.op is None and new._node.handle is None:
        raise ModeError(lesson(
            where, "an array that was computed outside the graph, inside a captured function", "a replay would not "
            "compute it again", "compute it from tensors: p.data = p.detach() - lr * p.grad; or assign it outside"))  # fmt: skip


def _leaf(handle: Tensor, array: Any, requires_grad: bool, name: str | None) -> Node:
    if requires_grad and array.dtype.kind != "f":
        raise DtypeError(lesson(
            "tensor", f"leaf {name!r} is {array.dtype}" if name else f"the data is {array.dtype}",
            "gradients need a float dtype", "pass dtype=np.float64 or use .astype"))  # fmt: skip
    node = Node(array if array.ndim else array[()], requires_grad, None if name is None else canonical(name))
    if requires_grad or handle._state:
        node.handle = ref(handle)
    return node


def handle_of(node: Node) -> Tensor:
    """A new handle on a node."""
    out = _new(Tensor)
    out._node = node
    out._grad = None
    return out


def _unknown(name: str) -> DtypeError:
    return DtypeError(lesson(
        name, "minigrad has no derivative for it", "",
        "write it with the ops of `mg`, add an op with mg.define, or leave the graph with "
        "t.numpy()"))  # fmt: skip


# A second name for a node's value, so that a transform can cut the graph at its argument.
alias = declare("alias", lambda x, /: x, lambda g, y, x: g, linear="jointly", analytic=True, caption="x itself")
def _copy_into(x: Any, /, *, out: Any) -> None:
    if x.ndim == 2 and 0 < x.strides[0] < x.strides[1] and x.size > 10_000:
        for k in range(0, x.shape[1], 32):  # a transpose: strips of it stay in the cache
            np.copyto(out[:, k : k + 32], x[:, k : k + 32])
    else:
        np.copyto(out, x)


# What a recorded pass found, in memory of its own.
copy = declare("copy", lambda x, /: x.copy(), lambda g, y, x: g, linear="jointly", analytic=True, into=_copy_into,
               caption="x copied")  # fmt: skip


def constant(array: Any) -> Tensor:
    """A tensor of an array that already belongs to the engine: not copied."""
    if type(array) is np.ndarray:
        lock(array, False)
    return handle_of(Node(array))


def tensor(
    data: Any, dtype: Any = None, requires_grad: bool = False, name: str | None = None
) -> Tensor:
    """Make a leaf from an array, a nested list, a number or a Tensor; copies.

    Parameters
    ----------
    data : array_like or Tensor
    dtype : dtype, optional
        Defaults to NumPy's choice for `data`.
    requires_grad : bool
        Ask for gradients; needs a float dtype.
    name : str, optional
        For messages, explanations and pictures.

    Raises
    ------
    DtypeError
        `data` holds no numbers, or has no derivatives and `requires_grad` is set.
    ShapeError
        A ragged list.
    """
    array = _copied(data, "tensor")
    if dtype is not None:
        array = _converted(array, dtype, "tensor")
    out = _new(Tensor)
    out._grad = None
    out._node = _leaf(out, array, requires_grad, name)
    record = get_mode().record
    if record is not None and isinstance(data, Tensor):  # what was computed goes on
        data = data.detach()
        record.computed[out._node] = (data if dtype is None else apply(cast, (data,), {"dtype": out.dtype}))._node
    if get_mode().debug:
        out._node.site = Site((out._node.value,))
    return out


def as_tensor(x: Any) -> Tensor:
    """A Tensor as it is; anything else as a constant."""
    return x if isinstance(x, Tensor) else tensor(x)


def pull(
    outputs: Sequence[Tensor],
    seeds: Sequence[Any],
    *,
    wanted: set[Node] | None = None,
    since: int = 0,
    record: bool = False,
    free: bool = False,
    observe: Observer | None = None,
) -> dict[Node, tuple[Any, bool]]:
    """The reverse pass as the public functions use it: seeds checked, modes obeyed.

    With `record`, or on a tape, the rules run on tensors; otherwise on arrays.  See
    `backpropagate`.
    """
    mode = get_mode()
    lift = record or mode.tape is not None
    start: dict[Node, Any] = {}
    for y, given in zip(outputs, seeds, strict=True):
        node = y._node
        if not node.requires_grad:
            raise GraphError(lesson(
                "backward", f"nothing below {node.label} requires a gradient", "",
                "make a leaf with mg.tensor(data, requires_grad=True), and compute outside "
                "mg.no_grad() and .detach()"))  # fmt: skip
        seed = _seed(y, given)
        if not lift and isinstance(seed, Tensor):
            seed = seed._node.value
        start[node] = start[node] + seed if node in start else seed
    if mode.debug or any(node.site is not None for node in start):
        check_unchanged(newest_first(*start))
    if mode.debug:
        observe = observe or check_cotangent
    if not lift:
        return backpropagate(start, wanted=wanted, since=since, free=free, observe=observe)
    for node, seed in start.items():
        if not isinstance(seed, Tensor):
            start[node] = constant(seed)
    with (enable_grad if record else no_grad)():
        found = backpropagate(start, wanted=wanted, since=since, lift=_lift, free=free,
                              observe=observe)  # fmt: skip
        return {node: (g if owned else apply(copy, (g,)), True) for node, (g, owned) in found.items()}


def handles(node: Node) -> tuple[Any, list[Any]]:
    """The output of a stage and its inputs, as tensors where the graph goes on."""
    assert node.values is not None
    return _lift(node), [v if p is None or type(p.value) is tuple else handle_of(p)
                         for p, v in zip(node.inputs, node.values, strict=True)]  # fmt: skip


def _lift(node: Node) -> Any:
    handle = handle_of(node)
    if type(node.value) is tuple:
        return tuple(apply(pick, (handle,), {"i": i}) for i in range(len(node.value)))
    return handle


def _seed(y: Tensor, seed: Any) -> Any:
    if seed is None:
        if y.size != 1:
            raise ShapeError(lesson(
                "backward", f"the output has shape {y.shape}", "a scalar, or a seed of that shape",
                "write y.sum().backward(), or y.backward(seed)"))  # fmt: skip
        return np.ones(y.shape, y.dtype) if y.shape else y.dtype.type(1)
    if not isinstance(seed, Tensor):
        number = type(seed) in SCALARS or isinstance(seed, list)
        seed = np.array(seed, dtype=y.dtype if number else None)
    if seed.shape != y.shape:
        raise ShapeError(lesson("backward", f"the seed has shape {seed.shape}",
                                f"the output has shape {y.shape}"))  # fmt: skip
    if seed.dtype != y.dtype:
        raise DtypeError(lesson("backward", f"the seed is {seed.dtype}", f"the output is {y.dtype}",
                                "write y.backward(seed.astype(y.dtype))"))  # fmt: skip
    values = seed._array() if isinstance(seed, Tensor) else seed
    if np.isnan(values).any():
        raise ArgumentError(lesson("backward", "the seed contains NaN", "finite numbers"))
    return seed
