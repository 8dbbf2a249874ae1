"""Everything that a later step depends on: put together, taken down for a checkpoint, and taken up again."""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from rnnlab.config import TrainConfig
from rnnlab.models.state import move
from rnnlab.tasks.base import Task
from rnnlab.training.alone import Alone, Processes
from rnnlab.training.averaging import build_average
from rnnlab.training.counters import Counters, count_steps
from rnnlab.training.fits import (
    counters_from,
    identity,
    identity_difference,
    learned_settings,
    settings_difference,
    state_difference,
)
from rnnlab.training.optimizers import Schedule, build_optimizer, load_optimizer, num_slots
from rnnlab.training.randomness import random_state, set_random_state
from rnnlab.training.steps import Steps


class TrainingState:
    """What changes while a run trains.

    Attributes:
        task: with its corpus read.
        model: on `device`.
        device: where the windows go.
        config: the run's settings.
        total_steps: of the whole run; None: minutes or patience alone end it.
        optimizer: of the model's parameters.
        schedule: of its rate.
        averaged: follows the model's weights; None: there is no average.
        steps: makes the updates, and carries the recurrent state.
        counters: where the run stands.
        metrics: of the last evaluation, by TensorBoard tag.
        best_metrics: of the best one.
        units: what the last evaluation saw of stuck units.
        owes_score: whether a signal stopped the evaluation after the present step: it is made before the next.
    """

    def __init__(
        self, task: Task, model: nn.Module, config: TrainConfig, device: torch.device, ranks: Processes
    ) -> None:
        """Build what is made from settings; arguments as for `Trainer`."""
        self.task, self.model, self.device, self.config = task, model, device, config
        self.optimizer = build_optimizer(model.parameters(), config.optimizer)
        self._groups = [dict(group) for group in self.optimizer.param_groups]
        self.total_steps = count_steps(task, config.trainer)
        self.schedule = Schedule(
            self.optimizer,
            config.scheduler,
            total_steps=self.total_steps,
            higher_is_better=task.higher_is_better,
        )
        self.averaged = build_average(model, config.trainer, device)
        self.steps = Steps(
            task,
            model,
            self.optimizer,
            self.schedule,
            self.averaged,
            config.trainer,
            device,
            None if isinstance(ranks, Alone) else ranks,
        )
        self.counters = Counters()
        self.metrics: dict[str, float] = {}
        self.best_metrics: dict[str, float] = {}
        self.units: dict[str, float] = {}
        self.owes_score = False
        self._ranks = ranks
        self._learned = learned_settings(config)
        self._random = random_state(device)  # at the beginning: a resumed run may have to go back there

    @property
    def scored_model(self) -> nn.Module:
        """The averaged weights once there are some, else the trained ones."""
        if self.averaged is not None and int(self.averaged.n_averaged) > 0:
            return self.averaged.module
        return self.model

    @property
    def identity(self) -> dict[str, str]:
        """Hashes of what the run's checkpoints are of."""
        return identity(self.task, self._learned)

    @property
    def num_bytes(self) -> int:
        """Bytes of one checkpoint, nearly."""
        copies = 2 + num_slots(self.optimizer) + (self.averaged is not None)
        return copies * sum(tensor.numel() * tensor.element_size() for tensor in self.model.state_dict().values())

    @property
    def calmer(self) -> str:
        """What to try where numbers have left all bounds."""
        lr, limit = self.config.optimizer.lr, self.config.trainer.clip_grad_norm
        clip = "trainer.clip_grad_norm=1" if limit is None else f"a lower trainer.clip_grad_norm (now {limit:g})"
        return f"Try optimizer.lr={lr / 10:g} (now {lr:g}), or {clip}"

    def epochs_done(self) -> float:
        """Passes over the training split so far."""
        counters = self.counters
        if counters.index == 0:
            return float(counters.epoch)
        return counters.epoch + counters.index / len(self.task.train_windows(counters.epoch))

    def content(self, events: dict[str, int], metrics_bytes: int) -> dict[str, Any]:
        """Everything that a later step depends on, and how much of the logs belongs to it."""
        return {
            "model": self.model.state_dict(),
            "averaged": {} if self.averaged is None else self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "state": self.steps.state,
            "counters": asdict(self.counters),
            "metrics": self.metrics,
            "best_metrics": self.best_metrics,
            "units": self.units,
            "rng": random_state(self.device),
            "events": events,
            "metrics_bytes": metrics_bytes,
            "settings": self._learned,
        }

    def at_start(self) -> dict[str, Any]:
        """A copy of the content before the first step; it knows no event files."""
        return {**copy.deepcopy(self.content({}, 0)), "rng": self._random}

    def of_the_others(self) -> dict[str, Any]:
        """What the first process's checkpoint holds of the others: their rows' states, their generators."""
        return self._ranks.of_the_others(self.steps.state, self.steps.num_rows, random_state(self.device))

    def difference(self, saved: dict[str, Any], allowed: Collection[str]) -> str:
        """Say in one line why a checkpoint's content cannot be taken up; "" if it can.

        Args:
            saved: the content.
            allowed: settings that may differ, dotted; `task.corpus`: the corpus may.
        """
        of_data = self.identity
        del of_data["settings"]  # which are compared one by one
        if "task.corpus" in allowed:
            del of_data["corpus"]
        parts = {"model": self.model} if self.averaged is None else {"model": self.model, "averaged": self.averaged}
        return (
            identity_difference(saved.get("identity", {}), of_data)
            or state_difference(saved, parts, self.optimizer)
            or settings_difference(saved["settings"], self._learned, allowed)
        )

    def take_up(self, saved: dict[str, Any]) -> None:
        """Go on from a content that fits; the generators are set last of all, by `take_up_random`."""
        self.model.load_state_dict(saved["model"])
        if self.averaged is not None:
            self.averaged.load_state_dict(saved["averaged"])
        now = self.config.optimizer.lr
        before = saved["settings"].get("optimizer.lr", now)
        load_optimizer(self.optimizer, saved["optimizer"], self._groups, 1.0 if before == now else now / before)
        self.schedule.load_state_dict(saved["schedule"])
        self.counters = counters_from(saved["counters"])
        counters = self.counters
        self.owes_score = 0 < counters.step != counters.evaluated_at and counters.is_score_due(self.config.trainer)
        self.schedule.rollbacks = self.counters.rollbacks
        self.metrics, self.best_metrics = dict(saved["metrics"]), dict(saved["best_metrics"])
        self.units = dict(saved.get("units", {}))
        self.steps.state = move(self._ranks.share_state(saved["state"]), self.device)
        self.steps.num_rows = _num_rows(saved["state"])

    def take_up_random(self, saved: dict[str, Any]) -> None:
        """Set this process's generators back; one that was not there before begins with a seed of its own."""
        states, rank = [saved["rng"], *saved.get("ranks", ())], self._ranks.rank
        if rank < len(states):
            set_random_state(states[rank], self.device)
        else:
            self._ranks.seed(self.config.seed, self.counters.step)

    def forget_best(self) -> None:
        """Choose the best anew: its weights are lost."""
        self.counters.forget_best()
        self.best_metrics = {}


def _num_rows(state: Any) -> int:
    """Rows of a state; 0 of none."""
    h = state[0] if isinstance(state, tuple) else state
    return 0 if h is None else int(h.shape[1])
