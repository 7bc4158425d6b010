"""Slips in backward passes as people write them, and whether `mg.blame_function` points at the line.

The derivations of `benchmarks.by_hand` are recorded by running their own forward pass, and their
backward pass is run as it is, with one line changed.
"""

from __future__ import annotations

import inspect
import linecache
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.explain import Kind, Matched

K = Kind
STYLES = {
    "cell": "a function per cell, gates' derivatives multiplied in at once",
    "fused": "all gates in one matrix",
    "steps": "a class, a list per quantity",
    "gru": "a GRU, gradients in a dict",
    "rnn": "a plain recurrent net",
    "mlp": "two layers with dropout and weight decay",
}


@dataclass(frozen=True)
class Slip:
    """One wrong line.

    Attributes
    ----------
    style : str
        The module of `benchmarks.by_hand`.
    name : str
    right, wrong : str
        What stands in its backward pass, and what in its place.
    kinds : set of Kind
        Which diagnoses are right.
    """

    style: str
    name: str
    right: str
    wrong: str
    kinds: set[Kind]


# fmt: off
CORPUS = [
    Slip("cell", "tanh forgotten in the o gate", "dot = da_next * tc * ot * (1 - ot)",
         "dot = da_next * c_next * ot * (1 - ot)", {K.FORGOTTEN, K.FUNCTION, K.NEIGHBOUR, K.ACTIVATED}),
    Slip("cell", "1 - tc, square forgotten (the wrong sheet)", "dit = (dc_next * cct + ot * (1 - tc**2) * cct * da_next)",
         "dit = (dc_next * cct + ot * (1 - tc) * cct * da_next)", {K.DERIVATIVE, K.FUNCTION}),
    Slip("cell", "dcct: 1 - it", "da_next) * (1 - cct**2)",
         "da_next) * (1 - it**2)", {K.NEIGHBOUR, K.DERIVATIVE}),
    Slip("cell", "dcct misplaced bracket: derivative on the second term only", "dcct = (dc_next * it + ot * (1 - tc**2) * it * da_next) * (1 - cct**2)",
         "dcct = dc_next * it + ot * (1 - tc**2) * it * da_next * (1 - cct**2)", {K.PARTIAL, K.FORGOTTEN}),
    Slip("cell", "dft dropped dc_next", "dft = (dc_next * c_prev + ot * (1 - tc**2) * c_prev * da_next)",
         "dft = (ot * (1 - tc**2) * c_prev * da_next)", {K.DROPPED, K.PARTIAL, K.HANDOVER}),
    Slip("cell", "dft with c_next", "dft = (dc_next * c_prev + ot * (1 - tc**2) * c_prev * da_next)",
         "dft = (dc_next + ot * (1 - tc**2) * da_next) * c_next", {K.TIME_SHIFT}),
    Slip("cell", "dft without ft (1-ft)", "c_prev * da_next) * ft * (1 - ft)",
         "c_prev * da_next)", {K.FORGOTTEN}),
    Slip("cell", "dft with it(1-it)", "c_prev * da_next) * ft * (1 - ft)",
         "c_prev * da_next) * it * (1 - it)", {K.NEIGHBOUR}),
    Slip("cell", "dit uses dcct's partner it", "dit = (dc_next * cct + ot * (1 - tc**2) * cct * da_next)",
         "dit = (dc_next + ot * (1 - tc**2) * da_next) * it", {K.NEIGHBOUR}),
    Slip("cell", "dWi from dft", "dWi = np.dot(dit, concat.T)",
         "dWi = np.dot(dft, concat.T)", {K.NEIGHBOUR}),
    Slip("cell", "mean over batch in dbc", "dbc = np.sum(dcct,",
         "dbc = np.mean(dcct,", {K.FACTOR, K.BATCH_SUM}),
    Slip("cell", "da_prev takes the x columns", "da_prev = np.dot(Wf[:, :n_a].T, dft)",
         "da_prev = np.dot(Wf[:, -n_a:].T, dft)", {K.ORDER, K.NEIGHBOUR, K.SHAPE}),
    Slip("cell", "da_prev without the o gate", " + np.dot(Wo[:, :n_a].T, dot)",
         "", {K.DROPPED}),
    Slip("cell", "da_prev W not transposed", "np.dot(Wi[:, :n_a].T, dit)",
         "np.dot(Wi[:, :n_a], dit)", {K.TRANSPOSE}),
    Slip("cell", "dc_prev without the tanh path (dc not accumulating the o path)", "dc_prev = dc_next * ft + ot * (1 - tc**2) * ft * da_next",
         "dc_prev = dc_next * ft", {K.DROPPED, K.PARTIAL, K.HANDOVER}),
    Slip("cell", "dc_prev: ft on the first term only", "dc_prev = dc_next * ft + ot * (1 - tc**2) * ft * da_next",
         "dc_prev = dc_next * ft + ot * (1 - tc**2) * da_next", {K.FORGOTTEN, K.PARTIAL}),
    Slip("cell", "da handed over forgotten", "cell_backward(da[:, :, t] + da_prevt, dc_prevt",
         "cell_backward(da[:, :, t], dc_prevt", {K.HANDOVER, K.DROPPED}),
    Slip("cell", "dc never handed over", 'dc_prevt = gradients["dc_prev"]',
         "pass", {K.HANDOVER, K.DROPPED}),
    Slip("cell", "dWo assigned, not added", 'dWo += gradients["dWo"]',
         'dWo = gradients["dWo"]', {K.OVERWRITTEN}),
    Slip("cell", "y - a", "da = a - y",
         "da = y - a", {K.SIGN}),
    Slip("cell", "loss derivative of the wrong step", "cell_backward(da[:, :, t] + da_prevt",
         "cell_backward(da[:, :, t - 1] + da_prevt", {K.TIME_SHIFT}),
    Slip("fused", "mean forgotten in the loss", "(hs[t] - targets[t]) / (B * H)",
         "(hs[t] - targets[t])", {K.FACTOR}),
    Slip("fused", "mean over the batch only", "(hs[t] - targets[t]) / (B * H)",
         "(hs[t] - targets[t]) / B", {K.FACTOR}),
    Slip("fused", "factor 2", "(hs[t] - targets[t]) / (B * H)",
         "2 * (hs[t] - targets[t]) / (B * H)", {K.FACTOR, K.DOUBLED}),
    Slip("fused", "dc overwritten, next step lost", "dc = dh * o * (1 - ct**2) + dcnext",
         "dc = dh * o * (1 - ct**2)", {K.DROPPED, K.OVERWRITTEN, K.HANDOVER}),
    Slip("fused", "dc = dcnext only", "dc = dh * o * (1 - ct**2) + dcnext",
         "dc = dcnext + np.zeros_like(dh)", {K.DROPPED}),
    Slip("fused", "o forgotten in dc", "dc = dh * o * (1 - ct**2) + dcnext",
         "dc = dh * (1 - ct**2) + dcnext", {K.FORGOTTEN}),
    Slip("fused", "dcnext without f", "dcnext = dc * f",
         "dcnext = dc", {K.FORGOTTEN}),
    Slip("fused", "dcnext adds up", "dcnext = dc * f",
         "dcnext += dc * f", {K.DOUBLED, K.HANDOVER, K.LEFT_OVER}),
    Slip("fused", "tanh of ct again", "dc = dh * o * (1 - ct**2) + dcnext",
         "dc = dh * o * (1 - np.tanh(ct)**2) + dcnext", {K.ACTIVATED}),
    Slip("fused", "df with cs[t]", "df = dc * cs[t - 1]",
         "df = dc * cs[t]", {K.TIME_SHIFT}),
    Slip("fused", "df with hs[t-1]", "df = dc * cs[t - 1]",
         "df = dc * hs[t - 1]", {K.NEIGHBOUR}),
    Slip("fused", "di and dg swapped", "di = dc * g\n        dg = dc * i",
         "di = dc * i\n        dg = dc * g", {K.NEIGHBOUR}),
    Slip("fused", "gates in the wrong order", "[di_in, df_in, do_in, dg_in]",
         "[di_in, df_in, dg_in, do_in]", {K.ORDER, K.NEIGHBOUR}),
    Slip("fused", "sigmoid' forgotten for o", "do_in = o * (1 - o) * do",
         "do_in = do", {K.FORGOTTEN}),
    Slip("fused", "sigmoid' 1 - o^2", "do_in = o * (1 - o) * do",
         "do_in = (1 - o**2) * do", {K.DERIVATIVE, K.FUNCTION}),
    Slip("fused", "tanh' 1 - g", "dg_in = (1 - g**2) * dg",
         "dg_in = (1 - g) * dg", {K.DERIVATIVE, K.FUNCTION}),
    Slip("fused", "db of the last only", "db += dz4.sum(axis=0)",
         "db = dz4.sum(axis=0)", {K.OVERWRITTEN}),
    Slip("fused", "dWLSTM of the last only", "dWLSTM += ins[t].T @ dz4",
         "dWLSTM = ins[t].T @ dz4", {K.OVERWRITTEN}),
    Slip("fused", "inputs of t-1 in dWLSTM", "dWLSTM += ins[t].T @ dz4",
         "dWLSTM += ins[max(t - 1, 0)].T @ dz4", {K.TIME_SHIFT}),
    Slip("fused", "wrong end of dhin", "dhnext = dhin[:, n_x:]",
         "dhnext = dhin[:, :H]", {K.ORDER, K.NEIGHBOUR}),
    Slip("fused", "dh doubled by +=", "dhnext = dhin[:, n_x:]",
         "dhnext = dhnext + dhin[:, n_x:]", {K.DOUBLED, K.HANDOVER, K.LEFT_OVER}),
    Slip("fused", "gradient clipping left in", "dhnext = dhin[:, n_x:]",
         "dhnext = np.clip(dhin[:, n_x:], -0.005, 0.005)", {K.CLIPPED}),
    Slip("fused", "truncated: h handed over every second step", "dhnext = dhin[:, n_x:]",
         "dhnext = dhin[:, n_x:] * (t % 2)", {K.HANDOVER, K.DROPPED, K.FORGOTTEN}),
    Slip("fused", "weights updated before the product", "dhin = dz4 @ WLSTM.T",
         "dhin = dz4 @ (WLSTM - 0.1 * dWLSTM).T", {K.UNKNOWN, K.NEIGHBOUR}),
    Slip("steps", "mask forgotten in the loss", "2 * self.mask[t - 1] * (self.hs[t]",
         "2 * (self.hs[t]", {K.FORGOTTEN}),
    Slip("steps", "factor 2 forgotten", "2 * self.mask[t - 1] * (self.hs[t]",
         "self.mask[t - 1] * (self.hs[t]", {K.FACTOR}),
    Slip("steps", "dh assigned, not added", "dhs[t] += 2 * self.mask",
         "dhs[t] = 2 * self.mask", {K.OVERWRITTEN, K.DROPPED, K.HANDOVER}),
    Slip("steps", "dc assigned, not added", "dcs[t] += dhs[t] * o",
         "dcs[t] = dhs[t] * o", {K.OVERWRITTEN, K.DROPPED, K.HANDOVER}),
    Slip("steps", "dc of the step before", "df = dcs[t] * c_prev",
         "df = dcs[t - 1] * c_prev", {K.TIME_SHIFT, K.DROPPED}),
    Slip("steps", "h of this step in dUf", "self.dUf += h_prev.T @ dzf",
         "self.dUf += self.hs[t].T @ dzf", {K.TIME_SHIFT}),
    Slip("steps", "dWi from dzf", "self.dWi += x.T @ dzi",
         "self.dWi += x.T @ dzf", {K.NEIGHBOUR}),
    Slip("steps", "bias overwritten", "self.dbf += dzf.sum(0)",
         "self.dbf = dzf.sum(0)", {K.OVERWRITTEN}),
    Slip("steps", "U not transposed", "dzo @ self.Uo.T",
         "dzo @ self.Uo", {K.TRANSPOSE}),
    Slip("steps", "another gate's U", "dzi @ self.Ui.T",
         "dzi @ self.Uf.T", {K.NEIGHBOUR}),
    Slip("steps", "g's branch to h missing", " + dzg @ self.Ug.T",
         "", {K.DROPPED}),
    Slip("steps", "dcs handed down with the input gate", "dcs[t - 1] = dcs[t] * f",
         "dcs[t - 1] = dcs[t] * i", {K.NEIGHBOUR}),
    Slip("steps", "dcs handed two steps down is lost (wrong index)", "dcs[t - 1] = dcs[t] * f",
         "dcs[t - 2 if t > 1 else 0] = dcs[t] * f", {K.HANDOVER, K.DROPPED, K.OVERWRITTEN}),
    Slip("steps", "bias as a scalar sum", "self.dbi += dzi.sum(0)",
         "self.dbi = self.dbi + dzi.sum()", {K.SHAPE, K.BATCH_SUM}),
    Slip("gru", "sign of dz", "dz = dh * (h_prev - n)",
         "dz = dh * (n - h_prev)", {K.SIGN}),
    Slip("gru", "dz without n", "dz = dh * (h_prev - n)",
         "dz = dh * h_prev", {K.DROPPED}),
    Slip("gru", "dn with z", "dn = dh * (1 - z)",
         "dn = dh * z", {K.NEIGHBOUR, K.DERIVATIVE, K.FUNCTION}),
    Slip("gru", "tanh' forgotten", "dn_raw = dn * (1 - n**2)",
         "dn_raw = dn", {K.FORGOTTEN}),
    Slip("gru", "r path into h forgotten", "dh_next = dh * z + drh * r + ",
         "dh_next = dh * z + ", {K.DROPPED}),
    Slip("gru", "carry forgotten", "dh_next = dh * z + drh * r",
         "dh_next = drh * r", {K.DROPPED}),
    Slip("gru", "(1-z) for z in the carry", "dh_next = dh * z + drh * r",
         "dh_next = dh * (1 - z) + drh * r", {K.NEIGHBOUR, K.DERIVATIVE, K.FUNCTION}),
    Slip("gru", "Un gets h_prev for r*h_prev", 'grads["Un"] += rh.T @ dn_raw',
         'grads["Un"] += h_prev.T @ dn_raw', {K.FORGOTTEN, K.NEIGHBOUR}),
    Slip("gru", "dr with h", "dr = drh * h_prev",
         "dr = drh * h", {K.TIME_SHIFT}),
    Slip("gru", "sigmoid' for r missing", "dr_raw = dr * r * (1 - r)",
         "dr_raw = dr", {K.FORGOTTEN}),
    Slip("rnn", "p - y with the sign turned", "dy = ps[t] - targets[t]",
         "dy = targets[t] - ps[t]", {K.SIGN}),
    Slip("rnn", "dy = -y/p only (softmax forgotten)", "dy = ps[t] - targets[t]",
         "dy = -targets[t] / ps[t]", {K.FORGOTTEN, K.DERIVATIVE, K.FUNCTION}),
    Slip("rnn", "softmax's derivative as p(1-p)", "dy = ps[t] - targets[t]",
         "dy = -targets[t] / ps[t] * ps[t] * (1 - ps[t])", {K.DERIVATIVE, K.FUNCTION}),
    Slip("rnn", "dhnext forgotten", "dh = Why.T @ dy + dhnext",
         "dh = Why.T @ dy", {K.DROPPED, K.HANDOVER}),
    Slip("rnn", "derivative at h of t-1", "(1 - hs[t] * hs[t])",
         "(1 - hs[t - 1] * hs[t - 1])", {K.TIME_SHIFT}),
    Slip("rnn", "Whh with h of t", "dWhh += dhraw @ hs[t - 1].T",
         "dWhh += dhraw @ hs[t].T", {K.TIME_SHIFT}),
    Slip("rnn", "Whh transposed", "dhnext = Whh.T @ dhraw",
         "dhnext = Whh @ dhraw", {K.TRANSPOSE}),
    Slip("rnn", "dh for dhraw handed on", "dhnext = Whh.T @ dhraw",
         "dhnext = Whh.T @ dh", {K.FORGOTTEN, K.NEIGHBOUR}),
    Slip("rnn", "clipping left in", "dhnext = Whh.T @ dhraw",
         "dhnext = np.clip(Whh.T @ dhraw, -0.05, 0.05)", {K.CLIPPED}),
    Slip("rnn", "dWhy at t-1", "dWhy += dy @ hs[t].T",
         "dWhy += dy @ hs[t - 1].T", {K.TIME_SHIFT}),
    Slip("mlp", "division by m forgotten", "dZ2 = (P - Y) / m",
         "dZ2 = P - Y", {K.FACTOR}),
    Slip("mlp", "divided by m twice", "dW2 = D1.T @ dZ2 + reg * W2",
         "dW2 = D1.T @ dZ2 / m + reg * W2", {K.FACTOR}),
    Slip("mlp", "weight decay forgotten", "dW1 = X.T @ dZ1 + reg * W1",
         "dW1 = X.T @ dZ1", {K.DROPPED, K.OVERWRITTEN}),
    Slip("mlp", "weight decay doubled", "dW1 = X.T @ dZ1 + reg * W1",
         "dW1 = X.T @ dZ1 + 2 * reg * W1", {K.FACTOR, K.DOUBLED}),
    Slip("mlp", "dropout mask forgotten", "dA1 = dD1 * keep",
         "dA1 = dD1", {K.FORGOTTEN}),
    Slip("mlp", "relu' forgotten", "dZ1 = dA1 * (Z1 > 0)",
         "dZ1 = dA1", {K.FORGOTTEN}),
    Slip("mlp", "relu' multiplied by the value", "dZ1 = dA1 * (Z1 > 0)",
         "dZ1 = dA1 * A1", {K.DERIVATIVE, K.FUNCTION}),
    Slip("mlp", "bias averaged", "db1 = dZ1.sum(axis=0)",
         "db1 = dZ1.mean(axis=0)", {K.FACTOR, K.BATCH_SUM}),
    Slip("mlp", "A1 in place of the dropped-out activations", "dW2 = D1.T @ dZ2 + reg * W2",
         "dW2 = A1.T @ dZ2 + reg * W2", {K.FORGOTTEN, K.NEIGHBOUR}),
    Slip("mlp", "updated weights used", "dD1 = dZ2 @ W2.T",
         "dD1 = dZ2 @ (W2 - 0.1 * dW2).T", {K.UNKNOWN, K.NEIGHBOUR}),
    Slip("mlp", "bias gets decay", "db1 = dZ1.sum(axis=0)",
         "db1 = dZ1.sum(axis=0) + reg * b1", {K.UNKNOWN}),
    Slip("mlp", "sum over the wrong axis", "db2 = dZ2.sum(axis=0)",
         "db2 = dZ2.sum(axis=1)", {K.SHAPE, K.BATCH_SUM}),
]
# fmt: on


