"""Open a finished run: its settings, its task with the vocabulary it was trained on, its model with its weights."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rnnlab.commandline.checks import problems
from rnnlab.commandline.explain import explain
from rnnlab.config import CorpusConfig, TrainConfig, UseConfig
from rnnlab.errors import CheckpointError, ConfigError, DivergedError
from rnnlab.hardware import choose_device, set_up
from rnnlab.json_files import read_json
from rnnlab.run_lookup import find_run
from rnnlab.runs import run_name
from rnnlab.schema import train_settings
from rnnlab.tasks import Task, build_task
from rnnlab.training.checkpoint import load_model
from rnnlab.training.fits import weight_difference
from rnnlab.training.formats import MODEL
from rnnlab.training.precision import autocast

log = logging.getLogger("rnnlab")

MAX_VOCABULARY_BYTES = 1 << 28  # ten million words and more
_FILLING = ("normal_", "uniform_", "eye")
ALLOWANCE = 1 << 20  # bytes by which a model may be larger than its file before it is looked at more closely


class _Unfilled(TorchFunctionMode):
    """Fills no tensor that has no numbers: for that, torch would import its compiler, which takes 1.2 s."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        keywords = kwargs or {}
        if getattr(func, "__name__", "") in _FILLING:
            named = (keywords.get("tensor"), keywords.get("out"))
            filled = next((value for value in (*args[:1], *named) if isinstance(value, Tensor)), None)
            if filled is not None and filled.is_meta:
                return filled
        return func(*args, **keywords)


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that can be used."""

    folder: Path
    config: TrainConfig
    task: Task
    model: nn.Module
    device: torch.device

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision that the run was trained and scored in."""
        return autocast(self.config.trainer.precision, self.device)


def open_run(use: UseConfig) -> FinishedRun:
    """Open the run that a command names.

    Raises:
        CheckpointError: there is no such run, or it is damaged, or its weights do not fit its settings.
        ConfigError: the device or the backend is not there.
    """
    folder = find_run(use.run)
    device = choose_device(use.device.value)
    set_up(use.threads, keep_memory=True)
    config = saved_settings(folder)
    task = restore_task(config, folder)
    check_size(task, config, folder)
    model = build_model(task, config)
    weights = load_model(folder / "checkpoints", use.checkpoint.value, {"vocabulary": task.vocabulary_hash})
    if difference := weight_difference(weights, model.state_dict()):
        raise CheckpointError(f"the weights in {folder} are of another model than its settings: {difference}")
    model.load_state_dict(weights)
    return FinishedRun(folder, config, task, model.to(device).eval(), device)


def saved_settings(folder: Path) -> TrainConfig:
    """Read the settings a run was trained with.

    Raises:
        CheckpointError: run.json is damaged or of another rnnlab.
    """
    path = folder / "run.json"
    content = read_json(path)
    try:
        if content["format"] != 1:
            raise ValueError(f"format {content['format']!r}, wanted 1")
        config = train_settings(content["config"])
        if wrong := problems(config):
            raise ValueError(wrong[0])
    except KeyError as error:
        raise CheckpointError(f"{path} cannot be read: there is no {error}") from error
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {explain(error.__cause__ or error)}") from error
    if isinstance(config.task, CorpusConfig):
        config.task.corpus = _found_again(config.task.corpus, content.get("working_directory"))
    return config


def restore_task(config: TrainConfig, folder: Path) -> Task:
    """Build a run's task with the vocabulary it was trained on.

    Raises:
        CheckpointError: vocabulary.json is damaged or of another task.
    """
    task = build_task(config.task, config.trainer, config.seed)
    content = read_json(folder / "vocabulary.json", MAX_VOCABULARY_BYTES)
    try:
        task.restore(content)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    return task


def build_model(task: Task, config: TrainConfig) -> nn.Module:
    """Build a task's model.

    Raises:
        ConfigError: a backend that this machine or build does not have.
    """
    try:
        return task.build_model(config.model)
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error


def check_size(task: Task, config: TrainConfig, folder: Path) -> None:
    """Refuse to build a model that is much larger than what a run has saved: its settings may be a stranger's.

    Nothing of the size in question is allocated. A run that has saved nothing is what its settings say.

    Raises:
        CheckpointError: run.json describes another model than the checkpoints hold.
        ConfigError: as from `build_model`.
    """
    held = max((path.lstat().st_size for path in (folder / "checkpoints").glob(f"*/{MODEL}")), default=None)
    if held is None:
        return
    try:
        with torch.device("meta"), _Unfilled():  # shapes without numbers
            model = build_model(task, config)
    except (NotImplementedError, RuntimeError):
        return  # another package's model, whose making looks at its numbers
    asked = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    if asked > 2 * held + ALLOWANCE:
        raise CheckpointError(
            f"{folder / 'run.json'} describes a model of {asked:,} bytes, but its checkpoints hold {held:,}: it is "
            "damaged or of another run"
        )


def check_corpus(folder: Path, task: Task, *, may_differ: bool = False) -> None:
    """Refuse other data than the run was trained on, or, where they may differ, say so.

    Raises:
        CheckpointError: the encoded splits have another hash than run.json names.
    """
    recorded = read_json(folder / "run.json").get("corpus")
    expected = recorded.get("sha256") if isinstance(recorded, dict) else None
    if expected != task.corpus["sha256"]:
        difference = (
            f"corpus {task.corpus['name']} is not the one {folder.name} was trained on: its encoded splits hash to "
            f"{task.corpus['sha256'][:12]}, the run's to {str(expected)[:12]}"
        )
        if not may_differ:
            raise CheckpointError(f"{difference}; start a new run")
        log.warning("%s", difference)


def refuse_no_number(finished: FinishedRun, values: Mapping[str, float]) -> None:
    """Refuse to show what a diverged run computes as if it were a score: training does not, either.

    Args:
        finished: the run.
        values: numbers by the names that a message gives them.

    Raises:
        DivergedError: one of them is nan or infinite.
    """
    for tag, value in values.items():
        if not math.isfinite(value):
            raise DivergedError(
                f"{tag} of {run_name(finished.folder)} is {value}: its weights come from a run that diverged; "
                "rnnlab diagnose says what to try"
            )


def _found_again(corpus: str, working_directory: Any) -> str:
    """Return a corpus's name or path; a path that leads nowhere from here starts where the run was started."""
    # os.path, unlike Path, takes a name that no file system does for one that is not there.
    if isinstance(working_directory, str) and not os.path.exists(os.path.expanduser(corpus)):
        path = Path(working_directory) / corpus
        if os.path.exists(path):
            return str(path)
    return corpus
