"""Disks that are full and files that are somebody else's. No torch.

A file of a run folder may have come with a stranger's run: it is read only if it is a regular file of a size that was
known before.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from io import FileIO
from pathlib import Path

from rnnlab.errors import CannotWriteError

_SPACE_ERRORS = (errno.ENOSPC, errno.EDQUOT)


def read_bytes(path: Path, limit: int, *, follow: bool = True) -> bytes:
    """Read a regular file of at most `limit` bytes, once.

    Args:
        path: of the file.
        limit: bytes.
        follow: whether it may be a symbolic link.

    Raises:
        OSError: it is not there, cannot be read, or is a link that may not be followed.
        ValueError: it is larger, or no regular file (a device or pipe would never end).
    """
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags | (0 if follow else getattr(os, "O_NOFOLLOW", 0)))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError(f"{path.name} is a symbolic link") from None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path.name} is no regular file")
        if status.st_size > limit:
            raise ValueError(f"{path.name} has {status.st_size:,} bytes, at most {limit:,} are read")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(status.st_size)
    finally:
        os.close(descriptor)


def append_whole(file: FileIO, content: bytes, size: int) -> None:
    """Append all of it or, if the disk is full, none: half a record would spoil all that come after it.

    Args:
        file: unbuffered, at its end.
        content: what is written.
        size: of the file before.

    Raises:
        OSError: the disk does not take it.
    """
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError:
        with suppress(OSError):
            file.truncate(size)
            file.seek(size)
        raise


def free_bytes(folder: Path) -> int | None:
    """Bytes that this user may still write to the disk of a folder; None where the system does not tell."""
    try:
        status = os.statvfs(folder)
    except (OSError, AttributeError):
        return None
    return status.f_bavail * status.f_frsize if status.f_blocks else None


def cannot_write(path: Path, error: OSError, what: str = "") -> CannotWriteError:
    """Say in the user's words what could not be written and why, with the free bytes where it is for want of space.

    Args:
        path: that was written, or its folder; the nearest folder that is there is asked for its space.
        error: what the system said.
        what: a kind of file, named before the path.
    """
    reason = error.strerror or str(error)
    if error.errno in _SPACE_ERRORS:
        free = next((found for place in (path, *path.parents) if (found := free_bytes(place)) is not None), None)
        reason += "" if free is None else f" ({free:,} bytes free)"
    return CannotWriteError(f"cannot write {what + ' ' if what else ''}{path}: {reason}")


def probe(folder: Path) -> None:
    """Write some bytes into a folder and remove them: what would fail after hours fails now.

    Raises:
        CannotWriteError: the disk is full or read-only, or there is no permission.
    """
    path = folder / ".probe"
    try:
        with path.open("wb") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise cannot_write(folder, error, "to") from None


def check_space(folder: Path, size: int, what: str) -> None:
    """Refuse to begin what leaves a disk full: twice its size must be free.

    Raises:
        CannotWriteError: it is not.
    """
    free = free_bytes(folder)
    if free is not None and free < 2 * size:
        raise CannotWriteError(
            f"cannot write {what}: {free:,} bytes are free, wanted {2 * size:,}, twice its size; free some space"
        )
