"""Functions of real numbers, continued to complex ones beside the real axis, for the complex step.

NumPy's complex |z| is a modulus, which has no derivative, and some of its functions know no complex
numbers at all.  On arrays of the class `Continued` they are what their Taylor series are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

EXTENDED = np.longdouble


class Continued(np.ndarray[Any, Any]):
    """Complex numbers beside the real axis, on which NumPy's functions of real numbers are continued
    where its complex ones mean something else (|z|) or are missing (hypot).

    Of two numbers the greater is the one with the greater real part, and then the greater imaginary
    part: NumPy's order, by which a point on a kink goes to the side that the step leads to.
    """

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        plain = [x.view(np.ndarray) if isinstance(x, Continued) else x for x in inputs]
        function = CONTINUED.get(ufunc) if method == "__call__" else None
        if out is not None:
            options["out"] = tuple(x.view(np.ndarray) if isinstance(x, Continued) else x for x in out)
        if function is None:
            y = getattr(ufunc, method)(*plain, **options)
        else:
            y = function(*plain)
            if out is not None:
                out[0][...] = y
        return continued(y) if out is None else out[0]

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function is np.var:
            return _variance(*args, **kwargs)
        return continued(super().__array_function__(function, types, args, kwargs))


def continued(y: Any) -> Any:
    """Complex arrays as such numbers; everything else as it is."""
    kept = isinstance(y, (np.ndarray, np.generic)) and y.dtype.kind == "c"
    return np.asarray(y).view(Continued) if kept else y


def _magnitude(z: Any) -> Any:
    return np.where(z >= 0, z, -z)


def _log_sum(a: Any, b: Any) -> Any:
    return np.maximum(a, b) + np.log1p(np.exp(-_magnitude(a - b)))


def _log2_sum(a: Any, b: Any) -> Any:
    two = np.log(EXTENDED(2))
    return _log_sum(a * two, b * two) / two


def _angle(y: Any, x: Any) -> Any:
    with np.errstate(all="ignore"):
        turned = np.where(np.abs(np.real(y)) < np.abs(np.real(x)), np.arctan(y / x), -np.arctan(x / y))
    return np.arctan2(np.real(y), np.real(x)) + 1j * np.imag(turned)


def _variance(x: Any, axis: Any = None, dtype: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    d = x - np.mean(x, axis=axis, keepdims=True)
    y = np.sum(d * d, axis=axis, keepdims=keepdims)
    return y / (x.size / max(y.size, 1) - ddof)


CONTINUED: dict[Any, Callable[..., Any]] = {
    np.absolute: _magnitude,
    np.sign: lambda z: np.sign(np.real(z)),
    np.cbrt: lambda z: np.sign(np.real(z)) * _magnitude(z) ** (1 / EXTENDED(3)),
    np.hypot: lambda a, b: np.sqrt(a * a + b * b),
    np.arctan2: _angle,
    np.logaddexp: _log_sum,
    np.logaddexp2: _log2_sum,
}
"""Functions of real numbers, continued from the real axis."""
