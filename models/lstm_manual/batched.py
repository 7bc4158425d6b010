"""The derivation for speed: the blocks of a batch in few large operations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from .arrays import Array, Params, State, check_shapes, common_dtype

# The layout of the batched form, see `forward_batched`: the rows of `values` ...
TANH_C, C, C_TILDE, GATE_F, GATE_U, GATE_O = range(6)
SUMS = slice(C_TILDE, GATE_O + 1)
SIGMOIDS = slice(GATE_F, GATE_O + 1)
# ... and the pairs of rows that go through the same arithmetic together.
C_AND_C_TILDE, F_AND_U = slice(C, C_TILDE + 1), slice(GATE_F, GATE_U + 1)
O_AND_U = slice(GATE_O, GATE_F, -1)
GATES = "cfuo"  # of the weights, too

# So many numbers per row of `values` are worked on at once in `_slopes`; the dozen or so rows that
# takes should stay in a processor's second-level cache.
IN_CACHE = 1 << 15
# Up to this size of W_a, a product for each gate and a sum beat one product for all, unless
# the states are so few numbers that a call costs more than its arithmetic.
WEIGHTS_IN_CACHE, FEW = 1 << 16, 1 << 10
# From this size of all weights on, `forward_batched` takes what it can before its loop.
LARGE = 1 << 20


def forward_batched(params: Params, x: ArrayLike, a0: ArrayLike, c0: ArrayLike) -> dict[str, Array]:
    """`forward` for speed: the same arguments, and a cache for `backward_batched`.

    Returns
    -------
    dict
        "outputs" (T, B, n_a), read-only, and what `backward_batched` needs.

    Notes
    -----
    Sequences stay as they come, row-wise: what a column z<t> is in the formulas is here a row
    [a<t-1>, x<t>, 1] of `z` (T+1, B, n_a + n_x + 1).  The 1 makes the bias one more column
    of the weights.  a<t> is written straight into its place in `z`, so `z` is the list of
    outputs, and all that the gradient of the weights needs is there in one matrix.

    Small weights multiply the whole of z<t>: one product a step that is added to nothing.  For
    large ones that is dear, as each step reads them from memory: there the product with
    [x<t>, 1], which need not wait for block t-1, is taken for all blocks at once beforehand.

    `values` (6, T+1, B, n_a) has a row for each of tanh_c, c, c̃, Γ_f, Γ_u, Γ_o, with c<t-1>
    where the others have t.  The sums of the gates stand together, so one call of tanh runs over
    all of them, σ being (1 + tanh(x/2)) / 2 with that x/2 folded into the weights.  And as c is
    next to c̃ like Γ_f to Γ_u, both products of c<t> = c<t-1> ⊙ Γ_f + c̃ ⊙ Γ_u are one call.
    """
    dtype = common_dtype(params, x, a0, c0)
    inputs = np.asarray(x, dtype)
    T, B, n_x = inputs.shape
    n_a = np.shape(params["b_f"])[0]
    check_shapes(T, B, n_a, np.shape(params["W_f"])[1] - n_a, x=x, a0=a0, c0=c0)

    weights = np.empty((4, n_a, n_a + n_x + 1), dtype)
    for gate, g in zip(weights, GATES, strict=True):
        gate[:, :-1], gate[:, -1] = params[f"W_{g}"], params[f"b_{g}"]
    half = np.array([1, 0.5, 0.5, 0.5], dtype).reshape(4, 1, 1)
    halved = np.multiply(weights.transpose(0, 2, 1), half, order="C")
    W_a, W_x = halved[:, :n_a], halved[:, n_a:]
    beforehand = weights.size > LARGE

    z = np.empty((T + 1, B, n_a + n_x + 1), dtype)
    a = z[:, :, :n_a]
    a[0], z[:T, :, n_a:-1], z[:T, :, -1] = a0, inputs, 1
    values = np.empty((6, T + 1, B, n_a), dtype)
    c = values[C]
    c[0] = c0

    if beforehand:
        rows = z[:T, :, n_a:].reshape(T * B, -1)
        np.matmul(rows, W_x, out=values[SUMS, :T].reshape(4, T * B, n_a))

    recurrent, terms = np.empty((4, B, n_a), dtype), np.empty((2, B, n_a), dtype)
    halves = half[1:]
    steps = values[:, :T].swapaxes(0, 1)
    for v, z_t, a_before, a_t, c_t in zip(steps, z[:-1], a[:-1], a[1:], c[1:], strict=True):
        sums, gates = v[SUMS], v[SIGMOIDS]
        if beforehand:
            np.matmul(a_before, W_a, recurrent)
            np.add(sums, recurrent, sums)
        else:
            np.matmul(z_t, halved, sums)
        np.tanh(sums, sums)
        np.multiply(gates, halves, gates)
        np.add(gates, halves, gates)
        np.multiply(v[C_AND_C_TILDE], v[F_AND_U], terms)
        np.add(terms[0], terms[1], c_t)
        np.tanh(c_t, v[TANH_C])
        np.multiply(v[TANH_C], v[GATE_O], a_t)
    outputs = a[1:]
    outputs.flags.writeable = False
    return {"outputs": outputs, "z": z, "values": values, "weights": weights.reshape(4 * n_a, -1)}


def backward_batched(
    cache: Mapping[str, Array], d_outputs: ArrayLike, d_state: State | None = None
) -> dict[str, Array]:
    """`backward` for speed: the adjoints of the parameters, "a<0>", "c<0>" and "x" alone.

    Notes
    -----
    The formulas of `backward`, sorted by what must wait for block t+1.  Everything that
    multiplies δa<t> or δc<t> is known after the forward pass ::

        δc<t>     = δa<t> ⊙ [Γ_o (1 - tanh_c²)] + (c<t> via c<t+1>)
        δsum_c<t> = δc<t> ⊙ [Γ_u (1 - c̃²)]
        δsum_f<t> = δc<t> ⊙ [c<t-1> Γ_f (1 - Γ_f)]
        δsum_u<t> = δc<t> ⊙ [c̃ Γ_u (1 - Γ_u)]
        δsum_o<t> = δa<t> ⊙ [tanh_c Γ_o (1 - Γ_o)]

    so the brackets are made beforehand, for many blocks at once if these are small.  They are
    the five rows of `slopes`: first tanh_c's, then the gates' in the order of `values`.

    `d_sums` (T, B, 4 n_a) keeps the gates of a sequence side by side, like the rows of the
    weights.  Hence δz<t> is one product, of which only the part for a<t-1> is taken in the
    loop.  The rest are three products over all T B rows: with `z` for δW and δb (the
    column of ones in `z` does the sum for the bias), and with W_x for δx.
    """
    z, values, weights = cache["z"], cache["values"], cache["weights"]
    dtype = z.dtype
    own = np.asarray(d_outputs, dtype)
    outputs = cache["outputs"]
    T, B, n_a = outputs.shape
    check_shapes(T, B, n_a, d_outputs=own)
    if d_state is not None:
        check_shapes(T, B, n_a, d_a=d_state[0], d_c=d_state[1])
    W_a, W_x = weights[:, :n_a], weights[:, n_a:-1]
    if d_state is None:
        a_via_z, c_via_c = np.zeros((2, B, n_a), dtype)
    else:
        a_via_z, c_via_c = (np.array(adjoint, dtype) for adjoint in d_state)

    d_sums = np.empty((T, B, 4 * n_a), dtype)
    by_gate = d_sums.reshape(T, B, 4, n_a).transpose(0, 2, 1, 3)
    at_once = max(1, IN_CACHE // (B * n_a))
    buffer = np.empty((5, min(at_once, T), B, n_a), dtype)
    δa, δc = np.empty((2, B, n_a), dtype)
    parts = np.empty((4, B, n_a), dtype)
    by_parts = W_a.size <= WEIGHTS_IN_CACHE and δa.size > FEW
    for end in range(T, 0, -at_once):
        blocks = slice(max(0, end - at_once), end)
        room = buffer[:, : end - blocks.start]
        slopes = _slopes(values[:, blocks], outputs[blocks], room).swapaxes(0, 1)
        forwards = own[blocks], slopes, values[GATE_F, blocks], d_sums[blocks], by_gate[blocks]
        backwards = (each[::-1] for each in forwards)
        for d_own, slope, Γ_f, d_sum, d_gates in zip(*backwards, strict=True):
            np.add(d_own, a_via_z, δa)
            np.multiply(δa, slope[0], δc)
            np.add(δc, c_via_c, δc)
            np.multiply(slope[1:4], δc, d_gates[:3])
            np.multiply(slope[4], δa, d_gates[3])
            np.multiply(δc, Γ_f, c_via_c)
            if by_parts:
                np.matmul(d_gates, W_a.reshape(4, n_a, n_a), parts)
                np.add.reduce(parts, axis=0, out=a_via_z)
            else:
                np.matmul(d_sum, W_a, a_via_z)

    d_rows = d_sums.reshape(T * B, -1)
    d_weights = (d_rows.T @ z[:T].reshape(T * B, -1)).reshape(4, n_a, -1)
    grads = {f"b_{g}": d[:, -1] for g, d in zip(GATES, d_weights, strict=True)}
    grads |= {f"W_{g}": d[:, :-1] for g, d in zip(GATES, d_weights, strict=True)}
    return grads | {"a<0>": a_via_z, "c<0>": c_via_c, "x": (d_rows @ W_x).reshape(T, B, -1)}


def _slopes(values: Array, a: Array, out: Array) -> Array:
    """The brackets of `backward_batched`, multiplied out where a product is already known."""
    of_tanhs, of_sigmoids = out[:2], out[2:]
    np.subtract(1, values[SIGMOIDS], of_sigmoids)
    terms = np.multiply(values[C_AND_C_TILDE], values[F_AND_U], of_tanhs)  # c<t> is their sum
    np.multiply(of_sigmoids[:2], terms, of_sigmoids[:2])
    np.multiply(of_sigmoids[2], a, of_sigmoids[2])
    np.multiply(a, values[TANH_C], of_tanhs[0])
    np.multiply(terms[1], values[C_TILDE], of_tanhs[1])
    np.subtract(values[O_AND_U], of_tanhs, of_tanhs)
    return out
