"""Resumed equals uninterrupted, to the last bit: weights, optimizer, schedule, averages, states, generators, scores, log."""

import copy
import os
import shutil
import signal
import warnings
from dataclasses import fields

import pytest
import torch

from rnnlab.config import (
    AdamConfig,
    Averaging,
    Backend,
    Cell,
    CosineConfig,
    Device,
    Embedding,
    Initialisation,
    ModelConfig,
    MusicConfig,
    NextWordConfig,
    Nonlinearity,
    PlateauConfig,
    Pooling,
    Precision,
    RMSpropConfig,
    SchedulerConfig,
    SentimentConfig,
    SGDConfig,
    StepConfig,
    TrainConfig,
    TrainerConfig,
    Truncate,
    train_settings,
)
from rnnlab.errors import CheckpointError, StoppedError
from rnnlab.schema import plain
from rnnlab.training import trainer as trainer_module

TASKS = ("next_word", "sentiment", "music")
SGD = SGDConfig(name="sgd", lr=0.5, momentum=0.5)

# What is set besides, and after which updates the run dies. An epoch has 12 (next_word), 10 and 7 windows.
SCENARIOS = {
    "in the middle of an epoch": ({}, [8]),
    "between checkpoints": ({"checkpoint_every_steps": 4, "eval_every_steps": 6}, [7]),
    "at the end of an epoch": ({"max_steps": 14, "checkpoint_every_steps": None, "eval_every_steps": None}, ["epoch"]),
    "after an epoch's last partial group": ({"accumulate": 3, "checkpoint_every_steps": 1}, ["group"]),
    "while accumulating": ({"accumulate": 3, "checkpoint_every_steps": 2, "max_steps": 9}, [5]),
    "with a moving average": ({"averaging": Averaging.ema, "averaging_decay": 0.7}, [8]),
    "before the average begins": ({"averaging": Averaging.ema, "averaging_start_epoch": 1, "max_steps": 15}, [5]),
    "with a mean that began": ({"averaging": Averaging.mean, "averaging_start_epoch": 1, "max_steps": 18}, [14]),
    "with dropout": ({"dropout": 0.5, "num_layers": 2}, [8]),
    "with momentum and plateau": (
        {"optimizer": SGD, "scheduler": PlateauConfig(name="plateau", gamma=0.5), "eval_every_steps": 1},
        [8],
    ),
    "with a cosine": ({"scheduler": CosineConfig(name="cosine", warmup_steps=5), "max_epochs": 2}, [4]),
    "with steps and rmsprop": (
        {
            "optimizer": RMSpropConfig(name="rmsprop", lr=0.01, momentum=0.5),
            "scheduler": StepConfig(name="step", start_epoch=1),
            "max_steps": 16,
        },
        [8],
    ),
    "in bf16": ({"precision": Precision.bf16, "cell": Cell.gru}, [8]),
    "twice": ({"dropout": 0.3, "checkpoint_every_steps": 2}, [5, 9]),
    "after every step": ({"dropout": 0.3, "checkpoint_every_steps": 1, "max_steps": 7}, [1, 2, 3, 4, 5, 6]),
    "just before it stops early": (
        {"optimizer": SGDConfig(name="sgd", lr=1e-9), "patience": 3, "eval_every_steps": 2, "max_steps": 50},
        [7],
    ),
}


