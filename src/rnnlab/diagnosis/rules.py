"""The table of illnesses: which check finds each, from which limit on, and what it explains.

A rule that lacks a signal says nothing. Where one illness causes another, only the cause is told: too high a rate also
leaves the loss above the baseline and clips every step.
"""

from __future__ import annotations

from rnnlab.diagnosis import fit, rate, units
from rnnlab.diagnosis.findings import Diagnosis, Rule, Severity
from rnnlab.diagnosis.signals import Signals

_CONSEQUENCES = frozenset(
    {
        "one_class",
        "baseline_not_beaten",
        "overfitting",
        "too_small",
        "plateau",
        "too_short",
    }
)
_OURS = "set between the ill and the healthy runs of the tests"

# Causes before their consequences, the worst first: the order in which they are told.
RULES = (
    Rule(
        "exploding",
        Severity.severe,
        rate.exploding,
        "Pascanu, Mikolov & Bengio 2013, section 3.2; a hundredfold jump: " + _OURS,
        _CONSEQUENCES
        | {"skipped_steps", "lr_too_high", "lr_too_low", "vanishing", "dead_units", "saturated", "clipping"},
    ),
    Rule(
        "skipped_steps",
        Severity.severe,
        rate.skipped_steps,
        "any step that is not finite",
        _CONSEQUENCES | {"lr_too_high", "vanishing", "dead_units", "saturated", "clipping"},
    ),
    Rule(
        "dead_units",
        Severity.severe,
        units.dead_units,
        "half of the units: " + _OURS,
        _CONSEQUENCES | {"lr_too_high", "lr_too_low", "clipping"},
    ),
    Rule(
        "lr_too_high",
        Severity.severe,
        rate.lr_too_high,
        "updates of 1e-3 of the weights are usual (Karpathy, CS231n notes); 20 times that, with a loss to match",
        _CONSEQUENCES | {"vanishing", "saturated", "clipping"},
    ),
    Rule(
        "lr_too_low",
        Severity.severe,
        rate.lr_too_low,
        "updates of 1e-3 of the weights are usual (Karpathy, CS231n notes); a third of that, with a loss to match",
        _CONSEQUENCES | {"vanishing", "clipping"},
    ),
    Rule(
        "vanishing",
        Severity.severe,
        units.vanishing,
        "Hochreiter 1991; a thousandth left over the way: less than what the nearest steps vary by",
        _CONSEQUENCES,
    ),
    Rule(
        "saturated",
        Severity.warning,
        units.saturated,
        "ends at 0.1 and 0.9: Karpathy, Johnson & Li 2015, section 4.3; all but 0.5 % of values: " + _OURS,
        _CONSEQUENCES,
    ),
    Rule("one_class", Severity.severe, fit.one_class, "99 % of the texts", _CONSEQUENCES),
    Rule(
        "baseline_not_beaten",
        Severity.severe,
        fit.baseline_not_beaten,
        "3 % below the entropy of the targets' frequencies, or the error of the best constant",
        frozenset({"overfitting", "too_small", "plateau", "too_short"}),
    ),
    Rule(
        "overfitting",
        Severity.warning,
        fit.overfitting,
        "a tenth above its lowest: Prechelt 1998 (generalisation loss), with a training loss a fifth below",
        frozenset({"too_short"}),
    ),
    Rule(
        "too_small",
        Severity.warning,
        fit.too_small,
        "a language model's parameters are of the order of its tokens; a twentieth of that, and no gain: " + _OURS,
        frozenset({"plateau", "lr_spent"}),
    ),
    Rule("plateau", Severity.warning, rate.plateau, "1 % in half of the run: " + _OURS, frozenset({"clipping"})),
    Rule(
        "clipping",
        Severity.warning,
        rate.clipping,
        "Pascanu, Mikolov & Bengio 2013: for rare steps; 9 of 10: " + _OURS,
    ),
    Rule("lr_spent", Severity.hint, rate.lr_spent, "a thousandth of the rate, for a quarter of the steps: " + _OURS),
    Rule(
        "slow",
        Severity.hint,
        fit.slow,
        "a twentieth of a float32 product of 1024 by 1024, for trainings of a minute and more: a choice",
    ),
    Rule("padding", Severity.hint, fit.padding, "a fifth of the time: " + _OURS),
    Rule("too_short", Severity.hint, fit.too_short, "10 % in the last quarter of the evaluations: " + _OURS),
)


def diagnose(signals: Signals) -> list[Diagnosis]:
    """Apply all rules; what another finding explains is left out."""
    found = {rule: finding for rule in RULES if (finding := rule.check(signals)) is not None}
    explained = frozenset[str]().union(*(rule.explains - {rule.name} for rule in found))
    return [Diagnosis(rule, finding) for rule, finding in found.items() if rule.name not in explained]
