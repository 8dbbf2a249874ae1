"""Checkpoints without pickle: tensors in safetensors, the rest in JSON, a manifest with SHA-256 written last.

    checkpoints/step-00000120/  model.safetensors      the weights to use (averaged, if the run averages)
                                training.safetensors   what resuming needs besides: raw weights, optimizer, states, RNGs
                                training.json          counters and the shape of the above
                                manifest.json          size and SHA-256 of each, written last
    checkpoints/last, best      links to one of them

A checkpoint is written under a temporary name, fsynced and renamed, so that a folder named step-... is whole. Nothing
is executed in loading one, and one that does not match its manifest is not used: the one before the last is kept too,
to resume from when the last is damaged.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from rnnlab.errors import CannotWriteError, CheckpointError
from rnnlab.json_files import sync_folder

log = logging.getLogger("rnnlab")

FORMAT = 1
MODEL, TRAINING, COUNTERS, MANIFEST = "model.safetensors", "training.safetensors", "training.json", "manifest.json"
_NAME = re.compile(r"step-(\d{8,})")
_UNFINISHED = re.compile(r"\.(?:tmp|del)-(step-\d{8,})-\d+")


def save_checkpoint(folder: Path, step: int, model: dict[str, Tensor], training: Any, *, best: bool) -> Path:
    """Write one checkpoint, point `last` (and `best`) at it, then drop those of no more use.

    Args:
        folder: the run's checkpoints folder; made if it is missing.
        step: optimizer updates so far; names the checkpoint.
        model: weights to use.
        training: everything else, nested dicts, lists and tuples of tensors, numbers and strings.
        best: whether `best` shall point here too.

    Returns:
        The checkpoint's folder.

    Raises:
        CannotWriteError: the disk is full or read-only; the checkpoints written before are untouched.
    """
    tensors: dict[str, Tensor] = {}
    counters = _flatten(training, "training", tensors)
    # Serialised to memory first: a full disk then gives a plain errno, and the hash needs no second read.
    files = {
        MODEL: save_tensors({name: _plain(tensor) for name, tensor in model.items()}),
        TRAINING: save_tensors({name: _plain(tensor) for name, tensor in tensors.items()}),
        COUNTERS: json.dumps(counters).encode(),
    }
    manifest = {
        "format": FORMAT,
        "step": step,
        "torch": torch.__version__,
        "files": {
            name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
        },
    }
    files[MANIFEST] = json.dumps(manifest, indent=1).encode()
    final = folder / f"step-{step:08d}"
    temporary = folder / f".tmp-{final.name}-{os.getpid()}"
    replaced = folder / f".del-{final.name}-{os.getpid()}"
    try:
        if not folder.is_dir():
            folder.mkdir()
            sync_folder(folder.parent)
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
        raise CannotWriteError(
            f"cannot write checkpoint {final}: {error.strerror}; the last good one is kept"
        ) from error
    _prune(folder, step)
    return final


def load_model(folder: Path, which: str) -> dict[str, Tensor]:
    """Load the weights of checkpoint `best` or `last` in a run's checkpoints folder.

    Raises:
        CheckpointError: there is none, or it does not verify.
    """
    checkpoint = _resolve(folder, which)
    return _tensors(checkpoint / MODEL, _verified(checkpoint)[MODEL])


def load_training(folder: Path) -> tuple[dict[str, Tensor], Any]:
    """Load what resuming needs, from the newest checkpoint that verifies; a newer one that does not is warned of.

    Returns:
        The weights to use, and what was given to `save_checkpoint` as `training`.

    Raises:
        CheckpointError: there is no checkpoint, or none verifies.
    """
    _recover(folder)
    found = sorted(_checkpoints(folder), key=_step_of, reverse=True)
    if not found:
        raise CheckpointError(f"no checkpoint in {folder}: the run ended before its first; start it anew")
    reasons = []
    for checkpoint in found:
        try:
            files = _verified(checkpoint)
            tensors = _tensors(checkpoint / TRAINING, files[TRAINING])
            model = _tensors(checkpoint / MODEL, files[MODEL])
        except CheckpointError as error:
            reasons.append(str(error))
            continue
        for reason in reasons:
            log.warning("%s; using the older %s", reason, checkpoint.name)
        return model, _unflatten(json.loads(files[COUNTERS]), tensors)
    raise CheckpointError(f"{len(found)} checkpoints in {folder}, none verifies: {reasons[0]}")


def has_saved(folder: Path) -> bool:
    """Whether a run has ever written a checkpoint, damaged ones included; a half-written first one is none."""
    _recover(folder)
    return folder.is_dir() and any(not path.name.startswith(".tmp-") for path in folder.iterdir())


def weight_difference(weights: dict[str, Tensor], wanted: dict[str, Tensor]) -> str:
    """Say in one line how a checkpoint's tensors differ from a model's in name or shape; "" if they do not.

    Args:
        weights: of the checkpoint, by name.
        wanted: of the model, by name.
    """
    got, want = ({name: tuple(tensor.shape) for name, tensor in tensors.items()} for tensors in (weights, wanted))
    wrong = [name for name in (*want, *got) if got.get(name) != want.get(name)]
    if not wrong:
        return ""
    first = wrong[0]
    count = len(set(wrong))
    return f"{first} is {got.get(first, 'not there')}, wanted {want.get(first, 'none')} ({count} of {len(want)} differ)"


def mend_best(folder: Path, step: int) -> bool:
    """Make sure that `best` is the checkpoint of `step`, or at least one that verifies.

    A kill between a checkpoint's renaming and its link leaves `best` at an older one.

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
        _verified(found)
    except CheckpointError as error:
        found, reason = None, error
    known = folder / f"step-{step:08d}"
    if step < 0:  # `best` is the first that was saved
        known = min(_checkpoints(folder), key=_step_of)
    if found is not None and found.name == known.name:
        return True
    try:
        _verified(known)
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
    return link.resolve()


