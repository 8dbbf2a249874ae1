from __future__ import annotations

import json
import re

import pytest

from rnnlab.errors import CannotWriteError
from rnnlab.training import profiling
from rnnlab.training.parts import nobody_asks
from rnnlab.training.profiling import parts_table


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(profiling, "WARM_UP_STEPS", 2)
    monkeypatch.setattr(profiling, "TIMED_STEPS", 3)
    monkeypatch.setattr(profiling, "TRACED_STEPS", 2)


def test_a_table_and_a_trace_stand_in_the_runs_folder(lab, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(profiling.log, "propagate", True)
    caplog.set_level("INFO", "rnnlab")
    trainer = lab.fit(tmp_path, lab.config(max_steps=9, profile=True, accumulate=2))
    table = (tmp_path / "profile/table.txt").read_text()
    assert "medians of 3 steps" in table
    for part in ("data", "forward embedding", "forward recurrent", "backward decoder + loss", "clip", "optimizer"):
        assert f"\n{part} " in table
    shares = [float(share) for share in re.findall(r"([\d.]+)%$", table.partition("operations")[0], re.MULTILINE)]
    assert sum(shares) == pytest.approx(100, abs=1)  # each is rounded to a tenth
    assert "Self CPU" in table
    events = json.loads((tmp_path / "profile/trace.json").read_text())["traceEvents"]
    counts = {name: sum(e.get("name") == name and e.get("ph") == "X" for e in events) for name in ("step", "data")}
    assert counts == {"step": 2, "data": 2}
    assert sum(e.get("name") == "backward" and e.get("ph") == "X" for e in events) == 4, "a window each"
    assert f"profile: {tmp_path / 'profile/table.txt'}; open trace.json in ui.perfetto.dev" in caplog.text
    assert trainer.steps.part is nobody_asks, "the other steps are not slowed"


def test_looking_changes_nothing_of_the_run(lab, tmp_path, differences):
    for number, looked in enumerate((False, True)):
        lab.fit(tmp_path / str(number), lab.config(max_steps=9, profile=looked))
    assert differences(tmp_path / "0", tmp_path / "1") == []


@pytest.mark.parametrize(("steps", "files"), [(4, {"table.txt"}), (6, {"table.txt", "trace.json"}), (2, set())])
def test_a_run_that_ends_early_shows_what_there_is(lab, tmp_path, caplog, monkeypatch, steps, files):
    monkeypatch.setattr(profiling.log, "propagate", True)
    lab.fit(tmp_path, lab.config(max_steps=steps, profile=True))
    assert {path.name for path in (tmp_path / "profile").glob("*")} == files
    assert ("no step after the 2 of the warm-up" in caplog.text) == (not files)


def test_a_folder_that_cannot_be_written_is_told(lab, tmp_path):
    (tmp_path / "profile").write_text("a file")
    with pytest.raises(CannotWriteError, match="cannot write .*profile: File exists"):
        lab.fit(tmp_path, lab.config(max_steps=9, profile=True))


def test_the_table_is_sorted_by_share():
    table = parts_table([{"a": 0.001, "b": 0.003}, {"a": 0.001, "b": 0.003, "c": 0.004}])
    assert [line.split() for line in table.splitlines()[1:]] == [
        ["b", "3.000", "50.0%"],
        ["c", "2.000", "33.3%"],
        ["a", "1.000", "16.7%"],
        ["all", "6.000"],
    ]
