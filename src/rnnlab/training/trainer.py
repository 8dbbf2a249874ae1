"""The training loop. Nothing here knows words, reviews or notes: a task gives windows, a loss and scores.

One step: fetch the windows, forward, backward, clip (nan stops before any weight changes), update (all that is in
`steps.py`), log, and when it is due evaluate and save. Everything that a later step depends on is in `Counters`, the
carried state or the generators, and all of it is in every checkpoint: a run that is stopped and resumed equals the
uninterrupted one bit for bit on a CPU.

Where too many steps in a row were not finite, the run goes back to the last checkpoint before them, or to its
beginning, and goes on from there with half the rate, twice at most. Which one that is depends on no interruption, and
what was logged since is cut off, as when a run is resumed: an interrupted run goes back as the uninterrupted one does.

Where several processes train together (`ranks.py`), each runs this loop; the first alone scores and writes.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from rnnlab.config import Cell, TrainConfig
from rnnlab.data.windows import Window
from rnnlab.disk import check_space
from rnnlab.errors import CheckpointError, ConfigError, DivergedError, OutOfMemoryError, StoppedError, UserError
from rnnlab.inspection.chains import can_unroll
from rnnlab.inspection.live import live_signals
from rnnlab.models.state import State
from rnnlab.tasks.base import Scores, Task, score
from rnnlab.training.averaging import build_average
from rnnlab.training.board import Board
from rnnlab.training.checkpoint import has_saved, load_model, load_training, mend_best, save_checkpoint
from rnnlab.training.counters import Counters, count_steps
from rnnlab.training.fits import (
    counters_from,
    identity,
    identity_difference,
    learned_settings,
    settings_difference,
    state_difference,
)
from rnnlab.training.logs import EventLog, Progress, log, write_samples
from rnnlab.training.metrics import MetricsFile
from rnnlab.training.optimizers import Schedule, build_optimizer, load_optimizer, num_slots
from rnnlab.training.precision import autocast
from rnnlab.training.profiling import Profile
from rnnlab.training.randomness import random_state, set_random_state
from rnnlab.training.signals import StopSignals
from rnnlab.training.steps import Steps

if TYPE_CHECKING:
    from rnnlab.training.ranks import Ranks

T = TypeVar("T")

# Told the facts of result.json at each evaluation.
Report = Callable[[dict[str, Any]], None]
MAX_ROLLBACKS = 2
DIAGNOSED_ROWS = 16


class Trainer:
    """Trains one model on one task, in one run folder."""

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        config: TrainConfig,
        run: Path,
        device: torch.device,
        report: Report,
        ranks: Ranks | None = None,
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
        self.task, self.model, self.run, self.device = task, model, run, device
        self._ranks = ranks
        self._is_first = ranks is None or ranks.is_first
        self._config = config.trainer
        self._seed = config.seed
        self._settings = config
        self._report = report
        self.counters = Counters()
        self.metrics: dict[str, float] = {}
        self.best_metrics: dict[str, float] = {}
        self.details: dict[str, Any] = {}
        self.units: dict[str, float] = {}  # of the last evaluation
        self.optimizer = build_optimizer(model.parameters(), config.optimizer)
        self._groups = [dict(group) for group in self.optimizer.param_groups]
        self.total_steps = count_steps(task, config.trainer)
        self.schedule = Schedule(
            self.optimizer,
            config.scheduler,
            total_steps=self.total_steps,
            higher_is_better=task.higher_is_better,
        )
        self.averaged = build_average(model, config.trainer, device)
        self.steps = Steps(task, model, self.optimizer, self.schedule, self.averaged, config.trainer, device, ranks)
        profiles = config.trainer.profile and self._is_first
        self._profile = Profile(self.steps, model, run, device) if profiles else None
        self._events: EventLog | None = None  # these three of the first process alone
        self._board: Board | None = None
        self._lines: MetricsFile | None = None
        self._has_begun = False
        self._xray_seconds = 0.0  # of this process, as the next
        self._step_seconds = 0.0
        if config.trainer.xray_every is not None and not can_unroll(model):
            raise ConfigError(
                f"trainer.xray_every={config.trainer.xray_every} cannot look into the model of task={task.name}: it "
                "has no recurrent layers of rnnlab.cells; set null"
            )
        self._saving_seconds = 0.0
        self._learned = learned_settings(config)
        self._allowed: Collection[str] = ()
        self._random = random_state(device)  # at the beginning: a resumed run may have to go back there
        self._beginning: dict[str, Any] | None = None

    def resume(self, allowed: Collection[str] = ()) -> None:
        """Go on from the newest checkpoint of the run that verifies; where none was ever written, from the beginning.

        Args:
            allowed: settings that may differ from those it was written with, dotted; `task.corpus`: the corpus may.

        Raises:
            CheckpointError: none verifies, or it is of another model, optimizer, corpus or vocabulary, or of other
                settings.
        """
        if not self._from_first(lambda: has_saved(self.run / "checkpoints")):
            log.info("the run ended before its first checkpoint: it begins again")
            return
        saved = self._from_first(lambda: load_training(self.run / "checkpoints")[1])
        self._allowed = allowed
        self._check(saved)
        if saved["counters"]["safe_step"] < 0:
            self._beginning = self._state_at_start()
        self._restore(saved)
        before, now = 1 + len(saved.get("ranks", ())), 1 if self._ranks is None else self._ranks.size
        if before != now:
            log.info("%d process%s before, %d now: equal to rounding only", before, "es" * (before > 1), now)
        log.info("resumed at step %d, epoch %d", self.counters.step, self.counters.epoch + 1)

    def _check(self, saved: dict[str, Any]) -> None:
        """Refuse a checkpoint of something else.

        Raises:
            CheckpointError: it is; nothing of it was taken over.
        """
        of_data = identity(self.task, self._learned)
        del of_data["settings"]  # which are compared one by one
        if "task.corpus" in self._allowed:
            del of_data["corpus"]
        parts = {"model": self.model} if self.averaged is None else {"model": self.model, "averaged": self.averaged}
        difference = (
            identity_difference(saved.get("identity", {}), of_data)
            or state_difference(saved, parts, self.optimizer)
            or settings_difference(saved["settings"], self._learned, self._allowed)
        )
        if difference:
            raise CheckpointError(f"the checkpoint in {self.run} does not fit this run: {difference}")

    def _restore(self, saved: dict[str, Any]) -> None:
        """Take over a state that fits."""
        self.model.load_state_dict(saved["model"])
        if self.averaged is not None:
            self.averaged.load_state_dict(saved["averaged"])
        now = self._settings.optimizer.lr
        before = saved["settings"].get("optimizer.lr", now)
        load_optimizer(self.optimizer, saved["optimizer"], self._groups, 1.0 if before == now else now / before)
        self.schedule.load_state_dict(saved["schedule"])
        self.counters = counters_from(saved["counters"])
        self.schedule.rollbacks = self.counters.rollbacks
        if self.counters.safe_step >= 0:
            self._beginning = None
        self.metrics, self.best_metrics = dict(saved["metrics"]), dict(saved["best_metrics"])
        self.units = dict(saved.get("units", {}))
        best_step = self.counters.best_step
        if self.counters.step and not self._from_first(lambda: mend_best(self.run / "checkpoints", best_step)):
            self.counters.forget_best()
            self.best_metrics = {}
        state = saved["state"] if self._ranks is None else self._ranks.share_state(saved["state"])
        self.steps.state = _to(state, self.device)
        self.steps.num_rows = _num_rows(saved["state"])
        self._has_begun = True
        if self._is_first:
            for file in (self._events, self._lines):
                if file is not None:
                    file.close()
            self._open_logs(saved["events"], saved.get("metrics_bytes", 0))
        # Last: building models and optimizers may have drawn numbers.
        self._set_random(saved)

    def _set_random(self, saved: dict[str, Any]) -> None:
        """Set this process's generators back; one that was not there before begins with a seed of its own."""
        states = [saved["rng"], *saved.get("ranks", ())]
        if self._ranks is None or self._ranks.rank < len(states):
            set_random_state(states[0 if self._ranks is None else self._ranks.rank], self.device)
        else:
            self._ranks.seed(self._seed, self.counters.step)

    def _from_first(self, make: Callable[[], T]) -> T:
        """Let the first process alone do what touches the run's folder, and tell the others what came of it."""
        return make() if self._ranks is None else self._ranks.from_first(make)

    def fit(self) -> None:
        """Train until a limit, then score the test split with the best weights; `facts` has the scores.

        Raises:
            DivergedError: losses or gradients were not finite, after going back with lower rates too; no weight has
                seen one.
            OutOfMemoryError: a step's windows do not fit; the state before it is saved.
            CannotWriteError: the disk takes no checkpoint; those before verify.
            StoppedError: a signal came; the state is saved.
        """
        copies = 2 + num_slots(self.optimizer) + (self.averaged is not None)
        size = copies * sum(tensor.numel() * tensor.element_size() for tensor in self.model.state_dict().values())
        if self._is_first:
            check_space(self.run, size, f"checkpoints in {self.run}")
        if not self._has_begun:
            self._beginning = self._state_at_start()
            self._begin_logs()
        progress = Progress(self.total_steps, self.counters.step, is_shown=self._is_first)
        try:
            with StopSignals() as signals:
                while (reason := self._train(progress, signals)) is None:
                    pass
                self._raise_if_stopped(signals)
            progress.close()
            if self._profile is not None:
                self._profile.finish()
            log.info("%s; best %s at step %d", reason, self._shown_best(), self.counters.best_step)
            if self._is_first:
                self._finish()
        finally:
            progress.close()
            for file in (self._events, self._lines):
                if file is not None:
                    file.close()

    def _train(self, progress: Progress, signals: StopSignals) -> str | None:
        """Train and score until a limit, or until the run had to go back.

        Returns:
            The limit; None: train again.
        """
        try:
            while (reason := self.counters.reason_to_end(self._config)) is None:
                self._train_epoch(progress, signals)
            if self.counters.evaluated_at != self.counters.step:
                self._evaluate(has_gradients=False)
                self._save(is_due=True)
            return reason
        except DivergedError as error:
            self._roll_back(error)
        except OutOfMemoryError as error:
            raise self._saved_before(error) from error
        return None

    def _roll_back(self, error: DivergedError) -> None:
        """Go back to the checkpoint before the trouble, or to the beginning, and halve the rate.

        Raises:
            DivergedError: that was done often enough.
        """
        self.steps.forget()
        counters, rollbacks = self.counters, self.counters.rollbacks + 1
        if rollbacks > MAX_ROLLBACKS:
            lr = self._settings.optimizer.lr
            raise DivergedError(
                f"{error}, after {MAX_ROLLBACKS} roll-backs with half the rate each; the last checkpoint is intact. "
                f"Try optimizer.lr={lr / 10:g} (now {lr:g}), or a lower trainer.clip_grad_norm"
            ) from error
        if self._beginning is not None:
            self._restore(self._beginning)
            self._begin_logs()
        else:
            saved = self._from_first(lambda: load_training(self.run / "checkpoints", newest=counters.safe_step)[1])
            self._check(saved)
            self._restore(saved)
        self.counters.rollbacks = rollbacks
        self.counters.skipped_in_a_row = 0
        self.schedule.roll_back(rollbacks)
        log.warning(
            "%s; back to step %d with half the rate, %d of %d", error, self.counters.step, rollbacks, MAX_ROLLBACKS
        )

    def _saved_before(self, error: OutOfMemoryError) -> OutOfMemoryError:
        """Save the state before the step that did not fit, if that can be done; return what there is to say."""
        try:
            self._save()
        except (UserError, MemoryError, RuntimeError):
            return error
        return OutOfMemoryError(f"{error}. The state before the step is saved")

    def _begin_logs(self) -> None:
        """Open the files of a run that begins, if that was not done."""
        self._has_begun = True
        if not self._is_first:
            return
        if self._events is None:
            self._open_logs({}, 0)
        assert self._board is not None
        self._board.begin()

    def _open_logs(self, offsets: dict[str, int], metrics_bytes: int) -> None:
        """Open the files of a run's numbers, where its checkpoint says that they end."""
        self._events = EventLog(self.run, offsets)
        self._lines = MetricsFile(self.run, metrics_bytes)
        self._board = Board(self._events, self.task, self._settings, self.run, self.device)

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
        while counters.index < len(windows) and self.counters.reason_to_end(self._config) is None:
            began = time.perf_counter()
            end = min(counters.index + config.accumulate, len(windows))
            with nullcontext() if self._profile is None else self._profile.step():
                with self.steps.part("data"):
                    group = [windows[index] for index in range(counters.index, end)]
                values = self._step(group)
            counters.index = end
            if counters.index == len(windows):
                counters.epoch, counters.index = counters.epoch + 1, 0
            is_logged = counters.step % config.log_every_steps == 0
            if is_logged:
                self.steps.read(self.counters)
            spent = time.perf_counter() - began
            counters.seconds += spent
            self._step_seconds += spent
            if is_logged:
                self._log_step()
            if self._is_first and config.xray_every is not None and counters.step % config.xray_every == 0:
                self._look_inside(group[0])
            progress.update(counters.step, epoch, {"loss": values["loss"], "lr": self.schedule.lr})
            due = counters.step % config.eval_every_steps == 0 if config.eval_every_steps else counters.index == 0
            if due:
                self._evaluate(has_gradients=True)
            stop, asked_to_save = self._asked(signals)
            is_time = config.checkpoint_every_steps and counters.step % config.checkpoint_every_steps == 0
            if due or is_time:
                self._save(is_due=True)
            elif stop or asked_to_save:
                self._save()
            if asked_to_save:
                signals.asked_to_save = False
                log.info("saved at step %d, as SIGUSR1 asked", counters.step)
            if stop:
                self._raise_if_stopped(signals)
            if counters.index == 0:
                break

    def _look_inside(self, window: Window) -> None:
        """Write how far states and gradients reach, measured on a few rows; the run goes on as if it had not been."""
        began = time.perf_counter()
        lengths = window.lengths
        found = live_signals(self.model, window.inputs.to(self.device), lengths, self.counters.step)
        self._xray_seconds += time.perf_counter() - began
        self._note({f"xray/{name}": value for name, value in found.items()}, {"speed/xray_share": self._xray_share})

    def _look_at_units(self) -> None:
        """Measure on some rows of the last window which units are stuck: what `rnnlab diagnose` asks for."""
        counters = self.counters
        if not counters.step or not can_unroll(self.model):
            return
        # By its number: a resumed run has not seen it.
        windows = self.task.train_windows(counters.epoch if counters.index else counters.epoch - 1)
        window = windows[(counters.index or len(windows)) - 1]
        inputs = window.inputs.to(self.device)
        is_plain = self._settings.model.cell is Cell.rnn  # no rule asks for the slope of a gated cell
        found = live_signals(
            self.model, inputs, window.lengths, self.counters.step, rows=DIAGNOSED_ROWS, slopes=is_plain
        )
        self.units = {name: float(f"{value:.6g}") for name, value in found.items()}

    @property
    def _xray_share(self) -> float:
        """Share of this process's training time that looking inside took."""
        return self._xray_seconds / max(self._xray_seconds + self._step_seconds, 1e-9)

    def _asked(self, signals: StopSignals) -> tuple[bool, bool]:
        """Whether signals ask to stop and to save: what has reached one process holds for all, after the same step.

        The seconds, which may end the run, are those of the slowest.
        """
        if self._ranks is not None:
            mine = (signals.received or 0, signals.asked_to_save, self.counters.seconds)
            received, asked_to_save, self.counters.seconds = self._ranks.largest(mine)
            if received:
                signals.received = int(received)
            return bool(received), bool(asked_to_save)
        return signals.received is not None, signals.asked_to_save

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

    def _step(self, group: list[Window]) -> dict[str, float]:
        """Make one optimizer update; return what there is to show."""
        self.steps.make(group, self.counters)
        return self.steps.shown

    def _evaluate(self, *, has_gradients: bool) -> None:
        """Score the validation split, log it, and remember whether it is the best so far.

        Args:
            has_gradients: whether those of the last step are there to be shown.
        """
        self.steps.read(self.counters)  # a run that has diverged ends here
        counters = self.counters
        model = self.scored_model
        scores = self.score("valid") if self._is_first else None
        results = self._from_first(lambda: {} if scores is None else scores.results())
        self.metrics |= {f"valid/{name}": value for name, value in results.items()}
        value = results[self.task.metric]
        if counters.note_score(value, higher_is_better=self.task.higher_is_better):
            self.best_metrics = dict(self.metrics)
        self.schedule.after_evaluation(value)
        if scores is not None:
            self._show_evaluation(model, scores, results, has_gradients=has_gradients)

    def _show_evaluation(
        self, model: nn.Module, scores: Scores, results: dict[str, float], *, has_gradients: bool
    ) -> None:
        """Write what an evaluation found, and what the model does now.

        Args:
            model: that was scored.
            scores: of the validation split.
            results: what they come to.
            has_gradients: as in `_evaluate`.
        """
        counters = self.counters
        assert self._board is not None
        self._note({f"valid/{name}": value for name, value in results.items()})
        self._board.scores("valid", scores, counters.step)
        config = self._config
        if config.num_samples:
            texts = self.task.samples(model, config.num_samples, config.sample_len, self._seed)
            self._board.samples(texts, counters.step)
            write_samples(self.run, counters.step, texts)
        self._board.inside(self.model, model, counters.step, has_gradients=has_gradients)
        self._look_at_units()
        shown = ", ".join(f"{name} {value:.4f}" for name, value in results.items())
        mark = "  (best)" if counters.best_step == counters.step else ""
        log.info("step %d  epoch %.2f  valid: %s%s", counters.step, self._epochs_done(), shown, mark)
        self._report(self.facts())

    def _finish(self) -> None:
        """Score the test split with the best weights."""
        self.scored_model.load_state_dict(load_model(self.run / "checkpoints", "best"))
        scores = self.score("test")
        results = {f"test/{name}": value for name, value in scores.results().items()}
        self.metrics = {**self.best_metrics, **results}  # of the same weights
        self.details = scores.details()
        self._note(results)
        assert self._board is not None
        self._board.scores("test", scores, self.counters.step)
        self._board.end()

    def score(self, split: str) -> Scores:
        """Score the weights in use on a split."""
        return score(
            self.task,
            self.scored_model,
            split,
            batch_size=self._config.eval_batch_size,
            device=self.device,
            autocast=autocast(self._config.precision, self.device),
        )

    @property
    def scored_model(self) -> nn.Module:
        """The averaged weights once there are some, else the trained ones."""
        if self.averaged is not None and int(self.averaged.n_averaged) > 0:
            return self.averaged.module
        return self.model

    def facts(self) -> dict[str, Any]:
        """How the run stands: what result.json holds."""
        counters = self.counters
        return {
            "metrics": dict(self.metrics),
            "metric": f"valid/{self.task.metric}",
            "best_step": counters.best_step,
            "steps": counters.step,
            "epochs": round(self._epochs_done(), 4),
            "seconds": round(counters.seconds, 3),
            "checkpoint_seconds": round(self._saving_seconds, 3),  # of this process
            "skipped_steps": counters.skipped,
            "rollbacks": counters.rollbacks,
            "tokens_per_second": round(counters.tokens / counters.seconds, 1) if counters.seconds else 0.0,
            **({"units": self.units} if self.units else {}),
            **({} if self._config.xray_every is None else {"xray_share": round(self._xray_share, 5)}),
            **self.details,
        }

    def _log_step(self) -> None:
        """Write the means since the last TensorBoard point."""
        counters = self.counters
        values = {}
        if counters.sum_steps:  # else all were skipped
            loss = counters.sum_nats / counters.sum_targets
            measures = self.task.measures(loss, counters.sum_hits / counters.sum_targets)
            values = {
                "train/loss": loss,
                **{f"train/{name}": value for name, value in measures.items()},
                "optim/grad_norm": self.steps.shown["grad_norm"],
                "optim/clipped_share": counters.sum_clipped / counters.sum_steps,
            }
            if self.steps.update_ratio is not None:
                values["optim/update_ratio"] = self.steps.update_ratio
        values |= {"optim/lr": self.schedule.lr, "optim/skipped": counters.skipped}
        self._note(values, {"speed/tokens_per_second": counters.tokens / counters.seconds})
        counters.clear_sums()

    def _note(self, values: dict[str, float], of_the_clock: dict[str, float] | None = None) -> None:
        """Write numbers of the present step to TensorBoard, and those that are not the clock's to metrics.jsonl."""
        if not self._is_first:
            return
        assert self._events is not None
        assert self._lines is not None
        self._events.scalars(values | (of_the_clock or {}), self.counters.step)
        self._lines.write(self.counters.step, self._epochs_done(), values)

    def _save(self, *, is_due: bool = False) -> None:
        """Write a checkpoint between two steps, after all log lines of the step.

        Args:
            is_due: whether an uninterrupted run would have written it, too: one to go back to.
        """
        counters = self.counters
        began = time.perf_counter()
        self.steps.read(counters)
        self.steps.refuse_spoiled_weights(counters)
        if is_due and counters.skipped_in_a_row == 0:
            counters.safe_step, counters.safe_best_step = counters.step, counters.best_step
        of_ranks = {} if self._ranks is None else self._gather(self._ranks)
        if self._is_first:
            self._write_checkpoint(of_ranks)
        if self._ranks is not None:
            self._ranks.wait()  # none goes on, or ends, before the checkpoint is there
        self._saving_seconds += time.perf_counter() - began
        if counters.safe_step >= 0:
            self._beginning = None

    def _gather(self, ranks: Ranks) -> dict[str, Any]:
        """Return to the first process what a checkpoint holds of the others: their rows' states, their generators."""
        state = ranks.gather_state(self.steps.state, self.steps.num_rows)
        random = ranks.gather(random_state(self.device))
        return {} if random is None else {"state": state, "ranks": random[1:]}

    def _write_checkpoint(self, of_ranks: dict[str, Any]) -> None:
        """Write the state of now, with that of all processes."""
        counters = self.counters
        assert self._events is not None
        assert self._lines is not None
        save_checkpoint(
            self.run / "checkpoints",
            counters.step,
            self.scored_model.state_dict(),
            {**self._state(self._events.offsets(), self._lines.size()), **of_ranks},
            best=counters.best_step == counters.step,
            keep=(counters.safe_step, counters.safe_best_step),
            identity=identity(self.task, self._learned),
        )

    def _state(self, events: dict[str, int], metrics_bytes: int) -> dict[str, Any]:
        """Everything that a later step depends on, and how much of the logs belongs to it."""
        return {
            "model": self.model.state_dict(),
            "averaged": {} if self.averaged is None else self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "state": self.steps.state,
            "counters": asdict(self.counters),
            "metrics": self.metrics,
            "best_metrics": self.best_metrics,
            "units": self.units,
            "rng": random_state(self.device),
            "events": events,
            "metrics_bytes": metrics_bytes,
            "settings": self._learned,
        }

    def _state_at_start(self) -> dict[str, Any]:
        """A copy of the state before the first step; it knows no event files."""
        return {**copy.deepcopy(self._state({}, 0)), "rng": self._random}

    def _epochs_done(self) -> float:
        if self.counters.index == 0:
            return float(self.counters.epoch)
        return self.counters.epoch + self.counters.index / len(self.task.train_windows(self.counters.epoch))

    def _shown_best(self) -> str:
        return f"valid/{self.task.metric} {self.counters.best_score:.4f}"


def _num_rows(state: Any) -> int:
    """Rows of a state; 0 of none."""
    h = state[0] if isinstance(state, tuple) else state
    return 0 if h is None else int(h.shape[1])


def _to(state: State, device: torch.device) -> State:
    if isinstance(state, tuple):
        return state[0].to(device), state[1].to(device)
    return None if state is None else state.to(device)
