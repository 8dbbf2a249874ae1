"""`rnnlab runs`: what lies under outputs/, one line a run."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime

from rnnlab.commandline.options import one_line_errors
from rnnlab.run_list import RunSummary, list_runs
from rnnlab.runs import outputs_root, run_names
from rnnlab.selection import FILTERS, ORDERS, choose
from rnnlab.wording import better

_FULL_WIDTH = 90  # columns of a terminal; a narrower one does without the age
STYLES = {"done": "green", "running": "cyan", "failed": "red", "killed": "red", "damaged": "red", "stopped": "yellow"}
_FILTERS_HELP = f"only these: {', '.join(f'{key}=' for key in FILTERS)} (lists and * allowed); sort={'|'.join(ORDERS)}"


def main(argv: list[str]) -> int:
    """List the runs.

    Args:
        argv: What follows the verb.

    Raises:
        ConfigError: A filter or order that there is none of.
    """
    parser = argparse.ArgumentParser(
        prog="rnnlab runs",
        description="List the runs under outputs/, oldest first.",
        epilog="example: rnnlab runs task=music,next_word status=done name='sweep-1/*' sort=score",
    )
    parser.add_argument("filters", nargs="*", metavar="KEY=VALUE", help=_FILTERS_HELP)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = one_line_errors(parser).parse_intermixed_args(argv)
    found = choose(list_runs(), arguments.filters)
    if arguments.json:
        print(json.dumps([row(run) for run in found], indent=2))
    elif not found:
        print(_nothing_found(arguments.filters))
    else:
        _print_table(found)
    return 0


def _nothing_found(filters: list[str]) -> str:
    """Say that there is nothing to list, and what to type."""
    if filters and run_names():
        return f"no runs in {outputs_root()} with {' '.join(filters)}; rnnlab runs lists all"
    return f"no runs in {outputs_root()}; this makes one: rnnlab train task=sentiment model=lstm"


def duration(seconds: float | None) -> str:
    """Return a time as people say it: 45s, 3m 20s, 2h 05m, 3d."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 48 * 3600:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d"


def score(run: RunSummary, encoding: str = "utf-8") -> str:
    """Return a run's score with its tag and the way it improves: 'test/perplexity 82.31 ↓'.

    Args:
        run: the run.
        encoding: of where it is printed; one without arrows gets v and ^.
    """
    if run.metric is None or run.value is None:
        return ""
    arrow = {"lower": "↓v", "higher": "↑^"}.get(better(run.metric), "  ")[not encoding.startswith("utf")]
    return f"{run.metric} {run.value:.4g} {arrow}".rstrip()


def score_heading(encoding: str = "utf-8") -> str:
    """Return what stands above scores; it is no wider than most of them."""
    return "score (↑↓: better)" if encoding.startswith("utf") else "score (^v: better)"


def row(run: RunSummary) -> dict[str, object]:
    """Return one run as JSON-able data."""
    return {
        "name": run.name,
        "path": str(run.path),
        "task": run.task,
        "model": run.model,
        "status": run.status,
        "metric": run.metric,
        "value": run.value,
        "steps": run.steps,
        "seconds": run.seconds,
        "created": run.created.isoformat() if run.created else None,
        "error": run.error,
    }


def _print_table(found: list[RunSummary]) -> None:
    """Print the runs as a table as wide as the terminal; piped, as wide as it needs."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    headings = ["name", "task", "model", "score", "steps", "time", "status", "age"]
    if console.width < _FULL_WIDTH:
        headings.remove("age")
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for heading in headings:
        justify = "right" if heading in ("steps", "time", "age") else "left"
        shown = score_heading(console.encoding) if heading == "score" else heading
        table.add_column(shown, justify=justify, overflow="fold", no_wrap=heading in ("score", "status"))
    now = datetime.now(UTC)
    for run in found:
        age = duration(max(0.0, (now - run.created).total_seconds())) if run.created else ""
        steps = f"{run.steps:,}" if run.steps is not None else ""
        status = Text(run.status, style=STYLES.get(run.status, ""))
        # Text, not str: a run's name may hold [brackets], which rich would read as markup.
        texts = (run.name, run.task, run.model, score(run, console.encoding), steps, duration(run.seconds))
        cells = [Text(cell) for cell in texts]
        table.add_row(*[*cells, status, Text(age)][: len(headings)])
    console.print(table)
