"""rnnlab train: settings -> corpus -> model -> run folder -> training -> test score."""

from __future__ import annotations

import logging
import time
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from torch import nn

from rnnlab import startup
from rnnlab.cells.stack import RecurrentStack
from rnnlab.commandline.compose import Request
from rnnlab.commands._changes import allowed_before, record_changes, resume_changes
from rnnlab.commands._finished import build_model, check_corpus, restore_task, saved_settings
from rnnlab.commands._held_out import held_out
from rnnlab.commands._record import num_parameters, record_result, record_run
from rnnlab.commands._tables import print_scores
from rnnlab.config import NO_HYPERPARAMETERS, CorpusConfig, CosineConfig, Precision, TrainConfig
from rnnlab.data import SequenceBatches
from rnnlab.disk import probe
from rnnlab.errors import CannotWriteError, CheckpointError, ConfigError, StoppedError
from rnnlab.hardware import choose_device, set_up
from rnnlab.inspection.chains import can_unroll
from rnnlab.inspection.xray import truncation_facts
from rnnlab.runs import begin_run, check_free, find_run, lock_run, read_json, run_name, telling_name
from rnnlab.schema import shown
from rnnlab.tasks import Task, build_task
from rnnlab.tasks.language import LanguageTask
from rnnlab.tasks.sentiment import Sentiment
from rnnlab.training import warmup
from rnnlab.training.checkpoint import has_saved
from rnnlab.training.counters import count_steps
from rnnlab.training.fits import CHANGEABLE
from rnnlab.training.logs import log_to
from rnnlab.training.precision import autocast
from rnnlab.training.signals import Interrupted
from rnnlab.training.trainer import Trainer

log = logging.getLogger("rnnlab")

# How long and where a run trains is no part of its name.
UNNAMED = NO_HYPERPARAMETERS | {"task", "model", "trainer", *(f"trainer.{name}" for name in CHANGEABLE)}
UNNAMED |= {"trainer.eval_every_steps"}


def run(request: Request) -> int:
    """Train a new run, or go on with one.

    Returns:
        Exit code 0.

    Raises:
        UserError: see `rnnlab.errors`; the run's result.json says the same.
    """
    config: TrainConfig = request.settings
    log_to(None)
    if config.resume is not None:
        return _resume(request)
    if config.name is not None:
        check_free(config.name)
    device = choose_device(config.trainer.device.value)
    machine = set_up(config.trainer.threads, keep_memory=config.trainer.tune_allocator)
    task = build_task(config.task, config.trainer, config.seed)
    if isinstance(config.task, CorpusConfig):
        log.info("reading corpus %s", config.task.corpus)
    task.read_corpus()
    measured: dict[str, Any] = {}
    if config.trainer.auto_bptt_len:
        measured = {"measured_bptt": _measure_bptt_len(task, request, device)}
        task = build_task(config.task, config.trainer, config.seed)
        task.read_corpus()
    windows = task.train_windows(0)  # a corpus too short for its windows is told before there is a folder
    startup.lap("corpus")
    _check_warmup(config, count_steps(task, config.trainer))
    torch.manual_seed(config.seed)
    model = build_model(task, config).to(device)
    backend = _backend(task, model, config.trainer.precision, device)
    parameters = num_parameters(model)

    padding = {"padding_share": windows.padding_share} if isinstance(windows, SequenceBatches) else {}

    def say_what_runs() -> None:
        if isinstance(windows, SequenceBatches):
            share = 100 * padding["padding_share"]
            log.info("batches: %d an epoch; padding %.1f %% of the steps", windows.num_batches, share)
        log.info("model: %s, %s parameters; cells: %s", config.model.cell.value, f"{parameters:,}", backend)
        log.info("device: %s, %s", device, machine)

    if config.dry_run:
        say_what_runs()
        return _dry_run(task, model, config.trainer.precision, device)
    with begin_run(config.name or _own_name(request), exact=config.name is not None) as folder:
        log_to(folder)
        say_what_runs()
        log.info("run folder: %s", folder)
        facts = {"backend": backend, "device": str(device), **machine._asdict()}
        record_run(folder, request, task, {**facts, **padding, **measured, "num_parameters": parameters})
        record_result(folder, "running", {})
        return _fit(folder, config, task, _trainer(folder, config, task, model, device))


def _own_name(request: Request) -> str:
    """Name a run after task, model and what was typed that changes what is learned: `music-lstm-lr=0.003`."""
    values = {"task": request.settings.task.name, "model": request.choices["model"]}
    for text in request.overrides:
        key, _, value = text.partition("=")
        if key.lstrip("+") not in UNNAMED:
            values[key] = Path(value).stem if key == "task.corpus" else value
    return telling_name(values, choices=("task", "model", "optimizer", "scheduler", "experiment"))


def _measure_bptt_len(task: Task, request: Request, device: torch.device) -> dict[str, Any]:
    """Put the length that the truncation meter finds in the place of the one given; return what was measured."""
    config: TrainConfig = request.settings
    torch.manual_seed(config.seed)
    model = build_model(task, config).to(device)
    if not can_unroll(model):
        raise ConfigError(f"trainer.auto_bptt_len=true cannot measure the model of task={task.name}; set false")
    log.info("trainer.auto_bptt_len: a warm-up of %d steps, to be thrown away", warmup.WARM_STEPS)
    warmup.warm_up(task, model, config, device)
    model.eval()
    found = held_out(task, model, "valid", rows=warmup.ROWS, steps=warmup.LONGEST)
    window = found.window.to(device)

    def loss() -> torch.Tensor:
        outputs, _ = task.forward(model, window, found.state)
        return task.nats(model, outputs, window) / window.num_targets

    length, met = warmup.measure(model, loss, window.inputs.shape[0])
    facts = truncation_facts(met, window.inputs.shape[0])
    log.info("trainer.bptt_len=%d: the shortest whose gradient is that of %d steps", length, facts["full_steps"])
    config.trainer.bptt_len, config.trainer.auto_bptt_len = length, False
    request.config["trainer"] |= {"bptt_len": length, "auto_bptt_len": False}
    return facts


