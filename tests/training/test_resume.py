"""Resumed equals uninterrupted, to the last bit: the whole checkpoint, the scores and what TensorBoard shows."""

import copy
import hashlib
import json
import logging
import math
import os
import shutil
import signal
import warnings
from enum import Enum

import pytest
import torch

from rnnlab.config import (
    SCHEMAS,
    AdamConfig,
    Averaging,
    Backend,
    Cell,
    CorpusConfig,
    CosineConfig,
    ModelConfig,
    NextWordConfig,
    PlateauConfig,
    Precision,
    RMSpropConfig,
    SchedulerConfig,
    SGDConfig,
    StepConfig,
    TrainConfig,
    TrainerConfig,
)
from rnnlab.errors import CheckpointError, StoppedError
from rnnlab.schema import plain, settings, train_settings
from rnnlab.tasks import next_word
from rnnlab.training import savepoints
from rnnlab.training.formats import seal

TASKS = ("next_word", "sentiment", "music")
SGD = SGDConfig(name="sgd", lr=0.5, momentum=0.5)

# What is set besides, and after which updates the run dies. An epoch has 6 or 7 windows.
SCENARIOS = {
    "in the middle of an epoch": ({}, [5]),
    "between checkpoints": ({"checkpoint_every_steps": 2, "eval_every_steps": 3}, [5]),
    "after minutes without a checkpoint": ({"checkpoint_every_steps": None, "checkpoint_every_minutes": 1e-9}, [3, 5]),
    "at the end of an epoch": ({"checkpoint_every_steps": None, "eval_every_steps": None}, ["epoch"]),
    "after an epoch's last partial group": ({"accumulate": 4, "checkpoint_every_steps": 1, "max_steps": 4}, [2]),
    "while accumulating": ({"accumulate": 3, "checkpoint_every_steps": 2, "max_steps": 7}, [5]),
    "with a moving average": ({"averaging": Averaging.ema, "averaging_decay": 0.7, "num_samples": 1}, [5]),
    "before the average begins": ({"averaging": Averaging.ema, "averaging_start_epoch": 1, "max_steps": 9}, [4]),
    "with a mean that began": ({"averaging": Averaging.mean, "averaging_start_epoch": 1, "max_steps": 12}, [10]),
    "looked inside": ({"xray_every": 2, "dropout": 0.2}, [5]),
    "with dropout": ({"dropout": 0.5, "num_layers": 2, "num_samples": 1}, [5]),
    "with momentum and plateau": (
        {"optimizer": SGD, "scheduler": PlateauConfig(name="plateau", gamma=0.5), "eval_every_steps": 1},
        [5],
    ),
    "with a cosine": ({"scheduler": CosineConfig(name="cosine", warmup_steps=5), "max_epochs": 2}, [4]),
    "with steps and rmsprop": (
        {
            "optimizer": RMSpropConfig(name="rmsprop", lr=0.01, momentum=0.5),
            "scheduler": StepConfig(name="step", start_epoch=1),
            "max_steps": 9,
        },
        [5],
    ),
    "with all that TensorBoard shows": ({"histograms": True, "figures": True, "num_samples": 1, "sample_len": 40}, [5]),
    "in bf16": ({"precision": Precision.bf16, "cell": Cell.gru}, [5]),
    "twice": ({"dropout": 0.3, "checkpoint_every_steps": 2}, [3, 7]),
    "after every step": ({"dropout": 0.3, "checkpoint_every_steps": 1, "max_steps": 5}, [1, 2, 3, 4]),
    "just before it stops early": (
        {"optimizer": SGDConfig(name="sgd", lr=1e-12), "patience": 3, "eval_every_steps": 2, "max_steps": 50},
        [7],
    ),
}
SIZES = {
    "next_word": {"bptt_len": 18},
    "sentiment": {"batch_size": 30},
    "music": {"batch_size": 24, "bptt_len": 40},
}


