"""Illnesses of the learning rate and of clipping. A check returns None, too, where a signal is missing."""

from __future__ import annotations

import math
from statistics import median

from rnnlab.diagnosis.findings import Finding, changed, short
from rnnlab.diagnosis.signals import Signals, is_flat, quarters

USUAL_RATIO = 1e-3  # of the length of an update to that of the weights
MAX_FACTOR = 1e4  # by which a rate is raised at once
END_SHARE = 0.01  # of the rate, left at the end of a schedule


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
        measured += f"; the run went back {s.rollbacks} times with half the rate"
    elif not s.skipped:
        measured = "training diverged"
    return Finding(
        measured,
        "numbers overflow where the rate is too high for the model",
        (changed("optimizer.lr", lr / (10 if s.rollbacks or s.has_diverged else 3)),),
    )


def lr_too_high(s: Signals) -> Finding | None:
    """Large updates, and a loss that rises, or is worse than any guess's."""
    lr, ratio, parts = s.setting("optimizer.lr"), s.update_ratio, quarters(s.values("train/loss"))
    if lr is None or ratio is None or not parts:
        return None
    has_risen = ratio > 20 * USUAL_RATIO and parts[-1] > 1.25 * min(parts)
    is_absurd = ratio > 5 * USUAL_RATIO and s.has_learned is False and max(parts[2:]) > 1.3 * (s.baseline or math.inf)
    if not has_risen and not is_absurd:
        return None
    what = "rose again" if has_risen else f"was {max(parts[2:]):.3g} in the second half"
    return Finding(
        f"an update changes the weights by {100 * ratio:.2g} %, and the training loss {what}",
        "steps of this length jump over every minimum" + ("" if has_risen else f"; guessing has {s.baseline:.3g}"),
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
    return Finding(
        f"an update changes the weights by {100 * ratio:.2g} %, and the training loss fell by {100 * fallen:.1f} %",
        "at this rate the weights stay about where they were drawn",
        (changed("optimizer.lr", lr * min(USUAL_RATIO / ratio, MAX_FACTOR) if ratio > 0 else lr * MAX_FACTOR),),
    )


def plateau(s: Signals) -> Finding | None:
    """A loss that stands still under a rate that was never lowered."""
    rates, ratio = s.values("optim/lr"), s.update_ratio
    if not rates or ratio is None or ratio < USUAL_RATIO or not is_flat(s, 0.01) or rates[-1] < 0.5 * max(rates):
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
    num_drops = max(1, round(math.log(min(rates) / max(rates)) / math.log(gamma))) if min(rates) > 0 else 1
    override = f"scheduler.gamma={short(END_SHARE ** (1 / num_drops), 2):g}"
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
