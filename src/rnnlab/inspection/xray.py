"""Everything that `rnnlab xray` measures, as one JSON-able report, and the sentences that it comes to.

Shapes: T steps, B rows.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rnnlab.inspection.chains import Chain, State, unroll
from rnnlab.inspection.gradients import gradient_by_lag, steps_that_hold
from rnnlab.inspection.jacobians import carry_curve, decay, extremes, lag_curve, lyapunov_exponents
from rnnlab.inspection.memory import Memory
from rnnlab.inspection.truncation import Agreement, shortest_that_passes, truncation_meter
from rnnlab.inspection.units import spectral_radii, unit_facts

PART = 0.9  # of the gradient, in the sentence on where it comes from
PROBES = 16
ITERATIONS = 24
EXPONENTS = 4
ENDS = 3

# Runs a model over the window that is looked at and gives its mean loss; what a task knows and this module does not.
ModelLoss = Callable[[nn.Module], Tensor]


def exact_copy(model: nn.Module) -> nn.Module:
    """Return a model in float64 and eval mode whose recurrence runs by the equations: every derivative is exact."""
    double = copy.deepcopy(model).double().cpu().eval()
    recurrent: Any = double.recurrent
    recurrent.backend, recurrent.clip_state_grad, recurrent.recompute = "reference", None, False
    return double


def look(
    model: nn.Module,
    inputs: Tensor,
    loss: ModelLoss,
    generator: torch.Generator,
    *,
    state: State = None,
    lengths: Tensor | None = None,
) -> dict[str, Any]:
    """Measure states and gradients of a model on a window.

    Args:
        model: from `exact_copy`: with `embedding` and `recurrent`.
        inputs: (T, B, ...).
        loss: of that window.
        generator: of random directions.
        state: before the window.
        lengths: valid steps of each row.

    Returns:
        `layers`, and `truncation` unless the model reads in both directions.
    """
    recurrent: Any = model.recurrent
    embedding: Any = model.embedding
    chains = unroll(recurrent, embedding(inputs), state, lengths)
    gradients = gradient_by_lag(model, chains, lambda: loss(model))
    layers = {}
    for chain in chains:
        by_lag = gradients[chain.name]
        layers[chain.name] = {
            **_jacobian_facts(chain, generator),
            "gradient_share": [_finite(share) for share in by_lag.shares.tolist()],
            "gradient_norm_by_distance": by_lag.norms.tolist(),
            "gradient_norm": by_lag.total,
            "steps_with_90_percent_of_gradient": steps_that_hold(by_lag.shares, PART),
            "gradient_decay": math.exp(decay(by_lag.norms)) if len(by_lag.norms) > 3 else None,
            "spectral_radius": spectral_radii(chain),
            "units": unit_facts(chain),
        }
    report: dict[str, Any] = {"steps": inputs.shape[0], "rows": inputs.shape[1], "layers": layers}
    if not recurrent.bidirectional:
        met = truncation_meter(model, lambda: loss(model), inputs.shape[0])
        report["truncation"] = truncation_facts(met, inputs.shape[0])
    return report


def _jacobian_facts(chain: Chain, generator: torch.Generator) -> dict[str, Any]:
    """Measure singular values by lag, their decay, and Lyapunov exponents."""
    longest = int(chain.lengths.max())
    max_lag = max(1, longest * 2 // 3)
    ends = sorted({longest - (longest - max_lag) * part // max(1, ENDS - 1) for part in range(ENDS)})
    curve = lag_curve(chain, ends, max_lag, generator, num_probes=PROBES)
    lags = [2**power for power in range(max_lag.bit_length()) if 2**power <= max_lag]
    rows = chain.lengths >= longest
    found = [extremes(chain, longest, lag, generator, iterations=ITERATIONS) for lag in lags]
    facts: dict[str, Any] = {
        "rms_singular_value": curve.tolist(),
        "lag_slope": _finite(slope := decay(curve)),
        "decay": math.exp(slope),
        "extremes": {
            "lags": lags,
            "largest": [float(largest[rows].mean()) for largest, _ in found],
            "smallest": [float(smallest[rows].mean()) for _, smallest in found],
            "smallest_is_exact": chain.hidden_size <= ITERATIONS,
        },
        "lyapunov_exponents": lyapunov_exponents(chain, EXPONENTS, generator).tolist(),
    }
    carried = carry_curve(chain, ends, max_lag)
    if carried is not None:
        facts["carried"] = carried.tolist()
    if chain.cell == "lstm":
        hidden = lag_curve(chain, ends, max_lag, generator, num_probes=PROBES, path="hidden")
        facts["through_hidden"] = hidden.tolist()
    return facts


def truncation_facts(met: dict[int, dict[str, Agreement]], num_steps: int) -> dict[str, Any]:
    """Return a truncation meter's findings as JSON-able data."""
    lengths = list(met)
    names = list(next(iter(met.values()))) if met else []
    return {
        "full_steps": num_steps,
        "lengths": lengths,
        "cosine": {name: [_finite(met[k][name].cosine) for k in lengths] for name in names},
        "norm_ratio": {name: [_finite(met[k][name].norm_ratio) for k in lengths] for name in names},
        "shortest_that_passes": shortest_that_passes(met, num_steps),
    }


