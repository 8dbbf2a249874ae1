"""The check of a step on a GPU, tried on a CPU: it finds what is wrong with a step, and nothing with a right one."""

import json
import runpy
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training.stand_ins import TapeRecorder, as_on_a_gpu

from rnnlab.benchmarks.steps import feed
from rnnlab.benchmarks.steps.cases import CASES
from rnnlab.training import update
from rnnlab.training.graphs import Graphs

CPU = torch.device("cpu")

SCRIPT = str(Path(__file__).resolve().parents[2] / "scripts" / "gpu_step_check.py")


def small(name):
    return replace(
        CASES[name], vocab_size=20, embedding_size=6, hidden_size=6, batch_size=4, bptt_len=CASES[name].bptt_len and 5
    )


@pytest.fixture
def script(monkeypatch):
    monkeypatch.setattr(feed, "NUM_WINDOWS", 4)
    monkeypatch.setattr(feed, "NUM_BATCHES", {"sentiment": 2, "music": 1})
    monkeypatch.setattr(feed, "_LENGTHS", {"sentiment": (9, 0.5), "music": (12, 0.5)})
    found = runpy.run_path(SCRIPT)
    found["main"].__globals__["GRAPH_STEPS"] = 6
    return found


@pytest.fixture
def main(script):
    return script["main"]


def test_a_right_step_passes(main, capsys):
    assert main(["--device", "cpu"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{name} on cpu: ok" for name in ("ptb_650", "sentiment_gru", "music_lstm")
    ]


def test_weights_that_a_nan_reaches_are_found(main, capsys, monkeypatch):
    monkeypatch.setattr(update.Made, "is_finite", lambda self: True)
    assert main(["--device", "cpu", "--cases", "sentiment_gru"]) == 2
    said = capsys.readouterr().out
    assert "sentiment_gru on cpu: losses of nan ended nothing" in said
    assert "sentiment_gru on cpu: a loss of nan changed a weight" in said


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(main, capsys):
    assert main([]) == 1
    assert capsys.readouterr().err == "gpu_step_check needs a CUDA device; nothing was checked\n"


@pytest.mark.parametrize("name", ["ptb_650", "sentiment_gru", "music_lstm"])
def test_right_graphs_pass(script, monkeypatch, name):
    as_on_a_gpu(monkeypatch)
    problems, found = script["check_graph"](small(name), CPU, TapeRecorder())
    assert problems == []
    assert found["graphs"] >= 1
    assert found["steps"] == 12
    assert min(found["plain_ms"], found["graph_ms"]) > 0


def test_graphs_that_hold_their_rate_are_found(script, monkeypatch):
    as_on_a_gpu(monkeypatch)
    monkeypatch.setattr(Graphs, "_rate_in_a_tensor", lambda self, recording: nullcontext())
    problems, _ = script["check_graph"](small("ptb_650"), CPU, TapeRecorder())
    assert any("away from those of the same steps one by one" in problem for problem in problems)
    assert "a step at rate 0 changed a weight: the graph does not read its rate" in problems


def test_graphs_are_asked_for_on_a_gpu_alone(main, capsys):
    with pytest.raises(SystemExit):
        main(["--device", "cpu", "--graph"])
    assert "--graph needs --device cuda" in capsys.readouterr().err


def test_what_was_found_is_written(main, tmp_path):
    assert main(["--device", "cpu", "--cases", "music_lstm", "--json", str(tmp_path / "found.json")]) == 0
    rows = json.loads((tmp_path / "found.json").read_text())
    assert rows == [{"case": "music_lstm", "device": "cpu", "problems": []}]
