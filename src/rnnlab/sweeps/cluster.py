"""Jobs on a cluster, by submitit: `hydra/launcher=submitit_slurm`, or `submitit_local` to try the same here.

The configuration is hydra-submitit-launcher's; the plugin itself is not run: it gives up on all jobs when one fails.
A job near its time limit, or preempted, saves, is queued again, and goes on. Stopping goes by a file next to the log,
which every node sees: a signal sent by the queue would leave seconds to save.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from rnnlab.errors import ConfigError, UserError
from rnnlab.sweeps.jobs import Job
from rnnlab.sweeps.processes import Handle, spawn

_POLL_SECONDS = 0.5
# Of both executors in submitit's own names; the others are the cluster's own: slurm_partition.
_SHARED = ("cpus_per_task", "gpus_per_node", "mem_gb", "name", "nodes", "stderr_to_stdout", "tasks_per_node")
_LEFT_OUT = ("_target_", "submitit_folder", "name")


class OnNode:
    """What a node does: it starts the job's process, waits for it, and lets it save when it is time."""

    def __init__(self, job: Job) -> None:
        """Take a job; nothing runs yet."""
        self._job = job
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Run the job.

        Returns:
            Its exit code, negative for a signal that killed it.
        """
        stop = stop_file(self._job)
        if stop.exists():
            return -signal.SIGTERM
        self._process = spawn(self._job)
        while (code := self._process.poll()) is None:
            if stop.exists():
                self._process.send_signal(signal.SIGTERM)
                return self._process.wait()
            time.sleep(_POLL_SECONDS)
        return code

    def checkpoint(self) -> Any:
        """Save, and be queued again: submitit calls this when the time is nearly up or another job takes the node."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()
        return DelayedSubmission(OnNode(self._job))


class Submitted:
    """A job in the queue, or on a node."""

    def __init__(self, job: Job, submitted: Any) -> None:
        """Follow what was submitted."""
        self.job = job
        self._submitted = submitted

    def poll(self) -> int | None:
        """Return its exit code; None while it waits or runs."""
        if not self._submitted.done():
            return None
        try:
            return int(self._submitted.result())
        except Exception as error:  # whatever the node, the queue or submitit says
            reason = " ".join(str(error).split())[-300:]
            with self.job.log.open("a", encoding="utf-8") as log:
                log.write(f"\nthe cluster lost the job: {reason}\n")
            return 1

    def stop(self, number: int) -> None:
        """Let it save and stop; one that still waits is taken out of the queue."""
        stop_file(self.job).touch()
        if self._submitted.state == "PENDING":
            self._submitted.cancel(check=False)

    def kill(self) -> None:
        """End it at once."""
        self._submitted.cancel(check=False)


class SubmititLauncher:
    """Submits jobs, those that start together as one array."""

    def __init__(self, name: str, settings: dict[str, Any], folder: Path) -> None:
        """Set the executor up.

        Args:
            name: submitit_local or submitit_slurm.
            settings: Below `hydra.launcher`.
            folder: The sweep's.

        Raises:
            ConfigError: submitit is not installed, there is no such cluster here, or a setting it does not take.
        """
        try:
            import submitit
        except ImportError:
            raise ConfigError(f'hydra/launcher={name} needs submitit: pip install "rnnlab[cluster]"') from None
        logging.getLogger("submitit").setLevel(logging.WARNING)
        cluster = name.removeprefix("submitit_")
        if (settings.get("nodes") or 1) * (settings.get("tasks_per_node") or 1) != 1:
            raise ConfigError(f"hydra/launcher={name}: a job is one process; leave nodes and tasks_per_node at 1")
        given = {key: value for key, value in settings.items() if key not in _LEFT_OUT and value is not None}
        at_start = {f"{cluster}_{key}": given.pop(key) for key in ("max_num_timeout",) if key in given}
        parameters = {
            key if key in _SHARED or key == "timeout_min" else f"{cluster}_{key}": value for key, value in given.items()
        }
        try:
            self._executor = submitit.AutoExecutor(folder=folder / "submitit", cluster=cluster, **at_start)
            self._executor.update_parameters(**parameters, name=folder.name)
        except (RuntimeError, ValueError, NameError, TypeError) as error:
            raise ConfigError(f"hydra/launcher={name}: {' '.join(str(error).split())[:200]}") from None

    def start(self, jobs: list[Job]) -> list[Handle]:
        """Submit jobs."""
        ready: list[Job] = []
        for job in jobs:
            try:
                job.log.parent.mkdir(exist_ok=True)
                stop_file(job).unlink(missing_ok=True)
                ready.append(job)
            except OSError as error:
                job.refused(UserError(f"cannot write to {job.log.parent}: {error.strerror}"))
        with self._executor.batch():
            submitted = [self._executor.submit(OnNode(job)) for job in ready]
        return [Submitted(job, one) for job, one in zip(ready, submitted, strict=True)]


def stop_file(job: Job) -> Path:
    """The file that asks a job to stop."""
    return job.log.with_suffix(".stop")
