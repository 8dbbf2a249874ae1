"""One custom op a recurrence and pass: a whole window in, outputs and final state out, gradients by hand-written BPTT.

To torch each op is opaque, so `torch.compile(fullgraph=True)`, `opcheck` and `gradcheck` hold, and the loop behind it
may be exchanged without anyone noticing. The ops cannot be differentiated twice; backend 'reference' can.

Shapes: T steps, B batch, I input_size, H hidden_size, G gates per cell.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnlab.cells.bptt import gru, lstm, rnn
from rnnlab.cells.bptt.common import compute_dtype
from rnnlab.cells.reference import States, Weights

_WEIGHTS = "Tensor weight_ih, Tensor weight_hh, Tensor? bias_ih, Tensor? bias_hh, Tensor? lengths, bool reverse"


def run_direction(
    cell: str, x: Tensor, state: States, weights: Weights, lengths: Tensor | None, reverse: bool
) -> tuple[Tensor, States]:
    """Run one layer in one direction through the ops; arguments and results as in `reference.run_direction`.

    Padded steps of `x` must hold finite numbers, which the layers see to.
    """
    save = needs_grad(x, *state, *weights)
    if cell == "lstm":
        y, h_n, c_n, _, _ = torch.ops.rnnlab.lstm(x, *state, *weights, lengths, reverse, save)
        return y, (h_n, c_n)
    if cell == "gru":
        y, h_n, _, _ = torch.ops.rnnlab.gru(x, *state, *weights, lengths, reverse, save)
        return y, (h_n,)
    y, h_n = torch.ops.rnnlab.rnn(x, *state, *weights, lengths, reverse, cell == "rnn_relu")
    return y, (h_n,)


def needs_grad(*tensors: Tensor | None) -> bool:
    """Return whether a backward pass through any of the tensors may follow."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def _without_autocast(x: Tensor) -> torch.autocast:
    """Keep autocast out of the loops: they mix two widths on purpose."""
    return torch.autocast(x.device.type, enabled=False)


