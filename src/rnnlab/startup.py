"""The seconds between pressing enter and the first step, and what they went into.

One list a process: a command is started once. No torch.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_SHOWN_SECONDS = 0.05  # shorter parts are added up as "rest"

_laps: dict[str, float] = {}
_last = time.perf_counter()


def begin(*, since_process_start: bool) -> None:
    """Start to count.

    Args:
        since_process_start: count what Python itself took as well, as the lap "python"; where the system does not tell
            when a process was started, this changes nothing.
    """
    global _last
    _laps.clear()
    _last = time.perf_counter()
    if since_process_start and (seconds := _process_seconds()) is not None:
        _laps["python"] = seconds


def lap(name: str) -> None:
    """Say what the seconds since the lap before went into; laps of one name add up."""
    global _last
    now = time.perf_counter()
    _laps[name] = _laps.get(name, 0.0) + now - _last
    _last = now


def summary() -> str:
    """One line: `ready in 2.3 s: python 0.1, settings 0.4, torch 1.5, corpus 0.1, rest 0.2`."""
    shown = {name: seconds for name, seconds in _laps.items() if seconds >= _SHOWN_SECONDS}
    total = sum(_laps.values())
    if (rest := total - sum(shown.values())) >= _SHOWN_SECONDS:
        shown["rest"] = rest
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in shown.items())
    return f"ready in {total:.1f} s{': ' if parts else ''}{parts}"


def _process_seconds() -> float | None:
    """Age of this process; None where /proc does not tell, or tells what cannot be."""
    try:
        # Field 22, counted behind the name in brackets, which may hold blanks.
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
    return age if 0 <= age < 60 else None