def config_of(lab, task, changes):
    defaults = {"max_steps": 8, "checkpoint_every_steps": 3, "eval_every_steps": 4, "num_samples": 0}
    return lab.config(task, **{**defaults, **SIZES[task], **copy.deepcopy(changes)})


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("task", TASKS)
def test_a_run_that_died_and_was_resumed_is_the_run_that_did_not(lab, tmp_path, differences, task, scenario):
    changes, stops = SCENARIOS[scenario]
    config = config_of(lab, task, changes)
    windows = len(lab.task(config).train_windows(0))
    assert windows in (6, 7)
    straight = lab.fit(tmp_path / "straight", config)
    for number, stop in enumerate(windows if stop == "epoch" else stop for stop in stops):
        lab.fit_until(tmp_path / "resumed", config, stop, resume=number > 0)
    resumed = lab.resume(tmp_path / "resumed", config)
    assert differences(tmp_path / "straight", tmp_path / "resumed") == []
    assert resumed.state.metrics == straight.state.metrics
    assert resumed.scoring.details == straight.scoring.details
    for name, tensor in straight.state.scored_model.state_dict().items():  # the best weights: those of the test score
        assert resumed.state.scored_model.state_dict()[name].equal(tensor)


def test_a_run_that_died_before_its_last_evaluation_shows_what_the_other_does(lab, tmp_path, differences):
    """The gradients of the last step are gone by then: neither run may show them."""
    config = lab.config(checkpoint_every_steps=1, eval_every_steps=3, max_steps=5, num_samples=0, histograms=True)
    lab.fit(tmp_path / "straight", config)
    trainer = lab.trainer(tmp_path / "resumed", config)
    evaluate = trainer._evaluate

    def evaluate_or_die(*arguments, **keywords):
        if trainer.counters.step == 5:
            raise RuntimeError("died")
        return evaluate(*arguments, **keywords)

    trainer._evaluate = evaluate_or_die
    with pytest.raises(RuntimeError, match="died"):
        trainer.fit()
    lab.resume(tmp_path / "resumed", config)
    assert differences(tmp_path / "straight", tmp_path / "resumed") == []


@pytest.mark.parametrize("task", ["adding", "copy", "ball"])
def test_a_run_on_drawn_sequences_goes_on_with_those_that_would_have_come(lab, tmp_path, differences, task):
    config = lab.config(task, max_steps=9, checkpoint_every_steps=3, eval_every_steps=4, cell=Cell.gru, dropout=0.2)
    lab.fit(tmp_path / "straight", config)
    lab.fit_until(tmp_path / "resumed", config, 4)
    lab.fit_until(tmp_path / "resumed", config, 8, resume=True)
    lab.resume(tmp_path / "resumed", config)
    assert differences(tmp_path / "straight", tmp_path / "resumed") == []


def test_windows_of_random_length_go_on_where_they_were(lab, tmp_path, differences):
    config = lab.config(random_bptt=True, bptt_len=18, max_steps=14, checkpoint_every_steps=4, num_samples=0)
    windows = [len(lab.task(config).train_windows(epoch)) for epoch in range(2)]
    assert windows[0] < 9, "the run dies in the second epoch, whose windows are others"
    lab.fit(tmp_path / "straight", config)
    lab.fit_until(tmp_path / "resumed", config, 11)
    lab.resume(tmp_path / "resumed", config)
    assert differences(tmp_path / "straight", tmp_path / "resumed") == []


ENGINES = [*((cell, "auto") for cell in Cell), *((Cell.lstm, name) for name in ("reference", "cpu", "torch"))]


@pytest.mark.parametrize(("cell", "backend"), ENGINES)
def test_every_cell_and_every_backend_resumes_to_the_last_bit(lab, tmp_path, differences, cell, backend):
    config = lab.config(cell=cell, backend=Backend(backend), checkpoint_every_steps=3, max_steps=6, dropout=0.2)
    lab.fit(tmp_path / "straight", config)
    lab.fit_until(tmp_path / "resumed", config, 4)
    lab.resume(tmp_path / "resumed", config)
    assert differences(tmp_path / "straight", tmp_path / "resumed") == []


