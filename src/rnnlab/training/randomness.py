"""The generators that training draws from: where they stand, and setting them there again."""

from __future__ import annotations

from typing import Any

import torch

from rnnlab.errors import CheckpointError

Random = dict[str, Any]
"""`cpu`: a tensor of bytes; `cuda`: a list of one such, or of none."""


def random_state(device: torch.device) -> Random:
    """Where torch's global generators stand: the CPU's, and that of a GPU in use."""
    # Of the device in use alone: asking for all would start every other GPU too.
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_random_state(random: Random, device: torch.device) -> None:
    """Set the generators back.

    Raises:
        CheckpointError: this is no state of a generator of torch.
    """
    try:
        torch.set_rng_state(random["cpu"])
        if device.type == "cuda":
            for state in random["cuda"][:1]:
                torch.cuda.set_rng_state(state, device)
    except (RuntimeError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"the random numbers of the checkpoint cannot go on: {error}") from error
