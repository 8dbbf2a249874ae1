"""Axes and the numbers on them."""

from __future__ import annotations

import pytest

from rnnlab.reports.axes import Scale, fixed, number


def test_a_linear_axis_spans_its_values():
    scale = Scale.of([2.0, 6.0, 4.0])
    assert (scale.is_log, [scale.share(value) for value in (2, 4, 6)]) == (False, [0, 0.5, 1])


def test_values_that_span_a_factor_of_twenty_make_it_logarithmic():
    scale = Scale.of([10.0, 1000.0])
    assert scale.is_log
    assert scale.share(100.0) == pytest.approx(0.5)
    assert not Scale.of([-1.0, 1000.0]).is_log
    assert not Scale.of([0.0, 1000.0]).is_log


@pytest.mark.parametrize("value", [0.0, 3.0, -2.0, 1e-9])
def test_a_constant_has_room_on_both_sides(value):
    scale = Scale.of([value, value])
    assert scale.share(value) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "ends", [(0.0, 1.0), (0.4588, 0.6949), (3.2, 6.5), (90.0, 12_000.0), (1e-5, 3e-5), (-4.0, 9.0)]
)
def test_ticks_are_round_numbers_on_the_axis(ends):
    scale = Scale.of(list(ends))
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 9
    assert ticks == sorted(ticks)
    assert all(-1e-9 <= scale.share(tick) <= 1 + 1e-9 for tick in ticks)  # rounding of step * place
    assert all(float(f"{tick:.2g}") == pytest.approx(tick) for tick in ticks)


def test_room_at_the_ends_moves_the_ends_alone():
    for ends in ([1.0, 3.0], [1.0, 1000.0]):
        wide = Scale.of(ends).widened(0.1)
        assert wide.low < ends[0] < ends[1] < wide.high
        assert wide.share((ends[0] * ends[1]) ** 0.5 if wide.is_log else sum(ends) / 2) == pytest.approx(0.5)


def test_numbers_have_four_digits_that_count():
    shown = {0.88123: "0.8812", 82.3149: "82.31", 12345.6: "12,346", 3.2e-5: "3.2e-05", 0: "0", 2e9: "2e+09"}
    assert {value: number(value) for value in shown} == shown


def test_scores_of_one_size_have_the_same_decimals():
    assert [fixed(value) for value in (0.5, 3.14159, 82.3149, 238.7769, 12345.6)] == [
        "0.5000",
        "3.1416",
        "82.315",
        "238.78",
        "12,346",
    ]
