"""The GRU, forward and backward over a whole window. Gates stand in the order r, z, n.

Shapes: T steps, B batch, I input_size, H hidden_size. Saved for the backward pass: r, z, n and q = W_hn h + b_hn.
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
    save: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run the window: (T, B, I), (B, H) -> outputs (T, B, H) and the final state (B, H).

    Padded steps of `x` must hold finite numbers. The last two results are for `backward`: the gates (T, B, 3H) and q
    (T, B, H), or two empty tensors when `save` is False.
    """
    timeline = Timeline.of(x.shape[0], lengths, reverse)
    hidden_size = weight_hh.shape[1]
    bias, bias_q = _merge_biases(bias_ih, bias_hh, hidden_size)
    gates = project_inputs(x, weight_ih, bias)
    r, z, n = gates.split(hidden_size, dim=2)
    timeline.fill_padding(z, torch.inf)  # z = 1 at padding: the state, and in backward its gradient, crosses unchanged
    y = x.new_empty(*x.shape[:2], hidden_size)
    h = h_0.to(gates.dtype)
    h_n_product = torch.zeros_like(h) if bias_q is None else bias_q.to(h.dtype).expand_as(h)
    q_all = gates.new_empty(*y.shape) if save else None
    q = torch.empty_like(h)
    gates_rz, recurrent_rz, recurrent_n = gates[..., : 2 * hidden_size], *_split_recurrent(weight_hh)
    narrow = h_0
    for t in timeline.order:
        add_product(gates_rz[t], narrow, recurrent_rz).sigmoid_()
        q = (q if q_all is None else q_all[t]).copy_(h_n_product)
        add_product(q, narrow, recurrent_n)
        n[t].addcmul_(r[t], q).tanh_()
        h = torch.lerp(n[t], h, z[t])
        narrow = y[t].copy_(h)
    h_n = narrow.clone()
    timeline.fill_padding(y, 0)
    if q_all is None:
        return y, h_n, gates.new_empty(0), gates.new_empty(0)
    return y, h_n, gates, q_all


def backward(
    grad_y: Tensor,
    grad_h_n: Tensor | None,
    x: Tensor,
    h_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    lengths: Tensor | None,
    y: Tensor,
    gates: Tensor,
    q_all: Tensor,
    reverse: bool,
    needs_grad_x: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Undo `forward`.

        da_n = d (1 - z) (1 - n^2)         dq = da_n r
        da_z = d (h - n) z (1 - z)         da_r = da_n q r (1 - r)
        dh   = d z + [da_r, da_z, dq] W_hh

    Returns:
        Gradients of x, h_0, weight_ih, weight_hh, bias_ih and bias_hh.
    """
    timeline = Timeline.of(x.shape[0], lengths, reverse)
    hidden_size = weight_hh.shape[1]
    r, z, n = gates.split(hidden_size, dim=2)
    grad_gates = torch.empty_like(gates, dtype=x.dtype)
    grad_n = torch.empty_like(y)
    wide = compute_dtype(x)
    if timeline.padded is not None:
        grad_y = torch.where(timeline.padded, 0, grad_y)
    d = h_0.new_zeros(h_0.shape, dtype=wide) if grad_h_n is None else grad_h_n.to(wide, copy=True)
    hidden_before = timeline.neighbours(y, h_0)
    sigmoid_backward, tanh_backward = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward
    for t in reversed(timeline.order):
        d.add_(grad_y[t])
        h = timeline.enter_rows(t, hidden_before[t], h_0)
        da_r, da_z, dq = grad_gates[t].split(hidden_size, dim=1)
        kept = d * z[t]
        da_n = tanh_backward(d - kept, n[t])
        grad_n[t] = da_n
        da_z.copy_(sigmoid_backward(d * (h - n[t]), z[t]))
        da_r.copy_(sigmoid_backward(da_n * q_all[t], r[t]))
        dq.copy_(da_n.mul_(r[t]))
        d = add_product(kept, grad_gates[t], weight_hh)
    grad_weight_hh = recurrent_gradient(grad_gates, y, h_0, timeline)
    grad_bias_hh = grad_gates.flatten(0, 1).sum(0)
    # Below the reset gate the third block is dq, above it da_n; everything else is the same for inputs and state.
    grad_gates[..., 2 * hidden_size :] = grad_n
    inputs = input_gradients(grad_gates, x, weight_ih, needs_grad_x)
    return inputs.x, d.to(x.dtype), inputs.weight_ih, grad_weight_hh, inputs.bias_ih, grad_bias_hh


def _split_recurrent(weight_hh: Tensor) -> tuple[Tensor, Tensor]:
    """Return the recurrent weights of r and z, (H, 2H), and of n, (H, H), ready to stand right in a product."""
    hidden_size = weight_hh.shape[1]
    return weight_hh[: 2 * hidden_size].t(), weight_hh[2 * hidden_size :].t()


def _merge_biases(bias_ih: Tensor | None, bias_hh: Tensor | None, hidden_size: int) -> tuple[Tensor | None, ...]:
    """Return what can be added once for the whole window, (3H,), and b_hn (H,), which the reset gate scales."""
    if bias_ih is None or bias_hh is None:
        return None, None
    bias = bias_ih.clone()
    bias[: 2 * hidden_size] += bias_hh[: 2 * hidden_size]
    return bias, bias_hh[2 * hidden_size :]
