import subprocess
import sys

import pytest

from rnnlab import startup


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(startup.time, "perf_counter", lambda: Clock.now)
    monkeypatch.setattr(startup, "_laps", {})
    monkeypatch.setattr(startup, "_last", 0.0)
    return Clock


def test_laps_say_what_the_seconds_went_into_and_short_ones_add_up(clock):
    startup.begin(since_process_start=False)
    for name, seconds in {"settings": 0.4, "torch": 1.5, "corpus": 0.03, "model": 0.04}.items():
        clock.now += seconds
        startup.lap(name)
    assert startup.summary() == "ready in 2.0 s: settings 0.4, torch 1.5, rest 0.1"


def test_laps_of_one_name_add_up_and_begin_forgets_them(clock):
    startup.begin(since_process_start=False)
    for _ in range(2):
        clock.now += 1
        startup.lap("corpus")
    assert startup.summary() == "ready in 2.0 s: corpus 2.0"
    startup.begin(since_process_start=False)
    assert startup.summary() == "ready in 0.0 s"


def test_the_age_of_a_process_is_that_of_its_interpreter_too():
    code = "import time; time.sleep(0.3); from rnnlab import startup; print(startup._process_seconds())"
    age = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert age == "None" or 0.3 <= float(age) < 60


_RUNS = """
import sys
from rnnlab.cli import main

name = ""
for arguments in sys.argv[1:]:
    name += "x"
    assert main(["train", *arguments.split(), f"name={name}"]) == 0
    assert main(["train", f"resume={name}", "trainer.max_steps=2"]) == 0
    assert main(["evaluate", f"run={name}"]) == 0
unwanted = {"torch._dynamo", "sympy", "torch._inductor", "onnx", "IPython", "rnnlab.training.ranks"}
print(sorted(unwanted & set(sys.modules)))
"""


def test_a_run_imports_no_compiler_and_none_of_what_several_processes_need(corpora, tmp_path, monkeypatch):
    """It would be a second or two of every start: see `training.optimizers` and `cells.define`."""
    monkeypatch.setenv("RNNLAB_OUTPUTS", str(tmp_path))
    sizes = "model.hidden_size=4 model.embedding_size=4 trainer.max_steps=1 trainer.threads=1 trainer.sample_len=4"
    runs = [f"task={task} task.corpus={path} {sizes}" for task, path in corpora.items()]
    runs += [f"{runs[0]} model.backend=cpu", f"{runs[1]} optimizer=sgd", f"{runs[1]} optimizer=rmsprop"]
    runs += [f"{runs[0]} model=rnn", f"{runs[1]} model=irnn"]
    runs += [f"{runs[0]} model.initialisation=uniform model.init_range=0.1"]
    done = subprocess.run([sys.executable, "-c", _RUNS, *runs], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
