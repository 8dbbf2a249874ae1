"""Real numbers from vectors, at every step or at the end."""

import pytest
import torch

from rnnlab.models import Regressor


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_end_is_the_last_of_every_step_and_padding_does_not_reach_it(cell):
    torch.manual_seed(0)
    steps = Regressor(3, 2, every_step=True, cell=cell, hidden_size=5, num_layers=2)
    end = Regressor(3, 2, every_step=False, cell=cell, hidden_size=5, num_layers=2)
    end.load_state_dict(steps.state_dict())
    inputs, lengths = torch.randn(6, 4, 3), torch.tensor([6, 1, 3, 5])
    every, _ = steps(inputs)
    assert every.shape == (6, 4, 2)
    last, _ = end(inputs, None, lengths)
    torch.testing.assert_close(last, every[lengths - 1, torch.arange(4)], rtol=0, atol=1e-6)  # another engine's order
    spoiled = inputs.masked_fill((torch.arange(6)[:, None] >= lengths)[..., None], 7.0)
    assert end(spoiled, None, lengths)[0].equal(last)


def test_the_state_carries_over_from_window_to_window():
    torch.manual_seed(0)
    model = Regressor(2, 1, every_step=True, hidden_size=4)
    inputs = torch.randn(7, 3, 2)
    whole, _ = model(inputs)
    first, state = model(inputs[:4])
    second, _ = model(inputs[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-6)


def test_inputs_have_the_models_width_and_uniform_reaches_every_weight():
    model = Regressor(2, 1, every_step=False, hidden_size=4, initialisation="uniform", init_range=0.01).double()
    outputs, _ = model(torch.randn(3, 2, 2))
    assert outputs.dtype == torch.float64
    assert max(float(p.detach().abs().max()) for p in model.parameters()) <= 0.01