def forget_state(saved):
    saved["state"] = None


def forget_generator(saved):
    saved["rng"]["cpu"] = torch.Generator().manual_seed(1).get_state()


def forget_optimizer(saved):
    saved["optimizer"]["state"] = {}


def forget_schedule(saved):
    saved["schedule"] = {}


def forget_average(saved):
    saved["averaged"]["n_averaged"].zero_()


def forget_position(saved):
    saved["counters"]["index"] = 0


def forget_sums(saved):
    saved["counters"].update(sum_nats=0.0, sum_targets=0, sum_steps=0, sum_clipped=0)


def forget_best(saved):
    saved["counters"].update(best_score=float("nan"), best_step=-1)


def forget_what_the_log_held(saved):
    saved["events"] = dict.fromkeys(saved["events"], 10**9)


MOVING = {"optimizer": SGDConfig(name="sgd", lr=2.0, momentum=0.9), "averaging": Averaging.ema, "averaging_decay": 0.9}
# No step is large enough to change a score: the first stays the best.
STUCK = {"optimizer": SGDConfig(name="sgd", lr=1e-12)}
PLATEAU = PlateauConfig(name="plateau", gamma=0.5, patience=2)

FORGOTTEN = {
    forget_state: (MOVING, ["state.model", "scalars"]),
    forget_generator: (MOVING, ["state.model", "scalars"]),
    forget_optimizer: (MOVING, ["state.model", "scalars"]),
    forget_average: (MOVING, ["weights", "state.averaged"]),
    forget_position: (MOVING, ["state.model", "state.counters.index", "scalars"]),
    forget_sums: (MOVING, ["scalars"]),
    forget_what_the_log_held: (MOVING, ["scalars"]),
    forget_schedule: ({**STUCK, "scheduler": PLATEAU}, ["state.schedule", "state.optimizer"]),
    forget_best: (STUCK, ["state.counters.best_step", "state.counters.without_gain", "best"]),
}


CONTROLS = [*((forget, True) for forget in FORGOTTEN), (forget_state, False), (forget_schedule, False)]


@pytest.mark.parametrize(("forget", "forgets"), CONTROLS, ids=[f"{f.__name__}-{forgets}" for f, forgets in CONTROLS])
def test_whatever_is_forgotten_shows(lab, tmp_path, differences, monkeypatch, forget, forgets):
    """The tests above can fail: each thing that a checkpoint holds is missed by them, and nothing else is."""
    changes, missed = FORGOTTEN[forget]
    config = lab.config(
        **{
            "dropout": 0.3,
            "eval_every_steps": 3,
            "log_every_steps": 4,
            "max_steps": 15,
            "num_samples": 0,
            **copy.deepcopy(changes),
        }
    )
    lab.fit(tmp_path / "straight", config)
    lab.fit_until(tmp_path / "resumed", config, 8)  # saved at 6, since when step 8 was logged
    load = savepoints.load_training

    def load_and_forget(folder):
        weights, saved = load(folder)
        if forgets:
            forget(saved)
        return weights, saved

    monkeypatch.setattr(savepoints, "load_training", load_and_forget)
    lab.resume(tmp_path / "resumed", config)
    found = differences(tmp_path / "straight", tmp_path / "resumed")
    for name in missed:
        assert any(entry.startswith(name) for entry in found) == forgets, (name, found)
    assert forgets or found == []


