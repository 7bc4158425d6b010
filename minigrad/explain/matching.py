"""Which nodes' adjoints the local arrays of a hand-written backward pass are.

An array that equals an adjoint in every entry is that adjoint, whatever it is called.  Where a
slip has changed the numbers, the name says it, and the loop counter says the step; how counters
and steps belong together is read from the arrays that do match, forward values among them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from unicodedata import normalize

import numpy as np

from ..graph import canonical
from ..tensor import Tensor
from .blame import Trial, Verdict
from .chain import Adjoints, Array
from .steps import step_of
from .watch import Seen, watch

Place = tuple[str, int]
"""A name and a line."""

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
        return re.sub(r"\bt([+-]\d+)\b", lambda k: str((step or 0) + int(k[1])), self.key)


Roles = dict[Place, tuple[Role, int]]
"""What the arrays of a line are, and how sure that is: by name 1, by numbers 2, by both 3."""


class State(NamedTuple):
    """How well the roles account for what was seen.

    Attributes
    ----------
    cost : float
    wrong : set of str
        The keys of the arrays that do not follow from those downstream.
    strangers : set of Place
        Lines whose arrays are unknown.
    """

    cost: float
    wrong: set[str]
    strangers: set[Place]


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
    where = {key: f"{s.name} (line {s.line})" if s.line else s.name for key, s in matching.made.items()}
    culprits = tuple(replace(c, line=where.get(c.name, "")) for c in verdict.culprits)
    return Matched(culprits, verdict.judged, where, matching.unmatched, result)


class Matching:
    """Finds `manual`: for each key the array that the function has for it."""

    def __init__(self, trial: Trial, seen: Sequence[Seen], names: dict[str, str], aliases: Mapping[str, str]) -> None:
        self.chain = trial.chain
        self.seen, self.names = seen, names
        self.called: dict[str, Role | None] = {}
        self.laid: dict[tuple[str, int], Array] = {}
        self.adjoints = self._follow({})
        families = {step_of(name).family for name in self.chain.nodes}
        self.families = {_plain(family): family for family in families} | {
            _plain(alias): canonical(family) for alias, family in aliases.items() if canonical(family) in families}  # fmt: skip
        self.values = {name: np.asarray(n.value) for name, n in self.chain.nodes.items() if type(n.value) is not tuple}
        self.sizes = [float(np.sum(np.abs(s.array))) for s in seen]
        self.equal = [set(keys) for keys in self._looked_up(self.adjoints)]
        self.is_value_of = self._looked_up(self.values)
        self.clocks = {entries: self._clock(entries) for entries in (False, True)}
        told = (self._by_name(name) for name in {s.name for s in seen})
        self.claimed = {_base(role.key)[0] for role in told if role is not None}
        self.groups: dict[Place, list[int]] = {}
        for k, s in enumerate(seen):
            self.groups.setdefault((s.name, s.line), []).append(k)
        self.roles: Roles = {}
        self.supposed: dict[Place, Role] = {}
        self.manual: dict[str, Seen] = {}
        self.made: dict[str, Seen] = {}
        self.unmatched: tuple[str, ...] = ()
        self._assign()

    def _looked_up(self, arrays: Mapping[str, Array]) -> list[list[str]]:
        """For each array seen, the keys of those that it equals."""
        table = Table(arrays)
        return [table.equal(s.array, size) for s, size in zip(self.seen, self.sizes, strict=True)]

    def _follow(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """Every adjoint, branches and rows included, by its key, as it follows from the given ones."""
        found: dict[str, Array] = {}
        going: Adjoints = {}
        for node in self.chain.order:
            if node is self.chain.root or type(node.value) is tuple or node not in self.chain.names:
                going[node] = self.chain.total(node, going)
                continue
            name, parts, labels = self.chain.names[node], self.chain.parts(node, going), self.chain.labels(node)
            steps = [step_of(label.partition(" #")[0]).t for label in labels]
            t = step_of(name).t
            branches = {f"{name} via {label}": [k] for k, (label, step) in enumerate(zip(labels, steps, strict=True))
                        if len(parts) > 1 or t is not None and step is not None and step > t}  # fmt: skip
            for later in sorted({step for step in steps if step is not None}):
                ks = [k for k, step in enumerate(steps) if step == later]
                if t is None or len(ks) > 1 and (later > t or len(ks) < len(parts)):
                    branches[f"{name} at t={later}"] = ks
            for key, ks in branches.items():
                found[key] = np.asarray(sum(parts[k] for k in ks))
                if key in given:
                    parts[ks[0]] = given[key]
                    for k in ks[1:]:
                        parts[k] = np.zeros_like(parts[k])
            found[name] = np.asarray(sum(parts[1:], start=parts[0]))
            going[node] = given.get(name, found[name])
        return found

    def _clock(self, entries: bool) -> tuple[str, int, int]:
        """How the loop's counter, or the place in a list, tells the step: ``t = sign * counter + offset``."""
        votes: dict[tuple[str, int, int], Counter[int]] = {}
        seen = [k for k, s in enumerate(self.seen) if entries is (s.entry is not None)]
        for k in seen:
            s = self.seen[k]
            about = [step_of(key.partition(" via ")[0]) for key in self.equal[k] if " at t=" not in key]
            about += map(step_of, self.is_value_of[k])
            for step in {a.t for a in about if a.t is not None}:
                for name, count in s.numbers.items():
                    for clock in {(name, 1, step - count), (name, -1, step + count)}:
                        votes.setdefault(clock, Counter())[step] += 1
        several = {clock: steps.total() for clock, steps in votes.items() if len(steps) > 1}  # one step may be chance
        if several:
            return max(several, key=lambda clock: (several[clock], clock[1]))
        counted: dict[str, set[int]] = {}  # nothing to go by: the loop is over the steps
        for k in seen:
            for name, count in self.seen[k].numbers.items():
                counted.setdefault(name, set()).add(count)
        name = max(counted, key=lambda name: len(counted[name]), default="")
        return name, 1, 1 - min(counted.get(name, {0}))

    def _step(self, s: Seen) -> int | None:
        counter, sign, offset = self.clocks[s.entry is not None]
        return None if counter not in s.numbers else sign * s.numbers[counter] + offset

    def _assign(self) -> None:
        """Give each variable, line by line, its role, and each key its array.

        By the numbers of the true adjoints first; then by those that follow from the arrays matched so
        far, as a slip changes all that is derived from it; where neither knows a variable, it is
        what best accounts for the others; and what its name says otherwise.
        """
        self._learn()
        for _ in self.groups:
            if not self._suppose():
                break
        final = {name: max(line for n, line in self.groups if n == name) for name, _ in self.groups}
        for name, line in self.groups:
            if (name, line) not in self.roles and line == final[name]:
                role = self._by_analogy(name) or self._by_name(name)
                if role is not None:
                    self.roles[name, line] = role, 1
        for (name, line), (role, _) in list(self.roles.items()):  # a parameter's total must be somewhere
            by_name = self._by_name(name)
            if line == final[name] and by_name and by_name.key in self.adjoints and _base(role.key)[0] == by_name.key not in self._chosen(self.roles, self.supposed):
                self.roles[name, line] = by_name, 1
        chosen = self._chosen(self.roles, self.supposed)
        taken = set(chosen.values())
        self.manual = {key: _laid_out(self.seen[k], self.adjoints[key]) for key, k in chosen.items()}
        self.made = {key: self._first(key, k, taken) for key, k in chosen.items()}
        known = {name for name, _ in self.roles} | {s.name for s, is_value in zip(self.seen, self.is_value_of, strict=True) if is_value}
        self.unmatched = tuple(sorted({name for name, _ in self.groups} - known))

    def _first(self, key: str, k: int, taken: set[int]) -> Seen:
        """Where an array was made, if it was handed on under other names since."""
        array, role = self.seen[k].array, self.roles[self._place(k)]
        for j, s in enumerate(self.seen[:k]):
            same_role = self.roles.get(self._place(j), (None if self.equal[j] else role[0], 0))[0] == role[0]
            if j not in taken and (same_role or key in self.equal[k]) and _is(s.array, array):
                return s
        return self.seen[k]

    def _place(self, k: int) -> Place:
        return self.seen[k].name, self.seen[k].line

    def _learn(self) -> None:
        """What follows from the arrays matched so far, as long as that matches more."""
        before: object = None
        while self.roles != before:
            before = dict(self.roles)
            chosen = self._chosen(self.roles, self.supposed)
            given = self._given(chosen)
            supposed = {key: array for key, array in given.items() if self._place(chosen[key]) in self.supposed}
            for arrays in (self._follow(given), supposed):
                for keys, new in zip(self.equal, self._looked_up(arrays), strict=True):
                    keys |= set(new)
            self._vote()

    def _given(self, chosen: Mapping[str, int]) -> dict[str, Array]:
        """The arrays that were chosen, in the layout of the graph; those of a wrong shape are left out."""
        for key, k in chosen.items():
            if (key, k) not in self.laid:
                self.laid[key, k] = _laid_out(self.seen[k], self.adjoints[key]).array
        laid = {key: self.laid[key, k] for key, k in chosen.items()}
        return {key: array for key, array in laid.items() if array.shape == self.adjoints[key].shape}

    def _suppose(self) -> bool:
        """Whether there are fewer wrong or unknown lines if one variable is taken for something else.

        An array that is wrong given those that it was derived from is the culprit, or else something
        between, which another variable holds.  If nothing is wrong but much unknown, names are tried.
        """
        state = self._cost()
        chosen = self._chosen(self.roles, self.supposed)
        between = self._between(state.wrong, chosen)
        best: tuple[Any, ...] = (state.cost,)
        found = None
        for place in self.groups:
            if place[0] in self.names or not state.wrong and place not in state.strangers:
                continue
            by_name = self._by_name(place[0])
            own = {key for key, k in chosen.items() if self._place(k) == place}
            for role, keys in self._free_roles(place, chosen):
                if not between.isdisjoint(keys) if state.wrong else role == by_name:
                    then = self._cost(self.supposed | {place: role})
                    mended, explained = state.wrong - then.wrong - own, state.strangers - then.strangers - {place}
                    rank = then.cost, not mended, role != by_name, 0 if state.wrong else -self.groups[place][-1], role.key
                    if (mended or explained) and rank < best:
                        best, found = rank, (place, role)
        if found is None:
            return False
        self.supposed[found[0]] = found[1]
        self._learn()
        return True

    def _between(self, wrong: set[str], chosen: Mapping[str, int]) -> set[str]:
        """The keys of what lies between wrong arrays and those that they were derived from."""
        known = {self.chain.nodes[key] for key in chosen if key in self.chain.nodes}
        names = set()
        for key in wrong:
            node = self.chain.nodes[_base(key)[0]]
            names |= {self.chain.names.get(n) for n in (node, *self.chain.segment(node, known).inner)}
        return {key for key in self.adjoints if _base(key)[0] in names}

    def _free_roles(self, place: Place, chosen: Mapping[str, int]) -> Iterator[tuple[Role, list[str]]]:
        """What a variable could be, to judge by its shapes, that no other is; and the keys."""
        ks = self.groups[place]
        if any(self.is_value_of[k] for k in ks) or not any(self.sizes[k] for k in ks):
            return
        own, steps = set(ks), {self._step(self.seen[k]) for k in ks}
        fitting = [key for key, a in self.adjoints.items() if _fits(self.seen[ks[0]].array, a.shape)]
        roles = {Role(_relative(key, step)) for key in fitting for step in steps}
        roles = {role for role in roles if not re.search(r"\bt[+-]([2-9]|\d\d)", role.key)}  # of this step or the next
        for role in roles - {self.roles.get(place, (None, 0))[0]}:
            keys = [key for key in (role.at(self._step(self.seen[k])) for k in ks) if key in self.adjoints]
            if 2 * len(keys) >= len(ks) and all(chosen.get(key, ks[0]) in own for key in keys):
                yield role, keys

    def _cost(self, supposed: Mapping[Place, Role] | None = None) -> State:
        """How well the roles account for everything: the fewer lines are wrong or unknown, the better; a
        variable that only repeats another counts for half, and one that is what its name says less."""
        supposed = self.supposed if supposed is None else supposed
        roles = self.roles | {place: (role, 2) for place, role in supposed.items()}
        chosen = self._chosen(roles, supposed)
        given = self._given(chosen)
        follows = self._follow(given)
        wrong = {key for key, array in given.items() if not _same(array, follows[key])}
        as_given = {f"given {key}": a for key, a in given.items() if self._place(chosen[key]) in supposed}
        table, taken = Table(follows | as_given), set(chosen.values())
        strangers = {place for place, ks in self.groups.items() if place not in roles and any(self.sizes[k] for k in ks) and not any(
            self.equal[k] or self.is_value_of[k] or table.equal(self.seen[k].array, self.sizes[k]) for k in ks)}
        idle = sum(taken.isdisjoint(self.groups[place]) for place in roles)  # another variable holds the same
        meant = sum(role == self._by_name(name) for (name, _), (role, _) in roles.items())
        lines = {self._place(chosen[key]) for key in wrong}
        return State(len(lines) + len(strangers) + idle / 2 - meant / 4, wrong, strangers)

    def _vote(self) -> None:
        """By their numbers."""
        voted: dict[Place, tuple[Role, int]] = {}
        most: Counter[Role] = Counter()
        for (name, line), ks in self.groups.items():
            role, votes = self._role(name, ks)
            if role is not None:
                voted[name, line] = role, votes
                most[role] = max(most[role], votes)
        self.roles = {}
        for place, (role, votes) in voted.items():
            if votes == most[role] or votes == len(self.groups[place]):  # not by chance
                sure = 3 if place[0] in self.names or role == self._by_name(place[0]) else 2
                self.roles[place] = role, sure
        self.roles |= {place: (role, 2) for place, role in self.supposed.items()}

    def _chosen(self, roles: Roles, supposed: Container[Place] = ()) -> dict[str, int]:
        """For each key the array that stands for it."""
        chosen: dict[str, tuple[Any, int]] = {}
        for (name, line), (role, sure) in roles.items():
            ks = self.groups[name, line]
            in_turn = len({self._step(self.seen[k]) for k in ks}) < len(ks)  # one name for several adjoints
            for k in ks:
                key = role.at(self._step(self.seen[k]))
                another = (key not in self.equal[k] and (self.equal[k] or in_turn) and role != self._by_name(name)
                           and name not in self.names and (name, line) not in supposed)  # fmt: skip
                if key in self.adjoints and not another:
                    rank = key in self.equal[k], sure, k
                    chosen[key] = max(chosen.get(key, (rank, k)), (rank, k))
        return {key: k for key, (_, k) in chosen.items()}

    def _role(self, name: str, ks: list[int]) -> tuple[Role | None, int]:
        """What a variable's arrays at one line are, by their numbers, and how many say so."""
        if name in self.names:
            return self._asked(self.names[name]), len(ks)
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
        if not votes:
            return None, 0
        best = max(votes, key=lambda role: (votes[role], role == by_name, not _base(role.key)[1], role.key))
        return best, votes[best]

    def _by_analogy(self, name: str) -> Role | None:
        """If ``dzf`` is the adjoint of ``f<t> before activation``, ``dzi`` is that of ``i<t> before activation``;
        if ``df``, which could be that of ``Γ_f``, turns out to be that of ``sum_f``, ``di`` is that of ``sum_u``."""
        read_as = self._by_name(name)
        for (other, _), (role, sure) in list(self.roles.items()):
            if sure < 2:
                continue
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
        if name not in self.called:
            self.called[name] = self._read(name)
        return self.called[name]

    def _read(self, name: str) -> Role | None:
        name = name.removeprefix("self.")
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
    return re.sub(r"(?<=<)\d+(?=>)|(?<= at t=)\d+", lambda k: f"t{int(k[0]) - step:+d}", key)


