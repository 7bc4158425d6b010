"""Modes: what is done besides computing.  One immutable value per context, nothing global."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Iterable
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar
from weakref import ref

from .errors import ModeError, lesson
from .graph import Node, next_serial

F = TypeVar("F", bound=Callable[..., Any])


class Record:
    """What a captured function reads and leaves besides its arguments and results.

    Attributes
    ----------
    given : set of Node
        Its arguments.
    arrays : dict of weakref -> Node
        Leaves that were given another array, and their nodes before.
    computed : dict of Node -> Node
        The node that such a leaf has now, and the stage whose value it holds.
    grads : dict of weakref -> (Tensor or None, bool)
        Tensors whose ``.grad`` was used, what it was before, and whether that was read.
    settings : dict of (int, str) -> (object, str, value)
        Attributes that were read, and are to be the same at a replay.
    """

    def __init__(self, given: Iterable[Node] = ()) -> None:
        self.given, self.start = set(given), next_serial()
        self.arrays: dict[ref[Any], Node] = {}
        self.computed: dict[Node, Node] = {}
        self.grads: dict[ref[Any], tuple[Any, bool]] = {}
        self.settings: dict[tuple[int, str], tuple[Any, str, Any]] = {}

    def traces(self, node: Node) -> bool:
        """Whether a replay may have another value here."""
        if node.op is not None:
            return node.serial > self.start
        return (node.handle is not None or node in self.given
                or any(grad is not None and grad._node is node for grad, _ in self.grads.values()))  # fmt: skip

    def setting(self, owner: Any, name: str, value: Any) -> None:
        """An attribute was read."""
        self.settings[id(owner), name] = owner, name, value


class Mode(NamedTuple):
    """What `apply` does besides computing; one immutable value per context."""

    grad: bool = True
    tape: list[Node] | None = None
    debug: bool = False
    everything: bool = False
    transform: bool = False
    record: Record | None = None


EAGER = Mode()
_mode: ContextVar[Mode] = ContextVar("minigrad_mode", default=EAGER)
get_mode = _mode.get


class _Switch:
    """A mode change: a context manager, and a decorator that covers each resume of a
    generator function."""

    _change: dict[str, Any]

    def __init__(self, *wrong: Any) -> None:
        if wrong:
            name = type(self).__name__
            raise ModeError(lesson(name, f"got {wrong[0]!r}", "it takes no arguments", f"write @mg.{name}()"))
        self._stack: list[tuple[Mode, Mode]] = []

    def __enter__(self) -> Any:
        before = get_mode()
        inside = before._replace(**self._change)
        self._stack.append((before, inside))
        _mode.set(inside)
        return inside.tape

    def __exit__(self, *exc: object) -> None:
        before, inside = self._stack.pop()
        if get_mode() is not inside:
            _mode.set(EAGER)  # nobody's order holds any more: start afresh
            raise ModeError(lesson(
                type(self).__name__, "this block is left while another mode is active",
                "blocks must be left in the reverse order of entering",
                f"decorate a generator with @mg.{type(self).__name__}() instead of yielding "
                "inside the block"))  # fmt: skip
        _mode.set(before)

    def __call__(self, function: F) -> F:
        kind = type(self)
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def resume(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
                generator = function(*args, **kwargs)
                step: Callable[[], Any] = functools.partial(next, generator)
                try:
                    while True:
                        with kind():
                            try:
                                item = step()
                            except StopIteration as stop:
                                return stop.value
                        try:
                            sent = yield item
                        except GeneratorExit:
                            raise
                        except BaseException as error:
                            step = functools.partial(generator.throw, error)
                        else:
                            step = functools.partial(generator.send, sent)
                finally:
                    with kind():
                        generator.close()

            return resume  # type: ignore[return-value]

        if inspect.iscoroutinefunction(function):  # a task has a context of its own

            @functools.wraps(function)
            async def wait(*args: Any, **kwargs: Any) -> Any:
                with kind():
                    return await function(*args, **kwargs)

            return wait  # type: ignore[return-value]

        if inspect.isasyncgenfunction(function):
            raise ModeError(lesson(kind.__name__, "an asynchronous generator cannot be decorated", "",
                                   f"write `with mg.{kind.__name__}():` around each step"))  # fmt: skip

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with kind():
                return function(*args, **kwargs)

        return call  # type: ignore[return-value]


class no_grad(_Switch):  # noqa: N801 (PyTorch's word)
    """Compute without recording: ``with mg.no_grad():`` or ``@mg.no_grad()``."""

    _change = {"grad": False}


class enable_grad(_Switch):  # noqa: N801
    """Record again inside `no_grad`."""

    _change = {"grad": True}


class debug(_Switch):  # noqa: N801
    """Remember the line of each stage, check saved arrays, stop at the first NaN."""

    _change = {"debug": True}


class record_all(_Switch):  # noqa: N801
    """Record stages that carry no gradient too, so that explanations see them."""

    _change = {"everything": True}


class transforming(_Switch):  # noqa: N801
    """Record for a functional transform, which will differentiate what is computed."""

    _change = {"grad": True, "transform": True}


class recording(_Switch):  # noqa: N801
    """Put every stage on a tape: ``with recording() as tape:`` gives the list of nodes in
    the order they ran, reverse passes included.  Capture reads this tape, and a `record` of what
    else is done: then a leaf is given arrays that were computed on the tape alone."""

    def __init__(self, record: Record | None = None) -> None:
        super().__init__()
        self._change = {"tape": [], "record": record}


def recorded_mode() -> bool:
    """Whether what is computed now can be differentiated later."""
    return get_mode().grad
