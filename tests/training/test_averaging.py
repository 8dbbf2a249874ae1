"""Averages of the weights equal torch's own, whose count stands on the device."""

from __future__ import annotations

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rnnlab.config import Averaging, TrainerConfig
from rnnlab.training.averaging import build_average

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", [Averaging.ema, Averaging.mean])
def test_an_average_is_torchs_to_the_last_bit(kind):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.BatchNorm1d(5))
    averaged = build_average(model, TrainerConfig(averaging=kind, averaging_decay=0.7), CPU)
    assert averaged is not None
    wanted = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.7) if kind is Averaging.ema else None)
    for _ in range(7):
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.add_(torch.randn(tensor.shape).to(tensor.dtype))
        averaged.update_parameters(model)
        wanted.update_parameters(model)
        for name, tensor in wanted.state_dict().items():
            assert torch.equal(averaged.state_dict()[name], tensor), name


def test_without_averaging_there_is_none():
    assert build_average(torch.nn.Linear(2, 2), TrainerConfig(), CPU) is None
