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

_DISPENSABLE = ("age", "time", "steps", "model", "task")  # the first is left out first where a terminal is narrow
_NAME_WIDTH = 24  # columns that a name is given before others are: it is folded, but not into letters
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


def fitting(columns: dict[str, list[str]], width: int) -> dict[str, list[str]]:
    """Leave out what a terminal has no room for: columns, then the tags of scores.

    Args:
        columns: cells by heading, those of `_DISPENSABLE`, "name", "status", and one that begins with "score".
        width: of the terminal.
    """
    from rich.cells import cell_len

    def needed() -> int:
        widths = {heading: max(map(cell_len, [heading, *cells])) for heading, cells in kept.items()}
        return sum({**widths, "name": min(widths["name"], _NAME_WIDTH)}.values()) + len(widths) - 1

    kept = dict(columns)
    for heading in _DISPENSABLE:
        if needed() > width:
            del kept[heading]
    if needed() > width:
        values = [cell.partition(" ")[2] for cell in next(kept[name] for name in kept if name.startswith("score"))]
        kept = {"name": kept["name"], "score": values, "status": kept["status"]}
    return kept


def _print_table(found: list[RunSummary]) -> None:
    """Print the runs as a table that the terminal holds; piped, as wide as it needs."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    now = datetime.now(UTC)
    columns = {
        "name": [run.name for run in found],
        "task": [run.task for run in found],
        "model": [run.model for run in found],
        score_heading(console.encoding): [score(run, console.encoding) for run in found],
        "steps": [f"{run.steps:,}" if run.steps is not None else "" for run in found],
        "time": [duration(run.seconds) for run in found],
        "status": [run.status for run in found],
        "age": [duration(max(0.0, (now - run.created).total_seconds())) if run.created else "" for run in found],
    }
    shown = fitting(columns, console.width)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for heading in shown:
        justify = "right" if heading in ("steps", "time", "age") else "left"
        table.add_column(heading, justify=justify, overflow="fold", no_wrap=heading != "name")
    for cells in zip(*shown.values(), strict=True):
        # Text, not str: a run's name may hold [brackets], which rich would read as markup.
        named = zip(shown, cells, strict=True)
        table.add_row(*(Text(cell, style=STYLES.get(cell, "") if key == "status" else "") for key, cell in named))
    console.print(table)
