"""The illnesses of a training run, one function each; `RULES` at the end is the table.

A rule that lacks a signal says nothing. Where one illness causes another, only the cause is told: too high a rate also
leaves the loss above the baseline and clips every step.
"""

from __future__ import annotations

import math
from statistics import median

from rnnlab.diagnosis.findings import Diagnosis, Finding, Rule, Severity, changed, short
from rnnlab.diagnosis.signals import Signals, quarters

USUAL_RATIO = 1e-3  # of the length of an update to that of the weights
SIGMOIDS = ("input", "forget", "output", "reset", "update")


def exploding(s: Signals) -> Finding | None:
    """No clipping, and gradients that need it."""
    if s.setting("trainer.clip_grad_norm") is not None or s.setting("trainer.clip_grad_value") is not None:
        return None
    norms = s.values("optim/grad_norm")
    usual = median(norms) if norms else 1.0
    jump = max(norms) / usual if len(norms) >= 8 and usual > 0 else 0.0
    if s.has_diverged or s.skipped or s.rollbacks:
        measured = f"gradients overflowed in {s.skipped:,} steps, and nothing clips them"
        if not s.skipped:
            measured = "training diverged, and nothing clips its gradients"
    elif jump > 100:
        measured = f"a gradient was {jump:,.0f} times as long as the median one, and nothing clips them"
    else:
        return None
    limit = min(1.0, usual) if math.isfinite(usual) and usual > 0 else 1.0
    return Finding(
        measured,
        "a product of many Jacobians grows exponentially with the steps it spans; one such step undoes many good ones",
        (changed("trainer.clip_grad_norm", limit),),
    )


def skipped_steps(s: Signals) -> Finding | None:
    """Losses or gradients that are not finite although they are clipped."""
    lr = s.setting("optimizer.lr")
    if lr is None or not (s.skipped or s.rollbacks or s.has_diverged):
        return None
    measured = f"{s.skipped:,} of {s.steps:,} steps were skipped: their loss or gradient was not finite"
    if s.rollbacks:
        measured += f"; the run went back {s.rollbacks} times"
    return Finding(
        measured if s.skipped else "training diverged",
        "numbers overflow where the rate is too high for the model",
        (changed("optimizer.lr", lr / (10 if s.rollbacks or s.has_diverged else 3)),),
    )


def lr_too_high(s: Signals) -> Finding | None:
    """Large updates, and a loss that rises or never fell."""
    lr, ratio = s.setting("optimizer.lr"), s.update_ratio
    if lr is None or ratio is None or ratio < 20 * USUAL_RATIO:
        return None
    parts = quarters(s.values("train/loss"))
    has_risen = bool(parts) and parts[-1] > 1.25 * min(parts)
    if not has_risen and s.has_learned is not False:
        return None
    what = (
        "the training loss rose again" if has_risen else "the loss is not below the best guess that looks at no input"
    )
    return Finding(
        f"an update changes the weights by {100 * ratio:.2g} %, and {what}",
        "steps of this length jump over every minimum",
        (changed("optimizer.lr", lr / 10),),
    )


def lr_too_low(s: Signals) -> Finding | None:
    """Tiny updates, and a loss that has hardly moved."""
    lr, ratio, losses = s.setting("optimizer.lr"), s.update_ratio, s.values("train/loss")
    if lr is None or ratio is None or ratio > 0.3 * USUAL_RATIO or len(losses) < 4:
        return None
    fallen = 1 - min(losses) / losses[0] if losses[0] > 0 else 1.0
    if s.has_learned is not False and fallen > 0.1:
        return None
    factor = 10 if ratio > 0.01 * USUAL_RATIO else 100
    return Finding(
        f"an update changes the weights by {100 * ratio:.2g} %, and the training loss fell by {100 * fallen:.1f} %",
        "at this rate the weights stay about where they were drawn",
        (changed("optimizer.lr", lr * factor),),
    )


def vanishing(s: Signals) -> Finding | None:
    """A tanh network that forgets sooner than what it is asked for comes."""
    distance = _distance(s)
    slopes = [value for name, value in s.units.items() if name.endswith("/lag_slope")]
    if s.setting("model.cell") != "rnn" or not slopes or distance is None or s.has_learned is not False:
        return None
    slope = max(slopes)
    if slope * distance > math.log(1e-3):
        return None
    return Finding(
        f"a change of the state shrinks by {math.exp(slope):.2f} a step, and {distance} steps lie between what is read "
        "and what it is for",
        f"the gradient over that way is 1e{slope * distance / math.log(10):.0f} of itself: nothing so far back is learned",
        ("model=gru",),
    )


