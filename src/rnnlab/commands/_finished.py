"""Open a finished run: its settings, its task with the vocabulary it was trained on, its model with its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from rnnlab.config import TrainConfig, UseConfig, train_settings
from rnnlab.errors import CheckpointError
from rnnlab.hardware import choose_device, set_threads, tune_allocator
from rnnlab.runs import find_run, read_json
from rnnlab.tasks import Task, build_task
from rnnlab.training.checkpoint import load_model


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that can be used."""

    folder: Path
    config: TrainConfig
    task: Task
    model: nn.Module
    device: torch.device


def open_run(use: UseConfig) -> FinishedRun:
    """Open the run that a command names.

    Raises:
        CheckpointError: there is no such run, or it is damaged, or its weights do not fit its settings.
        ConfigError: the device is not there.
    """
    folder = find_run(use.run)
    device = choose_device(use.device.value)
    set_threads(use.threads)
    tune_allocator()
    config = saved_settings(folder)
    task = build_task(config.task, config.trainer, config.seed)
    task.restore(read_json(folder / "vocabulary.json"))
    model = task.build_model(config.model)
    try:
        model.load_state_dict(load_model(folder / "checkpoints", use.checkpoint.value))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"the weights in {folder} are of another model than its settings: {reason}") from error
    return FinishedRun(folder, config, task, model.to(device).eval(), device)


def saved_settings(folder: Path) -> TrainConfig:
    """Read the settings a run was trained with.

    Raises:
        CheckpointError: run.json is damaged or of another rnnlab.
    """
    content = read_json(folder / "run.json")
    try:
        if content["format"] != 1:
            raise ValueError(f"format {content['format']!r}, wanted 1")
        return train_settings(content["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / 'run.json'} cannot be read: {error}") from error


def check_corpus(folder: Path, task: Task) -> None:
    """Refuse other data than the run was trained on.

    Raises:
        CheckpointError: the encoded splits have another hash than run.json names.
    """
    recorded = read_json(folder / "run.json").get("corpus", {}).get("sha256")
    if recorded != task.corpus["sha256"]:
        raise CheckpointError(
            f"corpus {task.corpus['name']} is not the one {folder.name} was trained on: its encoded splits hash to "
            f"{task.corpus['sha256'][:12]}, the run's to {str(recorded)[:12]}; start a new run"
        )
