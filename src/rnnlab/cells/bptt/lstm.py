"""The LSTM, forward and backward over a whole window. Gates stand in the order i, f, g, o.

Shapes: T steps, B batch, I input_size, H hidden_size. Saved for the backward pass: the four gates and the cell state.
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
    c_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Run the window: (T, B, I), (B, H), (B, H) -> outputs (T, B, H), h_n and c_n (B, H).

    Padded steps of `x` must hold finite numbers. The last two results are for `backward`: the gates (T, B, 4H) and the
    cell states (T, B, H), or two empty tensors when `save` is False.
    """
    timeline = Timeline.of(x.shape[0], lengths, reverse)
    hidden_size = weight_hh.shape[1]
    bias = None if bias_ih is None or bias_hh is None else bias_ih + bias_hh
    gates = project_inputs(x, weight_ih, bias)
    i, f, g, o = gates.split(hidden_size, dim=2)
    # At padding i = 0, f = 1 and o = 0: the cell state stays, the output is 0, and so is every gradient.
    timeline.fill_padding(i, -torch.inf)
    timeline.fill_padding(f, torch.inf)
    timeline.fill_padding(o, -torch.inf)
    y = x.new_empty(*x.shape[:2], hidden_size)
    c = c_0.to(gates.dtype, copy=True)
    cells = gates.new_empty(*y.shape) if save else None
    tanh_c = torch.empty_like(c)
    recurrent = weight_hh.t()
    h = h_0
    for t in timeline.order:
        gate = add_product(gates[t], timeline.enter_rows(t, h, h_0), recurrent)
        gate[:, : 2 * hidden_size].sigmoid_()
        g[t].tanh_()
        o[t].sigmoid_()
        c = torch.mul(f[t], c, out=c if cells is None else cells[t]).addcmul_(i[t], g[t])
        h = torch.mul(o[t], torch.tanh(c, out=tanh_c), out=y[t])
    h_n, c_n = timeline.at_end(y, h_0), c.to(x.dtype, copy=True)
    if cells is None:
        return y, h_n, c_n, gates.new_empty(0), gates.new_empty(0)
    return y, h_n, c_n, gates, cells


def backward(
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
    """Undo `forward`.

        dc' = dc + d o (1 - tanh(c')^2)
        da_i = dc' g i (1 - i)       da_f = dc' c f (1 - f)
        da_g = dc' i (1 - g^2)       da_o = d tanh(c') o (1 - o)
        dc  = dc' f                  dh   = da W_hh

    Returns:
        Gradients of x, h_0, c_0, weight_ih, weight_hh and of either bias.
    """
    timeline = Timeline.of(x.shape[0], lengths, reverse)
    hidden_size = weight_hh.shape[1]
    grad_out = timeline.gradient_of_outputs(grad_y, grad_h_n)
    i, f, g, o = gates.split(hidden_size, dim=2)
    grad_gates = torch.empty_like(gates, dtype=x.dtype)
    wide = compute_dtype(x)
    d = torch.empty_like(h_0, dtype=wide)
    dc = torch.zeros_like(d) if grad_c_n is None else grad_c_n.to(wide, copy=True)
    # Cell states cross padding unchanged, so the neighbour's is right at a row's start too.
    cell_before = timeline.neighbours(cells, c_0.to(wide))
    sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward
    previous: Tensor | None = None
    for t in reversed(timeline.order):
        d.copy_(grad_out[t])
        if previous is not None:
            add_product(d, previous, weight_hh)
        tanh_c = cells[t].tanh()
        dc.add_(tanh_backward(d * o[t], tanh_c))
        da_i, da_f, da_g, da_o = grad_gates[t].split(hidden_size, dim=1)
        da_i.copy_(sigmoid_backward(dc * g[t], i[t]))
        da_f.copy_(sigmoid_backward(dc * cell_before[t], f[t]))
        da_g.copy_(tanh_backward(dc * i[t], g[t]))
        da_o.copy_(sigmoid_backward(d * tanh_c, o[t]))
        dc.mul_(f[t])
        previous = grad_gates[t]
    inputs = input_gradients(grad_gates, x, weight_ih, needs_grad_x)
    grad_h_0 = timeline.skip_empty_rows(timeline.at_start(grad_gates) @ weight_hh, grad_h_n)
    grad_weight_hh = recurrent_gradient(grad_gates, y, h_0, timeline)
    return inputs.x, grad_h_0, dc.to(x.dtype), inputs.weight_ih, grad_weight_hh, inputs.bias_ih
