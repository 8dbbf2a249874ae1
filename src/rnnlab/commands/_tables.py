"""Tables for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def print_scores(title: str, facts: dict[str, Any]) -> None:
    """Print scores, a column for each split (the part of a tag before the slash), and the confusion matrix if any."""
    # The title stands above as a line of its own: a table would wrap it to its own width.
    print(title)
    console = Console()
    table = Table()
    metrics: dict[str, float] = facts["metrics"]
    splits = list(dict.fromkeys(tag.split("/", 1)[0] for tag in metrics))
    table.add_column("score")
    for split in splits:
        table.add_column(split, justify="right")
    for name in dict.fromkeys(tag.split("/", 1)[1] for tag in metrics):
        values = (metrics.get(f"{split}/{name}") for split in splits)
        table.add_row(name, *("" if value is None else f"{value:.4f}" for value in values))
    console.print(table)
    if "confusion" in facts:
        print_confusion(facts["labels"], facts["confusion"])


def print_confusion(labels: list[str], confusion: list[list[int]]) -> None:
    """Print how often each true class was given each class."""
    table = Table()
    table.add_column("it is")
    for label in labels:
        table.add_column(f"says {label}", justify="right")
    for label, row in zip(labels, confusion, strict=True):
        table.add_row(label, *(f"{count:,}" for count in row))
    Console().print(table)
