"""Tasks on tiny corpora, with models that nobody has trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rnnlab.config import (
    Cell,
    ModelConfig,
    MusicConfig,
    NextWordConfig,
    SentimentConfig,
    TaskConfig,
    TrainerConfig,
)
from rnnlab.tasks import Task, build_task

NAMES = ("next_word", "sentiment", "music")
SCHEMAS: dict[str, type[TaskConfig]] = {
    "next_word": NextWordConfig,
    "sentiment": SentimentConfig,
    "music": MusicConfig,
}


class Tasks:
    """Makes tasks and models."""

    def __init__(self, corpora: dict[str, Path]) -> None:
        self._corpora = corpora

    def new(self, name: str, *, trainer: dict[str, Any] | None = None, **settings: Any) -> Task:
        """A task whose corpus is not read yet."""
        settings = {"corpus": str(self._corpora[name]), **settings}
        sizes = TrainerConfig(batch_size=8, bptt_len=None if name == "sentiment" else 7)
        return build_task(SCHEMAS[name](name=name, **settings), replace(sizes, **(trainer or {})), 0)

    def read(self, name: str, **arguments: Any) -> Task:
        """A task with its corpus read."""
        task = self.new(name, **arguments)
        task.read_corpus()
        return task

    def model(self, task: Task, cell: str = "lstm", **settings: Any) -> nn.Module:
        """A small model for a task, with weights large enough to matter."""
        torch.manual_seed(1)
        model = task.build_model(ModelConfig(**{"cell": Cell(cell), "hidden_size": 6, "embedding_size": 5, **settings}))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(3)
        return model


@pytest.fixture(scope="session")
def tasks(corpora: dict[str, Path]) -> Tasks:
    return Tasks(corpora)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param
