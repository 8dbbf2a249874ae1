"""Files that are somebody else's, and disks that are full."""

from __future__ import annotations

import errno
import os
import subprocess

import pytest

from rnnlab import disk
from rnnlab.cli import main
from rnnlab.disk import cannot_write, check_space, free_bytes, probe, read_bytes
from rnnlab.errors import CannotWriteError
from rnnlab.training.console import log_to


def test_a_file_is_read_up_to_its_limit_and_not_beyond(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bytes(path, 5) == b"12345"
    with pytest.raises(ValueError, match="file has 5 bytes, at most 4 are read"):
        read_bytes(path, 4)
    (tmp_path / "link").symlink_to(path)
    assert read_bytes(tmp_path / "link", 5) == b"12345"
    with pytest.raises(ValueError, match="link is a symbolic link"):
        read_bytes(tmp_path / "link", 5, follow=False)
    for make in (os.mkfifo, os.mkdir):
        make(tmp_path / make.__name__)
        with pytest.raises(ValueError, match="no regular file"):
            read_bytes(tmp_path / make.__name__, 5)
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "nothing", 5)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_for_want_of_space_the_free_bytes_are_told(tmp_path, monkeypatch, number):
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 4096 if folder == tmp_path else None)
    error = OSError(number, os.strerror(number))
    message = f"cannot write checkpoint {tmp_path / 'a/b'}: {os.strerror(number)} (4,096 bytes free)"
    assert str(cannot_write(tmp_path / "a/b", error, "checkpoint")) == message
    error = OSError(errno.EIO, "Input/output error")
    assert str(cannot_write(tmp_path, error)) == f"cannot write {tmp_path}: Input/output error"


def test_a_probe_leaves_nothing(tmp_path, monkeypatch):
    probe(tmp_path)
    assert not list(tmp_path.iterdir())

    def refuse(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(CannotWriteError, match="cannot write to .*: Input/output error"):
        probe(tmp_path)
    assert not list(tmp_path.iterdir())


def test_twice_the_size_must_be_free(tmp_path, monkeypatch):
    free = free_bytes(tmp_path)
    assert free is not None
    assert free > 0
    assert free_bytes(tmp_path / "nothing") is None
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 1999)
    check_space(tmp_path, 999, "x")
    with pytest.raises(CannotWriteError, match="cannot write x: 1,999 bytes are free, wanted 2,000, twice its size"):
        check_space(tmp_path, 1000, "x")
    monkeypatch.setattr(disk, "free_bytes", lambda folder: None)
    check_space(tmp_path, 10**15, "x")


# --- through the command line -----------------------------------------------------------------------------------------


@pytest.fixture
def mounted(tmp_path):
    """Mount a tmpfs of so many bytes; skipped where this user may not."""
    places = []

    def mount(size: int, name: str = "disk"):
        place = tmp_path / name
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True, check=False
        )
        if done.returncode != 0:
            pytest.skip("only root can mount a small disk")
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.run(["umount", "-l", str(place)], check=True)


def failed(capsys) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def test_a_disk_too_small_for_a_checkpoint_is_told_before_training(mounted, monkeypatch, train, capsys):
    place = mounted(64 << 10)
    monkeypatch.setenv("RNNLAB_OUTPUTS", str(place / "outputs"))
    train("music", "model.hidden_size=64", exit_code=7)
    told = failed(capsys)
    assert "bytes are free, wanted" in told or "No space left on device" in told
    assert not list(place.rglob("*.tmp")) + list(place.rglob(".tmp*")) + list(place.rglob(".probe"))


def test_a_read_only_disk_is_told_before_training(mounted, monkeypatch, train, capsys):
    place = mounted(8 << 20)
    monkeypatch.setenv("RNNLAB_OUTPUTS", str(place / "outputs"))
    train("music", "trainer.max_steps=2")
    log_to(None)  # the file of the run is open for writing until then
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    capsys.readouterr()
    train("music", name="another", exit_code=7)
    assert f"cannot write to {place}/outputs/another: Read-only file system" in failed(capsys)
    assert main(["train", "resume=run", "trainer.max_steps=3"]) == 7
    assert "Read-only file system" in failed(capsys)
    assert main(["evaluate", "run=run", "split=valid"]) == 0, "a run on it can be used"


@pytest.mark.parametrize("where", ["a file", "two\nlines"])
def test_a_place_that_takes_no_folder_is_told_in_one_line(where, tmp_path, monkeypatch, corpora, capsys):
    (tmp_path / where).write_text("")
    monkeypatch.setenv("RNNLAB_OUTPUTS", str(tmp_path / where / "outputs"))
    assert main(["train", "task=music", f"task.corpus={corpora['music']}", "name=run"]) == 7
    shown = where.replace("\n", "\\n")
    assert f"cannot write to {tmp_path / shown}/outputs/run: Not a directory" in failed(capsys)


def test_a_name_with_spaces_and_letters_of_any_language_is_a_runs_name(train, outputs):
    name = "zwölf Füchse и лиса"
    run = train("music", "trainer.max_steps=1", name=name)
    assert run.is_dir()
    assert main(["train", f"resume={name}", "trainer.max_steps=2"]) == 0


@pytest.mark.parametrize("name", ["n" * 300, "a\nb", "a\tb", "a\0b"], ids=["long", "newline", "tab", "nul"])
def test_a_name_that_is_no_name_is_a_wrong_setting(name, outputs, capsys):
    assert main(["train", "task=music", f"name={name}"]) == 2
    failed(capsys)
    assert not outputs.exists()
