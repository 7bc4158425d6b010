"""The slips that people make in hand-derived gradients, each as a "what if" on the true rules.

Given adjoints that the true rules do not give, `diagnose` puts one slip after the other into
the stages between, and says which of them would have led to exactly these numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from ..errors import DependencyError
from ..graph import Node
from ..op import OPS, Op
from .chain import Adjoints, Array, Chain, Edge, Segment
from .formula import formula
from .steps import Step, counted_from, step_of

LONG = 60
"""On a way of more edges than this, slips are looked for that were made at every step, or a single branch's size."""
EVERYWHERE = ", at every step"


class Kind(StrEnum):
    """What went wrong."""

    SIGN = "sign"
    FACTOR = "factor"
    TRANSPOSE = "transpose"
    ORDER = "order"
    DROPPED = "branch dropped"
    DOUBLED = "branch counted twice"
    NO_UPSTREAM = "branch without its upstream gradient"
    PARTIAL = "part of the upstream gradient"
    OVERWRITTEN = "overwritten, not added"
    HANDOVER = "state not handed over"
    ACTIVATED = "derivative at the activated value"
    FORGOTTEN = "local derivative forgotten"
    DERIVATIVE = "wrong derivative"
    FUNCTION = "wrong function"
    NEIGHBOUR = "neighbour's value"
    TIME_SHIFT = "time index"
    BATCH_SUM = "sum over the batch"
    PRODUCT_FOR_SUM = "product where a sum belongs"
    SUM_FOR_PRODUCT = "sum where a product belongs"
    DOT = "dot product for ⊙"
    SHAPE = "shape"
    LEFT_OVER = "added to what was there"
    CLIPPED = "clipped"
    NOT_FINITE = "not finite"
    UNKNOWN = "unknown"


class Diagnosis(NamedTuple):
    """What fits.

    Attributes
    ----------
    kind : Kind
    sentence : str
    stage : str
        Where the slip sits: the op and the nearest named node it leads to; empty if it is the
        array as a whole.
    role : tuple
        The stage again, whatever the step: the same slip is looked for there first.
    """

    kind: Kind
    sentence: str
    stage: str = ""
    role: tuple[Any, ...] = ()


Slip = tuple[Kind, str, Callable[[Chain, Edge, Any], Any]]
"""A kind, a sentence, and what the edge then contributes (None: nothing of the sort there)."""


