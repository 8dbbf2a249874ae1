"""What the rules look at: the numbers that a run wrote of itself, in the form in which rules ask for them.

A number that a run does not have, because an older rnnlab made it or it ended too early, is None or an empty curve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

from rnnlab.errors import CheckpointError, DivergedError
from rnnlab.json_files import read_json
from rnnlab.reports.curves import Curve, read_curves
from rnnlab.schema import misfit


@dataclass(frozen=True, slots=True)
class Signals:
    """The numbers of one run.

    Attributes:
        config: its settings, by section.
        curves: scalars over steps, by TensorBoard's tag.
        units: of the last look at the layers, "layer_0/dead" and so on.
        status: running, done, failed or stopped.
        exit_code: None while it runs.
        steps: optimizer updates.
        skipped: steps that changed nothing: their loss or gradient was not finite.
        rollbacks: returns to an older checkpoint.
        baseline: validation loss of the best guess that looks at no input.
        padding: share of the training steps that are padding, 0 to 1.
        arithmetic_share: operations a second of training by what the machine's matrix products reach, 0 to 1.
        num_parameters: of the model.
        num_targets: predictions in one pass over the training split; None where every pass is drawn anew.
        confusion: counts of the test split, a row for each true class.
    """

    config: Mapping[str, Any]
    curves: Mapping[str, Curve]
    units: Mapping[str, float]
    status: str = "done"
    exit_code: int | None = 0
    steps: int = 0
    skipped: int = 0
    rollbacks: int = 0
    baseline: float | None = None
    padding: float | None = None
    arithmetic_share: float | None = None
    num_parameters: int | None = None
    num_targets: int | None = None
    confusion: list[list[int]] | None = None

    def setting(self, key: str) -> Any:
        """Return a setting by its dotted key; None where there is none."""
        section, _, name = key.partition(".")
        values = self.config.get(section)
        return values.get(name) if isinstance(values, Mapping) else None

    def values(self, tag: str) -> list[float]:
        """Return a curve's values, in the order of steps; [] where there is no such curve."""
        return self.curves.get(tag, Curve()).values

    @property
    def has_diverged(self) -> bool:
        """Whether that is what ended it."""
        return self.exit_code == DivergedError.exit_code

    @property
    def best_loss(self) -> float | None:
        """Lowest validation loss."""
        return min(self.values("valid/loss"), default=None)

    @property
    def has_learned(self) -> bool | None:
        """Whether the best validation loss is below the best guess's by more than 3 % of it; None: unknown."""
        if self.best_loss is None or self.baseline is None:
            return None
        return self.best_loss < 0.97 * self.baseline

    @property
    def is_solved(self) -> bool:
        """Whether the best validation loss is below a tenth of the best guess's: little is left to gain."""
        return self.best_loss is not None and self.baseline is not None and self.best_loss < 0.1 * self.baseline

    @property
    def rate(self) -> float | None:
        """The highest learning rate so far."""
        return max(self.values("optim/lr"), default=None)

    @property
    def update_ratio(self) -> float | None:
        """Median of |update| / |weights| over the log points at half the highest rate or more."""
        rates = self.curves.get("optim/lr", Curve())
        high = {step for step, rate in zip(rates.steps, rates.values, strict=True) if rate >= 0.5 * (self.rate or 0)}
        ratios = self.curves.get("optim/update_ratio", Curve())
        found = [ratio for step, ratio in zip(ratios.steps, ratios.values, strict=True) if step in high]
        return median(found) if found else None

    @property
    def clipped_share(self) -> float | None:
        """Share of clipped steps in the second half of the log points."""
        found = self.values("optim/clipped_share")
        return fmean(found[len(found) // 2 :]) if found else None

    def unit(self, name: str) -> tuple[str, float] | None:
        """Return layer and value where a fact about units is largest; None where no layer has it."""
        found = {key: value for key, value in self.units.items() if key.rpartition("/")[2] == name}
        if not found:
            return None
        key = max(found, key=found.__getitem__)
        return key.rpartition("/")[0], found[key]


def quarters(values: list[float]) -> list[float]:
    """Return the means of a curve's four quarters; [] below eight values."""
    if len(values) < 8:
        return []
    ends = [len(values) * part // 4 for part in range(5)]
    return [fmean(values[begin:end]) for begin, end in pairwise(ends)]


def is_flat(s: Signals, gain: float) -> bool:
    """Whether neither loss has fallen by this share in the second half, and there is something left to gain."""
    train, valid = quarters(s.values("train/loss")), s.values("valid/loss")
    if not train or len(valid) < 4 or s.baseline is None or train[-1] < 0.1 * s.baseline:
        return False
    half = len(valid) // 2
    return train[-1] > (1 - gain) * train[-2] > 0 and min(valid[half:]) > (1 - gain) * min(valid[:half])


def read_signals(folder: Path) -> Signals:
    """Read what a run wrote: run.json, result.json and its event files.

    Args:
        folder: of the run, finished or not.

    Raises:
        CheckpointError: run.json or result.json is damaged or not there, or a setting is none.
    """
    run, result = read_json(folder / "run.json"), read_json(folder / "result.json")
    config = run.get("config")
    if not isinstance(config, dict):
        raise CheckpointError(f"{folder / 'run.json'} is damaged: it holds no config")
    _refuse_misfits(config, folder / "run.json")
    corpus = found if isinstance(found := run.get("corpus"), dict) else {}
    curves = read_curves(folder)
    units = result.get("units") or _last_look(curves)
    return Signals(
        config=config,
        curves=curves,
        units=units if isinstance(units, dict) else {},
        status=str(result.get("status")),
        exit_code=_number(result, "exit_code", int),
        steps=_number(result, "steps", int) or 0,
        skipped=_number(result, "skipped_steps", int) or 0,
        rollbacks=_number(result, "rollbacks", int) or 0,
        baseline=_number(run, "baseline", float) or _number(result, "baseline", float),
        padding=_number(run, "padding_share", float),
        arithmetic_share=_number(result, "arithmetic_share", float),
        num_parameters=_number(run, "num_parameters", int),
        num_targets=next(
            (corpus[key] for key in ("train_tokens", "train_chars", "train_texts") if isinstance(corpus.get(key), int)),
            None,
        ),
        confusion=result["confusion"] if isinstance(result.get("confusion"), list) else None,
    )


def _refuse_misfits(config: Mapping[str, Any], path: Path) -> None:
    """Refuse settings that rules could not calculate with.

    Raises:
        CheckpointError: what they are.
    """
    for section, values in config.items():
        for name, value in values.items() if isinstance(values, Mapping) else ():
            if (wrong := misfit(f"{section}.{name}", value)) is not None:
                raise CheckpointError(f"{path} is damaged: {section}.{name} {wrong}")


def _number(content: Mapping[str, Any], key: str, kind: type) -> Any:
    """A finite number of a file that anyone may have written; None: it is none."""
    value = content.get(key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
    return kind(value) if is_number else None


def _last_look(curves: Mapping[str, Curve]) -> dict[str, float]:
    """Return what `trainer.xray_every` or `trainer.histograms` saw last, for runs that kept nothing else."""
    found = {}
    for tag, curve in curves.items():
        kind, _, name = tag.partition("/")
        if kind in ("xray", "saturation") and curve.values:
            found[name] = curve.values[-1]
    return found
