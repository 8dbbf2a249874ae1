"""`rnnlab show RUN`: a run on one page of a terminal: settings, scores, curves, samples, and what to type next."""

from __future__ import annotations

import argparse
import sys
from textwrap import wrap
from typing import Any

from rich.console import Console
from rich.text import Text

from rnnlab.commandline.options import one_line_errors
from rnnlab.commands._details import (
    RunDetails,
    facts,
    plain_name,
    read_details,
    shown_curves,
)
from rnnlab.commands._next import next_commands
from rnnlab.commands._tables import print_confusion, print_json, print_table
from rnnlab.commands.runs import STYLES, row
from rnnlab.reports.axes import number
from rnnlab.reports.curves import Curve
from rnnlab.reports.terminal import plot, sparkline, takes_only_ascii
from rnnlab.wording import better, side_by_side

_PLOT_HEIGHT = 10
_SPARK_WIDTH = 24
_SAMPLE_LINES = 16


def main(argv: list[str]) -> int:
    """Show a run.

    Args:
        argv: What follows the verb.

    Raises:
        CheckpointError: There is no such run, or its files are damaged.
    """
    parser = argparse.ArgumentParser(prog="rnnlab show", description="Show a run: settings, scores, curves, samples.")
    parser.add_argument("run", metavar="RUN", help="a run's name (rnnlab runs lists them) or folder")
    parser.add_argument("--json", action="store_true", help="print JSON instead")
    arguments = one_line_errors(parser).parse_args(argv)
    details = read_details(plain_name(arguments.run))
    if arguments.json:
        print_json(_as_data(details))
        return 0
    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    _print_head(console, details)
    _print_changed(console, details)
    _print_scores(console, details)
    _print_curves(console, details)
    if found := details.confusion():
        _heading(console, "confusion matrix, test split")
        print_confusion(*found)
    _print_sample(console, details)
    _heading(console, "where things are")
    _print_pairs(console, places(details))
    _heading(console, "next")
    _print_pairs(console, next_commands(details.summary, shown=True))
    return 0


def places(details: RunDetails) -> list[tuple[str, str]]:
    """Return the files of a run that are there, with what they hold."""
    folder = details.summary.path
    known = {
        "rnnlab.log": "what it said",
        "run.json": "settings, versions, corpus",
        "result.json": "scores",
        "vocabulary.json": "tokens",
        "checkpoints": "weights, to use and to go on from",
        "samples": "texts or tunes",
        "report.html": "its page",
    }
    return [(str(folder / name), what) for name, what in known.items() if (folder / name).exists()]


def _heading(console: Console, text: str) -> None:
    console.print(Text(f"\n{text}", style="bold"))


def _print_pairs(console: Console, pairs: list[tuple[str, str]]) -> None:
    for line in side_by_side(pairs):
        console.print(Text(line), soft_wrap=True)


def _print_head(console: Console, details: RunDetails) -> None:
    """Print name, status and the facts."""
    summary = details.summary
    head = Text(summary.name, style="bold").append("   ")
    head.append(summary.status, style=STYLES.get(summary.status, ""))
    if summary.metric is not None and summary.value is not None:
        head.append(f"   {summary.metric} {number(summary.value)}", style="not bold")
    console.print(head)
    for word, line in facts(details):
        console.print(Text(f"  {word:<8} {line}"), soft_wrap=True)


def _print_changed(console: Console, details: RunDetails) -> None:
    """Print the settings that are not the defaults."""
    changed = details.changed()
    if changed is None:
        _heading(console, "its task is not installed here: what was typed")
        console.print(Text(f"  {details.command()}"), soft_wrap=True)
    elif not changed:
        _heading(console, f"settings: the defaults of task={details.summary.task}")
    else:
        _heading(console, f"settings that differ from the defaults of task={details.summary.task}")
        print_table(("  setting", "here", "default"), [(f"  {key}", *pair) for key, pair in changed.items()], left=3)


def _print_scores(console: Console, details: RunDetails) -> None:
    """Print every score by split."""
    splits, scores = details.score_table()
    if not scores:
        return
    _heading(console, f"scores of {details.scored}")
    rows = [(f"  {name}", better(name), *values) for name, values in scores]
    print_table(("  score", "better", *splits), rows, left=2)


def _print_curves(console: Console, details: RunDetails) -> None:
    """Print the task's measure as a plot, training against validation, and a line for each curve."""
    is_ascii = takes_only_ascii(console.encoding)
    curves = shown_curves(details.curves)
    metric = details.metric if f"valid/{details.metric}" in details.curves else "loss"
    line, marks = (details.curves.get(f"{split}/{metric}", Curve()) for split in ("train", "valid"))
    if line.values or marks.values:
        mark = "o" if is_ascii else "●"
        _heading(console, f"{metric}: line train/{metric}, {mark} valid/{metric}")
        for text in plot(line, marks, width=min(console.width, 100) - 2, height=_PLOT_HEIGHT, is_ascii=is_ascii):
            console.print(Text(f"  {text}"), soft_wrap=True)
    if curves:
        console.print()
        rows = []
        for tag, curve in curves.items():
            best = curve.best(tag)
            at = "" if best is None else f"{number(best[1])} at {best[0]:,}"
            drawn = sparkline(curve.values, _SPARK_WIDTH, is_ascii=is_ascii)
            rows.append((f"  {tag}", drawn, number(curve.values[0]), number(curve.values[-1]), at))
        print_table(("  curve", "", "first", "last", "best"), rows, left=2)


def _print_sample(console: Console, details: RunDetails) -> None:
    """Print the newest text samples, cut to a screen."""
    if details.sample is None:
        return
    name, text = details.sample
    width = min(console.width, 100) - 2
    # A review is one line of hundreds of words, and a tune's lines mean something: each is folded by itself.
    lines = [part for line in text.splitlines() for part in wrap(line, width) or [""]]
    _heading(console, f"samples, {name}")
    for line in lines[:_SAMPLE_LINES]:
        console.print(Text(f"  {line}"), soft_wrap=True)
    if len(lines) > _SAMPLE_LINES:
        more = f"{len(lines) - _SAMPLE_LINES} more lines in {details.summary.path / 'samples' / name}"
        console.print(Text(f"  ... {more}"), soft_wrap=True)


def _as_data(details: RunDetails) -> dict[str, Any]:
    """Return all of it as JSON-able data."""
    return {
        **row(details.summary),
        "command": details.command(),
        "changed": details.changed(),
        "config": details.config,
        "result": details.result,
        "curves": {tag: {"steps": curve.steps, "values": curve.values} for tag, curve in details.curves.items()},
        "sample": None if details.sample is None else details.sample[1],
    }
