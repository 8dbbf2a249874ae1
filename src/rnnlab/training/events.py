"""TensorBoard's events of a run: files that a kill, a resume and a full disk leave whole."""

from __future__ import annotations

import math
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from textwrap import wrap

import numpy as np
import torch
from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import summary

from rnnlab.disk import append_whole, cannot_write
from rnnlab.json_files import sync_folder
from rnnlab.training.console import log

WIDTH = 110  # columns of a text in TensorBoard
EVENTS = "events.out.tfevents.*"
FLUSH_SECONDS = 10  # how old what TensorBoard shows may be
FLUSH_BYTES = 1 << 16
MAX_WAITING = 1 << 24  # bytes of events that wait for a disk; later ones are lost

# TensorBoard's own: a tenth wider each, on both sides of 0, so that small and large values are told apart alike.
_BINS = np.concatenate([-(powers := 1e-12 * 1.1 ** np.arange(774))[::-1], [0.0], powers])


class EventLog:
    """TensorBoard events of one run, cut back to the checkpoint when it resumes.

    `purge_step` alone leaves duplicate steps for some readers; cutting the files at the byte a checkpoint knows does
    not. torch's SummaryWriter is not used: it names files by the clock alone, never syncs them, and writes in a thread
    that a full disk kills for good, with a traceback on the console.

    A disk that takes no events ends no run: they wait in memory, and each checkpoint tries again with a new file.
    """

    def __init__(self, run: Path, offsets: Mapping[str, int] | None = None) -> None:
        """Open a new event file.

        Args:
            run: the run's folder, which holds its events.
            offsets: bytes of each event file that belong to the checkpoint resumed from; the rest is cut off, and
                files it does not name are removed. None: leave all files as they are.
        """
        self._run = run
        self._waiting = BytesIO()  # not yet written
        self._records = RecordWriter(self._waiting)
        self._flushed = -math.inf
        self._is_failing = False
        try:
            for path in run.glob(EVENTS) if offsets is not None else ():
                assert offsets is not None
                if path.name not in offsets:
                    path.unlink()
                elif path.stat().st_size > offsets[path.name]:
                    os.truncate(path, offsets[path.name])
            self._open()
        except OSError as error:
            raise cannot_write(run, error, "TensorBoard events in") from error

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
        """Write the distribution of a tensor's finite numbers."""
        values = values.detach().float().cpu()
        if len(finite := values[values.isfinite()]):
            self._add(summary.histogram(tag, finite, _BINS), step)

    def image(self, tag: str, image: torch.Tensor, step: int) -> None:
        """Write a picture, (3, height, width): 0 to 1, or bytes."""
        self._add(summary.image(tag, image, dataformats="CHW"), step)

    def audio(self, tag: str, samples: np.ndarray, sample_rate: int, step: int) -> None:
        """Write a sound, <int16>(samples,), one channel."""
        self._add(summary.audio(tag, torch.from_numpy(samples.astype(np.float32) / 32767), sample_rate), step)

    def precision_recall(self, tag: str, is_class: np.ndarray, probabilities: np.ndarray, step: int) -> None:
        """Write precision against recall of one class.

        Args:
            tag: where it stands.
            is_class: <bool>(N,) which examples are of the class.
            probabilities: (N,) what the model gave it, 0 to 1.
            step: the x axis.
        """
        self._add(summary.pr_curve(tag, is_class, probabilities.clip(0, 1)), step)

    def charts(self, layout: Mapping[str, Mapping[str, list[str]]]) -> None:
        """Say which numbers share a chart: category -> title -> patterns of their tags."""
        charts = {name: {title: ["Multiline", tags] for title, tags in them.items()} for name, them in layout.items()}
        self._add(summary.custom_scalars(charts), 0)

    def settings(self, values: Mapping[str, float | str], metrics: Sequence[str]) -> None:
        """Fill TensorBoard's hparams table: once, at the start.

        The summaries are written directly: `add_hparams` would make a run of its own below this one.

        Args:
            values: the settings.
            metrics: tags of the numbers that stand beside them; the last that is written of each is shown.
        """
        experiment, start, _ = summary.hparams(dict(values), dict.fromkeys(metrics, 0.0))
        self._add(experiment, 0)
        self._add(start, 0)

    def settings_done(self) -> None:
        """Say in that table that the run came to its end."""
        *_, end = summary.hparams({}, {})
        self._add(end, 0)

    def offsets(self) -> dict[str, int]:
        """Bytes written so far, by file, all on the disk: what a checkpoint keeps."""
        if self._is_failing:
            self._file.close()
            with self._noticing():
                self._open()
                self._is_failing = False
        self._flush()
        if not self._is_failing:
            with self._noticing():
                os.fsync(self._file.fileno())
        return {path.name: path.stat().st_size for path in self._run.glob(EVENTS)}

    def close(self) -> None:
        """Flush and close the file.

        Events that a full disk refuses here belong to no checkpoint: they are given up with a warning, so that what
        ended the run, perhaps an error that is just being raised, is what the user hears of.
        """
        self._flush()
        if self._is_failing:
            log.warning("the last TensorBoard events of %s could not be written", self._run)
        self._file.close()

    def _add(self, content: Summary, step: int) -> None:
        event = Event(wall_time=time.time(), step=step, summary=content)
        if self._waiting.tell() < MAX_WAITING:
            self._records.write(event.SerializeToString())
        if time.monotonic() > self._flushed + FLUSH_SECONDS or self._waiting.tell() > FLUSH_BYTES:
            self._flush()

    def _open(self) -> None:
        """Make a new file, with what each begins with.

        Raises:
            OSError: the disk takes none.
        """
        header = BytesIO()
        RecordWriter(header).write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        path = self._run / _next_name(self._run)
        self._file, self._size = path.open("xb", buffering=0), 0
        try:
            self._append(header.getvalue())
            sync_folder(self._run)
        except OSError:
            with suppress(OSError):
                self._file.close()
                path.unlink()
            raise

    def _flush(self) -> None:
        """Write what waits; it goes on waiting if the disk does not take it."""
        if self._is_failing:
            return
        with self._noticing():
            self._append(self._waiting.getvalue())
            self._waiting.seek(0)
            self._waiting.truncate()
        self._flushed = time.monotonic()

    def _append(self, content: bytes) -> None:
        """Write all of it or, if the disk is full, none."""
        append_whole(self._file, content, self._size)
        self._size += len(content)

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        """Say once that the disk takes no events, and go on."""
        try:
            yield
        except OSError as error:
            if not self._is_failing:
                mistake = cannot_write(self._run, error, "TensorBoard events in")
                log.warning("%s; training goes on, and each checkpoint tries again", mistake)
            self._is_failing = True


def _next_name(run: Path) -> str:
    """Name an event file a second after the last one, whatever the clock says: TensorBoard reads them in name order."""
    found = (re.match(r"events\.out\.tfevents\.(\d+)", path.name) for path in run.glob(EVENTS))
    second = max([int(time.time()), *(int(match[1]) + 1 for match in found if match)])
    return f"events.out.tfevents.{second:010d}.{socket.gethostname()}.{os.getpid()}"
