"""The training of a run, new or resumed, and what is recorded and printed at its end."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from torch import nn

from rnnlab import startup
from rnnlab.commands._launch import tell_name
from rnnlab.commands._next import next_commands
from rnnlab.commands._record import arithmetic_share
from rnnlab.commands._tables import print_scores
from rnnlab.commands.diagnose import last_lines
from rnnlab.config import TrainConfig
from rnnlab.errors import CannotWriteError, LostRankError, StoppedError
from rnnlab.hardware import matrix_rate
from rnnlab.run_list import summarize
from rnnlab.runs import record_result, run_name
from rnnlab.tasks import Task
from rnnlab.training.alone import Processes
from rnnlab.training.signals import interruption
from rnnlab.training.trainer import Trainer
from rnnlab.wording import side_by_side

log = logging.getLogger("rnnlab")

_WORTH_SECONDS = 60  # shorter trainings need not be faster


def make_trainer(
    folder: Path, config: TrainConfig, task: Task, model: nn.Module, device: torch.device, ranks: Processes
) -> Trainer:
    """Return what trains a run and tells its result.json how it stands."""
    report = partial(record_result, folder, "running")
    return Trainer(task, model, config, folder, device, report, ranks)


def fit(folder: Path, trainer: Trainer) -> int:
    """Train and score the test split; result.json tells how the run stands, whatever happens."""
    tell_name(run_name(folder))
    try:
        record_result(folder, "running", trainer.facts())
        startup.lap("model")
        log.info("%s", startup.summary())
        trainer.fit()
    except BaseException as error:
        stop = error if isinstance(error, StoppedError) else interruption(error)
        if stop is not None:
            record_result(folder, "stopped", trainer.facts(), stop)
            advice = f"go on: rnnlab train resume={quote(run_name(folder))}"
            raise StoppedError(f"{stop}; {advice}", stop.exit_code) from None
        try:
            record_result(folder, "failed", trainer.facts(), error)
        except CannotWriteError as mistake:  # no news on a full disk: what ended the run is what counts
            log.warning("%s", mistake)
        if isinstance(error, LostRankError):
            advice = f"what was saved is whole; go on: rnnlab train resume={quote(run_name(folder))}"
            raise LostRankError(f"{error}; {advice}") from error
        raise
    facts = trainer.facts()
    if facts["seconds"] >= _WORTH_SECONDS and trainer.device.type == "cpu":
        facts["arithmetic_share"] = arithmetic_share(trainer.model, facts["tokens_per_second"], matrix_rate())
    record_result(folder, "done", facts)
    _print_end(folder, facts)
    return 0


def _print_end(folder: Path, facts: dict[str, Any]) -> None:
    """Print the scores, how the run did, and what to type next."""
    print_scores(f"{run_name(folder)}: {facts['steps']:,} steps in {facts['seconds']:,.0f} s", facts)
    for line in last_lines(folder):
        print(line)
    print("\n".join(["next", *side_by_side(next_commands(summarize(folder)))]))
    print(f"run: {folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder}")
