"""Every operation that changes the disk, counted, so that a run can be killed before, after or inside of any of them.

Files are opened by Python's own `_pyio`, which does through `os` what the built-in `open` does in C: nothing that
rnnlab writes goes around the functions that are watched here.
"""

from __future__ import annotations

import _pyio
import builtins
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

# Name -> positions of its paths. Files that are open are told by their descriptor.
_ON_PATHS = {
    "open": (0,),
    "mkdir": (0,),
    "rename": (0, 1),
    "replace": (0, 1),
    "symlink": (1,),
    "link": (0, 1),
    "truncate": (0,),
    "unlink": (0,),
    "remove": (0,),
    "rmdir": (0,),
}
_ON_DESCRIPTORS = ("write", "pwrite", "fsync", "ftruncate")
_CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Operation(NamedTuple):
    """One durable operation.

    Attributes:
        name: of the function in `os`.
        paths: that it works on, absolute; old and new one of a move.
    """

    name: str
    paths: tuple[str, ...]


class Watch:
    """Counts durable operations below a folder, and does something at one of them."""

    def __init__(self, folder: Path) -> None:
        """Watch nothing yet.

        Args:
            folder: operations outside of it are not counted.
        """
        self.log: list[Operation] = []
        self._folder = str(folder.resolve())
        self._number = 0
        self._moment = ""
        self._act: Callable[[], None] = _die

    def strike_at(self, number: int, moment: str, act: Callable[[], None] | None = None) -> None:
        """Let the process die at an operation.

        Args:
            number: which, from 1.
            moment: before, after, or half: once half of what is written is written.
            act: instead of dying.
        """
        self._number, self._moment = number, moment
        self._act = act or _die

    def install(self) -> None:
        """Stand between this process and the disk from now on."""
        for name in (*_ON_PATHS, *_ON_DESCRIPTORS):
            setattr(os, name, self._watched(name, getattr(os, name)))
        builtins.open = io.open = _pyio.open

    def _watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            paths = self._paths(name, arguments, keywords)
            if not paths:
                return real(*arguments, **keywords)
            self.log.append(Operation(name, paths))
            is_it = len(self.log) == self._number
            if is_it and self._moment == "before":
                self._act()
            if is_it and self._moment == "half" and name == "write" and len(arguments[1]) > 1:
                # A short write is no error: Python writes the rest where the process lives on.
                count = real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                self._act()
                return count
            result = real(*arguments, **keywords)
            if is_it and self._moment != "before":
                self._act()
            return result

        return call

    def _paths(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[str, ...]:
        """Absolute paths of an operation; none if it changes nothing below the folder."""
        if name == "open" and not dict(enumerate(arguments)).get(1, keywords.get("flags", 0)) & _CHANGING:
            return ()
        if name in _ON_DESCRIPTORS:
            found = (_path_of(arguments[0]),)
        else:
            folder = keywords.get("dir_fd")
            base = os.getcwd() if folder is None else _path_of(folder)
            paths: list[Any] = [arguments[place] for place in _ON_PATHS[name]]
            found = tuple(os.path.join(base, os.fspath(path)) for path in paths)
        return found if any(path.startswith(self._folder) for path in found) else ()


def _path_of(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").removesuffix(" (deleted)")
    except OSError:
        return ""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def violations(log: list[Operation]) -> list[str]:
    """Where a run's operations are in an order that a power cut could make a lie of.

    A checkpoint's folder gets its name after each file in it and the folder itself are on the disk, with the event and
    metrics files whose lengths it tells. Nothing that it replaces is removed before the name is on the disk, too. A
    JSON file gets its name after its content is on the disk.
    """
    found: list[str] = []
    unsynced: set[str] = set()  # written, made or renamed since their fsync
    unsettled: dict[str, str] = {}  # renamed, but not their folder's fsync: new name -> folder
    for number, (name, paths) in enumerate(log, 1):
        path = paths[-1]
        folder = os.path.dirname(path)
        match name:
            case "write" | "pwrite" | "ftruncate" | "truncate":
                unsynced.add(path)
            case "open" | "mkdir" | "symlink":
                unsynced.add(folder)
            case "fsync":
                unsynced.discard(path)
                unsettled = {new: parent for new, parent in unsettled.items() if parent != path}
            case "rename" | "replace":
                old = paths[0]
                if "/.del-" not in path:  # what is about to be removed need not be whole
                    found += [
                        f"operation {number}: {path} gets its name before {lost} is on the disk"
                        for lost in sorted(unsynced)
                        if lost == old or os.path.dirname(lost) == old or (_is_checkpoint(path) and _is_record(lost))
                    ]
                    unsettled[path] = folder
                unsynced = {entry for entry in unsynced if entry != old and not entry.startswith(f"{old}/")}
            case "unlink" | "remove" | "rmdir":
                unsynced.discard(path)
                if "/.del-step-" in path and (lost := [new for new in unsettled if _is_checkpoint(new)]):
                    found.append(f"operation {number}: {path} is removed before the name {lost[0]} is on the disk")
    return found


def _is_checkpoint(path: str) -> bool:
    return os.path.basename(path).startswith("step-") and os.path.basename(os.path.dirname(path)) == "checkpoints"


def _is_record(path: str) -> bool:
    return os.path.basename(path).startswith("events.out.tfevents") or path.endswith("metrics.jsonl")
