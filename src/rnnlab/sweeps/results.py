"""What came of a sweep: configurations over their seeds, and the best of them by the validation split."""

from __future__ import annotations

import shlex
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from rnnlab.sweeps.intervals import Spread, spread
from rnnlab.sweeps.jobs import Job, is_better


@dataclass(slots=True)
class Configuration:
    """Jobs that differ in their seeds only.

    Attributes:
        jobs: All of them.
        metric: Tag of the validation score, and `valid` its spread over the jobs that are done.
        test_metric: Tag of the test score, and `test` its spread, if they were scored.
    """

    jobs: list[Job]
    metric: str | None = None
    valid: Spread | None = None
    test_metric: str | None = None
    test: Spread | None = None

    @property
    def varied(self) -> dict[str, str]:
        """Its own values, without the seed."""
        return {key: value for key, value in self.jobs[0].varied.items() if key != "seed"}

    @property
    def is_complete(self) -> bool:
        """Whether all its jobs are done."""
        return all(job.status == "done" for job in self.jobs)

    def best_job(self) -> Job:
        """Its job with the best validation score."""
        best, score = None, None
        for job in self.jobs:
            scored = job.score() if job.status == "done" else None
            if scored and (score is None or is_better(scored[0], scored[1], score)):
                best, score = job, scored[1]
        assert best is not None
        return best

    def command(self) -> str:
        """The command that makes its runs again, as one would type it."""
        seeds = [job.varied["seed"] for job in self.jobs if "seed" in job.varied]
        job = self.jobs[0]
        kept = [text for text in job.overrides if not (len(seeds) > 1 and text.startswith("seed="))]
        words = ["rnnlab", "train", *job.options, *kept]
        return shlex.join([*words[:2], "-m", *words[2:], f"seed={','.join(seeds)}"] if len(seeds) > 1 else words)


def configurations(jobs: list[Job]) -> list[Configuration]:
    """Group jobs by what they are but for the seed, in order, and sum up their scores."""
    grouped: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        grouped[job.configuration].append(job)
    found = []
    for members in grouped.values():
        one = Configuration(members)
        done = [job for job in members if job.status == "done"]
        valid, test = ([scored for job in done if (scored := job.score(split))] for split in ("valid", "test"))
        if valid:
            one.metric, one.valid = valid[0][0], spread([value for _, value in valid])
        if test:
            one.test_metric, one.test = test[0][0], spread([value for _, value in test])
        found.append(one)
    return found


def best(found: list[Configuration]) -> list[Configuration]:
    """Return the best configuration by the mean of the validation score, one for each task and corpus.

    One with all its seeds goes before one that lacks some: the luckiest seed of many is no mean.
    """
    leaders: dict[tuple[str, str], Configuration] = {}
    for one in found:
        if one.valid is None or one.metric is None:
            continue
        key = (one.jobs[0].data, one.metric)
        leader = leaders.get(key)
        if leader is None or leader.valid is None:
            leaders[key] = one
        elif one.is_complete != leader.is_complete:
            leaders[key] = one if one.is_complete else leader
        elif is_better(one.metric, one.valid.mean, leader.valid.mean):
            leaders[key] = one
    return [*leaders.values()]


def summary(jobs: list[Job]) -> dict[str, Any]:
    """Return configurations and the best as plain data for sweep.json."""
    found = configurations(jobs)
    return {
        "configurations": [_plain(one) for one in found if one.valid],
        "best": [{**_plain(one), "job": one.best_job().name, "command": one.command()} for one in best(found)],
    }


def _plain(one: Configuration) -> dict[str, Any]:
    return {
        "varied": one.varied,
        "seeds": [job.varied["seed"] for job in one.jobs if "seed" in job.varied],
        "metric": one.metric,
        "valid": asdict(one.valid) if one.valid else None,
        "test_metric": one.test_metric,
        "test": asdict(one.test) if one.test else None,
    }
