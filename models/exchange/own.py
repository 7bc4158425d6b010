"""minigrad's own names, ``cells.0.W_f``: a model in what `minigrad.save` wrote of a network's state."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from minigrad.errors import ArgumentError, lesson

from .. import variants
from ..recurrent import Recurrent
from .arrays import chosen, common_dtype, flat, under
from .layouts import MODELS

FIRST = re.compile(r"(.*?)(?<!back_)cells\.0\.W_\w")
KNOWN = [*MODELS.values(), *(cls for cls in vars(variants).values() if isinstance(cls, type) and issubclass(cls, Recurrent) and cls.cell)]
KINDS = {frozenset(cls.cell(1, 2).state): cls for cls in KNOWN}
"""The classes of models by the names of what their cells learn."""


def from_state(arrays: Mapping[str, Any], prefix: str | None = None, *, dtype: Any = None, **options: Any) -> Any:
    """The model whose ``state`` this is, or a part of this.

    Parameters
    ----------
    arrays : dict
        Arrays by name, nested or not: the ``state`` of a model, of a network that has one, or the tree
        of a checkpoint, ``minigrad.load(path)[0]``.
    prefix : str, optional
        Where the model is, for instance ``model/lstm``, with dots or slashes; it may be left out where there is only
        one.
    dtype, **options
        As for `from_torch`.

    Returns
    -------
    LSTM, GRU or RNN

    Raises
    ------
    ShapeError
        Arrays that are missing, unknown or misshapen: all of them are listed.
    ArgumentError
        No such model, or several and no `prefix`.
    """
    arrays = flat(arrays)
    first = (match[1] for name in arrays if (match := FIRST.fullmatch(name)))
    prefix = chosen(prefix and prefix.replace("/", "."), first, "from_state",
                    f"array is called cells.0.W_...: there are {', '.join(map(repr, sorted(arrays)[:12])) or 'none at all'}")  # fmt: skip
    own = under(arrays, prefix)
    cell = under(own, "cells.0.")
    cls = KINDS.get(frozenset(cell) - {"W_p"})
    if cls is None:
        known = ", ".join(each.__name__ for each in KINDS.values())
        raise ArgumentError(lesson("from_state", f"a cell that learns {', '.join(sorted(cell))}", f"one of {known}",
                                   "a cell of your own is yours to load"))  # fmt: skip
    n_a, width = next(a.shape for name, a in cell.items() if name[:2] == "W_" and name != "W_p")
    n_out = n_a
    if "W_p" in cell:
        n_out = options["projection"] = len(cell["W_p"])
    found = {"layers": len({name.split(".")[1] for name in own if name.startswith("cells.")}),
             "bidirectional": any(name.startswith("back_cells.") for name in own),
             "initial": "trained" if "a_0" in own else "zeros",
             "dtype": common_dtype(own, dtype, "from_state")}  # fmt: skip
    model: Any = cls(width - n_out, n_a, **found | options)
    model.state = own
    return model
