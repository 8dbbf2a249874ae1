"""`trainer.auto_bptt_len`: how far gradients have to reach, measured on a model that has just begun to learn.

Untrained weights forget at once, whatever the task: measured on them, the shortest windows would always do. So a model
of its own is trained for a few hundred steps, the truncation meter is put to it, and it is thrown away. The run proper
then starts from its seed with the length found, fixed from its first step to its last: it is the run that asks for
that length by number, and resumes as one. What a model needs may grow as it learns further; `rnnlab xray` on the
finished run tells.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rnnlab.config import TrainConfig
from rnnlab.inspection.truncation import Agreement, shortest_that_passes, truncation_meter
from rnnlab.tasks.base import Task
from rnnlab.training.counters import Counters, count_steps
from rnnlab.training.optimizers import Schedule, build_optimizer
from rnnlab.training.steps import Steps

WARM_STEPS = 200
SHORTEST, LONGEST = 4, 256  # windows tried, in powers of two; the whole gradient is that of the longest
ROWS = 16


def warm_up(task: Task, model: nn.Module, config: TrainConfig, device: torch.device) -> None:
    """Train a model for some steps, on the windows and with the optimizer of the run to come.

    Raises:
        DivergedError: a loss or gradient is not finite.
    """
    optimizer = build_optimizer(model.parameters(), config.optimizer)
    total = count_steps(task, config.trainer)
    schedule = Schedule(optimizer, config.scheduler, total_steps=total, higher_is_better=task.higher_is_better)
    steps = Steps(task, model, optimizer, schedule, None, config.trainer, device)
    counters = Counters()
    limit = min(WARM_STEPS, config.trainer.max_steps or WARM_STEPS)
    model.train()
    while counters.step < limit:
        windows = task.train_windows(counters.epoch)
        for index in range(len(windows)):
            steps.make([windows[index]], counters)
            if counters.step == limit:
                break
        counters.epoch += 1
    steps.readings.read(counters)


def measure(
    model: nn.Module, loss: Callable[[], Tensor], num_steps: int
) -> tuple[int, dict[int, dict[str, Agreement]]]:
    """Return the shortest window whose gradient passes, and all that was measured.

    Args:
        model: warmed up; left in eval mode.
        loss: of a stretch of `num_steps` steps; runs the model once.
        num_steps: of the whole gradient.
    """
    model.eval()
    tried = [2**power for power in range(num_steps.bit_length()) if SHORTEST <= 2**power < num_steps]
    met = truncation_meter(model, loss, num_steps, tried)
    return shortest_that_passes(met, num_steps), met
