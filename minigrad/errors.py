"""What goes wrong, and what the person it happens to can do about it.

Every exception of minigrad derives from `MinigradError` and from the builtin
that fits, so that ``except ValueError`` works as it does with NumPy.  A message
says what was given, what is needed, and the line to write instead.
"""

from __future__ import annotations


class MinigradError(Exception):
    """The root of every exception that minigrad raises."""


class ShapeError(MinigradError, ValueError):
    """Shapes, axes or sizes that do not fit each other."""


class AxisError(ShapeError, IndexError):
    """An axis that the array does not have."""


class IndexingError(MinigradError, IndexError):
    """An index outside the array, or of a kind that cannot index."""


class DtypeError(MinigradError, TypeError):
    """A dtype that has no meaning, or no derivative, in this place."""


class ArgumentError(MinigradError, TypeError):
    """A missing, unknown or impossible argument."""


class DomainError(MinigradError, ValueError):
    """A value at which the function, or its derivative, does not exist."""


class GraphError(MinigradError, RuntimeError):
    """A question to a graph that it cannot answer: freed, detached, empty."""


class ModeError(MinigradError, RuntimeError):
    """Grad mode or debug mode that was entered or left out of order."""


class RuleError(MinigradError, RuntimeError):
    """A local-derivative rule that breaks its contract."""


class MutationError(MinigradError, RuntimeError):
    """An array that a graph depends on was changed behind its back."""


class NonFiniteError(MinigradError, FloatingPointError):
    """The first NaN or infinity, caught where it was born (`mg.debug`)."""


class DependencyError(MinigradError, ImportError):
    """A package that is not installed, and that this one function needs."""


class CheckpointError(MinigradError, ValueError):
    """A file that is not a whole and sound checkpoint."""


class StorageError(MinigradError, OSError):
    """A file that cannot be written: its message is in `strerror`, the cause in `errno`."""


class DataError(MinigradError, ValueError):
    """Training data that cannot be used as it is."""


def lesson(where: str, given: str, needed: str = "", fix: str = "") -> str:
    """Join the parts of a message in the one order that every error uses.

    Parameters
    ----------
    where : str
        The op or command that refuses.
    given, needed, fix : str
        What it got, what it needs, and the line to write instead.
    """
    return f"{where}: " + "; ".join(part for part in (given, needed, fix) if part)
