"""A sweep's command line: what varies, what is refused before the first job."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnlab.commandline import sweep_request
from rnnlab.commandline.compose import read_arguments
from rnnlab.commandline.sweep_request import SweepRequest, read_sweep
from rnnlab.errors import ConfigError

SEARCH = "hydra/sweeper=optuna"
PARTITION = """\
defaults: [{override /hydra/launcher: submitit_slurm}]
hydra: {launcher: {partition: "a\\ntouch /tmp/x"}}
"""


def request(*argv: str) -> SweepRequest:
    return read_sweep(read_arguments("train", ["-m", *argv]))


def test_what_varies_is_told_from_what_is_shared():
    asked = request("model=rnn,lstm", "optimizer.lr=1e-3,3e-3", "seed=range(2)", "task=music")
    assert list(asked.varied) == ["model", "optimizer.lr", "seed"]
    assert asked.fixed == {"task": "music"}
    assert asked.launcher == "basic"
    assert asked.search is None
    settings = asked.compose({"model": "rnn", "optimizer.lr": "3e-3", "seed": "1"}).settings
    assert (settings.model.cell.value, settings.optimizer.lr, settings.seed) == ("rnn", 0.003, 1)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["model=rnn,lstmm"], "model has no choice 'lstmm'"),
        (["trainer.batch_size=8,x"], "trainer.batch_size must be a whole number, got 'x'"),
        (["trainer.batch_size=8,0"], "trainer.batch_size must be at least 1, got 0"),
        (["task=music", "model.bidirectional=false,true"], "model.bidirectional=true cannot go with task=music"),
        (["hydra/launcher=nope", "seed=0,1"], "there is no config hydra/launcher/nope"),
        (["hydra.callbacks=x", "seed=0,1"], "hydra.callbacks cannot be set"),
        (["hydra.sweep.dir=/tmp/x", "seed=0,1"], "hydra.sweep.dir cannot be set"),
        (["hydra.sweeper.max_batch_size=2", "seed=0,1"], "--jobs says how many run side by side"),
        (["optimizer.lr=interval(1e-4,1e-1)"], "optimizer.lr: an interval is for a search: add hydra/sweeper=optuna"),
        (["seed=range(3,3)"], "seed: this lists no value: seed=range(3,3)"),
        ([SEARCH, "optimizer.lr=interval(0.1,-1)"], "optimizer.lr must be above 0, got -1.0"),
        ([SEARCH, "hydra.sweeper.n_trials=0", "seed=0,1"], "hydra.sweeper.n_trials must be at least 1, got 0"),
        ([SEARCH, "hydra.sweeper.n_trails=9", "seed=0,1"], "n_trails"),
    ],
)
def test_a_sweep_with_a_bad_value_does_not_start(argv: list[str], message: str):
    with pytest.raises(ConfigError) as caught:
        request(*argv)
    assert message in str(caught.value)


def test_how_many_jobs_run_side_by_side_is_checked():
    for argv, message in (
        (["seed=1", "--jobs=2"], "--jobs is for a sweep: add -m"),
        (["-m", "seed=1,2", "--jobs=0"], "--jobs must be 1 to 1024, got 0"),
        (["-m", "seed=1,2", "--jobs=x"], "--jobs: invalid int value: 'x'"),
    ):
        with pytest.raises(ConfigError) as caught:
            read_arguments("train", argv)
        assert message in str(caught.value)


def test_a_search_is_told_from_a_grid_and_its_settings_are_read():
    asked = request(SEARCH, "optimizer.lr=tag(log,interval(1e-4,1e-1))", "hydra.sweeper.n_trials=7")
    assert asked.search is not None
    assert (asked.search.n_trials, asked.search.seed, asked.search.prune) == (7, 0, True)
    assert request("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0,1").launcher_settings == {"n_jobs": 2}


def test_a_sweep_is_the_same_for_another_value_and_another_for_another_setting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sweep_request, "_check_values", lambda request: None)  # half a second each
    first = request("model=rnn,lstm", "optimizer.lr=1e-3,3e-3", "trainer.bptt_len=20", "task=music").shared
    other = ["optimizer.lr=1e-3,1e-2", "task=music", "model=gru,rnn", "trainer.bptt_len=20", "trainer.threads=1"]
    assert request(*other).shared == first
    assert request("model=rnn,lstm", "optimizer.lr=1e-3,3e-3", "trainer.bptt_len=21", "task=music").shared != first
    assert request("model=rnn,lstm", "optimizer.lr=1e-3", "trainer.bptt_len=20", "task=music").shared != first
    assert (
        request("model=rnn", "optimizer.lr=0.001,3e-3", "seed=0").shared
        == request("model=rnn", "optimizer.lr=1", "optimizer.lr=2e-3,4e-3", "seed=0").shared
    )
    # A search over other values is another: its trials learn from one another.
    narrow, wide = (request(SEARCH, f"optimizer.lr=interval(0.1,{high})").shared for high in (0.2, 0.3))
    assert narrow != wide


def own(folder: Path, content: str) -> list[str]:
    (folder / "experiment").mkdir()
    (folder / "experiment/mine.yaml").write_text("# @package _global_\n" + content)
    return [f"--config-dir={folder}", "experiment=mine"]


def test_a_file_can_say_what_to_sweep_and_the_command_line_wins(tmp_path: Path):
    options = own(
        tmp_path,
        "defaults: [{override /hydra/sweeper: optuna}]\n"
        "hydra: {sweeper: {n_trials: 4, params: {optimizer.lr: 'interval(0.1,0.2)', model: 'rnn,gru'}}}\n",
    )
    asked = request(*options, "model=lstm,gru")
    assert asked.search is not None
    assert asked.search.n_trials == 4
    assert str(asked.varied["optimizer.lr"].value()) == "IntervalSweep(tags=set(), start=0.1, end=0.2)"
    assert asked.varied["model"].input_line == "model=lstm,gru"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("hydra: {launcher: {setup: [touch /tmp/x]}}", "hydra.launcher.setup.0 goes into a shell script"),
        ("hydra: {launcher: {additional_parameters: {wrap: x}}}", "goes into a shell script"),
        (PARTITION, "hydra.launcher.partition must be one printable line"),
        ("hydra: {launcher: {_target_: hydra_plugins.other.Launcher}}", "hydra.launcher._target_ is refused"),
        ("hydra: {sweep: {dir: /tmp}}", "of Hydra's settings only launcher and sweeper can"),
    ],
)
def test_a_file_cannot_bring_a_launcher_that_runs_its_own_code(tmp_path: Path, content: str, message: str):
    with pytest.raises(ConfigError) as caught:
        request(*own(tmp_path, content), "seed=0,1")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "target",
    ["os.system", "hydra_plugins.evil.Launcher", "hydra._internal.core_plugins.basic_launcher.BasicLauncher.x"],
)
def test_a_target_that_is_not_known_exactly_is_refused(target: str):
    with pytest.raises(ConfigError, match="hydra.launcher._target_: _target_ is refused"):
        request(f"hydra.launcher._target_={target}", "seed=0,1")
