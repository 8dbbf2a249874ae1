"""All that a run's folder tells of the run, for the commands that show it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Any

from rnnlab.commands.runs import duration
from rnnlab.errors import ConfigError
from rnnlab.json_files import read_json
from rnnlab.reports.curves import Curve, read_curves
from rnnlab.reports.differences import differences
from rnnlab.run_list import RunSummary, summarize
from rnnlab.run_lookup import find_run
from rnnlab.runs import run_name, run_names
from rnnlab.wording import score_text

# What a terminal would obey: a model can write it, if its corpus held it.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")


@dataclass(frozen=True, slots=True)
class RunDetails:
    """A run as its folder tells it.

    Attributes:
        summary: Its line in `rnnlab runs`.
        run: run.json.
        result: result.json; empty where there is none yet.
        curves: Every scalar by tag.
        sample: The newest text sample's file name and content; None: there is none.
    """

    summary: RunSummary
    run: dict[str, Any]
    result: dict[str, Any]
    curves: dict[str, Curve]
    sample: tuple[str, str] | None

    @property
    def config(self) -> dict[str, Any]:
        """The settings it ran with."""
        return part(self.run, "config")

    @property
    def metric(self) -> str:
        """The score that chose its best checkpoint, without the split: accuracy."""
        return str(self.result.get("metric") or self.summary.metric or "").rpartition("/")[2]

    @property
    def scored(self) -> str:
        """Which weights its scores are of: 'the best checkpoint, step 200'."""
        step = self.result.get("best_step", "?")
        if step == -1:
            return "the last weights: no evaluation gave a finite score"
        return f"the best checkpoint, step {step}"

    def changed(self) -> dict[str, list[str]] | None:
        """Return the settings that are not the defaults of its task: [its value, the default]; None: those are unknown.

        The defaults are those of this rnnlab.
        """
        defaults = default_settings(setting(self.run, "task", "name") or self.summary.task)
        return None if defaults is None else differences([self.config, defaults])

    def command(self) -> str:
        """Return the command line that makes such a run again, under a name of its own."""
        return repeated(self.run)

    def score_table(self) -> tuple[list[str], list[tuple[str, list[str]]]]:
        """Return the splits, and for each score its name and a value for each split; "" where there is none."""
        metrics = self.result.get("metrics")
        scores = {tag: value for tag, value in (metrics or {}).items() if isinstance(value, int | float)}
        splits = list(dict.fromkeys(tag.partition("/")[0] for tag in scores))
        rows = []
        for name in dict.fromkeys(tag.partition("/")[2] for tag in scores):
            values = [scores.get(f"{split}/{name}") for split in splits]
            rows.append((name, ["" if value is None else score_text(value) for value in values]))
        return splits, rows

    def confusion(self) -> tuple[list[str], list[list[int]]] | None:
        """Return labels and counts of the test split's confusion matrix; None where there is none."""
        labels, counts = self.result.get("labels"), self.result.get("confusion")
        return (labels, counts) if isinstance(labels, list) and isinstance(counts, list) else None


def facts(details: RunDetails) -> list[tuple[str, str]]:
    """Return what a run was and how it went, as pairs of a word and a line."""
    run, result, summary = details.run, details.result, details.summary
    corpus, chosen, versions = (part(run, name) for name in ("corpus", "choices", "versions"))
    experiment = f", experiment {chosen['experiment']}" if chosen.get("experiment") else ""
    parameters = f", {run['num_parameters']:,} parameters" if isinstance(run.get("num_parameters"), int) else ""
    lines = [
        ("what", f"task {summary.task}, model {summary.model}{experiment}, seed {run.get('seed', '?')}{parameters}"),
        ("corpus", str(corpus.get("name", "?"))),
    ]
    if summary.created is not None:
        age = duration(max(0.0, (datetime.now(UTC) - summary.created).total_seconds()))
        lines.append(("when", f"{summary.created:%Y-%m-%d %H:%M} UTC, {age} ago"))
    if summary.steps is not None:
        speed = result.get("tokens_per_second")
        rate = f", {speed:,.0f} tokens/s" if isinstance(speed, int | float) else ""
        passes = result.get("epochs")
        epochs = f", {passes:g} epoch{'s' * (passes != 1)}" if isinstance(passes, int | float) else ""
        lines.append(("trained", f"{summary.steps:,} steps{epochs} in {duration(summary.seconds)}{rate}"))
    lines.append(("on", f"{run.get('device', '?')}, {_threads(run)}; {run.get('backend', '?')}"))
    commit = str(run.get("git_commit") or "no commit")[:12]
    lines.append(("with", ", ".join([*(f"{name} {version}" for name, version in versions.items()), commit])))
    if summary.error:
        lines.append(("error", summary.error))
    return lines


