"""What the gates of a trained model do: how far they are open, and how many are stuck at one end.

Shapes: T steps, B rows, H hidden_size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rnnlab.cells import GRU, LSTM, RNN
from rnnlab.cells.ops import run_direction
from rnnlab.cells.reference import Weights

# Karpathy, Johnson & Li 2015, section 4.3: a gate below 0.1 is left-saturated, above 0.9 right-saturated.
LEFT, RIGHT = 0.1, 0.9

GATES = {"lstm": ("input", "forget", "cell", "output"), "gru": ("reset", "update", "new"), "rnn": ("hidden",)}
_SIGMOID = {"input", "forget", "output", "reset", "update"}


@torch.no_grad()
def gate_activations(model: nn.Module, inputs: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
    """Read the gates of every layer at every valid step, from an all-zero state and without dropout.

    The states are known once a layer has run, so that the gates of all steps come from one product a layer.

    Args:
        model: with `embedding` and `recurrent`.
        inputs: <int64>(T, B) token ids.
        lengths: <int64>(B,) valid steps of each row; None is T for all.

    Returns:
        "layer_0/forget" and so on to the values at valid steps, (number of them, H); `_reverse` is appended to the
        layer for the direction that reads backwards. Sigmoid gates lie in 0..1, cell, new and hidden in -1..1 (or
        above 0, for ReLU).
    """
    stack = model.recurrent
    assert isinstance(stack, RNN | LSTM | GRU)
    assert callable(model.embedding)
    x: Tensor = model.embedding(inputs)
    num_steps, num_rows, _ = x.shape
    if lengths is None:
        lengths = torch.full((num_rows,), num_steps, device=x.device)
    valid = torch.arange(num_steps, device=x.device)[:, None] < lengths
    found: dict[str, Tensor] = {}
    for layer in range(stack.num_layers):
        outputs = []
        for direction in range(stack.num_directions):
            weights = stack.layer_weights(layer, direction)
            reverse = direction == 1
            zero = x.new_zeros(num_rows, stack.hidden_size)
            state = (zero, zero) if stack.cell == "lstm" else (zero,)
            y, _ = run_direction(stack.cell, x, state, weights, lengths, reverse)
            outputs.append(y)
            name = f"layer_{layer}{'_reverse' if reverse else ''}"
            if isinstance(stack, RNN):
                found[f"{name}/hidden"] = y[valid]
                continue
            # The state each step started from; past a row's end outputs are 0, where a reversed row starts.
            before = torch.cat([y[1:], zero[None]]) if reverse else torch.cat([zero[None], y[:-1]])
            for gate, values in _gates(stack.cell, x, before, weights).items():
                found[f"{name}/{gate}"] = values[valid]
        x = torch.cat(outputs, dim=-1)
    return found


def saturation(activations: dict[str, Tensor]) -> dict[str, float]:
    """Share of gate values at either end, 0..1: "layer_0/forget_right" and so on; sigmoid gates only."""
    shares = {}
    for name, values in activations.items():
        if name.rpartition("/")[2] in _SIGMOID:
            shares[f"{name}_left"] = float((values < LEFT).float().mean())
            shares[f"{name}_right"] = float((values > RIGHT).float().mean())
    return shares


def _gates(cell: str, x: Tensor, h: Tensor, weights: Weights) -> dict[str, Tensor]:
    """Gates of a layer at all steps, from its inputs and the states each step started from; see cells.reference."""
    from_input = linear(x, weights.weight_ih, weights.bias_ih).chunk(len(GATES[cell]), dim=-1)
    from_state = linear(h, weights.weight_hh, weights.bias_hh).chunk(len(GATES[cell]), dim=-1)
    values: dict[str, Tensor] = {}
    for gate, a, b in zip(GATES[cell], from_input, from_state, strict=True):
        if gate in _SIGMOID:
            values[gate] = torch.sigmoid(a + b)
        else:
            # The GRU's reset gate acts on what comes from the state.
            values[gate] = torch.tanh(a + (values["reset"] * b if cell == "gru" else b))
    return values
