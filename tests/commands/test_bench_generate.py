"""`rnnlab bench generate`, on a model of a few units: what is printed and written, never how fast it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rnnlab.benchmarks import generate, machine
from rnnlab.cli import main
from rnnlab.json_files import read_json


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "PRODUCT", (8, 8, 8))
    monkeypatch.setattr("rnnlab.hardware.usable_cores", lambda: 1)
    monkeypatch.setattr("rnnlab.hardware.tune_allocator", lambda: True)  # it would stay so for all other tests


def bench(*options: str) -> int:
    sizes = ("--hidden-size", "5", "--vocab-size", "7", "--num-tokens", "6", "--count", "3", "--seconds", "0.001")
    return main(["bench", "generate", *sizes, *options])


def test_the_table_has_a_row_for_each_cell_and_the_json_its_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "generate.json"
    assert bench("--cells", "lstm,gru,rnn", "--json", str(file)) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows[-3:]] == ["lstm", "gru", "rnn"]
    found = read_json(file)
    assert (found["format"], found["benchmark"]) == (1, "generate")
    assert found["settings"]["num_tokens"] == 6
    for case in found["cases"]:
        assert case["error"] < 1e-5  # rounding of float32 over 50 steps of a small model
        assert case["plain"]["median"] > 0
        assert case["rounds"] >= 3


def test_models_that_score_differently_are_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def other(self: generate.Plain, inputs: torch.Tensor, state: object = None):
        return torch.zeros(*inputs.shape, 7), state

    monkeypatch.setattr(generate.Plain, "forward", other)
    assert bench() == 1
    assert capsys.readouterr().err.startswith("error: lstm: scores differ by")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--count", "0"), "--count must be at least 1, got 0"),
        (("--threads", "-1"), "--threads must be at least 1, got -1"),
        (("--seconds", "nan"), "--seconds must be above 0, got nan"),
        (("--cells", "lsmt"), "lsmt"),
    ],
)
def test_a_bad_option_is_one_line(options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]):
    assert bench(*options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