def _distance(s: Signals) -> int | None:
    """Steps over which a task of a known length needs its memory."""
    match s.setting("task.name"):
        case "adding":
            return s.setting("task.seq_len")
        case "copy":
            return s.setting("task.delay")
        case _:
            return None


def dead_units(s: Signals) -> Finding | None:
    """ReLU units that are zero at every step."""
    found, lr = s.unit("dead"), s.setting("optimizer.lr")
    if found is None or lr is None or found[1] < 0.5:
        return None
    can_begin_anew = s.setting("model.initialisation") != "identity"
    return Finding(
        f"{100 * found[1]:.0f} % of the ReLU units of {found[0]} are zero at every step",
        "they pass on nothing and get no gradient: too large a step has pushed them there",
        (changed("optimizer.lr", lr / 10), *(("model.initialisation=identity",) if can_begin_anew else ())),
    )


def saturated(s: Signals) -> Finding | None:
    """Gates or units that stand at one end whatever is read."""
    for gate in SIGMOIDS:
        for end, where in (("left", "shut"), ("right", "open")):
            found = s.unit(f"{gate}_{end}")
            if found is not None and found[1] >= 0.995:
                is_forget = gate == "forget" and s.setting("model.cell") == "lstm"
                measured = f"the {gate} gate of {found[0]} is {where} at {100 * found[1]:.1f} % of its values"
                why = "a gate at its end decides nothing, and passes back less than a tenth of a gradient"
                return Finding(measured, why, ("model.forget_gate_bias=1",) if is_forget else _calmer(s))
    found = s.unit("saturated")
    if found is None or found[1] < 0.95:
        return None
    return Finding(
        f"{100 * found[1]:.0f} % of the tanh values of {found[0]} lie beyond 0.9",
        "there tanh passes back less than a fifth of a gradient at each step",
        _calmer(s),
    )


def _calmer(s: Signals) -> tuple[str, ...]:
    """A rate that lets weights grow less."""
    lr = s.setting("optimizer.lr")
    return () if lr is None else (changed("optimizer.lr", lr / 3),)


def one_class(s: Signals) -> Finding | None:
    """A classifier that says the same of all texts."""
    lr = s.setting("optimizer.lr")
    if not s.confusion or lr is None:
        return None
    total = sum(map(sum, s.confusion))
    said = max(map(sum, zip(*s.confusion, strict=True)))
    true = max(map(sum, s.confusion))
    if total == 0 or said < 0.99 * total or true > 0.95 * total:
        return None
    pools_last = s.setting("model.pooling") == "last"
    return Finding(
        f"{100 * said / total:.0f} % of the test texts are given one class, which {100 * true / total:.0f} % have at most",
        "it has learned how frequent the classes are, and nothing of the texts",
        ("model.pooling=mean",) if pools_last else (changed("optimizer.lr", 3 * lr),),
    )


def baseline_not_beaten(s: Signals) -> Finding | None:
    """A loss that one has without looking at the input."""
    lr = s.setting("optimizer.lr")
    if s.has_learned is not False or lr is None:
        return None
    losses = s.values("train/loss")
    by_heart = bool(losses) and losses[-1] < 0.8 * (s.baseline or 0)
    why = "nothing of the input is used yet"
    overrides = (changed("optimizer.lr", 3 * lr), *_longer(s))
    if by_heart:
        why = (
            f"the training loss is {losses[-1]:.4g}: it learns by heart what does not hold for other data; look whether "
            "the splits are alike and the labels right"
        )
        overrides = _milder(s)
    return Finding(
        f"the best validation loss is {s.best_loss:.4g}; the best guess that looks at no input has {s.baseline:.4g}",
        why,
        overrides,
    )


def overfitting(s: Signals) -> Finding | None:
    """A validation loss that rises while the training loss falls."""
    valid, train = s.values("valid/loss"), quarters(s.values("train/loss"))
    if len(valid) < 3 or not train:
        return None
    best = min(valid)
    if valid[-1] < 1.1 * best or train[-1] > 0.8 * valid[-1] or train[-1] > train[1]:
        return None
    return Finding(
        f"the validation loss was {best:.4g} at evaluation {valid.index(best) + 1} of {len(valid)} and ended at "
        f"{valid[-1]:.4g}; the training loss ended at {train[-1]:.4g}",
        "from there on the training data are learned by heart",
        _milder(s),
    )


