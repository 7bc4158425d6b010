"""Docstrings (numpydoc) from a record: what `help(mg.tanh)` prints is nowhere written by hand.

A public function with a docstring of its own keeps it and is given the sections it lacks.
Nothing here runs an op: this is done for every op while minigrad is imported.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from .domain import REAL
from .op import Op

MEANING = {
    "axis": "The axis, or the axes, to work along.",
    "keepdims": "Whether an axis that is reduced stays, with size 1.",
    "dtype": "The dtype of the result.",
    "shape": "The shape of the result.",
    "copy": "True copies in any case, False refuses to; the result is read-only either way.",
    "correction": "What is subtracted from the number of elements: 1 for the unbiased estimate.",
    "rng": "Where random numbers come from; it is advanced.",
    "reduction": "What becomes of the losses of a batch.",
}
"""What metadata of that name means in every op."""

SECTIONS = ("Parameters", "Returns", "Raises", "See Also", "Notes", "References", "Examples")
ARRAY = "Tensor or array_like"


def document(function: Callable[..., Any], op: Op | None = None) -> str:
    """The docstring of a public function: its own, completed, or one made from `op`."""
    text, sections = _taken_apart(inspect.cleandoc(function.__doc__ or ""))
    source = op.forward if op is not None and not text else function
    signature = inspect.signature(function)
    if signature.parameters:
        entries = _parameters(signature, source, op)
        sections["Parameters"] = _merged(entries, sections.get("Parameters", ""))
    if "Returns" not in sections:
        sections["Returns"] = _returns(source, op)
    if op is not None:
        sections.setdefault("Notes", "\n".join(_notes(op)))
        text = text or (f"{op.caption}." if op.caption else f"{op.name}{signature}.")
    blocks = [text] + [f"{name}\n{'-' * len(name)}\n{sections[name]}" for name in SECTIONS if name in sections]
    return "\n\n".join(blocks)


def _taken_apart(text: str) -> tuple[str, dict[str, str]]:
    """A docstring as what comes before its sections, and its sections by name."""
    found: dict[str, str] = {}
    if "\n--" not in text:
        return text, found
    lines = text.split("\n")
    starts = [k for k, (line, rule) in enumerate(pairwise(lines))
              if line in SECTIONS and rule == "-" * len(line)]  # fmt: skip
    for k, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        found[lines[k]] = "\n".join(lines[k + 2 : end]).rstrip()
    return "\n".join(lines[: starts[0]] if starts else lines).rstrip(), found


def _merged(entries: Iterator[tuple[str, list[str]]], given: str) -> str:
    """The Parameters section: what is `given`, and an entry for each parameter it lacks."""
    if not given:
        return "\n".join([line for _, lines in entries for line in lines])
    own: list[list[str]] = []
    for line in given.split("\n"):
        if line[:1].strip():
            own.append([])
        own[-1:] = [[*own[-1], line]] if own else [[line]]
    named = {name.strip(" *"): block for block in own for name in block[0].partition(" : ")[0].split(",")}
    out: list[str] = []
    for name, lines in entries:
        block = named.pop(name, lines)
        if block:
            out += block
            block.clear()  # "start, stop : number" is one entry for two
    return "\n".join(out)


def _parameters(signature: inspect.Signature, source: Any, op: Op | None) -> Iterator[tuple[str, list[str]]]:
    """Name and entry of each parameter."""
    params = list(signature.parameters.values())
    strict = any(p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL) for p in params)
    same = op is not None and signature == op.signature
    arrays = 0
    for p in params:
        if _is_array(p, strict):
            star = "*" if p.kind is p.VAR_POSITIONAL else ""
            lines = [f"{star}{p.name} : {ARRAY}" + ("" if p.default is p.empty else ", optional")]
            if same and op is not None:
                lines += ["    " + line for line in _about_input(op, arrays)]
            arrays += 1
        else:
            words = _type(p, source)
            if p.default is None:
                words += ", optional"
            elif p.default is not p.empty:
                words += f", default: {p.default!r}"
            lines = [f"{p.name} : {words}"] + (["    " + MEANING[p.name]] if p.name in MEANING else [])
        yield p.name, lines


def _is_array(p: inspect.Parameter, strict: bool) -> bool:
    """Arrays are positional, and nothing more is said of them than Any."""
    positional = p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL) or not strict and p.kind is p.POSITIONAL_OR_KEYWORD
    return (positional and p.default in (p.empty, None) and p.annotation in (p.empty, Any, "Any")
            and p.name not in MEANING and p.name != "key")  # fmt: skip


def _about_input(op: Op, i: int) -> Iterator[str]:
    domain = op.domains[min(i, len(op.domains) - 1)]
    if domain is not REAL:
        yield f"In {domain.name}."
    if op.differentiable and not op.variadic and i < len(op.rules) and op.rules[i] is None:
        yield "A constant: no gradient flows here."


def _type(p: inspect.Parameter, source: Any) -> str:
    """The type of metadata in words: ``Axis`` is int or tuple of int."""
    hint = p.annotation
    if not isinstance(hint, str):
        hint = "Any" if hint is p.empty else inspect.formatannotation(hint)
    known = getattr(source, "__globals__", {}).get(hint)  # an alias, such as Axis, has a text of its own
    if known is not None and not isinstance(known, type):
        hint = str(known)
    if hint.removeprefix("typing.") == "Any":
        return "dtype" if p.name == "dtype" else "object" if p.default in (None, p.empty) else type(p.default).__name__
    if hint.startswith(("Literal[", "typing.Literal[")):
        return "{" + hint[hint.index("[") + 1 : -1] + "}"
    parts = [part for part in hint.split(" | ") if part != "None"]
    return " or ".join(_word(part) for part in parts)


def _word(part: str) -> str:
    for start, word in (("tuple[", "tuple of "), ("Sequence[", "sequence of "), ("list[", "list of ")):
        if part.startswith(start):
            return word + part[len(start) :].split(",")[0].rstrip("]").replace("Any", "object")
    return part.replace("np.", "numpy.")


def _returns(source: Any, op: Op | None) -> str:
    hint = getattr(source, "__annotations__", {}).get("return", "Any")
    hint = hint if isinstance(hint, str) else inspect.formatannotation(hint)
    if hint not in ("Any", "Tensor"):
        return "tuple of Tensor" if hint.startswith("tuple") else hint
    if op is None:
        return "Tensor"
    lines = ["Tensor"]
    if op.elementwise:
        lines.append("    Of the shape " + ("of the input." if op.arity == 1 else "that the inputs broadcast to."))
    if not op.differentiable:
        lines.append("    It carries no gradient.")
    return "\n".join(lines)


def _notes(op: Op) -> Iterator[str]:
    if not op.differentiable:
        yield "It has no derivative: what it gives is a constant to the reverse pass."
        return
    linear = {"jointly": "; linear in its inputs taken together", "each": "; linear in each of its inputs"}
    yield f"Differentiable to any order{linear.get(op.linear, '')}."
    if op.singular:
        yield "Where a cotangent is 0, nothing flows back, at a pole too."
    for kink in op.kinks:
        given = ", ".join(_number(g) for g in kink.gradient if g is not None)
        yield f"Where {kink.where}, a cotangent of 1 gives {given}" + (f": {kink.why}." if kink.why else ".")


def _number(g: Any) -> str:
    return str(g.tolist()) if hasattr(g, "tolist") else f"{g:g}" if isinstance(g, float) else str(g)
