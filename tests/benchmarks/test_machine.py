"""What stands beside a time."""

from __future__ import annotations

import json
import time
from itertools import count
from pathlib import Path

import pytest
import torch

from rnnlab.benchmarks import machine
from rnnlab.cells.cpu.library import library


def test_facts_name_the_processor_the_engine_the_threads_and_the_clock(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "PRODUCT", (8, 8, 8))
    facts = json.loads(json.dumps(machine.machine_facts(cores=3, allocator_keeps=True, clock=time.process_time)))
    assert (facts["cores"], facts["threads"]) == (3, torch.get_num_threads())
    assert (facts["engine"], facts["torch"]) == (library().detail, torch.__version__)
    assert (facts["clock"], facts["allocator"]) == ("process CPU time", "keeps freed memory")
    assert facts["processor"]
    facts = machine.machine_facts(cores=3, allocator_keeps=False, clock=time.perf_counter)
    assert (facts["clock"], facts["allocator"]) == ("wall time", "as it comes")


def test_a_product_that_takes_a_second_is_that_many_gflops(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "PRODUCT", (8, 5, 4))
    ticks = count()
    found = machine.product_gflops(lambda: float(next(ticks)))
    assert set(found.values()) == {2 * 8 * 5 * 4 * 1e-9}
    assert ("cpu" in found) == (library().functions is not None)


def test_a_processor_that_the_system_does_not_name_has_its_architecture(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert machine.processor_name() == "riscv64"


def test_where_the_system_keeps_no_load_average_there_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.getloadavg", lambda: (1.234, 2.0, 3.0))
    assert machine.load_average() == [1.23, 2.0, 3.0]
    monkeypatch.delattr("os.getloadavg")
    assert machine.load_average() is None
