"""An embedding's gradient of the rows seen equals torch's dense one, and is sparse only where somebody asked for it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from rnnlab.models.embedding import Embedding, rows_only

TOKENS = torch.tensor([[1, 4], [1, 1], [7, 1]])  # with words that come again


def gradient(num_embeddings: int, *, is_on: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradient of a weighted sum of vectors, and torch's own."""
    torch.manual_seed(0)
    embedding = Embedding(num_embeddings, 5).double()
    factors = torch.randn(*TOKENS.shape, 5, dtype=torch.float64)
    with rows_only(is_on):
        x = embedding(TOKENS)
    (factors * x).sum().backward()
    (wanted,) = torch.autograd.grad((factors * functional.embedding(TOKENS, embedding.weight)).sum(), embedding.weight)
    assert embedding.weight.grad is not None
    return embedding.weight.grad, wanted


@pytest.mark.parametrize("num_embeddings", [8, 1000])
def test_the_rows_seen_have_torchs_gradient(num_embeddings: int) -> None:
    grad, wanted = gradient(num_embeddings, is_on=True)
    assert grad.is_sparse
    assert grad.coalesce().indices().tolist() == [[1, 4, 7]]
    torch.testing.assert_close(grad.to_dense(), wanted, rtol=1e-14, atol=0)


def test_it_is_dense_unless_asked_for_and_outside() -> None:
    grad, wanted = gradient(1000, is_on=False)
    assert not grad.is_sparse
    torch.testing.assert_close(grad, wanted, rtol=1e-14, atol=0)
    embedding = Embedding(1000, 5)
    with rows_only(True), rows_only(False):
        x = embedding(TOKENS)
    assert not torch.autograd.grad(x.sum(), embedding.weight)[0].is_sparse
    assert not torch.autograd.grad(embedding(TOKENS).sum(), embedding.weight)[0].is_sparse


def test_a_table_smaller_than_the_window_has_a_dense_gradient() -> None:
    torch.manual_seed(0)
    embedding = Embedding(6, 5)
    with rows_only(True):
        x = embedding(TOKENS % 6)
    assert not torch.autograd.grad(x.sum(), embedding.weight)[0].is_sparse
