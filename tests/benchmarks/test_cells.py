"""Layers timed beside torch.nn's."""

from __future__ import annotations

from itertools import count

import pytest
import torch

from rnnlab.benchmarks.cases import MODES, Case, Shape
from rnnlab.benchmarks.cells import measure, timed_call
from rnnlab.benchmarks.parity import BASE, contenders, make_data
from rnnlab.benchmarks.timing import Quartiles

SMALL = Shape("tiny", 3, 5, 4, 6)


def ticking():
    """Return a clock that goes on by a second whenever it is read: everything takes one."""
    ticks = count()
    return lambda: float(next(ticks))


@pytest.mark.parametrize("mode", MODES)
def test_times_are_of_one_call_and_a_token_is_one(mode: str):
    case = Case(mode, "lstm", SMALL)
    base, cpu, *_ = measure(case, seconds=0, clock=ticking())
    taken = 0.2 if mode == "token" else 1.0  # five tokens a call
    assert (base.name, base.speedup, base.errors) == (BASE, None, {})
    assert (cpu.name, cpu.speedup, cpu.rounds) == ("cpu", Quartiles(1.0, 1.0, 1.0), 3)
    assert base.seconds == cpu.seconds == Quartiles(taken, taken, taken)
    steps = make_data(case).num_steps
    assert cpu.gflops == pytest.approx(case.gflop(steps))
    assert cpu.errors["y"] < 5e-2  # bf16's; test_parity holds float32 closer
    assert cpu.loaded_seconds is None


def test_under_load_everything_is_timed_a_second_time():
    base, cpu, *_ = measure(Case("train", "rnn", SMALL), seconds=0, clock=ticking(), busy=1)
    assert base.loaded_seconds == cpu.loaded_seconds == Quartiles(1.0, 1.0, 1.0)
    assert cpu.slowdown == 1.0


@pytest.mark.parametrize("mode", ["train", "packed", "inference", "token"])
def test_a_timed_call_leaves_the_layer_as_it_was(mode: str):
    case = Case(mode, "gru", SMALL)
    data = make_data(case)
    for way in contenders(case):
        before = {name: value.clone() for name, value in way.layer.state_dict().items()}
        timed_call(case, way, data)()
        assert all(torch.equal(before[name], value) for name, value in way.layer.state_dict().items())
        assert all(parameter.grad is None for parameter in way.layer.parameters())
