"""What `rnnlab runs` lists: one line a run, read from its JSON files. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rnnlab.errors import UserError
from rnnlab.json_files import read_json
from rnnlab.run_lock import is_alive
from rnnlab.runs import outputs_root, run_folders, run_name


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of `rnnlab runs`.

    Attributes:
        name: Its folder under outputs/, what `run=` takes.
        path: The folder.
        task: The task's name, "" if unknown; the same for `model`.
        status: running, done, failed, stopped; killed: it says running, but its process is gone; damaged: run.json or
            result.json cannot be read; unknown: no result.json.
        metric: TensorBoard tag of the score shown: the test split's if it was scored, else the selection metric.
        value: That score.
        steps: Optimizer updates.
        seconds: Time spent training.
        created: UTC.
        error: Why it failed.
    """

    name: str
    path: Path
    task: str
    model: str
    status: str
    metric: str | None
    value: float | None
    steps: int | None
    seconds: float | None
    created: datetime | None
    error: str | None


def list_runs() -> list[RunSummary]:
    """Return all runs, oldest first; what cannot be read is listed as damaged."""
    root = outputs_root()
    found = [_summary(folder.relative_to(root).as_posix(), folder) for folder in run_folders(root)]
    return sorted(found, key=lambda run: (run.created.timestamp() if run.created else 0.0, run.name))


def summarize(folder: Path) -> RunSummary:
    """Return one run's line."""
    return _summary(run_name(folder), folder)


def _summary(name: str, folder: Path) -> RunSummary:
    """Read one run's line from its JSON files."""
    try:
        run = read_json(folder / "run.json")
        result = read_json(folder / "result.json") if (folder / "result.json").is_file() else {}
    except UserError as error:
        return RunSummary(name, folder, "", "", "damaged", None, None, None, None, None, str(error))
    status = str(result.get("status", "unknown"))
    if status == "running" and not is_alive(folder, result.get("pid")):
        status = "killed"
    metric, value = _score(result)
    choices = _dict(run.get("choices"))
    task = _dict(_dict(run.get("config")).get("task")).get("name") or choices.get("task") or ""
    error = result.get("error")
    return RunSummary(
        name=name,
        path=folder,
        task=str(task),
        model=str(choices.get("model", "")),
        status=status,
        metric=metric,
        value=value,
        steps=int(steps) if (steps := _number(result.get("steps"))) is not None else None,
        seconds=_number(result.get("seconds")),
        created=_time(run.get("created")),
        error=str(error) if error else None,
    )


def _score(result: dict[str, Any]) -> tuple[str | None, float | None]:
    """Return the score to show: of the test split if there is one, else the selection metric."""
    metrics = _dict(result.get("metrics"))
    metric = str(result.get("metric") or next((tag for tag in metrics if tag.startswith(("test/", "valid/"))), ""))
    test = f"test/{metric.partition('/')[2] or metric}"
    shown = test if test in metrics else metric
    value = _number(metrics.get(shown))
    return (shown, value) if value is not None else (None, None)


def _dict(value: Any) -> dict[str, Any]:
    """Return a dict, an empty one in place of anything else: the file may be an older one, or edited."""
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    """Return a number or None."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _time(value: Any) -> datetime | None:
    """Read an ISO time; None if it is none."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
