"""Intervals of scores, and of their differences, from resampled test items.

Legend: N items, M runs, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# A score from the sums over items: (..., ) numerators and denominators -> (...,).
Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]

LEVEL = 0.95
_CELLS_AT_ONCE = 4_000_000


class Interval(NamedTuple):
    """A value and the bounds between which 95 % of its resampled values lie."""

    value: float
    low: float
    high: float

    @property
    def holds_zero(self) -> bool:
        """Whether zero lies inside: a difference with such an interval may be chance."""
        return self.low <= 0 <= self.high


class PairedBootstrap:
    """Scores of M runs on the same N items, resampled together: what is hard for all moves all scores alike.

    A resample draws N items with replacement; the score of each run is computed anew from the items drawn, and the
    difference of two runs from the same draw. Intervals are percentiles of what the resamples gave.

    Source: Efron & Tibshirani 1993, chapters 8 and 13; for paired comparisons of systems Koehn 2004.
    """

    def __init__(
        self,
        numerators: np.ndarray,
        denominators: np.ndarray,
        statistic: Statistic,
        *,
        resamples: int,
        seed: int,
    ) -> None:
        """Draw.

        Args:
            numerators: what each item adds to the sum of each run, (N, M): nats, or 1 for a right answer.
            denominators: what it adds to the count, (N,): tokens, or 1.
            statistic: the score of sum and count, elementwise.
            resamples: R.
            seed: same seed, same intervals.

        Raises:
            ValueError: fewer than two items, shapes that do not fit, or no resample.
        """
        if numerators.ndim != 2 or denominators.shape != numerators.shape[:1]:
            raise ValueError(f"wanted (N, M) and (N,), got {numerators.shape} and {denominators.shape}")
        if len(numerators) < 2 or resamples < 1:
            raise ValueError(f"wanted two items and a resample at least, got {len(numerators)} and {resamples}")
        self._values = statistic(numerators.sum(0), np.full(numerators.shape[1], denominators.sum()))
        # Items that are alike in all runs are drawn together: of 25,000 right or wrong answers of two runs, only four
        # kinds are left.
        kinds, counts = np.unique(np.column_stack([numerators, denominators]), axis=0, return_counts=True)
        generator = np.random.default_rng(seed)
        shares = counts / counts.sum()
        drawn = []
        while (missing := resamples - sum(map(len, drawn))) > 0:
            rows = min(missing, max(1, _CELLS_AT_ONCE // len(kinds)))
            times = generator.multinomial(counts.sum(), shares, size=rows)
            drawn.append(times @ kinds)
        sums = np.concatenate(drawn)
        self._drawn = statistic(sums[:, :-1], sums[:, -1:])

    def score(self, run: int) -> Interval:
        """Return the score of one run."""
        return _interval(float(self._values[run]), self._drawn[:, run])

    def difference(self, run: int, other: int) -> Interval:
        """Return the score of `other` less that of `run`."""
        value = float(self._values[other] - self._values[run])
        return _interval(value, self._drawn[:, other] - self._drawn[:, run])


def _interval(value: float, drawn: np.ndarray) -> Interval:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
