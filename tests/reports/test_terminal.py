"""Curves in letters."""

from __future__ import annotations

import pytest

from rnnlab.reports.curves import Curve
from rnnlab.reports.terminal import plot, sparkline, takes_only_ascii


def test_a_sparkline_rises_and_falls_with_its_values():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 20) == "▁▂▃▄▅▆▇█"
    assert sparkline([7, 0, 7], 20, is_ascii=True) == "#_#"
    assert sparkline([3, 3, 3], 20) == "▅▅▅"


def test_a_sparkline_is_as_wide_as_asked_and_averages():
    assert sparkline([0, 0, 10, 10], 2) == "▁█"
    assert len(sparkline(list(range(1000)), 24)) == 24


def test_a_plot_has_its_axes_its_line_and_its_marks():
    line, marks = Curve(list(range(10, 110, 10)), [float(10 - i) for i in range(10)]), Curve([50, 100], [5.0, 0.5])
    lines = plot(line, marks, width=60, height=8)
    assert len(lines) == 10
    assert max(map(len, lines)) <= 60
    assert lines[0].startswith(" 10 ┤")
    assert lines[7].startswith("0.5 ┤")
    assert lines[9].split() == ["10", "step", "100"]
    assert sum(letters.count("●") for letters in lines) == 2
    # It falls: what is dotted moves down and to the right.
    places = [letters.index(next(c for c in letters if "\u2800" < c <= "\u28ff")) for letters in lines[:6]]
    assert places == sorted(places)
    assert places[0] < places[-1]


@pytest.mark.parametrize(
    ("line", "marks"),
    [
        (Curve([5], [1.0]), Curve()),
        (Curve(), Curve([7], [2.0])),
        (Curve([1, 2], [4.0, 4.0]), Curve([2], [4.0])),
        (Curve([1, 2, 3], [1e4, 1e2, 10.0]), Curve()),
    ],
)
@pytest.mark.parametrize("is_ascii", [True, False])
def test_a_curve_of_one_point_or_a_constant_is_drawn_too(line, marks, is_ascii):
    lines = plot(line, marks, width=40, height=5, is_ascii=is_ascii)
    text = "\n".join(lines)
    assert len(lines) == 7
    assert text.isascii() == is_ascii
    assert "o" in text.partition("step")[0] or "." in text or any("\u2800" < c <= "\u28ff" or c == "●" for c in text)


def test_encodings_that_show_no_bars_are_known():
    assert [takes_only_ascii(name) for name in ("utf-8", "UTF8", "ascii", "latin-1")] == [False, False, True, True]
