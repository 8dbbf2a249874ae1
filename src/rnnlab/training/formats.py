"""What the files of a checkpoint hold, and how to read one that is damaged, older, or a stranger's.

    model.safetensors      the weights to use (averaged, if the run averages)
    training.safetensors   what resuming needs besides: raw weights, optimizer, states, RNGs
    training.json          counters and the shape of the above
    manifest.json          format, step, versions, what it is of (hashes), size and SHA-256 of each file and of itself

Every byte is read once, from a regular file of a size that was checked before, and what is parsed is what was hashed.
Nothing is executed. Checksums prove that a checkpoint is whole, not whose it is.

Formats: 1 had no checksum of the manifest itself, no hashes of what it is of, and counted no skipped steps. A later
format changes `MIGRATIONS` by one function, which turns the content of the one before into its own; a folder of each
format that was ever written is kept with the tests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from rnnlab.disk import read_bytes
from rnnlab.errors import CheckpointError

FORMAT = 2
MODEL, TRAINING, COUNTERS, MANIFEST = "model.safetensors", "training.safetensors", "training.json", "manifest.json"
FILES = (MODEL, TRAINING, COUNTERS)

_MAX_MANIFEST = 1 << 16  # bytes; ours have less than a thousand
_MAX_COUNTERS = 1 << 24
_MAX_HEADER = 1 << 22  # of a file of tensors: their names and shapes
_SELF = "manifest_sha256"


class DamagedError(CheckpointError):
    """What was read is not what was written."""


class NewerFormatError(CheckpointError):
    """A whole checkpoint that a newer rnnlab wrote: an older one beside it would lose what that has learned."""


@dataclass(frozen=True, slots=True)
class Content:
    """Files of a checkpoint that match their manifest.

    Attributes:
        path: the checkpoint's folder.
        manifest: what it says.
        files: bytes by name.
    """

    path: Path
    manifest: dict[str, Any]
    files: dict[str, bytes]

    def model(self) -> dict[str, Tensor]:
        """The weights to use.

        Raises:
            DamagedError: they are no tensors.
        """
        return self._tensors(MODEL)

    def training(self) -> dict[str, Any]:
        """What resuming needs, as this format has it, with the manifest's `identity` where it has one.

        Raises:
            DamagedError: it was not written by rnnlab.
        """
        tensors = self._tensors(TRAINING)
        try:
            content = _unflatten(json.loads(self.files[COUNTERS]), tensors)
            for old in range(self.manifest["format"], FORMAT):
                content = MIGRATIONS[old](content)
            identity = self.manifest.get("identity")
            return {**content, "identity": identity} if identity else content
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise DamagedError(f"{self.path / COUNTERS} holds no training state: {_short(error)}") from error

    def _tensors(self, name: str) -> dict[str, Tensor]:
        data = self.files[name]
        header = int.from_bytes(data[:8], "little")
        try:
            if header > min(_MAX_HEADER, len(data) - 8):
                raise ValueError(f"its header would have {header:,} bytes")
            return load_tensors(data)
        except (SafetensorError, ValueError, KeyError, RuntimeError, OverflowError, TypeError) as error:
            raise DamagedError(f"{self.path / name} is not a file of tensors: {_short(error)}") from error


def pack(step: int, model: Mapping[str, Tensor], training: Any, identity: Mapping[str, str]) -> dict[str, bytes]:
    """Turn a checkpoint into bytes by file name, the manifest last.

    Args:
        step: optimizer updates so far.
        model: weights to use.
        training: everything else, nested dicts, lists and tuples of tensors, numbers and strings.
        identity: hashes of what the checkpoint is of.

    Raises:
        TypeError: something that cannot be kept without pickle.
    """
    tensors: dict[str, Tensor] = {}
    counters = _flatten(training, "training", tensors)
    # In memory first: a full disk then gives a plain errno, and the hash needs no second read.
    files = {
        MODEL: save_tensors({name: _plain(tensor) for name, tensor in model.items()}),
        TRAINING: save_tensors({name: _plain(tensor) for name, tensor in tensors.items()}),
        COUNTERS: json.dumps(counters).encode(),
    }
    manifest = {
        "format": FORMAT,
        "step": step,
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "identity": dict(identity),
        "files": {name: {"size": len(data), "sha256": sha256(data)} for name, data in files.items()},
    }
    return files | {MANIFEST: seal(manifest)}


def seal(manifest: dict[str, Any]) -> bytes:
    """Return a manifest's bytes, its own checksum in it: over the bytes without it, which every format keeps."""
    content = {key: value for key, value in manifest.items() if key != _SELF}
    return _dump({**content, _SELF: sha256(_dump(content))})


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def read(checkpoint: Path) -> Content:
    """Read a checkpoint's files and hold them against its manifest.

    Raises:
        DamagedError: a file is missing, or not what the manifest says.
        NewerFormatError: a newer rnnlab wrote it.
        CheckpointError: it cannot be read for another reason.
    """
    try:
        if checkpoint.is_symlink():
            raise ValueError("the folder is a symbolic link")
        data = read_bytes(checkpoint / MANIFEST, _MAX_MANIFEST, follow=False)
        manifest = json.loads(data)
        version = manifest["format"]
        # Sealed again, it must be the same bytes: no bit of it can have changed, whatever it means.
        if version != 1 and seal(manifest) != data:
            raise DamagedError(f"{checkpoint / MANIFEST} is damaged: its checksum is not its own")
        if type(version) is not int or version < 1 or version > FORMAT:
            reads = f"this rnnlab reads 1 to {FORMAT}"
            raise NewerFormatError(f"{checkpoint} has format {version!r}, {reads}: a newer one wrote it; use that")
        if set(manifest["files"]) != set(FILES):
            raise ValueError(f"its manifest names {sorted(manifest['files'])}"[:200])
        files = {name: _read_named(checkpoint / name, manifest["files"][name]) for name in FILES}
        return Content(checkpoint, manifest, files)
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError(f"{checkpoint} is not a whole checkpoint: {_short(error)}") from error
    except OSError as error:
        raise CheckpointError(f"{checkpoint} cannot be read: {_short(error)}") from error


