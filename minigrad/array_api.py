"""What the Array API standard (2024.12) asks of a namespace besides functions on arrays:
dtypes, constants, and what a program can ask about them.

A dtype is what ``x.dtype`` is, an instance of `numpy.dtype`: ``x.dtype is mg.float32``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .boundary import as_dtype, check_device
from .errors import ArgumentError, DtypeError, lesson
from .op import NUMPY, Counterpart
from .tensor import Tensor

__all__ = [
    "__array_api_version__", "__array_namespace_info__", "bool", "can_cast", "complex64",
    "complex128", "e", "finfo", "float16", "float32", "float64", "iinfo", "inf", "int8", "int16",
    "int32", "int64", "isdtype", "nan", "newaxis", "pi", "result_type", "uint8", "uint16",
    "uint32", "uint64",
]  # fmt: skip

__array_api_version__ = "2024.12"

e, pi, inf, nan, newaxis = np.e, np.pi, np.inf, np.nan, None

truth = bool  # Python's, which the standard's name for a dtype hides from here on
bool: np.dtype[Any] = np.dtype(np.bool_)
int8: np.dtype[Any] = np.dtype(np.int8)
int16: np.dtype[Any] = np.dtype(np.int16)
int32: np.dtype[Any] = np.dtype(np.int32)
int64: np.dtype[Any] = np.dtype(np.int64)
uint8: np.dtype[Any] = np.dtype(np.uint8)
uint16: np.dtype[Any] = np.dtype(np.uint16)
uint32: np.dtype[Any] = np.dtype(np.uint32)
uint64: np.dtype[Any] = np.dtype(np.uint64)
float16: np.dtype[Any] = np.dtype(np.float16)
float32: np.dtype[Any] = np.dtype(np.float32)
float64: np.dtype[Any] = np.dtype(np.float64)
complex64: np.dtype[Any] = np.dtype(np.complex64)
complex128: np.dtype[Any] = np.dtype(np.complex128)

DTYPES = {"bool": bool, "int8": int8, "int16": int16, "int32": int32, "int64": int64, "uint8": uint8,
          "uint16": uint16, "uint32": uint32, "uint64": uint64, "float32": float32, "float64": float64,
          "complex64": complex64, "complex128": complex128}  # fmt: skip
"""The standard's dtypes; `float16` is NumPy's, beyond it."""


class FloatInfo(NamedTuple):
    """The limits of a float dtype, as Python floats.

    `eps` is the gap between 1 and the next number, `smallest_normal` the smallest positive
    number with full precision.
    """

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: np.dtype[Any]


class IntegerInfo(NamedTuple):
    """The limits of an integer dtype, as Python integers."""

    bits: int
    max: int
    min: int
    dtype: np.dtype[Any]


def _dtype_of(x: Any, where: str) -> np.dtype[Any]:
    """The dtype of a tensor or array, or the dtype that is given."""
    return x.dtype if isinstance(x, (Tensor, np.ndarray, np.generic)) else as_dtype(x, where)


def finfo(type: Any, /) -> FloatInfo:
    """The limits of a float dtype; of a complex one, those of its parts.

    Parameters
    ----------
    type : dtype, Tensor or array
        What has the dtype, or the dtype.

    Returns
    -------
    FloatInfo
        bits, eps, max, min, smallest_normal, dtype.
    """
    dtype = _dtype_of(type, "finfo")
    if dtype.kind not in "fc":
        raise DtypeError(lesson("finfo", f"dtype {dtype}", "a float or complex dtype", "use mg.iinfo for integers"))
    info: Any = np.finfo(dtype)
    return FloatInfo(int(info.bits), float(info.eps), float(info.max), float(info.min),
                     float(info.smallest_normal), info.dtype)  # fmt: skip


def iinfo(type: Any, /) -> IntegerInfo:
    """The limits of an integer dtype.

    Parameters
    ----------
    type : dtype, Tensor or array
        What has the dtype, or the dtype.

    Returns
    -------
    IntegerInfo
        bits, max, min, dtype.
    """
    dtype = _dtype_of(type, "iinfo")
    if dtype.kind not in "iu":
        raise DtypeError(lesson("iinfo", f"dtype {dtype}", "an integer dtype", "use mg.finfo for floats"))
    info = np.iinfo(dtype)
    return IntegerInfo(info.bits, int(info.max), int(info.min), dtype)


def isdtype(dtype: Any, kind: Any) -> truth:
    """Whether `dtype` is of a kind.

    Parameters
    ----------
    dtype : dtype
    kind : str, dtype, or tuple of them
        'bool', 'signed integer', 'unsigned integer', 'integral', 'real floating',
        'complex floating', 'numeric', or a dtype; a tuple asks for any of its entries.

    Returns
    -------
    bool
    """
    given = as_dtype(dtype, "isdtype")
    for k in kind if isinstance(kind, tuple) else (kind,):
        if isinstance(k, str) and k not in KINDS:
            raise ArgumentError(lesson("isdtype", f"kind={k!r}", f"one of {', '.join(map(repr, KINDS))}, "
                                       "a dtype, or a tuple of them"))  # fmt: skip
        if given.kind in KINDS[k] if isinstance(k, str) else given == as_dtype(k, "isdtype"):
            return True
    return False


KINDS = {"bool": "b", "signed integer": "i", "unsigned integer": "u", "integral": "iu",
         "real floating": "f", "complex floating": "c", "numeric": "iufc"}  # fmt: skip


def can_cast(from_: Any, to: Any, /) -> truth:
    """Whether type promotion may turn one dtype into another.

    Parameters
    ----------
    from_ : dtype, Tensor or array
    to : dtype

    Returns
    -------
    bool
    """
    return np.can_cast(_dtype_of(from_, "can_cast"), as_dtype(to, "can_cast"))


def result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    """The dtype that an operation on all of these gives.

    Parameters
    ----------
    *arrays_and_dtypes : Tensor, array, dtype or Python number
        A Python number is weak: it decides the kind of the result at most, never its width.

    Returns
    -------
    numpy.dtype
    """
    if not arrays_and_dtypes:
        raise ArgumentError(lesson("result_type", "no arguments", "at least one tensor, array or dtype"))
    parts = [x if isinstance(x, (truth, int, float, complex)) else _dtype_of(x, "result_type")
             for x in arrays_and_dtypes]  # fmt: skip
    return np.result_type(*parts)


NUMPY[np.result_type] = Counterpart(result_type, 1000, (), {})
NUMPY[np.can_cast] = Counterpart(can_cast, 2, (), {})


class Inspection:
    """What this namespace can do: the object that ``__array_namespace_info__()`` returns."""

    def capabilities(self) -> dict[str, Any]:
        """Which optional parts of the standard are there."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> str:
        """Where arrays live unless told otherwise."""
        return "cpu"

    def devices(self) -> list[str]:
        """Every device."""
        return ["cpu"]

    def default_dtypes(self, *, device: str | None = None) -> dict[str, np.dtype[Any]]:
        """The dtype that creation functions and indices have, by kind."""
        check_device(device, "default_dtypes")
        return {"real floating": float64, "complex floating": complex128,
                "integral": np.dtype(np.int_), "indexing": np.dtype(np.intp)}  # fmt: skip

    def dtypes(self, *, device: str | None = None, kind: Any = None) -> dict[str, np.dtype[Any]]:
        """The standard's dtypes by name, all or those of a `kind` (see `isdtype`)."""
        check_device(device, "dtypes")
        return {name: dtype for name, dtype in DTYPES.items() if kind is None or isdtype(dtype, kind)}


def __array_namespace_info__() -> Inspection:  # noqa: N807 (the standard's name)
    """What this namespace can do: devices, dtypes, capabilities."""
    return Inspection()
