"""The carried state: what one call of a model hands the next. An argument and a result, never an attribute.

Shapes: L layers times directions, B rows, H hidden_size. State is None, h (L, B, H), or (h, c) for an LSTM.
"""

from __future__ import annotations

import torch
from torch import Tensor

State = Tensor | tuple[Tensor, Tensor] | None


def detach(state: State) -> State:
    """Cut the graph at a window's edge: values carry over, gradients do not.

    Without it, backward would reach through every window since the start of the pass.
    """
    if state is None:
        return None
    if isinstance(state, tuple):
        return state[0].detach(), state[1].detach()
    return state.detach()


def move(state: State, device: torch.device) -> State:
    """Put a state on a device."""
    if isinstance(state, tuple):
        return state[0].to(device), state[1].to(device)
    return None if state is None else state.to(device)


def reset(state: State, starts: Tensor) -> State:
    """Zero the state of the rows that begin a new sequence.

    Args:
        state: state after the window before.
        starts: <bool>(B,), on the CPU, so that asking it costs no wait for the device.

    Returns:
        The state to begin with; None (all zero) if every row starts anew, whatever the batch size was before.
    """
    if state is None or bool(starts.all()):
        return None
    return restart(state, starts, all_start=False) if bool(starts.any()) else state


def restart(state: State, starts: Tensor, all_start: bool) -> State:
    """Zero the state of the rows that begin a new sequence, as `reset` does, but ask nothing: for recordings.

    Args:
        state: state after the window before.
        starts: <bool>(B,), on the state's device.
        all_start: whether every row does.
    """
    if state is None or all_start:
        return None
    if isinstance(state, tuple):
        return _zero(state[0], starts), _zero(state[1], starts)
    return _zero(state, starts)


def choose(first: Tensor, one: State, other: State) -> State:
    """Return the state `one` where a flag is up, else `other`, without asking the device which.

    Args:
        first: a scalar on their device, 1 or 0.
        one: None stands for zeros.
        other: of the same shape.
    """
    if isinstance(other, tuple):
        h, c = one if isinstance(one, tuple) else (None, None)
        return _choose(first, h, other[0]), _choose(first, c, other[1])
    return None if other is None else _choose(first, None if isinstance(one, tuple) else one, other)


def _choose(first: Tensor, one: Tensor | None, other: Tensor) -> Tensor:
    return torch.where(first != 0, torch.zeros_like(other) if one is None else one, other)


def _zero(h: Tensor, starts: Tensor) -> Tensor:
    # masked_fill, not a product: nan in the old state of a row must not reach the new sequence.
    if h.is_cuda and starts.device.type == "cpu":
        starts = starts.pin_memory()  # else the host waits for the copy
    return h.masked_fill(starts.to(h.device, non_blocking=True)[None, :, None], 0.0)
