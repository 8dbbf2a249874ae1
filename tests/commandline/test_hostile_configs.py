"""Configurations that try to run code, read the environment, move files or fill the memory: every way in.

Whatever such a configuration could run is a module that leaves a file behind; the file must not be there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rnnlab.cli import main

SECRET = "hush-9b1f"
TRAP = """
import logging, pathlib
pathlib.Path({marker!r}).write_text("ran")
class Trap(logging.StreamHandler):
    def __init__(self, *arguments, **options):
        super().__init__()
def spring(*arguments, **options):
    return Trap()
"""
EXPERIMENT = "# @package _global_\n"

Attack = Callable[..., tuple[int, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty --config-dir, in a place with a module `trap` that marks when it is loaded."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/trap.py").write_text(TRAP.format(marker=str(tmp_path / "marker")))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setenv("RNNLAB_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    return tmp_path / "configs"


@pytest.fixture
def attack(folder: Path, capsys: pytest.CaptureFixture[str]) -> Attack:
    """Run a command line in this process: its exit code and error lines. Nothing may have run or got out."""

    def run(*argv: str) -> tuple[int, str]:
        code = main(["train", "task.corpus=nowhere.csv", *argv])
        told = capsys.readouterr()
        assert not (folder.parent / "marker").exists()
        assert SECRET not in told.out + told.err
        assert "Traceback" not in told.err
        assert sum(line.startswith("error: ") for line in told.err.splitlines()) == 1
        assert sorted(path.name for path in folder.parent.iterdir()) == ["configs", "modules"]
        return code, told.err

    return run


def write(folder: Path, name: str, content: str) -> None:
    """Write one of the user's config files."""
    path = folder / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


TYPED = [
    "model._target_=trap.spring",
    "+model._target_=trap.spring",
    "++_target_=trap.spring",
    "model={_target_:trap.spring}",
    "task.corpus={_target_:trap.spring}",
    "+hydra.callbacks.x._target_=trap.Trap",
    "hydra/callbacks=trap",
    "hydra.job_logging.handlers.console.class=trap.Trap",
    "+hydra.job_logging.handlers.x={'()':trap.Trap}",
    "hydra.job_logging.handlers.console.stream=ext://trap.spring",
    "hydra.hydra_logging.handlers.console.class=trap.Trap",
    "hydra/job_logging=default",
    "hydra.launcher._target_=trap.spring",
    "hydra.sweeper._target_=trap.spring",
    "hydra.searchpath=[pkg://trap]",
    "hydra.job.env_set.LD_PRELOAD=/tmp/x.so",
    "hydra.run.dir=/tmp/elsewhere",
    "hydra.output_subdir=../../x",
    "task.text_column=${oc.env:TOKEN}",
    "task.text_column=${oc.decode:'1'}",
    "task.text_column=${oc.create:{a:1}}",
    "task.text_column='${oc.${task.label_column}:TOKEN}'",
    "task.text_column='${oc.env:${task.label_column}}'",
    "--experimental-rerun=job.pickle",
    "--config-path=configs",
    "--config-name=mine",
]


@pytest.mark.parametrize("text", TYPED)
def test_nothing_typed_runs_code_or_reads_the_environment(text: str, attack: Attack):
    code, told = attack(text)
    assert code == 2, told


def test_a_resolvers_name_cannot_be_put_together(attack: Attack):
    code, told = attack("task.label_column=oc.env", "task.text_column='${${task.label_column}:TOKEN}'")
    assert code == 2
    assert "task.text_column: only ${other.key} may be inserted" in told


IN_A_SWEEP = [
    "hydra.launcher._target_=trap.spring",
    "hydra.sweeper._target_=trap.spring",
    "hydra.launcher={_target_:trap.spring}",
    "hydra.sweeper.params={task.text_column:'${oc.env:TOKEN}'}",
    "hydra.sweep.subdir=${oc.env:TOKEN}",
    "hydra.callbacks.x._target_=trap.Trap",
]


@pytest.mark.parametrize("text", IN_A_SWEEP)
def test_nor_does_a_sweep(text: str, attack: Attack):
    code, told = attack("-m", "seed=0,1", text)
    assert code == 2, told