class Suspect:
    """One wrong array, and what could have led to it.

    Parameters
    ----------
    segment : Segment
        From the adjoints that were given to the wrong one.
    adjoints : dict of Node -> array
        Of every node, as the one who derived them goes on with them.
    got : array
    expected : array
    scale : float
        Differences below ``tolerance * scale`` are none.
    likely : sequence of tuple
        The roles of stages where a slip was found before.
    tired : bool
        Look nowhere else.
    before : sequence of array
        What its variable may have held in the loop's round before.
    """

    def __init__(self, segment: Segment, adjoints: Adjoints, got: Array, expected: Array,
                 scale: float, tolerance: float, likely: Sequence[Any] = (), tired: bool = False,
                 before: Sequence[Array] = ()) -> None:  # fmt: skip
        self.segment, self.chain, self.adjoints = segment, segment.chain, adjoints
        self.got, self.expected = got, expected
        self.allowed, self.likely, self.tired, self.before = tolerance * scale, likely, tired, before
        self.name = self.called(segment.node) or segment.node.label

    def called(self, node: Node) -> str | None:
        return self.chain.names.get(node)

    def fits(self, candidate: Any) -> bool:
        """Whether a hypothesis gives the numbers that were given."""
        if candidate is None or np.shape(candidate) != self.got.shape:
            return False
        return bool(np.all(np.abs(candidate - self.got) <= self.allowed))

    def via(self, edge: Edge) -> str:
        """The branch that an edge lies on: ``c<3>``."""
        labels = self.chain.labels(edge.parent)
        return labels[self.chain.edges[edge.parent].index(edge)]

    def stage(self, edge: Edge) -> str:
        assert edge.consumer.op is not None
        return f"{edge.consumer.op.name} in {self.via(edge)}"

    # --- the array as a whole ----------------------------------------------------------------

    def as_a_whole(self) -> Iterator[Diagnosis]:
        """Hypotheses that need no look at the stages between."""
        got, expected, allowed = self.got, self.expected, self.allowed
        k = multiple(got, expected, allowed)
        if k is not None:
            yield self._multiple(k)
        if any(before.shape == got.shape and self.fits(expected + before) for before in self.before):
            yield Diagnosis(Kind.LEFT_OVER, "it is added to what the variable held in the round before: '+=' stands where '=' "
                            "belongs")  # fmt: skip
        if got.ndim == 2 and got.shape[0] == got.shape[1] and self.fits(expected.T):
            yield Diagnosis(Kind.TRANSPOSE, f"it is the transpose of what {self.name} should be")
        for axis in range(got.ndim):
            for shift in range(1, min(got.shape[axis], 64)):
                if self.fits(np.roll(expected, shift, axis)):
                    yield Diagnosis(Kind.ORDER, f"its entries stand in another order: rolled by {shift} along axis "
                                    f"{axis}, as with [x, a] where [a, x] is meant")  # fmt: skip
            yield from self._blocks(axis)
        most = np.max(np.abs(got), initial=0.0)
        cut = np.sum(np.abs(expected) > most + allowed)
        if cut and self.fits(np.clip(expected, -most, most)):
            yield Diagnosis(Kind.CLIPPED, f"it is clipped at ±{most:.6g}, which changes {cut} of its {got.size} entries")
        passed_on = {*self.segment.ends, *self.segment.inner}  # these by way of a forgotten derivative
        for other in self._alike(self.segment.node, 2):
            if other in self.adjoints and other not in passed_on and self.fits(self.adjoints[other]):
                kind, words = self._relation(other, self.segment.node)
                yield Diagnosis(kind, f"it is the adjoint of {self.called(other)}: {words}")

    def _blocks(self, axis: int) -> Iterator[Diagnosis]:
        """Blocks of equal size, as of the gates in one matrix, in another order."""
        for n in range(2, 9):
            if self.got.shape[axis] % n:
                continue
            wanted, given = np.split(self.expected, n, axis), np.split(self.got, n, axis)
            order = [next((k for k, w in enumerate(wanted) if np.all(np.abs(w - g) <= self.allowed)), None) for g in given]
            if None not in order and sorted(order) == list(range(n)):  # type: ignore[type-var]
                yield Diagnosis(Kind.ORDER, f"of its {n} blocks along axis {axis} stand, in this order, number "
                                f"{', '.join(str(1 + (k or 0)) for k in order)}")  # fmt: skip

    def _multiple(self, k: float) -> Diagnosis:
        if k == 0:
            return Diagnosis(Kind.DROPPED, f"it is zero: nothing flows to {self.name}")
        if abs(k + 1) < 1e-9:
            return Diagnosis(Kind.SIGN, "the sign is wrong: it is −1 times what it should be")
        return Diagnosis(Kind.FACTOR, f"it is {self._number(k)} times what it should be")

    def _number(self, k: float) -> str:
        """A factor, and what it may come from."""
        for n, what in self._counts():
            if n > 1 and abs(k * n - 1) < 1e-7:
                return f"1/{n} ({n} is {what}: a mean stands where a sum belongs)"
            if n > 1 and abs(k - n) < 1e-7:
                return f"{n} ({n} is {what})" if n != 2 else "2"
        return "1/2" if abs(k - 0.5) < 1e-9 else f"{k:.6g}"

    def _counts(self) -> Iterator[tuple[int, str]]:
        steps = {s.t for s in self.chain.by_step if s.t is not None and s.t > 0}
        if steps:
            yield len(steps), "the number of time steps"
        shapes = {np.shape(n.value) for n in (self.segment.node, *self.segment.inner, *self.segment.ends)
                  if type(n.value) is not tuple}  # fmt: skip
        for shape in sorted(shapes):
            for axis, n in enumerate(shape):
                yield n, f"the size of axis {axis} of {shape}"
            yield int(np.prod(shape)), f"the number of entries of {shape}"

    # --- one stage between -------------------------------------------------------------------

    def at_the_stages(self) -> Iterator[Diagnosis]:
        """Hypotheses on the stages between, those nearest to the array first."""
        roles: dict[Any, list[Edge]] = {}
        for edge in self.segment.edges:
            roles.setdefault(self._role(edge), []).append(edge)
        order = sorted((r for r in roles if not self.tired or r in self.likely), key=lambda role: role not in self.likely)
        systematic = [roles[role] for role in order if len(roles[role]) > 1]
        for edges in list(systematic):  # a slip made between the steps spares what step 0 is given
            inner = [e for e in edges if e not in self.segment.last]
            if 1 < len(inner) < len(edges):
                systematic.append(inner)
        single = [[edge] for edge in self.segment.edges if not self.tired]
        for edges in systematic + single if len(single) > 12 else single + systematic:
            yield from self._at(edges)

    def _role(self, edge: Edge) -> tuple[Any, ...]:
        op = edge.consumer.op
        assert op is not None
        return op.name, edge.i, step_of(self.via(edge)).family, step_of(self.called(edge.parent)).family

    def _at(self, edges: list[Edge]) -> Iterator[Diagnosis]:
        first, chosen = edges[0], set(edges)
        here = step_of(self.called(first.parent)).t
        base = None if len(edges) == 1 else step_of(self.via(first).partition(" #")[0]).t if here is None else here

        def found(kind: Kind, sentence: str) -> Diagnosis:
            everywhere = EVERYWHERE if len(edges) > 1 else ""
            return Diagnosis(kind, in_t(sentence + everywhere, base), in_t(self.stage(first), base), self._role(first))

        def with_slip(slip: Callable[[Chain, Edge, Any], Any]) -> Any:
            def bend(chain: Chain, edge: Edge, g: Any) -> Any:
                return slip(chain, edge, g) if edge in chosen else None

            try:
                return self.segment.total(self.adjoints, bend)
            except (ValueError, TypeError, IndexError, DependencyError):  # this slip cannot be made here
                return None

        if len(edges) == 1:
            zero = with_slip(lambda chain, e, g: _scaled(chain, e, g, 0.0))
            if zero is not None and type(self.segment.node.value) is not tuple:
                k = multiple(self.got - zero, self.expected - zero, self.allowed)
                if k is not None:
                    yield found(*self._branch(first, k))
        else:
            for k in (0.0, -1.0, 2.0, 0.5):
                if self.fits(with_slip(lambda chain, e, g, k=k: _scaled(chain, e, g, k))):  # type: ignore[misc]
                    yield found(*self._branch(first, k))
        if len(edges) == 1 and len(self.segment.inner) > LONG:
            return
        for kind, sentence, slip in self._slips(first):
            if self.fits(with_slip(slip)):
                yield found(kind, sentence)

    def _has_upstream(self, via: str) -> bool:
        """Whether the adjoint there is more than a one, which multiplies nothing."""
        node = self.chain.nodes.get(via.partition(" #")[0])
        return node is None or node not in self.adjoints or not np.all(self.adjoints[node] == 1)

    def _branch(self, edge: Edge, k: float) -> tuple[Kind, str]:
        via, parent = self.via(edge), self.called(edge.parent) or "this value"
        fork = len(self.chain.edges[edge.parent]) > 1
        what = f"the branch via {via}" if fork else f"what comes via {via}"
        if abs(k) < 1e-9:
            t, later = step_of(self.called(edge.parent)).t, step_of(via.partition(" #")[0]).t
            ways = [step_of(label.partition(" #")[0]).t for label in self.chain.labels(edge.parent)]
            if fork and t is not None and later is not None and later > t and sum((w or 0) > t for w in ways) == 1:
                return (Kind.HANDOVER, f"{what} is missing: {parent} also flows into a later block, whose "
                        "adjoint must be handed over")  # fmt: skip
            return (Kind.DROPPED, f"{what} is missing")
        if abs(k - 2) < 1e-9 and fork:
            return (Kind.DOUBLED, f"{what} is counted twice")
        if abs(k + 1) < 1e-9:
            return (Kind.SIGN, f"the sign of {what} is wrong")
        return (Kind.FACTOR, f"{what} is taken {self._number(k)} times")

    def _slips(self, edge: Edge) -> Iterator[Slip]:
        op = edge.consumer.op
        assert op is not None
        via = self.via(edge)
        upstream = f"δ{via.partition(' #')[0]}"
        if self._has_upstream(via):
            yield (Kind.NO_UPSTREAM, f"the branch via {via} is the bare local derivative: {upstream} must multiply it",
                   lambda chain, e, g: chain.contribution(e, _ones(g)))  # fmt: skip
        if op.linear != "jointly":
            yield (Kind.FORGOTTEN, f"the local derivative of {op.name} in {via} is forgotten: {upstream} is passed on "
                   "as it stands", lambda chain, e, g: _as_it_stands(chain, e, g))  # fmt: skip
            yield (Kind.SUM_FOR_PRODUCT, f"{upstream} and the local derivative of {op.name} in {via} are added where "
                   "they should be multiplied", lambda chain, e, g: g + chain.contribution(e, _ones(g)))  # fmt: skip
        if op.elementwise and op.arity == 1:
            yield from self._activation(edge, op, via)
        elif op.arity != 1 or op.variadic:
            yield from self._operands(edge, op, via)
        if op.variadic and len(edge.consumer.inputs) > 2:
            for d in sorted(range(-edge.i, len(edge.consumer.inputs) - edge.i), key=abs):
                yield (Kind.TIME_SHIFT, f"it takes the part of {op.name}'s adjoint that belongs {abs(d)} "
                       f"{'later' if d > 0 else 'earlier'}", lambda chain, e, g, d=d: _next_to(chain, e, g, d))  # type: ignore[misc]  # fmt: skip
        if op.name == "matmul":
            yield (Kind.TRANSPOSE, f"a factor of the product in {via} is not transposed", _not_transposed)
        if op.linear == "jointly":
            yield (Kind.BATCH_SUM, f"what comes via {via} is summed to one number",
                   lambda chain, e, g: collapsed(chain.contribution(e, g), None))  # fmt: skip
        yield (Kind.DOT, f"the product in {via} is a dot product, one number, where ⊙ belongs",
               lambda chain, e, g: collapsed(chain.contribution(e, g), None))  # fmt: skip
        yield (Kind.DOT, f"the product in {via} is summed over the features, where ⊙ belongs",
               lambda chain, e, g: collapsed(chain.contribution(e, g), 0))  # fmt: skip
        for words, take in (("first", 0), ("last", -1)):
            yield (Kind.BATCH_SUM, f"only the {words} sequence of the batch counts in {via}",
                   lambda chain, e, g, take=take: chain.contribution(e, _one_column(g, take)))  # type: ignore[misc]  # fmt: skip
            yield (Kind.ORDER, f"of the adjoint that {op.name} in {via} splits, the {words} part is taken",
                   lambda chain, e, g, take=take: _end_of(chain, e, g, take))  # type: ignore[misc]  # fmt: skip

    def _activation(self, edge: Edge, op: Op, via: str) -> Iterator[Slip]:
        """Slips in the derivative of an elementwise function of one value."""
        x_name = self.called(edge.parent) or "its input"
        y_name = self.called(edge.consumer) or f"{op.name}({x_name})"

        def activated_again(chain: Chain, e: Edge, g: Any) -> Any:
            y = chain.value(e.consumer)
            return chain.contribution(e, g, op.forward(y, **e.consumer.params), [y])

        yield (Kind.ACTIVATED, f"the derivative of {op.name} is taken at {y_name}, which is activated already, not at "
               f"{x_name}", activated_again)  # fmt: skip
        yield (Kind.DERIVATIVE, f"the derivative of {op.name} in {via} is written in its input {x_name} where its output "
               f"{y_name} belongs", lambda chain, e, g: chain.contribution(e, g, chain.value(e.parent)))  # fmt: skip
        for words, piece in PIECES.items():
            yield (Kind.DERIVATIVE, f"the derivative of {op.name} in {via} is written {words.format(y=y_name, x=x_name)}",
                   lambda chain, e, g, f=piece: g * f(chain.value(e.consumer), chain.value(e.parent)))  # type: ignore[misc]  # fmt: skip
        for other in OPS.values():
            if other is not op and other.elementwise and other.arity == 1 and other.passes(0) and bare(other):
                yield (Kind.DERIVATIVE, f"the derivative of {other.name} stands where that of {op.name} belongs, in {via}",
                       lambda chain, e, g, o=other: _rule_of(o, chain, e, g))  # type: ignore[misc]  # fmt: skip
        for node in self._alike(edge.consumer, 1):
            kind, words = self._relation(node, edge.consumer)
            yield (kind, f"the derivative of {op.name} in {via} is taken at {self.called(node)} in place of {y_name}: {words}",
                   self._taken_at(edge, node))  # fmt: skip

    def _taken_at(self, edge: Edge, node: Node) -> Callable[[Chain, Edge, Any], Any]:
        shift = self._shift(edge.consumer, node)

        def slip(chain: Chain, e: Edge, g: Any) -> Any:
            other = self._shifted(e.consumer, shift)
            if other is None:
                return None
            y = chain.value(other)
            x = chain.inputs(other)[0] if other.op is e.consumer.op else y
            return chain.contribution(e, g, y, [x])

        return slip

    def _operands(self, edge: Edge, op: Op, via: str) -> Iterator[Slip]:
        """Slips in what a cotangent is multiplied with."""
        consumer = edge.consumer
        for j, operand in enumerate(consumer.inputs):
            if operand is None or j == edge.i and op.linear == "each":
                continue
            shown = self.called(operand) or formula(operand, self.chain.names)

            def complement(chain: Chain, e: Edge, g: Any, j: int = j) -> Any:
                at = chain.inputs(e.consumer)
                at[j] = 1 - at[j]
                return chain.contribution(e, g, inputs=at)

            yield Kind.NEIGHBOUR, f"1 − {shown} stands where {shown} belongs, in {via}", complement
            for node in self._alike(operand, 1, nearby=via):
                kind, words = self._relation(node, operand, nearby=via)
                shift = self._shift(operand, node, nearby=via)

                def slip(chain: Chain, e: Edge, g: Any, j: int = j, shift: Any = shift) -> Any:
                    at = chain.inputs(e.consumer)
                    where = e.consumer.inputs[j]
                    other = None if where is None else self._shifted(where, shift, nearby=self.via(e))
                    if other is None:
                        return None
                    at[j] = chain.value(other)
                    return chain.contribution(e, g, inputs=at)

                yield kind, f"{self.called(node)} stands where {shown} belongs, in {via}: {words}", slip
                yield (Kind.NO_UPSTREAM, f"the branch via {via} is the bare {self.called(node)} (not even {shown}): "
                       f"the upstream gradient must multiply {shown}",
                       lambda chain, e, g, slip=slip: slip(chain, e, _ones(g)))  # type: ignore[misc]  # fmt: skip

    def as_an_activation(self) -> Iterator[Diagnosis]:
        """Hypotheses on an activation that is written out in several stages."""
        node, called = self.segment.node, (self.called(self.segment.node) or "").removesuffix(" before activation")
        end = self.chain.nodes.get(called)
        if end is None or called == self.called(node):
            return
        table = self.segment.run(self.adjoints)
        if end not in table:
            return
        x, y, g = self.chain.value(node), self.chain.value(end), table[end]
        names = {"x": f"{self.called(node)}", "y": called}
        pieces = {"1": lambda y, x: np.ones_like(y), "{y} ⊙ (1 − {y})": lambda y, x: y * (1 - y),
                  "1 − {y}²": lambda y, x: 1 - y * y, **PIECES}  # fmt: skip
        for words, derivative in pieces.items():
            if self.fits(g * derivative(y, x)):
                kind = Kind.FORGOTTEN if words == "1" else Kind.DERIVATIVE
                yield Diagnosis(kind, f"the derivative of {called} by {names['x']} is written {words.format(**names)}", called)
        if self.fits(self.segment.at({node: y}).total(self.adjoints)):
            yield Diagnosis(Kind.ACTIVATED, f"the derivative is taken at {called}, which is activated already, not at "
                            f"{names['x']}", called)  # fmt: skip
        for other in self._alike(end, 1):
            kind, relation = self._relation(other, end)
            for words in ("{y} ⊙ (1 − {y})", "1 − {y}²"):
                if self.fits(self.expected / _nonzero(pieces[words](y, x)) * pieces[words](self.chain.value(other), x)):
                    yield Diagnosis(kind, f"the derivative of {called} is taken at {self.called(other)} in place of {called}: "
                                    f"{relation}", called)  # fmt: skip

    # --- the adjoints that it starts from --------------------------------------------------------

    def at_the_start(self) -> Iterator[Diagnosis]:
        """Hypotheses on which adjoints were put in."""
        ends = [e for e in self.segment.ends if e is not self.chain.root]
        families: dict[str, list[Node]] = {}
        for end in ends:
            families.setdefault(step_of(self.called(end)).family, []).append(end)
        groups = [g for g in families.values() if len(g) > 1] + [[e] for e in ends]
        for group in groups:
            yield from self._started(group)

    def _started(self, group: list[Node]) -> Iterator[Diagnosis]:
        first = group[0]
        everywhere = "" if len(group) == 1 else EVERYWHERE
        for other in self._alike(first, 1):
            shift = self._shift(first, other)
            found = {end: self._shifted(end, shift) for end in group}
            swapped = {end: self.adjoints[m] for end, m in found.items() if m is not self.segment.node and m in self.adjoints}
            if swapped and self.fits(self.segment.total({**self.adjoints, **swapped})):
                kind, words = self._relation(other, first)
                yield Diagnosis(kind, f"δ{self.called(other)} is passed on where δ{self.called(first)} belongs: {words}{everywhere}",
                                self.called(first) or "")  # fmt: skip
        labels = self.chain.labels(first)
        for k in range(len(labels) if len(labels) > 1 else 0):
            parts = {end: self.chain.parts(end, self.adjoints) for end in group}
            swapped = {end: p[k] for end, p in parts.items() if k < len(p)}
            if self.fits(self.segment.total({**self.adjoints, **swapped})):
                yield Diagnosis(Kind.PARTIAL, f"of δ{self.called(first)} only the part via {labels[k]} is passed on{everywhere}",
                                self.called(first) or "")  # fmt: skip

    def at_the_forks_between(self) -> Iterator[Diagnosis]:
        """Hypotheses on how contributions are put together at forks on the way, at every step."""
        families: dict[str, list[Node]] = {}
        for node in self.segment.inner:
            if self.called(node) is not None:
                families.setdefault(step_of(self.called(node)).family, []).append(node)
        for family, nodes in families.items():
            fork = max(nodes, key=lambda node: len(self.chain.edges[node]))
            for kind, sentence, put in self._meetings(fork):
                def meet(node: Node, parts: list[Any], nodes: list[Node] = nodes, put: Any = put) -> Any:
                    return put(parts) if node in nodes else None

                if self.fits(self.segment.total(self.adjoints, meet=meet)):
                    yield Diagnosis(kind, in_t(f"at {self.called(fork)} {sentence}{EVERYWHERE}", step_of(self.called(fork)).t),
                                    f"fork of {family}", (family,))  # fmt: skip

    def _meetings(self, fork: Node) -> Iterator[tuple[Kind, str, Callable[[list[Any]], Any]]]:
        edges, labels = self.chain.edges[fork], self.chain.labels(fork)
        if len(edges) < 2:
            return
        yield Kind.DOUBLED, "the adjoint is counted twice", lambda parts: 2 * sum(parts)
        yield (Kind.PRODUCT_FOR_SUM, f"the branches via {' and '.join(labels)} are multiplied; at a fork they add up",
               lambda parts: np.prod(parts, axis=0))  # fmt: skip
        for k, label in enumerate(labels):
            kind, sentence = Kind.OVERWRITTEN, f"only the branch via {label} is left: the others are missing, or '=' stands where '+=' belongs"
            if len(edges) == 2:
                kind, sentence = self._branch(edges[1 - k], 0.0)
            yield kind, sentence, lambda parts, k=k: parts[k] if k < len(parts) else None  # type: ignore[misc]

    # --- what meets at the array -----------------------------------------------------------------

    def where_they_meet(self) -> Iterator[Diagnosis]:
        """Hypotheses on how the contributions are put together."""
        node = self.segment.node
        if node is self.chain.root or type(node.value) is tuple:
            return
        parts = self.segment.parts(self.adjoints)
        labels = [self.via(e) for e in self.segment.last]
        if len(parts) < 2:
            return
        if self.fits(np.prod(parts, axis=0)):
            yield Diagnosis(Kind.PRODUCT_FOR_SUM, f"the branches via {' and '.join(labels)} are multiplied; at a fork they "
                            "add up")  # fmt: skip
        for part, label in zip(parts, labels, strict=True):
            if len(parts) > 2 and self.fits(part):
                yield Diagnosis(Kind.OVERWRITTEN, f"only the contribution via {label} is left: the others are "
                                "missing, or '=' stands where '+=' belongs", label)  # fmt: skip
        for k, (part, label) in enumerate(zip(parts, labels, strict=True)):
            for j, other in enumerate(labels):
                if j != k and self.fits(self.expected - parts[j] + part):
                    yield Diagnosis(Kind.TIME_SHIFT, f"the contribution via {label} stands in place of that via {other}",
                                    label)  # fmt: skip

    # --- relations between named nodes -------------------------------------------------------------

    def _alike(self, node: Node, reach: int, nearby: str = "") -> Iterator[Node]:
        """Named nodes of the same shape, at most so many steps away."""
        here = self._place(node, nearby)
        for step, other in self.chain.by_step.items():
            if other is node or type(other.value) is tuple or np.shape(other.value) != np.shape(node.value):
                continue
            if (step.t is None) == (here.t is None) and (step.t is None or abs(step.t - (here.t or 0)) <= reach):
                yield other

    def _place(self, node: Node, nearby: str = "") -> Step:
        step = step_of(self.called(node))
        return step if self.called(node) is not None else Step("", step_of(nearby.partition(" #")[0]).t)

    def _shift(self, node: Node, other: Node, nearby: str = "") -> tuple[str, int]:
        here, there = self._place(node, nearby), step_of(self.called(other))
        return there.family, (there.t or 0) - (here.t or 0)

    def _shifted(self, node: Node, shift: tuple[str, int], nearby: str = "") -> Node | None:
        here = self._place(node, nearby)
        return self.chain.by_step.get(Step(shift[0], None if here.t is None else here.t + shift[1]))

    def _relation(self, other: Node, node: Node, nearby: str = "") -> tuple[Kind, str]:
        """What one gets wrong who takes one node for another."""
        here, there = self._place(node, nearby), step_of(self.called(other))
        if here.family == there.family:
            return Kind.TIME_SHIFT, f"the step is off by {(there.t or 0) - (here.t or 0):+d}"
        if here.t == there.t:
            return Kind.NEIGHBOUR, "another value of the same step" if here.t is not None else "another one's value"
        return Kind.NEIGHBOUR, "another value, of another step"


