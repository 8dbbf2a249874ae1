"""Held-out sequences to look at: some rows side by side, with the state they start from, whatever the task."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from rnnlab.data.windows import Window, WindowSource
from rnnlab.models import State
from rnnlab.tasks import Task

MEMORY_ROWS = 64  # sequences with one target each that effective memory is measured on


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What to look at.

    Attributes:
        window: a few rows of at most the steps asked for.
        state: before it; None is all zero.
        sequences: more rows, or longer ones, from an all-zero state.
        per_step: whether every step has a target.
    """

    window: Window
    state: State
    sequences: Window
    per_step: bool


def held_out(task: Task, model: nn.Module, split: str, *, rows: int, steps: int) -> HeldOut:
    """Choose rows from the middle of a split.

    Of a text that never ends, rows are stretches spread over it, each with a stretch before it that the state is read
    from. Of sequences, those of middle length, from an all-zero state: their first steps; or whole where the only
    target comes at the end.

    Args:
        task: with its corpus read.
        model: what the state is read with.
        split: train, valid or test.
        rows: of `window`.
        steps: of `window`, at most.
    """
    source = task.score_windows(split, max(rows, MEMORY_ROWS))
    last = source[len(source) - 1]
    if len(source) > 1 and not bool(last.starts.any()) and last.inputs.shape[1] == 1:
        return _of_a_stream(task, model, source, rows, steps)
    index = len(source) // 2
    while not bool(source[index].starts.all()):
        index -= 1
    sequences = source[index]
    per_step = sequences.targets.shape[:2] == sequences.inputs.shape[:2]
    window = _part(sequences, steps if per_step else sequences.inputs.shape[0], rows, per_step=per_step)
    return HeldOut(window, None, sequences, per_step)


def _of_a_stream(task: Task, model: nn.Module, source: WindowSource, rows: int, steps: int) -> HeldOut:
    """Put stretches of one text side by side."""
    whole = source[0].inputs.shape[0]
    full = [index for index in range(1, len(source)) if source[index].inputs.shape[0] == whole] or [1]
    chosen = [full[(2 * row + 1) * len(full) // (2 * rows)] for row in range(min(rows, len(full)))]
    pairs = [(source[index - 1], source[index]) for index in chosen]
    inputs = torch.cat([torch.cat([one.inputs, other.inputs]) for one, other in pairs], dim=1)
    targets = torch.cat([torch.cat([one.targets, other.targets]) for one, other in pairs], dim=1)
    starts = torch.ones(inputs.shape[1], dtype=torch.bool)
    sequences = Window(inputs, targets, None, starts)
    steps = min(steps, len(inputs) - 1)
    with torch.no_grad():
        before = Window(inputs[:-steps], targets[:-steps], None, starts).to(next(model.parameters()).device)
        _, state = task.forward(model, before, None)
    return HeldOut(Window(inputs[-steps:], targets[-steps:], None, ~starts), state, sequences, per_step=True)


def _part(window: Window, steps: int, rows: int, *, per_step: bool) -> Window:
    """Cut a window to its first steps and to rows spread over it."""
    count = window.inputs.shape[1]
    chosen = torch.arange(0, count, max(1, count // rows))[:rows]
    inputs = window.inputs[:steps, chosen]
    lengths = None if window.lengths is None else window.lengths[chosen].clamp(max=len(inputs))
    if lengths is not None and int(lengths.max()) < len(inputs):
        inputs = inputs[: int(lengths.max())]
    targets = window.targets[: len(inputs), chosen] if per_step else window.targets[chosen]
    return Window(inputs, targets, lengths, window.starts[chosen])
