"""Cores kept busy, and left alone again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rnnlab.benchmarks.load import busy_cores


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_busy_processes_end_with_the_block_also_if_it_fails():
    with pytest.raises(ZeroDivisionError), busy_cores(2) as pids:
        assert len(pids) == 2
        assert all(is_alive(pid) for pid in pids)
        raise ZeroDivisionError
    assert not any(is_alive(pid) for pid in pids)


def test_they_end_by_themselves_when_their_parent_is_killed():
    script = (
        "import os, signal\nfrom rnnlab.benchmarks.load import busy_cores\n"
        "with busy_cores(1) as pids:\n    print(len(pids), flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    # The output ends only when nobody holds it open any more, and the busy process inherits it.
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("1\n", -9)
