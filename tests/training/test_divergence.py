"""Numbers that are not finite: skipped, then back with half the rate, then the end; steps that memory does not hold.

Whatever happens, no weight sees such a number, and an interrupted run is the run that was not interrupted.
"""

from __future__ import annotations

import logging
import math
import os
import signal

import pytest
import torch
from tensorboard.compat.proto.tensor_pb2 import TensorProto

from rnnlab.config import AdamConfig, Averaging, Cell, CosineConfig, PlateauConfig, SGDConfig
from rnnlab.errors import DivergedError, OutOfMemoryError, StoppedError
from rnnlab.training.checkpoint import load_model, load_training

SPOILS = {
    "loss nan": lambda nats: nats + math.nan,
    "loss inf": lambda nats: nats * math.inf,
    "gradient nan": lambda nats: nats + 0 * torch.sqrt(nats - nats.detach()),
    "gradient inf": lambda nats: nats + torch.sqrt(nats - nats.detach()),
}


@pytest.fixture
def spoil(lab, monkeypatch):
    """Spoils the training losses of all trainers that come, wherever `is_bad(counters)` says."""

    def start(is_bad, config, how=SPOILS["loss nan"]):
        task, make, trainers = lab.task(config), lab.trainer, []
        nats = task.nats

        def spoiled(model, outputs, window):
            value = nats(model, outputs, window)
            return how(value) if model.training and is_bad(trainers[-1].counters) else value

        def make_and_note(*arguments):
            trainers.append(make(*arguments))
            return trainers[-1]

        monkeypatch.setattr(task, "nats", spoiled)
        monkeypatch.setattr(lab, "trainer", make_and_note)

    return start


@pytest.fixture
def warnings_told(monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("rnnlab"), "propagate", True)
    caplog.set_level(logging.WARNING, "rnnlab")
    return caplog


def points(scalars, folder, tag):
    return {
        step: TensorProto.FromString(content).float_val[0] for name, step, content in scalars(folder) if name == tag
    }


def weights_of(trainer):
    return [p.detach().clone() for p in trainer.model.parameters()]


def config_of(lab, task="next_word", **changes):
    settings = {"max_steps": 12, "num_samples": 0, "dropout": 0.2, "log_every_steps": 1, "checkpoint_every_steps": 4}
    sizes = {"sentiment": {"batch_size": 30}, "music": {"batch_size": 24}}.get(task, {})
    return lab.config(task, **{**settings, "eval_every_steps": 4, **sizes, **changes})


def stop_at(lab, folder, config, step, *, resume=False):
    """Send SIGTERM in the step after `step` updates: the state after it is saved, where no checkpoint was due."""
    trainer = lab.trainer(folder, config)
    if resume:
        trainer.resume()
    make = trainer._step

    def step_and_signal(group):
        if trainer.counters.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return make(group)

    trainer._step = step_and_signal
    with pytest.raises(StoppedError):
        trainer.fit()


# --- skipped ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "how"), [(0, "gradient nan"), *((3, how) for how in SPOILS), (5, "loss nan")])
def test_a_step_that_is_not_finite_changes_nothing_but_the_count(
    lab, tmp_path, scalars, spoil, warnings_told, step, how
):
    config = config_of(lab, max_steps=6, optimizer=SGDConfig(name="sgd", lr=0.5, momentum=0.9))
    spoil(lambda counters: counters.step == step, config, SPOILS[how])
    trainer = lab.trainer(tmp_path, config)
    make, kept = trainer._step, {}

    def watched(group):
        before = weights_of(trainer), str(trainer.state.optimizer.state), trainer.steps.state
        values = make(group)
        kept[trainer.counters.step - 1] = (
            before,
            (*(weights_of(trainer), str(trainer.state.optimizer.state), trainer.steps.state),),
        )
        return values

    trainer._step = watched
    trainer.fit()
    for number, (before, after) in kept.items():
        is_same = all(one.equal(other) for one, other in zip(before[0], after[0], strict=True))
        assert is_same == (number == step)
        if number == step:
            assert before[1] == after[1]
            assert before[2] is None or before[2][0].equal(after[2][0])
    assert (trainer.counters.step, trainer.counters.skipped, trainer.counters.skipped_in_a_row) == (
        6,
        1,
        int(step == 5),
    )
    assert points(scalars, tmp_path, "optim/skipped") == {at: float(at > step) for at in range(1, 7)}
    assert set(points(scalars, tmp_path, "train/loss")) == set(range(1, 7)) - {step + 1}
    assert f"at step {step} (epoch 1, window {step}), learning rate 0.5: skipped, 1 of 5 in a row" in warnings_told.text
    assert trainer.facts()["skipped_steps"] == 1


