"""Steps whose numbers are read later, as on a GPU: here on a CPU, whose fused optimizers know the same flags."""

from __future__ import annotations

import math
from contextlib import contextmanager

import pytest
import torch

from rnnlab.config import AdamConfig, Averaging, SGDConfig
from rnnlab.training.update import Update


def defer(trainer):
    """Let a trainer do as on a GPU."""
    trainer.steps._update.defers = True
    return trainer


@pytest.mark.parametrize("log_every_steps", [1, 3, 5])
@pytest.mark.parametrize("task", ["next_word", "sentiment", "music"])
def test_numbers_read_later_make_the_same_run(lab, tmp_path, differences, task, log_every_steps):
    config = lab.config(
        task,
        optimizer=AdamConfig(name="adam", lr=0.05),
        clip_grad_norm=0.2,  # some steps are clipped, some are not
        averaging=Averaging.ema,
        eval_every_steps=4,
        accumulate=2,
        log_every_steps=log_every_steps,
    )
    lab.fit(tmp_path / "at once", config)
    trainer = defer(lab.trainer(tmp_path / "later", config))
    trainer.fit()
    assert differences(tmp_path / "at once", tmp_path / "later") == []


def test_a_step_reads_no_number_back(lab, tmp_path):
    trainer = defer(lab.trainer(tmp_path, lab.config("sentiment", optimizer=SGDConfig(name="sgd", lr=0.1))))
    windows = trainer.task.train_windows(0)
    with nobody_reads():
        for index in range(3):
            trainer._step([windows[index]])
    assert trainer.counters.step == 3
    assert (trainer.counters.sum_steps, trainer.counters.sum_nats) == (0, 0.0)
    assert math.isnan(trainer.steps.readings.shown["loss"])
    trainer.steps.readings.read(trainer.counters)
    assert trainer.counters.sum_steps == 3
    assert trainer.counters.sum_targets == sum(windows[index].num_targets for index in range(3))
    assert math.isfinite(trainer.steps.readings.shown["loss"])


@pytest.mark.parametrize("max_norm", [None, 0.2])
def test_gradients_of_the_rows_seen_train_as_dense_ones_do(lab, tmp_path, monkeypatch, max_norm):
    settings = {"batch_size": 2, "bptt_len": 3, "accumulate": 2, "clip_grad_norm": max_norm, "histograms": True}
    config = lab.config(optimizer=SGDConfig(name="sgd", lr=0.5), eval_every_steps=4, **settings)
    trainers = [lab.fit(tmp_path / "rows", config)]
    monkeypatch.setattr(Update, "takes_rows", False)
    trainers.append(lab.fit(tmp_path / "all", config))
    assert [trainer.model.embedding.weight.grad.is_sparse for trainer in trainers] == [True, False]
    for parameter, other in zip(*(trainer.model.parameters() for trainer in trainers), strict=True):
        torch.testing.assert_close(parameter, other, rtol=1e-5, atol=1e-6)  # sums in another order, 12 steps


@contextmanager
def nobody_reads():
    """Forbid what waits for a GPU: a number of floating point taken out of a tensor."""

    def refuse(tensor):
        raise AssertionError("a tensor was read")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("__float__", "item", "tolist"):
            patch.setattr(torch.Tensor, name, refuse)
        yield
