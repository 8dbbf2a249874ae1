import errno
import logging
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from rnnlab.data import cache
from rnnlab.data.encoded import Encoded

log = logging.getLogger("rnnlab.data.text")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "encoded"


class Builder:
    """Builds an entry and counts how often."""

    def __init__(self, size=3, warning=None):
        self.size, self.warning, self.count = size, warning, 0

    def __call__(self):
        self.count += 1
        if self.warning:
            log.warning("%s", self.warning)
        return Encoded({"ids": np.arange(self.size, dtype=np.int32)}, {"name": "x"})


def test_a_corpus_is_built_once_and_then_found(folder):
    build = Builder()
    first, second = cache.cached("a-1", build), cache.cached("a-1", build)
    assert build.count == 1
    assert second.arrays["ids"].tolist() == first.arrays["ids"].tolist() == [0, 1, 2]
    assert second.facts == first.facts == {"name": "x"}
    assert [path.name for path, _ in cache.entries()] == ["a-1.safetensors"]
    assert not list(folder.glob("*.part"))


def test_the_key_changes_with_every_part_and_begins_with_the_name():
    parts = {"files": ["a 1", "b 2"], "settings": {"max_len": 400, "truncate": "first"}}
    keys = {
        cache.key_of("~/My texts.txt", changed)
        for changed in (
            parts,
            {**parts, "files": ["b 2", "a 1"]},
            {**parts, "settings": {"max_len": None, "truncate": "first"}},
            {**parts, "restored": None},
        )
    }
    assert len(keys) == 4
    assert cache.key_of("~/My texts.txt", parts) == cache.key_of("~/My texts.txt", dict(reversed(parts.items())))
    assert all(key.startswith("My-texts-") for key in keys)
    assert cache.key_of("???", parts).startswith("corpus-")


def test_off_keeps_nothing_and_leaves_downloads_where_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(cache.CACHE_VARIABLE, cache.OFF)
    build = Builder()
    cache.cached("a-1", build)
    cache.cached("a-1", build)
    assert build.count == 2
    assert cache.entries() == []
    assert list(tmp_path.iterdir()) == []
    monkeypatch.delenv(cache.CACHE_VARIABLE)
    assert cache.cache_folder() == tmp_path / "rnnlab"
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "other"))
    assert cache.encoded_folder() == tmp_path / "other" / "encoded"


def test_a_damaged_entry_is_dropped_with_one_line_and_built_again(folder, caplog):
    build = Builder()
    cache.cached("a-1", build)
    path = folder / "a-1.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    assert cache.cached("a-1", build).arrays["ids"].tolist() == [0, 1, 2]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} is damaged (its header or its length is wrong); encoding the corpus again"
    ]
    caplog.clear()
    cache.cached("a-1", build)
    assert build.count == 2
    assert not caplog.records


def test_warnings_of_reading_are_given_again_when_nothing_is_read(folder, caplog):
    build = Builder(warning="x.txt: removed the byte order mark at the start")
    for _ in range(2):
        caplog.clear()
        cache.cached("a-1", build)
        assert [(r.levelname, r.getMessage()) for r in caplog.records] == [("WARNING", build.warning)]
    assert build.count == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_cannot_take_it_is_one_line(folder, caplog, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cache, "write_whole", refuse)
    assert cache.cached("a-1", Builder()).facts == {"name": "x"}
    assert [record.getMessage() for record in caplog.records] == [
        f"the encoded corpus is not kept: cannot write to {folder}: {os.strerror(number)}; "
        "RNNLAB_CACHE=FOLDER keeps it elsewhere, RNNLAB_CACHE=off nowhere"
    ]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, caplog, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "file"))
    assert cache.cached("a-1", Builder()).facts == {"name": "x"}
    assert len(caplog.records) == 1
    assert f"cannot write to {tmp_path / 'file' / 'encoded'}" in caplog.text


def test_an_entry_that_cannot_be_read_is_built_again(folder, monkeypatch):
    build = Builder()
    cache.cached("a-1", build)

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Encoded, "load", refuse)
    assert cache.cached("a-1", build).facts == {"name": "x"}
    assert build.count == 2


def test_the_folder_is_its_owners_alone(folder):
    cache.cached("a-1", Builder())
    assert folder.stat().st_mode & 0o777 == 0o700


def test_what_changed_while_it_was_read_is_not_kept(folder):
    cache.cached("a-1", Builder(), still_true=lambda: False)
    assert cache.entries() == []


def test_an_error_of_building_is_the_callers_and_leaves_nothing(folder):
    def fail():
        raise ValueError("no such column")

    with pytest.raises(ValueError, match="no such column"):
        cache.cached("a-1", fail)
    assert cache.entries() == []


def test_the_least_recently_used_go_first(folder, monkeypatch):
    for number in range(3):
        cache.cached(f"a-{number}", Builder(size=1000))
        os.utime(folder / f"a-{number}.safetensors", (number, number))
    cache.cached("a-0", Builder())  # used just now
    monkeypatch.setattr(cache, "MAX_BYTES", 3 * 4600)
    cache.cached("a-3", Builder(size=1000))
    assert [path.name[:3] for path, _ in cache.entries()] == ["a-2", "a-0", "a-3"]
    monkeypatch.setattr(cache, "MAX_BYTES", 1)
    cache.cached("a-4", Builder())
    assert [path.name[:3] for path, _ in cache.entries()] == ["a-4"]


def test_what_a_killed_process_left_is_removed_after_an_hour(folder):
    folder.mkdir(parents=True)
    for name, age in ((".old.part", 4000), (".new.part", 10)):
        (folder / name).write_text("")
        os.utime(folder / name, (time.time() - age,) * 2)
    cache.cached("a-1", Builder())
    assert [path.name for path in folder.glob(".*.part")] == [".new.part"]


_ONE_OF_MANY = """
import sys, time
import numpy as np
from rnnlab.data.cache import cached
from rnnlab.data.encoded import Encoded

def build():
    open(sys.argv[1], "a").write("built\\n")
    time.sleep(0.3)
    return Encoded({"ids": np.arange(1000, dtype=np.int32)}, {})

assert cached("a-1", build).arrays["ids"].sum() == 499500
"""


def test_many_processes_at_once_build_once(folder, tmp_path):
    counted = tmp_path / "count"
    command = [sys.executable, "-c", _ONE_OF_MANY, str(counted)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]  # each imports torch
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, errors
    assert counted.read_text() == "built\n"


def test_a_holder_that_stands_still_is_not_waited_for_longer_than_told(folder, monkeypatch):
    monkeypatch.setattr(cache, "WAIT_SECONDS", 0.1)
    build = Builder()
    with cache._one_builder(folder, "a-1"):
        cache.cached("a-1", build)
    assert build.count == 1
