"""Steps whose numbers are read later, as on a GPU: here on a CPU, whose fused optimizers know the same flags."""

from __future__ import annotations

import math
from contextlib import contextmanager

import pytest
import torch

from rnnlab.config import AdamConfig, Averaging, SGDConfig
from rnnlab.errors import DivergedError


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
    assert math.isnan(trainer.steps.shown["loss"])
    trainer.steps.read(trainer.counters)
    assert trainer.counters.sum_steps == 3
    assert trainer.counters.sum_targets == sum(windows[index].num_targets for index in range(3))
    assert math.isfinite(trainer.steps.shown["loss"])


@contextmanager
def nobody_reads():
    """Forbid what waits for a GPU: a number of floating point taken out of a tensor."""

    def refuse(tensor):
        raise AssertionError("a tensor was read")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("__float__", "item", "tolist"):
            patch.setattr(torch.Tensor, name, refuse)
        yield


@pytest.mark.parametrize("eval_every_steps", [4, None])
def test_what_is_not_finite_ends_the_run_before_it_is_scored_or_saved(lab, tmp_path, monkeypatch, eval_every_steps):
    config = lab.config(
        log_every_steps=100,
        eval_every_steps=eval_every_steps,
        max_steps=8,
        checkpoint_every_steps=2,
        averaging=Averaging.ema,
    )
    trainer = defer(lab.trainer(tmp_path, config))
    nats, kept = trainer.task.nats, []

    def spoiled(*arguments):
        if trainer.counters.step == 2 and trainer.model.training:
            kept.append([p.detach().clone() for p in trainer.model.parameters()])
            return nats(*arguments) * math.nan
        return nats(*arguments)

    monkeypatch.setattr(trainer.task, "nats", spoiled)
    with pytest.raises(DivergedError, match="loss is nan at step 2; nothing was updated"):
        trainer.fit()
    assert trainer.counters.step == 4, "it is told when a checkpoint is due"
    assert (tmp_path / "checkpoints/last").resolve().name == "step-00000002"
    for one, other in zip(trainer.model.parameters(), kept[0], strict=True):
        assert one.equal(other)
