"""Running totals, differences, and the integral of samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..define import define
from ..errors import ArgumentError, lesson
from ..op import Sample, declare, publish
from ..tensor import Tensor, apply, as_tensor, tensor
from ._lines import along, filled, flattened, line_of, refuse_line, running_samples

# --- sums ----------------------------------------------------------------------------------


def _cumulative_sum(x: Any, /, *, axis: int | None = None, dtype: Any = None,
                    include_initial: bool = False) -> Any:  # fmt: skip
    line = line_of(x, axis)
    y = np.cumsum(x, axis=line, dtype=dtype)
    return np.concatenate([filled(y, line, 1, 0), y], axis=line) if include_initial else y


def _sums_to_come(g: Any, y: Any, x: Any, *, axis: int | None = None, dtype: Any = None,
                  include_initial: bool = False) -> Any:  # fmt: skip
    line = line_of(x, axis)
    back = along(line, None, None, -1)
    if include_initial:
        g = g[along(line, 1, None)]
    return running_sum(g[back], axis=line)[back]


cumulative_sum = define("cumulative_sum", _cumulative_sum, _sums_to_come, linear="jointly",
    analytic=True, samples=running_samples, complain=refuse_line("cumulative_sum"),
    numpy={np.cumulative_sum: {}}, caption="yₖ = x₁ + … + xₖ")  # fmt: skip
running_sum = cumulative_sum.op


def cumsum(x: Any, /, *, axis: int | None = None, dtype: Any = None) -> Any:
    """`cumulative_sum`; without `axis`, of the flattened array (NumPy's name)."""
    return flattened(cumulative_sum, x, axis, dtype)


publish("cumsum", cumsum, numpy={np.cumsum: {}})


# --- differences ---------------------------------------------------------------------------


def _diff(x: Any, /, *, axis: int = -1, n: int = 1) -> Any:
    line = line_of(x, axis)
    if n < 0:
        raise ValueError("n < 0")
    return np.diff(x, n=n, axis=line)


def _diff_rule(g: Any, y: Any, x: Any, *, axis: int = -1, n: int = 1) -> Any:
    """Differences, run backwards, of the cotangent between n zeros on either side."""
    line = line_of(x, axis)
    behind = filled(g, line, x.shape[line] - g.shape[line], 0)
    wide = np.concatenate([filled(g, line, n, 0), g, behind], axis=line)
    c = differences(wide, axis=line, n=n)
    return -c if n % 2 else c


def _refuse_diff(inputs: Any, params: dict[str, Any]) -> Exception | None:
    n = params.get("n", 1)
    if isinstance(n, int) and n >= 0:
        return refuse_line("diff")(inputs, {"axis": params.get("axis", -1)})  # type: ignore[no-any-return]
    return ArgumentError(lesson("diff", f"n={n!r}", "an integer, 0 or more"))


def _diff_samples(rng: np.random.Generator) -> Iterator[Sample]:
    x = rng.normal(size=(3, 4))
    for n in (0, 1, 2, 3, 5):
        yield (x,), {"n": n}
    yield (x,), {"axis": 0, "n": 2}
    yield (np.zeros((0, 3)),), {"axis": 0}


differences = declare("diff", _diff, _diff_rule, linear="jointly", analytic=True, samples=_diff_samples,
                      complain=_refuse_diff, caption="xₖ₊₁ − xₖ, n times")  # fmt: skip


def diff(x: Any, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Any:
    """Differences of neighbours along `axis`, taken `n` times.

    Parameters
    ----------
    prepend, append : array_like or Tensor, optional
        Put before and behind `x` along `axis` first; they have a gradient too.  A number stands
        for one element in each line.
    """
    if prepend is None and append is None or n == 0:  # NumPy puts nothing beside what it leaves as it is
        return apply(differences, (x,), {"axis": axis, "n": n})
    x = as_tensor(x)
    parts = [x if part is x else _widened(part, x, axis) for part in (prepend, x, append) if part is not None]
    return apply(differences, (np.concatenate(parts, axis=axis),), {"axis": axis, "n": n})


def _widened(part: Any, x: Tensor, axis: int) -> Any:
    part = part if isinstance(part, Tensor) else tensor(part, dtype=x.dtype if np.ndim(part) == 0 else None)
    if part.ndim:
        return part
    return np.broadcast_to(part, tuple(1 if k == axis % x.ndim else s for k, s in enumerate(x.shape)))


diff.op = differences  # type: ignore[attr-defined]
publish("diff", diff, numpy={np.diff: {}})


def trapezoid(y: Any, /, *, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """The integral of samples `y` by the trapezoidal rule, at the points `x` or `dx` apart.

    Differentiable in the samples, in the points and in the distance.
    """
    y = as_tensor(y)
    line = line_of(y, axis)
    if x is not None:
        x = as_tensor(x)
        dx = diff(x, axis=-1 if x.ndim == 1 else axis)
        if x.ndim == 1:
            dx = dx.reshape((-1, *(1,) * (y.ndim - 1 - line)))
    pairs = y[along(line, 1, None)] + y[along(line, None, -1)]
    return np.sum(dx * pairs / 2.0, axis=line)


publish("trapezoid", trapezoid, numpy={np.trapezoid: {}})
