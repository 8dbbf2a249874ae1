"""Units held at a value while the model runs on: what a language model then writes, what a classifier then says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt

import torch
from torch import Tensor, nn
from tqdm import tqdm

from rnnlab.cells import KeptWeights
from rnnlab.commands._explore_texts import Reading
from rnnlab.config import ExploreConfig
from rnnlab.errors import ConfigError
from rnnlab.inspection.clamp import Clamped, Unit
from rnnlab.inspection.properties import Property
from rnnlab.inspection.search import Z95, Answer
from rnnlab.inspection.states import Quantity, padded
from rnnlab.models import Classifier
from rnnlab.tasks.language import LanguageTask

LOW, HIGH = 0.01, 0.99  # of what a unit held in the text read
_CLAMP = re.compile(r"(\d+):(c?)(\d+)=([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)")

Measured = tuple[float, float]
"""A mean, and half of its 95 % interval."""


@dataclass(frozen=True, slots=True)
class Variant:
    """What came of one way to run the model.

    Attributes:
        value: at which the unit was held; None: free.
        rates: language models: by property, the share of written tokens at which it holds.
        shares: classifiers: by class, its mean probability over the texts read.
        changes: classifiers: by class, the mean change of its probability against the free model.
        tokens: language models: the first of the texts written.
    """

    value: float | None
    rates: dict[str, Measured] = field(default_factory=dict)
    shares: dict[str, Measured] = field(default_factory=dict)
    changes: dict[str, Measured] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Hold:
    """One unit, and the property its effect is told by: the one it knows, or the one it moves most."""

    unit: Unit
    name: str
    about: str
    variants: list[Variant]

    def sentence(self) -> str:
        """The effect in one plain sentence."""
        (layer, quantity), unit = self.unit
        free, *held = self.variants
        at = " / ".join(f"{one.value:.2f}" for one in held)
        who = f"unit {unit} of layer {layer} ({quantity}) held at {at}"
        if free.shares:
            told = " / ".join(
                f"{mean:+.3f} +- {margin:.3f}" for mean, margin in (one.changes[self.name] for one in held)
            )
            return f"{who}: the probability of {self.name} changes by {told}"
        told = " / ".join(_percent(one.rates[self.name]) for one in held)
        return f"{who}: {self.about} at {told} of the tokens written; free {_percent(free.rates[self.name])}"


_LARGEST_HELD = 1e6  # far beyond what a unit that learned holds, and nothing overflows


def parse_clamps(text: str | None, model: nn.Module) -> list[tuple[Unit, float]]:
    """Read `clamp=LAYER:UNIT=VALUE,...`.

    Raises:
        ConfigError: it is written otherwise, or names a unit that the model does not have.
    """
    wanted: list[tuple[Unit, float]] = []
    for part in text.split(",") if text else ():
        match = _CLAMP.fullmatch(part.strip())
        if match is None:
            raise ConfigError(f"clamp must be LAYER:UNIT=VALUE or LAYER:cUNIT=VALUE, as in 0:137=1.0, got {part!r}")
        layer, is_cell, unit, value = match.groups()
        if abs(float(value)) > _LARGEST_HELD:
            raise ConfigError(f"clamp={part.strip()}: a value must be from -{_LARGEST_HELD:g} to {_LARGEST_HELD:g}")
        wanted.append((Unit(Quantity(int(layer), is_cell or "h"), int(unit)), float(value)))
        try:
            Clamped(model, dict(wanted[-1:]))
        except ValueError as error:
            raise ConfigError(f"clamp={part.strip()}: {error}") from None
    return wanted


def best_units(answers: list[Answer], limit: int) -> list[tuple[Unit, str]]:
    """Units that know a property, each once, with the property's name; most beyond the token just read first."""
    found: dict[Unit, str] = {}
    for answer in sorted(answers, key=lambda one: -one.memory):
        if answer.is_known:
            assert answer.best is not None
            found.setdefault(answer.best.unit, answer.name)
    return list(found.items())[:limit]


