"""Illnesses of units and gates. A check returns None, too, where a signal is missing."""

from __future__ import annotations

import math

from rnnlab.diagnosis.findings import Finding, changed
from rnnlab.diagnosis.signals import Signals

SIGMOIDS = ("input", "forget", "output", "reset", "update")


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
        f"over that way 1e{slope * distance / math.log(10):.0f} of a gradient is left: nothing so far back is learned",
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
    """ReLU units that are zero at every step; a few that live may do: not where the task is solved."""
    found, lr = s.unit("dead"), s.setting("optimizer.lr")
    if found is None or lr is None or found[1] < 0.5 or s.is_solved:
        return None
    return Finding(
        f"{100 * found[1]:.0f} % of the ReLU units of {found[0]} are zero at every step",
        "they pass on nothing and get no gradient: too large a step has pushed them there",
        (changed("optimizer.lr", lr / 10),),
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
    if found is None or found[1] < 0.98:
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
