"""How many slips in a hand-derived LSTM gradient `mg.blame` finds at the right stage, and names.

The corpus is the hand derivation `models.lstm_manual.backward` with one line changed at a time,
as in derivations that people published (the paper's printed formulas among them) or by changing
line after line systematically.  Each slip says which adjoints it makes wrong by themselves.
Another corpus are slips in code of other styles, see `benchmarks.notebooks`.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.explain import Kind, Verdict
from models import lstm_manual
from models.compare import lstm_of, random_problem

from . import notebooks
from .timing import parser, report

T, B, N_X, N_A = 4, 2, 3, 4
K = Kind


@dataclass(frozen=True)
class Slip:
    """One wrong line.

    Attributes
    ----------
    name : str
    right, wrong : str
        The line of `lstm_manual.backward`, and what stands in its place.
    guilty : tuple of str
        The adjoints that it makes wrong by themselves: families, ``c`` for every c<t>; with
        ``c@1:3`` for those steps alone.
    kinds : set of Kind
        Which diagnoses are right.
    """

    name: str
    right: str
    wrong: str
    guilty: tuple[str, ...]
    kinds: set[Kind]

    def names(self) -> set[str]:
        """The keys of the guilty adjoints."""
        found = set()
        for family in self.guilty:
            family, _, steps = family.partition("@")
            low, high = map(int, steps.split(":")) if steps else (1, T)
            for t in range(low, high + 1):
                found.add(_key(family, t))
        return found


def _key(family: str, t: int) -> str:
    """``c<2>``; the branch into the next block, which block 0 has alone; a parameter's part."""
    if family.endswith(">>"):  # what block t+1 hands over
        state = family[:-2]
        return f"{state}<{t}> via {'c' if state == 'c' else 'z'}<{t + 1}>" if t else f"{state}<0>"
    if family == "c>tanh":
        return f"c<{t}> via tanh_c<{t}>"
    if family.endswith(" at"):
        return f"{family} t={t}"
    return family if family[:2] in ("W_", "b_") else f"{family}<{t}>"


δa = "δa = d_own[t - 1].T + a_via_z"
δc = "δc = c_via_tanh_c + c_via_c"
OVER = "c_via_c = δc * Γ_f"
TANH = "c_via_tanh_c = δtanh_c * (1 - tanh_c**2)"
δz = "δz = W_f.T @ δsum_f + W_u.T @ δsum_u + W_c.T @ δsum_c + W_o.T @ δsum_o"
SPLIT = "a_via_z, δx = δz[:n_a].copy(), δz[n_a:].copy()"
ROW_W = 'grads[f"W_{g} at t={t}"] = δsum @ z.T'
ROW_B = 'grads[f"b_{g} at t={t}"] = δsum.sum(axis=1)'
SUMS = 'grads[name] = np.sum([grads[f"{name} at t={t}"] for t in range(T, 0, -1)], axis=0)'
WS, BS = tuple(f"W_{g}" for g in "fuco"), tuple(f"b_{g}" for g in "fuco")
W_ROWS, B_ROWS = tuple(f"{w} at" for w in WS), tuple(f"{b} at" for b in BS)