def notebook(style: str, slip: Slip | None = None) -> tuple[Any, set[int]]:
    """A module of `benchmarks.by_hand`, with a slip in it, and the lines that this is on."""
    text, lines = inspect.getsource(import_module(f"benchmarks.by_hand.{style}")), set()
    if slip is not None:
        if text.count(slip.right) != 1:
            raise ValueError(f"{slip.name}: benchmarks.by_hand.{style} no longer has the line {slip.right!r}")
        first = text[: text.index(slip.right)].count("\n") + 1
        lines = set(range(first, first + slip.right.count("\n") + 1))
        text = text.replace(slip.right, slip.wrong)
    module = types.ModuleType(style)
    file = f"{style}.py"
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file
    exec(compile(text, file, "exec"), module.__dict__)
    return module, lines


def judge(style: str, slip: Slip | None = None, seed: int = 1, **sizes: int) -> tuple[Matched, set[int]]:
    """The verdict on a notebook, and the lines that are wrong."""
    module, lines = notebook(style, slip)
    given = module.problem(np.random.default_rng(seed), **sizes)
    leaves = {name: _tensors(value) if name in module.LEAVES else value for name, value in given.items()}
    loss, _ = mg.name_locals(module.forward, **leaves)
    _, cache = module.forward(**given)
    return mg.blame_function(module.backward, cache, **given, of=loss), lines


