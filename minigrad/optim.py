"""Optimisers: each step gives every parameter a new array; PyTorch's signatures and, to
rounding, its numbers.

Each formula is written once.  It runs on arrays, at NumPy's speed; while a captured function is
recorded it runs on tensors, so that a replay takes the same step, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import reduce
from typing import Any

import numpy as np

from . import lr_scheduler as lr_scheduler  # mg.optim.lr_scheduler
from .errors import ArgumentError, ModeError, ShapeError, lesson
from .mode import get_mode
from .nn import Buffer
from .op import declare
from .tensor import Tensor, constant, give

# In Python's numbers: NumPy's power differs in the last bit from one machine to another.
unbiased = declare("unbiased", lambda n, /, *, beta, p: np.array([(1 - beta ** int(k)) ** p for k in n]),
                   samples=lambda rng: iter([((np.array([1, 2, 7]),), {"beta": 0.9, "p": 0.5})]), caption="(1 − βⁿ)ᵖ")  # fmt: skip


def _now(leaf: Tensor) -> Any:
    """What a tensor holds: a constant while a captured function is recorded, otherwise an array."""
    return leaf.data if get_mode().record is None else leaf.detach()


def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float, norm_type: float = 2.0) -> float:
    """Scale all gradients together so that their joint norm is at most `max_norm`.

    Parameters
    ----------
    parameters : iterable of Tensor
    max_norm : float
    norm_type : float
        The p of the norm; ``math.inf`` for the largest magnitude.

    Returns
    -------
    float
        The norm before.  If it is not finite, the gradients stay as they are.  Inside a captured
        function it is a tensor.
    """
    _check("clip_grad_norm", "max_norm", max_norm)
    if not norm_type > 0:
        raise ArgumentError(lesson("clip_grad_norm", f"norm_type={norm_type!r}", "a positive number or math.inf"))
    grads = {p: _now(p.grad) for p in _listed(parameters) if p.grad is not None}
    total = _norm(list(grads.values()), float(norm_type))
    scale = max_norm / (total + 1e-6)
    too_long = (scale < 1) & np.isfinite(total)
    if isinstance(total, Tensor):
        scale = np.where(too_long, scale, 1.0)
    elif not too_long:
        grads = {}
    for p, g in grads.items():
        p.grad = _given(g * scale.astype(g.dtype))
    return total if isinstance(total, Tensor) else float(total)  # type: ignore[return-value]


def _given(array: Any) -> Tensor:
    """A result of `_now` as a tensor."""
    return array if isinstance(array, Tensor) else constant(array)


def _listed(parameters: Iterable[Tensor]) -> Iterable[Tensor]:
    return [parameters] if isinstance(parameters, Tensor) else parameters


def _norm(arrays: list[Any], p: float) -> Any:
    zero = np.float64(0)
    if p == 2:
        flat = [a.reshape(-1) for a in arrays]
        return np.sqrt(sum([(a @ a).astype(np.float64) for a in flat], zero))
    if p == math.inf:
        return reduce(np.maximum, [np.max(np.abs(a)).astype(np.float64) for a in arrays if a.size], zero)
    return sum([np.sum(np.abs(a) ** p).astype(np.float64) for a in arrays], zero) ** (1 / p)


def clip_grad_value(parameters: Iterable[Tensor], clip_value: float) -> None:
    """Cut every number of every gradient to the range from −`clip_value` to `clip_value`."""
    _check("clip_grad_value", "clip_value", clip_value)
    for p in _listed(parameters):
        if p.grad is not None:
            p.grad = _given(np.clip(_now(p.grad), -clip_value, clip_value))


def _check(where: str, name: str, value: Any, below: float = math.inf) -> None:
    """Refuse what is no number from 0 to, not including, `below`."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not (number and 0 <= value < below or number and value == math.inf and name == "max_norm"):
        needed = "a finite number, at least 0" if below == math.inf else f"a number from 0 to, not including, {below:g}"
        raise ArgumentError(lesson(where, f"{name}={value!r}", needed))


