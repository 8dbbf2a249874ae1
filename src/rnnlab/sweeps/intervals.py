"""Mean, spread and 95 % interval of a few scores: Student's t, without scipy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True, slots=True)
class Spread:
    """Scores of one configuration over seeds.

    Attributes:
        count: How many.
        mean: Their mean.
        std: Standard deviation of the seeds (n - 1); None of a single one.
        half_width: The mean's 95 % interval is mean +- this; None of a single one.
    """

    count: int
    mean: float
    std: float | None
    half_width: float | None


def spread(values: list[float]) -> Spread:
    """Sum up scores, at least one."""
    mean = fmean(values)
    if len(values) < 2:
        return Spread(1, mean, None, None)
    std = stdev(values)
    return Spread(len(values), mean, std, t_quantile(0.975, len(values) - 1) * std / math.sqrt(len(values)))


def t_quantile(probability: float, degrees: int) -> float:
    """Return the t below which Student's distribution has this probability, 0.5 to 0.9999, by bisection.

    Args:
        probability: One-sided.
        degrees: Of freedom, at least 1.
    """
    low, high = 0.0, 1.0
    while t_probability(high, degrees) < probability:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if t_probability(middle, degrees) < probability else (low, middle)
    return (low + high) / 2


def t_probability(t: float, degrees: int) -> float:
    """Return the probability of a value below t >= 0.

    Exact for whole degrees of freedom. Source: Abramowitz & Stegun 1964, 26.7.3 and 26.7.4.
    """
    angle = math.atan2(t, math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2 == 1
    term = total = cosine if odd else 1.0
    for k in range(3 if odd else 2, degrees, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    if odd:
        within = 2 / math.pi * (angle + sine * (total if degrees > 1 else 0.0))
    else:
        within = sine * total
    return 0.5 + within / 2
