"""`rnnlab bench`."""

from __future__ import annotations

import sys
import types

import pytest

from rnnlab.cli import BENCHMARKS, main
from rnnlab.wording import listed


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_alone_it_lists_the_benchmarks(argv: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(["bench", *argv]) == 0
    told = capsys.readouterr().out
    listed = [line.split(maxsplit=1) for line in told.splitlines()]
    assert all([name, about] in listed for name, about in BENCHMARKS.items())


@pytest.mark.parametrize(
    ("name", "hint"), [("cell", "did you mean cells?"), ("layers", f"there is {listed(list(BENCHMARKS), 'and')}")]
)
def test_an_unknown_benchmark_is_told(name: str, hint: str, capsys: pytest.CaptureFixture[str]):
    assert main(["bench", name]) == 2
    assert capsys.readouterr().err == f"error: bench has no benchmark '{name}'; {hint}\n"


def test_a_benchmark_gets_its_options_and_gives_the_exit_code(monkeypatch: pytest.MonkeyPatch):
    module, asked = types.ModuleType("cells"), []
    module.main = lambda argv: asked.append(argv) or 1  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rnnlab.commands._bench_cells", module)
    assert main(["bench", "cells", "--load"]) == 1
    assert asked == [["--load"]]
