"""The HTML page of a sweep: which configuration is best, by how much, and every run.

What is best is chosen by the validation score, as everywhere; the test score stands beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnlab.commands._details import RunDetails
from rnnlab.commands._run_page import changed_settings
from rnnlab.commands.runs import duration
from rnnlab.errors import UserError
from rnnlab.json_files import read_json
from rnnlab.reports import html
from rnnlab.reports.axes import Scale, fixed
from rnnlab.reports.curves import Curve
from rnnlab.reports.differences import differences
from rnnlab.reports.svg import Line, chart, interval, parallel
from rnnlab.sweeps.intervals import Spread, spread
from rnnlab.wording import better

# Differ between jobs without changing what is learned.
_NO_AXIS = {"trainer.threads", "trainer.device"}
_MAX_CURVES = 60


@dataclass(frozen=True, slots=True)
class Configuration:
    """Runs of a sweep that differ in nothing but their seed."""

    values: tuple[str, ...]
    runs: list[RunDetails]
    spread: Spread


def sweep_page(name: str, folder: Path, details: list[RunDetails], footer: str) -> str:
    """Return the page of a sweep.

    Args:
        name: Of the sweep.
        folder: Its folder; sweep.json names jobs that left no run.
        details: Its runs.
        footer: Who made the page, and when.
    """
    varied = {key: row for key, row in differences([one.config for one in details]).items() if key not in _NO_AXIS}
    scored = [one for one in details if one.summary.value is not None and one.summary.status == "done"]
    metrics = {one.metric for one in scored}
    lost = _lost_jobs(folder, {one.summary.name for one in details})
    done = sum(one.summary.status == "done" for one in details)
    line = f"{done} of {len(details) + len(lost)} runs done; varied: {', '.join(varied) or 'nothing'}"
    body = [html.head(name, "", line)]
    if scored and len(metrics) == 1:
        tag = _chosen_by(scored)
        keys = [key for key in varied if key != "seed"]
        found = _configurations(details, scored, varied, keys, tag)
        body += [*_best(found[0], keys, tag), *_table_of(found, keys, tag), *_pictures(details, scored, varied, tag)]
    body += _all_runs(details, varied, lost)
    if scored and len(metrics) == 1:
        top = max(scored, key=lambda one: _goodness(one, _chosen_by(scored)))
        body.append(html.heading("The best run, made again"))
        body.append(html.code(top.command()))
        body += changed_settings(top)
    return html.page(f"{name} - rnnlab", body, footer)


def _scores(run: RunDetails) -> dict[str, float]:
    """The run's scores by tag, those that are numbers."""
    metrics = run.result.get("metrics")
    found = {**(metrics if isinstance(metrics, dict) else {}), str(run.summary.metric): run.summary.value}
    return {tag: value for tag, value in found.items() if isinstance(value, int | float)}


def _chosen_by(scored: list[RunDetails]) -> str:
    """The tag of the score that chooses: of the validation split, unless a run of an older rnnlab has none."""
    tag = f"valid/{scored[0].metric}"
    return tag if all(tag in _scores(one) for one in scored) else str(scored[0].summary.metric)


def _goodness(run: RunDetails, tag: str) -> float:
    """A number that is larger for a better score."""
    value = _scores(run)[tag]
    return value if better(tag) == "higher" else -value


def _configurations(
    details: list[RunDetails], scored: list[RunDetails], varied: dict[str, list[str]], keys: list[str], tag: str
) -> list[Configuration]:
    """Group the runs that were scored by their values, the best mean first."""
    groups: dict[tuple[str, ...], list[RunDetails]] = {}
    for one in scored:
        place = details.index(one)
        groups.setdefault(tuple(varied[key][place] for key in keys), []).append(one)
    found = [
        Configuration(values, runs, spread([_scores(one)[tag] for one in runs])) for values, runs in groups.items()
    ]
    return sorted(found, key=lambda one: one.spread.mean, reverse=better(tag) == "higher")


def _best(best: Configuration, keys: list[str], tag: str) -> Iterator[str]:
    """Yield the best configuration in large."""
    values = [(key, value) for key, value in zip(keys, best.values, strict=True)]
    half = best.spread.half_width
    mean = fixed(best.spread.mean) + (f" ± {fixed(half)}" if half is not None else "")
    tested = [(f"test/{best.runs[0].metric}, mean", test)] if (test := _test_mean(best, tag)) else []
    yield html.cards([(f"{tag}, best mean of {best.spread.count}", mean), *tested, *values])


