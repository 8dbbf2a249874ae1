"""Times taken in turns."""

from __future__ import annotations

import gc
from itertools import count

import pytest

from rnnlab.benchmarks.timing import Quartiles, interleave, quartiles, ratios


def test_quartiles_lie_between_the_values():
    assert quartiles([4.0, 1.0, 3.0, 2.0, 5.0]) == Quartiles(2.0, 3.0, 4.0)
    assert quartiles([1.0, 2.0]) == Quartiles(1.25, 1.5, 1.75)
    assert quartiles([7.0]) == Quartiles(7.0, 7.0, 7.0)


def test_a_ratio_is_of_the_same_round():
    # A machine that gets slower from round to round: the times spread, their ratio does not.
    assert ratios([2.0, 20.0, 200.0], [1.0, 10.0, 100.0]) == Quartiles(2.0, 2.0, 2.0)


def test_everyone_runs_once_a_round_and_nobody_always_comes_first():
    calls: list[str] = []
    interleave({name: lambda name=name: calls.append(name) for name in "abc"}, seconds=0, min_rounds=3)
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab"  # the first round only warms up


def test_times_are_what_the_clock_says():
    now = [0.0]

    def take(seconds: float):
        def call() -> None:
            now[0] += seconds

        return call

    times = interleave({"slow": take(2.0), "fast": take(0.5)}, seconds=0, clock=lambda: now[0], min_rounds=4)
    assert times == {"slow": [2.0] * 4, "fast": [0.5] * 4}


def test_rounds_go_on_until_the_time_is_up(monkeypatch: pytest.MonkeyPatch):
    ticks = count()
    monkeypatch.setattr("rnnlab.benchmarks.timing.time.monotonic", lambda: float(next(ticks)))
    # The clock is read once at the start, then before every round after the first three.
    assert len(interleave({"a": lambda: None}, seconds=5, min_rounds=3)["a"]) == 3 + 4


def test_garbage_is_collected_again_after_a_failure():
    def fail() -> None:
        if not gc.isenabled():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interleave({"a": fail}, seconds=0)
    assert gc.isenabled()
