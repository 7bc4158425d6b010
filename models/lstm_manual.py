"""The paper's LSTM and its backpropagation through time, derived by hand in plain NumPy.

One model in two forms.  `forward` and `backward` are the derivation: one block after
another, every intermediate value and every adjoint under the paper's name.
`forward_batched` and `backward_batched` are the same mathematics arranged for speed.

Notes
-----
The model is that of Kang & Seo's LSTM: for every block t = 1 ... T ::

    z<t>     = [a<t-1>, x<t>]
    sum_g<t> = W_g z<t> + b_g                           g in f, u, c, o
    Γ_g<t>   = σ(sum_g<t>)                              g in f, u, o
    c̃<t>     = tanh(sum_c<t>)
    c<t>     = c<t-1> ⊙ Γ_f<t> + Γ_u<t> ⊙ c̃<t>
    a<t>     = tanh_c<t> ⊙ Γ_o<t>                       tanh_c<t> = tanh(c<t>)

`W_g` has the shape (n_a, n_a + n_x) and `b_g` (n_a,).  Vectors are columns, and a batch is
a matrix of B columns, so within a block c<t> is (n_a, B).  The functions take and return
sequences row-wise instead: x is (T, B, n_x), outputs (T, B, n_a), states (B, n_a).

Here δv<t> is the adjoint of v<t>: the total derivative of the summed Error with respect to
it, through every path.  The formulas of `backward` are Kang & Seo's, corrected at one fork:
as printed, the branch of c<t> that leads into block t+1 contributes the local derivative
∂c<t+1>/∂c<t> = Γ_f<t+1> as it stands.  By the chain rule it contributes
δc<t+1> ⊙ Γ_f<t+1>, and 0 in the last block.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Params = Mapping[str, ArrayLike]
State = tuple[ArrayLike, ArrayLike]

WEIGHTS = ("W_f", "W_u", "W_c", "W_o")
BIASES = ("b_f", "b_u", "b_c", "b_o")


class Named(dict[str, Array]):
    """Arrays by node name; ``Gamma_f<2>`` and ``c_tilde<2>`` find ``Γ_f<2>`` and ``c̃<2>``."""

    def __missing__(self, name: str) -> Array:
        greek = name.replace("Gamma_", "Γ_").replace("c_tilde", "c̃")
        if greek == name:
            raise KeyError(name)
        return self[greek]


def _check(T: int, B: int, n_a: int, n_x: int | None = None, **arrays: Any) -> None:
    """Refuse shapes that NumPy would broadcast in silence."""
    wanted = {"x": (T, B, n_x), "d_outputs": (T, B, n_a)}
    for name, array in arrays.items():
        if np.shape(array) != wanted.get(name, (B, n_a)):
            raise ValueError(f"lstm_manual: {name} has shape {np.shape(array)}; "
                             f"it needs {wanted.get(name, (B, n_a))}")  # fmt: skip


def sigmoid(x: Array) -> Array:
    """σ(x) = 1 / (1 + exp(-x)), written with tanh.

    σ(x) = (1 + tanh(x/2)) / 2 is the same function, but cannot overflow, and NumPy's tanh
    takes complex numbers, so derivatives can be checked by a complex step.
    """
    return (1 + np.tanh(x / 2)) / 2


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
    dtype = _dtype(params, x, a0, c0)
    cache = {name: np.array(params[name], dtype) for name in WEIGHTS + BIASES}
    W_f, W_u, W_c, W_o = (cache[name] for name in WEIGHTS)
    # As a column: (n_a,) as it stands would be added along the batch, silently if B = n_a.
    b_f, b_u, b_c, b_o = (cache[name][:, None] for name in BIASES)
    inputs = np.array(x, dtype)
    T, B, n_a = *inputs.shape[:2], len(W_f)
    _check(T, B, n_a, W_f.shape[1] - n_a, x=x, a0=a0, c0=c0)
    a, c = np.array(a0, dtype).T, np.array(c0, dtype).T
    outputs = np.empty((*inputs.shape[:2], len(a)), dtype)
    cache |= _named(0, a=a, c=c)
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
        cache |= _named(t, x=x_t, z=z, sum_f=sum_f, sum_u=sum_u, sum_c=sum_c, sum_o=sum_o)
        cache |= _named(t, Γ_f=Γ_f, Γ_u=Γ_u, Γ_o=Γ_o, c̃=c̃, c=c, tanh_c=tanh_c, a=a)
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
    _check(T, B, n_a, d_outputs=d_own)
    if d_state is not None:
        _check(T, B, n_a, d_a=d_state[0], d_c=d_state[1])
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

        grads |= _named(t, a=δa, tanh_c=δtanh_c, c=δc, Γ_f=δΓ_f, Γ_u=δΓ_u, Γ_o=δΓ_o, c̃=δc̃)
        grads |= _named(t, sum_f=δsum_f, sum_u=δsum_u, sum_c=δsum_c, sum_o=δsum_o, z=δz, x=δx)
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


def _named(t: int, **values: Array) -> dict[str, Array]:
    return {f"{name}<{t}>": value for name, value in values.items()}


def _dtype(params: Params, *others: ArrayLike) -> np.dtype[Any]:
    """That of the parameters, made complex if anything is complex."""
    return np.result_type(*params.values(), *(1j for other in others if np.iscomplexobj(other)))


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
    dtype = _dtype(params, x, a0, c0)
    inputs = np.asarray(x, dtype)
    T, B, n_x = inputs.shape
    n_a = np.shape(params["b_f"])[0]
    _check(T, B, n_a, np.shape(params["W_f"])[1] - n_a, x=x, a0=a0, c0=c0)

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
    _check(T, B, n_a, d_outputs=own)
    if d_state is not None:
        _check(T, B, n_a, d_a=d_state[0], d_c=d_state[1])
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


# --- the formula as printed ------------------------------------------------------------------


def document_literal(cache: Mapping[str, Array], d_outputs: ArrayLike) -> dict[str, Array]:
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
    own = np.asarray(d_outputs)
    params = {name: cache[name] for name in WEIGHTS + BIASES}
    grads = {name: np.zeros_like(value) for name, value in params.items()}
    later: State | None = None
    d_x = []
    for t in range(len(own), 0, -1):
        before = cache[f"a<{t - 1}>"].T, cache[f"c<{t - 1}>"].T
        block = forward(params, cache[f"x<{t}>"].T[None], *before)
        adjoints = backward(block, own[t - 1 : t], later)
        later = adjoints["a<0>"], block["Γ_f<1>"].T  # the slip
        for name in params:
            grads[name] += adjoints[name]
        d_x.append(adjoints["x"][0])
    a_0, c_0 = map(np.asarray, later or ())
    return grads | {"a<0>": a_0, "c<0>": c_0, "x": np.stack(d_x[::-1])}
