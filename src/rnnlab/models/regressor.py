"""Regressor: read vectors, give real numbers, at every step or at the end. recurrent stack -> head.

Shapes: T steps, B rows, F features of a step, H hidden_size, O outputs.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from rnnlab.cells import Dropout, ExtraArguments
from rnnlab.models.layers import build_recurrent, draw_uniform
from rnnlab.models.state import State


class Features(nn.Module):
    """Vectors as they stand, (T, B, F), in the model's dtype: what an embedding is to tokens. Nothing to learn."""

    dtype_like: Tensor

    def __init__(self, num_features: int) -> None:
        """Keep the number of features."""
        super().__init__()
        self.embedding_dim = num_features
        self.register_buffer("dtype_like", torch.empty(0), persistent=False)  # follows `model.double()`

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the vectors."""
        return inputs.to(self.dtype_like.dtype)


class Regressor(nn.Module):
    """Real numbers from a sequence of vectors.

    h_t, s_t = recurrent(x_t, s_{t-1})
    y_t      = W_out dropout(h_t) + b_out       at every step, or of the last one alone
    """

    def __init__(
        self,
        num_features: int,
        num_outputs: int,
        *,
        every_step: bool,
        cell: str = "lstm",
        hidden_size: int = 200,
        num_layers: int = 1,
        dropout: float = 0.0,
        nonlinearity: str = "tanh",
        initialisation: str = "default",
        init_range: float | None = None,
        forget_gate_bias: float | None = None,
        backend: str = "auto",
        **extras: Unpack[ExtraArguments],
    ) -> None:
        """Build the model; weights are drawn from torch's global generator.

        Args:
            num_features: F.
            num_outputs: O.
            every_step: whether there is an output at each step, or one at the end.
            cell: "rnn", "lstm" or "gru".
            hidden_size: features of h.
            num_layers: recurrent layers.
            dropout: share zeroed between layers and before the head.
            nonlinearity: "tanh" or "relu", of cell "rnn".
            initialisation: "default", "identity", "orthogonal" or "uniform" (then of every weight of the model).
            init_range: with "uniform", weights are drawn from +-init_range.
            forget_gate_bias: start value, of cell "lstm".
            backend: engine of the recurrence.
            extras: recurrent_dropout, weight_drop, zoneout, layer_norm, clip_state_grad, recompute; see
                `rnnlab.cells.RNN`.
        """
        super().__init__()
        self.every_step = every_step
        self.embedding = Features(num_features)
        self.recurrent = build_recurrent(
            cell,
            num_features,
            hidden_size,
            num_layers=num_layers,
            dropout=dropout,
            nonlinearity=nonlinearity,
            initialisation=initialisation,
            init_range=init_range,
            forget_gate_bias=forget_gate_bias,
            backend=backend,
            **extras,
        )
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(hidden_size, num_outputs)
        if initialisation == "uniform" and init_range is not None:
            draw_uniform(self, self.recurrent, init_range, forget_gate_bias)

    def forward(self, inputs: Tensor, state: State = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Give the numbers.

        Args:
            inputs: (T, B, F).
            state: state before the first step; None is all zero.
            lengths: <int64>(B,) valid steps of each row; None is T for all.

        Returns:
            (T, B, O) at every step, else (B, O) after each row's last valid step; and the state there.
        """
        h, state = self.recurrent(self.embedding(inputs), state, lengths=lengths)
        if not self.every_step:
            h_n = state[0] if isinstance(state, tuple) else state
            assert h_n is not None
            h = h_n[-1]
        return self.head(self.dropout(h)), state
