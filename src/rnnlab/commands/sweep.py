"""`rnnlab train -m`: every combination of the listed values, or a search, each job in a process of its own.

The same command goes on where it stands: what is done is kept, what was stopped or killed resumes, what is missing
runs. A job that fails costs that job. The table at the end comes whatever happened.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rnnlab.commandline.compose import Arguments
from rnnlab.commandline.sweep_request import SweepRequest, read_sweep
from rnnlab.commands._sweep_screen import Lines, announce, print_results
from rnnlab.errors import CannotWriteError, ConfigError, UserError
from rnnlab.hardware import usable_cores
from rnnlab.run_lock import lock_run
from rnnlab.sweeps.grid import Grid, make_job, plan_grid
from rnnlab.sweeps.jobs import FINAL, Job
from rnnlab.sweeps.processes import Launcher, LocalLauncher
from rnnlab.sweeps.record import SweepRecord, open_folder
from rnnlab.sweeps.runner import Source, run
from rnnlab.training.place import this_place

PARTLY_FAILED = 9
_MANY = 10_000  # jobs in a cluster's queue


def sweep(arguments: Arguments) -> int:
    """Run what is left of a sweep and print its table, whatever happens.

    Args:
        arguments: A command line with `-m`.

    Returns:
        0 if all jobs are done or pruned, 9 if some are not, 130 after Ctrl-C, 143 after SIGTERM.

    Raises:
        ConfigError: Anything wrong with the settings, found before the first job.
        FolderInUseError: The sweep's name is taken by something else, or another process is at it.
    """
    _refuse_what_sweeps_cannot(arguments)
    request = read_sweep(arguments)
    grid = plan_grid(request, announce) if request.search is None else []
    if request.search is not None:
        _check_search(request)
    folder = open_folder(arguments.free.get("name"), request.shared, list(request.varied))
    with lock_run(folder):
        return _run(request, grid, SweepRecord(folder, arguments.typed))


def _run(request: SweepRequest, grid: list[Job], record: SweepRecord) -> int:
    """Run the jobs that are not done; write and print what came of all."""
    search = request.shared if request.search else None
    if record.jobs and record.search != search:
        raise ConfigError(f"'{record.name}' holds another sweep; choose another name")
    record.search = search
    slots = _slots(request)
    launcher = _launcher(request, record.folder)
    asked = [record.adopt(job) for job in grid]
    source: Source = Grid([job for job in asked if _is_left(job)])
    if request.search is not None:
        source = _search(request, record, asked)
    threads = _threads(request, slots)
    screen = Lines(record, len(asked) if request.search is None else request.search.n_trials)
    screen.begin(asked)
    stopped, code = None, 1
    try:
        with screen:
            stopped = run(_WithThreads(source, threads), launcher, slots, screen, lambda: _note(record))
        done = all(job.status in ("done", "pruned") for job in asked)
        code = stopped or (0 if done else PARTLY_FAILED)
    finally:
        _note(record)
        try:
            record.write_table()
        except OSError as error:  # the table below is worth more than an exit code
            print(f"warning: {CannotWriteError(error)}", file=sys.stderr)
        print_results(record, asked)
    return code


class _WithThreads:
    """A source whose jobs get their share of the cores."""

    def __init__(self, source: Source, threads: int | None) -> None:
        self._source, self._threads = source, threads
        self.watch, self.ended = source.watch, source.ended

    def next(self) -> Job | None:
        """Return the next job."""
        job = self._source.next()
        if job is not None:
            job.threads = self._threads
        return job


def _refuse_what_sweeps_cannot(arguments: Arguments) -> None:
    """Refuse what goes with one run only.

    Raises:
        ConfigError: It was asked for.
    """
    if arguments.command != "train":
        raise ConfigError(f"-m is for rnnlab train; {arguments.command} takes one value a setting")
    if this_place() is not None:
        raise ConfigError(
            "a sweep starts its processes itself: leave torchrun out, and give each job trainer.devices=N"
        )
    if arguments.flags.cfg or arguments.flags.info:
        raise ConfigError("--cfg and --info show one configuration; leave -m and the lists of values out")
    if "resume" in arguments.free:
        raise ConfigError("resume= goes on with one run: leave -m out; a sweep goes on when its command is given again")
    if any(text.partition("=")[0] == "dry_run" for text in arguments.texts):
        raise ConfigError("dry_run looks at one run: leave -m and the lists of values out")


def _check_search(request: SweepRequest) -> None:
    """Look at a search before it has a folder.

    Raises:
        ConfigError: Optuna is missing, nothing varies, or what varies cannot be searched.
    """
    from rnnlab.sweeps.search import import_optuna, read_space

    import_optuna()
    if not request.varied:
        raise ConfigError("a search needs values to search: optimizer.lr='tag(log,interval(1e-4,1e-1))'")
    if "seed" in request.varied:
        raise ConfigError(
            "seed cannot be searched: that would find the luckiest; leave it out, and repeat the best with several"
        )
    if "task" in request.varied:
        raise ConfigError("task cannot be searched: the scores of two tasks cannot be compared")
    for entry in request.varied.values():
        read_space(entry)


def _search(request: SweepRequest, record: SweepRecord, asked: list[Job]) -> Source:
    """Open the study of a search; its trials are added to `asked`: those there were, and each as it comes."""
    from rnnlab.commandline.overrides import value_texts
    from rnnlab.sweeps.search import Search
    from rnnlab.tasks import build_task

    assert request.search is not None
    asked += record.jobs
    first = {key: value_texts(entry)[0] for key, entry in request.varied.items()}
    settings = request.compose(first).settings

    def job_of(values: dict[str, str]) -> Job:
        try:
            job = make_job(request, values, request.compose(values).config)
        except ConfigError as error:
            job = make_job(request, values, error)
        job = record.adopt(job)
        if all(other is not job for other in asked):
            asked.append(job)
        return job

    task = build_task(settings.task, settings.trainer, settings.seed)
    return Search(record.folder, request.varied, request.search, job_of, higher_is_better=task.higher_is_better)


def _is_left(job: Job) -> bool:
    """Whether a job is still to run; one that contradicts itself never can."""
    return job.status not in FINAL and not (job.status == "failed" and job.id == job.configuration)


def _slots(request: SweepRequest) -> int:
    """How many jobs run side by side.

    Raises:
        ConfigError: It is said twice, or not a number of jobs.
    """
    asked, launcher = request.arguments.flags.jobs, request.launcher
    if launcher == "joblib":
        wanted = request.launcher_settings.get("n_jobs", -1)
        if asked is not None:
            raise ConfigError("--jobs and hydra/launcher=joblib say the same; leave one of them out")
        if not isinstance(wanted, int) or wanted == 0 or wanted < -1:
            raise ConfigError(f"hydra.launcher.n_jobs must be at least 1, or -1 for all cores, got {wanted}")
        return usable_cores() if wanted == -1 else wanted
    if asked is not None:
        return asked
    if launcher == "submitit_local":
        return usable_cores()
    # A queue takes all jobs of a grid; a search learns nothing from trials that start together.
    return _MANY if launcher == "submitit_slurm" and request.search is None else 1


def _threads(request: SweepRequest, slots: int) -> int | None:
    """Threads of each job: an equal share of the cores, unless the user has said how many; None: as it is."""
    local = request.launcher in ("basic", "joblib", "submitit_local")
    each = request.fixed.get("trainer.devices", "")
    slots *= int(each) if each.isdecimal() and int(each) else 1
    told = "trainer.threads" in {*request.fixed, *request.varied} or "OMP_NUM_THREADS" in os.environ
    return max(1, usable_cores() // slots) if local and slots > 1 and not told else None


def _launcher(request: SweepRequest, folder: Path) -> Launcher:
    """Build what starts the jobs."""
    if request.launcher in ("basic", "joblib"):
        return LocalLauncher()
    from rnnlab.sweeps.cluster import SubmititLauncher

    return SubmititLauncher(request.launcher, request.launcher_settings, folder)


def _note(record: SweepRecord) -> None:
    """Write down how the sweep stands; a full disk does not end it."""
    try:
        record.write()
    except UserError as error:
        print(f"warning: {error}", file=sys.stderr)
