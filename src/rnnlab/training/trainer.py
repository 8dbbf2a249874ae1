"""The training loop. Nothing here knows words, reviews or notes: a task gives windows, a loss and scores.

One step: fetch the windows, forward, backward, clip (nan stops before any weight changes), update (all that is in
`steps.py`), log, and when it is due evaluate and save. Everything that a later step depends on is in `Counters`, the
carried state or the generators, and all of it is in every checkpoint: a run that is stopped and resumed equals the
uninterrupted one bit for bit on a CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rnnlab.config import TrainConfig
from rnnlab.data.windows import Window
from rnnlab.errors import CannotWriteError, CheckpointError, ConfigError, StoppedError
from rnnlab.inspection.chains import can_unroll
from rnnlab.inspection.live import live_signals
from rnnlab.models.state import State
from rnnlab.tasks.base import Scores, Task, score
from rnnlab.training.averaging import build_average
from rnnlab.training.checkpoint import load_model, load_training, mend_best, save_checkpoint, weight_difference
from rnnlab.training.counters import Counters, count_steps
from rnnlab.training.logs import EventLog, Progress, log
from rnnlab.training.optimizers import Schedule, build_optimizer
from rnnlab.training.precision import autocast
from rnnlab.training.profiling import Profile
from rnnlab.training.signals import StopSignals
from rnnlab.training.steps import Steps

# Told the facts of result.json at each evaluation.
Report = Callable[[dict[str, Any]], None]


class Trainer:
    """Trains one model on one task, in one run folder."""

    def __init__(
        self, task: Task, model: nn.Module, config: TrainConfig, run: Path, device: torch.device, report: Report
    ) -> None:
        """Put the parts together; nothing runs yet.

        Args:
            task: with its corpus read.
            model: on `device`.
            config: settings; the trainer reads optimizer, scheduler, trainer and seed.
            run: the run's folder.
            device: where the windows go.
            report: told how the run stands at each evaluation.
        """
        self.task, self.model, self.run, self.device = task, model, run, device
        self._config = config.trainer
        self._seed = config.seed
        self._settings = config
        self._report = report
        self.counters = Counters()
        self.metrics: dict[str, float] = {}
        self.best_metrics: dict[str, float] = {}
        self.details: dict[str, Any] = {}
        self.optimizer = build_optimizer(model.parameters(), config.optimizer)
        self.total_steps = count_steps(task, config.trainer)
        self.schedule = Schedule(
            self.optimizer,
            config.scheduler,
            total_steps=self.total_steps,
            higher_is_better=task.higher_is_better,
        )
        self.averaged = build_average(model, config.trainer, device)
        self.steps = Steps(task, model, self.optimizer, self.schedule, self.averaged, config.trainer, device)
        self._profile = Profile(self.steps, model, run, device) if config.trainer.profile else None
        self._events: EventLog | None = None
        self._xray_seconds = 0.0  # of this process, as the next
        self._step_seconds = 0.0
        if config.trainer.xray_every is not None and not can_unroll(model):
            raise ConfigError(
                f"trainer.xray_every={config.trainer.xray_every} cannot look into the model of task={task.name}: it "
                "has no recurrent layers of rnnlab.cells; set null"
            )

    def resume(self) -> None:
        """Go on from the newest checkpoint of the run that verifies.

        Raises:
            CheckpointError: there is none, or it is of another model.
        """
        _, saved = load_training(self.run / "checkpoints")
        parts = {"model": self.model} if self.averaged is None else {"model": self.model, "averaged": self.averaged}
        for name, part in parts.items():
            if difference := weight_difference(saved[name], part.state_dict()):
                raise CheckpointError(f"the checkpoint in {self.run} does not fit this model: {difference}")
            part.load_state_dict(saved[name])
        try:
            self.optimizer.load_state_dict(saved["optimizer"])
        except (ValueError, KeyError) as error:
            reason = str(error).replace("\n", " ")
            raise CheckpointError(f"the checkpoint in {self.run} does not fit this optimizer: {reason}") from error
        self.schedule.load_state_dict(saved["schedule"])
        self.counters = Counters(**saved["counters"])
        self.metrics, self.best_metrics = saved["metrics"], saved["best_metrics"]
        if not mend_best(self.run / "checkpoints", self.counters.best_step):
            self.counters.forget_best()
            self.best_metrics = {}
        self.steps.state = _to(saved["state"], self.device)
        self._events = EventLog(self.run, saved["events"])
        # Last: building models and optimizers may have drawn numbers.
        torch.set_rng_state(saved["rng"]["cpu"])
        if self.device.type == "cuda":
            for rng in saved["rng"]["cuda"][:1]:
                torch.cuda.set_rng_state(rng, self.device)
        log.info("resumed at step %d, epoch %d", self.counters.step, self.counters.epoch + 1)

    def fit(self) -> None:
        """Train until a limit, then score the test split with the best weights; `facts` has the scores.

        Raises:
            DivergedError: a loss or gradient was not finite; no weight has seen it.
            StoppedError: a signal came; the state is saved.
        """
        if self._events is None:
            self._events = EventLog(self.run)
            self._events.hparams(self._settings, f"valid/{self.task.metric}")
        progress = Progress(self.total_steps, self.counters.step)
        try:
            with StopSignals() as signals:
                while (reason := self.counters.reason_to_end(self._config)) is None:
                    self._train_epoch(progress, signals)
                if self.counters.evaluated_at != self.counters.step:
                    self._evaluate()
                    self._save()
                self._raise_if_stopped(signals)
            progress.close()
            if self._profile is not None:
                self._profile.finish()
            log.info("%s; best %s at step %d", reason, self._shown_best(), self.counters.best_step)
            self._finish()
        finally:
            progress.close()
            self._events.close()

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
            if config.xray_every is not None and counters.step % config.xray_every == 0:
                self._look_inside(group[0])
            progress.update(counters.step, epoch, {"loss": values["loss"], "lr": self.schedule.lr})
            due = counters.step % config.eval_every_steps == 0 if config.eval_every_steps else counters.index == 0
            if due:
                self._evaluate()
            if due or (config.checkpoint_every_steps and counters.step % config.checkpoint_every_steps == 0):
                self._save()
            elif signals.received:
                self._save()
            self._raise_if_stopped(signals)
            if counters.index == 0:
                break

    def _look_inside(self, window: Window) -> None:
        """Write how far states and gradients reach, measured on a few rows; the run goes on as if it had not been."""
        began = time.perf_counter()
        lengths = window.lengths
        found = live_signals(self.model, window.inputs.to(self.device), lengths, self.counters.step)
        self._xray_seconds += time.perf_counter() - began
        assert self._events is not None
        self._events.scalars({f"xray/{name}": value for name, value in found.items()}, self.counters.step)
        self._events.scalars({"speed/xray_share": self._xray_share}, self.counters.step)

    @property
    def _xray_share(self) -> float:
        """Share of this process's training time that looking inside took."""
        return self._xray_seconds / max(self._xray_seconds + self._step_seconds, 1e-9)

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

    def _evaluate(self) -> None:
        """Score the validation split, log it, and remember whether it is the best so far."""
        self.steps.read(self.counters)  # a run that has diverged ends here
        counters = self.counters
        model = self.scored_model
        results = self.score("valid").results()
        self.metrics |= {f"valid/{name}": value for name, value in results.items()}
        value = results[self.task.metric]
        if counters.note_score(value, higher_is_better=self.task.higher_is_better):
            self.best_metrics = dict(self.metrics)
        self.schedule.after_evaluation(value)
        assert self._events is not None
        self._events.scalars({f"valid/{name}": value for name, value in results.items()}, counters.step)
        config = self._config
        if config.num_samples:
            texts = self.task.samples(model, config.num_samples, config.sample_len, self._seed)
            for number, text in enumerate(texts):
                self._events.text(f"samples/{number}", text, counters.step)
            self._write_samples(texts)
        if config.histograms:
            window = self.task.score_windows("valid", config.eval_batch_size)[0].to(self.device)
            self._events.look_inside(self.model, model, window, counters.step)
        shown = "  ".join(f"valid/{name} {value:.4f}" for name, value in results.items())
        mark = "  (best)" if counters.best_step == counters.step else ""
        log.info("step %d  epoch %.2f  %s%s", counters.step, self._epochs_done(), shown, mark)
        self._report(self.facts())

    def _write_samples(self, texts: list[str]) -> None:
        """Keep the texts in samples/ too, for those who read without TensorBoard."""
        folder = self.run / "samples"
        path = folder / f"step-{self.counters.step:08d}.txt"
        try:
            folder.mkdir(exist_ok=True)
            path.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
        except OSError as error:
            raise CannotWriteError(f"cannot write {path}: {error.strerror}") from error

    def _finish(self) -> None:
        """Score the test split with the best weights."""
        assert self._events is not None
        self.scored_model.load_state_dict(load_model(self.run / "checkpoints", "best"))
        scores = self.score("test")
        results = {f"test/{name}": value for name, value in scores.results().items()}
        self.metrics = {**self.best_metrics, **results}  # of the same weights
        self.details = scores.details()
        self._events.scalars(results, self.counters.step)

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
            "tokens_per_second": round(counters.tokens / counters.seconds, 1) if counters.seconds else 0.0,
            **({} if self._config.xray_every is None else {"xray_share": round(self._xray_share, 5)}),
            **self.details,
        }

    def _log_step(self) -> None:
        """Write the means since the last TensorBoard point."""
        counters = self.counters
        loss = counters.sum_nats / counters.sum_targets
        assert self._events is not None
        self._events.scalars(
            {
                "train/loss": loss,
                **{
                    f"train/{k}": v
                    for k, v in self.task.measures(loss, counters.sum_hits / counters.sum_targets).items()
                },
                "optim/grad_norm": self.steps.shown["grad_norm"],
                "optim/clipped_share": counters.sum_clipped / counters.sum_steps,
                "optim/lr": self.schedule.lr,
                "speed/tokens_per_second": counters.tokens / counters.seconds,
            },
            counters.step,
        )
        counters.clear_sums()

    def _save(self) -> None:
        """Write a checkpoint between two steps, after all log lines of the step."""
        self.steps.read(self.counters)
        assert self._events is not None
        training = {
            "model": self.model.state_dict(),
            "averaged": {} if self.averaged is None else self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "state": self.steps.state,
            "counters": asdict(self.counters),
            "metrics": self.metrics,
            "best_metrics": self.best_metrics,
            "rng": {"cpu": torch.get_rng_state(), "cuda": _cuda_rng_states(self.device)},
            "events": self._events.offsets(),
        }
        save_checkpoint(
            self.run / "checkpoints",
            self.counters.step,
            self.scored_model.state_dict(),
            training,
            best=self.counters.best_step == self.counters.step,
        )

    def _epochs_done(self) -> float:
        if self.counters.index == 0:
            return float(self.counters.epoch)
        return self.counters.epoch + self.counters.index / len(self.task.train_windows(self.counters.epoch))

    def _shown_best(self) -> str:
        return f"valid/{self.task.metric} {self.counters.best_score:.4f}"


def _cuda_rng_states(device: torch.device) -> list[Tensor]:
    # Of the device in use alone: asking for all would start every other GPU too.
    return [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []


def _to(state: State, device: torch.device) -> State:
    if isinstance(state, tuple):
        return state[0].to(device), state[1].to(device)
    return None if state is None else state.to(device)
