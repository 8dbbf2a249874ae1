"""The width of the matrix products: of training, of scoring, and of what uses a finished run."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from rnnlab.config import Precision


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which a model runs in this precision; the weights stay float32."""
    if precision is Precision.bf16:
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
