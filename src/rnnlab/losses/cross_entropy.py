"""Summed cross-entropy of a linear layer's logits, as one custom op: hidden states and targets in, nats out.

The logits of all rows at once are the largest tensor of a language model's step, three times over with their softmax
and its gradient. Here they exist for some rows at a time, and the gradients of those rows are added up before the next
ones: one pass gives the loss and all gradients, which the backward pass only scales.

What runs behind the op is the C++ engine where it is built and the numbers stand in its memory, else `chunks`.

Shapes: N rows, H hidden_size, V vocab_size.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from rnnlab.cells.bptt.common import compute_dtype
from rnnlab.cells.cpu import engine
from rnnlab.cells.define import define_op
from rnnlab.cells.ops import have_tangents, is_watched, needs_grad
from rnnlab.losses import chunks, cpu


def linear_cross_entropy(
    h: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, *, ignore_index: int = -100
) -> Tensor:
    """Sum the cross-entropy of targets under softmax(h W^T + b).

        nats = sum over rows n of  log sum_v exp(logits[n, v]) - logits[n, targets[n]]

    Equals `cross_entropy(linear(h, weight, bias), targets, ignore_index=ignore_index, reduction="sum")`. Under autocast
    the factors of the products are rounded to its width, the gradients of logits among them; sums, softmax and loss
    keep float32. There is no second derivative.

    Args:
        h: hidden states, (..., H).
        weight: W, (V, H).
        bias: b, (V,), or None.
        targets: <int64>(...), the class of each hidden state, 0 to V-1, or ignore_index.
        ignore_index: the target of rows that do not count; their h may hold anything.

    Returns:
        The sum in nats, a scalar: float32, or float64 of float64 tensors.

    Raises:
        ValueError: shapes or dtypes do not fit, or a target is out of range (on a GPU the loss becomes nan instead).

    Source of the chunks: Hsu et al. 2024, Liger Kernel, section 3.2.
    """
    if h.shape[:-1] != targets.shape or weight.dim() != 2 or h.shape[-1:] != weight.shape[1:]:
        raise ValueError(
            "wanted h (..., H), weight (V, H) and targets (...), "
            f"got {tuple(h.shape)}, {tuple(weight.shape)} and {tuple(targets.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must be {tuple(weight.shape[:1])} for these weights, got {tuple(bias.shape)}")
    device, factors = h.device.type, None
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device) and h.dtype != torch.float64:
        factors = torch.get_autocast_dtype(device)
    if factors is None and h.dtype != weight.dtype:
        raise ValueError(f"h and weight must have one dtype outside autocast, got {h.dtype} and {weight.dtype}")
    if have_tangents(h, weight, bias):
        raise NotImplementedError(
            "linear_cross_entropy has no forward-mode differentiation; use torch's linear and cross_entropy"
        )
    save = needs_grad(h, weight, bias)
    arguments = (h.flatten(0, -2), weight, bias, targets.flatten(), ignore_index, factors, save)
    if is_watched():
        return torch.ops.rnnlab.linear_cross_entropy(*arguments, 1.0)[0]
    # torch's own way to an op costs 0.2 ms a call. The factor costs nothing in the engine; elsewhere it is a pass of
    # its own now as well as later.
    return LinearCrossEntropy.apply(*arguments, _later_factor.get() if engine.runs(h) else 1.0)


_later_factor: ContextVar[float] = ContextVar("later_factor", default=1.0)


@contextmanager
def later_times(factor: float) -> Generator[None]:
    """Say beforehand what the sums formed inside will be multiplied by, as in `(nats * factor).backward()`.

    Gradients are then formed with it, which spares a pass over them, each as large as the weight. Nothing else changes:
    the sums are what they are, and if another factor comes in the end the gradients are right all the same.
    """
    token = _later_factor.set(factor if math.isfinite(factor) and factor != 0 else 1.0)
    try:
        yield
    finally:
        _later_factor.reset(token)


def _run(
    h: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, ignore_index: int, *options: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what `chunks.run` does, for arguments that are checked here."""
    if h.device.type == "cpu":
        _check_targets(targets, weight.shape[0], ignore_index)
    run = cpu.run if engine.runs(h) else chunks.run
    with torch.autocast(h.device.type, enabled=False):
        return run(h, weight, bias, targets, ignore_index, *options)


