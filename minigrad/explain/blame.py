"""Which hand-derived adjoints are wrong by themselves, and why.

One slip makes nearly every later adjoint differ from the true one.  So each is held not
against the truth but against what the true rules make of the *given* adjoints that it was
derived from: an error is charged to the stage that made it, and several are found at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from ..errors import ArgumentError, lesson
from ..graph import Node, canonical, serial_of
from ..tensor import Tensor
from .chain import Adjoints, Array, Chain
from .forwards import diagnose_value
from .slips import (
    EVERYWHERE,
    LONG,
    Diagnosis,
    Kind,
    Suspect,
    diagnose,
    diagnose_shape,
    in_t,
)
from .steps import step_of
from .upstream import Upstream, all_values


class Status(StrEnum):
    """What is to be said of one given array."""

    RIGHT = "right"
    FOLLOWS = "right, given what it was derived from"
    WRONG = "wrong"
    UNJUDGED = "not judged"


@dataclass(frozen=True)
class Culprit:
    """A given array that is wrong by itself.

    Attributes
    ----------
    name : str
        The key under which it was given.
    stage : str
        Where the slip sits, as far as it is known: the op and the branch, ``multiply in c<3>``.
    kind : Kind
    diagnosis : str
        What went wrong, in a sentence.
    expected : ndarray
        What the true rules make of the adjoints (or values) it was derived from.
    got : ndarray
    forward : bool
        It is a value, not an adjoint.
    line : str
        ``dc (line 44)``, the variable that holds it, if it comes from code.
    """

    name: str
    stage: str
    kind: Kind
    diagnosis: str
    expected: Array
    got: Array
    forward: bool = False
    line: str = ""

    @property
    def error(self) -> float:
        """How far it is off, relative to the largest entry expected."""
        return _apart(self.got, self.expected) / (_size(self.expected) or 1.0)

    def in_t(self, sentence: str) -> str:
        """A sentence with the steps counted from this array's own, ``c<t+1>`` for ``c<3>``."""
        name, _, row = self.name.partition(" at t=")
        return in_t(sentence, int(row) if row else step_of(name.partition(" via ")[0]).t)

    def __str__(self) -> str:
        return _told([self])


@dataclass(frozen=True)
class Judged:
    """One given array.

    Attributes
    ----------
    name : str
    status : Status
    origin : tuple of str
        The given adjoints that it was judged from; "autodiff" where none lay between it and
        the output.
    error : float
        How far it is from the true adjoint, relative to that one's largest entry.
    forward : bool
    """

    name: str
    status: Status
    origin: tuple[str, ...]
    error: float
    forward: bool = False


@dataclass(frozen=True)
class Verdict:
    """What `blame` found.

    Attributes
    ----------
    ok : bool
        No culprit.
    culprits : tuple of Culprit
        In the order of the derivation: values first, then adjoints from the output back.
    judged : tuple of Judged
        Every given array.
    """

    culprits: tuple[Culprit, ...]
    judged: tuple[Judged, ...]

    @property
    def ok(self) -> bool:
        return not self.culprits

    def __str__(self) -> str:
        count = {status: sum(j.status is status for j in self.judged) for status in Status}
        if self.ok and not count[Status.UNJUDGED]:
            return f"all {len(self.judged)} given arrays are right"
        slips: dict[tuple[str, ...], list[Culprit]] = {}
        for culprit in self.culprits:  # the same slip at every step is one; two that nobody knows may not be the same
            line = culprit.line if culprit.kind is Kind.UNKNOWN else ""
            slips.setdefault((_skeleton(culprit.diagnosis), _skeleton(culprit.stage), line), []).append(culprit)
        lines = [f"{len(slips)} slip{'s' * (len(slips) != 1)}, in {len(self.culprits)} of {len(self.judged)} given arrays"]
        for k, same in enumerate(slips.values(), start=1):
            lines.append(f"  {k}. {_told(same)}")
        if count[Status.FOLLOWS]:
            lines.append(f"  {count[Status.FOLLOWS]} more differ from the true adjoints only because of these: "
                         + _listed([j.name for j in self.judged if j.status is Status.FOLLOWS]))  # fmt: skip
        if count[Status.UNJUDGED]:
            lines.append("  not judged, since they rest on a wrong value: "
                         + _listed([j.name for j in self.judged if j.status is Status.UNJUDGED]))  # fmt: skip
        alone = [j.name for j in self.judged if "autodiff" in j.origin and not j.forward]
        if alone:
            lines.append(f"  judged from autodiff's adjoints, as none were given between these and the output: {_listed(alone)}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "ok": self.ok,
            "culprits": [{"name": c.name, "stage": c.stage, "kind": c.kind.name, "diagnosis": c.diagnosis,
                          "forward": c.forward, "error": c.error, "line": c.line}
                         for c in self.culprits],
            "judged": [{"name": j.name, "status": j.status.name, "origin": list(j.origin), "error": j.error,
                        "forward": j.forward} for j in self.judged],
        }  # fmt: skip


