"""Compiling the kernels for a GPU that is not there: what they take of it, and a cache filled ahead of a measurement.

The passes run as they always do, on CPU tensors, but their kernels are compiled instead of started, so what comes out
is what a launch on such a GPU would run. For tests and scripts; results of a pass inside are meaningless.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget

from rnnlab.cells.triton import launch, passes
from rnnlab.cells.triton.plan import Device, Plan, Shape, choose_plan, padded_size
from rnnlab.cells.triton.settings import Settings

GATES = {"rnn": 1, "gru": 3, "lstm": 4}


class Compiled(NamedTuple):
    """What a pass takes of a GPU.

    Attributes:
        plan: how it runs.
        shape: what the plan was chosen for.
        registers: of a thread.
        stack: bytes of local memory of a thread; spilled registers stand there.
        spills: instructions that read or write local memory.
        shared_memory: bytes of a program.
        layout: the compiler's intermediate text, from which the machine code was made.
    """

    plan: Plan
    shape: Shape
    registers: int
    stack: int
    spills: int
    shared_memory: int
    layout: str


def compile_pass(
    cell: str,
    hidden_size: int,
    batch: int,
    dtype: torch.dtype,
    *,
    backward: bool,
    directions: int = 1,
    with_lengths: bool = False,
    extras: Collection[str] = (),
    capability: int = 90,
    analyse: bool = True,
) -> Compiled | None:
    """Compile what one pass would start, as `choose_plan` plans it, `overridden` included.

    Args:
        cell: 'rnn', 'gru' or 'lstm'.
        hidden_size: H.
        batch: B.
        dtype: of the operands; of float32 ones `torch.set_float32_matmul_precision` chooses the product.
        backward: which pass.
        directions: D.
        with_lengths: whether rows have lengths.
        extras: which act, of 'recurrent_dropout', 'zoneout' (masks), 'zoneout_share' and 'clip_state_grad'.
        capability: the GPU's compute capability, 90 for an H100.
        analyse: whether to read the machine code; without, only the cache is filled and None returned.
    """
    gates, size = GATES[cell], padded_size(hidden_size)
    x = torch.zeros(2, batch, 16, dtype=dtype)
    state = torch.zeros(directions, batch, hidden_size, dtype=dtype)
    states = [state] * (2 if cell == "lstm" else 1)
    weights = [torch.zeros(directions, gates * hidden_size, width, dtype=dtype) for width in (16, hidden_size)]
    settings = _settings(extras, cell, state, torch.full((batch,), 2) if with_lengths else None)
    relu = [False] if cell == "rnn" else []
    with _compiling(capability) as compiled:
        if backward:
            y = torch.zeros(2, batch, directions * hidden_size, dtype=dtype)
            wide = torch.zeros(2, batch, directions, 4, size)
            state_like = wide[:, :, :, 0].contiguous()
            kept = {"rnn": [state_like], "gru": [wide], "lstm": [wide, state_like]}[cell]
            unknown, flags = [None] * len(states), [*relu, False, True]
            run = getattr(passes, f"{cell}_backward")
            run(y, *unknown, x, *states, *weights, None, None, y, *kept, settings, *flags)
        else:
            bias = torch.zeros(directions, gates * hidden_size, dtype=dtype)
            run = getattr(passes, f"{cell}_forward")
            run(x, *states, *weights, bias, bias, settings, *relu, True, False)
    if not analyse:
        return None
    shape = Shape.of(x, gates, hidden_size, directions, backward=backward, extras=settings.has_extras)
    return Compiled(choose_plan(shape, Device()), shape, *resources(compiled[0]), compiled[0].asm["ttgir"])


def _settings(extras: Collection[str], cell: str, state: Tensor, lengths: Tensor | None) -> Settings:
    """Switch extras on, for two steps of a state (D, B, H)."""
    keep = torch.zeros(state.shape[0], 2, *state.shape[1:], dtype=torch.bool)
    is_lstm = cell == "lstm"
    return Settings(
        lengths,
        recurrent_mask=state if "recurrent_dropout" in extras else None,
        zoneout_h=keep if "zoneout" in extras else None,
        zoneout_c=keep if "zoneout" in extras and is_lstm else None,
        zoneout_h_share=0.5 if "zoneout_share" in extras else 0.0,
        zoneout_c_share=0.5 if "zoneout_share" in extras and is_lstm else 0.0,
        clip_state_grad=1.0 if "clip_state_grad" in extras else 0.0,
    )


class _NoDriver:
    """Stands where triton asks for the current device."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_device(self) -> int:
        return 0

    def set_current_device(self, device: int) -> None:
        pass

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, 32)


@contextmanager
def _compiling(capability: int) -> Iterator[list[Any]]:
    """Make every start a compilation; collects the first kernel."""
    compiled: list[Any] = []

    def start(kernel: Any, grid: tuple[int, ...], arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        if not compiled:  # launches of further steps are the same kernel
            compiled.append(kernel.warmup(*arguments, grid=grid, **options))

    driver: Any = triton.runtime.driver
    before = launch._start, driver._active  # driver.reset_active looks for a GPU
    launch._start = start
    driver.set_active(_NoDriver(capability))
    try:
        yield compiled
    finally:
        launch._start, driver._active = before


def resources(compiled: Any) -> tuple[int, int, int, int]:
    """Return registers, stack, spills and shared memory, read from the machine code by triton's own tools."""
    tool = str(Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()

        def read(what: str) -> str:
            return subprocess.run([tool, what, file.name], capture_output=True, text=True, check=True).stdout

        usage = re.search(r"REG:(\d+) STACK:(\d+)", read("--dump-resource-usage"))
        spills = len(re.findall(r"\b(?:LDL|STL)\b", read("--dump-sass")))
    assert usage is not None
    return int(usage[1]), int(usage[2]), spills, compiled.metadata.shared
