"""One optimizer update: clip the gradients, let nothing through that is not finite, change the weights.

Clipping is a cure for exploding gradients (Pascanu, Mikolov & Bengio 2013). It costs no pass of its own over the
gradients: torch's fused optimizers divide by a scale as they read them, and a norm below the limit leaves them alone.

On a CPU the norm is read before the weights change. On a GPU reading it would make the host wait in every step, so the
fused optimizer itself looks at a flag and leaves the weights as they are once a loss or norm was not finite: the flag
stays up until the host reads the numbers, some steps later, and ends the run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

EPS = 1e-6  # torch's, of clip_grad_norm_


@dataclass(slots=True)
class Made:
    """What one step has computed, on the device until somebody reads it.

    Attributes:
        step: updates before it.
        lr: learning rate.
        nats: summed loss of each window, scalars.
        hits: right predictions of each window, scalars.
        num_targets: predictions of all windows.
        norm: global gradient norm before clipping, a scalar.
        largest: largest gradient entry before entries are cut, a scalar; None where they are not.
    """

    step: int
    lr: float
    nats: list[Tensor]
    hits: list[Tensor | int]
    num_targets: int
    norm: Tensor
    largest: Tensor | None = None


class Update:
    """Changes the weights of one optimizer's parameters.

    Attributes:
        defers: whether nothing is read back from the device here, so that the caller may read later.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        device: torch.device,
        max_norm: float | None,
        max_value: float | None,
    ) -> None:
        """Bind to an optimizer.

        Args:
            optimizer: fused or not.
            device: of the parameters.
            max_norm: largest global norm of the gradients; None: no limit. The direction stays.
            max_value: largest entry, either sign; None: no limit. The direction changes.
        """
        self._optimizer = optimizer
        self._is_fused = all(group.get("fused") for group in optimizer.param_groups)
        self._max_norm = math.inf if max_norm is None else max_norm
        self._max_value = max_value
        self._parameters: list[nn.Parameter] = [p for group in optimizer.param_groups for p in group["params"]]
        self._spoiled = torch.zeros((), device=device)  # 1 once a step was not finite
        self.defers = device.type == "cuda" and self._is_fused

    def gradient_norm(self) -> Tensor:
        """Return the global norm of all gradients, as if they were one vector; a scalar."""
        return nn.utils.get_total_norm(self._gradients())

    def clip(self, made: Made) -> Tensor | None:
        """Clip the gradients of a step, or say what the optimizer has to divide them by.

        Args:
            made: with its norm; finite, unless this defers. Takes the largest entry.

        Returns:
            The divisor, a scalar of at least 1; None: they are as they shall be.
        """
        # Where the norm has been read, a look at it saves a pass; where it has not, dividing by 1 is exact.
        is_over = self.defers or float(made.norm) > self._max_norm
        if is_over and self._is_fused and self._max_value is None:
            return ((made.norm + EPS) / self._max_norm).clamp(min=1.0)
        if is_over:
            nn.utils.clip_grads_with_norm_(self._parameters, self._max_norm, made.norm)
        if self._max_value is not None:
            made.largest = nn.utils.get_total_norm(self._gradients(), torch.inf)
            nn.utils.clip_grad_value_(self._parameters, self._max_value)
        return None

    def apply(self, made: Made, scale: Tensor | None) -> None:
        """Change the weights; where this defers, only if this step and all before it were finite.

        Args:
            made: the step.
            scale: from `clip`.
        """
        optimizer = self._optimizer
        if scale is not None:
            optimizer.grad_scale = scale  # pyright: ignore[reportAttributeAccessIssue]
        if self.defers:
            numbers = torch.stack([made.norm, *(nats.to(made.norm) for nats in made.nats)])
            self._spoiled = torch.maximum(self._spoiled, (~numbers.isfinite().all()).to(self._spoiled))
            optimizer.found_inf = self._spoiled  # pyright: ignore[reportAttributeAccessIssue]
        try:
            optimizer.step()
        finally:
            for name in ("grad_scale", "found_inf"):
                optimizer.__dict__.pop(name, None)

    def was_clipped(self, norm: float, largest: float | None) -> bool:
        """Say whether a step with these numbers was clipped."""
        return norm > self._max_norm or (
            self._max_value is not None and largest is not None and largest > self._max_value
        )

    def _gradients(self) -> list[Tensor]:
        return [p.grad for p in self._parameters if p.grad is not None]
