"""Steps: forward, backward and one optimizer update each, and the numbers that they leave to be read.

On a CPU the numbers are read before the weights change; on a GPU only when somebody asks, so that the host runs ahead
of the device and never waits for it between two log lines.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from rnnlab.config import TrainerConfig
from rnnlab.data.windows import Window
from rnnlab.errors import DivergedError
from rnnlab.models.state import State, detach, reset
from rnnlab.tasks.base import Task
from rnnlab.training.counters import Counters
from rnnlab.training.optimizers import Schedule
from rnnlab.training.parts import Part, nobody_asks
from rnnlab.training.precision import autocast
from rnnlab.training.update import Made, Update


class Steps:
    """Makes the steps of one run.

    Attributes:
        state: carried from window to window; None before the first.
        part: told which part of a step runs: forward, backward, clip, optimizer.
        shown: loss (nats per target) and grad_norm (before clipping) of the last step that was read.
    """

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        averaged: AveragedModel | None,
        config: TrainerConfig,
        device: torch.device,
    ) -> None:
        """Put the parts together.

        Args:
            task: forward, loss and hits.
            model: on `device`.
            optimizer: of the model's parameters.
            schedule: of the optimizer.
            averaged: follows the model's weights; None: there is no average.
            config: clipping, precision and when averaging starts.
            device: where windows go.
        """
        self._task, self._model, self._device = task, model, device
        self._optimizer, self._schedule, self._averaged = optimizer, schedule, averaged
        self._config = config
        self._update = Update(
            optimizer, device=device, max_norm=config.clip_grad_norm, max_value=config.clip_grad_value
        )
        self._unread: list[Made] = []
        self.state: State = None
        self.part: Part = nobody_asks
        self.shown = {"loss": math.nan, "grad_norm": math.nan}

    def make(self, group: list[Window], counters: Counters) -> None:
        """Make one optimizer update from the windows of a group; each target weighs the same.

        Args:
            group: consecutive windows, on the CPU.
            counters: say which step it is, and are moved on.

        Raises:
            DivergedError: a number is not finite, and was read at once; nothing has changed.
        """
        self._schedule.before_step(counters.step, counters.epoch)
        self._optimizer.zero_grad(set_to_none=True)
        num_targets = sum(window.num_targets for window in group)
        nats, hits = [], []
        for window in group:
            # Values cross the edge between windows, gradients do not.
            state = detach(reset(self.state, window.starts))
            window = window.to(self._device)
            with self.part("forward"):
                with autocast(self._config.precision, self._device):
                    outputs, self.state = self._task.forward(self._model, window, state)
                    window_nats = self._task.nats(self._model, outputs, window)
            with self.part("backward"):
                (window_nats / num_targets).backward()
            nats.append(window_nats.detach())
            hits.append(self._task.hits(outputs.detach(), window))
        self.state = detach(self.state)
        with self.part("clip"):
            norm = self._update.gradient_norm()
            made = Made(counters.step, self._schedule.lr, nats, hits, num_targets, norm)
            if not self._update.defers:
                self._refuse_non_finite(made)
            scale = self._update.clip(made)
        with self.part("optimizer"):
            self._update.apply(made, scale)
        counters.step += 1
        if self._averaged is not None and counters.epoch >= self._config.averaging_start_epoch:
            self._averaged.update_parameters(self._model)
        counters.tokens += sum(window.num_tokens for window in group)
        self._unread.append(made)
        if not self._update.defers:
            self.read(counters)

    def read(self, counters: Counters) -> None:
        """Read the numbers of the steps since this was last asked, which waits for the device, and add them up.

        Args:
            counters: their sums grow.

        Raises:
            DivergedError: those of a step are not finite; neither it nor any later one has changed a weight.
        """
        unread, self._unread = self._unread, []
        for made in unread:
            loss, norm = self._refuse_non_finite(made)
            largest = None if made.largest is None else float(made.largest)
            counters.sum_nats += sum(float(nats) for nats in made.nats)
            counters.sum_hits += sum(int(hits) for hits in made.hits)
            counters.sum_targets += made.num_targets
            counters.sum_clipped += self._update.was_clipped(norm, largest)
            counters.sum_steps += 1
            self.shown = {"loss": loss, "grad_norm": norm}

    def _refuse_non_finite(self, made: Made) -> tuple[float, float]:
        """Stop before nan or infinity reaches a weight.

        Returns:
            Loss, nats per target, and gradient norm.

        Raises:
            DivergedError: one of them is not finite.
        """
        loss, norm = sum(float(nats) for nats in made.nats) / made.num_targets, float(made.norm)
        for name, value in (("loss", loss), ("gradient norm", norm)):
            if not math.isfinite(value):
                raise DivergedError(
                    f"{name} is {value} at step {made.step}; nothing was updated. "
                    f"Try a lower optimizer.lr (now {made.lr:g}) or trainer.clip_grad_norm "
                    f"(now {'null' if (limit := self._config.clip_grad_norm) is None else limit})"
                )
        return loss, norm
