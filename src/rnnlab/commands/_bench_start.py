"""`rnnlab bench start`: from pressing enter to the first step, with and without the encoded corpus in the cache."""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rnnlab.commandline.options import check_writable, names, one_line_errors
from rnnlab.errors import ConfigError

if TYPE_CHECKING:
    from rnnlab.benchmarks.start import Start

TASKS = {"sotu": "next_word", "ptb": "next_word", "wikitext-2": "next_word"}
TASKS |= {"movie-reviews": "sentiment", "imdb": "sentiment", "trad-tunes": "music"}


def main(argv: list[str]) -> int:
    """Measure and print.

    Args:
        argv: What follows `bench start`.

    Returns:
        0.

    Raises:
        ConfigError: A bad option.
        CannotWriteError: The JSON file cannot be written.
        DataError: A run does not come to its first step.
    """
    options = _read_options(argv)
    from rnnlab.benchmarks.machine import processor_name
    from rnnlab.benchmarks.start import empty_cache, time_start
    from rnnlab.commands._bench_report import Report
    from rnnlab.data.cache import cache_folder
    from rnnlab.hardware import usable_cores

    machine = {"torch": version("torch"), "python": sys.version.split()[0]}
    machine |= {"processor": processor_name(), "cores": usable_cores()}
    report = Report("start", machine, {"repeats": options.repeats}, options.json)
    rows: list[tuple[str, ...]] = []
    for corpus in options.corpora:
        settings = [f"task={TASKS[corpus]}", f"task.corpus={corpus}"]
        with tempfile.TemporaryDirectory() as folder:
            variables = empty_cache(cache_folder(), Path(folder))
            first = time_start(settings, variables)
            print(f"{corpus}: first time {first.seconds:.1f} s", end="; ", file=sys.stderr, flush=True)
            later = [time_start(settings, variables) for _ in range(options.repeats)]
        print(f"then {', '.join(f'{one.seconds:.1f}' for one in later)} s", file=sys.stderr, flush=True)
        times = {"first": asdict(first), "later": [asdict(one) for one in later]}
        report.add({"task": TASKS[corpus], "corpus": corpus, **times})
        rows.append(_row(corpus, first, later))
    _print(report.content, rows)
    return 0


def _read_options(argv: list[str]) -> argparse.Namespace:
    """Read the options; `corpora` is a list, all that are on this machine by default.

    Raises:
        ConfigError: An unknown option or name, or a number out of range.
        CannotWriteError: There is no folder for the JSON file.
    """
    from rnnlab.data.corpora import CORPORA
    from rnnlab.data.corpora.locate import folder_of

    parser = argparse.ArgumentParser(
        prog="rnnlab bench start",
        description="Time rnnlab train until its first step, with nothing in the cache and then with the corpus in it.",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the results there too")
    parser.add_argument("--corpora", metavar="NAMES", help=f"some of {','.join(TASKS)}; default: those that are here")
    parser.add_argument("--repeats", type=int, metavar="N", default=3, help="later starts; default: %(default)d")
    options = one_line_errors(parser).parse_args(argv)
    if options.repeats < 1:
        raise ConfigError(f"--repeats must be at least 1, got {options.repeats}")
    check_writable(options.json)
    if options.corpora is None:
        options.corpora = [name for name in TASKS if folder_of(CORPORA[name]) is not None]
    else:
        options.corpora = names("--corpora", options.corpora, TASKS)
    return options


def _row(corpus: str, first: Start, later: list[Start]) -> tuple[str, ...]:
    laps = dict.fromkeys(name for one in later for name in one.parts)
    parts = {name: median(one.parts.get(name, 0.0) for one in later) for name in laps}
    shown = ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items() if seconds >= 0.05)
    wall, cpu = (median(getattr(one, name) for one in later) for name in ("seconds", "cpu_seconds"))
    return (TASKS[corpus], corpus, f"{first.seconds:.1f}", f"{wall:.1f}", f"{cpu:.1f}", shown)


def _print(report: dict[str, Any], rows: list[tuple[str, ...]]) -> None:
    from rnnlab.commands._tables import print_table

    machine, load = report["machine"], report["load_average"]
    print(f"{machine['processor']}, {machine['cores']} cores, torch {machine['torch']}, python {machine['python']}")
    print(f"load average {load['start']} before, {load['end']} after; seconds until the first step")
    print_table(("task", "corpus", "first time", "then", "CPU time", "of which"), rows, left=2)
