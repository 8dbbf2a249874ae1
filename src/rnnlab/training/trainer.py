"""The training loop. Nothing here knows words, reviews or notes: a task gives windows, a loss and scores.

One step: fetch the windows of at most `trainer.bptt_len` steps, forward, backward through these windows only, clip (nan
stops before any weight changes), update (these four are in `steps.py`), log, and when it is due evaluate
(`scoring.py`) and save (`savepoints.py`). Everything that a later step depends on is in the `TrainingState`, and all of
it is in every checkpoint: a run that is stopped and resumed equals the uninterrupted one bit for bit on a CPU.

Where several processes train together (`ranks.py`), each runs this loop; the first alone scores and writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rnnlab.config import TrainConfig
from rnnlab.data.windows import Window
from rnnlab.errors import CheckpointError, DivergedError, OutOfMemoryError, StoppedError
from rnnlab.tasks.base import Task
from rnnlab.training.alone import Alone, Processes
from rnnlab.training.console import Progress, log
from rnnlab.training.counters import Counters
from rnnlab.training.logbook import Logbook
from rnnlab.training.looks import Looks
from rnnlab.training.profiling import Profile
from rnnlab.training.savepoints import Savepoints
from rnnlab.training.scoring import Scoring
from rnnlab.training.signals import StopSignals
from rnnlab.training.state import TrainingState

# Told the facts of result.json at each evaluation.
Report = Callable[[dict[str, Any]], None]


class Trainer:
    """Trains one model on one task, in one run folder.

    Attributes:
        state: all that changes while it trains.
        steps: of the state: makes the updates.
        scoring: of the validation and test split.
        savepoints: of the run.
        logbook: of the run.
    """

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        config: TrainConfig,
        run: Path,
        device: torch.device,
        report: Report,
        ranks: Processes | None = None,
    ) -> None:
        """Put the parts together; nothing runs yet.

        Args:
            task: with its corpus read.
            model: on `device`.
            config: settings; the trainer reads optimizer, scheduler, trainer and seed.
            run: the run's folder.
            device: where the windows go.
            report: told how the run stands at each evaluation.
            ranks: the processes that train this model; None: there is this one.
        """
        self.task, self.model, self.device = task, model, device
        self._config, self._report = config.trainer, report
        self._ranks = Alone() if ranks is None else ranks
        self.state = TrainingState(task, model, config, device, self._ranks)
        self.steps = self.state.steps
        self.logbook = Logbook(self.state, run, is_written=self._ranks.is_first)
        self._looks = Looks(self.state)
        self.scoring = Scoring(self.state, self.logbook, self._looks, run, self._ranks)
        self.savepoints = Savepoints(self.state, self.logbook, run, self._ranks, self._config.checkpoint_every_minutes)
        profiles = config.trainer.profile and self._ranks.is_first
        self._profile = Profile(self.steps, model, run, device) if profiles else None

    @property
    def counters(self) -> Counters:
        """Where the run stands."""
        return self.state.counters

    def resume(self, allowed: Collection[str] = ()) -> None:
        """Go on from the newest checkpoint of the run, as `Savepoints.resume` does."""
        self.savepoints.resume(allowed)

    def fit(self) -> None:
        """Train until a limit, then score the test split with the best weights; `facts` has the scores.

        Raises:
            DivergedError: losses or gradients were not finite, after going back with lower rates too; no weight has
                seen one. Or training was, and its scores are not.
            OutOfMemoryError: a step's windows do not fit; the state before it is saved.
            CannotWriteError: the disk takes no checkpoint; those before verify.
            StoppedError: a signal came; the state is saved.
        """
        self.savepoints.begin()
        progress = Progress(self.state.total_steps, self.counters.step, is_shown=self._ranks.is_first)
        try:
            with StopSignals() as signals:
                while (reason := self._train(progress, signals)) is None:
                    pass
                self._raise_if_stopped(signals)
            progress.close()
            if self._profile is not None:
                self._profile.finish()
            log.info("%s; %s", reason, self.counters.best(f"valid/{self.task.metric}"))
            if self._ranks.is_first:
                self.scoring.test()
        finally:
            progress.close()
            self.logbook.close()

    def _train(self, progress: Progress, signals: StopSignals) -> str | None:
        """Train and score until a limit, or until the run had to go back.

        Returns:
            The limit; None: train again.
        """
        try:
            while self.state.owes_score or (reason := self.counters.reason_to_end(self._config)) is None:
                if self.state.owes_score:
                    self._evaluate_between_steps(signals)
                else:
                    self._train_epoch(progress, signals)
            if self.counters.evaluated_at != self.counters.step:
                self._evaluate_between_steps(signals)
            return reason
        except DivergedError as error:
            self.savepoints.roll_back(error)
        except OutOfMemoryError as error:
            raise self.savepoints.saved_before(error) from error
        return None

    def _train_epoch(self, progress: Progress, signals: StopSignals) -> None:
        """Train from the current window to the end of the pass, or to a limit."""
        counters, config = self.counters, self._config
        epoch = counters.epoch  # the last step of a pass belongs to it, though it is counted as complete then
        windows = self.task.train_windows(epoch)
        if counters.index >= len(windows):
            raise CheckpointError(
                f"the checkpoint stands at window {counters.index} of a pass that has {len(windows)} here: "
                "numpy's random numbers or the corpus differ from those it was written with; start a new run"
            )
        self.model.train()
        while counters.epoch == epoch and counters.reason_to_end(config) is None:
            began = time.perf_counter()
            end = min(counters.index + config.accumulate, len(windows))
            with nullcontext() if self._profile is None else self._profile.step():
                with self.steps.part("data"):
                    group = [windows[index] for index in range(counters.index, end)]
                values = self._step(group)
            counters.index = end
            if counters.index == len(windows):
                counters.epoch, counters.index = counters.epoch + 1, 0
            self._log(group[0], began)
            progress.update(counters.step, epoch, {"loss": values["loss"], "lr": self.state.schedule.lr})
            is_due = counters.is_score_due(config)
            is_stopped = is_due and not self._evaluate(signals, has_gradients=True)
            stop, asked_to_save = self._ranks.asked(signals, counters)
            if (is_due or self._is_due(config.checkpoint_every_steps)) and not is_stopped:
                self.savepoints.save(is_due=True)
            elif stop or asked_to_save or self.savepoints.is_late:
                self.savepoints.save()
            if asked_to_save:
                signals.asked_to_save = False
                log.info("saved at step %d, as SIGUSR1 asked", counters.step)
            if stop:
                self._raise_if_stopped(signals)

    def _step(self, group: list[Window]) -> dict[str, float]:
        """Make one optimizer update; return what there is to show."""
        self.steps.make(group, self.counters)
        return self.steps.readings.shown

    def _is_due(self, every: int | None) -> bool:
        """Whether something that is done every so many steps is done after this one; None: never."""
        return every is not None and self.counters.step % every == 0

    def _log(self, window: Window, began: float) -> None:
        """Take the time of a step, and write its numbers if they are due.

        Args:
            window: the first of the step.
            began: when the step did, on the performance counter.
        """
        is_logged = self._is_due(self._config.log_every_steps)
        if is_logged:
            self.steps.readings.read(self.counters)  # which may wait for the device: a part of the step's time
        spent = time.perf_counter() - began
        self.counters.seconds += spent
        self._looks.step_seconds += spent
        if is_logged:
            self.logbook.note_steps()
        if self._ranks.is_first and self._is_due(self._looks.every):
            found = self._looks.at_window(window)
            self.logbook.note(found, {"speed/xray_share": self._looks.share})

    def _evaluate(self, signals: StopSignals, *, has_gradients: bool) -> bool:
        """Score the validation split and report how the run stands; arguments and result as of `Scoring.evaluate`."""
        is_done = self.scoring.evaluate(signals, has_gradients=has_gradients)
        if is_done and self._ranks.is_first:
            self._report(self.facts())
        return is_done

    def _evaluate_between_steps(self, signals: StopSignals) -> None:
        """Score after the last step, or what was stopped before a resume, and save what comes of it."""
        is_done = self._evaluate(signals, has_gradients=False)
        stop, _ = self._ranks.asked(signals, self.counters)
        self.savepoints.save(is_due=is_done)
        self.state.owes_score = False
        if stop:
            self._raise_if_stopped(signals)

    def _raise_if_stopped(self, signals: StopSignals) -> None:
        """End the run, whose state is saved, if a signal asked for it.

        Raises:
            StoppedError: one did.
        """
        if signals.received:
            raise StoppedError(
                f"stopped by {signals.name} at step {self.counters.step}, state saved",
                signals.exit_code,
            )

    def facts(self) -> dict[str, Any]:
        """How the run stands: what result.json holds."""
        state, counters = self.state, self.counters
        return {
            "metrics": dict(state.metrics),
            "metric": f"valid/{self.task.metric}",
            "best_step": counters.best_step,
            "steps": counters.step,
            "epochs": round(state.epochs_done(), 4),
            "seconds": round(counters.seconds, 3),
            "checkpoint_seconds": round(self.savepoints.seconds, 3),  # of this process
            "skipped_steps": counters.skipped,
            "rollbacks": counters.rollbacks,
            "tokens_per_second": round(counters.tokens / counters.seconds, 1) if counters.seconds else 0.0,
            **({"units": state.units} if state.units else {}),
            **({"xray_share": round(self._looks.share, 5)} if self._looks.share else {}),
            **self.scoring.details,
        }
