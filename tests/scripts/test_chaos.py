"""A sample of the crash matrix: kills over every task and cell, and the controls that show that it can fail."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "chaos.py"
PARTS = {"A1", "A2", "A5", "A6", "A9"}


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> dict:
    file = tmp_path_factory.mktemp("chaos") / "report.json"
    # A process of its own: the harness forks, and pytest's has threads.
    command = [sys.executable, str(SCRIPT), "--kills", "30", "--parts", *PARTS, "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(file.read_text())


def part(report: dict, name: str) -> dict:
    return next(content for title, content in report["parts"].items() if title.startswith(name))


def test_killed_runs_end_as_if_nothing_had_happened(report):
    assert report["kills"] >= 50
    assert (report["mismatches"], report["duplicate_records"], report["ended_by_time_limit"]) == (0, 0, False)
    assert {title.partition(" ")[0] for title in report["parts"]} == PARTS
    assert report["kills"] == sum(content["kills"] for content in report["parts"].values())


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
