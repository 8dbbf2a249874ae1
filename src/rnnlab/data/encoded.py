"""An encoded corpus as a file: arrays and facts in the safetensors format, checked by a hash and mapped into memory.

The facts are JSON in the file's metadata, beside a SHA-256 over facts and arrays. Nothing in the file is code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

_TYPES = {"I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "U8": np.dtype("u1")}
_MAX_HEADER = 100 << 20  # bytes, as in safetensors' own reader


@dataclass(frozen=True, slots=True)
class Encoded:
    """A corpus as a task needs it.

    Attributes:
        arrays: one-dimensional, of int64, int32 or uint8; those from the cache are mapped from its file.
        facts: JSON-able: whatever else the task needs.
        warnings: what was logged as a warning while the files were read; logged again when they are not.
    """

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]
    warnings: list[str] = field(default_factory=list)

    def to_bytes(self) -> bytes:
        """The content of a file that `load` reads."""
        from safetensors.numpy import save

        facts = json.dumps({"facts": self.facts, "warnings": self.warnings})
        return save(self.arrays, {"facts": facts, "sha256": _digest(facts, self.arrays)})

    @classmethod
    def load(cls, path: Path) -> Encoded:
        """Map a file and check its hash.

        safetensors' own reader for numpy would copy every array.

        Raises:
            ValueError: it is not what `to_bytes` gave; says why in a few words.
            OSError: it cannot be read.
        """
        # Copy on write: torch wants arrays that can be written to, and the file stays as it is.
        content = np.memmap(path, dtype=np.uint8, mode="c").view(np.ndarray)
        begin = 8 + int.from_bytes(content[:8].tobytes(), "little")
        if not 8 < begin <= min(len(content), _MAX_HEADER):
            raise ValueError("cut off in its header")
        try:
            header = json.loads(content[8:begin].tobytes())
            metadata = header.pop("__metadata__")
            places = {name: (_TYPES[place["dtype"]], *place["data_offsets"]) for name, place in header.items()}
            arrays = {
                name: content[begin + first : begin + end].view(kind) for name, (kind, first, end) in places.items()
            }
            facts, sha256 = metadata["facts"], metadata["sha256"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ValueError("its header or its length is wrong") from None
        if _digest(facts, arrays) != sha256:
            raise ValueError("its content has another hash")
        return cls(arrays, **json.loads(facts))


def _digest(facts: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in sorted(arrays):
        digest.update(f"\0{name} {arrays[name].dtype.str} {arrays[name].size}\0".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()
