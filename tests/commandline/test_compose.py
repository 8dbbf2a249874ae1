"""From a command line to checked settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnlab.commandline.choices import choices, configs_folder
from rnnlab.commandline.compose import Request, compose_request, read_arguments
from rnnlab.config import Averaging, Cell, SentimentConfig, TrainConfig
from rnnlab.errors import ConfigError


def request(command: str, *argv: str) -> Request:
    return compose_request(read_arguments(command, list(argv)))


def error(command: str, *argv: str) -> str:
    with pytest.raises(ConfigError) as caught:
        request(command, *argv)
    return str(caught.value)


def test_a_command_line_becomes_typed_settings_plain_data_and_choices():
    asked = request("train", "model=gru", "task=sentiment", "trainer.averaging=ema", "optimizer.lr=1e-3")
    assert isinstance(asked.settings, TrainConfig)
    assert isinstance(asked.settings.task, SentimentConfig)
    assert asked.settings.model.cell is Cell.gru
    assert asked.settings.trainer.averaging is Averaging.ema
    assert asked.settings.optimizer.lr == 0.001
    assert asked.config["trainer"]["averaging"] == "ema"
    assert asked.config["model"]["cell"] == "gru"
    assert asked.overrides == ["model=gru", "task=sentiment", "trainer.averaging=ema", "optimizer.lr=1e-3"]
    assert asked.choices == {
        "model": "gru",
        "task": "sentiment",
        "optimizer": "adam",
        "scheduler": "constant",
        "trainer": "default",
    }


def test_a_task_brings_its_own_sizes_and_the_command_line_goes_before_them():
    assert request("train", "task=music").settings.trainer.bptt_len == 128
    assert request("train", "trainer.bptt_len=64", "task=music").settings.trainer.bptt_len == 64


@pytest.mark.parametrize("task", sorted(choices("task", configs_folder())))
@pytest.mark.parametrize("model", sorted(choices("model", configs_folder())))
def test_every_task_goes_with_every_model(task: str, model: str):
    assert request("train", f"task={task}", f"model={model}").choices["model"] == model


@pytest.mark.parametrize("group", ["optimizer", "scheduler", "experiment"])
def test_every_other_choice_composes(group: str):
    for name in choices(group, configs_folder()):
        assert request("train", f"{group}={name}").choices[group] == name


def test_options_may_stand_between_settings():
    arguments = read_arguments("train", ["model=lstm", "--cfg", "job", "seed=3"])
    assert (arguments.typed, arguments.flags.cfg) == (["model=lstm", "seed=3"], "job")


@pytest.mark.parametrize(
    "text",
    ["a, b: \"c\" 'd'", "${oc.env:HOME}", "???", "x=y=z", "[1,2", "K:Dmaj\nABc|", "null", "", "-", "ünïcode 🎵", "\\"],
)
def test_free_text_is_taken_as_it_stands(text: str):
    assert request("generate", "run=a", f"prompt={text}").settings.prompt == text


def test_null_means_none_for_files_and_runs_but_not_in_a_text():
    settings = request("predict", "run=a", "text=null", "file=null").settings
    assert (settings.text, settings.file) == ("null", None)


def test_names_of_runs_need_no_quotes():
    assert request("evaluate", "run=sweep-1/0-lr=0.1,a b").settings.run == "sweep-1/0-lr=0.1,a b"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["modle=lstm"], "unknown setting modle; did you mean model"),
        (["model=lstmm"], "model has no choice 'lstmm'; did you mean lstm? choose one of gru, irnn, lstm, rnn"),
        (["model.hidden_size=abc"], "model.hidden_size must be a whole number, got 'abc'"),
        (["model.embedding_size=${modle.hidden_size}"], "model.embedding_size: there is no setting modle.hidden_size"),
        (["model.embedding_size=${task.name}"], "model.embedding_size must be a whole number, got 'sentiment'"),
        (["model.embedding_size=${model}"], "model.embedding_size: its ${...} names the group it is in"),
        (["task.corpus=${name}"], "task.corpus: the value inserted by ${...} is null"),
        (["name=a", "resume=b"], "resume=b goes on in that run's folder"),
        (["--mutirun"], "unknown option --mutirun; did you mean --multirun"),
        (["--batch_size", "3"], "unknown option --batch_size; settings go without --: trainer.batch_size=..."),
        (["--cfg", "jobs"], "--cfg: invalid choice: 'jobs'"),
        (["--resolve"], "--resolve goes with --cfg"),
        (["--config-dir", "/no/such"], "--config-dir: there is no folder /no/such"),
    ],
)
def test_mistakes_are_told_in_one_line(argv: list[str], message: str):
    told = error("train", *argv)
    assert message in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("command", "argv", "message"),
    [
        ("evaluate", [], "evaluate needs run=NAME; rnnlab runs lists them"),
        ("evaluate", ["music-lstm"], "music-lstm: a setting is key=value; did you mean run=music-lstm?"),
        ("evaluate", ["run=a", "splt=test"], "unknown setting splt; did you mean split?"),
        (
            "evaluate",
            ["run=a", "split=tset"],
            "split must be one of train, valid, test, got 'tset'; did you mean test?",
        ),
        ("evaluate", ["run=a", "seed=1,2"], "seed takes one value, got '1,2'; lists of values sweep: give one value"),
        ("predict", ["run=a"], "predict reads text=... or file=... (- is standard input), got neither; give one"),
        ("predict", ["run=a", "text=b", "file=c"], "got both; give one"),
        ("generate", ["run=a", "temprature=1"], "unknown setting temprature; did you mean temperature?"),
        ("generate", ["run=a", "model=lstm"], "unknown setting model"),
    ],
)
def test_the_other_commands_tell_their_own(command: str, argv: list[str], message: str):
    told = error(command, *argv)
    assert message in told
    assert "\n" not in told


def test_several_mistakes_are_told_at_once():
    told = error("train", "model.hiden_size=3", "model=lstmm", "trainer.batch_size=x").splitlines()
    assert told[0] == "3 settings are wrong:"
    assert len(told) == 4
    assert all(line.startswith("  ") for line in told[1:])


def test_the_circle_of_two_settings_is_found():
    told = error("train", "model.embedding_size=${model.hidden_size}", "model.hidden_size=${model.embedding_size}")
    assert "its ${...} leads back to itself" in told


def test_one_setting_can_follow_another():
    settings = request("train", "model.embedding_size=${model.hidden_size}", "model.hidden_size=77").settings
    assert settings.model.embedding_size == 77


def test_nothing_on_the_command_line_names_code_or_hydras_own_settings():
    traps = [
        "model._target_=os.system",
        "+_target_=os.system",
        "+model._target_=os.system",
        "hydra.run.dir=/tmp",
        "hydra/callbacks=x",
        "+hydra.callbacks.x._target_=os.system",
        "hydra.job_logging.root.level=DEBUG",
        "hydra/job_logging=default",
        "hydra.launcher._target_=os.system",
        "hydra.searchpath=[/tmp]",
        "hydra.job.env_set.X=1",
    ]
    told = error("train", *traps).splitlines()
    assert told[0] == f"{len(traps)} settings are wrong:"
    assert all("refused" in line or "cannot" in line for line in told[1:])


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "'${oc.create:${oc.env:HOME}}'", "${now:%Y}"])
def test_nothing_on_the_command_line_reads_the_environment_or_calls_a_resolver(value: str):
    assert "task.corpus: only ${other.key} may be inserted" in error("train", f"task.corpus={value}")


@pytest.mark.parametrize("option", ["--experimental-rerun", "--config-path", "--config-name"])
def test_options_that_would_replace_rnnlabs_configs_or_load_a_pickle_are_refused(option: str):
    assert f"{option} is refused" in error("train", option, "x")


def own(folder: Path, name: str, content: str) -> list[str]:
    """Write a config of the user's and return the option that adds it."""
    path = folder / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return ["--config-dir", str(folder)]


