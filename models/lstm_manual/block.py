"""The derivation: block after block, every value and every adjoint under the paper's name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from .arrays import (
    BIASES,
    WEIGHTS,
    Array,
    Named,
    Params,
    State,
    check_shapes,
    common_dtype,
    named_at,
    sigmoid,
)


def forward(params: Params, x: ArrayLike, a0: ArrayLike, c0: ArrayLike) -> dict[str, Array]:
    """Run the blocks t = 1 ... T and keep every value.

    Parameters
    ----------
    params
        `W_f W_u W_c W_o` (n_a, n_a + n_x) and `b_f b_u b_c b_o` (n_a,).
    x
        The inputs (T, B, n_x).
    a0, c0
        The initial state, (B, n_a) each.

    Returns
    -------
    dict
        "outputs" (T, B, n_a), the parameters, and by name, in columns, the value of every
        node of the graph: "a<0>", "c<0>", and for each t "x<t>", "z<t>", "sum_f<t>", ...,
        "Γ_f<t>", "Γ_u<t>", "Γ_o<t>", "c̃<t>", "c<t>", "tanh_c<t>", "a<t>".
    """
    dtype = common_dtype(params, x, a0, c0)
    cache = {name: np.array(params[name], dtype) for name in WEIGHTS + BIASES}
    W_f, W_u, W_c, W_o = (cache[name] for name in WEIGHTS)
    # As a column: (n_a,) as it stands would be added along the batch, silently if B = n_a.
    b_f, b_u, b_c, b_o = (cache[name][:, None] for name in BIASES)
    inputs = np.array(x, dtype)
    T, B, n_a = *inputs.shape[:2], len(W_f)
    check_shapes(T, B, n_a, W_f.shape[1] - n_a, x=x, a0=a0, c0=c0)
    a, c = np.array(a0, dtype).T, np.array(c0, dtype).T
    outputs = np.empty((*inputs.shape[:2], len(a)), dtype)
    cache |= named_at(0, a=a, c=c)
    for t in range(1, len(inputs) + 1):
        x_t = inputs[t - 1].T
        z = np.concatenate([a, x_t])
        sum_f = W_f @ z + b_f
        sum_u = W_u @ z + b_u
        sum_c = W_c @ z + b_c
        sum_o = W_o @ z + b_o
        Γ_f, Γ_u, Γ_o = sigmoid(sum_f), sigmoid(sum_u), sigmoid(sum_o)
        c̃ = np.tanh(sum_c)
        c = c * Γ_f + Γ_u * c̃
        tanh_c = np.tanh(c)
        a = tanh_c * Γ_o
        outputs[t - 1] = a.T
        cache |= named_at(t, x=x_t, z=z, sum_f=sum_f, sum_u=sum_u, sum_c=sum_c, sum_o=sum_o)
        cache |= named_at(t, Γ_f=Γ_f, Γ_u=Γ_u, Γ_o=Γ_o, c̃=c̃, c=c, tanh_c=tanh_c, a=a)
    return Named(cache | {"outputs": outputs})


def backward(
    cache: Mapping[str, Array], d_outputs: ArrayLike, d_state: State | None = None
) -> dict[str, Array]:
    """Backpropagate through the blocks t = T ... 1.

    Parameters
    ----------
    cache
        What `forward` returned.
    d_outputs
        dError<t>/da<t> of each block's own Error<t>, (T, B, n_a).
    d_state
        What later blocks add to the adjoints of a<T> and c<T>, (B, n_a) each; by default
        there is no later block, and both are 0.

    Returns
    -------
    dict
        The adjoints.  The eight parameters by name; "a<0>", "c<0>" and "x" in the shape of
        `forward`'s arguments; every other node by name, in columns.  At the forks also the
        branches, "c<1> via tanh_c<1>", "c<1> via c<2>" and "a<1> via z<2>", and for each
        parameter what block t contributes, "W_f at t=1".

    Notes
    -----
    Every stage multiplies the adjoint of its output by its local derivative; where a value
    is used twice, a fork, the adjoints of the branches add up.

    Block t, in the order of computation.  a<t> forks into Error<t> and into z<t+1>::

        δa<t>      = dError<t>/da<t> + (a<t> via z<t+1>)

    a<t> = tanh_c<t> ⊙ Γ_o<t> is a product, each factor the local derivative of the other::

        δΓ_o<t>    = δa<t> ⊙ tanh_c<t>
        δtanh_c<t> = δa<t> ⊙ Γ_o<t>

    c<t> forks into tanh_c<t>, where tanh' = 1 - tanh², and into c<t+1>::

        δc<t>      = δtanh_c<t> ⊙ (1 - tanh_c<t>²) + (c<t> via c<t+1>)

    c<t> = c<t-1> ⊙ Γ_f<t> + Γ_u<t> ⊙ c̃<t> is a sum, which hands δc<t> to both terms, and
    two products::

        δΓ_f<t>          = δc<t> ⊙ c<t-1>
        δΓ_u<t>          = δc<t> ⊙ c̃<t>
        δc̃<t>            = δc<t> ⊙ Γ_u<t>
        c<t-1> via c<t>  = δc<t> ⊙ Γ_f<t>

    The activations, with their derivatives written in their outputs, σ' = σ (1 - σ)::

        δsum_g<t>  = δΓ_g<t> ⊙ Γ_g<t> ⊙ (1 - Γ_g<t>)              g in f, u, o
        δsum_c<t>  = δc̃<t> ⊙ (1 - c̃<t>²)

    sum_g<t> = W_g z<t> + b_g, with one column per sequence of the batch.  z<t> forks into all
    four gates; a parameter forks into every block, so its adjoint is a sum over t::

        δz<t>      = Σ_g W_gᵀ δsum_g<t>
        δW_g       = Σ_t δsum_g<t> z<t>ᵀ
        δb_g       = Σ_t Σ_columns δsum_g<t>

    and z<t> = [a<t-1>, x<t>] splits::

        (a<t-1> via z<t>, δx<t>) = δz<t>
    """
    d_own = np.asarray(d_outputs).astype(cache["outputs"].dtype)
    T, B, n_a = cache["outputs"].shape
    check_shapes(T, B, n_a, d_outputs=d_own)
    if d_state is not None:
        check_shapes(T, B, n_a, d_a=d_state[0], d_c=d_state[1])
    W_f, W_u, W_c, W_o = (cache[name] for name in WEIGHTS)
    later = np.zeros((2, *cache["c<0>"].T.shape)) if d_state is None else d_state
    a_via_z, c_via_c = (np.asarray(adjoint, d_own.dtype).T for adjoint in later)
    grads: dict[str, Array] = {}
    for t in range(T, 0, -1):
        z, c_before = cache[f"z<{t}>"], cache[f"c<{t - 1}>"]
        Γ_f, Γ_u, Γ_o = cache[f"Γ_f<{t}>"], cache[f"Γ_u<{t}>"], cache[f"Γ_o<{t}>"]
        c̃, tanh_c = cache[f"c̃<{t}>"], cache[f"tanh_c<{t}>"]

        δa = d_own[t - 1].T + a_via_z
        δΓ_o = δa * tanh_c
        δtanh_c = δa * Γ_o
        c_via_tanh_c = δtanh_c * (1 - tanh_c**2)
        δc = c_via_tanh_c + c_via_c
        δΓ_f = δc * c_before
        δΓ_u = δc * c̃
        δc̃ = δc * Γ_u
        c_via_c = δc * Γ_f

        δsum_f = δΓ_f * Γ_f * (1 - Γ_f)
        δsum_u = δΓ_u * Γ_u * (1 - Γ_u)
        δsum_c = δc̃ * (1 - c̃**2)
        δsum_o = δΓ_o * Γ_o * (1 - Γ_o)

        δz = W_f.T @ δsum_f + W_u.T @ δsum_u + W_c.T @ δsum_c + W_o.T @ δsum_o
        a_via_z, δx = δz[:n_a].copy(), δz[n_a:].copy()

        grads |= named_at(t, a=δa, tanh_c=δtanh_c, c=δc, Γ_f=δΓ_f, Γ_u=δΓ_u, Γ_o=δΓ_o, c̃=δc̃)
        grads |= named_at(t, sum_f=δsum_f, sum_u=δsum_u, sum_c=δsum_c, sum_o=δsum_o, z=δz, x=δx)
        grads[f"c<{t}> via tanh_c<{t}>"] = c_via_tanh_c
        if t > 1:
            grads[f"c<{t - 1}> via c<{t}>"] = c_via_c
            grads[f"a<{t - 1}> via z<{t}>"] = a_via_z
        for g, δsum in {"f": δsum_f, "u": δsum_u, "c": δsum_c, "o": δsum_o}.items():
            grads[f"W_{g} at t={t}"] = δsum @ z.T
            grads[f"b_{g} at t={t}"] = δsum.sum(axis=1)

    for name in WEIGHTS + BIASES:
        grads[name] = np.sum([grads[f"{name} at t={t}"] for t in range(T, 0, -1)], axis=0)
    grads |= {"a<0>": a_via_z.T, "c<0>": c_via_c.T}
    grads["x"] = np.stack([grads[f"x<{t}>"].T for t in range(1, T + 1)])
    return Named(grads)


per_block = backward
"""The derivation under its name among the others: `per_path`, `chunked`, `document_literal`."""
