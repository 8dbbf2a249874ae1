"""Other work on the machine, made on purpose."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

# It ends by itself once its parent is gone, even if that was killed.
_BUSY_LOOP = """
import os, sys
while os.getppid() == int(sys.argv[1]):
    for _ in range(100_000):
        pass
"""
_START_SECONDS = 0.3


@contextmanager
def busy_cores(count: int) -> Iterator[list[int]]:
    """Keep `count` cores busy with a process each, which are killed on the way out whatever happens.

    Yields:
        Their process ids.
    """
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            processes.append(subprocess.Popen([sys.executable, "-S", "-c", _BUSY_LOOP, str(os.getpid())]))
        time.sleep(_START_SECONDS)  # until they have started to count
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
