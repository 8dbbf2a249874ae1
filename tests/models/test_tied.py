"""A tied matrix's gradient equals autograd's own sum, whichever of its two uses there were, and however often."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rnnlab.losses import later_times
from rnnlab.models import LanguageModel
from rnnlab.models.tied import TiedEmbedding, decoders_view


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def build() -> LanguageModel:
    return LanguageModel(11, embedding_size=6, hidden_size=6, tie_weights=True, cell="gru").double()


TOKENS = torch.tensor([[1, 4], [1, 1], [7, 1]])  # with words that come again
TARGETS = torch.tensor([[4, 1], [1, 10], [0, -100]])


def oracle(model: LanguageModel) -> list[Tensor]:
    """All gradients of the summed loss, by torch's embedding, linear layer and loss."""
    weight = dict(model.named_parameters())["embedding.weight"]
    h, _ = model.recurrent(functional.embedding(TOKENS, weight))
    logits = functional.linear(h, weight, model.decoder_bias)
    loss = functional.cross_entropy(logits.flatten(0, 1), TARGETS.flatten(), reduction="sum")
    return list(torch.autograd.grad(loss, list(model.parameters())))


@pytest.mark.parametrize("foreseen", [1.0, 0.25])
def test_the_gradient_is_that_of_both_uses(foreseen: float) -> None:
    model = build()
    wanted = [0.25 * grad for grad in oracle(model)]
    h, _ = model.hidden(TOKENS)
    assert decoders_view(h) is not None, "else nothing is tested here"
    with later_times(foreseen):
        loss = model.nats(h, TARGETS) * 0.25
    parameters = list(model.parameters())
    for keep in (True, False):  # the first must leave alone what the second needs
        for got, grad in zip(torch.autograd.grad(loss, parameters, retain_graph=keep), wanted, strict=True):
            torch.testing.assert_close(got, grad, rtol=1e-12, atol=1e-14)


def test_gradients_of_windows_add_up_and_stay_dense() -> None:
    model = build()
    wanted = oracle(model)
    for _ in range(2):
        h, _ = model.hidden(TOKENS)
        model.nats(h, TARGETS).backward()
    for parameter, grad in zip(model.parameters(), wanted, strict=True):
        assert parameter.grad is not None
        assert not parameter.grad.is_sparse
        torch.testing.assert_close(parameter.grad, 2 * grad, rtol=1e-12, atol=1e-14)


def test_hidden_states_that_lost_the_view_give_the_same_gradient() -> None:
    model = build()
    h, _ = model.hidden(TOKENS)
    model.nats(h * 1.0, TARGETS).backward()
    for parameter, grad in zip(model.parameters(), oracle(model), strict=True):
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-12, atol=1e-14)


def test_either_use_alone_has_its_own_gradient() -> None:
    embedding = TiedEmbedding(5, 3).double()
    (rows,) = torch.autograd.grad(embedding(torch.tensor([2, 2])).sum(), embedding.weight)
    assert rows.tolist() == [[0.0] * 3, [0.0] * 3, [2.0] * 3, [0.0] * 3, [0.0] * 3]
    view = decoders_view(embedding(torch.tensor([2])))
    assert view is not None
    (whole,) = torch.autograd.grad(view.sum(), embedding.weight)  # an expanded number, as autograd makes it
    assert torch.equal(whole, torch.ones(5, 3, dtype=torch.float64))
    x = embedding(torch.tensor([2]))
    view = decoders_view(x)
    assert view is not None
    (both,) = torch.autograd.grad(view.sum() + x.sum(), embedding.weight)
    assert both.tolist() == [[1.0] * 3, [1.0] * 3, [2.0] * 3, [1.0] * 3, [1.0] * 3]


def test_without_gradients_it_is_torchs_embedding_and_copies_are_whole() -> None:
    model = build()
    with torch.no_grad():
        assert decoders_view(model.hidden(TOKENS)[0]) is None
    again = copy.deepcopy(model)
    assert torch.equal(again(TOKENS)[0], model(TOKENS)[0])
