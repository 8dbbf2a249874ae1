"""AUC by ranks equals the count over all pairs, ties included; its interval covers what it should."""

import math

import pytest
import torch

from rnnlab.inspection.auc import auc, auc_with_error, midranks


def brute_force(values, holds):
    """Share of pairs (one where it holds, one where not) that are in order; ties are one half."""
    above, below = values[holds][:, None], values[~holds][None]
    return float(((above > below).double() + 0.5 * (above == below).double()).mean())


def test_auc_is_the_share_of_ordered_pairs_ties_one_half():
    torch.manual_seed(0)
    values = torch.randint(0, 5, (300, 40)).float()  # 300 units: more than one part of a sort; five values: many ties
    holds = torch.rand(3, 40) < 0.4
    found = auc(values, holds)
    assert found.shape == (3, 300)
    for row in range(3):
        for unit in (0, 1, 299):
            expected = brute_force(values[unit], holds[row])
            assert float(found[row, unit]) == pytest.approx(expected, abs=1e-12)  # sums of halves in float64
            assert auc_with_error(values[unit], holds[row], torch.arange(40))[0] == pytest.approx(expected, abs=1e-12)


def test_equal_values_share_their_ranks():
    assert midranks(torch.tensor([[3.0, 1.0, 3.0, 3.0, 2.0]])).tolist() == [[4, 1, 4, 4, 2]]
    assert midranks(torch.ones(1, 4)).tolist() == [[2.5] * 4]


def test_a_perfect_unit_has_no_error_and_its_negative_is_zero():
    holds = torch.tensor([0, 0, 1, 1, 0, 1], dtype=torch.bool)
    assert auc_with_error(holds.float(), holds, torch.arange(6)) == (1.0, 0.0)
    assert auc_with_error(-holds.float(), holds, torch.arange(6)) == (0.0, 0.0)


def test_one_group_has_no_interval():
    holds = torch.tensor([True, False])
    assert auc_with_error(torch.tensor([1.0, 0.0]), holds, torch.zeros(2, dtype=torch.int64)) == (1.0, math.inf)


def test_groups_of_one_give_delongs_variance():
    torch.manual_seed(1)
    holds = torch.rand(50) < 0.4
    values = torch.randn(50) + holds
    hits, others = values[holds], values[~holds]
    above = (hits[:, None] > others[None]).double()
    area, by_hit, by_other = above.mean(), above.mean(1), above.mean(0)
    # DeLong 1988 with the sums of squares divided by the numbers themselves; Obuchowski adds G / (G - 1)
    variance = ((by_hit - area) ** 2).sum() / len(hits) ** 2 + ((by_other - area) ** 2).sum() / len(others) ** 2
    assert auc_with_error(values, holds, torch.arange(50))[1] ** 2 == pytest.approx(float(variance) * 50 / 49)


def test_the_interval_covers_chance_where_neighbours_are_alike():
    torch.manual_seed(2)
    groups = torch.arange(30).repeat_interleave(20)
    covered = {"groups": 0, "places": 0}
    for _ in range(100):
        # both the unit and the property are nearly constant in a group, and have nothing to do with each other
        values = torch.randn(30)[groups] + 0.5 * torch.randn(600)
        holds = (torch.rand(30) < 0.5)[groups]
        for name, kind in (("groups", groups), ("places", torch.arange(600))):
            area, error = auc_with_error(values, holds, kind)
            covered[name] += abs(area - 0.5) < 1.96 * error
    # 86 is 4 standard deviations of 100 draws below 95
    assert covered["groups"] >= 86
    assert covered["places"] < 50, "counting places as if each were drawn by itself"
