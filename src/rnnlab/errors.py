"""What the user can mend: one line, one documented exit code each, never a traceback.

A message says what is wrong, what was got, what was wanted and, if it is short, what to do.
"""

from __future__ import annotations

import re


class UserError(Exception):
    """Something the user can mend; the command line prints the message alone and exits with `exit_code`."""

    exit_code = 2


class ConfigError(UserError):
    """A bad option or setting: a typo, a value out of range, a contradiction."""

    exit_code = 2


class DataError(UserError):
    """Bad input data: missing, empty, wrong encoding, columns, labels or vocabulary."""

    exit_code = 3


class CheckpointError(UserError):
    """A run or checkpoint that does not exist, is damaged, or belongs to another model."""

    exit_code = 4


class DivergedError(UserError):
    """Training met a loss or gradient that is not finite."""

    exit_code = 5


class OutOfMemoryError(UserError):
    """The model or batch does not fit into memory."""

    exit_code = 6


class CannotWriteError(UserError):
    """Results cannot be written: disk full, read-only, no permission."""

    exit_code = 7


class FolderInUseError(UserError):
    """The run's folder is in use by another process, or holds another run."""

    exit_code = 8


class LostRankError(UserError):
    """Another process of the same training has ended; what it held of the batch is lost with it."""

    exit_code = 10


STOP_CODES = (129, 130, 143)  # of a run that a signal stopped: SIGHUP, SIGINT, SIGTERM


class StoppedError(UserError):
    """A signal stopped the run after its state was saved."""

    def __init__(self, message: str, exit_code: int) -> None:
        """Keep the signal's exit code: 130 for SIGINT, 143 for SIGTERM."""
        super().__init__(message)
        self.exit_code = exit_code


_MEMORY_TEXTS = ("DefaultCPUAllocator: can't allocate memory", "out of memory", "not enough memory", "std::bad_alloc")
_SIZE = re.compile(r"allocate (\d[\d.,]*) ?(bytes|[KMGT]i?B)?", re.IGNORECASE)


def out_of_memory(error: BaseException) -> OutOfMemoryError | None:
    """Say how much memory was asked for and what makes a run smaller; None if the error is another.

    Args:
        error: Python's, numpy's or torch's, of any device.
    """
    text = " ".join(str(error).split())
    is_torchs = isinstance(error, RuntimeError) and any(words in text for words in _MEMORY_TEXTS)
    if not (isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or is_torchs):
        return None
    if isinstance(error, OutOfMemoryError):
        return error
    advice = "lower trainer.batch_size, trainer.bptt_len or model.hidden_size"
    if found := _SIZE.search(text):
        size = found[1].rstrip(".").replace(",", "")
        asked = f"{float(size) / 2**30:,.3g} GiB" if found[2] in (None, "bytes") else f"{size} {found[2]}"
        return OutOfMemoryError(f"out of memory: {asked} more were asked for; {advice}")
    return OutOfMemoryError(f"out of memory{f' ({text[:120]})' if text else ''}; {advice}")
