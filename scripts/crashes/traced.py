"""Part A3 of the matrix: the kernel's own calls, struck from outside by strace, whoever makes them.

Nothing of rnnlab or Python is patched: strace is attached to an attempt before its command begins, counts a system
call, and lets SIGKILL come as the nth of them is entered.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections import Counter
from itertools import cycle
from pathlib import Path

from crashes.bench import Bench
from crashes.forks import HUNG_SECONDS, Child
from crashes.jobs import Job, jobs
from crashes.places import Act, both, write_events_at_once

CALLS = ("openat", "write", "fsync", "mkdir", "rename", "symlink", "ftruncate", "unlink", "unlinkat", "rmdir")
_KILLS_OF_A_JOB = 5
_CALL = re.compile(r"\d+ +(\w+)\(")


def why_not() -> str | None:
    """Say in a sentence why nothing can be traced here; None if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    done = subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return f"strace may not trace here: {done.stderr.strip()[-200:]}" if done.returncode else None


def every_call(bench: Bench, kills: int) -> None:
    """A3: SIGKILL as a system call that changes the disk is entered, in a run and in its recovery."""
    with bench.part("A3 system calls, by strace") as tally:
        if (reason := why_not()) is not None:
            tally.facts["left out"] = reason
            return
        tally.facts["calls"] = {}
        for job in bench.mine(jobs(12)):
            if tally.kills.total() >= kills:
                break
            calls = _recorded(bench, job)
            tally.facts["calls"][str(job)] = Counter(name for name, _ in calls).total()
            kinds = cycle(bench.random.sample(CALLS, len(CALLS)))
            for _ in range(_KILLS_OF_A_JOB):
                call, number = _chosen(bench, calls, next(kinds))
                name = bench.new_name()
                is_killed = tally.note_end(job, _traced(bench, job, name, call, number))
                tally.where[call if is_killed else "not reached"] += 1
                again = bench.random.random() < 0.3
                if again:
                    # Recovery has calls of its own, in another number: among its first there are some of each.
                    call = bench.random.choice(("openat", "write", "fsync", "rename"))
                    code = _traced(bench, job, name, call, bench.random.randint(1, 12))
                    tally.where["again, in recovery"] += tally.note_end(job, code)
                what = f"killed in {call} {number}{' and again in recovery' if again else ''}"
                bench.judge(job, name, bench.attempt(job, name).wait(), what)


def _chosen(bench: Bench, calls: list[tuple[str, int]], kind: str) -> tuple[str, int]:
    """Draw a call of a kind, or of any if the run makes none of it."""
    return bench.random.choice([call for call in calls if call[0] == kind] or calls)


def _recorded(bench: Bench, job: Job) -> list[tuple[str, int]]:
    """The calls of a whole run that change the disk below the bench's folder: name, and its number among its like."""
    name, log = bench.new_name(), bench.folder / "calls.log"
    bench.whole(job)  # whatever is only done the first time is done
    child, tracer = _start(bench, job, name, ["-y", "-s", "0", "-o", str(log), "-e", f"trace={','.join(CALLS)}"])
    code = child.wait()
    tracer.wait(HUNG_SECONDS)
    if code != 0:
        raise RuntimeError(f"{job} under strace ends with {code}: {bench.log(name)}")
    bench.forget(name)
    found: list[tuple[str, int]] = []
    numbers: Counter[str] = Counter()
    for line in log.read_text(errors="replace").splitlines():
        match = _CALL.match(line)
        if match is None or not line.startswith(f"{child.pid} "):  # a thread's, or the end of a call told before
            continue
        numbers[match[1]] += 1
        is_writing = match[1] != "openat" or "O_WRONLY" in line or "O_RDWR" in line
        if is_writing and str(bench.folder) in line:
            found.append((match[1], numbers[match[1]]))
    log.unlink()
    return found


def _traced(bench: Bench, job: Job, name: str, call: str, number: int) -> int | None:
    """Let an attempt be killed as it enters the nth call of a name."""
    inject = ["-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}"]
    child, tracer = _start(bench, job, name, inject)
    code = child.wait()
    tracer.wait(HUNG_SECONDS)
    return code


def _start(bench: Bench, job: Job, name: str, options: list[str]) -> tuple[Child, subprocess.Popen[bytes]]:
    """Start an attempt that waits until strace holds it."""
    read, write = os.pipe()

    def wait(tell: Act) -> None:
        os.read(read, 1)

    child = bench.attempt(job, name, both(wait, write_events_at_once))
    assert isinstance(child, Child)
    tracer = subprocess.Popen(["strace", "-f", "-qq", *options, "-p", str(child.pid)], stderr=subprocess.DEVNULL)
    while not _is_held(child.pid):
        if tracer.poll() is not None:
            child.kill(9)
            child.wait()
            raise RuntimeError(f"strace ends with {tracer.returncode}")
        time.sleep(0.001)
    os.write(write, b"x")
    os.close(read)
    os.close(write)
    return child, tracer


def _is_held(pid: int) -> bool:
    return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()
