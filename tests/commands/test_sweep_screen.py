"""What a sweep shows while it runs: on a terminal a line for each job under way, elsewhere what has changed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from rnnlab.commands._sweep_screen import Lines, print_results
from rnnlab.json_files import write_json
from rnnlab.sweeps.jobs import Job
from rnnlab.sweeps.record import SweepRecord, open_folder


@pytest.fixture
def record(outputs: Path) -> SweepRecord:
    found = SweepRecord(open_folder("mine", "", []), [])
    for number in range(2):
        found.adopt(Job(str(number), "c", "d", {"seed": str(number)}, []))
    found.jobs[0].log.parent.mkdir()
    found.jobs[0].log.write_text("reading\nepoch 1  step 30 of 90  loss 2.5\n\n")
    return found


def play(record: SweepRecord) -> None:
    screen = Lines(record, 2)
    screen.begin(record.jobs)
    first, second = record.jobs
    with screen:
        screen.started(first)
        screen.update([first])
        first.ended(1)
        screen.ended(first)
        screen.started(second)
        screen.update([second])


def test_a_terminal_shows_the_last_line_of_each_job_and_how_many_are_left(
    record: SweepRecord, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    play(record)
    shown = capsys.readouterr().err
    assert re.search(r"0-seed=0  \d+s  epoch 1  step 30 of 90  loss 2\.5", shown)
    assert re.search(r"1 of 2 jobs ended, about \d+s left; Ctrl-C saves and stops", shown)


def test_elsewhere_only_starts_and_ends_are_told(record: SweepRecord, capsys: pytest.CaptureFixture[str]):
    play(record)
    assert re.sub(r"in \d+s", "in 0s", capsys.readouterr().err).splitlines() == [
        f"sweep {record.folder}: 2 jobs",
        "0-seed=0: started",
        "0-seed=0: failed in 0s: epoch 1  step 30 of 90  loss 2.5",
        "1-seed=1: started",
    ]


def test_the_tables_fit_a_terminal_of_80_columns(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")  # no colours
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    found = SweepRecord(open_folder("mine", "", []), [])
    for number, (lr, seed) in enumerate([("1e-3", "0"), ("1e-3", "1"), ("3e-3", "0")]):
        varied = {"model": "lstm", "optimizer.lr": lr, "seed": seed}
        job = found.adopt(Job(str(number), f"c{lr}", "d", varied, ["model=lstm", f"optimizer.lr={lr}", f"seed={seed}"]))
        job.folder.mkdir(parents=True)
        metrics = {"valid/bits_per_char": 4.912 + number, "test/bits_per_char": 5.023 + number}
        write_json(job.folder / "result.json", {"metric": "valid/bits_per_char", "metrics": metrics})
        job.status = "done"
    print_results(found, found.jobs)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["job", "model", "lr", "seed", "status", "valid/bits_per_char", "↓", "test/bits_per_char", "↓"] in lines
    assert ["1", "lstm", "1e-3", "1", "done", "5.912", "6.023"] in lines
    assert "bits_per_char: mean +- spread over the seeds [95 % interval of the mean]".split() in lines
    # Student's t with one degree of freedom: 12.706 * 0.7071 / sqrt(2) = 6.353 on both sides.
    assert "lstm 1e-3 2 of 2 5.412 +- 0.71 [-0.9411, 11.77] 5.523 +- 0.71".split() in lines
    assert ["5.412", "+-", "0.71", "[-0.9411,", "11.77];", "its", "run:", "mine/0-lstm-lr=1e-3-seed=0"] in lines
