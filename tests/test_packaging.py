"""The wheel and the sdist carry the configs, and the wheel works from an empty folder."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml")}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    # Without isolation: the build backend of the development environment, nothing downloaded.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return folder


def test_the_sdist_carries_configs_and_tests(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {*CONFIGS, "src/rnnlab/cli.py", "README.md", "LICENSE", "constraints.txt"} <= names


def test_the_wheel_carries_the_configs_and_runs_from_an_empty_folder(built, tmp_path):
    (archive,) = built.glob("*.whl")
    with zipfile.ZipFile(archive) as wheel:
        names = set(wheel.namelist())
        wheel.extractall(tmp_path / "site")
    assert {f"rnnlab/{name}" for name in CONFIGS} | {"rnnlab/py.typed"} <= names
    empty = tmp_path / "empty"
    empty.mkdir()
    program = "import rnnlab, sys; print(rnnlab.__file__); from rnnlab.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "train", "experiment=smoke", "model=gru", "--cfg", "job"],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "site") in done.stdout
    assert "cell: gru" in done.stdout
    assert not list(empty.iterdir())
