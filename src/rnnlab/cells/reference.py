"""The recurrences as equations, one time step each, and the plain loops over them: what every backend must reproduce.

Shapes: T steps, B batch, I input_size, H hidden_size, G gates per cell (RNN 1, GRU 3, LSTM 4).
Autograd differentiates these functions as often as it is asked to, so second derivatives go through here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

LSTMState = tuple[Tensor, Tensor]
"""Hidden state h and cell state c."""

States = tuple[Tensor, ...]
"""(h,) of an RNN or GRU, (h, c) of an LSTM: the form in which backends hand states around."""


class Weights(NamedTuple):
    """The parameters of one layer in one direction, under torch.nn's names.

    Attributes:
        weight_ih: input weights, (G*H, I).
        weight_hh: recurrent weights, (G*H, H).
        bias_ih: bias beside the input weights, (G*H,), or None.
        bias_hh: bias beside the recurrent weights, (G*H,), or None.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None = None
    bias_hh: Tensor | None = None

    def to(self, dtype: torch.dtype) -> Weights:
        """Return the same weights in another width."""
        biases = (None if bias is None else bias.to(dtype) for bias in (self.bias_ih, self.bias_hh))
        return Weights(self.weight_ih.to(dtype), self.weight_hh.to(dtype), *biases)


def rnn_step(x: Tensor, h: Tensor, weights: Weights, nonlinearity: str = "tanh") -> Tensor:
    """Advance a simple recurrent network by one step.

        h' = tanh(W_ih x + b_ih + W_hh h + b_hh)    or relu in place of tanh

    Args:
        x: input of this step, (B, I).
        h: hidden state before it, (B, H).
        weights: weight_ih (H, I), weight_hh (H, H), bias_ih and bias_hh (H,).
        nonlinearity: 'tanh' or 'relu'.

    Returns:
        The hidden state after it, (B, H); also the step's output.

    Raises:
        ValueError: shapes do not fit, or the nonlinearity is unknown.

    Source: Elman 1990; relu as in Le, Jaitly & Hinton 2015.
    """
    _check_step(x, h, weights, num_gates=1)
    a = linear(x, weights.weight_ih, weights.bias_ih) + linear(h, weights.weight_hh, weights.bias_hh)
    match nonlinearity:
        case "tanh":
            return torch.tanh(a)
        case "relu":
            return torch.relu(a)
    raise ValueError(f"nonlinearity: expected 'tanh' or 'relu', got {nonlinearity!r}")


def lstm_step(x: Tensor, state: LSTMState, weights: Weights) -> LSTMState:
    """Advance an LSTM by one step.

        i, f, o = sigmoid(W_ih x + b_ih + W_hh h + b_hh)    three of the four blocks
        g       =    tanh(W_ih x + b_ih + W_hh h + b_hh)    the third block
        c'      = f * c + i * g
        h'      = o * tanh(c')

    Blocks are stacked i, f, g, o, as in torch.nn.LSTM. No peepholes.

    Args:
        x: input of this step, (B, I).
        state: hidden and cell state before it, each (B, H).
        weights: weight_ih (4H, I), weight_hh (4H, H), bias_ih and bias_hh (4H,).

    Returns:
        The state after it, each (B, H). h is also the step's output.

    Raises:
        ValueError: x has a width other than I, or the state another batch size than x.

    Source: Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """
    h, c = state
    _check_step(x, h, weights, num_gates=4)
    a = linear(x, weights.weight_ih, weights.bias_ih) + linear(h, weights.weight_hh, weights.bias_hh)
    a_i, a_f, a_g, a_o = a.chunk(4, dim=1)
    i, f, g, o = torch.sigmoid(a_i), torch.sigmoid(a_f), torch.tanh(a_g), torch.sigmoid(a_o)
    c = f * c + i * g
    return o * torch.tanh(c), c


def gru_step(x: Tensor, h: Tensor, weights: Weights) -> Tensor:
    """Advance a GRU by one step.

        r  = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
        z  = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
        n  =    tanh(W_in x + b_in + r * (W_hn h + b_hn))
        h' = (1 - z) * n + z * h

    Blocks are stacked r, z, n, as in torch.nn.GRU. The reset gate acts after the matrix product, which is
    the variant of cuDNN; the paper's acts before it.

    Args:
        x: input of this step, (B, I).
        h: hidden state before it, (B, H).
        weights: weight_ih (3H, I), weight_hh (3H, H), bias_ih and bias_hh (3H,).

    Returns:
        The hidden state after it, (B, H); also the step's output.

    Raises:
        ValueError: x has a width other than I, or the state another batch size than x.

    Source: Cho et al. 2014, differs in where the reset gate acts.
    """
    _check_step(x, h, weights, num_gates=3)
    from_input = linear(x, weights.weight_ih, weights.bias_ih).chunk(3, dim=1)
    from_state = linear(h, weights.weight_hh, weights.bias_hh).chunk(3, dim=1)
    r = torch.sigmoid(from_input[0] + from_state[0])
    z = torch.sigmoid(from_input[1] + from_state[1])
    n = torch.tanh(from_input[2] + r * from_state[2])
    return (1 - z) * n + z * h


