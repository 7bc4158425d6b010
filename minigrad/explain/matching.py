"""Which nodes' adjoints the local arrays of a hand-written backward pass are.

An array that equals an adjoint in every entry is that adjoint, whatever it is called.  Where a
slip has changed the numbers, the name says it, and the loop counter says the step; how counters
and steps belong together is read from the arrays that do match, forward values among them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from unicodedata import normalize

import numpy as np

from ..graph import canonical
from ..tensor import Tensor
from .blame import Trial, Verdict
from .chain import Array
from .slips import step_of
from .watch import Seen, watch

CLOSE = 1e-9
"""Arrays this near to each other, relative, are the same."""


class Role(NamedTuple):
    """What the arrays of one variable are: ``c<t>``, ``c<t> via c<t+1>``, ``W_f``.

    Attributes
    ----------
    key : str
        With ``<t+0>`` for the steps, counted from the loop's; as it stands where there is none.
    """

    key: str

    def at(self, step: int | None) -> str:
        """The key at a step."""
        return re.sub(r"<t([+-]\d+)>", lambda k: f"<{(step or 0) + int(k[1])}>", self.key).replace(
            " at t=t", f" at t={step}")  # fmt: skip


@dataclass(frozen=True)
class Matched(Verdict):
    """What `blame_function` found.

    Attributes
    ----------
    matched : dict of str -> str
        Key -> ``name (line n)``: which local array was taken for it.
    unmatched : tuple of str
        Local arrays that are neither an adjoint nor a value of the graph, as far as one can tell.
    result : object
        What the function returned.
    """

    matched: dict[str, str]
    unmatched: tuple[str, ...]
    result: Any

    def __str__(self) -> str:
        text = f"{super().__str__()}\n  {len(self.matched)} local arrays were matched to nodes"
        return text + (f"; not matched: {', '.join(self.unmatched)}" if self.unmatched else "")

    def as_dict(self) -> dict[str, Any]:
        return super().as_dict() | {"matched": self.matched, "unmatched": list(self.unmatched)}


def blame_function(backward: Callable[..., Any], *args: Any, of: Tensor, names: Mapping[str, str] | None = None,
                   aliases: Mapping[str, str] | None = None, values: Mapping[str, Any] | None = None,
                   rtol: float | None = None, seed: Any = None, **kwargs: Any) -> Matched:  # fmt: skip
    """Run a hand-written backward pass as it is, and say which of its lines are wrong, and why.

    Parameters
    ----------
    backward : callable
        Plain NumPy.  It is called with the other arguments; every array that it, or a helper in
        the same file, assigns to a local name is looked at.
    *args, **kwargs
        For `backward`.
    of : Tensor
        What it differentiates, recorded with named nodes.
    names : dict of str -> str, optional
        Whose adjoint a variable holds, where its name does not say it: ``{"dh": "a"}``,
        ``{"dc_prev": "c<t-1> via c<t>"}``.  Names such as ``dWf``, ``d_c`` or ``delta_c`` are understood.
    aliases : dict of str -> str, optional
        What the author calls the nodes, ``{"Wi": "W_u"}``: ``dWi`` is then read as the adjoint of
        ``W_u``, unless its numbers are another's.
    values, rtol, seed
        As for `blame`.

    Returns
    -------
    Matched
        A `Verdict` whose keys are nodes, with `matched` and `unmatched` beside it.

    Raises
    ------
    ArgumentError
        A value of `names` names no node.
    """
    result, seen = watch(backward, *args, **kwargs)
    arrays = [s for s in seen if isinstance(s.array, np.ndarray) and s.array.size]
    matching = Matching(Trial(of, {}, {}, rtol, seed), arrays, dict(names or {}), aliases or {})
    verdict = Trial(of, {key: s.array for key, s in matching.manual.items()}, values or {}, rtol, seed).verdict()
    where = {key: f"{s.name} (line {s.line})" if s.line else s.name for key, s in matching.manual.items()}
    culprits = tuple(replace(c, stage="; ".join(filter(None, (c.stage, where.get(c.name, ""))))) for c in verdict.culprits)
    return Matched(culprits, verdict.judged, where, matching.unmatched, result)


class Matching:
    """Finds `manual`: for each key the array that the function has for it."""

    def __init__(self, trial: Trial, seen: Sequence[Seen], names: dict[str, str], aliases: Mapping[str, str]) -> None:
        self.chain, self.true = trial.chain, trial.true
        self.seen, self.names = seen, names
        self.adjoints = dict(self._adjoints())
        families = {step_of(name).family for name in self.chain.nodes}
        self.families = {_plain(family): family for family in families} | {
            _plain(alias): canonical(family) for alias, family in aliases.items() if canonical(family) in families}  # fmt: skip
        self.values = {name: np.asarray(n.value) for name, n in self.chain.nodes.items() if type(n.value) is not tuple}
        self.equal = [self._equal(s) for s in seen]
        self.counter, self.sign, self.offset = self._clock()
        told = (self._by_name(name) for name in {s.name for s in seen})
        self.claimed = {_base(role.key)[0] for role in told if role is not None}
        self.roles: dict[str, Role] = {}
        self.manual: dict[str, Seen] = {}
        self.unmatched: tuple[str, ...] = ()
        self._assign()

    def _adjoints(self) -> Iterator[tuple[str, Array]]:
        """Every true adjoint, branches and rows included, by its key."""
        for name, node in self.chain.nodes.items():
            if node not in self.chain.edges or type(node.value) is tuple or node is self.chain.root:
                continue
            yield name, np.asarray(self.true[node])
            parts, labels = self.chain.parts(node, self.true), self.chain.labels(node)
            for part, label in zip(parts, labels, strict=True):
                if len(parts) > 1:
                    yield f"{name} via {label}", np.asarray(part)
            steps = [step_of(label.partition(" #")[0]).t for label in labels]
            if step_of(name).t is None:
                for t in sorted({t for t in steps if t is not None}):
                    yield f"{name} at t={t}", np.asarray(sum(p for p, s in zip(parts, steps, strict=True) if s == t))

    def _equal(self, s: Seen) -> list[str]:
        """The keys of the true adjoints that an array equals."""
        return [key for key, array in self.adjoints.items() if _is(s.array, array)]

    def _clock(self) -> tuple[str, int, int]:
        """How the loop's counter tells the step: ``t = sign * counter + offset``."""
        votes: Counter[tuple[str, int, int]] = Counter()
        for s, keys in zip(self.seen, self.equal, strict=True):
            about = [step_of(k.partition(" via ")[0]) for k in keys if " at t=" not in k]
            about += [step_of(name) for name, value in self.values.items() if _is(s.array, value)]
            for step in {a.t for a in about if a.t is not None}:
                for name, count in s.counters.items():
                    votes.update({(name, 1, step - count), (name, -1, step + count)})
        several = Counter({k: n for k, n in votes.items() if len({s.counters.get(k[0]) for s in self.seen}) > 1})
        best = max((several or votes).items(), key=lambda item: (item[1], item[0][1]), default=None)
        return best[0] if best else ("", 1, 1)

    def _step(self, s: Seen) -> int | None:
        return None if self.counter not in s.counters else self.sign * s.counters[self.counter] + self.offset

    def _assign(self) -> None:
        """Give each variable, line by line, its role, and each key its last array."""
        lines: dict[tuple[str, int], list[int]] = {}
        for k, s in enumerate(self.seen):
            lines.setdefault((s.name, s.line), []).append(k)
        final = {name: max(line for n, line in lines if n == name) for name, _ in lines}
        chosen: dict[str, tuple[int, int]] = {}
        unknown: set[str] = set()
        known: set[str] = set()
        by_numbers = sorted(lines.items(), key=lambda item: not any(self.equal[k] for k in item[1]))
        for (name, line), ks in by_numbers:
            role, sure = self._role(name, ks, last=line == final[name])
            if role is None:
                is_value = any(_is(self.seen[k].array, v) for k in ks for v in self.values.values())
                (known if is_value else unknown).add(name)
                continue
            known.add(name)
            in_turn = len({self._step(self.seen[k]) for k in ks}) < len(ks)  # one name for several adjoints
            for k in ks:
                key = role.at(self._step(self.seen[k]))
                another = key not in self.equal[k] and (self.equal[k] or in_turn) and role != self._by_name(name)
                if key in self.adjoints and not another:
                    chosen[key] = max(chosen.get(key, (0, 0)), (sure, k))
        self.manual = {key: _laid_out(self.seen[k], self.adjoints[key]) for key, (_, k) in chosen.items()}
        self.unmatched = tuple(sorted(unknown - known))

    def _role(self, name: str, ks: list[int], last: bool) -> tuple[Role | None, int]:
        """What a variable's arrays at one line are, and how sure that is: by numbers 2, by name 1."""
        if name in self.names:
            return self._asked(self.names[name]), 3
        votes: Counter[Role] = Counter()
        for k in ks:
            step = self._step(self.seen[k])
            votes.update({Role(_relative(key, step)) for key in self.equal[k]})
        by_name = self._by_name(name)
        steps = len({self._step(s) for s in self.seen if s.name == name})
        for role in list(votes):
            base, part = _base(role.key)
            first_of_sums = part and "<" not in base and votes[role] < steps
            # where it should hold another's: the numbers are those of a node that a name claims
            of_another = by_name and base != _base(by_name.key)[0] and base in self.claimed
            if first_of_sums or of_another:
                del votes[role]
        if votes:
            best = max(votes, key=lambda role: (votes[role], role == by_name, not _base(role.key)[1], role.key))
            self.roles[name] = best
            return best, 3 if best == by_name else 2
        return (self._by_analogy(name) or by_name, 1) if last else (None, 0)

    def _by_analogy(self, name: str) -> Role | None:
        """If ``dzf`` is the adjoint of ``f<t> before activation``, ``dzi`` is that of ``i<t> before activation``;
        if ``df``, which could be that of ``Γ_f``, turns out to be that of ``sum_f``, ``di`` is that of ``sum_u``."""
        read_as = self._by_name(name)
        for other, role in self.roles.items():
            misread = self._by_name(other)
            if read_as and misread and misread != role and _plain(name) not in self.families:
                meant = self._related(misread, role, read_as)
                if meant is not None:
                    return meant
            if read_as or len(name) != len(other):
                continue
            differing = [(a, b) for a, b in zip(name, other, strict=True) if a != b]
            if len(differing) == 1:
                here, there = differing[0]
                analogous = Role(role.key.replace(there, here, 1))
                if analogous != role and analogous.at(1) in self.adjoints:
                    return analogous
        return None

    def _related(self, one: Role, to: Role, other: Role) -> Role | None:
        """What `other` is made from, if `one` is made from `to`: the sum in a gate."""
        for t in {step_of(name).t for name in self.chain.nodes} - {None}:
            made, source, another = (self.chain.nodes.get(role.at(t)) for role in (one, to, other))
            if made is None or source is None or another is None or source not in made.inputs:
                continue
            before = another.inputs[made.inputs.index(source)] if len(another.inputs) == len(made.inputs) else None
            if before in self.chain.names:
                return Role(_relative(self.chain.names[before], t))
        return None

    def _asked(self, words: str) -> Role:
        words = canonical(words)
        stepped = re.sub(r"<t>", "<t+0>", words)
        if stepped == words and "<t" not in words and any(s.family == words and s.t is not None for s in map(step_of, self.chain.nodes)):
            stepped = f"{words}<t+0>"
        return Role(stepped)

    def _by_name(self, name: str) -> Role | None:
        """``dWf`` is the adjoint of ``W_f``."""
        entry = re.fullmatch(r".*\['(.*)'\]", name)  # grads["W_f"] needs no d
        plain = _plain(entry[1] if entry else name)
        for prefix in ("delta", "grad", "d", "δ", *([""] if entry else [])):
            if plain.startswith(prefix):
                family = self.families.get(plain.removeprefix(prefix))
                if family is not None:
                    return self._asked(family)
        return None


