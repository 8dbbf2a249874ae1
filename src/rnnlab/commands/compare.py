"""`rnnlab compare A B ...`: whether one run is better than another, or whether it is chance.

Each run's best checkpoint is scored anew on every item of the test split, and the items are resampled for all runs
together (`evaluation.bootstrap`).
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from rnnlab.commandline.options import one_line_errors
from rnnlab.commands._details import expand, need, part, setting
from rnnlab.commands._finished import FinishedRun, check_corpus, open_run, refuse_no_number
from rnnlab.commands._tables import print_json, print_table
from rnnlab.commands.diff import setting_differences
from rnnlab.config import EvaluateConfig
from rnnlab.errors import CheckpointError, ConfigError
from rnnlab.evaluation.bootstrap import Interval, PairedBootstrap, Statistic
from rnnlab.json_files import read_json
from rnnlab.run_lookup import find_run
from rnnlab.tasks.base import SPLITS
from rnnlab.tasks.items import ItemScores, score_items
from rnnlab.tasks.synthetic import RegressionTask
from rnnlab.wording import better, score_text

FEW_ITEMS = 30  # below that, percentiles of resamples are too narrow
PARTS = 4  # of the items, by length


@dataclass(frozen=True, slots=True)
class Contestant:
    """A run with what its best checkpoint made of each item."""

    name: str
    metric: str
    vocabulary: str
    items: ItemScores


def main(argv: list[str]) -> int:
    """Compare runs with the first one.

    Args:
        argv: What follows the verb.

    Raises:
        CheckpointError: There is no such run, or they cannot be compared: another task, corpus or vocabulary.
        ConfigError: A number out of range, or fewer than two runs.
        DivergedError: The score of one is no number.
    """
    parser = argparse.ArgumentParser(
        prog="rnnlab compare", description="Hold runs against the first one, item by item of the test split."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="two runs or more, or a sweep")
    parser.add_argument("--split", choices=SPLITS, default="test", help="which part of the corpus (test)")
    parser.add_argument("--resamples", type=int, default=10_000, help="how often the items are drawn anew (10000)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (0)")
    parser.add_argument("--by-length", action="store_true", help="also by the length of texts or tunes, in quarters")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: as many as there are)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = one_line_errors(parser).parse_intermixed_args(argv)
    for name, low in {"resamples": 100, "seed": 0, "threads": 0}.items():
        if getattr(arguments, name) < low:
            raise ConfigError(f"--{name} must be at least {low}, got {getattr(arguments, name)}")
    names = expand(arguments.runs)
    need(names, 2, "compare")
    contents = [read_json(find_run(name) / "run.json") for name in names]
    _check_alike(names, contents)
    runs = [_scored(name, arguments.split, arguments.threads) for name in names]
    _check_items(runs)
    tag = f"{arguments.split}/{runs[0].metric}"
    results = _results(runs, tag, arguments.resamples, arguments.seed)
    results |= {"resamples": arguments.resamples, "seed": arguments.seed, "settings": setting_differences(contents)}
    if arguments.by_length:
        results["by_length"] = _by_length(runs, tag, arguments.resamples, arguments.seed)
    if arguments.json:
        print_json(results)
    else:
        _print(results)
    return 0


def verdict(difference: Interval, tag: str) -> str:
    """Say in two words what a difference from the first run means."""
    if difference.holds_zero:
        return "not distinguishable"
    is_better = (difference.value > 0) == (better(tag) == "higher")
    return "better" if is_better else "worse"


def statistic_of(metric: str) -> Statistic:
    """Return how a task's measure follows from the sums over its items; nats per target where it is none of ours."""
    match metric:
        case "perplexity":
            return lambda nats, counts: np.exp(nats / counts)
        case "bits_per_char":
            return lambda nats, counts: nats / counts / math.log(2)
        case _:
            return lambda sums, counts: sums / counts


