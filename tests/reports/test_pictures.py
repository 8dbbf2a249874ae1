"""Bars, numbers as colours, and ways: whole SVG, in proportion, nothing that is not escaped."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from rnnlab.reports.pictures import bars, cells, ways


def rects(picture: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(picture).iter("rect"))


def test_bars_are_as_long_as_their_values():
    short, long = (float(rect.get("width", "")) for rect in rects(bars({"a": 1.0, "b": 4.0}, marked=["b"])))
    assert long == pytest.approx(4 * short, abs=0.2)  # a tenth of a unit is what is written


def test_nothing_but_zeros_is_drawn_too():
    assert len(rects(bars({"a": 0.0}))) == 1
    assert len(rects(cells([[0.0, 0.0]]))) == 2


def test_colours_are_by_sign_and_size():
    one, other = rects(cells([[-2.0, 1.0]], rows=["row"]))
    assert (one.get("fill"), one.get("fill-opacity")) == ("var(--b)", "1.00")
    assert (other.get("fill"), other.get("fill-opacity")) == ("var(--a)", "0.50")


def test_a_way_begins_with_a_larger_dot_and_up_is_up():
    first, second = ElementTree.fromstring(ways([("ball", "red", [(0.0, -1.0), (0.0, 1.0)])])).iter("circle")
    assert float(first.get("r", "")) > float(second.get("r", ""))
    assert float(first.get("cy", "")) > float(second.get("cy", ""))


def test_names_are_escaped():
    evil = '"><script>alert(1)</script>'
    for picture in (bars({evil: 1.0}), cells([[1.0]], rows=[evil]), ways([(evil, "red", [(0, 0)])])):
        assert "<script" not in picture
        ElementTree.fromstring(picture)
