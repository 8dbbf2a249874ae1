"""`rnnlab lesson`: the list, one lesson, all of them, and what is typed wrong."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rnnlab.cli import main
from rnnlab.commandline.completion import suggestions
from rnnlab.commands import lesson as command
from rnnlab.lessons.catalogue import LESSONS


@pytest.fixture
def only(monkeypatch):
    """Leaves these lessons in the catalogue."""

    def keep(*names: str) -> None:
        for name in {*LESSONS} - {*names}:
            monkeypatch.delitem(LESSONS, name)

    return keep


def test_without_a_name_the_lessons_are_listed(capsys):
    assert main(["lesson"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed and about in printed for name, (_, about) in LESSONS.items())
    assert max(map(len, printed.splitlines())) <= 100


def test_a_lesson_is_printed_and_kept(outputs, capsys):
    assert main(["lesson", "exploding", "--quick"]) == 0
    printed = capsys.readouterr().out
    kept = json.loads((outputs / "lessons" / "exploding" / "lesson.json").read_text())
    assert "rnnlab/cells/reference.py:" in printed
    assert kept["verdict"].split()[0] in printed
    assert kept["as_expected"] is True
    assert kept["numbers"]["growth over 50 steps at 1.3"] == pytest.approx(1.3**50, rel=0.01)
    page = (outputs / "lessons" / "exploding" / "lesson.html").read_text()
    assert "<svg" in page
    assert "<script" not in page
    assert "Pascanu" in page


def test_all_makes_one_page_with_contents_and_counts(outputs, capsys, only):
    only("hidden-state", "relu")
    assert main(["lesson", "all", "--quick"]) == 0
    page = (outputs / "lessons" / "lessons.html").read_text()
    assert "2 claims" in page
    assert '<a href="#relu">' in page
    assert '<h2 id="relu">' in page
    assert (outputs / "lessons" / "relu" / "lesson.json").exists()
    assert "written: " in capsys.readouterr().out


def test_what_does_not_come_out_is_said_and_is_exit_code_1(outputs, capsys, only, monkeypatch):
    from rnnlab.lessons import basics

    only("hidden-state", "bptt")
    right = basics.LESSONS["hidden-state"]

    def wrong(quick, seed):
        return replace(right.measure(quick, seed), holds=False)

    def broken(quick, seed):
        raise FloatingPointError("gradient norm is nan at step 3")

    monkeypatch.setitem(basics.LESSONS, "hidden-state", replace(right, measure=wrong))
    monkeypatch.setitem(basics.LESSONS, "bptt", replace(right, measure=broken))
    assert main(["lesson", "hidden-state"]) == 1
    assert "It is NOT so here." in capsys.readouterr().out
    assert main(["lesson", "all"]) == 1
    printed = capsys.readouterr().out
    assert "NOT AS EXPECTED" in printed
    assert "FAILED: gradient norm is nan at step 3" in printed
    page = (outputs / "lessons" / "lessons.html").read_text()
    assert "0 came out as expected" in page
    assert "bptt did not come to an end" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["vanishin"], "no lesson 'vanishin'; did you mean vanishing?"),
        (["poetry"], "no lesson 'poetry' (rnnlab lesson lists them)"),
        (["relu", "--seed", "-1"], "--seed must be from 0 to 4294967295, got -1"),
        (["relu", "--fast"], "unknown option --fast"),
    ],
)
def test_what_is_typed_wrong_is_one_line(words, message, capsys):
    assert main(["lesson", *words]) == 2
    assert message in capsys.readouterr().err


def test_lstm_is_another_name_for_gates(outputs, capsys):
    assert main(["lesson", "lstm", "--quick", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "gates"


def test_where_nothing_can_be_written_it_says_so_first(outputs, capsys):
    outputs.mkdir()
    (outputs / "lessons").write_text("a file")
    assert main(["lesson", "relu"]) == 7
    assert f"cannot write {outputs / 'lessons' / 'relu'}" in capsys.readouterr().err


def test_names_of_lessons_are_completed():
    assert suggestions("rnnlab lesson long") == ["long-term-dependencies"]
    assert "all" in suggestions("rnnlab lesson ")
    assert suggestions("rnnlab lesson relu ") == []
    assert "--quick" in suggestions("rnnlab lesson relu --")


def test_the_command_imports_no_torch_for_the_list():
    import ast
    from pathlib import Path

    top = ast.parse(Path(command.__file__).read_text()).body
    modules = {node.module for node in top if isinstance(node, ast.ImportFrom)}
    assert "rnnlab.lessons.lesson" not in modules
