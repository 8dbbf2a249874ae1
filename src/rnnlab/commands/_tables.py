"""Tables for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def print_scores(run: str, facts: dict[str, Any]) -> None:
    """Print a run's scores, and the confusion matrix where there is one."""
    console = Console()
    table = Table(title=f"{run}: {facts['steps']:,} steps in {facts['seconds']:.0f} s", title_justify="left")
    metrics: dict[str, float] = facts["metrics"]
    splits = [split for split in ("train", "valid", "test") if any(tag.startswith(f"{split}/") for tag in metrics)]
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
    table = Table(title="confusion (test)", title_justify="left")
    table.add_column("is")
    for label in labels:
        table.add_column(f"says {label}", justify="right")
    for label, row in zip(labels, confusion, strict=True):
        table.add_row(label, *(f"{count:,}" for count in row))
    Console().print(table)
