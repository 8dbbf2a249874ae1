"""One line a run, whatever state its files are in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rnnlab import run_list, runs
from rnnlab.errors import FolderInUseError
from rnnlab.run_lock import lock_run

pytestmark = pytest.mark.usefixtures("outputs")


def test_runs_are_listed_oldest_first_with_their_score(make_run):
    make_run("late", {"status": "done", "metrics": {"valid/perplexity": 9.0}}, created="2025-01-01T00:00:00+00:00")
    make_run(
        "early",
        {
            "status": "done",
            "metric": "valid/perplexity",
            "metrics": {"valid/loss": 1.0, "valid/perplexity": 8.5, "test/perplexity": 8.25},
            "steps": 30,
            "seconds": 1.5,
        },
        config={"task": {"name": "next_word"}},
        choices={"model": "lstm", "task": "next_word"},
    )
    early, late = run_list.list_runs()
    assert (early.name, late.name) == ("early", "late")
    assert (early.task, early.model, early.status, early.steps, early.seconds) == ("next_word", "lstm", "done", 30, 1.5)
    assert (early.metric, early.value) == ("test/perplexity", 8.25), "the test split's score if there is one"
    assert (late.metric, late.value) == ("valid/perplexity", 9.0)


def test_a_run_whose_process_is_gone_was_killed(make_run):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    make_run("gone", {"status": "running", "pid": process.pid})
    make_run("here", {"status": "running", "pid": os.getpid()})
    assert {run.name: run.status for run in run_list.list_runs()} == {"gone": "killed", "here": "running"}


def test_a_lock_tells_more_than_a_process_number_that_is_taken_again(make_run):
    folder = make_run("locked", {"status": "running", "pid": os.getpid()})
    with lock_run(folder):
        assert run_list.summarize(folder).status == "running"
        with pytest.raises(FolderInUseError, match=f"in use by process {os.getpid()}"), lock_run(folder):
            pass
    assert run_list.summarize(folder).status == "killed"


def test_damaged_and_odd_runs_do_not_hide_the_others(outputs: Path, make_run):
    make_run("good", {"status": "done"})
    (make_run("torn") / "run.json").write_text("{")
    odd = make_run("odd")
    (odd / "run.json").write_text(json.dumps({"config": [], "choices": 3, "created": "yesterday"}))
    (odd / "result.json").write_text(json.dumps({"status": 7, "metrics": "x", "steps": "many"}))
    (outputs / "stray-file").write_text("")
    assert {run.name: run.status for run in run_list.list_runs()} == {"good": "done", "torn": "damaged", "odd": "7"}
    assert runs.run_names() == ["good", "odd", "torn"]
