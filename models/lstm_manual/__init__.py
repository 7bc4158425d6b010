"""The paper's LSTM and its backpropagation through time, derived by hand in plain NumPy.

One model, one gradient, in several forms that must agree.  `forward` and `backward` are the
derivation: one block after another, every intermediate value and every adjoint under the
paper's name.  The others say the same in other ways.

==================  ====================================================================
`per_path`          every path from a parameter to an error, multiplied out; their sum
`per_block`         the recursion over the blocks, T ... 1: `backward`
`chunked`           the same recursion, handed from one chunk of blocks to the one before
`backward_batched`  the same arranged for speed, with `forward_batched`
`document_literal`  WRONG on purpose: the fork at c<t> as the paper prints it
==================  ====================================================================

`final_formula` writes out what one block contributes to one parameter, with its numbers.

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

from .arrays import BIASES, WEIGHTS, Named, sigmoid
from .batched import backward_batched, forward_batched
from .block import backward, forward, per_block
from .chunks import chunked, document_literal
from .paths import Factor, Path, count_paths, paths, per_path
from .rows import final_formula

__all__ = ["BIASES", "WEIGHTS", "Factor", "Named", "Path", "backward", "backward_batched", "chunked",
           "count_paths", "document_literal", "final_formula", "forward", "forward_batched", "paths",
           "per_block", "per_path", "sigmoid"]  # fmt: skip
