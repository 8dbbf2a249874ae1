"""Times of several ways to do one thing, taken in turns in one process, and what they say of each other.

On a machine that does other work, times drift by more than the ways differ. Taken in turns, all of a round's times see
the same moment, so that their ratio is worth more than any of them.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

MIN_ROUNDS = 3
"""Fewer have no quartiles worth the name."""


@dataclass(frozen=True, slots=True)
class Quartiles:
    """The middle of some numbers: the median, and the quarters below and above it."""

    lower: float
    median: float
    upper: float


def quartiles(values: Sequence[float]) -> Quartiles:
    """Return the quartiles, interpolated between the values; of a single value, itself.

    >>> quartiles([4.0, 1.0, 3.0, 2.0, 5.0])
    Quartiles(lower=2.0, median=3.0, upper=4.0)
    """
    if len(values) == 1:
        return Quartiles(values[0], values[0], values[0])
    return Quartiles(*statistics.quantiles(values, n=4, method="inclusive"))


def ratios(base: Sequence[float], other: Sequence[float]) -> Quartiles:
    """Return how many times faster the other is than the base, of times taken in the same rounds."""
    return quartiles([before / after for before, after in zip(base, other, strict=True)])


def interleave(
    contenders: Mapping[str, Callable[[], object]],
    *,
    seconds: float,
    clock: Callable[[], float] = time.process_time,
    min_rounds: int = MIN_ROUNDS,
) -> dict[str, list[float]]:
    """Time the contenders in turns, after one call of each that is not timed.

    Args:
        contenders: what is timed, by name.
        seconds: rounds begin for this long, wall time; the last one is finished.
        clock: seconds; `time.process_time` leaves out what other processes do, and adds up over threads.
        min_rounds: rounds made even if they take longer.

    Returns:
        Seconds by name, one for each round.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    for call in contenders.values():
        call()
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()  # it would stop whoever happens to be running
    try:
        end = time.monotonic() + seconds
        while len(times[order[0]]) < min_rounds or time.monotonic() < end:
            for name in order:
                start = clock()
                contenders[name]()
                times[name].append(clock() - start)
            # What runs before leaves its data in the caches: nobody always follows the same one.
            order.append(order.pop(0))
    finally:
        if collecting:
            gc.enable()
    return times
