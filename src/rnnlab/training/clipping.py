"""Gradient clipping: a cure for exploding gradients (Pascanu, Mikolov & Bengio 2013)."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the global norm of all gradients, as if they were one vector; a scalar."""
    return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def clip_gradients(
    parameters: Iterable[nn.Parameter], norm: Tensor, *, max_norm: float | None, max_value: float | None
) -> bool:
    """Scale the gradients down to a global norm, then cut single entries.

    Args:
        parameters: their `grad` is changed in place.
        norm: their global norm, finite.
        max_norm: largest norm; None: no limit. The direction stays.
        max_value: largest entry, either sign; None: no limit. The direction changes.

    Returns:
        Whether anything was clipped.
    """
    clipped = False
    parameters = [p for p in parameters if p.grad is not None]
    if max_norm is not None:
        nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
        clipped = float(norm) > max_norm
    if max_value is not None:
        largest = max(float(p.grad.abs().max()) for p in parameters if p.grad is not None)
        nn.utils.clip_grad_value_(parameters, max_value)
        clipped = clipped or largest > max_value
    return clipped
