"""Run folders under outputs/: made exclusively, found by name, listed.

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
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rnnlab.disk import cannot_write, probe
from rnnlab.errors import CannotWriteError, CheckpointError, ConfigError, FolderInUseError, UserError
from rnnlab.json_files import read_json, sync_folder, write_json
from rnnlab.wording import did_you_mean

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = [
    "RunSummary",
    "check_free",
    "check_name",
    "create_run",
    "find_run",
    "is_run",
    "list_runs",
    "lock_run",
    "outputs_root",
    "read_json",
    "run_name",
    "run_names",
    "summarize",
    "telling_name",
    "write_json",
]

FORMAT = 1
_MAX_NAME_BYTES = 200  # a part of a name; file systems allow 255, and -2 or a temporary suffix must still fit
_MAX_TELLING = 80  # characters of a name made of settings
_MAX_DEPTH = 4  # sweep-1/3-lstm is 2
_LOCK = ".lock"
_UNFINISHED = ".*.json.*.tmp"  # what a killed write_json leaves
_LINK = re.compile(r"last|best|\.tmp-(last|best)-\d+")
_OF_A_START = {_LOCK, ".probe", ".hydra", "rnnlab.log", "vocabulary.json"}  # before run.json


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One line of `rnnlab runs`.

    Attributes:
        name: Its folder under outputs/, what `run=` takes.
        path: The folder.
        task: The task's name, "" if unknown; the same for `model`.
        status: running, done, failed, stopped; killed: it says running, but its process is gone; damaged: run.json or
            result.json cannot be read; unknown: no result.json.
        metric: TensorBoard tag of the score shown: the test split's if it was scored, else the selection metric.
        value: That score.
        steps: Optimizer updates.
        seconds: Time spent training.
        created: UTC.
        error: Why it failed.
    """

    name: str
    path: Path
    task: str
    model: str
    status: str
    metric: str | None
    value: float | None
    steps: int | None
    seconds: float | None
    created: datetime | None
    error: str | None


def outputs_root() -> Path:
    """Return the folder of all runs: $RNNLAB_OUTPUTS, else ./outputs."""
    return Path(os.path.expanduser(os.environ.get("RNNLAB_OUTPUTS") or "outputs"))


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
    if not name.isprintable():
        raise ConfigError(f"name must be printable, got {name!r}")
    for part in name.split("/"):
        if not part or part.startswith((".", "-")) or part != part.strip():
            wanted = "no empty parts, none that begins with a dot or a dash, no spaces around them"
            raise ConfigError(f"name {name!r} cannot be a run's folder: {wanted}")
        if len(part.encode()) > _MAX_NAME_BYTES:
            raise ConfigError(f"name: {part[:20]}... is {len(part.encode())} bytes long, at most {_MAX_NAME_BYTES} fit")


def find_run(name: str) -> Path:
    """Return the folder of a run, by its name under outputs/ or by its path.

    Raises:
        CheckpointError: There is none, or it holds what no run of rnnlab's holds.
    """
    for folder in (outputs_root() / name, Path(os.path.expanduser(name))) if name and "\0" not in name else ():
        if is_run(folder):
            _refuse_links(folder)
            return folder
    known = run_names()
    if not known:
        raise CheckpointError(f"no run '{name}': there are no runs in {outputs_root()}; rnnlab train makes one")
    raise CheckpointError(f"no run '{name}'{did_you_mean(name, known) or ';'} rnnlab runs lists them")


