"""The op families.  Importing this package registers every op and completes Tensor."""

from ..op import BUILT_IN, OPS
from . import (
    activation,
    arithmetic,
    comparison,
    creation,
    elementwise,
    indexing,
    linalg,
    loss,
    random,
    reduction,
    rounding,
    shape,
    special,
    trigonometry,
)
from ._attach import attach

attach()
BUILT_IN.update(OPS)