def _read_named(path: Path, entry: Mapping[str, Any]) -> bytes:
    """Read a file that a manifest names."""
    size = entry["size"]
    if type(size) is not int or size < 0 or (path.name == COUNTERS and size > _MAX_COUNTERS):
        raise ValueError(f"its manifest says that {path.name} has {size!r} bytes"[:200])
    try:
        data = read_bytes(path, size, follow=False)  # not a byte more than the manifest says
    except ValueError as error:
        raise DamagedError(f"{path} is damaged: {error}") from error
    if len(data) != size or sha256(data) != entry["sha256"]:
        raise DamagedError(f"{path} is damaged: its checksum is not the manifest's")
    return data


def _from_format_1(training: dict[str, Any]) -> dict[str, Any]:
    """Nothing was skipped, nothing rolled back, and what the settings were stands in run.json alone."""
    counters = training["counters"]
    new = {"skipped": 0, "skipped_in_a_row": 0, "rollbacks": 0}
    safe = {"safe_step": counters["step"], "safe_best_step": counters["best_step"]}
    return {**training, "settings": {}, "counters": {**counters, **new, **safe}}


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_format_1}
"""By format: what turns its training state into that of the next."""


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


def _dump(manifest: dict[str, Any]) -> bytes:
    return json.dumps(manifest, indent=1).encode()


def _plain(tensor: Tensor) -> Tensor:
    # A copy of its own: safetensors refuses tensors that share memory.
    return tensor.detach().cpu().contiguous().clone()


def _short(error: Exception) -> str:
    """An error in at most a line: those of a stranger's file may quote it."""
    text = f"there is no {error}" if isinstance(error, KeyError) else str(error)
    return " ".join(text.split())[:200] or type(error).__name__
