"""Write tunes to files: notation that any ABC program opens, MIDI, sound, and a page that shows and plays them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rnnlab.errors import CannotWriteError
from rnnlab.generation.abc.midi import midi_bytes
from rnnlab.generation.abc.page import tunes_page
from rnnlab.generation.abc.performance import perform
from rnnlab.generation.abc.sound import render, wav_bytes


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
    return _write(Path(path), format_tunes(tunes).encode())


def write_album(tunes: Sequence[str], folder: str | Path, title: str) -> tuple[list[Path], dict[int, str]]:
    """Write tunes to a folder: tunes.abc, tune-1.mid and tune-1.wav and so on, and tunes.html, which plays them.

    Older files of these names are replaced.

    Args:
        tunes: tunes with or without an `X:` line.
        folder: it is made if it is missing.
        title: of the page.

    Returns:
        The files, tunes.abc first and the page last; and why some tunes, by number, have no sound.

    Raises:
        CannotWriteError: the folder or a file cannot be written.
    """
    folder = Path(folder)
    files = [write_tunes(tunes, folder / "tunes.abc")]
    silent = {}
    for number, tune in enumerate(tunes, start=1):
        try:
            performance = perform(tune)
        except ValueError as error:
            silent[number] = str(error)
            continue
        files.append(_write(folder / f"tune-{number}.mid", midi_bytes(performance)))
        files.append(_write(folder / f"tune-{number}.wav", wav_bytes(render(performance))))
    files.append(_write(folder / "tunes.html", tunes_page(tunes, title).encode()))
    return files, silent


def _write(path: Path, content: bytes) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise CannotWriteError(f"cannot write {path}: {error.strerror}; choose a folder you may write to") from error
    return path
