"""A disk that fills up while a run trains: exit code 7, nothing lost, and after space is freed the same run."""

from __future__ import annotations

import errno
import logging
import os
import subprocess

import pytest

from rnnlab.errors import CannotWriteError
from rnnlab.training import checkpoint
from rnnlab.training.checkpoint import load_training
from rnnlab.training.logs import EventLog


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of a megabyte; skipped where this user may not mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place, left=0):
    """Leave so many bytes free."""
    size = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize - left
    with (place / "ballast").open("wb") as file:
        file.write(b"x" * max(0, size))


def config_of(lab):
    return lab.config(max_steps=10, checkpoint_every_steps=3, eval_every_steps=3, num_samples=0, log_every_steps=1)


@pytest.mark.parametrize(("step", "kept"), [(1, None), (5, 3), (8, 6)])
@pytest.mark.parametrize("is_foreseen", [True, False])
def test_a_disk_that_fills_up_costs_no_checkpoint(
    lab, tmp_path, small_disk, differences, monkeypatch, step, kept, is_foreseen
):
    config, run = config_of(lab), small_disk / "run"
    trainer = lab.trainer(run, config)
    make = trainer._step
    trainer._step = lambda group: (
        make(group) if trainer.counters.step != step else (fill(small_disk, 8192), make(group))[1]
    )
    with monkeypatch.context() as patch:
        if not is_foreseen:
            patch.setattr(checkpoint, "check_space", lambda *arguments: None)
        with pytest.raises(CannotWriteError) as caught:
            trainer.fit()
    assert caught.value.exit_code == 7
    assert str(run / "checkpoints") in str(caught.value)
    assert ("bytes are free" if is_foreseen else "No space left on device (") in str(caught.value)
    assert not [path.name for path in run.rglob(".*")]
    (small_disk / "ballast").unlink()
    if kept is not None:
        assert load_training(run / "checkpoints")[1]["counters"]["step"] == kept
        lab.fit(tmp_path / "straight", config)
        lab.resume(run, config)
        assert differences(tmp_path / "straight", run) == []


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EDQUOT])
def test_any_error_of_a_disk_is_told_by_its_name(lab, tmp_path, monkeypatch, number):
    trainer = lab.trainer(tmp_path, config_of(lab))

    def refuse(descriptor):
        if "/.tmp-step-00000006" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(checkpoint.os, "fsync", refuse)
    with pytest.raises(CannotWriteError, match=rf"cannot write .*: {os.strerror(number)}"):
        trainer.fit()
    assert load_training(tmp_path / "checkpoints")[1]["counters"]["step"] == 3


def test_a_log_that_cannot_be_written_ends_no_run_and_is_made_up_for(
    lab, tmp_path, differences, scalars, monkeypatch, caplog
):
    monkeypatch.setattr(logging.getLogger("rnnlab"), "propagate", True)
    config = config_of(lab)
    lab.fit(tmp_path / "straight", config)
    trainer, append = lab.trainer(tmp_path / "run", config), EventLog._append

    def refuse(self, content):
        if 1 < trainer.counters.step < 7:
            self._file.write(content[: len(content) // 2])  # a part of it still fits
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, content)

    monkeypatch.setattr(EventLog, "_append", refuse)
    with caplog.at_level(logging.WARNING, "rnnlab"):
        trainer.fit()
    warned = {id(record): record for record in caplog.records if record.levelno == logging.WARNING}
    told = [record.getMessage() for record in warned.values()]
    assert len(told) == 1
    assert "cannot write TensorBoard events in" in told[0]
    assert "training goes on, and each checkpoint tries again" in told[0]
    assert trainer.counters.step == 10
    assert scalars(tmp_path / "run") == scalars(tmp_path / "straight"), "what waited was written when it could be"


def test_events_do_not_wait_in_memory_without_end(tmp_path, monkeypatch):
    from rnnlab.training import logs

    monkeypatch.setattr(logs, "MAX_WAITING", 5000)
    log = EventLog(tmp_path)

    def refuse(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "_append", refuse)
        for step in range(1000):
            log.scalars({"a": 1.0}, step)
        before = log.offsets()
    assert log._waiting.tell() < 6000
    log.scalars({"a": 1.0}, 1000)
    assert sum(log.offsets().values()) > sum(before.values())
    log.close()
