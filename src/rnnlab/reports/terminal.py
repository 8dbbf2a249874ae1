"""Curves drawn with letters: a sparkline in a table, a plot of braille dots under it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rnnlab.reports.axes import Scale, number
from rnnlab.reports.curves import Curve

_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.,-=+*#"
# Unicode braille: the bit of each dot, by its row and column in a cell of 4 x 2.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def sparkline(values: Sequence[float], width: int, *, is_ascii: bool = False) -> str:
    """Draw numbers as a row of bars, each the mean of those it stands for.

    Args:
        values: At least one, finite.
        width: Letters at most.
        is_ascii: Where the terminal takes no others.
    """
    bars = _ASCII_BARS if is_ascii else _BARS
    width = min(width, len(values))
    edges = [round(place * len(values) / width) for place in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    if high == low:
        return bars[len(bars) // 2] * width
    return "".join(bars[min(int((mean - low) / (high - low) * len(bars)), len(bars) - 1)] for mean in means)


def plot(line: Curve, marks: Curve, *, width: int, height: int, is_ascii: bool = False) -> list[str]:
    """Draw one curve as a line of braille dots and another as marks over it, with both axes.

    Args:
        line: Many points, such as the loss of training.
        marks: Few points, such as that of the validation split; either may be empty, not both.
        width: Letters of a line, labels included.
        height: Lines, without that of the steps.
        is_ascii: Where the terminal takes no others: dots and o.
    """
    y = Scale.of([*line.values, *marks.values])
    labels = [number(y.high), *[""] * (height - 2), number(y.low)]
    margin = max(map(len, labels)) + 2
    columns = max(8, width - margin)
    last = max([*line.steps, *marks.steps])
    first = min([*line.steps, *marks.steps])
    grid = [[0] * columns for _ in range(height)]

    def place(step: float, value: float) -> tuple[int, int]:
        across = (step - first) / (last - first or 1) * (2 * columns - 1)
        return round(across), round((1 - y.share(value)) * (4 * height - 1))

    points = [place(step, value) for step, value in zip(line.steps, line.values, strict=True)]
    for (x0, y0), (x1, y1) in zip(points, points[1:] or points, strict=False):
        for part in range(count := max(abs(x1 - x0), abs(y1 - y0), 1) + 1):
            column, row = (round(a + (b - a) * part / (count - 1)) for a, b in ((x0, x1), (y0, y1)))
            grid[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
    letters = [[_letter(dots, is_ascii) for dots in row] for row in grid]
    for step, value in zip(marks.steps, marks.values, strict=True):
        column, row = place(step, value)
        letters[row // 4][column // 2] = "o" if is_ascii else "●"
    side, corner, floor = ("|", "+", "-") if is_ascii else ("┤", "└", "─")
    lines = [f"{label:>{margin - 2}} {side}{''.join(row)}".rstrip() for label, row in zip(labels, letters, strict=True)]
    steps = f"{first:,}"
    lines.append(" " * (margin - 1) + corner + floor * columns)
    lines.append(" " * margin + steps + f"{f'step {last:,}':>{max(columns - len(steps), 0)}}")
    return lines


def _letter(dots: int, is_ascii: bool) -> str:
    """Return the letter of a cell's dots."""
    if not dots:
        return " "
    return "." if is_ascii else chr(0x2800 + dots)


def takes_only_ascii(encoding: str) -> bool:
    """Whether an output shows none of the bars and dots."""
    return not encoding.lower().startswith("utf")
