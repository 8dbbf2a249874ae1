"""`rnnlab rm RUN...`: remove runs or sweeps under outputs/, after asking."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from rnnlab.commandline.options import one_line_errors
from rnnlab.commands._details import plain_name
from rnnlab.commands.runs import score
from rnnlab.errors import CannotWriteError, CheckpointError, ConfigError, FolderInUseError
from rnnlab.run_list import RunSummary, list_runs, summarize
from rnnlab.run_lock import lock_run
from rnnlab.run_lookup import find_run
from rnnlab.runs import is_run, outputs_root


@dataclass(frozen=True, slots=True)
class Doomed:
    """A folder to remove: a run, or a sweep with its runs."""

    name: str
    folder: Path
    runs: list[RunSummary]


def main(argv: list[str]) -> int:
    """Remove runs; either all that are named can be removed, or none is.

    Args:
        argv: What follows the verb.

    Returns:
        0 when they are removed, 1 when the user said no.

    Raises:
        CheckpointError: There is no such run under outputs/.
        FolderInUseError: One of them is being trained.
        ConfigError: Nobody can be asked.
        CannotWriteError: A folder cannot be removed.
    """
    parser = argparse.ArgumentParser(prog="rnnlab rm", description="Remove runs, or sweeps with all their runs.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="names under outputs/")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    arguments = one_line_errors(parser).parse_intermixed_args(argv)
    doomed = [_find(name) for name in dict.fromkeys(map(plain_name, arguments.runs))]
    for one in doomed:
        if inside := [other.name for other in doomed if one.folder in other.folder.parents]:
            raise ConfigError(f"{inside[0]} lies inside {one.name}; name one of them")
    with ExitStack() as locks:
        for run in (run for one in doomed for run in one.runs):
            _lock(locks, run)
        for one in doomed:
            what = f"{len(one.runs)} runs" if not is_run(one.folder) else f"{one.runs[0].status}  {score(one.runs[0])}"
            print(f"{one.folder}  {_megabytes(one.folder):,.1f} MB  {what}".rstrip())
        if not arguments.yes and not _asked(len(doomed)):
            print("nothing was removed")
            return 1
        for one in doomed:
            _remove(one.folder)
    print(f"removed {', '.join(one.name for one in doomed)}")
    return 0


def _find(name: str) -> Doomed:
    """Find what a name stands for, under outputs/ only: a path that leads elsewhere is never removed.

    Raises:
        CheckpointError: There is nothing of that name, or it is not under outputs/.
    """
    root = outputs_root().resolve()
    runs = [run for run in list_runs() if run.name.startswith(f"{name.rstrip('/')}/")]
    folder = outputs_root() / name if runs else find_run(name, has_begun=False)
    resolved = folder.resolve()
    if not resolved.is_relative_to(root) or resolved == root:
        raise CheckpointError(f"{name} is not under {outputs_root()}: rm removes nothing else")
    if folder.is_symlink() or folder.parent.resolve() / folder.name != resolved:
        raise CheckpointError(f"{folder} is a link to {resolved}; remove the link yourself, or name the run")
    return Doomed(resolved.relative_to(root).as_posix(), resolved, runs or [summarize(folder)])


def _lock(locks: ExitStack, run: RunSummary) -> None:
    """Hold a run, so that nobody goes on with it while it is removed.

    Raises:
        FolderInUseError: Somebody does.
    """
    if run.status == "running":
        raise FolderInUseError(f"{run.name} is being trained; stop it first (Ctrl-C there), nothing was removed")
    try:
        locks.enter_context(lock_run(run.path))
    except FolderInUseError as error:
        raise FolderInUseError(f"{error}; nothing was removed") from None


def _asked(count: int) -> bool:
    """Ask whether to go on.

    Raises:
        ConfigError: There is no terminal.
    """
    if not sys.stdin.isatty():
        raise ConfigError("rm asks before it removes, and there is no terminal; --yes goes ahead")
    them = "this folder" if count == 1 else f"these {count} folders"
    try:
        return input(f"remove {them}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        print()
        return False


def _remove(folder: Path) -> None:
    """Remove a folder, and folders above it that held nothing else.

    It is renamed first, so that a half removed run is never taken for one.

    Raises:
        CannotWriteError: It cannot be removed.
    """
    aside = folder.with_name(f".removed-{os.getpid()}-{folder.name}"[:250])
    try:
        folder.rename(aside)
        shutil.rmtree(aside)
    except OSError as error:
        raise CannotWriteError(f"cannot remove {folder}: {error.strerror}") from error
    root = outputs_root().resolve()
    with suppress(OSError):  # it holds something else, or somebody has just put a run there
        for parent in folder.parents:  # of a name with slashes: no command could remove what is left of it
            if parent == root:
                break
            parent.rmdir()


def _megabytes(folder: Path) -> float:
    """Return what a folder takes on disk."""
    files = (Path(parent) / name for parent, _, names in os.walk(folder) for name in names)
    return sum(path.lstat().st_size for path in files) / 1e6
