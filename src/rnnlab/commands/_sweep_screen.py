"""What a sweep shows: a line when a job ends, on a terminal also those under way, and the tables at the end."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rnnlab.commands.runs import duration
from rnnlab.sweeps.intervals import Spread
from rnnlab.sweeps.jobs import FINAL, Job, last_line
from rnnlab.sweeps.record import SweepRecord
from rnnlab.sweeps.results import Configuration, best, configurations
from rnnlab.wording import better

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

_STYLES = {"done": "", "pruned": "dim", "stopped": "yellow", "not run": "dim"}
_SLOW_PLAN = 30  # configurations, a tenth of a second each


def announce(done: int, total: int) -> None:
    """Say that many configurations are being looked at."""
    if total >= _SLOW_PLAN and (done == 1 or done == total or done % 50 == 0):
        print(f"looked at {done} of {total} configurations", file=sys.stderr)


class Lines:
    """Tells on stderr what goes on."""

    def __init__(self, record: SweepRecord, total: int) -> None:
        """Know the sweep, and how many jobs it has."""
        self._record, self._total = record, total
        self._began: dict[str, float] = {}
        self._ended = 0
        self._to_run = 0
        self._start = time.monotonic()
        self._live: Live | None = None

    def begin(self, asked: list[Job]) -> None:
        """Say which sweep this is and how much of it is left."""
        kept = sum(job.status in FINAL for job in asked)
        resumed = sum(job.status not in FINAL and job.is_resumable for job in asked)
        self._to_run = self._total - kept
        notes = [f"{kept} kept"] if kept else []
        notes += [f"{resumed} resumed"] if resumed else []
        what = ("job" if self._record.search is None else "trial") + "s" * (self._total != 1)
        told = "".join(f", {note}" for note in notes)
        print(f"sweep {self._record.folder}: {self._total} {what}{told}", file=sys.stderr)

    def __enter__(self) -> Lines:
        """Take the lower lines of a terminal."""
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True, force_terminal=True), auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give them back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def started(self, job: Job) -> None:
        """Say that a job starts."""
        self._began[job.name] = time.monotonic()
        self._say(f"{_label(job)}: {'goes on' if job.is_resumable else 'started'}")

    def ended(self, job: Job) -> None:
        """Say how a job ended."""
        self._ended += 1
        took = duration(time.monotonic() - self._began.get(job.name, time.monotonic()))
        scored = job.score()
        score = f", {scored[0]} {scored[1]:.4g}" if scored and job.status == "done" else ""
        why = f": {job.reason}" if job.reason and job.status not in ("done", "pruned") else ""
        self._say(f"{_label(job)}: {job.status} in {took}{score}{why}")

    def update(self, jobs: list[Job]) -> None:
        """Show the jobs that run, each with the last line of its log."""
        if self._live is None:
            return
        from rich.text import Text

        now = time.monotonic()
        lines = [
            f"{_label(job)}  {duration(now - self._began[job.name])}  {last_line(job.log)}".splitlines()[0]
            for job in jobs
        ]
        left = self._to_run - self._ended
        guess = f", about {duration((now - self._start) / self._ended * left)} left" if self._ended and left > 0 else ""
        lines.append(f"{self._ended} of {self._to_run} jobs ended{guess}; Ctrl-C saves and stops")
        self._live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)

    def _say(self, text: str) -> None:
        """Print a line above those of the jobs under way."""
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr)


def print_results(record: SweepRecord, asked: list[Job]) -> None:
    """Print a line a job, one a configuration where seeds vary, the best, and what failed and where its log is.

    Args:
        record: The sweep, with the jobs of earlier commands.
        asked: The jobs of this command.
    """
    from rich.console import Console
    from rich.text import Text

    if not record.jobs:
        return
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    mine = {id(job) for job in asked}
    earlier = [job for job in record.jobs if id(job) not in mine and job.status != "not run"]
    shown = [*asked, *earlier]
    _print_jobs(console, shown)
    found = configurations(shown)
    if any(len(one.jobs) > 1 for one in found):
        console.print()
        _print_configurations(console, found)
    for one in best(found):
        assert one.valid is not None
        name = " ".join(f"{key}={value}" for key, value in one.varied.items()) or one.best_job().name
        console.print(Text(f"\nbest by {one.metric}: {name}"), soft_wrap=True)
        console.print(Text(f"  {_spread(one.valid)}; its run: {one.best_job().name}"), soft_wrap=True)
        console.print(Text(f"  {one.command()}"), soft_wrap=True)
    troubled = [job for job in asked if job.status in ("failed", "diverged", "killed")]
    for job in troubled:
        how = job.reason if (job.reason or "").startswith(job.status) else f"{job.status}: {job.reason}"
        console.print(Text(f"{_label(job)} {how}; log: {job.log}", style="red"), soft_wrap=True)
    done = sum(job.status in ("done", "pruned") for job in asked)
    again = ""
    if any(job.status in ("failed", "killed", "stopped", "not run", "running") for job in asked):
        again = "; the same command again runs what is missing"
    where = record.folder / "sweep.csv"
    console.print(Text(f"{done} of {len(asked)} jobs done; the table is in {where}{again}"), soft_wrap=True)


def _print_jobs(console: Console, jobs: list[Job]) -> None:
    """Print one line a job; on a narrow terminal by its number, where settings and scores leave its name no room."""
    from rich.text import Text

    keys = list(dict.fromkeys(key for job in jobs for key in job.varied))
    scored = [(job.score(), job.score("test")) for job in jobs]
    valid = _heading([reached for reached, _ in scored], console.encoding)
    test = _heading([tested for _, tested in scored], console.encoding)
    headings = ["job", *_short(keys), "status", valid or "score", *([test] if test else [])]
    rows = []
    for job, (reached, tested) in zip(jobs, scored, strict=True):
        scores = [_score(reached, bare=valid is not None)] + ([_score(tested, bare=True)] if test else [])
        rows.append([_label(job), *(job.varied.get(key, "") for key in keys), job.status, *scores])
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    if sum(widths) + 2 * len(widths) > console.width:
        rows = [[row[0].partition("-")[0], *row[1:]] for row in rows]
    styled = [
        [Text(cell, style=_STYLES.get(job.status, "red")) for cell in row] for job, row in zip(jobs, rows, strict=True)
    ]
    _print_table(console, headings, styled)


def _print_configurations(console: Console, found: list[Configuration]) -> None:
    """Print one line a configuration: scores over its seeds."""
    from rich.text import Text

    keys = list(dict.fromkeys(key for one in found for key in one.varied))
    metrics = {one.metric for one in found if one.metric}
    is_one = len(metrics) == 1  # named once, above
    if is_one:
        name = metrics.pop().rpartition("/")[2]
        console.print(Text(f"{name}: mean +- spread over the seeds [95 % interval of the mean]", style="bold"))
    rows = []
    for one in found:
        seeds = f"{one.valid.count if one.valid else 0} of {len(one.jobs)}"
        valid = f"{'' if is_one else one.metric or ''} {_spread(one.valid) if one.valid else ''}".strip()
        test = _spread(one.test, with_interval=False) if one.test else ""
        rows.append(
            [Text(cell) for cell in (*([one.varied.get(key, "") for key in keys] or ["all"]), seeds, valid, test)]
        )
    _print_table(console, [*(_short(keys) or ["configuration"]), "seeds", "valid", "test"], rows)


def _print_table(console: Console, headings: list[str], rows: list[list[Text]]) -> None:
    """Print rows under headings, all aligned left."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _short(keys: list[str]) -> list[str]:
    """Return settings without their section, where two do not become one: lr of optimizer.lr."""
    last = [key.rpartition(".")[2] for key in keys]
    return [short if last.count(short) == 1 else key for key, short in zip(keys, last, strict=True)]


