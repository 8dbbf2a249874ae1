"""rnnlab train: settings -> corpus -> model -> run folder -> training -> test score."""

from __future__ import annotations

import logging
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from torch import nn

from rnnlab import startup
from rnnlab.cells.stack import RecurrentStack
from rnnlab.commandline.compose import Request
from rnnlab.commands._changes import Changes, allowed_before, record_changes, resume_changes
from rnnlab.commands._finished import build_model, check_corpus, check_size, restore_task, saved_settings
from rnnlab.commands._first_look import dry_run, measure_bptt_len
from rnnlab.commands._fit import fit, make_trainer
from rnnlab.commands._launch import is_supervised
from rnnlab.commands._processes import follow, read_corpus, ready
from rnnlab.commands._record import num_parameters, record_run
from rnnlab.config import NO_HYPERPARAMETERS, CorpusConfig, CosineConfig, Precision, TrainConfig
from rnnlab.data import SequenceBatches
from rnnlab.disk import probe
from rnnlab.errors import CheckpointError, ConfigError, LostRankError
from rnnlab.hardware import SetUp
from rnnlab.json_files import read_json
from rnnlab.run_lock import lock_run
from rnnlab.run_lookup import find_run
from rnnlab.runs import begin_run, check_free, record_result, run_name, telling_name
from rnnlab.schema import shown
from rnnlab.tasks import Task, build_task
from rnnlab.training.alone import Processes
from rnnlab.training.checkpoint import has_saved
from rnnlab.training.console import log_to
from rnnlab.training.counters import count_steps
from rnnlab.training.fits import CHANGEABLE
from rnnlab.training.place import Place, this_place
from rnnlab.training.precision import autocast

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
    place = this_place()
    log_to(None)
    log.disabled = place is not None and place.rank > 0
    try:
        return _start(request, place) if request.settings.resume is None else _resume(request, place)
    except LostRankError as error:
        if place is None or (place.rank == 0 and not is_supervised()):
            raise
        return error.exit_code  # whoever started the processes says which was lost


def _start(request: Request, place: Place | None) -> int:
    """Train a new run."""
    config: TrainConfig = request.settings
    if config.name is not None and (place is None or place.rank == 0):
        check_free(config.name)
    with ready(config.trainer, place) as (device, machine, ranks):
        return _start_ready(request, device, machine, ranks)


def _start_ready(request: Request, device: torch.device, machine: SetUp, ranks: Processes) -> int:
    """Train a new run on a device."""
    config: TrainConfig = request.settings
    task, measured = _read_task(request, device, ranks)
    windows = task.train_windows(0)  # a corpus too short for its windows is told before there is a folder
    startup.lap("corpus")
    _check_warmup(config, count_steps(task, config.trainer))
    torch.manual_seed(config.seed)
    model = build_model(task, config).to(device)
    backend = _backend(task, model, config.trainer.precision, device)
    padding = {"padding_share": windows.padding_share} if isinstance(windows, SequenceBatches) else {}
    parameters = num_parameters(model)

    def say_what_runs() -> None:
        if isinstance(windows, SequenceBatches):
            share = 100 * padding["padding_share"]
            log.info("batches: %d an epoch; padding %.1f %% of the steps", windows.num_batches, share)
        log.info("model: %s, %s parameters; cells: %s", config.model.cell.value, f"{parameters:,}", backend)
        log.info("device: %s, %s", device, machine)

    if config.dry_run:
        say_what_runs()
        dry_run(task, model, config.trainer.precision, device)
        return 0
    ranks.seed(config.seed)
    if not ranks.is_first:
        folder = ranks.from_first(Path)
        return follow(make_trainer(folder, config, task, model, device, ranks))
    with begin_run(config.name or _own_name(request), exact=config.name is not None) as folder:
        log_to(folder)
        say_what_runs()
        log.info("run folder: %s", folder)
        facts = {"backend": backend, "device": str(device), **machine._asdict(), "baseline": task.baseline_loss()}
        record_run(folder, request, task, {**facts, **padding, **measured, "num_parameters": parameters})
        record_result(folder, "running", {})
        ranks.from_first(lambda: folder)
        return fit(folder, make_trainer(folder, config, task, model, device, ranks))


