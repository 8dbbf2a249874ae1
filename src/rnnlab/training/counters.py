"""Where a run stands, and when it is over."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rnnlab.config import TrainerConfig
from rnnlab.tasks.base import Task


@dataclass(slots=True)
class Counters:
    """Numbers that every checkpoint keeps.

    Attributes:
        step: optimizer updates so far.
        epoch: passes over the training split that are complete.
        index: windows of the present pass that are done.
        seconds: spent in steps; resumes add up.
        tokens: read in training.
        evaluated_at: step of the last evaluation, -1 before the first.
        best_score: best value of the task's metric so far, nan before the first.
        best_step: its step.
        without_gain: evaluations since then.
        sum_nats: of the steps since the last TensorBoard point, as all sums: a resumed run logs the same means.
        sum_hits: right predictions.
        sum_targets: predictions.
        sum_clipped: steps that were clipped.
        sum_steps: steps.
        skipped: steps so far that changed no weight, because their loss or gradient was not finite.
        skipped_in_a_row: such steps since the last that did.
        rollbacks: returns to an older checkpoint with half the rate.
        safe_step: step of the checkpoint to return to: the last that was due, not asked for by a signal, and lay in no
            row of skipped steps; -1: there is none, return to the beginning.
        safe_best_step: what was the best there.
    """

    step: int = 0
    epoch: int = 0
    index: int = 0
    seconds: float = 0.0
    tokens: int = 0
    evaluated_at: int = -1
    best_score: float = math.nan
    best_step: int = -1
    without_gain: int = 0
    sum_nats: float = 0.0
    sum_hits: float = 0.0
    sum_targets: int = 0
    sum_clipped: int = 0
    sum_steps: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    rollbacks: int = 0
    safe_step: int = -1
    safe_best_step: int = -1

    def clear_sums(self) -> None:
        """Start anew after a TensorBoard point."""
        self.sum_nats = self.sum_hits = 0.0
        self.sum_targets = self.sum_clipped = self.sum_steps = 0

    def note_score(self, value: float, *, higher_is_better: bool) -> bool:
        """Take a new score; return whether it is the best so far. A score that is not finite never is."""
        self.evaluated_at = self.step
        better = value > self.best_score if higher_is_better else value < self.best_score
        if math.isfinite(value) and (better or math.isnan(self.best_score)):
            self.best_score, self.best_step, self.without_gain = value, self.step, 0
            return True
        self.without_gain += 1
        return False

    def best(self, name: str) -> str:
        """Say what the best score is, or that there is none."""
        if self.best_step < 0:
            return f"no evaluation gave a finite {name}"
        return f"best {name} {self.best_score:.4f} at step {self.best_step}"

    def forget_best(self) -> None:
        """Start choosing anew, with an evaluation of the present weights at the end at the latest."""
        self.evaluated_at = self.best_step = -1
        self.best_score, self.without_gain = math.nan, 0

    def is_score_due(self, config: TrainerConfig) -> bool:
        """Whether the validation split is scored after this step."""
        return self.step % config.eval_every_steps == 0 if config.eval_every_steps else self.index == 0

    def reason_to_end(self, config: TrainerConfig) -> str | None:
        """Say which limit is reached, or None."""
        if config.max_epochs is not None and self.epoch >= config.max_epochs:
            return f"trained {config.max_epochs} epoch{'s' * (config.max_epochs > 1)}"
        if config.max_steps is not None and self.step >= config.max_steps:
            return f"trained {config.max_steps} step{'s' * (config.max_steps > 1)}"
        if config.max_minutes is not None and self.seconds >= 60 * config.max_minutes:
            return f"trained {config.max_minutes:g} minutes"
        if config.patience is not None and self.without_gain >= config.patience:
            return f"no better score in {config.patience} evaluations"
        return None


def count_steps(task: Task, config: TrainerConfig) -> int | None:
    """Count the optimizer updates of a whole run; from the first pass where passes differ in windows.

    Args:
        task: with its corpus read.
        config: limits and accumulation.

    Returns:
        None where minutes or patience alone end the run.
    """
    limits = []
    if config.max_epochs is not None:
        limits.append(config.max_epochs * math.ceil(len(task.train_windows(0)) / config.accumulate))
    if config.max_steps is not None:
        limits.append(config.max_steps)
    return min(limits, default=None)
