"""The gates of a whole window from its outputs, for a backward pass whose forward pass did not keep them.

Once all outputs are known no step waits for another: one product over all steps at once, with torch. In half width its
result is rounded before the input's share is added, which in the kernels it is not.

Shapes: T steps, B batch, I input_size, H hidden_size, G gates per cell, D directions, S the padded hidden size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rnnlab.cells.gates import states_before
from rnnlab.cells.triton.window import Frame, biases_of_gru, sum_of_biases

Biases = tuple[Tensor | None, Tensor | None]
"""bias_ih and bias_hh, each (D, G*H), or None."""


def rnn_hidden(frame: Frame, h_0: Tensor, y: Tensor, weight_ih: Tensor, weight: Tensor, biases: Biases, relu: bool):
    """Return h' as each step computed it, before zoneout, (T, B, D, S) wide; arguments as in `lstm_gates`."""
    a = frame.project(weight_ih, sum_of_biases(frame, *biases)) + _from_states(frame, h_0, y, weight)
    return (a.relu_() if relu else a.tanh_()).squeeze(3)


def lstm_gates(frame: Frame, h_0: Tensor, y: Tensor, weight_ih: Tensor, weight: Tensor, biases: Biases) -> Tensor:
    """Return i, f, g, o, (T, B, D, 4, S) wide.

    Args:
        frame: sizes, lengths, direction and mask.
        h_0: (D, B, H).
        y: outputs (T, B, D*H).
        weight_ih: (D, G*H, I).
        weight: W_hh in kernel layout, (D, G*S, S).
        biases: as given to the forward pass.
    """
    a = frame.project(weight_ih, sum_of_biases(frame, *biases)) + _from_states(frame, h_0, y, weight)
    a[:, :, :, :2].sigmoid_()
    a[:, :, :, 2].tanh_()
    a[:, :, :, 3].sigmoid_()
    return a


def gru_gates(frame: Frame, h_0: Tensor, y: Tensor, weight_ih: Tensor, weight: Tensor, biases: Biases) -> Tensor:
    """Return r, z, n and q = W_hn h + b_hn, (T, B, D, 4, S) wide; arguments as in `lstm_gates`."""
    bias, bias_n = biases_of_gru(frame, *biases)
    gx_r, gx_z, gx_n = frame.project(weight_ih, bias).unbind(3)
    a_r, a_z, a_n = _from_states(frame, h_0, y, weight).unbind(3)
    r, z, q = torch.sigmoid(gx_r + a_r), torch.sigmoid(gx_z + a_z), a_n + bias_n
    return torch.stack((r, z, torch.tanh(gx_n + r * q), q), dim=3)


def _from_states(frame: Frame, h_0: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Return h W^T for the h before each step, (T, B, D, G, S) wide."""
    hidden, products = y.unflatten(2, (frame.directions, -1)), []
    for direction in range(frame.directions):
        outputs, reverse = hidden[:, :, direction], frame.is_reverse(direction)
        before = frame.masked(states_before(h_0[direction], outputs, frame.lengths, reverse), direction)
        products.append(frame.padded(before) @ weight[direction].t())
    return torch.stack(products, dim=2).unflatten(3, (frame.gates, -1)).to(frame.wide)