def diagnose(suspect: Suspect) -> Diagnosis:
    """The first hypothesis that gives the wrong array to the tolerance of the check."""
    tried = (suspect.as_a_whole(), suspect.where_they_meet(), suspect.at_the_start(), suspect.as_an_activation(),
             suspect.at_the_forks_between(), suspect.at_the_stages())  # fmt: skip
    for hypotheses in tried:
        for found in islice(hypotheses, 1):
            return found
    return Diagnosis(Kind.UNKNOWN, "no slip that is known here gives these numbers")


def diagnose_shape(got: Array, expected: Array, name: str) -> Diagnosis:
    """Why an array of the wrong shape is wrong."""
    def same(a: Any) -> bool:
        scale = float(np.max(np.abs(expected), initial=0.0))
        return np.shape(a) == expected.shape and bool(np.all(np.abs(a - expected) <= 1e-6 * scale))

    given = f"its shape is {got.shape} where {name} has {expected.shape}"
    if same(got.T):
        return Diagnosis(Kind.TRANSPOSE, f"it is the transpose: {given}")
    if got.size == expected.size and same(got.reshape(expected.shape)):
        return Diagnosis(Kind.SHAPE, f"the numbers are right, {given}")
    for axis in range(got.ndim):
        for words, reduce in (("sum", np.sum), ("mean", np.mean)):
            for less in (reduce(got, axis=axis), reduce(got, axis=axis, keepdims=True)):
                if same(less) or less.size == expected.size and same(np.reshape(less, expected.shape)):
                    return Diagnosis(Kind.BATCH_SUM, f"the {words} over axis {axis}, the batch, is missing: {given}")
    if got.size == 1 and bool(np.isclose(got.sum(), expected.sum(), rtol=1e-6)):
        return Diagnosis(Kind.DOT, f"a dot product made one number of it: {given}")
    return Diagnosis(Kind.SHAPE, given)


