"""The gates of a recurrence at all steps, from one product a layer, once the hidden states are known.

Shapes: T steps, B batch, I input_size, H hidden_size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rnnlab.cells.extras import NO_EXTRAS, Extras
from rnnlab.cells.reference import Weights, gru_gates, lstm_gates

GATES = {
    "rnn_tanh": ("hidden",),
    "rnn_relu": ("hidden",),
    "lstm": ("input", "forget", "cell", "output"),
    "gru": ("reset", "update", "new"),
}
"""Names of the gates of each cell, in the order of their blocks in the weights."""


def gate_values(
    cell: str,
    x: Tensor,
    h_0: Tensor,
    y: Tensor,
    weights: Weights,
    lengths: Tensor | None,
    reverse: bool,
    extras: Extras | None = None,
) -> dict[str, Tensor]:
    """Compute the gates of one layer in one direction.

    Args:
        cell: 'rnn_tanh', 'rnn_relu', 'lstm' or 'gru'.
        x: its inputs, (T, B, I), finite at padding.
        h_0: the hidden state it started from, (B, H).
        y: its outputs, (T, B, H).
        weights: its parameters.
        lengths: valid steps of each row, <int64>(B,), 0..T; None: all T.
        reverse: whether it ran from each row's last valid step to step 0.
        extras: as its engine got them.

    Returns:
        Gate name to values, (T, B, H), 0 past each row's length. Sigmoid gates lie in 0..1; cell, new and hidden (the
        output of a cell without gates) in -1..1, or above 0 for ReLU.
    """
    extras = extras or NO_EXTRAS
    if cell in ("rnn_tanh", "rnn_relu"):
        return {"hidden": y}
    before = states_before(h_0, y, lengths, reverse)
    gates = lstm_gates if cell == "lstm" else gru_gates
    values = gates(x, before, weights, extras)
    if lengths is not None:
        padded = (_steps(y) >= lengths).unsqueeze(2)
        values = tuple(value.masked_fill(padded, 0) for value in values)
    return dict(zip(GATES[cell], values, strict=True))


def states_before(h_0: Tensor, y: Tensor, lengths: Tensor | None, reverse: bool) -> Tensor:
    """Return the hidden state that each step started from, (T, B, H); anything past a row's length."""
    if not reverse:
        return torch.cat([h_0.unsqueeze(0), y[:-1]])
    after = torch.cat([y[1:], h_0.unsqueeze(0)])
    if lengths is None:
        return after
    return torch.where((_steps(y) == lengths - 1).unsqueeze(2), h_0, after)


def _steps(y: Tensor) -> Tensor:
    return torch.arange(y.shape[0], device=y.device).unsqueeze(1)
