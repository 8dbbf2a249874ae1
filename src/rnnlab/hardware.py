"""Which device and how many threads a run uses; imports torch only inside functions."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from rnnlab.errors import ConfigError

if TYPE_CHECKING:
    import torch

# Each says how idle OpenMP threads wait: the standard's, GNU's and LLVM's.
_WAIT_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_SET_BY_US: dict[str, str] = {}


class SetUp(NamedTuple):
    """What holds for the whole process.

    Attributes:
        threads: of torch.
        cores: that this process may use.
        idle_threads: 'sleep', or 'spin' where the user or a program around rnnlab decided how they wait.
        allocator: 'tuned' or 'default'.
    """

    threads: int
    cores: int
    idle_threads: str
    allocator: str

    def __str__(self) -> str:
        """Render for a log line."""
        return (
            f"threads: {self.threads} of {self.cores} cores, idle ones {self.idle_threads}, {self.allocator} allocator"
        )


def set_up(threads: int, *, keep_memory: bool, processes: int = 1) -> SetUp:
    """Set threads and allocator, once, before a model is built.

    Args:
        threads: as in `set_threads`.
        keep_memory: whether to tune the allocator.
        processes: as in `set_threads`.
    """
    sleep = os.environ.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE" or os.environ.get("GOMP_SPINCOUNT") == "0"
    return SetUp(
        threads=set_threads(threads, processes),
        cores=usable_cores(),
        idle_threads="sleep" if sleep else "spin",
        allocator="tuned" if keep_memory and tune_allocator() else "default",
    )


def quiet_idle_threads() -> bool:
    """Let idle OpenMP threads sleep after a moment instead of spin, unless the user has said how they shall wait.

    Threads that spin on slow a shared machine many times over. Threads that sleep at once have to be woken for each
    parallel part of a step: on two cores of a Zen 4, a word model's step of 88 ms took 3 more. With the moment, of a
    tenth of a millisecond or so, steps beside a busy loop on each core are no slower than without. OpenMP reads this
    once, when torch loads.

    Returns:
        Whether this process's environment was changed.
    """
    if any(name in os.environ for name in _WAIT_VARIABLES):
        return False
    _SET_BY_US.update({"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"})
    os.environ.update(_SET_BY_US)
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


def set_threads(wanted: int, processes: int = 1) -> int:
    """Set torch's CPU threads; 0 is what OMP_NUM_THREADS says, else as many as this process may use.

    The load of the machine has no say: beside a busy loop on each of two cores, a step took 2.2 s on two threads that
    sleep when idle, 4.2 s on one, and 10.6 s on two that spin.

    Args:
        wanted: threads, or 0.
        processes: that share the cores of this machine, this one among them.

    Returns:
        How many it is.
    """
    import torch

    by_user = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # a list is one of nested regions
    told = wanted or (int(by_user) if by_user.isdecimal() else 0)
    torch.set_num_threads(told or max(1, usable_cores() // processes))
    return torch.get_num_threads()


def matrix_rate() -> float:
    """Measure how many float32 operations a second this CPU's matrix products reach with the threads in use.

    The best of five, each of some hundredths of a second: what another process takes away is not the machine's limit.
    """
    import torch

    size = 1024
    a, b, out = (torch.ones(size, size) for _ in range(3))
    times = []
    for _ in range(5):
        began = time.perf_counter()
        torch.mm(a, b, out=out)
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times)


def tune_allocator() -> bool:
    """Let glibc keep freed memory for the next step instead of giving it back to the system, and take it in huge pages.

    By default every buffer of some megabytes is mapped anew and its pages are faulted in one by one, at every step: a
    tenth to a third of a small model's step on a CPU. It costs memory: what is freed stays with the
    process, in pieces that do not always fit what is asked for next.

    Returns:
        Whether there is a glibc and it agreed.
    """
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # malloc.h: M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX
    try:
        libc = ctypes.CDLL("libc.so.6")
        mallopt = libc.mallopt
    except (OSError, AttributeError):
        return False
    if not all(mallopt(*pair) for pair in ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 64 << 20))):
        return False
    _use_huge_pages(libc)
    return True


def _use_huge_pages(libc: ctypes.CDLL) -> None:
    """Ask for huge pages where the next gigabyte of the heap will be; nothing is taken before it is written to.

    A matrix of some megabytes has more small pages than the processor keeps addresses at hand. Linux gives huge ones to
    those who ask (`madvise` in /sys/kernel/mm/transparent_hugepage/enabled, the usual setting); where it does not, this
    does nothing. On a Zen 4 the decoder and loss of a language model take 3 to 7 % less time.
    """
    size, huge, advice = 1 << 30, 2 << 20, 14  # advice: mman.h, MADV_HUGEPAGE
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    # The heap grows by it in one piece, which stays with the process when it is freed.
    if (start := libc.malloc(size)) is not None:
        first = -(-start // huge) * huge
        libc.madvise(first, (start + size - first) // huge * huge, advice)
        libc.free(start)


def _cgroup_cores() -> float | None:
    """Cores of the tightest quota among the control groups that this process is in; None where there is none."""
    quotas = []
    for line in (_read("/proc/self/cgroup") or "0::/").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number != "0" and "cpu" not in controllers.split(","):
            continue
        # A container shows its own group as the root, whatever path stands here.
        for folder in {PurePosixPath("/"), PurePosixPath(group), *PurePosixPath(group).parents}:
            quotas.append(_quota(f"/sys/fs/cgroup{folder}" if number == "0" else f"/sys/fs/cgroup/cpu{folder}"))
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota(folder: str) -> float | None:
    """Cores of one control group's quota: version 2 keeps it in one file, version 1 in two."""
    words = (_read(f"{folder}/cpu.max") or "").split() or [
        (_read(f"{folder}/cpu.cfs_{name}_us") or "").strip() for name in ("quota", "period")
    ]
    try:
        quota, period = (int(word) for word in words)
    except ValueError:  # max, or no file
        return None
    return quota / period if quota > 0 and period > 0 else None  # version 1 says -1 for none


def _read(path: str) -> str | None:
    try:
        return Path(os.path.normpath(path)).read_text()
    except (OSError, ValueError):
        return None
