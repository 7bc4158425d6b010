"""Chunk after chunk: what a chunk of blocks hands to the one before it, and what the paper hands on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from .arrays import BIASES, WEIGHTS, Array, State, check_shapes
from .block import backward, forward

Adjoints = dict[str, Array]
HandOn = Callable[[Mapping[str, Array], Adjoints], tuple[Array, Array]]


def chunked(
    cache: Mapping[str, Array],
    d_outputs: ArrayLike,
    d_state: State | None = None,
    *,
    length: int,
    truncate: bool = False,
) -> Adjoints:
    """`backward`, a chunk of blocks at a time; of the values only the states between chunks are read.

    Parameters
    ----------
    cache, d_outputs, d_state
        As for `backward`.
    length
        Blocks in a chunk; the last one may be shorter.
    truncate
        Hand nothing on: truncated BPTT, the gradient where the state between chunks counts as
        given.  It is another gradient, and "a<0>" and "c<0>" are those of the first chunk.

    Returns
    -------
    dict
        The eight parameters, "a<0>", "c<0>" and "x"; and what each chunk hands on, by the
        names of the branches: "a<5> via z<6>" and "c<5> via c<6>".

    Notes
    -----
    Blocks s+1 ... e know of everything after them through two arrays only, the adjoints that block
    e+1 has for a<e> and c<e>.  The values inside a chunk are computed again from a<s> and c<s>,
    so that no more than a chunk of them need exist at a time.
    """
    if length < 1:
        raise ValueError(f"chunked: length = {length}; a chunk has at least 1 block")

    def hand_on(_: Mapping[str, Array], adjoints: Adjoints) -> tuple[Array, Array]:
        return adjoints["a<0>"], adjoints["c<0>"]

    grads, handed = _chunk_by_chunk(cache, d_outputs, d_state, length, hand_on, truncate)
    for s, (d_a, d_c) in handed.items():
        if s > 0 and not truncate:
            grads |= {f"a<{s}> via z<{s + 1}>": d_a.T, f"c<{s}> via c<{s + 1}>": d_c.T}
    return grads


def document_literal(cache: Mapping[str, Array], d_outputs: ArrayLike) -> Adjoints:
    """WRONG on purpose: the gradients by the c fork as Kang & Seo print it.

    Every block is right by itself, but what it hands to the block before it for c<t-1> is
    the local derivative ∂c<t>/∂c<t-1> = Γ_f<t> where dError/dc<t-1> = δc<t> ⊙ Γ_f<t>
    belongs.  A single block cannot show it; with a zero state, two cannot in W_f and W_o.

    Parameters
    ----------
    cache, d_outputs
        As for `backward`.

    Returns
    -------
    dict
        The eight parameters, "a<0>", "c<0>" and "x".
    """

    def hand_on(block: Mapping[str, Array], adjoints: Adjoints) -> tuple[Array, Array]:
        return adjoints["a<0>"], block["Γ_f<1>"].T  # the slip

    return _chunk_by_chunk(cache, d_outputs, None, 1, hand_on)[0]


def _chunk_by_chunk(
    cache: Mapping[str, Array],
    d_outputs: ArrayLike,
    later: State | None,
    length: int,
    hand_on: HandOn,
    truncate: bool = False,
) -> tuple[Adjoints, dict[int, tuple[Array, Array]]]:
    """The gradients, and what is handed on to block s from block s+1, for the first block of each chunk."""
    own = np.asarray(d_outputs)
    T, B, n_a = cache["outputs"].shape
    check_shapes(T, B, n_a, d_outputs=own)
    params = {name: cache[name] for name in WEIGHTS + BIASES}
    grads = {name: np.zeros_like(value) for name, value in params.items()}
    handed: dict[int, tuple[Array, Array]] = {}
    d_x: list[Array] = []
    for s in range((T - 1) // length * length, -1, -length):
        e = min(s + length, T)
        x = np.stack([cache[f"x<{t}>"].T for t in range(s + 1, e + 1)])
        chunk = forward(params, x, cache[f"a<{s}>"].T, cache[f"c<{s}>"].T)
        adjoints = backward(chunk, own[s:e], later)
        for name in params:
            grads[name] += adjoints[name]
        d_x = [adjoints["x"], *d_x]
        handed[s] = hand_on(chunk, adjoints)
        later = None if truncate else handed[s]
    return grads | {"a<0>": handed[0][0], "c<0>": handed[0][1], "x": np.concatenate(d_x)}, handed