def in_t(sentence: str, base: int | None) -> str:
    """With ``<t+1>`` for the steps, counted from step `base`, if there is one."""
    return sentence if base is None else counted_from(sentence, base)


PIECES: dict[str, Callable[[Any, Any], Any]] = {
    "{y}": lambda y, x: y,
    "1 − {y}": lambda y, x: 1 - y,
    "{y} ⊙ (1 + {y})": lambda y, x: y * (1 + y),
    "1 + {y}²": lambda y, x: 1 + y * y,
    "{y}²": lambda y, x: y * y,
    "(1 − {y})²": lambda y, x: (1 - y) * (1 - y),
    "{y}² ⊙ (1 − {y})": lambda y, x: y * y * (1 - y),
    "√(1 − {y}²)": lambda y, x: np.sqrt(np.abs(1 - y * y)),
    "{x} ⊙ (1 − {x})": lambda y, x: x * (1 - x),
    "1 − {x}²": lambda y, x: 1 - x * x,
    "{x}": lambda y, x: x,
}
"""What stands at times in place of a derivative, in the output y and the input x."""


def multiple(got: Any, expected: Any, allowed: float) -> float | None:
    """The number that makes `expected` into `got`; None if there is none."""
    size = float(np.vdot(expected, expected))
    if not size or not np.all(np.isfinite(got)):
        return None
    k = float(np.vdot(expected, got)) / size
    return k if np.all(np.abs(got - k * expected) <= allowed) else None


