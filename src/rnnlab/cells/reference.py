"""The recurrences as equations, one time step each, and the plain loops over them: what every backend must reproduce.

Shapes: T steps, B batch, I input_size, H hidden_size, G gates per cell (RNN 1, GRU 3, LSTM 4).
Autograd differentiates these functions as often as it is asked to, so second derivatives go through here.

Extras change the equations so, each on its own (see `rnnlab.cells.extras` for the tensors):

    recurrent dropout   W_hh (s * h) for W_hh h, with one mask s for the whole sequence; nothing else sees s
    layer norm          LN(W_ih x) + b_ih for W_ih x + b_ih and LN(W_hh h) + b_hh for W_hh h + b_hh, each over all its
                        G*H numbers, with a gain; an LSTM's h' = o * tanh(LN(c')), with gain and bias
    zoneout             h' and c' are what they were before the step where a mask says so; without a mask the mean
    state clipping      the gradient that flows from a step into the state before it is clamped, entry by entry

Sources: Gal & Ghahramani 2016; Ba, Kiros & Hinton 2016, section 3.1 and supplement (their GRU normalises its blocks
r, z and n apart); Krueger et al. 2017; Graves 2013, section 2.1 (he clamps what reaches the gates).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear
from torch.utils.checkpoint import checkpoint

from rnnlab.cells.extras import NO_EXTRAS, Extras, clip_gradient

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


def rnn_step(x: Tensor, h: Tensor, weights: Weights, nonlinearity: str = "tanh", extras: Extras = NO_EXTRAS) -> Tensor:
    """Advance a simple recurrent network by one step.

        h' = tanh(W_ih x + b_ih + W_hh h + b_hh)    or relu in place of tanh

    Args:
        x: input of this step, (B, I).
        h: hidden state before it, (B, H).
        weights: weight_ih (H, I), weight_hh (H, H), bias_ih and bias_hh (H,).
        nonlinearity: 'tanh' or 'relu'.
        extras: its mask and layer norm apply.

    Returns:
        The hidden state after it, (B, H); also the step's output.

    Raises:
        ValueError: shapes do not fit, or the nonlinearity is unknown.

    Source: Elman 1990; relu as in Le, Jaitly & Hinton 2015.
    """
    _check_step(x, h, weights, num_gates=1)
    a = _from_input(x, weights, extras) + _from_state(h, weights, extras)
    match nonlinearity:
        case "tanh":
            return torch.tanh(a)
        case "relu":
            return torch.relu(a)
    raise ValueError(f"nonlinearity: expected 'tanh' or 'relu', got {nonlinearity!r}")


def lstm_step(x: Tensor, state: LSTMState, weights: Weights, extras: Extras = NO_EXTRAS) -> LSTMState:
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
        extras: its mask and layer norm apply.

    Returns:
        The state after it, each (B, H). h is also the step's output.

    Raises:
        ValueError: x has a width other than I, or the state another batch size than x.

    Source: Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """
    h, c = state
    _check_step(x, h, weights, num_gates=4)
    i, f, g, o = lstm_gates(x, h, weights, extras)
    c = f * c + i * g
    norm = extras.norm
    shown = c if norm is None or norm.cell is None else layer_norm(c, c.shape[-1:], norm.cell, norm.cell_bias)
    return o * torch.tanh(shown), c


