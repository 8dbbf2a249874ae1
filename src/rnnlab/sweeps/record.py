"""A sweep's folder: which jobs it holds, found again when the same command comes again.

outputs/<sweep>/
sweep.json    what was asked, every job and how it stands, configurations, the best; whole at every moment
sweep.csv     one line a job
logs/         what each job printed
<jobs>/       the runs
study.journal of a search
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from rnnlab.errors import CheckpointError, FolderInUseError
from rnnlab.json_files import read_json, write_json
from rnnlab.runs import check_name, create_run, is_run, outputs_root
from rnnlab.sweeps.jobs import FINAL, Job, digest, job_name, restored
from rnnlab.sweeps.results import summary

FORMAT = 1
SWEEP, TABLE = "sweep.json", "sweep.csv"


class SweepRecord:
    """The jobs of a sweep's folder, old and new."""

    def __init__(self, folder: Path, typed: list[str]) -> None:
        """Read what is there.

        Args:
            folder: The sweep's.
            typed: The command's overrides, as typed.

        Raises:
            CheckpointError: sweep.json is damaged.
        """
        self.folder = folder
        self._typed = typed
        self.jobs: list[Job] = []
        self.search: str | None = None
        if (folder / SWEEP).is_file():
            content = read_json(folder / SWEEP)
            try:
                self.jobs = [restored(saved) for saved in content["jobs"]]
                self.search = content["search"]
            except (KeyError, TypeError) as error:
                raise CheckpointError(f"{folder / SWEEP} is damaged: {type(error).__name__} {error}") from None
        for job in self.jobs:
            _look(job)

    @property
    def name(self) -> str:
        """Its name under outputs/."""
        return self.folder.relative_to(outputs_root()).as_posix()

    def adopt(self, job: Job) -> Job:
        """Return the job in the folder that computes the same, or this one with a name."""
        known = next((other for other in self.jobs if other.id == job.id), None)
        if known is not None:
            # Typed anew: other words for the same, or other settings that change no result.
            known.varied, known.overrides, known.options = job.varied, job.overrides, job.options
            if known.status not in FINAL and job.status == "failed":
                known.status, known.exit_code, known.reason = job.status, job.exit_code, job.reason
            return known
        taken = [int(number) for other in self.jobs if (number := _own_name(other).partition("-")[0]).isdecimal()]
        job.name = f"{self.name}/{job_name(max(taken, default=-1) + 1, job.varied)}"
        self.jobs.append(job)
        return job

    def write(self) -> None:
        """Write sweep.json.

        Raises:
            CannotWriteError: Disk full, read-only, no permission.
        """
        rows = [{**job.saved(), **scores(job)} for job in self.jobs]
        content = {"format": FORMAT, "overrides": self._typed, "search": self.search, "jobs": rows}
        write_json(self.folder / SWEEP, {**content, **summary(self.jobs)})

    def write_table(self) -> None:
        """Write sweep.csv.

        Raises:
            OSError: It cannot be written.
        """
        keys = list(dict.fromkeys(key for job in self.jobs for key in job.varied))
        table = io.StringIO()
        own = ("status", "exit_code", "metric", "value", "test_metric", "test_value", "steps", "seconds", "reason")
        writer = csv.DictWriter(table, ["job", *keys, *own, "log"], extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for job in self.jobs:
            facts = {**job.saved(), **scores(job)}
            writer.writerow({**{key: job.varied.get(key, "") for key in keys}, **facts, "log": job.log})
        (self.folder / TABLE).write_text(table.getvalue(), encoding="utf-8")


def open_folder(name: str | None, shared: str, varied: list[str]) -> Path:
    """Return a sweep's folder: the one of the same name, or of the same command, made if it is not there.

    Args:
        name: The user's own name for it.
        shared: What makes the sweep what it is (`SweepRequest.shared`).
        varied: The settings that vary.

    Raises:
        ConfigError: A name that cannot be a folder's.
        FolderInUseError: The folder holds something else.
        CannotWriteError: It cannot be made.
    """
    if name is None:
        words = [key.rpartition(".")[2] for key in varied]
        name = "-".join(["sweep", *words])[:60] + f"-{digest(shared)[:6]}"
    check_name(name)
    folder = outputs_root() / name
    if is_run(folder):
        raise FolderInUseError(f"'{name}' in {outputs_root()} is a run, not a sweep; choose another name")
    if folder.is_dir():
        # Empty but for a lock: a sweep that was killed before it had a job.
        if (folder / SWEEP).is_file() or not any(not entry.name.startswith(".") for entry in folder.iterdir()):
            return folder
        raise FolderInUseError(f"{folder} holds something other than a sweep; choose another name")
    return create_run(name, exact=True)


def scores(job: Job) -> dict[str, Any]:
    """Return a job's scores and what they took, as columns."""
    result = job.result()
    metric, value = job.score() or (None, None)
    test_metric, test_value = job.score("test") or (None, None)
    return {
        "metric": metric,
        "value": value,
        "test_metric": test_metric,
        "test_value": test_value,
        "steps": result.get("steps"),
        "seconds": result.get("seconds"),
    }


def _look(job: Job) -> None:
    """Hold what sweep.json says of a job against its run: the sweep may have been killed, the run gone on alone."""
    status = job.result().get("status")
    if status == "done":
        job.status, job.exit_code, job.reason = "done", 0, None
    elif status is None and job.status in ("done", "pruned", "diverged"):
        job.status, job.exit_code, job.reason = "not run", None, None  # its folder was removed: it is to run again
    elif job.status == "running":
        job.status, job.exit_code, job.reason = "killed", None, "the sweep was killed"


def _own_name(job: Job) -> str:
    return job.name.rpartition("/")[2]