def _milder(s: Signals) -> tuple[str, ...]:
    """Overrides against learning by heart."""
    dropout, hidden = s.setting("model.dropout") or 0.0, s.setting("model.hidden_size")
    patience = () if s.setting("trainer.patience") else ("trainer.patience=3",)
    if dropout < 0.5:
        return (f"model.dropout={min(0.5, dropout + 0.3):g}", *patience)
    return (*(() if not hidden else (f"model.hidden_size={max(1, hidden // 2)}",)), *patience)


def _is_flat(s: Signals) -> bool:
    """Whether neither loss has gained 1 % in the second half, and there is something left to gain."""
    train, valid = quarters(s.values("train/loss")), s.values("valid/loss")
    if not train or len(valid) < 4 or s.baseline is None or train[-1] < 0.1 * s.baseline:
        return False
    half = len(valid) // 2
    return train[-1] > 0.99 * train[-2] > 0 and min(valid[half:]) > 0.99 * min(valid[:half])


def too_small(s: Signals) -> Finding | None:
    """A model with too few numbers for its data."""
    hidden, count, targets = s.setting("model.hidden_size"), s.num_parameters, s.num_targets
    if not hidden or not count or not targets or not _is_flat(s) or 20 * count > targets:
        return None
    train, valid = s.values("train/loss")[-1], s.values("valid/loss")[-1]
    if valid > 1.1 * train:
        return None
    overrides = [f"model.hidden_size={4 * hidden}"]
    if s.setting("task.name") not in ("adding", "ball"):
        overrides.append(f"model.embedding_size={4 * (s.setting('model.embedding_size') or hidden)}")
    return Finding(
        f"{count:,} parameters learn from {targets:,} predictions, and the losses stand still at {train:.4g} (training) "
        f"and {valid:.4g} (validation)",
        "what it cannot tell of the training data it has no room for",
        tuple(overrides),
    )


def plateau(s: Signals) -> Finding | None:
    """A loss that stands still under a rate that was never lowered."""
    rates, ratio = s.values("optim/lr"), s.update_ratio
    if not rates or ratio is None or ratio < USUAL_RATIO or not _is_flat(s) or rates[-1] < 0.5 * max(rates):
        return None
    return Finding(
        f"no loss gained 1 % in the second half of {s.steps:,} steps, while updates still change the weights by "
        f"{100 * ratio:.2g} % each",
        "the steps are too long to get any deeper; a rate that falls lets them settle",
        ("scheduler=plateau",),
    )


def lr_spent(s: Signals) -> Finding | None:
    """Steps made at a rate that changes nothing."""
    rates = s.values("optim/lr")
    name, gamma = s.setting("scheduler.name"), s.setting("scheduler.gamma")
    if len(rates) < 8 or name not in ("plateau", "step") or gamma is None:
        return None
    spent = sum(rate < 1e-3 * max(rates) for rate in rates) / len(rates)
    if spent < 0.25:
        return None
    override = f"scheduler.gamma={short(math.sqrt(gamma), 2):g}"
    return Finding(
        f"{100 * spent:.0f} % of the steps were made below a thousandth of optimizer.lr={max(rates):g}",
        "they cost time and change nothing",
        (override,) if s.setting("trainer.patience") else (override, "trainer.patience=3"),
    )