def _test_mean(one: Configuration, tag: str) -> str:
    """Mean test score of a configuration; "" where it is what was chosen by, or a run has none."""
    test = f"test/{one.runs[0].metric}"
    scores = [_scores(run).get(test) for run in one.runs]
    there = [score for score in scores if score is not None]
    return fixed(spread(there).mean) if there and len(there) == len(scores) and test != tag else ""


def _table_of(found: list[Configuration], keys: list[str], tag: str) -> Iterator[str]:
    """Yield mean, spread and interval of each configuration, in numbers and as a picture."""
    ends = [one.spread.mean + sign * (one.spread.half_width or 0.0) for one in found for sign in (-1, 1)]
    low, high = min(ends), max(ends)
    scale = Scale(low, high, False) if low < high else Scale.of(ends)
    rows = [
        (
            *one.values,
            str(one.spread.count),
            fixed(one.spread.mean),
            "" if one.spread.std is None else fixed(one.spread.std),
            ""
            if (half := one.spread.half_width) is None
            else f"{fixed(one.spread.mean - half)} to {fixed(one.spread.mean + half)}",
            _test_mean(one, tag),
            html.Markup(interval(one.spread.mean, one.spread.half_width, scale, is_best=place == 0)),
        )
        for place, one in enumerate(found)
    ]
    yield html.heading(f"Configurations by {tag}, the best first")
    headings = (*keys, "runs", "mean", "std", "95 % interval", "test mean", "")
    yield html.table(headings, rows, left=len(keys), best=0)
    yield html.paragraph(
        "Interval of the mean over seeds, Student's t. Where two overlap, more seeds may turn them round."
    )


def _pictures(
    details: list[RunDetails], scored: list[RunDetails], varied: dict[str, list[str]], tag: str
) -> Iterator[str]:
    """Yield settings and scores across parallel axes, and the curves of all runs."""
    best = max(range(len(scored)), key=lambda place: _goodness(scored[place], tag))
    places = [details.index(one) for one in scored]
    axes = [(key, [row[place] for place in places]) for key, row in varied.items()]
    yield html.heading("Every run")
    if axes and len(scored) > 1:
        scores = [_scores(one)[tag] for one in scored]
        colors = [("best run", "var(--b)"), ("the others", "var(--a)")]
        picture = parallel(axes, scores, tag, best)
        yield html.figure(picture, "Settings and score", colors, "the better score is up", is_whole=True)
    metric = f"valid/{scored[best].metric}"
    others = [one for one in scored if one is not scored[best]][:_MAX_CURVES]
    lines = [
        Line(one.summary.name, one.curves.get(metric, Curve()), "var(--a)", faint=True)
        for one in others
        if one.curves.get(metric, Curve()).values
    ]
    if curve := scored[best].curves.get(metric):
        lines.append(Line(scored[best].summary.name, curve, "var(--b)", dots=True))
    if any(len(line.curve.values) > 1 for line in lines):
        picture = chart(lines, width=760, height=260)
        yield html.figure(picture, metric, (), "over steps; the best run stands out", is_whole=True)


def _all_runs(details: list[RunDetails], varied: dict[str, list[str]], lost: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each run, and for each job that left none."""
    rows = []
    for place in sorted(range(len(details)), key=lambda place: _in_order(details[place].summary.name)):
        one, summary = details[place], details[place].summary
        reached = [_scores(one).get(f"{split}/{one.metric}") for split in ("valid", "test")]
        steps = "" if summary.steps is None else f"{summary.steps:,}"
        values = [row[place] for row in varied.values()]
        rows.append(
            (
                summary.name.rpartition("/")[2],
                *values,
                html.status_of(summary.status),
                *("" if value is None else fixed(value) for value in reached),
                steps,
                duration(summary.seconds),
            )
        )
    for job in lost:
        empty = [""] * len(varied)
        rows.append(
            (str(job["job"]).rpartition("/")[2], *empty, html.status_of(str(job.get("status", "failed"))), *[""] * 4)
        )
    headings = ("run", *varied, "status", "valid", "test", "steps", "time")
    yield html.table(headings, rows, left=2 + len(varied))
    for one in details:
        if one.summary.error:
            yield html.paragraph(f"{one.summary.name.rpartition('/')[2]}: {one.summary.error}")


def _in_order(name: str) -> list[tuple[int, str]]:
    """Sort key under which 10-lstm comes after 9-lstm."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def _lost_jobs(folder: Path, names: set[str]) -> list[dict[str, Any]]:
    """Return the jobs that sweep.json names and that left no run: they failed before they had a folder."""
    try:
        jobs = read_json(folder / "sweep.json").get("jobs")
    except UserError:
        return []
    listed = jobs if isinstance(jobs, list) else []
    return [job for job in listed if isinstance(job, dict) and job.get("job") and job["job"] not in names]
