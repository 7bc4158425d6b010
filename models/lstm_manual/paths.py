"""Every path by itself: from a parameter through the blocks to one block's error.

The chain rule before anything is summed at a fork: a path contributes the product of the local
derivatives along it, and the gradient is the sum over all paths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .arrays import BIASES, WEIGHTS, Array, check_shapes

MOST, MOST_OF_NUMBERS = 4, 7
"""So many blocks at most; the second where the state is a single number."""


class Factor(NamedTuple):
    """The local derivative of a node with respect to one that it is computed from.

    Attributes
    ----------
    of, by : str
        ``c<2>`` and ``Γ_f<2>`` for ∂c<2>/∂Γ_f<2>.
    formula : str
        ``c<1>``.
    value : ndarray
        What multiplies the adjoint of `of`: elementwise between nodes of one shape; W_g's columns
        for a<t-1> or x<t>, whose transpose is applied; z<t> for W_g, an outer product; 1 for b_g.
    """

    of: str
    by: str
    formula: str
    value: Array

    def pull(self, adjoint: Array) -> Array:
        """From the adjoint of `of` to what it contributes to that of `by`."""
        if self.of.startswith("sum_"):
            if self.by in WEIGHTS:
                return adjoint @ self.value.T
            return adjoint.sum(axis=1) if self.by in BIASES else self.value.T @ adjoint
        return adjoint * self.value


class Path(NamedTuple):
    """One way from a parameter, an input or the initial state to one block's error.

    Attributes
    ----------
    factors : tuple of Factor
        Its local derivatives, from the error back.
    product : ndarray
        What this path contributes to the gradient, in the shape of what it starts from.
    """

    factors: tuple[Factor, ...]
    product: Array

    @property
    def nodes(self) -> tuple[str, ...]:
        """``W_f``, ``sum_f<1>``, ``Γ_f<1>``, ``c<1>``, ``c<2>``, ``a<2>``, ``Error<2>``."""
        return (*(factor.by for factor in reversed(self.factors)), self.factors[0].of)

    def __str__(self) -> str:
        return " → ".join(self.nodes)


def per_path(cache: Mapping[str, Array], d_outputs: ArrayLike) -> dict[str, Array]:
    """The gradients as sums over all paths.

    Parameters
    ----------
    cache, d_outputs
        As for `backward`; at most 4 blocks, or 7 if n_a = 1.

    Returns
    -------
    dict
        The eight parameters, "a<0>", "c<0>" and "x".

    Notes
    -----
    Nothing is shared between paths and no fork sums anything, so this knows nothing of the recursion
    that `backward` is, but for the local derivatives.
    """
    check_shapes(*cache["outputs"].shape, d_outputs=d_outputs)
    grads = {name: np.zeros_like(cache[name]) for name in (*WEIGHTS, *BIASES, "a<0>", "c<0>")}
    T = len(cache["outputs"])
    grads |= {f"x<{t}>": np.zeros_like(cache[f"x<{t}>"]) for t in range(1, T + 1)}
    for path in paths(cache, d_outputs):
        grads[path.nodes[0]] += path.product
    grads |= {name: grads[name].T.copy() for name in ("a<0>", "c<0>")}
    return grads | {"x": np.stack([grads.pop(f"x<{t}>").T for t in range(1, T + 1)])}


def paths(cache: Mapping[str, Array], d_outputs: ArrayLike, name: str | None = None) -> Iterator[Path]:
    """Every path from `name` to an error, or from every start if there is no name.

    Parameters
    ----------
    cache, d_outputs
        As for `backward`; at most 4 blocks, or 7 if n_a = 1.
    name
        A parameter, "a<0>", "c<0>" or an input "x<t>".

    Yields
    ------
    Path
        First those that lead to Error<1>, last those to Error<T>.

    Raises
    ------
    ValueError
        There are too many blocks, or no such start.
    """
    own = np.asarray(d_outputs)
    T, B, n_a = cache["outputs"].shape
    check_shapes(T, B, n_a, d_outputs=own)
    limit = MOST if n_a > 1 else MOST_OF_NUMBERS
    if limit < T:
        raise ValueError(
            f"per_path: T = {T} blocks have {count_paths(T, 'W_f'):,} paths from W_f alone, almost five "
            f"times as many with each further block; at most T = {MOST}, or {MOST_OF_NUMBERS} if "
            f"n_a = 1; `backward` sums at every fork and takes any T"
        )
    starts = {*WEIGHTS, *BIASES, "a<0>", "c<0>", *(f"x<{t}>" for t in range(1, T + 1))}
    if name is not None and name not in starts:
        raise ValueError(f"paths: no path starts at {name!r}; one of {', '.join(sorted(starts))}")
    local: dict[str, list[Factor]] = {}
    for t in range(1, T + 1):
        for factor in _local_derivatives(cache, t):
            local.setdefault(factor.of, []).append(factor)

    def back(node: str, adjoint: Array, factors: tuple[Factor, ...]) -> Iterator[Path]:
        for factor in local[node]:
            if factor.by in local:
                yield from back(factor.by, factor.pull(adjoint), (*factors, factor))
            elif name in (None, factor.by):
                yield Path((*factors, factor), factor.pull(adjoint))

    for t in range(1, T + 1):
        error = Factor(f"Error<{t}>", f"a<{t}>", f"dError<{t}>/da<{t}>", own[t - 1].T)
        yield from back(error.by, error.value, (error,))


def count_paths(T: int, name: str) -> int:
    """How many paths lead from `name` to the errors of T blocks.

    Notes
    -----
    From a<t> one path ends in Error<t>, three gates lead to c<t+1> and one to a<t+1>; from c<t> one
    leads to a<t> and one to c<t+1>.  A parameter enters in every block, at c<t> or, by Γ_o, at a<t>::

        P_a(t) = 1 + 3 P_c(t+1) + P_a(t+1)      P_c(t) = P_a(t) + P_c(t+1)
    """
    of_a = of_c = 0
    total: dict[str, int] = {"c": 0, "o": 0}
    for t in range(T, 0, -1):
        of_z = 3 * of_c + of_a
        of_a = 1 + of_z
        of_c += of_a
        total["c"] += of_c
        total["o"] += of_a
        if name == f"x<{t}>":
            return 3 * of_c + of_a
    if name in ("a<0>", "c<0>"):
        return 3 * of_c + of_a if name == "a<0>" else of_c
    return total["o" if name[-1] == "o" else "c"]


def _local_derivatives(cache: Mapping[str, Array], t: int) -> Iterator[Factor]:
    """Every factor of block t, each the derivative of one of its equations."""
    n_a = len(cache["b_f"])
    Γ_f, Γ_u, Γ_o = (cache[f"Γ_{g}<{t}>"] for g in "fuo")
    c̃, tanh_c = cache[f"c̃<{t}>"], cache[f"tanh_c<{t}>"]
    a, c, before = f"a<{t}>", f"c<{t}>", f"c<{t - 1}>"

    yield Factor(a, c, f"Γ_o<{t}> (1 − tanh_c<{t}>²)", Γ_o * (1 - tanh_c**2))
    yield Factor(a, f"Γ_o<{t}>", f"tanh_c<{t}>", tanh_c)
    yield Factor(c, f"Γ_f<{t}>", before, cache[before])
    yield Factor(c, f"Γ_u<{t}>", f"c̃<{t}>", c̃)
    yield Factor(c, f"c̃<{t}>", f"Γ_u<{t}>", Γ_u)
    yield Factor(c, before, f"Γ_f<{t}>", Γ_f)
    for g, Γ in zip("fuo", (Γ_f, Γ_u, Γ_o), strict=True):
        yield Factor(f"Γ_{g}<{t}>", f"sum_{g}<{t}>", f"Γ_{g}<{t}> (1 − Γ_{g}<{t}>)", Γ * (1 - Γ))
    yield Factor(f"c̃<{t}>", f"sum_c<{t}>", f"(1 − c̃<{t}>²)", 1 - c̃**2)
    for g in "fuco":
        W = cache[f"W_{g}"]
        yield Factor(f"sum_{g}<{t}>", f"W_{g}", f"z<{t}>", cache[f"z<{t}>"])
        yield Factor(f"sum_{g}<{t}>", f"b_{g}", "1", np.ones_like(cache[f"b_{g}"]))
        yield Factor(f"sum_{g}<{t}>", f"a<{t - 1}>", f"W_{g}[:, :{n_a}]", W[:, :n_a])
        yield Factor(f"sum_{g}<{t}>", f"x<{t}>", f"W_{g}[:, {n_a}:]", W[:, n_a:])
