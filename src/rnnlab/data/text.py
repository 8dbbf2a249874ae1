"""Strict reading of text files: what cannot be read is an error that names the file, the line and the byte."""

from __future__ import annotations

import codecs
import logging
import stat
from collections.abc import Collection
from pathlib import Path

from rnnlab.errors import DataError

log = logging.getLogger(__name__)

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NO_TEXT = {
    b"\x1f\x8b": "a gzip archive, wanted text; unpack it first: gunzip",
    b"BZh": "a bzip2 archive, wanted text; unpack it first: bunzip2",
    b"\xfd7zXZ\0": "an xz archive, wanted text; unpack it first: unxz",
    b"(\xb5/\xfd": "a Zstandard archive, wanted text; unpack it first: unzstd",
    b"PK\x03\x04": "a zip archive, or a document that is one (.docx, .xlsx, .epub), wanted text; save it as plain text",
    b"%PDF-": "a PDF document, wanted text; extract it first: pdftotext",
    b"MThd": "a MIDI file, wanted text",
}


def read_bytes(path: str | Path) -> bytes:
    """Read a regular file whole.

    Raises:
        DataError: the path does not exist, cannot be opened, or is a folder, a pipe or a device.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise DataError(f"{path} is a folder, wanted a file")
        # Opening a pipe would wait for a writer, perhaps for ever.
        if not stat.S_ISREG(mode):
            raise DataError(f"{path} is a pipe or a device, wanted a regular file; save its content to a file first")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def list_files(folder: Path, suffixes: Collection[str], *, recursive: bool = False) -> list[Path]:
    """Files of a folder whose names end in one of these suffixes (any case), sorted by path.

    Hidden ones (`.x`, in `.folder/`) are left out, as a shell's `*` does: editors and other systems put theirs there.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        found = folder.glob("**/*" if recursive else "*")
        named = (path for path in found if path.suffix.lower() in suffixes)
        return sorted(p for p in named if not any(part.startswith(".") for part in p.relative_to(folder).parts))
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror}") from None


def read_text(path: str | Path) -> str:
    r"""Read a UTF-8 file; line ends become "\n".

    A byte order mark is removed, and CRLF or CR line ends are replaced; both are logged as warnings. Other separators
    that Python counts as line ends (U+2028, form feed, ...) are ordinary characters: split the text on "\n" alone.

    Raises:
        DataError: the file cannot be read, is not UTF-8 or contains a NUL (with line and byte), or has nothing but
            white space.
    """
    return decode_text(read_bytes(path), str(path))


def decode_text(content: bytes, name: str, *, report: bool = True) -> str:
    r"""Decode the bytes of a file as `read_text` does.

    Args:
        content: the file, whole.
        name: what messages call it.
        report: log a byte order mark and CRLF line ends; not needed for content that is known by its hash.

    Raises:
        DataError: as `read_text`.
    """
    if content.startswith(_UTF16_MARKS):
        raise DataError(f"{name} is UTF-16 or UTF-32, wanted UTF-8; convert it: iconv -f UTF-16 -t UTF-8")
    for mark, what in _NO_TEXT.items():
        if content.startswith(mark):
            raise DataError(f"{name} is {what}")
    if report and content.startswith(codecs.BOM_UTF8):
        log.warning("%s: removed the byte order mark at the start", name)
    nul = content.find(b"\0")
    if nul >= 0:
        raise DataError(f"{name}, {_place(content, nul)}: a NUL byte, wanted text; is this a binary file, or UTF-16?")
    try:
        # Not "utf-8-sig": it would count the byte offsets of errors from behind the mark.
        text = content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name}, {_place(content, error.start)}: byte 0x{content[error.start]:02x} is not UTF-8; "
            "convert the file: iconv -f LATIN1 -t UTF-8"
        ) from None
    if "\r" in text:
        if report:
            log.warning("%s: read CRLF or CR line ends as LF", name)
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text or text.isspace():
        what = "white space only" if content else "empty"
        raise DataError(f"{name} is {what}, wanted text")
    return text


def _place(content: bytes, offset: int) -> str:
    line_start = content.rfind(b"\n", 0, offset) + 1
    line = content.count(b"\n", 0, offset) + 1
    return f"line {line}, byte {offset - line_start + 1} of the line, offset {offset} in the file"
