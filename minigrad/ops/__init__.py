"""The op families.  Importing this package registers every op and completes Tensor."""

from ..op import BUILT_IN, OPS
from . import (
    activation,
    arithmetic,
    classification,
    comparison,
    contraction,
    convolution,
    creation,
    cumulative,
    determinant,
    diagonal,
    eigen,
    einsum,
    elementwise,
    factorization,
    indexing,
    joining,
    layers,
    linalg,
    loss,
    normalization,
    norms,
    pooling,
    products,
    random,
    ranks,
    reduction,
    reordering,
    rounding,
    selection,
    sets,
    shape,
    sorting,
    special,
    statistics,
    triangle,
    trigonometry,
    windows,
)
from ._attach import attach

attach()
BUILT_IN.update(OPS)
