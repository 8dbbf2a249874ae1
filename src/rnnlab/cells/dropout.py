"""Dropout whose mask is a function of one number: drawn once from torch's generator, spread over the entries in C++.

torch draws a mask on a CPU number by number from a serial generator, and keeps it for the backward pass. Here entry i
is kept if word i of a counter-based generator is below the share to keep, so that threads and vectors work side by
side, nothing is kept, and the backward pass makes the mask again from the seed.

Where the C++ engine is not built, the tensor is elsewhere, or torch traces the call (torch.compile, vmap), torch's own
dropout runs.

ms of CPU time on one thread of a Zen 4, forward and backward, float32, torch's / this:
(35, 20, 200) 1.8/0.4, (35, 20, 650) 5.8/1.0, (2600, 650) 22/3.1, (70, 40, 1150) 42/5.6
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnlab.cells.cpu import engine
from rnnlab.cells.ops import have_tangents, is_watched


def dropout(x: Tensor, p: float, training: bool = True) -> Tensor:
    """Zero each entry with probability p and scale the others by 1 / (1 - p), as torch.nn.functional.dropout does.

    Seeds come from torch's global generator, one a call: the same state of it gives the same mask, whatever the number
    of threads. The masks are not those of torch's dropout.

    Args:
        x: any shape.
        p: from 0 to 1.
        training: if not, x is returned as it is.
    """
    if not training or p == 0:
        return x
    is_plain = type(x) in (Tensor, nn.Parameter) and not (is_watched() or have_tangents(x))
    if not is_plain or p >= 1 or not engine.runs(x) or x.dtype == torch.float16:
        return functional.dropout(x, p, True)
    return _Dropped.apply(x, int(torch.empty((), dtype=torch.int64).random_()), p)  # pyright: ignore


class Dropout(nn.Module):
    """`dropout` as a module, in the place of torch.nn.Dropout."""

    def __init__(self, p: float = 0.5) -> None:
        """Keep the share of entries that are zeroed.

        Raises:
            ValueError: p is not from 0 to 1.
        """
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"p must be from 0 to 1, got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Zero entries in training, return x as it is otherwise."""
        return dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        """Show p."""
        return f"p={self.p}"


class _Dropped(torch.autograd.Function):
    """x with entries zeroed; its gradient is the same of the gradient, any number of times."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, seed: int, p: float) -> Tensor:
        ctx.seed, ctx.p = seed, p
        return engine.drop(x, seed, p)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None]:  # pyright: ignore
        drop = _Dropped.apply if torch.is_grad_enabled() else engine.drop
        return drop(grad, ctx.seed, ctx.p), None, None  # pyright: ignore
