"""torch.nn's kernels with lengths, which run a padded batch as a dense one."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from rnnlab.cells import GRU, LSTM, RNN, torch_backend

LAYERS = {"rnn_tanh": RNN, "rnn_relu": partial(RNN, nonlinearity="relu"), "lstm": LSTM, "gru": GRU}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_lengths_equal_the_equations_with_empty_rows_too(cell: str, bidirectional: bool) -> None:
    layer = LAYERS[cell](3, 4, 2, bidirectional=bidirectional, dtype=torch.float64, backend="reference")
    lengths, directions = torch.tensor([3, 0, 5, 1]), 2 if bidirectional else 1
    x = torch.randn(5, 4, 3, dtype=torch.float64)
    state = tuple(torch.randn(2 * directions, 4, 4, dtype=torch.float64) for _ in layer.state_names)
    given = state if cell == "lstm" else state[0]
    wanted = layer(x, given, lengths)
    layer.backend = "torch"
    torch.testing.assert_close(layer(x, given, lengths), wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_cell_state_crosses_any_amount_of_padding_bit_for_bit(dtype: torch.dtype) -> None:
    layer = LSTM(8, 16, dtype=dtype, backend="torch")
    x, lengths = torch.randn(3, 4, 8, dtype=dtype), torch.tensor([3, 0, 2, 1])
    h_0, c_0 = torch.randn(2, 1, 4, 16, dtype=dtype).unbind(0)
    short = layer(x, (h_0, c_0), lengths)[1]
    padded = layer(torch.cat([x, torch.zeros(200, 4, 8, dtype=dtype)]), (h_0, c_0), lengths)[1]
    assert torch.equal(padded[1], short[1])
    assert torch.equal(padded[1][:, 1], c_0[:, 1])


def test_the_final_cell_states_gradient_crosses_padding_bit_for_bit() -> None:
    layer, lengths = LSTM(8, 16, backend="torch"), torch.tensor([0, 2])
    c_0 = torch.randn(1, 2, 16, requires_grad=True)
    _, (_, c_n) = layer(torch.randn(60, 2, 8), (torch.zeros(1, 2, 16), c_0), lengths)
    weight = torch.randn(16)
    (grad,) = torch.autograd.grad((c_n[0, 0] * weight).sum(), c_0)
    assert torch.equal(grad[0, 0], weight)
    assert not grad[0, 1].any()


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_state_that_would_overflow_in_padding_spoils_no_gradient(bidirectional: bool) -> None:
    layer = RNN(3, 4, 2, "relu", bidirectional=bidirectional, backend="torch")
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(3 * torch.eye(4) if name.startswith("weight_hh") else parameter.abs())
    x = torch.rand(200, 1, 3)  # 3^200 is beyond float32
    short, gradients = layer(x[:2])[0], []
    for inputs, lengths in ((x[:2], None), (x, torch.tensor([2]))):
        layer.zero_grad()
        y, _ = layer(inputs, None, lengths)
        torch.testing.assert_close(y[:2], short)
        y.sum().backward()
        gradients.append([p.grad.clone() for p in layer.parameters()])
    torch.testing.assert_close(*gradients)  # the same sums in another order


def test_flattening_weights_off_cuda_changes_nothing() -> None:
    layer = GRU(3, 4)
    before = [p.data_ptr() for p in layer.parameters()]
    layer.flatten_parameters()
    assert [p.data_ptr() for p in layer.parameters()] == before


def test_permuting_time_is_its_own_inverse_in_value_and_gradient() -> None:
    index = torch.tensor([[1, 0], [0, 1], [2, 2]])
    a = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    once = torch_backend._PermuteTime.apply(a, index)
    assert torch.equal(torch_backend._PermuteTime.apply(once, index), a)
    assert torch.equal(once[0, 0], a[1, 0])
    torch.autograd.gradcheck(lambda a: torch_backend._PermuteTime.apply(a, index), (a,))