def _tensors(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _tensors(entry) for name, entry in value.items()}
    return mg.tensor(value, requires_grad=True)


def singles(seeds: range) -> Iterator[tuple[bool, bool, str]]:
    """For each slip whether its line is charged and no other, whether the sentence is right, and what was said."""
    for seed in seeds:
        for slip in CORPUS:
            with np.errstate(all="ignore"):
                verdict, lines = judge(slip.style, slip, seed)
            charged = {int(n) for c in verdict.culprits for n in re.findall(r"line (\d+)", c.line) or [0]}
            kinds = {c.kind for c in verdict.culprits}
            placed = bool(charged) and charged <= lines
            yield placed, placed and kinds <= slip.kinds, f"{slip.style}, {slip.name}: {verdict}"


def false_alarms(count: int, seed: int) -> Iterator[str]:
    """Right notebooks with random sizes that are blamed all the same."""
    rng = np.random.default_rng(seed)
    for k in range(count):
        style = list(STYLES)[k % len(STYLES)]
        sizes = dict(zip(("T", "B", "n_x", "n_a"), (int(n) for n in rng.integers(1, (6, 5, 5, 6))), strict=True))
        verdict, _ = judge(style, seed=int(rng.integers(2**31)), **sizes)
        if not verdict.ok:
            yield f"{style}, {sizes}: {verdict}"