class Optimizer:
    """What optimisers share.  `state` is a tree of arrays and numbers that `mg.save` takes.

    Inside a captured function a step is a part of what is replayed: parameters, moments, counts and
    `lr` are read at each call and replaced at its end, all or none.  Other settings (``momentum``,
    ``betas``) are frozen; where one has changed, the function is recorded anew.

    Parameters
    ----------
    params : iterable of Tensor
        Leaves that require gradients.
    lr : float
        Learning rate; may be assigned between steps.
    maximize : bool
        Climb instead of descend.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, maximize: bool = False) -> None:
        self.params = list(_listed(params))
        if not self.params:
            raise ArgumentError(lesson(type(self).__name__, "no parameters", "an iterable of leaves",
                                       "write model.parameters()"))  # fmt: skip
        for p in self.params:
            if not isinstance(p, Tensor) or not p.requires_grad:
                raise ArgumentError(lesson(type(self).__name__, f"{p!r:.60} among the parameters",
                                           "leaves that require gradients", "write model.parameters()"))  # fmt: skip
        if len({id(p) for p in self.params}) < len(self.params):
            raise ArgumentError(lesson(type(self).__name__, "a parameter is given twice"))
        _check(type(self).__name__, "lr", lr)
        self.maximize = maximize
        self.rate = Buffer(np.float64(lr))
        self.counts = Buffer(np.zeros(len(self.params), np.int64))  # without a gradient a parameter skips its step
        self.memory: dict[str, list[Buffer]] = {}

    @property
    def lr(self) -> float:
        return float(self.rate.data)

    @lr.setter
    def lr(self, new: float) -> None:
        if get_mode().record is not None:
            raise ModeError(lesson("lr", "it is assigned inside a captured function", "a replay would not assign it again",
                                   "assign it before the call"))  # fmt: skip
        self.rate.data = np.float64(new)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in self.params:
            p.grad = None

    def step(self) -> None:
        """Update each parameter that has a gradient."""
        record = get_mode().record
        if record is not None:
            for name, value in vars(self).items():
                if isinstance(value, (int, float, tuple)):
                    record.setting(self, name, value)
        going = [k for k, p in enumerate(self.params) if p.grad is not None]
        counts = _now(self.counts) + np.isin(np.arange(len(self.params)), going)
        give(self.counts, counts)
        numbers = self._numbers(_now(self.rate), counts[going])
        for i, k in enumerate(going):
            p = self.params[k]
            w, g = _now(p), _now(p.grad)  # type: ignore[arg-type]
            give(p, self._updated(k, w, -g if self.maximize else g, *(n.astype(w.dtype)[i] for n in numbers)))

    def _numbers(self, lr: Any, counts: Any) -> tuple[Any, ...]:
        """What `_updated` is told besides arrays: vectors in float64, a number for each parameter.

        Whatever depends on the learning rate or the count of steps is computed here, from tensors
        while a captured function is recorded.
        """
        return (lr * np.ones(counts.shape),)

    def _updated(self, k: int, w: Any, g: Any, rate: Any, *numbers: Any) -> Any:
        """The new array of parameter `k`, which was `w`."""
        raise NotImplementedError

    def _memory(self, name: str, k: int) -> Buffer:
        """Array `name` of parameter `k`, zeros at first."""
        if name not in self.memory:
            self.memory[name] = [Buffer(np.zeros_like(p._array())) for p in self.params]
        return self.memory[name][k]

    def _recall(self, name: str, k: int) -> Any:
        return _now(self._memory(name, k))

    def _keep(self, name: str, k: int, new: Any) -> None:
        give(self._memory(name, k), new)

    @property
    def state(self) -> dict[str, Any]:
        return {"steps": self.counts.data.tolist(), "lr": self.lr,
                "memory": {name: [b.data for b in buffers] for name, buffers in self.memory.items()}}  # fmt: skip

    @state.setter
    def state(self, saved: dict[str, Any]) -> None:
        counts, lr = np.array(saved["steps"], np.int64), float(saved["lr"])
        memory = {name: [np.asarray(a) for a in arrays] for name, arrays in saved["memory"].items()}
        shapes = [p.shape for p in self.params]
        if counts.shape != self.counts.shape or any([a.shape for a in m] != shapes for m in memory.values()):
            raise ShapeError(lesson("state", "it was saved for other parameters", "nothing was loaded"))
        self.counts.data, self.lr = counts, lr
        for name in memory | self.memory:
            for k, p in enumerate(self.params):
                buffer = self._memory(name, k)
                buffer.data = memory[name][k].astype(p.dtype) if name in memory else np.zeros_like(buffer.data)


class SGD(Optimizer):
    """``w ← w − lr · v``, ``v ← momentum · v + g``; Nesterov's look-ahead on request."""

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-3, momentum: float = 0.0,
                 dampening: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False, *,
                 maximize: bool = False) -> None:  # fmt: skip
        super().__init__(params, lr, maximize)
        _check("SGD", "momentum", momentum)
        _check("SGD", "weight_decay", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ArgumentError(lesson("SGD", "nesterov=True", "momentum > 0 and dampening = 0"))
        self.momentum, self.dampening = momentum, dampening
        self.weight_decay, self.nesterov = weight_decay, nesterov

    def _numbers(self, lr: Any, counts: Any) -> tuple[Any, ...]:
        parts = [np.where(counts == 1, 1.0, 1 - self.dampening)] if self.dampening else []
        return *super()._numbers(lr, counts), *parts  # PyTorch: the first gradient counts whole

    def _updated(self, k: int, w: Any, g: Any, rate: Any, *part: Any) -> Any:
        if self.weight_decay:
            g = g + self.weight_decay * w
        if self.momentum:
            v = self.momentum * self._recall("velocity", k)
            v += part[0] * g if part else g
            self._keep("velocity", k, v)
            g = g + self.momentum * v if self.nesterov else v
        return w - rate * g


class Adam(Optimizer):
    """Kingma & Ba 2015: steps scaled by running moments of the gradient; with `amsgrad` by the
    largest second moment so far (Reddi et al. 2018)."""

    decoupled = False

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-3,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.0, amsgrad: bool = False, *, maximize: bool = False) -> None:  # fmt: skip
        super().__init__(params, lr, maximize)
        name = type(self).__name__
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ArgumentError(lesson(name, f"betas={betas!r}", "two numbers"))
        for k, beta in enumerate(betas):
            _check(name, f"betas[{k}]", beta, 1.0)
        _check(name, "eps", eps)
        _check(name, "weight_decay", weight_decay)
        self.betas, self.eps, self.weight_decay, self.amsgrad = betas, eps, weight_decay, amsgrad

    def _numbers(self, lr: Any, counts: Any) -> tuple[Any, ...]:
        b1, b2 = self.betas
        rates = lr / unbiased(counts, beta=b1, p=1)
        return rates, unbiased(counts, beta=b2, p=0.5), np.ones(counts.shape) - lr * self.weight_decay

    def _updated(self, k: int, w: Any, g: Any, rate: Any, *numbers: Any) -> Any:
        scale, kept = numbers
        if self.weight_decay:
            if self.decoupled:
                w = w * kept
            else:
                g = g + self.weight_decay * w
        b1, b2 = self.betas
        m = b1 * self._recall("first", k)
        m += (1 - b1) * g
        v = b2 * self._recall("second", k)
        v += (1 - b2) * (g * g)
        self._keep("first", k, m)
        self._keep("second", k, v)
        if self.amsgrad:  # the largest second moment so far
            v = np.maximum(self._recall("largest", k), v)
            self._keep("largest", k, v)
        root = np.sqrt(v)
        root /= scale
        root += self.eps
        return w - rate * (m / root)


