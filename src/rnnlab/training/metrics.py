"""metrics.jsonl: what a run measured, one line of JSON a log point, for programs that read no TensorBoard events.

    {"step": 20, "epoch": 0.5, "train/loss": 4.1, ..., "optim/lr": 0.001}
    {"step": 40, "epoch": 1.0, "valid/loss": 3.9, ...}

Names are TensorBoard's. Floats read back to the same bits; one that is not finite is null. Nothing is the clock's: a
resumed run's file is that of the uninterrupted run, byte for byte. A line that is being written may be seen in part.

A disk that takes no line ends no run by itself: lines wait in memory for the next checkpoint, which is not written
without them.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from rnnlab.disk import append_whole, cannot_write
from rnnlab.errors import CannotWriteError
from rnnlab.json_files import finite, sync_folder

log = logging.getLogger("rnnlab")

NAME = "metrics.jsonl"
MAX_WAITING = 1 << 24  # bytes of lines that wait for a disk


class MetricsFile:
    """Appends lines to a run's metrics.jsonl."""

    def __init__(self, run: Path, size: int = 0) -> None:
        """Open the file, or make it.

        Args:
            run: the run's folder.
            size: bytes that belong to the checkpoint resumed from; the rest is cut off.

        Raises:
            CannotWriteError: the folder takes no file.
        """
        self._path = run / NAME
        self._waiting = b""
        self._is_told = False
        with self._writing():
            self._file = self._path.open("ab", buffering=0)
            if os.fstat(self._file.fileno()).st_size > size:
                self._file.truncate(size)
            self._size = os.fstat(self._file.fileno()).st_size
            sync_folder(run)

    def write(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Append a line, or let it wait if the disk is full.

        Args:
            step: optimizer updates.
            epoch: passes over the training split.
            values: by tag.

        Raises:
            CannotWriteError: the disk is full, and as many lines wait as may.
        """
        content = finite({"step": step, "epoch": epoch, **values})
        self._waiting += json.dumps(content, allow_nan=False).encode() + b"\n"
        try:
            self._write_waiting()
        except CannotWriteError as error:
            if len(self._waiting) > MAX_WAITING:
                raise
            if not self._is_told:
                log.warning("%s; training goes on, and the next checkpoint tries again", error)
            self._is_told = True

    def size(self) -> int:
        """Bytes written so far, all lines among them, all on the disk: what a checkpoint keeps.

        Raises:
            CannotWriteError: the disk is full.
        """
        self._write_waiting()
        with self._writing():
            os.fsync(self._file.fileno())
        return self._size

    def close(self) -> None:
        """Close the file; lines that still wait belong to no checkpoint, and are written again by a resumed run."""
        with suppress(CannotWriteError):
            self._write_waiting()
        self._file.close()

    def _write_waiting(self) -> None:
        """Write all that waits or, if the disk is full, none."""
        with self._writing():
            append_whole(self._file, self._waiting, self._size)
        self._size += len(self._waiting)
        self._waiting = b""

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self._path, error) from error
