import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from rnnlab import hardware
from rnnlab.errors import ConfigError

SOURCE = Path(hardware.__file__).resolve().parents[1]


@pytest.fixture
def machine(monkeypatch):
    """A machine with a number of cores to run on and the files of its control groups, or cpu.max of the root alone."""

    def make(cores, files=None):
        monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        files = {"/sys/fs/cgroup/cpu.max": files} if isinstance(files, str) else files or {}

        def read_text(path):
            if str(path) not in files:
                raise FileNotFoundError
            return files[str(path)]

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


V1 = "3:memory:/job\n2:cpu,cpuacct:/job/mine\n"


@pytest.mark.parametrize(
    ("files", "usable"),
    [
        # A service's group, tighter than the slice it is in, and the other way round.
        ({"/proc/self/cgroup": "0::/slice/mine\n", "/sys/fs/cgroup/slice/mine/cpu.max": "300000 100000"}, 3),
        (
            {
                "/proc/self/cgroup": "0::/slice/mine\n",
                "/sys/fs/cgroup/slice/mine/cpu.max": "300000 100000",
                "/sys/fs/cgroup/slice/cpu.max": "200000 100000",
            },
            2,
        ),
        # Version 1 keeps two numbers in two files; a container sees its own as the root.
        (
            {
                "/proc/self/cgroup": V1,
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "250000\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "50000\n",
            },
            5,
        ),
        (
            {
                "/proc/self/cgroup": V1,
                "/sys/fs/cgroup/cpu/job/mine/cpu.cfs_quota_us": "-1\n",
                "/sys/fs/cgroup/cpu/job/mine/cpu.cfs_period_us": "100000\n",
            },
            8,
        ),
    ],
)
def test_every_control_group_on_the_way_up_may_have_a_quota(machine, files, usable):
    machine(8, files)
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


@pytest.mark.parametrize(
    ("given", "wanted", "threads"), [("2", 0, 2), ("2", 3, 3), ("4,2", 0, 4), ("0", 0, 5), ("x", 0, 5)]
)
def test_the_users_number_of_openmp_threads_holds_unless_another_is_asked_for(
    machine, monkeypatch, given, wanted, threads
):
    machine(5)
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    before = torch.get_num_threads()
    try:
        assert hardware.set_threads(wanted) == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_how_idle_threads_wait_is_decided_unless_the_user_has(monkeypatch, name):
    for other in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.setenv(other, "")  # so that it is put back
        monkeypatch.delenv(other)
    monkeypatch.setattr(hardware, "_SET_BY_US", {})
    monkeypatch.setenv(name, "7")
    assert not hardware.quiet_idle_threads()
    assert hardware.plain_environment() == dict(os.environ)
    monkeypatch.delenv(name)
    before = dict(os.environ)
    assert hardware.quiet_idle_threads()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert 0 < int(os.environ["GOMP_SPINCOUNT"]) < 300_000, "less than GNU's own, which hinders others"
    assert hardware.plain_environment() == before, "what a program of the user's own would see"


@pytest.mark.parametrize(
    ("environment", "idle"),
    [({"OMP_WAIT_POLICY": "passive"}, "sleep"), ({"GOMP_SPINCOUNT": "0"}, "sleep"), ({}, "spin")],
)
def test_a_process_is_set_up_in_one_go_and_says_how(machine, monkeypatch, environment, idle):
    machine(5)
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(hardware, "tune_allocator", lambda: True)
    before = torch.get_num_threads()
    try:
        assert hardware.set_up(2, keep_memory=True) == (2, 5, idle, "tuned")
        said = str(hardware.set_up(0, keep_memory=False))
        assert said == f"threads: 5 of 5 cores, idle ones {idle}, default allocator"
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


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="this kernel has no huge pages")
def test_the_tuned_heap_asks_for_huge_pages():
    code = """
        from rnnlab.hardware import tune_allocator
        import torch
        tune_allocator()
        matrix = torch.empty(8 << 20)
        inside = False
        for line in open('/proc/self/smaps'):
            words = line.split()
            if '-' in words[0] and ':' not in words[0]:
                first, last = (int(end, 16) for end in words[0].split('-'))
                inside = first <= matrix.data_ptr() + (16 << 20) < last
            elif inside and words[0] == 'VmFlags:':
                print('hg' in words)
    """
    assert run(textwrap.dedent(code)) == "True"


def test_another_c_library_is_left_as_it_is(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(hardware.ctypes, "CDLL", missing)
    assert hardware.tune_allocator() is False
    monkeypatch.setattr(hardware.ctypes, "CDLL", lambda name: object())  # has no mallopt
    assert hardware.tune_allocator() is False
