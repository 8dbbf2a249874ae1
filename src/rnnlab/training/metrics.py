"""metrics.jsonl: what a run measured, one line of JSON a log point, for programs that read no TensorBoard events.

    {"step": 20, "epoch": 0.5, "train/loss": 4.1, ..., "optim/lr": 0.001}
    {"step": 40, "epoch": 1.0, "valid/loss": 3.9, ...}

Names are TensorBoard's. Floats read back to the same bits; one that is not finite is null. Nothing is the clock's: a
resumed run's file is that of the uninterrupted run, byte for byte. A line that is being written may be seen in part.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rnnlab.errors import CannotWriteError
from rnnlab.json_files import finite, sync_folder

NAME = "metrics.jsonl"


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
        with self._writing():
            self._file = self._path.open("ab", buffering=0)
            if os.fstat(self._file.fileno()).st_size > size:
                self._file.truncate(size)
            sync_folder(run)

    def write(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Append a line.

        Args:
            step: optimizer updates.
            epoch: passes over the training split.
            values: by tag.

        Raises:
            CannotWriteError: the disk is full.
        """
        content = finite({"step": step, "epoch": epoch, **values})
        with self._writing():
            self._file.write(json.dumps(content, allow_nan=False).encode() + b"\n")

    def size(self) -> int:
        """Bytes written so far, all of them on the disk: what a checkpoint keeps."""
        with self._writing():
            os.fsync(self._file.fileno())
            return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CannotWriteError(f"cannot write {self._path}: {error.strerror}") from error
