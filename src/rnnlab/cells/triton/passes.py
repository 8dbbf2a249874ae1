"""The passes of each recurrence over a whole window: torch's tensors in and out, kernels in between, no autograd.

Arguments are those of the ops, with all directions in one tensor: h_0 and c_0 (D, B, H), weight_ih (D, G*H, I),
weight_hh (D, G*H, H), biases (D, G*H) or None, outputs (T, B, D*H); `settings` holds lengths, direction and extras.
D is 1, forward or in reverse, or 2, both. Padded steps of the input must hold finite numbers.

`save` keeps what the backward pass reads, `recompute` only what it cannot compute anew; without either what would be
kept is empty. The backward passes read biases only if they recompute.

Shapes: T steps, B batch, I input_size, H hidden_size, G gates per cell, D directions, S the padded hidden size.
"""

from __future__ import annotations

from torch import Tensor

from rnnlab.cells.triton import gru, lstm, rebuild, rnn
from rnnlab.cells.triton.settings import Settings
from rnnlab.cells.triton.window import Frame, biases_of_gru, input_gradients, recurrent_gradients, sum_of_biases


def rnn_forward(
    x: Tensor,
    h_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    settings: Settings,
    relu: bool,
    save: bool,
    recompute: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return outputs (T, B, D*H), h_n (D, B, H), and h' before zoneout, if there is any, (T, B, D, S)."""
    frame = Frame.of(x, weight_hh, settings)
    gx = frame.project(weight_ih, sum_of_biases(frame, bias_ih, bias_hh))
    y, h = frame.empty(), frame.wide_state(h_0)
    # Without zoneout the outputs say all.
    fresh = frame.empty(dtype=frame.wide) if save and settings.zones_out_h else None
    weight = frame.recurrent_weight(weight_hh)
    frame.run(rnn.forward, gx, weight, frame.first_states(h_0), y, h, RELU=relu, fresh=fresh)
    return frame.outputs_back(y), frame.state_back(h), h.new_empty(0) if fresh is None else fresh


def rnn_backward(
    grad_y: Tensor,
    grad_h_n: Tensor | None,
    x: Tensor,
    h_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    y: Tensor,
    fresh: Tensor,
    settings: Settings,
    relu: bool,
    recompute: bool,
    needs_grad_x: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return gradients of x, h_0, weight_ih, weight_hh and of either bias."""
    frame = Frame.of(x, weight_hh, settings)
    weight, grad_a, kept = frame.recurrent_weight(weight_hh), frame.empty(1), frame.wide_state(grad_h_n)
    if not settings.zones_out_h:
        fresh = frame.outputs(y)
    elif recompute:
        fresh = rebuild.rnn_hidden(frame, h_0, y, weight_ih, weight, (bias_ih, bias_hh), relu)
    frame.run(rnn.backward, frame.outputs(grad_y), weight, fresh, grad_a, kept, backward=True, RELU=relu)
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
    settings: Settings,
    save: bool,
    recompute: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return outputs (T, B, D*H), h_n and c_n (D, B, H), and for the backward pass gates and cell states.

    Those are (T, B, D, 4, S), empty if it recomputes, and (T, B, D, S).
    """
    frame = Frame.of(x, weight_hh, settings)
    gx = frame.project(weight_ih, sum_of_biases(frame, bias_ih, bias_hh))
    y, h, c = frame.empty(), frame.wide_state(h_0), frame.wide_state(c_0)
    gates = frame.empty(4, dtype=frame.wide) if save else h.new_empty(0)
    cells = frame.empty(dtype=frame.wide) if save or recompute else h.new_empty(0)
    frame.run(
        lstm.forward,
        gx, frame.recurrent_weight(weight_hh), frame.first_states(h_0), y, gates, cells, h, c,
        SAVE_GATES=save,
        SAVE_CELLS=save or recompute,
    )  # fmt: skip
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
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    y: Tensor,
    gates: Tensor,
    cells: Tensor,
    settings: Settings,
    recompute: bool,
    needs_grad_x: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return gradients of x, h_0, c_0, weight_ih, weight_hh and of either bias."""
    frame = Frame.of(x, weight_hh, settings)
    weight, grad_a = frame.recurrent_weight(weight_hh), frame.empty(4)
    kept, grad_c = frame.wide_state(grad_h_n), frame.wide_state(grad_c_n)
    if recompute:
        gates = rebuild.lstm_gates(frame, h_0, y, weight_ih, weight, (bias_ih, bias_hh))
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
    settings: Settings,
    save: bool,
    recompute: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return outputs (T, B, D*H), h_n (D, B, H), and r, z, n, q for the backward pass, (T, B, D, 4, S)."""
    frame = Frame.of(x, weight_hh, settings)
    bias, bias_n = biases_of_gru(frame, bias_ih, bias_hh)
    gx = frame.project(weight_ih, bias)
    y, h = frame.empty(), frame.wide_state(h_0)
    gates = frame.empty(4, dtype=frame.wide) if save else h.new_empty(0)
    weight = frame.recurrent_weight(weight_hh)
    frame.run(gru.forward, gx, bias_n, weight, frame.first_states(h_0), y, gates, h, SAVE=save)
    return frame.outputs_back(y), frame.state_back(h), gates


def gru_backward(
    grad_y: Tensor,
    grad_h_n: Tensor | None,
    x: Tensor,
    h_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    y: Tensor,
    gates: Tensor,
    settings: Settings,
    recompute: bool,
    needs_grad_x: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return gradients of x, h_0, weight_ih, weight_hh, bias_ih and bias_hh."""
    frame = Frame.of(x, weight_hh, settings)
    weight, grad_a, grad_n = frame.recurrent_weight(weight_hh), frame.empty(3), frame.empty()
    kept = frame.wide_state(grad_h_n)
    if recompute:
        gates = rebuild.gru_gates(frame, h_0, y, weight_ih, weight, (bias_ih, bias_hh))
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