def rnn_sequence(
    x: Tensor,
    h_0: Tensor,
    weights: Weights,
    lengths: Tensor | None = None,
    reverse: bool = False,
    nonlinearity: str = "tanh",
) -> tuple[Tensor, Tensor]:
    """Run `rnn_step` over a sequence: (T, B, I), (B, H) -> outputs (T, B, H) and h_n (B, H).

    `lengths` <int64>(B,) holds each row's number of valid steps, 0..T; None: all T. Outputs past it are 0 and the
    state stays what it was. `reverse` starts at each row's last valid step and ends at step 0.
    """
    y, (h_n,) = _sequence(lambda x_t, s: (rnn_step(x_t, s[0], weights, nonlinearity),), x, (h_0,), lengths, reverse)
    return y, h_n


def lstm_sequence(
    x: Tensor, state: LSTMState, weights: Weights, lengths: Tensor | None = None, reverse: bool = False
) -> tuple[Tensor, LSTMState]:
    """Run `lstm_step` over a sequence; arguments and results as in `rnn_sequence`, with state (h, c)."""
    y, (h_n, c_n) = _sequence(lambda x_t, s: lstm_step(x_t, (s[0], s[1]), weights), x, state, lengths, reverse)
    return y, (h_n, c_n)


def gru_sequence(
    x: Tensor, h_0: Tensor, weights: Weights, lengths: Tensor | None = None, reverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Run `gru_step` over a sequence; arguments and results as in `rnn_sequence`."""
    y, (h_n,) = _sequence(lambda x_t, s: (gru_step(x_t, s[0], weights),), x, (h_0,), lengths, reverse)
    return y, h_n


def run_direction(
    cell: str, x: Tensor, state: States, weights: Weights, lengths: Tensor | None, reverse: bool
) -> tuple[Tensor, States]:
    """Run one layer in one direction through the equations; the signature that every backend shares.

    Args:
        cell: 'rnn_tanh', 'rnn_relu', 'lstm' or 'gru'.
        x: inputs, (T, B, I).
        state: (h_0,) or (h_0, c_0), each (B, H).
        weights: parameters of this layer and direction.
        lengths: valid steps of each row, <int64>(B,), 0..T; None: all T.
        reverse: from each row's last valid step to step 0.

    Returns:
        Outputs (T, B, H), zero past each row's length, and the final state, each (B, H).
    """
    match cell:
        case "rnn_tanh" | "rnn_relu":
            y, h_n = rnn_sequence(x, state[0], weights, lengths, reverse, nonlinearity=cell.removeprefix("rnn_"))
            return y, (h_n,)
        case "lstm":
            return lstm_sequence(x, (state[0], state[1]), weights, lengths, reverse)
        case "gru":
            y, h_n = gru_sequence(x, state[0], weights, lengths, reverse)
            return y, (h_n,)
    raise ValueError(f"cell: expected one of rnn_tanh, rnn_relu, lstm, gru, got {cell!r}")


def _sequence(
    step: Callable[[Tensor, States], States], x: Tensor, state: States, lengths: Tensor | None, reverse: bool
) -> tuple[Tensor, States]:
    """Loop over time; `where` and never a product with a mask, since 0 * nan is nan."""
    outputs: dict[int, Tensor] = {}
    num_steps = x.shape[0]
    for t in reversed(range(num_steps)) if reverse else range(num_steps):
        if lengths is None:
            state = step(x[t], state)
            outputs[t] = state[0]
        else:
            alive = (t < lengths).unsqueeze(1)
            # The input is cleared too: a nan there would come back through the gradient of the unused branch.
            after = step(torch.where(alive, x[t], 0), state)
            state = tuple(torch.where(alive, new, old) for new, old in zip(after, state, strict=True))
            outputs[t] = torch.where(alive, state[0], 0)
    return torch.stack([outputs[t] for t in range(num_steps)]), state


def _check_step(x: Tensor, h: Tensor, weights: Weights, num_gates: int) -> None:
    rows, input_size = weights.weight_ih.shape
    hidden_size = weights.weight_hh.shape[1]
    if rows != num_gates * hidden_size:
        raise ValueError(f"weight_ih must have {num_gates} * hidden_size={hidden_size} rows, got {rows}")
    if x.shape[-1] != input_size:
        raise ValueError(f"x must be (batch, input_size={input_size}), got {tuple(x.shape)}")
    if h.shape != (x.shape[0], hidden_size):
        raise ValueError(f"h must be (batch={x.shape[0]}, hidden_size={hidden_size}), got {tuple(h.shape)}")