def test_a_text_that_begins_in_a_skipped_window_begins_all_the_same(lab, tmp_path, spoil):
    """The rows of the window after it go on with an empty memory, not with that of the text before."""
    config = config_of(lab, max_steps=14, dropout=0.0, checkpoint_every_steps=None)
    windows = len(lab.task(config).train_windows(0))
    assert windows < 14
    spoil(lambda counters: counters.index == 0 and counters.epoch == 1, config)
    trainer = lab.trainer(tmp_path, config)
    make, states = trainer._step, {}

    def watched(group):
        states[trainer.counters.step] = trainer.steps.state
        return make(group)

    trainer._step = watched
    trainer.fit()
    assert states[windows] is not None
    assert states[windows + 1] is None


@pytest.mark.parametrize("task", ["next_word", "sentiment", "music"])
def test_a_run_with_skipped_steps_resumes_to_the_last_bit(lab, tmp_path, differences, spoil, task):
    averaging = {"averaging": Averaging.ema, "averaging_decay": 0.7}
    config = config_of(lab, task, accumulate=2, scheduler=CosineConfig(name="cosine", warmup_steps=3), **averaging)
    spoil(lambda counters: counters.step in (2, 5, 6, 7, 8), config)
    straight = lab.fit(tmp_path / "straight", config)
    assert (straight.counters.skipped, straight.counters.rollbacks) == (5, 0)
    lab.fit_until(tmp_path / "resumed", config, 6)
    stop_at(lab, tmp_path / "resumed", config, 7, resume=True)
    lab.resume(tmp_path / "resumed", config)
    assert differences(tmp_path / "straight", tmp_path / "resumed") == []


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_read_later_as_on_a_gpu_the_same_steps_are_skipped(lab, tmp_path, differences, spoil, momentum):
    config = config_of(lab, optimizer=SGDConfig(name="sgd", lr=0.5, momentum=momentum), log_every_steps=4)
    spoil(
        lambda counters: counters.step in (0, 5, 6) or (counters.step in (8, 9, 10) and counters.rollbacks == 0), config
    )
    config.trainer.max_skipped = 3
    at_once = lab.fit(tmp_path / "at once", config)
    later = lab.trainer(tmp_path / "later", config)
    later.steps._update.defers = True
    later.fit()
    assert (at_once.counters.skipped, at_once.counters.rollbacks) == (3, 1)
    # A buffer of momentum is there before the first step, where that is skipped; of zeros, which changes nothing.
    assert differences(tmp_path / "at once", tmp_path / "later") == []


# --- back, with half the rate -----------------------------------------------------------------------------------------

BACK = {
    # when it is bad, and to which step it goes back
    "to a checkpoint": (lambda c: c.step in (5, 6, 7) and c.rollbacks == 0, 4),
    "to the beginning": (lambda c: c.step in (1, 2, 3) and c.rollbacks == 0, 0),
    "twice to one": (lambda c: c.step in (5, 6, 7) and c.rollbacks < 2, 4),
    "twice to others": (
        lambda c: (c.step in (2, 3, 4) and c.rollbacks < 1) or (c.step in (9, 10, 11) and c.rollbacks < 2),
        8,
    ),
    "over a checkpoint in the row": (lambda c: c.step in (3, 4, 5) and c.rollbacks == 0, 0),
}


@pytest.mark.parametrize("case", BACK)
def test_a_row_of_bad_steps_leads_back_and_interruptions_change_nothing(
    lab, tmp_path, differences, scalars, spoil, warnings_told, case
):
    is_bad, back_at = BACK[case]
    config = config_of(lab, max_skipped=3, max_steps=14, optimizer=AdamConfig(name="adam", lr=0.01))
    spoil(is_bad, config)
    straight = lab.fit(tmp_path / "straight", config)
    rollbacks = 2 if "twice" in case else 1
    assert (straight.counters.step, straight.counters.rollbacks) == (14, rollbacks)
    assert "3 such steps in a row" in warnings_told.text
    assert f"back to step {back_at} with half the rate, {rollbacks} of 2" in warnings_told.text
    rates = points(scalars, tmp_path / "straight", "optim/lr")
    assert list(rates) == list(range(1, 15)), "each step is there once"
    assert rates[14] == pytest.approx(0.01 * 0.5**rollbacks)
    assert rates[back_at + 1] == pytest.approx(0.01 * 0.5**rollbacks)
    folder = tmp_path / "resumed"
    stop_at(lab, folder, config, 2)  # among the first bad steps, or before the first checkpoint
    lab.fit_until(folder, config, 6 if rollbacks == 1 else 8, resume=True)
    stop_at(lab, folder, config, 9, resume=True)
    stop_at(lab, folder, config, 10, resume=True)
    lab.resume(folder, config)
    assert differences(tmp_path / "straight", folder) == []


def test_a_plateaus_rate_is_halved_too(lab, tmp_path, spoil, scalars):
    config = config_of(
        lab,
        max_skipped=2,
        optimizer=SGDConfig(name="sgd", lr=0.5),
        scheduler=PlateauConfig(name="plateau", gamma=0.5, patience=100),
    )
    spoil(lambda counters: counters.step in (5, 6) and counters.rollbacks < 2, config)
    lab.fit(tmp_path, config)
    assert set(points(scalars, tmp_path, "optim/lr").values()) == {0.5, 0.125}