def _scaled(chain: Chain, edge: Edge, g: Any, k: float) -> Any:
    return None if type(edge.parent.value) is tuple else k * chain.contribution(edge, g)


def _ones(g: Any) -> Any:
    return tuple(map(np.ones_like, g)) if isinstance(g, (tuple, list)) else np.ones_like(g)


def _as_it_stands(chain: Chain, edge: Edge, g: Any) -> Any:
    return g if np.shape(g) == np.shape(edge.parent.value) else None


def _not_transposed(chain: Chain, edge: Edge, g: Any) -> Any:
    """W g where Wᵀ g belongs; only the square part of W can be taken for its transpose."""
    other = chain.inputs(edge.consumer)[1 - edge.i]
    c = np.array(chain.contribution(edge, g))
    if edge.i == 0:
        if np.ndim(other) == 2 and other.shape[0] == other.shape[1] == np.shape(g)[-1]:
            return g @ other
        return c.T if c.ndim == 2 and c.shape[0] == c.shape[1] else None
    m, k = other.shape
    if k < m:
        return None
    c[:m] = other[:, :m] @ g
    return c


def collapsed(c: Any, axis: int | None) -> Any:
    return np.broadcast_to(np.sum(c, axis=axis, keepdims=True), np.shape(c))


def _nonzero(a: Any) -> Any:
    return np.where(a == 0, 1, a)


