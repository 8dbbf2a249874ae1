"""Checkpoints of a run: written whole or not at all, read only if they verify, dropped when they are of no more use.

    checkpoints/step-00000120/  four files: see `formats`
    checkpoints/last, best      links to one of them
    checkpoints/.corrupt-...    what did not verify, set aside and kept

A checkpoint is written under a temporary name, fsynced and renamed, so that a folder named step-... is whole. One that
does not match its manifest is not used: the one before the last is kept too, to resume from when the last is damaged.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from rnnlab.disk import cannot_write, check_space
from rnnlab.errors import CannotWriteError, CheckpointError
from rnnlab.json_files import sync_folder
from rnnlab.training.fits import identity_difference
from rnnlab.training.formats import DamagedError, NewerFormatError, pack, read

log = logging.getLogger("rnnlab")

_NAME = re.compile(r"step-(\d{8,})")
_UNFINISHED = re.compile(r"\.(?:tmp|del)-(step-\d{8,})-\d+")


def save_checkpoint(
    folder: Path,
    step: int,
    model: dict[str, Tensor],
    training: Any,
    *,
    best: bool,
    keep: Collection[int] = (),
    identity: Mapping[str, str] | None = None,
) -> Path:
    """Write one checkpoint, point `last` (and `best`) at it, then drop those of no more use.

    Args:
        folder: the run's checkpoints folder; made if it is missing.
        step: optimizer updates so far; names the checkpoint.
        model: weights to use.
        training: everything else, nested dicts, lists and tuples of tensors, numbers and strings.
        best: whether `best` shall point here too.
        keep: steps of older checkpoints that are still of use.
        identity: hashes of what the checkpoint is of, by name.

    Returns:
        The checkpoint's folder.

    Raises:
        CannotWriteError: the disk is full or read-only; the checkpoints written before are untouched.
    """
    files = pack(step, model, training, identity or {})
    final = folder / f"step-{step:08d}"
    temporary = folder / f".tmp-{final.name}-{os.getpid()}"
    replaced = folder / f".del-{final.name}-{os.getpid()}"
    try:
        if not folder.is_dir():
            folder.mkdir()
            sync_folder(folder.parent)
        check_space(folder, sum(map(len, files.values())), f"checkpoint {final}")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        for name, data in files.items():
            _write(temporary / name, data)
        sync_folder(temporary)
        if final.is_dir():  # the same step again, now evaluated, or after a resume: the older copy goes
            final.rename(replaced)
        temporary.rename(final)
        _point(folder / "last", final.name)
        if best or not (folder / "best").exists():
            _point(folder / "best", final.name)
        sync_folder(folder)
    except (OSError, KeyboardInterrupt) as error:  # a second Ctrl-C, too, leaves no half
        shutil.rmtree(temporary, ignore_errors=True)
        if replaced.is_dir() and not final.exists():
            with contextlib.suppress(OSError):
                replaced.rename(final)
        if not isinstance(error, OSError):
            raise
        mistake = cannot_write(final, error, "checkpoint")
        raise CannotWriteError(f"{mistake}; the last good one is kept") from error
    _prune(folder, step, keep)
    return final


def load_model(folder: Path, which: str, identity: Mapping[str, str] | None = None) -> dict[str, Tensor]:
    """Load the weights of checkpoint `best` or `last` in a run's checkpoints folder.

    Args:
        folder: the run's checkpoints folder.
        which: best or last.
        identity: hashes that the checkpoint must have, if it names them.

    Raises:
        CheckpointError: there is none, or it does not verify, or is of something else.
    """
    content = read(_resolve(folder, which))
    if difference := identity_difference(content.manifest.get("identity", {}), identity or {}):
        raise CheckpointError(f"{content.path} does not belong to the run: {difference}")
    return content.model()


def load_training(folder: Path, newest: int | None = None) -> tuple[dict[str, Tensor], Any]:
    """Load what resuming needs, from the newest checkpoint that verifies.

    Newer ones that are damaged are warned of and set aside as .corrupt-...; where none verifies, all stay as they are.

    Args:
        folder: the run's checkpoints folder.
        newest: step of the newest that may be used; None: any.

    Returns:
        The weights to use, and what was given to `save_checkpoint` as `training`.

    Raises:
        CheckpointError: there is no checkpoint, none verifies, or the newest is of a newer format.
    """
    _recover(folder)
    found = sorted(_checkpoints(folder), key=_step_of, reverse=True)
    aside = sum(1 for _ in folder.glob(".corrupt-*"))
    if not found and not aside:
        raise CheckpointError(f"no checkpoint in {folder}: the run ended before its first; start it anew")
    wrong: dict[Path, CheckpointError] = {}
    for checkpoint in found:
        if newest is not None and _step_of(checkpoint) > newest:
            continue
        try:
            content = read(checkpoint)
            loaded = content.model(), content.training()
        except NewerFormatError:
            raise
        except CheckpointError as error:
            wrong[checkpoint] = error
            continue
        for other, error in wrong.items():
            log.warning("%s; using the older %s", error, checkpoint.name)
            if isinstance(error, DamagedError):
                _set_aside(other)
        # A kill between a checkpoint's renaming and its link leaves `last` at the one before.
        if newest is None and (folder / "last").resolve().name != checkpoint.name:
            with contextlib.suppress(OSError):
                _point(folder / "last", checkpoint.name)
        _clear(folder)
        return loaded
    reasons = [str(error) for error in wrong.values()]
    reason = f": {reasons[0]}" if reasons else ""
    counted = f"{len(found)} checkpoint{'' if len(found) == 1 else 's'}"
    more = f" (and {aside} set aside before as .corrupt-...)" if aside else ""
    raise CheckpointError(f"{counted} found in {folder}{more}, none verifies{reason}")


def has_saved(folder: Path) -> bool:
    """Whether a run has ever written a checkpoint, damaged ones included; a half-written first one is none."""
    _recover(folder)
    return folder.is_dir() and any(not path.name.startswith((".tmp-", ".probe")) for path in folder.iterdir())


def mend_best(folder: Path, step: int) -> bool:
    """Make sure that `best` is the checkpoint of `step`, or at least one that verifies.

    A kill between a checkpoint's renaming and its link leaves `best` at an older one, a roll-back at a later one.

    Args:
        folder: the run's checkpoints folder.
        step: of the best score, as the checkpoint that is resumed knows it; below 0: nothing was scored yet.

    Returns:
        Whether there are weights of the best score.

    Raises:
        OSError: the link cannot be changed.
    """
    reason = None
    try:
        found = _resolve(folder, "best")
        read(found)
    except CheckpointError as error:
        found, reason = None, error
    known = folder / f"step-{step:08d}"
    if step < 0:  # `best` is the first that was saved
        known = min(_checkpoints(folder), key=_step_of)
    if found is not None and found.name == known.name:
        return True
    try:
        read(known)
    except CheckpointError:
        if found is not None:
            return True
        (folder / "best").unlink(missing_ok=True)
        log.warning("%s; it was the best: the next evaluation chooses anew", reason)
        return False
    if reason is not None and (folder / "best").is_symlink():  # else the kill came before the first link
        log.warning("%s; best is %s again", reason, known.name)
    _point(folder / "best", known.name)
    return True


def _resolve(folder: Path, which: str) -> Path:
    link = folder / which
    if not link.is_dir():
        raise CheckpointError(f"no checkpoint {which!r} in {folder}: has the run reached its first evaluation?")
    if not link.is_symlink():  # copied by a program that knows no links
        return link
    target = os.readlink(link)
    if not _NAME.fullmatch(target):
        raise CheckpointError(f"{link} leads to {target!r}, wanted a checkpoint beside it")
    return folder / target


def _set_aside(checkpoint: Path) -> None:
    """Rename what is damaged, so that it is kept and looked at no more."""
    number = 1
    while os.path.lexists(new := checkpoint.with_name(f".corrupt-{checkpoint.name}-{number}")):
        number += 1
    try:
        checkpoint.rename(new)
    except OSError as error:
        log.warning("%s cannot be set aside: %s", checkpoint, error.strerror)
    else:
        log.warning("%s is kept as %s", checkpoint.name, new.name)


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _point(link: Path, target: str) -> None:
    """Make `link` a symbolic link to its sibling `target`, in one step."""
    temporary = link.with_name(f".tmp-{link.name}-{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(link)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def _recover(folder: Path) -> None:
    """Bring back a checkpoint that a kill left without its name, between the two renames of a replacement."""
    for path in sorted(folder.glob(".*-step-*"), reverse=True):  # the new copy, .tmp, before the old one, .del
        match = _UNFINISHED.fullmatch(path.name)
        if match and not (folder / match[1]).exists():
            with contextlib.suppress(CheckpointError, OSError):
                read(path)
                path.rename(folder / match[1])


def _prune(folder: Path, step: int, keep: Collection[int]) -> None:
    """Drop all checkpoints but those that `last` and `best` point at, the newest before `step`, and those to keep.

    Those after `step` are damaged, or the run would have gone on from there.
    """
    earlier = sorted((path for path in _checkpoints(folder) if _step_of(path) < step), key=_step_of)
    kept = {(folder / name).resolve().name for name in ("last", "best")} | {path.name for path in earlier[-1:]}
    kept |= {f"step-{other:08d}" for other in keep}
    _clear(folder)
    for path in _checkpoints(folder):
        with contextlib.suppress(OSError):
            if path.name not in kept:
                shutil.rmtree(path.rename(folder / f".del-{path.name}-{os.getpid()}"))


def _clear(folder: Path) -> None:
    """Remove what kills have left: it costs space, not correctness, and what cannot be removed is tried again later."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if path.name.startswith(".tmp-") and path.is_symlink():
                path.unlink()
            elif path.name.startswith((".del-", ".tmp-")):
                shutil.rmtree(path)
