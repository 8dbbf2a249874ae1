"""Checkpoints without pickle: tensors in safetensors, the rest in JSON, a manifest with SHA-256 written last.

    checkpoints/step-00000120/  model.safetensors      the weights to use (averaged, if the run averages)
                                training.safetensors   what resuming needs besides: raw weights, optimizer, states, RNGs
                                training.json          counters and the shape of the above
                                manifest.json          size and SHA-256 of each, written last
    checkpoints/last, best      links to one of them

A checkpoint is written under a temporary name, fsynced and renamed, so that a folder named step-... is whole. Nothing is
executed in loading one, and one that does not match its manifest is not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
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

FORMAT = 1
MODEL, TRAINING, COUNTERS, MANIFEST = "model.safetensors", "training.safetensors", "training.json", "manifest.json"
_NAME = re.compile(r"step-\d{8,}")


def save_checkpoint(folder: Path, step: int, model: dict[str, Tensor], training: Any, *, best: bool) -> Path:
    """Write one checkpoint, point `last` (and `best`) at it, then drop those nothing points at.

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
        "files": {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()},
    }
    files[MANIFEST] = json.dumps(manifest, indent=1).encode()
    final = folder / f"step-{step:08d}"
    temporary = folder / f".tmp-{final.name}-{os.getpid()}"
    try:
        folder.mkdir(exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        for name, data in files.items():
            _write(temporary / name, data)
        _sync_folder(temporary)
        if final.is_dir():  # the same step again, after a resume: equal content, the older copy goes
            final.rename(folder / f".del-{final.name}-{os.getpid()}")
        temporary.rename(final)
        _point(folder / "last", final.name)
        if best or not (folder / "best").exists():
            _point(folder / "best", final.name)
        _sync_folder(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CannotWriteError(f"cannot write checkpoint {final}: {error.strerror}; the last good one is kept") from error
    _prune(folder)
    return final


def load_model(folder: Path, which: str) -> dict[str, Tensor]:
    """Load the weights of checkpoint `best` or `last` in a run's checkpoints folder.

    Raises:
        CheckpointError: there is none, or it does not verify.
    """
    return load_tensors(_verified(_resolve(folder, which))[MODEL])


def load_training(folder: Path) -> tuple[dict[str, Tensor], Any]:
    """Load what resuming needs, from the newest checkpoint that verifies.

    Returns:
        The weights to use, and what was given to `save_checkpoint` as `training`.

    Raises:
        CheckpointError: there is no checkpoint, or none verifies.
    """
    found = sorted((p for p in folder.glob("step-*") if _NAME.fullmatch(p.name)), reverse=True)
    if not found:
        raise CheckpointError(f"no checkpoint in {folder}: the run ended before its first; start it anew")
    reasons = []
    for checkpoint in found:
        try:
            files = _verified(checkpoint)
        except CheckpointError as error:
            reasons.append(str(error))
            continue
        return load_tensors(files[MODEL]), _unflatten(json.loads(files[COUNTERS]), load_tensors(files[TRAINING]))
    raise CheckpointError(f"{len(found)} checkpoints in {folder}, none verifies: {reasons[0]}")


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
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"{checkpoint} is not a whole checkpoint: {error}") from error


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


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _point(link: Path, target: str) -> None:
    """Make `link` a symbolic link to its sibling `target`, in one step."""
    temporary = link.with_name(f".tmp-{link.name}-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)


def _prune(folder: Path) -> None:
    kept = {(folder / name).resolve().name for name in ("last", "best")}
    for path in folder.iterdir():
        if path.name.startswith((".del-", ".tmp-")) or (_NAME.fullmatch(path.name) and path.name not in kept):
            dead = path if path.name.startswith(".") else path.rename(folder / f".del-{path.name}")
            with contextlib.suppress(OSError):  # debris costs space, not correctness; the next save tries again
                shutil.rmtree(dead)
