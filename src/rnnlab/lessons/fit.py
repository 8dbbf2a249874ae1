"""The loop that lessons train small models with: rnnlab's optimizer, clipping and update, batches drawn as they come.

Shapes: T steps, B rows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rnnlab.config import AdamConfig
from rnnlab.training.optimizers import build_optimizer
from rnnlab.training.update import Made, Update

# The mean loss of a batch that is drawn for a step; called with the step.
BatchLoss = Callable[[int], Tensor]


def fit(model: nn.Module, loss: BatchLoss, *, steps: int, lr: float) -> list[float]:
    """Train a model with Adam, gradients clipped to norm 1, and return the loss before each step.

    Args:
        model: on the CPU; trained in place, and left in eval mode.
        loss: mean loss of a batch.
        steps: updates.
        lr: learning rate; falls linearly to 0 over the last third of the steps.

    Raises:
        FloatingPointError: the gradient is not finite; nothing was updated.
    """
    model.train()
    optimizer = build_optimizer(model.parameters(), AdamConfig(name="adam", lr=lr))
    update = Update(optimizer, device=torch.device("cpu"), max_norm=1.0, max_value=None)
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, 3 * (steps - step) / steps)
        optimizer.zero_grad(set_to_none=True)
        value = loss(step)
        value.backward()
        made = Made(step, lr, [value.detach()], [], 1, update.gradient_norm())
        if not bool(made.norm.isfinite()):
            raise FloatingPointError(f"gradient norm is {float(made.norm)} at step {step}")
        update.apply(update.clip(made))
        losses.append(float(value.detach()))
    model.eval()
    return losses


def smoothed(losses: list[float], points: int = 60) -> tuple[list[int], list[float]]:
    """Return about `points` steps, each with the mean of the losses since the one before: what a chart can show."""
    size = max(1, len(losses) // points)
    ends = range(size, len(losses) + 1, size)
    return [*ends], [sum(losses[end - size : end]) / size for end in ends]
