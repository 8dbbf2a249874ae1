"""Many sequences of different lengths as padded batches, cut into windows: how reviews and tunes are read.

Shapes: N sequences, B rows of a batch, T steps of a window.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rnnlab.data.ragged import Ragged
from rnnlab.data.windows import Window
from rnnlab.errors import DataError

# Sequences are sorted by length inside pools of this many batches: enough for little padding, and small beside an
# epoch, so that long and short batches stay mixed.
POOL_BATCHES = 200


class SequenceBatches:
    """Batches of whole sequences, padded at the end; a source of windows.

    With `targets` (one class a sequence) a batch is one window. Without, the sequences are language: the inputs are all
    tokens but the last, the targets all but the first, so add start and end symbols before; a batch is then cut into
    windows of `bptt_len` steps. `starts` is True in the first window of each batch and False in the others. No
    sequence is dropped: an epoch's last batch may have fewer rows, and stands anywhere in the epoch when shuffled.

    The order is a pure function of (seed, epoch). Batches hold sequences of similar length when `bucket` is set.
    """

    def __init__(
        self,
        sequences: Sequence[Sequence[int] | np.ndarray | Tensor],
        targets: Sequence[int] | np.ndarray | Tensor | None,
        batch_size: int,
        *,
        bptt_len: int | None = None,
        shuffle: bool = False,
        seed: int = 0,
        epoch: int = 0,
        bucket: bool = True,
    ) -> None:
        """Store the sequences and choose the order.

        Args:
            sequences: token ids of each sequence; every id fits into 32 bits.
            targets: class of each sequence, (N,); None: predict each next token instead.
            batch_size: rows of a batch, B >= 1.
            bptt_len: longest window, steps; None: a batch is one window.
            shuffle: another order every epoch; else sorted by length (`bucket`) or as given.
            seed: seed of the order, not negative.
            epoch: which pass over the data.
            bucket: put sequences of similar length together.

        Raises:
            DataError: there is no sequence, or one is too short: no token, or fewer than two without `targets`.
            ValueError: a number is out of range, targets and sequences differ in number, or `bptt_len` is given
                together with `targets`.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if bptt_len is not None and bptt_len < 1:
            raise ValueError(f"bptt_len must be at least 1, got {bptt_len}")
        if targets is not None and bptt_len is not None:
            raise ValueError(f"a batch with classes as targets is one window: bptt_len must be None, got {bptt_len}")
        self._tokens, self._offsets = _pack(sequences, min_tokens=1 if targets is not None else 2)
        self._classes = None if targets is None else torch.as_tensor(targets, dtype=torch.int64)
        if self._classes is not None and self._classes.shape != (len(sequences),):
            raise ValueError(f"targets must be ({len(sequences)},), got {tuple(self._classes.shape)}")
        # Of a tune, the last token is only ever a target.
        self._steps = np.diff(self._offsets.numpy()) - (0 if targets is not None else 1)
        self._batch_size = batch_size
        self._bptt_len = bptt_len
        self._shuffle = shuffle
        self._seed = seed
        self._bucket = bucket
        self._set_epoch(epoch)

    def at_epoch(self, epoch: int) -> SequenceBatches:
        """The same sequences in the order of another epoch; shares the storage."""
        other = copy.copy(self)
        other._set_epoch(epoch)
        return other

    @property
    def num_targets(self) -> int:
        """Targets of all windows of one epoch: sequences, or tokens less one a sequence."""
        return len(self._steps) if self._classes is not None else int(self._steps.sum())

    @property
    def num_batches(self) -> int:
        """Batches of one epoch."""
        return len(self._batches)

    @property
    def padding_share(self) -> float:
        """Share of all (step, row) places of this epoch that hold padding, 0..1."""
        places = sum(int(self._steps[rows].max()) * len(rows) for rows in self._batches)
        return 1 - int(self._steps.sum()) / places

    def indices(self, index: int) -> Tensor:
        """Which sequences the rows of window `index` are, <int64>(B,): puts predictions back in order."""
        batch, _ = self._locate(index)
        return torch.from_numpy(self._batches[batch])

    def __len__(self) -> int:
        """Windows in one epoch."""
        return int(self._first_window[-1])

    def __getitem__(self, index: int) -> Window:
        """Window `index` of this epoch."""
        batch, window = self._locate(index)
        rows = self._batches[batch]
        num_steps = int(self._steps[rows].max())
        span = num_steps if self._bptt_len is None else self._bptt_len
        begin = window * span
        span = min(span, num_steps - begin)
        lengths = torch.from_numpy((self._steps[rows] - begin).clip(0, span))
        step = torch.arange(span).unsqueeze(1)
        padded = step >= lengths
        position = self._offsets[rows] + begin + step
        position.masked_fill_(padded, 0)
        targets = self._gather(position + 1, padded) if self._classes is None else self._classes[rows]
        return Window(
            inputs=self._gather(position, padded),
            targets=targets,
            lengths=lengths if bool(padded.any()) else None,
            starts=torch.full((len(rows),), window == 0),
        )

    def _gather(self, position: Tensor, padded: Tensor) -> Tensor:
        return self._tokens[position].long().masked_fill_(padded, 0)

    def _locate(self, index: int) -> tuple[int, int]:
        """Which batch, and which window of it."""
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        batch = int(np.searchsorted(self._first_window, index, side="right")) - 1
        return batch, index - int(self._first_window[batch])

    def _set_epoch(self, epoch: int) -> None:
        if min(self._seed, epoch) < 0:
            raise ValueError(f"seed and epoch must not be negative, got {self._seed} and {epoch}")
        self._batches = self._order(epoch)
        longest = np.array([self._steps[rows].max() for rows in self._batches])
        windows = np.ones_like(longest) if self._bptt_len is None else -(-longest // self._bptt_len)
        self._first_window = np.concatenate([[0], np.cumsum(windows)])

    def _order(self, epoch: int) -> list[np.ndarray]:
        """The sequences of every batch, in the order of the epoch."""
        generator = np.random.default_rng([self._seed, epoch])
        num_sequences = len(self._steps)
        order = generator.permutation(num_sequences) if self._shuffle else np.arange(num_sequences)
        if self._bucket:
            pool = POOL_BATCHES * self._batch_size if self._shuffle else num_sequences
            pools = [order[start : start + pool] for start in range(0, num_sequences, pool)]
            order = np.concatenate([part[np.argsort(self._steps[part], kind="stable")] for part in pools])
        batches = [order[start : start + self._batch_size] for start in range(0, num_sequences, self._batch_size)]
        if self._shuffle and self._bucket:
            batches = [batches[place] for place in generator.permutation(len(batches))]
        return batches


def _pack(sequences: Sequence[Sequence[int] | np.ndarray | Tensor], min_tokens: int) -> tuple[Tensor, Tensor]:
    """All tokens in a row, <int32>(tokens,), and where each sequence begins and the last ends, <int64>(N + 1,)."""
    if len(sequences) == 0:
        raise DataError("there is no sequence; wanted at least 1")
    # What is in one array already, perhaps mapped from a file, is used as it stands.
    ragged = sequences if isinstance(sequences, Ragged) else Ragged.of(sequences)
    shortest = int(ragged.sizes.argmin())
    if (size := ragged.sizes[shortest]) < min_tokens:
        raise DataError(f"sequence {shortest} is too short: got {size} tokens, wanted at least {min_tokens}")
    return torch.from_numpy(ragged.values), torch.from_numpy(ragged.offsets)
