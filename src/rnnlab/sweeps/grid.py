"""The jobs of a grid: every combination of the listed values, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

from rnnlab.commandline.overrides import value_texts
from rnnlab.commandline.sweep_request import SweepRequest
from rnnlab.errors import ConfigError
from rnnlab.sweeps.jobs import Job, digest, identify


class Grid:
    """Jobs in the order typed, the first setting's values slowest."""

    def __init__(self, jobs: list[Job]) -> None:
        """Take the jobs that still run."""
        self._left: Iterator[Job] = iter(jobs)

    def next(self) -> Job | None:
        """Return the next job; None after the last."""
        return next(self._left, None)

    def watch(self, job: Job) -> bool:
        """Stop no job: every score is wanted."""
        return False

    def ended(self, job: Job) -> None:
        """Nothing depends on it."""


def plan_grid(request: SweepRequest, progress: Callable[[int, int], None] = lambda done, total: None) -> list[Job]:
    """Return the jobs of a grid, those that compute the same once.

    Args:
        request: The sweep.
        progress: Told how many configurations of how many have been composed: a tenth of a second each.

    Returns:
        Jobs without names; a combination that contradicts itself is one that has failed.
    """
    lists = {key: value_texts(entry) for key, entry in request.varied.items()}
    seeds = lists.pop("seed", [])
    combinations = [dict(zip(lists, texts, strict=True)) for texts in product(*lists.values())]
    configurations: dict[tuple[str, ...], dict | ConfigError] = {}
    for number, values in enumerate(combinations):
        try:
            # Composed once for all seeds, which differ in nothing else.
            settings = request.compose({**values, **({"seed": seeds[0]} if seeds else {})}).config
            configurations[tuple(values.values())] = settings
        except ConfigError as error:
            configurations[tuple(values.values())] = error
        progress(number + 1, len(combinations))
    found: dict[str, Job] = {}
    for texts in product(*(value_texts(entry) for entry in request.varied.values())):
        values = dict(zip(request.varied, texts, strict=True))
        settings = configurations[tuple(text for key, text in values.items() if key != "seed")]
        job = make_job(request, values, settings)
        found.setdefault(job.id, job)
    return [*found.values()]


def make_job(request: SweepRequest, values: dict[str, str], settings: dict | ConfigError) -> Job:
    """Return the job of a combination of values.

    Args:
        request: The sweep.
        values: Of the settings that vary.
        settings: Composed with them, whatever the seed; or what is wrong with them.
    """
    config_dir = request.arguments.config_dir
    options = [f"--config-dir={config_dir}"] if config_dir else []
    texts = request.texts(values)
    if isinstance(settings, ConfigError):
        own = digest(texts)
        reason = " ".join(str(settings).split())
        return Job(own, own, own, values, texts, options, status="failed", exit_code=settings.exit_code, reason=reason)
    seed = {"seed": int(float(values["seed"]))} if "seed" in values else {}
    return Job(*identify({**settings, **seed}), values, texts, options)
