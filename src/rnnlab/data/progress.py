"""A bar for what takes a while: reading and encoding a corpus, scoring a split."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

_DELAY_SECONDS = 1.0  # what is done by then needs no bar


def bar(items: Iterable[Item], what: str, unit: str) -> Iterable[Item]:
    """Go through items; on a terminal, with a bar that shows rate and estimate and goes away at the end.

    Args:
        items: With a length, or without an estimate.
        what: What is done, in a few words.
        unit: What an item is.
    """
    return tqdm(
        items,
        desc=what,
        unit=f" {unit}",
        leave=False,
        dynamic_ncols=True,
        delay=_DELAY_SECONDS,
        disable=None,  # off where stderr is not a terminal
        file=sys.stderr,
    )
