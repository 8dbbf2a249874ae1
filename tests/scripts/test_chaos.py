"""A sample of the crash matrix: kills over every task and cell, and the controls that show that it can fail."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "chaos.py"
PARTS = {"A1", "A2", "A3", "A5", "A6", "A9", "A10"}
TASKS = {"next_word", "sentiment", "music", "adding", "copy", "ball"}


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> dict:
    file = tmp_path_factory.mktemp("chaos") / "report.json"
    # A process of its own: the harness forks, and pytest's has threads.
    command = [sys.executable, str(SCRIPT), "--kills", "40", "--jobs", "1", "--parts", *PARTS, "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(file.read_text())


def part(report: dict, name: str) -> dict:
    return next(content for title, content in report["parts"].items() if title.startswith(name))


def test_killed_runs_end_as_if_nothing_had_happened(report):
    assert report["kills"] >= 50
    assert (report["mismatches"], report["duplicate_records"]) == (0, 0)
    assert (report["ended_by_time_limit"], report["interrupted"]) == (False, False)
    assert {title.partition(" ")[0] for title in report["parts"]} == PARTS
    assert report["kills"] == sum(content["kills"] for content in report["parts"].values())


def test_kills_are_counted_by_task_and_cell(report):
    counted = report["kills_by_task_and_cell"]
    assert set(counted) == TASKS
    assert {cell for cells in counted.values() for cell in cells} == {"rnn", "lstm", "gru"}
    assert sum(sum(cells.values()) for cells in counted.values()) == report["kills"]
    for content in report["parts"].values():
        assert sum(sum(cells.values()) for cells in content["by_task_and_cell"].values()) == content["kills"]


def test_runs_are_killed_from_outside_in_the_calls_of_the_kernel(report):
    calls = part(report, "A3")
    if "left out" in calls:
        assert "strace" in calls["left out"]
    else:
        assert calls["kills"] >= 4
        assert {"fsync", "rename", "write", "openat", "mkdir", "unlink", "unlinkat"} & set(calls["where"])


def test_of_two_processes_one_is_killed_and_the_run_goes_on(report):
    assert part(report, "A10")["kills"] >= 2
    assert part(report, "A10")["mismatches"] == 0


def test_a_harness_that_is_stopped_leaves_a_report_of_what_it_saw(tmp_path):
    file = tmp_path / "report.json"
    command = [sys.executable, str(SCRIPT), "--kills", "100000", "--jobs", "2", "--parts", "A5", "A1"]
    with subprocess.Popen([*command, "--json", str(file)], stderr=subprocess.PIPE) as process:
        while not (file.exists() and json.loads(file.read_text())["kills"]):
            assert process.poll() is None
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 130
    report = json.loads(file.read_text())
    assert (report["interrupted"], report["mismatches"]) == (True, 0)
    assert 0 < report["kills"] < 100_000


def test_runs_are_killed_at_every_place_that_has_a_name(report):
    places = part(report, "A5")["where"]
    assert len(places) == 11
    assert part(report, "A5")["runs"] == sum(places.values())


def test_runs_are_killed_before_after_and_half_way_through_what_changes_the_disk(report):
    assert {"before", "after", "half"} <= set(part(report, "A2")["where"])
    operations = part(report, "A2")["operations"]
    # A checkpoint alone is about thirty: a folder, four files, a rename, two links, fsyncs, pruning.
    assert all(number > 100 for number in operations.values()), operations


def test_whatever_a_run_is_made_to_forget_is_missed_and_nothing_else(report):
    caught = part(report, "A6")["caught"]
    assert [what for what, missed in caught.items() if not missed] == ["nothing"]
    assert len(caught) >= 13
    assert any("records" in missed for missed in caught["cut of the event files"])
    assert "last/model.safetensors" in caught["carried state"]