CORPUS = [
    # the fork of a<t>, and the loss
    Slip("loss: sign lost (E13)", δa, "δa = -d_own[t - 1].T + a_via_z", ("a",), {K.SIGN}),
    Slip("loss: factor 2", δa, "δa = 2 * d_own[t - 1].T + a_via_z", ("a",), {K.FACTOR, K.DOUBLED}),
    Slip("loss: mean over the batch", δa, "δa = d_own[t - 1].T / d_own.shape[1] + a_via_z", ("a",), {K.FACTOR}),
    Slip("loss: only the last block's", δa, "δa = d_own[t - 1].T * (t == T) + a_via_z", ("a@1:3",), {K.DROPPED}),
    Slip("loss: of the step before", δa, "δa = d_own[t - 2].T + a_via_z", ("a",), {K.TIME_SHIFT}),
    Slip("a fork: not handed over", δa, "δa = d_own[t - 1].T", ("a@1:3",), {K.HANDOVER}),
    Slip("a fork: sign of the branch", δa, "δa = d_own[t - 1].T - a_via_z", ("a@1:3",), {K.SIGN}),
    Slip("a fork: counted twice", δa, "δa = d_own[t - 1].T + 2 * a_via_z", ("a@1:3",), {K.DOUBLED}),
    Slip("a fork: = for +=", δa, "δa = a_via_z if t < T else d_own[t - 1].T", ("a@1:3",), {K.DROPPED, K.OVERWRITTEN}),
    Slip("a fork: branches multiplied", δa, "δa = d_own[t - 1].T * a_via_z if t < T else d_own[t - 1].T", ("a@1:3",),
         {K.PRODUCT_FOR_SUM}),
    # a<t> = tanh_c<t> ⊙ Γ_o<t>
    Slip("Γ_o: c for tanh(c)", "δΓ_o = δa * tanh_c", 'δΓ_o = δa * cache[f"c<{t}>"]', ("Γ_o",), {K.NEIGHBOUR}),
    Slip("Γ_o: factor forgotten", "δΓ_o = δa * tanh_c", "δΓ_o = δa", ("Γ_o",), {K.FORGOTTEN}),
    Slip("Γ_o: + for *", "δΓ_o = δa * tanh_c", "δΓ_o = δa + tanh_c", ("Γ_o",), {K.SUM_FOR_PRODUCT}),
    Slip("Γ_o: its own value", "δΓ_o = δa * tanh_c", "δΓ_o = δa * Γ_o", ("Γ_o",), {K.NEIGHBOUR}),
    Slip("tanh_c: another gate", "δtanh_c = δa * Γ_o", "δtanh_c = δa * Γ_u", ("tanh_c",), {K.NEIGHBOUR}),
    Slip("tanh_c: gate forgotten", "δtanh_c = δa * Γ_o", "δtanh_c = δa", ("tanh_c",), {K.FORGOTTEN}),
    Slip("tanh_c: + for * (E13b)", "δtanh_c = δa * Γ_o", "δtanh_c = δa + Γ_o", ("tanh_c",), {K.SUM_FOR_PRODUCT}),
    # tanh_c<t> = tanh(c<t>)
    Slip("tanh': activated value", TANH, "c_via_tanh_c = δtanh_c * (1 - np.tanh(tanh_c)**2)", ("c>tanh",), {K.ACTIVATED}),
    Slip("tanh': 1 - c²", TANH, 'c_via_tanh_c = δtanh_c * (1 - cache[f"c<{t}>"]**2)', ("c>tanh",), {K.DERIVATIVE}),
    Slip("tanh': square lost", TANH, "c_via_tanh_c = δtanh_c * (1 - tanh_c)", ("c>tanh",), {K.DERIVATIVE}),
    Slip("tanh': sigmoid's", TANH, "c_via_tanh_c = δtanh_c * tanh_c * (1 - tanh_c)", ("c>tanh",), {K.DERIVATIVE}),
    Slip("tanh': forgotten", TANH, "c_via_tanh_c = δtanh_c", ("c>tanh",), {K.FORGOTTEN}),
    # the fork of c<t>
    Slip("c fork: Γ_f without δc (E1, the paper)", OVER, "c_via_c = Γ_f", ("c>>@0:3",), {K.NO_UPSTREAM}),
    Slip("c fork: not handed over (E2)", δc, "δc = c_via_tanh_c", ("c@1:3",), {K.HANDOVER}),
    Slip("c fork: only the next block's own part (E3)", OVER, "c_via_c = c_via_tanh_c * Γ_f", ("c>>@0:2",), {K.PARTIAL}),
    Slip("c fork: Γ_f of the block before (E4)", OVER, 'c_via_c = δc * cache.get(f"Γ_f<{t - 1}>", Γ_f)', ("c>>@1:3",),
         {K.TIME_SHIFT}),
    Slip("c fork: Γ_f of the block before, added (E4)", OVER, 'c_via_c = cache.get(f"Γ_f<{t - 1}>", Γ_f)', ("c>>@0:3",),
         {K.NO_UPSTREAM}),
    Slip("c fork: another gate", OVER, "c_via_c = δc * Γ_o", ("c>>@0:3",), {K.NEIGHBOUR}),
    Slip("c fork: gate forgotten", OVER, "c_via_c = δc", ("c>>@0:3",), {K.FORGOTTEN}),
    Slip("c fork: δtanh_c handed over", OVER, "c_via_c = δtanh_c * Γ_f", ("c>>@0:3",), {K.NEIGHBOUR}),
    Slip("c fork: dc += dc", δc, "δc = c_via_tanh_c + c_via_c; δc = δc + δc", ("c",), {K.FACTOR, K.DOUBLED}),
    Slip("c fork: = for +=", δc, "δc = c_via_c if t < T else c_via_tanh_c", ("c@1:3",), {K.DROPPED, K.OVERWRITTEN}),
    Slip("c fork: branches multiplied", δc, "δc = c_via_tanh_c * c_via_c if t < T else c_via_tanh_c", ("c@1:3",),
         {K.PRODUCT_FOR_SUM}),
    Slip("c fork: sign of the branch", δc, "δc = c_via_tanh_c - c_via_c", ("c@1:3",), {K.SIGN}),
    # c<t> = c<t-1> ⊙ Γ_f<t> + Γ_u<t> ⊙ c̃<t>
    Slip("Γ_f: c<t> for c<t-1> (E5)", "δΓ_f = δc * c_before", 'δΓ_f = δc * cache[f"c<{t}>"]', ("Γ_f",), {K.TIME_SHIFT}),
    Slip("Γ_f: δa for δc", "δΓ_f = δc * c_before", "δΓ_f = δa * c_before", ("Γ_f",), {K.NEIGHBOUR}),
    Slip("Γ_f: c̃ for c<t-1>", "δΓ_f = δc * c_before", "δΓ_f = δc * c̃", ("Γ_f",), {K.NEIGHBOUR, K.TIME_SHIFT}),
    Slip("Γ_f: factor forgotten", "δΓ_f = δc * c_before", "δΓ_f = δc", ("Γ_f",), {K.FORGOTTEN}),
    Slip("Γ_f: dot product", "δΓ_f = δc * c_before", "δΓ_f = δc * 0 + np.sum(δc * c_before)", ("Γ_f",), {K.DOT}),
    Slip("Γ_u: Γ_u for c̃", "δΓ_u = δc * c̃", "δΓ_u = δc * Γ_u", ("Γ_u",), {K.NEIGHBOUR}),
    Slip("c̃: Γ_f for Γ_u", "δc̃ = δc * Γ_u", "δc̃ = δc * Γ_f", ("c̃",), {K.NEIGHBOUR}),
    Slip("c̃: gate forgotten", "δc̃ = δc * Γ_u", "δc̃ = δc", ("c̃",), {K.FORGOTTEN}),
    Slip("c̃: δc without its branches (only the tanh part)", "δc̃ = δc * Γ_u", "δc̃ = c_via_tanh_c * Γ_u", ("c̃@1:3",),
         {K.PARTIAL}),
    # the activations of the gates
    Slip("σ': 1 − Γ lost", "δsum_f = δΓ_f * Γ_f * (1 - Γ_f)", "δsum_f = δΓ_f * Γ_f", ("sum_f",), {K.DERIVATIVE}),
    Slip("σ': activated value", "δsum_f = δΓ_f * Γ_f * (1 - Γ_f)",
         "δsum_f = δΓ_f * sigmoid(Γ_f) * (1 - sigmoid(Γ_f))", ("sum_f",), {K.ACTIVATED}),
    Slip("σ': tanh's", "δsum_u = δΓ_u * Γ_u * (1 - Γ_u)", "δsum_u = δΓ_u * (1 - Γ_u**2)", ("sum_u",), {K.DERIVATIVE}),
    Slip("σ': forgotten", "δsum_u = δΓ_u * Γ_u * (1 - Γ_u)", "δsum_u = δΓ_u", ("sum_u",), {K.FORGOTTEN}),
    Slip("σ': sign", "δsum_u = δΓ_u * Γ_u * (1 - Γ_u)", "δsum_u = δΓ_u * Γ_u * (Γ_u - 1)", ("sum_u",), {K.SIGN}),
    Slip("σ': another gate's (E10b)", "δsum_f = δΓ_f * Γ_f * (1 - Γ_f)", "δsum_f = δΓ_f * Γ_o * (1 - Γ_o)", ("sum_f",),
         {K.NEIGHBOUR}),
    Slip("σ': another gate's delta", "δsum_f = δΓ_f * Γ_f * (1 - Γ_f)", "δsum_f = δΓ_u * Γ_f * (1 - Γ_f)", ("sum_f",),
         {K.NEIGHBOUR}),
    Slip("σ' in the sums", "δsum_o = δΓ_o * Γ_o * (1 - Γ_o)",
         'δsum_o = δΓ_o * cache[f"sum_o<{t}>"] * (1 - cache[f"sum_o<{t}>"])', ("sum_o",), {K.DERIVATIVE}),
    Slip("σ': summed over the features", "δsum_o = δΓ_o * Γ_o * (1 - Γ_o)",
         "δsum_o = δΓ_o * 0 + (δΓ_o * Γ_o * (1 - Γ_o)).sum(0)", ("sum_o",), {K.DOT}),
    Slip("c̃': sigmoid's", "δsum_c = δc̃ * (1 - c̃**2)", "δsum_c = δc̃ * c̃ * (1 - c̃)", ("sum_c",), {K.DERIVATIVE}),
    Slip("c̃': activated value", "δsum_c = δc̃ * (1 - c̃**2)", "δsum_c = δc̃ * (1 - np.tanh(c̃)**2)", ("sum_c",),
         {K.ACTIVATED}),
    Slip("c̃': square lost", "δsum_c = δc̃ * (1 - c̃**2)", "δsum_c = δc̃ * (1 - c̃)", ("sum_c",), {K.DERIVATIVE}),
    Slip("o row by c's path (E11)", "δsum_o = δΓ_o * Γ_o * (1 - Γ_o)", "δsum_o = δΓ_f * Γ_o * (1 - Γ_o)", ("sum_o",),
         {K.NEIGHBOUR}),
    # z<t> = [a<t-1>, x<t>] into four products
    Slip("δz: only the forget gate (E11b)", δz, "δz = W_f.T @ δsum_f", ("z",), {K.OVERWRITTEN}),
    Slip("δz: a gate missing", δz, "δz = W_f.T @ δsum_f + W_u.T @ δsum_u + W_c.T @ δsum_c", ("z",), {K.DROPPED}),
    Slip("δz: W_o for W_f (E10)", δz, δz.replace("W_f.T", "W_o.T"), ("z",), {K.NEIGHBOUR}),
    Slip("δz: δsum_o for δsum_f", δz, δz.replace("δsum_f", "δsum_o"), ("z",), {K.NEIGHBOUR}),
    Slip("δz: W for Wᵀ in a gate (E12)", δz, δz.replace(
        "W_u.T @ δsum_u", "np.vstack([W_u[:, :n_a] @ δsum_u, W_u.T[n_a:] @ δsum_u])"), ("z",), {K.TRANSPOSE}),
    Slip("δz: sign of a gate", δz, δz.replace("+ W_c.T", "- W_c.T"), ("z",), {K.SIGN}),
    Slip("split: [x, a] for [a, x]", SPLIT, "a_via_z, δx = δz[-n_a:].copy(), δz[:-n_a].copy()", ("a>>@0:3", "x"),
         {K.ORDER}),
    Slip("a: handed over twice", SPLIT, "a_via_z, δx = 2 * δz[:n_a], δz[n_a:].copy()", ("a>>@0:3",),
         {K.FACTOR, K.DOUBLED}),
    # the parameters
    Slip("dW: z of the block before", ROW_W, 'grads[f"W_{g} at t={t}"] = δsum @ cache.get(f"z<{t - 1}>", z).T',
         tuple(f"{w}@2:4" for w in W_ROWS), {K.TIME_SHIFT}),
    Slip("dW: mean over the batch", ROW_W, 'grads[f"W_{g} at t={t}"] = δsum @ z.T / z.shape[1]', W_ROWS, {K.FACTOR}),
    Slip("dW: [x, a] for [a, x]", ROW_W, 'grads[f"W_{g} at t={t}"] = δsum @ np.vstack([z[n_a:], z[:n_a]]).T', W_ROWS,
         {K.ORDER}),
    Slip("dW: the transpose (E8)", ROW_W, 'grads[f"W_{g} at t={t}"] = z @ δsum.T', (*W_ROWS, *WS), {K.TRANSPOSE}),
    Slip("dW: one sequence only", ROW_W, 'grads[f"W_{g} at t={t}"] = np.outer(δsum[:, 0], z[:, 0])', W_ROWS,
         {K.BATCH_SUM}),
    Slip("dW: sign", ROW_W, 'grads[f"W_{g} at t={t}"] = -δsum @ z.T', W_ROWS, {K.SIGN}),
    Slip("dW: the forget gate's delta", ROW_W, 'grads[f"W_{g} at t={t}"] = δsum_f @ z.T',
         tuple(f"W_{g} at" for g in "uco"), {K.NEIGHBOUR}),
    Slip("db: mean over the batch", ROW_B, 'grads[f"b_{g} at t={t}"] = δsum.mean(axis=1)', B_ROWS, {K.FACTOR}),
    Slip("db: sum over the batch missing", ROW_B, 'grads[f"b_{g} at t={t}"] = δsum', (*B_ROWS, *BS), {K.BATCH_SUM}),
    Slip("db: last sequence only", ROW_B, 'grads[f"b_{g} at t={t}"] = δsum[:, -1]', B_ROWS, {K.BATCH_SUM}),
    Slip("sum over t: a mean", SUMS, SUMS.replace("np.sum", "np.mean"), (*WS, *BS), {K.FACTOR}),
    Slip("sum over t: = for +=", SUMS, 'grads[name] = grads[f"{name} at t=1"]', (*WS, *BS), {K.OVERWRITTEN}),
    Slip("sum over t: last block missing", SUMS, SUMS.replace("range(T, 0", "range(T - 1, 0"), (*WS, *BS),
         {K.DROPPED, K.HANDOVER}),
    Slip("sum over t: row T twice, row 1 never (E13c)", SUMS, SUMS.replace(
        'f"{name} at t={t}"', 'f"{name} at t={max(t, 2)}"'), (*WS, *BS), {K.TIME_SHIFT}),
]  # fmt: skip


