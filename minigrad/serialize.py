"""Checkpoints: a tree of arrays in one safetensors file, written whole or not at all.

The arrays stand in the file under their path in the tree (``model/W_f``), so that any
safetensors reader can use them; the tree's structure and `meta` are JSON in the file's
header, with a SHA-256 of every array, to say which one is damaged, and one of the whole
file, taken with zeros in its own place.  Nothing in a file is ever executed.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ArgumentError, CheckpointError, StorageError, lesson
from .tensor import Tensor

FORMAT = 1
UNSEALED = "0" * 64


def save(path: str | os.PathLike[str], tree: Any, meta: dict[str, Any] | None = None) -> None:
    """Write a tree of arrays, tensors, numbers and strings to `path`, atomically.

    A reader sees the old file or the new one, never a part: the data go to a temporary
    file in the same directory, are flushed to the disk, and take the name in one step.

    Parameters
    ----------
    path : path-like
    tree : dict, list or tuple of trees, or a leaf
    meta : dict, optional
        Anything that JSON holds.

    Raises
    ------
    ArgumentError
        Something in the tree or in `meta` that a file cannot hold.
    StorageError
        The disk refused; what stood at `path` before is intact.
    """
    safetensors = _safetensors()
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    structure = _pack(tree, "", arrays)
    header = {"format": FORMAT, "whole": UNSEALED, "tree": structure, "meta": meta,
              "sha256": {name: _digest(a) for name, a in arrays.items()}}  # fmt: skip
    try:
        text = json.dumps(header)
    except TypeError as error:
        raise ArgumentError(lesson("save", f"meta or a leaf of the tree: {error}",
                                   "arrays, tensors, numbers, strings and None")) from None  # fmt: skip
    data = safetensors.save(arrays, metadata={"minigrad": text})
    seal = hashlib.sha256(data).hexdigest().encode()
    data = data.replace(UNSEALED.encode(), seal, 1)  # "whole" stands before all that is variable
    try:
        write_atomically(Path(path), data)
    except OSError as error:
        raise StorageError(error.errno, lesson("save", f"{path}: {error.strerror}",
                                               "nothing was changed there")) from None  # fmt: skip


def load(path: str | os.PathLike[str]) -> tuple[Any, Any]:
    """Read what `save` wrote.

    Returns
    -------
    tree, meta

    Raises
    ------
    CheckpointError
        The file is missing, not ours, of a newer format, truncated or damaged.
    """
    safetensors = _safetensors()
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(lesson("load", f"{path}: {error.strerror}")) from None
    try:
        size = int.from_bytes(data[:8], "little")
        if len(data) < 8 or size > len(data) - 8:
            raise ValueError(f"truncated: the header says {size} bytes, the file has {len(data)}")
        text = json.loads(data[8 : 8 + size]).get("__metadata__", {}).get("minigrad")
        if text is None:
            raise ValueError("a safetensors file, but not one that mg.save wrote")
        header = json.loads(text)
        if header["format"] > FORMAT:
            raise ValueError(f"format {header['format']}, this minigrad reads <= {FORMAT}")
        arrays = safetensors.load(data)
        for name, digest in header["sha256"].items():
            if _digest(arrays[name]) != digest:
                raise ValueError(f"checksum mismatch in tensor {name!r}")
        whole = data.replace(header["whole"].encode(), UNSEALED.encode(), 1)
        if hashlib.sha256(whole).hexdigest() != header["whole"]:
            raise ValueError("checksum mismatch in the header")
        return _unpack(header["tree"], arrays), header["meta"]
    except Exception as error:
        raise CheckpointError(lesson("load", f"{path}: {error}",
                                     "a whole file written by mg.save")) from None  # fmt: skip


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise ArgumentError(lesson("save/load", "the package safetensors is not installed", "",
                                   "pip install 'minigrad-engine[models]'")) from None  # fmt: skip
    return safetensors.numpy


def _digest(array: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def _pack(tree: Any, path: str, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    """The tree as JSON, its arrays taken out; each kind of node is a one-key object."""
    below = f"{path}/" if path else ""
    if isinstance(tree, dict):
        if not all(isinstance(k, str) for k in tree):
            raise ArgumentError(lesson("save", f"a dict with keys {list(tree)}", "string keys"))
        return {"dict": {k: _pack(v, below + k, arrays) for k, v in tree.items()}}
    if isinstance(tree, (list, tuple)):
        kind = "list" if isinstance(tree, list) else "tuple"
        return {kind: [_pack(v, f"{below}{k}", arrays) for k, v in enumerate(tree)]}
    if isinstance(tree, (Tensor, np.ndarray, np.generic)):
        array = tree.data if isinstance(tree, Tensor) else np.asarray(tree)
        if array.dtype.kind not in "biufc":
            raise ArgumentError(lesson("save", f"an array of dtype {array.dtype} at {path!r}",
                                       "numbers and booleans"))  # fmt: skip
        while path in arrays or path == "__metadata__":  # {"a/b": x, "a": {"b": y}}
            path += "'"
        # safetensors takes the buffer as it lies: give it C order, native bytes
        arrays[path] = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
        return {"array": path}
    return {"value": tree}


def _unpack(node: Any, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    ((kind, value),) = node.items()
    if kind == "dict":
        return {k: _unpack(v, arrays) for k, v in value.items()}
    if kind in ("list", "tuple"):
        return (list if kind == "list" else tuple)(_unpack(v, arrays) for v in value)
    return arrays[value] if kind == "array" else value


def write_atomically(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)  # the new name itself must reach the disk
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
