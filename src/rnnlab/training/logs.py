"""What a run writes down while it trains: TensorBoard events in its folder, lines or a bar on the console."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from tqdm import tqdm

from rnnlab.errors import CannotWriteError

log = logging.getLogger("rnnlab")

WIDTH = 110  # columns of a text in TensorBoard
EVENTS = "events.out.tfevents.*"


class EventLog:
    """TensorBoard events of one run, cut back to the checkpoint when it resumes.

    `purge_step` alone leaves duplicate steps for some readers; cutting the files at the byte a checkpoint knows does
    not.
    """

    def __init__(self, run: Path, offsets: Mapping[str, int] | None = None) -> None:
        """Open a new event file.

        Args:
            run: the run's folder, which holds its events.
            offsets: bytes of each event file that belong to the checkpoint resumed from; the rest is cut off, and
                files it does not name are removed.
        """
        self._run = run
        if offsets is not None:
            for path in run.glob(EVENTS):
                if path.name not in offsets:
                    path.unlink()
                elif path.stat().st_size > offsets[path.name]:
                    os.truncate(path, offsets[path.name])
        # tensorboard reads files in name order; its own names begin with whole seconds, so nanoseconds settle ties.
        self._writer = SummaryWriter(str(run), filename_suffix=f".{time.time_ns():020d}")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers at a step."""
        with self._writing():
            for tag, value in values.items():
                self._writer.add_scalar(tag, value, step)

    def text(self, tag: str, text: str, step: int) -> None:
        """Write a text as it stands: TensorBoard renders Markdown, so it is indented as a code block."""
        with self._writing():
            self._writer.add_text(tag, "\n".join("    " + line for line in text.split("\n")), step)

    def histogram(self, tag: str, values: torch.Tensor, step: int) -> None:
        """Write the distribution of a tensor."""
        with self._writing():
            self._writer.add_histogram(tag, values.detach().float().cpu(), step)

    def image(self, tag: str, image: torch.Tensor, step: int) -> None:
        """Write a picture, (3, height, width), 0 to 1."""
        with self._writing():
            self._writer.add_image(tag, image, step)

    def hparams(self, settings: Mapping[str, Any], metric: str) -> None:
        """Fill TensorBoard's hparams table: once, at the start.

        The summaries are written directly: `add_hparams` would make a run of its own below this one.
        """
        plain = {
            key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in settings.items()
        }
        with self._writing():
            for summary in hparams(plain, {metric: 0.0}):
                self._writer._get_file_writer().add_summary(summary)  # pyright: ignore[reportOptionalMemberAccess]

    def offsets(self) -> dict[str, int]:
        """Bytes written so far, by file: what a checkpoint keeps."""
        with self._writing():
            self._writer.flush()
            return {path.name: path.stat().st_size for path in self._run.glob(EVENTS)}

    def close(self) -> None:
        """Flush and close the file.

        Events that a full disk refuses here belong to no checkpoint: they are given up with a warning, so that what
        ended the run, perhaps an error that is just being raised, is what the user hears of.
        """
        try:
            self._writer.close()
        except OSError as error:
            log.warning("the last TensorBoard events of %s could not be written: %s", self._run, error.strerror)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Say in the user's words what the writer's thread met."""
        try:
            yield
        except OSError as error:
            raise CannotWriteError(f"cannot write TensorBoard events in {self._run}: {error.strerror}") from error


class Progress:
    """A bar on a terminal; elsewhere one line now and then."""

    def __init__(self, total_steps: int | None, step: int, *, unit: str = "step") -> None:
        """Start at `step` of `total_steps` (None: unknown)."""
        self._bar = tqdm(
            total=total_steps,
            initial=step,
            unit=unit,
            dynamic_ncols=True,
            disable=None,  # off where stderr is not a terminal
            file=sys.stderr,
            mininterval=0.2,
            smoothing=0.05,
        )
        self._next_line = time.monotonic() + 5
        self._total = total_steps

    def update(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Show a step."""
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        if not self._bar.disable:
            self._bar.set_description_str(f"epoch {epoch + 1}", refresh=False)
            self._bar.set_postfix_str(shown, refresh=False)
            self._bar.update(step - self._bar.n)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + 30
            of = f" of {self._total}" if self._total else ""
            log.info("epoch %d  step %d%s  %s", epoch + 1, step, of, shown)

    def close(self) -> None:
        """Leave the bar where it stands."""
        self._bar.close()


class _AboveTheBar(logging.Handler):
    """Log lines that do not tear a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except OSError:  # the terminal was closed, or the pipe to `head`: no reason to lose a run
            pass


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
        file = logging.FileHandler(run / "rnnlab.log", encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(file)