def _backend(task: Task, model: nn.Module, precision: Precision, device: torch.device) -> str:
    """Say which engine runs the recurrence, and why; the model of another package's task may have one of its own."""
    recurrent = getattr(model, "recurrent", None)
    if not isinstance(recurrent, RecurrentStack):
        return "the task's own"
    with autocast(precision, device):
        return str(recurrent.backend_in_use(has_lengths=task.has_lengths))


def _check_warmup(config: TrainConfig, steps: int | None) -> None:
    """Refuse a warm-up that lasts as long as the passes asked for: the rate would never come down.

    Raises:
        ConfigError: it does.
    """
    if isinstance(config.scheduler, CosineConfig) and steps is not None and config.scheduler.warmup_steps >= steps:
        raise ConfigError(
            f"scheduler.warmup_steps must be below the {steps} steps of trainer.max_epochs={config.trainer.max_epochs}"
            f", got {config.scheduler.warmup_steps}; try {steps // 10}"
        )


def _resume(request: Request) -> int:
    """Go on from a run's newest checkpoint, with its own settings but for those that may change."""
    folder = find_run(request.settings.resume)
    with lock_run(folder):
        probe(folder)
        if (folder / "checkpoints").is_dir():
            probe(folder / "checkpoints")
        return _resume_locked(folder, request)


def _resume_locked(folder: Path, request: Request) -> int:
    """Go on with a run that no other process can touch now."""
    if not (folder / "run.json").exists():
        name = quote(run_name(folder))
        raise CheckpointError(f"{folder} was left before training began; start it again: rnnlab train ... name={name}")
    # A run that has never saved begins again; one that is done has.
    result = folder / "result.json"
    if not has_saved(folder / "checkpoints") and result.exists() and read_json(result).get("status") == "done":
        raise CheckpointError(f"no checkpoint in {folder}, though the run is done: they were removed; start a new run")
    config = saved_settings(folder)
    changes = resume_changes(request, config)
    device = choose_device(config.trainer.device.value)
    machine = set_up(config.trainer.threads, keep_memory=config.trainer.tune_allocator)
    task = restore_task(config, folder)
    task.read_corpus()
    startup.lap("corpus")
    allowed = allowed_before(folder) | changes.allowed
    check_corpus(folder, task, may_differ="task.corpus" in changes.allowed)
    log_to(folder)
    log.info("device: %s, %s", device, machine)
    torch.manual_seed(config.seed)  # as at the start: there may be no checkpoint yet, or a roll-back leads there
    model = build_model(task, config).to(device)
    trainer = _trainer(folder, config, task, model, device)
    trainer.resume(allowed)  # a checkpoint that cannot be used leaves the run as it was
    for key, (old, new) in changes.values.items():
        log.info("%s: %s, was %s", key, shown(new), shown(old))
    record_changes(folder, trainer.counters.step, changes, task)
    return _fit(folder, config, task, trainer)


def _trainer(folder: Path, config: TrainConfig, task: Task, model: nn.Module, device: torch.device) -> Trainer:
    return Trainer(task, model, config, folder, device, report=partial(record_result, folder, "running"))


def _fit(folder: Path, config: TrainConfig, task: Task, trainer: Trainer) -> int:
    """Train and score the test split; result.json tells how the run stands, whatever happens."""
    try:
        record_result(folder, "running", trainer.facts())
        startup.lap("model")
        log.info("%s", startup.summary())
        trainer.fit()
    except (StoppedError, Interrupted) as error:
        record_result(folder, "stopped", trainer.facts(), error)
        raise StoppedError(f"{error}; go on: rnnlab train resume={quote(run_name(folder))}", error.exit_code) from None
    except BaseException as error:
        try:
            record_result(folder, "failed", trainer.facts(), error)
        except CannotWriteError as mistake:  # no news on a full disk: what ended the run is what counts
            log.warning("%s", mistake)
        raise
    facts = trainer.facts()
    record_result(folder, "done", facts)
    print_scores(f"{run_name(folder)}: {facts['steps']:,} steps in {facts['seconds']:,.0f} s", facts)
    name = quote(run_name(folder))
    example = f"evaluate run={name}"
    if isinstance(task, Sentiment | LanguageTask):
        example = f"predict run={name} text='not bad at all'" if isinstance(task, Sentiment) else f"generate run={name}"
    print(f"look: rnnlab show {name}, rnnlab board   use: rnnlab {example}")
    print(f"run: {folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder}")
    return 0


def _dry_run(task: Task, model: nn.Module, precision: Precision, device: torch.device) -> int:
    """Run one window forward and backward, write nothing."""
    window = task.train_windows(0)[0]
    count = window.num_targets
    window = window.to(device)
    began = time.perf_counter()
    with autocast(precision, device):
        outputs, _ = task.forward(model, window, None)
        loss = task.nats(model, outputs, window) / count
    loss.backward()
    milliseconds = 1e3 * (time.perf_counter() - began)
    shape = tuple(window.inputs.shape[:2])
    message = "dry run: first window (T, B) = %s, loss %.4f %s, %.0f ms"
    log.info(message, shape, float(loss.detach()), task.loss_unit, milliseconds)
    return 0
