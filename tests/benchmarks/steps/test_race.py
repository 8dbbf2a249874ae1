from __future__ import annotations

import os
import sys

import pytest

from rnnlab.benchmarks.parity import ParityError
from rnnlab.benchmarks.steps import race
from rnnlab.benchmarks.steps.cases import CASES
from rnnlab.benchmarks.steps.race import Process, check_curves
from rnnlab.errors import OutOfMemoryError

CASE = CASES["ptb_650"]


def test_curves_are_held_against_the_first_one():
    curves = {"plain": [4.0, 2.0], "rnnlab": [4.0, 2.0001], "bf16": [4.1, 2.0]}
    assert check_curves(CASE, curves) == pytest.approx({"plain": 0.0, "rnnlab": 5e-5, "bf16": 0.025})


@pytest.mark.parametrize("wrong", [2.001, float("nan")])
def test_another_curve_is_an_error_that_names_the_step(wrong):
    with pytest.raises(
        ParityError, match=r"ptb_650: the loss of tuned at step 2 is (2\.001000|nan), that of plain 2\."
    ):
        check_curves(CASE, {"plain": [4.0, 2.0, 1.0], "tuned": [4.0, wrong, 1.0]})


def test_half_precision_is_told_and_not_refused():
    assert check_curves(CASE, {"bf16": [4.0], "plain": [5.0]})["plain"] == 0.25


def test_a_worker_that_dies_is_told(tmp_path, monkeypatch):
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nkill -9 $$\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    process = Process(CASE, "rnnlab", tmp_path, 1, os.environ)
    with pytest.raises(OutOfMemoryError, match="ptb_650: rnnlab was killed, which is what"):
        process.ask("build", dropout=0.0, rate=1.0)
    process.close()
    script.write_text("#!/bin/sh\nexit 3\n")
    process = Process(CASE, "rnnlab", tmp_path, 1, os.environ)
    with pytest.raises(RuntimeError, match="ended with exit code 3"):
        process.ask("build", dropout=0.0, rate=1.0)
    process.close()


class Counting:
    """A worker that answers with its name and how often it was asked."""

    def __init__(self, name, asked):
        self.name, self.asked = name, asked

    def ask(self, do, **more):
        self.asked.append(self.name)
        return {"seconds": 1.0, "number": len(self.asked)}


def test_steps_are_made_in_turns_and_nobody_always_follows_the_same(monkeypatch):
    monkeypatch.setattr(race, "SETTLE_SECONDS", 0)
    asked: list[str] = []
    processes = {name: Counting(name, asked) for name in "abc"}
    answers = race._rounds(processes, steps=3, seconds=100)
    assert "".join(asked[9:]) == "abcbcacab"
    assert all(len(found) == 3 for found in answers.values())
    assert len(race._rounds(processes, steps=None, seconds=0)["a"]) == race.MIN_ROUNDS