@pytest.mark.parametrize("task", TASKS)
def test_a_killed_process_loses_only_what_came_after_its_checkpoint(lab, tmp_path, differences, task):
    config = config_of(lab, task, {"dropout": 0.3})
    lab.fit(tmp_path / "straight", config)  # and nothing is computed for the first time in the child
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on forking beside threads
        child = os.fork()
    if child == 0:
        trainer = lab.trainer(tmp_path / "resumed", config)
        make_step = trainer._step
        trainer._step = lambda group: make_step(group) if trainer.counters.step < 5 else os.kill(os.getpid(), 9)
        trainer.fit()
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    lab.resume(tmp_path / "resumed", config)
    assert differences(tmp_path / "straight", tmp_path / "resumed") == []


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_stops_after_the_step_and_saves_it(lab, tmp_path, differences, number, exit_code):
    config = lab.config(eval_every_steps=5, dropout=0.2)
    lab.fit(tmp_path / "straight", config)
    trainer = lab.trainer(tmp_path / "stopped", config)
    make_step = trainer._step

    def step(group):
        if trainer.counters.step == 6:
            os.kill(os.getpid(), number)
        return make_step(group)

    trainer._step = step
    message = rf"stopped by {number.name} at step 7, state saved"
    with pytest.raises(StoppedError, match=message) as caught:
        trainer.fit()
    assert caught.value.exit_code == exit_code
    assert (tmp_path / "stopped/checkpoints/last").resolve().name == "step-00000007"
    resumed = lab.resume(tmp_path / "stopped", config)
    assert resumed.counters.step == 12
    assert differences(tmp_path / "straight", tmp_path / "stopped") == []


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("step", [5, 10, 12], ids=["on the way", "at the end", "after the last step"])
def test_a_signal_during_an_evaluation_ends_it_and_a_resumed_run_begins_with_it(
    lab, tmp_path, differences, monkeypatch, task, step
):
    monkeypatch.setattr(next_word, "SCORE_STEPS", 20)  # several windows
    changes = {"averaging": Averaging.ema, "patience": 50, "histograms": True, "checkpoint_every_steps": 4}
    max_steps = 12 if step == 12 else 10
    config = lab.config(task, eval_every_steps=5, max_steps=max_steps, eval_batch_size=3, **changes)
    straight = lab.fit(tmp_path / "straight", config)
    trainer = lab.trainer(tmp_path / "stopped", config)
    evaluate, asked = trainer.scoring.score, []

    def score(split, between_windows=None):
        def strike():
            if trainer.counters.step == step:
                asked.append(split)
                os.kill(os.getpid(), signal.SIGTERM)
            between_windows()

        return evaluate(split, strike if split == "valid" else None)

    trainer.scoring.score = score
    with pytest.raises(StoppedError, match=f"stopped by SIGTERM at step {step}, state saved"):
        trainer.fit()
    assert asked == ["valid"], "one window was scored"
    assert (tmp_path / "stopped/checkpoints/last").resolve().name == f"step-{step:08d}"
    assert trainer.counters.evaluated_at < step
    resumed = lab.resume(tmp_path / "stopped", config)
    assert differences(tmp_path / "straight", tmp_path / "stopped") == []
    assert resumed.state.metrics == straight.state.metrics


def test_a_signal_during_the_evaluation_of_a_pass_ends_it_too(lab, tmp_path, differences):
    config = lab.config(max_steps=None, max_epochs=2, eval_batch_size=3, num_samples=0, histograms=True)
    straight = lab.fit(tmp_path / "straight", config)
    folder = tmp_path / "stopped"
    for epoch in (1, 2):
        trainer = lab.trainer(folder, config)
        if epoch > 1:
            trainer.resume()
        evaluate = trainer.scoring.score

        def score(split, between_windows=None, trainer=trainer, evaluate=evaluate, epoch=epoch):
            if trainer.counters.epoch == epoch:
                os.kill(os.getpid(), signal.SIGINT)
            return evaluate(split, between_windows)

        trainer.scoring.score = score
        with pytest.raises(StoppedError, match="stopped by SIGINT"):
            trainer.fit()
        assert (trainer.counters.epoch, trainer.counters.index) == (epoch, 0)
    resumed = lab.resume(folder, config)
    assert differences(tmp_path / "straight", folder) == []
    assert resumed.state.metrics == straight.state.metrics


