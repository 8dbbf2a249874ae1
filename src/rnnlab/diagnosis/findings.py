"""A finding in words: what was measured, why it matters, what to try."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from rnnlab.diagnosis.signals import Signals


class Severity(Enum):
    """How much there is to gain, the worst first."""

    severe = "severe"
    warning = "warning"
    hint = "hint"


@dataclass(frozen=True, slots=True)
class Finding:
    """What ails a run.

    Attributes:
        measured: the numbers, as the beginning of a sentence.
        why: what they mean.
        overrides: of `rnnlab train`, to be tried together.
    """

    measured: str
    why: str
    overrides: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """One illness.

    Attributes:
        name: one word or more, with underscores.
        severity: of its findings.
        check: finding or None; None, too, where a signal is missing.
        explains: rules that have nothing to add where this one has found something: its consequences.
        source: of the threshold.
    """

    name: str
    severity: Severity
    check: Callable[[Signals], Finding | None]
    source: str
    explains: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A finding with its rule."""

    rule: Rule
    finding: Finding

    def line(self) -> str:
        """One line: what was measured and what to try."""
        return f"{self.finding.measured}; try {' '.join(self.finding.overrides)}"


def short(value: float, digits: int = 1) -> float:
    """Round to digits that count: a value to type."""
    return float(f"{value:.{digits}g}")


def changed(key: str, value: float) -> str:
    """Return an override with a round number."""
    return f"{key}={short(value):g}"
