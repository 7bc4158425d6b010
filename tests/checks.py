"""What tests of ops share: running one at a point, references by differences, the sum at forks.

The claims themselves are `minigrad.testing.claims`.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

import minigrad as mg
from minigrad.op import OPS
from minigrad.testing.case import (  # noqa: F401 (for tests to take from here)
    active,
    contract,
    cotangents,
    random_seeds,
    raw_rules,
    recorded,
    rng_of,
    rule_of,
    same_bits,
    samples_of,
    unbroadcast,
)
from minigrad.testing.claims import broadcasting, is_elementwise_binary  # noqa: F401
from minigrad.testing.continued import continued
from minigrad.testing.stage import tupled  # noqa: F401

DIFFERENTIABLE = [op for op in OPS.values() if op.differentiable]

CHECKED = [op for op in DIFFERENTIABLE if op.name not in ("pick", "recomputed")]
"""All but two stages that only the engine makes: they have no samples."""


def close(got, want, rtol, what=""):
    """Equal to `rtol` of the largest number around: no element is asked for more digits than
    the sum it came from has."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, wanted {want.shape}"
    scale = 1 + np.max(np.abs(want), initial=0)
    error = np.max(np.abs(got - want), initial=0)
    assert error <= rtol * scale, f"{what}: off by {error:.3g} (scale {scale:.3g})"


def numeric_gradient(scalar, xs, analytic):
    """d scalar(xs) / d xs[k] for each k, element by element; `scalar` takes plain arrays."""
    out = []
    for k, x in enumerate(xs):
        d = np.zeros(x.shape)
        for index in np.ndindex(x.shape):
            def at(step, k=k, x=x, index=index):
                moved = np.array(x, dtype=complex if analytic else float)
                moved[index] += step
                moved = continued(moved)
                return scalar([*xs[:k], moved, *xs[k + 1:]])  # fmt: skip

            if analytic:
                d[index] = np.imag(at(1e-30j)) / 1e-30
            else:
                h = 2e-4
                d[index] = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
        out.append(d)
    return out


def slightly_off(op, i, factor):
    """The op with the rule for input i multiplied by `factor`."""

    def scaled(c):
        return tuple(map(scaled, c)) if isinstance(c, tuple) else c * factor

    def wrong(rule):
        return lambda *args, **params: scaled(rule(*args, **params))

    rules = tuple(wrong(r) if r is not None and (op.variadic or k == i) else r for k, r in enumerate(op.rules))
    return dataclasses.replace(op, rules=rules)


def check_forks(rng=None):
    """Random graphs full of forks against the sum over all paths, in integers: exact."""
    rng = rng or np.random.default_rng(5)
    for _ in range(20):
        values, parents = [mg.tensor(1.0, requires_grad=True)], [()]
        for _ in range(12):
            a, b = (int(k) for k in rng.integers(0, len(values), 2))
            values.append(values[a] + 3.0 * values[b])
            parents.append(((a, 1), (b, 3)))
        values[-1].backward()

        def paths(k, to=0, parents=parents):
            return int(k == to) + sum(w * paths(p, to, parents) for p, w in parents[k] if p >= to)

        assert values[0].grad is not None
        assert values[0].grad.item() == paths(len(values) - 1)
    x = mg.tensor(np.arange(4.0), requires_grad=True)  # the third contribution is added in place
    y = x * 2.0
    (y + y * 3.0 + y * 5.0 + y * 7.0).backward(np.ones(4))
    assert x.grad.data.tolist() == [32.0] * 4
    assert math.isclose(mg.grad(lambda x: x * x * x)(2.0).item(), 12.0)
