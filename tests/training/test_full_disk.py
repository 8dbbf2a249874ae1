"""A disk that fills up while a run trains: exit code 7, nothing lost, and after space is freed the same run."""

from __future__ import annotations

import errno
import logging
import os
import resource
import shutil
import subprocess
import sys

import pytest
from tests.conftest import tiny

from rnnlab.cli import main
from rnnlab.errors import CannotWriteError
from rnnlab.training import checkpoint
from rnnlab.training.checkpoint import load_training
from rnnlab.training.events import EventLog


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


# --- the same for a user who may not mount: a limit of the kernel, a C library that says that the disk is full --------


@pytest.mark.parametrize(("step", "kept"), [(1, None), (5, 3), (8, 6)])
def test_files_that_may_not_grow_cost_no_checkpoint(lab, tmp_path, differences, step, kept):
    """`ulimit -f`: what is over the limit is refused by the kernel, whoever runs this."""
    config, run = config_of(lab), tmp_path / "run"
    trainer = lab.trainer(run, config)
    make = trainer._step
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def step_and_limit(group):
        if trainer.counters.step == step:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
        return make(group)

    trainer._step = step_and_limit
    try:
        with pytest.raises(CannotWriteError, match="File too large") as caught:
            trainer.fit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.exit_code == 7
    assert not [path.name for path in run.rglob(".*")]
    if kept is not None:
        assert load_training(run / "checkpoints")[1]["counters"]["step"] == kept
        lab.fit(tmp_path / "straight", config)
        lab.resume(run, config)
        assert differences(tmp_path / "straight", run) == []


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static long long written = 0;

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, 4095);
    path[n < 0 ? 0 : n] = 0;
    const char *folder = getenv("SHIM_FOLDER");
    return folder && strncmp(path, folder, strlen(folder)) == 0;
}

ssize_t write(int fd, const void *data, size_t n) {
    static ssize_t (*real)(int, const void *, size_t);
    char path[4096];
    if (!real) real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    if (path_of(fd, path)) {
        long long left = atoll(getenv("SHIM_ROOM")) - written;
        if (left <= 0) { errno = ENOSPC; return -1; }
        if ((long long)n > left) n = left;
    }
    ssize_t done = real(fd, data, n);
    if (done > 0 && path_of(fd, path)) written += done;
    return done;
}

int fsync(int fd) {
    static int (*real)(int);
    char path[4096];
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    const char *bad = getenv("SHIM_BAD");
    if (bad && path_of(fd, path) && strstr(path, bad)) { errno = EIO; return -1; }
    return real(fd);
}

__attribute__((destructor)) static void report(void) {
    FILE *file = getenv("SHIM_REPORT") ? fopen(getenv("SHIM_REPORT"), "w") : NULL;
    if (file) { fprintf(file, "%lld", written); fclose(file); }
}
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """A library that stands before the C library's `write` and `fsync`; skipped where there is no compiler."""
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler, on Linux")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(folder / "shim.so"), str(folder / "shim.c"), "-ldl"]
    subprocess.run(command, check=True)
    return folder / "shim.so"


@pytest.fixture
def on_a_disk(shim, outputs, corpora):
    """Runs a training in a process of its own, on a disk of so many bytes; gives exit code, stderr, bytes written."""

    def run(name, room=1 << 40, bad=None):
        report = outputs.parent / f"{name}.bytes"
        settings = tiny("music", corpora, "trainer.max_steps=9", "trainer.checkpoint_every_steps=3")
        settings += ["trainer.eval_every_steps=3", "model.dropout=0.2", f"name={name}"]
        variables = {"LD_PRELOAD": str(shim), "SHIM_FOLDER": str(outputs), "SHIM_ROOM": str(room)}
        variables |= {"SHIM_REPORT": str(report)} | ({} if bad is None else {"SHIM_BAD": bad})
        command = [sys.executable, "-P", "-m", "rnnlab", "train", *settings]
        done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr, int(report.read_text())

    return run


def test_a_process_on_a_full_or_broken_disk_says_so_and_goes_on_when_it_is_mended(on_a_disk, outputs, differences):
    code, told, total = on_a_disk("straight")
    assert code == 0, told
    ends = {"full": {"room": total * 7 // 10}, "broken": {"bad": "/.tmp-step-00000006"}}
    for name, how in ends.items():
        code, told, _ = on_a_disk(name, **how)
        assert code == 7, told
        line = told.splitlines()[-1]
        assert line.startswith("error: cannot write "), line
        assert ("Input/output error" if name == "broken" else "No space left on device (") in line
        assert "Traceback" not in told
        assert not [path.name for path in (outputs / name).rglob(".*") if path.name not in (".lock", ".hydra")]
        load_training(outputs / name / "checkpoints")
        assert main(["train", f"resume={name}"]) == 0
        assert differences(outputs / "straight", outputs / name) == []


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
    from rnnlab.training import events

    monkeypatch.setattr(events, "MAX_WAITING", 5000)
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
