"""Jobs as processes of this machine, each with its own log."""

from __future__ import annotations

import shlex
import subprocess
from typing import Protocol

from rnnlab.errors import CannotWriteError, UserError
from rnnlab.sweeps.jobs import Job


class Handle(Protocol):
    """A job under way."""

    job: Job

    def poll(self) -> int | None:
        """Return its exit code, negative for a signal that killed it; None while it runs."""
        ...

    def stop(self, number: int) -> None:
        """Ask it to save and stop, with a signal where there are any."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


class Launcher(Protocol):
    """Starts jobs."""

    def start(self, jobs: list[Job]) -> list[Handle]:
        """Start jobs; those that cannot be started are told so and left out."""
        ...


class Process:
    """A job in a process of this machine."""

    def __init__(self, job: Job) -> None:
        """Start it.

        Raises:
            UserError: Its folder is in use, or its log cannot be written.
        """
        self.job = job
        self._process = spawn(job)

    def poll(self) -> int | None:
        """Return its exit code; None while it runs."""
        return self._process.poll()

    def stop(self, number: int) -> None:
        """Pass a signal on."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()


class LocalLauncher:
    """Starts jobs as processes of this machine."""

    def start(self, jobs: list[Job]) -> list[Handle]:
        """Start jobs."""
        started: list[Handle] = []
        for job in jobs:
            try:
                started.append(Process(job))
            except UserError as error:
                job.refused(error)
        return started


def spawn(job: Job) -> subprocess.Popen[bytes]:
    """Start a job's process; what it prints is added to its log.

    Raises:
        UserError: Its folder is in use, or its log cannot be written.
    """
    command = job.command()
    try:
        job.log.parent.mkdir(exist_ok=True)
        with job.log.open("ab") as log:
            log.write(f"$ {shlex.join(command)}\n".encode())
            log.flush()
            # A session of its own: Ctrl-C comes from us, once, and not from the terminal as well.
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=job.environment(),
                start_new_session=True,
            )
    except OSError as error:
        raise CannotWriteError(f"cannot start {job.name}: {error}") from None
