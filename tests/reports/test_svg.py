"""Pictures: whole SVG, the right places, nothing that is not escaped."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from rnnlab.reports.axes import Scale
from rnnlab.reports.curves import Curve
from rnnlab.reports.svg import Line, chart, interval, parallel


def places(picture: str) -> list[list[tuple[float, float]]]:
    root = ElementTree.fromstring(picture)
    return [[tuple(map(float, pair.split(","))) for pair in one.get("points").split()] for one in root.iter("polyline")]


def test_a_chart_puts_larger_values_higher_and_later_steps_to_the_right():
    picture = chart([Line("train/loss", Curve([10, 20, 30], [3.0, 2.0, 1.0]), "red"), Line("empty", Curve(), "blue")])
    (points,) = places(picture)
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert [y for _, y in points] == sorted(y for _, y in points)  # y grows downward: the loss falls
    assert points[1] == pytest.approx([sum(pair) / 2 for pair in zip(points[0], points[2], strict=True)], abs=0.06)


def test_evaluations_are_marked_with_their_values():
    picture = chart([Line("valid/accuracy", Curve([5, 10], [0.5, 0.75]), "red", dots=True)])
    tips = [tip.text for tip in ElementTree.fromstring(picture).iter("title")]
    assert "valid/accuracy 0.75, step 10" in tips


def test_a_long_curve_is_thinned_and_keeps_its_end():
    curve = Curve(list(range(1, 10_001)), [1.0] * 9_999 + [2.0])
    (points,) = places(chart([Line("a", curve, "red")]))
    assert len(points) <= 400
    (short,) = places(chart([Line("a", Curve([1, 10_000], [1.0, 2.0]), "red")]))
    assert points[-1][0] == short[-1][0]


@pytest.mark.parametrize("curve", [Curve([7], [1.0]), Curve([1, 2], [0.0, 0.0]), Curve([1, 2], [1e-30, 1e30])])
def test_odd_curves_are_drawn_inside_the_picture(curve):
    (points,) = places(chart([Line("a", curve, "red")], width=100, height=80))
    assert all(0 <= x <= 100 and 0 <= y <= 80 for x, y in points)


def test_names_are_escaped():
    evil = '"><script>alert(1)</script>'
    for picture in (
        chart([Line(evil, Curve([1, 2], [1.0, 2.0]), "red", dots=True)]),
        parallel([(evil, [evil, "b"])], [1.0, 2.0], evil, 0),
    ):
        assert "<script" not in picture
        ElementTree.fromstring(picture)


def test_an_interval_reaches_from_bound_to_bound():
    scale = Scale(1.0, 3.0, False)
    picture = interval(2.0, 1.0, scale, is_best=True)
    spans = [(float(a), float(b)) for a, b in re.findall(r'x1="([\d.]+)" x2="([\d.]+)"', picture)]
    rule = re.search(r'x1="([\d.]+)" y1="[\d.]+" x2="([\d.]+)"', picture)
    assert spans == [(float(rule[1]), float(rule[2]))]
    assert f'cx="{sum(spans[0]) / 2:.1f}"' in picture
    assert "stroke-linecap" not in interval(2.0, None, scale, is_best=False)


@pytest.mark.parametrize(("metric", "top"), [("test/accuracy", 1), ("test/perplexity", 0)])
def test_parallel_axes_put_the_better_score_up_and_the_best_run_in_front(metric, top):
    lines = places(parallel([("optimizer.lr", ["0.01", "0.001", "0.1"])], [1.0, 5.0, 3.0], metric, best=top))
    ends = {line[0][1]: line[-1][1] for line in lines}
    heights = sorted(ends)  # rates 0.1, 0.01, 0.001 from top to bottom: in the order of their numbers
    best_start = heights[1] if top == 0 else heights[2]
    assert ends[best_start] == min(ends.values())
    assert lines[-1][0][1] == best_start
