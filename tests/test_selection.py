"""Choosing and ordering runs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from rnnlab.errors import ConfigError
from rnnlab.run_list import RunSummary
from rnnlab.selection import FILTERS, STATUSES, choose


def run(name, task="music", model="lstm", status="done", metric="test/bits_per_char", value=2.0, steps=10, minute=0):
    created = datetime(2026, 1, 1, 12, minute, tzinfo=UTC)
    return RunSummary(name, Path(name), task, model, status, metric, value, steps, 60.0 * (steps or 0), created, None)


RUNS = [
    run("a", value=2.5, steps=30),
    run("sweep-1/0-gru", model="gru", value=1.5, steps=20, minute=1),
    run("sweep-1/1-rnn", model="rnn", status="failed", metric=None, value=None, steps=None, minute=2),
    run("b", task="sentiment", metric="test/accuracy", value=0.7, steps=5, minute=3),
    run("c", task="sentiment", metric="test/accuracy", value=0.9, steps=6, minute=4, status="killed"),
]


def names(*words):
    return [found.name for found in choose(RUNS, list(words))]


def test_filters_take_lists_and_patterns_and_all_must_fit():
    assert names() == ["a", "sweep-1/0-gru", "sweep-1/1-rnn", "b", "c"]
    assert names("task=music") == ["a", "sweep-1/0-gru", "sweep-1/1-rnn"]
    assert names("task=music", "status=done") == ["a", "sweep-1/0-gru"]
    assert names("status=failed,killed") == ["sweep-1/1-rnn", "c"]
    assert names("name=sweep-1/*") == ["sweep-1/0-gru", "sweep-1/1-rnn"]
    assert names("model=?stm,rnn") == ["a", "sweep-1/1-rnn", "b", "c"]
    assert names("name=none") == []
    assert [found.name for found in choose([run("[x]"), run("x")], ["name=[x]"])] == ["[x]"]


def test_the_best_score_comes_first_each_score_by_itself_and_what_has_none_last():
    assert names("sort=score") == ["c", "b", "sweep-1/0-gru", "a", "sweep-1/1-rnn"]
    assert names("sort=-score") == ["a", "sweep-1/0-gru", "b", "c", "sweep-1/1-rnn"]


def test_other_orders():
    assert names("sort=name") == ["a", "b", "c", "sweep-1/0-gru", "sweep-1/1-rnn"]
    assert names("sort=steps") == ["b", "c", "sweep-1/0-gru", "a", "sweep-1/1-rnn"]
    assert names("sort=age")[0] == "c"
    assert names("sort=-time", "task=music") == ["a", "sweep-1/0-gru", "sweep-1/1-rnn"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("tsk=music", "got 'tsk=music'; did you mean task=?"),
        ("music", "runs takes name=, task=, model=, status=, sort=, got 'music'"),
        ("status=dnoe", "got 'dnoe'; did you mean done?"),
        ("sort=scor", "got 'scor'; did you mean score?"),
    ],
)
def test_what_there_is_none_of_is_told(word, message):
    with pytest.raises(ConfigError) as error:
        choose(RUNS, [word])
    assert message in str(error.value)


def test_every_status_that_a_table_colours_can_be_asked_for():
    from rnnlab.commands.runs import STYLES

    assert {*STYLES, "unknown"} == set(STATUSES)
    assert all(hasattr(RUNS[0], key) for key in FILTERS)
