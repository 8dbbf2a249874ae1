"""Which of the processes of a run this one is, as torchrun or rnnlab has put it into the environment. No torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rnnlab.errors import ConfigError

STORE = "RNNLAB_STORE"
"""Where the ranks that rnnlab started find each other: a folder of theirs."""

_OF_TORCHRUN = "TORCHELASTIC_RUN_ID"
_NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@dataclass(frozen=True, slots=True)
class Place:
    """One of the processes that train one model.

    Attributes:
        rank: which, from 0; the first writes all files.
        size: how many there are.
        local_rank: which of those on this machine.
        local_size: how many there are on this machine.
        store: folder in which they find each other; None: by torchrun's address.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    store: Path | None


def this_place() -> Place | None:
    """Read the environment; None: this process trains alone.

    Raises:
        ConfigError: it is neither torchrun's nor ours.
    """
    store = os.environ.get(STORE)
    if store is None and _OF_TORCHRUN not in os.environ:
        return None
    try:
        rank, size, local_rank, local_size = (int(os.environ[name]) for name in _NUMBERS)
    except (KeyError, ValueError):
        found = " ".join(f"{name}={os.environ.get(name)}" for name in _NUMBERS)
        raise ConfigError(f"this process is one of several, but which is not told: {found}; use torchrun") from None
    return Place(rank, size, local_rank, local_size, None if store is None else Path(store)) if size > 1 else None


def environment(place: Place) -> dict[str, str]:
    """What tells a process its place."""
    numbers = (place.rank, place.size, place.local_rank, place.local_size)
    told = {name: str(number) for name, number in zip(_NUMBERS, numbers, strict=True)}
    return told | ({} if place.store is None else {STORE: str(place.store)})
