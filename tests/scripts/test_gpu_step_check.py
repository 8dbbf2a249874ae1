"""The check of a step on a GPU, tried on a CPU: it finds what is wrong with a step, and nothing with a right one."""

import runpy
from pathlib import Path

import pytest
import torch

from rnnlab.benchmarks.steps import feed
from rnnlab.training import update

SCRIPT = str(Path(__file__).resolve().parents[2] / "scripts" / "gpu_step_check.py")


@pytest.fixture
def main(monkeypatch):
    monkeypatch.setattr(feed, "NUM_WINDOWS", 4)
    monkeypatch.setattr(feed, "NUM_BATCHES", {"sentiment": 2, "music": 1})
    monkeypatch.setattr(feed, "_LENGTHS", {"sentiment": (9, 0.5), "music": (12, 0.5)})
    return runpy.run_path(SCRIPT)["main"]


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
