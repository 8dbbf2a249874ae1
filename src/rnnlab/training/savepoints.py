"""When a run is saved, and where it goes on from: its newest checkpoint when it is resumed, an older one after trouble.

Where too many steps in a row were not finite, the run goes back to the last checkpoint before them, or to its
beginning, and goes on from there with half the rate, twice at most. Which one that is depends on no interruption, and
what was logged since is cut off, as when a run is resumed: an interrupted run goes back as the uninterrupted one does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from rnnlab.disk import check_space
from rnnlab.errors import CheckpointError, DivergedError, OutOfMemoryError, UserError
from rnnlab.training.alone import Processes
from rnnlab.training.checkpoint import has_saved, load_training, mend_best, save_checkpoint
from rnnlab.training.console import log
from rnnlab.training.logbook import Logbook
from rnnlab.training.state import TrainingState

MAX_ROLLBACKS = 2


class Savepoints:
    """The checkpoints of one run, and its beginning, as places to go on from.

    Attributes:
        seconds: that saving took, of this process.
    """

    def __init__(
        self, state: TrainingState, logbook: Logbook, run: Path, ranks: Processes, every_minutes: float | None
    ) -> None:
        """Keep the parts; no file is touched.

        Args:
            state: saved, and brought back.
            logbook: its files are cut back with the state.
            run: the run's folder.
            ranks: the processes that train together: the first alone touches the folder.
            every_minutes: of training that may be lost; None: any.
        """
        self._state, self._logbook, self._run, self._ranks = state, logbook, run, ranks
        self._folder = run / "checkpoints"
        self._allowed: Collection[str] = ()
        self._beginning: dict[str, Any] | None = None  # while there is no checkpoint to go back to
        self._has_begun = False
        self._every_seconds = math.inf if every_minutes is None else 60 * every_minutes
        self._saved_at = 0.0  # seconds of training
        self.seconds = 0.0

    def begin(self) -> None:
        """Make sure that checkpoints fit on the disk; keep the beginning of a run that is not resumed.

        Raises:
            CannotWriteError: they do not fit.
        """
        if self._ranks.is_first:
            check_space(self._run, self._state.num_bytes, f"checkpoints in {self._run}")
        if not self._has_begun:
            self._has_begun = True
            self._beginning = self._state.at_start()
            self._logbook.begin()

    def resume(self, allowed: Collection[str]) -> None:
        """Go on from the newest checkpoint that verifies; where none was ever written, the run is left to begin.

        Args:
            allowed: settings that may differ from those it was written with, dotted; `task.corpus`: the corpus may.

        Raises:
            CheckpointError: none verifies, or it is of another model, optimizer, corpus or vocabulary, or of other
                settings.
        """
        state = self._state
        if not self._ranks.from_first(lambda: has_saved(self._folder)):
            log.info("the run ended before its first checkpoint: it begins again")
            return
        saved = self._ranks.from_first(lambda: load_training(self._folder)[1])
        self._allowed = allowed
        self._refuse_others(saved)
        if saved["counters"]["safe_step"] < 0:
            self._beginning = state.at_start()
        self._take_up(saved)
        before, now = 1 + len(saved.get("ranks", ())), self._ranks.size
        if before != now:
            log.info("%d process%s before, %d now: equal to rounding only", before, "es" * (before > 1), now)
        log.info("resumed at step %d, epoch %d", state.counters.step, state.counters.epoch + 1)

    @property
    def is_late(self) -> bool:
        """Whether too much is unsaved: by the seconds of training, on which all ranks agree."""
        return self._state.counters.seconds - self._saved_at >= self._every_seconds

    def save(self, *, is_due: bool = False) -> None:
        """Write a checkpoint between two steps, after all log lines of the step.

        Args:
            is_due: whether an uninterrupted run would have written it, too: one to go back to.

        Raises:
            DivergedError: the steps before it, or a weight, were not finite; nothing is written.
            CannotWriteError: the disk takes none; those before verify.
        """
        state, counters = self._state, self._state.counters
        began = time.perf_counter()
        state.steps.readings.read(counters)
        self._refuse_spoiled_weights()
        if is_due and counters.skipped_in_a_row == 0:
            counters.safe_step, counters.safe_best_step = counters.step, counters.best_step
        of_the_others = state.of_the_others()
        if self._ranks.is_first:
            save_checkpoint(
                self._folder,
                counters.step,
                state.scored_model.state_dict(),
                {**state.content(*self._logbook.sizes()), **of_the_others},
                best=counters.best_step == counters.step,
                keep=(counters.safe_step, counters.safe_best_step),
                identity=state.identity,
            )
        self._ranks.wait()  # none goes on, or ends, before the checkpoint is there
        self.seconds += time.perf_counter() - began
        self._saved_at = counters.seconds
        if counters.safe_step >= 0:
            self._beginning = None

    def _refuse_spoiled_weights(self) -> None:
        """Let nothing be saved that no step can mend: an update of finite numbers may still overflow.

        Raises:
            DivergedError: a weight is nan or infinite.
        """
        state = self._state
        for name, parameter in state.model.named_parameters():
            if not bool(parameter.detach().isfinite().all()):
                raise DivergedError(
                    f"weight {name} is not finite at step {state.counters.step}, learning rate {state.schedule.lr:g}"
                )

    def saved_before(self, error: OutOfMemoryError) -> OutOfMemoryError:
        """Save the state before the step that did not fit, if that can be done; return what there is to say."""
        try:
            self.save()
        except (UserError, MemoryError, RuntimeError):
            return error
        return OutOfMemoryError(f"{error}. The state before the step is saved")

    def roll_back(self, error: DivergedError) -> None:
        """Go back to the checkpoint before the trouble, or to the beginning, and halve the rate.

        Raises:
            DivergedError: that was done often enough.
        """
        state, rollbacks = self._state, self._state.counters.rollbacks + 1
        state.steps.forget()
        if rollbacks > MAX_ROLLBACKS:
            raise DivergedError(
                f"{error}, after {MAX_ROLLBACKS} roll-backs with half the rate each; the last checkpoint is intact. "
                f"{state.calmer}"
            ) from error
        if self._beginning is not None:
            self._take_up(self._beginning)
            self._logbook.begin()
        else:
            newest = state.counters.safe_step
            saved = self._ranks.from_first(lambda: load_training(self._folder, newest=newest)[1])
            self._refuse_others(saved)
            self._take_up(saved)
        state.counters.rollbacks = rollbacks
        state.counters.skipped_in_a_row = 0
        state.schedule.roll_back(rollbacks)
        step = state.counters.step
        log.warning("%s; back to step %d with half the rate, %d of %d", error, step, rollbacks, MAX_ROLLBACKS)

    def _refuse_others(self, saved: dict[str, Any]) -> None:
        """Refuse a checkpoint of something else.

        Raises:
            CheckpointError: it is; nothing of it was taken over.
        """
        if difference := self._state.difference(saved, self._allowed):
            raise CheckpointError(f"the checkpoint in {self._run} does not fit this run: {difference}")

    def _take_up(self, saved: dict[str, Any]) -> None:
        """Go on from a content that fits: weights, counters, logs and, last of all, random numbers."""
        state = self._state
        state.take_up(saved)
        self._saved_at = state.counters.seconds
        if state.counters.safe_step >= 0:
            self._beginning = None
        best_step = state.counters.best_step
        if state.counters.step and not self._ranks.from_first(lambda: mend_best(self._folder, best_step)):
            state.forget_best()
        self._has_begun = True
        self._logbook.open(saved["events"], saved.get("metrics_bytes", 0))
        # Last: building models and optimizers may have drawn numbers.
        state.take_up_random(saved)
