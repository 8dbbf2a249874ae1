"""Which unit knows a property best: chosen on one half of the text, reported on the other.

The best of a thousand units looks good by luck alone; on text that did not choose it, it is one unit and its interval
is honest.

Legend: N tokens, H hidden_size, G groups (texts, or stretches of a long one).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnlab.inspection.auc import auc, auc_with_error
from rnnlab.inspection.clamp import Unit
from rnnlab.inspection.properties import Property
from rnnlab.inspection.states import Quantity

Z95 = 1.96
MIN_GROUPS = 8
MIN_TOKENS = 20  # of either kind, in each half
SMOOTHING = 2.0  # tokens of the property's share that every token's count begins with


@dataclass(frozen=True, slots=True)
class Finding:
    """How well one unit tells a property, on the half that did not choose it.

    Attributes:
        unit: which.
        is_low: whether the unit is low where the property holds; its AUC is then counted downwards.
        auc: 0.5 is chance; below it the direction found on the other half was luck.
        margin: half of the 95 % interval.
    """

    unit: Unit
    is_low: bool
    auc: float
    margin: float

    @property
    def beats_chance(self) -> bool:
        """Whether the interval lies above one half."""
        return self.auc - self.margin > 0.5

    def __str__(self) -> str:
        """'0.97 +- 0.01'; an interval ends at 1 whatever its margin."""
        return f"{self.auc:.2f} +- {self.margin:.2f}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found about one property.

    Attributes:
        name: of the property.
        about: the property in words.
        share: of the tokens at which it holds, 0 to 1.
        unsearched: why there was no search; None if there was one.
        token_alone: AUC of the token just read, without any memory, on the reported half.
        ranked: for each quantity its best units, best on the choosing half first.
        best: the state (h or c) that was best on the choosing half.
    """

    name: str
    about: str
    share: float
    unsearched: str | None
    token_alone: float | None
    ranked: dict[Quantity, list[Finding]]
    best: Finding | None

    @property
    def is_known(self) -> bool:
        """Whether a state was found that beats chance."""
        return self.best is not None and self.best.beats_chance

    @property
    def memory(self) -> float:
        """AUC of the best state beyond that of the token just read; below 0 where that tells more."""
        return -1.0 if self.best is None or self.token_alone is None else self.best.auc - self.token_alone

    def sentence(self) -> str:
        """The answer in one plain sentence."""
        if self.best is None:
            return f"not searched, whether {self.about}: {self.unsearched}"
        (layer, name), unit = self.best.unit
        if not self.best.beats_chance:
            return (
                f"no unit beats chance at whether {self.about}: the best, unit {unit} of layer {layer} ({name}), has "
                f"AUC {self.best} on the half that did not choose it"
            )
        low = ", low where it holds" if self.best.is_low else ""
        alone = f"the token just read alone gives {self.token_alone:.2f}"
        if self.memory <= 0:
            alone += ", so that it takes no memory"
        return f"unit {unit} of layer {layer} ({name}{low}) knows whether {self.about}: AUC {self.best}; {alone}"


def group_tokens(lengths: list[int], wanted: int = 40) -> Tensor:
    """Number the group of every token, <int64>(N,): a text each, or stretches of long texts where texts are few."""
    longest = max(1, -(-sum(lengths) // wanted)) if len(lengths) < wanted else max(lengths)
    numbers, group = [], 0
    for length in lengths:
        for begin in range(0, length, longest):
            numbers.append(torch.full((min(longest, length - begin),), group))
            group += 1
    return torch.cat(numbers)


def search(
    activations: Mapping[Quantity, Tensor],
    properties: Mapping[str, Property],
    flags: Mapping[str, Tensor],
    tokens: Tensor,
    groups: Tensor,
    *,
    top: int,
) -> list[Answer]:
    """Find the units that tell each property best.

    Args:
        activations: (N, H) each.
        properties: by name.
        flags: by the same names, where they hold, <bool>(N,).
        tokens: ids just read, <int64>(N,).
        groups: of `group_tokens`: the first half of them chooses.
        top: units listed for each quantity.

    Returns:
        An answer for each property, in their order.
    """
    num_groups = int(groups[-1]) + 1
    chooses = groups < num_groups // 2
    reasons = {name: _unsearchable(flags[name], chooses, num_groups) for name in properties}
    searched = [name for name, reason in reasons.items() if reason is None]
    ranked: dict[str, dict[Quantity, list[Finding]]] = {name: {} for name in properties}
    best: dict[str, tuple[float, Finding]] = {}
    for quantity, values in activations.items() if searched else ():
        areas = auc(values[chooses].T.contiguous(), torch.stack([flags[name][chooses] for name in searched]))
        for name, area in zip(searched, areas, strict=True):
            sizes, order = (area - 0.5).abs().sort(descending=True, stable=True)
            found = ranked[name][quantity] = [
                _report(values, flags[name], groups, ~chooses, Unit(quantity, index), bool(area[index] < 0.5))
                for index in order[:top].tolist()
            ]
            size = float(sizes[0])
            if quantity.is_state and (name not in best or size > best[name][0]):
                best[name] = size, found[0]
    return [
        Answer(
            name,
            properties[name].about,
            float(flags[name].double().mean()),
            reason,
            None if reason else _token_alone(tokens, flags[name], chooses),
            ranked[name],
            None if reason else best[name][1],
        )
        for name, reason in reasons.items()
    ]


def _report(values: Tensor, holds: Tensor, groups: Tensor, reports: Tensor, unit: Unit, is_low: bool) -> Finding:
    column = values[reports, unit.number] * (-1 if is_low else 1)
    area, error = auc_with_error(column, holds[reports], groups[reports])
    return Finding(unit, is_low, area, Z95 * error)


def _token_alone(tokens: Tensor, holds: Tensor, chooses: Tensor) -> float:
    """AUC of the property's share at each token: what a table without memory would know, its shares from one half."""
    size = int(tokens.max()) + 1
    hits = torch.bincount(tokens[chooses], holds[chooses].double(), size)
    share = holds[chooses].double().mean()
    shares = (hits + SMOOTHING * share) / (torch.bincount(tokens[chooses], minlength=size) + SMOOTHING)
    return float(auc(shares[tokens[~chooses]][None], holds[None, ~chooses]))


def _unsearchable(holds: Tensor, chooses: Tensor, num_groups: int) -> str | None:
    """Say why a search would say nothing, or None."""
    if num_groups < MIN_GROUPS:
        return f"the text has {num_groups} parts, wanted {MIN_GROUPS} for an interval"
    fewest = min(int(part.sum()) for half in (chooses, ~chooses) for part in (holds[half], ~holds[half]))
    if fewest >= MIN_TOKENS:
        return None
    hits = int(holds.sum())
    return f"it holds at {hits:,} of {len(holds):,} tokens; both halves need {MIN_TOKENS} where it holds and where not"
