"""Steps: forward, backward and one optimizer update each; the numbers that they leave are in `readings.py`.

On a CPU the numbers are read before the weights change; on a GPU only when somebody asks, so that the host runs ahead
of the device and never waits for it between two log lines.

A step whose loss or gradient norm is not finite is skipped: weights, optimizer and carried state stay as they were
before its windows (but for the rows that began anew in them), and its numbers are in no mean. It counts as a step in
all else: the schedule goes on, an average of the weights takes them in again, the random numbers it drew are gone.
After `trainer.max_skipped` such steps in a row `DivergedError` is raised, and the trainer goes back to a checkpoint.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from rnnlab.config import TrainerConfig
from rnnlab.data.windows import Window
from rnnlab.errors import OutOfMemoryError, out_of_memory
from rnnlab.losses import later_times
from rnnlab.models.embedding import rows_only
from rnnlab.models.state import State, choose, detach, reset
from rnnlab.tasks.base import Task
from rnnlab.training.counters import Counters
from rnnlab.training.graphs import Graphs
from rnnlab.training.optimizers import Schedule
from rnnlab.training.parts import Part, nobody_asks
from rnnlab.training.precision import autocast
from rnnlab.training.randomness import random_state, set_random_state
from rnnlab.training.readings import Readings
from rnnlab.training.update import Made, Update

if TYPE_CHECKING:
    from rnnlab.training.ranks import Ranks


class Steps:
    """Makes the steps of one run.

    Attributes:
        state: carried from window to window, of this process's rows; None before the first.
        num_rows: of the joint batch of the last window.
        part: told which part of a step runs: forward, backward, exchange, clip, optimizer.
        readings: the numbers that the steps left, read and unread.
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
        ranks: Ranks | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            task: forward, loss and hits.
            model: on `device`.
            optimizer: of the model's parameters.
            schedule: of the optimizer.
            averaged: follows the model's weights; None: there is no average.
            config: clipping, precision, when averaging starts, and whether whole steps are CUDA graphs.
            device: where windows go.
            ranks: the processes that share each window; None: there is this one.
        """
        self._task, self._model, self._device = task, model, device
        self._optimizer, self._schedule, self._averaged = optimizer, schedule, averaged
        self._config, self._ranks = config, ranks
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._update = Update(
            optimizer, device=device, max_norm=config.clip_grad_norm, max_value=config.clip_grad_value
        )
        self._graphs = Graphs(self._learn, self._update, optimizer, device) if config.cuda_graph else None
        self.readings = Readings(self._update, config)
        self.state: State = None
        self.num_rows = 0
        self.part: Part = nobody_asks

    def make(self, group: list[Window], counters: Counters) -> None:
        """Make one optimizer update from the windows of a group; each target weighs the same.

        Args:
            group: consecutive windows, on the CPU.
            counters: say which step it is, and are moved on.

        Raises:
            DivergedError: this step is one too many that is not finite, and was read at once.
            OutOfMemoryError: there is not enough memory for the windows; nothing has changed, no random number either.
        """
        self._schedule.before_step(counters.step, counters.epoch)
        self._optimizer.zero_grad(set_to_none=True)
        before, random = self.state, random_state(self._device)
        shares = group if self._ranks is None else [self._ranks.share(window) for window in group]
        is_logged = (counters.step + 1) % self._config.log_every_steps == 0
        weights = self._update.sample_weights() if is_logged else None
        try:
            if self._graphs is None:
                made = self._differentiate(group, shares, counters)
            else:
                made = self._replay(self._graphs, group, counters)
        except (MemoryError, RuntimeError, OutOfMemoryError) as error:
            if (mistake := out_of_memory(error)) is None:
                raise
            if self._ranks is not None and not isinstance(error, OutOfMemoryError):  # else it came from another rank
                self._ranks.tell_failure(self._parameters)
            self._optimizer.zero_grad(set_to_none=True)
            self.state = before
            set_random_state(random, self._device)
            raise OutOfMemoryError(f"at step {counters.step}: {mistake}") from error
        if self._graphs is None:
            self._change(made, before, shares)
        if weights is not None:
            made.update_ratio = self._update.update_ratio(weights)
        counters.step += 1
        if self._averaged is not None and counters.epoch >= self._config.averaging_start_epoch:
            self._averaged.update_parameters(self._model)
        counters.tokens += sum(window.num_tokens for window in group)
        self.readings.unread.append(made)
        if not self._update.defers:
            self.readings.read(counters)

    def _differentiate(self, group: list[Window], shares: list[Window], counters: Counters) -> Made:
        """Run this process's shares of the windows of a group forward and backward, and carry the state on.

        The gradients, losses and hits are those of the group when this returns.
        """
        num_targets = sum(window.num_targets for window in group)
        share = 1 / num_targets
        nats: list[Tensor] = []
        hits: list[Tensor | int] = []
        for window in shares:
            # Values cross the edge between windows, gradients do not.
            state = detach(reset(self.state, window.starts))
            if self._ranks is not None and window.num_targets == 0:  # all its rows have ended before the others'
                self.state = state
                nats.append(torch.zeros((), device=self._device))
                hits.append(0)
                continue
            window_nats, window_hits, self.state = self._learn(window.to(self._device), state, share)
            nats.append(window_nats)
            hits.append(window_hits)
        self.state = detach(self.state)
        if self._ranks is not None:
            self.num_rows = group[-1].inputs.shape[1]
            with self.part("exchange"):
                sums = self._ranks.add_up(self._parameters, [*nats, *hits])
            nats, hits = sums[: len(group)], list(sums[len(group) :])
        with self.part("clip"):
            norm = self._update.gradient_norm()
        return self._dated(Made(0, 0.0, nats, hits, num_targets, norm), group, counters)

    def _learn(self, window: Window, state: State, share: float | Tensor) -> tuple[Tensor, Tensor | int, State]:
        """Run a window forward and backward; return its nats, its hits and the state after it.

        Args:
            window: on the device, as all that is here.
            state: before it, without a graph behind it.
            share: of one target in the step's loss.
        """
        with self.part("forward"):
            foreseen = later_times(share) if isinstance(share, float) else nullcontext()
            rows = rows_only(self._update.takes_rows and self._ranks is None)
            with autocast(self._config.precision, self._device), foreseen, rows:
                outputs, state = self._task.forward(self._model, window, state)
                nats = self._task.nats(self._model, outputs, window)
        with self.part("backward"):
            (nats * share).backward()
        return nats.detach(), self._task.hits(outputs.detach(), window), state

    def _replay(self, graphs: Graphs, group: list[Window], counters: Counters) -> Made:
        """Make the whole step, weights and state included, by a graph where there is one."""
        num_targets = sum(window.num_targets for window in group)
        with self.part("graph"):
            made, self.state = graphs.make(group, self.state, num_targets, self._schedule.lr)
        return self._dated(replace(made, num_targets=num_targets), group, counters)

    def _dated(self, made: Made, group: list[Window], counters: Counters) -> Made:
        """Say of numbers which step they are of."""
        windows = (counters.index, counters.index + len(group))
        return replace(made, step=counters.step, lr=self._schedule.lr, epoch=counters.epoch, windows=windows)

    def _change(self, made: Made, before: State, shares: list[Window]) -> None:
        """Change the weights; where a number is not finite leave them, and take the state before the windows again."""
        spoiled = made.spoiled() if self._update.defers else None
        if spoiled is None and not made.is_finite():
            self._optimizer.zero_grad(set_to_none=True)
            self.state = _without(before, shares)
            return
        with self.part("clip"):
            scale = self._update.clip(made)
        with self.part("optimizer"):
            self._update.apply(scale, spoiled)
        if spoiled is not None:
            self.state = choose(spoiled, _without(before, shares), self.state)

    def forget(self) -> None:
        """Drop what was not read: the run goes on from elsewhere."""
        self.readings.unread = []
        if self._graphs is not None:
            self._graphs.forget()
        self._optimizer.zero_grad(set_to_none=True)


def _without(state: State, group: list[Window]) -> State:
    """The state before a group of windows, with the rows zeroed that began a new sequence in them."""
    for window in group:
        state = reset(state, window.starts)
    return detach(state)