@pytest.mark.parametrize(("split", "call"), [("valid", 1), ("valid", 2), ("test", 1)])
def test_a_run_that_dies_while_it_is_scored_is_scored_again(lab, tmp_path, differences, split, call):
    config = lab.config(max_steps=8, eval_every_steps=5, checkpoint_every_steps=4, num_samples=0)
    straight = lab.fit(tmp_path / "straight", config)
    trainer = lab.trainer(tmp_path / "resumed", config)
    evaluate, calls = trainer.scoring.score, []

    def score(scored, *arguments):
        calls.append(scored)
        if calls.count(split) == call:
            raise InterruptedError
        return evaluate(scored, *arguments)

    trainer.scoring.score = score
    with pytest.raises(InterruptedError):
        trainer.fit()
    resumed = lab.resume(tmp_path / "resumed", config)
    assert differences(tmp_path / "straight", tmp_path / "resumed") == []
    assert resumed.state.metrics == straight.state.metrics


def test_a_finished_run_is_only_scored_again(lab, tmp_path, differences):
    config = lab.config()
    first = lab.fit(tmp_path / "first", config)
    shutil.copytree(tmp_path / "first", tmp_path / "again", symlinks=True)
    again = lab.resume(tmp_path / "again", config)
    assert again.counters.step == 12
    assert again.state.metrics == first.state.metrics
    assert differences(tmp_path / "first", tmp_path / "again") == []


def test_a_finished_run_goes_on_when_its_limit_is_raised(lab, tmp_path, differences):
    config = lab.config(eval_every_steps=5)
    longer = lab.config(eval_every_steps=5, max_steps=20)
    lab.fit(tmp_path / "straight", longer)
    lab.fit(tmp_path / "resumed", lab.config(eval_every_steps=5, max_steps=10))
    lab.resume(tmp_path / "resumed", longer)
    assert differences(tmp_path / "straight", tmp_path / "resumed") == []
    assert config.trainer.max_steps == 12


def test_a_damaged_last_checkpoint_costs_steps_and_no_bits(lab, tmp_path, differences):
    config = lab.config(checkpoint_every_steps=3)
    lab.fit(tmp_path / "straight", config)
    lab.fit_until(tmp_path / "resumed", config, 11)
    (tmp_path / "resumed/checkpoints/step-00000009/training.safetensors").write_bytes(b"")
    lab.resume(tmp_path / "resumed", config)
    assert differences(tmp_path / "straight", tmp_path / "resumed") == []


def test_a_best_checkpoint_that_is_damaged_gives_way_to_the_best_before_it(lab, tmp_path, differences):
    config = lab.config(eval_every_steps=3)  # each score is better than the one before
    lab.fit(tmp_path / "straight", config)
    lab.fit_until(tmp_path / "resumed", config, 11)
    folder = tmp_path / "resumed/checkpoints"
    assert (folder / "best").resolve().name == "step-00000009"
    (folder / "step-00000009/model.safetensors").write_bytes(b"")
    trainer = lab.trainer(tmp_path / "resumed", config)
    trainer.resume()
    assert (folder / "best").resolve().name == "step-00000006"
    assert trainer.counters.best_step == 6
    trainer.fit()
    assert differences(tmp_path / "straight", tmp_path / "resumed") == []


