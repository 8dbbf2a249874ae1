"""Pictures other than curves: bars, numbers as colours, ways in a square. Colours are the page's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

from rnnlab.reports.axes import number
from rnnlab.reports.svg import polyline, rule

_WIDTH = 480  # in units of a picture, which grows with the page


def bars(values: Mapping[str, float], *, marked: Sequence[str] = ()) -> str:
    """Draw a bar for each value, from 0, with its number behind it.

    Args:
        values: at least one; not below 0.
        marked: names of those that stand out.
    """
    width, step, left, right = _WIDTH, 26, 150, 64
    height = step * len(values) + 8
    largest = max(values.values()) or 1.0
    said = "; ".join(f"{name} {number(value)}" for name, value in values.items())
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(said, quote=True)}">']
    for place, (name, value) in enumerate(values.items()):
        top = 4 + step * place
        length = max(1.0, value / largest * (width - left - right))
        color = "var(--b)" if name in marked else "var(--a)"
        parts.append(f'<text x="{left - 8}" y="{top + 15}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect x="{left}" y="{top}" width="{length:.1f}" height="{step - 6}" rx="2" fill="{color}"/>')
        parts.append(f'<text x="{left + length + 6:.1f}" y="{top + 15}">{number(value)}</text>')
    return "".join([*parts, "</svg>"])


def cells(values: Sequence[Sequence[float]], *, rows: Sequence[str] = ()) -> str:
    """Draw a table of numbers as colours, the strongest for the largest size; above and below 0 in two colours.

    Args:
        values: rows of one length.
        rows: names, one a row; or none.
    """
    width, left, top = _WIDTH, (110 if rows else 4), 4
    across = (width - left - 4) / len(values[0])
    down = min(22.0, max(14.0 if rows else 6.0, 170 / len(values)))  # names need a line each
    height = top + down * len(values) + 4
    largest = max((abs(value) for row in values for value in row), default=0) or 1.0
    said = f"{len(values)} rows, {len(values[0])} columns, sizes up to {number(largest)}"
    parts = [f'<svg viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{said}">']
    for place, name in enumerate(rows):
        y = top + down * (place + 0.5) + 4
        parts.append(f'<text x="{left - 6}" y="{y:.1f}" text-anchor="end">{escape(name)}</text>')
    for line, row in enumerate(values):
        for column, value in enumerate(row):
            color = "var(--a)" if value >= 0 else "var(--b)"
            place = f'x="{left + across * column:.1f}" y="{top + down * line:.1f}"'
            size = f'width="{across - 0.6:.1f}" height="{down - 0.6:.1f}"'
            opacity = f'fill-opacity="{abs(value) / largest:.2f}"'
            parts.append(f'<rect {place} {size} fill="{color}" {opacity}><title>{number(value)}</title></rect>')
    return "".join([*parts, "</svg>"])


def ways(lines: Sequence[tuple[str, str, Sequence[tuple[float, float]]]]) -> str:
    """Draw ways in a square from -1 to 1, a dot at each step and a larger one where each begins.

    Args:
        lines: (name, CSS colour, points).
    """
    size = 300
    names = escape(", ".join(name for name, _, _ in lines), quote=True)
    parts = [f'<svg viewBox="0 0 {size} {size}" role="img" aria-label="ways: {names}" style="max-width: 24rem">']
    corners = [(4, 4), (size - 4, 4), (size - 4, size - 4), (4, size - 4), (4, 4)]
    parts += [rule(*one, *other) for one, other in pairwise(corners)]
    for name, color, points in lines:
        shown = [(4 + (x + 1) / 2 * (size - 8), 4 + (1 - y) / 2 * (size - 8)) for x, y in points]
        parts.append(polyline(shown, color, 1.2, 0.6, name))
        for place, (x, y) in enumerate(shown):
            radius = 2.2 if place else 4.5
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{color}"/>')
    return "".join([*parts, "</svg>"])
