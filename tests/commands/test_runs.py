"""`rnnlab runs`."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rnnlab import runs
from rnnlab.commands.runs import duration, main, score, score_heading
from rnnlab.errors import ConfigError
from rnnlab.json_files import write_json
from rnnlab.run_list import list_runs


@pytest.fixture(autouse=True)
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RNNLAB_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


def make_run(name: str, status: str) -> None:
    folder = runs.create_run(name, exact=True)
    created = (datetime.now(UTC) - timedelta(hours=3)).isoformat()
    choices = {"model": "lstm", "task": "music"}
    write_json(folder / "run.json", {"format": 1, "created": created, "choices": choices})
    metrics = {"valid/bits_per_char": 1.98765}
    result = {"status": status, "metrics": metrics, "metric": "valid/bits_per_char", "steps": 12345, "seconds": 200}
    write_json(folder / "result.json", result)


def test_no_runs_say_what_to_type(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 0
    assert "rnnlab train task=sentiment model=lstm" in capsys.readouterr().out


def test_a_run_is_one_line_with_score_steps_time_status_and_age(capsys: pytest.CaptureFixture[str]):
    make_run("music-[red]lstm", "done")
    assert main([]) == 0
    line = capsys.readouterr().out.splitlines()[1].split()
    assert line == [
        "music-[red]lstm",
        "music",
        "lstm",
        "valid/bits_per_char",
        "1.988",
        "↓",
        "12,345",
        "3m",
        "20s",
        "done",
        "3h",
        "00m",
    ]


@pytest.mark.parametrize(
    ("metric", "encoding", "shown"),
    [
        ("test/perplexity", "utf-8", "test/perplexity 0.9 ↓"),
        ("valid/accuracy", "utf-8", "valid/accuracy 0.9 ↑"),
        ("test/perplexity", "ascii", "test/perplexity 0.9 v"),
        ("valid/accuracy", "latin-1", "valid/accuracy 0.9 ^"),
        ("valid/unheard_of", "utf-8", "valid/unheard_of 0.9"),
    ],
)
def test_a_score_says_which_way_it_improves(metric: str, encoding: str, shown: str):
    make_run("a", "done")
    (run,) = list_runs()
    assert score(replace(run, metric=metric, value=0.9), encoding) == shown
    assert score_heading(encoding).isascii() == shown.isascii() or metric == "valid/unheard_of"


@pytest.mark.parametrize(
    ("width", "words"),
    [
        (100, "name task model score (↑↓: better) steps time status age"),
        (80, "name task model score (↑↓: better) steps status"),
        (60, "name score (↑↓: better) status"),
        (40, "name score status"),
    ],
)
def test_a_narrow_terminal_gets_fewer_columns_and_whole_words(
    width: int, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    make_run("music-lstm-lr=0.003-x", "done")
    make_run("sweep-1/hidden_size=512-lr=0.003-dropout=0.25", "killed")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", "24")
    with monkeypatch.context() as patch:
        patch.setattr(sys.stdout, "isatty", lambda: True)
        assert main([]) == 0
    heading, *lines = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    assert heading.split() == words.split()
    assert max(len(line.rstrip()) for line in [heading, *lines]) <= width
    assert lines[0].startswith("music-lstm-lr=0.003-x")
    assert "1.988 ↓" in lines[0]
    assert len(lines) <= 4


def test_json_holds_the_same_without_rounding(capsys: pytest.CaptureFixture[str]):
    make_run("a", "done")
    assert main(["--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["metric"], row["value"], row["steps"]) == ("a", "valid/bits_per_char", 1.98765, 12345)


def test_runs_can_be_chosen_by_status(capsys: pytest.CaptureFixture[str]):
    make_run("good", "done")
    make_run("bad", "failed")
    assert main(["status=failed"]) == 0
    told = capsys.readouterr().out
    assert "bad" in told
    assert "good" not in told


def test_a_filter_that_fits_nothing_is_told_back(capsys: pytest.CaptureFixture[str]):
    make_run("good", "done")
    assert main(["task=sentiment"]) == 0
    assert "with task=sentiment; rnnlab runs lists all" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["--jsn"], ["status=dnoe"], ["extra"]])
def test_wrong_options_are_told(argv: list[str]):
    with pytest.raises(ConfigError, match=r"unknown|must be one of|runs takes name="):
        main(argv)


def test_a_time_is_told_as_people_say_it():
    said = {45: "45s", 59.6: "1m 00s", 200: "3m 20s", 7500: "2h 05m", 300_000: "3d", None: ""}
    assert {seconds: duration(seconds) for seconds in said} == said