CALLBACK = "callbacks: {x: {_target_: trap.Trap}}"
LOGGER = "{version: 1, handlers: {x: {(): trap.Trap}}, root: {handlers: [x]}}"
FILES = {
    "a target": f"{EXPERIMENT}model: {{_target_: trap.spring}}",
    "a target deep inside": f"{EXPERIMENT}task: {{corpus: {{a: [{{_target_: trap.spring}}]}}}}",
    "arguments": f"{EXPERIMENT}model: {{_args_: [1], _partial_: true}}",
    "a callback": f"{EXPERIMENT}hydra: {{{CALLBACK}}}",
    "a callback by a header": f"# @package hydra\n{CALLBACK}",
    "a callback by two headers": f"\n#@x y\n# @package _global_.hydra\n{CALLBACK}",
    "a logger": f"{EXPERIMENT}hydra: {{job_logging: {LOGGER}}}",
    "a logger by a header": f"# @package hydra.job_logging\n{LOGGER[1:-1]}".replace(", root", "\nroot").replace(
        ", hand", "\nhand"
    ),
    "a logger's class": f"{EXPERIMENT}hydra: {{hydra_logging: {{handlers: {{console: {{class: trap.Trap}}}}}}}}",
    "a logger's stream": f"{EXPERIMENT}hydra: {{job_logging: {{handlers: {{console: {{stream: 'ext://trap.spring'}}}}}}}}",
    "a launcher": f"{EXPERIMENT}hydra: {{launcher: {{_target_: hydra_plugins.trap.Trap}}}}",
    "a sweeper": f"{EXPERIMENT}hydra: {{sweeper: {{_target_: trap.Trap}}}}",
    "a search path": f"{EXPERIMENT}hydra: {{searchpath: ['file:///tmp']}}",
    "an output folder": "# @package hydra\noutput_subdir: ../../x",
    "an environment": f"{EXPERIMENT}hydra: {{job: {{env_set: {{LD_PRELOAD: /tmp/x.so}}}}}}",
    "the environment": f"{EXPERIMENT}task: {{text_column: '${{oc.env:TOKEN}}'}}",
    "parts of it": f"{EXPERIMENT}task: {{label_column: oc.env, corpus: '${{${{task.label_column}}:TOKEN}}'}}",
    "a Python object": f"{EXPERIMENT}seed: !!python/object/apply:trap.spring []",
    "a Python name": f"{EXPERIMENT}seed: !!python/name:trap.spring",
    "a Python module": f"{EXPERIMENT}seed: !!python/module:trap",
    "another group of Hydra's": f"{EXPERIMENT}defaults: [override /hydra/job_logging: default]",
    "a package in its defaults": "defaults: [/parts/callback@hydra.callbacks]",
    "a package in its defaults, from the top": "defaults: [/parts/callback@_global_.hydra.callbacks]",
    "a file that depends on a setting": f"{EXPERIMENT}defaults: [/parts: '${{experiment}}']",
    "a file by its full name": "defaults: [/parts/bomb.yaml]",
    "a file above": "defaults: [../parts/bomb]",
}


@pytest.mark.parametrize("case", FILES)
def test_no_file_of_the_user_does(case: str, folder: Path, attack: Attack):
    write(folder, "parts/callback", "x: {_target_: trap.Trap}")
    write(folder, "parts/bomb", "a: &a [1]\nb: *a")
    write(folder, "experiment/mine", FILES[case])
    code, told = attack("--config-dir", str(folder), "experiment=mine")
    assert code == 2, told


@pytest.mark.parametrize(
    "option", [["--cfg", "hydra"], ["--cfg", "all"], ["--info", "config"], ["--hydra-help"], ["-m"]]
)
def test_nor_when_it_is_only_looked_at(option: list[str], folder: Path, attack: Attack):
    write(folder, "experiment/mine", FILES["a logger"])
    code, told = attack(*option, "--config-dir", str(folder), "experiment=mine")
    assert code == 2, told


def test_a_sweeps_preset_cannot_choose_a_file_that_nobody_looked_at(folder: Path, attack: Attack):
    write(folder, "experiment/good", f"{EXPERIMENT}seed: 1")
    for number, case in enumerate(("a logger", "a logger by a header")):
        write(folder, f"experiment/bad{number}", FILES[case])
        write(folder, f"hydra/sweeper/mine{number}", f'defaults: [basic]\nparams: {{experiment: "good,bad{number}"}}')
        code = main(
            ["train", "-m", "--config-dir", str(folder), f"hydra/sweeper=mine{number}", "task.corpus=nowhere.csv"]
        )
        assert code in (2, 9)
        assert not (folder.parent / "marker").exists()


@pytest.mark.parametrize("name", ["hydra/rnnlab/train", "hydra/rnnlab/model/base"])
def test_a_file_cannot_take_the_place_of_the_schema(name: str, folder: Path, attack: Attack):
    write(folder, name, "seed: 0\nanything: goes")
    code, told = attack("--config-dir", str(folder))
    assert code == 2
    assert "only hydra/launcher and hydra/sweeper can have files" in told


def test_a_launchers_preset_of_ones_own_is_still_taken(folder: Path):
    from rnnlab.commandline.compose import compose, read_arguments

    write(folder, "hydra/launcher/mine", "defaults: [basic]\n")
    arguments = read_arguments("train", ["-m", "--config-dir", str(folder), "hydra/launcher=mine"])
    assert compose(arguments, sweep=True).hydra.runtime.choices["hydra/launcher"] == "mine"


# --- YAML -------------------------------------------------------------------------------------------------------------

