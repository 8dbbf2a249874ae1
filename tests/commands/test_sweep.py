"""`rnnlab train -m`: jobs that fail, are killed or stopped, the table at the end, and the same command again.

A stub stands in for training but for one test.
"""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rnnlab import cli, runs
from rnnlab.json_files import read_json
from rnnlab.sweeps import jobs

# Runs as `python -m rnnlab train ...`. The seed says how it goes; a score is the seed, or made from the rate.
STUB = """
import json, math, os, pathlib, signal, sys, time
given = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word and not word.startswith("-"))
root = pathlib.Path(os.environ["RNNLAB_OUTPUTS"])
resumed = "resume" in given
folder = root / (given.get("resume") or given["name"])
asked = folder / "asked.json"
with open(root / "ran.txt", "a") as ran:
    ran.write(folder.name + (" resumed" if resumed else "") + " threads=" + given.get("trainer.threads", "") + chr(10))
seed = json.loads(asked.read_text())["seed"] if resumed else given.get("seed", "0")
rate = float(given.get("optimizer.lr", 0)) if not resumed else 0
if seed == "23" and not (root / "mended").exists():
    sys.exit("error: no such corpus")
folder.mkdir(parents=True, exist_ok=True)
(folder / "run.json").write_text('{"format": 1}')
asked.write_text(json.dumps({"seed": seed}))
def result(status, value, steps=1):
    metrics = {"valid/loss": value, "test/loss": value + 1}
    text = json.dumps({"status": status, "metric": "valid/loss", "metrics": metrics, "steps": steps})
    (folder / "new.json").write_text(text)
    os.replace(folder / "new.json", folder / "result.json")
def save():
    (folder / "checkpoints/step-00000001").mkdir(parents=True, exist_ok=True)
def stop(number, frame):
    time.sleep(0.3)  # saving takes its time
    save()
    result("stopped", 9)
    print("error: stopped by", signal.Signals(number).name, flush=True)
    os._exit(128 + number)
signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
if seed == "13":
    result("failed", 3)
    sys.exit(5)
if seed == "21" and not resumed:
    save()
    result("running", 3)
    raise RuntimeError("boom")
if seed == "22" and not (root / "killed").exists():
    (root / "killed").touch()
    result("running", 3)
    os.kill(os.getpid(), signal.SIGKILL)
if seed == "99" and not resumed:
    result("running", 3)
    (root / "waiting").touch()
    time.sleep(200)
value = (math.log10(rate) + 2) ** 2 if rate else float(seed)
if "behind" in given.get("task.corpus", ""):
    result("running", value)
    time.sleep(20 if value > 1 else 0.6)  # time to be looked at
result("done", value)
"""


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the stub where jobs look for Python."""
    stub = tmp_path / "python"
    (tmp_path / "stub.py").write_text(STUB)
    stub.write_text(f'#!/bin/sh\nshift 3\nexec {sys.executable} -S {tmp_path / "stub.py"} "$@"\n')
    stub.chmod(0o755)
    monkeypatch.setenv("RNNLAB_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setattr(jobs, "PYTHON", str(stub))
    return tmp_path / "outputs"


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "sweep.csv").read_text().splitlines()))


def ran(outputs: Path) -> list[str]:
    """The jobs that were started since this was asked before."""
    told = (outputs / "ran.txt").read_text().splitlines()
    (outputs / "ran.txt").write_text("")
    return [line.partition(" threads=")[0] for line in told]


def test_every_combination_is_a_job_and_the_table_tells_all(outputs: Path, capfd: pytest.CaptureFixture[str]):
    assert cli.main(["train", "-m", "model=rnn,gru", "seed=range(7,9)", "task=music", "name=mine"]) == 0
    told = rows(outputs / "mine")
    assert [(row["model"], row["seed"], row["status"]) for row in told] == [
        ("rnn", "7", "done"),
        ("rnn", "8", "done"),
        ("gru", "7", "done"),
        ("gru", "8", "done"),
    ]
    assert told[1]["job"] == "mine/1-rnn-seed=8"
    assert (float(told[1]["value"]), float(told[1]["test_value"])) == (8, 9)
    shown = capfd.readouterr().out
    assert "valid/loss ↓" in shown
    # Student's t with one degree of freedom: 12.706 * 0.7071 / sqrt(2) = 6.353 on both sides of 7.5.
    assert "7.5 +- 0.71 [1.147, 13.85]" in shown
    assert "\n  rnnlab train -m task=music model=rnn seed=7,8\n" in shown
    assert "4 of 4 jobs done" in shown
    saved = read_json(outputs / "mine" / "sweep.json")
    assert saved["overrides"] == ["model=rnn,gru", "seed=range(7,9)", "task=music", "name=mine"]
    assert saved["best"][0]["valid"]["mean"] == 7.5
    assert not {"run.json", "result.json"} & {path.name for path in (outputs / "mine").iterdir()}


def test_what_is_done_is_kept_what_was_killed_goes_on_and_another_value_adds_jobs(
    outputs: Path, capfd: pytest.CaptureFixture[str]
):
    command = ["train", "-m", "seed=7,13,21,22,23", "name=mine"]
    assert cli.main(command) == 9
    told = rows(outputs / "mine")
    assert [row["status"] for row in told] == ["done", "diverged", "failed", "killed", "failed"]
    assert [row["exit_code"] for row in told] == ["0", "5", "1", "137", "1"]
    assert [row["reason"] for row in told][2:] == [
        "RuntimeError: boom",
        "killed by SIGKILL; the system does that when memory runs out",
        "no such corpus",
    ]
    assert "Traceback" in Path(told[2]["log"]).read_text()
    shown = capfd.readouterr().out
    assert "2-seed=21 failed: RuntimeError: boom; log: " in shown
    assert "1 of 5 jobs done" in shown
    assert len(ran(outputs)) == 5
    (outputs / "mended").touch()
    # 13 diverged: that is what its settings come to, and it is not done. 21 left a checkpoint, 22 did not.
    assert cli.main(command) == 9
    assert ran(outputs) == ["2-seed=21 resumed", "3-seed=22", "4-seed=23"]
    assert [row["status"] for row in rows(outputs / "mine")] == ["done", "diverged", "done", "done", "done"]
    assert cli.main(["train", "-m", "seed=7,21,8", "name=mine", "trainer.threads=1"]) == 0
    assert ran(outputs) == ["5-seed=8"]
    assert len(rows(outputs / "mine")) == 6, "those of the command before stay in the table"


def test_without_a_name_the_same_sweep_is_found_by_its_content(outputs: Path):
    assert cli.main(["train", "-m", "seed=1,2", "task=music"]) == 0
    assert cli.main(["train", "-m", "task=music", "seed=1,2,3"]) == 0
    (folder,) = outputs.glob("sweep-*")
    assert [row["seed"] for row in rows(folder)] == ["1", "2", "3"]
    assert ran(outputs) == ["0-seed=1", "1-seed=2", "2-seed=3"]
    assert cli.main(["train", "-m", "seed=1,2", "task=music", "trainer.max_epochs=2"]) == 0
    assert len(list(outputs.glob("sweep-*"))) == 2


def test_a_contradiction_among_the_values_costs_that_job(outputs: Path):
    assert cli.main(["train", "-m", "model=rnn,lstm", "model.nonlinearity=tanh,relu", "task=music", "name=mine"]) == 9
    told = rows(outputs / "mine")
    assert [row["status"] for row in told] == ["done", "done", "done", "failed"]
    assert "model.nonlinearity=relu is of cell=rnn" in told[3]["reason"]
    assert len(ran(outputs)) == 3


@pytest.mark.parametrize("option", [["--jobs=2"], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]])
def test_jobs_run_side_by_side_and_share_the_cores(outputs: Path, monkeypatch: pytest.MonkeyPatch, option: list[str]):
    monkeypatch.setattr("rnnlab.commands.sweep.usable_cores", lambda: 6)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert cli.main(["train", "-m", "seed=1,2,3", "name=mine", *option]) == 0
    told = (outputs / "ran.txt").read_text().splitlines()
    assert sorted(told) == ["0-seed=1 threads=3", "1-seed=2 threads=3", "2-seed=3 threads=3"]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert cli.main(["train", "-m", "seed=4,5", "name=mine", *option]) == 0
    assert all(line.endswith("threads=") for line in (outputs / "ran.txt").read_text().splitlines()[3:])


def test_nothing_is_made_when_a_value_is_wrong(outputs: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["train", "-m", "model=rnn,lstmm"]) == 2
    assert cli.main(["train", "-m", "seed=1,2", "resume=x"]) == 2
    assert cli.main(["evaluate", "-m", "run=x"]) == 2
    assert cli.main(["train", "-m", "seed=1,2", "--cfg", "job"]) == 2
    assert cli.main(["train", "-m", "seed=1,2", "--dry-run"]) == 2
    assert cli.main(["train", "-m", "hydra/sweeper=optuna", "seed=1,2"]) == 2
    assert cli.main(["train", "-m", "hydra/sweeper=optuna", "task=music"]) == 2
    assert cli.main(["train", "-m", "seed=1", "--jobs=2", "hydra/launcher=joblib"]) == 2
    assert capsys.readouterr().err.count("error: ") == 8
    assert not [path for path in outputs.rglob("*") if path.is_file() and path.name != ".lock"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_sweep_lets_its_job_save_and_goes_on_when_asked_again(
    outputs: Path, tmp_path: Path, number: signal.Signals, code: int
):
    script = f"import sys; from rnnlab.sweeps import jobs; jobs.PYTHON = {str(tmp_path / 'python')!r}\n"
    script += "from rnnlab.cli import main; sys.exit(main(['train', '-m', 'seed=7,99,8', 'name=mine']))"
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 300  # of a busy machine; the test takes seconds
        while not (outputs / "waiting").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        # Ctrl-C goes to the whole foreground group, as the terminal sends it; kill to one process.
        os.killpg(process.pid, number) if number == signal.SIGINT else os.kill(process.pid, number)
        told, complaints = process.communicate(timeout=300)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == code, complaints
    assert "Traceback" not in complaints
    assert "1 of 3 jobs done" in told
    assert [row["status"] for row in rows(outputs / "mine")] == ["done", "stopped", "not run"]
    assert ran(outputs) == ["0-seed=7", "1-seed=99"]
    assert cli.main(["train", "-m", "seed=7,99,8", "name=mine"]) == 0
    assert ran(outputs) == ["1-seed=99 resumed", "2-seed=8"]


def test_two_sweeps_do_not_share_a_folder_at_the_same_time(outputs: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["train", "-m", "seed=1", "name=mine"]) == 0
    with runs.lock_run(outputs / "mine"):
        assert cli.main(["train", "-m", "seed=1,2", "name=mine"]) == 8
    assert "is in use by process" in capsys.readouterr().err


SEARCH = ["train", "-m", "hydra/sweeper=optuna", "optimizer.lr=tag(log,interval(1e-4,1))", "task=music"]


def test_a_search_stops_bad_trials_and_goes_on_to_the_number_asked_for(
    outputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    # The stub takes long with a score above 1, which pruning cuts short.
    (tmp_path / "behind.abc").write_text("X:1\n")
    settings = [f"task.corpus={tmp_path / 'behind.abc'}", "hydra.sweeper.n_startup_trials=1", "hydra.sweeper.seed=0"]
    assert cli.main([*SEARCH, *settings, "hydra.sweeper.n_trials=3"]) == 0
    (folder,) = outputs.glob("sweep-lr-*")
    assert len(ran(outputs)) == 3
    assert cli.main([*SEARCH, *settings, "hydra.sweeper.n_trials=6", "--jobs=2"]) == 0
    assert len(ran(outputs)) == 3
    told = rows(folder)
    assert {row["status"] for row in told} == {"done", "pruned"}
    assert len(told) == 6
    shown = capfd.readouterr().out
    assert "best by valid/loss: optimizer.lr=" in shown
    assert "6 of 6 jobs done" in shown
    assert read_json(folder / "sweep.json")["best"][0]["valid"]["mean"] < 1


def test_another_search_does_not_go_on_in_the_folder_of_the_first(outputs: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main([*SEARCH, "hydra.sweeper.n_trials=1", "name=mine"]) == 0
    other = ["optimizer.lr=interval(0.1,0.2)", "hydra.sweeper.n_trials=1", "name=mine"]
    assert cli.main([*SEARCH[:3], *other]) == 2
    assert "'mine' holds another sweep; choose another name" in capsys.readouterr().err
    assert cli.main(["train", "-m", "seed=0,1", "name=mine"]) == 2


# Runs as `python -m rnnlab train ...`: the real thing, but seed 1 raises and seed 2 is killed at its first checkpoint.
TRAP = """
import os, signal, sys
from rnnlab.cli import main
from rnnlab.training.savepoints import Savepoints
save = Savepoints.save
def trapped(self, *arguments, **keywords):
    save(self, *arguments, **keywords)
    if self._state.config.seed == 1 and "resume" not in " ".join(sys.argv):
        raise RuntimeError("boom")
    if self._state.config.seed == 2 and "resume" not in " ".join(sys.argv):
        os.kill(os.getpid(), signal.SIGKILL)
