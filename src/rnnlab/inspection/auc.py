"""AUC: how often a number is higher where something holds than where it does not; ties count one half.

Shapes: N places (tokens) in a text, U units, P properties, G groups of places.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

UNITS_AT_ONCE = 256  # bounds the memory of a sort


def auc(values: Tensor, holds: Tensor) -> Tensor:
    """Return the AUC of every unit for every property: 0.5 is chance, 1 always higher, 0 always lower.

        AUC = (sum of the ranks of the m places where it holds - m (m + 1) / 2) / (m (N - m))

    Args:
        values: of each unit at each place, (U, N).
        holds: <bool>(P, N); each property must hold somewhere and fail somewhere.

    Returns:
        <float64>(P, U).

    Source: Mann & Whitney 1947.
    """
    hits = holds.double()
    num_hits = hits.sum(1, keepdim=True)
    parts = [hits @ midranks(some).T for some in values.split(UNITS_AT_ONCE)]
    return (torch.cat(parts, 1) - num_hits * (num_hits + 1) / 2) / (num_hits * (holds.shape[1] - num_hits))


def midranks(values: Tensor) -> Tensor:
    """Rank each row from 1; equal values share the mean of their ranks. (U, N) -> <float64>(U, N)."""
    ordered, order = values.sort(dim=1)
    num_places = values.shape[1]
    place = torch.arange(num_places, device=values.device).expand_as(order)
    differs = ordered[:, 1:] != ordered[:, :-1]
    edge = differs.new_ones(len(differs), 1)
    first = place.masked_fill(~torch.cat([edge, differs], 1), 0).cummax(1).values
    last = place.masked_fill(~torch.cat([differs, edge], 1), num_places).flip(1).cummin(1).values.flip(1)
    return torch.empty_like(ordered, dtype=torch.float64).scatter_(1, order, (first + last).double() / 2 + 1)


def auc_with_error(values: Tensor, holds: Tensor, groups: Tensor) -> tuple[float, float]:
    """Return one unit's AUC and its standard error, where places of one group may depend on each other.

    Neighbours in a text are alike, so that counting places would make every interval too short: a group (a tune, a
    review, a stretch of a long text) is what was drawn by chance.

        V_j       share of the other kind's places that place j beats, ties one half
        w_g       sum over g's hits of (V - AUC) / m + sum over g's others of (V - AUC) / n
        variance  G / (G - 1) * sum_g w_g^2

    Args:
        values: (N,).
        holds: <bool>(N,), with both kinds.
        groups: number of each place's group, <int64>(N,), from 0.

    Returns:
        The AUC, and its standard error; inf for a single group.

    Source: Obuchowski 1997, which is DeLong, DeLong & Clarke-Pearson 1988 for groups of one place.
    """
    everyone = midranks(values[None])[0]
    placement = torch.empty_like(everyone)
    for kind in (holds, ~holds):
        among_its_own = midranks(values[None, kind])[0]
        below = (everyone[kind] - among_its_own) / int((~kind).sum())  # others below it, ties one half
        placement[kind] = below if kind is holds else 1 - below
    area = float(placement[holds].mean())
    weights = torch.where(holds, 1 / int(holds.sum()), 1 / int((~holds).sum())).double()
    count = int(groups.max()) + 1
    influence = torch.zeros(count, dtype=torch.float64).index_add_(0, groups, (placement - area) * weights)
    num_groups = len(groups.unique())
    if num_groups < 2:
        return area, math.inf
    return area, math.sqrt(num_groups / (num_groups - 1) * float(influence.square().sum()))
