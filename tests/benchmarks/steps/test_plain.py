"""The plain loops learn what rnnlab's trainer learns: first losses and, after some steps, weights."""

from __future__ import annotations

import itertools

import pytest
import torch
from safetensors.torch import load_file

from rnnlab.benchmarks.steps.cases import CASES
from rnnlab.benchmarks.steps.own import OwnLoop
from rnnlab.benchmarks.steps.plain import PlainLoop
from rnnlab.training.timeline import Timeline


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "tuned"])
@pytest.mark.parametrize("name", list(CASES))
def test_plain_and_own_loops_learn_the_same_over_more_than_a_pass(made, name, fused):
    case, feed, folder = made(name)
    plain = PlainLoop(case, feed, dropout=0.0, fused=fused)
    own = OwnLoop(case, feed, dropout=0.0, precision="fp32")
    weights = load_file(folder / "weights.safetensors")
    for loop in (plain, own):
        loop.load(weights)
    for _ in range(14):  # a pass has 6 windows, 3 batches, or the windows of 2 batches of tunes
        expected = plain.step()
        assert own.step() == pytest.approx(expected, rel=1e-5)  # float32, seven digits, some steps of rounding
        assert own.num_tokens() == plain.num_tokens()
    embeddings = [loop.model.embedding.weight for loop in (plain, own)]
    torch.testing.assert_close(*embeddings, rtol=1e-3, atol=1e-4)  # Adam divides small gradients by small numbers
    assert not torch.allclose(embeddings[0], weights["embedding.weight"])


def test_dropout_is_on_when_asked_for(made):
    case, feed, folder = made("ptb_650")
    losses = []
    for dropout in (0.0, 0.5):
        for loop in (
            PlainLoop(case, feed, dropout=dropout, fused=False),
            OwnLoop(case, feed, dropout=dropout, precision="fp32"),
        ):
            loop.load(load_file(folder / "weights.safetensors"))
            losses.append(loop.step())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert len(set(losses[1:])) == 3


@pytest.mark.parametrize("name", ["ptb_650", "sentiment_lstm"])
@pytest.mark.parametrize("own", [False, True], ids=["plain", "rnnlab"])
def test_all_parts_of_a_step_are_found_and_add_up(made, own, name):
    case, feed, _ = made(name)
    loop = (
        OwnLoop(case, feed, dropout=0.5, precision="fp32") if own else PlainLoop(case, feed, dropout=0.5, fused=False)
    )
    ticks = itertools.count()
    timeline = Timeline(loop.model, lambda: float(next(ticks)))
    loop.part = timeline.part
    timeline.clear()
    began = next(ticks)
    loop.step()
    found = timeline.clear()
    both = ("embedding", "dropout", "recurrent", "decoder + loss")
    assert {f"{way} {part}" for way in ("forward", "backward") for part in both} <= set(found)
    assert {"data", "clip", "optimizer"} <= set(found)
    assert sum(found.values()) == pytest.approx(next(ticks) - began, abs=2)
