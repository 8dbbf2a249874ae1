"""One optimizer update: clip the gradients, let nothing through that is not finite, change the weights.

Clipping is a cure for exploding gradients (Pascanu, Mikolov & Bengio 2013). It costs no pass of its own over the
gradients: torch's fused optimizers divide by a scale as they read them, and a norm below the limit leaves them alone.

On a CPU the norm is read before the weights change. On a GPU reading it would make the host wait in every step, so the
fused optimizer itself looks at the flag of the step and leaves the weights and its own state as they are where a loss
or norm was not finite; the host learns of it when it reads the numbers, some steps later.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

EPS = 1e-6  # torch's, of clip_grad_norm_
SAMPLED = 1 << 16  # entries of a tensor that its length is estimated from


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
        epoch: pass that the windows are of, from 0.
        windows: first window of the step and the one after its last, in the pass.
        update_ratio: length of the update by that of the weights before it, a scalar; None: not asked for.
    """

    step: int
    lr: float
    nats: list[Tensor]
    hits: list[Tensor | int]
    num_targets: int
    norm: Tensor
    largest: Tensor | None = None
    epoch: int = 0
    windows: tuple[int, int] = (0, 0)
    update_ratio: Tensor | None = None

    def loss(self) -> float:
        """Nats per target; waits for the device."""
        return sum(float(nats) for nats in self.nats) / self.num_targets

    def is_finite(self) -> bool:
        """Whether the loss of each window and the norm are; waits for the device."""
        return all(math.isfinite(float(number)) for number in (self.norm, *self.nats))

    def spoiled(self) -> Tensor:
        """The same for the device alone: a scalar, 1 where one is not finite, else 0."""
        numbers = torch.stack([self.norm, *(nats.to(self.norm) for nats in self.nats)])
        return (~numbers.isfinite().all()).to(self.norm)


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
        self.defers = device.type == "cuda" and self._is_fused

    @property
    def takes_rows(self) -> bool:
        """Whether gradients may be sparse: with plain SGD, a weight whose gradient is zero stays as it is."""
        is_plain = isinstance(self._optimizer, torch.optim.SGD) and not any(
            group["momentum"] or group["weight_decay"] for group in self._optimizer.param_groups
        )
        return is_plain and self._is_fused and self._max_value is None and not self.defers

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

    def apply(self, scale: Tensor | None, spoiled: Tensor | None = None) -> None:
        """Change the weights.

        Args:
            scale: from `clip`.
            spoiled: a scalar, 1: do not, and leave the optimizer's state as it is, too. For fused optimizers.
        """
        optimizer = self._optimizer
        if scale is not None:
            optimizer.grad_scale = scale  # pyright: ignore[reportAttributeAccessIssue]
        if spoiled is not None:
            self._begin_momentum()
            optimizer.found_inf = spoiled  # pyright: ignore[reportAttributeAccessIssue]
        try:
            with self._rows_changed(1.0 if scale is None else float(scale)) if self.takes_rows else nullcontext():
                optimizer.step()
        finally:
            for name in ("grad_scale", "found_inf"):
                optimizer.__dict__.pop(name, None)

    def sample_weights(self) -> list[Tensor]:
        """Copy evenly spaced entries of each parameter, few enough to cost next to nothing."""
        return [_sample(parameter).clone() for parameter in self._parameters]

    def update_ratio(self, before: list[Tensor]) -> Tensor:
        """Return the length of the change since `sample_weights` by the length there, over all parameters; a scalar."""
        changes, lengths = [], []
        for parameter, old in zip(self._parameters, before, strict=True):
            share = parameter.numel() / max(1, old.numel())
            changes.append((_sample(parameter) - old).float().square().sum() * share)
            lengths.append(old.float().square().sum() * share)
        return (torch.stack(changes).sum() / torch.stack(lengths).sum()).sqrt()

    def was_clipped(self, norm: float, largest: float | None) -> bool:
        """Say whether a step with these numbers was clipped."""
        return norm > self._max_norm or (
            self._max_value is not None and largest is not None and largest > self._max_value
        )

    @contextmanager
    def _rows_changed(self, scale: float) -> Generator[None]:
        """Change the rows that have a gradient, and keep sparse ones from the fused step inside, which takes none."""
        sparse: list[tuple[nn.Parameter, Tensor]] = []
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                if (grad := parameter.grad) is not None and grad.is_sparse:
                    with torch.no_grad():
                        parameter.index_add_(0, grad.indices()[0], grad.values(), alpha=-group["lr"] / scale)
                    sparse.append((parameter, grad))
                    parameter.grad = None
        yield
        for parameter, grad in sparse:
            parameter.grad = grad

    def _begin_momentum(self) -> None:
        """Make SGD's buffers, of zeros, before its first step: if it skips that, it leaves them as memory was."""
        if not isinstance(self._optimizer, torch.optim.SGD):
            return
        for group in self._optimizer.param_groups:
            for parameter in group["params"] if group["momentum"] else ():
                state = self._optimizer.state[parameter]
                if state.get("momentum_buffer") is None:
                    state["momentum_buffer"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)

    def _gradients(self) -> list[Tensor]:
        """The gradients, of sparse ones the numbers; in these, rows that were seen twice become one."""
        found: list[Tensor] = []
        for parameter in self._parameters:
            if parameter.grad is None:
                continue
            if parameter.grad.is_sparse:
                parameter.grad = parameter.grad.coalesce()
                found.append(parameter.grad.values())
            else:
                found.append(parameter.grad)
        return found


def _sample(parameter: nn.Parameter) -> Tensor:
    """A view of evenly spaced entries, `SAMPLED` of them or all."""
    flat = parameter.detach().reshape(-1)
    return flat[:: max(1, len(flat) // SAMPLED)]
