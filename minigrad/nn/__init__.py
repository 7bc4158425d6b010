"""Networks: trees of modules with parameters and state, and the layers they are made of."""

from .layers import (
    AvgPool1d,
    AvgPool2d,
    BatchNorm1d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    Dropout,
    Embedding,
    GroupNorm,
    LayerNorm,
    Linear,
    MaxPool1d,
    MaxPool2d,
    RMSNorm,
    Sequential,
)
from .module import Buffer, Module, Parameter

__all__ = [
    "AvgPool1d", "AvgPool2d", "BatchNorm1d", "BatchNorm2d", "Buffer", "Conv1d", "Conv2d", "Dropout",
    "Embedding", "GroupNorm", "LayerNorm", "Linear", "MaxPool1d", "MaxPool2d", "Module", "Parameter",
    "RMSNorm", "Sequential",
]  # fmt: skip
