"""Foretell next year's sunspot number, and be honest about who does it better.

The yearly sunspot numbers from 1700 to 2008, which statsmodels brings along. An LSTM reads 33 years, three
cycles, divided by the deviation up to 1920, and says at their end by how much the next year will differ
from the last. It learns from the years up to 1880, those up to 1920 say when to stop, and the years from
1921 on, each foretold from the 33 before it, are the test. The measure is the root of the mean squared
error, in sunspots.

Beside it: persistence (next year is like this one) and AR(9), a linear autoregression on the nine years
before, fitted by least squares to the years up to 1920.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import Tensor

from .experiment import Array, Axes, Experiment, Figure, Trial, Watch
from .learning import Learner, Reader, by_autodiff, ends
from .needed import needed

LEARN, STOP = 1880, 1920
ORDER = 9


@dataclass(frozen=True)
class Recipe:
    window: int = 33
    units: int = 16
    rate: float = 5e-3
    clip: float = 1.0
    updates: int = 600
    every: int = 10


def series() -> tuple[Array, Array]:
    """Years, and sunspots."""
    data = needed("statsmodels.datasets", "sunspots").sunspots.load_pandas().data
    return data["YEAR"].to_numpy(int), data["SUNACTIVITY"].to_numpy(float)


def rmse(foretold: Array, values: Array) -> float:
    return float(np.sqrt(np.mean((foretold - values) ** 2)))


def autoregression(values: Array, order: int, until: int) -> Array:
    """Foretell each value from the `order` before it, a linear rule fitted by least squares to
    the first `until` values; (len(values) − order,)."""
    past = np.lib.stride_tricks.sliding_window_view(values[:-1], order)
    past = np.column_stack([past, np.ones(len(past))])
    rule, *_ = np.linalg.lstsq(past[: until - order], values[order:until], rcond=None)
    foretold: Array = past @ rule
    return foretold


def rivals(recipe: Recipe) -> dict[str, float]:
    """Persistence and AR(9) on the test years."""
    years, values = series()
    test = years > STOP
    linear = autoregression(values, ORDER, int(np.sum(~test)))
    return {"persistence": rmse(np.roll(values, 1)[test], values[test]), f"AR({ORDER})": rmse(linear[test[ORDER:]], values[test])}


def loss(model: Reader, x: Any, last: Any, change: Any) -> tuple[Tensor, None]:
    """Mean squared error of the foretold changes."""
    return mg.mean(mg.square(model.at_end(x, last) - change)), None


def trial(recipe: Recipe, seed: int, watch: Watch) -> Trial:
    years, values = series()
    scale = values[years <= STOP].std()
    scaled = (values / scale).astype(np.float32)
    x = np.lib.stride_tricks.sliding_window_view(scaled[:-1], recipe.window).T[:, :, None].copy()
    of, after, before = years[recipe.window :], values[recipe.window :], values[recipe.window - 1 : -1]
    change = np.diff(scaled)[recipe.window - 1 :, None]
    last = ends(np.full(len(of), recipe.window), recipe.window)
    learn, stop, test = of <= LEARN, (of > LEARN) & (of <= STOP), of > STOP
    model = Reader(1, recipe.units, 1, np.random.default_rng(seed))
    learner = Learner(model, by_autodiff(loss), recipe.rate, recipe.clip)
    best, chosen, curve = np.inf, np.nan, []
    for update in range(1, recipe.updates + 1):
        learner(x[:, learn], last[:, learn], change[learn])
        if update % recipe.every == 0:
            with mg.no_grad():
                foretold = before + scale * model.at_end(x, last).data[:, 0]
            now, judged = rmse(foretold[test], after[test]), rmse(foretold[stop], after[stop])
            curve.append((update, now))
            if judged < best:
                best, chosen = judged, now
            watch(update, recipe.updates, f"{judged:.1f} sunspots off, {LEARN + 1} to {STOP}")
    others = rivals(recipe)
    return Trial(chosen < others["persistence"], {"rmse": chosen, "behind": chosen - others[f"AR({ORDER})"]}, curve)


EXPERIMENT = Experiment(
    name="sunspots",
    title="Sunspots, one year ahead",
    source="Yearly sunspot numbers (SIDC), from statsmodels; autoregressions since Yule 1927",
    about=__doc__,
    rule="better than persistence",
    figures={
        "rmse": Figure("root of the mean squared error, 1921 to 2008", "{:.2f}"),
        "behind": Figure("of it more than AR(9) has", "{:.2f}"),
    },
    recipe=Recipe(),
    trial=trial,
    axes=Axes("updates", "RMSE in the test, sunspots"),
    share=1.0,
    rivals=rivals,
    remark="**The LSTM loses to AR(9)**, a rule with ten numbers that is fitted in a millisecond: two hundred years "
    "of a nearly periodic series are too little for a net to find more in them than that, and it over-fits after some forty updates.",
    quick={"updates": 20},
)