def memory_facts(memory: Memory, unit: str) -> dict[str, Any]:
    """Return an effective memory as JSON-able data."""
    return {
        "lengths": memory.lengths,
        "loss": memory.truncated,
        "loss_far_shuffled": memory.shuffled,
        "loss_far_thinned": memory.thinned,
        "unit": unit,
        "effective": memory.effective,
    }


def sentences(report: dict[str, Any]) -> list[str]:
    """Say in words what was measured."""
    told = []
    for name, layer in report["layers"].items():
        told += _layer_sentences(name.replace("_", " "), layer)
    if (met := report.get("truncation")) is not None:
        shortest, full = met["shortest_that_passes"], met["full_steps"]
        if shortest < full:
            steps = f"{shortest} step{'s' * (shortest != 1)}"
            told.append(
                f"truncated after {steps}, the gradient of every layer still points where that of all {full} does "
                f"(cosine 0.95, length within a tenth): trainer.bptt_len={shortest} would do"
            )
        else:
            told.append(f"no truncation below {full} steps leaves the gradient as it is (cosine 0.95, length a tenth)")
    if (memory := report.get("memory")) is not None:
        told.append(_memory_sentence(memory))
    return told


def _memory_sentence(memory: dict[str, Any]) -> str:
    longest, losses, unit = memory["lengths"][-1], memory["loss"], memory["unit"]
    if not losses[-1] < losses[0]:
        return (
            f"more history brings nothing: the loss is {losses[0]:.4g} with one step of it and {losses[-1]:.4g} {unit} "
            f"with {longest}"
        )
    held = memory["effective"]
    brings = f"last {held} steps bring" if held != 1 else "last step brings"
    return (
        f"the loss falls from {losses[0]:.4g} with one step of history to {losses[-1]:.4g} {unit} with {longest}; the "
        f"{brings} 95 % of that"
    )


def _layer_sentences(name: str, layer: dict[str, Any]) -> list[str]:
    told = []
    held = layer["steps_with_90_percent_of_gradient"]
    if held is None:
        told.append(f"{name}: no gradient reaches its recurrent weights")
    else:
        told.append(
            f"{name}: 90 % of the gradient of its recurrent weights comes from the last {held} step{'s' * (held != 1)}"
            + _decay_clause(layer["gradient_decay"])
        )
    exponent = layer["lyapunov_exponents"][0]
    fate = "is forgotten" if exponent < -0.02 else "grows" if exponent > 0.02 else "neither grows nor is forgotten"
    told.append(
        f"{name}: a small change of its state is multiplied by {layer['decay']:.3g} a step in the long run and {fate} "
        f"(Lyapunov exponent {exponent:.3g})"
    )
    units = layer["units"]
    if "dead" in units:
        dead, zero = 100 * units["dead"], 100 * units["zero"]
        told.append(f"{name}: {dead:.0f} % of its units are dead, {zero:.0f} % of all values are 0")
    else:
        told.append(f"{name}: {100 * units['saturated']:.0f} % of its tanh units are saturated")
    if "memory_steps" in units:
        told.append(
            f"{name}: half of its units keep what they carry for more than {units['memory_steps']:.3g} steps, a tenth "
            f"for more than {units['longest_memory_steps']:.3g}"
        )
    return told


def _decay_clause(rate: float | None) -> str:
    if rate is None:
        return ""
    if rate == 0:
        return "; further back there is none"
    return f"; it {'decays' if rate < 1 else 'grows'} by a factor of {rate:.3g} a step"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
