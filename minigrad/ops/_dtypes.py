"""What the elementwise families share: refusing a dtype that a function has no meaning for."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DtypeError, lesson


def _refuse(name: str, kinds: str, needed: str, fix: str) -> Any:
    def complain(inputs: Any, params: dict[str, Any]) -> Exception | None:
        bad = [d for d in (np.asarray(x).dtype for x in inputs) if d.kind not in kinds]
        return DtypeError(lesson(name, f"dtype {bad[0]}", needed, fix)) if bad else None

    return complain


def refuse_complex(name: str) -> Any:
    """A `complain` for an op of real numbers."""
    return _refuse(name, "biuf", "real numbers", "take mg.real(z), mg.imag(z) or mg.abs(z) first")


def refuse_floats(name: str) -> Any:
    """A `complain` for an op of bits."""
    return _refuse(name, "biu", "masks or integers", "compare first: (x > 0) & (y > 0)")
