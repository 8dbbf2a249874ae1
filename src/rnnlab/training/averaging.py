"""Averages of the weights over the steps, which often score better than the last weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from rnnlab.config import Averaging, TrainerConfig


class Average(AveragedModel):
    """torch's, counting on the CPU: its own update copies the count to the device, or back, and waits for it."""

    def __init__(self, model: nn.Module, device: torch.device, decay: float | None) -> None:
        """Copy a model.

        Args:
            model: whose weights are averaged.
            device: of the copy.
            decay: share of the old average kept each step; None: the mean of all steps.
        """
        super().__init__(model, device)
        self.n_averaged = self.n_averaged.cpu()
        self._decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take the weights in; those of the first call are the average."""
        count = int(self.n_averaged)
        average: list[Tensor] = list(self.module.parameters())
        weights: list[Tensor] = list(model.parameters())
        if count == 0:
            torch._foreach_copy_(average, weights)  # pyright: ignore[reportPrivateImportUsage]
        elif self._decay is not None:
            torch._foreach_lerp_(average, weights, 1 - self._decay)  # pyright: ignore[reportPrivateImportUsage]
        else:
            steps = torch._foreach_sub(weights, average)  # pyright: ignore[reportPrivateImportUsage]
            torch._foreach_div_(steps, count + 1)  # pyright: ignore[reportPrivateImportUsage]
            torch._foreach_add_(average, steps)  # pyright: ignore[reportPrivateImportUsage]
        for ours, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
            ours.copy_(theirs)
        self.n_averaged += 1


def build_average(model: nn.Module, config: TrainerConfig, device: torch.device) -> Average | None:
    """Build the average that the settings ask for, a copy of the model on its device; None: none."""
    match config.averaging:
        case Averaging.none:
            return None
        case Averaging.ema:
            return Average(model, device, config.averaging_decay)
        case Averaging.mean:
            return Average(model, device, None)
