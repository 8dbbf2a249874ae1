"""What changes while a run trains is all taken down, and taken up again. test_resume.py holds whole runs to it."""

from dataclasses import asdict

import pytest
import torch

from rnnlab.config import Averaging, CosineConfig, SGDConfig


@pytest.fixture
def state(lab, tmp_path):
    """Of a run with a bit of everything."""
    optimizer = SGDConfig(name="sgd", lr=0.5, momentum=0.9)
    scheduler = CosineConfig(name="cosine", warmup_steps=3)
    return lab.trainer(
        tmp_path, lab.config(optimizer=optimizer, scheduler=scheduler, averaging=Averaging.ema, dropout=0.3)
    ).state


def train(state, steps):
    windows = state.task.train_windows(0)
    for index in range(steps):
        state.steps.make([windows[index]], state.counters)


def test_the_beginning_taken_up_makes_the_same_steps_again(state):
    beginning = state.at_start()
    ends = []
    for _ in range(2):
        train(state, 3)
        ends.append((state.content({}, 0), [p.detach().clone() for p in state.model.parameters()]))
        state.take_up(beginning)
        state.take_up_random(beginning)
        assert state.counters.step == 0
        assert state.steps.state is None
    assert all(one.equal(other) for one, other in zip(ends[0][1], ends[1][1], strict=True))
    assert ends[0][0]["counters"] == ends[1][0]["counters"]
    assert ends[0][0]["rng"]["cpu"].equal(ends[1][0]["rng"]["cpu"])
    assert not ends[0][0]["rng"]["cpu"].equal(beginning["rng"]["cpu"]), "dropout has drawn"


def test_what_is_taken_down_is_what_stands_there(state):
    train(state, 2)
    state.metrics, state.best_metrics, state.units = {"valid/loss": 1.5}, {"valid/loss": 1.25}, {"layer_0/dead": 0.5}
    content = state.content({"events.out": 10}, 20)
    assert content["counters"] == asdict(state.counters)
    assert (content["events"], content["metrics_bytes"]) == ({"events.out": 10}, 20)
    assert state.difference(content, ()) == ""
    state.metrics, state.best_metrics, state.units = {}, {}, {}
    state.take_up(content)
    assert (state.metrics, state.best_metrics) == ({"valid/loss": 1.5}, {"valid/loss": 1.25})
    assert state.units == {"layer_0/dead": 0.5}


def test_a_part_of_another_shape_is_named(state):
    content = state.content({}, 0)
    content["model"] = {**content["model"], "decoder.weight": torch.zeros(2, 2)}
    assert "model: decoder.weight is (2, 2), wanted " in state.difference(content, ())
    content = {**state.content({}, 0), "settings": {"optimizer.lr": 9.0}}
    assert "optimizer.lr is 9.0 there and 0.5 here" in state.difference(content, ())
    assert state.difference(content, {"optimizer.lr"}) == ""


def test_a_checkpoint_is_as_large_as_it_says(state):
    numbers = sum(parameter.numel() for parameter in state.model.parameters())
    # The weights in use, those that are trained, momentum and the average; n_averaged aside, all float32.
    assert state.num_bytes == 4 * 4 * numbers