def test_after_two_ways_back_the_run_ends_and_says_where(lab, tmp_path, spoil, warnings_told):
    config = config_of(lab, max_skipped=3)
    spoil(lambda counters: counters.step >= 6, config)
    with pytest.raises(DivergedError) as caught:
        lab.fit(tmp_path, config)
    assert caught.value.exit_code == 5
    message = str(caught.value)
    for part in (
        "loss is nan at step 8 (epoch 1, window 8), learning rate 0.0025, gradient norm 0.",
        ", 3 such steps in a row",
        "trainer.clip_grad_norm is 1.0",
        "after 2 roll-backs with half the rate each",
        "Try optimizer.lr=0.001 (now 0.01)",
    ):
        assert part in message
    assert "\n" not in message
    assert warnings_told.text.count("back to step 4") == 2
    weights, saved = load_training(tmp_path / "checkpoints")
    assert saved["counters"]["step"] in (4, 8)
    assert all(tensor.isfinite().all() for tensor in weights.values())
    load_model(tmp_path / "checkpoints", "best")


@pytest.mark.parametrize("clip_grad_norm", [None, 1.0])
def test_a_rate_far_too_high_ends_in_time_or_is_tamed_by_clipping(lab, tmp_path, clip_grad_norm):
    config = lab.config(
        optimizer=SGDConfig(name="sgd", lr=1e6),
        clip_grad_norm=clip_grad_norm,
        cell=Cell.rnn,
        max_steps=200,
        num_samples=0,
        checkpoint_every_steps=1,
        eval_every_steps=100,
    )
    config.model.nonlinearity = type(config.model.nonlinearity).relu
    trainer = lab.trainer(tmp_path, config)
    try:
        trainer.fit()
    except DivergedError:
        assert trainer.counters.step < 200
        assert trainer.counters.rollbacks == 2
    else:
        assert clip_grad_norm is not None
    weights, saved = load_training(tmp_path / "checkpoints")
    assert all(tensor.isfinite().all() for tensor in (*weights.values(), *saved["model"].values()))
    assert all(tensor.isfinite().all() for tensor in load_model(tmp_path / "checkpoints", "best").values())


@pytest.mark.parametrize("is_cured", [True, False])
def test_weights_that_are_not_finite_are_never_saved_nor_skipped_for_ever(lab, tmp_path, is_cured):
    """As an update of finite numbers may leave them: here just before a checkpoint is due."""
    trainer = lab.trainer(tmp_path, config_of(lab))
    make, made = trainer._step, []

    def step_and_spoil(group):
        values = make(group)
        made.append(trainer.counters.step)
        if trainer.counters.step == 8 and not (is_cured and trainer.counters.rollbacks):
            with torch.no_grad():
                next(trainer.model.parameters())[0] = math.inf
        return values

    trainer._step = step_and_spoil
    if is_cured:
        trainer.fit()
        assert trainer.counters.rollbacks == 1
    else:
        with pytest.raises(
            DivergedError, match="weight .* is not finite at step 8, learning rate .* after 2 roll-backs"
        ):
            trainer.fit()
        assert made == [1, 2, 3, 4, *(5, 6, 7, 8) * 3]
    for path in (tmp_path / "checkpoints").glob("step-*"):
        assert (path.name == "step-00000008") <= is_cured
    assert all(tensor.isfinite().all() for tensor in load_model(tmp_path / "checkpoints", "last").values())


# --- out of memory ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["next_word", "music"])
def test_a_step_that_does_not_fit_is_undone_and_the_state_before_it_saved(
    lab, tmp_path, differences, monkeypatch, task
):
    config = config_of(lab, task)
    lab.fit(tmp_path / "straight", config)
    trainer = lab.trainer(tmp_path / "resumed", config)
    backward = torch.Tensor.backward

    def grow(*arguments):
        if trainer.counters.step == 6:
            backward(*arguments)
            torch.empty(10**15)
        return backward(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "backward", grow)
        with pytest.raises(OutOfMemoryError) as caught:
            trainer.fit()
    assert caught.value.exit_code == 6
    assert str(caught.value) == (
        "at step 6: out of memory: 3.73e+06 GiB more were asked for; lower trainer.batch_size, trainer.bptt_len or "
        "model.hidden_size. The state before the step is saved"
    )
    assert (tmp_path / "resumed/checkpoints/last").resolve().name == "step-00000006"
    lab.resume(tmp_path / "resumed", config)
    assert differences(tmp_path / "straight", tmp_path / "resumed") == []


def test_another_error_of_a_step_stays_what_it_is(lab, tmp_path, monkeypatch):
    trainer = lab.trainer(tmp_path, config_of(lab))
    monkeypatch.setattr(torch.Tensor, "backward", lambda *arguments: torch.eye(2) @ torch.eye(3))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        trainer.fit()
