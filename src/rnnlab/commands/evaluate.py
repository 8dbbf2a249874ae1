"""rnnlab evaluate: the standard score of a finished run on a split of its corpus."""

from __future__ import annotations

from typing import Any

from rnnlab.commandline.compose import Request
from rnnlab.commands._finished import check_corpus, open_run, refuse_no_number
from rnnlab.commands._tables import print_json, print_scores
from rnnlab.commands._tunes import judge_tunes
from rnnlab.config import EvaluateConfig
from rnnlab.errors import ConfigError
from rnnlab.runs import run_name
from rnnlab.tasks.base import score
from rnnlab.tasks.music import Music
from rnnlab.training.console import log_to


def run(request: Request) -> int:
    """Score a run and print the scores; the run's folder is not touched.

    Raises:
        UserError: no such run, another corpus than it was trained on, `tunes` for a task without tunes, or scores that
            are no numbers, as of a run that diverged.
    """
    settings: EvaluateConfig = request.settings
    if not settings.json:
        log_to(None)
    finished = open_run(settings)
    if settings.tunes and not isinstance(finished.task, Music):
        raise ConfigError(f"tunes={settings.tunes} needs a run of task=music, {settings.run} is {finished.task.name}")
    finished.task.read_corpus()
    check_corpus(finished.folder, finished.task)
    split = settings.split.value
    scores = score(
        finished.task,
        finished.model,
        split,
        batch_size=settings.batch_size or finished.config.trainer.eval_batch_size,
        device=finished.device,
        autocast=finished.autocast(),
    )
    results: dict[str, Any] = {f"{split}/{name}": value for name, value in scores.results().items()}
    tags = (f"{split}/{name}" for name in ("loss", finished.task.metric))
    refuse_no_number(finished, {tag: results[tag] for tag in tags})
    details = scores.details()
    if isinstance(finished.task, Music) and settings.tunes:
        results |= judge_tunes(finished.task, finished.model, count=settings.tunes, seed=settings.seed)
    if settings.json:
        print_json({"run": run_name(finished.folder), "split": split, "metrics": results, **details})
    else:
        title = f"{run_name(finished.folder)}, checkpoint {settings.checkpoint.value}, split {split}"
        print_scores(title, {"metrics": results, **details})
    return 0
