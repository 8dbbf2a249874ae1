"""Text that a user hands to a command: a file, or standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from rnnlab.data.corpora.table_files import SUFFIXES
from rnnlab.data.text import decode_text, read_text
from rnnlab.errors import DataError


def read_own(file: str) -> str:
    """Read a UTF-8 file, or standard input where the name is -.

    Raises:
        DataError: it cannot be read, is no text, or a table, whose labels and commas would be read as words.
    """
    if Path(file).suffix.lower() in SUFFIXES:
        raise DataError(f"{file} is a table, wanted one text a line; save its texts as a .txt file")
    return decode_text(_standard_input(), "standard input") if file == "-" else read_text(file)


def _standard_input() -> bytes:
    """Read standard input to its end; a user who sits before it is told so."""
    if sys.stdin is None:
        raise DataError("standard input is closed; give file=PATH or text=...")
    if sys.stdin.isatty():
        print("reading standard input, one text a line; Ctrl-D ends it", file=sys.stderr)
    return sys.stdin.buffer.read()
