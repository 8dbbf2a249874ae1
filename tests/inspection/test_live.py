"""Live signals: what they say, and that training does not notice."""

import math
import subprocess
import sys

import pytest
import torch

from rnnlab.inspection.live import live_signals
from rnnlab.models import LanguageModel, Regressor


def test_signals_name_layers_and_leave_no_trace():
    torch.manual_seed(0)
    model = LanguageModel(7, cell="lstm", hidden_size=6, embedding_size=5, num_layers=2, dropout=0.5)
    inputs = torch.randint(7, (50, 9))
    model.nats(model.hidden(inputs)[0], inputs).backward()
    kept = [parameter.grad.clone() for parameter in model.parameters()]
    generator = torch.get_rng_state()
    found = live_signals(model, inputs, None, 3)
    assert found == live_signals(model, inputs, None, 3)
    assert torch.get_rng_state().equal(generator)
    assert model.training
    assert all(parameter.grad.equal(before) for parameter, before in zip(model.parameters(), kept, strict=True))
    assert {name.partition("/")[0] for name in found} == {"layer_0", "layer_1"}
    assert found["layer_1/lag_slope"] < 0, "an LSTM of small weights forgets"
    assert 1 < found["layer_0/memory_steps"] < 2, "forget gates stand near one half: 1 / ln 2 steps"
    assert "layer_0/spectral_radius" not in found


def test_the_slope_of_an_rnn_at_rest_is_its_spectral_radius_with_lengths_too():
    torch.manual_seed(0)
    model = Regressor(2, 1, every_step=False, cell="rnn", hidden_size=8)
    with torch.no_grad():
        for parameter in model.recurrent.parameters():
            parameter.zero_()
        model.recurrent.weight_hh_l0.copy_(0.9 * torch.eye(8))
    found = live_signals(model, torch.zeros(40, 6, 2), torch.tensor([20, 10, 40, 1, 1, 1]), 0)
    assert found["layer_0/lag_slope"] == pytest.approx(math.log(0.9), abs=1e-4)  # float32
    assert found["layer_0/spectral_radius"] == pytest.approx(0.9, abs=1e-6)
    assert found["layer_0/saturated"] == 0.0


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_weights_that_have_overflowed_end_nothing_and_say_nothing_that_is_not_finite(cell):
    torch.manual_seed(0)
    model = Regressor(2, 1, every_step=False, cell=cell, hidden_size=8)
    with torch.no_grad():
        model.recurrent.weight_hh_l0.fill_(math.inf)
    found = live_signals(model, torch.randn(10, 3, 2), None, 0)
    assert all(map(math.isfinite, found.values()))
    assert "layer_0/lag_slope" not in found


def test_looking_imports_no_compiler():
    """It would be a second in the middle of a run."""
    code = (
        "import sys, torch\n"
        "from rnnlab.inspection.live import live_signals\n"
        "from rnnlab.models import Regressor\n"
        "model = Regressor(2, 1, every_step=False, cell='lstm', hidden_size=8)\n"
        "assert 'layer_0/lag_slope' in live_signals(model, torch.randn(10, 3, 2), None, 0)\n"
        "print(sorted({'sympy', 'torch._dynamo'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