def lstm_gates(
    x: Tensor, h: Tensor, weights: Weights, extras: Extras = NO_EXTRAS
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return i, f, g and o of `lstm_step`, each (..., H), from (..., I) and (..., H)."""
    a_i, a_f, a_g, a_o = (_from_input(x, weights, extras) + _from_state(h, weights, extras)).chunk(4, dim=-1)
    return torch.sigmoid(a_i), torch.sigmoid(a_f), torch.tanh(a_g), torch.sigmoid(a_o)


def gru_step(x: Tensor, h: Tensor, weights: Weights, extras: Extras = NO_EXTRAS) -> Tensor:
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
        extras: its mask and layer norm apply.

    Returns:
        The hidden state after it, (B, H); also the step's output.

    Raises:
        ValueError: x has a width other than I, or the state another batch size than x.

    Source: Cho et al. 2014, differs in where the reset gate acts.
    """
    _check_step(x, h, weights, num_gates=3)
    _, z, n = gru_gates(x, h, weights, extras)
    return (1 - z) * n + z * h


def gru_gates(x: Tensor, h: Tensor, weights: Weights, extras: Extras = NO_EXTRAS) -> tuple[Tensor, Tensor, Tensor]:
    """Return r, z and n of `gru_step`, each (..., H), from (..., I) and (..., H)."""
    from_input = _from_input(x, weights, extras).chunk(3, dim=-1)
    from_state = _from_state(h, weights, extras).chunk(3, dim=-1)
    r = torch.sigmoid(from_input[0] + from_state[0])
    z = torch.sigmoid(from_input[1] + from_state[1])
    return r, z, torch.tanh(from_input[2] + r * from_state[2])


def run_direction(
    cell: str,
    x: Tensor,
    state: States,
    weights: Weights,
    lengths: Tensor | None,
    reverse: bool,
    extras: Extras | None = None,
) -> tuple[Tensor, States]:
    """Run one layer in one direction through the equations; the signature that every backend shares.

    Args:
        cell: 'rnn_tanh', 'rnn_relu', 'lstm' or 'gru'.
        x: inputs, (T, B, I).
        state: (h_0,) or (h_0, c_0), each (B, H).
        weights: parameters of this layer and direction.
        lengths: valid steps of each row, <int64>(B,), 0..T; None: all T.
        reverse: from each row's last valid step to step 0.
        extras: what to do beyond torch.nn's recurrence; None: nothing. An engine is called with None only, unless
            `rnnlab.cells.backends.ENGINES` says that it can do more.

    Returns:
        Outputs (T, B, H), zero past each row's length, and the final state, each (B, H).
    """
    extras = extras or NO_EXTRAS

    def step(x_t: Tensor, before: States) -> States:
        match cell:
            case "rnn_tanh" | "rnn_relu":
                return (rnn_step(x_t, before[0], weights, cell.removeprefix("rnn_"), extras),)
            case "lstm":
                return lstm_step(x_t, (before[0], before[1]), weights, extras)
            case "gru":
                return (gru_step(x_t, before[0], weights, extras),)
        raise ValueError(f"cell: expected one of rnn_tanh, rnn_relu, lstm, gru, got {cell!r}")

    order = list(range(x.shape[0]))[:: -1 if reverse else 1]
    if not (extras.recompute and torch.is_grad_enabled()):
        outputs, state = _loop(step, x, state, lengths, order, extras)
    else:
        outputs, length = [], math.isqrt(len(order))
        for first in range(0, len(order), length):
            piece = order[first : first + length]
            # No mask is drawn in there, so that no random state needs to be put back.
            some, state = checkpoint(  # pyright: ignore[reportGeneralTypeIssues]
                _loop, step, x, state, lengths, piece, extras, use_reentrant=False, preserve_rng_state=False
            )
            outputs += some
    return torch.stack(outputs[::-1] if reverse else outputs), state


Step = Callable[[Tensor, States], States]


def _loop(
    step: Step, x: Tensor, state: States, lengths: Tensor | None, order: list[int], extras: Extras
) -> tuple[list[Tensor], States]:
    """Run the steps named in `order`; `where` and never a product with a mask, since 0 * nan is nan."""
    outputs = []
    for t in order:
        if lengths is None:
            state = _advance(step, x[t], state, t, extras)
            outputs.append(state[0])
        else:
            alive = (t < lengths).unsqueeze(1)
            # The input is cleared too: a nan there would come back through the gradient of the unused branch.
            after = _advance(step, torch.where(alive, x[t], 0), state, t, extras)
            state = tuple(torch.where(alive, new, old) for new, old in zip(after, state, strict=True))
            outputs.append(torch.where(alive, state[0], 0))
    return outputs, state


def _advance(step: Step, x_t: Tensor, state: States, t: int, extras: Extras) -> States:
    """Take one step with what the extras do around it."""
    if extras.clip_state_grad is not None:
        # On the way into the step: a state that crosses padding, and an output's own gradient, stay unclipped.
        state = tuple(clip_gradient(s, extras.clip_state_grad) for s in state)
    after = step(x_t, state)
    if extras.zoneout is None:
        return after
    return tuple(_zone_out(*s, t) for s in zip(state, after, extras.zoneout, strict=True))


def _zone_out(before: Tensor, after: Tensor, keep: Tensor | float | None, t: int) -> Tensor:
    if keep is None:
        return after
    return torch.where(keep[t], before, after) if isinstance(keep, Tensor) else torch.lerp(after, before, keep)


def _from_input(x: Tensor, weights: Weights, extras: Extras) -> Tensor:
    """Return W_ih x + b_ih, (..., G*H), normalised if asked."""
    if extras.norm is None:
        return linear(x, weights.weight_ih, weights.bias_ih)
    return layer_norm(linear(x, weights.weight_ih), weights.weight_ih.shape[:1], extras.norm.ih, weights.bias_ih)


def _from_state(h: Tensor, weights: Weights, extras: Extras) -> Tensor:
    """Return W_hh h + b_hh, (..., G*H), with dropped-out h and normalised if asked."""
    if extras.recurrent_mask is not None:
        h = h * extras.recurrent_mask
    if extras.norm is None:
        return linear(h, weights.weight_hh, weights.bias_hh)
    return layer_norm(linear(h, weights.weight_hh), weights.weight_hh.shape[:1], extras.norm.hh, weights.bias_hh)


def _check_step(x: Tensor, h: Tensor, weights: Weights, num_gates: int) -> None:
    rows, input_size = weights.weight_ih.shape
    hidden_size = weights.weight_hh.shape[1]
    if rows != num_gates * hidden_size:
        raise ValueError(f"weight_ih must have {num_gates} * hidden_size={hidden_size} rows, got {rows}")
    if x.shape[-1] != input_size:
        raise ValueError(f"x must be (batch, input_size={input_size}), got {tuple(x.shape)}")
    if h.shape != (x.shape[0], hidden_size):
        raise ValueError(f"h must be (batch={x.shape[0]}, hidden_size={hidden_size}), got {tuple(h.shape)}")