@pytest.mark.parametrize("is_over", [False, True])
def test_where_no_best_is_left_the_next_evaluation_chooses_one(lab, tmp_path, caplog, monkeypatch, is_over):
    monkeypatch.setattr(logging.getLogger("rnnlab"), "propagate", True)
    worse = SGDConfig(name="sgd", lr=50.0)
    config = lab.config(eval_every_steps=2, optimizer=worse, clip_grad_norm=50.0, max_steps=6 if is_over else 12)
    first = lab.fit(tmp_path, lab.config(eval_every_steps=2, optimizer=worse, clip_grad_norm=50.0, max_steps=6))
    best = first.counters.best_step
    assert best < 6, "the rate is meant to make later steps worse"
    (tmp_path / f"checkpoints/step-{best:08d}/model.safetensors").write_bytes(b"")
    again = lab.trainer(tmp_path, config)
    with caplog.at_level(logging.WARNING, "rnnlab"):
        again.resume()
    assert f"step-{best:08d}/model.safetensors is damaged" in caplog.text
    assert "it was the best: the next evaluation chooses anew" in caplog.text
    assert not (tmp_path / "checkpoints/best").exists()
    assert math.isnan(again.counters.best_score)
    assert again.state.best_metrics == {}
    again.fit()
    assert again.counters.best_step >= 6
    assert (tmp_path / "checkpoints/best").resolve().name == f"step-{again.counters.best_step:08d}"
    assert again.state.metrics["valid/perplexity"] == again.counters.best_score, "and the weights are of that step"


def test_a_run_may_be_moved_between_death_and_resumption(lab, tmp_path, differences):
    config = lab.config(checkpoint_every_steps=3)
    lab.fit(tmp_path / "straight", config)
    lab.fit_until(tmp_path / "here", config, 8)
    (tmp_path / "there").mkdir()
    (tmp_path / "here").rename(tmp_path / "there/run")
    lab.resume(tmp_path / "there/run", config)
    assert differences(tmp_path / "straight", tmp_path / "there/run") == []


def test_the_number_of_threads_changes_no_bit(lab, tmp_path, differences):
    config = lab.config(checkpoint_every_steps=3)
    lab.fit(tmp_path / "straight", config)
    lab.fit_until(tmp_path / "resumed", config, 8)
    torch.set_num_threads(2)
    try:
        lab.resume(tmp_path / "resumed", config)
    finally:
        torch.set_num_threads(1)
    assert differences(tmp_path / "straight", tmp_path / "resumed") == []


def test_a_run_that_ended_before_its_first_checkpoint_begins_again(lab, tmp_path, differences):
    config = lab.config(dropout=0.3)
    lab.fit(tmp_path / "straight", config)
    lab.fit_until(tmp_path / "resumed", config, 5)
    assert not (tmp_path / "resumed/checkpoints").exists()
    (tmp_path / "resumed/checkpoints/.tmp-step-00000005-1").mkdir(parents=True)  # a kill half-way through the first
    trainer = lab.trainer(tmp_path / "resumed", config)
    trainer.resume()
    trainer.fit()
    assert differences(tmp_path / "straight", tmp_path / "resumed") == []


def test_a_run_none_of_whose_checkpoints_verifies_never_begins_again(lab, tmp_path):
    lab.fit_until(tmp_path, lab.config(checkpoint_every_steps=3), 5)
    (tmp_path / "checkpoints/step-00000003/manifest.json").write_text("")
    with pytest.raises(CheckpointError, match="none verifies"):
        lab.trainer(tmp_path, lab.config()).resume()


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"hidden_size": 7}, "decoder_weight is (18, 6), wanted (18, 7) (5 of 7 differ)"),
        ({"num_layers": 2}, "recurrent.weight_ih_l1 is not there, wanted (24, 6) (4 of 11 differ)"),
        ({"cell": Cell.gru}, "recurrent.weight_ih_l0 is (24, 5), wanted (18, 5) (4 of 7 differ)"),
    ],
)
def test_the_checkpoint_of_another_model_is_refused_with_the_first_difference(lab, tmp_path, changes, difference):
    lab.fit_until(tmp_path, lab.config(checkpoint_every_steps=1), 2)
    with pytest.raises(CheckpointError, match="the checkpoint in .* does not fit this run: model: ") as caught:
        lab.trainer(tmp_path, lab.config(**changes)).resume()
    assert str(caught.value).endswith(f"does not fit this run: model: {difference}")
    assert "\n" not in str(caught.value)


