"""rnnlab generate: let a finished run write; text to the terminal, tunes to files as well, and to be heard."""

from __future__ import annotations

import os
import sys
from itertools import count
from pathlib import Path

from rnnlab.commandline.compose import Request
from rnnlab.commands._finished import FinishedRun, open_run
from rnnlab.commands._tables import print_json
from rnnlab.config import GenerateConfig
from rnnlab.errors import ConfigError
from rnnlab.generation.abc import write_album, write_tunes
from rnnlab.tasks.language import LanguageTask
from rnnlab.tasks.music import Music
from rnnlab.tasks.sentiment import Sentiment

ABC = ".abc"


def run(request: Request) -> int:
    """Print the texts; tunes are also written to an .abc file, or to a folder with notation, sound and a page.

    Raises:
        UserError: no such run, a run that writes nothing, or a prompt it cannot read.
    """
    settings: GenerateConfig = request.settings
    finished = open_run(settings)
    task = finished.task
    if not isinstance(task, LanguageTask):
        other = "predict" if isinstance(task, Sentiment) else "evaluate"
        raise ConfigError(f"{settings.run} is a run of task={task.name}, which writes nothing; try rnnlab {other}")
    if settings.output is not None and not isinstance(task, Music):
        raise ConfigError(f"output is for tunes, {settings.run} is a run of task={task.name}; use > {settings.output}")
    if settings.output is not None:
        _check_output(settings.output)
    if unknown := task.unknown_in(settings.prompt):
        print(f"unknown to this run, read as <unk>: {' '.join(unknown)}", file=sys.stderr)
    texts = task.generate(
        finished.model,
        settings.prompt,
        count=settings.count,
        length=settings.length,
        temperature=settings.temperature,
        top_k=settings.top_k,
        top_p=settings.top_p,
        seed=settings.seed,
    )
    path = _target(finished, settings) if isinstance(task, Music) else None
    if settings.json:
        print_json({"texts": texts, "file": None if path is None else str(path)})
    else:
        print("\n\n".join(text.rstrip("\n") for text in texts))
    if path is not None:
        # After the tunes were printed: a disk that is full does not cost them.
        _write(texts, path, settings.run)
    return 0


def _write(tunes: list[str], path: Path, run: str) -> None:
    """Write tunes to an .abc file or, with all that lets them be heard, to a folder; say where."""
    if path.suffix == ABC:
        write_tunes(tunes, path)
        print(f"\nwritten: {path}", file=sys.stderr)
        return
    files, silent = write_album(tunes, path, f"Tunes of {run}")
    for number, reason in silent.items():
        print(f"tune {number} has no sound: {reason}", file=sys.stderr)
    print(f"\nwritten: {len(files)} files in {path}; hear them: {files[-1]}", file=sys.stderr)


def _target(finished: FinishedRun, settings: GenerateConfig) -> Path:
    """Where the tunes go: the file or folder asked for, else a new file among the run's samples."""
    if settings.output is not None:
        return Path(os.path.expanduser(settings.output))
    samples = finished.folder / "samples"
    return next(path for number in count(1) if not (path := samples / f"tunes-{number}{ABC}").exists())


def _check_output(output: str) -> None:
    """Refuse a file of a kind that tunes are not written to.

    Raises:
        ConfigError: it is one.
    """
    path = Path(os.path.expanduser(output))
    if output.endswith(("/", "\\")) or path.is_dir() or path.suffix in ("", ABC):
        return
    raise ConfigError(f"output must be a file {ABC} or a folder, got {output!r}; a folder's name may end with /")