def _read_task(request: Request, device: torch.device, ranks: Processes) -> tuple[Task, dict[str, Any]]:
    """Return the task with its corpus read, and what was measured to settle the length of its windows."""
    config: TrainConfig = request.settings
    task = build_task(config.task, config.trainer, config.seed)
    if isinstance(config.task, CorpusConfig):
        log.info("reading corpus %s", config.task.corpus)
    read_corpus(task, ranks)
    if not config.trainer.auto_bptt_len:
        return task, {}
    length, facts = ranks.from_first(lambda: measure_bptt_len(task, config, device))
    config.trainer.bptt_len, config.trainer.auto_bptt_len = length, False
    request.config["trainer"] |= {"bptt_len": length, "auto_bptt_len": False}
    settled = build_task(config.task, config.trainer, config.seed)
    read_corpus(settled, ranks)
    return settled, {"measured_bptt": facts}


def _own_name(request: Request) -> str:
    """Name a run after task, model and what was typed that changes what is learned: `music-lstm-lr=0.003`."""
    values = {"task": request.settings.task.name, "model": request.choices["model"]}
    for text in request.overrides:
        key, _, value = text.partition("=")
        if key.lstrip("+") not in UNNAMED:
            values[key] = Path(value).stem if key == "task.corpus" else value
    return telling_name(values, choices=("task", "model", "optimizer", "scheduler", "experiment"))


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


def _resume(request: Request, place: Place | None) -> int:
    """Go on from a run's newest checkpoint, with its own settings but for those that may change."""
    folder = find_run(request.settings.resume, has_begun=False)
    if place is not None and place.rank > 0:
        return _resume_locked(folder, request, place)
    with lock_run(folder):
        probe(folder)
        if (folder / "checkpoints").is_dir():
            probe(folder / "checkpoints")
        return _resume_locked(folder, request, place)


def _resume_locked(folder: Path, request: Request, place: Place | None) -> int:
    """Go on with a run that no process but those of the same start can touch now."""
    if not (folder / "run.json").exists():
        name = quote(run_name(folder))
        raise CheckpointError(f"{folder} was left before training began; start it again: rnnlab train ... name={name}")
    # A run that has never saved begins again; one that is done has.
    result = folder / "result.json"
    is_first = place is None or place.rank == 0  # which sees to half-made links, too
    if (
        is_first
        and not has_saved(folder / "checkpoints")
        and result.exists()
        and read_json(result).get("status") == "done"
    ):
        raise CheckpointError(f"no checkpoint in {folder}, though the run is done: they were removed; start a new run")
    config = saved_settings(folder)
    changes = resume_changes(request, config)
    with ready(config.trainer, place) as (device, machine, ranks):
        return _resume_ready(folder, config, changes, device, machine, ranks)


def _resume_ready(
    folder: Path, config: TrainConfig, changes: Changes, device: torch.device, machine: SetUp, ranks: Processes
) -> int:
    """Go on with a run on a device."""
    task = restore_task(config, folder)
    read_corpus(task, ranks)
    startup.lap("corpus")
    allowed = allowed_before(folder) | changes.allowed
    check_corpus(folder, task, may_differ="task.corpus" in changes.allowed)
    if ranks.is_first:
        log_to(folder)
    log.info("device: %s, %s", device, machine)
    check_size(task, config, folder)
    torch.manual_seed(config.seed)  # as at the start: there may be no checkpoint yet, or a roll-back leads there
    model = build_model(task, config).to(device)
    ranks.seed(config.seed)
    trainer = make_trainer(folder, config, task, model, device, ranks)
    trainer.resume(allowed)  # a checkpoint that cannot be used leaves the run as it was
    trainer.state.units = _units_seen(folder)
    if not ranks.is_first:
        return follow(trainer)
    for key, (old, new) in changes.values.items():
        log.info("%s: %s, was %s", key, shown(new), shown(old))
    record_changes(folder, trainer.counters.step, changes, task)
    return fit(folder, trainer)


def _units_seen(folder: Path) -> dict[str, Any]:
    """What an evaluation saw of the units, which stays true until the next; result.json itself is written anew."""
    result = folder / "result.json"  # not there yet where the run was killed in its first moments
    try:
        units = read_json(result).get("units") if result.is_file() else None
    except CheckpointError as error:
        log.warning("%s; it is written anew", error)
        units = None
    return units if isinstance(units, dict) else {}
