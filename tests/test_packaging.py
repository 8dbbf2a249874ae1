"""The wheel and the sdist carry the configs, the wheel works from an empty folder, with a compiler or without one."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
ENGINE = "rnnlab/cells/cpu/librnnlab_cells.so"


def build(folder: Path, **environment: str) -> tuple[Path, Path, str]:
    """Make the sdist, and the wheel from it, so that nothing of this checkout is touched; with what was said."""
    # Without isolation: the build backend of the development environment, nothing downloaded.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return sdist, wheel, done.stdout + done.stderr


def check_that_it_runs(wheel: Path, folder: Path, backend: str) -> None:
    """Unpack the wheel and use it from an empty folder."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
        assert {f"rnnlab/{name}" for name in CONFIGS} | {"rnnlab/py.typed"} <= set(archive.namelist())
    empty = folder / "empty"
    empty.mkdir()
    program = (
        "import rnnlab, sys; print(rnnlab.__file__); from rnnlab.cells import GRU; print(GRU(2, 3).backend_in_use());"
        " from rnnlab.cli import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "train", "experiment=smoke", "model=gru", "--cfg", "job"],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(folder / "site")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert str(folder / "site") in done.stdout
    assert backend in done.stdout
    assert "cell: gru" in done.stdout
    assert not list(empty.iterdir())


def test_without_a_compiler_the_wheel_is_pure_python_and_says_what_it_lacks(tmp_path):
    sdist, wheel, said = build(tmp_path, CXX=str(tmp_path / "none"))
    assert "CPU engine was not built, layers will run in PyTorch" in said
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert ENGINE not in archive.namelist()
    check_that_it_runs(
        wheel, tmp_path, "cpu (CPU, float32: trains faster than torch.nn's kernels; no C++ engine: not built"
    )
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"src/rnnlab/cli.py", "src/rnnlab/cells/cpu/src/engine.h", "hatch_build.py", "README.md", "LICENSE"}
    assert {*CONFIGS, *wanted, "constraints.txt"} <= names
    assert f"src/{ENGINE}" not in names


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_with_a_compiler_the_wheel_carries_the_engine_and_uses_it(tmp_path):
    _, wheel, said = build(tmp_path)
    assert "CPU engine was built for" in said
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")
    check_that_it_runs(wheel, tmp_path, "C++ engine")