def blame(y: Tensor, manual: Mapping[str, Any], values: Mapping[str, Any] | None = None, *,
          rtol: float | None = None, seed: Any = None) -> Verdict:  # fmt: skip
    """Say which hand-derived adjoints are wrong by themselves, and why.

    Parameters
    ----------
    y : Tensor
        What was differentiated: a scalar, or give `seed`.  Its graph has named nodes.
    manual : dict of str -> array
        The derived adjoints: by the name of a node or parameter, ``c<2>``; of one branch of a
        fork, ``c<2> via c<3>``; of one time step's part of a parameter, ``W_f at t=2``; or of all
        steps at once, ``c`` with a leading axis of T.  A batch may stand in columns, as in the
        graph, or in rows.
    values : dict of str -> array, optional
        Values of the forward pass by the same names.  They are checked first, each against what
        the ops make of the given values before it, and the adjoints are then judged with them.
    rtol : float, optional
        Differences below ``rtol`` times the size of what is added up are none; by default the
        square root of the precision.
    seed : array_like, optional
        The cotangent of `y`.

    Returns
    -------
    Verdict

    Raises
    ------
    ArgumentError
        A key names no node of the graph.
    GraphError
        The graph was freed: call `blame` before ``backward``, or keep the graph.

    Notes
    -----
    Each given adjoint is compared with what the true rules make of the given adjoints nearest
    downstream; where none is given, they start from autodiff's.  From a wrong one the pass goes
    on with the given numbers, as its author did; from one of a wrong shape with the right ones.
    """
    return Trial(y, manual, values or {}, rtol, seed).verdict()