def _plain(name: str) -> str:
    """A name without what people differ in: case, underscores, Greek letters."""
    name = normalize("NFC", name).replace("Γ_", "gamma").replace("c\u0303", "ctilde").replace("c̃", "ctilde")
    return re.sub(r"[\W_]", "", name).lower()


def _base(key: str) -> tuple[str, str]:
    """A key without its branch or row, and these."""
    base, part, rest = key.partition(" via ") if " via " in key else key.partition(" at t=")
    return base, part + rest


def _relative(key: str, step: int | None) -> str:
    if step is None:
        return key
    key = re.sub(r" at t=(\d+)", lambda k: " at t=t" if int(k[1]) == step else k[0], key)
    return re.sub(r"<(\d+)>", lambda k: f"<t{int(k[1]) - step:+d}>", key)


def _layouts(array: Array, like: tuple[int, ...]) -> Iterator[Array]:
    """An array as it stands, with its batch in rows, as one column."""
    for a in (array, array.T, array.reshape(like) if array.size == int(np.prod(like)) else array):
        if a.shape == like:
            yield a


def _is(array: Array, other: Array) -> bool:
    size = float(np.max(np.abs(other), initial=0.0))
    return size > 0 and any(np.all(np.abs(a - other) <= CLOSE * size) for a in _layouts(array, other.shape))


def _laid_out(s: Seen, other: Array) -> Seen:
    """In the layout of the node, if one makes it equal."""
    for a in _layouts(s.array, other.shape):
        if _is(a, other):
            return s._replace(array=a)
    return s._replace(array=next(_layouts(s.array, other.shape), s.array))