def test_the_checkpoint_of_another_optimizer_is_refused_in_one_line(lab, tmp_path):
    lab.fit_until(tmp_path, lab.config(checkpoint_every_steps=1), 2)
    path = tmp_path / "checkpoints/last/training.json"
    saved = path.read_bytes()
    assert b'"param_groups"' in saved
    path.write_bytes(saved.replace(b'"param_groups"', b'"other_groups"'))
    manifest = tmp_path / "checkpoints/last/manifest.json"
    content = json.loads(manifest.read_text())
    content["files"]["training.json"] = {
        "size": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    manifest.write_bytes(seal(content))
    with pytest.raises(CheckpointError, match="does not fit this run: optimizer: ") as caught:
        lab.trainer(tmp_path, lab.config()).resume()
    assert "\n" not in str(caught.value)


def test_a_checkpoint_without_an_average_does_not_fit_a_run_that_averages(lab, tmp_path):
    lab.fit_until(tmp_path, lab.config(checkpoint_every_steps=1), 2)
    with pytest.raises(CheckpointError, match="does not fit this run: averaged: .*n_averaged"):
        lab.trainer(tmp_path, lab.config(averaging=Averaging.ema)).resume()


def unlike_the_defaults(schema, **given):
    """An instance of a section in which every setting has another value than its default."""
    values = {}
    for setting in settings(schema).values():
        match setting.default:
            case bool() as default:
                values[setting.key] = not default
            case default if issubclass(setting.kind, Enum):
                values[setting.key] = next(member for member in setting.kind if member is not default)
            case _ if setting.kind is str:
                values[setting.key] = 'data/a b\'s "text", 50% {x}: [1] é.txt'
            case _ if setting.kind is list:
                values[setting.key] = [3, 70]
            case default if setting.optional and default is not None:
                values[setting.key] = None
            case default:
                values[setting.key] = setting.kind(7 if setting.kind is int else "0.30000000000000004")
                assert values[setting.key] != default
    return schema(**{**values, **given})


def whole_config(group, name, schema):
    sections = {
        "task": NextWordConfig(name="next_word", corpus="a.txt"),
        "optimizer": SGDConfig(name="sgd", lr=1e-5),
        "scheduler": SchedulerConfig(name="constant"),
        "model": unlike_the_defaults(ModelConfig, cell=Cell.gru),
        "trainer": unlike_the_defaults(TrainerConfig),
    }
    given = {"corpus": "b.csv"} if issubclass(schema, CorpusConfig) else {}
    if group != "model":
        sections[group] = unlike_the_defaults(schema, name={"adam": "adamw"}.get(name, name), **given)
    return TrainConfig(**sections, seed=2**32 - 1, name="naïve/run 1", dry_run=True)


CHOICES = [(group, name, schema) for group, schemas in SCHEMAS.items() for name, schema in schemas.items()]


@pytest.mark.parametrize(("group", "name", "schema"), CHOICES, ids=[f"{group}={name}" for group, name, _ in CHOICES])
def test_the_settings_that_a_run_keeps_are_those_it_was_made_with(group, name, schema):
    config = whole_config(group, name, schema)
    back = train_settings(json.loads(json.dumps(plain(config))))
    assert back == config
    for section in ("task", "model", "optimizer", "scheduler", "trainer"):
        assert type(getattr(back, section)) is type(getattr(config, section))


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_both_names_of_a_schema_are_kept(lab, name):
    config = lab.config(optimizer=AdamConfig(name=name, lr=0.1))
    assert train_settings(plain(config)).optimizer == config.optimizer


TEXTS = ["$5", "C:\\x", "a\nb", "${oc.env:HOME}", "a ${seed} b", "\\${x}", "${x"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_kept_text_is_read_as_text_and_nothing_is_looked_up(lab, text):
    config = lab.config()
    config.task.corpus = text
    assert train_settings(plain(config)).task.corpus == text