class AdamW(Adam):
    """Adam with weight decay applied to the weights, not to the gradient (Loshchilov &
    Hutter 2019)."""

    decoupled = True

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-3,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.01, amsgrad: bool = False, *, maximize: bool = False) -> None:  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)


class RMSprop(Optimizer):
    """Tieleman & Hinton 2012: the gradient divided by the root of a running mean of its square;
    with `centered` by its running standard deviation (Graves 2013)."""

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-2, alpha: float = 0.99,
                 eps: float = 1e-8, weight_decay: float = 0.0, momentum: float = 0.0,
                 centered: bool = False, *, maximize: bool = False) -> None:  # fmt: skip
        super().__init__(params, lr, maximize)
        _check("RMSprop", "alpha", alpha, 1.0)
        for name, value in (("eps", eps), ("weight_decay", weight_decay), ("momentum", momentum)):
            _check("RMSprop", name, value)
        self.alpha, self.eps, self.weight_decay = alpha, eps, weight_decay
        self.momentum, self.centered = momentum, centered

    def _updated(self, k: int, w: Any, g: Any, rate: Any, *_: Any) -> Any:
        if self.weight_decay:
            g = g + self.weight_decay * w
        square = self.alpha * self._recall("square", k)
        square += (1 - self.alpha) * (g * g)
        self._keep("square", k, square)
        if self.centered:
            mean = self.alpha * self._recall("mean", k)
            mean += (1 - self.alpha) * g
            self._keep("mean", k, mean)
            # rounding can take the variance of a steady gradient below zero
            square = np.maximum(square - mean * mean, 0.0)
        step = g / (np.sqrt(square) + self.eps)
        if self.momentum:
            step += self.momentum * self._recall("velocity", k)
            self._keep("velocity", k, step)
        return w - rate * step


class Adagrad(Optimizer):
    """Duchi, Hazan & Singer 2011: the gradient divided by the root of the sum of its squares so
    far."""

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-2, lr_decay: float = 0.0,
                 weight_decay: float = 0.0, initial_accumulator_value: float = 0.0,
                 eps: float = 1e-10, *, maximize: bool = False) -> None:  # fmt: skip
        super().__init__(params, lr, maximize)
        for name, value in (("lr_decay", lr_decay), ("weight_decay", weight_decay), ("eps", eps),
                            ("initial_accumulator_value", initial_accumulator_value)):  # fmt: skip
            _check("Adagrad", name, value)
        self.lr_decay, self.weight_decay, self.eps = lr_decay, weight_decay, eps
        self.initial_accumulator_value = initial_accumulator_value

    def _numbers(self, lr: Any, counts: Any) -> tuple[Any, ...]:
        first = np.where(counts == 1, self.initial_accumulator_value, 0.0)
        return lr / (1 + (counts - 1) * self.lr_decay), first

    def _updated(self, k: int, w: Any, g: Any, rate: Any, *numbers: Any) -> Any:
        (first,) = numbers
        if self.weight_decay:
            g = g + self.weight_decay * w
        total = self._recall("sum", k) + first
        total += g * g
        self._keep("sum", k, total)
        return w - rate * (g / (np.sqrt(total) + self.eps))
