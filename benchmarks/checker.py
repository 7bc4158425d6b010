"""What gradient checkers see: the smallest error in a rule that each of them reports.

One rule of a program is multiplied by 1 + e, the same in every library, and the checker of that
library is run at its default settings; e goes down by powers of ten until nothing is reported.
``--cases N`` asks the opposite: N right gradients at random points of random ops, and how
many of them minigrad's checker takes for wrong.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from .timing import parser, report

DIGITS = 17
"""No checker sees an error of 1e-17 in a double."""


@dataclass(frozen=True)
class Program:
    """A function with one stage that is written out, rules and all.

    Attributes
    ----------
    forward : callable
        ``forward(xp, *arrays)``: the stage, in any library's functions.
    rules : tuple of callable
        ``rule(xp, g, y, *arrays)``; the last one gets the error.
    whole : callable
        ``whole(xp, stage, *args)``: what is checked.
    shapes : tuple
        Of the arguments.
    """

    forward: Callable[..., Any]
    rules: tuple[Callable[..., Any], ...]
    whole: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]


def _softmax(xp: Any, x: Any) -> Any:
    e = xp.exp(x)
    return e / e.sum(-1, keepdims=True)


def _sigmoid(xp: Any, x: Any) -> Any:
    return 1 / (1 + xp.exp(-x))


def _cell(xp: Any, stage: Any, c: Any, z: Any, Wf: Any, Wu: Any, Wc: Any, Wo: Any) -> Any:
    forget, update, out = (_sigmoid(xp, W @ z) for W in (Wf, Wu, Wo))
    return xp.tanh(c * forget + update * stage(Wc @ z)) * out


_TANH = (lambda xp, x: xp.tanh(x), (lambda xp, g, y, x: g * (1 - y * y),))

PROGRAMS = {
    "tanh(tanh(tanh(x)))": Program(
        *_TANH, lambda xp, stage, x: xp.tanh(stage(xp.tanh(x))), ((3, 4),)),
    "exp(A @ B)": Program(
        lambda xp, a, b: a @ b,
        (lambda xp, g, y, a, b: g @ b.T, lambda xp, g, y, a, b: a.T @ g),
        lambda xp, stage, a, b: xp.exp(stage(a, b)), ((3, 4), (4, 2))),
    "softmax": Program(
        _softmax, (lambda xp, g, y, x: y * (g - (g * y).sum(-1, keepdims=True)),),
        lambda xp, stage, x: stage(x), ((2, 5),)),
    "x / y": Program(
        lambda xp, a, b: a / b, (lambda xp, g, y, a, b: g / b, lambda xp, g, y, a, b: -g * y / b),
        lambda xp, stage, a, b: stage(a, b * b + 1), ((3, 4), (3, 4))),
    "LSTM cell step": Program(*_TANH, _cell, ((4, 1), (7, 1), *((4, 7),) * 4)),
}  # fmt: skip

FLAT = Program(lambda xp, x: x * 1e-6, (lambda xp, g, y, x: g * 1e-6,),
               lambda xp, stage, x: stage(x), ((3, 4),))  # fmt: skip
"""Its Jacobian is below 1e-5; e = -1 makes its backward zero."""

Checker = Callable[[Program, float, Sequence[Any]], bool]


def minigrad(program: Program, e: float, point: Sequence[Any], *, analytic: bool = True) -> bool:
    """Whether `minigrad.testing.check_grads` finds the error."""
    import numpy as np

    import minigrad as mg
    from minigrad.op import OPS, PUBLIC
    from minigrad.testing import GradientError, check_grads

    last = len(program.rules) - 1

    def ruled(k: int) -> Any:
        return lambda g, y, *xs: program.rules[k](np, g, y, *xs) * (1 + e * (k == last))

    forward: Any = (lambda x, /: program.forward(np, x)) if last == 0 else \
                   (lambda a, b, /: program.forward(np, a, b))  # fmt: skip
    stage = mg.define("written_out", forward, *map(ruled, range(last + 1)), analytic=analytic)
    try:
        check_grads(lambda *args: program.whole(np, stage, *args), *point)
    except GradientError:
        return True
    finally:
        del OPS["written_out"], PUBLIC["written_out"]
    return False


def minigrad_by_differences(program: Program, e: float, point: Sequence[Any]) -> bool:
    """The same for an op that is not declared to be analytic."""
    return minigrad(program, e, point, analytic=False)


def torch(program: Program, e: float, point: Sequence[Any]) -> bool:
    """Whether `torch.autograd.gradcheck` finds the error."""
    import torch

    class Stage(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *xs: Any) -> Any:
            y = program.forward(torch, *xs)
            ctx.save_for_backward(y, *xs)
            return y

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return tuple(_vjp(program, e, torch, g, *ctx.saved_tensors))

    args = [torch.tensor(x, requires_grad=True) for x in point]
    right = torch.autograd.gradcheck(
        lambda *xs: program.whole(torch, Stage.apply, *xs), args, raise_exception=False
    )
    return not right


def jax(program: Program, e: float, point: Sequence[Any]) -> bool:
    """Whether `jax.test_util.check_grads` finds the error (it has no default order: 1)."""
    import jax
    import jax.numpy as jnp
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)

    @jax.custom_vjp
    def stage(*xs: Any) -> Any:
        return program.forward(jnp, *xs)

    def forward(*xs: Any) -> Any:
        return stage(*xs), xs

    def backward(xs: Any, g: Any) -> Any:
        return tuple(_vjp(program, e, jnp, g, program.forward(jnp, *xs), *xs))

    stage.defvjp(forward, backward)
    return _raises(lambda: check_grads(
        lambda *xs: program.whole(jnp, stage, *xs), tuple(map(jnp.asarray, point)), order=1, modes=("rev",)))  # fmt: skip


def autograd(program: Program, e: float, point: Sequence[Any]) -> bool:
    """Whether `autograd.test_util.check_grads` finds the error."""
    import autograd.numpy as anp
    import numpy as np
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    stage = primitive(lambda *xs: program.forward(np, *xs))

    def ruled(k: int) -> Any:
        return lambda y, *xs: lambda g: _vjp(program, e, anp, g, y, *xs)[k]

    defvjp(stage, *map(ruled, range(len(program.rules))))
    np.random.seed(0)  # noqa: NPY002 - its directions come from there
    return _raises(lambda: check_grads(
        lambda *xs: program.whole(anp, stage, *xs), tuple(range(len(point))), modes=["rev"])(*point))  # fmt: skip


def _vjp(program: Program, e: float, xp: Any, g: Any, y: Any, *xs: Any) -> list[Any]:
    last = len(program.rules) - 1
    return [rule(xp, g, y, *xs) * (1 + e * (k == last)) for k, rule in enumerate(program.rules)]


def _raises(check: Callable[[], object]) -> bool:
    try:
        check()
    except AssertionError:
        return True
    return False


CHECKERS: dict[str, Checker] = {
    "minigrad": minigrad,
    "minigrad, not analytic": minigrad_by_differences,
    "torch gradcheck": torch,
    "jax check_grads": jax,
    "autograd check_grads": autograd,
}


def smallest(checker: Checker, program: Program, point: Sequence[Any]) -> float:
    """The smallest power of ten that is reported, by bisection; 0 if a right rule is, infinity
    if an error of 100% is not."""
    if checker(program, 0.0, point):
        return 0.0
    seen, unseen = -1, DIGITS
    while unseen - seen > 1:
        middle = (seen + unseen) // 2
        if checker(program, 10.0**-middle, point):
            seen = middle
        else:
            unseen = middle
    return 10.0**-seen if seen >= 0 else float("inf")


def points(program: Program) -> list[Any]:
    """Where all checkers look."""
    import numpy as np

    rng = np.random.default_rng(20190501)
    return [rng.normal(size=shape) for shape in program.shapes]


def comparison() -> Iterator[dict[str, Any]]:
    """The rows of the table."""
    for name, program in PROGRAMS.items():
        row: dict[str, Any] = {"one wrong rule in": name}
        for library, checker in CHECKERS.items():
            found = _available(lambda c=checker, p=program: smallest(c, p, points(p)))
            row[library] = None if found is None else f"{found:.0e}"
        yield row
    row = {"one wrong rule in": "1e-6 x, backward all zero"}
    for library, checker in CHECKERS.items():
        seen = _available(lambda c=checker: c(FLAT, -1.0, points(FLAT)))
        row[library] = None if seen is None else "reported" if seen else "passes"
    yield row


def _available(measure: Callable[[], Any]) -> Any:
    try:
        return measure()
    except ImportError:
        return None


# --- false alarms ------------------------------------------------------------------------------


def case(seed: int, k: int) -> tuple[Any, tuple[Any, ...], dict[str, Any], int]:
    """Case k of a campaign: an op, its inputs, its metadata and the seed of the check."""
    import numpy as np

    from minigrad.op import OPS, draw_samples

    rng = np.random.default_rng((seed, k))
    ops = [op for name, op in sorted(OPS.items()) if op.differentiable and name not in UNSAMPLED]
    while True:
        op = ops[rng.integers(len(ops))]
        samples = [s for s in draw_samples(op, rng) if active(op, s[0])]
        if samples:
            inputs, params = samples[rng.integers(len(samples))]
            return op, tuple(map(np.asarray, inputs)), params, int(rng.integers(2**31))


UNSAMPLED = {"pick", "recomputed"}
"""Stages that only the engine makes."""


def active(op: Any, inputs: Sequence[Any]) -> list[int]:
    """Positions that are given a gradient."""
    import numpy as np

    return [i for i, x in enumerate(inputs) if np.asarray(x).dtype.kind == "f" and op.passes(i)]


def check_case(seed: int, k: int) -> tuple[str, str]:
    """What the checker says of case k ("right", "kink", "alarm" or "failure"), and a description."""
    from minigrad.tensor import apply
    from minigrad.testing import GradientError, check_grads

    op, inputs, params, check_seed = case(seed, k)
    places = active(op, inputs)

    def f(*xs: Any) -> Any:
        full = list(inputs)
        for i, x in zip(places, xs, strict=True):
            full[i] = x
        return apply(op, tuple(full), params)

    shapes = ", ".join(str(x.shape) for x in inputs)
    what = f"case {k} of --seed {seed}: {op.name}({shapes}) {params}, check_grads seed {check_seed}"
    try:
        with warnings.catch_warnings(action="ignore"):
            found = check_grads(f, *(inputs[i] for i in places), seed=check_seed)
    except GradientError as error:
        return "alarm", f"{what}\n{error}"
    except Exception as error:
        return "failure", f"{what}\n{type(error).__name__}: {error}"
    return ("kink" if found.kinks else "right"), op.name


def _share(job: tuple[int, range]) -> tuple[Counter[str], list[str]]:
    seed, cases = job
    verdicts: Counter[str] = Counter()
    told = []
    for k in cases:
        verdict, text = check_case(seed, k)
        verdicts[verdict] += 1
        if verdict in ("alarm", "failure"):
            told.append(text)
    return verdicts, told


def campaign(cases: int, *, seed: int, processes: int, say: Callable[[str], None] = print) -> Counter[str]:
    """Check so many right gradients; every alarm is told as it comes."""
    import multiprocessing

    verdicts: Counter[str] = Counter()
    size = 100
    jobs = [(seed, range(k, min(k + size, cases))) for k in range(0, cases, size)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for done, (found, told) in enumerate(pool.imap_unordered(_share, jobs), 1):
            verdicts += found
            for text in told:
                say(text)
            if done % 50 == 0:
                say(f"{verdicts.total()} cases, {verdicts['alarm']} false alarms")
    return verdicts


def main(argv: Sequence[str]) -> None:
    """Print the table, or the count of false alarms."""
    asked = parser(__doc__ or "")
    asked.add_argument("--cases", type=int, metavar="N", help="count false alarms in N right cases instead")
    asked.add_argument("--seed", type=int, help="of the cases; without it, a new one")
    asked.add_argument("--processes", type=int, default=os.cpu_count(), help="that share the cases")
    args = asked.parse_args(argv)
    if args.cases is None:
        report("The smallest relative error of one rule that a checker reports at default settings",
               list(comparison()), packages=("torch", "jax", "autograd"), json_path=args.json)  # fmt: skip
        return
    seed = int.from_bytes(os.urandom(3)) if args.seed is None else args.seed
    start = perf_counter()
    found = campaign(args.cases, seed=seed, processes=args.processes)
    rows = [{"cases": found.total(), "false alarms": found["alarm"], "failures": found["failure"],
             "at a kink": found["kink"], "seed": seed, "minutes": (perf_counter() - start) / 60}]  # fmt: skip
    report("Right gradients at random points of random ops", rows, json_path=args.json)
    if found["alarm"] or found["failure"]:
        raise SystemExit(1)
