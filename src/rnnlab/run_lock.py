"""A run is its process's alone: the lock that goes with the process, even if it is killed. No torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rnnlab.disk import cannot_write
from rnnlab.errors import FolderInUseError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = ".lock"
UNFINISHED = ".*.json.*.tmp"  # what a killed write_json leaves


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Keep a run to this process while the block runs; the lock goes with the process, even if it is killed.

    Raises:
        FolderInUseError: Another process holds it.
        CannotWriteError: The lock cannot be made.
    """
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise cannot_write(folder, error, "to") from None
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(descriptor, 32).decode(errors="replace").strip()
                raise FolderInUseError(f"{folder} is in use by process {holder or 'of another user'}") from None
        for path in folder.glob(UNFINISHED):
            path.unlink(missing_ok=True)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def is_alive(folder: Path, pid: Any) -> bool:
    """Whether the process of a run still runs: it holds the lock, or, where there is none, its number is taken."""
    if fcntl is not None and (folder / LOCK).is_file():
        try:
            with (folder / LOCK).open() as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        except OSError:
            pass  # a file system without locks
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True
