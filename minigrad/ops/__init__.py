"""The op families.  Importing this package registers every op and completes Tensor."""

from ..op import BUILT_IN, OPS
from . import (
    arithmetic,
    comparison,
    cumulative,
    elementwise,
    indexing,
    linalg,
    loss,
    norms,
    products,
    random,
    ranks,
    reduction,
    sets,
    shape,
    sorting,
    statistics,
)
from ._attach import attach

attach()
BUILT_IN.update(OPS)
