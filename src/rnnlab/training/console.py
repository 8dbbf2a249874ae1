"""What a run says while it trains: lines or a bar on the console, lines with times in its rnnlab.log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill

from tqdm import tqdm

from rnnlab.disk import cannot_write

log = logging.getLogger("rnnlab")


class Progress:
    """A bar on a terminal; elsewhere one line now and then."""

    def __init__(self, total_steps: int | None, step: int, *, is_shown: bool = True) -> None:
        """Start at `step` of `total_steps` (None: unknown); what is not shown is not in the log either."""
        self._bar = tqdm(
            total=total_steps,
            initial=step,
            unit=" step",
            dynamic_ncols=True,
            disable=None if is_shown else True,  # None: off where stderr is not a terminal
            file=sys.stderr,
            mininterval=0.2,
            smoothing=0.05,
            # What has passed is of less use than room for the bar; without a total there is no estimate.
            bar_format="{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{remaining} left, {rate_fmt}{postfix}]"
            if total_steps
            else None,
        )
        # Room for the ^C that a terminal writes behind it, which would begin another line.
        self._bar.dynamic_ncols = lambda _: (get_terminal_size().columns - 3, None)
        self._next_line = time.monotonic() + 5
        self._total = total_steps

    def update(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Show a step."""
        if not self._bar.disable:
            shown = "  ".join(f"{name} {value:.3g}" for name, value in values.items())
            self._bar.set_description_str(f"epoch {epoch + 1}", refresh=False)
            self._bar.set_postfix_str(shown, refresh=False)
            self._bar.update(step - self._bar.n)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + 30
            shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
            of = f" of {self._total}" if self._total else ""
            log.info("epoch %d  step %d%s  %s", epoch + 1, step, of, shown)

    def close(self) -> None:
        """Leave the bar where it stands."""
        self._bar.close()


class _AboveTheBar(logging.Handler):
    """Log lines that do not tear a progress bar, nor a word at a terminal's edge."""

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        try:
            if sys.stderr.isatty():
                line = "\n".join(map(_folded, line.splitlines()))
            tqdm.write(line, file=sys.stderr)
        except OSError:  # the terminal was closed, or the pipe to `head`: no reason to lose a run
            pass


def _folded(line: str) -> str:
    """Fold a line to the terminal; a path stays whole."""
    width = max(40, get_terminal_size().columns)
    return fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


class _RunFile(logging.FileHandler):
    """Log lines for later readers: a full disk loses them and nothing else."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):
            super().close()


def log_to(run: Path | None) -> None:
    """Send rnnlab's log lines to the console, and with times to the run's rnnlab.log."""
    for handler in log.handlers[:]:
        log.removeHandler(handler)
        handler.close()
    log.setLevel(logging.INFO)
    log.propagate = False
    console = _AboveTheBar()
    console.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(console)
    if run is not None:
        try:
            file = _RunFile(run / "rnnlab.log", encoding="utf-8")
        except OSError as error:
            raise cannot_write(run / "rnnlab.log", error) from error
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(file)
