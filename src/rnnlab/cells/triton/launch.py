"""Starting a kernel: over all steps at once where the plan says so, else one launch a step."""

from __future__ import annotations

from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from rnnlab.cells.triton.meeting import ALL_PROGRAMS, COUNTER_STRIDE, NOBODY, OWN_THREADS
from rnnlab.cells.triton.plan import Plan, interpreting

PATIENCE = 1 << 22
"""How often a program asks for the others before it gives up: a few seconds, where a step takes microseconds."""

_SYNC = {"step": NOBODY, "solo": OWN_THREADS, "grid": ALL_PROGRAMS}
_WIDE = {torch.float32: tl.float32, torch.float64: tl.float64}
_failed: dict[torch.device, Tensor] = {}


def run_visits(
    kernel: Any,
    tensors: tuple[Tensor, ...],
    lengths: Tensor | None,
    plan: Plan,
    *,
    num_steps: int,
    size: int,
    reverse: bool,
    precision: str,
    **more: bool | float | Tensor | None,
) -> None:
    """Run all visits of a pass.

    Args:
        kernel: a `forward` or `backward` of rnn, lstm or gru.
        tensors: its tensors before `lengths`; the last is (B, D, S) wide.
        lengths: valid steps of each row, (B,), or None.
        plan: how to run.
        num_steps: T.
        size: S.
        reverse: whether the one direction runs in reverse; of two the second always does.
        precision: of float32 products, a name that triton's dot takes.
        **more: further constants of the kernel, and its last parameters: what extras need.
    """
    state = tensors[-1]
    batch, directions, _ = state.shape
    grid = plan.grid(size, batch, directions)
    visits = 1 if plan.mode == "step" else num_steps
    counters = torch.zeros(grid[1] * grid[2] * COUNTER_STRIDE.value, dtype=torch.int32, device=state.device)
    options: dict[str, Any] = {
        "SIZE": size,
        "DIRECTIONS": directions,
        "REVERSE": int(reverse and directions == 1),
        "LENGTHS": lengths is not None,
        "BLOCK_BATCH": plan.block_batch,
        "BLOCK_UNITS": plan.block_units,
        "CHUNKS": plan.chunks,
        "RESIDENT": plan.resident,
        "SYNC": _SYNC[plan.mode].value,
        "WIDE": _WIDE[state.dtype],
        "PRECISION": precision,
        "UPCAST": interpreting() and any(tensor.dtype.itemsize == 2 for tensor in tensors),
        **more,
    }
    if not interpreting():
        options |= {"num_warps": plan.num_warps, "num_stages": 1, "launch_cooperative_grid": plan.mode == "grid"}
        if plan.mode != "step" and plan.num_warps == 8:
            # One program a processor: left alone, the assembler spills registers to make room for a second.
            options["maxnreg"] = 255
    pointers = (*tensors, counters if lengths is None else lengths, counters, failure_flag(state.device))
    with torch.cuda.device_of(state):
        for first in range(0, num_steps, visits):
            _start(kernel, grid, (*pointers, first, first + visits, num_steps, batch, PATIENCE), options)


def failure_flag(device: torch.device) -> Tensor:
    """Return the flag <int32>(1,) that is 1 once a program of this device has given up waiting for the others.

    What such a launch returns is nan. Reading the flag waits for the device, so no pass does.
    """
    if device not in _failed:
        _failed[device] = torch.zeros(1, dtype=torch.int32, device=device)
    return _failed[device]


def _start(kernel: Any, grid: tuple[int, int, int], arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    kernel[grid](*arguments, **options)
