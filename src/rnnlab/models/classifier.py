"""Classifier: read a whole sequence, give its class. embedding -> recurrent stack -> pooling -> head.

Shapes: T steps, B rows, D hidden_size times directions, C classes.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from rnnlab.cells import Dropout
from rnnlab.models.layers import StackArguments, build_embedding, build_recurrent, start_uniformly
from rnnlab.models.state import State

POOLINGS = ("last", "mean", "max", "attention")


class Classifier(nn.Module):
    """Class scores of whole sequences; nothing past a row's length can reach them.

    last       the state at the end of reading (both ends when bidirectional)
    mean, max  over the valid steps, feature by feature
    attention  sum_t a_t h_t with a = softmax over valid steps of v . tanh(W h_t + b) (Bahdanau et al. 2015's additive
               score with a learned query, as in Yang et al. 2016)
    """

    def __init__(
        self,
        vocab_size: int,
        num_classes: int,
        *,
        bidirectional: bool = False,
        embedding: str = "learned",
        embedding_size: int = 200,
        dropout: float = 0.0,
        pooling: str = "mean",
        **stack: Unpack[StackArguments],
    ) -> None:
        """Build the model; weights are drawn from torch's global generator.

        Args:
            vocab_size: number of token ids.
            num_classes: number of classes.
            bidirectional: read from both ends.
            embedding: "learned" or "one_hot".
            embedding_size: features of a learned token vector.
            dropout: share zeroed in embeddings, between layers and before the head.
            pooling: "last", "mean", "max" or "attention".
            stack: of the recurrent layers, see `StackArguments`.

        Raises:
            ValueError: an unknown pooling, or fewer than two classes.
        """
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {num_classes}")
        self.pooling = pooling
        self.embedding = build_embedding(embedding, vocab_size, embedding_size)
        self.recurrent = build_recurrent(
            self.embedding.embedding_dim, bidirectional=bidirectional, dropout=dropout, **stack
        )
        features = self.recurrent.hidden_size * self.recurrent.num_directions
        self.dropout = Dropout(dropout)
        if pooling == "attention":
            self.attention = nn.Sequential(nn.Linear(features, features), nn.Tanh(), nn.Linear(features, 1, bias=False))
        self.head = nn.Linear(features, num_classes)
        start_uniformly(self, self.recurrent)

    def forward(self, inputs: Tensor, state: State = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Score the classes of each row.

        Args:
            inputs: <int64>(T, B) token ids, padded on the right.
            state: state before the first step; None is all zero.
            lengths: <int64>(B,) valid steps of each row, at least 1; None is T for all.

        Returns:
            logits (B, C), and the state after each row's last valid step.
        """
        x = self.embedding(inputs)
        if isinstance(self.embedding, nn.Embedding):  # a one-hot vector without its 1 is no token at all
            x = self.dropout(x)
        h, state = self.recurrent(x, state, lengths=lengths)
        pooled = self._final(state) if self.pooling == "last" else self._pool(h, lengths)
        return self.head(self.dropout(pooled)), state

    def logits_so_far(self, h: Tensor) -> Tensor:
        """Score the classes after every step, as if the text ended there.

        Args:
            h: outputs of the recurrent stack without dropout, (T, B, D); of one direction, since the other would have
                read what is still to come.

        Returns:
            (T, B, C); past a row's length they mean nothing.
        """
        assert not self.recurrent.bidirectional
        match self.pooling:
            case "last":
                pooled = h
            case "mean":
                pooled = h.cumsum(0) / torch.arange(1, len(h) + 1, device=h.device)[:, None, None]
            case "max":
                pooled = h.cummax(0).values
            case _:
                # Of scores below the largest of the whole text by 700 nothing would be left: float64 reaches so far.
                scores = self.attention(h).double()
                shares = (scores - scores.amax(0)).exp()
                pooled = ((shares * h).cumsum(0) / shares.cumsum(0)).to(h)
        return self.head(pooled)

    def _final(self, state: State) -> Tensor:
        """Return the top layer's last h of each direction, (B, D)."""
        h_n = state[0] if isinstance(state, tuple) else state
        assert h_n is not None
        return torch.cat([h_n[-2], h_n[-1]], dim=-1) if self.recurrent.bidirectional else h_n[-1]

    def _pool(self, h: Tensor, lengths: Tensor | None) -> Tensor:
        """Sum up the valid steps of h (T, B, D) as (B, D)."""
        num_steps, num_rows, _ = h.shape
        if lengths is None:
            lengths = torch.full((num_rows,), num_steps, device=h.device)
        valid = torch.arange(num_steps, device=h.device)[:, None] < lengths.to(h.device)  # (T, B)
        valid = valid[..., None]
        match self.pooling:
            case "mean":
                return h.masked_fill(~valid, 0.0).sum(0) / lengths.to(h)[:, None]
            case "max":
                return h.masked_fill(~valid, float("-inf")).amax(0)
            case _:
                scores = self.attention(h).masked_fill(~valid, float("-inf"))  # (T, B, 1)
                return (scores.softmax(0) * h.masked_fill(~valid, 0.0)).sum(0)
