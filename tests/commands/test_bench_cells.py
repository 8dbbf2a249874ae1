"""`rnnlab bench cells`, on layers of a few units: what is printed and written, never how fast it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rnnlab.benchmarks import cases, cells, machine
from rnnlab.benchmarks.cases import Shape
from rnnlab.cli import main
from rnnlab.commands._bench_cells import read_request
from rnnlab.errors import ConfigError
from rnnlab.json_files import read_json


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch):
    for name in ("S", "M"):
        monkeypatch.setitem(cases.SHAPES, name, Shape(name, 3, 5, 4, 6))
    monkeypatch.setattr(cases, "TOKEN_SHAPES", (Shape("B1", 1, 2, 6, 6, 2),))
    monkeypatch.setattr(machine, "PRODUCT", (8, 8, 8))
    monkeypatch.setattr("rnnlab.hardware.usable_cores", lambda: 1)
    monkeypatch.setattr("rnnlab.hardware.tune_allocator", lambda: True)  # it would stay so for all other tests


def bench(*options: str) -> int:
    return main(["bench", "cells", "--seconds", "0.001", *options])


def rows(table: str) -> list[list[str]]:
    return [line.split() for line in table.splitlines() if line.split()[:1] in (["train"], ["packed"], ["token"])]


def test_the_table_has_a_row_for_each_case_and_says_how_far_results_are_apart(capsys: pytest.CaptureFixture[str]):
    assert bench("--shapes", "S", "--cells", "gru,rnn", "--modes", "train,packed") == 0
    told = capsys.readouterr()
    of_cpu = [row for row in rows(told.out) if row[3] == "cpu"]
    assert [row[:3] for row in of_cpu] == [[mode, cell, "S"] for mode in ("train", "packed") for cell in ("gru", "rnn")]
    assert all(float(row[-1]) < 1e-5 for row in of_cpu)  # rounding of float32 over five steps
    assert all(row[6].endswith("x") for row in of_cpu)
    assert "1 of 1 cores, process CPU time" in told.out
    assert "load average [" in told.out
    assert told.err.startswith("train gru S: agrees to ")
    assert told.err.count("\n") == 4


def test_json_holds_machine_cases_errors_times_and_ratios(tmp_path: Path):
    file = tmp_path / "cells.json"
    assert bench("--shapes", "S", "--cells", "lstm", "--modes", "packed,token", "--json", str(file)) == 0
    found = read_json(file)
    assert (found["format"], found["benchmark"]) == (1, "cells")
    assert {"rnnlab", "date", "processor", "engine", "torch", "threads", "allocator", "product_gflops"} <= set(
        found["machine"]
    )
    assert set(found["load_average"]) == {"start", "end"}
    packed, token = found["cases"]
    assert (packed["mode"], packed["cell"], packed["shape"]["hidden_size"]) == ("packed", "lstm", 6)
    assert (token["mode"], token["shape"]["name"], token["shape"]["num_layers"]) == ("token", "B1", 2)
    base, cpu, *_ = packed["contenders"]
    assert (base["name"], base["speedup"], cpu["name"]) == ("torch.nn", None, "cpu")
    assert set(cpu["seconds"]) == set(cpu["speedup"]) == {"lower", "median", "upper"}
    assert len(cpu["errors"]) == 10
    assert cpu["rounds"] == base["rounds"] >= 3
    assert cpu["gflops"] > 0


def test_under_load_it_says_how_many_times_slower_each_gets(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert bench("--load", "--shapes", "S", "--cells", "rnn", "--json", str(tmp_path / "load.json")) == 0
    told = capsys.readouterr()
    assert [row[:4] for row in rows(told.out)][:2] == [["train", "rnn", "S", way] for way in ("torch.nn", "cpu")]
    assert "wall time" in told.out
    assert "times slower on busy cores" in told.err
    (case,) = read_json(tmp_path / "load.json")["cases"]
    for one in case["contenders"]:
        assert one["slowdown"] == pytest.approx(one["loaded_seconds"]["median"] / one["seconds"]["median"])


def test_a_layer_that_computes_something_else_ends_it_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from rnnlab.cells import backends

    right = backends.ENGINES["cpu"]

    def wrong(*arguments):
        y, state = right.run(*arguments)
        return y + 0.1, state

    monkeypatch.setitem(backends.ENGINES, "cpu", right._replace(run=wrong))
    assert bench("--shapes", "S", "--cells", "rnn") == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: train rnn S: y of cpu (cpu) is ")
    assert told.err.endswith("wanted at most 1e-04; its times would mean nothing\n")
    assert told.err.count("\n") == 1


def test_what_was_measured_before_ctrl_c_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    measure, file = cells.measure, tmp_path / "cells.json"

    def stop_at_the_second(case, **settings):
        if case.shape.name == "M":
            raise KeyboardInterrupt
        return measure(case, **settings)

    monkeypatch.setattr(cells, "measure", stop_at_the_second)
    assert bench("--shapes", "S,M", "--cells", "rnn", "--modes", "train", "--json", str(file)) == 130
    assert [case["shape"]["name"] for case in json.loads(file.read_text())["cases"]] == ["S"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--thread", "0"], "--threads must be at least 1, got 0"),
        (["--seconds", "0"], "--seconds must be above 0, got 0"),
        (["--seconds", "nan"], "--seconds must be above 0, got nan"),
        (["--shapes", "S,X"], "--shapes: expected some of S,M,L,C,H, got 'X'"),
        (["--cells", "grru"], "--cells: expected some of lstm,gru,rnn, got 'grru'; did you mean gru?"),
        (["--modes", "trian"], "got 'trian'; did you mean train?"),
        (["--load", "--modes", "token"], "--load measures training steps, got --modes token; leave --modes out"),
        (["--sconds", "1"], "unknown option --sconds; did you mean --seconds"),
    ],
)
def test_a_wrong_option_is_told(options: list[str], message: str):
    with pytest.raises(ConfigError) as error:
        read_request(options)
    assert message in str(error.value)


def test_a_folder_that_is_not_there_is_told_before_anything_is_measured(capsys: pytest.CaptureFixture[str]):
    assert bench("--json", "/no/such/folder/cells.json") == 7
    assert "there is no folder /no/such/folder" in capsys.readouterr().err


def test_bf16_is_measured_only_where_the_engine_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from rnnlab.cells.cpu import library as module

    for multiplies in (True, False):
        here = module.Library(None, "avx2", multiplies)
        monkeypatch.setattr(module, "library", lambda here=here: here)
        assert ("bf16" in {case.mode for case in read_request([]).cases}) == multiplies
    assert bench("--modes", "bf16") == 2
    assert "bf16 needs a processor and engine that multiply bfloat16, got avx2" in capsys.readouterr().err


def test_its_help_needs_no_torch():
    script = (
        "import sys; from rnnlab.cli import main\nmain(['bench', 'cells', '--help'])\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
