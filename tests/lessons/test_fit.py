"""The loop behind the lessons: it learns, keeps to its limit, and stops before nan reaches a weight."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from rnnlab.lessons.fit import fit, smoothed


def test_it_learns_a_line():
    torch.manual_seed(0)
    model = nn.Linear(1, 1)
    x = torch.linspace(-1, 1, 32)[:, None]
    losses = fit(model, lambda step: (model(x) - 2 * x - 1).square().mean(), steps=300, lr=0.05)
    assert len(losses) == 300
    assert losses[-1] < 1e-3 < losses[0]
    assert not model.training


def test_nan_stops_it_before_a_weight_changes():
    model = nn.Linear(1, 1)
    before = model.weight.detach().clone()
    with pytest.raises(FloatingPointError, match="gradient norm is nan at step 0"):
        fit(model, lambda step: model(torch.full((1, 1), math.nan)).sum(), steps=3, lr=0.1)
    assert torch.equal(model.weight, before)


def test_smoothed_losses_are_means_of_what_came_since():
    xs, means = smoothed([1.0, 3.0, 5.0, 7.0], points=2)
    assert xs == [2, 4]
    assert means == [2.0, 6.0]