class Trial:
    """The given arrays before the true rules."""

    def __init__(self, y: Tensor, manual: Mapping[str, Any], values: Mapping[str, Any], rtol: float | None,
                 seed: Any) -> None:  # fmt: skip
        root = y._node
        start = np.ones(root.value.shape, root.value.dtype) if seed is None else np.asarray(seed)
        if start.shape != root.value.shape or seed is None and y.size != 1:
            raise ArgumentError(lesson("blame", f"y has shape {y.shape}", "a scalar, or a seed of its shape",
                                       "mg.blame(y.sum(), ...)"))  # fmt: skip
        self.chain = Chain(root, start)
        self.rtol = rtol
        self.culprits: list[Culprit] = []
        self.judged: list[Judged] = []
        self.spoiled: set[Node] = set()
        self._check_values(values)
        self.given: dict[Node, tuple[str, Array]] = {}
        self.branches: dict[Node, list[tuple[list[int], str, Array]]] = {}
        for key, array in manual.items():
            self._understand(key, array)
        self.true: Adjoints = {}
        for node in self.chain.order:
            self.true[node] = self.chain.total(node, self.true)
        # so much rounding may be left where numbers should cancel to 0
        self.floor = 64 * np.finfo(float).eps * max(_size(g) for g in self.true.values() if not isinstance(g, list))
        self.going: Adjoints = {}
        self.mended = self.going
        self.origins: dict[Node, frozenset[str]] = {}
        self.likely: list[Any] = []
        self.in_vain = 0

    # --- what the keys mean ----------------------------------------------------------------------

    def _understand(self, key: str, array: Any) -> None:
        name, word, rest = _parted(canonical(key))
        if not word:
            self.given |= self._by_node(key, array)
            return
        node = self._node(name, key)
        labels = self.chain.labels(node)
        which = [k for k, label in enumerate(labels)
                 if rest == (label if word == "via" else str(step_of(label.partition(" #")[0]).t))]  # fmt: skip
        if not which:
            raise ArgumentError(lesson("blame", f"{key!r} is no branch of {name}", "one of " + ", ".join(
                f"{name} via {label}" for label in labels)))  # fmt: skip
        self.branches.setdefault(node, []).append((which, key, _plain(array)))

    def _by_node(self, key: str, array: Any) -> dict[Node, tuple[str, Array]]:
        """The node that a key names, or with ``c`` for all of c<1>, c<2>, ... each with its part."""
        name, array = canonical(key), _plain(array)
        steps = sorted((s for s in self.chain.by_step if s.family == name and s.t is not None and s.t > 0), key=lambda s: s.t or 0)
        if name in self.chain.nodes or not steps or array.shape[:1] != (len(steps),):
            return {self._node(name, key): (key, array)}
        nodes = [self.chain.by_step[step] for step in steps]
        return {node: (self.chain.names[node], part) for node, part in zip(nodes, array, strict=True)}

    def _node(self, name: str, key: str) -> Node:
        node = self.chain.nodes.get(name)
        if node is None or node not in self.chain.edges:
            why = "no node of this graph is called" if node is None else "no gradient flows to"
            known = sorted(n for n, node in self.chain.nodes.items() if node in self.chain.edges)
            raise ArgumentError(lesson("blame", f"{why} {key!r}", f"one of {', '.join(known) or 'none'}",
                                       "name nodes with .named('c<2>')"))  # fmt: skip
        return node

    # --- the forward pass --------------------------------------------------------------------------

    def _check_values(self, values: Mapping[str, Any]) -> None:
        """Hold each given value against what the stages make of those before it; from here on the
        chain computes with the given values."""
        read: dict[Node, tuple[str, Array]] = {}
        for key, value in values.items():
            read |= self._by_node(key, value)
        given: dict[Node, Any] = {}
        for node in sorted(read, key=serial_of):
            key, got = read[node]
            upstream = Upstream(node, given)
            expected = np.asarray(upstream.run(given))
            scale = max(_size(expected), _size(node.value))
            allowed = self._rtol(got, expected) * scale
            got, fits = self._read(node, got, [expected], allowed)
            off = _apart(got, node.value) / (_size(node.value) or 1.0)
            given[node] = got if got.shape == expected.shape else expected
            if fits:
                status = Status.RIGHT if off <= 10 * self._rtol(got, expected) else Status.FOLLOWS
                self.judged.append(Judged(key, status, (), off, forward=True))
                continue
            found = (diagnose_shape(got, expected, key) if got.shape != expected.shape
                     else diagnose_value(self.chain, upstream, given | {node: expected}, got, expected, 10 * allowed))  # fmt: skip
            self.judged.append(Judged(key, Status.WRONG, (), off, forward=True))
            self.culprits.append(Culprit(key, found.stage, found.kind, found.sentence, expected, got, forward=True))
            self.spoiled |= set(upstream.stages)
        self.chain.values = all_values(self.chain.root, given)

    # --- the reverse pass --------------------------------------------------------------------------

    def verdict(self) -> Verdict:
        """Run the reverse pass on the given adjoints.

        From the first culprit on it runs twice, side by side: on the wrong numbers, as one goes on
        who does not know, and on the right ones, as one does whose slip was in writing down.
        """
        for node in self.chain.order:
            edges = self.chain.edges[node]
            self.origins[node] = frozenset().union(*(
                {self.given[e.consumer][0]} if e.consumer in self.given else self.origins[e.consumer]
                for e in edges)) or frozenset({"autodiff"})  # fmt: skip
            if type(node.value) is tuple:
                self._go_on(node, [self.chain.total(node, track) for track in self._tracks()])
                continue
            both = [self._parts(node, track) for track in self._tracks()]
            for which, key, got in self.branches.get(node, ()):
                on = self._judge(node, key, got, [[p[k] for k in which] for p in both],
                                 [self._parts(node, self.true)[k] for k in which], which)  # fmt: skip
                for parts, total in zip(both, on, strict=True):
                    parts[which[0]] = total
                    for k in which[1:]:
                        parts[k] = np.zeros_like(total)
            if node in self.given:
                key, got = self.given[node]
                self._go_on(node, self._judge(node, key, got, both, [self.true[node]], None))
            else:
                self._go_on(node, [_sum(parts) for parts in both])
        return Verdict(tuple(self.culprits), tuple(self.judged))

    def _tracks(self) -> tuple[Adjoints, Adjoints]:
        return self.going, self.mended

    def _go_on(self, node: Node, both: list[Any]) -> None:
        if self.culprits and self.mended is self.going:
            self.mended = dict(self.going)
        for track, g in zip(self._tracks(), both, strict=True):
            track[node] = g

    def _parts(self, node: Node, track: Adjoints) -> list[Any]:
        return [self.chain.seed] if node is self.chain.root else self.chain.parts(node, track)

    def _judge(self, node: Node, key: str, got: Array, both: list[list[Any]], true: list[Any],
               branch: list[int] | None) -> list[Any]:  # fmt: skip
        """Compare one given array with what meets there on each track; returns what they go on with."""
        if any(e.consumer in self.spoiled for e in self.chain.edges[node]):
            self.judged.append(Judged(key, Status.UNJUDGED, tuple(sorted(self.origins[node])), 0.0))
            return [got if got.shape == node.value.shape else _sum(parts) for parts in both]
        truth, wanted = _sum(true), [_sum(parts) for parts in both]
        scale = _size(sum(np.abs(p) for p in both[0]))
        rtol = self._rtol(got, truth)
        got, fits = self._read(node, got, wanted, rtol * scale + self.floor)
        off = _apart(got, truth) / (_size(truth) or 1.0)
        origin = tuple(sorted(self.origins[node]))
        if fits:
            right = off <= rtol * max(1.0, scale / (_size(truth) or 1.0))
            self.judged.append(Judged(key, Status.RIGHT if right else Status.FOLLOWS, origin, off))
            return [got, got]
        on = got
        if got.shape != truth.shape:
            found, on = diagnose_shape(got, wanted[0], key), wanted[0]
        elif not np.all(np.isfinite(got)):
            found, on = Diagnosis(Kind.NOT_FINITE, f"{np.sum(~np.isfinite(got))} entries are not finite"), wanted[0]
        else:
            found = self._diagnosed(node, got, wanted[0], scale, rtol, branch)
        self.judged.append(Judged(key, Status.WRONG, origin, off))
        self.culprits.append(Culprit(key, found.stage, found.kind, found.sentence, wanted[0], got))
        return [on, wanted[1]]

    def _diagnosed(self, node: Node, got: Array, expected: Array, scale: float, rtol: float,
                   branch: list[int] | None) -> Diagnosis:  # fmt: skip
        segment = self.chain.segment(node, self.given, branch)
        far = len(segment.inner) > LONG
        found = diagnose(Suspect(segment, self._anywhere(), got, expected, scale, 10 * rtol, self.likely,
                                 tired=far and self.in_vain >= 2, before=self._before(node, branch)))  # fmt: skip
        if found.role:
            self.likely.append(found.role)
        self.in_vain += far and found.kind is Kind.UNKNOWN
        return found

    def _before(self, node: Node, branch: list[int] | None) -> list[Array]:
        """What was given for the same node, or the same branch of it, a step later: the loop's round before."""
        step = step_of(self.chain.names[node])
        later = next((n for s, n in self.chain.by_step.items() if step.t is not None and s == step._replace(t=step.t + 1)), None)
        if later is None:
            return []
        if branch is None:
            return [self.given[later][1]] if later in self.given else []
        return [array for _, _, array in self.branches.get(later, ())]

    def _anywhere(self) -> Adjoints:
        """Every adjoint as its author has it, those further back too, which may stand here by mistake."""
        given = {n: a for n, (_, a) in self.given.items() if a.shape == np.shape(n.value)}
        return {**self.true, **given, **self.going}

    def _rtol(self, got: Array, truth: Array) -> float:
        if self.rtol is not None:
            return self.rtol
        return float(np.sqrt(max(np.finfo(a.dtype).eps for a in (got, truth) if a.dtype.kind == "f")))

    def _read(self, node: Node, got: Array, wanted: list[Any], allowed: float) -> tuple[Array, bool]:
        """A given array in the layout of the graph, and whether it is right."""
        layouts = [got]
        if not (node.op is None and node.requires_grad):  # a parameter has but one layout
            layouts += [got.T, got.squeeze()]  # a batch in rows; one sequence as a batch of one
        for array in layouts:
            for expected in wanted:
                if array.shape == expected.shape and bool(np.all(np.abs(array - expected) <= allowed)):
                    return array, True
        return next((array for array in layouts if array.shape == wanted[0].shape), got), False


