"""Where weights start: the numbers each initialisation promises, and the settings it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from rnnlab.cells import GRU, LSTM, RNN
from rnnlab.cells.initialisation import chrono_, forget_gate_bias_, identity_, initialise_, orthogonal_, uniform_


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def named(layer: nn.Module, prefix: str) -> list[Tensor]:
    return [p.detach() for name, p in layer.named_parameters() if name.startswith(prefix)]


@pytest.mark.parametrize(("ours", "theirs"), [(RNN, nn.RNN), (LSTM, nn.LSTM), (GRU, nn.GRU)])
@pytest.mark.parametrize("bias", [True, False])
def test_the_same_seed_gives_torchs_weights_and_leaves_the_same_generator(ours, theirs, bias: bool) -> None:
    arguments = {"num_layers": 2, "bidirectional": True, "bias": bias}
    torch.manual_seed(3)
    layer, after = ours(5, 7, **arguments), torch.rand(1)
    torch.manual_seed(3)
    wanted, wanted_after = theirs(5, 7, **arguments), torch.rand(1)
    assert [name for name, _ in layer.named_parameters()] == [name for name, _ in wanted.named_parameters()]
    assert all(torch.equal(a, b) for a, b in zip(layer.parameters(), wanted.parameters(), strict=True))
    assert torch.equal(after, wanted_after)


def test_identity_starts_an_irnn() -> None:
    layer = RNN(200, 20, num_layers=2, nonlinearity="relu", initialisation="identity")
    assert all(torch.equal(w, torch.eye(20)) for w in named(layer, "weight_hh"))
    assert not any(b.any() for b in named(layer, "bias"))
    # 4,000 draws: the standard deviation is within 5 % of 0.001 except once in 10,000 seeds.
    assert layer.weight_ih_l0.std().item() == pytest.approx(0.001, rel=0.05)


def test_an_irnn_carries_a_positive_state_unchanged_through_silence() -> None:
    layer = RNN(3, 4, nonlinearity="relu", initialisation="identity")
    h_0 = torch.rand(1, 2, 4)
    assert torch.equal(layer(torch.zeros(50, 2, 3), h_0)[1], h_0)


@pytest.mark.parametrize("layer", [LSTM, GRU])
def test_identity_is_for_simple_networks(layer) -> None:
    with pytest.raises(ValueError, match=f"'identity' is for an RNN, got {layer.__name__}"):
        layer(3, 4, initialisation="identity")


@pytest.mark.parametrize("layer", [RNN, LSTM, GRU])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_every_gates_recurrent_block_is_orthogonal(layer, dtype: torch.dtype) -> None:
    built = layer(3, 8, num_layers=2, bidirectional=True, initialisation="orthogonal", dtype=dtype)
    # What one rounding of each entry leaves of W W^T = I.
    tolerance = 20 * torch.finfo(dtype).eps
    for weight in named(built, "weight_hh"):
        for block in weight.double().split(8):
            torch.testing.assert_close(block @ block.t(), torch.eye(8, dtype=torch.float64), rtol=0, atol=tolerance)
    assert not any(b.any() for b in named(built, "bias"))
    assert built.weight_ih_l0.abs().max().item() <= math.sqrt(6 / (3 + 8)) * (1 + torch.finfo(dtype).eps)


def test_orthogonal_takes_a_gain() -> None:
    weight = orthogonal_(nn.RNN(2, 4), gain=3.0).weight_hh_l0.detach()
    torch.testing.assert_close(weight @ weight.t(), 9 * torch.eye(4), rtol=0, atol=1e-5)


def test_uniform_fills_its_range_and_no_more() -> None:
    layer = GRU(50, 30, initialisation="uniform", init_range=0.04)
    values = torch.cat([p.detach().flatten() for p in layer.parameters()])
    assert values.abs().max() <= 0.04
    assert values.abs().max() > 0.0399  # 7,380 draws


@pytest.mark.parametrize("initialisation", ["default", "orthogonal"])
def test_the_forget_gates_biases_add_up_to_the_asked_value(initialisation: str) -> None:
    layer = LSTM(3, 4, num_layers=2, initialisation=initialisation, forget_gate_bias=1.5)
    plain = LSTM(3, 4, num_layers=2, initialisation=initialisation)
    for bias_ih, bias_hh in zip(named(layer, "bias_ih"), named(layer, "bias_hh"), strict=True):
        assert (bias_ih + bias_hh)[4:8].tolist() == [1.5] * 4
    assert layer.bias_ih_l0[:4].any() == plain.bias_ih_l0[:4].any()  # the input gate's keep what they had


def test_chrono_spreads_the_memory_of_an_lstm_over_the_asked_steps() -> None:
    layer = LSTM(2, 500, initialisation="chrono", longest_dependency=100)
    i, f = (layer.bias_ih_l0 + layer.bias_hh_l0).detach().split(500)[:2]
    memory = f.exp()  # in steps, about 1 / (1 - sigmoid(f))
    assert torch.equal(i, -f)
    assert memory.min() >= 1 - 1e-6
    assert memory.max() <= 99 * (1 + 1e-5)
    # The mean of U(1, 99) is 50 and that of 500 draws within 4 * 28.3 / sqrt(500) = 5 of it.
    assert memory.mean().item() == pytest.approx(50, abs=5)


def test_chrono_opens_the_gate_of_a_gru_that_keeps_the_state() -> None:
    layer = GRU(2, 50, initialisation="chrono", longest_dependency=30)
    z = (layer.bias_ih_l0 + layer.bias_hh_l0).detach().split(50)[1]
    assert z.min() >= 0
    assert z.max() <= math.log(29) + 1e-5


def test_the_functions_serve_torchs_own_layers() -> None:
    lstm = forget_gate_bias_(uniform_(nn.LSTM(3, 4), 0.1), 1.0)
    assert (lstm.bias_ih_l0 + lstm.bias_hh_l0)[4:8].tolist() == [1.0] * 4
    assert torch.equal(identity_(nn.RNN(3, 4)).weight_hh_l0, torch.eye(4))
    assert chrono_(nn.GRU(3, 4), 10).bias_hh_l0[4:8].tolist() == [0.0] * 4


def test_every_parameter_still_wants_a_gradient() -> None:
    for layer in (
        RNN(2, 3, initialisation="identity"),
        LSTM(2, 3, initialisation="chrono", longest_dependency=9),
        GRU(2, 3, initialisation="orthogonal"),
    ):
        layer(torch.zeros(2, 1, 2))[0].sum().backward()
        assert all(p.is_leaf and p.grad is not None for p in layer.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"initialisation": "orthogonel"}, "expected one of default, identity, .*, got 'orthogonel'"),
        ({"initialisation": "uniform"}, "initialisation 'uniform' needs init_range"),
        ({"initialisation": "uniform", "init_range": -0.1}, "init_range must be greater than 0 and finite, got -0.1"),
        ({"init_range": 0.1}, "init_range=0.1 is read by initialisation 'uniform' only, got 'default'"),
        ({"initialisation": "chrono"}, "initialisation 'chrono' needs longest_dependency"),
        ({"initialisation": "chrono", "longest_dependency": 2}, "longest_dependency must be at least 3 steps, got 2"),
        (
            {"initialisation": "chrono", "longest_dependency": 9, "forget_gate_bias": 1.0},
            "forget_gate_bias=1.0 would undo initialisation 'chrono'",
        ),
        ({"forget_gate_bias": math.inf}, "forget_gate_bias must be finite, got inf"),
        ({"forget_gate_bias": 1.0, "bias": False}, "needs biases, and the layer was built with bias=False"),
    ],
)
def test_a_setting_out_of_place_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LSTM(2, 3, **settings)


def test_gate_settings_are_refused_where_there_is_no_such_gate() -> None:
    with pytest.raises(ValueError, match="forget_gate_bias is for an LSTM, got GRU"):
        initialise_(nn.GRU(2, 3), forget_gate_bias=1.0)
    with pytest.raises(ValueError, match="'chrono' is for an LSTM or GRU, got RNN"):
        initialise_(nn.RNN(2, 3), "chrono", longest_dependency=9)
