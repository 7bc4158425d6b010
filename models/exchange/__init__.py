"""Exchange with PyTorch, ONNX and Keras: parameters in, parameters out, gates mapped by name."""

from .convert import check, read, write
from .graphs import to_onnx
from .keras import from_keras, to_keras
from .nodes import from_onnx
from .own import from_state
from .pytorch import from_torch, to_torch

__all__ = ["check", "from_keras", "from_onnx", "from_state", "from_torch", "read", "to_keras", "to_onnx", "to_torch", "write"]
