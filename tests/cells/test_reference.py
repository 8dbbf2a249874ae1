"""The equations themselves: against torch's cells, by hand, and by numeric gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rnnlab.cells.reference import (
    Weights,
    gru_step,
    lstm_step,
    rnn_step,
    run_direction,
)

BATCH, INPUT, HIDDEN = 3, 4, 5
CELLS = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}


def make_weights(num_gates: int, bias: bool = True, requires_grad: bool = False) -> Weights:
    rows = num_gates * HIDDEN
    shapes = [(rows, INPUT), (rows, HIDDEN)] + [(rows,)] * 2 * bias
    return Weights(*(torch.randn(s, dtype=torch.float64).mul_(0.5).requires_grad_(requires_grad) for s in shapes))


def make_state(cell: str) -> tuple[Tensor, ...]:
    return tuple(torch.randn(BATCH, HIDDEN, dtype=torch.float64) for _ in range(2 if cell == "lstm" else 1))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("bias", [True, False])
def test_each_step_equals_torchs_cell(bias: bool) -> None:
    x = torch.randn(BATCH, INPUT, dtype=torch.float64)
    h, c = make_state("lstm")
    for nonlinearity, cell in (("tanh", torch.rnn_tanh_cell), ("relu", torch.rnn_relu_cell)):
        weights = make_weights(1, bias)
        torch.testing.assert_close(rnn_step(x, h, weights, nonlinearity), cell(x, h, *weights), rtol=1e-14, atol=1e-14)
    weights = make_weights(4, bias)
    torch.testing.assert_close(lstm_step(x, (h, c), weights), torch.lstm_cell(x, (h, c), *weights), rtol=1e-14, atol=0)
    weights = make_weights(3, bias)
    torch.testing.assert_close(gru_step(x, h, weights), torch.gru_cell(x, h, *weights), rtol=1e-14, atol=1e-15)


def test_one_unit_of_a_simple_network_by_hand() -> None:
    weights = Weights(torch.tensor([[2.0]]), torch.tensor([[-1.0]]), torch.tensor([0.5]), torch.tensor([0.25]))
    h = rnn_step(torch.tensor([[1.0]]), torch.tensor([[3.0]]), weights)
    assert h.item() == pytest.approx(math.tanh(2 * 1 - 1 * 3 + 0.75), rel=1e-6)  # float32


def test_an_open_forget_gate_carries_the_cell_state_and_a_closed_one_drops_it() -> None:
    bias = torch.tensor([-1e4, 1e4, 0.0, 0.0])  # i shut, f open
    weights = Weights(torch.zeros(4, 1), torch.zeros(4, 1), bias, torch.zeros(4))
    state = (torch.zeros(1, 1), torch.tensor([[0.7]]))
    assert lstm_step(torch.ones(1, 1), state, weights)[1].item() == pytest.approx(0.7)
    shut = weights._replace(bias_ih=-bias.abs())
    assert lstm_step(torch.ones(1, 1), state, shut)[1].item() == 0


def test_a_gru_with_its_update_gate_open_keeps_its_state() -> None:
    weights = Weights(torch.zeros(3, 1), torch.zeros(3, 1), torch.tensor([0.0, 1e4, 5.0]), torch.zeros(3))
    assert gru_step(torch.ones(1, 1), torch.tensor([[0.3]]), weights).item() == pytest.approx(0.3)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("reverse", [False, True])
def test_a_padded_row_equals_the_same_row_alone(cell: str, reverse: bool) -> None:
    weights, lengths = make_weights(CELLS[cell]), torch.tensor([2, 4, 0])
    x, state = torch.randn(4, BATCH, INPUT, dtype=torch.float64), make_state(cell)
    y, final = run_direction(cell, x, state, weights, lengths, reverse)
    for row, length in enumerate(lengths.tolist()):
        alone = tuple(s[row : row + 1] for s in state)
        if length:
            y_alone, alone = run_direction(cell, x[:length, row : row + 1], alone, weights, None, reverse)
            torch.testing.assert_close(y[:length, row], y_alone[:, 0], rtol=1e-13, atol=1e-15)
        assert not y[length:, row].any()
        for ours, theirs in zip(final, alone, strict=True):
            torch.testing.assert_close(ours[row], theirs[0], rtol=1e-13, atol=1e-15)


def test_the_loops_return_what_their_steps_do() -> None:
    x, (h, c) = torch.randn(1, BATCH, INPUT, dtype=torch.float64), make_state("lstm")
    y, (h_n,) = run_direction("rnn_relu", x, (h,), weights := make_weights(1), None, False)
    assert torch.equal(y[0], h_n)
    assert torch.equal(h_n, rnn_step(x[0], h, weights, "relu"))
    y, state = run_direction("lstm", x, (h, c), weights := make_weights(4), None, False)
    assert torch.equal(y[0], state[0])
    assert torch.equal(state[1], lstm_step(x[0], (h, c), weights)[1])
    _, (h_n,) = run_direction("gru", x, (h,), weights := make_weights(3), None, False)
    assert torch.equal(h_n, gru_step(x[0], h, weights))


@pytest.mark.parametrize("cell", CELLS)
def test_first_and_second_derivatives_match_numeric_ones(cell: str) -> None:
    weights, lengths = make_weights(CELLS[cell], requires_grad=True), torch.tensor([2, 1, 0])
    x = torch.randn(2, BATCH, INPUT, dtype=torch.float64, requires_grad=True)
    state = tuple(s.requires_grad_() for s in make_state(cell))

    def loss(x: Tensor, *rest: Tensor) -> Tensor:
        y, final = run_direction(cell, x, rest[: len(state)], Weights(*rest[len(state) :]), lengths, False)
        return y.square().sum() + sum(s.sin().sum() for s in final)

    torch.autograd.gradcheck(loss, (x, *state, *weights))
    if cell != "rnn_relu":  # the kink of relu has no second derivative
        torch.autograd.gradgradcheck(loss, (x, *state, *weights))


def test_shapes_that_do_not_fit_are_named() -> None:
    x, h = torch.zeros(2, INPUT, dtype=torch.float64), torch.zeros(2, HIDDEN, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"x must be \(batch, input_size=4\), got \(2, 3\)"):
        rnn_step(x[:, :3], h, make_weights(1))
    with pytest.raises(ValueError, match=r"h must be \(batch=2, hidden_size=5\), got \(1, 5\)"):
        gru_step(x, h[:1], make_weights(3))
    with pytest.raises(ValueError, match="weight_ih must have 4 \\* hidden_size=5 rows, got 15"):
        lstm_step(x, (h, h), make_weights(3))
    with pytest.raises(ValueError, match="nonlinearity: expected 'tanh' or 'relu', got 'sine'"):
        rnn_step(x, h, make_weights(1), "sine")
    with pytest.raises(ValueError, match="cell: expected one of rnn_tanh, rnn_relu, lstm, gru, got 'lstn'"):
        run_direction("lstn", x.unsqueeze(0), (h,), make_weights(1), None, False)
