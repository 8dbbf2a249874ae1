"""Text that a user hands to a command: a file, or standard input."""

from __future__ import annotations

import sys

from rnnlab.data.text import decode_text, read_text
from rnnlab.errors import DataError


def read_own(file: str) -> str:
    """Read a UTF-8 file, or standard input where the name is -.

    Raises:
        DataError: it cannot be read, or is no text.
    """
    return decode_text(_standard_input(), "standard input") if file == "-" else read_text(file)


def _standard_input() -> bytes:
    """Read standard input to its end; a user who sits before it is told so."""
    if sys.stdin is None:
        raise DataError("standard input is closed; give file=PATH or text=...")
    if sys.stdin.isatty():
        print("reading standard input, one text a line; Ctrl-D ends it", file=sys.stderr)
    return sys.stdin.buffer.read()
