"""Readings: the numbers that steps leave, read when somebody asks, and the count of steps that were skipped.

To read a number waits for the device, so steps on a GPU gather here, unread, until a log line wants them.
"""

from __future__ import annotations

import math

from rnnlab.config import TrainerConfig
from rnnlab.errors import DivergedError
from rnnlab.training.console import log
from rnnlab.training.counters import Counters
from rnnlab.training.update import Made, Update


class Readings:
    """What the steps of one run left.

    Attributes:
        unread: the numbers of the steps since the last reading, in their order.
        shown: loss (nats per target) and grad_norm (before clipping) of the last step that was read.
        update_ratio: of the last step that was read, if that one was asked; None: it was not, or was skipped.
    """

    def __init__(self, update: Update, config: TrainerConfig) -> None:
        """Start with nothing read.

        Args:
            update: knows which steps were clipped.
            config: how many steps in a row may be skipped.
        """
        self._update, self._config = update, config
        self.unread: list[Made] = []
        self.shown = {"loss": math.nan, "grad_norm": math.nan}
        self.update_ratio: float | None = None

    def read(self, counters: Counters) -> None:
        """Read the numbers of the steps since this was last asked, which waits for the device, and add them up.

        Args:
            counters: their sums grow.

        Raises:
            DivergedError: as many steps in a row as are allowed were skipped, whatever came after them.
        """
        unread, self.unread = self.unread, []
        for made in unread:
            self.update_ratio = None
            if not made.is_finite():
                self._note_skipped(made, counters)
                continue
            counters.skipped_in_a_row = 0
            loss, norm = made.loss(), float(made.norm)
            largest = None if made.largest is None else float(made.largest)
            counters.sum_nats += sum(float(nats) for nats in made.nats)
            counters.sum_hits += sum(int(hits) for hits in made.hits)
            counters.sum_targets += made.num_targets
            counters.sum_clipped += self._update.was_clipped(norm, largest)
            counters.sum_steps += 1
            self.shown = {"loss": loss, "grad_norm": norm}
            self.update_ratio = None if made.update_ratio is None else float(made.update_ratio)

    def _note_skipped(self, made: Made, counters: Counters) -> None:
        """Count a step that changed nothing.

        Raises:
            DivergedError: it is one too many.
        """
        counters.skipped += 1
        counters.skipped_in_a_row += 1
        loss, limit = made.loss(), self._config.max_skipped
        first, end = made.windows
        windows = f"window {first}" if end == first + 1 else f"windows {first} to {end - 1}"
        what = f"gradient norm is {float(made.norm)}" if math.isfinite(loss) else f"loss is {loss}"
        found = f"{what} at step {made.step} (epoch {made.epoch + 1}, {windows}), learning rate {made.lr:g}"
        if counters.skipped_in_a_row >= limit:
            clip = self._config.clip_grad_norm
            norm = "" if math.isfinite(loss) else f", gradient norm {float(made.norm):g}"
            raise DivergedError(
                f"{found}{norm}, {limit} such step{'s' * (limit > 1)} in a row; "
                f"trainer.clip_grad_norm is {'null' if clip is None else clip}"
            )
        log.warning("%s: skipped, %d of %d in a row", found, counters.skipped_in_a_row, limit)
