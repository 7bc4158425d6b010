"""The op families.  Importing this package registers every op and completes Tensor."""

from ..op import BUILT_IN, OPS
from . import (
    arithmetic,
    comparison,
    elementwise,
    indexing,
    joining,
    linalg,
    loss,
    random,
    reduction,
    reordering,
    selection,
    shape,
    triangle,
    windows,
)
from ._attach import attach

attach()
BUILT_IN.update(OPS)
