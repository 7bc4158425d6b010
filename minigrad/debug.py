"""What `mg.debug` watches: where each stage was made, whether its arrays stay as they
were, and where the first NaN or infinity is born."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from .errors import MutationError, NonFiniteError, lesson
from .graph import Node
from .op import Op

_HERE = str(Path(__file__).parent)


class Site:
    """The user's line that made a node, and a fingerprint of the arrays it depends on."""

    __slots__ = ("filename", "fingerprint", "line")

    def __init__(self, values: tuple[Any, ...]) -> None:
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
            frame = frame.f_back
        self.filename, self.line = frame.f_code.co_filename, frame.f_lineno
        self.fingerprint = _fingerprint(values)

    def __str__(self) -> str:
        return f"{self.filename}:{self.line}"


def made_at(node: Node) -> str:
    """`` made at file:line``, or nothing outside `mg.debug`."""
    return f" made at {node.site}" if node.site is not None else ""


def check_unchanged(nodes: list[Node]) -> None:
    """Raise `MutationError` if an array that a node saved is not what it was."""
    for node in nodes:
        if node.site is None or node.values is None:
            continue
        if _fingerprint((node.value, *node.values)) != node.site.fingerprint:
            raise MutationError(lesson(
                "backward", f"an array saved by {node.label}{made_at(node)} was modified",
                "a graph needs the values it was recorded with",
                "do not unlock .data; assign a new array instead: p.data = new"))  # fmt: skip


def check_forward(node: Node, op: Op, values: tuple[Any, ...]) -> None:
    """Raise `NonFiniteError` where a stage makes NaN out of inputs without NaN."""
    if _has_nan(node.value) and not any(map(_has_nan, values)):
        raise NonFiniteError(lesson(
            "forward", f"first NaN: '{op.name}'{made_at(node)}, {_worst(node.value, np.isnan)}",
            "its inputs have no NaN"))  # fmt: skip


def check_cotangent(node: Node, i: int, parent: Node, c: Any) -> None:
    """Raise `NonFiniteError` at the first cotangent that is not finite."""
    array = getattr(c, "_node", c)
    array = array.value if isinstance(array, Node) else array
    if np.all(np.isfinite(array)):
        return
    bad = _first(~np.isfinite(array))
    value = node.values[i] if node.values is not None else parent.value
    raise NonFiniteError(lesson(
        "backward", f"first non-finite gradient: rule of {node.label} for input {i}{made_at(node)}",
        f"index {bad}, input value {np.asarray(value)[bad]}, cotangent {np.asarray(array)[bad]}"))  # fmt: skip


def _has_nan(value: Any) -> bool:
    arrays = value if type(value) is tuple else (value,)
    return any(np.asarray(a).dtype.kind in "fc" and bool(np.isnan(a).any()) for a in arrays)


def _worst(value: Any, test: Any) -> str:
    for a in value if type(value) is tuple else (value,):
        if np.any(test(a)):
            return f"index {_first(test(a))}"
    return ""


def _first(mask: Any) -> tuple[int, ...]:
    return tuple(int(k) for k in np.argwhere(np.asarray(mask))[0])


def _fingerprint(values: tuple[Any, ...]) -> int:
    code = 0
    for value in values:
        for a in value if type(value) is tuple else (value,):
            code = crc32(np.ascontiguousarray(a).tobytes(), code)
    return code