def clipping(s: Signals) -> Finding | None:
    """Clipping that is the rule, not the exception."""
    limit, lr, share = s.setting("trainer.clip_grad_norm"), s.setting("optimizer.lr"), s.clipped_share
    norms = s.values("optim/grad_norm")
    if limit is None or lr is None or share is None or share < 0.9 or len(norms) < 4:
        return None
    usual = median(norms[len(norms) // 2 :])
    if usual <= limit or s.setting("trainer.clip_grad_value") is not None:
        return None
    overrides = [changed("trainer.clip_grad_norm", 3 * usual)]
    if s.setting("optimizer.name") in ("sgd", "momentum"):  # the others divide by the gradient's size themselves
        overrides.append(changed("optimizer.lr", lr * limit / usual))
    return Finding(
        f"clipping hit {100 * share:.0f} % of steps: gradients are {short(usual, 2):g} long, the limit is {limit:g}",
        "every step has the same length then, near a minimum too; clipping is meant for the few that explode",
        tuple(overrides),
    )


def too_short(s: Signals) -> Finding | None:
    """A run that ended while it learned."""
    valid = s.values("valid/loss")
    if s.status != "done" or len(valid) < 4 or s.setting("trainer.patience") is None and not _longer(s):
        return None
    before = min(valid[: -max(1, len(valid) // 4)])
    gain = 1 - min(valid) / before if before > 0 else 0.0
    if gain < 0.05 or min(valid) != valid[-1]:
        return None
    return Finding(
        f"the validation loss fell by {100 * gain:.0f} % in the last quarter, to {valid[-1]:.4g}, its lowest",
        "it ended while it learned",
        _longer(s),
    )


def _longer(s: Signals) -> tuple[str, ...]:
    """Twice as long as it was."""
    limits = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_minutes")
    return tuple(f"{key}={2 * value:g}" for key in limits if (value := s.setting(key)))


def padding(s: Signals) -> Finding | None:
    """Steps that are computed for nothing."""
    size = s.setting("trainer.batch_size")
    if s.padding is None or s.padding < 0.2 or not size or size < 2:
        return None
    return Finding(
        f"{100 * s.padding:.0f} % of the steps are padding",
        "texts of very different lengths stand in one batch",
        (f"trainer.batch_size={max(1, size // 4)}",),
    )


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
_OURS = "our fixtures: ill runs lie beyond, healthy ones well below"

# Causes before their consequences, the worst first: the order in which they are told.
RULES = (
    Rule(
        "exploding",
        Severity.severe,
        exploding,
        "Pascanu, Mikolov & Bengio 2013, section 3.2; a hundredfold jump: " + _OURS,
        _CONSEQUENCES
        | {"skipped_steps", "lr_too_high", "lr_too_low", "vanishing", "dead_units", "saturated", "clipping"},
    ),
    Rule(
        "skipped_steps",
        Severity.severe,
        skipped_steps,
        "any step that is not finite",
        _CONSEQUENCES | {"lr_too_high", "vanishing", "dead_units", "saturated", "clipping"},
    ),
    Rule(
        "dead_units",
        Severity.severe,
        dead_units,
        "half of the units: " + _OURS,
        _CONSEQUENCES | {"lr_too_high", "lr_too_low", "clipping"},
    ),
    Rule(
        "lr_too_high",
        Severity.severe,
        lr_too_high,
        "updates of 1e-3 of the weights are usual (Karpathy, CS231n notes); 20 times that, with a loss to match",
        _CONSEQUENCES | {"vanishing", "saturated", "clipping"},
    ),
    Rule(
        "lr_too_low",
        Severity.severe,
        lr_too_low,
        "updates of 1e-3 of the weights are usual (Karpathy, CS231n notes); a third of that, with a loss to match",
        _CONSEQUENCES | {"vanishing", "clipping"},
    ),
    Rule(
        "vanishing",
        Severity.severe,
        vanishing,
        "Hochreiter 1991; a thousandth left over the way: less than what the nearest steps vary by",
        _CONSEQUENCES,
    ),
    Rule(
        "saturated",
        Severity.warning,
        saturated,
        "ends at 0.1 and 0.9: Karpathy, Johnson & Li 2015, section 4.3; all but 0.5 % of values: " + _OURS,
        _CONSEQUENCES,
    ),
    Rule("one_class", Severity.severe, one_class, "99 % of the texts", _CONSEQUENCES),
    Rule(
        "baseline_not_beaten",
        Severity.severe,
        baseline_not_beaten,
        "2 % below the entropy of the targets' frequencies, or the error of the best constant",
        frozenset({"overfitting", "too_small", "plateau", "too_short"}),
    ),
    Rule(
        "overfitting",
        Severity.warning,
        overfitting,
        "a tenth above its lowest: Prechelt 1998 (generalisation loss), with a training loss a fifth below",
        frozenset({"too_short"}),
    ),
    Rule(
        "too_small",
        Severity.warning,
        too_small,
        "a language model's parameters are of the order of its tokens; a twentieth of that, and no gain: " + _OURS,
        frozenset({"plateau", "lr_spent"}),
    ),
    Rule("plateau", Severity.warning, plateau, "1 % in half of the run: " + _OURS, frozenset({"clipping"})),
    Rule("clipping", Severity.warning, clipping, "Pascanu, Mikolov & Bengio 2013: for the rare step; 9 of 10: ours"),
    Rule("lr_spent", Severity.hint, lr_spent, "a thousandth of the rate, for a quarter of the steps: ours"),
    Rule("padding", Severity.hint, padding, "a fifth of the time: ours"),
    Rule("too_short", Severity.hint, too_short, "5 % in the last quarter of the evaluations: ours"),
)


def diagnose(signals: Signals) -> list[Diagnosis]:
    """Apply all rules; what another finding explains is left out."""
    found = {rule: finding for rule in RULES if (finding := rule.check(signals)) is not None}
    explained = frozenset[str]().union(*(rule.explains for rule in found))
    return [Diagnosis(rule, finding) for rule, finding in found.items() if rule.name not in explained]
