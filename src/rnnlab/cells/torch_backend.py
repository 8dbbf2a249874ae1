"""torch.nn's own kernels (oneDNN on a CPU, cuDNN on CUDA), with per-row lengths that keep their fast paths.

On a CPU torch.nn serves a PackedSequence several times slower than a dense batch, and on CUDA packing waits for the
device, to read the lengths. Here a padded batch runs as a dense one: in reverse each row's valid part is flipped first,
final hidden states are picked at each row's last step, and an LSTM carries its cell state through padding by one more
input feature, see `_guard_cell_state`. So does a ReLU network its zeros, see `_guard_relu_state`.

Shapes: T steps, B batch, I input_size, H hidden_size, D directions, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rnnlab.cells.reference import States, Weights


def run_direction(
    cell: str, x: Tensor, state: States, weights: Weights, lengths: Tensor | None, reverse: bool
) -> tuple[Tensor, States]:
    """Run one layer in one direction through a dense kernel; arguments and results as in `reference.run_direction`.

    Padded steps of `x` must hold finite numbers, which the layers see to.
    """
    if lengths is None and cell == "lstm" and x.shape[0] == 1:
        # oneDNN packs the weights anew at every call: token by token that takes three to ten times the cell's time.
        h_n, c_n = torch.lstm_cell(x[0], state, *weights)
        return h_n.unsqueeze(0), (h_n, c_n)
    if lengths is None:
        y, state = _dense(cell, x.flip(0) if reverse else x, state, weights)
        return y.flip(0) if reverse else y, state
    num_steps = x.shape[0]
    steps = torch.arange(num_steps, device=x.device).unsqueeze(1)
    padded = (steps >= lengths).unsqueeze(2)
    flip = torch.where(padded.squeeze(2), steps, lengths - 1 - steps) if reverse else None
    if flip is not None:
        x = _PermuteTime.apply(x, flip)
    if cell == "lstm":
        x, weights = _guard_cell_state(x, weights, padded)
    elif cell == "rnn_relu":
        x, weights = _guard_relu_state(x, weights, padded)
    y, after = _dense(cell, x, state, weights)
    last = (lengths - 1).clamp(min=0).view(1, -1, 1).expand(1, -1, y.shape[2])
    h_n = torch.where((lengths > 0).unsqueeze(1), y.gather(0, last).squeeze(0), state[0])
    y = y.masked_fill(padded, 0)
    return y if flip is None else _PermuteTime.apply(y, flip), (h_n, *after[1:])


def run_stack(
    cell: str,
    x: Tensor,
    state: States,
    weights: Sequence[Weights],
    *,
    num_layers: int,
    training: bool,
    bidirectional: bool,
) -> tuple[Tensor, States]:
    """Run all layers over a dense batch in one call, without dropout.

    Args:
        cell: 'rnn_tanh', 'rnn_relu', 'lstm' or 'gru'.
        x: inputs, (T, B, I).
        state: (h_0,) or (h_0, c_0), each (L*D, B, H).
        weights: by layer, then direction.
        num_layers: L.
        training: as of the layer; there is no dropout that it would switch on.
        bidirectional: D is 2.

    Returns:
        Outputs (T, B, D*H) and the final state, each (L*D, B, H).
    """
    flat = [tensor for layer in weights for tensor in layer if tensor is not None]
    has_bias = weights[0].bias_ih is not None
    given: Any = state if cell == "lstm" else state[0]
    keeps = torch.is_grad_enabled() if x.is_cuda else training  # cuDNN has no backward pass that it was not told of
    y, *after = _KERNELS[cell](x, given, flat, has_bias, num_layers, 0.0, keeps, bidirectional, False)
    return y, tuple(after)


def flatten_weights(
    cell: str, weights: Sequence[Weights], *, input_size: int, hidden_size: int, num_layers: int, bidirectional: bool
) -> None:
    """Lay the weights out in one block, as cuDNN wants them; without effect elsewhere.

    The parameters keep their values and become views of the block, like torch.nn.RNNBase.flatten_parameters.
    """
    flat = [tensor for layer in weights for tensor in layer if tensor is not None]
    first = flat[0]
    if not all(w.is_cuda and w.dtype == first.dtype and torch.backends.cudnn.is_acceptable(w) for w in flat):
        return
    if len({w.data_ptr() for w in flat}) != len(flat):  # shared parameters cannot be moved apart
        return
    mode = {"rnn_relu": 0, "rnn_tanh": 1, "lstm": 2, "gru": 3}[cell]
    with torch.cuda.device_of(first), torch.no_grad():
        torch._cudnn_rnn_flatten_weight(  # pyright: ignore[reportPrivateImportUsage]
            flat, 4 if weights[0].bias_ih is not None else 2, input_size, mode, hidden_size, 0, num_layers, False,
            bidirectional,
        )  # fmt: skip


_KERNELS: dict[str, Any] = {
    "rnn_tanh": torch.rnn_tanh,
    "rnn_relu": torch.rnn_relu,
    "lstm": torch.lstm,
    "gru": torch.gru,
}


def _dense(cell: str, x: Tensor, state: States, weights: Weights) -> tuple[Tensor, States]:
    """Run one layer forward in time over a dense batch."""
    stacked = tuple(s.unsqueeze(0) for s in state)
    y, after = run_stack(cell, x, stacked, [weights], num_layers=1, training=False, bidirectional=False)
    return y, tuple(s.squeeze(0) for s in after)


def _guard_cell_state(x: Tensor, weights: Weights, padded: Tensor) -> tuple[Tensor, Weights]:
    """Add an input feature that is 1 at padding and closes the input gate, opens the forget gate there.

    Its weights are so large that sigmoid is exactly 0 or 1, in value and in slope, so c' = c and every gradient of a
    padded step is 0. At valid steps the feature is 0 and adds exactly nothing.
    """
    hidden_size = weights.weight_hh.shape[1]
    guard = weights.weight_ih.new_zeros(4, hidden_size)
    guard[0], guard[1] = -_SATURATING, _SATURATING
    return _with_feature(x, weights, padded, guard.flatten())


def _guard_relu_state(x: Tensor, weights: Weights, padded: Tensor) -> tuple[Tensor, Weights]:
    """Add an input feature that is 1 at padding and makes the state 0 there, value and slope.

    A state that grows from step to step would overflow where nobody looks, and 0 times infinity is a gradient of nan.
    """
    rows = weights.weight_ih.shape[0]
    return _with_feature(x, weights, padded, weights.weight_ih.new_full((rows,), -torch.finfo(x.dtype).max / 2))


def _with_feature(x: Tensor, weights: Weights, padded: Tensor, guard: Tensor) -> tuple[Tensor, Weights]:
    """Append to each input whether it is padding, (T, B, 1), and to W_ih what that does to the gates, (G*H,)."""
    x = torch.cat([x, padded.to(x.dtype)], dim=2)
    return x, weights._replace(weight_ih=torch.cat([weights.weight_ih, guard.view(-1, 1)], dim=1))


_SATURATING = 1e4
"""exp(-1e4) is 0 in every float type, and it is far above any pre-activation of a net that still trains."""


class _PermuteTime(torch.autograd.Function):
    """Reorder each row's steps by a permutation that is its own inverse, so that backward is the same gather.

    Autograd's own gradient of a gather is a scatter-add into zeros: slower, and not deterministic on CUDA.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, index: Tensor) -> Tensor:
        """Gather (T, B, F) along time by index (T, B)."""
        ctx.save_for_backward(index)
        rows = torch.arange(a.shape[1], device=a.device)
        return a.flatten(0, 1).index_select(0, (index * a.shape[1] + rows).flatten()).view_as(a)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Gather the gradient by the same index."""
        return _PermuteTime.apply(grads[0], ctx.saved_tensors[0]), None
