"""The softmax of a chunk of logits for CUDA, in Triton: each row's loss, and its gradient in the logits' place.

A program owns a row. It reads the row twice: once for the largest logit and the sum of exponentials, each lane keeping
its own (Milakov & Gimelshein 2018), and once more to write the gradient.
"""

# pyright: basic, reportArgumentType=false, reportOperatorIssue=false, reportIndexIssue=false, reportCallIssue=false
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

LANES = 4096
"""Logits that a program looks at together."""
NUM_WARPS = 8


@triton.jit
def judge_row(logits, bias, targets, nats, vocab_size, ignore_index, BIAS: tl.constexpr, SAVE: tl.constexpr,
              LANES: tl.constexpr):  # fmt: skip
    """Judge row program_id(0) of logits (R, V)."""
    row = tl.program_id(0).to(tl.int64)
    logits += row * vocab_size
    target = tl.load(targets + row)
    lane = tl.arange(0, LANES)
    # Finite, since infinity minus infinity is nan in lanes that see no logit.
    largest = tl.full((LANES,), -3.0e38, tl.float32)
    total = tl.zeros((LANES,), tl.float32)
    for first in range(0, vocab_size, LANES):
        inside = first + lane < vocab_size
        x = tl.load(logits + first + lane, mask=inside, other=-3.0e38)
        if BIAS:
            x += tl.load(bias + first + lane, mask=inside, other=0.0)
        larger = tl.maximum(largest, x)
        total = total * tl.exp(largest - larger) + tl.where(inside, tl.exp(x - larger), 0.0)
        largest = larger
    top = tl.max(largest, 0)
    scale = tl.log(tl.sum(total * tl.exp(largest - top), 0)) + top
    # A target that is no column makes the loss nan, which stops a training run.
    known = (target >= 0) & (target < vocab_size)
    score = tl.load(logits + target, mask=known, other=float("nan"))
    if BIAS:
        score += tl.load(bias + target, mask=known, other=0.0)
    counts = target != ignore_index
    tl.store(nats + row, tl.where(counts, scale - score, 0.0))
    if SAVE:
        for first in range(0, vocab_size, LANES):
            inside = first + lane < vocab_size
            x = tl.load(logits + first + lane, mask=inside, other=0.0)
            if BIAS:
                x += tl.load(bias + first + lane, mask=inside, other=0.0)
            error = tl.exp(x - scale) - tl.where(first + lane == target, 1.0, 0.0)
            tl.store(logits + first + lane, tl.where(counts, error, 0.0), mask=inside)


def judge(
    logits: Tensor, bias: Tensor | None, targets: Tensor, ignore_index: int, save: bool
) -> tuple[Tensor, Tensor | None]:
    """Judge all rows of float32 logits; arguments and results as `rnnlab.losses.chunks.judge`."""
    nats = logits.new_empty(logits.shape[0])
    wide_bias = logits if bias is None else bias.to(logits.dtype).contiguous()  # unread without a bias
    judge_row[(logits.shape[0],)](
        logits, wide_bias, targets, nats, logits.shape[1], ignore_index,
        BIAS=bias is not None, SAVE=save, LANES=min(LANES, triton.next_power_of_2(logits.shape[1])),
        num_warps=NUM_WARPS,
    )  # fmt: skip
    return nats, logits if save else None


def signature() -> dict[str, str]:
    """Types of the kernel's arguments, for compiling it where no GPU is."""
    pointers = {"logits": "*fp32", "bias": "*fp32", "targets": "*i64", "nats": "*fp32"}
    return {**pointers, "vocab_size": "i32", "ignore_index": "i32"} | dict.fromkeys(
        ("BIAS", "SAVE", "LANES"), "constexpr"
    )
