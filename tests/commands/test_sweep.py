"""`rnnlab train -m`: jobs that fail, are stopped, and the table at the end. A stub stands in for training."""

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
from rnnlab.commands import sweep
from rnnlab.commands.sweep import job_name

# Runs as `python -m rnnlab`: seed=13 fails, seed=99 waits to be stopped, the others are done at once.
STUB = """
import os, pathlib, signal, sys, time
given = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word and not word.startswith("-"))
folder = pathlib.Path(os.environ["RNNLAB_OUTPUTS"]) / given["name"]
folder.mkdir(parents=True)
(folder / "run.json").write_text('{"format": 1}')
def result(status, value):
    text = '{"status": "%s", "metric": "valid/loss", "metrics": {"valid/loss": %s}}' % (status, value)
    (folder / "result.json").write_text(text)
def stop(number, frame):
    time.sleep(0.5)  # saving takes its time
    result("stopped", 9)
    sys.exit(128 + number)
signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
if given["seed"] == "13":
    result("failed", 3)
    sys.exit(5)
if given["seed"] == "99":
    result("running", 3)
    (folder.parent / "waiting").touch()
    time.sleep(60)
result("done", given["seed"])
"""


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the stub where jobs look for Python."""
    stub = tmp_path / "python"
    (tmp_path / "stub.py").write_text(STUB)
    stub.write_text(f'#!/bin/sh\nshift 3\nexec {sys.executable} {tmp_path / "stub.py"} "$@"\n')
    stub.chmod(0o755)
    monkeypatch.setenv("RNNLAB_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setattr(sweep, "PYTHON", str(stub))
    return tmp_path / "outputs"


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "sweep.csv").read_text().splitlines()))


def test_every_combination_is_a_job_and_a_failing_job_costs_one_job(outputs: Path, capfd: pytest.CaptureFixture[str]):
    assert cli.main(["train", "-m", "model=rnn,gru", "seed=13,7", "task=music"]) == 9
    told = rows(outputs / "sweep-1")
    assert [(row["model"], row["seed"], row["status"]) for row in told] == [
        ("rnn", "13", "failed"),
        ("rnn", "7", "done"),
        ("gru", "13", "failed"),
        ("gru", "7", "done"),
    ]
    assert [row["exit_code"] for row in told] == ["5", "0", "5", "0"]
    assert told[1]["job"] == "sweep-1/1-rnn-seed=7"
    assert float(told[1]["value"]) == 7
    shown = capfd.readouterr().out
    assert "valid/loss 7 ↓" in shown
    assert "2 of 4 jobs done" in shown
    saved = runs.read_json(outputs / "sweep-1" / "sweep.json")
    assert saved["overrides"] == ["model=rnn,gru", "seed=13,7", "task=music"]
    assert len(saved["jobs"]) == 4


def test_all_done_is_zero_and_the_next_sweep_has_a_folder_of_its_own(outputs: Path):
    assert cli.main(["train", "-m", "seed=range(1,3)"]) == 0
    assert cli.main(["train", "-m", "seed=1", "name=mine"]) == 0
    assert len(rows(outputs / "sweep-1")) == 2
    assert rows(outputs / "mine")[0]["job"] == "mine/0"


def test_nothing_is_made_when_a_value_is_wrong(outputs: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["train", "-m", "model=rnn,lstmm"]) == 2
    assert cli.main(["train", "-m", "seed=1,2", "resume=x"]) == 2
    assert cli.main(["evaluate", "-m", "run=x"]) == 2
    assert cli.main(["train", "-m", "seed=1,2", "--cfg", "job"]) == 2
    assert capsys.readouterr().err.count("error: ") == 4
    assert not outputs.exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_sweep_lets_the_job_save_and_still_prints_its_table(
    outputs: Path, tmp_path: Path, number: signal.Signals, code: int
):
    script = f"import sys; from rnnlab.commands import sweep; sweep.PYTHON = {str(tmp_path / 'python')!r}\n"
    script += "from rnnlab.cli import main; sys.exit(main(['train', '-m', 'seed=7,99,8']))"
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        waiting = outputs / "sweep-1" / "waiting"
        deadline = time.monotonic() + 30
        while not waiting.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        # Ctrl-C goes to the whole foreground group, as the terminal sends it; kill to one process.
        os.killpg(process.pid, number) if number == signal.SIGINT else os.kill(process.pid, number)
        told, complaints = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == code, complaints
    assert "Traceback" not in complaints
    assert "1 of 2 jobs done" in told
    assert [row["status"] for row in rows(outputs / "sweep-1")] == ["done", "stopped"]


def test_a_jobs_name_says_what_is_its_own_and_fits_any_file_system():
    assert job_name(0, {"model": "lstm", "optimizer.lr": "0.001"}) == "0-lstm-lr=0.001"
    assert job_name(3, {"task.corpus": "'/a b/c:d'"}) == "3-corpus=_a_b_c_d_"
    assert job_name(2, {}) == "2"
    assert len(job_name(1, {"task.corpus": "x" * 500})) < 100
