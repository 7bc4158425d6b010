"""The forward pass run again in part: what follows from values that somebody else computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..graph import Node, ancestors

Values = dict[Node, Any]


def run_stage(stage: Node, values: Mapping[Node, Any], function: Callable[..., Any] | None = None) -> Any:
    """The output of a stage where some values are others; of another function in its place."""
    assert stage.op is not None
    assert stage.values is not None
    inputs = [raw if p is None else values.get(p, p.value) for p, raw in zip(stage.inputs, stage.values, strict=True)]
    with np.errstate(all="ignore"):
        return stage.op.forward(*inputs, **stage.params) if function is None else function(*inputs)


def all_values(root: Node, given: Values) -> Values:
    """Every value below `root` that follows from the given ones, beside these."""
    table = dict(given)
    for stage in ancestors(root) if given else ():
        if stage not in table and stage.op is not None and not table.keys().isdisjoint(stage.inputs):
            table[stage] = run_stage(stage, table)
    return table


class Upstream:
    """From given values to the value of one node.

    Attributes
    ----------
    node : Node
    stages : list of Node
        Between, oldest first, the node itself last.
    """

    def __init__(self, node: Node, given: Mapping[Node, Any]) -> None:
        self.node = node
        self.stages = [n for n in ancestors(node, stop=set(given) - {node}) if n.op is not None
                       and (n is node or n not in given)]  # fmt: skip

    def run(self, values: Mapping[Node, Any], bent: Mapping[Node, Callable[..., Any]] | None = None) -> Any:
        """The value of the node; with other functions in some of the stages."""
        table = {n: v for n, v in values.items() if n is not self.node}
        for stage in self.stages:
            table[stage] = run_stage(stage, table, (bent or {}).get(stage))
        return table.get(self.node, self.node.value)
