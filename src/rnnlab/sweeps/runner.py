"""The loop of a sweep: jobs start when there is room, are watched, and are noted when they end."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Protocol

from rnnlab.sweeps.jobs import Job
from rnnlab.sweeps.processes import Handle, Launcher
from rnnlab.training.signals import StopSignals

POLL_SECONDS = 0.1


class Source(Protocol):
    """Says which job comes next, and hears how those before went."""

    def next(self) -> Job | None:
        """Return the next job to run; None if there is none."""
        ...

    def watch(self, job: Job) -> bool:
        """Look at a job that runs; return whether to stop it, because it is not worth going on."""
        ...

    def ended(self, job: Job) -> None:
        """Hear that a job has ended."""
        ...


class Screen(Protocol):
    """Shows what goes on."""

    def started(self, job: Job) -> None:
        """Show that a job starts."""
        ...

    def ended(self, job: Job) -> None:
        """Show that a job has ended."""
        ...

    def update(self, jobs: list[Job]) -> None:
        """Show the jobs that run."""
        ...


def run(source: Source, launcher: Launcher, slots: int, screen: Screen, note: Callable[[], None]) -> int | None:
    """Run jobs until there are none, or a signal comes: then those that run save, and no other starts.

    Args:
        source: Which jobs.
        launcher: Starts them.
        slots: How many may run side by side.
        screen: Told what goes on.
        note: Called when a job has started or ended, to write down how the sweep stands.

    Returns:
        None if all jobs ran; 128 + the signal's number if one came.
    """
    running: list[Handle] = []
    pruned: set[str] = set()
    passed_on = False
    with StopSignals() as signals:
        try:
            while True:
                if signals.received is None:
                    running += _fill(source, launcher, slots - len(running), screen, note)
                elif not passed_on:
                    passed_on = True
                    for handle in running:
                        handle.stop(signals.received)
                if not running:
                    break
                for handle in [*running]:
                    code = handle.poll()
                    if code is not None:
                        running.remove(handle)
                        handle.job.ended(code)
                        if handle.job.name in pruned and handle.job.status == "stopped":
                            handle.job.status = "pruned"
                        _ended(handle.job, source, screen, note)
                    elif source.watch(handle.job) and handle.job.name not in pruned:
                        pruned.add(handle.job.name)
                        handle.stop(signal.SIGTERM)
                screen.update([handle.job for handle in running])
                time.sleep(POLL_SECONDS)
        except BaseException:  # a second Ctrl-C, or a bug: no process is left behind
            for handle in running:
                handle.kill()
            for handle in running:
                while (code := handle.poll()) is None:
                    time.sleep(POLL_SECONDS)
                handle.job.ended(code)
            note()
            if signals.received is None:
                raise
    return None if signals.received is None else signals.exit_code


def _fill(source: Source, launcher: Launcher, room: int, screen: Screen, note: Callable[[], None]) -> list[Handle]:
    """Start as many jobs as there is room for."""
    under_way: list[Handle] = []
    while len(under_way) < room:
        chosen: list[Job] = []
        while len(under_way) + len(chosen) < room and (job := source.next()) is not None:
            job.status = "running"
            chosen.append(job)
            screen.started(job)
        if not chosen:
            break
        note()
        started = launcher.start(chosen)
        under_way += started
        for job in chosen:
            if all(handle.job is not job for handle in started):
                _ended(job, source, screen, note)
    return under_way


def _ended(job: Job, source: Source, screen: Screen, note: Callable[[], None]) -> None:
    source.ended(job)
    screen.ended(job)
    note()
