"""Write tunes to a file that any ABC program opens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rnnlab.errors import CannotWriteError


def format_tunes(tunes: Sequence[str]) -> str:
    """Join tunes into the text of one file: numbered `X:1`, `X:2`, ..., each with a blank line after it.

    Blank lines inside a tune are dropped, since they would end it.

    Args:
        tunes: tunes with or without an `X:` line of their own, whose number is replaced.
    """
    texts = []
    for number, tune in enumerate(tunes, start=1):
        lines = [line.rstrip() for line in tune.splitlines() if line.strip() and not re.match(r"X:", line)]
        texts.append("\n".join([f"X:{number}", *lines]) + "\n\n")
    return "".join(texts)


def write_tunes(tunes: Sequence[str], path: str | Path) -> Path:
    """Write tunes to one `.abc` file, UTF-8 with LF line ends; an older file of the name is replaced.

    Args:
        tunes: tunes with or without an `X:` line.
        path: the file; missing folders are made.

    Returns:
        The path.

    Raises:
        CannotWriteError: the file or its folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(format_tunes(tunes), encoding="utf-8", newline="\n")
    except OSError as error:
        raise CannotWriteError(f"cannot write {path}: {error.strerror}; choose a folder you may write to") from error
    return path