def _spread(spread: Spread, *, with_interval: bool = True) -> str:
    """Write a mean with its spread and 95 % interval."""
    if spread.std is None or spread.half_width is None:
        return f"{spread.mean:.4g}"
    if not with_interval:
        return f"{spread.mean:.4g} +- {spread.std:.2g}"
    low, high = spread.mean - spread.half_width, spread.mean + spread.half_width
    return f"{spread.mean:.4g} +- {spread.std:.2g} [{low:.4g}, {high:.4g}]"


def _heading(scores: list[tuple[str, float] | None], encoding: str) -> str | None:
    """Return the tag of a column of scores with the way it improves; None if there are several tags, or none."""
    tags = {scored[0] for scored in scores if scored}
    if len(tags) != 1:
        return None
    (tag,) = tags
    arrow = {"lower": "↓v", "higher": "↑^"}.get(better(tag), "  ")[not encoding.startswith("utf")]
    return f"{tag} {arrow}".rstrip()


def _score(scored: tuple[str, float] | None, *, bare: bool) -> str:
    """Write a score, with its tag where the heading does not say it."""
    if scored is None:
        return ""
    return f"{scored[1]:.4g}" if bare else f"{scored[0]} {scored[1]:.4g}"


def _label(job: Job) -> str:
    """Name a job within its sweep."""
    return job.name.rpartition("/")[2]
