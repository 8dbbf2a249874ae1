"""Which run a name or a path stands for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rnnlab.cli import main
from rnnlab.errors import CheckpointError
from rnnlab.run_lookup import find_run

pytestmark = pytest.mark.usefixtures("outputs")


def test_a_home_folder_that_there_is_not_is_no_run():
    with pytest.raises(CheckpointError, match="no run '~nobody-of-that-name/run'"):
        find_run("~nobody-of-that-name/run")


def test_a_run_is_found_by_name_and_by_path(outputs: Path, make_run):
    folder = make_run("sweep-1/0-lstm")
    assert find_run("sweep-1/0-lstm") == folder
    assert find_run("sweep-1/0-lstm/") == folder
    assert find_run(str(folder)) == folder


def test_a_link_that_a_training_run_puts_elsewhere_meanwhile_is_no_error(make_run, monkeypatch: pytest.MonkeyPatch):
    folder = make_run("mine")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints/.tmp-last-7").symlink_to("step-00000001")

    def gone(path: object) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(os, "readlink", gone)
    assert find_run("mine") == folder


def test_a_run_that_is_not_there_comes_with_a_close_match(make_run):
    make_run("music-lstm")
    with pytest.raises(CheckpointError, match=r"no run 'musik-lstm'; did you mean music-lstm\? rnnlab runs") as caught:
        find_run("musik-lstm")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("name", ["", "x" * 5000, "a\0b"])
def test_odd_names_of_runs_are_not_found_rather_than_crashing(name: str):
    with pytest.raises(CheckpointError, match="there are no runs"):
        find_run(name)


def test_what_a_start_left_is_told_with_what_removes_it(outputs: Path, tmp_path: Path):
    for folder in (outputs / "a b", tmp_path / "copy"):
        (folder / ".hydra").mkdir(parents=True)
        (folder / ".hydra" / "config.yaml").touch()
        assert find_run(str(folder), has_begun=False) == folder
    with pytest.raises(CheckpointError, match=r"a b has no run.json: a start died there.* rnnlab rm 'a b' removes it"):
        find_run("a b")
    with pytest.raises(CheckpointError, match=r"copy has no run.json: .* not copied whole; copy it anew"):
        find_run(str(tmp_path / "copy"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sweep/1-gru/checkpoints", r"checkpoints lies inside the run 'sweep/1-gru'; name that"),
        ("sweep", r"sweep is no run but holds 2; name one of them, such as sweep/0-lstm"),
        (".", r"is no run but holds 3; name one of them, such as mine"),
        ("mein", r"mein is a folder but no run: it has no run.json; did you mean mine\? rnnlab runs lists them"),
        ("else", r"else is a folder but no run: it has no run.json; rnnlab runs lists them"),
    ],
)
def test_a_folder_that_is_no_run_is_told_with_what_may_be_meant(make_run, outputs: Path, name: str, message: str):
    for run in ("mine", "sweep/0-lstm", "sweep/1-gru"):
        make_run(run)
    for folder in ("sweep/1-gru/checkpoints", "mein", "else"):
        (outputs / folder).mkdir()
    with pytest.raises(CheckpointError, match=message):
        find_run(name)
    with pytest.raises(CheckpointError, match=message):
        find_run(str(outputs / name))


def test_each_verb_says_of_a_folder_without_run_json_what_it_is_and_rm_removes_it(outputs: Path, capsys):
    (outputs / "dead" / ".hydra").mkdir(parents=True)
    (outputs / "dead" / ".hydra" / "config.yaml").touch()
    for argv in (["show", "dead"], ["evaluate", "run=dead"], ["diagnose", "dead"], ["report", "dead"]):
        assert main(argv) == 4
        assert "dead has no run.json" in capsys.readouterr().err
    assert main(["rm", "dead", "--yes"]) == 0
    assert not (outputs / "dead").exists()
