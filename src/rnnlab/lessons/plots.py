"""Figures of lessons, in the page's colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rnnlab.lessons.lesson import Figure
from rnnlab.reports.curves import Curve
from rnnlab.reports.pictures import bars as draw_bars
from rnnlab.reports.pictures import cells
from rnnlab.reports.svg import Line, chart

COLORS = ("var(--a)", "var(--b)", "var(--good)", "var(--bad)", "var(--soft)", "var(--ink)")


def curves(
    title: str, xs: Sequence[int], series: Mapping[str, Sequence[float]], note: str, *, dots: bool = False
) -> Figure:
    """Draw curves over whole numbers; a curve shorter than `xs` ends early.

    Args:
        title: of the figure.
        xs: rising.
        series: values by name.
        note: what the axes are.
        dots: whether every point is marked.
    """
    colors = dict(zip(series, COLORS, strict=False))
    lines = [
        Line(name, Curve([*xs[: len(values)]], [*values]), colors[name], dots=dots) for name, values in series.items()
    ]
    return Figure(title, chart(lines), [*colors.items()], note)


def bars(title: str, values: Mapping[str, float], note: str, *, marked: Sequence[str] = ()) -> Figure:
    """Draw a bar for each value."""
    return Figure(title, draw_bars(values, marked=marked), (), note)


def grid(title: str, values: Sequence[Sequence[float]], note: str, *, rows: Sequence[str] = ()) -> Figure:
    """Draw numbers as colours: above 0 in one, below 0 in another."""
    signs = [("above 0", "var(--a)"), ("below 0", "var(--b)")]
    return Figure(title, cells(values, rows=rows), signs, note)
