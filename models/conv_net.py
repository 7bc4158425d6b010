"""A small convolutional net that reads handwritten digits: the paper's stages for images.

Convolution ("summing over a structural subset"), max pooling, a weighted sum and softmax.  The data
are the 1,797 images of 8 × 8 pixels that come with scikit-learn.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

import minigrad as mg
from minigrad.errors import ArgumentError, DependencyError, lesson
from minigrad.nn import Conv2d, Linear, Module
from minigrad.optim import Adam

from .terminal import facts, heading, say

Array = np.ndarray[Any, Any]


class ConvNet(Module):
    """Twice convolution and max pooling, then a weighted sum: images (B, 8, 8) to 10 scores (B, 10).

    Parameters
    ----------
    channels : (int, int)
        Patches learned by each convolution, all 3 × 3.
    dtype : dtype
    rng : numpy.random.Generator, optional
    """

    def __init__(self, channels: tuple[int, int] = (12, 24), *, dtype: Any = np.float32,
                 rng: np.random.Generator | None = None) -> None:  # fmt: skip
        rng = np.random.default_rng(rng)
        first, second = channels
        self.patches_1 = Conv2d(1, first, 3, padding=1, dtype=dtype, rng=rng)
        self.patches_2 = Conv2d(first, second, 3, padding=1, dtype=dtype, rng=rng)
        self.scores = Linear(second * 2 * 2, 10, dtype=dtype, rng=rng)

    def forward(self, images: Any) -> Any:
        """The scores of the ten digits; `mg.softmax` makes them probabilities."""
        x = mg.reshape(images, (-1, 1, 8, 8))
        x = mg.max_pool2d(mg.relu(self.patches_1(x)), 2)
        x = mg.max_pool2d(mg.relu(self.patches_2(x)), 2)
        return self.scores(x.reshape(x.shape[0], -1))

    def probabilities(self, images: Any) -> Array:
        """How likely each digit is, (B, 10)."""
        with mg.no_grad():
            return mg.softmax(self(images), axis=1).numpy()


class Digits(NamedTuple):
    """Images (N, 8, 8) from 0 to 1, float32, and the digits on them; the last fifth is held out."""

    images: Array
    labels: Array
    test_images: Array
    test_labels: Array


def digits(seed: int = 0) -> Digits:
    """scikit-learn's digits, shuffled by `seed`.

    Raises
    ------
    DependencyError
        scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise DependencyError(lesson("digits", "scikit-learn is not installed, and the images come with it", "",
                                     "pip install 'minigrad-engine[experiments]'")) from None  # fmt: skip
    found = load_digits()
    order = np.random.default_rng(seed).permutation(len(found.target))
    images, labels = (found.images[order] / 16).astype(np.float32), found.target[order].astype(np.int64)
    learned = len(labels) * 4 // 5
    return Digits(images[:learned], labels[:learned], images[learned:], labels[learned:])


def train(model: ConvNet, images: Array, labels: Array, *, epochs: int = 15, batch: int = 32, lr: float = 5e-3,
          rng: np.random.Generator | None = None) -> Iterator[float]:  # fmt: skip
    """Learn by Adam; the mean cross-entropy of each epoch as it ends.

    Parameters
    ----------
    model : ConvNet
    images : array, shape (N, 8, 8)
    labels : integer array, shape (N,)
    epochs, batch : int
        An epoch leaves out what fills no whole batch: another part each time.
    lr : float
    rng : numpy.random.Generator, optional
        Draws the order of the images.
    """
    if not 1 <= batch <= len(labels) or epochs < 1:
        raise ArgumentError(lesson("train", f"batch={batch}, epochs={epochs} for {len(labels)} images",
                                   f"a batch of 1 to {len(labels)}, and an epoch at least"))  # fmt: skip
    rng = np.random.default_rng(rng)
    optimizer = Adam(model.parameters(), lr=lr)

    @mg.capture
    def gradient(images: Any, labels: Any) -> Any:
        loss = mg.cross_entropy(model(images), labels)
        loss.backward()
        return loss

    for _ in range(epochs):
        losses = []
        for part in rng.permutation(len(labels))[: len(labels) // batch * batch].reshape(-1, batch):
            optimizer.zero_grad()
            losses.append(gradient(images[part], labels[part]).item())
            optimizer.step()
        yield float(np.mean(losses))


def accuracy(model: ConvNet, images: Array, labels: Array) -> float:
    """The share of images whose most likely digit is the right one."""
    return float(np.mean(model.probabilities(images).argmax(axis=1) == labels))


# --- python -m models digits ---------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m models digits`."""
    parser.add_argument("--epochs", type=int, default=15, help="times through the images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the split, the weights and the order (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Train on four fifths of the images, and count the right answers on the others."""
    if args.seed < 0:
        raise ArgumentError(f"--seed {args.seed}: at least 0")
    data = digits(args.seed)
    rng = np.random.default_rng(args.seed)
    model = ConvNet(rng=rng)
    heading("Handwritten digits", "A convolutional net learns to read images of 8 × 8 pixels.")
    say("epoch   cross-entropy   right of those held out")
    start = time.perf_counter()
    for epoch, loss in enumerate(train(model, data.images, data.labels, epochs=args.epochs, rng=rng), start=1):
        if epoch % 5 == 0 or epoch in (1, args.epochs):
            say(f"{epoch:5}   {loss:13.4f}   {accuracy(model, data.test_images, data.test_labels):7.1%}")
    seconds = time.perf_counter() - start
    wrong = model.probabilities(data.test_images).argmax(axis=1) != data.test_labels
    say()
    facts([("images", f"{len(data.labels):,} to learn from, {len(wrong)} held out"),
           ("parameters", f"{sum(p.size for p in model.parameters()):,}"),
           ("wrong", f"{wrong.sum()} of {len(wrong)}"), ("time", f"{seconds:.1f} s")])  # fmt: skip
    return 0