def test_the_users_own_experiments_and_models_are_found(tmp_path: Path):
    own(tmp_path, "model/deep", "defaults: [/hydra/rnnlab/model/base@_here_, _self_]\ncell: gru\nnum_layers: 9\n")
    options = own(tmp_path, "experiment/mine", "# @package _global_\ndefaults: [override /model: deep]\nseed: 5\n")
    asked = request("train", *options, "experiment=mine")
    assert (asked.settings.model.num_layers, asked.settings.seed) == (9, 5)
    assert asked.choices["model"] == "deep"


def test_a_users_file_cannot_take_the_place_of_one_of_ours(tmp_path: Path):
    options = own(tmp_path, "model/lstm", "defaults: [/hydra/rnnlab/model/base@_here_, _self_]\ncell: gru\n")
    assert request("train", *options, "model=lstm").settings.model.cell is Cell.lstm


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("model: {hiden_size: 3}", "unknown setting model.hiden_size; did you mean model.hidden_size"),
        ("model: {hidden_size: abc}", "model.hidden_size must be a whole number, got 'abc'"),
        ("model: {bidirectional: perhaps}", "model.bidirectional must be true or false, got 'perhaps'"),
        ("model: {cell: lstn}", "model.cell must be one of rnn, lstm, gru, got 'lstn'"),
        ("trainer: {device: gpu}", "trainer.device must be one of auto, cpu, cuda, mps, got 'gpu'; use cuda"),
        ("task: {corpus: null}", "task.corpus must be text, got null"),
        ("defaults: [override /model: nope]", "there is no config model/nope; choose one of gru, irnn, lstm, rnn"),
        ("model:\n\thidden_size: 3", "mine.yaml, line 3: not valid YAML"),
        ("seed: 1\nseed: 2", "mine.yaml, line 3: not valid YAML: found duplicate key seed"),
        ("a: &a [1]\nb: *a", "mine.yaml, line 3: aliases (*a) are refused"),
        ("a: " + "[" * 60 + "]" * 60, "more than 10,000 values or 50 levels"),
        ("a: [" + "1," * 20_000 + "]", "more than 10,000 values or 50 levels"),
        ("#" * 100_001, "bytes; a config file has at most 100,000"),
        ("model: {_target_: os.system}", "model._target_ is refused"),
        ("task: {corpus: '${oc.env:HOME}'}", "only ${other.key} may be inserted"),
        ("hydra: {callbacks: {x: {_target_: os.system}}}", "is refused"),
        ("hydra: {job_logging: {root: {level: DEBUG}}}", "hydra.job_logging.root.level cannot be set"),
        ("hydra: {job: {env_set: {LD_PRELOAD: x}}}", "hydra.job.env_set.LD_PRELOAD cannot be set"),
        ("- 1", "experiment/mine"),
    ],
)
def test_a_users_file_with_a_mistake_or_a_trap_is_told_with_its_name(tmp_path: Path, content: str, message: str):
    options = own(tmp_path, "experiment/mine", "# @package _global_\n" + content)
    told = error("train", *options, "experiment=mine")
    assert message in told
    assert "\n" not in told
    assert "mine" in told or "there is no config" in told


def test_traps_are_found_in_files_that_a_chosen_file_chooses(tmp_path: Path):
    own(tmp_path, "hydra/callbacks/trap", "# @package _global_\nhydra: {callbacks: {x: {_target_: os.system}}}")
    options = own(tmp_path, "experiment/mine", "# @package _global_\ndefaults: [{override /hydra/callbacks: trap}]\n")
    assert "hydra/callbacks cannot be chosen" in error("train", *options, "experiment=mine")
    own(tmp_path, "parts/trap", "x: {_target_: os.system}")
    own(tmp_path, "experiment/mine", "defaults: [/parts/trap@model]\n")
    assert "_target_ is refused" in error("train", *options, "experiment=mine")
