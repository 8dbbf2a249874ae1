"""Compiling the engine: what happens with no compiler, with a broken one, and which sets there are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rnnlab.cells.cpu import build, library


def test_a_machine_without_a_compiler_gets_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        build.BuildError, match="no C\\+\\+ compiler: none of c\\+\\+, g\\+\\+ and clang\\+\\+ is on the path"
    ):
        build.build(tmp_path / "engine.so")


def test_a_failing_compiler_is_quoted_and_leaves_the_old_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\necho 'kernels.cpp:1: error: no such thing' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    target = tmp_path / "engine.so"
    target.write_bytes(b"old")
    with pytest.raises(build.BuildError, match="broken failed: kernels.cpp:1: error: no such thing"):
        build.build(target)
    assert target.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["broken", "engine.so"]


def test_a_compiler_that_cannot_be_started_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "missing"))
    with pytest.raises(build.BuildError, match="missing cannot be run"):
        build.build(tmp_path / "engine.so")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_machine_gets_a_set_that_any_processor_of_its_kind_runs(machine: str) -> None:
    sets = build.instruction_sets(machine)
    assert sets[-1].name == "portable"
    assert not any(flag.startswith("-m") for flag in sets[-1].flags)


@pytest.mark.skipif(
    shutil.which("c++") is None or sys.platform != "linux", reason="no compiler was there at installation"
)
def test_installing_with_a_compiler_gives_an_engine_that_loads() -> None:
    assert library.library().functions is not None, library.library().detail


@pytest.mark.skipif(shutil.which("objdump") is None or library.library().functions is None, reason="needs objdump")
def test_what_the_sets_share_runs_on_any_processor() -> None:
    """The linker keeps one copy of a shared function; its instructions must be those of the portable set."""
    listing = subprocess.run(["objdump", "-d", str(library.FILE)], capture_output=True, text=True, check=True).stdout
    weak = subprocess.run(["nm", "-C", str(library.FILE)], capture_output=True, text=True, check=True).stdout
    addresses = {line.split()[0] for line in weak.splitlines() if len(line.split()) > 2 and line.split()[1] in "Ww"}
    own = [block for block in listing.split("\n\n") if block.strip().partition(" ")[0] in addresses]
    shared = [block for block in own if "rnnlab" not in block.splitlines()[0]]
    assert shared
    assert not [block.splitlines()[0] for block in shared if re.search(r"%[yz]mm|\bv[a-z]+[ps][sd]\b", block)]
