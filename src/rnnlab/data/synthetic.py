"""Sequences drawn from random numbers, in place of a corpus: what a task has to remember, and for how long, is known.

Shapes: S steps of a sequence, N sequences, B rows of a batch, F features.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from rnnlab.data.windows import Window

# (random numbers, how many sequences) -> inputs (S, N, ...) and targets (N,), (S, N) or (S, N, F).
Draw = Callable[[np.random.Generator, int], tuple[Tensor, Tensor]]

SPLIT_KEYS = {"train": 0, "valid": 1, "test": 2}

NUM_SYMBOLS = 8
MEMORY_LEN = 10  # symbols to repeat
BLANK, MARK = NUM_SYMBOLS, NUM_SYMBOLS + 1


def adding(generator: np.random.Generator, count: int, seq_len: int) -> tuple[Tensor, Tensor]:
    """Draw the adding problem: the sum of the two numbers that are marked, one in each half.

    Always saying 1 gives a mean squared error of 1/6, the variance of a sum of two numbers from U(0, 1).

    Returns:
        Inputs (S, N, 2): a number from U(0, 1), and 1 where it is marked, else 0; targets (N,).

    Source: Hochreiter & Schmidhuber 1997, section 5.4; differs in where the marks may stand, as in Arjovsky, Shah &
    Bengio 2016.
    """
    numbers = generator.random((seq_len, count), dtype=np.float32)
    marks = np.zeros_like(numbers)
    half, rows = seq_len // 2, np.arange(count)
    places = (generator.integers(0, half, count), generator.integers(half, seq_len, count))
    for place in places:
        marks[place, rows] = 1.0
    targets = (numbers * marks).sum(0)
    return torch.from_numpy(np.stack([numbers, marks], axis=-1)), torch.from_numpy(targets)


def copying(generator: np.random.Generator, count: int, delay: int) -> tuple[Tensor, Tensor]:
    """Draw the copy problem: ten symbols of eight, then blanks, then a mark, upon which they are to be repeated.

        inputs   b d a a h c e f g b _ _ _ | _ _ _ _ _ _ _ _ _ _      delay 4: S = delay + 20
        targets  _ _ _ _ _ _ _ _ _ _ _ _ _ _ b d a a h c e f g b

    Knowing all but the symbols gives 10 ln 8 / (delay + 20) nats a step.

    Returns:
        Inputs and targets, <int64>(S, N).

    Source: Hochreiter & Schmidhuber 1997; in this form Arjovsky, Shah & Bengio 2016, section 5.1.
    """
    symbols = generator.integers(0, NUM_SYMBOLS, (MEMORY_LEN, count))
    inputs = np.full((delay + 2 * MEMORY_LEN, count), BLANK)
    targets = inputs.copy()
    inputs[:MEMORY_LEN] = symbols
    inputs[MEMORY_LEN + delay - 1] = MARK
    targets[-MEMORY_LEN:] = symbols
    return torch.from_numpy(inputs), torch.from_numpy(targets)


def ball(
    generator: np.random.Generator, count: int, seq_len: int, radius: float, speed: float
) -> tuple[Tensor, Tensor]:
    """Draw flights of a ball that walls throw back, at constant speed, in a box from -1 to 1 in both directions.

    One position says nothing of the direction: the next one follows from two at least.

    Returns:
        Inputs (S, N, 2): where the ball is; targets (S, N, 2): where it is a step later.
    """
    reach = 1.0 - radius
    start = generator.uniform(-reach, reach, (count, 2))
    angle = generator.uniform(0, 2 * np.pi, count)
    velocity = speed * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    # Unfolded, the flight is straight; a wall folds it back: a triangular wave of period 4 reach.
    straight = start + velocity * np.arange(seq_len + 1)[:, None, None]
    phase = np.mod(straight + reach, 4 * reach)
    path = (np.where(phase < 2 * reach, phase, 4 * reach - phase) - reach).astype(np.float32)
    positions = torch.from_numpy(path)
    return positions[:-1], positions[1:]


class DrawnBatches:
    """Batches of sequences of one length, drawn from (seed, split, epoch, batch); a source of windows.

    For training every batch is drawn when it is asked for. Those that are scored are drawn at once, so that they are
    the same whatever the batch size.
    """

    def __init__(
        self,
        draw: Draw,
        num_sequences: int,
        batch_size: int,
        *,
        seed: int,
        split: str,
        epoch: int = 0,
        bptt_len: int | None = None,
    ) -> None:
        """Keep the numbers; nothing is drawn but one sequence, for its length.

        Args:
            draw: makes sequences.
            num_sequences: of an epoch; its last batch may have fewer rows.
            batch_size: rows of a batch.
            seed: of the run.
            split: 'train', or 'valid' and 'test', whose sequences are the same whatever epoch and batch size.
            epoch: which pass over 'train': each has new sequences.
            bptt_len: longest window, steps; None: a batch is one window.
        """
        self._draw, self._num_sequences, self._batch_size = draw, num_sequences, batch_size
        self._seed, self._split, self._epoch, self._bptt_len = seed, split, epoch, bptt_len
        inputs, targets = draw(np.random.default_rng(0), 1)
        self._seq_len, self._is_per_step = inputs.shape[0], targets.dim() > 1
        self._batch = self._remembered()

    def at_epoch(self, epoch: int) -> DrawnBatches:
        """The sequences of another epoch."""
        other = copy.copy(self)
        other._epoch = epoch
        other._batch = other._remembered()
        return other

    @property
    def num_targets(self) -> int:
        """Targets of an epoch: one a sequence, or one a step."""
        return self._num_sequences * (self._seq_len if self._is_per_step else 1)

    def __len__(self) -> int:
        """Windows in one epoch."""
        return -(-self._num_sequences // self._batch_size) * self._windows_of_a_batch

    def __getitem__(self, index: int) -> Window:
        """Window `index` of this epoch."""
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        number, window = divmod(index, self._windows_of_a_batch)
        inputs, targets = self._batch(number)
        span = self._bptt_len or self._seq_len
        steps = slice(window * span, (window + 1) * span)
        return Window(
            inputs=inputs[steps],
            targets=targets[steps] if self._is_per_step else targets,
            lengths=None,
            starts=torch.full((inputs.shape[1],), window == 0),
        )

    @property
    def _windows_of_a_batch(self) -> int:
        return -(-self._seq_len // (self._bptt_len or self._seq_len))

    def _remembered(self) -> Callable[[int], tuple[Tensor, Tensor]]:
        """Return batches by number; the last one is kept, for its windows come one after the other."""
        if self._split == "train":
            return lru_cache(1)(self._drawn)
        everything = lru_cache(1)(lambda: self._draw(self._generator(0), self._num_sequences))

        def part(number: int) -> tuple[Tensor, Tensor]:
            rows = slice(number * self._batch_size, (number + 1) * self._batch_size)
            inputs, targets = everything()
            return inputs[:, rows], targets[:, rows] if self._is_per_step else targets[rows]

        return part

    def _drawn(self, number: int) -> tuple[Tensor, Tensor]:
        rows = min(self._batch_size, self._num_sequences - number * self._batch_size)
        return self._draw(self._generator(number), rows)

    def _generator(self, number: int) -> np.random.Generator:
        epoch = self._epoch if self._split == "train" else 0
        return np.random.default_rng([self._seed, SPLIT_KEYS[self._split], epoch, number])
