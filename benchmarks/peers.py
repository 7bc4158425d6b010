"""What the peers call minigrad's functions.

A peer's function is found by our names, with and without the peer's usual prefixes and
underscores; here stand only the spellings that differ.  Imports no peer, and not minigrad:
the benchmark and the comparison with PyTorch's samples bring their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

PREFIXES = ("", "nn.functional.", "linalg.", "special.", "fft.")

TORCH: dict[str, tuple[str, ...]] = {
    # our name -> PyTorch's names below `torch`; "op.variant" is one variant of an op in its
    # tests, "op." the one without a name
    "around": ("round.decimals_3", "round.decimals_neg_3"),
    "array_split": ("tensor_split",),
    "binary_cross_entropy_with_logits": ("nn.functional.binary_cross_entropy_with_logits",),
    "bitwise_invert": ("bitwise_not",),
    "broadcast_arrays": ("broadcast_tensors",),
    "broadcast_to": ("broadcast_to", "expand"),
    "clip": ("clamp",),
    "concat": ("cat",),
    "cumulative_logsumexp": ("logcumsumexp",),
    "cumulative_max": ("cummax",),
    "cumulative_min": ("cummin",),
    "cumulative_prod": ("cumprod",),
    "cumulative_sum": ("cumsum",),
    "diagonal": ("diagonal",),
    "divide": ("div.no_rounding_mode", "true_divide"),
    "embedding": ("nn.functional.embedding",),
    "equal": ("eq",),
    "expand_dims": ("unsqueeze",),
    "gammaln": ("lgamma",),
    "index_add": ("index_add", "index_put"),
    "index_update": ("index_copy", "index_put"),
    "kl_div": ("nn.functional.kl_div",),
    "linalg.cross": ("linalg.cross", "cross"),
    "linalg.diagonal": ("linalg.diagonal",),
    "linalg.eigh": ("linalg.eigh",),
    "linalg.matmul": ("matmul", "mm", "bmm.", "mv"),
    "linalg.matrix_rank": ("linalg.matrix_rank.",),
    "linalg.matrix_transpose": ("mT",),
    "linalg.norm": ("linalg.norm", "norm.", "norm.fro", "norm.inf"),
    "linalg.pinv": ("linalg.pinv.", "linalg.pinv.singular"),
    "linalg.qr": ("linalg.qr",),
    "linalg.svd": ("linalg.svd",),
    "linspace": ("linspace.",),
    "matmul": ("matmul", "mm", "bmm.", "mv"),
    "matrix_transpose": ("mT",),
    "max": ("amax", "max.reduction_no_dim", "max.reduction_with_dim"),
    "maximum": ("maximum", "max.binary"),
    "min": ("amin", "min.reduction_no_dim", "min.reduction_with_dim"),
    "minimum": ("minimum", "min.binary"),
    "pad": ("constant_pad_nd", *(f"nn.functional.pad.{mode}" for mode in
            ("constant", "reflect", "replicate", "circular"))),
    "permute_dims": ("permute",),
    "ravel": ("ravel", "flatten"),
    "repeat": ("repeat_interleave",),
    "reshape": ("reshape", "view"),
    "round": ("round.", "round.decimals_0"),
    "softmax": ("softmax",),
    "split": ("split", "tensor_split"),
    "squared_error": ("nn.functional.mse_loss",),
    "swapaxes": ("transpose",),
    "take": ("index_select", "take"),
    "take_along_axis": ("take_along_dim", "gather"),
    "tile": ("tile", "repeat"),
    "top_k": ("topk",),
    "trapezoid": ("trapezoid", "trapz"),
    "unstack": ("unbind",),
    # the same name, another function, or one whose result is left open
    "empty": (),
    "empty_like": (),
    "median": (),  # the mean of the middle two; PyTorch takes the lower one
    "select": (),  # among arrays, by conditions; PyTorch takes one index
    "tensor": (),
    "transpose": (),  # any order of the axes; PyTorch swaps two
}  # fmt: skip


def short(name: str) -> str:
    """A name without the prefix of its module and without underscores: ``hard_sigmoid`` and
    ``nn.functional.hardsigmoid`` are one."""
    for prefix in PREFIXES[1:]:
        name = name.removeprefix(prefix)
    return name.replace("_", "")


def spellings(public: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Every public function once: its own name -> all its names, that one first."""
    found: dict[int, list[str]] = {}
    for name, function in public.items():
        found.setdefault(id(function), []).append(name)
    return {names[0]: tuple(names) for names in found.values()}


def in_torch(names: Iterable[str]) -> tuple[str, ...] | None:
    """PyTorch's names for a function of ours that has these; None: look for the same name."""
    for name in names:
        if name in TORCH:
            return TORCH[name]
    return None
