"""rnnlab's own training step, driven from outside: the trainer's, not an imitation of it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from rnnlab.benchmarks.steps.cases import TrainCase
from rnnlab.benchmarks.steps.feed import Feed, given_task, settings
from rnnlab.training.parts import Part
from rnnlab.training.precision import autocast
from rnnlab.training.trainer import Trainer


class OwnLoop:
    """Trains step by step, as `rnnlab train` does between two log lines.

    Attributes:
        model: what is trained.
    """

    def __init__(self, case: TrainCase, feed: Feed, *, dropout: float, precision: str) -> None:
        """Build task, model and trainer; weights come by `load`."""
        config = settings(case, dropout=dropout, precision=precision)
        device = torch.device("cpu")
        task = given_task(case, feed)
        self.model = task.build_model(config.model)
        # Nothing is written: evaluation, logs and checkpoints are no part of a step.
        self._trainer = Trainer(task, self.model, config, Path(), device, report=lambda facts: None)
        self.model.train()
        self._windows = task.train_windows(0)
        self._index = 0
        self._window = self._windows[0]
        with autocast(config.trainer.precision, device):
            self.backend = str(self.model.recurrent.backend_in_use(has_lengths=task.has_lengths))  # pyright: ignore

    @property
    def part(self) -> Part:
        """Told which part of a step runs."""
        return self._trainer.steps.part

    @part.setter
    def part(self, part: Part) -> None:
        self._trainer.steps.part = part

    def load(self, weights: dict[str, Tensor]) -> None:
        """Take weights."""
        self.model.load_state_dict(weights)

    def step(self) -> float:
        """Make one optimizer update; return the mean loss, nats per target."""
        with self.part("data"):
            self._window = self._windows[self._index % len(self._windows)]
        self._index += 1
        return self._trainer._step([self._window])["loss"]

    def num_tokens(self) -> int:
        """Return the tokens that the last step read."""
        return self._window.num_tokens
