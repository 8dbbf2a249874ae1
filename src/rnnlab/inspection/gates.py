"""What the gates of a trained model do: how far they are open, and how many are stuck at one end.

Shapes: T steps, B rows, H hidden_size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnlab.cells import GRU, LSTM, RNN

# Karpathy, Johnson & Li 2015, section 4.3: a gate below 0.1 is left-saturated, above 0.9 right-saturated.
LEFT, RIGHT = 0.1, 0.9

_SIGMOID = {"input", "forget", "output", "reset", "update"}


@torch.no_grad()
def gate_activations(model: nn.Module, inputs: Tensor, lengths: Tensor | None = None) -> dict[str, Tensor]:
    """Read the gates of every layer at every valid step, from an all-zero state and without dropout.

    Args:
        model: one that `can_unroll` allows.
        inputs: <int64>(T, B) token ids, or features (T, B, F).
        lengths: <int64>(B,) valid steps of each row; None is T for all.

    Returns:
        "layer_0/forget" and so on to the values at valid steps, (number of them, H), by the names of the layer's own
        `gates`. Sigmoid gates lie in 0..1, cell, new and hidden in -1..1 (or above 0, for ReLU).
    """
    stack = model.recurrent
    assert isinstance(stack, RNN | LSTM | GRU)
    assert callable(model.embedding)
    num_steps, num_rows = inputs.shape[:2]
    if lengths is None:
        lengths = torch.full((num_rows,), num_steps, device=inputs.device)
    valid = torch.arange(num_steps, device=inputs.device)[:, None] < lengths
    found = stack.gates(model.embedding(inputs), None, lengths)
    return {f"{layer}/{gate}": values[valid] for layer, gates in found.items() for gate, values in gates.items()}


def saturation(activations: dict[str, Tensor]) -> dict[str, float]:
    """Share of gate values at either end, 0..1: "layer_0/forget_right" and so on; sigmoid gates only."""
    shares = {}
    for name, values in activations.items():
        if name.rpartition("/")[2] in _SIGMOID:
            shares[f"{name}_left"] = float((values < LEFT).float().mean())
            shares[f"{name}_right"] = float((values > RIGHT).float().mean())
    return shares
