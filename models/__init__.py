"""Models built from minigrad's ops: the LSTM of the paper, its relatives, and what is trained with them."""

from __future__ import annotations

from . import exchange, lstm_manual
from .gru import GRU, GRUCell
from .lstm import LSTM, LSTMCell, init_chrono, init_forget_bias
from .recurrent import Cell, Recurrent, detached
from .rnn import RNN, RNNCell

__all__ = [
    "GRU", "LSTM", "RNN", "Cell", "GRUCell", "LSTMCell", "RNNCell", "Recurrent", "detached", "exchange",
    "init_chrono", "init_forget_bias", "lstm_manual",
]  # fmt: skip
