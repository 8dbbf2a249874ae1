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


@dataclass(frozen=True, slots=True)
class ItemScores:
    """What a model made of each item of a split, in an order that no batch size changes. N items.

    Attributes:
        unit: what an item is, in the plural: texts, tunes, stretches of 256 tokens.
        nats: summed cross-entropy of each item's targets, (N,).
        counts: targets of each item, <int64>(N,).
        right: for tasks whose targets are classes, whether the class was found, <bool>(N,); else None.
        targets: of classes, the true ones, <int64>(N,); else None.
    """

    unit: str
    nats: np.ndarray
    counts: np.ndarray
    right: np.ndarray | None
    targets: np.ndarray | None


def score_items(
    task: Task,
    model: nn.Module,
    split: str,
    *,
    batch_size: int,
    device: torch.device,
    autocast: AbstractContextManager[Any] | None = None,
) -> ItemScores:
    """Score a model on each item of a split; added up, the items give what `score` gives for the whole.

    An item is a sequence where the split consists of sequences; of one long text it is a window.
    """
    windows = task.score_windows(split, batch_size)
    is_batched = isinstance(windows, SequenceBatches)
    nats: dict[int, float] = {}
    counts: dict[int, int] = {}
    right: dict[int, bool] = {}
    targets: dict[int, int] = {}
    longest = 0

    def visit(index: int, window: Window, outputs: Tensor) -> None:
        nonlocal longest
        rows = window.targets.shape[-1]
        longest = max(longest, window.inputs.shape[0])
        items = windows.indices(index).tolist() if is_batched else [index] * rows
        if window.targets.dim() == 1:
            found = (outputs.argmax(-1) == window.targets).tolist()
            right.update(zip(items, found, strict=True))
            targets.update(zip(items, window.targets.tolist(), strict=True))
        for row, item in enumerate(items):
            one = _row(window, row)
            if one.num_targets == 0:  # a tune that ended in an earlier window of its batch
                continue
            part = outputs[row : row + 1] if window.targets.dim() == 1 else outputs[:, row : row + 1]
            nats[item] = nats.get(item, 0.0) + float(task.nats(model, part, one))
            counts[item] = counts.get(item, 0) + one.num_targets

    visit_windows(task, model, windows, visit, device=device, autocast=autocast, what=f"scoring {split}")
    order = sorted(nats)
    return ItemScores(
        unit="texts" if right else "tunes" if is_batched else f"stretches of {longest} tokens",
        nats=np.array([nats[item] for item in order]),
        counts=np.array([counts[item] for item in order]),
        right=np.array([right[item] for item in order]) if right else None,
        targets=np.array([targets[item] for item in order]) if targets else None,
    )


def _row(window: Window, row: int) -> Window:
    """Return one row of a window as a window."""
    kept = slice(row, row + 1)
    return replace(
        window,
        inputs=window.inputs[:, kept],
        targets=window.targets[..., kept],
        lengths=None if window.lengths is None else window.lengths[kept],
        starts=window.starts[kept],
    )
