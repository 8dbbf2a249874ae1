"""Recurrent layers that know torch and nothing else: `from rnnlab.cells import LSTM` works in a notebook."""

from rnnlab.cells.auto import BackendChoice
from rnnlab.cells.backends import BACKENDS, BackendStatus, backend_report
from rnnlab.cells.cpu.kept import KeptWeights
from rnnlab.cells.dropout import Dropout, dropout
from rnnlab.cells.extras import ExtraArguments, Extras
from rnnlab.cells.initialisation import INITIALISATIONS
from rnnlab.cells.layers import GRU, LSTM, RNN
from rnnlab.cells.reference import LSTMState, Weights, gru_step, lstm_step, rnn_step

__all__ = [
    "BACKENDS",
    "GRU",
    "INITIALISATIONS",
    "LSTM",
    "RNN",
    "BackendChoice",
    "BackendStatus",
    "Dropout",
    "ExtraArguments",
    "Extras",
    "KeptWeights",
    "LSTMState",
    "Weights",
    "backend_report",
    "dropout",
    "gru_step",
    "lstm_step",
    "rnn_step",
]
