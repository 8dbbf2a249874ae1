"""Names for the parts of a training step, for whoever wants to know where its time goes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

Part = Callable[[str], AbstractContextManager[Any]]
"""Gives the context in which the named part of a step runs, as `torch.profiler.record_function` does."""

_NOBODY = nullcontext()


def nobody_asks(name: str) -> AbstractContextManager[Any]:
    """Return a context that does nothing: what a step's parts run in unless someone measures them."""
    return _NOBODY
