"""The explorer's page: one HTML file that holds its data, its style and its script, and asks for nothing else.

Values are kept as one byte each, in base64: what a colour can show.

Legend: N tokens shown, H hidden_size.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rnnlab.inspection.states import Quantity

TEMPLATE = Path(__file__).with_name("explore.html")
_PLACE = "/*DATA*/null"
_LEVELS = 255


@dataclass(frozen=True, slots=True)
class TokenValues:
    """A number for each token that is of no single unit.

    Attributes:
        name: in the page's address.
        label: what the page calls it, with the unit.
        high: value of the strongest colour, 0 being none; None: the largest that is not rare.
        values: (N,), at least 0.
    """

    name: str
    label: str
    high: float | None
    values: Tensor


def page(facts: dict[str, Any]) -> str:
    """Return the page with its data in it.

    Args:
        facts: JSON-able; what explore.html reads.
    """
    # ASCII alone, and no "<": a token may be "</script>" or "<!--".
    data = json.dumps(facts, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    before, after = TEMPLATE.read_text(encoding="utf-8").split(_PLACE)
    return before + data + after


def packed_units(quantity: Quantity, values: Tensor) -> dict[str, Any]:
    """Pack a quantity's values (N, H): unit after unit, each on its own scale unless it is a gate's 0 to 1."""
    lowest, highest = values.amin(0), values.amax(0)
    if quantity.is_state or bool((lowest < 0).any()):
        high = torch.maximum(-lowest, highest)
        low = torch.where(lowest < 0, -high, 0.0)
    else:
        high, low = torch.ones_like(highest), torch.zeros_like(lowest)
    high = torch.where(high > 0, high, 1.0)  # a unit that is always 0
    return {
        "layer": quantity.layer,
        "name": quantity.name,
        "low": _rounded(low),
        "high": _rounded(high),
        "data": _packed((values - low) / (high - low)).decode(),
    }


def packed_values(one: TokenValues, shown: slice) -> dict[str, Any]:
    """Pack the numbers of the tokens shown."""
    values = one.values[shown]
    high = one.high if one.high is not None else max(1e-6, float(values.double().quantile(0.99)))
    return {"name": one.name, "label": one.label, "high": high, "data": _packed(values[:, None] / high).decode()}


def packed_flags(flags: Tensor) -> str:
    """Pack <bool>(N,), a byte each."""
    return base64.b64encode(flags.to(torch.uint8).numpy().tobytes()).decode()


def _packed(shares: Tensor) -> bytes:
    """Turn (N, H) in 0..1 into bytes, unit after unit, in base64."""
    levels = (shares.clamp(0, 1) * _LEVELS).round().to(torch.uint8)
    return base64.b64encode(levels.T.contiguous().numpy().tobytes())


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.4g}") for value in values.tolist()]
