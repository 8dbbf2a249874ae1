"""Sampled softmax: the whole one when everything is drawn, the right distribution when little is."""

from __future__ import annotations

import pytest
import torch

from rnnlab.losses import linear_cross_entropy
from rnnlab.models import LanguageModel
from rnnlab.models.sampled import SampledLoss

V, H = 40, 6
COUNTS = torch.arange(1, V + 1).flip(0)


def test_with_everything_drawn_it_is_the_whole_softmax() -> None:
    torch.manual_seed(0)
    h, weight, bias = torch.randn(30, H), torch.randn(V, H), torch.randn(V)
    targets = torch.randint(0, V, (30,))
    targets[3] = -100
    # The rarest token stands in 1 of 820 places: it is missed with probability exp(-100,000 / 820), that is never.
    got = SampledLoss(COUNTS, 100_000)(h, weight, bias, targets, -100)
    wanted = linear_cross_entropy(h, weight, bias, targets, ignore_index=-100)
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=0.0)


def test_the_scores_that_it_teaches_are_those_of_the_whole_softmax() -> None:
    # With scores, here biases alone, that are the logarithms of the targets' frequencies, nothing pulls at them on
    # average, though a window of 20 targets and 2 drawn tokens sees about a third of the vocabulary.
    torch.manual_seed(0)
    share = torch.softmax(torch.linspace(0, 3, V), 0)
    loss = SampledLoss(share * 1e6, 2)
    h, weight = torch.zeros(20, H), torch.zeros(V, H)
    tilted = share.log() + 0.5 * torch.linspace(-1, 1, V)
    pulls, windows = torch.zeros(2, V), 1500
    for _ in range(windows):
        targets = torch.multinomial(share, 20, replacement=True)
        for row, scores in enumerate((share.log(), tilted)):
            scores.requires_grad_()
            pulls[row] += torch.autograd.grad(loss(h, weight, scores, targets, -100), scores)[0]
    right, wrong = (pulls / (windows * 20 * share)).unflatten(1, (4, V // 4)).mean(2)
    # Ten tokens of a share of 0.4 % or more are targets 1,200 times in all, so a mean is known to 3 %.
    assert right.abs().max() < 0.1
    assert wrong.abs().max() > 0.2


def test_the_draw_is_of_torchs_generator_and_a_token_never_counted_is_never_drawn() -> None:
    counts = COUNTS.clone()
    counts[5:9] = 0
    loss = SampledLoss(counts, 500)
    weight = torch.zeros(V, H, requires_grad=True)
    values = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        values.append(loss(torch.ones(4, H), weight, torch.zeros(V), torch.tensor([0, 1, 2, 3]), -100))
    assert values[0] == values[1]
    grad = torch.autograd.grad(sum(values), weight)[0]
    assert torch.equal(grad[5:9], torch.zeros(4, H))
    assert (grad[:5] != 0).all()


def test_a_language_model_samples_in_training_and_scores_all() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": H, "embedding_size": H, "tie_weights": True}
    model = LanguageModel(V, sampled_words=4, token_counts=COUNTS, **sizes)
    h, targets = torch.randn(5, 3, H), torch.randint(0, V, (5, 3))
    sampled = model.nats(h, targets)
    whole = model.eval().nats(h, targets)
    assert sampled < whole
    torch.testing.assert_close(whole, LanguageModel.nats(_copy(model, sizes), h, targets))
    assert "sampled.upper" not in model.state_dict()


def _copy(model: LanguageModel, sizes: dict) -> LanguageModel:
    other = LanguageModel(V, **sizes)
    other.load_state_dict(model.state_dict())
    return other


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="got 0 samples"):
        SampledLoss(COUNTS, 0)
    with pytest.raises(ValueError, match="tokens that were counted"):
        SampledLoss(0 * COUNTS, 5)
    with pytest.raises(ValueError, match="sampled_words is of decoder 'full', got 9 for 'adaptive'"):
        LanguageModel(V, sampled_words=9, token_counts=COUNTS, decoder="adaptive", hidden_size=16)
