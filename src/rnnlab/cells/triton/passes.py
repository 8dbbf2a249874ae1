"""The passes of each recurrence over a whole window: torch's tensors in and out, kernels in between, no autograd.

Arguments are those of the ops, with all directions in one tensor: h_0 and c_0 (D, B, H), weight_ih (D, G*H, I),
weight_hh (D, G*H, H), biases (D, G*H) or None, lengths (B,) or None, outputs (T, B, D*H). D is 1, forward or in
reverse, or 2, both. Padded steps of the input must hold finite numbers.

Shapes: T steps, B batch, I input_size, H hidden_size, G gates per cell, D directions, S the padded hidden size.
"""

from __future__ import annotations

from torch import Tensor

from rnnlab.cells.triton import gru, lstm, rnn
from rnnlab.cells.triton.window import Frame, input_gradients, recurrent_gradients, sum_of_biases


def rnn_forward(
    x: Tensor,
    h_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    relu: bool,
) -> tuple[Tensor, Tensor]:
    """Return outputs (T, B, D*H) and h_n (D, B, H)."""
    frame = Frame.of(x, weight_hh, lengths, reverse)
    gx = frame.project(weight_ih, sum_of_biases(frame, bias_ih, bias_hh))
    y, h = frame.empty(), frame.wide_state(h_0)
    weight = frame.recurrent_weight(weight_hh)
    frame.run(rnn.forward, gx, weight, frame.narrow_state(h_0), y, h, RELU=relu)
    return frame.outputs_back(y), frame.state_back(h)


def rnn_backward(
    grad_y: Tensor,
    grad_h_n: Tensor | None,
    x: Tensor,
    h_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    lengths: Tensor | None,
    y: Tensor,
    reverse: bool,
    relu: bool,
    needs_grad_x: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return gradients of x, h_0, weight_ih, weight_hh and of either bias."""
    frame = Frame.of(x, weight_hh, lengths, reverse)
    weight, grad_a, kept = frame.recurrent_weight(weight_hh), frame.empty(1), frame.wide_state(grad_h_n)
    frame.run(rnn.backward, frame.outputs(grad_y), weight, frame.outputs(y), grad_a, kept, backward=True, RELU=relu)
    grad_h_0, grad_weight_hh = recurrent_gradients(frame, grad_a, kept, h_0, weight, y)
    grad_x, grad_weight_ih, grad_bias = input_gradients(frame, grad_a, weight_ih, needs_grad_x)
    return grad_x, grad_h_0, grad_weight_ih, grad_weight_hh, grad_bias


def lstm_forward(
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return outputs (T, B, D*H), h_n and c_n (D, B, H), and for the backward pass gates and cell states.

    Those are (T, B, D, 4, S) and (T, B, D, S), or empty if not `save`.
    """
    frame = Frame.of(x, weight_hh, lengths, reverse)
    gx = frame.project(weight_ih, sum_of_biases(frame, bias_ih, bias_hh))
    y, h, c = frame.empty(), frame.wide_state(h_0), frame.wide_state(c_0)
    gates = frame.empty(4, dtype=frame.wide) if save else h.new_empty(0)
    cells = frame.empty(dtype=frame.wide) if save else h.new_empty(0)
    weight = frame.recurrent_weight(weight_hh)
    frame.run(lstm.forward, gx, weight, frame.narrow_state(h_0), y, gates, cells, h, c, SAVE=save)
    return frame.outputs_back(y), frame.state_back(h), frame.state_back(c), gates, cells


def lstm_backward(
    grad_y: Tensor,
    grad_h_n: Tensor | None,
    grad_c_n: Tensor | None,
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    lengths: Tensor | None,
    y: Tensor,
    gates: Tensor,
    cells: Tensor,
    reverse: bool,
    needs_grad_x: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return gradients of x, h_0, c_0, weight_ih, weight_hh and of either bias."""
    frame = Frame.of(x, weight_hh, lengths, reverse)
    weight, grad_a = frame.recurrent_weight(weight_hh), frame.empty(4)
    kept, grad_c = frame.wide_state(grad_h_n), frame.wide_state(grad_c_n)
    frame.run(
        lstm.backward,
        frame.outputs(grad_y), weight, frame.wide_state(c_0), gates, cells, grad_a, kept, grad_c,
        backward=True,
    )  # fmt: skip
    grad_h_0, grad_weight_hh = recurrent_gradients(frame, grad_a, kept, h_0, weight, y)
    grad_x, grad_weight_ih, grad_bias = input_gradients(frame, grad_a, weight_ih, needs_grad_x)
    return grad_x, grad_h_0, frame.state_back(grad_c), grad_weight_ih, grad_weight_hh, grad_bias


def gru_forward(
    x: Tensor,
    h_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return outputs (T, B, D*H), h_n (D, B, H), and r, z, n, q for the backward pass.

    Those are (T, B, D, 4, S), or empty if not `save`.
    """
    frame = Frame.of(x, weight_hh, lengths, reverse)
    bias, bias_n = sum_of_biases(frame, bias_ih, bias_hh), None
    if bias is not None and bias_ih is not None and bias_hh is not None:
        # The reset gate scales b_hn with the product it belongs to.
        bias[:, 2] = bias_ih.unflatten(1, (3, -1))[:, 2]
        bias_n = bias_hh.unflatten(1, (3, -1))[:, 2]
    gx = frame.project(weight_ih, bias)
    y, h = frame.empty(), frame.wide_state(h_0)
    wide_bias = h.new_zeros(frame.directions, frame.size) if bias_n is None else frame.padded(bias_n).to(frame.wide)
    gates = frame.empty(4, dtype=frame.wide) if save else h.new_empty(0)
    weight = frame.recurrent_weight(weight_hh)
    frame.run(gru.forward, gx, wide_bias, weight, frame.narrow_state(h_0), y, gates, h, SAVE=save)
    return frame.outputs_back(y), frame.state_back(h), gates


def gru_backward(
    grad_y: Tensor,
    grad_h_n: Tensor | None,
    x: Tensor,
    h_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    lengths: Tensor | None,
    y: Tensor,
    gates: Tensor,
    reverse: bool,
    needs_grad_x: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return gradients of x, h_0, weight_ih, weight_hh, bias_ih and bias_hh."""
    frame = Frame.of(x, weight_hh, lengths, reverse)
    weight, grad_a, grad_n = frame.recurrent_weight(weight_hh), frame.empty(3), frame.empty()
    kept = frame.wide_state(grad_h_n)
    frame.run(
        gru.backward,
        frame.outputs(grad_y), weight, frame.narrow_state(h_0), frame.outputs(y), gates, grad_a, grad_n, kept,
        backward=True,
    )  # fmt: skip
    grad_h_0, grad_weight_hh = recurrent_gradients(frame, grad_a, kept, h_0, weight, y)
    grad_bias_hh = frame.cropped(grad_a).flatten(3).sum((0, 1))
    # From here on the third block is not dq, the gradient of W_hn h + b_hn, but that of what the input adds.
    grad_a[:, :, :, 2] = grad_n
    grad_x, grad_weight_ih, grad_bias_ih = input_gradients(frame, grad_a, weight_ih, needs_grad_x)
    return grad_x, grad_h_0, grad_weight_ih, grad_weight_hh, grad_bias_ih, grad_bias_hh