def _verified(checkpoint: Path) -> dict[str, bytes]:
    """Read each file once and hold it against the manifest; what is returned is what was checked."""
    try:
        manifest = json.loads((checkpoint / MANIFEST).read_bytes())
        if manifest["format"] != FORMAT:
            raise CheckpointError(f"{checkpoint} has format {manifest['format']!r}, this rnnlab reads {FORMAT}")
        files = {}
        for name in (MODEL, TRAINING, COUNTERS):
            data = (checkpoint / name).read_bytes()
            entry = manifest["files"][name]
            if len(data) != entry["size"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
                raise CheckpointError(f"{checkpoint / name} is damaged: its checksum is not the manifest's")
            files[name] = data
        return files
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{checkpoint} is not a whole checkpoint: {error}") from error


def _tensors(path: Path, data: bytes) -> dict[str, Tensor]:
    """Read tensors from bytes that match their manifest, which proves that they are whole, not whose they are."""
    try:
        return load_tensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is not a file of tensors: {error}") from error


def _flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Describe a nested value in JSON, its tensors taken out under dotted names."""
    match value:
        case Tensor():
            tensors[name] = value
            return {"tensor": name}
        case dict():
            # Pairs, not an object: an optimizer's state is keyed by int.
            return {"dict": [[key, _flatten(item, f"{name}.{key}", tensors)] for key, item in value.items()]}
        case tuple():
            return {"tuple": [_flatten(item, f"{name}.{index}", tensors) for index, item in enumerate(value)]}
        case list():
            return [_flatten(item, f"{name}.{index}", tensors) for index, item in enumerate(value)]
        case None | bool() | int() | float() | str():
            return value  # json writes the shortest decimals that read back to the same float
        case _:
            raise TypeError(f"{name} is a {type(value).__name__}; a checkpoint holds tensors, numbers and strings only")


def _unflatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unflatten(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    match kind:
        case "tensor":
            return tensors[content]
        case "dict":
            return {key: _unflatten(item, tensors) for key, item in content}
        case _:
            return tuple(_unflatten(item, tensors) for item in content)


def _plain(tensor: Tensor) -> Tensor:
    # A copy of its own: safetensors refuses tensors that share memory.
    return tensor.detach().cpu().contiguous().clone()


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _point(link: Path, target: str) -> None:
    """Make `link` a symbolic link to its sibling `target`, in one step."""
    temporary = link.with_name(f".tmp-{link.name}-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)


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
                _verified(path)
                path.rename(folder / match[1])


def _prune(folder: Path, step: int) -> None:
    """Drop all checkpoints but those that `last` and `best` point at and the newest before `step`.

    Those after `step` are damaged, or the run would have gone on from there.
    """
    earlier = sorted((path for path in _checkpoints(folder) if _step_of(path) < step), key=_step_of)
    kept = {(folder / name).resolve().name for name in ("last", "best")} | {path.name for path in earlier[-1:]}
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # debris costs space, not correctness; the next save tries again
            if path.name.startswith(".tmp-") and path.is_symlink():
                path.unlink()
            elif path.name.startswith((".del-", ".tmp-")):
                shutil.rmtree(path)
            elif _NAME.fullmatch(path.name) and path.name not in kept:
                shutil.rmtree(path.rename(folder / f".del-{path.name}-{os.getpid()}"))
