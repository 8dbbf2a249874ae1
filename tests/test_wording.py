"""How messages are worded."""

import math

import pytest

from rnnlab.tasks.music import Music
from rnnlab.tasks.next_word import NextWord
from rnnlab.tasks.sentiment import Sentiment
from rnnlab.wording import better, for_a_terminal, milliseconds, right_choice, score_text


@pytest.mark.parametrize("task", [Music, NextWord, Sentiment])
def test_the_score_that_chooses_the_best_checkpoint_improves_as_the_task_says(task):
    assert better(f"valid/{task.metric}") == ("higher" if task.higher_is_better else "lower")


def test_a_number_that_is_neither_good_nor_bad_has_no_direction():
    assert better("tunes/longest_copy_max") == ""
    assert better("test/loss") == better("loss") == "lower"


def test_another_word_for_a_choice_is_put_right_and_a_typo_guessed_at():
    assert right_choice("Gpu", ["cpu", "cuda"]) == "; use cuda"
    assert right_choice("gpu", ["rnn", "gru"]) == "; did you mean gru?"
    assert right_choice("zzz", ["cpu", "cuda"]) == ""


@pytest.mark.parametrize(("seconds", "said"), [(0.00081, "0.81"), (0.0123, "12.3"), (0.123, "123"), (1.24, "1,240")])
def test_times_have_three_digits_that_count(seconds, said):
    assert milliseconds(seconds) == said


def test_a_quoted_text_is_shown_and_not_obeyed():
    shown = "corpus \\x1b]0;owned\\x07\\x9b2J 'é🎵'\n  second"
    assert for_a_terminal("corpus \x1b]0;owned\x07\x9b2J 'é🎵'\n  second") == shown
    assert for_a_terminal("run \u202egnp.nur лиса 狐") == r"run \u202egnp.nur лиса 狐", "nor is it read backwards"
    assert for_a_terminal("x" * 5000) == "x" * 1000 + "..."


def test_a_score_has_four_decimals_unless_it_is_too_large_for_a_column():
    assert [score_text(value) for value in (0.5, -3.0, 123456.78901)] == ["0.5000", "-3.0000", "123456.7890"]
    assert [score_text(value, "+") for value in (0.5, 3.6e28, math.nan)] == ["+0.5000", "+3.6e+28", "+nan"]
