"""Scores of a run: of the validation split while it trains, of the test split at its end. Training is not changed."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rnnlab.errors import DivergedError
from rnnlab.tasks.base import Scores, score
from rnnlab.training.alone import Processes
from rnnlab.training.checkpoint import load_model
from rnnlab.training.logbook import Logbook
from rnnlab.training.looks import Looks
from rnnlab.training.precision import autocast
from rnnlab.training.signals import StopSignals
from rnnlab.training.state import TrainingState


class _GivenUp(Exception):
    """Ends a scoring."""


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

    def score(self, split: str, between_windows: Callable[[], None] | None = None) -> Scores:
        """Score the weights in use on a split; what `between_windows` raises ends it."""
        state, config = self._state, self._state.config.trainer
        return score(
            state.task,
            state.scored_model,
            split,
            batch_size=config.eval_batch_size,
            device=state.device,
            autocast=autocast(config.precision, state.device),
            between_windows=between_windows,
        )

    def evaluate(self, signals: StopSignals, *, has_gradients: bool) -> bool:
        """Score the validation split, log it, and remember whether it is the best so far.

        A signal ends the scoring at a window. What is saved then is the state before it, and a resumed run scores
        first.

        Args:
            signals: that may ask to stop.
            has_gradients: whether those of the last step are there to be shown.

        Returns:
            Whether it was scored; otherwise nothing has changed.

        Raises:
            DivergedError: the steps before it were not finite.
        """
        state, task = self._state, self._state.task
        state.steps.readings.read(state.counters)
        if has_gradients:
            self._logbook.note_gradients()
        scores = self._score_unless_stopped("valid", signals) if self._ranks.is_first else None
        results = self._ranks.from_first(lambda: {} if scores is None else scores.results())
        if not results:
            return False
        tagged = {f"valid/{name}": value for name, value in results.items()}
        state.metrics |= tagged
        # Where the loss is nan, so are the logits: what an accuracy counts then is no prediction.
        value = results[task.metric] if math.isfinite(results["loss"]) else math.nan
        if state.counters.note_score(value, higher_is_better=task.higher_is_better):
            state.best_metrics = dict(state.metrics)
        state.schedule.after_evaluation(value)
        if scores is not None:
            self._logbook.note_evaluation(scores, tagged)
            self._looks.at_units()
            self._logbook.tell_evaluation(tagged)
        return True

    def _score_unless_stopped(self, split: str, signals: StopSignals) -> Scores | None:
        """Score the weights in use on a split; None if a signal asks to stop before that is done."""

        def give_way() -> None:
            if signals.received:
                raise _GivenUp

        try:
            give_way()
            return self.score(split, give_way)
        except _GivenUp:
            return None

    def test(self) -> None:
        """Score the test split with the best weights, which the model is left with.

        Raises:
            DivergedError: no evaluation gave a finite score, or this one does not; `metrics` has what it gave.
        """
        state = self._state
        state.scored_model.load_state_dict(load_model(self._run / "checkpoints", "best"))
        scores = self.score("test")
        results = {f"test/{name}": value for name, value in scores.results().items()}
        state.metrics = {**state.best_metrics, **results}  # of the same weights
        self._refuse_no_number(results)
        self.details = scores.details()
        self._logbook.end(scores, results)

    def _refuse_no_number(self, results: dict[str, float]) -> None:
        """Let no run be done that learned nothing anybody could use: steps may be finite where longer texts are not.

        Raises:
            DivergedError: it did.
        """
        state, metric = self._state, self._state.task.metric
        wrong = next((tag for tag in ("test/loss", f"test/{metric}") if not math.isfinite(results[tag])), None)
        if state.counters.best_step < 0:
            what = state.counters.best(f"valid/{metric}")
        elif wrong is not None:
            what = f"{wrong} is {results[wrong]} with the best weights, those of step {state.counters.best_step}"
        else:
            return
        raise DivergedError(
            f"{what}, though the weights are finite: they are saved, but what they compute grows too large. "
            f"{state.calmer}"
        )
