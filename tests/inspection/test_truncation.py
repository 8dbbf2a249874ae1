"""The truncation meter against gradients of windows cut by hand."""

import pytest
import torch

from rnnlab.inspection.truncation import Agreement, shortest_that_passes, truncation_meter
from rnnlab.models import detach

T = 8


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_a_truncated_gradient_is_that_of_windows_between_which_the_state_is_detached(small, kind):
    model = small(kind, num_layers=2)
    torch.manual_seed(1)
    inputs, targets = torch.randint(7, (2, T, 3))

    def loss():
        return model.nats(model.hidden(inputs)[0], targets)

    def gradient(steps):
        model.zero_grad()
        state = None
        for first in range(0, T, steps):
            h, state = model.hidden(inputs[first : first + steps], detach(state))
            model.nats(h, targets[first : first + steps]).backward()
        recurrent = dict(model.recurrent.named_parameters())
        return [torch.cat([recurrent[n].grad.flatten() for n in recurrent if n.endswith(f"_l{k}")]) for k in (0, 1)]

    found = truncation_meter(model, loss, T)
    assert list(found) == [1, 2, 4]
    whole = gradient(T)
    for steps, layers in found.items():
        for number, cut in enumerate(gradient(steps)):
            agreement = layers[f"layer_{number}"]
            assert agreement.cosine == pytest.approx(float(torch.cosine_similarity(cut, whole[number], 0)), abs=1e-12)
            assert agreement.norm_ratio == pytest.approx(float(cut.norm() / whole[number].norm()), rel=1e-12)
        assert set(layers) == {"embedding", "layer_0", "layer_1", "decoder"}
    assert found[1]["decoder"].cosine == pytest.approx(1.0), "no gradient through time on its way"
    assert "forward" not in vars(model.recurrent), "the model is as it was"


def test_the_shortest_is_that_from_which_on_every_layer_passes():
    good, bad, long = Agreement(0.96, 0.95), Agreement(0.94, 1.0), Agreement(0.99, 1.2)
    assert good.passes
    assert not bad.passes
    assert not long.passes
    layers = {1: good, 2: bad, 4: good, 8: good}
    assert shortest_that_passes({k: {"layer_0": value, "head": bad} for k, value in layers.items()}, 16) == 4
    assert shortest_that_passes({4: {"layer_0": good, "layer_1": long}}, 16) == 16
    assert shortest_that_passes({}, 16) == 16
