"""The numbers of a run on their way to TensorBoard and metrics.jsonl, and to the console at an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rnnlab.disk import cannot_write
from rnnlab.errors import DivergedError
from rnnlab.tasks.base import Scores
from rnnlab.training.board import Board
from rnnlab.training.console import log
from rnnlab.training.events import EventLog
from rnnlab.training.metrics import MetricsFile
from rnnlab.training.state import TrainingState


class _Files(NamedTuple):
    events: EventLog
    lines: MetricsFile
    board: Board


class Logbook:
    """Writes what is measured, in the first process alone: in the others every method does nothing."""

    def __init__(self, state: TrainingState, run: Path, *, is_written: bool) -> None:
        """Keep the parts; no file is opened yet.

        Args:
            state: what is written of, and its step.
            run: the run's folder.
            is_written: whether this process is the first.
        """
        self._state, self._run, self._is_written = state, run, is_written
        self._files: _Files | None = None

    def begin(self) -> None:
        """Open the files of a run that begins, if that was not done, and write what each has once."""
        if self._files is None:
            self.open({}, 0)
        if self._files is not None:
            self._files.board.begin()

    def open(self, offsets: dict[str, int], metrics_bytes: int) -> None:
        """Open the files, anew if they are open, where a checkpoint says that they end.

        Args:
            offsets: bytes of each event file that belong to it.
            metrics_bytes: bytes of metrics.jsonl that do.
        """
        if not self._is_written:
            return
        self.close()
        state = self._state
        events = EventLog(self._run, offsets)
        lines = MetricsFile(self._run, metrics_bytes)
        self._files = _Files(events, lines, Board(events, state.task, state.config, self._run, state.device))

    def close(self) -> None:
        """Close the files."""
        if self._files is not None:
            self._files.events.close()
            self._files.lines.close()

    def sizes(self) -> tuple[dict[str, int], int]:
        """Return what `open` takes: all that was written is on the disk."""
        assert self._files is not None
        return self._files.events.offsets(), self._files.lines.size()

    def note(self, values: dict[str, float], of_the_clock: dict[str, float] | None = None) -> None:
        """Write numbers of the present step to TensorBoard, and those that are not the clock's to metrics.jsonl."""
        if self._files is None:
            return
        step = self._state.counters.step
        self._files.events.scalars(values | (of_the_clock or {}), step)
        self._files.lines.write(step, self._state.epochs_done(), values)

    def note_steps(self) -> None:
        """Write the means since the last TensorBoard point, which begin anew."""
        state, counters, readings = self._state, self._state.counters, self._state.steps.readings
        values = {}
        if counters.sum_steps:  # else all were skipped
            loss = counters.sum_nats / counters.sum_targets
            measures = state.task.measures(loss, counters.sum_hits / counters.sum_targets)
            values = {
                "train/loss": loss,
                **{f"train/{name}": value for name, value in measures.items()},
                "optim/clipped_share": counters.sum_clipped / counters.sum_steps,
            }
            if readings.update_ratio is not None:  # else this step was skipped, and no resumed run knows the last
                values["optim/grad_norm"] = readings.shown["grad_norm"]
                values["optim/update_ratio"] = readings.update_ratio
        values |= {"optim/lr": state.schedule.lr, "optim/skipped": counters.skipped}
        self.note(values, {"speed/tokens_per_second": counters.tokens / counters.seconds})
        counters.clear_sums()

    def note_gradients(self) -> None:
        """Write the distributions of the last step's gradients: before an evaluation, which a resume may begin with."""
        if self._files is not None:
            self._files.board.gradients(self._state.model, self._state.counters.step)

    def note_evaluation(self, scores: Scores, results: dict[str, float]) -> None:
        """Write what an evaluation found, and what the model does now.

        Args:
            scores: of the validation split.
            results: what they come to, by tag.
        """
        self.note(results)
        if self._files is None:
            return
        state, board, config = self._state, self._files.board, self._state.config.trainer
        step, scored = state.counters.step, state.scored_model
        board.scores("valid", scores, step)
        if config.num_samples:
            try:
                texts = state.task.samples(scored, config.num_samples, config.sample_len, state.config.seed)
            except DivergedError as error:  # finite weights, but too large: the scores are not finite either
                log.warning("no samples at step %d: %s", step, error)
            else:
                board.samples(texts, step)
                _write_samples(self._run, step, texts)
        board.inside(state.model, scored, step)

    def tell_evaluation(self, results: dict[str, float]) -> None:
        """Tell the console what an evaluation found."""
        state, counters = self._state, self._state.counters
        shown = ", ".join(f"{tag.removeprefix('valid/')} {value:.4f}" for tag, value in results.items())
        mark = "  (best)" if counters.best_step == counters.step else ""
        log.info("step %d  epoch %.2f  valid: %s%s", counters.step, state.epochs_done(), shown, mark)

    def end(self, scores: Scores, results: dict[str, float]) -> None:
        """Write the scores of the test split, and that the run is done.

        Args:
            scores: of the test split.
            results: what they come to, by tag.
        """
        self.note(results)
        if self._files is not None:
            self._files.lines.size()  # no later checkpoint sees to it that they are on the disk
            self._files.board.scores("test", scores, self._state.counters.step)
            self._files.board.end()


def _write_samples(run: Path, step: int, texts: list[str]) -> None:
    """Keep texts in samples/ too, for those who read without TensorBoard.

    Raises:
        CannotWriteError: the disk does not take them.
    """
    path = run / "samples" / f"step-{step:08d}.txt"
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from error