def _layouts(array: Array, like: tuple[int, ...]) -> Iterator[Array]:
    """An array as it stands, with its batch in rows, as one column."""
    for a in (array, array.T, array.reshape(like) if array.size == int(np.prod(like)) else array):
        if a.shape == like:
            yield a


def _fits(array: Array, shape: tuple[int, ...]) -> bool:
    return any(True for _ in _layouts(array, shape))


def _same(array: Array, other: Array) -> bool:
    return bool(np.all(np.abs(array - other) <= CLOSE * float(np.max(np.abs(other), initial=0.0))))


def _is(array: Array, other: Array) -> bool:
    size = float(np.max(np.abs(other), initial=0.0))
    return size > 0 and any(np.all(np.abs(a - other) <= CLOSE * size) for a in _layouts(array, other.shape))


class Table:
    """Arrays by key, to be looked up by their numbers."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.arrays = list(arrays.items())
        self.sizes = np.array([np.sum(np.abs(a)) for a in arrays.values()])

    def equal(self, array: Array, size: float) -> list[str]:
        """The keys of those that an array equals; `size` is the sum of its absolute values."""
        near = np.flatnonzero(np.abs(self.sizes - size) <= 1e-6 * size)
        return [self.arrays[k][0] for k in near if _is(array, self.arrays[k][1])]


def _laid_out(s: Seen, other: Array) -> Seen:
    """In the layout of the node, if one makes it equal."""
    for a in _layouts(s.array, other.shape):
        if _is(a, other):
            return s._replace(array=a)
    return s._replace(array=next(_layouts(s.array, other.shape), s.array))
