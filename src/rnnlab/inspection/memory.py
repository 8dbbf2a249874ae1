"""Effective memory: how far back what a model has read still lowers its loss.

The same held-out targets are scored again and again, each time with less of the history before them: only the last n
steps, read from an all-zero state; or all of it, with the steps further back than n in another order, or every other
one of them left out.

Shapes: T steps, B rows, R places that are scored, n steps of history.

Source: for word models Khandelwal et al. 2018 (sharp nearby, fuzzy far away).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnlab.data.windows import Window

LONGEST = 256  # steps of history, where every step has a target
NEAR = 0.05  # of what history brings may be missing


@dataclass(frozen=True, slots=True)
class Memory:
    """Losses of the same targets with less and less history.

    Attributes:
        lengths: n, rising; the last one is all the history there is.
        truncated: loss with the last n steps alone.
        shuffled: loss with the steps further back than n in random order.
        thinned: loss with half of the steps further back than n left out.
        effective: smallest n whose loss, and that of every longer history, has at least 95 % of what the whole history
            brings over the shortest; 1 where it brings nothing.
    """

    lengths: list[int]
    truncated: list[float]
    shuffled: list[float]
    thinned: list[float]
    effective: int


def effective_memory(
    judge: Callable[[Window], float], window: Window, generator: torch.Generator, *, num_places: int
) -> Memory:
    """Score targets with less and less history.

    Args:
        judge: mean loss of a window whose rows each have one target, that of their last valid step.
        window: sequences (T, B); their targets by step or by row.
        generator: of the places and the orders; on the CPU.
        num_places: R, at most; of targets by row there is one a row.
    """
    rows, ends, reach = _places(window, generator, num_places)
    longest = int(reach.max())
    lengths = [*(2**power for power in range(longest.bit_length()) if 2**power < longest), longest]
    per_step = window.targets.shape[:2] == window.inputs.shape[:2]
    targets = window.targets[ends, rows][None] if per_step else window.targets[rows]

    def loss(steps: list[Tensor]) -> float:
        """Score places whose histories are these steps."""
        sizes = torch.tensor([len(some) for some in steps])
        padded = torch.nn.utils.rnn.pad_sequence(steps)
        inputs = window.inputs[padded, rows]
        ragged = None if bool((sizes == sizes[0]).all()) else sizes
        return judge(Window(inputs, targets, ragged, torch.ones(len(rows), dtype=torch.bool)))

    whole = [torch.arange(int(end) - int(steps) + 1, int(end) + 1) for end, steps in zip(ends, reach, strict=True)]
    truncated = [loss([steps[-n:] for steps in whole]) for n in lengths]
    shuffled = [loss([_far(steps, n, generator, keep=1.0) for steps in whole]) for n in lengths]
    thinned = [loss([_far(steps, n, generator, keep=0.5) for steps in whole]) for n in lengths]
    return Memory(lengths, truncated, shuffled, thinned, _effective(lengths, truncated))


def _places(window: Window, generator: torch.Generator, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return row and last step of each place, and how many steps of history are read there; each (R,)."""
    num_steps, num_rows = window.inputs.shape[:2]
    lengths = torch.full((num_rows,), num_steps) if window.lengths is None else window.lengths
    if window.targets.shape[:2] != window.inputs.shape[:2]:
        rows = torch.arange(num_rows)[:count]
        return rows, lengths[rows] - 1, lengths[rows]
    # The last quarter, so that every place has the same three quarters before it.
    longest = int(lengths.max())
    history = min(LONGEST, max(1, longest - longest // 4))
    candidates = [(row, end) for row in range(num_rows) for end in range(longest - longest // 4 - 1, int(lengths[row]))]
    chosen = torch.randperm(len(candidates), generator=generator)[:count].sort().values.tolist()
    rows, ends = torch.tensor([candidates[index] for index in chosen]).T
    return rows, ends, torch.full((len(chosen),), history)


def _far(steps: Tensor, near: int, generator: torch.Generator, *, keep: float) -> Tensor:
    """Return steps whose part before the last `near` is shuffled, or thinned out to a share in its order."""
    far, rest = steps[:-near], steps[-near:]
    order = torch.randperm(len(far), generator=generator)
    if keep < 1:
        order = order[: int(keep * len(far))].sort().values
    return torch.cat([far[order], rest])


def _effective(lengths: list[int], losses: list[float]) -> int:
    gain = losses[0] - losses[-1]
    if gain <= 0:
        return 1
    effective = lengths[-1]
    for length, loss in zip(reversed(lengths), reversed(losses), strict=True):
        if loss - losses[-1] > NEAR * gain:
            break
        effective = length
    return effective
