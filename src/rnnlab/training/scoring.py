"""Scores of a run: of the validation split while it trains, of the test split at its end. Training is not changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rnnlab.tasks.base import Scores, score
from rnnlab.training.alone import Processes
from rnnlab.training.checkpoint import load_model
from rnnlab.training.logbook import Logbook
from rnnlab.training.looks import Looks
from rnnlab.training.precision import autocast
from rnnlab.training.state import TrainingState


class Scoring:
    """Scores in the first process; the others are told what came of it.

    Attributes:
        details: of the test score, what is no single number; empty before it.
    """

    def __init__(self, state: TrainingState, logbook: Logbook, looks: Looks, run: Path, ranks: Processes) -> None:
        """Keep the parts.

        Args:
            state: whose weights are scored, and which keeps the scores.
            logbook: is told the scores.
            looks: look for stuck units at each evaluation.
            run: the run's folder.
            ranks: the processes that train together.
        """
        self._state, self._logbook, self._looks, self._run, self._ranks = state, logbook, looks, run, ranks
        self.details: dict[str, Any] = {}

    def score(self, split: str) -> Scores:
        """Score the weights in use on a split."""
        state, config = self._state, self._state.config.trainer
        return score(
            state.task,
            state.scored_model,
            split,
            batch_size=config.eval_batch_size,
            device=state.device,
            autocast=autocast(config.precision, state.device),
        )

    def evaluate(self, *, has_gradients: bool) -> None:
        """Score the validation split, log it, and remember whether it is the best so far.

        Args:
            has_gradients: whether those of the last step are there to be shown.

        Raises:
            DivergedError: the steps before it were not finite.
        """
        state, task = self._state, self._state.task
        state.steps.read(state.counters)
        scores = self.score("valid") if self._ranks.is_first else None
        results = self._ranks.from_first(lambda: {} if scores is None else scores.results())
        tagged = {f"valid/{name}": value for name, value in results.items()}
        state.metrics |= tagged
        value = results[task.metric]
        if state.counters.note_score(value, higher_is_better=task.higher_is_better):
            state.best_metrics = dict(state.metrics)
        state.schedule.after_evaluation(value)
        if scores is not None:
            self._logbook.note_evaluation(scores, tagged, has_gradients=has_gradients)
            self._looks.at_units()
            self._logbook.tell_evaluation(tagged)

    def test(self) -> None:
        """Score the test split with the best weights, which the model is left with."""
        state = self._state
        state.scored_model.load_state_dict(load_model(self._run / "checkpoints", "best"))
        scores = self.score("test")
        results = {f"test/{name}": value for name, value in scores.results().items()}
        state.metrics = {**state.best_metrics, **results}  # of the same weights
        self.details = scores.details()
        self._logbook.end(scores, results)