def _refuse_links(folder: Path) -> None:
    """Refuse links out of a run's folder, pipes and devices: it may be somebody else's, and is read and written to.

    A link in the place of rnnlab.log or samples/ would let a resumed run write anywhere.

    Raises:
        CheckpointError: There is one; `last` and `best` among the checkpoints may point at their siblings, also under
            the name that they have until they are whole.
    """
    pending = [folder]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except OSError:
            continue  # what cannot be listed cannot be read either, and is told there
        for entry in entries:
            path = Path(entry.path)
            if entry.is_symlink():
                of_ours = path.parent == folder / "checkpoints" and _LINK.fullmatch(path.name)
                if not (of_ours and "/" not in os.readlink(path).removesuffix("/")):
                    raise CheckpointError(
                        f"{path} is a link, and could lead anywhere; put in its place what it points at"
                    )
            elif entry.is_dir():
                pending.append(path)
            elif not entry.is_file():
                raise CheckpointError(f"{path} is a pipe or a device; no run has one: remove it")


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
    return sorted(folder.relative_to(root).as_posix() for folder in _run_folders(root))


def list_runs() -> list[RunSummary]:
    """Return all runs, oldest first; what cannot be read is listed as damaged."""
    root = outputs_root()
    found = [_summary(folder.relative_to(root).as_posix(), folder) for folder in _run_folders(root)]
    return sorted(found, key=lambda run: (run.created.timestamp() if run.created else 0.0, run.name))


def summarize(folder: Path) -> RunSummary:
    """Return one run's line."""
    return _summary(run_name(folder), folder)


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Keep a run to this process while the block runs; the lock goes with the process, even if it is killed.

    Raises:
        FolderInUseError: Another process holds it.
        CannotWriteError: The lock cannot be made.
    """
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise cannot_write(folder, error, "to") from None
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(descriptor, 32).decode(errors="replace").strip()
                raise FolderInUseError(f"{folder} is in use by process {holder or 'of another user'}") from None
        for path in folder.glob(_UNFINISHED):
            path.unlink(missing_ok=True)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _never_began(folder: Path) -> bool:
    """Whether a folder is empty, or a start that did not live to write run.json left it."""
    try:
        return not folder.is_symlink() and all(
            path.name in _OF_A_START or path.match(_UNFINISHED) for path in folder.iterdir()
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


def _run_folders(root: Path) -> Iterator[Path]:
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


def _summary(name: str, folder: Path) -> RunSummary:
    """Read one run's line from its JSON files."""
    try:
        run = read_json(folder / "run.json")
        result = read_json(folder / "result.json") if (folder / "result.json").is_file() else {}
    except UserError as error:
        return RunSummary(name, folder, "", "", "damaged", None, None, None, None, None, str(error))
    status = str(result.get("status", "unknown"))
    if status == "running" and not _is_alive(folder, result.get("pid")):
        status = "killed"
    metric, value = _score(result)
    choices = _dict(run.get("choices"))
    task = _dict(_dict(run.get("config")).get("task")).get("name") or choices.get("task") or ""
    error = result.get("error")
    return RunSummary(
        name=name,
        path=folder,
        task=str(task),
        model=str(choices.get("model", "")),
        status=status,
        metric=metric,
        value=value,
        steps=int(steps) if (steps := _number(result.get("steps"))) is not None else None,
        seconds=_number(result.get("seconds")),
        created=_time(run.get("created")),
        error=str(error) if error else None,
    )


def _score(result: dict[str, Any]) -> tuple[str | None, float | None]:
    """Return the score to show: of the test split if there is one, else the selection metric."""
    metrics = _dict(result.get("metrics"))
    metric = str(result.get("metric") or next((tag for tag in metrics if tag.startswith(("test/", "valid/"))), ""))
    test = f"test/{metric.partition('/')[2] or metric}"
    shown = test if test in metrics else metric
    value = _number(metrics.get(shown))
    return (shown, value) if value is not None else (None, None)


def _is_alive(folder: Path, pid: Any) -> bool:
    """Whether the process of a run still runs: it holds the lock, or, where there is none, its number is taken."""
    if fcntl is not None and (folder / _LOCK).is_file():
        try:
            with (folder / _LOCK).open() as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        except OSError:
            pass  # a file system without locks
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True


def _dict(value: Any) -> dict[str, Any]:
    """Return a dict, an empty one in place of anything else: the file may be an older one, or edited."""
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    """Return a number or None."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _time(value: Any) -> datetime | None:
    """Read an ISO time; None if it is none."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
