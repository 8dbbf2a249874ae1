"""A matrix that is embedding and decoder at once, and its gradient: the decoder's, with the embedding's rows added.

Left alone, autograd fills a second gradient of the matrix's size with zeros, adds the rows to that, and adds the two.

Shapes: T steps, B columns, E embedding_size, V vocab_size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnlab.cells.ops import is_watched


class TiedEmbedding(nn.Embedding):
    """nn.Embedding whose vectors know a second view of its matrix, for the decoder that ends what they begin."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the vectors of tokens <int64>(T, B), (T, B, E)."""
        weight = self.weight
        # On a GPU adding up rows takes no pass worth sparing, and would be in a different order each time.
        if not (torch.is_grad_enabled() and weight.requires_grad and weight.device.type == "cpu") or is_watched():
            return super().forward(input)
        of_embedding, of_decoder = _Split.apply(weight)  # pyright: ignore
        x = functional.embedding(input, of_embedding, sparse=True)
        hand_on(of_decoder, x)
        return x


def hand_on(of_decoder: Tensor | None, x: Tensor) -> None:
    """Let x, which was made from a tied embedding's vectors, know the decoder's view of the matrix."""
    if of_decoder is not None:
        x.of_decoder = of_decoder  # pyright: ignore[reportAttributeAccessIssue]


def decoders_view(x: Tensor) -> Tensor | None:
    """Return the view that was handed on to x; None: take the matrix itself, which gives the same gradient, slower."""
    return getattr(x, "of_decoder", None)


class _Split(torch.autograd.Function):
    """The matrix twice; the first's gradient may be sparse."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        return weight.view_as(weight), weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, of_embedding: Tensor | None, of_decoder: Tensor | None) -> Tensor | None:  # pyright: ignore
        if of_decoder is None:
            return of_embedding.to_dense() if of_embedding is not None and of_embedding.is_sparse else of_embedding
        if of_embedding is None:
            return of_decoder
        if torch.is_grad_enabled() or not of_embedding.is_sparse:
            return of_decoder + of_embedding
        # The decoder's was sent here and to no other place, but may be an expanded number (of a sum over the matrix).
        rows, values = of_embedding._indices()[0], of_embedding._values()
        return of_decoder.contiguous().index_add_(0, rows, values.to(of_decoder.dtype))
