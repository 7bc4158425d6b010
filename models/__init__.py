"""Models built from minigrad's ops: the LSTM of the paper, and what is trained with it."""

from __future__ import annotations

from . import lstm_manual
from .lstm import LSTM, LSTMCell

__all__ = ["LSTM", "LSTMCell", "lstm_manual"]