def _like(x: Tensor, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
    return x.new_empty(shape, dtype=dtype or x.dtype)


def _or_zeros(grad: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if grad is None else grad


# ---------------------------------------------------------------------------------------------------------- RNN


@torch.library.custom_op(
    "rnnlab::rnn", mutates_args=(), schema=f"(Tensor x, Tensor h_0, {_WEIGHTS}, bool relu) -> (Tensor, Tensor)"
)
def _rnn(x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    with _without_autocast(x):
        return rnn.forward(x, *arguments)


@torch.library.custom_op(
    "rnnlab::rnn_backward",
    mutates_args=(),
    schema="(Tensor grad_y, Tensor? grad_h_n, Tensor x, Tensor h_0, Tensor weight_ih, Tensor weight_hh,"
    " Tensor? lengths, Tensor y, bool reverse, bool relu, bool needs_grad_x)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _rnn_backward(grad_y: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    with _without_autocast(grad_y):
        return rnn.backward(grad_y, *arguments)


@_rnn.register_fake
def _(x: Tensor, h_0: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    return _like(x, *x.shape[:2], h_0.shape[1]), _like(x, *h_0.shape)


@_rnn_backward.register_fake
def _(
    grad_y: Tensor, grad_h_n: Tensor | None, x: Tensor, h_0: Tensor, weight_ih: Tensor, weight_hh: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    *_, needs_grad_x = rest
    grad_x = torch.empty_like(x, memory_format=torch.contiguous_format) if needs_grad_x else _like(x, 0)
    like = [_like(x, *tensor.shape) for tensor in (h_0, weight_ih, weight_hh)]
    return grad_x, *like, _like(x, weight_ih.shape[0])


def _rnn_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, h_0, weight_ih, weight_hh, bias_ih, _, lengths, ctx.reverse, ctx.relu = inputs
    ctx.has_bias = bias_ih is not None
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, h_0, weight_ih, weight_hh, lengths, output[0])


def _rnn_grad(ctx: Any, grad_y: Tensor | None, grad_h_n: Tensor | None) -> tuple[Tensor | None, ...]:
    x, h_0, weight_ih, weight_hh, lengths, y = ctx.saved_tensors
    grad_x, grad_h_0, grad_weight_ih, grad_weight_hh, grad_bias = torch.ops.rnnlab.rnn_backward(
        _or_zeros(grad_y, y), grad_h_n, x, h_0, weight_ih, weight_hh, lengths, y,
        ctx.reverse, ctx.relu, ctx.needs_input_grad[0],
    )  # fmt: skip
    biases = _bias_gradients(ctx, grad_bias, grad_bias)
    return grad_x if ctx.needs_input_grad[0] else None, grad_h_0, grad_weight_ih, grad_weight_hh, *biases, *[None] * 3


# --------------------------------------------------------------------------------------------------------- LSTM


@torch.library.custom_op(
    "rnnlab::lstm",
    mutates_args=(),
    schema=f"(Tensor x, Tensor h_0, Tensor c_0, {_WEIGHTS}, bool save) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _lstm(x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    with _without_autocast(x):
        return lstm.forward(x, *arguments)


@torch.library.custom_op(
    "rnnlab::lstm_backward",
    mutates_args=(),
    schema="(Tensor grad_y, Tensor? grad_h_n, Tensor? grad_c_n, Tensor x, Tensor h_0, Tensor c_0, Tensor weight_ih,"
    " Tensor weight_hh, Tensor? lengths, Tensor y, Tensor gates, Tensor cells, bool reverse, bool needs_grad_x)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _lstm_backward(grad_y: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    with _without_autocast(grad_y):
        return lstm.backward(grad_y, *arguments)


@_lstm.register_fake
def _(x: Tensor, h_0: Tensor, c_0: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    *_, save = rest
    shape = (*x.shape[:2], h_0.shape[1])
    dtype = compute_dtype(x)
    gates = _like(x, *shape[:2], 4 * shape[2], dtype=dtype) if save else _like(x, 0, dtype=dtype)
    cells = _like(x, *shape, dtype=dtype) if save else _like(x, 0, dtype=dtype)
    return _like(x, *shape), _like(x, *h_0.shape), _like(x, *c_0.shape), gates, cells


@_lstm_backward.register_fake
def _(
    grad_y: Tensor,
    grad_h_n: Tensor | None,
    grad_c_n: Tensor | None,
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    *rest: Any,
) -> tuple[Tensor, ...]:
    *_, needs_grad_x = rest
    grad_x = torch.empty_like(x, memory_format=torch.contiguous_format) if needs_grad_x else _like(x, 0)
    like = [_like(x, *tensor.shape) for tensor in (h_0, c_0, weight_ih, weight_hh)]
    return grad_x, *like, _like(x, weight_ih.shape[0])


def _lstm_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, h_0, c_0, weight_ih, weight_hh, bias_ih, _, lengths, ctx.reverse, _ = inputs
    y, _, _, gates, cells = output
    ctx.has_bias = bias_ih is not None
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, h_0, c_0, weight_ih, weight_hh, lengths, y, gates, cells)


def _lstm_grad(
    ctx: Any, grad_y: Tensor | None, grad_h_n: Tensor | None, grad_c_n: Tensor | None, *saved: Any
) -> tuple[Tensor | None, ...]:
    x, h_0, c_0, weight_ih, weight_hh, lengths, y, gates, cells = ctx.saved_tensors
    grad_x, grad_h_0, grad_c_0, grad_weight_ih, grad_weight_hh, grad_bias = torch.ops.rnnlab.lstm_backward(
        _or_zeros(grad_y, y), grad_h_n, grad_c_n, x, h_0, c_0, weight_ih, weight_hh, lengths, y, gates, cells,
        ctx.reverse, ctx.needs_input_grad[0],
    )  # fmt: skip
    grad_x = grad_x if ctx.needs_input_grad[0] else None
    biases = _bias_gradients(ctx, grad_bias, grad_bias)
    return grad_x, grad_h_0, grad_c_0, grad_weight_ih, grad_weight_hh, *biases, *[None] * 3


# ---------------------------------------------------------------------------------------------------------- GRU


@torch.library.custom_op(
    "rnnlab::gru",
    mutates_args=(),
    schema=f"(Tensor x, Tensor h_0, {_WEIGHTS}, bool save) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _gru(x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    with _without_autocast(x):
        return gru.forward(x, *arguments)


@torch.library.custom_op(
    "rnnlab::gru_backward",
    mutates_args=(),
    schema="(Tensor grad_y, Tensor? grad_h_n, Tensor x, Tensor h_0, Tensor weight_ih, Tensor weight_hh,"
    " Tensor? lengths, Tensor y, Tensor gates, Tensor q, bool reverse, bool needs_grad_x)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _gru_backward(grad_y: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    with _without_autocast(grad_y):
        return gru.backward(grad_y, *arguments)


@_gru.register_fake
def _(x: Tensor, h_0: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    *_, save = rest
    shape = (*x.shape[:2], h_0.shape[1])
    dtype = compute_dtype(x)
    gates = _like(x, *shape[:2], 3 * shape[2], dtype=dtype) if save else _like(x, 0, dtype=dtype)
    q = _like(x, *shape, dtype=dtype) if save else _like(x, 0, dtype=dtype)
    return _like(x, *shape), _like(x, *h_0.shape), gates, q


@_gru_backward.register_fake
def _(
    grad_y: Tensor, grad_h_n: Tensor | None, x: Tensor, h_0: Tensor, weight_ih: Tensor, weight_hh: Tensor, *rest: Any
) -> tuple[Tensor, ...]:
    *_, needs_grad_x = rest
    grad_x = torch.empty_like(x, memory_format=torch.contiguous_format) if needs_grad_x else _like(x, 0)
    like = [_like(x, *tensor.shape) for tensor in (h_0, weight_ih, weight_hh)]
    return grad_x, *like, _like(x, weight_ih.shape[0]), _like(x, weight_hh.shape[0])


def _gru_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, h_0, weight_ih, weight_hh, bias_ih, _, lengths, ctx.reverse, _ = inputs
    y, _, gates, q = output
    ctx.has_bias = bias_ih is not None
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, h_0, weight_ih, weight_hh, lengths, y, gates, q)


def _gru_grad(ctx: Any, grad_y: Tensor | None, grad_h_n: Tensor | None, *saved: Any) -> tuple[Tensor | None, ...]:
    x, h_0, weight_ih, weight_hh, lengths, y, gates, q = ctx.saved_tensors
    grad_x, grad_h_0, grad_weight_ih, grad_weight_hh, grad_bias_ih, grad_bias_hh = torch.ops.rnnlab.gru_backward(
        _or_zeros(grad_y, y), grad_h_n, x, h_0, weight_ih, weight_hh, lengths, y, gates, q,
        ctx.reverse, ctx.needs_input_grad[0],
    )  # fmt: skip
    grad_x = grad_x if ctx.needs_input_grad[0] else None
    biases = _bias_gradients(ctx, grad_bias_ih, grad_bias_hh)
    return grad_x, grad_h_0, grad_weight_ih, grad_weight_hh, *biases, *[None] * 3


# ------------------------------------------------------------------------------------------------- registrations


def _bias_gradients(ctx: Any, grad_bias_ih: Tensor, grad_bias_hh: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Return a gradient for each bias there is; never one tensor twice, since .grad is changed in place later."""
    if not ctx.has_bias:
        return None, None
    return grad_bias_ih, grad_bias_hh.clone() if grad_bias_hh is grad_bias_ih else grad_bias_hh


def _refuse_second_gradient(ctx: Any, *grads: Any) -> None:
    raise RuntimeError(
        "backend 'cpu' has no second derivatives (create_graph=True); build the layer with backend='reference'"
    )


def _keep_nothing(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    pass


torch.library.register_autograd("rnnlab::rnn", _rnn_grad, setup_context=_rnn_setup)
torch.library.register_autograd("rnnlab::lstm", _lstm_grad, setup_context=_lstm_setup)
torch.library.register_autograd("rnnlab::gru", _gru_grad, setup_context=_gru_setup)
for _op in ("rnn_backward", "lstm_backward", "gru_backward"):
    torch.library.register_autograd(f"rnnlab::{_op}", _refuse_second_gradient, setup_context=_keep_nothing)
