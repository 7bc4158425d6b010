"""A multilayer perceptron, and the worked example that the paper tells its reader to do first.

Matt Mazur's *A Step by Step Backpropagation Example* takes a network of 2, 2 and 2 units through
one update by hand, and then 10,000.  Its weights after the update are right.  Its errors after that
(0.291027924, and 0.0000351085 at the end) are those of another algorithm: the hidden layer's
gradients were taken through output weights that had been updated already.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import Tensor
from minigrad.errors import ArgumentError, lesson
from minigrad.nn import Linear, Module

from .terminal import heading, say

Array = np.ndarray[Any, Any]


class MLP(Module):
    """Weighted sums with an activation after each.

    Parameters
    ----------
    sizes : sequence of int
        Units of the input and of each layer: ``(2, 2, 2)`` has two layers.
    activation : callable
        After every layer.
    output : callable, optional
        After the last one in its place; ``mg.positive`` leaves the sum as it is.
    dtype : dtype
    rng : numpy.random.Generator, optional
        Draws weights and biases as `mg.nn.Linear` does.

    Attributes
    ----------
    layers : list of Linear
        ``layers[k].weight`` has shape (sizes[k + 1], sizes[k]).
    """

    def __init__(self, sizes: Sequence[int], *, activation: Callable[..., Any] = mg.sigmoid,
                 output: Callable[..., Any] | None = None, dtype: Any = np.float32,
                 rng: np.random.Generator | None = None) -> None:  # fmt: skip
        if len(sizes) < 2:
            raise ArgumentError(lesson("MLP", f"sizes={tuple(sizes)}", "those of the input and of each layer",
                                       "write MLP((2, 3, 1)) for two layers"))  # fmt: skip
        rng = np.random.default_rng(rng)
        self.activation, self.output = activation, output or activation
        self.layers = [Linear(n, m, dtype=dtype, rng=rng) for n, m in pairwise(sizes)]

    def forward(self, x: Any, named: bool = False) -> Any:
        """The outputs (..., sizes[-1]) for inputs (..., sizes[0]).

        With `named` the stages of layer k are called ``net_k`` and ``out_k``, as Mazur does.
        """
        for k, layer in enumerate(self.layers, start=1):
            last = k == len(self.layers)
            net = layer(x)
            x = (self.output if last else self.activation)(net.named(f"net_{k}") if named else net)
            x = x.named(f"out_{k}") if named else x
        return x


# --- Mazur's example -----------------------------------------------------------------------------

INPUTS, TARGETS, RATE = np.array([0.05, 0.10]), np.array([0.01, 0.99]), 0.5
WEIGHTS = np.array([[0.15, 0.20], [0.25, 0.30]]), np.array([[0.40, 0.45], [0.50, 0.55]])
BIASES = np.full(2, 0.35), np.full(2, 0.60)


def mazur() -> MLP:
    """The network of the example, float64: ``w1 ... w4`` in the first layer, ``w5 ... w8`` in the second."""
    model = MLP((2, 2, 2), dtype=np.float64)
    for layer, weight, bias in zip(model.layers, WEIGHTS, BIASES, strict=True):
        layer.state = {"weight": weight, "bias": bias}
    return model


def error(model: MLP, named: bool = False) -> Tensor:
    """Its Error, ½ Σ (target − out)²."""
    x, target = mg.tensor(INPUTS, name="x"), mg.tensor(TARGETS, name="target")
    return (0.5 * mg.square(target - model(x, named=named))).sum()


def update(model: MLP) -> None:
    """W ← W − α ∂Error/∂W for the weights; the example leaves the biases as they are."""
    model.zero_grad()
    error(model).backward()
    gradients = [layer.weight.grad for layer in model.layers]
    for layer, gradient in zip(model.layers, gradients, strict=True):
        layer.weight.data = layer.weight.data - RATE * gradient.data  # type: ignore[union-attr]


def forward_by_hand(weights: Sequence[Array], x: Array = INPUTS) -> list[Array]:
    """The input and what each layer of sigmoids puts out, in plain NumPy."""
    outs = [x]
    for W, b in zip(weights, BIASES, strict=True):
        outs.append(1 / (1 + np.exp(-(W @ outs[-1] + b))))
    return outs


def update_by_hand(weights: Sequence[Array], in_place: bool = False) -> list[Array]:
    """One update, derived by hand.

    Parameters
    ----------
    weights : sequence of ndarray
    in_place : bool
        Take δ of the hidden layer through weights that are updated already: WRONG, and what the
        errors of the blog come from.

    Notes
    -----
    From the last layer to the first, with out' = out (1 − out)::

        δnet_k = δout_k ⊙ out_k ⊙ (1 − out_k)      δout_last = −(target − out_last)
        δW_k   = δnet_k out_{k-1}ᵀ                  δout_{k-1} = W_kᵀ δnet_k
    """
    outs = forward_by_hand(weights)
    updated = list(weights)
    d_out = -(TARGETS - outs[-1])
    for k in range(len(weights) - 1, -1, -1):
        d_net = d_out * outs[k + 1] * (1 - outs[k + 1])
        updated[k] = weights[k] - RATE * np.outer(d_net, outs[k])
        d_out = (updated[k] if in_place else weights[k]).T @ d_net
    return updated


def error_by_hand(weights: Sequence[Array]) -> float:
    """½ Σ (target − out)²."""
    return float(0.5 * np.sum((TARGETS - forward_by_hand(weights)[-1]) ** 2))


# --- python -m models mazur --------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m models mazur`."""
    parser.add_argument("--updates", type=int, default=10_000, help="how many in all (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Print the example's derivation and numbers, and what an update in place makes of them."""
    if args.updates < 1:
        raise ArgumentError(f"--updates {args.updates}: at least 1")
    heading("Mazur's worked example", "Two inputs, two hidden units, two outputs; weights learn, biases stay.")
    model = mazur()
    recorded = error(model, named=True)
    say(str(mg.explain(recorded, wrt=[layer.weight.named(f"W_{k}") for k, layer in enumerate(model.layers, 1)])))
    say(f"\nError before     {recorded.item():.9f}")
    update(model)
    for k, layer in enumerate(model.layers):
        say(f"w{4 * k + 1} ... w{4 * k + 4}        {'  '.join(f'{w:.9f}' for w in layer.weight.data.ravel())}")
    say(f"Error after 1    {error(model).item():.9f}\n")
    say(f"{'':16} {'after 1 update':>16}  {f'after {args.updates:,}':>16}  outputs")
    for name, in_place in (("by the gradient", False), ("in place (blog)", True)):
        weights: Sequence[Array] = WEIGHTS
        first = error_by_hand(update_by_hand(weights, in_place))
        for _ in range(args.updates):
            weights = update_by_hand(weights, in_place)
        outs = forward_by_hand(weights)[-1]
        say(f"{name:16} {first:16.9f}  {error_by_hand(weights):16.10f}  {outs[0]:.9f}  {outs[1]:.9f}")
    return 0
