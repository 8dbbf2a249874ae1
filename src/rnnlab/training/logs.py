"""What a run writes down while it trains: TensorBoard events in its folder, lines or a bar on the console."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap

import numpy as np
import torch
from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import nn
from torch.utils.tensorboard import summary
from tqdm import tqdm

from rnnlab.config import NO_HYPERPARAMETERS, TrainConfig
from rnnlab.data.windows import Window
from rnnlab.errors import CannotWriteError
from rnnlab.inspection.gates import gate_activations, saturation
from rnnlab.schema import plain, walk

log = logging.getLogger("rnnlab")

WIDTH = 110  # columns of a text in TensorBoard
EVENTS = "events.out.tfevents.*"
FLUSH_SECONDS = 10  # how old what TensorBoard shows may be

# TensorBoard's own: a tenth wider each, on both sides of 0, so that small and large values are told apart alike.
_BINS = np.concatenate([-(powers := 1e-12 * 1.1 ** np.arange(774))[::-1], [0.0], powers])


class EventLog:
    """TensorBoard events of one run, cut back to the checkpoint when it resumes.

    `purge_step` alone leaves duplicate steps for some readers; cutting the files at the byte a checkpoint knows does
    not. torch's SummaryWriter is not used: it names files by the clock alone, never syncs them, and writes in a thread
    that a full disk kills for good, with a traceback on the console.
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
        with self._writing():
            self._file = (run / _next_name(run)).open("xb")
            self._records = RecordWriter(self._file)
            self._flushed = 0.0
            self._records.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers at a step."""
        for tag, value in values.items():
            self._add(summary.scalar(tag, value), step)

    def text(self, tag: str, text: str, step: int) -> None:
        """Write a text as it stands: TensorBoard renders Markdown, so it is indented as a code block."""
        # A code block does not wrap; a review is one long line.
        lines = [part for line in text.split("\n") for part in wrap(line, WIDTH) or [""]]
        self._add(summary.text(tag, "\n".join("    " + line for line in lines)), step)

    def histogram(self, tag: str, values: torch.Tensor, step: int) -> None:
        """Write the distribution of a tensor."""
        self._add(summary.histogram(tag, values.detach().float().cpu(), _BINS), step)

    def image(self, tag: str, image: torch.Tensor, step: int) -> None:
        """Write a picture, (3, height, width), 0 to 1."""
        self._add(summary.image(tag, image, dataformats="CHW"), step)

    def hparams(self, config: TrainConfig, metric: str) -> None:
        """Fill TensorBoard's hparams table: once, at the start.

        The summaries are written directly: `add_hparams` would make a run of its own below this one.
        """
        shown = {}
        for setting, value in walk(config):
            if setting.key not in NO_HYPERPARAMETERS and value is not None:
                # A bool would be shown as 0.0000, a list not at all.
                shown[setting.key] = str(value).lower() if isinstance(value, bool | list) else plain(value)
        for part in summary.hparams(shown, {metric: 0.0}):
            self._add(part, 0)

    def look_inside(self, trained: nn.Module, scored: nn.Module, window: Window, step: int) -> None:
        """Write histograms of weights and last gradients, and of the gates on a window, with their saturation.

        Args:
            trained: the model that the optimizer changes.
            scored: the same, or its average: whose gates are read.
            window: on their device.
            step: the x axis.
        """
        for name, parameter in trained.named_parameters():
            self.histogram(f"weights/{name}", parameter, step)
            if parameter.grad is not None:
                self.histogram(f"gradients/{name}", parameter.grad, step)
        activations = gate_activations(scored, window.inputs, window.lengths)
        for name, values in activations.items():
            self.histogram(f"gates/{name}", values, step)
        self.scalars({f"saturation/{name}": share for name, share in saturation(activations).items()}, step)

    def offsets(self) -> dict[str, int]:
        """Bytes written so far, by file: what a checkpoint keeps."""
        with self._writing():
            self._file.flush()
            os.fsync(self._file.fileno())
            return {path.name: path.stat().st_size for path in self._run.glob(EVENTS)}

    def close(self) -> None:
        """Flush and close the file.

        Events that a full disk refuses here belong to no checkpoint: they are given up with a warning, so that what
        ended the run, perhaps an error that is just being raised, is what the user hears of.
        """
        try:
            self._file.close()
        except OSError as error:
            log.warning("the last TensorBoard events of %s could not be written: %s", self._run, error.strerror)

    def _add(self, content: Summary, step: int) -> None:
        event = Event(wall_time=time.time(), step=step, summary=content)
        with self._writing():
            self._records.write(event.SerializeToString())
            if time.monotonic() > self._flushed + FLUSH_SECONDS:
                self._file.flush()
                self._flushed = time.monotonic()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Say in the user's words that the disk is full."""
        try:
            yield
        except OSError as error:
            raise CannotWriteError(f"cannot write TensorBoard events in {self._run}: {error.strerror}") from error


def _next_name(run: Path) -> str:
    """Name an event file a second after the last one, whatever the clock says: TensorBoard reads them in name order."""
    found = (re.match(r"events\.out\.tfevents\.(\d+)", path.name) for path in run.glob(EVENTS))
    second = max([int(time.time()), *(int(match[1]) + 1 for match in found if match)])
    return f"events.out.tfevents.{second:010d}.{socket.gethostname()}.{os.getpid()}"


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
