"""The op families.  Importing this package registers every op and completes Tensor."""

from ..op import BUILT_IN, OPS
from . import arithmetic, comparison, elementwise, indexing, linalg, loss, random, reduction, shape
from . import convolution, pooling  # isort: skip
from ._attach import attach

attach()
BUILT_IN.update(OPS)
