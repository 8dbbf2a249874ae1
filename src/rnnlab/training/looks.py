"""Looks inside a model while it trains, on a few rows: the run goes on as if they had not been."""

from __future__ import annotations

import time

from rnnlab.data.windows import Window
from rnnlab.inspection.chains import can_unroll
from rnnlab.inspection.live import live_signals
from rnnlab.training.console import log
from rnnlab.training.state import TrainingState

DIAGNOSED_ROWS = 16


class Looks:
    """Measures how far states and gradients reach, and what it costs.

    Attributes:
        every: steps between looks at windows; None: there are none.
        step_seconds: this process's time in steps, to be added to by whoever makes them.
    """

    def __init__(self, state: TrainingState) -> None:
        """Look at nothing yet; where the model is none that can be looked into, the log says so."""
        self._state = state
        self._seconds = 0.0
        self.step_seconds = 0.0
        self.every = state.config.trainer.xray_every
        if self.every is not None and not can_unroll(state.model):
            log.info(
                "trainer.xray_every: task=%s has no recurrent layers of rnnlab.cells to look into", state.task.name
            )
            self.every = None

    @property
    def share(self) -> float:
        """Share of this process's training time that looking at windows took; 0 before the first."""
        return self._seconds / max(self._seconds + self.step_seconds, 1e-9)

    def at_window(self, window: Window) -> dict[str, float]:
        """Return how far states and gradients reach in a window, by TensorBoard tag."""
        state, began = self._state, time.perf_counter()
        found = live_signals(state.model, window.inputs.to(state.device), window.lengths, state.counters.step)
        self._seconds += time.perf_counter() - began
        return {f"xray/{name}": value for name, value in found.items()}

    def at_units(self) -> None:
        """Measure on some rows of the last window which units are stuck: what `rnnlab diagnose` asks for."""
        state, counters = self._state, self._state.counters
        if not counters.step or not can_unroll(state.model):
            return
        # By its number: a resumed run has not seen it.
        windows = state.task.train_windows(counters.epoch if counters.index else counters.epoch - 1)
        window = windows[(counters.index or len(windows)) - 1]
        inputs = window.inputs.to(state.device)
        found = live_signals(state.model, inputs, window.lengths, counters.step, rows=DIAGNOSED_ROWS)
        state.units = {name: float(f"{value:.6g}") for name, value in found.items()}
