"""`check_grads`: a function's derivatives against a witness that shares no code with them.

The engine's derivatives are computed once more on the recorded graph in extended precision,
and compared along random directions with what `Witness` finds.  There rounding is a thousand
times smaller than in double precision, so that an error of 1e-13 in a rule stands out and
rounding never does.  Directions lean on the gradient itself, so that nothing cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..boundary import SCALARS
from ..errors import ArgumentError, lesson
from ..functional import Call
from ..graph import Node
from ..mode import enable_grad
from ..tensor import Tensor, apply, constant, handle_of, pull, tensor
from ..tree import flatten
from .report import Census, GradientError, Report, census_of
from .stage import EXTENDED, ORACLES, drawn, extended, places_of, tupled
from .witness import Witness, draws

DRAWS = 3
PERTURBED = 6
"""At so many points nearby is rounding measured, where a comparison fails."""
NEARBY = 1e-7
"""How far they lie away, relative."""
DIFFERENCES = 1e-11
"""What is asked of a comparison with difference quotients, relative."""
DOUBLE = 2.0**-52


def check_grads(
    f: Callable[..., Any],
    *args: Any,
    order: int = 2,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> Report:
    """Check a function's derivatives at a point.

    Parameters
    ----------
    f : callable
        Takes trees of arrays, tensors and Modules; returns a tree of tensors.
    *args
        The point.  Every float argument is differentiated; others are passed on.
    order : int
        Up to which derivative.
    seed : int
        Of the random cotangents and directions.
    names : sequence of str, optional
        What messages call the arguments.

    Returns
    -------
    Report

    Raises
    ------
    GradientError
        A derivative is wrong: which argument, which entries, what was expected, and the
        stages whose rule is wrong by itself.
    ArgumentError
        There is nothing to differentiate.

    Notes
    -----
    The witness chooses for each stage what is strongest: the stage itself where it is linear,
    an independent `jvp`, the complex step where it is analytic, differences on one side of every
    kink elsewhere, exact where the stage is straight there and extrapolated where it is not.
    A stage that stands at a kink is reported, not judged.
    """
    positions = tuple(k for k, arg in enumerate(args) if _differentiable(arg))
    if not positions:
        raise ArgumentError(lesson("check_grads", "no argument has a float dtype", "at least one",
                                   "pass arrays of floats, for instance x.astype(np.float64)"))  # fmt: skip
    call = Call(f, args, positions, {})
    outputs = [y for y in call.outputs if y.requires_grad]
    labels = _labels(args, positions, names)
    if not outputs:
        raise ArgumentError(lesson("check_grads", "the result depends on no argument through recorded stages",
                                   "a tensor made from the arguments"))  # fmt: skip
    return _Check([y._node for y in outputs], [x._node for x in call.leaves], labels, seed).run(
        order
    )


def _differentiable(arg: Any) -> bool:
    leaves = flatten(arg)[0]
    return bool(leaves) and all(
        np.asarray(x.data if isinstance(x, Tensor) else x).dtype.kind == "f"
        for x in leaves
        if x is not None
    )


def _labels(
    args: Sequence[Any], positions: Sequence[int], names: Sequence[str] | None
) -> list[str]:
    labels = []
    for k in positions:
        name = names[k] if names else f"argument {k}"
        leaves, _, _ = flatten(args[k])
        if len(leaves) == 1:
            labels.append(name)
        elif hasattr(args[k], "named_parameters"):
            labels += [f"{name}.{key}" for key in args[k].named_parameters()]
        else:
            labels += [f"{name}, leaf {j}" for j in range(len(leaves))]
    return labels


class Engine:
    """The engine's side: the recorded stages applied anew, to tensors in extended precision."""

    def __init__(self, witness: Witness, leaves: list[Node]) -> None:
        self.tensors: dict[Node, Any] = {}
        self.eps = float(np.finfo(EXTENDED).eps)
        self.leaves = [self._leaf(node, witness.values[node]) for node in leaves]
        try:
            self._apply(witness)
        except (TypeError, ValueError):  # LAPACK and SciPy know no extended precision
            self.eps, self.tensors = DOUBLE, {}
            self.leaves = [
                self._leaf(node, np.asarray(witness.values[node], np.float64)) for node in leaves
            ]
            self._apply(witness)
        self.outputs = [self.tensors[node] for node in witness.outputs]

    def _leaf(self, node: Node, value: Any) -> Tensor:
        leaf = tensor(value, requires_grad=True)
        self.tensors[node] = leaf
        return leaf

    def _apply(self, witness: Witness) -> None:
        wide = EXTENDED if self.eps < DOUBLE else np.float64
        known = set(self.tensors)
        with enable_grad():
            for node in witness.stages:
                if node in known:
                    continue
                if node.op is None or draws(node):
                    self.tensors[node] = tuple(map(_constant(wide), node.value)) if isinstance(node.value, tuple) \
                        else _constant(wide)(node.value)  # fmt: skip
                elif node.op.name == "pick":
                    self.tensors[node] = self.tensors[node.inputs[0]][node.params["i"]]  # type: ignore[index]
                else:
                    assert node.values is not None
                    inputs = [_constant(wide)(v) if p is None else self.tensors[p]
                              for p, v in zip(node.inputs, node.values, strict=True)]  # fmt: skip
                    params = dict(node.params)
                    if params.get("dtype") is not None and np.dtype(params["dtype"]).kind == "f":
                        params["dtype"] = np.dtype(wide)
                    self.tensors[node] = apply(node.op, tuple(inputs), params)

    def gradient(self, seeds: list[Any]) -> list[Any]:
        """Of the outputs contracted with `seeds`, one array for each leaf."""
        return [np.asarray(c) for c in self._pull(seeds, record=False)]

    def _pull(self, seeds: list[Any], *, record: bool) -> list[Any]:
        live = [(y, s if isinstance(s, Tensor) else np.asarray(s, y.dtype))
                for y, s in zip(self.outputs, seeds, strict=True) if y.requires_grad]  # fmt: skip
        if not live:
            return [np.zeros(x.shape, x.dtype) for x in self.leaves]
        found = pull(
            [y for y, _ in live],
            [s for _, s in live],
            wanted={x._node for x in self.leaves},
            record=record,
        )
        return [
            found[x._node][0] if x._node in found else np.zeros(x.shape, x.dtype)
            for x in self.leaves
        ]

    def second(self, seeds: list[Any], weights: list[Any]) -> tuple[list[Any], list[Any]]:
        """The gradient of <weights, gradient>, for each leaf and for each seed."""
        tracked = [
            tensor(np.asarray(s, y.dtype), requires_grad=True)
            for s, y in zip(seeds, self.outputs, strict=True)
        ]
        first = self._pull(tracked, record=True)
        wanted = [*self.leaves, *tracked]
        live = [(g, np.asarray(u, g.dtype)) for g, u in zip(first, weights, strict=True)
                if isinstance(g, Tensor) and g.requires_grad]  # fmt: skip
        if not live:
            zeros = [np.zeros(x.shape, x.dtype) for x in wanted]
        else:
            found = pull(
                [g for g, _ in live], [u for _, u in live], wanted={x._node for x in wanted}
            )
            zeros = [
                np.asarray(found[x._node][0]) if x._node in found else np.zeros(x.shape, x.dtype)
                for x in wanted
            ]
        return zeros[: len(self.leaves)], zeros[len(self.leaves) :]