def _plain(array: Any) -> Array:
    return np.asarray(array.data if isinstance(array, Tensor) else array)


def _sum(parts: list[Any]) -> Any:
    return sum(parts[1:], start=parts[0])


def _parted(key: str) -> tuple[str, str, str]:
    """``c<2> via c<3>`` and ``W_f at t=2`` taken apart."""
    found = re.fullmatch(r"(.*?) (via|at t=) ?(.*)", key)
    return (found[1], "via" if found[2] == "via" else "at", found[3]) if found else (key, "", "")


def _apart(a: Array, b: Array) -> float:
    if np.shape(a) != np.shape(b):
        return float("inf")
    return float(np.max(np.abs(np.subtract(a, b)), initial=0.0))


def _size(a: Any) -> float:
    return float(np.max(np.abs(a), initial=0.0))


def _skeleton(sentence: str) -> str:
    """A sentence whatever the step."""
    return re.sub(r"<[^>]*>", "<>", sentence.removesuffix(EVERYWHERE))


def _told(same: list[Culprit]) -> str:
    """Culprits of one slip in a line."""
    first = max(same, key=lambda c: c.diagnosis.endswith(EVERYWHERE))
    say = first.in_t if len(same) > 1 else str
    where = f" [{say(first.stage)}]" if first.stage else ""
    off = max(c.error for c in same)
    lines = list(dict.fromkeys(c.line for c in same if c.line))
    held = f"{_listed(lines)}, the adjoint of " if lines else "the value of " if first.forward else ""
    return (f"{held}{_listed([c.name for c in same])}: {say(first.diagnosis)} "
            f"(off by {off:.1e}, relative){where}")  # fmt: skip


def _listed(names: list[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
