"""The op families.  Importing this package registers every op and completes Tensor."""

from . import arithmetic, comparison, elementwise, indexing, linalg, loss, random, reduction, shape
from ._attach import attach

attach()

FAMILIES = (arithmetic, elementwise, comparison, reduction, linalg, shape, indexing, loss, random)
