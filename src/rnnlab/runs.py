"""Run folders under outputs/: made exclusively, named, listed.

    outputs/<name>/
      .hydra/{config,overrides}.yaml    what was asked
      run.json                          what it came to: resolved config, seed, versions, data, backend
      result.json                       {"status": "running" | "done" | "failed" | "stopped", "metrics": {...}, ...}
      metrics.jsonl                     what was measured, one line a log point
      rnnlab.log  events  vocabulary.json  checkpoints/  samples/

No torch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rnnlab.disk import cannot_write, probe
from rnnlab.errors import STOP_CODES, CannotWriteError, ConfigError, FolderInUseError
from rnnlab.json_files import read_json, sync_folder, write_json
from rnnlab.run_lock import LOCK, UNFINISHED, lock_run

__all__ = [
    "check_free",
    "check_name",
    "create_run",
    "is_run",
    "outputs_root",
    "read_json",
    "record_result",
    "run_folders",
    "run_name",
    "run_names",
    "telling_name",
    "write_json",
]

_MAX_NAME_BYTES = 200  # a part of a name; file systems allow 255, and -2 or a temporary suffix must still fit
_MAX_TELLING = 80  # characters of a name made of settings
_MAX_DEPTH = 4  # sweep-1/3-lstm is 2
_OF_A_START = {LOCK, ".probe", ".hydra", "rnnlab.log", "vocabulary.json"}  # before run.json


def outputs_root() -> Path:
    """Return the folder of all runs: $RNNLAB_OUTPUTS, else ./outputs; it need not be there yet.

    Raises:
        CannotWriteError: there is something else of that name.
    """
    root = os.path.expanduser(os.environ.get("RNNLAB_OUTPUTS") or "outputs")
    if os.path.exists(root) and not os.path.isdir(root):
        raise CannotWriteError(f"{root} is no folder: no runs can be in it; set RNNLAB_OUTPUTS to another folder")
    return Path(root)


@contextmanager
def begin_run(name: str, *, exact: bool) -> Iterator[Path]:
    """Make a new run's folder and keep it to this process while the block runs.

    A folder of this very name is taken over if it is empty or holds no more than a start that died left there.

    Args:
        name: As for `create_run`.
        exact: As for `create_run`.

    Raises:
        ConfigError: As from `create_run`.
        FolderInUseError: There is a run of that name, or another process is making it.
        CannotWriteError: As from `create_run`.
    """
    check_name(name)
    folder = outputs_root() / name
    is_left = exact and _never_began(folder)
    if not is_left:
        folder = create_run(name, exact=exact)
    with lock_run(folder):
        if (folder / "run.json").exists():  # of a process that was quicker
            raise _taken(name)
        if is_left:
            probe(folder)
        yield folder


def create_run(name: str, *, exact: bool) -> Path:
    """Make a run's folder, which must not exist, and make sure that it can be written to.

    Args:
        name: Under outputs/; slashes make folders.
        exact: The user gave the name; otherwise -2, -3, ... is appended until it is free.

    Returns:
        The new folder.

    Raises:
        ConfigError: A name that leaves outputs/ or cannot be a folder's name.
        FolderInUseError: `exact`, and the folder is there already.
        CannotWriteError: No permission, no space, read-only, or something on the way is no folder.
    """
    check_name(name)
    root = outputs_root()
    _refuse_inside_run(root, name)
    folder = root / name
    number = 1
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                folder.mkdir()
                sync_folder(folder.parent)
                break
            except FileExistsError:
                if exact:
                    raise _taken(name) from None
                number += 1
                folder = root / f"{name}-{number}"
        probe(folder)
    except (OSError, CannotWriteError) as error:
        mistake = cannot_write(folder, error, "to") if isinstance(error, OSError) else error
        raise CannotWriteError(f"{mistake}; set RNNLAB_OUTPUTS to another folder") from None
    return folder


def record_result(folder: Path, status: str, facts: Mapping[str, Any], error: BaseException | None = None) -> None:
    """Write result.json.

    Args:
        folder: the run's folder.
        status: running, done, or failed; an error that is a stop after saving makes it stopped.
        facts: metrics, steps, seconds and so on.
        error: what ended the run, if it failed.
    """
    exit_code: int | None = 0 if status == "done" else None
    if error is not None:
        of_this_kind = 130 if isinstance(error, KeyboardInterrupt) else 1
        exit_code = getattr(error, "exit_code", of_this_kind)
        status = "stopped" if exit_code in STOP_CODES else "failed"
        facts = {**facts, "error": f"{type(error).__name__}: {error}"[:500]}
    stands = {"status": status, "exit_code": exit_code, "pid": os.getpid()}
    write_json(folder / "result.json", {**stands, **facts, **stands})  # the facts may be of a result before


def telling_name(values: Mapping[str, str], choices: Collection[str] = ("model", "task", "optimizer")) -> str:
    """Name a run after settings of its own, fit for any file system: `lstm-lr=0.003`.

    Args:
        values: settings and their values.
        choices: of these the value alone says enough.
    """
    parts = [
        value if "." not in key and key in choices else f"{key.rpartition('.')[2]}={value}"
        for key, value in values.items()
    ]
    return re.sub(r"[^A-Za-z0-9=.,_+-]+", "_", "-".join(parts))[:_MAX_TELLING].rstrip("-.")


def check_free(name: str) -> None:
    """Refuse a name that no new run can have: before the corpus is read, which may take a minute.

    Raises:
        ConfigError: A name that leaves outputs/, cannot be a folder's name or lies inside a run.
        FolderInUseError: The folder is there already.
    """
    check_name(name)
    _refuse_inside_run(outputs_root(), name)
    folder = outputs_root() / name
    if os.path.lexists(folder) and not _never_began(folder):
        raise _taken(name)


def check_name(name: str) -> None:
    """Refuse names that leave outputs/ or that no file system takes.

    Raises:
        ConfigError: What is wrong with it.
    """
    if name.startswith(("/", "~")) or re.match(r"[A-Za-z]:[\\/]", name):
        raise ConfigError(f"name must be a folder under {outputs_root()}, got the path {name!r}")
    for folder in (str(outputs_root().absolute()), os.getcwd()):
        if any("\ud800" <= character <= "\udfff" for character in folder):  # which a run's JSON could not hold
            raise ConfigError(f"{folder!r} is not UTF-8; work in another folder, or set RNNLAB_OUTPUTS to one")
    if not name.isprintable():
        raise ConfigError(f"name must be printable, got {name!r}")
    for part in name.split("/"):
        if not part or part.startswith((".", "-")) or part != part.strip():
            wanted = "no empty parts, none that begins with a dot or a dash, no spaces around them"
            raise ConfigError(f"name {name!r} cannot be a run's folder: {wanted}")
        if len(part.encode()) > _MAX_NAME_BYTES:
            raise ConfigError(f"name: {part[:20]}... is {len(part.encode())} bytes long, at most {_MAX_NAME_BYTES} fit")


def run_name(folder: Path) -> str:
    """Return what `run=` takes for a run's folder: its name under outputs/, else its path."""
    root = outputs_root().resolve()
    resolved = folder.resolve()
    return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else str(folder)


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run."""
    try:
        return (folder / "run.json").is_file() or (folder / ".hydra" / "config.yaml").is_file()
    except OSError:  # a name too long for the file system
        return False


def run_names() -> list[str]:
    """Return the names of all runs, sorted."""
    root = outputs_root()
    return sorted(folder.relative_to(root).as_posix() for folder in run_folders(root))


def _never_began(folder: Path) -> bool:
    """Whether a folder is empty, or a start that did not live to write run.json left it."""
    try:
        return not folder.is_symlink() and all(
            path.name in _OF_A_START or path.match(UNFINISHED) for path in folder.iterdir()
        )
    except OSError:
        return False


def _refuse_inside_run(root: Path, name: str) -> None:
    """A run inside another run's folder would be deleted or copied with it."""
    for parent in Path(name).parents:
        if parent != Path() and is_run(root / parent):
            raise ConfigError(f"name {name!r} lies inside the run '{parent}'; choose another name")


def _taken(name: str) -> FolderInUseError:
    """Say that a name is taken, and what to type instead."""
    advice = f"go on with it: resume={name}, or choose another name"
    return FolderInUseError(f"there is a run '{name}' in {outputs_root()} already; {advice}")


def run_folders(root: Path) -> Iterator[Path]:
    """Yield the run folders below a folder; runs are not searched for further runs."""
    pending = [(root, 0)]
    while pending:
        folder, depth = pending.pop()
        try:
            # A name with a dot is no run's: `rm` renames a run to one before it takes it apart.
            entries = [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir() and entry.name[0] != "."]
        except OSError:
            continue
        for entry in entries:
            if is_run(entry):
                yield entry
            elif depth + 1 < _MAX_DEPTH:
                pending.append((entry, depth + 1))
