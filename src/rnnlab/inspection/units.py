"""What the units of a layer do: how many are stuck, dead, how long they keep, and how large W_hh can make a state.

Shapes: T steps, B rows, H hidden_size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rnnlab.cells.gates import GATES, gate_values
from rnnlab.inspection.chains import Chain
from rnnlab.inspection.gates import saturation

TANH_END = 0.9  # a tanh beyond it passes back less than a fifth of a gradient


def unit_facts(chain: Chain) -> dict[str, float]:
    """Return what the units of a layer do at the valid steps of a window.

    Returns:
        For gates, the share of values at either end: input_left (below 0.1), input_right (above 0.9) and so on. For
        tanh units, `saturated`, the share beyond 0.9. For ReLU units, `zero`, the share of zeros, and `dead`, the share
        of units that are 0 at every step. Of a gated cell, `memory_steps` (median) and `longest_memory_steps` (90th
        percentile) over units: 1 / -mean log f, after which the cell has kept 1/e (f: forget gate, or z of a GRU).
    """
    h_0 = chain.states[0][0]
    y = torch.stack([state[0] for state in chain.states[1:]])
    valid = torch.arange(chain.num_steps, device=y.device)[:, None] < chain.lengths
    found = gate_values(chain.cell, chain.x, h_0, y, chain.weights, None, False, chain.extras)
    gates = {name: values[valid].cpu() for name, values in found.items()}
    facts = saturation(gates)
    shown = gates.get("hidden", gates.get("cell", gates.get("new")))
    assert shown is not None
    if chain.cell == "rnn_relu":
        facts["zero"] = float((shown == 0).float().mean())
        facts["dead"] = float((shown == 0).all(0).float().mean())
    else:
        facts["saturated"] = float((shown.abs() > TANH_END).float().mean())
    kept = gates.get("forget", gates.get("update"))
    if kept is not None:
        steps = 1 / -kept.double().clamp(1e-30, 1 - 1e-12).log().mean(0)
        facts["memory_steps"] = float(steps.median())
        facts["longest_memory_steps"] = float(steps.quantile(0.9))
    return facts


def spectral_radii(chain: Chain) -> dict[str, float]:
    """Return the largest absolute eigenvalue of each gate's block of W_hh, by name; nan where it is not finite."""
    blocks = chain.weights.weight_hh.detach().chunk(len(GATES[chain.cell]))
    return {gate: _radius(block) for gate, block in zip(GATES[chain.cell], blocks, strict=True)}


def _radius(block: Tensor) -> float:
    if not bool(block.isfinite().all()):
        return math.nan
    return float(torch.linalg.eigvals(block.cpu().double()).abs().max())