def _one_column(g: Any, take: int) -> Any:
    if np.ndim(g) != 2:
        raise ValueError("no batch")
    only = np.zeros_like(g)
    only[:, take] = g[:, take]
    return only


def _end_of(chain: Chain, edge: Edge, g: Any, take: int) -> Any:
    """The first or the last part of an adjoint that a stage splits."""
    n, whole = np.shape(edge.parent.value), np.shape(g)
    axes = [axis for axis, (a, b) in enumerate(zip(n, whole, strict=False)) if a < b]
    if len(n) != len(whole) or len(axes) != 1 or any(a > b for a, b in zip(n, whole, strict=True)):
        raise ValueError("nothing is split")
    (axis,) = axes
    return np.take(g, range(n[axis]) if take == 0 else range(-n[axis], 0), axis)


def _next_to(chain: Chain, edge: Edge, g: Any, d: int) -> Any:
    """What a stage hands to another of its inputs."""
    j = edge.i + d
    return chain.contribution(Edge(edge.consumer, j), g) if 0 <= j < len(edge.consumer.inputs) else None


def bare(op: Op) -> bool:
    """Whether an op needs no parameters."""
    return all(p.kind != p.KEYWORD_ONLY or p.default is not p.empty for p in op.signature.parameters.values())


def _rule_of(other: Op, chain: Chain, edge: Edge, g: Any) -> Any:
    params = {k: p.default for k, p in other.signature.parameters.items() if p.kind == p.KEYWORD_ONLY}
    with np.errstate(all="ignore"):
        return other.cotangent(0, g, chain.value(edge.consumer), [chain.value(edge.parent)], params)