def _constant(wide: Any) -> Callable[[Any], Any]:
    def widen(value: Any) -> Any:
        if type(value) in SCALARS:
            return value
        array = np.asarray(value)
        return constant(array.astype(wide) if array.dtype.kind == "f" else np.array(array))

    return widen


class _Check:
    """One call of `check_grads`."""

    def __init__(
        self, outputs: list[Node], leaves: list[Node], labels: list[str], seed: int
    ) -> None:
        self.seed, self.rng, self.labels, self.leaves = (
            seed,
            np.random.default_rng(seed),
            labels,
            leaves,
        )
        self.native = outputs
        self.detectable = 0.0
        self.oracles: set[str] = set()
        self.kinks: list[str] = []
        self.witness = self._witness(outputs)
        self.engine = Engine(self.witness, leaves)

    def _witness(self, outputs: list[Node]) -> Witness:
        """A witness that knows every leaf, those too that nothing reaches."""
        witness = Witness(outputs)
        for leaf in self.leaves:
            witness.values.setdefault(leaf, extended(leaf.value))
        return witness

    def run(self, order: int) -> Report:
        wrong: list[Census] = []
        for n in range(1, order + 1):
            if n > 2:
                self._differentiate()
            wrong = self._first(n) if n == 1 else self._second(n)
            if wrong:
                message = "\n".join(map(str, wrong))
                raise GradientError(f"check_grads: {message}", tuple(wrong))
        return Report(
            True,
            self._oracle(),
            self.detectable,
            self.seed,
            order,
            tuple(dict.fromkeys(self.kinks)),
        )

    def _differentiate(self) -> None:
        """Go on with the gradient, contracted with random cotangents, as the function."""
        seeds = [
            constant(np.asarray(s, y.dtype))
            for s, y in zip(self._seeds(), self.engine.outputs, strict=True)
        ]
        found = [
            g
            for g in self.engine._pull(seeds, record=True)
            if isinstance(g, Tensor) and g.requires_grad
        ]
        leaves = [x._node for x in self.engine.leaves]
        self.leaves = leaves
        self.witness = self._witness([g._node for g in found])
        self.engine = Engine(self.witness, leaves) if found else self.engine

    # --- one order ---

    def _first(self, order: int) -> list[Census]:
        seeds = self._seeds()
        got = self.engine.gradient(seeds)

        def along(k: int, t: Any) -> tuple[Any, Any]:
            dots = self.witness.push({self.leaves[k]: t})
            pairs = [
                (s, dots[n]) for s, n in zip(seeds, self.witness.outputs, strict=True) if n in dots
            ]
            return sum((np.sum(s * d) for s, d in pairs), EXTENDED(0)), self._scale(dots, table)

        def again(k: int) -> Any:
            return self.engine.gradient(seeds)[k]

        table, _ = self.witness.sweep(seeds)
        found = [
            c
            for k in range(len(self.leaves))
            if (c := self._leaf(k, order, got[k], along, again)) is not None
        ]
        return found or self._native(seeds, got)

    def _second(self, order: int) -> list[Census]:
        seeds, weights = self._seeds(), [self._random(self.witness.values[x]) for x in self.leaves]
        got, by_seed = self.engine.second(seeds, weights)
        moved_seeds = [self._random(s) for s in seeds]

        def along(k: int, t: Any) -> tuple[Any, Any]:
            dots = self.witness.push({} if k < 0 else {self.leaves[k]: t})
            start = moved_seeds if k < 0 else None
            table, moving = self.witness.sweep(seeds, dots, start)
            pairs = [
                (u, moving[x]) for u, x in zip(weights, self.leaves, strict=True) if x in moving
            ]
            scale = max(map(_largest, (*table.values(), *moving.values())), default=0.0)
            return sum((np.sum(u * d) for u, d in pairs), EXTENDED(0)), scale

        def again(k: int) -> Any:
            return self.engine.second(seeds, weights)[0][k]

        found = [
            c
            for k in range(len(self.leaves))
            if (c := self._leaf(k, order, got[k], along, again)) is not None
        ]
        if not found:
            expected, scale = along(-1, None)
            actual = sum(
                (np.sum(s * g) for s, g in zip(moved_seeds, by_seed, strict=True)), EXTENDED(0)
            )
            if abs(expected - actual) > self._tolerance(actual, scale):
                found = [
                    self._census(
                        "the cotangent", order, [((), float(expected), float(actual))], 1, 1, 1
                    )
                ]
        return found

    def _leaf(
        self,
        k: int,
        order: int,
        got: Any,
        along: Callable[[int, Any], Any],
        again: Callable[[int], Any],
    ) -> Census | None:
        """Compare the gradient of leaf k with the witness, along a few directions."""
        for draw in range(DRAWS):
            t = self._random(got)
            if draw == 0:
                t = np.abs(t) * np.where(got < 0, -1, 1)
            before = len(self.witness.kinks)
            expected, scale = along(k, t)
            if len(self.witness.kinks) > before or self.witness.kinks:
                self.kinks += [f"{n.label}" for n in self.witness.kinks]
                self.witness.kinks.clear()
                continue
            actual, mass = np.sum(got * t), np.sum(np.abs(got * t))
            tolerance = self._tolerance(mass, scale)
            self.detectable = (
                max(self.detectable, float(tolerance / mass))
                if mass and draw == 0
                else self.detectable
            )
            off = expected - actual
            if abs(off) <= tolerance:
                continue
            noise = self._noise(k, t, off, along, again)
            if not abs(off) <= tolerance + noise:
                return self._explain(k, order, got, along)
            if mass:
                self.detectable = max(self.detectable, float((tolerance + noise) / mass))
        return None

    def _noise(
        self,
        k: int,
        t: Any,
        off: Any,
        along: Callable[[int, Any], Any],
        again: Callable[[int], Any],
    ) -> Any:
        """How far rounding moves the difference of the two: what cancels inside a stage is not
        seen from outside.  At points a little away, rounding differs and a wrong rule does not."""
        before = self.witness, self.engine
        spread = []
        for _ in range(PERTURBED):
            moved = {
                x: v * (1 + NEARBY * self.rng.uniform(-1, 1, np.shape(v)))
                for x in self.leaves
                for v in [before[0].values[x]]
            }
            self.witness = Witness(before[0].outputs, moved)
            self.engine = Engine(self.witness, self.leaves)
            spread.append(abs(along(k, t)[0] - np.sum(again(k) * t) - off))
            self.witness, self.engine = before
        return 6 * max(spread) if np.isfinite(spread).all() else EXTENDED(0)

    def _tolerance(self, mass: Any, scale: Any) -> Any:
        """What rounding may do to a contraction whose terms add up to `mass` in magnitude, in a
        pass with contractions as large as `scale`."""
        noise = 200.0
        relative = max(2e-15 if self.engine.eps < DOUBLE else 2e-14, 20 * self.witness.error)
        if "differences" in self.witness.oracles:
            relative = max(relative, DIFFERENCES)
            noise = 1e5  # of a quotient: rounding over the shortest step
        # subnormal results have no relative precision to speak of
        return (
            relative * abs(mass)
            + (noise * self.engine.eps + 20 * self.witness.error) * scale
            + 1e-290
        )

    def _scale(self, dots: Any, table: Any) -> float:
        """The largest contraction of a cotangent with a tangent at any stage; where a library
        computes in double precision, of all magnitudes, for what cancels inside."""
        largest = 0.0
        for node in table:
            if node in dots:
                pairs = zip(tupled(_t(table[node])), tupled(_t(dots[node])), strict=True)
                largest = max(largest, float(sum(np.sum(np.abs(a * b)) for a, b in pairs)))
        if self.engine.eps < DOUBLE:
            return largest
        return max(
            largest, 0.1 * max(map(_largest, table.values())) * max(map(_largest, dots.values()))
        )

    def _native(self, seeds: list[Any], got: list[Any]) -> list[Census]:
        """The gradient in the arguments' own dtype, against the one in extended precision."""
        handles = [
            (n, np.asarray(s, n.value.dtype)) for n, s in zip(self.native, seeds, strict=True)
        ]
        found = pull(
            [handle_of(n) for n, _ in handles], [s for _, s in handles], wanted=set(self.leaves)
        )
        table, _ = self.witness.sweep(seeds)
        largest = max(map(_largest, table.values()), default=0.0)
        wrong = []
        for k, leaf in enumerate(self.leaves):
            g = np.asarray(found[leaf][0]) if leaf in found else np.zeros(np.shape(leaf.value))
            eps = float(np.finfo(leaf.value.dtype).eps)
            size = max(float(np.max(np.abs(got[k]), initial=0)), largest)
            if g.shape != np.shape(leaf.value) or not np.all(
                np.abs(g - got[k]) <= 1e5 * eps * size
            ):
                worst, count = census_of(got[k], g, 1e5 * eps * size)
                wrong.append(self._census(self.labels[k], 1, worst, count, g.size, g.size,
                                          notes=(f"computed in {leaf.value.dtype}",)))  # fmt: skip
        return wrong

    # --- explaining ---

    def _explain(self, k: int, order: int, got: Any, along: Callable[[int, Any], Any]) -> Census:
        """Entry by entry, and stage by stage."""
        places = places_of(self.rng, np.shape(got))
        expected, actual = [], []
        for place in places:
            e = np.zeros(np.shape(got), EXTENDED)
            e[place] = 1
            expected.append(along(k, e)[0])
            actual.append(got[place])
        size = np.max(np.abs(expected), initial=0)
        worst, wrong = census_of(expected, actual, float(self._tolerance(size, size)))
        named = [(places[j[0]], want, have) for j, want, have in worst]
        return self._census(
            self.labels[k], order, named, wrong, len(places), int(np.size(got)), self._guilty()
        )

    def _guilty(self) -> tuple[str, ...]:
        """Stages whose rule is not the transpose of how the stage itself moves."""
        found: dict[str, None] = {}
        witness = self.witness
        for node in witness.stages:
            if node.op is None or not node.requires_grad or draws(node) or node.op.name == "pick":
                continue
            value = witness.values[node]
            g = [self._random(part) for part in tupled(value)]
            for i, parent in enumerate(node.inputs):
                if parent is None or not parent.requires_grad or not node.op.passes(i):
                    continue
                t = self._random(witness.values[parent])
                alone = [t if j == i else None for j in range(len(node.inputs))]
                moved = witness.moved(node, alone)
                if moved.kink:
                    continue
                want = sum(np.sum(a * b) for a, b in zip(g, moved.parts, strict=True))
                c = witness.contribution(node, i, g if isinstance(value, tuple) else g[0])
                have, mass = np.sum(c * t), np.sum(np.abs(c * t))
                if not abs(want - have) <= max(1e-14, 20 * moved.error) * mass + 1e-290:
                    found[f"the rule of {node.label} for input {i} is wrong by itself"] = None
        return tuple(found)

    def _census(self, label: str, order: int, worst: Any, wrong: int, compared: int, total: int,
                stages: tuple[str, ...] = (), notes: tuple[str, ...] = ()) -> Census:  # fmt: skip
        return Census(label, order, worst, wrong, compared, total, stages, self.detectable, self._oracle(),
                      self.seed, notes)  # fmt: skip

    # --- random numbers ---

    def _seeds(self) -> list[Any]:
        return [self._random(self.witness.values[n]) for n in self.witness.outputs]

    def _random(self, like: Any) -> Any:
        return drawn(self.rng, like)

    def _oracle(self) -> str:
        found = self.witness.oracles | self.oracles
        ranked = [o for o in ORACLES if o in found]
        return ", ".join(ranked or ["nothing that moves"]) + (
            " in extended precision" if self.engine.eps < DOUBLE else " in double precision")  # fmt: skip


def _t(c: Any) -> Any:
    return tuple(c) if isinstance(c, list) else c


def _largest(c: Any) -> float:
    """The largest finite magnitude."""
    return max(
        float(np.max(np.abs(np.where(np.isfinite(p), p, 0)), initial=0)) for p in tupled(_t(c))
    )
