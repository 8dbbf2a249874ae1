"""Parts B and H of the matrix: signals that ask a run to stop or save, and processes that want the same folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

from crashes.bench import Bench, Tally
from crashes.forks import HUNG_SECONDS, Child, start
from crashes.jobs import Job, jobs
from crashes.places import (
    Act,
    Before,
    at_call,
    at_step,
    both,
    in_evaluation,
    in_reading,
    tell_at_first_step,
    tell_at_once,
)
from rnnlab.training.savepoints import Savepoints

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129, signal.SIGUSR1: 0}
_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_CAUGHT_BY_PYTHON = 1 << (signal.SIGTERM - 1)


def signals(bench: Bench, number: int) -> None:
    """B1 and B2: signals at random moments and at named places; then the run is resumed and compared.

    Args:
        bench: where.
        number: of random moments.
    """
    with bench.part("B signals") as tally:
        for job, kind in islice(zip(jobs(24), cycle(CODES), strict=False), number):
            name = bench.new_name()
            child = bench.attempt(job, name, tell_at_once)
            child.wait_for_word()
            child.wait(bench.random.uniform(0, 0.5 * bench.whole(job).seconds))
            child.kill(kind)
            _check_stop(bench, tally, job, name, child, kind, "at a random moment")
        for kind in CODES:
            for place, strike in _PLACES.items():
                job, name = Job("sentiment", "gru"), bench.new_name()
                child = bench.attempt(job, name, strike(_send(kind)))
                _check_stop(bench, tally, job, name, child, kind, place, must_stop=True)
        _twice(bench, tally)
        _in_real_processes(bench, tally)


def _send(*kinds: int) -> Act:
    def act() -> None:
        for kind in kinds:
            os.kill(os.getpid(), kind)

    return act


# What is under way when the signal comes -> how to strike there.
_PLACES: dict[str, Callable[[Act], Before]] = {
    "while the corpus is read": in_reading,
    "in a step": lambda act: at_step(5, act),
    "in an evaluation": in_evaluation,
    "in a checkpoint's writing": lambda act: at_call(Savepoints, "save", act, nth=2),
    "in the test score": lambda act: in_evaluation(act, "test"),
}


def _check_stop(
    bench: Bench, tally: Tally, job: Job, name: str, child: Child, kind: int, place: str, *, must_stop: bool = False
) -> None:
    """See that a signal did what is promised, and that the run comes to the same end."""
    code = child.wait()
    allowed = {CODES[signal.Signals(kind)]} | (set() if must_stop else {0})
    what = f"{signal.Signals(kind).name} {place}"
    tally.where[f"{what}: {code}"] += 1
    if code not in allowed:
        bench.complain(f"{job}, {what}: exit code {code}; {bench.log(name)[-500:]}")
    if "Traceback" in bench.log(name):
        bench.complain(f"{job}, {what}: a traceback")
    if half := [path.name for path in (bench.outputs / name / "checkpoints").glob(".*")]:
        bench.complain(f"{job}, {what}: left {half}")
    bench.judge(job, name, bench.attempt(job, name).wait(), what)


def _twice(bench: Bench, tally: Tally) -> None:
    """A second Ctrl-C leaves at once, also while a checkpoint is written, and leaves no half."""
    for nth in range(1, 7):
        job, name = Job("music", "lstm"), bench.new_name()
        calls: list[int] = []

        def before(tell: Act, calls: list[int] = calls, nth: int = nth) -> None:
            fsync = os.fsync

            def synced(descriptor: int) -> None:
                calls.append(1)
                if len(calls) == nth:
                    os.kill(os.getpid(), signal.SIGINT)
                fsync(descriptor)

            def first() -> None:
                os.kill(os.getpid(), signal.SIGINT)
                os.fsync = synced

            at_step(10, first)(tell)

        child = bench.attempt(job, name, before)
        _check_stop(bench, tally, job, name, child, signal.SIGINT, "twice", must_stop=True)


def _in_real_processes(bench: Bench, tally: Tally) -> None:
    """Signals while Python imports torch and Hydra composes; under nohup; nobody is left behind."""
    job = Job("next_word", "rnn")
    for kind in (*_STOPPING, signal.SIGUSR1):
        for wait in (0.0, bench.random.uniform(0.1, 2.0)):
            name = bench.new_name()
            process = _real(bench, job, name)
            time.sleep(wait)
            process.send_signal(kind)
            code = process.wait(HUNG_SECONDS)
            place = "while torch is imported"
            tally.where[f"{signal.Signals(kind).name} {place}: {code}"] += 1
            if code not in {CODES[kind], 0}:
                bench.complain(f"{signal.Signals(kind).name} {place}, after {wait:.2f} s: exit code {code}")
            if _has_group(process.pid):
                bench.complain(f"{signal.Signals(kind).name} {place}: processes are left behind")
            bench.judge(job, name, bench.attempt(job, name).wait(), f"{signal.Signals(kind).name} {place}")
    name = bench.new_name()
    process = _real(bench, job, name, ignored=signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    bench.judge(job, name, process.wait(HUNG_SECONDS), "SIGHUP under nohup")


def _real(bench: Bench, job: Job, name: str, ignored: signal.Signals | None = None) -> subprocess.Popen[bytes]:
    """Start `python -m rnnlab` in a session of its own; returns once its handlers stand."""
    command = [sys.executable, "-m", "rnnlab", "train", *job.settings(bench.corpora), f"name={name}"]
    before = signal.signal(ignored, signal.SIG_IGN) if ignored is not None else None
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    if ignored is not None:
        signal.signal(ignored, before)
    while not _catches_sigterm(process.pid) and process.poll() is None:
        time.sleep(0.001)
    return process


def _catches_sigterm(pid: int) -> bool:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) & _CAUGHT_BY_PYTHON)
    return False


def _has_group(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def one_folder(bench: Bench) -> None:
    """H1 and H2: one of many gets a folder, the others exit with 8; without a name each has its own."""
    with bench.part("H one folder, many processes") as tally:
        job = Job("next_word", "gru")
        for number in (2, 8):
            name = bench.new_name()
            argv = ["train", *job.settings(bench.corpora), f"name={name}"]
            codes = _at_once(bench, [argv] * number)
            tally.where[f"{number} starts of one name: {codes}"] += 1
            if codes != [0] + [8] * (number - 1):
                bench.complain(f"{number} starts of one name end with {codes}")
            bench.judge(job, name, min(codes), f"started {number} times at once")
        _resumed_while_it_runs(bench, tally, job)
        there = {path.name for path in bench.outputs.iterdir()}
        codes = _at_once(bench, [["train", *job.settings(bench.corpora)]] * 20)
        names = sorted({path.name for path in bench.outputs.iterdir()} - there)
        tally.where[f"20 starts without a name: {len(names)} folders"] += 1
        if len(names) != 20:
            bench.complain(f"20 starts without a name made {names}")
        for name in names:
            bench.judge(job, name, max(codes), "one of twenty without a name")


def _resumed_while_it_runs(bench: Bench, tally: Tally, job: Job) -> None:
    """Eight resumes of a run that is stopped for a moment: none may write; then eight after its death: one trains."""
    name = bench.new_name()
    child = bench.attempt(job, name, both(tell_at_first_step, at_step(9, _send(signal.SIGSTOP))))
    child.wait_for_word()
    while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.005)
    argv = ["train", f"resume={name}"]
    before = _content(bench.outputs / name)
    codes = _at_once(bench, [argv] * 8)
    if codes != [8] * 8 or _content(bench.outputs / name) != before:
        bench.complain(f"eight resumes of a run that is alive end with {codes}")
    child.kill(signal.SIGKILL)
    tally.kills += child.wait() == -signal.SIGKILL
    codes = _at_once(bench, [argv] * 8)
    tally.where[f"8 resumes of a dead run: {codes}"] += 1
    if not set(codes) <= {0, 8}:  # one that comes when the first is done scores it again
        bench.complain(f"eight resumes of a dead run end with {codes}")
    bench.judge(job, name, min(codes), "resumed eight times at once")


def _content(run: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def _wait_for(barrier: int) -> None:
    os.read(barrier, 1)


def _at_once(bench: Bench, commands: list[list[str]]) -> list[int]:
    """Run commands that all begin at the same moment.

    Returns:
        Their exit codes, sorted.
    """
    read, write = os.pipe()
    children = []
    for number, argv in enumerate(commands):
        log = bench.folder / f"together-{number}.log"
        log.unlink(missing_ok=True)
        children.append(start(argv, log, lambda tell: _wait_for(read)))
    os.write(write, b"x" * len(commands))
    codes = [code if (code := child.wait()) is not None else -1 for child in children]
    os.close(read)
    os.close(write)
    return sorted(codes)
