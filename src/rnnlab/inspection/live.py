"""A small look inside while a model trains: how fast states forget, how many units are stuck.

Cheap enough to be taken now and then: a few rows, a few steps, and for each layer one backward pass from each of two
random directions. No weight, gradient, state or generator of the training is touched.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from rnnlab.inspection.chains import unroll
from rnnlab.inspection.jacobians import decay, lag_curve
from rnnlab.inspection.units import spectral_radii, unit_facts

ROWS, STEPS, PROBES = 4, 32, 2


@torch.no_grad()
def live_signals(
    model: nn.Module, inputs: Tensor, lengths: Tensor | None, step: int, *, rows: int = ROWS
) -> dict[str, float]:
    """Measure the first rows and steps of a window from an all-zero state.

    Args:
        model: with `embedding` and `recurrent`; its mode does not matter.
        inputs: (T, B, ...), on the model's device.
        lengths: <int64>(B,) or None.
        step: seeds the directions.
        rows: so many at most.

    Returns:
        "layer_0/lag_slope" (change of the logarithm of a change's size per step; below 0 it is forgotten) and
        "layer_0/saturated" and so on, by layer; nothing that is not finite, as of weights that are not.
    """
    recurrent: Any = model.recurrent
    embedding: Any = model.embedding
    inputs = inputs[:STEPS, :rows]
    if lengths is not None:
        lengths = lengths[:rows].to(inputs.device).clamp(max=len(inputs))
    generator = torch.Generator().manual_seed(step)
    found: dict[str, float] = {}
    for chain in unroll(recurrent, embedding(inputs), None, lengths):
        longest = int(chain.lengths.max())
        values = unit_facts(chain)
        if chain.cell.startswith("rnn"):
            values["spectral_radius"] = spectral_radii(chain)["hidden"]
        if longest > 1:
            values["lag_slope"] = decay(lag_curve(chain, [longest], longest - 1, generator, num_probes=PROBES))
        found |= {f"{chain.name}/{name}": value for name, value in values.items() if math.isfinite(value)}
    return found
