"""The same sweep through a cluster's queue, with submitit's executor for this machine: configuration only."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnlab.cli import main
from rnnlab.errors import ConfigError
from rnnlab.json_files import read_json
from rnnlab.sweeps.cluster import OnNode, SubmititLauncher, stop_file
from rnnlab.sweeps.jobs import Job


def test_a_job_that_fails_on_the_cluster_costs_one_job(outputs: Path, corpora: dict[str, Path], tmp_path: Path):
    settings = ["task=music", "experiment=smoke", "trainer.max_steps=2", "trainer.num_samples=0"]
    values = f"task.corpus={corpora['music']},{tmp_path / 'missing.abc'}"
    command = ["train", "-m", *settings, values, "name=mine", "hydra/launcher=submitit_local"]
    assert main([*command, "--jobs=2", "hydra.launcher.timeout_min=10"]) == 9
    good, bad = read_json(outputs / "mine" / "sweep.json")["jobs"]
    assert (good["status"], good["exit_code"], good["metric"]) == ("done", 0, "valid/bits_per_char")
    assert (bad["status"], bad["exit_code"]) == ("failed", 3)
    assert "missing.abc" in bad["reason"]
    assert list((outputs / "mine" / "submitit").glob("*_submitted.pkl"))


def test_a_job_that_is_asked_to_stop_before_its_turn_does_not_start(outputs: Path):
    job = Job("a", "a", "a", {}, [], name="mine/0")
    job.log.parent.mkdir(parents=True)
    stop_file(job).touch()
    job.ended(OnNode(job)())
    assert (job.status, job.reason) == ("stopped", "stopped by SIGTERM before its first step")
    assert not job.folder.exists()


def test_a_job_that_loses_its_node_is_queued_again(outputs: Path):
    again = OnNode(Job("a", "a", "a", {}, [], name="mine/0")).checkpoint()
    assert isinstance(again.function, OnNode)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("submitit_local", {"tasks_per_node": 2}, "a job is one process; leave nodes and tasks_per_node at 1"),
        ("submitit_local", {"colour": "red"}, "hydra/launcher=submitit_local: "),
        ("submitit_slurm", {"partition": "gpu"}, "hydra/launcher=submitit_slurm: Could not detect"),
    ],
)
def test_what_the_cluster_does_not_take_is_told(tmp_path: Path, name: str, settings: dict, message: str):
    with pytest.raises(ConfigError) as caught:
        SubmititLauncher(name, settings, tmp_path)
    assert message in str(caught.value)
