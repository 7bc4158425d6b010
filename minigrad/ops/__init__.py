"""The op families.  Importing this package registers every op and completes Tensor."""

from ..op import BUILT_IN, OPS
from . import (
    activation,
    arithmetic,
    comparison,
    contraction,
    creation,
    cumulative,
    determinant,
    diagonal,
    eigen,
    einsum,
    elementwise,
    factorization,
    indexing,
    linalg,
    loss,
    norms,
    products,
    random,
    ranks,
    reduction,
    rounding,
    sets,
    shape,
    sorting,
    special,
    statistics,
    trigonometry,
)
from ._attach import attach

attach()
BUILT_IN.update(OPS)
