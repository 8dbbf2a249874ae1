"""Where runs are made and judged: the folders, the whole runs that others are held against, and the tally."""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from crashes.evidence import differences, duplicates, fingerprint
from crashes.forks import KILLED, Before, Child, Team, start, start_team
from crashes.jobs import Job, write_corpora
from crashes.places import tell_at_first_step

T = TypeVar("T")


class Late(Exception):
    """The time is up."""


@dataclass
class Whole:
    """A run that nothing interrupted.

    Attributes:
        fingerprint: of what it left.
        seconds: from its start to its end.
        training: of these, those after its first step.
    """

    fingerprint: dict[str, Any]
    seconds: float
    training: float


@dataclass
class Tally:
    """What one part of the matrix has seen.

    Attributes:
        kills: runs that died by SIGKILL, by task and cell.
        runs: resumed to their end and compared.
        where: what was struck, how often.
        wrong: one line for each run that was not as it should be.
        duplicates: TensorBoard records that came twice.
        facts: what else there is to report.
    """

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    runs: int = 0
    where: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    duplicates: int = 0
    facts: dict[str, Any] = field(default_factory=dict)

    def note_end(self, job: Job, code: int | None) -> bool:
        """Count an attempt that has ended, if it was killed; return whether it was."""
        self.kills[job.task, job.cell] += code == KILLED
        return code == KILLED

    def report(self) -> dict[str, Any]:
        """For the JSON."""
        by_job: dict[str, dict[str, int]] = {}
        for (task, cell), kills in self.kills.items():
            by_job.setdefault(task, {})[cell] = kills
        return {
            "kills": self.kills.total(),
            "by_task_and_cell": by_job,
            "runs": self.runs,
            "mismatches": len(self.wrong),
            "duplicate_records": self.duplicates,
            "where": dict(self.where.most_common()),
            **({"wrong": self.wrong} if self.wrong else {}),
            **self.facts,
        }


class Bench:
    """Makes runs in a folder of its own and compares them."""

    def __init__(
        self, folder: Path, seed: str, time_limit: float | None = None, share: tuple[int, int] = (0, 1)
    ) -> None:
        """Write the corpora.

        Args:
            folder: empty; runs that were not as they should be are left there.
            seed: of the moments and places that are struck.
            time_limit: seconds; None: no limit.
            share: which of how many benches this is: of what they have in common, each takes every so manieth.
        """
        self.folder, self.random, self._share = folder, random.Random(seed), share
        self.corpora, self.outputs = folder / "corpora", folder / "outputs"
        write_corpora(self.corpora)
        self.outputs.mkdir()
        os.environ |= {"RNNLAB_OUTPUTS": str(self.outputs), "RNNLAB_CACHE": str(folder / "cache")}
        self._deadline = None if time_limit is None else time.monotonic() + time_limit
        self._wholes: dict[Job, Whole] = {}
        self._names = 0
        self.tallies: dict[str, Tally] = {}
        self._part = ""
        self.on_news: Callable[[], None] = lambda: None

    def mine(self, things: Iterable[T]) -> Iterator[T]:
        """Those of the things that benches side by side have in common that are this one's."""
        number, size = self._share
        return islice(things, number, None, size)

    def portion(self, count: int) -> int:
        """How many of so many are this one's."""
        number, size = self._share
        return (count + size - 1 - number) // size

    @contextmanager
    def part(self, name: str) -> Iterator[Tally]:
        """Let what follows belong to a part of the matrix."""
        self._part = name
        tally = self.tallies[name] = Tally()
        began = time.monotonic()
        try:
            yield tally
        finally:
            tally.facts["seconds"] = round(time.monotonic() - began, 1)
            self._say(f"{name}: {tally.kills.total()} kills, {tally.runs} runs, {len(tally.wrong)} wrong")
            self.on_news()

    def new_name(self) -> str:
        """A name for a run."""
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise Late
        self._names += 1
        return f"run-{self._names}"

    def whole(self, job: Job) -> Whole:
        """The run that nothing interrupts, made once for each job."""
        if job not in self._wholes:
            name = self.new_name()
            began = time.monotonic()
            child = self.attempt(job, name, tell_at_first_step)
            child.wait_for_word()
            first_step = time.monotonic()
            code = child.wait()
            end = time.monotonic()
            if code != 0:
                raise RuntimeError(f"{job} ends with {code}: {self.log(name)}")
            self._wholes[job] = Whole(fingerprint(self.outputs / name), end - began, end - first_step)
            self.forget(name)
        return self._wholes[job]

    def attempt(self, job: Job, name: str, before: Before | None = None, extra: tuple[str, ...] = ()) -> Child | Team:
        """Do what a user does next: start the run, or go on with it once there is one.

        Args:
            job: what to run.
            name: of the run.
            before: see `crashes.forks.start`.
            extra: settings of a resume.
        """
        if (self.outputs / name / "run.json").exists():
            argv = ["train", f"resume={name}", *extra]
        else:
            argv = ["train", *job.settings(self.corpora), f"name={name}"]
        if job.devices > 1:
            return start_team(job.devices, argv, self._log_of(name), before)
        return start(argv, self._log_of(name), before)

    def judge(self, job: Job, name: str, code: int | None, what: str) -> None:
        """Compare a run that came to its end with the whole one; what is equal is removed."""
        tally = self.tallies[self._part]
        tally.runs += 1
        if code != 0:
            wrong = [f"exit code {code}"]
        else:
            try:
                found = fingerprint(self.outputs / name)
                tally.duplicates += duplicates(found)
                wrong = differences(self.whole(job).fingerprint, found)
            except (OSError, ValueError, KeyError) as error:
                wrong = [f"cannot be read: {error!r}"]
        if wrong:
            self.complain(f"{job}, {what}: {', '.join(wrong)}; see {self.outputs / name}, {self._log_of(name)}")
        else:
            self.forget(name)
        self.on_news()

    def complain(self, line: str) -> None:
        """Note what was not as it should be."""
        self.tallies[self._part].wrong.append(line)
        self._say(f"WRONG: {line}")

    def forget(self, name: str) -> None:
        """Remove a run."""
        shutil.rmtree(self.outputs / name, ignore_errors=True)
        self._log_of(name).unlink(missing_ok=True)

    def log(self, name: str) -> str:
        """What the attempts of a run printed."""
        return self._log_of(name).read_text(errors="replace")

    def _log_of(self, name: str) -> Path:
        return self.folder / f"{name.replace('/', '-')}.log"

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)
