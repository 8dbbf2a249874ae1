"""A task that another package brings: found by its entry point, then as good as ours."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from rnnlab.cli import main
from rnnlab.commandline.completion import suggestions
from rnnlab.commandline.compose import read_arguments
from rnnlab.commandline.help import command_help
from rnnlab.commandline.menu import read_menu
from rnnlab.commandline.sweep_request import read_sweep
from rnnlab.errors import ConfigError
from rnnlab.json_files import read_json
from rnnlab.plugins import task_names, task_plugin

MIRROR = """
    from dataclasses import dataclass
    from typing import Annotated

    from annotated_types import Ge, doc

    from rnnlab.config import NextWordConfig
    from rnnlab.plugins import TaskPlugin


    @dataclass(kw_only=True, slots=True)
    class MirrorConfig(NextWordConfig):
        name: str = "mirror"
        times: Annotated[int, Ge(1), doc("how often the text is turned round")] = 1


    def build(config, trainer, seed):
        from rnnlab.tasks.next_word import NextWord

        class Mirror(NextWord):
            name = "mirror"

            def decode(self, ids):
                return super().decode(ids)[:: -1 if config.times % 2 else 1]

        return Mirror(config, trainer, seed)


    TASK = TaskPlugin(
        about="A text that is written from right to left.",
        settings=MirrorConfig,
        build=build,
        presets={"trainer": {"bptt_len": 8, "sample_len": 12}},
    )
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install a package of one module: `install("mirror", "mirrors:TASK", source)`."""

    def put(name: str, value: str, source: str, *, package: str = "mirrors") -> None:
        site = tmp_path / f"site-{package}"
        info = site / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[rnnlab.tasks]\n{name} = {value}\n")
        (site / f"{package}.py").write_text(dedent(source))
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(sys.modules, package, raising=False)

    return put


@pytest.fixture
def mirror(install) -> None:
    install("mirror", "mirrors:TASK", MIRROR)


def test_without_packages_there_are_no_other_tasks():
    assert task_names() == []
    assert task_plugin("mirror") is None


@pytest.mark.usefixtures("mirror")
def test_it_is_listed_beside_ours_in_help_and_completion():
    assert task_names() == ["mirror"]
    told = command_help("train")
    assert "\n    mirror       A text that is written from right to left.\n" in told
    assert "how often the text is turned round (>=1) [task=mirror]" in " ".join(told.split())
    assert "task=mirror" in suggestions("rnnlab train task=mi")


def test_nothing_is_looked_for_while_the_task_is_ours(monkeypatch, capsys):
    def search(name: str = "") -> None:
        raise AssertionError("40 ms for nothing")

    monkeypatch.setattr("rnnlab.plugins._points", search)
    assert main(["train", "task=music", "--cfg", "job"]) == 0
    assert "name: music" in capsys.readouterr().out


@pytest.mark.usefixtures("mirror")
def test_its_settings_have_types_ranges_and_presets(capsys):
    assert main(["train", "task=mirror", "task.corpus=x", "--cfg", "job"]) == 0
    shown = capsys.readouterr().out
    assert "  times: 1\n" in shown
    assert "  bptt_len: 8\n" in shown
    for wrong, message in {
        "task.times=0": "task.times must be at least 1, got 0",
        "task.times=two": "task.times must be a whole number, got 'two'",
        "task.tims=2": "unknown setting task.tims; did you mean task.times",
    }.items():
        assert main(["train", "task=mirror", "task.corpus=x", wrong]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.usefixtures("mirror")
def test_a_run_is_trained_resumed_scored_and_used(corpora, outputs, capsys):
    sizes = ["model.hidden_size=6", "model.embedding_size=5", "trainer.batch_size=8", "trainer.threads=1"]
    settings = ["task=mirror", f"task.corpus={corpora['next_word']}", "trainer.max_steps=2", "task.times=3"]
    assert main(["train", *settings, *sizes, "name=run"]) == 0
    assert read_json(outputs / "run/run.json")["config"]["task"]["times"] == 3
    assert main(["train", "resume=run", "trainer.max_steps=3"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "run=run", "threads=1"]) == 0
    assert "perplexity" in capsys.readouterr().out
    assert main(["generate", "run=run", "prompt=the cat", "length=3", "threads=1"]) == 0
    assert "tac eht" in capsys.readouterr().out


@pytest.mark.usefixtures("mirror")
def test_a_sweep_and_a_users_experiment_can_choose_it(tmp_path, outputs, corpora, capsys):
    (tmp_path / "own/experiment").mkdir(parents=True)
    (tmp_path / "own/experiment/mine.yaml").write_text(
        "# @package _global_\ndefaults: [{override /task: mirror}, _self_]\ntask: {corpus: x, times: 5}\n"
    )
    assert main(["train", f"--config-dir={tmp_path / 'own'}", "experiment=mine", "--cfg", "job"]) == 0
    assert "  times: 5\n" in capsys.readouterr().out
    assert read_sweep(read_arguments("train", ["task=mirror,music", "task.corpus=x"])).varied.keys() == {"task"}
    assert main(["train", "-m", "task=mirror,music", "task.corpus=x", "task.times=1"]) == 2
    assert "unknown setting task.times" in capsys.readouterr().err, "music does not have it"


def test_a_run_whose_package_is_gone_is_told(install, corpora, outputs, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path])
        install("mirror", "mirrors:TASK", MIRROR)
        sizes = ["model.hidden_size=6", "trainer.batch_size=8", "trainer.max_steps=1", "trainer.threads=1", "name=run"]
        assert main(["train", "task=mirror", f"task.corpus={corpora['next_word']}", *sizes]) == 0
    monkeypatch.setattr("rnnlab.plugins._points", dict)
    assert main(["evaluate", "run=run"]) == 4
    assert "task 'mirror' is unknown to this rnnlab and to the packages installed" in capsys.readouterr().err


def test_ours_goes_before_a_package_of_the_same_name(install):
    install("music", "mirrors:TASK", MIRROR)
    assert read_menu("train", plugins=True).groups["task"]["music"].path is not None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_of_the_kind", "cannot be loaded: ModuleNotFoundError: No module named 'nothing_of_the_kind'"),
        ("TASK = 3", "which is a int, wanted a rnnlab.plugins.TaskPlugin"),
        (MIRROR.replace('= "mirror"', '= "other"', 1), "whose settings have the name 'other', wanted 'mirror'"),
        (MIRROR.replace("settings=MirrorConfig", "settings=dict"), "wanted a dataclass below rnnlab.config.TaskConfig"),
    ],
)
def test_what_cannot_be_used_is_told_where_it_is_asked_for_and_spoils_nothing_else(install, capsys, source, message):
    install("mirror", "mirrors:TASK", source)
    with pytest.raises(ConfigError, match="task=mirror comes from mirrors:TASK of mirrors, ") as caught:
        task_plugin("mirror")
    assert message in str(caught.value)
    assert main(["train", "task=mirror"]) == 2
    assert message in capsys.readouterr().err
    assert "Cannot be used: " in command_help("train")


def test_what_a_package_builds_must_be_a_task(install, corpora, outputs, capsys):
    install("mirror", "mirrors:TASK", MIRROR.replace("return Mirror(config, trainer, seed)", "return 3"))
    assert main(["train", "task=mirror", f"task.corpus={corpora['next_word']}", "trainer.threads=1"]) == 2
    assert "task=mirror builds a int, wanted a rnnlab.tasks.Task" in capsys.readouterr().err


def test_a_package_may_not_set_code_to_run_either(install, capsys):
    presets = 'presets={"trainer": {"bptt_len": 8, "sample_len": 12}}'
    assert presets in MIRROR
    install("mirror", "mirrors:TASK", MIRROR.replace(presets, 'presets={"name": "${oc.env:HOME}"}'))
    assert main(["train", "task=mirror", "task.corpus=x"]) == 2
    assert "only ${other.key} may be inserted" in capsys.readouterr().err
