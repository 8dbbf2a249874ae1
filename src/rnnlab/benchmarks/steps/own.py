"""rnnlab's own training step, driven from outside: the trainer's, not an imitation of it."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnlab.benchmarks.steps.cases import TrainCase
from rnnlab.benchmarks.steps.feed import Feed, given_task, settings
from rnnlab.training.alone import Alone
from rnnlab.training.parts import Part
from rnnlab.training.precision import autocast
from rnnlab.training.state import TrainingState


class OwnLoop:
    """Trains step by step, as `rnnlab train` does between two log lines.

    Attributes:
        model: what is trained.
    """

    def __init__(self, case: TrainCase, feed: Feed, *, dropout: float, precision: str) -> None:
        """Build task, model and training state; weights come by `load`."""
        config = settings(case, dropout=dropout, precision=precision)
        device = torch.device("cpu")
        task = given_task(case, feed)
        self.model = task.build_model(config.model)
        # Nothing is written: evaluation, logs and checkpoints are no part of a step.
        self._state = TrainingState(task, self.model, config, device, Alone())
        self.model.train()
        self._windows = task.train_windows(0)
        self._index = 0
        self._window = self._windows[0]
        with autocast(config.trainer.precision, device):
            self.backend = str(self.model.recurrent.backend_in_use(has_lengths=task.has_lengths))  # pyright: ignore

    @property
    def part(self) -> Part:
        """Told which part of a step runs."""
        return self._state.steps.part

    @part.setter
    def part(self, part: Part) -> None:
        self._state.steps.part = part

    def load(self, weights: dict[str, Tensor]) -> None:
        """Take weights."""
        self.model.load_state_dict(weights)

    def step(self) -> float:
        """Make one optimizer update; return the mean loss, nats per target."""
        with self.part("data"):
            self._window = self._windows[self._index % len(self._windows)]
        self._index += 1
        self._state.steps.make([self._window], self._state.counters)
        return self._state.steps.readings.shown["loss"]

    def num_tokens(self) -> int:
        """Return the tokens that the last step read."""
        return self._window.num_tokens
