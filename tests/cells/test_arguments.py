"""Misuse of a layer: every message says what was got and what was wanted."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence

from rnnlab.cells import GRU, LSTM, RNN


def test_a_state_of_another_shape_is_named_with_both_shapes() -> None:
    x = torch.zeros(3, 20, 5)
    with pytest.raises(
        ValueError,
        match=r"h_0 must be \(num_layers=2, batch=20, hidden_size=8\), got \(2, 10, 8\);"
        r" was the state kept from another batch size\?",
    ):
        GRU(5, 8, 2)(x, torch.zeros(2, 10, 8))
    with pytest.raises(ValueError, match=r"c_0 must be \(num_directions \* num_layers=2, .*\), got \(2, 20, 9\)$"):
        LSTM(5, 8, bidirectional=True)(x, (torch.zeros(2, 20, 8), torch.zeros(2, 20, 9)))
    with pytest.raises(ValueError, match=r"h_0 must be \(num_layers=1, hidden_size=8\), got \(1, 1, 8\)"):
        RNN(5, 8)(x[:, 0], torch.zeros(1, 1, 8))
    with pytest.raises(TypeError, match=r"state must be a pair of tensors \(h_0, c_0\) or None, got Tensor"):
        LSTM(5, 8)(x, torch.zeros(1, 20, 8))
    with pytest.raises(TypeError, match="state must be a tensor h_0 or None, got tuple"):
        RNN(5, 8)(x, (torch.zeros(1, 20, 8),))


@pytest.mark.parametrize(
    ("x", "lengths", "error", "message"),
    [
        (torch.zeros(3, 2, 4), None, ValueError, r"input's last dimension must be input_size=5, got 4"),
        (torch.zeros(5), None, ValueError, r"input must be 3-D, or 2-D for one sequence without a batch, got 1-D"),
        (torch.zeros(0, 2, 5), None, ValueError, r"input must have at least one step, got 0"),
        (
            torch.zeros(3, 2, 5).double(),
            None,
            ValueError,
            r"input is torch.float64 but the weights are torch.float32; u",
        ),
        (torch.zeros(3, 2, 5), torch.tensor([1]), ValueError, r"lengths must be \(batch=2,\), got \(1,\)"),
        (torch.zeros(3, 2, 5), torch.tensor([1, 4]), ValueError, r"between 0 and the input's 3 steps, got 4"),
        (torch.zeros(3, 2, 5), torch.tensor([-1, 3]), ValueError, r"between 0 and the input's 3 steps, got -1"),
        (torch.zeros(3, 2, 5), torch.tensor([1.0, 2]), TypeError, r"int64 tensor, got torch.float32"),
        (torch.zeros(3, 2, 5), [1, 2], TypeError, r"int64 tensor, got list"),
        (torch.zeros(3, 5), torch.tensor([1]), ValueError, r"an unbatched input is one whole sequence"),
    ],
)
def test_an_input_that_does_not_fit_is_named(x: Tensor, lengths, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        LSTM(5, 8)(x, None, lengths)


def test_a_packed_sequence_takes_no_lengths() -> None:
    with pytest.raises(ValueError, match="a PackedSequence brings its own"):
        GRU(5, 8)(pack_sequence([torch.zeros(3, 5)]), None, torch.tensor([3]))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"hidden_size": 0}, ValueError, "hidden_size must be at least 1, got 0"),
        ({"input_size": 2.0}, TypeError, "input_size must be an int, got 2.0"),
        ({"num_layers": -1}, ValueError, "num_layers must be at least 1, got -1"),
        ({"dropout": 1.5}, ValueError, "dropout must be between 0 and 1, got 1.5"),
        ({"proj_size": 2}, ValueError, "proj_size must be 0, got 2; use torch.nn.LSTM"),
    ],
)
def test_a_constructor_argument_out_of_range_is_named(arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        LSTM(**{"input_size": 3, "hidden_size": 4} | arguments)


def test_an_unknown_nonlinearity_is_named() -> None:
    with pytest.raises(ValueError, match="nonlinearity: expected 'tanh' or 'relu', got 'sine'"):
        RNN(3, 4, nonlinearity="sine")


def test_dropout_without_a_place_to_act_warns() -> None:
    with pytest.warns(UserWarning, match=r"dropout=0.5 acts between layers only and has no effect with num_layers=1"):
        GRU(3, 4, dropout=0.5)
