"""Many sequences of different lengths in one array: what a batch gathers from, and what a file can hold as it stands.

Shapes: N sequences, n values in all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import overload

import numpy as np
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Ragged(Sequence[np.ndarray]):
    """Sequences end to end: `Ragged.of([[7, 8], [9]])` has values 7 8 9 and offsets 0 2 3.

    Attributes:
        values: of all sequences, (n,).
        offsets: where each begins and the last ends, <int64>(N + 1,).
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, sequences: Iterable[Sequence[int] | np.ndarray | Tensor], dtype: type = np.int32) -> Ragged:
        """Copy sequences into one array of this type."""
        parts = [np.asarray(sequence, dtype=dtype) for sequence in sequences]
        offsets = np.zeros(len(parts) + 1, dtype=np.int64)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        return cls(np.concatenate(parts) if parts else np.empty(0, dtype), offsets)

    @property
    def sizes(self) -> np.ndarray:
        """Length of each sequence, <int64>(N,)."""
        return np.diff(self.offsets)

    def __iter__(self) -> Iterator[np.ndarray]:
        """The sequences in order, views."""
        return (self.values[begin:end] for begin, end in pairwise(self.offsets.tolist()))

    def __len__(self) -> int:
        """Number of sequences, N."""
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        """One sequence, a view; or a list of them."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"sequence {index} of {len(self)}")
        index %= len(self)
        return self.values[self.offsets[index] : self.offsets[index + 1]]


def pack_texts(texts: Iterable[str]) -> Ragged:
    """Texts as the bytes of their UTF-8; `unpack_texts` gives them back, lone surrogates included."""
    return Ragged.of((np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8) for text in texts), np.uint8)


def unpack_texts(packed: Ragged) -> list[str]:
    """The texts that `pack_texts` was given."""
    content, edges = packed.values.tobytes(), packed.offsets.tolist()
    return [content[begin:end].decode("utf-8", "surrogatepass") for begin, end in pairwise(edges)]


def to_arrays(sequences: Mapping[str, Ragged]) -> dict[str, np.ndarray]:
    """The arrays of several, by name: `{"a": ...}` gives a and a_offsets."""
    arrays = {name: one.values for name, one in sequences.items()}
    return arrays | {f"{name}_offsets": one.offsets for name, one in sequences.items()}


def from_arrays(arrays: Mapping[str, np.ndarray], name: str) -> Ragged:
    """One of those that `to_arrays` was given."""
    return Ragged(arrays[name], arrays[f"{name}_offsets"])