def _check_targets(targets: Tensor, vocab_size: int, ignore_index: int) -> None:
    """Look at every target: from here on there are only addresses.

    Raises:
        ValueError: one is out of range.
    """
    if _outside(targets, vocab_size) is None:  # most often none is ignored: a fifth of the time
        return
    got = _outside(targets[targets != ignore_index], vocab_size)
    if got is not None:
        raise ValueError(f"targets must be from 0 to {vocab_size - 1}, or ignore_index={ignore_index}, got {got}")


def _outside(targets: Tensor, vocab_size: int) -> int | None:
    """Return a target that is out of range; None: there is none."""
    if targets.numel() == 0:
        return None
    low, high = (int(value) for value in torch.aminmax(targets))
    return low if low < 0 else high if high >= vocab_size else None


define_op(
    "rnnlab::linear_cross_entropy",
    "(Tensor h, Tensor weight, Tensor? bias, Tensor targets, int ignore_index, ScalarType? factors, bool save,"
    " float scale) -> (Tensor, Tensor, Tensor, Tensor)",
    _run,
)


@torch.library.register_fake("rnnlab::linear_cross_entropy")
def _(h: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    like = (h, weight, bias) if rest[-2] else (None, None, None)
    grads = (h.new_empty(0) if tensor is None else tensor.new_empty(tensor.shape) for tensor in like)
    return h.new_empty((), dtype=compute_dtype(h)), *grads  # pyright: ignore[reportReturnType]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.has_bias, (ctx.saved, ctx.scale) = inputs[2] is not None, inputs[-2:]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output[1:])


def _gradients(ctx: Any, grad_nats: Tensor | None, *others: Tensor | None) -> tuple[Tensor | None, ...]:
    if any(grad is not None for grad in others) or torch.is_grad_enabled():
        raise RuntimeError("linear_cross_entropy has no second derivatives (create_graph=True); use torch's own loss")
    wanted = [*ctx.needs_input_grad[:2], ctx.has_bias and ctx.needs_input_grad[2]]
    if grad_nats is None or not any(wanted):
        return (None,) * 8
    if not ctx.saved:
        raise RuntimeError("rnnlab::linear_cross_entropy was called with save=False; gradients need save=True")
    saved, factor = ctx.saved_tensors, grad_nats if ctx.scale == 1 else grad_nats / ctx.scale
    in_place = _is_last_use()
    # What was foreseen is in them. (The factor is looked at on the CPU alone: a GPU would have to be waited for.)
    is_done = in_place and ctx.scale != 1 and bool(grad_nats == grad_nats.new_tensor(ctx.scale))
    scale = _leave if is_done else _scale_in_place if in_place else torch.mul
    grads = [scale(grad, factor) if want else None for grad, want in zip(saved, wanted, strict=True)]
    return *grads, None, None, None, None, None


def _leave(grad: Tensor, scale: Tensor) -> Tensor:
    return grad.detach()


def _scale_in_place(grad: Tensor, scale: Tensor) -> Tensor:
    # Out of autograd's sight: nobody else holds the tensor.
    return grad.detach().mul_(scale)


def _is_last_use() -> bool:
    """Return whether what the graph holds may be changed: it is freed after this backward pass, and nothing traces.

    A second gradient of the weight's size would cost as much memory again, and the time to fill it.
    """
    if torch.compiler.is_compiling() or is_watched():
        return False
    # What torch.compile asks, too, before it reuses saved memory; a torch without it pays for the copy.
    autograd = getattr(torch._C, "_autograd", None)
    keeps = getattr(autograd, "_get_current_graph_task_keep_graph", None)
    return keeps is not None and not keeps()


torch.library.register_autograd("rnnlab::linear_cross_entropy", _gradients, setup_context=_setup)


class LinearCrossEntropy(torch.autograd.Function):
    """The op where nobody traces it; it gives the loss alone."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        """Return the sum of nats, and keep the gradients."""
        output = _run(*inputs)
        _setup(ctx, inputs, output)
        return output[0]

    backward = staticmethod(_gradients)
