"""What the user can mend: one line, one documented exit code each, never a traceback.

A message says what is wrong, what was got, what was wanted and, if it is short, what to do.
"""

from __future__ import annotations


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


class StoppedError(UserError):
    """A signal stopped the run after its state was saved."""

    def __init__(self, message: str, exit_code: int) -> None:
        """Keep the signal's exit code: 130 for SIGINT, 143 for SIGTERM."""
        super().__init__(message)
        self.exit_code = exit_code
