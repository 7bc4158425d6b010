"""How much gradient arrives at each time step: vanishing and exploding, made visible."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any
from unicodedata import combining

import numpy as np

from ..errors import ArgumentError, GraphError, lesson
from ..graph import Node, named
from ..tensor import Tensor, pull
from .steps import Step, step_of

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Flow:
    """The norms of the adjoints, a row for each family of nodes and a column for each time step.

    Attributes
    ----------
    rows : tuple of str
        The families, ``c<t>``, as the reverse pass meets them first.
    steps : tuple of int
    values : ndarray, shape (len(rows), len(steps))
        √Σδ²; NaN where there is no such node.
    """

    rows: tuple[str, ...]
    steps: tuple[int, ...]
    values: Array

    def __getitem__(self, row: str) -> Array:
        return self.values[self.rows.index(row)]  # type: ignore[no-any-return]

    def __str__(self) -> str:
        width = max(map(len, self.rows)) + 1
        lines = [" " * width + "".join(f"{f't={t}':>10}" for t in self.steps)]
        for row, norms in zip(self.rows, self.values, strict=True):
            pad = width + sum(1 for letter in row if combining(letter))
            lines.append(f"{row:{pad}}" + "".join(f"{'·' if np.isnan(x) else f'{x:.2e}':>10}" for x in norms))
        return "\n".join(lines)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw a heat map with matplotlib: bright is large, and grey is exactly zero.

        Parameters
        ----------
        path : path-like
            ``.png``, ``.svg``, ``.pdf``.

        Raises
        ------
        ArgumentError
            matplotlib is not installed.
        """
        try:
            from matplotlib.colors import LogNorm
            from matplotlib.figure import Figure
        except ImportError:
            raise ArgumentError(lesson("plot", "the package matplotlib is not installed", "",
                                       "pip install 'minigrad-engine[plots]'")) from None  # fmt: skip
        shown = np.ma.masked_invalid(np.where(self.values == 0, np.nan, self.values))
        low, high = (shown.min(), shown.max()) if shown.count() else (1.0, 1.0)
        figure = Figure(figsize=(2.6 + 0.45 * max(8, len(self.steps)), 1.5 + 0.34 * len(self.rows)), layout="constrained")
        axes = figure.subplots()
        axes.set_facecolor("white")
        zeros = np.ma.masked_where(self.values != 0, np.ones_like(self.values))
        axes.pcolormesh(zeros, cmap="Greys", vmin=0, vmax=4, edgecolors="white", linewidth=1)
        mesh = axes.pcolormesh(shown, cmap="viridis", edgecolors="white", linewidth=1,
                               norm=LogNorm(low, high if high > low else low * 1.001))  # fmt: skip
        every = -(-len(self.steps) // 25)
        axes.set_xticks(np.arange(len(self.steps))[::every] + 0.5, [str(t) for t in self.steps[::every]])
        axes.set_yticks(np.arange(len(self.rows)) + 0.5, [_plain(row) for row in self.rows])
        axes.invert_yaxis()
        axes.set_xlabel("time step t")
        axes.set_title("Norm of the adjoints")
        figure.colorbar(mesh, ax=axes, label="‖δ‖, logarithmic")
        figure.savefig(path, dpi=144)


def flow(y: Tensor, seed: Any = None) -> Flow:
    """How much gradient of `y` arrives at each named node, time step by time step.

    Parameters
    ----------
    y : Tensor
        A scalar, or give `seed`.
    seed : array_like, optional
        The cotangent of `y`.

    Returns
    -------
    Flow
        Print it, or ask for its ``.plot(path)``.

    Raises
    ------
    GraphError
        No node of the graph has a time step in its name, or the graph was freed.
    """
    nodes = {name: node for name, node in named(y._node).items() if node.requires_grad and step_of(name).t is not None}
    if not nodes:
        raise GraphError(lesson("flow", "no node of this graph that carries a gradient has a time step in its name",
                                "names such as 'c<2>'", "name them with .named(f'c<{t}>')"))  # fmt: skip
    found = pull([y], [seed], wanted=set(nodes.values()))
    norms = {step_of(name): _norm(node, found) for name, node in nodes.items()}
    newest_first = sorted(nodes, key=lambda name: -nodes[name].serial)
    rows = {str(step_of(name)): step_of(name).family for name in newest_first}
    steps = tuple(sorted({step for _, step in norms if step is not None}))
    values = [[norms.get(Step(family, step), np.nan) for step in steps] for family in rows.values()]
    return Flow(tuple(rows), steps, np.array(values))


def _norm(node: Node, found: dict[Node, tuple[Any, bool]]) -> float:
    if node not in found:
        return 0.0
    g = found[node][0]
    return float(np.linalg.norm(np.ravel(g.data if isinstance(g, Tensor) else g)))


def _plain(row: str) -> str:
    """A name that matplotlib does not take for mathematics."""
    return row.replace("$", r"\$")
