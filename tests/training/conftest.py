"""A laboratory for the trainer: tiny runs, runs that die, and what is left of two of them held against each other."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.tensor_pb2 import TensorProto  # pyright: ignore[reportAttributeAccessIssue]

from rnnlab.config import (
    AdamConfig,
    AddingConfig,
    BallConfig,
    Cell,
    CopyConfig,
    ModelConfig,
    MusicConfig,
    NextWordConfig,
    SchedulerConfig,
    SentimentConfig,
    TaskConfig,
    TrainConfig,
    TrainerConfig,
)
from rnnlab.data.windows import Window
from rnnlab.tasks import Task, build_task
from rnnlab.training.checkpoint import load_training
from rnnlab.training.ranks import Ranks
from rnnlab.training.trainer import Trainer

CPU = torch.device("cpu")


class Killed(BaseException):
    """Ends a run between two steps, as an unhandled error would."""


class Lab:
    """Makes trainers on tiny corpora; a task's corpus is read once."""

    def __init__(self, corpora: dict[str, Path]) -> None:
        self._corpora = corpora
        self._tasks: dict[Any, Task] = {}

    def config(self, task: str = "next_word", **changes: Any) -> TrainConfig:
        """Small settings; `changes` name fields of the trainer or the model, or whole sections."""
        corpora = {name: str(path) for name, path in self._corpora.items()}
        drawn = {"train_sequences": 60, "score_sequences": 12}
        tasks: dict[str, TaskConfig] = {
            "next_word": NextWordConfig(name="next_word", corpus=corpora["next_word"]),
            "sentiment": SentimentConfig(name="sentiment", corpus=corpora["sentiment"], max_len=8),
            "music": MusicConfig(name="music", corpus=corpora["music"]),
            "adding": AddingConfig(name="adding", seq_len=8, **drawn),
            "copy": CopyConfig(name="copy", delay=3, **drawn),
            "ball": BallConfig(name="ball", seq_len=12, **drawn),
        }
        model = ModelConfig(cell=Cell.lstm, hidden_size=6, embedding_size=5)
        trainer = TrainerConfig(
            batch_size={"next_word": 16, "sentiment": 20}.get(task, 12),
            bptt_len=None if task in ("sentiment", "adding") else 9,
            max_epochs=None,
            max_steps=12,
            log_every_steps=2,
            num_samples=1,
            sample_len=6,
            histograms=False,
            figures=False,
        )
        sections = {"optimizer": AdamConfig(name="adam", lr=0.01), "scheduler": SchedulerConfig(name="constant")}
        for section in ("task", "optimizer", "scheduler", "seed"):
            if section in changes:
                sections[section] = changes.pop(section)
        of_model = {key: changes.pop(key) for key in list(changes) if key in ModelConfig.__slots__}
        return TrainConfig(
            **{"task": tasks[task], "seed": 3, **sections},
            model=replace(model, **of_model),
            trainer=replace(trainer, **changes),
        )

    def task(self, config: TrainConfig) -> Task:
        """The task with its corpus read; trainers do not change it."""
        trainer = config.trainer  # and what tasks read of it
        key = (repr(config.task), trainer.batch_size, trainer.bptt_len, trainer.random_bptt, config.seed)
        if key not in self._tasks:
            self._tasks[key] = build_task(config.task, config.trainer, config.seed)
            self._tasks[key].read_corpus()
        return self._tasks[key]

    def trainer(self, folder: Path, config: TrainConfig, ranks: Ranks | None = None) -> Trainer:
        """A trainer with weights drawn from the seed, as `rnnlab train` makes it."""
        folder.mkdir(parents=True, exist_ok=True)
        task = self.task(config)
        torch.manual_seed(config.seed)
        model = task.build_model(config.model)
        if ranks is not None:
            ranks.seed(config.seed)
        return Trainer(task, model, config, folder, CPU, report=lambda facts: None, ranks=ranks)

    def fit(self, folder: Path, config: TrainConfig) -> Trainer:
        """A whole run."""
        trainer = self.trainer(folder, config)
        trainer.fit()
        return trainer

    def fit_until(self, folder: Path, config: TrainConfig, step: int, *, resume: bool = False) -> Trainer:
        """A run that dies once it has made `step` updates, before it makes the next."""
        trainer = self.trainer(folder, config)
        if resume:
            trainer.resume()
        make_step = trainer._step

        def step_or_die(group: list[Window]) -> dict[str, float]:
            if trainer.counters.step == step:
                raise Killed
            return make_step(group)

        trainer._step = step_or_die
        with pytest.raises(Killed):
            trainer.fit()
        return trainer

    def resume(self, folder: Path, config: TrainConfig) -> Trainer:
        """Go on to the end, in a process whose generator stands anywhere."""
        trainer = self.trainer(folder, config)
        torch.manual_seed(987)
        trainer.resume()
        trainer.fit()
        return trainer


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch):
    """What a power cut would take away is no subject here but for one test, which asks that fsync be called."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="session")
def lab(corpora: dict[str, Path]) -> Lab:
    return Lab(corpora)


def scalars(folder: Path) -> list[tuple[str, int, bytes]]:
    """Every value in a run's event files, in order: what the clock and the settings are aside."""
    found = []
    for path in sorted(folder.glob("events*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if not value.tag.startswith(("speed/", "_hparams_")):
                    found.append((value.tag, event.step, value.tensor.SerializeToString()))
    return found


def differences(one: Path, other: Path) -> list[str]:
    """Where two runs differ: everything in the last checkpoint, to the last bit, and all that TensorBoard shows."""
    weights, states = zip(*(load_training(folder / "checkpoints") for folder in (one, other)), strict=True)
    found = [*_unequal(weights[0], weights[1], "weights"), *_unequal(states[0], states[1], "state")]
    found += ["best"] * (_target(one) != _target(other))
    found += ["scalars"] * (scalars(one) != scalars(other))
    lines, others = ((folder / "metrics.jsonl").read_bytes() for folder in (one, other))
    found += ["metrics.jsonl"] * (lines != others)
    return found


def _target(folder: Path) -> str:
    return (folder / "checkpoints" / "best").resolve().name


def _unequal(one: Any, other: Any, name: str) -> Iterator[str]:
    if name in ("state.counters.seconds", "state.events"):  # the clock's
        return
    if type(one) is not type(other):
        yield f"{name}: {type(one).__name__} and {type(other).__name__}"
    elif isinstance(one, dict | list | tuple):
        keys, others = (value if isinstance(value, dict) else range(len(value)) for value in (one, other))
        if set(keys) != set(others):  # safetensors keeps no order
            yield f"{name}: keys"
        else:
            for key in keys:
                yield from _unequal(one[key], other[key], f"{name}.{key}")
    elif isinstance(one, torch.Tensor):
        if one.dtype != other.dtype or not torch.equal(one, other):
            yield name
    elif one != other and not (isinstance(one, float) and math.isnan(one) and math.isnan(other)):
        yield f"{name}: {one} and {other}"


@pytest.fixture(scope="session", name="scalars")
def scalars_fixture():
    return scalars


@pytest.fixture(scope="session", name="differences")
def differences_fixture():
    return differences


@pytest.fixture
def points():
    """The numbers of a run by tag: {step: value}."""

    def read(folder):
        found = {}
        for tag, step, content in scalars(folder):
            tensor = TensorProto.FromString(content)
            if tensor.float_val:
                found.setdefault(tag, {})[step] = tensor.float_val[0]
        return found

    return read
