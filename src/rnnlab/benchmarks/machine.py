"""What a time depends on beside the code: the processor, the versions, the threads, what else runs."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from rnnlab.cells.cpu import engine
from rnnlab.cells.cpu.library import library

PRODUCT = (2048, 1024, 2048)
"""Rows, depth and columns of the product that shows what the machine can do."""


def machine_facts(*, cores: int, allocator_keeps: bool, clock: Callable[[], float]) -> dict[str, Any]:
    """Return what belongs beside every time, as JSON-able data.

    Args:
        cores: cores that this process may use.
        allocator_keeps: whether freed memory stays with the process.
        clock: what times are taken with; the peak below is too.

    Returns:
        Names and versions, and `product_gflops`: the best of three products of `PRODUCT`, float32, by who made it.
    """
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor_name(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "clock": "process CPU time" if clock is time.process_time else "wall time",
        "engine": library().detail,
        "engine_multiplies_bfloat16": library().multiplies_bfloat16,
        "torch": torch.__version__,
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "allocator": "keeps freed memory" if allocator_keeps else "as it comes",
        "product_gflops": product_gflops(clock),
    }


def processor_name() -> str:
    """Return the processor's name as the system gives it: 'AMD EPYC 9654'; its architecture where it has none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def load_average() -> list[float] | None:
    """Return how many processes wanted to run over the last 1, 5 and 15 minutes; None where the system keeps none."""
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None


def product_gflops(clock: Callable[[], float]) -> dict[str, float]:
    """Return GFLOP/s of a large matrix product: by torch, and by the CPU engine where it is built."""
    rows, depth, columns = PRODUCT
    a, b = torch.ones(rows, depth), torch.ones(depth, columns)
    multipliers = {"torch": torch.mm} | ({"cpu": engine.multiply} if engine.runs(a) else {})
    found = {}
    for name, multiply in multipliers.items():
        times = []
        for _ in range(3):
            start = clock()
            multiply(a, b)
            times.append(clock() - start)
        found[name] = 2e-9 * rows * depth * columns / max(min(times), 1e-9)
    return found
