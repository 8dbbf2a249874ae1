"""Shares by lag add up to the whole gradient, and are those of gradients cut by hand; gradients vanish and explode."""

import pytest
import torch
from torch.nn import functional

from rnnlab.cells import RNN
from rnnlab.inspection.chains import unroll
from rnnlab.inspection.gradients import gradient_by_lag, steps_that_hold
from rnnlab.models import Classifier

T = 7


def language_loss(model, inputs, targets):
    return lambda: model.nats(model.hidden(inputs)[0], targets) / targets.numel()


@pytest.mark.parametrize("kind", ["rnn", "irnn", "lstm", "gru"])
def test_shares_add_up_to_the_whole_gradient(small, kind):
    model = small(kind, num_layers=2)
    torch.manual_seed(1)
    inputs, targets = torch.randint(7, (2, T, 3))
    found = gradient_by_lag(
        model, unroll(model.recurrent, model.embedding(inputs)), language_loss(model, inputs, targets)
    )
    language_loss(model, inputs, targets)().backward()
    for layer in range(2):
        gradient = found[f"layer_{layer}"]
        assert len(gradient.shares) <= T + 1
        assert float(gradient.shares.sum()) == pytest.approx(1.0, abs=1e-12)
        whole = getattr(model.recurrent, f"weight_hh_l{layer}").grad
        assert gradient.total == pytest.approx(float(whole.norm()), rel=1e-12)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_a_lags_share_is_that_of_the_gradient_cut_by_hand(small, kind):
    """W_hh is another tensor at every step, and each step's loss has its own backward pass."""
    model = small(kind)
    torch.manual_seed(1)
    inputs, targets = torch.randint(7, (2, T, 2))
    (chain,) = unroll(model.recurrent, model.embedding(inputs))
    found = gradient_by_lag(model, [chain], language_loss(model, inputs, targets))["layer_0"]
    weights = [chain.weights.weight_hh.clone().requires_grad_() for _ in range(T)]
    state, losses = chain.states[0], []
    for t in range(T):
        state = chain.step(chain.x[t], state, chain.weights._replace(weight_hh=weights[t]))
        losses.append(functional.cross_entropy(model.decode(state[0]), targets[t], reduction="sum") / targets.numel())
    by_lag = [torch.zeros_like(weights[0]) for _ in range(T)]
    for s in range(T):
        grads = torch.autograd.grad(losses[s], weights[: s + 1], retain_graph=True)
        for t, grad in enumerate(grads):
            by_lag[s - t] += grad
    whole = sum(by_lag)
    shares = torch.stack([(grad * whole).sum() for grad in by_lag]) / whole.square().sum()
    torch.testing.assert_close(found.shares[:T], shares, rtol=0, atol=1e-12)


@pytest.mark.parametrize("pooling", ["last", "max", "attention"])
def test_a_classifier_with_lengths_in_both_directions_adds_up_too(pooling):
    torch.manual_seed(0)
    model = Classifier(
        7, 2, cell="lstm", hidden_size=4, embedding_size=3, num_layers=2, bidirectional=True, pooling=pooling,
        backend="reference",
    ).double().eval()  # fmt: skip
    inputs, lengths, classes = torch.randint(7, (T, 3)), torch.tensor([T, 2, 5]), torch.tensor([0, 1, 1])
    chains = unroll(model.recurrent, model.embedding(inputs), None, lengths)
    found = gradient_by_lag(model, chains, lambda: functional.cross_entropy(model(inputs, None, lengths)[0], classes))
    assert list(found) == ["layer_0", "layer_0_reverse", "layer_1", "layer_1_reverse"]
    for gradient in found.values():
        assert float(gradient.shares.sum()) == pytest.approx(1.0, abs=1e-12)


class Linear(torch.nn.Module):
    """A tanh RNN at 0, where it is linear, read at the last step."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.recurrent = RNN(1, len(weight), bias=False, backend="reference").double()
        with torch.no_grad():
            self.recurrent.weight_hh_l0.copy_(weight)


@pytest.mark.parametrize("radius", [0.7, 1.2])
def test_a_gradient_vanishes_and_explodes_at_the_predicted_rate(radius):
    torch.manual_seed(5)
    model = Linear(radius * torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q)
    x = torch.zeros(25, 1, 1, dtype=torch.float64)
    chains = unroll(model.recurrent, x)
    gradient = gradient_by_lag(model, chains, lambda: model.recurrent(x)[0][-1].sum())["layer_0"]
    predicted = 6**0.5 * radius ** torch.arange(25, dtype=torch.float64)
    torch.testing.assert_close(gradient.norms[:25], predicted, rtol=1e-12, atol=0)


def test_where_most_of_the_gradient_comes_from_counts_steps_and_lasts():
    assert steps_that_hold(torch.tensor([0.5, 0.3, 0.15, 0.05]), 0.9) == 3
    assert steps_that_hold(torch.tensor([1.0, 0.0]), 0.9) == 1
    assert steps_that_hold(torch.tensor([0.95, -0.2, 0.25]), 0.9) == 3, "a later lag takes some of it back"
    assert steps_that_hold(torch.tensor([float("nan")]), 0.9) is None
