"""Settings side by side."""

from __future__ import annotations

from rnnlab.reports.differences import ABSENT, differences, flat, typed


def test_only_what_differs_is_told_as_it_is_typed():
    first = {
        "seed": 0,
        "name": "a",
        "model": {"cell": "lstm", "cutoffs": None},
        "optimizer": {"lr": 0.01, "momentum": 0.9},
    }
    second = {"seed": 0, "name": "b", "model": {"cell": "gru", "cutoffs": [10, 20]}, "optimizer": {"lr": 0.01}}
    assert differences([first, second]) == {
        "model.cell": ["lstm", "gru"],
        "model.cutoffs": ["null", "[10,20]"],
        "optimizer.momentum": ["0.9", ABSENT],
    }
    assert differences([first, first, first]) == {}


def test_a_name_inside_a_section_is_a_setting_and_the_runs_own_is_none():
    assert flat({"name": "x", "resume": None, "optimizer": {"name": "adam"}}) == {"optimizer.name": "adam"}


def test_values_are_written_as_the_command_line_takes_them():
    assert [typed(value) for value in (None, True, False, [1, 2], "a b", 1e-3, 3)] == [
        "null",
        "true",
        "false",
        "[1,2]",
        "a b",
        "0.001",
        "3",
    ]
