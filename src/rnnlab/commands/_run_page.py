"""The HTML page of a run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rnnlab.commands._details import RunDetails, facts, shown_curves
from rnnlab.commands.runs import duration
from rnnlab.reports import html
from rnnlab.reports.axes import number
from rnnlab.reports.curves import Curve
from rnnlab.reports.differences import flat, typed
from rnnlab.reports.svg import Line, chart
from rnnlab.wording import better

MAX_CLASSES = 12  # a wider confusion matrix says less than how often each class was recognised


def run_page(details: RunDetails, footer: str) -> str:
    """Return the page of a run.

    Args:
        details: The run.
        footer: Who made the page, and when.
    """
    summary = details.summary
    line = f"{summary.task} with {summary.model}"
    body = [html.head(summary.name, summary.status, line), html.cards(_cards(details))]
    if summary.error:
        body.append(html.paragraph(f"Ended by: {summary.error}"))
    body += [*_curves(details), *_scores(details), *_confusion(details), *_sample(details)]
    body += [*changed_settings(details), *_reproduce(details)]
    return html.page(f"{summary.name} - rnnlab", body, footer, **_player(details))


def changed_settings(details: RunDetails) -> Iterator[str]:
    """Yield the settings that are not the defaults of the run's task, and all of them folded away."""
    yield html.heading("Settings")
    changed = details.changed()
    if changed:
        yield html.paragraph(f"Other than the defaults of task={details.summary.task}:")
        yield html.table(
            ("setting", "here", "default"), [(key, *pair) for key, pair in changed.items()], left=3, code=True
        )
    elif changed is not None:
        yield html.paragraph(f"The defaults of task={details.summary.task}, all of them.")
    every = [(key, typed(value)) for key, value in flat(details.config).items()]
    yield html.folded("all settings", html.table(("setting", "value"), every, left=2, code=True))


def _cards(details: RunDetails) -> Iterator[tuple[str, str]]:
    """Yield the numbers to be seen first."""
    summary, result = details.summary, details.result
    if summary.metric is not None and summary.value is not None:
        direction = better(summary.metric)
        yield f"{summary.metric}{f' ({direction} is better)' if direction else ''}", number(summary.value)
    if isinstance(details.run.get("num_parameters"), int):
        yield "parameters", f"{details.run['num_parameters']:,}"
    if summary.steps is not None:
        yield "steps", f"{summary.steps:,}"
    if summary.seconds is not None:
        yield "training", duration(summary.seconds)
    speed = result.get("tokens_per_second")
    if isinstance(speed, int | float):
        yield "tokens a second", f"{speed:,.0f}"


def _curves(details: RunDetails) -> Iterator[str]:
    """Yield training against validation, large, and every other curve, small."""
    curves = shown_curves(details.curves)
    if not curves:
        return
    wanted = dict.fromkeys((details.metric, "loss"))
    names = [name for name in wanted if {f"train/{name}", f"valid/{name}"} & set(curves)]
    large, used = [], set()
    for name in names:
        pair = {split: curves.get(f"{split}/{name}", Curve()) for split in ("train", "valid")}
        colors = {"train": "var(--a)", "valid": "var(--b)"}
        lines = [
            Line(f"{split}/{name}", curve, colors[split], dots=split == "valid")
            for split, curve in pair.items()
            if curve.values
        ]
        used |= {line.name for line in lines}
        large.append(html.figure(chart(lines), name, [(line.name, line.color) for line in lines], "over steps"))
    yield html.heading("Curves")
    yield html.figures(large)
    rest = {tag: curve for tag, curve in curves.items() if tag not in used}
    if rest:
        small = (
            html.figure(chart([Line(tag, curve, "var(--a)")], width=320, height=150), tag)
            for tag, curve in rest.items()
        )
        yield html.figures(small, small=True)


def _scores(details: RunDetails) -> Iterator[str]:
    """Yield the scores by split."""
    splits, rows = details.score_table()
    if rows:
        yield html.heading(f"Scores of {details.scored}")
        cells = [(name, better(name), *values) for name, values in rows]
        yield html.table(("score", "better", *splits), cells, left=2)


def _confusion(details: RunDetails) -> Iterator[str]:
    """Yield the confusion matrix, or how often each of many classes was recognised."""
    if (found := details.confusion()) is None:
        return
    labels, counts = found
    yield html.heading("Confusion matrix, test split")
    if len(labels) <= MAX_CLASSES:
        yield html.confusion(labels, counts)
        return
    rows = [
        (label, f"{sum(row):,}", f"{row[at]:,}", f"{row[at] / (sum(row) or 1):.1%}")
        for at, (label, row) in enumerate(zip(labels, counts, strict=True))
    ]
    yield html.table(("it is", "texts", "recognised", "share"), rows, left=1)


def _sample(details: RunDetails) -> Iterator[str]:
    """Yield the newest samples: texts, or tunes as scores that can be played."""
    if details.sample is None:
        return
    name, text = details.sample
    name = name.removesuffix(".txt")
    if not _has_tunes(details):
        yield html.heading(f"Samples, {name}")
        yield html.code(text, is_sample=True)
        return
    from rnnlab.generation.abc.page import tune_sections  # torch comes with it: for tunes only

    yield html.heading(f"Tunes it wrote, {name}")
    yield tune_sections(re.split(r"\n\s*\n", text.strip()))  # a blank line ends a tune


def _player(details: RunDetails) -> dict[str, str]:
    """Return what a page with tunes needs beside them."""
    if not _has_tunes(details):
        return {}
    from rnnlab.generation.abc.page import PLAYER, TUNE_STYLE

    return {"style": TUNE_STYLE, "script": PLAYER}


def _has_tunes(details: RunDetails) -> bool:
    return details.summary.task == "music" and details.sample is not None


def _reproduce(details: RunDetails) -> Iterator[str]:
    """Yield the command, and with what it was run."""
    yield html.heading("How to make it again")
    yield html.code(details.command())
    rows: list[tuple[str, str]] = [pair for pair in facts(details) if pair[0] != "error"]
    corpus: Any = details.run.get("corpus")
    if isinstance(corpus, dict) and corpus.get("sha256"):
        rows.append(("corpus hash", str(corpus["sha256"])))
    yield html.table(("", ""), rows, left=2)
