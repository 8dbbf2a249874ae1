"""The cross-entropy on the CPU engine: arguments and results as in `chunks.run`."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnlab.cells.bptt.common import compute_dtype
from rnnlab.cells.cpu import engine
from rnnlab.cells.cpu.library import CrossEntropy, address, call


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
    """Return nats and, if `save`, its gradients of h, weight and bias (else, and of no bias, empty)."""
    dtype = compute_dtype(h)
    given = [_as_the_engine_reads(tensor, dtype) for tensor in (h, weight, bias)]
    targets, nats = targets.contiguous(), torch.zeros((), dtype=torch.float64)
    grads = [torch.empty_like(tensor) if save and tensor is not None else None for tensor in given]
    tensors = (*given, targets, nats, *grads)
    arguments = CrossEntropy(
        engine.arithmetic(h, factors), torch.get_num_threads(), *h.shape, weight.shape[0], ignore_index, scale,
        *(address(tensor) for tensor in tensors),
    )  # fmt: skip
    call("rnnlab_judge", arguments)
    likes = (h, weight, h if bias is None else bias)
    pairs = zip(grads, likes, strict=True)
    results = [h.new_empty(0) if grad is None else engine.as_dtype(grad, like.dtype) for grad, like in pairs]
    return nats.to(dtype), *results  # pyright: ignore[reportReturnType]


def _as_the_engine_reads(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if tensor is None else engine.as_dtype(tensor.detach(), dtype).contiguous()
