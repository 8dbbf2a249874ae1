"""The simple recurrent network, h' = tanh(a) or relu(a), forward and backward over a whole window.

Shapes: T steps, B batch, I input_size, H hidden_size. Nothing is saved but the outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rnnlab.cells.bptt.common import (
    Timeline,
    add_product,
    compute_dtype,
    input_gradients,
    project_inputs,
    recurrent_gradient,
)


def forward(
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
    """Run the window: (T, B, I), (B, H) -> outputs (T, B, H) and the final state (B, H).

    Padded steps of `x` must hold finite numbers.
    """
    timeline = Timeline.of(x.shape[0], lengths, reverse)
    bias = None if bias_ih is None or bias_hh is None else bias_ih + bias_hh
    gates = project_inputs(x, weight_ih, bias)
    timeline.fill_padding(gates, -torch.inf)  # relu gives 0 and tanh -1: whatever h is, it cannot grow
    recurrent = weight_hh.t()
    activate = torch.relu_ if relu else torch.tanh_
    h = h_0
    for t in timeline.order:
        h = activate(add_product(gates[t], timeline.enter_rows(t, h, h_0), recurrent)).to(x.dtype)
    timeline.fill_padding(gates, 0)
    y = gates.to(x.dtype)
    return y, timeline.at_end(y, h_0)


def backward(
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
    """Undo `forward`.

        da = d (1 - h'^2)    or d [h' > 0]
        dh = da W_hh

    Returns:
        Gradients of x, h_0, weight_ih, weight_hh and of either bias.
    """
    timeline = Timeline.of(x.shape[0], lengths, reverse)
    grad_out = timeline.gradient_of_outputs(grad_y, grad_h_n)
    grad_gates = torch.empty_like(y)
    d = torch.empty_like(h_0, dtype=compute_dtype(x))
    previous: Tensor | None = None
    for t in reversed(timeline.order):
        d.copy_(grad_out[t])
        if previous is not None:
            add_product(d, previous, weight_hh)
        h = y[t].to(d.dtype)
        da = torch.ops.aten.threshold_backward(d, h, 0) if relu else torch.ops.aten.tanh_backward(d, h)
        if reverse and timeline.padded is not None:
            # Past a row's start d is already the gradient of h_0, and the slope at a cleared output is 1.
            da = da.masked_fill_(timeline.padded[t], 0)
        previous = grad_gates[t].copy_(da)
    inputs = input_gradients(grad_gates, x, weight_ih, needs_grad_x)
    grad_h_0 = timeline.skip_empty_rows(timeline.at_start(grad_gates) @ weight_hh, grad_h_n)
    grad_weight_hh = recurrent_gradient(grad_gates, y, h_0, timeline)
    return inputs.x, grad_h_0, inputs.weight_ih, grad_weight_hh, inputs.bias_ih
