"""`rnnlab train -m`: every combination of the listed values, each job in a process of its own, one table at the end.

Hydra expands the values and launches; a job that fails, runs out of memory or crashes costs that job only.
"""

from __future__ import annotations

import csv
import io
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from rnnlab.commandline.compose import Arguments, check_sweep
from rnnlab.commandline.hydra_app import run_hydra
from rnnlab.errors import CannotWriteError, ConfigError, UserError
from rnnlab.runs import RunSummary, create_run, outputs_root, summarize, telling_name, write_json

PARTLY_FAILED = 9
PYTHON = sys.executable


@dataclass(slots=True)
class Job:
    """One job of a sweep: its run's name, the values that are its own, and how it ended."""

    name: str
    varied: dict[str, str]
    exit_code: int | None = None
    run: RunSummary | None = None

    @property
    def status(self) -> str:
        """How it ended, in one word."""
        if self.run is not None:
            return self.run.status
        return {None: "not run", 0: "done"}.get(self.exit_code, "failed")


@dataclass(slots=True)
class Sweep:
    """A sweep under way: its folder, what all jobs share, the jobs so far, and the exit code if it was stopped."""

    folder: Path
    arguments: Arguments
    varied_keys: set[str]
    jobs: list[Job] = field(default_factory=list)
    stopped: int | None = None

    @property
    def name(self) -> str:
        """Its name under outputs/."""
        return self.folder.relative_to(outputs_root()).as_posix()

    def run_job(self, overrides: list[str]) -> int:
        """Train one combination in a process of its own.

        Returns:
            Its exit code.

        Raises:
            KeyboardInterrupt: The sweep was stopped.
        """
        values = dict(text.split("=", 1) for text in overrides)
        job = Job(
            f"{self.name}/{len(self.jobs)}", {key: value for key, value in values.items() if key in self.varied_keys}
        )
        job.name = f"{self.name}/{job_name(len(self.jobs), job.varied)}"
        self.jobs.append(job)
        print(
            f"job {len(self.jobs) - 1}: {' '.join(f'{key}={value}' for key, value in job.varied.items())}",
            file=sys.stderr,
        )
        config_dir = self.arguments.config_dir
        options = [f"--config-dir={config_dir}"] if config_dir else []
        command = [PYTHON, "-m", "rnnlab", "train", *options, *overrides, f"name={job.name}"]
        job.exit_code = self._wait(subprocess.Popen(command))
        folder = outputs_root() / job.name
        job.run = summarize(folder) if folder.is_dir() else None
        if self.stopped is not None or job.exit_code in (130, 143):
            self.stopped = self.stopped or job.exit_code
            raise KeyboardInterrupt  # unlike an Exception, Hydra lets it end the sweep
        return job.exit_code

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for a job. Ctrl-C reaches it too; it is given the time to save, and killed at the second."""

        def stop(number: int, frame: object) -> None:
            if self.stopped is not None:
                process.kill()
            elif number == signal.SIGTERM:  # the terminal sends Ctrl-C to the job as well, kill only to us
                process.terminate()
            self.stopped = 128 + number

        kept = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            return process.wait()
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)


def sweep(arguments: Arguments) -> int:
    """Run a sweep and print its table, whatever happens.

    Args:
        arguments: A command line with `-m`.

    Returns:
        0 if all jobs are done, 9 if some failed, 130 after Ctrl-C, 143 after SIGTERM.

    Raises:
        ConfigError: Anything wrong with the settings, found before the first job.
    """
    if arguments.command != "train":
        raise ConfigError(f"-m is for rnnlab train; {arguments.command} takes one value a setting")
    if arguments.flags.cfg or arguments.flags.info:
        raise ConfigError("--cfg and --info show one configuration; leave -m and the lists of values out")
    if "resume" in arguments.free:
        raise ConfigError("a sweep starts new runs; resume= goes on with one: leave -m out")
    name = arguments.free.get("name")
    varied = check_sweep(arguments)
    under_way = Sweep(_create_folder(name), arguments, varied)
    try:
        code = _run(under_way)
    except KeyboardInterrupt:
        code = under_way.stopped or 130
    finally:
        _report(under_way)
    return code


def job_name(index: int, varied: dict[str, str]) -> str:
    """Name a job after what is its own: `3-lstm-lr=0.003`, short and fit for any file system."""
    text = telling_name(varied)
    return f"{index}-{text}" if text else str(index)


def _run(under_way: Sweep) -> int:
    """Let Hydra expand and launch; the task it launches starts a process."""

    def task(config: DictConfig) -> float:
        from hydra.core.hydra_config import HydraConfig

        under_way.run_job([str(text) for text in HydraConfig.get().overrides.task])
        run = under_way.jobs[-1].run
        # What a sweeper such as hydra-optuna-sweeper looks at; the basic one does not.
        return run.value if run is not None and run.value is not None else float("nan")

    arguments = under_way.arguments
    options = [f"--config-dir={arguments.config_dir}"] if arguments.config_dir else []
    own = [f"hydra.sweep.dir={under_way.folder.absolute()}", "hydra.sweep.subdir=.", "hydra.job.chdir=false"]
    code = run_hydra("train", ["-m", *options, *arguments.texts, *own], task)
    if code != 0:
        return code
    return PARTLY_FAILED if any(job.exit_code != 0 for job in under_way.jobs) else 0


def _create_folder(name: str | None) -> Path:
    """Make the sweep's folder: the user's name, else sweep-1, sweep-2, ..."""
    if name is not None:
        return create_run(name, exact=True)
    for number in count(1):
        if not (outputs_root() / f"sweep-{number}").exists():
            return create_run(f"sweep-{number}", exact=True)
    raise AssertionError("unreachable")


def _report(under_way: Sweep) -> None:
    """Write sweep.json and sweep.csv and print the table."""
    if not under_way.jobs:
        return
    keys = list(dict.fromkeys(key for job in under_way.jobs for key in job.varied))
    rows: list[dict[str, Any]] = []
    for job in under_way.jobs:
        metric, value = (job.run.metric, job.run.value) if job.run is not None else (None, None)
        rows.append(
            {
                "job": job.name,
                **{key: job.varied.get(key, "") for key in keys},
                "status": job.status,
                "exit_code": job.exit_code,
                "metric": metric,
                "value": value,
            }
        )
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    try:
        write_json(under_way.folder / "sweep.json", {"format": 1, "overrides": under_way.arguments.typed, "jobs": rows})
        (under_way.folder / "sweep.csv").write_text(table.getvalue())
    except (UserError, OSError) as error:  # the table below is worth more than an exit code
        print(f"warning: {CannotWriteError(error)}", file=sys.stderr)
    _print_table(under_way, keys)


def _print_table(under_way: Sweep, keys: list[str]) -> None:
    """Print one line a job."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from rnnlab.commands.runs import score, score_heading

    done = sum(job.exit_code == 0 for job in under_way.jobs)
    table = Table(box=None, pad_edge=False, header_style="bold")
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    for heading in ("job", *keys, "status", score_heading(console.encoding)):
        table.add_column(heading, overflow="fold")
    for job in under_way.jobs:
        style = "" if job.exit_code == 0 else "red"
        reached = score(job.run, console.encoding) if job.run else ""
        cells = [job.name, *(job.varied.get(key, "") for key in keys), job.status, reached]
        table.add_row(*(Text(cell, style=style) for cell in cells))
    console.print(table)
    console.print(Text(f"{done} of {len(under_way.jobs)} jobs done; the table is in {under_way.folder / 'sweep.csv'}"))
