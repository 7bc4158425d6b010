"""Learning rates that change as training goes on, `mg.optim.lr_scheduler`: PyTorch's names,
signatures and, to rounding, its numbers.

A schedule is its closed formula, `lr_at`.  So it can be asked for any epoch, and a training
that was stopped goes on from a number.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from .errors import ArgumentError, lesson

if TYPE_CHECKING:
    from .optim import Optimizer


class LRScheduler:
    """What schedules share; an epoch is whatever lies between two calls of `step`.

    Parameters
    ----------
    optimizer : Optimizer
        Its ``lr`` is set at once, and by every step.  The rates are parts of the one it was
        made with, whatever other schedules have made of it since.

    Attributes
    ----------
    base_lr : float
    last_epoch : int
        Steps taken.
    state : dict
        What must be saved to go on; assign it to go on.
    """

    _kept: tuple[str, ...] = ("base_lr", "last_epoch")

    def __init__(self, optimizer: Optimizer) -> None:
        if not hasattr(optimizer, "lr"):
            raise ArgumentError(lesson(type(self).__name__, f"optimizer={optimizer!r:.60}", "an Optimizer"))
        self.optimizer = optimizer
        self.base_lr: float = vars(optimizer).setdefault("initial_lr", optimizer.lr)
        self.last_epoch = 0
        optimizer.lr = self.lr_at(0)

    def lr_at(self, epoch: int) -> float:
        """The learning rate after so many steps."""
        raise NotImplementedError

    def step(self) -> None:
        """The next epoch begins: set its learning rate."""
        self.last_epoch += 1
        self.optimizer.lr = self.lr_at(self.last_epoch)

    @property
    def state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._kept}

    @state.setter
    def state(self, saved: dict[str, Any]) -> None:
        for name in self._kept:
            setattr(self, name, saved[name])

    def _count(self, least: int = 1, **given: Any) -> None:
        """Refuse what is no whole number of at least `least`."""
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ArgumentError(lesson(type(self).__name__, f"{name}={value!r}", f"an integer, at least {least}"))


class LambdaLR(LRScheduler):
    """``base · lr_lambda(epoch)``; the function is not part of `state`."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float]) -> None:
        self.lr_lambda = lr_lambda
        super().__init__(optimizer)

    def lr_at(self, epoch: int) -> float:
        return self.base_lr * self.lr_lambda(epoch)


class ConstantLR(LRScheduler):
    """``base · factor`` for `total_iters` epochs, then the base."""

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5) -> None:
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer)

    def lr_at(self, epoch: int) -> float:
        return self.base_lr * (self.factor if epoch < self.total_iters else 1.0)


class LinearLR(LRScheduler):
    """A straight line from ``base · start_factor`` to ``base · end_factor``, and level after it."""

    def __init__(self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0,
                 total_iters: int = 5) -> None:  # fmt: skip
        self._count(total_iters=total_iters)
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer)

    def lr_at(self, epoch: int) -> float:
        way = min(epoch, self.total_iters) / self.total_iters
        return self.base_lr * (self.start_factor + (self.end_factor - self.start_factor) * way)


