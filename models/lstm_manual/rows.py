"""The paper's final formulas: what one block contributes to one parameter, numbers plugged in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from .arrays import BIASES, WEIGHTS, Array

NAME = re.compile(r"δ?(?:Γ_.|c̃|sum_.|tanh_c|[a-z])<\d+>")


def final_formula(cache: Mapping[str, Array], grads: Mapping[str, Array], name: str, t: int) -> list[str]:
    """Row t of a parameter's gradient as Kang & Seo write it out, corrected at the fork of c<t>.

    Parameters
    ----------
    cache, grads
        What `forward` and `backward` returned.
    name
        One of the eight parameters.
    t
        The block, 1 ... T.

    Returns
    -------
    list of str
        What it is; the chain of derivatives; what these are; their numbers; the result,
        ``grads[f"{name} at t={t}"]``.

    Raises
    ------
    ValueError
        There is no such parameter or block.
    """
    T = len(cache["outputs"])
    if name not in WEIGHTS + BIASES or not 1 <= t <= T:
        raise ValueError(f"final_formula: {name!r} at t={t}; one of {', '.join(WEIGHTS + BIASES)}, 1 <= t <= {T}")
    g = name[-1]
    gate, through = (f"c̃<{t}>", "c") if g == "c" else (f"Γ_{g}<{t}>", "a" if g == "o" else "c")
    last = t == T
    fork = f"δa<{t}> · ∂a<{t}>/∂c<{t}> + " + ("0" if last else f"δc<{t + 1}> · ∂c<{t + 1}>/∂c<{t}>")
    chain = [f"({fork})" if through == "c" else f"δa<{t}>", f"∂{through}<{t}>/∂{gate}", f"∂{gate}/∂sum_{g}<{t}>"]
    chain.append(f"∂sum_{g}<{t}>/∂{name}")

    fork = f"δa<{t}> ⊙ Γ_o<{t}> ⊙ (1 − tanh_c<{t}>²) + " + ("0" if last else f"δc<{t + 1}> ⊙ Γ_f<{t + 1}>")
    other = {"f": f"c<{t - 1}>", "u": f"c̃<{t}>", "c": f"Γ_u<{t}>", "o": f"tanh_c<{t}>"}[g]
    slope = f"(1 − {gate}²)" if g == "c" else f"{gate} ⊙ (1 − {gate})"
    formula = f"{f'({fork})' if through == 'c' else f'δa<{t}>'} ⊙ {other} ⊙ {slope}"
    tail = f" · z<{t}>ᵀ" if name in WEIGHTS else ""

    def number(found: re.Match[str]) -> str:
        key = found.group()
        return numbers(grads[key[1:]] if key[0] == "δ" else cache[key])

    return [f"dError/d{name} at t={t}", " · ".join(chain), formula + tail, NAME.sub(number, formula + tail),
            numbers(grads[f"{name} at t={t}"])]  # fmt: skip


def numbers(a: Array) -> str:
    """A number by itself, an array on one line; the column of a single sequence as a list."""
    a = a[:, 0] if a.ndim == 2 and a.shape[1] == 1 else a
    if a.size == 1:
        return _number(a.item()) if a.item() >= 0 else f"({_number(a.item())})"
    return " ".join(np.array2string(a, separator=", ", formatter={"float_kind": _number}).split())


def _number(value: Any) -> str:
    return f"{value:.6g}".replace("-", "−")
