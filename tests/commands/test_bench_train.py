"""`rnnlab bench train`, on models of a few units: what is printed and written, never how fast it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rnnlab.benchmarks import machine
from rnnlab.benchmarks.steps import cases, feed, race
from rnnlab.cli import main
from rnnlab.commands._bench_train import read_request
from rnnlab.errors import ConfigError
from rnnlab.json_files import read_json


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch):
    size = {"vocab_size": 30, "embedding_size": 6, "hidden_size": 6, "batch_size": 4}
    for name in ("ptb_650", "sentiment_gru"):
        case = cases.CASES[name]
        bptt_len = None if case.bptt_len is None else 5
        monkeypatch.setitem(cases.CASES, name, replace(case, **size, max_len=20, bptt_len=bptt_len))
    monkeypatch.setattr(feed, "NUM_WINDOWS", 6)
    monkeypatch.setattr(feed, "NUM_BATCHES", {"sentiment": 3})
    monkeypatch.setattr(race, "SETTLE_SECONDS", 0)
    monkeypatch.setattr(machine, "PRODUCT", (8, 8, 8))


def bench(*options: str) -> int:
    return main(["bench", "train", "--threads", "1", "--parity-steps", "3", "--steps", "2", *options])


def test_it_prints_times_memory_and_parts_and_writes_them(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    file = tmp_path / "train.json"
    contenders = "plain,tuned,rnnlab"
    assert bench("--cases", "ptb_650,sentiment_gru", "--contenders", contenders, "--json", str(file)) == 0
    told = capsys.readouterr()
    rows = [line.split() for line in told.out.splitlines() if line.startswith(("ptb_650", "sentiment_gru"))]
    ways = [[case, way] for case in ("ptb_650", "sentiment_gru") for way in contenders.split(",")]
    assert [row[:2] for row in rows] == [*ways, *ways]  # times, then parts
    assert "1 of" in told.out
    assert "process CPU time; data: synthetic" in told.out
    assert told.err.startswith("ptb_650: losses agree to ")
    found = read_json(file)
    assert (found["format"], found["benchmark"]) == (1, "train")
    assert {"rnnlab", "processor", "torch", "threads", "clock", "product_gflops"} <= set(found["machine"])
    assert found["settings"]["source"] == "synthetic"
    for case in found["cases"]:
        plain, _tuned, own = case["contenders"]
        assert case["case"]["hidden_size"] == 6
        assert (plain["name"], plain["speedup"], plain["error"]) == ("plain", None, 0)
        assert len(plain["losses"]) == 3
        assert own["losses"] == pytest.approx(plain["losses"], rel=1e-5)  # float32
        assert (plain["about"]["allocator"], plain["about"]["threads"]) == ("as it comes", 1)
        assert own["about"]["wait_policy"] == "PASSIVE"
        assert set(own["speedup"]) == {"lower", "median", "upper"}
        assert own["peak_mb"] > 50  # torch alone takes more
        assert {"data", "forward recurrent", "backward decoder + loss", "optimizer"} <= set(own["parts"])


def test_a_loop_that_learns_something_else_ends_it_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(race, "_loss_curves", lambda processes, steps: {"plain": [3.0], "rnnlab": [3.1]})
    assert bench("--cases", "ptb_650", "--contenders", "plain,rnnlab") == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ptb_650: the loss of rnnlab at step 1 is 3.100000, that of plain 3.000000;")
    assert told.err.endswith("its times would mean nothing\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threads", "0"], "--threads must be at least 1, got 0"),
        (["--parity-steps", "0"], "--parity-steps must be at least 1, got 0"),
        (["--steps", "0"], "--steps must be at least 1, got 0"),
        (["--seconds", "inf"], "--seconds must be above 0, got inf"),
        (["--cases", "ptb_60"], "got 'ptb_60'; did you mean ptb_650?"),
        (["--contenders", "plane"], "got 'plane'; did you mean plain?"),
        (["--data", "real"], "--data: invalid choice: 'real'"),
    ],
)
def test_a_wrong_option_is_told(options: list[str], message: str):
    with pytest.raises(ConfigError) as error:
        read_request(options)
    assert message in str(error.value)


def test_a_folder_that_is_not_there_is_told_before_anything_is_measured(capsys: pytest.CaptureFixture[str]):
    assert bench("--json", "/no/such/folder/train.json") == 7
    assert "there is no folder /no/such/folder" in capsys.readouterr().err


def test_a_corpus_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setitem(cases.CASES, "ptb_650", replace(cases.CASES["ptb_650"], corpus="/no/such/file.txt"))
    assert bench("--cases", "ptb_650", "--data", "corpus") == 3
    assert "/no/such/file.txt" in capsys.readouterr().err
