"""Axes: from a value to its place, linear or logarithmic, and numbers short enough for a label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_LOG_FROM = 20  # largest over smallest value from which an axis is logarithmic: a perplexity begins at thousands


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis from `low` to `high`.

    Attributes:
        low: Smallest value.
        high: Largest value, above low.
        is_log: Whether equal ratios are equally long.
    """

    low: float
    high: float
    is_log: bool

    @classmethod
    def of(cls, values: Sequence[float]) -> Scale:
        """Choose an axis for some values, at least one, all finite; a constant one gets some room on both sides."""
        low, high = min(values), max(values)
        if high == low:
            room = abs(low) / 10 or 1.0
            low, high = low - room, high + room
        return cls(low, high, low > 0 and high / low >= _LOG_FROM)

    def widened(self, share: float = 0.05) -> Scale:
        """Return the axis with some room at both ends, for curves that must not touch the edge."""
        room = (self.high / self.low) ** share if self.is_log else (self.high - self.low) * share
        if self.is_log:
            return Scale(self.low / room, self.high * room, True)
        return Scale(self.low - room, self.high + room, False)

    def share(self, value: float) -> float:
        """Return the place of a value, 0 at `low` to 1 at `high`."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, count: int = 4) -> list[float]:
        """Return about `count` round values along the axis."""
        if self.is_log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            factors = (1, 2, 5) if len(powers) <= 3 else (1,)
            return [value for power in powers for f in factors if self.low <= (value := f * 10.0**power) <= self.high]
        raw = (self.high - self.low) / count
        unit = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [place * step for place in range(first, math.floor(self.high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """Write a number with four digits that count: 0.8812, 82.31, 12,345, 3.2e-05."""
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e7):
        return f"{value:.3g}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def fixed(value: float) -> str:
    """Write a score for a column of such: the same decimals for values of one size."""
    size = abs(value)
    return f"{value:,.{4 if size < 10 else 3 if size < 100 else 2 if size < 1000 else 0}f}"
