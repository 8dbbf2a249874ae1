"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rnnlab.wording import better, score_text

MAX_CLASSES = 8  # a wider confusion matrix does not fit on a terminal


def print_json(data: dict[str, Any]) -> None:
    """Print one JSON object on one line, in ASCII where the terminal or pipe takes no UTF-8."""
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    print(json.dumps(data, ensure_ascii=encoding != "utf8"))


def print_scores(title: str, facts: dict[str, Any]) -> None:
    """Print scores, a column for each split (the part of a tag before the slash), and the confusion matrix if any."""
    # The title stands above as a line of its own: a table would wrap it to its own width.
    print(title)
    console = Console()
    table = Table()
    metrics: dict[str, float] = facts["metrics"]
    splits = list(dict.fromkeys(tag.split("/", 1)[0] for tag in metrics))
    table.add_column("score")
    table.add_column("better")
    for split in splits:
        table.add_column(split, justify="right")
    for name in dict.fromkeys(tag.split("/", 1)[1] for tag in metrics):
        values = (metrics.get(f"{split}/{name}") for split in splits)
        table.add_row(name, better(name), *("" if value is None else score_text(value) for value in values))
    console.print(table)
    if "confusion" in facts:
        print_confusion(facts["labels"], facts["confusion"])


def print_confusion(labels: list[str], confusion: list[list[int]]) -> None:
    """Print how often each true class was given each class; of many classes, how often each was recognised."""
    # Text, not str: a label may hold [brackets], which rich would read as markup.
    table = Table()
    table.add_column("it is")
    if len(labels) <= MAX_CLASSES:
        for label in labels:
            table.add_column(Text(f"says {label}"), justify="right")
        for label, row in zip(labels, confusion, strict=True):
            table.add_row(Text(label), *(f"{count:,}" for count in row))
    else:
        table.add_column("texts", justify="right")
        table.add_column("recognised", justify="right")
        for number, (label, row) in enumerate(zip(labels, confusion, strict=True)):
            table.add_row(Text(label), f"{sum(row):,}", f"{row[number]:,}")
    Console().print(table)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, left: int) -> None:
    """Print rows under headings, the first `left` columns aligned left; piped, as wide as the table needs."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number < left else "right")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)