def derivation(*slips: Slip) -> Callable[..., dict[str, Any]]:
    """`lstm_manual.backward` with these slips in it."""
    source = inspect.getsource(lstm_manual.backward)
    for slip in slips:
        if source.count(slip.right) != 1:
            raise ValueError(f"{slip.name}: lstm_manual.backward no longer has the line {slip.right!r}")
        source = source.replace(slip.right, slip.wrong)
    space = dict(lstm_manual.backward.__globals__)
    exec(compile(source, "lstm_manual.backward, changed", "exec"), space)
    return space["backward"]  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Problem:
    """A named LSTM and what a hand derivation of its gradient is given."""

    error: mg.Tensor
    cache: Any
    d_outputs: Any

    def judge(self, backward: Callable[..., dict[str, Any]], only: Callable[[str], bool] = lambda key: True) -> Verdict:
        manual = backward(self.cache, self.d_outputs)
        return mg.blame(self.error, {key: value for key, value in manual.items() if only(key)})


def problem(seed: int, T: int = T, B: int = B, n_x: int = N_X, n_a: int = N_A, mask: Any = 1.0) -> Problem:
    """A random LSTM with a random initial state and a loss at every step, or at those of a mask."""
    drawn = random_problem(T, B, n_x, n_a, seed)
    outputs, _ = lstm_of(drawn)
    cache = lstm_manual.forward(drawn.params, drawn.x, drawn.a0, drawn.c0)
    error = (0.5 * mask * mg.square(drawn.target - outputs)).sum()
    return Problem(error, cache, mask * (cache["outputs"] - drawn.target))


