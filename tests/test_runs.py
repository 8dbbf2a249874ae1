"""Run folders: exclusive and findable."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from rnnlab import runs
from rnnlab.errors import CannotWriteError, ConfigError, FolderInUseError
from rnnlab.run_lock import lock_run

pytestmark = pytest.mark.usefixtures("outputs")


def test_outputs_lie_in_the_current_folder_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RNNLAB_OUTPUTS")
    assert runs.outputs_root() == Path("outputs")
    monkeypatch.setenv("RNNLAB_OUTPUTS", "/elsewhere")
    assert runs.outputs_root() == Path("/elsewhere")


def test_a_home_folder_that_there_is_not_is_a_folder_of_that_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RNNLAB_OUTPUTS", "~/runs")
    assert runs.outputs_root() == Path.home() / "runs"
    monkeypatch.setenv("RNNLAB_OUTPUTS", "~nobody-of-that-name/runs")
    assert runs.outputs_root() == Path("~nobody-of-that-name/runs")


def test_folders_that_are_not_utf8_are_refused_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RNNLAB_OUTPUTS", str(tmp_path / "\udcff"))
    for refuse in (runs.check_free, lambda name: runs.create_run(name, exact=False)):
        with pytest.raises(ConfigError, match="is not UTF-8; work in another folder, or set RNNLAB_OUTPUTS"):
            refuse("music-lstm")
    assert not list(tmp_path.iterdir())


def test_a_default_name_that_is_taken_gets_the_next_number(outputs: Path):
    made = [runs.create_run("music-lstm", exact=False) for _ in range(3)]
    assert [folder.name for folder in made] == ["music-lstm", "music-lstm-2", "music-lstm-3"]
    assert all(list(folder.iterdir()) == [] for folder in made), "the write probe is taken away again"


def test_a_name_of_the_users_that_is_taken_is_refused_and_points_to_resume():
    runs.create_run("mine", exact=True)
    with pytest.raises(FolderInUseError, match=r"there is a run 'mine' .* resume=mine") as caught:
        runs.create_run("mine", exact=True)
    assert caught.value.exit_code == 8


def test_a_new_run_is_its_process_s_alone(outputs: Path):
    with runs.begin_run("mine", exact=True) as folder:
        assert folder == outputs / "mine"
        with pytest.raises(FolderInUseError, match=f"in use by process {os.getpid()}"), lock_run(folder):
            pass


def test_what_a_start_left_that_died_before_its_run_json_is_taken_over(outputs: Path):
    left = runs.create_run("mine", exact=True)
    runs.check_free("mine")
    with runs.begin_run("mine", exact=True):
        pass
    (left / ".hydra").mkdir()
    for name in ("vocabulary.json", "rnnlab.log", ".run.json.1234.tmp"):
        (left / name).write_text("half")
    runs.check_free("mine")
    with runs.begin_run("mine", exact=True) as folder:
        assert folder == left
        assert not (left / ".run.json.1234.tmp").exists()


@pytest.mark.parametrize("name", ["run.json", "notes.txt"])
def test_a_folder_that_holds_a_run_or_anything_else_is_never_taken_over(outputs: Path, name: str):
    (runs.create_run("mine", exact=True) / name).write_text("{}")
    with pytest.raises(FolderInUseError):
        runs.check_free("mine")
    with pytest.raises(FolderInUseError), runs.begin_run("mine", exact=True):
        pass
    assert [path.name for path in (outputs / "mine").iterdir()] == [name]
    with runs.begin_run("mine", exact=False) as folder:
        assert folder == outputs / "mine-2"


def test_who_gets_the_lock_after_another_has_begun_does_not_write_over_it(outputs: Path, monkeypatch):
    """Two processes find the same empty folder; the slower one locks it when the quicker one is done."""
    folder = runs.create_run("mine", exact=True)
    lock = lock_run

    def slow(path: Path):
        (folder / "run.json").write_text("{}")
        return lock(path)

    monkeypatch.setattr(runs, "lock_run", slow)
    with pytest.raises(FolderInUseError, match="there is a run 'mine'"), runs.begin_run("mine", exact=True):
        pass


def test_a_name_with_slashes_makes_folders(outputs: Path):
    assert runs.create_run("sweep-1/0-lstm", exact=True) == outputs / "sweep-1" / "0-lstm"


@pytest.mark.parametrize(
    "name",
    [
        "/absolute",
        "~/home",
        "C:\\x",
        "..",
        "a/../b",
        "a//b",
        "a/",
        ".hidden",
        "a\nb",
        "a\x1b[0m",
        " a",
        "",
        "x" * 201,
        "ä" * 101,
    ],
)
def test_names_that_leave_outputs_or_that_no_file_system_takes_are_refused(name: str, outputs: Path):
    with pytest.raises(ConfigError, match="name"):
        runs.create_run(name, exact=True)
    assert not outputs.exists(), "nothing was made"


def test_a_run_inside_another_run_is_refused(make_run):
    make_run("mine")
    with pytest.raises(ConfigError, match="inside the run 'mine'"):
        runs.create_run("mine/checkpoints/x", exact=False)


def test_outputs_that_is_a_file_cannot_be_written_to(outputs: Path):
    outputs.write_text("")
    with pytest.raises(CannotWriteError, match=r"outputs is no folder.*; set RNNLAB_OUTPUTS") as caught:
        runs.create_run("x", exact=True)
    assert caught.value.exit_code == 7


def test_a_full_disk_is_noticed_before_training_starts(monkeypatch: pytest.MonkeyPatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CannotWriteError, match="No space left on device"):
        runs.create_run("x", exact=True)
