"""Help comes from configs/ and the schema, whole and readable."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnlab.commandline.choices import choices, configs_folder
from rnnlab.commandline.compose import compose_request, read_arguments
from rnnlab.commandline.help import _EXAMPLES, command_help
from rnnlab.commandline.menu import read_menu
from rnnlab.config import COMMANDS


@pytest.mark.parametrize("command", list(COMMANDS))
def test_help_fits_a_terminal_and_names_every_setting(command: str):
    told = command_help(command)
    assert max(map(len, told.splitlines())) <= 80
    for key in read_menu(command).known:
        assert f" {key.rpartition('.')[2]} " in told, key


@pytest.mark.parametrize("command", list(COMMANDS))
def test_options_stand_above_the_long_list_of_settings(command: str):
    told = command_help(command)
    assert told.count("\noptions:\n") == 1
    assert told.index("\nexamples:\n") < told.index("\noptions:\n") < told.index("\nsettings, with")
    assert told.index("\noptions:\n") < told.index("--cfg job") < told.index("\nsettings, with")


def test_help_names_every_choice_and_marks_those_taken_by_default():
    told = command_help("train")
    for group in ("task", "model", "optimizer", "scheduler", "experiment"):
        assert f"\n  {group}=\n" in told
        for name in choices(group, configs_folder()):
            assert f"    {name} " in told or f"  * {name}" in told or f"    {name}\n" in told, name
    assert all(f"  * {name}" in told for name in ("lstm", "adam", "constant", "sentiment"))


def test_help_says_what_a_setting_is_its_default_and_its_range():
    told = " ".join(command_help("train").split())
    assert "hidden_size 200 features of the hidden state (>=1, <=65536)" in told
    assert "cell by choice which recurrence (rnn, lstm, gru)" in told
    assert "seed 0 of weights, data order, dropout and samples (>=0)" in told
    assert "nesterov false Nesterov's momentum [optimizer=momentum, sgd]" in told
    assert "max_len 2000 longer tunes are left out of training, characters; null: none (>=8) [task=music]" in told
    assert "max_len 400 tokens read of each text; null: all (>=1) [task=sentiment]" in told


def test_every_group_of_the_shipped_configs_has_a_default():
    menu = read_menu("train")
    assert menu.defaults.keys() == menu.groups.keys()


def test_the_users_own_choices_are_listed_too(tmp_path: Path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("# A model of my own.\ncell: gru\n")
    assert "    mine         A model of my own." in command_help("train", tmp_path)


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_example_is_right(command: str):
    import shlex

    for example in _EXAMPLES[command]:
        words = shlex.split(example.split("| ")[-1])
        assert words[:2] == ["rnnlab", command]
        argv = ["file=-" if word == "-" else word for word in words[2:] if word not in ("--json", "-m")]
        compose_request(read_arguments(command, [word.split(",")[0] for word in argv]))


def test_a_long_help_goes_through_the_pager_on_a_terminal_alone(tmp_path, monkeypatch, capsys):
    from rnnlab.commandline import help as help_module

    pager = tmp_path / "pager"
    pager.write_text(f"#!/bin/sh\ncat > {tmp_path}/seen\n")
    pager.chmod(0o755)
    monkeypatch.setenv("PAGER", str(pager))
    help_module.print_help("a\n" * 500)
    assert not (tmp_path / "seen").exists()
    assert capsys.readouterr().out.count("a") == 500
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    help_module.print_help("short")
    help_module.print_help("b\n" * 500)
    assert (tmp_path / "seen").read_text().count("b") == 500
