"""Items add up to the score of the whole, in an order of their own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rnnlab.commands._finished import open_run
from rnnlab.config import EvaluateConfig
from rnnlab.json_files import read_json
from rnnlab.tasks.items import score_items


def items_of(name, batch_size):
    finished = open_run(EvaluateConfig(run=name, threads=1))
    finished.task.read_corpus()
    cpu = torch.device("cpu")
    return finished, score_items(finished.task, finished.model, "test", batch_size=batch_size, device=cpu)


@pytest.mark.parametrize("task", ["music", "next_word", "sentiment"])
def test_items_add_up_to_the_score_of_the_run_whatever_the_batch_size(finished, task):
    metrics = read_json(finished / task / "result.json")["metrics"]
    run, few = items_of(task, 3)
    _, many = items_of(task, 64)
    # float32 sums of other shapes: seven digits of each item.
    np.testing.assert_allclose(few.nats, many.nats, rtol=1e-5)
    np.testing.assert_array_equal(few.counts, many.counts)
    assert few.nats.sum() / few.counts.sum() == pytest.approx(metrics["test/loss"], rel=1e-6)
    assert few.unit == {"music": "tunes", "next_word": "stretches of 16 tokens", "sentiment": "texts"}[task]
    if task == "sentiment":
        np.testing.assert_array_equal(few.right, many.right)
        assert few.right.mean() == pytest.approx(metrics["test/accuracy"])
        assert few.counts.tolist() == [1] * run.task.corpus["test_texts"]
        np.testing.assert_array_equal(few.targets, many.targets)
    else:
        assert few.right is None
    if task == "music":
        assert few.counts.sum() == run.task.corpus["test_chars"]
        assert len(few.counts) == run.task.corpus["test_tunes"]
        assert few.nats.sum() / few.counts.sum() / math.log(2) == pytest.approx(metrics["test/bits_per_char"], rel=1e-6)


def test_a_tune_longer_than_a_window_is_one_item(finished, monkeypatch):
    _, whole = items_of("music", 8)
    monkeypatch.setattr("rnnlab.tasks.music.SCORE_STEPS", 10)
    run, cut = items_of("music", 8)
    assert len(run.task.score_windows("test", 8)) > len(whole.counts) / 8
    np.testing.assert_allclose(cut.nats, whole.nats, rtol=1e-5)
    np.testing.assert_array_equal(cut.counts, whole.counts)
