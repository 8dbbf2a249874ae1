"""metrics.jsonl: lines that any program reads, cut back to the checkpoint that a run goes on from."""

import errno
import json
import logging
import math
import os

import pytest

from rnnlab.errors import CannotWriteError
from rnnlab.training import metrics
from rnnlab.training.metrics import MetricsFile


def write(folder, steps, size=0):
    file = MetricsFile(folder, size)
    for step in steps:
        file.write(step, step / 10, {"train/loss": 1 / step})
    kept = file.size()
    file.close()
    return kept


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_each_log_point_is_a_line_whose_numbers_read_back_to_the_same_bits(tmp_path):
    size = write(tmp_path, [3, 7])
    assert lines(tmp_path) == [
        {"step": 3, "epoch": 0.3, "train/loss": 1 / 3},
        {"step": 7, "epoch": 0.7, "train/loss": 1 / 7},
    ]
    assert size == (tmp_path / "metrics.jsonl").stat().st_size


def test_what_is_not_finite_is_null_as_json_has_no_word_for_it(tmp_path):
    file = MetricsFile(tmp_path)
    file.write(1, 1.0, {"a": math.nan, "b": -math.inf, "c": 1e-310})
    file.close()
    assert lines(tmp_path) == [{"step": 1, "epoch": 1.0, "a": None, "b": None, "c": 1e-310}]


def test_a_resumed_file_is_cut_where_the_checkpoint_was_made(tmp_path):
    size = write(tmp_path, [1, 2])
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 3, "epo')  # a kill in the middle of a line
    write(tmp_path, [3, 4], size)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]


def test_a_run_that_begins_again_keeps_no_line(tmp_path):
    write(tmp_path, [1, 2])
    write(tmp_path, [1])
    assert [line["step"] for line in lines(tmp_path)] == [1]


def test_lines_are_in_the_file_when_they_are_written_and_on_the_disk_when_their_size_is_asked(tmp_path, monkeypatch):
    synced = []
    file = MetricsFile(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    file.write(1, 0.1, {"a": 1.0})
    assert len(lines(tmp_path)) == 1
    assert synced == []
    file.size()
    assert synced == [str(tmp_path / "metrics.jsonl")]
    file.close()


def test_a_full_disk_is_told_with_the_file(tmp_path, monkeypatch):
    file = MetricsFile(tmp_path)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    told = r"cannot write .*metrics.jsonl: No space left on device \([\d,]+ bytes free\)"
    with pytest.raises(CannotWriteError, match=told):
        file.size()
    file.close()


class Full:
    """A file on a disk that takes so many bytes more."""

    def __init__(self, file, free):
        self._file, self.free = file, free

    def write(self, data):
        if not self.free:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = min(self.free, len(data))
        self.free -= count
        return self._file.write(data[:count])

    def __getattr__(self, name):
        return getattr(self._file, name)


def test_lines_that_a_full_disk_does_not_take_wait_whole(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("rnnlab"), "propagate", True)
    file = MetricsFile(tmp_path)
    file.write(1, 0.1, {"a": 1.0})
    file._file = disk = Full(file._file, free=10)  # a part of the next line fits
    with caplog.at_level(logging.WARNING, "rnnlab"):
        for step in (2, 3):
            file.write(step, 0.1, {"a": 1.0})
    assert [line["step"] for line in lines(tmp_path)] == [1], "no half of a line"
    assert len(caplog.records) == 1
    assert "training goes on, and the next checkpoint tries again" in caplog.text
    with pytest.raises(CannotWriteError):
        file.size()  # no checkpoint without its lines
    disk.free = 1 << 20
    file.write(4, 0.1, {"a": 1.0})
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]
    assert file.size() == (tmp_path / "metrics.jsonl").stat().st_size
    file.close()


def test_lines_do_not_wait_in_memory_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "MAX_WAITING", 100)
    file = MetricsFile(tmp_path)
    file._file = Full(file._file, free=0)
    file.write(1, 0.1, {"a": 1.0})
    with pytest.raises(CannotWriteError):
        for step in range(2, 9):
            file.write(step, 0.1, {"a": 1.0})
    file.close()
