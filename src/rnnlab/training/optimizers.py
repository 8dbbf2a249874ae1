"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

import math
from collections.abc import Iterable
from inspect import unwrap
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from rnnlab.config import (
    AdamConfig,
    CosineConfig,
    OptimizerConfig,
    PlateauConfig,
    RMSpropConfig,
    SchedulerConfig,
    SGDConfig,
    StepConfig,
)


class _Eager(torch.optim.Optimizer):
    """What torch's optimizers share, without torch._dynamo, which they import to keep it away from their own code.

    That import is a second of every start, for a compiler that is not used here. The functions are torch's own, as they
    stand below the decorators that import it; with another torch that has no such decorators this changes nothing.
    """

    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = unwrap(torch.optim.Optimizer.load_state_dict)


def _eager_step(kind: type[torch.optim.Optimizer]) -> Any:
    # The decorator that is left out also turns gradients off.
    return torch.no_grad()(unwrap(kind.step))


class SGD(_Eager, torch.optim.SGD):
    """torch.optim.SGD."""

    step = _eager_step(torch.optim.SGD)


class Adam(_Eager, torch.optim.Adam):
    """torch.optim.Adam."""

    step = _eager_step(torch.optim.Adam)


class AdamW(_Eager, torch.optim.AdamW):
    """torch.optim.AdamW."""

    step = _eager_step(torch.optim.AdamW)


class RMSprop(_Eager, torch.optim.RMSprop):
    """torch.optim.RMSprop."""

    step = _eager_step(torch.optim.RMSprop)


def build_optimizer(parameters: Iterable[nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    """Build torch's optimizer of this name, fused where torch has a fused one for the parameters' device.

    Raises:
        ValueError: an optimizer that rnnlab does not know.
    """
    parameters = list(parameters)
    # One pass over the weights instead of one a term: 57 -> 10 ms for the Adam of a 2 x 650 language model on a CPU.
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
    match config:
        case SGDConfig():
            return SGD(
                parameters,
                lr=config.lr,
                momentum=config.momentum,
                nesterov=config.nesterov,
                weight_decay=config.weight_decay,
                fused=fused,
            )
        case AdamConfig():
            kind = AdamW if config.name == "adamw" else Adam
            return kind(
                parameters,
                lr=config.lr,
                betas=(config.beta1, config.beta2),
                eps=config.eps,
                weight_decay=config.weight_decay,
                fused=fused,
            )
        case RMSpropConfig():
            return RMSprop(
                parameters,
                lr=config.lr,
                alpha=config.alpha,
                momentum=config.momentum,
                eps=config.eps,
                weight_decay=config.weight_decay,
            )
        case _:
            raise ValueError(f"optimizer must be sgd, adam, adamw or rmsprop, got {config.name!r}")


def num_slots(optimizer: torch.optim.Optimizer) -> int:
    """How many numbers an optimizer keeps for each weight, at most."""
    return {"SGD": 1}.get(type(optimizer).__name__, 2)


def load_optimizer(
    optimizer: torch.optim.Optimizer, state: dict[str, Any], groups: list[dict[str, Any]], factor: float
) -> None:
    """Take over an optimizer's state, but not its settings.

    Args:
        optimizer: ours.
        state: a `state_dict` that fits.
        groups: our settings, a dict a group; their `lr` and `params` have no say.
        factor: of the learning rates, which a schedule may have moved.
    """
    optimizer.load_state_dict(state)
    for group, settings in zip(optimizer.param_groups, groups, strict=True):
        group.update({name: value for name, value in settings.items() if name not in ("params", "lr")})
        group["lr"] *= factor


class Schedule:
    """The learning rate of every step.

    constant  lr
    step      lr * gamma ** (drops so far): none in the first `start_epoch` epochs, then one each `every_epochs`
    cosine    linear warm-up, then half a cosine down to lr * final_share after the last step (Loshchilov & Hutter 2017)
    plateau   times gamma whenever the score has not improved for more than `patience` evaluations

    The first three are pure functions of step and epoch, so there is nothing to lose in a checkpoint; plateau keeps
    torch's own state. Each roll-back of the run halves all rates that come after it.

    Attributes:
        rollbacks: how often.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        config: SchedulerConfig,
        *,
        total_steps: int | None,
        higher_is_better: bool,
    ) -> None:
        """Bind the schedule to an optimizer.

        Args:
            optimizer: its `lr` is the rate at full strength.
            config: which schedule.
            total_steps: optimizer updates of the whole run, for cosine; None if unknown.
            higher_is_better: whether a larger score is an improvement, for plateau.

        Raises:
            ValueError: cosine without total_steps.
        """
        if isinstance(config, CosineConfig) and total_steps is None:
            raise ValueError("scheduler=cosine needs trainer.max_steps or trainer.max_epochs to know where it ends")
        self._optimizer = optimizer
        self._config = config
        self._total_steps = total_steps or 0
        self.rollbacks = 0
        self._full_rate: float = optimizer.param_groups[0]["lr"]
        self._plateau: ReduceLROnPlateau | None = None
        if isinstance(config, PlateauConfig):
            self._plateau = ReduceLROnPlateau(
                optimizer,
                mode="max" if higher_is_better else "min",
                factor=config.gamma,
                patience=config.patience,
                threshold=0.0,
                min_lr=config.min_lr,
                eps=0.0,  # torch's 1e-8 would leave small rates as they are
            )

    @property
    def lr(self) -> float:
        """The rate in force."""
        return float(self._optimizer.param_groups[0]["lr"])

    def before_step(self, step: int, epoch: int) -> None:
        """Set the rate of the update that leads from `step` to `step` + 1, in pass `epoch` (from 0)."""
        if self._plateau is None:
            for group in self._optimizer.param_groups:
                group["lr"] = self._full_rate * self.factor(step, epoch) * 0.5**self.rollbacks

    def roll_back(self, rollbacks: int) -> None:
        """Halve the rate until that was done `rollbacks` times."""
        for group in self._optimizer.param_groups:
            group["lr"] *= 0.5 ** (rollbacks - self.rollbacks)
        self.rollbacks = rollbacks

    def after_evaluation(self, score: float) -> None:
        """Let plateau see a new score; the others do not look."""
        if self._plateau is not None:
            self._plateau.step(score)

    def factor(self, step: int, epoch: int) -> float:
        """Share of the full rate at `step` (from 0) of pass `epoch` (from 0)."""
        match self._config:
            case StepConfig(gamma=gamma, start_epoch=start, every_epochs=every):
                return gamma ** (0 if epoch < start else 1 + (epoch - start) // every)
            case CosineConfig(warmup_steps=warmup, final_share=final):
                if step < warmup:
                    return (step + 1) / warmup
                progress = min(1.0, (step - warmup) / max(1, self._total_steps - warmup))
                return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))
            case _:
                return 1.0

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: numbers only."""
        return {} if self._plateau is None else dict(self._plateau.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        if self._plateau is not None:
            self._plateau.load_state_dict(state)