def write_held(
    task: LanguageTask,
    model: nn.Module,
    settings: ExploreConfig,
    properties: Mapping[str, Property],
    plans: list[tuple[Unit, str | None, list[float]]],
) -> list[Hold]:
    """Let a language model write free and with each unit held, with the same seed.

    Args:
        task: of the model.
        model: a language model.
        settings: how the texts begin, how many and how long they are, seed and temperature.
        properties: whose rates are counted in what was written.
        plans: unit, property by name (None: the one it moves most), and values.
    """
    prompt = task.encode_prompt(settings.prompt)

    def write(unit: Unit, value: float | None) -> Variant:
        runner = model if value is None else Clamped(model, {unit: value})
        written = task.draw(
            runner,
            prompt,
            count=settings.count,
            length=settings.length,
            temperature=settings.temperature,
            seed=settings.seed,
        )
        texts = [task.vocabulary.decode(prompt + ids) for ids in written]
        begin = len(prompt)
        rates = {
            name: _ratio([sum(one.holds(text)[begin:]) for text in texts], [len(text) - begin for text in texts])
            for name, one in properties.items()
        }
        return Variant(value, rates=rates, tokens=texts[0])

    holds: list[Hold] = []
    free = write(plans[0][0], None) if plans else None
    for unit, name, values in tqdm(plans, desc="units held", disable=None):
        assert free is not None
        variants = [free, *(write(unit, value) for value in values)]
        chosen = name or max(properties, key=lambda one: _largest_move([v.rates[one] for v in variants]))
        holds.append(Hold(unit, chosen, properties[chosen].about, variants))
    return holds


@torch.no_grad()
def classify_held(
    model: Classifier, labels: list[str], reading: Reading, plans: list[tuple[Unit, str | None, list[float]]]
) -> list[Hold]:
    """Let a classifier read texts free and with each unit held; what counts is the change of each text's classes."""

    def read(held: dict[Unit, float]) -> Tensor:
        """Probabilities of the classes, (texts, C)."""
        shares = torch.empty(len(reading.ids), len(labels))
        device = next(model.parameters()).device
        runner = Clamped(model, held)
        with KeptWeights():
            for rows, inputs, lengths in padded(reading.ids):
                h, _ = runner.hidden(inputs.to(device))
                logits = model.logits_so_far(h).cpu()[lengths - 1, torch.arange(len(rows))]
                shares[rows] = logits.float().softmax(-1)
        return shares

    def measured(values: Tensor) -> dict[str, Measured]:
        return {
            label: _ratio(column.tolist(), [1] * len(column)) for label, column in zip(labels, values.T, strict=True)
        }

    holds: list[Hold] = []
    free = read({}) if plans else torch.empty(0)
    for unit, name, values in tqdm(plans, desc="units held", disable=None):
        held = [(value, read({unit: value})) for value in values]
        variants = [Variant(None, shares=measured(free))]
        variants += [Variant(value, shares=measured(one), changes=measured(one - free)) for value, one in held]
        class_name = (name or "").removeprefix("class_")
        chosen = class_name if class_name in labels else labels[-1]
        holds.append(Hold(unit, chosen, f"the text is {chosen}", variants))
    return holds


def usual_range(values: Tensor, unit: Unit) -> list[float]:
    """A low and a high value of what a unit held, from its quantity's values (N, H)."""
    column = values[:, unit.number].double()
    return [float(column.quantile(share)) for share in (LOW, HIGH)]


def _ratio(sums: list[float] | list[int], counts: list[int]) -> Measured:
    """A sum over a count, and half of its 95 % interval, each text one draw of chance."""
    total = sum(counts)
    if total == 0:
        return 0.0, 0.0
    rate, texts = sum(sums) / total, len(sums)
    squares = sum((one - rate * count) ** 2 for one, count in zip(sums, counts, strict=True))
    return rate, Z95 * sqrt(texts / max(1, texts - 1) * squares) / total


def _largest_move(rates: list[Measured]) -> float:
    """The largest difference to the first rate, in units of its own interval."""
    free, free_margin = rates[0]
    return max(abs(rate - free) / max(1e-9, sqrt(margin**2 + free_margin**2)) for rate, margin in rates[1:])


def _percent(rate: Measured) -> str:
    return f"{100 * rate[0]:.1f} +- {100 * rate[1]:.1f} %"
