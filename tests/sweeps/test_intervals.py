import math

import pytest

from rnnlab.sweeps.intervals import spread, t_probability, t_quantile

# Two-sided 95 %, as every table of Student's distribution prints them, to three digits after the point.
TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 10: 2.228, 30: 2.042, 120: 1.980}


@pytest.mark.parametrize(("degrees", "quantile"), TABLE.items())
def test_the_quantiles_are_those_of_the_tables(degrees: int, quantile: float):
    assert t_quantile(0.975, degrees) == pytest.approx(quantile, abs=5e-4)


def test_one_degree_is_cauchys_distribution_and_two_have_a_formula():
    for t in (0.0, 0.3, 1.0, 7.0):
        assert t_probability(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi, abs=1e-12)
        assert t_probability(t, 2) == pytest.approx(0.5 + t / (2 * math.sqrt(2 + t * t)), abs=1e-12)


def test_scores_of_seeds_are_summed_up():
    found = spread([1.0, 2.0, 3.0])
    assert (found.count, found.mean, found.std) == (3, 2.0, 1.0)
    assert found.half_width == pytest.approx(4.303 / math.sqrt(3), abs=1e-3)


def test_one_score_has_no_spread():
    found = spread([4.0])
    assert (found.mean, found.std, found.half_width) == (4.0, None, None)