def _scored(name: str, split: str, threads: int) -> Contestant:
    """Score a run's best checkpoint on each item."""
    finished: FinishedRun = open_run(EvaluateConfig(run=name, threads=threads))
    if isinstance(finished.task, RegressionTask):
        task = finished.task.name
        raise ConfigError(
            f"{name} is a run of task={task}, whose errors compare does not resample; try rnnlab evaluate"
        )
    finished.task.read_corpus()
    check_corpus(finished.folder, finished.task)
    items = score_items(
        finished.task,
        finished.model,
        split,
        batch_size=finished.config.trainer.eval_batch_size,
        device=finished.device,
        autocast=finished.autocast(),
        what=f"scoring {name}",
    )
    known = ("accuracy",) if items.right is not None else ("perplexity", "bits_per_char")
    metric = finished.task.metric if finished.task.metric in known else "loss"
    with np.errstate(over="ignore"):
        sums = items.nats.sum(keepdims=True), items.counts.sum(keepdims=True)
        values = {"loss": statistic_of("loss")(*sums), metric: statistic_of(metric)(*sums)}
    refuse_no_number(finished, {f"{split}/{key}": value.item() for key, value in values.items()})
    return Contestant(name, metric, finished.task.vocabulary_hash, items)


def _check_alike(names: list[str], contents: list[dict[str, Any]]) -> None:
    """Refuse runs of different tasks or corpora, before anything is read.

    A corpus is known by its content: a file that has moved since, or was converted, is the same one.

    Raises:
        CheckpointError: They are.
    """
    hashes = {str(part(content, "corpus").get("sha256", "")) for content in contents}
    is_one_corpus = len(hashes) == 1 and "" not in hashes
    for word, key in (("task", "name"), *(() if is_one_corpus else (("corpus", "corpus"),))):
        values = [setting(content, "task", key) for content in contents]
        for name, value in zip(names, values, strict=True):
            if value != values[0]:
                raise CheckpointError(
                    f"{names[0]} and {name} cannot be compared: {word} {values[0]} and {word} {value}; "
                    "rnnlab diff shows their settings"
                )


def _check_items(runs: list[Contestant]) -> None:
    """Refuse runs whose items are not the same ones.

    Raises:
        CheckpointError: They are not.
    """
    first = runs[0]
    for other in runs[1:]:
        is_language = first.items.right is None
        if is_language and other.vocabulary != first.vocabulary:
            raise CheckpointError(
                f"{first.name} and {other.name} cannot be compared: their vocabularies differ, and a score over fewer "
                "words is an easier one"
            )
        pairs = [(first.items.counts, other.items.counts)]
        if first.items.targets is not None and other.items.targets is not None:
            pairs.append((first.items.targets, other.items.targets))
        if not all(np.array_equal(*pair) for pair in pairs):
            raise CheckpointError(f"{first.name} and {other.name} cannot be compared: their {first.items.unit} differ")


def _bootstrap(runs: list[Contestant], resamples: int, seed: int) -> PairedBootstrap:
    """Resample the items of all runs together."""
    if len(runs[0].items.counts) < 2:
        raise CheckpointError(f"there is one item to compare on ({runs[0].items.unit}); wanted two at least")
    columns = [run.items.nats if run.metric != "accuracy" else run.items.right for run in runs]
    numerators = np.column_stack([np.asarray(column, dtype=np.float64) for column in columns])
    statistic = statistic_of(runs[0].metric)
    return PairedBootstrap(numerators, runs[0].items.counts, statistic, resamples=resamples, seed=seed)


def _results(runs: list[Contestant], tag: str, resamples: int, seed: int) -> dict[str, Any]:
    """Return scores and differences as JSON-able data."""
    bootstrap = _bootstrap(runs, resamples, seed)
    rows = []
    for number, run in enumerate(runs):
        row: dict[str, Any] = {"run": run.name, **_bounds(bootstrap.score(number))}
        if number:
            difference = bootstrap.difference(0, number)
            row |= {"difference": _bounds(difference), "verdict": verdict(difference, tag)}
        rows.append(row)
    return {"metric": tag, "items": len(runs[0].items.counts), "unit": runs[0].items.unit, "runs": rows}


