"""minigrad's own names, ``cells.0.W_f``: a model in what `minigrad.save` wrote of a network's state."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from minigrad.errors import ArgumentError, lesson

from .files import flat
from .layouts import GATES, MODELS, chosen, common_dtype

FIRST = re.compile(r"(.*?)(?<!back_)cells\.0\.W_(\w)")


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
    first = [match.groups() for name in arrays if (match := FIRST.fullmatch(name))]
    prefix = chosen(prefix and prefix.replace("/", "."), (where for where, _ in first), "from_state",
                    f"array is called cells.0.W_...: there are {', '.join(map(repr, sorted(arrays)[:12])) or 'none at all'}")  # fmt: skip
    gates = {gate for where, gate in first if where == prefix and gate != "p"}
    kind = next((kind for kind, known in GATES.items() if gates == set(known)), None)
    if kind is None:
        raise ArgumentError(lesson("from_state", f"gates {', '.join(sorted(gates))} at {prefix!r}", "; ".join(
            f"{', '.join(known)} for {kind}" for kind, known in GATES.items()), "a cell of your own is yours to load"))  # fmt: skip
    own = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
    n_a, width = own[f"cells.0.W_{GATES[kind][0]}"].shape
    n_out = n_a
    if "cells.0.W_p" in own:
        n_out = options["projection"] = own["cells.0.W_p"].shape[0]
    layers = len({name.split(".")[1] for name in own if name.startswith("cells.")})
    found = {"bidirectional": any(name.startswith("back_cells.") for name in own),
             "initial": "trained" if "a_0" in own else "zeros",
             "dtype": common_dtype(own, dtype, "from_state")}  # fmt: skip
    model = MODELS[kind](width - n_out, n_a, layers=layers, **found | options)
    model.state = own
    return model
