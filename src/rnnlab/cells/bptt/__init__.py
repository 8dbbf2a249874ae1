"""Backpropagation through time written by hand: one file a recurrence, plain tensors in and out, no autograd.

Each file has a forward loop and the backward loop that undoes it, over one layer in one direction. The input
projection and the weight gradients are one matrix product each for the whole window; only what depends on the step
before stays in the loop. The two functions here choose the file, with the arguments and results of `rnnlab.cells.ops`.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rnnlab.cells.bptt import gru, lstm, rnn
from rnnlab.cells.bptt.common import compute_dtype


def forward(
    cell: str,
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    lengths: Tensor | None,
    *extras: Any,
    save: bool,
) -> tuple[Tensor, ...]:
    """Run a window: y, h_n, c_n (empty but for an LSTM), and for `backward` gates and c or q (else empty)."""
    weights, reverse = (weight_ih, weight_hh, bias_ih, bias_hh), _reverse_alone(extras)
    empty, wide_empty = x.new_empty(0), x.new_empty(0, dtype=compute_dtype(x))
    if c_0 is not None:
        return lstm.forward(x, h_0, c_0, *weights, lengths, reverse, save)
    if cell == "gru":
        y, h_n, gates, q = gru.forward(x, h_0, *weights, lengths, reverse, save)
        return y, h_n, empty, gates, q
    y, h_n = rnn.forward(x, h_0, *weights, lengths, reverse, cell == "rnn_relu")
    return y, h_n, empty, wide_empty, wide_empty.clone()


def backward(
    cell: str,
    grad_y: Tensor,
    grad_h_n: Tensor | None,
    grad_c_n: Tensor | None,
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor | None,
    weight_ih: Tensor,
    weight_hh: Tensor,
    y: Tensor,
    gates: Tensor,
    saved: Tensor,
    lengths: Tensor | None,
    *extras: Any,
    needs_grad_x: bool,
) -> tuple[Tensor, ...]:
    """Undo `forward`: gradients of x, h_0, c_0 (empty but for an LSTM), both weights and both biases."""
    weights, reverse = (weight_ih, weight_hh), _reverse_alone(extras)
    if c_0 is not None:
        grads = lstm.backward(
            grad_y, grad_h_n, grad_c_n, x, h_0, c_0, *weights, lengths, y, gates, saved, reverse, needs_grad_x
        )
        return *grads, grads[-1].clone()  # both biases have one gradient; it must not be one tensor
    empty = x.new_empty(0)
    if cell == "gru":
        grad_x, *grads = gru.backward(
            grad_y, grad_h_n, x, h_0, *weights, lengths, y, gates, saved, reverse, needs_grad_x
        )
        return grad_x, grads[0], empty, *grads[1:]
    relu = cell == "rnn_relu"
    grad_x, *grads = rnn.backward(grad_y, grad_h_n, x, h_0, *weights, lengths, y, reverse, relu, needs_grad_x)
    return grad_x, grads[0], empty, *grads[1:], grads[-1].clone()


def _reverse_alone(extras: tuple[Any, ...]) -> bool:
    """Return the last of the op's settings.

    Raises:
        RuntimeError: one of the others asks for what these loops do not do.
    """
    *others, reverse = extras
    if any(isinstance(value, Tensor) or value for value in others):
        raise RuntimeError("without its C++ engine backend 'cpu' has no such extras; use backend='reference' or 'auto'")
    return reverse
