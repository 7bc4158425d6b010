"""Arrays by name in files that others write and read; nothing in a file is ever executed."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.errors import ArgumentError, CheckpointError, StorageError, lesson
from minigrad.serialize import write_atomically

from .arrays import Array, flat, library

TENSORS = (".safetensors",)
TORCH = (".pt", ".pth", ".bin", ".ckpt")
SAID = "exchange"
SAFE_TORCH = (2, 6)
"""Before this version, weights_only=True could be made to run code (CVE-2025-32434)."""


def read_arrays(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays in a ``.safetensors`` or ``.pt`` file, by dotted name, and the options of a model
    that `write_arrays` put beside them.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, or a pickle that holds more than arrays.
    ArgumentError
        A file of another kind, by its name.
    """
    refuse_name(path, TENSORS + TORCH)
    data = read_bytes(path)
    tree, meta = _from_safetensors(path, data) if path.suffix in TENSORS else (_from_pickle(path, data), None)
    return flat(tree), meta.get(SAID, {}) if isinstance(meta, dict) else {}


def write_arrays(path: Path, arrays: Mapping[str, Array], said: dict[str, Any]) -> None:
    """Write arrays by name, whole or not at all; `said`, options of the model, where the format has
    a place for them."""
    refuse_name(path, TENSORS + TORCH)
    if path.suffix in TENSORS:
        mg.save(path, dict(arrays), {SAID: said})  # with checksums, and readable by all that reads safetensors
        return
    torch, buffer = library("torch", "write", f"{path.suffix} files are PyTorch's; .safetensors needs no PyTorch"), io.BytesIO()
    torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, buffer)
    write_bytes(path, buffer.getvalue())


def refuse_name(path: Path, known: tuple[str, ...]) -> None:
    """Refuse a file whose name does not say a format that is known."""
    if path.suffix not in known:
        raise ArgumentError(lesson("exchange", f"a file {path.name!r}", f"a name that ends in {', '.join(known)}"))


def read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(lesson("read", f"{path}: {error.strerror}")) from None


def write_bytes(path: Path, data: bytes) -> None:
    try:
        write_atomically(path, data)
    except OSError as error:
        raise StorageError(error.errno, lesson("write", f"{path}: {error.strerror}", "nothing was changed there")) from None  # fmt: skip


def _from_safetensors(path: Path, data: bytes) -> tuple[Any, Any]:
    safetensors = library("safetensors", "read", "it reads .safetensors files")
    try:
        size = int.from_bytes(data[:8], "little")
        ours = "minigrad" in json.loads(data[8 : 8 + size]).get("__metadata__", {})
        if not ours:
            parts = safetensors.deserialize(data)
            return {name: _unpacked(part["dtype"], part["data"], part["shape"]) for name, part in parts}, None
    except Exception as error:
        raise CheckpointError(lesson("read", f"{path}: {error}", "a whole safetensors file")) from None
    return mg.load(path)  # checks its checksums too


def _unpacked(dtype: str, data: Any, shape: list[int]) -> Array:
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    try:
        known = np.dtype("?" if dtype == "BOOL" else f"<{dtype[0].lower()}{int(dtype[1:]) // 8}")
    except (ValueError, TypeError):  # an eight-bit float: refused where it is a weight
        return np.empty(shape, object)
    return np.frombuffer(data, known).reshape(shape)


def _from_pickle(path: Path, data: bytes) -> Any:
    torch = library("torch", "read", f"{path.suffix} files are PyTorch's: convert it to .safetensors where PyTorch is")
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < SAFE_TORCH:
        raise ArgumentError(lesson("read", f"PyTorch {torch.__version__}", "2.6 or newer: an older one can be made to "
                                   "run code by a .pt file, weights_only=True or not", "pip install -U torch"))  # fmt: skip
    try:
        tree = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        why = f"it names {code[1]}, which is code" if code else str(error).partition("\n")[0]
        raise CheckpointError(lesson("read", f"{path}: {why}", "a whole file that holds arrays and no code",
                                     "torch.save(model.state_dict(), path) writes one"))  from None  # fmt: skip
    if not isinstance(tree, Mapping):
        raise CheckpointError(lesson("read", f"{path} holds a {type(tree).__name__}", "a state dict"))
    return tree
