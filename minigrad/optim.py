"""Optimisers: each step gives every parameter a new array; PyTorch's signatures and, to
rounding, its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from . import lr_scheduler as lr_scheduler  # mg.optim.lr_scheduler
from .errors import ArgumentError, ShapeError, lesson
from .tensor import Tensor, tensor

Array = np.ndarray[Any, Any]


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
        The norm before.  If it is not finite, the gradients stay as they are.
    """
    _check("clip_grad_norm", "max_norm", max_norm)
    if not norm_type > 0:
        raise ArgumentError(lesson("clip_grad_norm", f"norm_type={norm_type!r}", "a positive number or math.inf"))
    with_grad = [p for p in _listed(parameters) if p.grad is not None]
    total = _norm([p.grad.data for p in with_grad], float(norm_type))  # type: ignore[union-attr]
    scale = max_norm / (total + 1e-6)
    if scale < 1 and np.isfinite(total):
        for p in with_grad:
            p.grad = p.grad.detach() * scale  # type: ignore[union-attr]
    return total


def _listed(parameters: Iterable[Tensor]) -> Iterable[Tensor]:
    return [parameters] if isinstance(parameters, Tensor) else parameters


def _norm(arrays: list[Array], p: float) -> float:
    if p == 2:
        return math.sqrt(sum(float(np.vdot(a, a)) for a in arrays))
    if p == math.inf:
        return max((float(np.max(np.abs(a), initial=0)) for a in arrays), default=0.0)
    return float(sum(float(np.sum(np.abs(a) ** p)) for a in arrays) ** (1 / p))


def clip_grad_value(parameters: Iterable[Tensor], clip_value: float) -> None:
    """Cut every number of every gradient to the range from −`clip_value` to `clip_value`."""
    _check("clip_grad_value", "clip_value", clip_value)
    for p in _listed(parameters):
        if p.grad is not None:
            p.grad = tensor(np.clip(p.grad.data, -clip_value, clip_value))


def _check(where: str, name: str, value: Any, below: float = math.inf) -> None:
    """Refuse what is no number from 0 to, not including, `below`."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not (number and 0 <= value < below or number and value == math.inf and name == "max_norm"):
        needed = "a finite number, at least 0" if below == math.inf else f"a number from 0 to, not including, {below:g}"
        raise ArgumentError(lesson(where, f"{name}={value!r}", needed))


class Optimizer:
    """What optimisers share.  `state` is a tree of arrays and numbers that `mg.save` takes.

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
        self.lr, self.maximize = lr, maximize
        self.steps = [0] * len(self.params)  # a parameter without a gradient skips its step
        self.memory: dict[str, list[Array]] = {}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in self.params:
            p.grad = None

    def step(self) -> None:
        """Update each parameter that has a gradient."""
        for k, p in enumerate(self.params):
            if p.grad is not None:
                self.steps[k] += 1
                p.data = self._updated(k, p.data, -p.grad.data if self.maximize else p.grad.data)

    def _updated(self, k: int, w: Array, g: Array) -> Array:
        raise NotImplementedError

    def _remembered(self, name: str, k: int) -> Array:
        """Array `name` of parameter `k`, zeros at first; the caller changes it in place."""
        slot = self.memory.setdefault(name, [np.zeros_like(p.data) for p in self.params])
        return slot[k]

    @property
    def state(self) -> dict[str, Any]:
        return {"steps": list(self.steps), "lr": self.lr,
                "memory": {name: [a.copy() for a in arrays] for name, arrays in self.memory.items()}}  # fmt: skip

    @state.setter
    def state(self, saved: dict[str, Any]) -> None:
        steps, lr = [int(n) for n in saved["steps"]], float(saved["lr"])
        memory = {name: [np.array(a) for a in arrays] for name, arrays in saved["memory"].items()}
        shapes = [p.shape for p in self.params]
        if len(steps) != len(shapes) or any([a.shape for a in m] != shapes for m in memory.values()):
            raise ShapeError(lesson("state", "it was saved for other parameters", "nothing was loaded"))
        self.steps, self.lr, self.memory = steps, lr, memory


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

    def _updated(self, k: int, w: Array, g: Array) -> Array:
        if self.weight_decay:
            g = g + self.weight_decay * w
        if self.momentum:
            v = self._remembered("velocity", k)
            v *= self.momentum
            v += g if self.steps[k] == 1 else (1 - self.dampening) * g  # PyTorch: the first is whole
            g = g + self.momentum * v if self.nesterov else v
        return w - self.lr * g


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

    def _updated(self, k: int, w: Array, g: Array) -> Array:
        if self.weight_decay:
            if self.decoupled:
                w = w * (1 - self.lr * self.weight_decay)
            else:
                g = g + self.weight_decay * w
        b1, b2 = self.betas
        m, v = self._remembered("first", k), self._remembered("second", k)
        m *= b1
        m += (1 - b1) * g
        v *= b2
        v += (1 - b2) * (g * g)
        if self.amsgrad:  # the largest second moment so far
            largest = self._remembered("largest", k)
            v = np.maximum(largest, v, out=largest)
        root = np.sqrt(v)
        root /= (1 - b2**self.steps[k]) ** 0.5
        root += self.eps
        return w - (self.lr / (1 - b1**self.steps[k])) * (m / root)


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

    def _updated(self, k: int, w: Array, g: Array) -> Array:
        if self.weight_decay:
            g = g + self.weight_decay * w
        square = self._remembered("square", k)
        square *= self.alpha
        square += (1 - self.alpha) * (g * g)
        if self.centered:
            mean = self._remembered("mean", k)
            mean += (1 - self.alpha) * (g - mean)
            # rounding can take the variance of a steady gradient below zero
            root = np.sqrt(np.maximum(square - mean * mean, 0))
        else:
            root = np.sqrt(square)
        step: Array = g / (root + self.eps)
        if self.momentum:
            v = self._remembered("velocity", k)
            v *= self.momentum
            v += step
            step = v
        return w - self.lr * step


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

    def _updated(self, k: int, w: Array, g: Array) -> Array:
        if self.weight_decay:
            g = g + self.weight_decay * w
        total = self._remembered("sum", k)
        if self.steps[k] == 1:
            total += self.initial_accumulator_value
        total += g * g
        lr = self.lr / (1 + (self.steps[k] - 1) * self.lr_decay)
        return w - lr * (g / (np.sqrt(total) + self.eps))
