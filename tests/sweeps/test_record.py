from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from rnnlab.errors import CheckpointError, ConfigError, FolderInUseError
from rnnlab.sweeps.jobs import Job
from rnnlab.sweeps.record import SweepRecord, open_folder

from .conftest import run


def job(own: str, **varied: str) -> Job:
    return Job(own, own, "data", varied, [f"{key}={value}" for key, value in varied.items()])


def test_jobs_are_found_again_and_new_ones_get_the_next_number(outputs: Path):
    folder = open_folder("mine", "", [])
    record = SweepRecord(folder, ["seed=0,1"])
    first, second = record.adopt(job("a", seed="0")), record.adopt(job("b", seed="1"))
    assert [one.name for one in record.jobs] == ["mine/0-seed=0", "mine/1-seed=1"]
    run(first, "done", 0.5)
    first.ended(0)
    run(second, "running", 0.7)
    second.status = "running"  # and then the sweep was killed
    record.write()
    again = SweepRecord(open_folder("mine", "", []), ["seed=1,2"])
    assert [one.status for one in again.jobs] == ["done", "killed"]
    assert again.adopt(job("b", seed="1")) is again.jobs[1]
    assert again.adopt(job("c", seed="2")).name == "mine/2-seed=2"


def test_a_job_whose_folder_was_removed_is_to_run_again(outputs: Path):
    record = SweepRecord(open_folder("mine", "", []), [])
    gone = record.adopt(job("a"))
    run(gone, "done")
    gone.ended(0)
    record.write()
    shutil.rmtree(gone.folder)
    assert SweepRecord(record.folder, []).jobs[0].status == "not run"


def test_a_run_that_was_resumed_alone_is_done(outputs: Path):
    record = SweepRecord(open_folder("mine", "", []), [])
    alone = record.adopt(job("a"))
    alone.ended(143)
    record.write()
    run(alone, "done")
    assert SweepRecord(record.folder, []).jobs[0].status == "done"


def test_the_table_has_a_line_a_job_with_its_scores_and_its_log(outputs: Path):
    record = SweepRecord(open_folder("mine", "", []), [])
    one, other = record.adopt(job("a", model="rnn")), record.adopt(job("b", seed="1"))
    run(one, "done", 0.5)
    one.ended(0)
    other.refused(FolderInUseError("in use, by me"))
    record.write_table()
    rows = list(csv.DictReader((record.folder / "sweep.csv").read_text().splitlines()))
    assert [(row["model"], row["seed"], row["status"], row["exit_code"]) for row in rows] == [
        ("rnn", "", "done", "0"),
        ("", "1", "failed", "8"),
    ]
    assert (rows[0]["metric"], rows[0]["value"], rows[0]["test_value"]) == ("valid/loss", "0.5", "1.5")
    assert rows[1]["reason"] == "in use, by me"
    assert rows[1]["log"].endswith("mine/logs/1-seed=1.log")


def test_a_folder_is_named_after_what_varies_and_what_is_shared(outputs: Path):
    first = open_folder(None, "a", ["model", "optimizer.lr"])
    assert first.name.startswith("sweep-model-lr-")
    assert open_folder(None, "a", ["model", "optimizer.lr"]) == first
    assert open_folder(None, "b", ["model", "optimizer.lr"]) != first


def test_what_is_no_sweep_is_left_alone(outputs: Path):
    alone = job("a")
    alone.name = "run"
    outputs.mkdir()
    run(alone, "done")
    with pytest.raises(FolderInUseError, match="'run' in .* is a run, not a sweep"):
        open_folder("run", "", [])
    (outputs / "other").mkdir()
    (outputs / "other/thesis.txt").write_text("x")
    with pytest.raises(FolderInUseError, match="holds something other than a sweep"):
        open_folder("other", "", [])
    with pytest.raises(ConfigError, match="must be a folder under"):
        open_folder("/etc", "", [])


def test_a_damaged_record_is_told(outputs: Path):
    folder = open_folder("mine", "", [])
    (folder / "sweep.json").write_text('{"jobs": [{"job": 1}]}')
    with pytest.raises(CheckpointError, match="sweep.json is damaged: KeyError"):
        SweepRecord(folder, [])