@dataclass
class Tally:
    """How one kind of manual fared."""

    tried: int = 0
    placed: int = 0
    named: int = 0
    missed: list[str] = field(default_factory=list)

    def add(self, slip: Slip, verdict: Verdict, guilty: set[str]) -> None:
        found = {c.name for c in verdict.culprits}
        placed = bool(found) and found <= guilty
        named = placed and {c.kind for c in verdict.culprits} <= slip.kinds
        self.tried, self.placed, self.named = self.tried + 1, self.placed + placed, self.named + named
        if not named:
            self.missed.append(f"{slip.name}: " + ("named " if placed else "placed ") + "; ".join(sorted(
                {f"{c.name} {c.kind.name}" for c in verdict.culprits if c.name not in guilty or c.kind not in slip.kinds}))[:300])  # fmt: skip


def totals(key: str) -> bool:
    """A manual without branches and rows: what most people write down."""
    return " via " not in key and " at t=" not in key


def _bare(names: set[str]) -> set[str]:
    return {name.partition(" via ")[0].partition(" at t=")[0] for name in names}


def singles(seeds: Sequence[int], only: Callable[[str], bool] = lambda key: True) -> Tally:
    """Every slip of the corpus by itself."""
    tally = Tally()
    for seed in seeds:
        asked = problem(seed)
        for slip in CORPUS:
            guilty = slip.names() if only("c via c") else _bare(slip.names())
            tally.add(slip, asked.judge(derivation(slip), only), guilty)
    return tally