Savepoints.save = trapped
sys.exit(main(sys.argv[4:]))
"""


def test_a_crash_and_a_kill_cost_two_jobs_and_the_same_command_runs_only_those(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpora: dict[str, Path]
):
    (tmp_path / "trap.py").write_text(TRAP)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path / "trap.py"} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv("RNNLAB_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setattr(jobs, "PYTHON", str(python))
    small = ["trainer.max_steps=4", "trainer.checkpoint_every_steps=2", "trainer.num_samples=0", "trainer.threads=1"]
    task = ["task=music", f"task.corpus={corpora['music']}", "experiment=smoke"]
    command = ["train", "-m", *task, *small, "seed=range(3)", "name=mine", "--jobs=2"]
    assert cli.main(command) == 9
    folder = tmp_path / "outputs" / "mine"
    assert [row["status"] for row in rows(folder)] == ["done", "failed", "killed"]
    kept = (folder / "0-seed=0" / "result.json").stat().st_mtime_ns
    assert cli.main(command) == 0
    assert [(row["status"], row["steps"]) for row in rows(folder)] == [("done", "4")] * 3
    assert (folder / "0-seed=0" / "result.json").stat().st_mtime_ns == kept
    for number in (1, 2):
        (log,) = (folder / "logs").glob(f"{number}-*.log")
        assert "resumed at step 2" in log.read_text()
