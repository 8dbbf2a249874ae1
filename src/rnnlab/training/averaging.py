"""Averages of the weights over the steps, which often score better than the last weights."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rnnlab.config import Averaging, TrainerConfig


def build_average(model: nn.Module, config: TrainerConfig, device: torch.device) -> AveragedModel | None:
    """Build the average that the settings ask for, a copy of the model on its device; None: none."""
    match config.averaging:
        case Averaging.none:
            return None
        case Averaging.ema:
            averaged = AveragedModel(model, device, multi_avg_fn=get_ema_multi_avg_fn(config.averaging_decay))
        case Averaging.mean:
            averaged = AveragedModel(model, device)
    # It asks at every step whether this is 0: on a GPU it would wait for the answer.
    averaged.n_averaged = averaged.n_averaged.cpu()
    return averaged