def pairs(count: int, seed: int) -> tuple[int, int, list[str]]:
    """So many pairs of slips on different lines: how many were tried, and both found in."""
    rng = np.random.default_rng(seed)
    independent = [(p, q) for p, q in itertools.combinations(CORPUS, 2) if p.right != q.right and not p.names() & q.names()]
    chosen = rng.choice(len(independent), min(count, len(independent)), replace=False)
    found, missed = 0, []
    for k in chosen:
        p, q = independent[k]
        names = {c.name for c in problem(int(k)).judge(derivation(p, q)).culprits}
        good = bool(names & p.names()) and bool(names & q.names()) and names <= p.names() | q.names()
        found += good
        if not good:
            missed.append(f"{p.name} + {q.name}: {sorted(names - p.names() - q.names())[:6]}")
    return len(chosen), found, missed


def false_alarms(count: int, seed: int) -> Iterator[str]:
    """Right derivations of random sizes and masks that are blamed all the same."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        sizes = [int(n) for n in rng.integers(1, (8, 5, 6, 6))]
        mask = rng.integers(0, 2, (sizes[0], sizes[1], 1)) if rng.random() < 0.5 else 1.0
        which = int(rng.integers(2**31))
        verdict = problem(which, *sizes, mask=mask).judge(lstm_manual.backward, totals if rng.random() < 0.3 else lambda key: True)
        if not verdict.ok:
            yield f"seed {which}, (T, B, n_x, n_a) = {tuple(sizes)}: {verdict}"


def main(argv: Sequence[str]) -> None:
    asked = parser(__doc__ or "")
    asked.add_argument("--seeds", type=int, default=3, help="problems per slip")
    asked.add_argument("--pairs", type=int, default=300)
    asked.add_argument("--right", type=int, default=1000, help="right derivations")
    asked.add_argument("--notebooks", type=int, default=1, help="problems per slip in code of other styles")
    asked.add_argument("--misses", action="store_true", help="say what was missed")
    options = asked.parse_args(argv)
    rows = []
    misses: list[str] = []
    for words, only in (("one slip, every adjoint given", lambda key: True), ("one slip, totals only", totals)):
        tally = singles(range(options.seeds), only)
        rows.append({"manual": words, "tried": tally.tried, "right stage": f"{tally.placed / tally.tried:.1%}",
                     "right sentence": f"{tally.named / tally.tried:.1%}"})  # fmt: skip
        misses += [f"{words}: {miss}" for miss in tally.missed]
    tried, found, missed = pairs(options.pairs, 0)
    rows.append({"manual": "two slips", "tried": tried, "right stage": f"{found / tried:.1%}", "right sentence": ""})
    alarms = list(false_alarms(options.right, 1))
    rows.append({"manual": "right", "tried": options.right, "right stage": f"{len(alarms)} blamed", "right sentence": ""})
    others = list(notebooks.singles(range(1, 1 + options.notebooks)))
    if others:
        placed, named, _ = (sum(column) if k < 2 else 0 for k, column in enumerate(zip(*others, strict=True)))
        rows.append({"manual": "code in other styles", "tried": len(others), "right stage": f"{placed / len(others):.1%}",
                     "right sentence": f"{named / len(others):.1%}"})  # fmt: skip
        misses += [words for _, good, words in others if not good]
    strange = list(notebooks.false_alarms(options.right // 3, 2))
    rows.append({"manual": "right, in other styles", "tried": options.right // 3, "right stage": f"{len(strange)} blamed",
                 "right sentence": ""})  # fmt: skip
    alarms += strange
    report(f"What mg.blame finds: {len(CORPUS)} slips in the LSTM's backward pass, T = {T}", rows, json_path=options.json)
    for line in [*misses, *missed, *alarms] if options.misses else alarms:
        print(line)
