"""A run folder from somebody else: it is data. It runs no code, reads no environment, and leads nowhere else."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnnlab.cli import main
from rnnlab.commands import _launch
from rnnlab.json_files import read_json, write_json

CONFIG, DATA, CHECKPOINT = 2, 3, 4
SECRET = "hush-5e07"
USES = (["generate", "run=music", "length=3"], ["evaluate", "run=music"], ["train", "resume=music"])
Refuse = Callable[[list[str]], str]


@pytest.fixture
def refuse(capsys: pytest.CaptureFixture[str]) -> Refuse:
    """Run a command line that must end with exit code 4: its one line."""

    def run(argv: list[str]) -> str:
        capsys.readouterr()
        code = main(argv)
        told = capsys.readouterr()
        assert code == CHECKPOINT, told.err
        assert "Traceback" not in told.err
        assert told.err.splitlines()[-1].startswith("error: ")
        return told.err.splitlines()[-1]

    return run


# --- links ------------------------------------------------------------------------------------------------------------

LINKS = (".lock", "rnnlab.log", "result.json", "run.json", "vocabulary.json", "samples", "checkpoints", "profile")


@pytest.mark.parametrize("name", [*LINKS, "checkpoints/best", "checkpoints/last/model.safetensors"])
def test_a_link_out_of_the_folder_is_not_followed(name: str, finished: Path, tmp_path: Path, refuse: Refuse):
    path = finished / "music" / name
    victim = tmp_path / "victim"
    if path.is_dir():
        shutil.copytree(path, victim)
        path.unlink() if path.is_symlink() else shutil.rmtree(path)
    elif path.exists():
        path.rename(victim)
    else:
        victim.write_text("precious")
    path.symlink_to(victim)
    before = {file: file.read_bytes() for file in [victim, *victim.rglob("*")] if file.is_file()}
    for argv in USES:
        assert "is a link, and could lead anywhere" in refuse(argv)
    assert {file: file.read_bytes() for file in [victim, *victim.rglob("*")] if file.is_file()} == before


@pytest.mark.parametrize("name", ["vocabulary.json", "checkpoints/pipe", ".lock"])
def test_a_pipe_is_not_waited_for(name: str, finished: Path, refuse: Refuse):
    path = finished / "music" / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    for argv in USES:
        assert "is a pipe or a device" in refuse(argv)


def test_links_between_checkpoints_are_ours(finished: Path):
    assert (finished / "music/checkpoints/best").is_symlink()
    assert main(["generate", "run=music", "length=3"]) == 0


# --- settings ---------------------------------------------------------------------------------------------------------


def changed(run: Path, path: str, value: Any) -> None:
    """Set one value in a run's run.json; sections on the way are made."""
    content = read_json(run / "run.json")
    *sections, last = path.split(".")
    inside = content
    for section in sections:
        inside = inside.setdefault(section, {})
    inside[last] = value
    write_json(run / "run.json", content)


CODE = {
    "config.model._target_": "trap.spring",
    "config._target_": "trap.spring",
    "config.hydra.callbacks.x._target_": "trap.Trap",
    "config.hydra.job_logging.handlers.x.class": "trap.Trap",
    "config.task.name": "trap.spring",
    "config.optimizer.name": "trap.spring",
    "config.scheduler.name": "../../trap",
    "config.model.cell": "trap.spring",
    "config.model.backend": "trap.spring",
    "config.trainer.device": "trap:0",
    "config.model.hidden_size": "${oc.env:TOKEN}",
    "config.model.cutoffs": ["${oc.env:TOKEN}"],
    "config.trainer.max_steps": {"_target_": "trap.spring"},
    "config.seed": "!!python/name:trap.spring",
    "format": "trap.spring",
}


@pytest.mark.parametrize("path", CODE)
def test_no_setting_of_it_names_code_or_reads_the_environment(
    path: str, finished: Path, refuse: Refuse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    marker = tmp_path / "marker"
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/trap.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).write_text('ran')\n")
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.setenv("TOKEN", SECRET)
    changed(finished / "music", path, CODE[path])
    for argv in USES:
        line = refuse(argv)
        assert SECRET not in line
        assert len(line) < 1100
    assert not marker.exists()


ODD = ["a\0b", "x" * 5000, "\x1b]0;owned\x07", "${oc.env:TOKEN}", "/dev/stdin", ".", "movie-reviews", -1, [], {}, None]


@pytest.mark.parametrize("value", ODD, ids=lambda value: ascii(value)[:20])
def test_the_corpus_it_names_is_only_looked_for(
    value: Any, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("TOKEN", SECRET)
    changed(finished / "music", "config.task.corpus", value)
    capsys.readouterr()
    assert main(["evaluate", "run=music"]) in (DATA, CHECKPOINT)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert SECRET not in line
    assert line.isprintable()
    assert len(line) < 1100


def test_what_it_was_asked_in_yaml_is_never_read(finished: Path):
    for name in ("config.yaml", "overrides.yaml", "hydra.yaml"):
        (finished / "music/.hydra" / name).write_text("a: &a [1]\nb: *a\nc: !!python/object/apply:os.abort []\n")
    assert main(["generate", "run=music", "length=3"]) == 0
    assert main(["runs", "--json"]) == 0
    assert main(["train", "resume=music", "trainer.max_steps=5", "trainer.max_epochs=9"]) == 0


def test_a_file_of_json_that_fills_the_memory_is_refused_by_its_size(finished: Path, refuse: Refuse):
    os.truncate(finished / "music/vocabulary.json", 300 << 20)  # a hole: takes no room on the disk
    for argv in USES:
        assert "vocabulary.json has 314,572,800 bytes, at most 268,435,456 are read" in refuse(argv)


LARGE = {"model.hidden_size": 65_536, "model.num_layers": 64, "model.embedding_size": 65_536}


def test_a_model_larger_than_its_checkpoints_is_refused_before_it_is_built(finished: Path, refuse: Refuse):
    """68 GB for each of 64 layers, which a machine may well promise and not have."""
    for key, value in LARGE.items():
        changed(finished / "music", f"config.{key}", value)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for argv in USES:
        line = refuse(argv)
        assert "run.json describes a model of " in line
        assert re.search(r"but its checkpoints hold \d,\d{3}: it is damaged or of another run", line)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB
    assert grown < 200 << 10


def test_a_crowd_of_processes_is_not_started_because_run_json_says_so(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    changed(finished / "music", "config.trainer.devices", 1024)
    changed(finished / "music", "config.trainer.batch_size", 1024)
    monkeypatch.setattr(_launch.subprocess, "Popen", lambda *arguments, **keywords: pytest.fail("one was started"))
    assert main(["train", "resume=music"]) == CONFIG
    line = capsys.readouterr().err.splitlines()[-1]
    assert "resume=music asks for 1024 processes" in line
    assert line.endswith("to start them, say trainer.devices=1024")


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_nothing_of_the_environment_gets_into_a_run(train, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setenv("API_TOKEN", SECRET)
    folder = train("music")
    train("music", "task.corpus=${oc.env:API_TOKEN}", name="refused", exit_code=CONFIG)
    assert main(["generate", "run=run", "length=3"]) == 0
    files = [path for path in folder.parent.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    told = capsys.readouterr()
    assert SECRET not in told.out + told.err
    assert "environ" not in json.dumps(read_json(folder / "run.json"))
