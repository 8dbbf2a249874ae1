"""One long text as B columns side by side, cut into windows over time: how a language model reads a corpus.

Shapes: n tokens, B columns, T steps of a window.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rnnlab.data.windows import Window
from rnnlab.errors import DataError

# Random window lengths (Merity et al. 2018, section 5).
SHARE_OF_FULL_WINDOWS = 0.95
STD_STEPS = 5.0
MIN_STEPS = 5
MAX_STEPS_ABOVE = 20


def batchify(ids: Tensor | np.ndarray | Sequence[int], batch_size: int) -> tuple[Tensor, Tensor]:
    """Lay a text out as columns that are read from top to bottom, all at the same time.

    With the alphabet up to l as the text and three columns::

        a e i        the model reads a, e and i and is to say b, f and j; then it reads those and so on.
        b f j        A column ends with the token that the next one begins with, so that every token but
        c g k        the very first is predicted, and predicted once. Here the last column is a step
        d h l        shorter: 11 predictions do not divide by 3, and none is dropped.
        e i .

    n tokens make n - 1 predictions; the first (n - 1) % B columns take one more than the others.

    Args:
        ids: the text as token ids, (n,).
        batch_size: number of columns, B >= 1.

    Returns:
        columns: <int64>(S + 1, B) with S = ceil((n - 1) / B); 0 at the end of a shorter column. Inputs are
            `columns[:-1]`, targets `columns[1:]`.
        lengths: predictions of each column, <int64>(B,), each S or S - 1.

    Raises:
        DataError: there are fewer than B + 1 tokens.
        ValueError: batch_size is below 1, or ids is not one-dimensional.
    """
    ids = torch.as_tensor(ids, dtype=torch.int64)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if ids.dim() != 1:
        raise ValueError(f"ids must have one dimension, got shape {tuple(ids.shape)}")
    num_tokens = ids.numel()
    if num_tokens < batch_size + 1:
        raise DataError(
            f"the text is too short: got {num_tokens} tokens, wanted at least {batch_size + 1} for "
            f"{batch_size} columns; use a smaller trainer.batch_size or more text"
        )
    shorter, num_longer = divmod(num_tokens - 1, batch_size)
    column = torch.arange(batch_size)
    lengths = shorter + (column < num_longer).long()
    first = column * shorter + column.clamp(max=num_longer)
    position = first + torch.arange(int(lengths.max()) + 1).unsqueeze(1)
    inside = position <= first + lengths
    columns = ids[position.clamp_(max=num_tokens - 1)].masked_fill_(~inside, 0)
    return columns, lengths


class ColumnWindows:
    """A text in columns, one window after the other; a source of windows.

    Every token but the text's first is a target exactly once an epoch, for any batch size and window length. Only
    the first window has `starts`: the state is carried from each window to the next. Only the last window can have
    `lengths`, when the columns are not equally long. `ColumnWindows(ids, 1, bptt_len)` reads the text as one stream.
    """

    def __init__(
        self,
        ids: Tensor | np.ndarray | Sequence[int],
        batch_size: int,
        bptt_len: int,
        *,
        random_lengths: bool = False,
        seed: int = 0,
        epoch: int = 0,
    ) -> None:
        """Lay out the text and choose where windows begin.

        Args:
            ids: the text as token ids, (n,).
            batch_size: columns side by side, B.
            bptt_len: steps of a window; the last one is shorter where they do not divide.
            random_lengths: draw the steps of every window: about `bptt_len` (half of it in 5 % of the windows) with
                a standard deviation of 5, between 5 and `bptt_len` + 20.
            seed: seed of the random lengths, not negative.
            epoch: which pass over the text; with the seed it fixes the random lengths.

        Raises:
            DataError: there are fewer than batch_size + 1 tokens.
            ValueError: batch_size or bptt_len is below 1, or seed or epoch is negative.

        Source: random lengths of Merity et al. 2018, section 5; differs in the upper bound, which keeps the memory
        bounded and is four standard deviations away.
        """
        if bptt_len < 1:
            raise ValueError(f"bptt_len must be at least 1, got {bptt_len}")
        self._columns, self._lengths = batchify(ids, batch_size)
        self._bptt_len = bptt_len
        self._random_lengths = random_lengths
        self._seed = seed
        self._set_epoch(epoch)

    def at_epoch(self, epoch: int) -> ColumnWindows:
        """The same columns with the windows of another epoch; shares the storage."""
        other = copy.copy(self)
        other._set_epoch(epoch)
        return other

    @property
    def batch_size(self) -> int:
        """Number of columns, B."""
        return self._columns.shape[1]

    @property
    def num_steps(self) -> int:
        """Steps of the longest column."""
        return self._columns.shape[0] - 1

    @property
    def num_targets(self) -> int:
        """Targets of all windows of one epoch: the number of tokens less one."""
        return int(self._lengths.sum())

    def __len__(self) -> int:
        """Windows in one epoch."""
        return len(self._edges) - 1

    def __getitem__(self, index: int) -> Window:
        """Window `index`; its tensors are views of the columns."""
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        begin, end = self._edges[index], self._edges[index + 1]
        lengths = (self._lengths - begin).clamp_(max=end - begin)
        return Window(
            inputs=self._columns[begin:end],
            targets=self._columns[begin + 1 : end + 1],
            lengths=None if bool((lengths == end - begin).all()) else lengths,
            starts=torch.full((self.batch_size,), index == 0),
        )

    def _set_epoch(self, epoch: int) -> None:
        if min(self._seed, epoch) < 0:
            raise ValueError(f"seed and epoch must not be negative, got {self._seed} and {epoch}")
        if self._random_lengths:
            self._edges = random_edges(self.num_steps, self._bptt_len, self._seed, epoch)
        else:
            self._edges = [*range(0, self.num_steps, self._bptt_len), self.num_steps]


def random_edges(num_steps: int, bptt_len: int, seed: int, epoch: int) -> list[int]:
    """Where windows of random length begin and end: 0, ..., num_steps; a pure function of its arguments."""
    generator = np.random.default_rng([seed, epoch])
    enough = num_steps // MIN_STEPS + 1
    full = generator.random(enough) < SHARE_OF_FULL_WINDOWS
    mean = np.where(full, bptt_len, bptt_len / 2)
    steps = np.clip(generator.normal(mean, STD_STEPS).astype(np.int64), MIN_STEPS, bptt_len + MAX_STEPS_ABOVE)
    inner = np.cumsum(steps)
    return [0, *inner[inner < num_steps].tolist(), num_steps]