def _by_length(runs: list[Contestant], tag: str, resamples: int, seed: int) -> list[dict[str, Any]]:
    """Return the same for the shortest quarter of the items, the next, and so on; equal lengths stay together.

    One item alone cannot be resampled: it goes with the quarter beside it, so that every item is in one.

    Raises:
        CheckpointError: The items are stretches of one length.
    """
    steps = runs[0].items.steps
    if runs[0].items.unit.startswith("stretches"):
        raise CheckpointError(f"--by-length is for texts and tunes, {runs[0].name} reads one long text; leave it out")
    edges = np.unique(np.quantile(steps, np.linspace(0, 1, PARTS + 1), method="higher"))
    bounds = [*pairwise(edges)] or [(edges[0], edges[0])]
    quarters: list[np.ndarray] = []
    for number, (low, high) in enumerate(bounds):
        chosen = (steps > low if number else steps >= low) & (steps <= high)
        if quarters and min(np.count_nonzero(chosen), np.count_nonzero(quarters[-1])) < 2:
            quarters[-1] = quarters[-1] | chosen
        else:
            quarters.append(chosen)
    found = []
    for chosen in quarters:
        parts = [replace(run, items=run.items.only(chosen)) for run in runs]
        lengths = steps[chosen]
        about = {"shortest": int(lengths.min()), "longest": int(lengths.max())}
        found.append(about | _results(parts, tag, resamples, seed))
    return found


def _bounds(interval: Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def _print(results: dict[str, Any]) -> None:
    """Print what differs in settings, then scores with intervals, then what it is worth."""
    rows = results["runs"]
    names = [row["run"] for row in rows]
    if settings := results["settings"]:
        print_table(("setting", *names), [(key, *values) for key, values in settings.items()], left=1 + len(names))
        print()

    metric = results["metric"]
    print_table(
        ("run", f"{metric}, {better(metric)} is better", "95 % interval"),
        [(row["run"], *_span(row)) for row in rows],
        left=1,
    )
    print()
    against = [(row["run"], *_span(row["difference"], "+"), f"  {row['verdict']}") for row in rows[1:]]
    print_table((f"against {names[0]}", "difference", "95 % interval", "  verdict"), against, left=1)
    for quarter in results.get("by_length", ()):
        _print_quarter(quarter)
    print(
        f"\n{results['items']:,} {results['unit']}, drawn anew {results['resamples']:,} times, seed {results['seed']}"
    )
    if results["items"] < FEW_ITEMS:
        print(f"so few {results['unit'].partition(' ')[0]} make intervals that are too narrow: take them as a hint")
    if any(row.get("verdict") == "not distinguishable" for row in rows):
        print("not distinguishable: the difference's interval holds 0; these items do not tell")


def _print_quarter(quarter: dict[str, Any]) -> None:
    """Print the scores on items of like length, each run but the first with its difference."""
    rows = []
    for row in quarter["runs"]:
        against = (*_span(row["difference"], "+"), f"  {row['verdict']}") if "difference" in row else ("", "", "")
        rows.append((row["run"], *_span(row), *against))
    print(f"\n{quarter['items']:,} {quarter['unit']} of {quarter['shortest']:,} to {quarter['longest']:,} tokens")
    print_table(("run", quarter["metric"], "95 % interval", "difference", "95 % interval", "  verdict"), rows, left=1)


def _span(bounds: dict[str, float], sign: str = "") -> tuple[str, str]:
    """Write a value and its interval."""
    value, low, high = (score_text(bounds[name], sign) for name in ("value", "low", "high"))
    return value, f"{low} to {high}"
