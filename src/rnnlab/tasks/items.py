"""Scores item by item: each text, each tune, each stretch of a long text. What `rnnlab compare` resamples."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnlab.data import SequenceBatches
from rnnlab.data.windows import Window
from rnnlab.tasks.base import Task, visit_windows

MIN_STRETCH, MAX_STRETCH = 16, 256


@dataclass(frozen=True, slots=True)
class ItemScores:
    """What a model made of each item of a split, in an order that no batch size changes. N items.

    Attributes:
        unit: what an item is, in the plural: texts, tunes, stretches of 256 tokens.
        nats: summed cross-entropy of each item's targets, (N,).
        counts: targets of each item, <int64>(N,).
        right: for tasks whose targets are classes, whether the class was found, <bool>(N,); else None.
        targets: of classes, the true ones, <int64>(N,); else None.
        steps: tokens read of each item, <int64>(N,).
    """

    unit: str
    nats: np.ndarray
    counts: np.ndarray
    steps: np.ndarray
    right: np.ndarray | None
    targets: np.ndarray | None

    def only(self, chosen: np.ndarray) -> ItemScores:
        """Return some of the items, those where `chosen`, <bool>(N,), is true."""
        return ItemScores(
            unit=self.unit,
            nats=self.nats[chosen],
            counts=self.counts[chosen],
            steps=self.steps[chosen],
            right=None if self.right is None else self.right[chosen],
            targets=None if self.targets is None else self.targets[chosen],
        )


def score_items(
    task: Task,
    model: nn.Module,
    split: str,
    *,
    batch_size: int,
    device: torch.device,
    autocast: AbstractContextManager[Any] | None = None,
    what: str = "scoring",
) -> ItemScores:
    """Score a model on each item of a split; added up, the items give what `score` gives for the whole.

    An item is a sequence where the split consists of sequences. Of one long text it is a stretch of 256 tokens, of a
    short one a hundredth, 16 at least: what is resampled should be long beside the few tokens that hang together.
    """
    windows = task.score_windows(split, batch_size)
    batches = windows if isinstance(windows, SequenceBatches) else None
    stretch = None if batches is not None else min(max(windows.num_targets // 100, MIN_STRETCH), MAX_STRETCH)
    nats: dict[tuple[int, ...], float] = {}
    counts: dict[tuple[int, ...], int] = {}
    read: dict[tuple[int, ...], int] = {}
    right: dict[tuple[int, ...], bool] = {}
    targets: dict[tuple[int, ...], int] = {}

    def visit(index: int, window: Window, outputs: Tensor) -> None:
        is_classes = window.targets.dim() == 1
        rows = range(window.targets.shape[-1])
        steps = window.inputs.shape[0]
        sequences = batches.indices(index).tolist() if batches is not None else [None] * len(rows)
        for row, sequence in zip(rows, sequences, strict=True):
            for begin in range(0, steps, stretch or steps):
                item = (index, row, begin) if sequence is None else (sequence,)
                part = _part(window, row, begin, min(begin + (stretch or steps), steps))
                if part.num_targets == 0:  # a tune that ended in an earlier window of its batch
                    continue
                kept = slice(row, row + 1)
                shown = outputs[kept] if is_classes else outputs[begin : begin + part.inputs.shape[0], kept]
                nats[item] = nats.get(item, 0.0) + float(task.nats(model, shown, part))
                counts[item] = counts.get(item, 0) + part.num_targets
                read[item] = read.get(item, 0) + part.num_tokens
                if is_classes:
                    targets[item] = int(part.targets)
                    right[item] = int(shown.argmax(-1)) == targets[item]

    visit_windows(task, model, windows, visit, device=device, autocast=autocast, what=what)
    order = sorted(nats)
    return ItemScores(
        unit="texts" if right else "tunes" if batches is not None else f"stretches of {stretch} tokens",
        nats=np.array([nats[item] for item in order]),
        counts=np.array([counts[item] for item in order]),
        steps=np.array([read[item] for item in order]),
        right=np.array([right[item] for item in order]) if right else None,
        targets=np.array([targets[item] for item in order]) if targets else None,
    )


def _part(window: Window, row: int, begin: int, end: int) -> Window:
    """Return some steps of one row of a window as a window; all of it where the targets are classes."""
    kept = slice(row, row + 1)
    targets = window.targets[kept] if window.targets.dim() == 1 else window.targets[begin:end, kept]
    lengths = None if window.lengths is None else (window.lengths[kept] - begin).clamp(0, end - begin)
    return replace(
        window, inputs=window.inputs[begin:end, kept], targets=targets, lengths=lengths, starts=window.starts[kept]
    )
