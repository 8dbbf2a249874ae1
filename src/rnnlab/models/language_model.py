"""Language model: predict each next token. embedding -> recurrent stack -> decoder.

Shapes: T steps, B columns, E embedding_size, H hidden_size, V vocab_size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnlab.cells import GRU, LSTM, RNN, Dropout
from rnnlab.cells.cpu import engine
from rnnlab.losses import linear_cross_entropy
from rnnlab.models.adaptive import AdaptiveDecoder
from rnnlab.models.layers import StackArguments, build_embedding, build_recurrent, start_uniformly
from rnnlab.models.sampled import SampledLoss
from rnnlab.models.state import State
from rnnlab.models.tied import decoders_view, hand_on
from rnnlab.models.writer import MOST_ROWS, Writer


class LanguageModel(nn.Module):
    """Next-token scores for every step, with the state carried by the caller.

    Training and scoring take `hidden` and then `nats`, which never hold the (T, B, V) logits that `forward` gives.

        x_t      = dropout(embedding(token_t))
        h_t, s_t = recurrent(x_t, s_{t-1})
        logits_t = W_out dropout(h_t) + b_out            W_out = embedding matrix when tied

    Dropout falls where Zaremba, Sutskever & Vinyals 2014 put it: on non-recurrent connections only. Tied weights:
    Press & Wolf 2017, Inan et al. 2017.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        embedding: str = "learned",
        embedding_size: int = 200,
        tie_weights: bool = False,
        decoder: str = "full",
        cutoffs: Sequence[int] | None = None,
        sampled_words: int | None = None,
        token_counts: Tensor | None = None,
        dropout: float = 0.0,
        **stack: Unpack[StackArguments],
    ) -> None:
        """Build the model; weights are drawn from torch's global generator.

        Args:
            vocab_size: number of token ids.
            embedding: "learned" or "one_hot".
            embedding_size: features of a learned token vector.
            tie_weights: the decoder shares the embedding matrix.
            decoder: "full", or "adaptive": a softmax that spends less on rare tokens, see `AdaptiveDecoder`; token ids
                must then be ordered by frequency.
            cutoffs: of the adaptive decoder.
            sampled_words: a full decoder is trained on so many drawn tokens at a time, see `SampledLoss`, which needs
                token_counts; None: on all.
            token_counts: how often each token stands in the training text, (V,); None where nothing is trained.
            dropout: share zeroed in embeddings, between layers and before the decoder.
            stack: of the recurrent layers, see `StackArguments`.

        Raises:
            ValueError: tied weights with one-hot vectors, with embedding_size other than hidden_size or with an
                adaptive decoder; an unknown decoder, or cutoffs that do not fit it.
        """
        super().__init__()
        _refuse_what_does_not_fit(decoder, tie_weights, cutoffs, sampled_words)
        self.embedding = build_embedding(embedding, vocab_size, embedding_size, is_tied=tie_weights)
        self.recurrent = build_recurrent(self.embedding.embedding_dim, dropout=dropout, **stack)
        hidden_size = self.recurrent.hidden_size
        if tie_weights and (embedding == "one_hot" or embedding_size != hidden_size):
            raise ValueError(
                "tie_weights needs a learned embedding with embedding_size equal to hidden_size, "
                f"got embedding {embedding!r} of {embedding_size} and hidden_size {hidden_size}"
            )
        self.dropout = Dropout(dropout)
        # A tied decoder has no matrix of its own, so that a saved model holds each number once.
        is_full = decoder == "full"
        own = is_full and not tie_weights
        self.adaptive = None if is_full else AdaptiveDecoder(hidden_size, vocab_size, cutoffs)
        self.sampled: SampledLoss | None = None
        if sampled_words is not None and token_counts is not None:
            self.sampled = SampledLoss(token_counts, sampled_words)
        self.decoder_weight = nn.Parameter(torch.empty(vocab_size, hidden_size)) if own else None
        self.decoder_bias = nn.Parameter(torch.zeros(vocab_size)) if is_full else None
        if self.decoder_weight is not None:
            nn.init.uniform_(self.decoder_weight, -0.1, 0.1)
        start_uniformly(self, self.recurrent)

    def forward(self, inputs: Tensor, state: State = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Score every next token.

        Args:
            inputs: <int64>(T, B) token ids.
            state: state before the first step; None is all zero.
            lengths: <int64>(B,) valid steps of each row; None is T for all.

        Returns:
            logits (T, B, V), log-probabilities of an adaptive decoder, and the state after each row's last valid step.
        """
        h, state = self.hidden(inputs, state, lengths)
        return self.decode(h), state

    def hidden(self, inputs: Tensor, state: State = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Return what the decoder sees, (T, B, H) after dropout, and the state; arguments as `forward`."""
        x = self.embedding(inputs)
        of_decoder = decoders_view(x)
        if isinstance(self.embedding, nn.Embedding):  # a one-hot vector without its 1 is no token at all
            x = self.dropout(x)
        h, state = self.recurrent(x, state, lengths=lengths)
        h = self.dropout(h)
        hand_on(of_decoder, h)
        return h, state

    def nats(self, h: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
        """Sum the cross-entropy of targets <int64>(...) under the scores of hidden states (..., H), a scalar.

        Rows whose target is `ignore_index` do not count. In training, with `sampled_words`, it is that among a sample.
        """
        if self.adaptive is not None:
            return self.adaptive.nats(h, targets, ignore_index)
        of_decoder = decoders_view(h)
        weight = self._weight if of_decoder is None else of_decoder
        if self.sampled is not None and self.training:
            return self.sampled(h, weight, self.decoder_bias, targets, ignore_index)
        return linear_cross_entropy(h, weight, self.decoder_bias, targets, ignore_index=ignore_index)

    def decode(self, h: Tensor) -> Tensor:
        """Turn hidden states (..., H) into logits (..., V)."""
        if self.adaptive is not None:
            return self.adaptive(h)
        return functional.linear(h, self._weight, self.decoder_bias)

    def writer(self, state: State, rows: int) -> Writer | None:
        """Return what draws this model's texts in C++, from a state on; None where only calling it says all it does.

        Args:
            state: (L, rows, H) each.
            rows: texts side by side.
        """
        recurrent, embedding = self.recurrent, self.embedding
        is_plain = (
            type(self) is LanguageModel
            and type(recurrent) in (RNN, LSTM, GRU)  # not someone's own equations
            and recurrent.backend in ("auto", "cpu")
            and not recurrent.extras.active(training=self.training, needs_grad=False)
            and isinstance(embedding, nn.Embedding)
            and self.adaptive is None
            and not any(module._forward_hooks or module._forward_pre_hooks for module in self.modules())
        )
        if not is_plain or self.training or rows > MOST_ROWS or torch.is_autocast_enabled("cpu"):
            return None
        if not all(p.dtype == torch.float32 and p.is_contiguous() and engine.runs(p) for p in self.parameters()):
            return None
        layers = [recurrent.layer_weights(layer, 0) for layer in range(recurrent.num_layers)]
        # pyright does not see that the embedding is a matrix here.
        return Writer(recurrent.cell, layers, embedding.weight, self._weight, self.decoder_bias, state)  # pyright: ignore

    @property
    def _weight(self) -> Tensor:
        """The decoder's matrix, (V, H)."""
        return self.embedding.weight if self.decoder_weight is None else self.decoder_weight  # pyright: ignore


def _refuse_what_does_not_fit(
    decoder: str, tie_weights: bool, cutoffs: Sequence[int] | None, sampled_words: int | None
) -> None:
    """Refuse an unknown decoder, and arguments of another one.

    Raises:
        ValueError: one of these.
    """
    if decoder not in ("full", "adaptive"):
        raise ValueError(f"decoder must be full or adaptive, got {decoder!r}")
    if tie_weights and decoder == "adaptive":
        raise ValueError("tie_weights needs decoder 'full': an adaptive one has narrower matrices than the embedding")
    if cutoffs is not None and decoder == "full":
        raise ValueError(f"cutoffs are of decoder 'adaptive', got {list(cutoffs)} for 'full'")
    if sampled_words is not None and decoder == "adaptive":
        raise ValueError(f"sampled_words is of decoder 'full', got {sampled_words} for 'adaptive'")