YAML = {
    "duplicate keys": ("seed: 1\nseed: 2", "line 3: not valid YAML: found duplicate key seed"),
    "a tab": ("model:\n\thidden_size: 3", "line 3: not valid YAML"),
    "no": ("task: {text_column: no}", "line 2: write true or false, or put it in quotes, got no"),
    "on": ("optimizer:\n  on: 3", "line 3: write true or false, or put it in quotes, got on"),
    "octal": ("model: {hidden_size: 012}", "line 2: write a decimal number, or put it in quotes, got 012"),
    "hexadecimal": ("model: {hidden_size: 0x10}", "line 2: write a decimal number"),
    "base 60": ("trainer: {max_minutes: 1:30}", "line 2: write a decimal number, or put it in quotes, got 1:30"),
    "an alias bomb": (
        "a: &a [x,x]\n"
        + "".join(f"{b}: &{b} [*{a},*{a},*{a},*{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        "line 3: aliases (*a) are refused",
    ),
    "5,000 levels": ("a: " + "[" * 5000, "line 2: more than 10,000 values or 50 levels"),
    "50,000 values": ("a: [" + "1," * 40_000 + "]", "line 2: more than 10,000 values or 50 levels"),
    "10 MB": ("# " + "x" * 10_000_000, "10,000,022 bytes; a config file has at most 100,000"),
    "a circle": (
        "model: {embedding_size: '${model.hidden_size}', hidden_size: '${model.embedding_size}'}",
        "its ${...} leads back to itself",
    ),
    "a text that doubles": (
        "task: {text_column: '" + "${task.label_column}" * 99 + "'}",
        "at most 8 ${...} may stand in one value, got 99",
    ),
    "a tag": ("seed: !!binary aGk=", "line 2: tags (tag:yaml.org,2002:binary) are refused; write the value"),
    "two documents": ("seed: 1\n---\nseed: 2", "line 3: not valid YAML"),
    "no mapping": ("[1, 2]", "experiment/mine"),
    "a huge number": ("seed: " + "9" * 5000, "not valid YAML"),
    "a control character": ("name: a\x07b", "not valid YAML"),
    "2 for a switch": ("model: {bidirectional: 2}", "model.bidirectional must be true or false, got 2"),
    "a text for a number": ("model: {hidden_size: '12'}", "model.hidden_size must be a whole number, got '12'"),
    "a fraction": ("model: {hidden_size: 1.5}", "model.hidden_size must be a whole number, got 1.5"),
    "true for a number": ("model: {dropout: true}", "model.dropout must be a number, got true"),
    "nothing": ("model: {hidden_size: }", "model.hidden_size must be a whole number, got null"),
    "not a number": ("optimizer: {lr: .nan}", "optimizer.lr must be a finite number, got nan"),
    "infinity": ("optimizer: {lr: .inf}", "optimizer.lr must be a finite number, got inf"),
}


@pytest.mark.parametrize("case", YAML)
def test_a_file_that_is_odd_is_told_in_one_line(case: str, folder: Path, attack: Attack):
    content, message = YAML[case]
    write(folder, "experiment/mine", EXPERIMENT + content)
    began = time.process_time()
    code, told = attack("--config-dir", str(folder), "experiment=mine")
    assert code == 2, told
    assert message in told
    assert len(told.splitlines()) == 1
    # CPU time, not wall time; the bombs take many seconds and all memory where they are read.
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "content", [b"seed: \xff", b"\xff\xfes\x00e\x00", b"seed: \x00"], ids=["latin", "utf-16", "nul"]
)
def test_a_file_that_is_no_text_is_told(content: bytes, folder: Path, attack: Attack):
    write(folder, "experiment/mine", "")
    (folder / "experiment/mine.yaml").write_bytes(content)
    code, told = attack("--config-dir", str(folder), "experiment=mine")
    assert (code, "not valid YAML" in told) == (2, True), told


def test_a_pipe_or_a_folder_in_a_files_place_is_not_waited_for(folder: Path, attack: Attack):
    (folder / "experiment/inner.yaml").mkdir(parents=True)
    os.mkfifo(folder / "experiment/mine.yaml")
    for name in ("mine", "inner"):
        code, told = attack("--config-dir", str(folder), f"experiment={name}")
        assert code == 2, told


@pytest.mark.parametrize("text", ["seed=" + "[" * 3000, "task.text_column=" + "x" * 20_000, "seed=" + "9" * 5000])
def test_a_value_that_takes_the_grammar_seconds_is_refused_at_once(text: str, attack: Attack):
    code, told = attack(text)
    assert code == 2
    assert len(told) < 1200


# --- processes --------------------------------------------------------------------------------------------------------


def test_no_module_in_the_folder_it_is_started_in_is_loaded(folder: Path):
    here = folder.parent / "here"
    for module in ("hydra_plugins/trap.py", "torch.py", "yaml.py", "omegaconf/__init__.py"):
        (here / module).parent.mkdir(parents=True, exist_ok=True)
        (here / module).write_text(TRAP.format(marker=str(folder.parent / "marker")))
    command = [sys.executable, "-m", "rnnlab", "train", "--hydra-help", "task.corpus=nowhere.csv"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Hydra" in done.stdout
    assert not (folder.parent / "marker").exists()
