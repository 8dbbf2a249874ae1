"""Regressor: read vectors, give real numbers, at every step or at the end. recurrent stack -> head.

Shapes: T steps, B rows, F features of a step, H hidden_size, O outputs.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from rnnlab.cells import Dropout
from rnnlab.models.layers import StackArguments, build_recurrent, start_uniformly
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
        dropout: float = 0.0,
        **stack: Unpack[StackArguments],
    ) -> None:
        """Build the model; weights are drawn from torch's global generator.

        Args:
            num_features: F.
            num_outputs: O.
            every_step: whether there is an output at each step, or one at the end.
            dropout: share zeroed between layers and before the head.
            stack: of the recurrent layers, see `StackArguments`.
        """
        super().__init__()
        self.every_step = every_step
        self.embedding = Features(num_features)
        self.recurrent = build_recurrent(self.embedding.embedding_dim, dropout=dropout, **stack)
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(self.recurrent.hidden_size, num_outputs)
        start_uniformly(self, self.recurrent)

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
