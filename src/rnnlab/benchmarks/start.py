"""How long `rnnlab train` takes from pressing enter to its first step, in processes of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rnnlab.errors import DataError

_READY = re.compile(r"ready in [\d.]+ s(?:: (.*))?")


@dataclass(frozen=True, slots=True)
class Start:
    """One start.

    Attributes:
        seconds: wall time from the start of the process until it is ready for its first step.
        cpu_seconds: of all its threads, which what else runs hardly changes; a little of the first step is in it.
        parts: what the wall time went into, as the run itself says, seconds.
    """

    seconds: float
    cpu_seconds: float
    parts: dict[str, float]


def time_start(settings: Sequence[str], environment: Mapping[str, str]) -> Start:
    """Start one run and end it as soon as it is ready; it leaves nothing.

    Args:
        settings: of `rnnlab train`.
        environment: variables beside those of this process.

    Raises:
        DataError: the run ends before it is ready.
    """
    command = [sys.executable, "-P", "-m", "rnnlab", "train", *settings]
    with tempfile.TemporaryDirectory() as outputs:
        variables = {**os.environ, **environment, "RNNLAB_OUTPUTS": outputs}
        began = time.perf_counter()
        process = subprocess.Popen(
            command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        assert process.stderr is not None
        before, last, ready, seconds = _cpu_of_children(), "", None, 0.0
        try:
            for line in process.stderr:
                if ready := _READY.search(line):
                    seconds = time.perf_counter() - began
                    break
                last = line.strip() or last
        finally:
            process.kill()
            process.wait()
            process.stderr.close()
    if ready is None:
        raise DataError(f"rnnlab train {' '.join(settings)} was never ready: {last or 'it said nothing'}")
    return Start(seconds, _cpu_of_children() - before, _parts(ready[1] or ""))


def empty_cache(cache: Path, folder: Path) -> dict[str, str]:
    """Make a cache folder with the downloads of another and no encoded corpus.

    Args:
        cache: the user's, perhaps not there.
        folder: an empty one.

    Returns:
        The variable that makes rnnlab use it.
    """
    for path in cache.iterdir() if cache.is_dir() else ():
        if path.name != "encoded":
            (folder / path.name).symlink_to(path.absolute())
    return {"RNNLAB_CACHE": str(folder)}


def _cpu_of_children() -> float:
    """Seconds of processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def _parts(text: str) -> dict[str, float]:
    pairs = (part.rsplit(" ", 1) for part in text.split(", ") if " " in part)
    return {name: float(seconds) for name, seconds in pairs}
