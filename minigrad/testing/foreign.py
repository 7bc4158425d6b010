"""`check_vjp`: the same verdict for a gradient that is not minigrad's.

The function and its backward are black boxes: plain NumPy, torch, JAX.  There is no graph to
read, so the oracle perturbs the function as a whole, and what it finds is believed only as
far as two methods agree.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import ArgumentError, ShapeError, lesson
from .report import Census, GradientError, Report, census_of
from .stage import (
    EXTENDED,
    Moved,
    by_complex_step,
    by_differences,
    drawn,
    extended,
    places_of,
    run,
    tupled,
)

DRAWS, PERTURBED = 3, 4
DOUBLE = 2.0**-52
DIFFERENCES = 1e-9
AGREE = 1e-5


def check_vjp(
    f: Callable[..., Any],
    vjp: Callable[..., Any],
    *args: Any,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> Report:
    """Check a hand-written backward, or that of another library, against its function.

    Parameters
    ----------
    f : callable
        ``f(*args)``: an array or a tuple of arrays.
    vjp : callable
        ``vjp(v, *args)``: for a cotangent `v` of the output (a tuple of them for a tuple), the
        cotangent of every float argument, in order; None for one that it leaves out.
    *args
        NumPy, torch or JAX arrays; the functions are called with the same kind.
    seed, names
        As for `check_grads`.

    Returns
    -------
    Report

    Raises
    ------
    GradientError
        With a census of the wrong entries.
    ShapeError, ArgumentError
        `vjp` returns too few cotangents, or of another shape.

    Notes
    -----
    A plain NumPy function is run on extended and on complex numbers if it can take them, and
    so is `vjp`; then an error of 1e-13 shows.  Where the complex step and differences do not
    agree (an ``abs``, a cast to float inside), differences alone are used.
    """
    return _Foreign(f, vjp, args, seed, names).check()


class _Foreign:
    def __init__(
        self, f: Any, vjp: Any, args: tuple[Any, ...], seed: int, names: Sequence[str] | None
    ) -> None:
        self.f, self.vjp, self.args, self.seed = f, vjp, args, seed
        self.rng = np.random.default_rng(seed)
        arrays = [_numpy(a) for a in args]
        self.places = [k for k, a in enumerate(arrays) if a.dtype.kind == "f"]
        if not self.places:
            raise ArgumentError(
                lesson("check_vjp", "no argument has a float dtype", "at least one")
            )
        self.point = [extended(arrays[k]) for k in self.places]
        self.names = [names[k] if names else f"argument {k}" for k in self.places]
        self.oracles: set[str] = set()
        self.kinks: list[str] = []
        self.detectable = self.error = 0.0

    def value(self, *point: Any) -> tuple[Any, ...]:
        """`f` on NumPy arrays, whatever it takes."""
        return tuple(_numpy(y) for y in tupled(self.f(*self._arguments(point))))

    def _arguments(self, point: Sequence[Any]) -> list[Any]:
        given = dict(zip(self.places, point, strict=True))
        return [_as(a, given[k]) if k in given else a for k, a in enumerate(self.args)]

    def gradient(self, seeds: Sequence[Any], point: Sequence[Any]) -> list[Any]:
        """What `vjp` gives for each float argument."""
        outputs = tupled(self.f(*self._arguments(point)))
        like = [_as(y, np.asarray(s, _numpy(y).dtype)) for y, s in zip(outputs, seeds, strict=True)]
        several = isinstance(self.f(*self._arguments(point)), tuple)
        found = self.vjp(tuple(like) if several else like[0], *self._arguments(point))
        found = list(found) if isinstance(found, (tuple, list)) else [found]
        if len(found) == len(self.args) != len(self.places):
            found = [found[k] for k in self.places]
        if len(found) != len(self.places):
            raise ArgumentError(lesson("check_vjp", f"vjp returned {len(found)} cotangents",
                                       f"{len(self.places)}, one for each float argument"))  # fmt: skip
        arrays = [
            np.zeros(np.shape(x)) if g is None else _numpy(g)
            for g, x in zip(found, point, strict=True)
        ]
        for name, g, x in zip(self.names, arrays, point, strict=True):
            if g.shape != np.shape(x):
                raise ShapeError(lesson("check_vjp", f"the cotangent of {name} has shape {g.shape}",
                                        f"{name} has shape {np.shape(x)}"))  # fmt: skip
        return arrays

    def check(self) -> Report:
        seeds = [self._random(y) for y in run(self.value, self.point, {})]
        got, eps = self._widest(seeds)
        wrong = [
            c for k in range(len(self.point)) if (c := self._leaf(k, seeds, got, eps)) is not None
        ]
        if wrong:
            raise GradientError("check_vjp: " + "\n".join(map(str, wrong)), tuple(wrong))
        return Report(
            True, self._oracle(), self.detectable, self.seed, 1, tuple(dict.fromkeys(self.kinks))
        )

    def _widest(self, seeds: Sequence[Any]) -> tuple[list[Any], float]:
        """The gradient in extended precision if `vjp` computes in it, else in double."""
        try:
            got = self.gradient(seeds, self.point)
            if all(g.dtype == EXTENDED for g in got):
                return got, float(np.finfo(EXTENDED).eps)
        except (TypeError, ValueError, np.linalg.LinAlgError):
            pass
        got = self.gradient(seeds, [np.asarray(x, np.float64) for x in self.point])
        return got, max(float(np.finfo(g.dtype).eps) for g in got if g.dtype.kind == "f")

    def _leaf(self, k: int, seeds: Sequence[Any], got: list[Any], eps: float) -> Census | None:
        for draw in range(DRAWS):
            t = self._random(got[k])
            if draw == 0:
                t = np.abs(t) * np.where(got[k] < 0, -1, 1)
            expected, exact, error = self._along(k, t, seeds, self.point)
            actual, mass = np.sum(got[k] * t), np.sum(np.abs(got[k] * t))
            tolerance = self._tolerance(k, t, seeds, expected - actual, mass, eps, exact, error)
            if draw == 0 and mass:
                self.detectable = max(self.detectable, float(tolerance / mass))
            if not abs(expected - actual) <= tolerance:
                if not exact and self._kinked(k, t, seeds):
                    self.kinks.append(f"the function has one at this value of {self.names[k]}")
                    continue
                return self._census(k, seeds, got, float(tolerance / mass) if mass else 0.0)
        return None

    def _along(
        self, k: int, t: Any, seeds: Sequence[Any], point: Sequence[Any]
    ) -> tuple[Any, bool, float]:
        """The contraction with the seeds of how `f` moves; whether it is exact; its error."""
        along = [t if j == k else None for j in range(len(point))]

        def contract(moved: Moved) -> Any:
            return sum(
                (np.sum(s * d) for s, d in zip(seeds, moved.parts, strict=True)), EXTENDED(0)
            )

        moved = by_differences(self.value, point, along, {})
        rough, scale = (
            contract(moved),
            sum(float(np.sum(np.abs(s * d))) for s, d in zip(seeds, moved.parts, strict=True)),
        )
        try:
            with np.errstate(all="ignore"), _no_warnings():
                step = by_complex_step(self.value, point, along, {})
            fine = contract(step)
            if abs(fine - rough) <= AGREE * scale:
                self.oracles.add("complex step")
                return fine, True, 0.0
        except Exception:  # a foreign function may refuse complex numbers in any way
            pass
        self.oracles.add("differences")
        return rough, False, moved.error

    def _kinked(self, k: int, t: Any, seeds: Sequence[Any]) -> bool:
        """Whether the slopes to either side stay apart however short the step."""
        here = self.value(*map(_double, self.point))

        def slope(h: float) -> Any:
            there = self.value(
                *(_double(x + h * t if j == k else x) for j, x in enumerate(self.point))
            )
            return sum(np.sum(s * (a - b)) / h for s, a, b in zip(seeds, there, here, strict=True))

        wide, narrow = (abs(slope(h) - slope(-h)) for h in (1e-4, 1e-5))
        return bool(narrow > 0.5 * wide > 1e-6 * abs(slope(1e-4)))

    def _tolerance(
        self, k: int, t: Any, seeds: Any, off: Any, mass: Any, eps: float, exact: bool, error: float
    ) -> Any:
        relative = 2e-15 if eps < DOUBLE else 100 * eps
        if not exact:
            relative = max(relative, DIFFERENCES, 20 * error)
        tolerance = relative * mass + 1e-290
        if eps < DOUBLE or abs(off) <= tolerance:
            return tolerance
        # in double precision: how much does rounding move the difference of the two?
        spread = []
        for _ in range(PERTURBED):
            point = [x * (1 + eps * self.rng.uniform(-1, 1, np.shape(x))) for x in self.point]
            g = self.gradient(seeds, [_double(x) for x in point])
            spread.append(
                float(
                    np.sum(g[k] * t)
                    - self._along(k, t, seeds, [extended(_double(x)) for x in point])[0]
                    + off
                )
            )
        return tolerance + 6 * max(map(abs, spread))

    def _census(self, k: int, seeds: Any, got: Any, relative: float) -> Census:
        shape = np.shape(got[k])
        places = places_of(self.rng, shape)
        expected = []
        for place in places:
            e = np.zeros(shape, EXTENDED)
            e[place] = 1
            expected.append(self._along(k, e, seeds, self.point)[0])
        actual = [got[k][place] for place in places]
        worst, wrong = census_of(
            expected, actual, float(10 * relative * np.max(np.abs(expected), initial=0))
        )
        named = [(places[j[0]], want, have) for j, want, have in worst]
        return Census(self.names[k], 1, named, wrong, len(places), int(np.size(got[k])), (), self.detectable or relative,
                      self._oracle(), self.seed)  # fmt: skip

    def _random(self, like: Any) -> Any:
        return drawn(self.rng, like)

    def _oracle(self) -> str:
        return " and ".join(sorted(self.oracles)) + " of the whole function"


def _double(x: Any) -> Any:
    return np.asarray(x, np.float64)


def _numpy(x: Any) -> Any:
    """A NumPy, torch or JAX array, or a number, as ndarray."""
    if type(x).__module__.startswith("torch"):
        return x.detach().cpu().numpy()
    return np.asarray(x)


def _as(original: Any, array: Any) -> Any:
    """`array` as the kind of array that `original` is."""
    if type(original).__module__.startswith("torch"):
        torch: Any = importlib.import_module("torch")
        if array.dtype in (EXTENDED, np.clongdouble):
            raise TypeError("torch knows no extended precision")
        return torch.from_numpy(np.array(array))
    if type(original).__module__.startswith("jax"):
        if array.dtype in (EXTENDED, np.clongdouble):
            raise TypeError("jax knows no extended precision")
        jnp: Any = importlib.import_module("jax.numpy")
        return jnp.asarray(array)
    return array


def _no_warnings() -> Any:
    import warnings

    return warnings.catch_warnings(action="error", category=np.exceptions.ComplexWarning)
