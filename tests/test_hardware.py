import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rnnlab import hardware
from rnnlab.errors import ConfigError

SOURCE = Path(hardware.__file__).resolve().parents[1]


@pytest.fixture
def machine(monkeypatch):
    """A machine with a number of cores to run on and a control group's cpu.max file."""

    def make(cores, cpu_max=None):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)

        def read_text(path):
            assert str(path) == "/sys/fs/cgroup/cpu.max"
            if cpu_max is None:
                raise FileNotFoundError
            return cpu_max

        monkeypatch.setattr(Path, "read_text", read_text)

    return make


@pytest.mark.parametrize(
    ("cores", "cpu_max", "usable"),
    [
        (8, None, 8),
        (8, "max 100000\n", 8),
        (8, "200000 100000\n", 2),
        (8, "250000 100000\n", 2),  # a thread more would wait half of its time
        (8, "50000 100000\n", 1),
        (2, "800000 100000\n", 2),
        (4, "", 4),
        (4, "nonsense here\n", 4),
    ],
)
def test_usable_cores_are_those_the_process_may_run_on_and_pay_for(machine, cores, cpu_max, usable):
    machine(cores, cpu_max)
    assert hardware.usable_cores() == usable


@pytest.mark.parametrize(("count", "usable"), [(6, 6), (None, 1)])
def test_where_there_is_no_affinity_every_core_counts(machine, monkeypatch, count, usable):
    machine(1)
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert hardware.usable_cores() == usable


@pytest.fixture
def devices(monkeypatch):
    """A machine with these devices."""

    def make(*there):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in there)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in there)

    return make


@pytest.mark.parametrize(
    ("there", "wanted", "chosen"),
    [
        ([], "auto", "cpu"),
        (["cuda"], "auto", "cuda"),
        (["mps"], "auto", "mps"),
        (["cuda", "mps"], "auto", "cuda"),
        (["cuda", "mps"], "cpu", "cpu"),
        (["cuda", "mps"], "mps", "mps"),
        (["cuda"], "cuda", "cuda"),
    ],
)
def test_auto_takes_the_fastest_device_and_a_name_that_one(devices, there, wanted, chosen):
    devices(*there)
    assert hardware.choose_device(wanted) == torch.device(chosen)


@pytest.mark.parametrize(
    ("there", "wanted", "here"), [([], "cuda", "cpu is"), (["cuda"], "mps", "cpu, cuda is"), ([], "mps", "cpu is")]
)
def test_a_device_that_is_not_there_is_refused_with_those_that_are(devices, there, wanted, here):
    devices(*there)
    message = f"device={wanted} is not available here, {here}; rnnlab doctor says why"
    with pytest.raises(ConfigError, match=message) as caught:
        hardware.choose_device(wanted)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("wanted", "threads"), [(3, 3), (1, 1), (0, 5)])
def test_threads_are_set_and_none_given_means_all_usable(machine, wanted, threads):
    machine(5)
    before = torch.get_num_threads()
    try:
        assert hardware.set_threads(wanted) == threads
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def run(code):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=SOURCE).stdout.strip()


def test_importing_it_imports_no_torch():
    assert run("import sys, rnnlab.hardware; print('torch' in sys.modules)") == "False"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_the_allocator_is_tuned_where_there_is_a_glibc():
    # In a process of its own: the setting cannot be taken back.
    assert run("from rnnlab.hardware import tune_allocator; print(tune_allocator())") == "True"


def test_another_c_library_is_left_as_it_is(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(hardware.ctypes, "CDLL", missing)
    assert hardware.tune_allocator() is False
    monkeypatch.setattr(hardware.ctypes, "CDLL", lambda name: object())  # has no mallopt
    assert hardware.tune_allocator() is False