class PolynomialLR(LRScheduler):
    """``base · (1 − epoch / total_iters)^power``, then 0."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0) -> None:
        self._count(total_iters=total_iters)
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer)

    def lr_at(self, epoch: int) -> float:
        left = 1 - min(epoch, self.total_iters) / self.total_iters
        return float(self.base_lr * left**self.power)


class ExponentialLR(LRScheduler):
    """``base · gamma^epoch``."""

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = gamma
        super().__init__(optimizer)

    def lr_at(self, epoch: int) -> float:
        return float(self.base_lr * self.gamma**epoch)


class StepLR(LRScheduler):
    """Times `gamma` after every `step_size` epochs."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self._count(step_size=step_size)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def lr_at(self, epoch: int) -> float:
        return float(self.base_lr * self.gamma ** (epoch // self.step_size))


class MultiStepLR(LRScheduler):
    """Times `gamma` at each of the `milestones`."""

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def lr_at(self, epoch: int) -> float:
        return float(self.base_lr * self.gamma ** bisect_right(self.milestones, epoch))


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the base down to `eta_min` in `T_max` epochs (Loshchilov & Hutter 2017);
    beyond, it swings back."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self._count(T_max=T_max)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def lr_at(self, epoch: int) -> float:
        return self._wave(epoch / self.T_max)

    def _wave(self, way: float) -> float:
        return self.eta_min + (self.base_lr - self.eta_min) * (1 + math.cos(math.pi * way)) / 2


class CosineAnnealingWarmRestarts(CosineAnnealingLR):
    """The same fall again and again, each `T_mult` times as long as the one before."""

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0) -> None:
        self._count(T_0=T_0, T_mult=T_mult)
        self.T_mult = T_mult
        super().__init__(optimizer, T_0, eta_min)

    def lr_at(self, epoch: int) -> float:
        length = self.T_max
        while epoch >= length:
            if self.T_mult == 1:
                epoch %= length
                break
            epoch, length = epoch - length, length * self.T_mult
        return self._wave(epoch / length)


class SequentialLR(LRScheduler):
    """One schedule after the other: a warm-up, and what follows it.

    Parameters
    ----------
    optimizer : Optimizer
    schedulers : sequence of LRScheduler
        Of the same optimizer.
    milestones : sequence of int
        The epochs at which the second, third, ... begin, each from its own epoch 0.
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]) -> None:
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        if len(self.milestones) != len(self.schedulers) - 1 or self.milestones != sorted(self.milestones):
            raise ArgumentError(lesson("SequentialLR", f"{len(self.schedulers)} schedulers and milestones={milestones}",
                                       "for each scheduler after the first, the epoch at which it begins"))  # fmt: skip
        for each in self.schedulers:
            if isinstance(each, ReduceLROnPlateau) or each.optimizer is not optimizer:
                raise ArgumentError(lesson("SequentialLR", f"a {type(each).__name__}"
                                           + (" of another optimizer" if each.optimizer is not optimizer else ""),
                                           "schedules that need no metrics, all of this optimizer"))  # fmt: skip
        super().__init__(optimizer)

    def lr_at(self, epoch: int) -> float:
        k = bisect_right(self.milestones, epoch)
        return self.schedulers[k].lr_at(epoch - (self.milestones[k - 1] if k else 0))


class ReduceLROnPlateau(LRScheduler):
    """Times `factor` when a figure has not improved for more than `patience` steps.

    Parameters
    ----------
    optimizer : Optimizer
    mode : {"min", "max"}
        Which way is better.
    factor : float
    patience : int
    threshold : float
        By how much a figure must be better to count: by a part of the best one, or, with
        `threshold_mode` ``"abs"``, by this much.
    threshold_mode : {"rel", "abs"}
    cooldown : int
        After a cut, so many steps do not count as bad.
    min_lr : float
    eps : float
        A cut that would change the rate by no more is not made.
    """

    _kept = ("base_lr", "last_epoch", "lr", "best", "num_bad_epochs", "cooldown_counter")

    def __init__(self, optimizer: Optimizer, mode: Literal["min", "max"] = "min", factor: float = 0.1,
                 patience: int = 10, threshold: float = 1e-4, threshold_mode: Literal["rel", "abs"] = "rel",
                 cooldown: int = 0, min_lr: float = 0.0, eps: float = 1e-8) -> None:  # fmt: skip
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ArgumentError(lesson("ReduceLROnPlateau", f"mode={mode!r}, threshold_mode={threshold_mode!r}",
                                       "'min' or 'max', and 'rel' or 'abs'"))  # fmt: skip
        if not factor < 1:
            raise ArgumentError(lesson("ReduceLROnPlateau", f"factor={factor!r}", "a number below 1"))
        self._count(0, patience=patience, cooldown=cooldown)
        self.sign = 1.0 if mode == "min" else -1.0  # of a figure that is to become small
        self.factor, self.patience, self.threshold, self.threshold_mode = factor, patience, threshold, threshold_mode
        self.cooldown, self.min_lr, self.eps = cooldown, min_lr, eps
        self.lr: float = getattr(optimizer, "lr", math.nan)
        self.best = math.inf * self.sign
        self.num_bad_epochs = self.cooldown_counter = 0
        super().__init__(optimizer)

    def lr_at(self, epoch: int) -> float:
        """The rate as the figures have made it, whatever the epoch."""
        return self.lr

    def step(self, metrics: float) -> None:  # type: ignore[override]  # PyTorch's signature
        """Take note of a figure, and cut the rate if it is time to."""
        metrics = float(metrics)
        if self._is_better(metrics):
            self.best, self.num_bad_epochs = metrics, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            cut = max(self.lr * self.factor, self.min_lr)
            if self.lr - cut > self.eps:
                self.lr = cut
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        super().step()

    def _is_better(self, metrics: float) -> bool:
        least = self.sign * self.threshold
        bar = self.best * (1 - least) if self.threshold_mode == "rel" else self.best - least
        return self.sign * metrics < self.sign * bar
