"""`trainer.profile=true`: where the time of a run's steps goes, as a table to read and a trace for ui.perfetto.dev."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from rnnlab.disk import cannot_write
from rnnlab.training.parts import nobody_asks
from rnnlab.training.steps import Steps
from rnnlab.training.timeline import Timeline

log = logging.getLogger("rnnlab")

WARM_UP_STEPS = 5  # memory, engines and caches of the first steps are not those of the others
TIMED_STEPS = 10
TRACED_STEPS = 5
_ROWS = 25


class Profile:
    """Measures a few steps of a run and writes profile/table.txt and profile/trace.json into its folder.

    After a warm-up, some steps are timed part by part with two looks at the clock a part; the next ones are traced by
    torch's profiler, which sees every operation and slows small ones, so that its times are no part of the first table.
    On a GPU, whose work goes on after a part has returned, there is the profiler's table alone.
    """

    def __init__(self, steps: Steps, model: nn.Module, run: Path, device: torch.device) -> None:
        """Wait for the first step.

        Args:
            steps: told to name their parts while they are measured.
            model: the model they train.
            run: the run's folder.
            device: where the model is.
        """
        self._steps, self._model, self._run, self._device = steps, model, run, device
        self._number = 0
        self._timed: list[dict[str, float]] = []
        self._profiler: Any = None
        self._is_over = False

    @contextmanager
    def step(self) -> Iterator[None]:
        """Measure what is inside, a whole step, if it is one of those to be measured.

        Raises:
            CannotWriteError: the last of them is made and the files cannot be written.
        """
        self._number += 1
        timed_until = WARM_UP_STEPS + (TIMED_STEPS if self._device.type == "cpu" else 0)
        if self._is_over or self._number <= WARM_UP_STEPS:
            yield
        elif self._number <= timed_until:
            with self._timing():
                yield
        else:
            with self._tracing():
                yield
            if self._number == timed_until + TRACED_STEPS:
                self.finish()

    def finish(self) -> None:
        """Write what there is: called again, or with no step measured, it does nothing more.

        Raises:
            CannotWriteError: the files cannot be written.
        """
        if self._is_over:
            return
        self._is_over = True
        if not self._timed and self._profiler is None:
            log.warning("profile: the run had no step after the %d of the warm-up; nothing to show", WARM_UP_STEPS)
            return
        folder = self._run / "profile"
        try:
            folder.mkdir(exist_ok=True)
            if self._profiler is not None:
                self._profiler.stop()
                self._profiler.export_chrome_trace(str(folder / "trace.json"))
            (folder / "table.txt").write_text(self._table(), encoding="utf-8")
        except OSError as error:
            raise cannot_write(folder, error) from error
        log.info("profile: %s; open trace.json in ui.perfetto.dev", folder / "table.txt")

    @contextmanager
    def _timing(self) -> Iterator[None]:
        timeline = Timeline(self._model)
        self._steps.part = timeline.part
        timeline.clear()
        try:
            yield
            self._timed.append(timeline.clear())
        finally:
            self._steps.part = nobody_asks
            timeline.close()

    @contextmanager
    def _tracing(self) -> Iterator[None]:
        if self._profiler is None:
            os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it would print that it starts and stops
            cuda = [ProfilerActivity.CUDA] if self._device.type == "cuda" else []
            self._profiler = profile(activities=[ProfilerActivity.CPU, *cuda], acc_events=True)
            self._profiler.start()
        self._steps.part = record_function
        try:
            with record_function("step"):
                yield
        finally:
            self._steps.part = nobody_asks

    def _table(self) -> str:
        text = [parts_table(self._timed)] if self._timed else []
        if self._profiler is not None:
            first = "self_cuda_time_total" if self._device.type == "cuda" else "self_cpu_time_total"
            operations = self._profiler.key_averages().table(sort_by=first, row_limit=_ROWS, max_name_column_width=40)
            text.append(f"operations of the traced steps, as torch's profiler saw them\n{operations}")
        return "\n".join(text)


def parts_table(steps: list[dict[str, float]]) -> str:
    """Render the median milliseconds of each part and its share, largest first.

    Args:
        steps: seconds by part, of each step.
    """
    names = dict.fromkeys(name for step in steps for name in step)
    medians = {name: 1e3 * median(step.get(name, 0.0) for step in steps) for name in names}
    total = sum(medians.values())
    rows = [f"{'part of a step':<26} {'ms':>9} {'share':>7}   medians of {len(steps)} steps"]
    for name, value in sorted(medians.items(), key=lambda item: -item[1]):
        rows.append(f"{name:<26} {value:9.3f} {value / total:7.1%}")
    rows.append(f"{'all':<26} {total:9.3f}")
    return "\n".join(rows) + "\n"
