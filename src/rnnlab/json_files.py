"""JSON files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import json
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from rnnlab.disk import cannot_write, read_bytes
from rnnlab.errors import CheckpointError

MAX_BYTES = 1 << 24
MAX_DEPTH = 64  # levels; ours have less than ten


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write JSON so that a reader, or a crash, finds the old file or the new one, never a part.

    Numbers that are not finite become null: JSON has none.

    Raises:
        CannotWriteError: Disk full, read-only, no permission.
    """
    write_whole(path, json.dumps(finite(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a text in UTF-8 as `write_json` does.

    Raises:
        CannotWriteError: Disk full, read-only, no permission.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def read_json(path: Path, limit: int = MAX_BYTES) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Args:
        path: Of the file.
        limit: Bytes; what is larger is not looked at.

    Raises:
        CheckpointError: No such file, too large, not JSON, or no object in it.
    """
    try:
        content = read_bytes(path, limit)
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: not JSON ({str(error)[:80]})") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} is damaged: wanted a JSON object, got {type(data).__name__}")
    if b"\\u" in content and not _is_text(data):
        raise CheckpointError(f"{path} is damaged: it holds half a character")
    if content.count(b"[") + content.count(b"{") > MAX_DEPTH and _is_deeper(data, MAX_DEPTH):
        raise CheckpointError(f"{path} is damaged: it has more than {MAX_DEPTH} levels")
    return data


def _is_text(data: dict[str, Any]) -> bool:
    """Whether everything in JSON can be written again: half of a surrogate pair cannot."""
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def _is_deeper(data: Any, levels: int) -> bool:
    """Whether containers lie in each other over so many levels: whoever walks through them may run out of stack."""
    inside = [data]
    for _ in range(levels):
        inside = [
            item
            for container in inside
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, dict | list)
        ]
    return bool(inside)


def sync_folder(folder: Path) -> None:
    """Make what was made, renamed or removed in a folder last through a power cut."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows cannot open folders
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def finite(value: Any) -> Any:
    """Replace nan and inf by None, all the way down."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