def _threads(run: dict[str, Any]) -> str:
    count = run.get("threads", "?")
    return f"{count} thread{'s' * (count != 1)}"


def shown_curves(curves: dict[str, Curve]) -> dict[str, Curve]:
    """Return the curves worth a line: those with two points at least, without what is inside of layers."""
    inside = ("saturation/", "weights/", "gradients/", "gates/", "xray/")
    return {tag: curve for tag, curve in curves.items() if len(curve.values) > 1 and not tag.startswith(inside)}


def read_details(name: str) -> RunDetails:
    """Read a run.

    Args:
        name: Its name under outputs/ or its folder.

    Raises:
        CheckpointError: There is no such run, or its run.json or result.json is damaged.
    """
    folder = find_run(name)
    run = read_json(folder / "run.json")
    result = read_json(folder / "result.json") if (folder / "result.json").is_file() else {}
    return RunDetails(summarize(folder), run, result, read_curves(folder), _newest_sample(folder))


def default_settings(task: str) -> dict[str, Any] | None:
    """Return the settings of `rnnlab train task=TASK`; None for a task that is not installed here."""
    from rnnlab.commandline.compose import compose_request, read_arguments

    try:
        return compose_request(read_arguments("train", [f"task={task}"])).config
    except ConfigError:
        return None


def repeated(run: dict[str, Any], overrides: Iterable[str] = ()) -> str:
    """Return the command line that makes a run again, under a name of its own, with other settings in their place.

    Args:
        run: run.json.
        overrides: key=value.
    """
    written = run.get("overrides")
    typed = [str(text) for text in written] if isinstance(written, list) else []
    folder = run.get("config_dir")
    options = ["--config-dir", str(folder)] if folder else []
    others = {text.partition("=")[0] for text in overrides}
    kept = [text for text in typed if text.partition("=")[0] not in {"name", "resume", *others}]
    return " ".join(["rnnlab train", *map(quote, [*options, *kept, *overrides])])


def part(content: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a section of a run.json; an empty one where there is none: the file may be an older one, or edited."""
    value = content.get(name)
    return value if isinstance(value, dict) else {}


def setting(content: dict[str, Any], section: str, key: str) -> str:
    """Return a setting of a run.json; "" where there is none."""
    value = part(part(content, "config"), section).get(key)
    return "" if value is None else str(value)


def plain_name(word: str) -> str:
    """Return a run's name as it was typed; run=NAME, as other commands want it, is taken too."""
    return word.removeprefix("run=")


def _newest_sample(folder: Path) -> tuple[str, str] | None:
    """Read the last texts that were sampled."""
    try:
        path = max((folder / "samples").glob("step-*.txt"), default=None)
        if path is None:
            return None
        text = path.read_text(encoding="utf-8", errors="replace").strip("\n")
        return path.name, _CONTROL.sub("", text)
    except OSError:
        return None


def expand(words: list[str]) -> list[str]:
    """Return run names, a sweep's name replaced by those of its runs, each once.

    Raises:
        CheckpointError: There is no such run or sweep.
    """
    names: list[str] = []
    known = run_names()
    for word in map(plain_name, words):
        inside = [name for name in known if name.startswith(f"{word.rstrip('/')}/")]
        names += inside or [run_name(find_run(word))]
    return list(dict.fromkeys(names))


def need(names: list[str], count: int, verb: str) -> None:
    """Refuse too few runs.

    Raises:
        ConfigError: There are.
    """
    if len(names) < count:
        typed = " ".join(["rnnlab", verb, *map(quote, names), *["OTHER"] * (count - len(names))])
        raise ConfigError(f"{verb} needs {count} different runs, got {len(names)}: {typed} (rnnlab runs lists them)")
