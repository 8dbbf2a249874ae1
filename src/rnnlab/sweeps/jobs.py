"""One job of a sweep: what it is, how it stands, and the command that starts it or goes on with it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from rnnlab.config import NO_HYPERPARAMETERS
from rnnlab.errors import STOP_CODES, DivergedError, UserError
from rnnlab.json_files import read_json
from rnnlab.run_lock import lock_run
from rnnlab.runs import is_run, outputs_root, telling_name
from rnnlab.wording import better

PYTHON = sys.executable
LOGS = "logs"
_TAIL_BYTES = 8192
# How a job can end for good: run again, it would come to the same.
FINAL = ("done", "pruned", "diverged")
_SAVED = ("id", "configuration", "data", "varied", "overrides", "options", "status", "exit_code", "reason")


@dataclass(slots=True)
class Job:
    """One job.

    Attributes:
        id: Hash of what it computes: its settings without those that change no result, its corpus, its seed.
        configuration: The same without the seed.
        data: Hash of what it is scored on: scores of other data are not held against it.
        varied: The values that are its own, as typed.
        overrides: What `rnnlab train` is told.
        options: Its options: `--config-dir=...`.
        name: Its run's, under outputs/; "" until it has one.
        threads: Of its process; None: as its settings say.
        status: not run, running, done, failed, diverged, killed, stopped or pruned.
        exit_code: Of its process; 128 + the signal's number if one killed it.
        reason: Why it is not done.
    """

    id: str
    configuration: str
    data: str
    varied: dict[str, str]
    overrides: list[str]
    options: list[str] = field(default_factory=list)
    name: str = ""
    threads: int | None = None
    status: str = "not run"
    exit_code: int | None = None
    reason: str | None = None
    _result: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def folder(self) -> Path:
        """Its run's folder."""
        return outputs_root() / self.name

    @property
    def log(self) -> Path:
        """What its processes printed, one after the other."""
        sweep, _, own = self.name.rpartition("/")
        return outputs_root() / sweep / LOGS / f"{own}.log"

    @property
    def is_resumable(self) -> bool:
        """Whether its run left a checkpoint to go on from."""
        return any((self.folder / "checkpoints").glob("step-*"))

    def result(self) -> dict[str, Any]:
        """Its run's result.json as it stands; empty if there is none that can be read."""
        if self._result is not None and self.status in FINAL:
            return self._result
        try:
            self._result = read_json(self.folder / "result.json")
        except UserError:
            self._result = {}
        return self._result

    def score(self, split: str = "valid") -> tuple[str, float] | None:
        """Its score with its tag: the one that runs are selected by, on a split; None if there is none."""
        result = self.result()
        tag = f"{split}/{str(result.get('metric', '')).partition('/')[2]}"
        metrics = result.get("metrics")
        value = metrics.get(tag) if isinstance(metrics, dict) else None
        return (tag, float(value)) if isinstance(value, int | float) else None

    def command(self) -> list[str]:
        """The command that starts its run, or goes on with it where it left a checkpoint.

        A run that left none is deleted first: there is nothing in it that the next would not make again.

        Raises:
            FolderInUseError: Another process is at that run.
        """
        threads = [] if self.threads is None else [f"trainer.threads={self.threads}"]
        start = [PYTHON, "-P", "-m", "rnnlab", "train", *self.options]
        if self.is_resumable:
            return [*start, f"resume={self.name}", *threads]
        if is_run(self.folder):
            with lock_run(self.folder):
                shutil.rmtree(self.folder)
        return [*start, *self.overrides, *threads, f"name={self.name}"]

    def environment(self) -> dict[str, str]:
        """What its process sees: ours, and where outputs/ lies whatever its working directory."""
        return {**os.environ, "RNNLAB_OUTPUTS": str(outputs_root().absolute())}

    def ended(self, code: int) -> None:
        """Note how its process ended, and why.

        Args:
            code: Its return code, negative for a signal.
        """
        self.exit_code = code if code >= 0 else 128 - code
        self._result = None
        if code == 0:
            self.status, self.reason = "done", None
            return
        last = last_line(self.log)
        self.reason = last.removeprefix("error: ") or f"exit code {code}"
        if self.exit_code in STOP_CODES:
            self.status = "stopped"
            if code < 0:
                self.reason = f"stopped by {signal.Signals(-code).name} before its first step"
        elif code < 0:
            self.status = "killed"
            memory = "; the system does that when memory runs out" if code == -signal.SIGKILL else ""
            self.reason = f"killed by {signal.Signals(-code).name}{memory}"
        else:
            self.status = "diverged" if code == DivergedError.exit_code else "failed"

    def refused(self, error: UserError) -> None:
        """Note that it could not be started."""
        self.status, self.exit_code, self.reason = "failed", error.exit_code, str(error)

    def saved(self) -> dict[str, Any]:
        """As plain data for sweep.json."""
        return {"job": self.name, **{name: getattr(self, name) for name in _SAVED}}


def restored(saved: dict[str, Any]) -> Job:
    """Read what `Job.saved` wrote.

    Raises:
        KeyError, TypeError: It is something else.
    """
    return Job(name=saved["job"], **{name: saved[name] for name in _SAVED})


def job_name(index: int, varied: dict[str, str]) -> str:
    """Name a job after what is its own: `3-lstm-lr=0.003`, short and fit for any file system."""
    text = telling_name(varied)
    return f"{index}-{text}" if text else str(index)


def identify(config: dict[str, Any]) -> tuple[str, str, str]:
    """Hash what a run computes.

    Args:
        config: Its settings as plain data.

    Returns:
        `Job.id`, `Job.configuration` and `Job.data`.
    """
    task = config["task"]
    source = task.get("corpus")  # a task that draws its sequences reads none
    corpus = [task.get("name"), source, None if source is None else corpus_hash(str(source))]
    kept = {
        name: {key: inner for key, inner in value.items() if f"{name}.{key}" not in NO_HYPERPARAMETERS}
        if isinstance(value, dict)
        else value
        for name, value in config.items()
        if name not in NO_HYPERPARAMETERS
    }
    seed = kept.pop("seed", None)
    configuration = digest([kept, corpus])
    # A perplexity is of a vocabulary; an accuracy of the same reviews is comparable however they are read.
    vocabulary = [task.get("min_count"), task.get("max_vocab")] if task.get("name") == "next_word" else []
    return digest([configuration, seed]), configuration, digest([corpus, vocabulary])


@cache
def corpus_hash(corpus: str) -> str | None:
    """SHA-256 of a corpus of the user's own, paths and bytes; None for a named one, whose content its name fixes."""
    path = Path(os.path.expanduser(corpus))
    files = sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]
    hashes = []
    for file in files:
        try:
            with file.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError:  # a named corpus, or one that the job will complain about
            continue
        hashes.append((file.relative_to(path).as_posix(), found))
    return digest(hashes) if hashes else None


def digest(content: Any) -> str:
    """Hash plain data, in 16 digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def last_line(log: Path) -> str:
    """Return the last line of a log that is not blank, an error's if there is one at the end; "" without a log."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def is_better(tag: str, value: float, other: float) -> bool:
    """Whether a score is better than another of the same tag."""
    return value > other if better(tag) == "higher" else value < other
