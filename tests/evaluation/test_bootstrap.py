"""Intervals against what is known exactly, and against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rnnlab.evaluation.bootstrap import PairedBootstrap


def ratio(sums, counts):
    return sums / counts


def test_the_interval_of_a_share_is_the_binomial_one():
    right = np.zeros((400, 1))
    right[:300] = 1
    interval = PairedBootstrap(right, np.ones(400), ratio, resamples=10_000, seed=0).score(0)
    spread = 1.96 * math.sqrt(0.75 * 0.25 / 400)
    assert interval.value == 0.75
    # The steps of a share of 400 are 0.0025, and 10,000 draws place a bound to about 0.0005.
    assert interval.low == pytest.approx(0.75 - spread, abs=0.004)
    assert interval.high == pytest.approx(0.75 + spread, abs=0.004)


def test_a_difference_is_paired_what_is_hard_for_both_does_not_widen_it():
    hard = np.random.default_rng(0).normal(0, 5, 500)
    nats = np.column_stack([hard, hard + 0.1])
    bootstrap = PairedBootstrap(nats, np.ones(500), ratio, resamples=2_000, seed=0)
    difference = bootstrap.difference(0, 1)
    assert difference == pytest.approx((0.1, 0.1, 0.1))
    assert not difference.holds_zero
    score = bootstrap.score(0)
    assert score.high - score.low > 0.5


def test_a_run_against_itself_differs_by_nothing_and_the_sign_turns_with_the_order():
    draw = np.random.default_rng(1)
    nats = draw.normal(2, 1, (200, 2))
    bootstrap = PairedBootstrap(nats, draw.integers(1, 9, 200), ratio, resamples=1_000, seed=0)
    assert bootstrap.difference(0, 0) == (0, 0, 0)
    there, back = bootstrap.difference(0, 1), bootstrap.difference(1, 0)
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))


def test_items_weigh_by_their_counts_and_the_statistic_is_of_the_sums():
    nats, counts = np.array([[10.0], [90.0]]), np.array([10, 30])
    bootstrap = PairedBootstrap(nats, counts, lambda sums, n: np.exp(sums / n), resamples=500, seed=0)
    interval = bootstrap.score(0)
    assert interval.value == pytest.approx(math.exp(100 / 40))
    assert (interval.low, interval.high) == pytest.approx((math.exp(1.0), math.exp(3.0)))  # both drawn twice


def test_drawing_kinds_of_items_equals_drawing_items():
    right = np.array([[1, 0]] * 30 + [[1, 1]] * 50 + [[0, 1]] * 20, dtype=float)
    interval = PairedBootstrap(right, np.ones(100), ratio, resamples=10_000, seed=0).difference(0, 1)
    draw = np.random.default_rng(5)
    drawn = np.array([np.diff(right[draw.integers(0, 100, 100)].mean(0))[0] for _ in range(2_000)])
    assert interval.value == pytest.approx(-0.1)
    assert (interval.low, interval.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.015)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    nats = np.random.default_rng(0).normal(2, 1, (50, 2))

    def interval(seed):
        return PairedBootstrap(nats, np.ones(50), ratio, resamples=300, seed=seed).difference(0, 1)

    assert interval(3) == interval(3)
    assert interval(3) != interval(4)


def test_chance_is_mostly_called_chance():
    """Of models that are equally good, about one in twenty is called better or worse: of 100 here 0 to 14."""
    draw = np.random.default_rng(0)
    called = 0
    for _ in range(100):
        nats = draw.normal(2, 1, (40, 2))
        called += not PairedBootstrap(nats, np.ones(40), ratio, resamples=200, seed=0).difference(0, 1).holds_zero
    assert called <= 14


def test_too_little_is_refused():
    for nats, counts, resamples in (
        (np.zeros((1, 2)), np.ones(1), 10),
        (np.zeros((3, 2)), np.ones(2), 10),
        (np.zeros((3, 2)), np.ones(3), 0),
    ):
        with pytest.raises(ValueError, match="wanted"):
            PairedBootstrap(nats, counts, ratio, resamples=resamples, seed=0)
