from __future__ import annotations

import torch
from torch import nn

from rnnlab.training.timeline import Timeline


class Slow(nn.Module):
    """Embedding, recurrent and dropout that take 1 s, 10 s and 100 s forward, ten thousand times that backward."""

    def __init__(self, clock):
        super().__init__()
        self.embedding, self.recurrent, self.dropout = (Part(clock, seconds) for seconds in (1, 10, 100))


class Part(nn.Module):
    def __init__(self, clock, seconds):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.clock, self.seconds = clock, seconds

    def forward(self, x):
        return Sleep.apply(x * self.weight, self.clock, self.seconds)


class Sleep(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, clock, seconds):
        ctx.clock, ctx.seconds = clock, seconds
        clock.now += seconds
        return x + 1

    @staticmethod
    def backward(ctx, grad):
        ctx.clock.now += 10_000 * ctx.seconds
        return grad, None, None


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_every_moment_belongs_to_one_part():
    clock = Clock()
    model = Slow(clock)
    timeline = Timeline(model, clock)
    for _ in range(2):
        timeline.clear()
        clock.now += 0.5
        with timeline.part("data"):
            clock.now += 0.25
        with timeline.part("forward"):
            x = model.dropout(model.recurrent(model.embedding(torch.ones(3))))
            loss = Sleep.apply(x.sum(), clock, 1000)
        with timeline.part("backward"):
            loss.backward()
        with timeline.part("optimizer"):
            clock.now += 0.125
        found = timeline.clear()
        assert {name: seconds for name, seconds in found.items() if seconds} == {
            "other": 0.5,
            "data": 0.25,
            "forward embedding": 1,
            "forward recurrent": 10,
            "forward dropout": 100,
            "forward decoder + loss": 1000,
            "backward decoder + loss": 10_000_000,
            "backward dropout": 1_000_000,
            "backward recurrent": 100_000,
            "backward embedding": 10_000,
            "optimizer": 0.125,
        }
    timeline.close()
    model.embedding(torch.ones(3))
    assert timeline.clear() == {"other": 1}, "nobody watches any more"
