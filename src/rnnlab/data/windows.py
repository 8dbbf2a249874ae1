"""What a model is fed: one window of B rows side by side over T time steps.

A *source* of windows is a sequence (`len(source)`, `source[i]`) whose windows are a pure function of (seed, epoch, i):
resuming jumps to window i, and nothing draws from a global random number generator.

Shapes: T steps, B rows, F features. Time first, everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Window:
    """T steps of B rows, and what is to be predicted from them.

    A source may hand out views of its own storage: read a window, do not write into it.

    Attributes:
        inputs: token ids, <int64>(T, B); positions past a row's length hold a valid id that means nothing. Or features,
            (T, B, F).
        targets: the next token ids, <int64>(T, B), 0 past a row's length; or one class a row, <int64>(B,). Or real
            numbers: one a row, (B,), or some at every step, (T, B, F).
        lengths: valid steps of each row inside this window, <int64>(B,), 0..T; None: every row has T.
        starts: rows that begin a new sequence here, <bool>(B,): their carried state is zeroed first.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None
    starts: Tensor

    def to(self, device: torch.device | str) -> Window:
        """Copy to a device; tensors that are there already are shared, not copied.

        Copies to a GPU go through pinned memory and are not waited for.
        """
        device = torch.device(device)
        return Window(
            inputs=_copy(self.inputs, device),
            targets=_copy(self.targets, device),
            lengths=None if self.lengths is None else _copy(self.lengths, device),
            starts=_copy(self.starts, device),
        )

    def fill(self, other: Window) -> None:
        """Copy another window of the same shapes over this one, which must own its tensors; else as `to`."""
        for mine, theirs in ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self)):
            if mine is not None:
                mine.copy_(_within_reach(theirs, mine.device), non_blocking=True)

    @property
    def num_tokens(self) -> int:
        """Valid input steps of all rows; the cost of reading it is that of `num_targets`."""
        return self.inputs.shape[0] * self.inputs.shape[1] if self.lengths is None else int(self.lengths.sum())

    @property
    def num_targets(self) -> int:
        """Predictions that count: one a row for classes and sums, else one for each valid step.

        Reading it from a window on an accelerator waits for the device when there are `lengths`.
        """
        if self.targets.dim() == 1:
            return self.targets.numel()
        return self.num_tokens


def _copy(tensor: Tensor, device: torch.device) -> Tensor:
    return _within_reach(tensor, device).to(device, non_blocking=True)


def _within_reach(tensor: Tensor, device: torch.device) -> Tensor:
    # From ordinary memory the driver copies twice, and the host waits for the first. torch keeps pinned blocks for
    # later, and none is reused before its copy is done.
    return tensor.pin_memory() if device.type == "cuda" and tensor.device.type == "cpu" else tensor


class WindowSource(Protocol):
    """A sequence of windows: all that a trainer knows of its data."""

    def __len__(self) -> int:
        """Windows in one epoch."""
        ...

    def __getitem__(self, index: int) -> Window:
        """Window `index` of this epoch, 0 <= index < len(self)."""
        ...

    @property
    def num_targets(self) -> int:
        """Targets of all windows of one epoch."""
        ...

    def at_epoch(self, epoch: int) -> WindowSource:
        """The same data in the order of another epoch; shares the storage."""
        ...
