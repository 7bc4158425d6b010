"""A recorded graph as a line of text, in the names of its nodes."""

from __future__ import annotations

import numpy as np

from ..graph import Node
from .expression import Expr, Symbol, expression
from .writers import Text

LONGEST = 2000


def formula(root: Node, names: dict[Node, str]) -> str:
    """Write out how `root` comes from the named nodes.

    Parameters
    ----------
    root : Node
    names : dict of Node -> str
        What some nodes are called; the formula goes no further down than these.

    Returns
    -------
    str
    """
    symbols: dict[Node, Expr] = {node: Symbol(name, np.shape(node.value)) for node, name in names.items()}
    return Text(LONGEST).write(expression(root, symbols))
