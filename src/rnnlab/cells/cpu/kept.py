"""Packed weights that outlive a call: in generation the same weights meet one token after the other.

Packing costs as much as reading the weights some ten times, and reading them is most of what a token costs.
"""

from __future__ import annotations

import functools
from contextvars import ContextVar
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from rnnlab.cells.cpu.library import PackedWeights, Window


class _Kept(NamedTuple):
    held: list[Tensor | None]  # the weights' memory as it was, so that no other tensor takes their addresses
    versions: tuple[int, ...]  # of the weights, after the number of optimizers' steps
    packed: PackedWeights


class KeptWeights:
    """Calls of the CPU engine inside `with kept:` keep what they pack of a layer's parameters, for later such calls.

    It may be entered as often as wanted. Only calls without gradients on parameters themselves are served: an
    optimizer's step or `load_state_dict` between two calls is noticed, and the weights are packed anew. A write through
    `parameter.data`, which torch does not count, is not: leave such code outside, or make a new object after it.

        kept = KeptWeights()
        for token in tokens:
            with torch.no_grad(), kept:
                y, state = layer(token, state)
    """

    def __init__(self) -> None:
        """Start with nothing kept."""
        self._kept: dict[tuple[object, ...], _Kept] = {}
        self._outer: list[KeptWeights | None] = []

    def __enter__(self) -> Self:
        """Serve the calls of this thread (or task) from here on."""
        _count_optimizer_steps()
        self._outer.append(_active.get())
        _active.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Give the calls back to whatever served them before; what is kept stays."""
        _active.set(self._outer.pop())

    def find(self, window: Window, weights: tuple[Tensor | None, ...]) -> PackedWeights:
        """Return these weights packed for the window's cell, arithmetic and sizes, which hold their addresses."""
        key = (window.cell, window.arithmetic, *(None if w is None else w.data_ptr() for w in weights))
        versions = (_steps, *(0 if w is None else w._version for w in weights))
        found = self._kept.get(key)
        if found is None or found.versions != versions:
            # Detached: `layer.half()` gives a parameter other memory, and would give this one back.
            held = [None if w is None else w.detach() for w in weights]
            found = self._kept[key] = _Kept(held, versions, PackedWeights(window))
        return found.packed


_steps = 0


@functools.cache
def _count_optimizer_steps() -> None:
    """Count the steps of all optimizers from here on: torch's fused ones write weights without a new version."""

    def count(*_: object) -> None:
        global _steps
        _steps += 1

    register_optimizer_step_post_hook(count)


_active: ContextVar[KeptWeights | None] = ContextVar("kept_weights", default=None)


def is_keeping() -> bool:
    """Return whether a `KeptWeights` serves the calls made here; torch.compile, which cannot look, is told no."""
    return not torch.compiler.is_compiling() and _active.get() is not None


def kept_weights(*weights: Tensor | None) -> KeptWeights | None:
    """Return what serves a call on these weights; None if nothing does, or they are not parameters as they stand."""
    kept = _active.get()
    if kept is None or not all(w is None or (isinstance(w, nn.Parameter) and w.is_contiguous()) for w in weights):
        return None
    return kept
