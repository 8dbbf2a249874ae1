"""Which device and how many threads a run uses; imports torch only inside functions."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING

from rnnlab.errors import ConfigError

if TYPE_CHECKING:
    import torch

# Either says how idle OpenMP threads wait; GNU's own wins over the standard's.
_WAIT_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
_SET_BY_US: dict[str, str] = {}


def quiet_idle_threads() -> bool:
    """Let idle OpenMP threads sleep instead of spin, unless the user has said how they shall wait.

    Threads that spin slow a shared machine many times over. OpenMP reads this once, when torch loads.

    Returns:
        Whether this process's environment was changed.
    """
    if any(name in os.environ for name in _WAIT_VARIABLES):
        return False
    os.environ["OMP_WAIT_POLICY"] = _SET_BY_US["OMP_WAIT_POLICY"] = "PASSIVE"
    return True


def plain_environment() -> dict[str, str]:
    """Return the environment without what rnnlab put there: what a program of the user's own would see."""
    return {name: value for name, value in os.environ.items() if _SET_BY_US.get(name) != value}


def usable_cores() -> int:
    """Cores this process may use: its affinity, cut down to the control group's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_cores()
    return max(1, cores if quota is None else min(cores, int(quota)))


def choose_device(wanted: str) -> torch.device:
    """Find the device of a setting.

    Args:
        wanted: auto (cuda, else mps, else cpu), cpu, cuda or mps.

    Raises:
        ConfigError: it is not there.
    """
    import torch

    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if present[name]))
    if not present[wanted]:
        here = ", ".join(name for name, there in present.items() if there)
        raise ConfigError(f"device={wanted} is not available here, {here} is; rnnlab doctor says why")
    return torch.device(wanted)


def set_threads(wanted: int) -> int:
    """Set torch's CPU threads; 0 is as many as this process may use.

    Returns:
        How many it is.
    """
    import torch

    torch.set_num_threads(wanted or usable_cores())
    return torch.get_num_threads()


def tune_allocator() -> bool:
    """Let glibc keep freed memory for the next step instead of giving it back to the system.

    By default every buffer of some megabytes is mapped anew and its pages are faulted in one by one, at every step: a
    tenth to a third of a small model's step on a CPU. It costs memory: what is freed stays with the
    process, in pieces that do not always fit what is asked for next.

    Returns:
        Whether there is a glibc and it agreed.
    """
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # malloc.h: M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(*pair) for pair in ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 64 << 20)))


def _cgroup_cores() -> float | None:
    """Cores of the control group's quota; None where there is no quota."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None
