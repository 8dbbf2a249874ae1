"""The cross-entropy in PyTorch, some rows at a time: for CUDA, and for CPUs without the C++ engine.

Shapes: N rows, H hidden_size, V vocab_size, R rows of a chunk.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rnnlab.cells import triton
from rnnlab.cells.bptt.common import compute_dtype

_CHUNK_NUMBERS = 1 << 25
"""Logits in memory at a time: 128 MB in float32, few launches on a GPU."""


def run(
    h: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    ignore_index: int,
    factors: torch.dtype | None,
    save: bool,
    scale: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return nats and, if `save`, its gradients of h, weight and bias (else, and of no bias, empty), times `scale`.

    Args:
        h: (N, H).
        weight: (V, H).
        bias: (V,), or None.
        targets: <int64>(N,).
        ignore_index: the target of rows that do not count.
        factors: dtype that the products' factors are rounded to; None: as they are.
        save: whether gradients are wanted.
        scale: what gradients are multiplied by.
    """
    wide, narrow = compute_dtype(h), factors or h.dtype
    left, right = h.to(narrow), weight.to(narrow)
    rows = max(1, _CHUNK_NUMBERS // weight.shape[0])
    nats = torch.zeros((), dtype=wide, device=h.device)
    grad_h = h.new_empty(h.shape if save else 0)
    grad_weight, grad_bias = (
        torch.zeros(t.shape if save and t is not None else 0, dtype=wide, device=h.device) for t in (weight, bias)
    )
    for start in range(0, h.shape[0], rows):
        chunk = slice(start, start + rows)
        # A row that does not count may hold anything; 0 times nan would reach the weight's gradient.
        counted = left[chunk].masked_fill((targets[chunk] == ignore_index)[:, None], 0)
        row_nats, errors = judge(_product(counted, right.t(), wide), bias, targets[chunk], ignore_index, save)
        nats += row_nats.sum()
        if errors is None:
            continue
        if scale != 1:
            errors *= scale
        if bias is not None:
            grad_bias += errors.sum(0)
        errors = errors.to(narrow)
        grad_h[chunk] = _product(errors, right, wide).to(h.dtype)
        if narrow == wide:
            grad_weight.addmm_(errors.t(), counted)
        else:
            grad_weight += _product(errors.t(), counted, wide)
    likes = (weight, h if bias is None else bias)
    return nats, grad_h, *(g.to(t.dtype) for g, t in zip((grad_weight, grad_bias), likes, strict=True))  # pyright: ignore


def judge(
    logits: Tensor, bias: Tensor | None, targets: Tensor, ignore_index: int, save: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the nats of each row (R,) and their gradient with respect to the logits (R, V), in the logits' place.

    Args:
        logits: without bias, (R, V), float32 or float64; changed.
        bias: (V,), or None.
        targets: <int64>(R,).
        ignore_index: the target of rows that do not count.
        save: whether the gradient is wanted; else it is None.
    """
    if logits.dtype == torch.float32 and (logits.is_cuda or triton.interpreting()) and triton.why_unavailable() is None:
        from rnnlab.losses import kernel

        return kernel.judge(logits, bias, targets, ignore_index, save)
    if bias is not None:
        logits += bias
    counted = targets != ignore_index
    places = targets.masked_fill(~counted, 0)[:, None]
    scales = logits.logsumexp(1, keepdim=True)
    nats = (scales - logits.gather(1, places)).squeeze(1).masked_fill(~counted, 0)
    if not save:
        return nats, None
    shares = logits.sub_(scales).exp_()
    shares.scatter_add_(1, places, shares.new_full((1, 1), -1.0).expand_as(places))
    return nats, shares.masked_fill_(~counted[:, None], 0)


def _product(a: Tensor, b: Tensor, wide: torch.dtype) -> Tensor:
    """Return a b in the wide dtype, with sums in it: what a half-width product gives would be rounded."""
    if a.dtype == wide:
        return a @ b
    if a.is_cuda:
        return torch.mm(a, b, out_dtype=wide)
    return a.to(wide) @ b.to(wide)