def stops(lab, config, wanted):
    """Updates after which to die, in numbers."""
    windows = len(lab.task(config).train_windows(0))
    groups = -(-windows // config.trainer.accumulate)
    return [{"epoch": windows, "group": groups}.get(stop, stop) for stop in wanted]


def config_of(lab, task, changes):
    sizes = {"music": {"batch_size": 24, "bptt_len": 50}}.get(task, {})
    return lab.config(task, **{"checkpoint_every_steps": 3, "eval_every_steps": 5, **sizes, **copy.deepcopy(changes)})


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("task", TASKS)
def test_a_run_that_died_and_was_resumed_is_the_run_that_did_not(lab, tmp_path, differences, task, scenario):
    changes, wanted = SCENARIOS[scenario]
    config = config_of(lab, task, changes)
    straight = lab.fit(tmp_path / "straight", config)
    for number, stop in enumerate(stops(lab, config, wanted)):
        lab.fit_until(tmp_path / "resumed", config, stop, resume=number > 0)
    resumed = lab.resume(tmp_path / "resumed", config)
    assert differences(tmp_path / "straight", tmp_path / "resumed") == []
    assert resumed.metrics == straight.metrics
    assert resumed.details == straight.details
    for name, tensor in straight.scored_model.state_dict().items():  # the best weights: those of the test score
        assert resumed.scored_model.state_dict()[name].equal(tensor)


@pytest.mark.parametrize("random_bptt", [False, True])
def test_windows_of_random_length_go_on_where_they_were(lab, tmp_path, differences, random_bptt):
    config = lab.config(random_bptt=random_bptt, bptt_len=12, max_steps=25, checkpoint_every_steps=4)
    lab.fit(tmp_path / "straight", config)
    lab.fit_until(tmp_path / "resumed", config, 15)  # in the second epoch, whose windows are others
    lab.resume(tmp_path / "resumed", config)
    assert differences(tmp_path / "straight", tmp_path / "resumed") == []


@pytest.mark.parametrize("cell", list(Cell))
@pytest.mark.parametrize("backend", ["auto", "reference", "cpu", "torch"])
def test_every_cell_on_every_backend_resumes_to_the_last_bit(lab, tmp_path, differences, cell, backend):
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


FORGOTTEN = {
    forget_state: ["state.model", "scalars"],
    forget_generator: ["state.model", "scalars"],
    forget_optimizer: ["state.model", "scalars"],
    forget_schedule: ["state.schedule", "scalars"],
    forget_average: ["weights", "state.averaged"],
    forget_position: ["state.model", "state.counters.index", "scalars"],
    forget_sums: ["scalars"],
    forget_best: ["state.counters.best_score"],
    forget_what_the_log_held: ["scalars"],
}


@pytest.mark.parametrize("forget", [None, *FORGOTTEN], ids=lambda forget: getattr(forget, "__name__", "forget_nothing"))
def test_whatever_is_forgotten_shows(lab, tmp_path, differences, monkeypatch, forget):
    """The test above can fail: each thing that a checkpoint holds is missed by it."""
    config = lab.config(
        dropout=0.3,
        averaging=Averaging.ema,
        averaging_decay=0.9,
        optimizer=SGDConfig(name="sgd", lr=2.0, momentum=0.9),
        scheduler=PlateauConfig(name="plateau", gamma=0.5, patience=1),
        eval_every_steps=2,
        checkpoint_every_steps=5,
        log_every_steps=4,
        max_steps=14,
    )
    lab.fit(tmp_path / "straight", config)
    lab.fit_until(tmp_path / "resumed", config, 7)
    load = trainer_module.load_training

    def load_and_forget(folder):
        weights, saved = load(folder)
        if forget is not None:
            forget(saved)
        return weights, saved

    monkeypatch.setattr(trainer_module, "load_training", load_and_forget)
    lab.resume(tmp_path / "resumed", config)
    found = differences(tmp_path / "straight", tmp_path / "resumed")
    if forget is None:
        assert found == []
    else:
        for name in FORGOTTEN[forget]:
            assert [entry for entry in found if entry.startswith(name)], (name, found)


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
        trainer._step = lambda group: make_step(group) if trainer.counters.step < 8 else os.kill(os.getpid(), 9)
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
    message = rf"stopped by {number.name} at step 7, state saved; go on with rnnlab train resume=stopped"
    with pytest.raises(StoppedError, match=message) as caught:
        trainer.fit()
    assert caught.value.exit_code == exit_code
    assert (tmp_path / "stopped/checkpoints/last").resolve().name == "step-00000007"
    resumed = lab.resume(tmp_path / "stopped", config)
    assert resumed.counters.step == 12
    assert differences(tmp_path / "straight", tmp_path / "stopped") == []


@pytest.mark.parametrize("eval_every_steps", [5, 7])
def test_a_signal_during_an_evaluation_stops_after_it(lab, tmp_path, differences, eval_every_steps):
    config = lab.config(eval_every_steps=eval_every_steps, max_steps=10)
    lab.fit(tmp_path / "straight", config)
    trainer = lab.trainer(tmp_path / "stopped", config)
    evaluate = trainer.score

    def score(split):
        if trainer.counters.step == 10:  # for 7, the evaluation after the last step
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(split)

    trainer.score = score
    with pytest.raises(StoppedError, match="stopped by SIGTERM at step 10, state saved"):
        trainer.fit()
    assert "test/loss" not in trainer.metrics
    lab.resume(tmp_path / "stopped", config)
    assert differences(tmp_path / "straight", tmp_path / "stopped") == []


def test_a_finished_run_is_only_scored_again(lab, tmp_path, differences):
    config = lab.config()
    first = lab.fit(tmp_path / "first", config)
    shutil.copytree(tmp_path / "first", tmp_path / "again", symlinks=True)
    again = lab.resume(tmp_path / "again", config)
    assert again.counters.step == 12
    assert again.metrics == first.metrics
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


def test_a_run_without_a_checkpoint_cannot_be_resumed(lab, tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint in .*: the run ended before its first; start it anew"):
        lab.trainer(tmp_path, lab.config()).resume()


@pytest.mark.parametrize("changes", [{"hidden_size": 7}, {"num_layers": 2}, {"cell": Cell.gru}])
def test_the_checkpoint_of_another_model_is_refused(lab, tmp_path, changes):
    lab.fit_until(tmp_path, lab.config(checkpoint_every_steps=1), 2)
    with pytest.raises(CheckpointError, match="the checkpoint in .* does not fit this model: ") as caught:
        lab.trainer(tmp_path, lab.config(**changes)).resume()
    assert "\n" not in str(caught.value)


def test_a_checkpoint_without_an_average_does_not_fit_a_run_that_averages(lab, tmp_path):
    lab.fit_until(tmp_path, lab.config(checkpoint_every_steps=1), 2)
    with pytest.raises(CheckpointError, match="does not fit this model: .*n_averaged"):
        lab.trainer(tmp_path, lab.config(averaging=Averaging.ema)).resume()


def configs():
    """Settings none of which is a default, in all the sections there are."""
    text = "data/a b's \"text\", 50% {x}: [1].txt"
    tasks = [
        NextWordConfig(name="next_word", corpus=text, min_count=4, max_vocab=99),
        SentimentConfig(
            name="sentiment",
            corpus=text,
            text_column="the text",
            label_column="1",
            max_len=None,
            truncate=Truncate.last,
            min_count=7,
            max_vocab=None,
        ),
        MusicConfig(name="music", corpus=text, max_len=None),
    ]
    model = ModelConfig(
        cell=Cell.rnn,
        hidden_size=3,
        num_layers=4,
        bidirectional=True,
        embedding=Embedding.one_hot,
        embedding_size=5,
        tie_weights=True,
        dropout=0.25,
        nonlinearity=Nonlinearity.relu,
        initialisation=Initialisation.uniform,
        init_range=0.1 + 0.2,
        forget_gate_bias=1e-7,
        pooling=Pooling.attention,
        backend=Backend.cpu,
    )
    trainer = TrainerConfig(
        batch_size=3,
        bptt_len=5,
        random_bptt=True,
        accumulate=2,
        clip_grad_norm=None,
        clip_grad_value=0.1,
        max_epochs=None,
        max_steps=7,
        max_minutes=1 / 3,
        patience=8,
        eval_every_steps=9,
        eval_batch_size=10,
        averaging=Averaging.mean,
        averaging_decay=0.5,
        averaging_start_epoch=11,
        precision=Precision.bf16,
        device=Device.cpu,
        threads=2,
        log_every_steps=13,
        histograms=True,
        checkpoint_every_steps=14,
        num_samples=0,
        sample_len=15,
    )
    optimizers = [
        SGDConfig(name="sgd", lr=1e-5, momentum=0.1, nesterov=True, weight_decay=0.2),
        AdamConfig(name="adam", lr=1.0, beta1=0.1, beta2=0.2, eps=1e-5),
        AdamConfig(name="adamw", lr=3.0),
        RMSpropConfig(name="rmsprop", lr=2.0, alpha=0.1, momentum=0.2, eps=1e-5),
    ]
    schedulers = [
        SchedulerConfig(name="constant"),
        StepConfig(name="step", gamma=0.1, start_epoch=0, every_epochs=2),
        PlateauConfig(name="plateau", gamma=0.1, patience=3, min_lr=0.01),
        CosineConfig(name="cosine", warmup_steps=0, final_share=0.5),
    ]
    for number, optimizer in enumerate(optimizers):
        yield TrainConfig(
            task=tasks[number % 3],
            model=model,
            optimizer=optimizer,
            scheduler=schedulers[number],
            trainer=trainer,
            seed=2**32 - 1,
            name="naïve/run 1",
            dry_run=True,
        )


@pytest.mark.parametrize("config", list(configs()), ids=lambda config: config.optimizer.name)
def test_the_settings_that_a_run_keeps_are_those_it_was_made_with(config):
    back = train_settings(plain(config))
    assert back == config
    for section in fields(TrainConfig):
        assert type(getattr(back, section.name)) is type(getattr(config, section.name))


def test_the_settings_above_leave_no_default_untried():
    for config in configs():
        defaults = {field.name: field.default for field in fields(TrainerConfig)}
        assert [name for name, default in defaults.items() if getattr(config.trainer, name) == default] == []
        defaults = {field.name: field.default for field in fields(ModelConfig)}
        assert [name for name, default in defaults.items() if getattr(config.model, name) == default] == []


@pytest.mark.parametrize("text", ["${oc.env:HOME}", "a ${seed} b", "${x", "$5", "???", "a\nb"])
def test_a_kept_text_is_read_as_text_and_nothing_is_looked_up(lab, text):
    config = lab.config()
    config.task.corpus = text
    assert train_settings(plain(config)).task.corpus == text
