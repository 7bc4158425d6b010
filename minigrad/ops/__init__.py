"""The op families.  Importing this package registers every op and completes Tensor."""

from ..op import BUILT_IN, OPS
from . import (
    arithmetic,
    classification,
    comparison,
    convolution,
    elementwise,
    indexing,
    layers,
    linalg,
    loss,
    normalization,
    pooling,
    random,
    reduction,
    shape,
)
from ._attach import attach

attach()
BUILT_IN.update(OPS)
