"""Corpora that were encoded before: one file each in the cache folder, mapped into memory instead of read again.

An entry's name holds a hash of all that its content depends on, so it is never out of date, only unused; a damaged one
is found, dropped and made again. `$RNNLAB_CACHE` is another folder, or `off`.

No failure here ends a run: what cannot be kept is encoded again next time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rnnlab.data.encoded import Encoded
from rnnlab.data.files import write_whole

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

log = logging.getLogger(__name__)

CACHE_VARIABLE = "RNNLAB_CACHE"
OFF = "off"
MAX_BYTES = 2 << 30  # of all entries; the ones not used for longest go first
WAIT_SECONDS = 300  # for another process that encodes the same corpus; longer than any of ours takes
_SUFFIX = ".safetensors"
_STALE_SECONDS = 3600  # a temporary file older than this is of a process that was killed


def cache_folder() -> Path:
    """Where downloads and encoded corpora are kept: `$RNNLAB_CACHE`, else the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen and chosen != OFF:
        return Path(os.path.expanduser(chosen))
    from platformdirs import user_cache_path

    return user_cache_path("rnnlab", appauthor=False)


def encoded_folder() -> Path | None:
    """Where encoded corpora are kept; None when that is off."""
    return None if os.environ.get(CACHE_VARIABLE) == OFF else cache_folder() / "encoded"


def key_of(name: str, parts: Mapping[str, Any]) -> str:
    """The name of an entry's file: readable in front, then a hash of everything it depends on.

    Args:
        name: the corpus's name or path.
        parts: JSON-able; what is no JSON goes in as its `str`.
    """
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9-]+', '-', Path(name).stem)[:40].strip('-') or 'corpus'}-{digest[:32]}"


def cached(key: str, build: Callable[[], Encoded], *, still_true: Callable[[], bool] = lambda: True) -> Encoded:
    """Find a corpus by its key, or build it and keep it.

    Processes that want the same entry at the same time wait for the one that builds it.

    Args:
        key: from `key_of`.
        build: reads and encodes; what it raises is raised here, and nothing is kept.
        still_true: whether the key still names what `build` has just read; else it is not kept.
    """
    folder = encoded_folder()
    if folder is None:
        return build()
    if (found := look_up(key)) is not None:
        return warn_again(found)
    with _one_builder(folder, key):
        if (found := look_up(key)) is not None:
            return warn_again(found)
        with _kept_warnings() as warnings:
            built = build()
        built.warnings.extend(warnings)
        if still_true():
            _store(folder / f"{key}{_SUFFIX}", built)
    return built


def look_up(key: str) -> Encoded | None:
    """The entry of a key, None if there is none; a damaged one is removed with a warning."""
    folder = encoded_folder()
    if folder is None:
        return None
    path = folder / f"{key}{_SUFFIX}"
    try:
        found = Encoded.load(path)
    except OSError:  # not there; or not to be read, which is told when it cannot be written either
        return None
    except ValueError as error:
        log.warning("%s is damaged (%s); encoding the corpus again", path, error)
        _remove(path)
        return None
    try:
        os.utime(path)  # used now: it goes last
    except OSError:
        pass
    return found


def warn_again(entry: Encoded) -> Encoded:
    """Log what was warned of when the files of an entry were read; returns the entry."""
    for line in entry.warnings:
        log.warning("%s", line)
    return entry


def entries() -> list[tuple[Path, int]]:
    """Files in the cache and their bytes, the least recently used first; empty when it is off or not there."""
    folder = encoded_folder()
    found = []
    for path in [] if folder is None else folder.glob(f"*{_SUFFIX}"):
        try:
            status = path.stat()
        except OSError:  # removed a moment ago, by another process
            continue
        found.append((status.st_mtime, path, status.st_size))
    return [(path, size) for _, path, size in sorted(found)]


def _store(path: Path, entry: Encoded) -> None:
    """Write an entry; a disk that cannot take it is one log line."""
    try:
        _make(path.parent)
        write_whole(path, entry.to_bytes())
        _prune(path)
    except OSError as error:
        log.warning(
            "the encoded corpus is not kept: cannot write to %s: %s; %s=FOLDER keeps it elsewhere, %s=%s nowhere",
            *(path.parent, error.strerror, CACHE_VARIABLE, CACHE_VARIABLE, OFF),
        )


def _prune(newest: Path) -> None:
    """Remove what was not used for longest until the rest fits, and what killed processes left."""
    found = entries()
    total = sum(size for _, size in found)
    for path, size in found:
        if total > MAX_BYTES and path != newest:
            _remove(path)
            total -= size
    for path in newest.parent.glob(".*.part"):
        try:
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                _remove(path)
        except OSError:
            continue


def _make(folder: Path) -> None:
    """Make the folder, for its owner alone: entries hold texts that may come from a file that nobody else can read."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        pass


@contextmanager
def _one_builder(folder: Path, key: str) -> Iterator[None]:
    """Let one process build at a time; where there are no locks, all do."""
    # Sixteen files for all keys, never removed: removing a lock that another process is about to take breaks it.
    path = folder / f".lock-{key[-1]}"
    try:
        _make(folder)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
    except OSError:
        descriptor = None
    try:
        if descriptor is not None and fcntl is not None:
            _wait_for(descriptor)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _wait_for(descriptor: int) -> None:
    """Take a lock, or go on without it when its holder stands still."""
    assert fcntl is not None
    began, told = time.monotonic(), False
    while time.monotonic() < began + WAIT_SECONDS:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told and time.monotonic() > began + 1:
                told = True
                log.info("waiting for another process that encodes a corpus")
            time.sleep(0.05)
        except OSError:  # a file system without locks
            return None
    return None


class _Keeper(logging.Handler):
    """Keeps the text of warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def _kept_warnings() -> Iterator[list[str]]:
    """What rnnlab's loggers warn of while the block runs."""
    keeper, logger = _Keeper(), logging.getLogger("rnnlab")
    logger.addHandler(keeper)
    try:
        yield keeper.texts
    finally:
        logger.removeHandler(keeper)
