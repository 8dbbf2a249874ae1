"""Jobs of an outputs folder of the test's own, with results as runs leave them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnnlab.json_files import write_json
from rnnlab.sweeps.jobs import Job

MakeJob = Callable[..., Job]


@pytest.fixture
def make_job(outputs: Path) -> MakeJob:
    """`make_job("0-a", value=0.5, seed="1")`: a job, done if it has a value, with its run's folder."""
    (outputs / "s").mkdir(parents=True)

    def make(
        name: str, value: float | None = None, *, metric: str = "valid/loss", configuration: str = "c", **varied: str
    ) -> Job:
        job = Job(name, configuration, "data", varied, [f"{key}={text}" for key, text in varied.items()])
        job.name = f"s/{name}"
        if value is not None:
            run(job, "done", value, metric)
            job.status, job.exit_code = "done", 0
        return job

    return make


def run(job: Job, status: str, value: float = 1.0, metric: str = "valid/loss", **facts: Any) -> None:
    """Leave a run's folder as training does."""
    job.folder.mkdir(exist_ok=True)
    (job.folder / "run.json").write_text('{"format": 1}')
    metrics = {metric: value, metric.replace("valid", "test"): value + 1}
    write_json(job.folder / "result.json", {"status": status, "metric": metric, "metrics": metrics, "steps": 1} | facts)
