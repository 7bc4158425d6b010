"""Sets: which elements are not 0, which values there are.  Places are integers without a gradient;
unique values are read at their first place, and so keep theirs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..define import define
from ..errors import ShapeError, lesson
from ..op import PUBLIC, Op, declare, publish
from ..tensor import apply, as_tensor

argwhere = define("argwhere", lambda x, /: np.argwhere(x), numpy={np.argwhere: {}},
                  caption="the indices of the x that are not 0, a row each")  # fmt: skip


def nonzero(x: Any, /) -> tuple[Any, ...]:
    """The indices of the elements that are not 0: one array for each axis."""
    x = as_tensor(x)
    if not x.ndim:
        raise ShapeError(lesson("nonzero", "a scalar", "at least one axis", "use x.reshape(1)"))
    return tuple(PUBLIC["unstack"](argwhere(x), axis=1))


publish("nonzero", nonzero, numpy={np.nonzero: {}})


def _part(k: int) -> Any:
    """One of the arrays that np.unique gives beside the values."""

    def forward(x: Any, /, *, equal_nan: bool = False) -> Any:
        asked = {("return_index", "return_inverse", "return_counts")[k]: True}
        return np.unique(x, equal_nan=equal_nan, **asked)[1]  # type: ignore[call-overload]

    return forward


first_places = declare("unique_indices", _part(0), caption="where each value of x stands first")
inverse_places = declare("unique_inverse_indices", _part(1), caption="which of the values each x is")
counts = declare("unique_value_counts", _part(2), caption="how often each value of x occurs")


class UniqueAllResult(NamedTuple):
    values: Any
    indices: Any
    inverse_indices: Any
    counts: Any


class UniqueCountsResult(NamedTuple):
    values: Any
    counts: Any


class UniqueInverseResult(NamedTuple):
    values: Any
    inverse_indices: Any


def _unique(x: Any, *wanted: Op, equal_nan: bool = False) -> tuple[Any, ...]:
    """The values, ascending, and where they stand; then what is wanted."""
    x = as_tensor(x)
    params = {"equal_nan": equal_nan}
    places = apply(first_places, (x,), params)
    rest = (places if op is first_places else apply(op, (x,), params) for op in wanted)
    return (x.reshape(-1)[places], *rest)


def unique_values(x: Any, /) -> Any:
    """The different values of `x`, ascending.  Each NaN is a value of its own.

    A value has its gradient, which goes to where it stands first.
    """
    return _unique(x)[0]


def unique_counts(x: Any, /) -> UniqueCountsResult:
    """`unique_values`, and how often each occurs."""
    return UniqueCountsResult(*_unique(x, counts))


def unique_inverse(x: Any, /) -> UniqueInverseResult:
    """`unique_values`, and which of them each element is."""
    return UniqueInverseResult(*_unique(x, inverse_places))


def unique_all(x: Any, /) -> UniqueAllResult:
    """`unique_values`, where each stands first, which each element is, how often each occurs."""
    return UniqueAllResult(*_unique(x, first_places, inverse_places, counts))


def unique(x: Any, /, *, return_index: bool = False, return_inverse: bool = False,
           return_counts: bool = False, equal_nan: bool = True) -> Any:  # fmt: skip
    """The different values of `x`, ascending, all NaN one value; and what else is asked for
    (NumPy's name; without its `axis`)."""
    asked = zip((first_places, inverse_places, counts), (return_index, return_inverse, return_counts), strict=True)
    found = _unique(x, *(op for op, wanted in asked if wanted), equal_nan=equal_nan)
    return found if len(found) > 1 else found[0]


publish("unique_values", unique_values, numpy={np.unique_values: {}})
publish("unique_counts", unique_counts, numpy={np.unique_counts: {}})
publish("unique_inverse", unique_inverse, numpy={np.unique_inverse: {}})
publish("unique_all", unique_all, numpy={np.unique_all: {}})
publish("unique", unique, numpy={np.unique: {}})
