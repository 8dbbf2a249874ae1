from __future__ import annotations

import copy
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from rnnlab.commandline.compose import compose_request, read_arguments
from rnnlab.errors import FolderInUseError
from rnnlab.json_files import read_json
from rnnlab.run_lock import lock_run
from rnnlab.sweeps.jobs import corpus_hash, identify, job_name, restored

from .conftest import MakeJob, run


def config(*argv: str) -> dict[str, Any]:
    return compose_request(read_arguments("train", ["task=music", *argv])).config


def test_a_job_is_what_it_computes():
    base = config("optimizer.lr=0.001")
    assert identify(config("optimizer.lr=1e-3")) == identify(base), "the same number in other words"
    others = ["name=x", "trainer.threads=3", "trainer.device=cpu", "trainer.num_samples=0", "trainer.profile=true"]
    assert identify(config("optimizer.lr=1e-3", *others)) == identify(base), "these change no result"
    for other in ("optimizer.lr=2e-3", "model.hidden_size=7", "trainer.max_epochs=3", "task.corpus=other"):
        assert identify(config(other))[0] != identify(base)[0]


def test_a_seed_changes_the_job_and_not_its_configuration():
    (first, configuration, data), (second, same, too) = (identify(config(f"seed={seed}")) for seed in (0, 1))
    assert first != second
    assert (configuration, data) == (same, too)


def test_a_task_without_a_corpus_does_not_depend_on_the_folder_it_is_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    drawn = compose_request(read_arguments("train", ["task=adding"])).config
    before = identify(drawn)
    (tmp_path / "outputs.txt").write_text("as a run writes them")
    corpus_hash.cache_clear()
    assert identify(drawn) == before


def test_a_corpus_is_known_by_its_content(tmp_path: Path):
    file = tmp_path / "tunes.abc"
    file.write_text("X:1\n")
    own = config(f"task.corpus={file}")
    before = identify(own)
    assert corpus_hash(str(file)) is not None
    assert corpus_hash("trad-tunes") is None, "a named corpus: its name says what it holds"
    file.write_text("X:2\n")
    corpus_hash.cache_clear()
    after = identify(copy.deepcopy(own))
    assert all(new != old for new, old in zip(after, before, strict=True))


def test_a_folder_is_hashed_with_the_names_of_its_files(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/train.txt").write_text("one")
    before = corpus_hash(str(tmp_path / "a"))
    (tmp_path / "a/train.txt").rename(tmp_path / "a/valid.txt")
    corpus_hash.cache_clear()
    assert corpus_hash(str(tmp_path / "a")) != before


def test_a_job_starts_then_resumes_from_its_checkpoint(make_job: MakeJob):
    job = make_job("0-a", seed="1")
    job.threads = 2
    assert job.command()[4:] == ["train", "seed=1", "trainer.threads=2", "name=s/0-a"]
    run(job, "running")
    (job.folder / "checkpoints/step-00000004").mkdir(parents=True)
    assert job.command()[4:] == ["train", "resume=s/0-a", "trainer.threads=2"]


def test_a_run_without_a_checkpoint_is_made_anew_unless_a_process_is_at_it(make_job: MakeJob):
    job = make_job("0-a", seed="1")
    run(job, "running")
    with lock_run(job.folder), pytest.raises(FolderInUseError, match=f"in use by process {os.getpid()}"):
        job.command()
    assert job.folder.is_dir()
    assert job.command()[-1] == "name=s/0-a"
    assert not job.folder.exists()


@pytest.mark.parametrize(
    ("code", "log", "status", "exit_code", "reason"),
    [
        (0, "done", "done", 0, None),
        (5, "error: loss is nan at step 3\n", "diverged", 5, "loss is nan at step 3"),
        (6, "x\nerror: out of memory; lower trainer.batch_size\n\n", "failed", 6, "out of memory; lower trainer."),
        (1, "Traceback (most recent call last):\n  x\nRuntimeError: boom\n", "failed", 1, "RuntimeError: boom"),
        (3, "", "failed", 3, "exit code 3"),
        (143, "error: stopped by SIGTERM at step 4, state saved", "stopped", 143, "stopped by SIGTERM at step 4"),
        (-signal.SIGTERM, "", "stopped", 143, "stopped by SIGTERM before its first step"),
        (-signal.SIGKILL, "step 3", "killed", 137, "killed by SIGKILL; the system does that when memory runs out"),
        (-signal.SIGSEGV, "", "killed", 139, "killed by SIGSEGV"),
    ],
)
def test_how_a_job_ended_is_told_with_its_reason(make_job: MakeJob, code, log, status, exit_code, reason):
    job = make_job("0-a")
    job.log.parent.mkdir()
    job.log.write_text(log)
    job.ended(code)
    assert (job.status, job.exit_code) == (status, exit_code)
    assert job.reason == reason or (reason and (job.reason or "").startswith(reason))


def test_what_is_saved_of_a_job_gives_it_back(make_job: MakeJob, tmp_path: Path):
    job = make_job("0-a", 0.5, seed="1")
    again = restored(job.saved())
    assert again.saved() == job.saved()
    assert again.score() == ("valid/loss", 0.5)
    assert again.score("test") == ("test/loss", 1.5)
    assert read_json(job.folder / "result.json")["steps"] == 1


def test_a_jobs_name_says_what_is_its_own_and_fits_any_file_system():
    assert job_name(0, {"model": "lstm", "optimizer.lr": "0.001"}) == "0-lstm-lr=0.001"
    assert job_name(3, {"task.corpus": "'/a b/c:d'"}) == "3-corpus=_a_b_c_d_"
    assert job_name(2, {}) == "2"
    assert len(job_name(1, {"task.corpus": "x" * 500})) < 100
