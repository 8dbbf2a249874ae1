"""Pictures as SVG: curves over steps, means with their intervals, parallel axes. Colours are the page's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from rnnlab.reports.axes import Scale, number
from rnnlab.reports.curves import Curve
from rnnlab.wording import better

_MAX_POINTS = 400  # of a line; more do not show
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 8, 24


@dataclass(frozen=True, slots=True)
class Line:
    """A curve in a chart.

    Attributes:
        name: For the tooltip.
        curve: Its points.
        color: CSS.
        dots: Whether each point is marked: evaluations, not steps.
        faint: Whether it stands back behind the others.
    """

    name: str
    curve: Curve
    color: str
    dots: bool = False
    faint: bool = False


def chart(lines: Sequence[Line], *, width: int = 480, height: int = 230) -> str:
    """Draw curves over steps; the value axis is logarithmic where values span a factor of 20.

    Args:
        lines: One at least that has a point.
        width: In units of the picture, which grows with the page.
        height: The same.
    """
    shown = [(line, _thinned(line.curve)) for line in lines if line.curve.values]
    y = Scale.of([value for _, curve in shown for value in curve.values]).widened()
    first = min(curve.steps[0] for _, curve in shown)
    last = max(curve.steps[-1] for _, curve in shown)
    x = Scale(first, last, False) if last > first else Scale(first - 1, first + 1, False)
    inner_width, inner_height = width - _LEFT - _RIGHT, height - _TOP - _BOTTOM

    def at(step: float, value: float) -> tuple[float, float]:
        return _LEFT + x.share(step) * inner_width, _TOP + (1 - y.share(value)) * inner_height

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(_described(lines), quote=True)}">']
    for value in y.ticks():
        _, height_of = at(first, value)
        parts.append(rule(_LEFT, height_of, width - _RIGHT, height_of))
        parts.append(f'<text x="{_LEFT - 6}" y="{height_of + 4:.1f}" text-anchor="end">{number(value)}</text>')
    for step in (tick for tick in x.ticks(5) if tick == int(tick)):
        across, _ = at(step, y.low)
        anchor = "middle" if across < width - 24 else "end"
        parts.append(f'<text x="{across:.1f}" y="{height - 6}" text-anchor="{anchor}">{number(step)}</text>')
    for line, curve in shown:
        points = [at(step, value) for step, value in zip(curve.steps, curve.values, strict=True)]
        weight, opacity = (1, 0.35) if line.faint else (1.7, 1)
        parts.append(polyline(points, line.color, weight, opacity, line.name))
        if line.dots and len(points) <= 60:
            for (across, down), step, value in zip(points, curve.steps, curve.values, strict=True):
                tip = f"{escape(line.name)} {number(value)}, step {step:,}"
                place = f'cx="{across:.1f}" cy="{down:.1f}" r="2.6"'
                parts.append(f'<circle {place} fill="{line.color}"><title>{tip}</title></circle>')
    return "".join([*parts, "</svg>"])


def interval(mean: float, half: float | None, scale: Scale, *, is_best: bool) -> str:
    """Draw a mean as a dot with its interval as a bar, to stand in a table's row: all rows share the scale.

    Args:
        mean: Of some runs.
        half: Half the width of its interval; None of a single run.
        scale: From the lowest to the highest bound of all rows.
        is_best: Whether it is marked.
    """
    width, middle = 220, 9

    def at(value: float) -> float:
        return 6 + scale.share(value) * (width - 12)

    color = "var(--b)" if is_best else "var(--a)"
    parts = [
        f'<svg class=row viewBox="0 0 {width} {2 * middle}" role="img" aria-label="{number(mean)}">',
        rule(6, middle, width - 6, middle),
    ]
    if half is not None:
        parts.append(
            f'<line x1="{at(mean - half):.1f}" x2="{at(mean + half):.1f}" y1="{middle}" y2="{middle}" stroke="{color}" '
            'stroke-width="4" stroke-opacity=".5" stroke-linecap="round"/>'
        )
    parts.append(f'<circle cx="{at(mean):.1f}" cy="{middle}" r="4" fill="{color}"/>')
    return "".join([*parts, "</svg>"])


def parallel(axes: Sequence[tuple[str, Sequence[str]]], scores: Sequence[float], metric: str, best: int) -> str:
    """Draw each run as a line across one axis for each setting and, last, its score, the better end up.

    Args:
        axes: (setting, its value in each run as typed): numbers in their order, other words as they come.
        scores: Of each run.
        metric: Name of the score.
        best: The run to be marked.
    """
    width, height, top, bottom = 760, 268, 34, 18
    gap = (width - 150) / max(len(axes), 1)
    score_scale = Scale.of(list(scores))
    is_turned = better(metric) == "lower"

    def goodness(score: float) -> float:
        return 1 - score_scale.share(score) if is_turned else score_scale.share(score)

    columns = [_places(values) for _, values in axes]
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="settings and score of each run">']

    def down(share: float) -> float:
        return top + (1 - share) * (height - top - bottom)

    names = [*(name for name, _ in axes), metric]
    labels = [*({word: share for word, share in column.items()} for column in columns)]
    labels.append({number(tick): goodness(tick) for tick in score_scale.ticks(5)})
    lines = []
    for run, score in enumerate(scores):
        shares = [column[values[run]] for column, (_, values) in zip(columns, axes, strict=True)]
        shares.append(goodness(score))
        points = [(60 + gap * place, down(share)) for place, share in enumerate(shares)]
        color, weight, opacity = ("var(--b)", 2.4, 1) if run == best else ("var(--a)", 1.3, 0.45)
        line = polyline(points, color, weight, opacity, number(score))
        lines.insert(len(lines) if run == best else 0, line)
    parts += lines
    for place, (name, words) in enumerate(zip(names, labels, strict=True)):
        x = 60 + gap * place
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{height - bottom}" stroke="var(--soft)"/>')
        parts.append(f'<text x="{x:.1f}" y="12" text-anchor="middle" font-weight="600">{escape(name)}</text>')
        for word, share in words.items():
            parts.append(
                f'<text x="{x + 6:.1f}" y="{down(share) - 5:.1f}" style="paint-order: stroke; stroke: var(--paper); '
                f'stroke-width: 3px">{escape(word)}</text>'
            )
    return "".join([*parts, "</svg>"])


def _places(values: Sequence[str]) -> dict[str, float]:
    """Return the place of each different value on its axis, 0 to 1: evenly, numbers in their order."""
    words = list(dict.fromkeys(values))
    try:
        words.sort(key=float)
    except ValueError:
        pass
    return {word: (place / (len(words) - 1) if len(words) > 1 else 0.5) for place, word in enumerate(words)}


def _thinned(curve: Curve) -> Curve:
    """Return a curve of at most 400 points, each the mean of those it stands for, the last one kept."""
    size = -(-len(curve.values) // _MAX_POINTS)
    if size == 1:
        return curve
    starts = range(0, len(curve.values), size)
    steps = [curve.steps[min(start + size, len(curve.steps)) - 1] for start in starts]
    return Curve(steps, [sum(part := curve.values[start : start + size]) / len(part) for start in starts])


def _described(lines: Sequence[Line]) -> str:
    """Say in words what a chart shows, for those who do not see it."""
    ends = (
        f"{line.name} from {number(line.curve.values[0])} to {number(line.curve.values[-1])}"
        for line in lines
        if line.curve.values
    )
    return "; ".join(ends)


def polyline(points: Sequence[tuple[float, float]], color: str, weight: float, opacity: float, tip: str) -> str:
    """Return a line through points, (across, down) each, that says `tip` under the pointer."""
    path = " ".join(f"{across:.1f},{down:.1f}" for across, down in points)
    look = f'fill="none" stroke="{color}" stroke-width="{weight}" stroke-opacity="{opacity}" stroke-linejoin="round"'
    return f'<polyline points="{path}" {look}><title>{escape(tip)}</title></polyline>'


def rule(x1: float, y1: float, x2: float, y2: float) -> str:
    """Return a thin straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="var(--line)"/>'
