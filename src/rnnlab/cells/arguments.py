"""Checks of what callers hand a layer: one message each, with what was got and what was wanted.

Shapes: T steps, B batch, H hidden_size, L layers, D directions.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor


def check_sizes(input_size: int, hidden_size: int, num_layers: int, dropout: float, **switches: bool) -> None:
    """Check a layer's constructor arguments.

    Raises:
        TypeError: a size is no int, or a switch no bool: a dropout where torch.nn takes bias, most often.
        ValueError: a size below 1, or dropout outside 0..1.
    """
    for name, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be an int, got {value!r}")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, got {value!r}")
    if isinstance(dropout, bool) or not 0 <= dropout <= 1:
        raise ValueError(f"dropout must be between 0 and 1, got {dropout!r}")
    if dropout > 0 and num_layers == 1:
        warnings.warn(f"dropout={dropout} acts between layers only and has no effect with num_layers=1", stacklevel=4)


def check_input(x: Tensor, input_size: int, weight: Tensor, autocast: bool) -> None:
    """Check a batched or unbatched input.

    Raises:
        TypeError: not a tensor.
        ValueError: wrong number of dimensions, width, dtype or device.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"input must be a tensor or a PackedSequence, got {type(x).__name__}")
    if x.dim() not in (2, 3):
        raise ValueError(f"input must be 3-D, or 2-D for one sequence without a batch, got {x.dim()}-D")
    if x.shape[-1] != input_size:
        raise ValueError(f"input's last dimension must be input_size={input_size}, got {x.shape[-1]}")
    if x.dtype != weight.dtype and not autocast:
        raise ValueError(
            f"input is {x.dtype} but the weights are {weight.dtype};"
            f" use input.to({weight.dtype}) or layer.to({x.dtype})"
        )
    if x.device != weight.device:
        raise ValueError(f"input is on {x.device} but the weights are on {weight.device}")


def check_state(
    names: tuple[str, ...], state: object, num_layers: int, num_directions: int, batch: int | None, hidden_size: int
) -> tuple[Tensor, ...]:
    """Check an initial state and return it as a tuple.

    Args:
        names: ('h_0',) or ('h_0', 'c_0').
        state: what the caller gave.
        num_layers: L.
        num_directions: D.
        batch: B; None for an unbatched input, whose states are (L*D, H).
        hidden_size: H.

    Raises:
        TypeError: not a tensor, or for an LSTM not a pair of tensors.
        ValueError: a wrong shape.
    """
    states: tuple[Any, ...] = tuple(state) if isinstance(state, (tuple, list)) and len(names) > 1 else (state,)
    if len(states) != len(names) or not all(isinstance(s, Tensor) for s in states):
        wanted = "a tensor h_0" if len(names) == 1 else "a pair of tensors (h_0, c_0)"
        raise TypeError(f"state must be {wanted} or None, got {type(state).__name__}")
    rows = num_layers * num_directions
    shape = (rows, hidden_size) if batch is None else (rows, batch, hidden_size)
    for name, tensor in zip(names, states, strict=True):
        if tuple(tensor.shape) != shape:
            layers = f"num_layers={num_layers}" if num_directions == 1 else f"num_directions * num_layers={rows}"
            wanted = f"({layers}, hidden_size={hidden_size})"
            if batch is not None:
                wanted = f"({layers}, batch={batch}, hidden_size={hidden_size})"
            message = f"{name} must be {wanted}, got {tuple(tensor.shape)}"
            if tensor.dim() == 3 and (tensor.shape[0], tensor.shape[2]) == (rows, hidden_size):
                message += "; was the state kept from another batch size?"
            raise ValueError(message)
    return states


def check_state_dtype(names: tuple[str, ...], states: tuple[Tensor, ...], dtype: torch.dtype) -> None:
    """Check that a state's numbers are of the input's type.

    Raises:
        ValueError: they are not.
    """
    for name, tensor in zip(names, states, strict=True):
        if tensor.dtype != dtype:
            raise ValueError(f"{name} is {tensor.dtype} but the input is {dtype}; use {name}.to({dtype})")


def check_lengths(lengths: Tensor, num_steps: int, batch: int) -> None:
    """Check the per-row lengths; their values only where reading them does not wait for a device.

    Raises:
        TypeError: not int64.
        ValueError: not one length a row, or one outside 0..T.
    """
    if not isinstance(lengths, Tensor) or lengths.dtype != torch.int64:
        got = lengths.dtype if isinstance(lengths, Tensor) else type(lengths).__name__
        raise TypeError(f"lengths must be an int64 tensor, got {got}")
    if tuple(lengths.shape) != (batch,):
        raise ValueError(f"lengths must be (batch={batch},), got {tuple(lengths.shape)}")
    if lengths.device.type != "cpu" or torch.compiler.is_compiling() or batch == 0:
        return
    low, high = (int(value) for value in torch.aminmax(lengths))
    if low < 0 or high > num_steps:
        raise ValueError(f"lengths must be between 0 and the input's {num_steps} steps, got {low if low < 0 else high}")
